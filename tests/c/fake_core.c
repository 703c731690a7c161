/* A core of memory behind the function table, for the tests of the _hot extension: logs on the heap, and any answer on
 * request. Knows no files, no format and no Python; built and loaded by tests/fake_core.py. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "streamstore.h"

/* What a script speaks of, and what is counted. */
enum { FAKE_APPEND_TRY, FAKE_APPEND, FAKE_SYNC, FAKE_READ, FAKE_GET, FAKE_STATE, FAKE_CALLS };

#define FAKE_EPOCH 1700000000000000
#define FAKE_WAIT_MAX_MS 20000

struct ss_log {
    pthread_mutex_t lock;
    uint8_t *bytes; /* frames one after another; a frame is 48 zero bytes, attributes, key, data, padding to 8 */
    size_t size;
    size_t room;
    ss_record *records; /* offsets count from the frame */
    size_t count;
    size_t record_room;
    uint64_t synced; /* the last position given to sync */
    uint64_t damage_begin;
    uint64_t damage_end;
    int closed;
    int status[FAKE_CALLS]; /* given for the next `times` calls */
    int times[FAKE_CALLS];
    int gate[FAKE_CALLS]; /* 1: the next call waits until it is 0 */
    int calls[FAKE_CALLS];
    int waiting; /* calls that wait at a gate */
};

struct ss_ranges {
    uint32_t count;
    int broken; /* route everything beyond the last shard */
};

#define FAKE_EXPORT __attribute__((visibility("default")))

FAKE_EXPORT ss_log *fake_core_log_new(void);
FAKE_EXPORT void fake_core_log_free(ss_log *log);
FAKE_EXPORT void fake_core_script(ss_log *log, int call, int status, int times);
FAKE_EXPORT void fake_core_gate(ss_log *log, int call, int shut);
FAKE_EXPORT int fake_core_waiting(ss_log *log);
FAKE_EXPORT int fake_core_calls(const ss_log *log, int call);
FAKE_EXPORT uint64_t fake_core_synced(const ss_log *log);
FAKE_EXPORT uint64_t fake_core_count(const ss_log *log);
FAKE_EXPORT void fake_core_damage(ss_log *log, uint64_t begin, uint64_t end);
FAKE_EXPORT void fake_core_close(ss_log *log);
FAKE_EXPORT void fake_core_seal(ss_log *log);
FAKE_EXPORT ss_ranges *fake_core_ranges_new(uint32_t count, int broken);
FAKE_EXPORT void fake_core_ranges_free(ss_ranges *ranges);
FAKE_EXPORT const ss_function_table *fake_core_functions(void);
FAKE_EXPORT const ss_function_table *fake_core_functions_of_another_build(void);

ss_log *fake_core_log_new(void)
{
    ss_log *log = calloc(1, sizeof *log);
    if (log == NULL)
        abort();
    pthread_mutex_init(&log->lock, NULL);
    return log;
}

void fake_core_log_free(ss_log *log)
{
    pthread_mutex_destroy(&log->lock);
    free(log->bytes);
    free(log->records);
    free(log);
}

void fake_core_script(ss_log *log, int call, int status, int times)
{
    log->status[call] = status;
    log->times[call] = times;
}

void fake_core_gate(ss_log *log, int call, int shut)
{
    pthread_mutex_lock(&log->lock);
    log->gate[call] = shut;
    pthread_mutex_unlock(&log->lock);
}

int fake_core_waiting(ss_log *log)
{
    pthread_mutex_lock(&log->lock);
    int waiting = log->waiting;
    pthread_mutex_unlock(&log->lock);
    return waiting;
}

int fake_core_calls(const ss_log *log, int call)
{
    return log->calls[call];
}

uint64_t fake_core_synced(const ss_log *log)
{
    return log->synced;
}

uint64_t fake_core_count(const ss_log *log)
{
    return log->count;
}

void fake_core_damage(ss_log *log, uint64_t begin, uint64_t end)
{
    log->damage_begin = begin;
    log->damage_end = end;
}

void fake_core_close(ss_log *log)
{
    log->closed = 1;
}

/* All records so far are encrypted ones; the seal of each stands where its data begins. */
void fake_core_seal(ss_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        log->records[i].seal_offset = log->records[i].data_offset;
}

