/* _hot.make_record(): lays attributes, key and data out in a chunk of its own, and points a Record into it. */
#include "make_record.h"

#include <string.h>

#include "arguments.h"
#include "record_object.h"
#include "sequence.h"

#define EPOCH_MAX ((UINT64_C(1) << SS_SEQUENCE_EPOCH_BITS) - 1)

enum {
    SHARD_ID,
    SHARD_INDEX,
    EPOCH,
    POSITION,
    NEXT_POSITION,
    ORDINAL,
    ARRIVAL_US,
    DATA,
    PARTITION_KEY,
    HASH_KEY,
    ATTRIBUTES,
    PART,
    PART_COUNT,
    COUNT
};

static const char *const names_of[] = {
    "shard_id",          "shard_index", "epoch",         "position",          "next_position",   "ordinal",
    "arrival_us",        "data",        "partition_key", "explicit_hash_key", "attribute_block", "sub_sequence_number",
    "user_record_count", NULL};
static const ss_arguments_signature signature = {"make_record", names_of, HASH_KEY, COUNT};

static int take_numbers(PyObject *const *values, ss_record *fields, uint32_t *shard_index)
{
    uint64_t index, next;
    if (ss_arguments_u64(values[SHARD_INDEX], "shard_index", UINT32_MAX, &index) < 0 ||
        ss_arguments_u64(values[EPOCH], "epoch", EPOCH_MAX, &fields->epoch) < 0 ||
        ss_arguments_u64(values[POSITION], "position", UINT64_MAX, &fields->position) < 0 ||
        ss_arguments_u64(values[NEXT_POSITION], "next_position", UINT64_MAX, &next) < 0 ||
        ss_arguments_u64(values[ORDINAL], "ordinal", UINT64_MAX, &fields->ordinal) < 0 ||
        ss_arguments_u64(values[ARRIVAL_US], "arrival_us", UINT64_MAX, &fields->arrival_us) < 0)
        return -1;
    if (next < fields->position || next - fields->position > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "next_position must lie at most 2**32 - 1 bytes after position");
        return -1;
    }
    fields->frame_size = (uint32_t)(next - fields->position);
    *shard_index = (uint32_t)index;
    return 0;
}

/* The parts in one bytes object: attributes, key, data. */
static PyObject *lay_out(PyObject *attributes, PyObject *key, PyObject *data, ss_record *fields)
{
    size_t attributes_size = attributes == NULL ? 0 : (size_t)PyBytes_Size(attributes);
    size_t key_size = key == NULL ? 0 : (size_t)PyBytes_Size(key);
    size_t data_size = (size_t)PyBytes_Size(data);
    if (attributes_size > INT32_MAX / 4 || key_size > INT32_MAX / 4 || data_size > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a record holds at most 2 GiB of data");
        return NULL;
    }
    PyObject *chunk = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(attributes_size + key_size + data_size));
    if (chunk == NULL)
        return NULL;
    char *bytes = PyBytes_AsString(chunk);
    if (attributes != NULL)
        memcpy(bytes, PyBytes_AsString(attributes), attributes_size);
    if (key != NULL)
        memcpy(bytes + attributes_size, PyBytes_AsString(key), key_size);
    memcpy(bytes + attributes_size + key_size, PyBytes_AsString(data), data_size);
    fields->attributes_offset = 0;
    fields->attributes_size = (uint32_t)attributes_size;
    fields->key_offset = (uint32_t)attributes_size;
    fields->key_size = key == NULL ? -1 : (int32_t)key_size;
    fields->data_offset = (uint32_t)(attributes_size + key_size);
    fields->data_size = (uint32_t)data_size;
    return chunk;
}

static int check_types(PyObject *const *values)
{
    if (!PyUnicode_Check(values[SHARD_ID]))
        PyErr_SetString(PyExc_TypeError, "shard_id must be str");
    else if (!PyBytes_Check(values[DATA]))
        PyErr_SetString(PyExc_TypeError, "data must be bytes");
    else if (values[PARTITION_KEY] != Py_None && !PyUnicode_Check(values[PARTITION_KEY]))
        PyErr_SetString(PyExc_TypeError, "partition_key must be str or None");
    else if (values[ATTRIBUTES] != NULL && !PyBytes_Check(values[ATTRIBUTES]))
        PyErr_SetString(PyExc_TypeError, "attribute_block must be bytes");
    else
        return 0;
    return -1;
}

static int take_hash_key(ss_hot_state *state, PyObject *value, ss_record *fields)
{
    ss_arguments_rules rules = {.state = state, .index = -1};
    ss_entry entry;
    if (ss_arguments_hash_key(&rules, value, &entry) < 0)
        return -1;
    fields->hash_key_present = (uint16_t)entry.hash_key_present;
    fields->hash_key_hi = entry.hash_key_hi;
    fields->hash_key_lo = entry.hash_key_lo;
    return 0;
}

PyObject *ss_make_record(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    PyObject *values[COUNT];
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || check_types(values) < 0)
        return NULL;
    ss_hot_state *state = PyModule_GetState(module);
    ss_record fields = {.type = SS_FRAME_DATA};
    ss_record_object_origin origin = {0};
    uint64_t part = 0, part_count = 0;
    if (take_numbers(values, &fields, &origin.shard_index) < 0 || take_hash_key(state, values[HASH_KEY], &fields) < 0 ||
        (values[PART] != NULL && ss_arguments_u64(values[PART], "sub_sequence_number", UINT32_MAX, &part) < 0) ||
        (values[PART_COUNT] != NULL &&
         ss_arguments_u64(values[PART_COUNT], "user_record_count", UINT32_MAX, &part_count) < 0))
        return NULL;
    PyObject *key = NULL, *record = NULL;
    if (values[PARTITION_KEY] != Py_None) {
        key = PyUnicode_AsEncodedString(values[PARTITION_KEY], "utf-8", "surrogateescape");
        if (key == NULL)
            return NULL;
    }
    origin.chunk = lay_out(values[ATTRIBUTES], key, values[DATA], &fields);
    origin.shard_id = PyUnicode_FromObject(values[SHARD_ID]); /* a str subclass could refer back */
    if (origin.chunk != NULL && origin.shard_id != NULL)
        record = ss_record_object_new(state, &origin, &fields);
    if (record != NULL)
        ss_record_object_part_set(record, (uint32_t)part, (uint32_t)part_count);
    Py_XDECREF(key);
    Py_XDECREF(origin.chunk);
    Py_XDECREF(origin.shard_id);
    return record;
}
