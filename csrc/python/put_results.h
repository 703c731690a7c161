/* The PutResults class: the results of a batch as arrays; a PutResult is built when one is looked at. */
#ifndef STREAMSTORE_PUT_RESULTS_H
#define STREAMSTORE_PUT_RESULTS_H

#include "put_result.h"

extern PyType_Spec ss_put_results_spec;

/* One shard's share of the batch. */
typedef struct {
    uint64_t epoch;
    uint64_t arrival_us;
    uint32_t shard_index;
} ss_put_results_part;

/* The arrays of a PutResults that is being filled, `count` places and routes, `part_count` parts. */
typedef struct {
    uint64_t *positions; /* by entry */
    uint32_t *routes;    /* by entry: its part */
    ss_put_results_part *parts;
    size_t count;
    size_t part_count;
} ss_put_results_arrays;

/* New results of `count` entries over the shards in the tuple `shard_ids` (exact str, one a part); all arrays are
 * zero. */
PyObject *ss_put_results_new(ss_hot_state *state, PyObject *shard_ids, size_t count, ss_put_results_arrays *arrays);
/* The result of one entry, a new reference. */
PyObject *ss_put_results_item(PyObject *results, size_t index);
/* _hot.make_put_results(): from a tuple of PutResult, as pickle calls it. */
PyObject *ss_put_results_make(PyObject *module, PyObject *items);

#endif