/* Wait at the gate of `call` if it is shut: without the GIL, or nobody could open it. */
static ss_status pass_gate(ss_log *log, int call)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    pthread_mutex_lock(&log->lock);
    log->calls[call]++;
    log->waiting++;
    for (int i = 0; log->gate[call]; i++) {
        pthread_mutex_unlock(&log->lock);
        if (i == FAKE_WAIT_MAX_MS)
            abort();
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&log->lock);
    }
    log->waiting--;
    ss_status status = SS_OK;
    if (log->times[call] > 0) {
        log->times[call]--;
        status = log->status[call];
    }
    pthread_mutex_unlock(&log->lock);
    if (status == SS_INTERRUPTED)
        raise(SIGUSR1);
    return status;
}

static void *grow(void *memory, size_t *room, size_t wanted, size_t item)
{
    if (wanted <= *room)
        return memory;
    *room = wanted * 2;
    memory = realloc(memory, *room * item);
    if (memory == NULL)
        abort();
    return memory;
}

static uint8_t *put(uint8_t *to, const uint8_t *from, size_t size)
{
    if (size > 0)
        memcpy(to, from, size);
    return to + size;
}

static void append_one(ss_log *log, const ss_entry *entry)
{
    size_t key_size = entry->key_size < 0 ? 0 : (size_t)entry->key_size;
    size_t parts = entry->attributes_size + key_size + entry->data_size;
    size_t size = (SS_FRAME_HEADER_SIZE + parts + 7) / 8 * 8;
    log->bytes = grow(log->bytes, &log->room, log->size + size, 1);
    log->records = grow(log->records, &log->record_room, log->count + 1, sizeof *log->records);
    uint8_t *frame = log->bytes + log->size;
    memset(frame, 0, size);
    uint8_t *at = put(frame + SS_FRAME_HEADER_SIZE, entry->attributes, entry->attributes_size);
    at = put(at, entry->key, key_size);
    put(at, entry->data, entry->data_size);
    ss_record *record = &log->records[log->count++];
    *record = (ss_record){.position = SS_FIRST_POSITION + log->size,
                          .epoch = FAKE_EPOCH,
                          .arrival_us = FAKE_EPOCH + log->count,
                          .ordinal = log->count,
                          .frame_size = (uint32_t)size,
                          .attributes_offset = SS_FRAME_HEADER_SIZE,
                          .attributes_size = entry->attributes_size,
                          .key_size = entry->key_size,
                          .data_size = (uint32_t)entry->data_size,
                          .type = SS_FRAME_DATA};
    record->key_offset = record->attributes_offset + record->attributes_size;
    record->data_offset = record->key_offset + (uint32_t)key_size;
    record->hash_key_present = (uint16_t)entry->hash_key_present;
    record->hash_key_hi = entry->hash_key_hi;
    record->hash_key_lo = entry->hash_key_lo;
    log->size += size;
}

static ss_status fake_append(ss_log *log, uint32_t terms, const ss_entry *entries, size_t count, uint64_t expected_tail,
                             int flags, uint64_t *positions, ss_appended *out)
{
    (void)expected_tail;
    (void)terms;
    ss_status status = pass_gate(log, flags & SS_APPEND_TRY ? FAKE_APPEND_TRY : FAKE_APPEND);
    if (status != SS_OK)
        return status;
    if (log->closed)
        return SS_SHARD_CLOSED;
    pthread_mutex_lock(&log->lock);
    out->epoch = FAKE_EPOCH;
    out->first_position = SS_FIRST_POSITION + log->size;
    for (size_t i = 0; i < count; i++) {
        append_one(log, &entries[i]);
        if (positions != NULL)
            positions[i] = log->records[log->count - 1].position;
    }
    out->end_position = SS_FIRST_POSITION + log->size;
    out->arrival_us = log->records[log->count - 1].arrival_us;
    pthread_mutex_unlock(&log->lock);
    return SS_OK;
}

static ss_status fake_sync(ss_log *log, uint64_t end_position)
{
    ss_status status = pass_gate(log, FAKE_SYNC);
    if (status == SS_OK)
        log->synced = end_position;
    return status;
}

