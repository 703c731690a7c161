/* Taking aggregates apart for Python. Nothing here raises because of what the bytes are: what is no aggregate stays
 * what it is. */
#include "deaggregating.h"

#include "../aggregate.h"
#include "arguments.h"
#include "core_calls.h"
#include "record_object.h"
#include "user_record.h"

/* Aggregates of usual size are decoded on the stack. */
#define SCRATCH_ON_STACK 8192

/* One aggregate taken apart. `count` is 0 for what is no aggregate. */
typedef struct {
    ss_aggregate_record *records;
    ss_hash_key *hashes; /* room for as many */
    size_t count;
    void *block; /* to be freed, or NULL */
    _Alignas(16) uint8_t small[SCRATCH_ON_STACK];
} opened;

/* 0, or -1 with MemoryError. What was opened is to be shut. */
static int open_aggregate(ss_hot_state *state, const uint8_t *bytes, size_t size, opened *out)
{
    const ss_aggregate_calls *calls = state->core->aggregates;
    ss_aggregate_shape shape;
    out->count = 0;
    out->block = NULL;
    if (calls->open(bytes, size, &shape) != SS_OK)
        return 0;
    /* No sum can overflow: an aggregate is at most 10 MiB long, so there are fewer of each than that. */
    size_t needed = shape.record_count * (sizeof *out->records + sizeof *out->hashes) +
                    (shape.key_count + shape.hash_key_count) * sizeof(ss_aggregate_slice);
    uint8_t *room = out->small;
    if (needed > sizeof out->small && (room = out->block = PyMem_Malloc(needed)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    out->records = (ss_aggregate_record *)(void *)room;
    out->hashes = (ss_hash_key *)(void *)(out->records + shape.record_count);
    ss_aggregate_slice *keys = (ss_aggregate_slice *)(void *)(out->hashes + shape.record_count);
    if (calls->decode(bytes, size, &shape, keys, keys + shape.key_count, out->records) == SS_OK)
        out->count = shape.record_count;
    return 0;
}

static void shut(opened *it)
{
    PyMem_Free(it->block);
}

_Static_assert(sizeof(ss_aggregate_record) % 8 == 0 && sizeof(ss_hash_key) % 8 == 0, "the parts stay aligned");

/* A list of the one object, which is handed over and may be NULL. */
static PyObject *list_of(PyObject *item)
{
    PyObject *list = item == NULL ? NULL : PyList_New(1);
    if (list == NULL)
        Py_XDECREF(item);
    else
        PyList_SetItem(list, 0, item);
    return list;
}

static PyObject *user_records(ss_hot_state *state, PyObject *chunk)
{
    opened found;
    if (open_aggregate(state, (const uint8_t *)PyBytes_AsString(chunk), (size_t)PyBytes_Size(chunk), &found) < 0)
        return NULL;
    if (found.count == 0) {
        shut(&found);
        return list_of(ss_user_record_plain(state, chunk));
    }
    PyObject *list = PyList_New((Py_ssize_t)found.count);
    for (size_t i = 0; list != NULL && i < found.count; i++) {
        PyObject *record = ss_user_record_new(state, chunk, &found.records[i]);
        if (record == NULL)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, (Py_ssize_t)i, record);
    }
    shut(&found);
    return list;
}

PyObject *ss_deaggregating_bytes(PyObject *module, PyObject *data)
{
    ss_hot_state *state = PyModule_GetState(module);
    if (ss_core_calls_ready(state) < 0)
        return NULL;
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(state->error_type, "data must be bytes, bytearray or memoryview, not %R",
                     (PyObject *)Py_TYPE(data));
        return NULL;
    }
    PyObject *chunk = PyBytes_FromObject(data); /* itself, where it is exactly bytes */
    PyObject *list = chunk == NULL ? NULL : user_records(state, chunk);
    Py_XDECREF(chunk);
    return list;
}

/* Which user records of an aggregate are handed on. The numbers are those of streamstore/native. */
typedef enum { RULE_ALL, RULE_STRICT, RULE_KEEP_IN_RANGE } range_rule;

typedef struct {
    ss_hot_state *state;
    range_rule rule;
    ss_hash_key start, end;
    PyObject *list;
    size_t dropped;
} deaggregation;

static int at_most(ss_hash_key a, ss_hash_key b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo <= b.lo);
}

static int is_stray(const deaggregation *d, ss_hash_key hash)
{
    return !at_most(d->start, hash) || !at_most(hash, d->end);
}

/* Append an object that is handed over and may be NULL. */
static int append(PyObject *list, PyObject *item)
{
    int status = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return status;
}

static int append_parts(deaggregation *d, PyObject *record, const uint8_t *bytes, const opened *found)
{
    if (d->rule != RULE_ALL) {
        size_t strays = 0;
        d->state->core->aggregates->hashes(bytes, found->records, found->count, found->hashes);
        for (size_t i = 0; i < found->count; i++)
            strays += (size_t)is_stray(d, found->hashes[i]);
        if (strays > 0 && d->rule == RULE_STRICT) {
            d->dropped += found->count;
            return 0;
        }
        d->dropped += strays;
    }
    for (size_t i = 0; i < found->count; i++) {
        if (d->rule != RULE_ALL && is_stray(d, found->hashes[i]))
            continue;
        if (append(d->list, ss_record_object_part(d->state, record, &found->records[i], (uint32_t)i,
                                                  (uint32_t)found->count)) < 0)
            return -1;
    }
    return 0;
}

static int append_record(deaggregation *d, PyObject *record)
{
    ss_record_object_origin origin;
    const ss_record *fields = ss_record_object_parts(d->state, record, &origin);
    if (fields == NULL)
        return -1;
    const uint8_t *bytes = (const uint8_t *)PyBytes_AsString(origin.chunk) + fields->data_offset;
    opened found;
    if (fields->seal_offset != 0) /* what nobody has opened yet is not looked into */
        return PyList_Append(d->list, record);
    if (open_aggregate(d->state, bytes, fields->data_size, &found) < 0)
        return -1;
    int status = found.count == 0 ? PyList_Append(d->list, record) : append_parts(d, record, bytes, &found);
    shut(&found);
    return status;
}

static int take_hash_key(ss_hot_state *state, PyObject *value, ss_hash_key *out)
{
    ss_arguments_rules rules = {.state = state, .index = -1};
    ss_entry entry;
    if (ss_arguments_hash_key(&rules, value, &entry) < 0)
        return -1;
    *out = (ss_hash_key){entry.hash_key_hi, entry.hash_key_lo};
    return 0;
}

PyObject *ss_deaggregating_records(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"records", "rule", "start", "end", NULL};
    static const ss_arguments_signature signature = {"deaggregate_records", parameters, 4, 4};
    PyObject *values[4];
    uint64_t rule;
    deaggregation d = {.state = PyModule_GetState(module)};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(d.state) < 0 ||
        ss_arguments_u64(values[1], "rule", RULE_KEEP_IN_RANGE, &rule) < 0 ||
        take_hash_key(d.state, values[2], &d.start) < 0 || take_hash_key(d.state, values[3], &d.end) < 0)
        return NULL;
    d.rule = (range_rule)rule;
    PyObject *records = PySequence_Tuple(values[0]);
    if (records == NULL)
        return NULL;
    d.list = PyList_New(0);
    int status = d.list == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_Size(records); i++)
        status = append_record(&d, PyTuple_GetItem(records, i));
    Py_DECREF(records);
    if (status < 0) {
        Py_XDECREF(d.list);
        return NULL;
    }
    return Py_BuildValue("(Nn)", d.list, (Py_ssize_t)d.dropped);
}
