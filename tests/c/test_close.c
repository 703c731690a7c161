/* The close frame: alone in its segment, read back by anybody, final; and the arrival floor of the logs that go on. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "logs.h"

static void close_log(ss_log *log, const char *data)
{
    ss_entry entry = {.data = (const uint8_t *)data, .data_size = strlen(data), .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, SS_APPEND_CLOSE, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, SS_APPEND_CLOSE, NULL, &appended), SS_SHARD_CLOSED);
}

static void check_data(ss_log *log, const char *data)
{
    uint8_t buffer[64];
    size_t size = 0;
    CHECK_EQUAL(ss_log_close_data(log, buffer, sizeof buffer, &size), SS_OK);
    CHECK_EQUAL(size, strlen(data));
    CHECK_BYTES(buffer, data, size);
    size = 0;
    CHECK_EQUAL(ss_log_close_data(log, buffer, 3, &size), SS_SMALL);
    CHECK_EQUAL(size, strlen(data));
}

/* Whatever the mode and the backend, with records or without: all before the frame is sealed and durable. */
static void check_close(int durability, int flags, uint64_t records)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, durability);
    for (uint64_t n = 0; n < records; n++)
        put(log, n);
    uint8_t byte;
    size_t size;
    CHECK_EQUAL(ss_log_close_data(log, &byte, 1, &size), SS_NOT_FOUND);
    close_log(log, "who goes on");
    check_data(log, "who goes on");
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.durable, state.tail);
    CHECK_EQUAL(state.record_count, records);
    CHECK_EQUAL(state.closed, 1);
    CHECK_EQUAL(state.tail - state.segment_base, 64); /* the frame and nothing else */
    ss_segment_info segments[8];
    size_t count = 0;
    CHECK_EQUAL(ss_log_segments(log, segments, 8, &count), SS_OK);
    CHECK_EQUAL(count, records ? 2 : 1);
    CHECK(segments[count - 1].disk_bytes <= 8192);
    read_all(log, 0, records);
    close_store(store);
    store = open_store(flags);
    log = open_log(store, durability);
    check_data(log, "who goes on");
    ss_recovery report;
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.in_place, 1); /* nothing of the close is still under way */
    read_all(log, 0, records);
    close_store(store);
    remove_root();
}

/* A log that goes on for another begins no earlier than that one ended, and remembers it in its first segment. */
static void check_floor(void)
{
    fresh_root();
    uint64_t floor = UINT64_C(4000000000000000); /* the year 2096 */
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS,
                              .segment_size_max = 256 << 10,
                              .record_size_max = 1 << 20,
                              .arrival_floor_us = floor};
    for (int round = 0; round < 2; round++) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = NULL;
        CHECK_EQUAL(ss_store_log(store, 1, 7, &options, &log), SS_OK);
        put(log, 0);
        ss_log_state state;
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.last_arrival_us, floor);
        uint64_t found = 0;
        CHECK_EQUAL(ss_log_seek_time(log, floor, &found), SS_OK);
        CHECK_EQUAL(found, SS_FIRST_POSITION);
        close_store(store);
        options.arrival_floor_us = 0;
    }
    ss_store *store = open_store(0);
    ss_log *log = NULL;
    options.arrival_floor_us = UINT64_C(1) << 52;
    CHECK_EQUAL(ss_store_log(store, 1, 7, &options, &log), SS_INVALID);
    close_store(store);
    remove_root();
}

int main(void)
{
    check_close(SS_DURABILITY_SYNC, 0, 500);
    check_close(SS_DURABILITY_INTERVAL, 0, 1);
    check_close(SS_DURABILITY_PROCESS, 0, 500);
    check_close(SS_DURABILITY_PROCESS, SS_OPEN_PWRITE, 500);
    check_close(SS_DURABILITY_SYNC, SS_OPEN_PWRITE, 0);
    check_close(SS_DURABILITY_PROCESS, 0, 0);
    check_floor();
    return check_report();
}