static size_t first_at(const ss_log *log, uint64_t position)
{
    size_t low = 0, high = log->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->records[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Deliver record `index` at `used` of the buffer. */
static void deliver(const ss_log *log, size_t index, uint8_t *buffer, ss_record *record, size_t used)
{
    *record = log->records[index];
    memcpy(buffer + used, log->bytes + (record->position - SS_FIRST_POSITION), record->frame_size);
    record->frame_offset = (uint32_t)used;
    record->attributes_offset += (uint32_t)used;
    record->key_offset += (uint32_t)used;
    record->data_offset += (uint32_t)used;
    record->seal_offset += record->seal_offset ? (uint32_t)used : 0;
}

static ss_status fake_read(ss_log *log, uint64_t position, uint64_t end, uint8_t *buffer, size_t buffer_size,
                           ss_record *records, size_t limit, ss_read_result *result)
{
    ss_status status = pass_gate(log, FAKE_READ);
    if (status != SS_OK)
        return status;
    uint64_t visible = SS_FIRST_POSITION + log->size;
    ss_read_result got = {.next_position = position, .visible = visible};
    for (size_t i = first_at(log, position); i < log->count && got.count < limit; i++) {
        const ss_record *record = &log->records[i];
        if (end != 0 && record->position >= end)
            break;
        if (log->damage_end > record->position) {
            if (record->position >= log->damage_begin) {
                got.damage_begin = log->damage_begin;
                got.damage_end = log->damage_end;
                *result = got;
                return SS_CORRUPT;
            }
        }
        if (record->frame_size > buffer_size - got.used) {
            if (got.count > 0)
                break;
            result->size_needed = record->frame_size;
            return SS_SMALL;
        }
        deliver(log, i, buffer, &records[got.count++], got.used);
        got.used += record->frame_size;
        got.sealed |= record->seal_offset != 0;
        got.next_position = record->position + record->frame_size;
    }
    got.end_of_log = log->closed && got.next_position == visible;
    *result = got;
    return SS_OK;
}

static ss_status fake_get(ss_log *log, uint64_t position, uint64_t epoch, uint8_t *buffer, size_t buffer_size,
                          ss_record *record, ss_read_result *result)
{
    ss_status status = pass_gate(log, FAKE_GET);
    if (status != SS_OK)
        return status;
    size_t index = first_at(log, position);
    if (index == log->count || log->records[index].position != position || (epoch && epoch != FAKE_EPOCH))
        return SS_NOT_FOUND;
    uint32_t size = log->records[index].frame_size;
    *result = (ss_read_result){.size_needed = size};
    if (size > buffer_size)
        return SS_SMALL;
    deliver(log, index, buffer, record, 0);
    *result = (ss_read_result){.count = 1, .used = size, .next_position = position + size};
    return SS_OK;
}

static ss_status fake_state(ss_log *log, ss_log_state *out)
{
    ss_status status = pass_gate(log, FAKE_STATE);
    uint64_t end = SS_FIRST_POSITION + log->size;
    if (status == SS_OK)
        *out = (ss_log_state){.tail = end, .visible = end, .record_count = log->count, .closed = log->closed};
    return status;
}

ss_ranges *fake_core_ranges_new(uint32_t count, int broken)
{
    ss_ranges *ranges = calloc(1, sizeof *ranges);
    if (ranges == NULL)
        abort();
    ranges->count = count;
    ranges->broken = broken;
    return ranges;
}

void fake_core_ranges_free(ss_ranges *ranges)
{
    free(ranges);
}

/* FNV-1a in the high word: any hash will do, as long as the test computes the same. */
static ss_hash_key fake_hash(const void *key, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *)key)[i]) * UINT64_C(0x100000001b3);
    return (ss_hash_key){hash, 0};
}

static uint32_t fake_route(const ss_ranges *ranges, ss_hash_key key)
{
    return ranges->broken ? ranges->count : (uint32_t)(key.hi % ranges->count);
}

static void fake_route_keys(const ss_ranges *ranges, const uint8_t *const *keys, const size_t *key_sizes, size_t count,
                            uint32_t *shards_out)
{
    for (size_t i = 0; i < count; i++)
        shards_out[i] = fake_route(ranges, fake_hash(keys[i], key_sizes[i]));
}

static uint64_t fake_clock(void)
{
    return 0;
}

static const ss_function_table functions = {
    .version = SS_FUNCTIONS_VERSION,
    .size = sizeof(ss_function_table),
    .log_append = fake_append,
    .log_sync = fake_sync,
    .log_read = fake_read,
    .log_get = fake_get,
    .log_state = fake_state,
    .ranges_route = fake_route,
    .ranges_route_keys = fake_route_keys,
    .ranges_hash = fake_hash,
    .monotonic_us = fake_clock,
};

static const ss_function_table functions_of_another_build = {.version = SS_FUNCTIONS_VERSION + 1,
                                                             .size = sizeof(ss_function_table)};

const ss_function_table *fake_core_functions(void)
{
    return &functions;
}

const ss_function_table *fake_core_functions_of_another_build(void)
{
    return &functions_of_another_build;
}
