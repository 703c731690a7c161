/* The Record class: one record of a chunk that was read, immutable, decoded when looked at. */
#ifndef STREAMSTORE_RECORD_OBJECT_H
#define STREAMSTORE_RECORD_OBJECT_H

#include "../aggregate.h"
#include "hot.h"

extern PyType_Spec ss_record_object_spec;

/* Where the records of one chunk come from; `chunk` is exactly bytes, `shard_id` exactly str. */
typedef struct {
    PyObject *chunk;
    PyObject *shard_id;
    uint32_t shard_index;
} ss_record_object_origin;

/* A new Record; offsets in `fields` count from the start of the chunk and lie inside it. */
PyObject *ss_record_object_new(ss_hot_state *state, const ss_record_object_origin *origin, const ss_record *fields);
/* A new Record for one user record of the aggregate that is this Record's data: all else is the aggregate's. */
PyObject *ss_record_object_part(ss_hot_state *state, PyObject *object, const ss_aggregate_record *user, uint32_t part,
                                uint32_t part_count);
/* Say which part of an aggregate a Record is that nobody has seen yet. */
void ss_record_object_part_set(PyObject *record, uint32_t part, uint32_t part_count);
/* Free the dead Records that were kept for reuse. */
void ss_record_object_forget(ss_hot_state *state);

/* The fields of a Record and, borrowed, where it comes from; NULL with TypeError for any other object. */
const ss_record *ss_record_object_parts(const ss_hot_state *state, PyObject *object, ss_record_object_origin *origin);

#endif
