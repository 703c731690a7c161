/* The PutResult class: where one record went. Refers to a str only, so the garbage collector need not know it. */
#include "put_result.h"

#include "arguments.h"
#include "sequence.h"

#define EPOCH_MAX ((UINT64_C(1) << SS_SEQUENCE_EPOCH_BITS) - 1)

typedef struct {
    PyObject_HEAD ss_put_result_place place; /* owns shard_id */
} result_object;

PyObject *ss_put_result_new(ss_hot_state *state, const ss_put_result_place *place)
{
    result_object *result = PyObject_New(result_object, state->put_result_type);
    if (result == NULL)
        return NULL;
    Py_INCREF(place->shard_id);
    result->place = *place;
    return (PyObject *)result;
}

const ss_put_result_place *ss_put_result_place_of(PyObject *result)
{
    return &((const result_object *)result)->place;
}

static void result_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((result_object *)self)->place.shard_id);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *get_sequence_number(PyObject *self, void *Py_UNUSED(closure))
{
    const ss_put_result_place *place = ss_put_result_place_of(self);
    char digits[SS_SEQUENCE_DIGITS];
    ss_sequence_format(place->epoch, place->position, place->shard_index, digits);
    return PyUnicode_FromStringAndSize(digits, sizeof digits);
}

static PyObject *result_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(self) != Py_TYPE(other) || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    const ss_put_result_place *a = ss_put_result_place_of(self), *b = ss_put_result_place_of(other);
    int same = a->position == b->position && a->epoch == b->epoch && a->shard_index == b->shard_index &&
               a->arrival_us == b->arrival_us && PyUnicode_Compare(a->shard_id, b->shard_id) == 0;
    return PyBool_FromLong(same == (operation == Py_EQ));
}

static Py_hash_t result_hash(PyObject *self)
{
    const ss_put_result_place *place = ss_put_result_place_of(self);
    uint64_t mixed = (place->position ^ place->epoch << 20) * UINT64_C(0x9e3779b97f4a7c15) ^ place->shard_index;
    Py_hash_t hash = (Py_hash_t)(mixed ^ mixed >> 32);
    return hash == -1 ? -2 : hash;
}

static PyObject *result_repr(PyObject *self)
{
    PyObject *number = get_sequence_number(self, NULL);
    if (number == NULL)
        return NULL;
    PyObject *text = PyUnicode_FromFormat("PutResult(shard_id=%R, sequence_number=%R)",
                                          ss_put_result_place_of(self)->shard_id, number);
    Py_DECREF(number);
    return text;
}

static PyObject *result_reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const ss_put_result_place *place = ss_put_result_place_of(self);
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    PyObject *make = module == NULL ? NULL : PyObject_GetAttrString(module, "make_put_result");
    if (make == NULL)
        return NULL;
    return Py_BuildValue("N(OIKKK)", make, place->shard_id, (unsigned)place->shard_index,
                         (unsigned long long)place->epoch, (unsigned long long)place->position,
                         (unsigned long long)place->arrival_us);
}

PyObject *ss_put_result_make(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"shard_id", "shard_index", "epoch", "position", "arrival_us", NULL};
    static const ss_arguments_signature signature = {"make_put_result", parameters, 5, 5};
    PyObject *values[5];
    ss_put_result_place place;
    uint64_t index;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 ||
        ss_arguments_u64(values[1], "shard_index", UINT32_MAX, &index) < 0 ||
        ss_arguments_u64(values[2], "epoch", EPOCH_MAX, &place.epoch) < 0 ||
        ss_arguments_u64(values[3], "position", UINT64_MAX, &place.position) < 0 ||
        ss_arguments_u64(values[4], "arrival_us", UINT64_MAX, &place.arrival_us) < 0)
        return NULL;
    place.shard_index = (uint32_t)index;
    place.shard_id = PyUnicode_FromObject(values[0]);
    if (place.shard_id == NULL)
        return NULL;
    PyObject *result = ss_put_result_new(PyModule_GetState(module), &place);
    Py_DECREF(place.shard_id);
    return result;
}

static PyMethodDef methods[] = {
    {"__reduce__", result_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, type, field, text) \
    {name, type, (Py_ssize_t)offsetof(result_object, place.field), READONLY, PyDoc_STR(text)}
static PyMemberDef members[] = {
    FIELD("shard_id", T_OBJECT_EX, shard_id, "The shard that took the record."),
    FIELD("position", T_ULONGLONG, position, "Where it stands in the shard's log, in bytes."),
    FIELD("epoch", T_ULONGLONG, epoch, "The epoch it was written under."),
    FIELD("arrival_us", T_ULONGLONG, arrival_us, "When it arrived, in microseconds since 1970 UTC."),
    {NULL, 0, 0, 0, NULL},
};
#undef FIELD

static PyGetSetDef getters[] = {
    {"sequence_number", get_sequence_number, NULL, PyDoc_STR("Its sequence number: 56 decimal digits."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, SS_HOT_SLOT("Where one record went: immutable, picklable.")},
    {Py_tp_dealloc, SS_HOT_SLOT(result_dealloc)},
    {Py_tp_richcompare, SS_HOT_SLOT(result_compare)},
    {Py_tp_hash, SS_HOT_SLOT(result_hash)},
    {Py_tp_repr, SS_HOT_SLOT(result_repr)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0, NULL},
};

PyType_Spec ss_put_result_spec = {
    .name = "streamstore._hot.PutResult",
    .basicsize = sizeof(result_object),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_DISALLOW_INSTANTIATION),
    .slots = slots,
};
