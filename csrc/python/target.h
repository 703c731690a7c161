/* The Target class: the open shards of a stream as one place to put records. */
#ifndef STREAMSTORE_TARGET_H
#define STREAMSTORE_TARGET_H

#include "arguments.h"
#include "hot.h"

extern PyType_Spec ss_target_spec;

/* Fixed once made. log_count is 0 only in a Target that the garbage collector has cleared. */
typedef struct {
    PyObject_HEAD PyObject *shard_ids; /* tuple of exact str, one a log */
    PyObject *keepalive;               /* whatever keeps logs and ranges alive */
    const ss_ranges *ranges;
    ss_log **logs;
    uint32_t *shard_indexes; /* one a log */
    size_t log_count;
    uint64_t record_size_max;
    int sync;
    uint32_t terms;
} ss_target;

static inline PyObject *ss_target_shard_id(const ss_target *target, size_t log)
{
    return PyTuple_GetItem(target->shard_ids, (Py_ssize_t)log);
}

/* Say whether this put is to be durable: the target's rule, or the caller's wish. 1, 0, or -1 with an exception. */
int ss_target_wants_sync(const ss_target *target, PyObject *wish);

#endif
