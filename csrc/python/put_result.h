/* What a put gives back: PutResult for one record, PutResults for a batch. */
#ifndef STREAMSTORE_PUT_RESULT_H
#define STREAMSTORE_PUT_RESULT_H

#include "hot.h"

extern PyType_Spec ss_put_result_spec;

/* Where one record went; `shard_id` is exactly str and borrowed. */
typedef struct {
    PyObject *shard_id;
    uint64_t epoch;
    uint64_t position;
    uint64_t arrival_us;
    uint32_t shard_index;
} ss_put_result_place;

PyObject *ss_put_result_new(ss_hot_state *state, const ss_put_result_place *place);
/* The place of a PutResult, borrowed from it. */
const ss_put_result_place *ss_put_result_place_of(PyObject *result);
/* _hot.make_put_result(): as pickle calls it. */
PyObject *ss_put_result_make(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
