/* A log whose writer died: TOTAL records, of which SYNCED were made durable, kept as an image to be put back and
 * damaged; and what must
 * hold of it after recovery. Its user defines _GNU_SOURCE before any include. */
#ifndef STREAMSTORE_CRASHED_H
#define STREAMSTORE_CRASHED_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "control.h"
#include "format.h"
#include "scratch.h"
#include "streamstore.h"

#define SEGMENT "streams/1/0/000000000001.seg"
#define SECOND "streams/1/0/000000000002.seg"
enum { TOTAL = 40, SYNCED = 25, ROOM = 64 << 10, PAUSE_US = 1500 };

/* What the writer that died had done; shared with it. */
typedef struct {
    uint64_t positions[TOTAL + 1];
    uint64_t epochs[TOTAL];
    uint64_t arrivals[TOTAL];
} history;

static history *past;
static uint8_t segment_image[ROOM], control_image[ROOM];

/* ---- A log with TOTAL records, of which SYNCED were made durable, and whose writer died without closing ---- */

static inline size_t content(uint64_t n, uint8_t *data)
{
    size_t size = 40 + n * 13 % 300;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((n * 31 + i * 7) | 1); /* no zero byte: a zero word is a tear */
    return size;
}

static inline ss_log *open_log(ss_store *store, int durability)
{
    const ss_log_options options = {
        .durability = durability, .segment_size_max = SEGMENT_SIZE_MIN, .record_size_max = 1 << 20};
    ss_log *log = NULL;
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static inline ss_appended put(ss_log *log, uint64_t n)
{
    uint8_t data[400];
    const ss_entry entry = {.data = data, .data_size = content(n, data), .key = (const uint8_t *)"key", .key_size = 3};
    ss_appended appended = {0};
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    return appended;
}

static inline ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(scratch_root, flags, &store), SS_OK);
    return store;
}

static inline void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

static inline void write_all(int durability, int clean)
{
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, durability);
    for (uint64_t n = 0; n < TOTAL; n++) {
        ss_appended appended = put(log, n);
        past->positions[n] = appended.first_position;
        past->positions[n + 1] = appended.end_position;
        past->epochs[n] = appended.epoch;
        past->arrivals[n] = appended.arrival_us;
        if (n + 1 == SYNCED)
            CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
        usleep(PAUSE_US); /* so that arrival times differ */
    }
    if (clean)
        close_store(store);
}

static inline void write_and_die(int durability)
{
    scratch_new();
    pid_t child = fork();
    if (child == 0) {
        write_all(durability, 0);
        _exit(check_failed != 0);
    }
    int status = 0;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQUAL(scratch_read(SEGMENT, segment_image, ROOM, 0), ROOM);
    CHECK_EQUAL(scratch_read("control", control_image, ROOM, 0), ROOM);
}

/* The state that the writer left, whatever was done since. */
static inline void put_image(void)
{
    if (faccessat(AT_FDCWD, scratch_root, F_OK, 0) == 0)
        scratch_remove();
    static const char *const directories[] = {"", "/streams", "/streams/1", "/streams/1/0"};
    for (int i = 0; i < 4; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s%s", scratch_root, directories[i]);
        CHECK_EQUAL(mkdir(path, 0700), 0);
    }
    uint8_t manifest[64] = "SMNIF\x1a\x0d\x0a\x01";
    memcpy(manifest + 24, segment_image + SEGMENT_STORE_ID, 16);
    format_store64(manifest + 56, ss_xxh3_64_seeded(manifest, 56, 0));
    scratch_write("manifest", manifest, sizeof manifest, 0);
    scratch_write("control", control_image, ROOM, 0);
    scratch_write(SEGMENT, segment_image, ROOM, 0);
}

static inline uint64_t file_offset(uint64_t position)
{
    return SS_SEGMENT_HEADER_SIZE + position - SS_FIRST_POSITION;
}

static inline void zero_from(uint64_t position, uint64_t end)
{
    static const uint8_t zeros[ROOM];
    scratch_write(SEGMENT, zeros, end - position, file_offset(position));
}

/* ---- What must hold after recovery ---- */

