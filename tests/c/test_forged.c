/* Frames that say what is not so under checks that hold: one that runs into the next segment, counts and times that do
 * not follow, a pad that replaces nothing. Each is told as damage, or passed over, by every call that meets it. */
#define _GNU_SOURCE
#include "log.h"
#include "packs.h"

#include "forged.h"

enum { TOTAL = 300, EACH = 100 };

static uint64_t positions[TOTAL];
static ss_segment_info segments[8];

/* Three segments of EACH records. */
static ss_store *make_log(ss_log **log)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    *log = open_log(store, SS_DURABILITY_PROCESS);
    for (uint64_t n = 0; n < TOTAL; n++) {
        if (n && n % EACH == 0) { /* what follows knows that this was durable, and says so without hints too */
            CHECK_EQUAL(ss_log_sync(*log, 0), SS_OK);
            CHECK_EQUAL(ss_log_roll(*log, 0), SS_OK);
        }
        positions[n] = put(*log, n);
    }
    CHECK_EQUAL(ss_log_sync(*log, 0), SS_OK);
    CHECK_EQUAL(list_segments(*log, segments, 8), 3);
    return store;
}

static uint64_t count_records(ss_log *log, uint64_t *damages)
{
    static uint8_t bytes[256 << 10];
    static ss_record records[TOTAL];
    ss_log_state state;
    ss_read_result result;
    uint64_t found = 0;
    *damages = 0;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    for (uint64_t position = state.start; position < state.visible; position = result.next_position) {
        ss_status status = ss_log_read(log, position, 0, bytes, sizeof bytes, records, TOTAL, &result);
        CHECK(status == SS_OK || status == SS_CORRUPT);
        CHECK(result.next_position > position);
        *damages += status == SS_CORRUPT;
        found += result.count;
        if (result.next_position <= position)
            break;
    }
    return found;
}

/* The last frame of the first segment says that it goes on where the second one begins. */
static void check_runs_over(int hints, int index)
{
    static uint8_t bytes[8 << 10];
    ss_log *log;
    ss_store *store = make_log(&log);
    const uint64_t last = positions[EACH - 1], next = positions[EACH];
    uint64_t out, damages;
    close_store(store);
    forgery f = frame_of(1, last);
    f.frame_size += 64;
    forge(1, &f);
    if (!index) { /* nothing left of what stood behind the frames */
        int fd = open_segment(1);
        CHECK_EQUAL(ftruncate(fd, (off_t)(SS_SEGMENT_HEADER_SIZE + next - SS_FIRST_POSITION + 64)), 0);
        close(fd);
    }
    if (!hints)
        remove_file("control");
    store = open_store(SS_OPEN_READ_ONLY);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(count_records(log, &damages), TOTAL - 1);
    CHECK_EQUAL(damages, 1);
    ss_record record;
    ss_read_result result;
    CHECK_EQUAL(ss_log_get(log, last, 0, bytes, sizeof bytes, &record, &result), SS_CORRUPT);
    CHECK_EQUAL(ss_log_get(log, next, 0, bytes, sizeof bytes, &record, &result), SS_OK);
    CHECK_EQUAL(ss_log_seek_ordinal(log, EACH + 1, &out), SS_OK);
    CHECK_EQUAL(out, next);
    CHECK_EQUAL(ss_log_seek(log, last, &out), SS_OK);
    CHECK_EQUAL(out, last); /* reading there tells of it */
    CHECK_EQUAL(ss_log_seek(log, last + 8, &out), SS_OK);
    CHECK_EQUAL(out, next);
    ss_damage damage[4];
    ss_verify_totals totals;
    size_t count;
    CHECK_EQUAL(ss_log_verify(log, 0, 0, damage, 4, &count, &totals), SS_OK);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(damage[0].begin, last);
    CHECK_EQUAL(damage[0].end, next);
    CHECK_EQUAL(totals.records, TOTAL - 1);
    close_store(store);
    remove_root();
}

