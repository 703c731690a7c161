/* The Target class: its making and put_record. Batches are in put_batch.c. */
#include "target.h"

#include "core_calls.h"
#include "put_batch.h"
#include "put_result.h"

/* An int per log, from any sequence, into an array of `size` bytes an item. */
static int take_logs(PyObject *logs, PyObject *indexes, ss_target *target)
{
    for (size_t i = 0; i < target->log_count; i++) {
        void *log;
        uint64_t index;
        if (ss_arguments_pointer(PyTuple_GetItem(logs, (Py_ssize_t)i), "a log", &log) < 0 ||
            ss_arguments_u64(PyTuple_GetItem(indexes, (Py_ssize_t)i), "a shard index", UINT32_MAX, &index) < 0)
            return -1;
        if (log == NULL) {
            PyErr_SetString(PyExc_ValueError, "a log must not be NULL");
            return -1;
        }
        target->logs[i] = log;
        target->shard_indexes[i] = (uint32_t)index;
    }
    return 0;
}

/* Exact str only: a subclass could refer back and hide a cycle from the garbage collector. */
static PyObject *take_shard_ids(PyObject *ids)
{
    Py_ssize_t count = PyTuple_Size(ids);
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *id = PyUnicode_FromObject(PyTuple_GetItem(ids, i));
        if (id == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SetItem(tuple, i, id);
    }
    return tuple;
}

static int fill(ss_target *target, PyObject *logs, PyObject *indexes, PyObject *ids)
{
    size_t count = (size_t)PyTuple_Size(logs);
    if (count == 0 || (size_t)PyTuple_Size(indexes) != count || (size_t)PyTuple_Size(ids) != count) {
        PyErr_SetString(PyExc_ValueError, "logs, shard_indexes and shard_ids must be of one length, at least 1");
        return -1;
    }
    if (target->ranges == NULL && count != 1) {
        PyErr_SetString(PyExc_ValueError, "several logs need ranges");
        return -1;
    }
    target->shard_ids = take_shard_ids(ids);
    if (target->shard_ids == NULL)
        return -1;
    target->logs = PyMem_Calloc(count, sizeof *target->logs);
    target->shard_indexes = PyMem_Calloc(count, sizeof *target->shard_indexes);
    if (target->logs == NULL || target->shard_indexes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    target->log_count = count;
    return take_logs(logs, indexes, target);
}

static PyObject *target_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"ranges", "logs",      "shard_indexes", "shard_ids", "record_size_max",
                            "sync",   "keepalive", "terms",         NULL};
    PyObject *ranges, *logs, *indexes, *ids, *record_size_max, *keepalive;
    int sync;
    unsigned int terms = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOOOpO|I:Target", names, &ranges, &logs, &indexes, &ids,
                                     &record_size_max, &sync, &keepalive, &terms))
        return NULL;
    ss_target *target = (ss_target *)PyType_GenericAlloc(type, 0);
    if (target == NULL)
        return NULL;
    Py_INCREF(keepalive);
    target->keepalive = keepalive;
    target->sync = sync;
    target->terms = terms;
    void *address = NULL;
    logs = PySequence_Tuple(logs);
    indexes = logs == NULL ? NULL : PySequence_Tuple(indexes);
    ids = indexes == NULL ? NULL : PySequence_Tuple(ids);
    int made = -1;
    if (ids != NULL &&
        ss_arguments_u64(record_size_max, "record_size_max", SIZE_MAX / 4, &target->record_size_max) == 0 &&
        ss_arguments_pointer(ranges, "ranges", &address) == 0) {
        target->ranges = address;
        made = fill(target, logs, indexes, ids);
    }
    Py_XDECREF(logs);
    Py_XDECREF(indexes);
    Py_XDECREF(ids);
    if (made < 0)
        Py_CLEAR(target);
    return (PyObject *)target;
}

static int target_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((ss_target *)self)->keepalive);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int target_clear(PyObject *self)
{
    ss_target *target = (ss_target *)self;
    target->log_count = 0; /* the logs may go with the keepalive */
    Py_CLEAR(target->keepalive);
    return 0;
}

