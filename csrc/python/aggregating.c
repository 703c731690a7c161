/* Making aggregates out of a batch of entries: all are checked, routed to the ranges and grouped by them; then it is
 * planned what goes together; then all the bytes are written in one go without the GIL. Each release of the GIL may
 * cost a wait of milliseconds beside a busy thread, so there is one, however many aggregates there are.
 *
 * The entries are read from a tuple of our own, and entries that could change are copied, as for put_records. */
#include "aggregating.h"

#include <string.h>

#include "../aggregate.h"
#include "arguments.h"
#include "core_calls.h"
#include "hash_key.h"
#include "user_put.h"

/* Below this, releasing the GIL costs more than it gives. */
#define RELEASE_SIZE 16384

enum { ENTRIES, RANGES, RANGE_COUNT, SIZE_MAX_, COUNT_MAX, RECORD_SIZE_MAX, ARGUMENTS };

typedef struct {
    ss_hot_state *state;
    const ss_ranges *ranges;
    size_t range_count, count, size_max, count_max;
    uint64_t record_size_max;
    PyObject *tuple, *kept;
    uint8_t *block;              /* all arrays below, of a place an entry unless said otherwise */
    ss_entry *entries, *grouped; /* the same array where there is one range */
    ss_aggregate_plan *plans;    /* one a Kinesis record to be, over the grouped entries */
    PyObject **made;             /* its bytes where it is an aggregate; NULL where its one entry goes as it is */
    uint32_t *ranges_of;         /* which range it is for */
    size_t *ends;                /* by range: where its entries end in `grouped` */
    const uint8_t **keys;
    size_t *key_sizes;
    uint32_t *key_entries, *key_routes, *routes;
    uint32_t *order; /* by place in `grouped`: which entry it is; not there where there is one range */
    ss_aggregate_scratch scratch;
    size_t plan_count, size;
} aggregation;

static void *carve(uint8_t *block, size_t *used, size_t size)
{
    void *part = block == NULL ? NULL : block + *used;
    *used += size;
    return part;
}

/* Lay the arrays out in `block`; NULL measures. No size overflows: count is below 2^31. */
static size_t lay_out(aggregation *a, uint8_t *block)
{
    size_t used = 0, count = a->count, slots = (size_t)1 << a->scratch.bits;
    a->entries = carve(block, &used, count * sizeof *a->entries);
    a->grouped = a->range_count > 1 ? carve(block, &used, count * sizeof *a->grouped) : a->entries;
    a->plans = carve(block, &used, count * sizeof *a->plans);
    a->made = carve(block, &used, count * sizeof(PyObject *));
    a->keys = carve(block, &used, count * sizeof *a->keys);
    a->key_sizes = carve(block, &used, count * sizeof *a->key_sizes);
    a->ends = carve(block, &used, a->range_count * sizeof *a->ends);
    a->key_entries = carve(block, &used, count * sizeof *a->key_entries);
    a->key_routes = carve(block, &used, count * sizeof *a->key_routes);
    a->routes = carve(block, &used, count * sizeof *a->routes);
    a->ranges_of = carve(block, &used, count * sizeof *a->ranges_of);
    a->scratch.key_index = carve(block, &used, count * sizeof(uint32_t));
    a->scratch.hash_key_index = carve(block, &used, count * sizeof(uint32_t));
    a->scratch.key_table = carve(block, &used, slots * sizeof(uint32_t));
    a->scratch.hash_key_table = carve(block, &used, slots * sizeof(uint32_t));
    if (a->range_count > 1)
        a->order = carve(block, &used, count * sizeof *a->order);
    return used;
}

/* Which of what was given stands at that place of the grouped entries; borrowed. */
static PyObject *given_at(const aggregation *a, size_t place)
{
    return PyTuple_GetItem(a->tuple, (Py_ssize_t)(a->order == NULL ? place : a->order[place]));
}