/* The last frame of the first segment ends before the second one begins, by less than any frame has. */
static void check_ends_early(int index)
{
    static uint8_t bytes[8 << 10];
    ss_log *log;
    ss_store *store = make_log(&log);
    const uint64_t last = positions[EACH - 1], next = positions[EACH];
    uint64_t out, damages;
    close_store(store);
    forgery f = frame_of(1, last);
    f.frame_size -= 16;
    forge(1, &f);
    if (!index) {
        int fd = open_segment(1);
        CHECK_EQUAL(ftruncate(fd, (off_t)(SS_SEGMENT_HEADER_SIZE + next - SS_FIRST_POSITION)), 0);
        close(fd);
    }
    store = open_store(SS_OPEN_READ_ONLY);
    log = open_log(store, SS_DURABILITY_PROCESS);
    ss_record record;
    ss_read_result result;
    CHECK_EQUAL(ss_log_seek_ordinal(log, EACH + 1, &out), SS_OK);
    CHECK_EQUAL(out, next);
    CHECK_EQUAL(ss_log_seek(log, next - 8, &out), SS_OK);
    CHECK(out == next - 8 || out == next);
    CHECK_EQUAL(ss_log_get(log, next - 16, 0, bytes, sizeof bytes, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(count_records(log, &damages), TOTAL);
    CHECK_EQUAL(damages, 1);
    close_store(store);
    remove_root();
}

/* The very last one runs past the published end: its body was never written. */
static void check_runs_past_the_end(void)
{
    static uint8_t bytes[8 << 10];
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_record records[4];
    ss_read_result result;
    forgery f = frame_of(3, positions[TOTAL - 1]);
    f.frame_size += 64;
    forge(3, &f);
    CHECK_EQUAL(ss_log_get(log, positions[TOTAL - 1], 0, bytes, sizeof bytes, records, &result), SS_CORRUPT);
    CHECK_EQUAL(ss_log_read(log, positions[TOTAL - 1], 0, bytes, sizeof bytes, records, 4, &result), SS_CORRUPT);
    CHECK_EQUAL(result.damage_begin, positions[TOTAL - 1]);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(ss_log_get(log, state.tail - 8, 0, bytes, sizeof bytes, records, &result), SS_NOT_FOUND);
    close_store(store);
    remove_root();
}

static ss_status pack_forged(int kind)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    close_store(store);
    forgery f = frame_of(1, positions[50]);
    if (kind == 0)
        f.place.ordinal += 5; /* some are missing, though nothing is damaged */
    else if (kind == 1)
        f.place.arrival_us = 1;
    else
        f.place.type = SS_FRAME_PAD; /* in the place of nothing that was counted */
    forge(1, &f);
    if (kind == 2)
        for (uint64_t n = 51; n < EACH; n++) { /* which counts on as if it had not been */
            f = frame_of(1, positions[n]);
            f.place.ordinal--;
            forge(1, &f);
        }
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    ss_status status = pack_segments(log, 1, 1);
    if (status == SS_OK) {
        uint64_t damages;
        CHECK_EQUAL(count_records(log, &damages), TOTAL - 1);
        CHECK_EQUAL(damages, 0);
    }
    close_store(store);
    remove_root();
    return status;
}

/* What an append that died left is counted anew, over damage in the middle and at the end. */
static void check_counted_over_damage(int last)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_log_state before, after;
    CHECK_EQUAL(ss_log_state_get(log, &before), SS_OK);
    const uint64_t victim = positions[last ? TOTAL - 1 : TOTAL - 10];
    int fd = open_segment(3);
    uint8_t byte = 0xa5;
    CHECK_EQUAL(pwrite(fd, &byte, 1, (off_t)(SS_SEGMENT_HEADER_SIZE + victim - segments[2].base + 9)), 1);
    close(fd);
    atomic_store(&log->entry->reserve_end, before.tail + 64);
    put(log, TOTAL);
    CHECK_EQUAL(ss_log_state_get(log, &after), SS_OK);
    CHECK_EQUAL(after.record_count, last ? TOTAL : TOTAL + 1); /* the last one is gone, and with it its count */
    CHECK(after.tail > before.tail);
    CHECK_EQUAL(after.segment_ordinal, before.segment_ordinal + 1);
    CHECK(after.last_arrival_us >= before.last_arrival_us);
    /* a walk to a place behind it goes over it as well */
    uint64_t out, damages;
    CHECK_EQUAL(ss_log_seek_ordinal(log, TOTAL - 2, &out), SS_OK);
    CHECK_EQUAL(out, positions[TOTAL - 3]);
    CHECK_EQUAL(count_records(log, &damages), TOTAL);
    CHECK_EQUAL(damages, 1);
    close_store(store);
    remove_root();
}

int main(void)
{
    for (int hints = 0; hints < 2; hints++)
        for (int index = 0; index < 2; index++)
            check_runs_over(hints, index);
    check_ends_early(0);
    check_ends_early(1);
    check_runs_past_the_end();
    CHECK_EQUAL(pack_forged(0), SS_CORRUPT);
    CHECK_EQUAL(pack_forged(1), SS_CORRUPT);
    CHECK_EQUAL(pack_forged(2), SS_OK);
    check_counted_over_damage(0);
    check_counted_over_damage(1);
    return check_report();
}
