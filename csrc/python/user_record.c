/* The UserRecord class. It holds the bytes it came in and offsets into them; it refers to bytes only, so it can be in
 * no cycle and the garbage collector need not know it. */
#include "user_record.h"

#include <string.h>

#include "arguments.h"
#include "chunk.h"
#include "hash_key.h"

typedef struct {
    PyObject_HEAD PyObject *chunk; /* bytes */
    ss_aggregate_record fields;
    int key_present;
} user_record;

static PyObject *make(ss_hot_state *state, PyObject *chunk, const ss_aggregate_record *fields, int key_present)
{
    user_record *record = PyObject_New(user_record, state->user_record_type);
    if (record == NULL)
        return NULL;
    Py_INCREF(chunk);
    record->chunk = chunk;
    record->fields = *fields;
    record->key_present = key_present;
    return (PyObject *)record;
}

PyObject *ss_user_record_new(ss_hot_state *state, PyObject *chunk, const ss_aggregate_record *fields)
{
    return make(state, chunk, fields, 1);
}

PyObject *ss_user_record_plain(ss_hot_state *state, PyObject *chunk)
{
    Py_ssize_t size = PyBytes_Size(chunk);
    if ((uint64_t)size > UINT32_MAX) {
        PyErr_Format(state->error_too_large, "%zd bytes: no record is as long as that", size);
        return NULL;
    }
    ss_aggregate_record fields = {.data_size = (uint32_t)size};
    return make(state, chunk, &fields, 0);
}

enum { DATA, PARTITION_KEY, HASH_KEY, COUNT };

static int take_hash_key(ss_hot_state *state, PyObject *value, ss_aggregate_record *fields)
{
    ss_arguments_rules rules = {.state = state, .index = -1};
    ss_entry entry;
    if (ss_arguments_hash_key(&rules, value, &entry) < 0)
        return -1;
    fields->hash_key_present = entry.hash_key_present;
    fields->hash_key = (ss_hash_key){entry.hash_key_hi, entry.hash_key_lo};
    return 0;
}

/* Key and data in one bytes object. */
static PyObject *lay_out(PyObject *key, PyObject *data, ss_aggregate_record *fields)
{
    size_t key_size = key == NULL ? 0 : (size_t)PyBytes_Size(key), data_size = (size_t)PyBytes_Size(data);
    if (key_size > INT32_MAX || data_size > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a user record holds at most 2 GiB of data");
        return NULL;
    }
    PyObject *chunk = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(key_size + data_size));
    if (chunk == NULL)
        return NULL;
    char *bytes = PyBytes_AsString(chunk);
    if (key_size > 0)
        memcpy(bytes, PyBytes_AsString(key), key_size);
    memcpy(bytes + key_size, PyBytes_AsString(data), data_size);
    fields->key_size = (uint32_t)key_size;
    fields->data_offset = (uint32_t)key_size;
    fields->data_size = (uint32_t)data_size;
    return chunk;
}

PyObject *ss_user_record_make(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"data", "partition_key", "explicit_hash_key", NULL};
    static const ss_arguments_signature signature = {"make_user_record", parameters, 2, COUNT};
    PyObject *values[COUNT], *key = NULL, *record = NULL;
    ss_hot_state *state = PyModule_GetState(module);
    ss_aggregate_record fields = {0};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 ||
        take_hash_key(state, values[HASH_KEY], &fields) < 0)
        return NULL;
    if (!PyBytes_Check(values[DATA]) || (values[PARTITION_KEY] != Py_None && !PyUnicode_Check(values[PARTITION_KEY]))) {
        PyErr_SetString(PyExc_TypeError, "data must be bytes, partition_key str or None");
        return NULL;
    }
    if (values[PARTITION_KEY] != Py_None) {
        key = PyUnicode_AsEncodedString(values[PARTITION_KEY], "utf-8", "surrogateescape");
        if (key == NULL)
            return NULL;
    }
    PyObject *chunk = lay_out(key, values[DATA], &fields);
    if (chunk != NULL)
        record = make(state, chunk, &fields, key != NULL);
    Py_XDECREF(key);
    Py_XDECREF(chunk);
    return record;
}