static void target_dealloc(PyObject *self)
{
    ss_target *target = (ss_target *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    target_clear(self);
    Py_CLEAR(target->shard_ids);
    PyMem_Free(target->logs);
    PyMem_Free(target->shard_indexes);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

int ss_target_wants_sync(const ss_target *target, PyObject *wish)
{
    int asked = wish == NULL ? 0 : PyObject_IsTrue(wish);
    return asked < 0 ? -1 : asked || target->sync;
}

static size_t route(ss_hot_state *state, const ss_target *target, const ss_entry *entry)
{
    if (target->log_count == 1)
        return 0;
    ss_hash_key key = {entry->hash_key_hi, entry->hash_key_lo};
    if (!entry->hash_key_present)
        key = state->core->ranges_hash(entry->key, (size_t)entry->key_size);
    return state->core->ranges_route(target->ranges, key);
}

/* PyErr is set where it is -1. */
static int prepare(ss_hot_state *state, const ss_target *target, const ss_entry *entry, ss_core_calls_batch *batch,
                   size_t *log)
{
    *log = route(state, target, entry);
    if (*log >= target->log_count) {
        PyErr_SetString(PyExc_SystemError, "the ranges name a shard that the target does not have");
        return -1;
    }
    *batch = (ss_core_calls_batch){target->logs[*log], entry, 1, entry->data_size, 0, target->terms, 0};
    return 0;
}

static PyObject *result_of(ss_hot_state *state, const ss_target *target, size_t log, const ss_appended *appended)
{
    ss_put_result_place place = {ss_target_shard_id(target, log), appended->epoch, appended->first_position,
                                 appended->arrival_us, target->shard_indexes[log]};
    return ss_put_result_new(state, &place);
}

static PyObject *append_one(ss_hot_state *state, const ss_target *target, const ss_entry *entry, int sync)
{
    ss_core_calls_batch batch;
    size_t log;
    ss_appended appended;
    ss_status status;
    if (prepare(state, target, entry, &batch, &log) < 0 ||
        ss_core_calls_append(state, &batch, NULL, &appended, &status) < 0)
        return NULL;
    if (status == SS_OK && sync && ss_core_calls_sync(state, target->logs[log], appended.end_position, &status) < 0)
        return NULL;
    if (status != SS_OK)
        return ss_core_calls_raise(state, status, "put_record to %U", ss_target_shard_id(target, log));
    return result_of(state, target, log, &appended);
}

/* Whatever stands in the way is told by the put that waits, which the caller makes next. */
static PyObject *try_one(ss_hot_state *state, const ss_target *target, const ss_entry *entry)
{
    ss_core_calls_batch batch;
    size_t log;
    ss_appended appended;
    if (prepare(state, target, entry, &batch, &log) < 0)
        return NULL;
    if (ss_core_calls_try(state, &batch, &appended) != SS_OK)
        Py_RETURN_NONE;
    return result_of(state, target, log, &appended);
}

static PyObject *put_record(PyObject *self, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"data", "partition_key", "explicit_hash_key", "attribute_block", "sync",
                                             NULL};
    static const ss_arguments_signature signature = {"put_record", parameters, 2, 5};
    PyObject *values[5];
    const ss_target *target = (const ss_target *)self;
    ss_hot_state *state = ss_hot_state_of(self);
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(state) < 0)
        return NULL;
    if (target->log_count == 0)
        return ss_core_calls_raise(state, SS_CLOSED, "put_record");
    int sync = ss_target_wants_sync(target, values[4]);
    if (sync < 0)
        return NULL;
    ss_arguments_rules rules = {state, -1, target->record_size_max, target->log_count == 1};
    ss_arguments_parts parts = {values[0], values[1], values[2], values[3]};
    PyObject *kept = NULL;
    ss_entry entry;
    PyObject *result = NULL;
    if (ss_arguments_entry(&rules, &parts, &kept, &entry) == 0)
        result = append_one(state, target, &entry, sync);
    Py_XDECREF(kept);
    return result;
}

static PyObject *try_put_record(PyObject *self, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"data", "partition_key", "explicit_hash_key", NULL};
    static const ss_arguments_signature signature = {"try_put_record", parameters, 2, 3};
    PyObject *values[3];
    const ss_target *target = (const ss_target *)self;
    ss_hot_state *state = ss_hot_state_of(self);
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(state) < 0)
        return NULL;
    if (target->log_count == 0 || target->sync)
        Py_RETURN_NONE;
    ss_arguments_rules rules = {state, -1, target->record_size_max, target->log_count == 1};
    ss_arguments_parts parts = {values[0], values[1], values[2], NULL};
    PyObject *kept = NULL;
    ss_entry entry;
    PyObject *result = NULL;
    if (ss_arguments_entry(&rules, &parts, &kept, &entry) == 0)
        result = try_one(state, target, &entry);
    Py_XDECREF(kept);
    return result;
}

static PyMethodDef methods[] = {
    {"put_record", SS_HOT_FASTCALL(put_record), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "put_record($self, data, partition_key, explicit_hash_key=None, attribute_block=None, sync=False)\n--\n\n"
         "Append one record to the shard of its key; durable at return if the target or the call says sync.")},
    {"try_put_record", SS_HOT_FASTCALL(try_put_record), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("try_put_record($self, data, partition_key, explicit_hash_key=None)\n--\n\n"
               "Append one record if that takes no waiting for anything, also not for the disk; else None, and nothing "
               "is written.")},
    {"put_records", SS_HOT_FASTCALL(ss_put_batch), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("put_records($self, entries, attribute_blocks=None, sync=False)\n--\n\n"
               "Append (data, partition_key[, explicit_hash_key]) entries, in order within each shard. All are checked "
               "before one is\n"
               "written; where a shard fails, the bound partial_put gets a PutResult or a status for each entry.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     SS_HOT_SLOT("Target(ranges, logs, shard_indexes, shard_ids, record_size_max, sync, keepalive, terms=0)\n--\n\n"
                 "The open shards of a stream as one place to put records; ranges and logs are addresses.")},
    {Py_tp_new, SS_HOT_SLOT(target_new)},
    {Py_tp_dealloc, SS_HOT_SLOT(target_dealloc)},
    {Py_tp_traverse, SS_HOT_SLOT(target_traverse)},
    {Py_tp_clear, SS_HOT_SLOT(target_clear)},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec ss_target_spec = {
    .name = "streamstore._hot.Target",
    .basicsize = sizeof(ss_target),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_HAVE_GC),
    .slots = slots,
};
