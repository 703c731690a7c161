/* The PutResults class. Holds a tuple of str and arrays of its own, so it is in no cycle. */
#include "put_results.h"

#include <assert.h>
#include <string.h>

typedef struct {
    PyObject_HEAD PyObject *shard_ids; /* tuple of str, one a part */
    ss_put_results_arrays arrays;      /* one allocation, held by `positions` */
} results_object;

PyObject *ss_put_results_new(ss_hot_state *state, PyObject *shard_ids, size_t count, ss_put_results_arrays *arrays)
{
    size_t part_count = (size_t)PyTuple_Size(shard_ids);
    size_t entry_size = sizeof *arrays->positions + sizeof *arrays->routes;
    assert(part_count <= UINT32_MAX);
    if (count > UINT32_MAX || count > (SIZE_MAX - part_count * sizeof *arrays->parts) / entry_size - 1)
        return PyErr_NoMemory();
    /* positions, parts, routes: by falling alignment. */
    void *memory = PyMem_Calloc(1, count * entry_size + part_count * sizeof *arrays->parts + 1);
    if (memory == NULL)
        return PyErr_NoMemory();
    results_object *results = PyObject_New(results_object, state->put_results_type);
    if (results == NULL) {
        PyMem_Free(memory);
        return NULL;
    }
    Py_INCREF(shard_ids);
    results->shard_ids = shard_ids;
    results->arrays.count = count;
    results->arrays.part_count = part_count;
    results->arrays.positions = memory;
    results->arrays.parts = (ss_put_results_part *)(void *)(results->arrays.positions + count);
    results->arrays.routes = (uint32_t *)(void *)(results->arrays.parts + part_count);
    *arrays = results->arrays;
    return (PyObject *)results;
}

static void results_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    results_object *results = (results_object *)self;
    Py_DECREF(results->shard_ids);
    PyMem_Free(results->arrays.positions);
    PyObject_Free(self);
    Py_DECREF(type);
}

static void place_of(const results_object *results, size_t index, ss_put_result_place *place)
{
    const ss_put_results_arrays *arrays = &results->arrays;
    uint32_t route = arrays->routes[index];
    const ss_put_results_part *part = &arrays->parts[route];
    place->shard_id = PyTuple_GetItem(results->shard_ids, (Py_ssize_t)route);
    place->epoch = part->epoch;
    place->position = arrays->positions[index];
    place->arrival_us = part->arrival_us;
    place->shard_index = part->shard_index;
}

PyObject *ss_put_results_item(PyObject *self, size_t index)
{
    ss_put_result_place place;
    assert(index < ((const results_object *)self)->arrays.count);
    place_of((const results_object *)self, index, &place);
    return ss_put_result_new(ss_hot_state_of(self), &place);
}

static Py_ssize_t results_length(PyObject *self)
{
    return (Py_ssize_t)((const results_object *)self)->arrays.count;
}

/* Negative indexes have had the length added by the caller. */
static PyObject *results_item(PyObject *self, Py_ssize_t index)
{
    if (index < 0 || index >= results_length(self)) {
        PyErr_SetString(PyExc_IndexError, "PutResults index out of range");
        return NULL;
    }
    return ss_put_results_item(self, (size_t)index);
}

static PyObject *results_slice(PyObject *self, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t length = PySlice_AdjustIndices(results_length(self), &start, &stop, step);
    PyObject *list = PyList_New(length);
    if (list == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *item = ss_put_results_item(self, (size_t)(start + i * step));
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, i, item);
    }
    return list;
}

static PyObject *results_subscript(PyObject *self, PyObject *key)
{
    if (PySlice_Check(key))
        return results_slice(self, key);
    if (!PyIndex_Check(key)) {
        PyErr_Format(PyExc_TypeError, "PutResults indices must be integers or slices, not %R",
                     (PyObject *)Py_TYPE(key));
        return NULL;
    }
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred())
        return NULL;
    return results_item(self, index < 0 ? index + results_length(self) : index);
}

