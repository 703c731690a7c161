/* Logs at the edges of what they can count: sizes, positions, epochs, ordinals and times at the last value that there
 * is, and one beyond. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>

#include "log.h"
#include "sized.h"

/* ---- Sizes ---- */

static void check_sizes(void)
{
    static uint8_t data[(1 << 20) + 1], key[SS_KEY_SIZE_MAX + 1], attributes[SS_ATTRIBUTES_SIZE_MAX + 1];
    const size_t largest = 1 << 20;
    const struct {
        size_t data;
        int32_t key;
        uint32_t attributes;
        int expected;
    } cases[] = {
        {0, -1, 0, SS_OK},
        {0, 0, 0, SS_OK},
        {1, -1, 0, SS_OK},
        {0, 1, 0, SS_OK},
        {largest - 1, -1, 0, SS_OK},
        {largest, -1, 0, SS_OK},
        {largest + 1, -1, 0, SS_TOO_LARGE},
        {largest, 0, 0, SS_OK},
        {largest, 1, 0, SS_TOO_LARGE},
        {largest - 1, 1, 0, SS_OK},
        {largest - SS_KEY_SIZE_MAX, SS_KEY_SIZE_MAX, SS_ATTRIBUTES_SIZE_MAX, SS_OK},
        {0, SS_KEY_SIZE_MAX - 1, 0, SS_OK},
        {0, SS_KEY_SIZE_MAX, 0, SS_OK},
        {0, SS_KEY_SIZE_MAX + 1, 0, SS_TOO_LARGE},
        {0, -2, 0, SS_TOO_LARGE},
        {0, INT32_MIN, 0, SS_TOO_LARGE},
        {0, INT32_MAX, 0, SS_TOO_LARGE},
        {0, -1, SS_ATTRIBUTES_SIZE_MAX, SS_OK},
        {0, -1, SS_ATTRIBUTES_SIZE_MAX + 1, SS_TOO_LARGE},
        {0, -1, UINT32_MAX, SS_TOO_LARGE},
        {SIZE_MAX, -1, 0, SS_TOO_LARGE},
        {SIZE_MAX, SS_KEY_SIZE_MAX, SS_ATTRIBUTES_SIZE_MAX, SS_TOO_LARGE},
    };
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ss_entry entry = {.data = data,
                          .data_size = cases[i].data,
                          .key = key,
                          .key_size = cases[i].key,
                          .attributes = attributes,
                          .attributes_size = cases[i].attributes};
        uint64_t before = tail_of(log), position;
        ss_appended appended;
        CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, &position, &appended), cases[i].expected);
        if (cases[i].expected != SS_OK) {
            CHECK_EQUAL(tail_of(log), before);
            continue;
        }
        ss_record record;
        ss_read_result result;
        CHECK_EQUAL(ss_log_get(log, position, 0, buffer, sizeof buffer, &record, &result), SS_OK);
        CHECK_EQUAL(record.data_size, cases[i].data);
        CHECK_EQUAL(record.key_size, cases[i].key);
        CHECK_EQUAL(record.attributes_size, cases[i].attributes);
    }
    CHECK_EQUAL(ss_log_append(log, NULL, 0, 0, 0, NULL, &(ss_appended){0}), SS_INVALID);
    close_store(store);
    remove_root();
}

/* ---- Positions ---- */