static int take_arguments(aggregation *a, PyObject *const *values)
{
    uint64_t range_count, size_max, count_max;
    void *ranges;
    if (ss_arguments_pointer(values[RANGES], "ranges", &ranges) < 0 ||
        ss_arguments_u64(values[RANGE_COUNT], "range_count", UINT32_MAX, &range_count) < 0 ||
        ss_arguments_u64(values[SIZE_MAX_], "size_max", SS_AGGREGATE_SIZE_MAX, &size_max) < 0 ||
        ss_arguments_u64(values[COUNT_MAX], "count_max", UINT64_MAX, &count_max) < 0 ||
        ss_arguments_u64(values[RECORD_SIZE_MAX], "record_size_max", SIZE_MAX / 4, &a->record_size_max) < 0)
        return -1;
    a->ranges = ranges;
    a->range_count = ranges == NULL ? 1 : (size_t)range_count; /* one: all in one */
    a->size_max = (size_t)size_max;
    a->count_max = (size_t)count_max;
    a->tuple = ss_arguments_sequence(a->state, values[ENTRIES]);
    if (a->tuple == NULL)
        return -1;
    a->count = (size_t)PyTuple_Size(a->tuple);
    if (a->count > INT32_MAX) {
        PyErr_SetString(a->state->error_argument, "at most 2**31 - 1 records can be aggregated in one call");
        return -1;
    }
    a->scratch.bits = a->state->core->aggregates->table_bits(a->count, a->size_max, a->count_max);
    return 0;
}

/* The parts of what was given at a place: a UserPut, or an entry as put_records takes it. */
static int parts_at(aggregation *a, Py_ssize_t place, const ss_arguments_rules *rules, ss_arguments_parts *parts)
{
    PyObject *given = PyTuple_GetItem(a->tuple, place);
    if (PyObject_TypeCheck(given, a->state->user_put_type))
        return ss_user_put_parts(given, parts);
    return ss_arguments_split(rules, given, 3, &a->kept, parts);
}

static int take_entries(aggregation *a)
{
    ss_arguments_rules rules = {a->state, 0, a->record_size_max, 1};
    for (size_t i = 0; i < a->count; i++) {
        ss_arguments_parts parts;
        rules.index = (Py_ssize_t)i;
        if (parts_at(a, rules.index, &rules, &parts) < 0 ||
            ss_arguments_entry(&rules, &parts, &a->kept, &a->entries[i]) < 0)
            return -1;
        if (a->entries[i].key_size < 0) {
            PyErr_Format(a->state->error_argument, "entry %zd: only records with a partition key can be aggregated",
                         rules.index);
            return -1;
        }
    }
    return 0;
}

static int route(aggregation *a)
{
    const ss_function_table *core = a->state->core;
    size_t key_count = 0;
    if (a->range_count == 1)
        return 0;
    for (size_t i = 0; i < a->count; i++) {
        const ss_entry *entry = &a->entries[i];
        if (entry->hash_key_present) {
            a->routes[i] = core->ranges_route(a->ranges, (ss_hash_key){entry->hash_key_hi, entry->hash_key_lo});
        } else {
            a->keys[key_count] = entry->key;
            a->key_sizes[key_count] = (size_t)entry->key_size;
            a->key_entries[key_count++] = (uint32_t)i;
        }
    }
    core->ranges_route_keys(a->ranges, a->keys, a->key_sizes, key_count, a->key_routes);
    for (size_t i = 0; i < key_count; i++)
        a->routes[a->key_entries[i]] = a->key_routes[i];
    for (size_t i = 0; i < a->count; i++) {
        if (a->routes[i] >= a->range_count) {
            PyErr_SetString(PyExc_SystemError, "the ranges name one that is not among them");
            return -1;
        }
    }
    return 0;
}

/* A counting sort by range, which keeps the order within each. */
static void group(aggregation *a)
{
    size_t begin = 0;
    if (a->range_count == 1) {
        a->ends[0] = a->count;
        return;
    }
    for (size_t i = 0; i < a->count; i++)
        a->ends[a->routes[i]]++;
    for (size_t r = 0; r < a->range_count; r++) {
        size_t count = a->ends[r];
        a->ends[r] = begin;
        begin += count;
    }
    for (size_t i = 0; i < a->count; i++) {
        size_t place = a->ends[a->routes[i]]++;
        a->grouped[place] = a->entries[i];
        a->order[place] = (uint32_t)i;
    }
}

/* What goes together in each range. */
static void plan(aggregation *a)
{
    const ss_aggregate_calls *calls = a->state->core->aggregates;
    size_t begin = 0;
    for (size_t r = 0; r < a->range_count; r++) {
        while (begin < a->ends[r]) {
            ss_aggregate_plan *next = &a->plans[a->plan_count];
            a->ranges_of[a->plan_count++] = (uint32_t)r;
            calls->fit(a->grouped, begin, a->ends[r], a->size_max, a->count_max, &a->scratch, next);
            begin += next->count;
        }
    }
}