static int same_results(const results_object *a, const results_object *b)
{
    if (a->arrays.count != b->arrays.count)
        return 0;
    for (size_t i = 0; i < a->arrays.count; i++) {
        ss_put_result_place x, y;
        place_of(a, i, &x);
        place_of(b, i, &y);
        if (x.position != y.position || x.epoch != y.epoch || x.shard_index != y.shard_index ||
            x.arrival_us != y.arrival_us ||
            (x.shard_id != y.shard_id && PyUnicode_Compare(x.shard_id, y.shard_id) != 0))
            return 0;
    }
    return 1;
}

static PyObject *results_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(self) != Py_TYPE(other) || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    int same = self == other || same_results((const results_object *)self, (const results_object *)other);
    return PyBool_FromLong(same == (operation == Py_EQ));
}

static PyObject *results_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<PutResults of %zd records>", results_length(self));
}

static PyObject *results_index(PyObject *self, PyObject *value)
{
    Py_ssize_t index = PySequence_Index(self, value);
    return index < 0 ? NULL : PyLong_FromSsize_t(index);
}

static PyObject *results_count(PyObject *self, PyObject *value)
{
    Py_ssize_t count = PySequence_Count(self, value);
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

static PyObject *results_reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    PyObject *make = module == NULL ? NULL : PyObject_GetAttrString(module, "make_put_results");
    if (make == NULL)
        return NULL;
    return Py_BuildValue("N(N)", make, PySequence_Tuple(self));
}

/* Every item becomes a part of its own: what was pickled needs no compactness, and shards cannot be told apart by
 * index alone. */
PyObject *ss_put_results_make(PyObject *module, PyObject *items)
{
    ss_hot_state *state = PyModule_GetState(module);
    if (!PyTuple_Check(items)) {
        PyErr_SetString(PyExc_TypeError, "make_put_results() takes a tuple of PutResult");
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(items);
    PyObject *shard_ids = PyTuple_New(count);
    if (shard_ids == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(items, i);
        if (Py_TYPE(item) != state->put_result_type) {
            PyErr_SetString(PyExc_TypeError, "make_put_results() takes a tuple of PutResult");
            Py_DECREF(shard_ids);
            return NULL;
        }
        PyObject *shard_id = ss_put_result_place_of(item)->shard_id;
        Py_INCREF(shard_id);
        PyTuple_SetItem(shard_ids, i, shard_id);
    }
    ss_put_results_arrays arrays;
    PyObject *results = ss_put_results_new(state, shard_ids, (size_t)count, &arrays);
    Py_DECREF(shard_ids);
    for (size_t i = 0; results != NULL && i < (size_t)count; i++) {
        const ss_put_result_place *place = ss_put_result_place_of(PyTuple_GetItem(items, (Py_ssize_t)i));
        arrays.positions[i] = place->position;
        arrays.routes[i] = (uint32_t)i;
        arrays.parts[i] = (ss_put_results_part){place->epoch, place->arrival_us, place->shard_index};
    }
    return results;
}

static PyMethodDef methods[] = {
    {"index", results_index, METH_O,
     PyDoc_STR("index($self, value, /)\n--\n\nFirst place of a result; ValueError if it is not there.")},
    {"count", results_count, METH_O, PyDoc_STR("count($self, value, /)\n--\n\nHow often a result occurs.")},
    {"__reduce__", results_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, SS_HOT_SLOT("The results of a batch, in the order of its entries; each is built when looked at.")},
    {Py_tp_dealloc, SS_HOT_SLOT(results_dealloc)},
    {Py_tp_richcompare, SS_HOT_SLOT(results_compare)},
    {Py_tp_repr, SS_HOT_SLOT(results_repr)},
    {Py_tp_methods, methods},
    {Py_sq_length, SS_HOT_SLOT(results_length)},
    {Py_sq_item, SS_HOT_SLOT(results_item)},
    {Py_mp_length, SS_HOT_SLOT(results_length)},
    {Py_mp_subscript, SS_HOT_SLOT(results_subscript)},
    {0, NULL},
};

PyType_Spec ss_put_results_spec = {
    .name = "streamstore._hot.PutResults",
    .basicsize = sizeof(results_object),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_DISALLOW_INSTANTIATION),
    .slots = slots,
};