static ss_log *open_from(ss_store *store, uint64_t start, uint64_t epoch_floor)
{
    ss_log *log = NULL;
    const ss_log_options options = {.durability = SS_DURABILITY_PROCESS,
                                    .segment_size_max = SEGMENT_SIZE_MIN,
                                    .record_size_max = 1 << 20,
                                    .start_position = start,
                                    .epoch_floor = epoch_floor};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

/* A log whose older records are trimmed begins anywhere. Across 4 GiB, 2^53 and 2^61 it is a log like any other. */
static void check_far_positions(void)
{
    const uint64_t borders[] = {UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 53, UINT64_C(1) << 61};
    for (size_t i = 0; i < sizeof borders / sizeof *borders; i++) {
        uint64_t start = borders[i] - 100000;
        fresh_root();
        put_count = 0;
        start -= start % 8;
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_from(store, start, 0);
        for (int n = 0; n < 60; n++)
            CHECK_EQUAL(put_sized(log, (size_t)n * 100, &(ss_appended){0}), SS_OK);
        CHECK(tail_of(log) > borders[i]);
        check_all(log);
        close_store(store);
        store = open_store(0);
        log = open_from(store, start, 0);
        CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
        CHECK_EQUAL(put_sized(log, 7, &(ss_appended){0}), SS_OK);
        check_all(log);
        uint64_t freed;
        CHECK_EQUAL(ss_log_trim(log, start, &freed), SS_OK);
        close_store(store);
        remove_root();
    }
}

/* Where positions end no record goes: all that stands is read, and puts that have no place say so, again and again. */
static void check_last_position(void)
{
    fresh_root();
    put_count = 0;
    const uint64_t start = SS_CONTROL_POSITION_MAX - SEGMENT_SIZE_MIN;
    ss_status status = SS_OK;
    for (int life = 0; life < 3; life++) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_from(store, start, 0);
        while (life < 2 && (status = put_sized(log, 20000, &(ss_appended){0})) == SS_OK)
            CHECK(tail_of(log) <= SS_CONTROL_POSITION_MAX);
        CHECK_EQUAL(ss_status_code(status), SS_LIMIT);
        CHECK(put_count > 4);
        if (life == 0) /* what is refused leaves the room of the segment to what is smaller */
            CHECK_EQUAL(put_sized(log, 1, &(ss_appended){0}), SS_OK);
        check_all(log);
        close_store(store);
    }
    ss_store *store = open_store(0);
    ss_log *log = NULL;
    ss_log_options options = {.start_position = SS_CONTROL_POSITION_MAX + 8};
    CHECK_EQUAL(ss_store_log(store, 2, 0, &options, &log), SS_INVALID);
    close_store(store);
    remove_root();
}

/* ---- Counters ---- */

/* Each life takes an epoch; after the last one there is no life that writes, and every one reads. */
static void check_last_epoch(void)
{
    fresh_root();
    put_count = 0;
    ss_appended appended = {0};
    for (int life = 0; life < 5; life++) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_from(store, 0, FRAME_EPOCH_MAX - 3);
        CHECK_EQUAL(ss_status_code(put_sized(log, 10, &appended)), life < 3 ? SS_OK : SS_LIMIT);
        if (life < 3)
            CHECK_EQUAL(appended.epoch, FRAME_EPOCH_MAX - 2 + (uint64_t)life);
        check_all(log);
        close_store(store);
    }
    CHECK_EQUAL(put_count, 3);
    remove_root();
}

/* The name of a segment has at most eighteen digits: a file with more would never be found again. */
static void check_last_ordinal(void)
{
    fresh_root();
    put_count = 0;
    char path[128];
    ss_appended appended;
    ss_store *store = open_store(SS_OPEN_CREATE);
    CHECK_EQUAL(put_sized(open_from(store, 0, 0), 10, &appended), SS_OK);
    close_store(store);
    snprintf(path, sizeof path, "%s/streams/1/0/999999999999999998.seg", root);
    int stray = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(stray >= 0);
    close(stray);
    for (int life = 0; life < 2; life++) {
        store = open_store(0);
        ss_log *log = open_from(store, 0, 0);
        CHECK_EQUAL(put_sized(log, 20, &appended), SS_OK); /* in the last segment that there can be */
        check_all(log);
        CHECK_EQUAL(ss_status_code(ss_log_roll(log, 0)), SS_LIMIT);
        CHECK_EQUAL(put_sized(log, 30, &appended), SS_OK);
        check_all(log);
        close_store(store);
    }
    remove_root();
}