static int write_all(aggregation *a)
{
    for (size_t i = 0; i < a->plan_count; i++) {
        ss_aggregate_plan *own = &a->plans[i];
        if (own->count == 1)
            continue;
        a->made[i] = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)own->size);
        if (a->made[i] == NULL)
            return -1;
        own->out = (uint8_t *)PyBytes_AsString(a->made[i]);
        a->size += own->size;
    }
    PyThreadState *released = a->size > RELEASE_SIZE ? PyEval_SaveThread() : NULL;
    a->state->core->aggregates->write(a->grouped, a->plans, a->plan_count, &a->scratch);
    if (released != NULL)
        PyEval_RestoreThread(released);
    return 0;
}

/* The one record of a plan as it was given; data that could change has become bytes. */
static PyObject *raw_item(const aggregation *a, size_t index, PyObject *items)
{
    const size_t place = a->plans[index].begin;
    const ss_entry *entry = &a->grouped[place];
    PyObject *given = given_at(a, place), *data = NULL;
    if (PyObject_TypeCheck(given, a->state->user_put_type))
        data = ((const ss_user_put *)given)->data;
    else if (PyTuple_Check(given))
        data = PyTuple_GetItem(given, 0);
    if (data != NULL && PyBytes_CheckExact(data))
        Py_INCREF(data);
    else
        data = PyBytes_FromStringAndSize((const char *)entry->data, (Py_ssize_t)entry->data_size);
    return Py_BuildValue("(Ns#NkN)", data, (const char *)entry->key, (Py_ssize_t)entry->key_size,
                         ss_hash_key_or_none(entry->hash_key_present, entry->hash_key_hi, entry->hash_key_lo),
                         (unsigned long)a->ranges_of[index], items);
}

/* The outer key is `a`, which says nothing; the hash is the first record's, and always there. */
static PyObject *aggregate_item(const aggregation *a, size_t index, PyObject *items)
{
    const ss_entry *first = &a->grouped[a->plans[index].begin];
    ss_hash_key hash = first->hash_key_present ? (ss_hash_key){first->hash_key_hi, first->hash_key_lo}
                                               : a->state->core->ranges_hash(first->key, (size_t)first->key_size);
    PyObject *data = a->made[index];
    a->made[index] = NULL;
    return Py_BuildValue("(NsNkN)", data, "a", ss_hash_key_number(hash.hi, hash.lo), (unsigned long)a->ranges_of[index],
                         items);
}

static PyObject *result_of(aggregation *a)
{
    PyObject *list = PyList_New((Py_ssize_t)a->plan_count);
    for (size_t i = 0; list != NULL && i < a->plan_count; i++) {
        const ss_aggregate_plan *own = &a->plans[i];
        PyObject *items = PyList_New((Py_ssize_t)own->count), *item = NULL;
        for (size_t k = 0; items != NULL && k < own->count; k++) {
            PyObject *given = given_at(a, own->begin + k);
            Py_INCREF(given);
            PyList_SetItem(items, (Py_ssize_t)k, given);
        }
        if (items != NULL)
            item = a->made[i] == NULL ? raw_item(a, i, items) : aggregate_item(a, i, items);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, (Py_ssize_t)i, item);
    }
    return list;
}

PyObject *ss_aggregating(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"entries",   "ranges",          "range_count", "size_max",
                                             "count_max", "record_size_max", NULL};
    static const ss_arguments_signature signature = {"aggregate", parameters, ARGUMENTS, ARGUMENTS};
    PyObject *values[ARGUMENTS], *result = NULL;
    aggregation a = {.state = PyModule_GetState(module)};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(a.state) < 0)
        return NULL;
    if (take_arguments(&a, values) == 0) {
        a.block = PyMem_Calloc(1, lay_out(&a, NULL));
        if (a.block == NULL)
            PyErr_NoMemory();
        else
            lay_out(&a, a.block);
    }
    if (a.block != NULL && take_entries(&a) == 0 && route(&a) == 0) {
        group(&a);
        plan(&a);
        if (write_all(&a) == 0)
            result = result_of(&a);
    }
    for (size_t i = 0; i < a.plan_count; i++)
        Py_XDECREF(a.made[i]);
    PyMem_Free(a.block);
    Py_XDECREF(a.kept);
    Py_XDECREF(a.tuple);
    return result;
}