typedef struct {
    int verdict;
    uint64_t end;
    uint64_t damage_begin; /* 0 = none */
    uint64_t damage_end;
    uint64_t first_lost; /* records from here to before `first_kept` are gone; TOTAL = none */
    uint64_t first_kept;
} expectation;

static inline void check_content(const uint8_t *buffer, const ss_record *record, uint64_t n, uint64_t end)
{
    uint8_t data[400];
    size_t size = content(n, data);
    CHECK_EQUAL(record->data_size, size);
    CHECK_BYTES(buffer + record->data_offset, data, size);
    CHECK_EQUAL(record->ordinal, n + 1);
    if (record->position < end) { /* written before the crash */
        CHECK_EQUAL(record->position, past->positions[n]);
        CHECK_EQUAL(record->epoch, past->epochs[n]);
        CHECK_EQUAL(record->arrival_us, past->arrivals[n]);
    }
}

/* Every record that is left, and the damage reported once, with its range. Returns the number of the record after the
 * last. */
static inline uint64_t read_all(ss_log *log, const expectation *expected)
{
    static uint8_t buffer[128 << 10];
    ss_record records[200];
    uint64_t position = SS_FIRST_POSITION, n = 0;
    int damages = 0;
    for (;;) {
        ss_read_result result;
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 200, &result);
        CHECK(status == SS_OK || status == SS_CORRUPT);
        for (size_t i = 0; i < result.count; i++, n++) {
            if (n == expected->first_lost)
                n = expected->first_kept;
            check_content(buffer, &records[i], records[i].ordinal - 1, expected->end);
            CHECK_EQUAL(records[i].ordinal - 1, n);
        }
        if (status == SS_CORRUPT) {
            CHECK_EQUAL(result.damage_begin, expected->damage_begin);
            CHECK_EQUAL(result.damage_end, expected->damage_end);
            damages++;
        } else if (status != SS_OK || result.count == 0) {
            break;
        }
        position = result.next_position;
    }
    CHECK_EQUAL(damages, expected->damage_begin != 0);
    return n;
}

static inline void check_recovered(ss_log *log, const expectation *expected, int again)
{
    ss_recovery report;
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.end, expected->end);
    if (!again) { /* the second time damage lies below the durable end, and is no news */
        CHECK_EQUAL(report.verdict, expected->verdict);
        CHECK_EQUAL(report.damage_bytes, expected->damage_end - expected->damage_begin);
        CHECK(report.torn_bytes <= ROOM); /* of one file, which is no longer */
        CHECK(report.torn_bytes > 0 || (expected->verdict != 'B' && expected->verdict != 'C'));
    }
    CHECK_EQUAL(state.tail, expected->end);
    CHECK_EQUAL(state.durable, expected->end); /* what survived was made durable before it was shown */
    CHECK_EQUAL(state.closed, 0);
}

/* Recover, recover again, write on, and look at it all once more. */
static inline void check_outcome(const expectation *expected)
{
    const int durability = SS_DURABILITY_PROCESS;
    uint64_t read = 0;
    for (int round = 0; round < 2; round++) { /* the same twice (I8) */
        ss_store *store = open_store(0);
        ss_log *log = open_log(store, durability);
        check_recovered(log, expected, round);
        read = read_all(log, expected);
        close_store(store);
    }
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, durability);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint64_t next = state.record_count;
    CHECK(next >= read);
    ss_appended appended = put(log, next);
    CHECK(appended.first_position >= expected->end);
    CHECK(appended.epoch > past->epochs[TOTAL - 1]); /* so no number that was ever given is given again */
    CHECK(appended.arrival_us >= past->arrivals[0]);
    close_store(store);
    for (int round = 0; round < 2; round++) {
        store = open_store(round ? SS_OPEN_READ_ONLY : 0);
        log = open_log(store, durability);
        expectation after = *expected;
        if (after.first_lost < TOTAL && after.first_kept >= read)
            after.first_kept = next;
        CHECK_EQUAL(read_all(log, &after), next + 1);
        close_store(store);
    }
}

static inline expectation whole(int verdict, uint64_t count)
{
    return (expectation){.verdict = verdict, .end = past->positions[count], .first_lost = TOTAL + 1};
}

#endif
