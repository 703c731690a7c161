/* From Python arguments to the core's entries: binding, conversion and every check on what a caller hands in. */
#ifndef STREAMSTORE_ARGUMENTS_H
#define STREAMSTORE_ARGUMENTS_H

#include "hot.h"

/* The parameters of a function; `names` ends with NULL. */
typedef struct {
    const char *function;
    const char *const *names;
    Py_ssize_t required;
    Py_ssize_t count;
} ss_arguments_signature;

/* Fill `values` (borrowed, NULL where not given). 0, or -1 with TypeError. */
int ss_arguments_bind(const ss_arguments_signature *signature, PyObject *const *args, Py_ssize_t arg_count,
                      PyObject *names, PyObject **values);
/* 0, or -1 with TypeError or ValueError that names the argument. */
int ss_arguments_u64(PyObject *value, const char *name, uint64_t max, uint64_t *out);
int ss_arguments_pointer(PyObject *value, const char *name, void **out);

/* What an entry is checked against. `index` is its place in a batch, or -1 for a single record. */
typedef struct {
    ss_hot_state *state;
    Py_ssize_t index;
    uint64_t record_size_max;
    int shard_known; /* one open shard: an entry needs nothing that places it */
} ss_arguments_rules;

/* The parts of one entry, borrowed; NULL or None where absent. */
typedef struct {
    PyObject *data;
    PyObject *partition_key;
    PyObject *explicit_hash_key;
    PyObject *attribute_block;
} ss_arguments_parts;

/* Any iterable as a tuple of our own, or NULL with the error raised. */
PyObject *ss_arguments_sequence(const ss_hot_state *state, PyObject *entries);
/* The parts of an entry of 2 to `items_max` items (what is behind the third is the caller's own), borrowed from it or,
 * where it can change, from a copy in *kept. 0, or -1 with the error raised. */
int ss_arguments_split(const ss_arguments_rules *rules, PyObject *entry, Py_ssize_t items_max, PyObject **kept,
                       ss_arguments_parts *parts);
/* Fill *entry with pointers into the parts, which must outlive it. Copies of mutable data are appended to the list
 * *kept, made when needed. 0, or -1 with the error raised. */
int ss_arguments_entry(const ss_arguments_rules *rules, const ss_arguments_parts *parts, PyObject **kept,
                       ss_entry *entry);
/* None, or an int of 128 bits, as an entry holds it. */
int ss_arguments_hash_key(const ss_arguments_rules *rules, PyObject *value, ss_entry *entry);

#endif