/* Frames are numbered in 24 bits within a segment: the last that has a number stands in it, the next begins another. */
static void check_last_number_in_a_segment(void)
{
    fresh_root();
    put_count = 0;
    ss_appended appended;
    ss_log_state state;
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_from(store, 0, 0);
    CHECK_EQUAL(put_sized(log, 10, &appended), SS_OK);
    atomic_store(&log->entry->record_count, FRAME_ORDINAL_MAX - 2); /* as if so many stood here */
    uint64_t first = tail_of(log);
    for (uint64_t n = 0; n < 4; n++) {
        CHECK_EQUAL(put_sized(log, 10, &appended), SS_OK);
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.segment_ordinal, n < 2 ? 1 : 2);
    }
    uint8_t bytes[4096];
    ss_record records[8];
    ss_read_result result;
    close_store(store);
    store = open_store(0);
    log = open_from(store, 0, 0);
    CHECK_EQUAL(ss_log_read(log, first, 0, bytes, sizeof bytes, records, 8, &result), SS_OK);
    CHECK_EQUAL(result.count, 4);
    for (uint64_t n = 0; n < result.count; n++)
        CHECK_EQUAL(records[n].ordinal, FRAME_ORDINAL_MAX - 1 + n);
    close_store(store);
    remove_root();
}

/* ---- Times ---- */

static _Atomic int64_t clock_us; /* what the wall clock says; 0 = the system's */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    int64_t us = clock_us;
    if (clock == CLOCK_REALTIME && us) {
        now->tv_sec = us / 1000000 - (us % 1000000 < 0);
        now->tv_nsec = (us % 1000000 + (us % 1000000 < 0 ? 1000000 : 0)) * 1000;
    }
    return result;
}

/* Stores begun under clocks that stand before 1970, at the end of what a frame can say, and far behind it: an arrival
 * is the nearest that there is, never falls, and finds its record. */
static void check_times(void)
{
    const int64_t last = (INT64_C(1) << 52) - 1;
    const struct {
        int64_t clock, arrival;
    } cases[] = {{-INT64_C(315619200000000), 0},
                 {-1, 0},
                 {1, 1},
                 {last - 1, last - 1},
                 {last, last},
                 {last + 1, last},
                 {INT64_C(1) << 53, last},
                 {INT64_MAX / 2, last}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fresh_root();
        put_count = 0;
        clock_us = cases[i].clock;
        ss_appended first, appended;
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_from(store, 0, 0);
        CHECK_EQUAL(put_sized(log, 10, &first), SS_OK);
        CHECK_EQUAL(first.arrival_us, cases[i].arrival);
        clock_us = cases[i].clock + 2000000;
        for (int n = 0; n < 3; n++) {
            CHECK_EQUAL(put_sized(log, 20000, &appended), SS_OK);
            CHECK(appended.arrival_us >= first.arrival_us && appended.arrival_us <= (uint64_t)last);
        }
        CHECK_EQUAL(ss_log_roll(log, 0), SS_OK); /* a header takes the time too */
        CHECK_EQUAL(put_sized(log, 20, &appended), SS_OK);
        close_store(store);
        store = open_store(0);
        log = open_from(store, 0, 0);
        check_all(log);
        uint64_t found = 0;
        CHECK_EQUAL(ss_log_seek_time(log, first.arrival_us, &found), SS_OK);
        CHECK_EQUAL(found, first.first_position);
        CHECK_EQUAL(ss_log_seek_time(log, UINT64_MAX, &found), SS_OK);
        CHECK_EQUAL(found, tail_of(log));
        close_store(store);
        clock_us = 0;
        remove_root();
    }
}

int main(void)
{
    check_sizes();
    check_far_positions();
    check_last_position();
    check_last_epoch();
    check_last_ordinal();
    check_last_number_in_a_segment();
    check_times();
    return check_report();
}