static void user_record_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((user_record *)self)->chunk);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *get_data(PyObject *self, void *Py_UNUSED(closure))
{
    const user_record *record = (const user_record *)self;
    return ss_chunk_bytes(record->chunk, record->fields.data_offset, record->fields.data_size);
}

static PyObject *get_view(PyObject *self, void *Py_UNUSED(closure))
{
    const user_record *record = (const user_record *)self;
    return ss_chunk_view(record->chunk, record->fields.data_offset, record->fields.data_size);
}

static PyObject *get_partition_key(PyObject *self, void *Py_UNUSED(closure))
{
    const user_record *record = (const user_record *)self;
    if (!record->key_present)
        Py_RETURN_NONE;
    return ss_chunk_key(record->chunk, record->fields.key_offset, record->fields.key_size);
}

static PyObject *get_explicit_hash_key(PyObject *self, void *Py_UNUSED(closure))
{
    const user_record *record = (const user_record *)self;
    return ss_hash_key_or_none(record->fields.hash_key_present, record->fields.hash_key.hi, record->fields.hash_key.lo);
}

/* (data, partition key, explicit hash key): what a UserRecord is. */
static PyObject *parts_of(PyObject *self)
{
    return Py_BuildValue("(NNN)", get_data(self, NULL), get_partition_key(self, NULL),
                         get_explicit_hash_key(self, NULL));
}

static PyObject *user_record_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(self) != Py_TYPE(other) || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *own = parts_of(self), *its = parts_of(other), *answer = NULL;
    if (own != NULL && its != NULL)
        answer = PyObject_RichCompare(own, its, operation);
    Py_XDECREF(own);
    Py_XDECREF(its);
    return answer;
}

static Py_hash_t user_record_hash(PyObject *self)
{
    PyObject *parts = parts_of(self);
    if (parts == NULL)
        return -1;
    Py_hash_t hash = PyObject_Hash(parts);
    Py_DECREF(parts);
    return hash;
}

static PyObject *user_record_repr(PyObject *self)
{
    PyObject *key = get_partition_key(self, NULL);
    if (key == NULL)
        return NULL;
    PyObject *text = PyUnicode_FromFormat("<UserRecord key=%R, %u bytes>", key,
                                          (unsigned)((const user_record *)self)->fields.data_size);
    Py_DECREF(key);
    return text;
}

static PyObject *user_record_reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    PyObject *function = module == NULL ? NULL : PyObject_GetAttrString(module, "make_user_record");
    return function == NULL ? NULL : Py_BuildValue("NN", function, parts_of(self));
}

static PyMethodDef methods[] = {
    {"__reduce__", user_record_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, get, text) {name, get, NULL, PyDoc_STR(text), NULL}
static PyGetSetDef getters[] = {
    FIELD("data", get_data, "The user record's bytes."),
    FIELD("view", get_view, "The user record's bytes without a copy; holds the aggregate they came in."),
    FIELD("partition_key", get_partition_key, "The partition key; None for what came in no aggregate."),
    FIELD("explicit_hash_key", get_explicit_hash_key, "The explicit hash key, 0 to 2**128 - 1, or None."),
    {NULL, NULL, NULL, NULL, NULL},
};
#undef FIELD

static PyType_Slot slots[] = {
    {Py_tp_doc, SS_HOT_SLOT("One user record: immutable and picklable.")},
    {Py_tp_dealloc, SS_HOT_SLOT(user_record_dealloc)},
    {Py_tp_richcompare, SS_HOT_SLOT(user_record_compare)},
    {Py_tp_hash, SS_HOT_SLOT(user_record_hash)},
    {Py_tp_repr, SS_HOT_SLOT(user_record_repr)},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

PyType_Spec ss_user_record_spec = {
    .name = "streamstore._hot.UserRecord",
    .basicsize = sizeof(user_record),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_DISALLOW_INSTANTIATION),
    .slots = slots,
};
