/* _hot.get(): the record at one place of a log. */
#ifndef STREAMSTORE_GETTER_H
#define STREAMSTORE_GETTER_H

#include "core_calls.h"
#include "record_object.h"

/* One record being had by its place. The chunk and the shard id of `origin` are owned. */
typedef struct {
    ss_hot_state *state;
    ss_core_calls_get_request request;
    ss_record_object_origin origin;
    ss_record record;
    ss_read_result result;
    ss_status status;
} ss_getting;

/* Take over the arguments that such functions begin with: log, shard_index, shard_id, position. 0, or -1 with an
 * exception. */
int ss_getter_arguments(PyObject *const *values, ss_getting *g);
/* Read the frame there, whole and checked. 0 with the outcome in g->status, -1 with an exception. */
int ss_getter_read(ss_getting *g);

PyObject *ss_getter_get(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
