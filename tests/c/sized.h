/* Records of chosen sizes, each its own oracle, and a check of all that a log holds by every way in. The user defines
 * _GNU_SOURCE. */
#ifndef STREAMSTORE_SIZED_H
#define STREAMSTORE_SIZED_H

#include "format.h"
#include "logs.h"

enum { RECORDS_MAX = 256, BUFFER = 4 << 20 };

static size_t sizes[RECORDS_MAX]; /* what each record of the log under test holds */
static size_t put_count;
static uint8_t buffer[BUFFER];

static inline void fill_data(size_t n, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(n * 31 + i * 7 + 1);
}

static inline ss_status put_sized(ss_log *log, size_t size, ss_appended *out)
{
    static uint8_t data[BUFFER];
    fill_data(put_count, data, size);
    const ss_entry entry = {.data = data, .data_size = size, .key_size = -1};
    ss_status status = ss_log_append(log, &entry, 1, 0, 0, NULL, out);
    if (status == SS_OK)
        sizes[put_count++] = size;
    return status;
}

static inline uint64_t tail_of(ss_log *log)
{
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    return state.tail;
}

/* Every record from number n, which is at or behind `position`: its bytes and its ordinal, by reading on, by get, and
 * by seeking it. */
static inline void check_from(ss_log *log, uint64_t position, size_t n)
{
    static uint8_t data[BUFFER], again[BUFFER];
    ss_record records[16], one;
    ss_read_result result, found;
    ss_status status;
    while ((status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 16, &result)) == SS_OK &&
           (result.count || result.next_position > position)) {
        for (size_t i = 0; i < result.count; i++, n++) {
            uint64_t at = 0;
            fill_data(n, data, sizes[n]);
            CHECK_EQUAL(records[i].data_size, sizes[n]);
            CHECK_BYTES(buffer + records[i].data_offset, data, sizes[n]);
            CHECK_EQUAL(records[i].ordinal, n + 1);
            CHECK_EQUAL(ss_log_get(log, records[i].position, records[i].epoch, again, sizeof again, &one, &found),
                        SS_OK);
            CHECK_BYTES(again + one.data_offset, data, sizes[n]);
            CHECK_EQUAL(ss_log_seek(log, records[i].position, &at), SS_OK);
            CHECK_EQUAL(at, records[i].position);
            CHECK_EQUAL(ss_log_seek_ordinal(log, n + 1, &at), SS_OK);
            CHECK_EQUAL(at, records[i].position);
        }
        position = result.next_position;
    }
    CHECK_EQUAL(status, SS_OK);
    CHECK_EQUAL(n, put_count);
    CHECK_EQUAL(position, tail_of(log));
}

static inline void check_all(ss_log *log)
{
    ss_log_state state;
    size_t damaged = 1;
    ss_verify_totals totals;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    if (state.durability == SS_DURABILITY_SYNC && state.durable < state.tail)
        CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    check_from(log, state.start, 0);
    CHECK_EQUAL(ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals), SS_OK);
    CHECK_EQUAL(damaged, 0);
}

#endif
