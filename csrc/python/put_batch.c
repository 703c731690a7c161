/* Target.put_records(): check all, route all, append shard by shard, make durable, and only then say what became of
 * each.
 *
 * The entries are read from a tuple of our own, and entries that could change are copied, so that no other thread
 * can take the memory away while the GIL is released. Scratch memory is one block: on the stack for small batches,
 * else one allocation. */
#include "put_batch.h"

#include <string.h>

#include "arguments.h"
#include "core_calls.h"
#include "put_results.h"
#include "target.h"

#define SCRATCH_ON_STACK 16384

/* What one shard gets: places [begin, begin + count) of the grouped entries. */
typedef struct {
    size_t begin;
    size_t count;
    size_t bytes;
    uint64_t end_position;
    ss_status status;
} share;

typedef struct {
    ss_hot_state *state;
    const ss_target *target;
    size_t count;
    ss_put_results_arrays results;
    share *shares;     /* one a shard */
    ss_entry *entries; /* as given */
    /* With several shards only: */
    ss_entry *grouped;    /* by shard, in the given order within each */
    const uint8_t **keys; /* of the entries that are placed by their key */
    size_t *key_sizes;
    uint64_t *group_positions; /* as the core returns them, along `grouped` */
    uint32_t *key_entries;     /* whose key it is */
    uint32_t *key_routes;
    uint32_t *order; /* entry at each place of `grouped` */
} batch;

/* Hand out the next part of the block, or only count it while there is none. Parts come by falling alignment. */
static void *carve(uint8_t *block, size_t *used, size_t size)
{
    void *part = block == NULL ? NULL : block + *used;
    *used += size;
    return part;
}

/* Lay the arrays out in `block`; NULL measures. Returns the size, which cannot overflow: count is below 2^32. */
static size_t lay_out(batch *b, uint8_t *block)
{
    size_t used = 0, count = b->count;
    b->shares = carve(block, &used, b->target->log_count * sizeof *b->shares);
    b->entries = carve(block, &used, count * sizeof *b->entries);
    if (b->target->log_count == 1)
        return used;
    b->grouped = carve(block, &used, count * sizeof *b->grouped);
    b->keys = carve(block, &used, count * sizeof *b->keys);
    b->key_sizes = carve(block, &used, count * sizeof *b->key_sizes);
    b->group_positions = carve(block, &used, count * sizeof *b->group_positions);
    b->key_entries = carve(block, &used, count * sizeof *b->key_entries);
    b->key_routes = carve(block, &used, count * sizeof *b->key_routes);
    b->order = carve(block, &used, count * sizeof *b->order);
    return used;
}

_Static_assert(sizeof(size_t) == 8 && sizeof(share) % 8 == 0 && sizeof(ss_entry) % 8 == 0,
               "parts of the block stay aligned");

static int take_entries(batch *b, PyObject *entries, PyObject *blocks, PyObject **kept)
{
    ss_arguments_rules rules = {b->state, 0, b->target->record_size_max, b->target->log_count == 1};
    for (size_t i = 0; i < b->count; i++) {
        ss_arguments_parts parts;
        rules.index = (Py_ssize_t)i;
        if (ss_arguments_split(&rules, PyTuple_GetItem(entries, rules.index), 3, kept, &parts) < 0)
            return -1;
        parts.attribute_block = blocks == NULL ? NULL : PyTuple_GetItem(blocks, rules.index);
        if (ss_arguments_entry(&rules, &parts, kept, &b->entries[i]) < 0)
            return -1;
    }
    return 0;
}

/* Fill results.routes: explicit hash keys one by one, partition keys hashed together. */
static int route(batch *b)
{
    const ss_function_table *core = b->state->core;
    size_t key_count = 0;
    for (size_t i = 0; i < b->count; i++) {
        const ss_entry *entry = &b->entries[i];
        if (entry->hash_key_present) {
            b->results.routes[i] = core->ranges_route(b->target->ranges,
                                                      (ss_hash_key){entry->hash_key_hi, entry->hash_key_lo});
        } else {
            b->keys[key_count] = entry->key;
            b->key_sizes[key_count] = (size_t)entry->key_size;
            b->key_entries[key_count++] = (uint32_t)i;
        }
    }
    if (key_count > 0)
        core->ranges_route_keys(b->target->ranges, b->keys, b->key_sizes, key_count, b->key_routes);
    for (size_t i = 0; i < key_count; i++)
        b->results.routes[b->key_entries[i]] = b->key_routes[i];
    for (size_t i = 0; i < b->count; i++) {
        if (b->results.routes[i] >= b->target->log_count) {
            PyErr_SetString(PyExc_SystemError, "the ranges name a shard that the target does not have");
            return -1;
        }
    }
    return 0;
}

/* A counting sort by shard, which keeps the order within each. */
static void group(batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        share *owner = &b->shares[b->results.routes[i]];
        owner->count++;
        owner->bytes += b->entries[i].data_size;
    }
    if (b->target->log_count == 1) {
        b->grouped = b->entries;
        return;
    }
    size_t begin = 0;
    for (size_t s = 0; s < b->target->log_count; s++) {
        b->shares[s].begin = begin;
        begin += b->shares[s].count;
        b->shares[s].count = 0; /* counts up again below */
    }
    for (size_t i = 0; i < b->count; i++) {
        share *owner = &b->shares[b->results.routes[i]];
        size_t place = owner->begin + owner->count++;
        b->grouped[place] = b->entries[i];
        b->order[place] = (uint32_t)i;
    }
}

/* Append one shard's share. Its failure is left in its status; -1 only for the exception of a signal handler. */
static int append_share(batch *b, size_t s)
{
    share *own = &b->shares[s];
    int alone = b->target->log_count == 1;
    uint64_t *positions = alone ? b->results.positions : b->group_positions + own->begin;
    ss_core_calls_batch call = {
        b->target->logs[s], b->grouped + own->begin, own->count, own->bytes, 0, b->target->terms, 0};
    ss_appended appended;
    if (ss_core_calls_append(b->state, &call, positions, &appended, &own->status) < 0)
        return -1;
    if (own->status != SS_OK)
        return 0;
    own->end_position = appended.end_position;
    b->results.parts[s] = (ss_put_results_part){appended.epoch, appended.arrival_us, b->target->shard_indexes[s]};
    for (size_t place = own->begin; !alone && place < own->begin + own->count; place++)
        b->results.positions[b->order[place]] = b->group_positions[place];
    return 0;
}

/* Append all, then sync all, so that one shard's sync delays no other's records. *failed: some share has a status. */
static int write_shares(batch *b, int sync, int *failed)
{
    for (size_t s = 0; s < b->target->log_count; s++)
        if (b->shares[s].count > 0 && append_share(b, s) < 0)
            return -1;
    for (size_t s = 0; s < b->target->log_count; s++) {
        share *own = &b->shares[s];
        if (sync && own->count > 0 && own->status == SS_OK &&
            ss_core_calls_sync(b->state, b->target->logs[s], own->end_position, &own->status) < 0)
            return -1;
        *failed |= own->status != SS_OK;
    }
    return 0;
}

/* Hand what became of each entry to the bound function, which raises. Always NULL. */
static PyObject *raise_partial(const batch *b, PyObject *results)
{
    PyObject *list = PyList_New((Py_ssize_t)b->count);
    if (list == NULL)
        return NULL;
    for (size_t i = 0; i < b->count; i++) {
        ss_status status = b->shares[b->results.routes[i]].status;
        PyObject *item = status == SS_OK ? ss_put_results_item(results, i) : PyLong_FromLong(status);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    PyObject *returned = PyObject_CallFunctionObjArgs(b->state->partial_put, list, NULL);
    Py_DECREF(list);
    if (returned != NULL) {
        Py_DECREF(returned);
        PyErr_SetString(PyExc_SystemError, "partial_put() returned instead of raising");
    }
    return NULL;
}

/* The whole of a put, in `block`. A new PutResults, or NULL. */
static PyObject *put(batch *b, PyObject *entries, PyObject *blocks, int sync)
{
    PyObject *kept = NULL;
    PyObject *results = ss_put_results_new(b->state, b->target->shard_ids, b->count, &b->results);
    if (results == NULL)
        return NULL;
    memset(b->shares, 0, b->target->log_count * sizeof *b->shares);
    int failed = 0, done = -1;
    if (take_entries(b, entries, blocks, &kept) == 0 && (b->target->log_count == 1 || route(b) == 0)) {
        group(b);
        done = write_shares(b, sync, &failed);
    }
    if (done == 0 && failed)
        raise_partial(b, results);
    if (done < 0 || failed)
        Py_CLEAR(results);
    Py_XDECREF(kept);
    return results;
}

static PyObject *put_in_scratch(batch *b, PyObject *entries, PyObject *blocks, int sync)
{
    _Alignas(16) uint8_t small[SCRATCH_ON_STACK];
    size_t size = lay_out(b, NULL);
    uint8_t *block = size <= sizeof small ? small : PyMem_Malloc(size);
    if (block == NULL)
        return PyErr_NoMemory();
    lay_out(b, block);
    PyObject *results = put(b, entries, blocks, sync);
    if (block != small)
        PyMem_Free(block);
    return results;
}

/* One block an entry, as a tuple of our own; NULL and no exception for None. */
static int take_blocks(ss_hot_state *state, PyObject *blocks, size_t count, PyObject **out)
{
    *out = NULL;
    if (blocks == NULL || blocks == Py_None)
        return 0;
    PyObject *tuple = ss_arguments_sequence(state, blocks);
    if (tuple == NULL)
        return -1;
    if ((size_t)PyTuple_Size(tuple) != count) {
        PyErr_Format(state->error_argument, "attribute_blocks has %zd items for %zu entries", PyTuple_Size(tuple),
                     count);
        Py_DECREF(tuple);
        return -1;
    }
    *out = tuple;
    return 0;
}

PyObject *ss_put_batch(PyObject *self, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"entries", "attribute_blocks", "sync", NULL};
    static const ss_arguments_signature signature = {"put_records", parameters, 1, 3};
    PyObject *values[3], *blocks;
    batch b = {.state = ss_hot_state_of(self), .target = (const ss_target *)self};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(b.state) < 0)
        return NULL;
    if (b.target->log_count == 0)
        return ss_core_calls_raise(b.state, SS_CLOSED, "put_records");
    int sync = ss_target_wants_sync(b.target, values[2]);
    if (sync < 0)
        return NULL;
    PyObject *entries = ss_arguments_sequence(b.state, values[0]);
    if (entries == NULL)
        return NULL;
    b.count = (size_t)PyTuple_Size(entries);
    PyObject *results = NULL;
    if (b.count > UINT32_MAX)
        PyErr_SetString(b.state->error_argument, "a batch holds at most 2**32 - 1 entries");
    else if (take_blocks(b.state, values[1], b.count, &blocks) == 0) {
        results = put_in_scratch(&b, entries, blocks, sync);
        Py_XDECREF(blocks);
    }
    Py_DECREF(entries);
    return results;
}
