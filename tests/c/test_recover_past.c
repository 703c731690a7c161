/* Recovery and what is known about the past: a clean close, hints that are lost or in doubt, rolls that died half-way,
 * and any image that a power cut can leave. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/resource.h>

#include "check.h"
#include "crashed.h"
#include "log.h"

/* ---- What is known about the past ---- */

static void check_clean_close(void)
{
    scratch_new();
    write_all(SS_DURABILITY_SYNC, 1);
    for (int round = 0; round < 3; round++) {
        ss_store *store = open_store(0);
        ss_log *log = open_log(store, SS_DURABILITY_SYNC);
        const expectation all = whole('A', TOTAL);
        check_recovered(log, &all, 0);
        ss_recovery report;
        ss_log_recovery_get(log, &report);
        CHECK_EQUAL(report.in_place, 1);
        CHECK_EQUAL(report.copied_bytes, 0);
        close_store(store); /* nothing was written, so it stays as it was */
    }
    scratch_resize(SECOND, ROOM); /* a roll that never committed: its writer may have written here too */
    ss_store *rolled = open_store(0);
    ss_log_state left;
    ss_recovery report;
    ss_log *found = open_log(rolled, SS_DURABILITY_SYNC);
    CHECK_EQUAL(ss_log_state_get(found, &left), SS_OK);
    ss_log_recovery_get(found, &report);
    CHECK_EQUAL(report.in_place, 0);
    close_store(rolled);
    scratch_delete(SECOND);
    const uint8_t one = 1; /* zeros alone must follow a clean end */
    scratch_write(SEGMENT, &one, 1, file_offset(past->positions[TOTAL]) + 5000);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_SYNC);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.in_place, 0);
    CHECK_EQUAL(state.tail, past->positions[TOTAL]);
    put(log, TOTAL);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(scratch_size(SECOND) > 0, 1);
    close_store(store);
    scratch_remove();
}

/* A record's arrival finds the record, also across the border of what was copied. */
static void check_seek_times(ss_log *log)
{
    for (uint64_t n = 0; n < TOTAL; n++) {
        uint64_t found = 0;
        CHECK_EQUAL(ss_log_seek_time(log, past->arrivals[n], &found), SS_OK);
        CHECK_EQUAL(found, past->positions[n]);
        CHECK_EQUAL(ss_log_seek_ordinal(log, n + 1, &found), SS_OK);
        CHECK_EQUAL(found, past->positions[n]);
    }
}

static void check_copied(uint64_t from)
{
    const expectation all = whole('A', TOTAL);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    check_recovered(log, &all, 0);
    ss_recovery report;
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.copied_bytes, past->positions[TOTAL] - from);
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    CHECK_EQUAL(scratch_read(SECOND, header, sizeof header, 0), sizeof header);
    CHECK_EQUAL(format_load64(header + SEGMENT_BASE), from);
    CHECK_EQUAL(format_load64(header + SEGMENT_COPIED_END), past->positions[TOTAL]);
    CHECK_EQUAL(read_all(log, &all), TOTAL); /* under their old numbers */
    check_seek_times(log);
    close_store(store);
    check_outcome(&all); /* and it is done once: the next opener finds nothing in doubt */
}

static void put_control32(size_t offset, uint32_t value)
{
    scratch_write("control", &value, sizeof value, offset);
}

static void check_in_doubt(void)
{
    const uint64_t entry = SS_CONTROL_HEADER_SIZE;
    put_image(); /* a sync failed */
    put_control32(offsetof(ss_control_header, poison), 5);
    check_copied(past->positions[SYNCED]);
    put_image(); /* a syncer died between the call and its answer */
    scratch_write("control", &past->positions[TOTAL], 8, entry + offsetof(ss_control_entry, sync_inflight));
    check_copied(past->positions[SYNCED]);
    put_image(); /* no hints: all above what the frames themselves prove counts as in doubt */
    scratch_delete("control");
    check_copied(past->positions[SYNCED]);
    put_image(); /* hints of another layout are none */
    put_control32(offsetof(ss_control_header, layout), 2);
    check_copied(past->positions[SYNCED]);
}

/* The copy was made and its header written, and nothing says that either was synced: it is copied once more. What the
 * watermark covers is not. */
static void check_copy_in_doubt(void)
{
    static uint8_t copy[ROOM];
    put_image();
    put_control32(offsetof(ss_control_header, poison), 5);
    ss_store *store = open_store(0);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(open_log(store, SS_DURABILITY_PROCESS), &state), SS_OK);
    CHECK_EQUAL(state.segment_ordinal, 2);
    close_store(store);
    CHECK_EQUAL(scratch_read(SECOND, copy, ROOM, 0), ROOM);
    for (uint64_t mark = SYNCED - 5; mark <= TOTAL; mark += 5) { /* below the copy, where it begins, inside, its end */
        put_image();
        scratch_write(SECOND, copy, ROOM, 0);
        ss_control_entry entry = {.stream_id = 1};
        ss_control_watermark_store(&entry, past->positions[mark], 0);
        scratch_write("control", &entry.watermarks, sizeof entry.watermarks,
                      SS_CONTROL_HEADER_SIZE + offsetof(ss_control_entry, watermarks));
        store = open_store(0);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        ss_recovery report;
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        ss_log_recovery_get(log, &report);
        CHECK_EQUAL(report.copied_bytes, mark < TOTAL ? past->positions[TOTAL] - past->positions[SYNCED] : 0);
        CHECK_EQUAL(state.durable, past->positions[TOTAL]);
        const expectation all = whole('A', TOTAL);
        CHECK_EQUAL(read_all(log, &all), TOTAL);
        close_store(store);
    }
}

/* A recovery that fails, for want of room say, is made again: nobody goes on upon half of it, and what was in doubt
 * still is, be it an earlier incarnation's or that of somebody who died recovering. */
static void check_failed_recovery(int died_recovering)
{
    put_image();
    if (!died_recovering)
        put_control32(offsetof(ss_control_header, poison), 5);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    if (died_recovering)
        atomic_store(&log->entry->sync_inflight, past->positions[TOTAL]);
    struct rlimit limit, none = {.rlim_cur = 1};
    ss_log_state state;
    ss_recovery report;
    CHECK_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &none), 0);
    CHECK(ss_log_state_get(log, &state) != SS_OK);
    CHECK(ss_log_state_get(log, &state) != SS_OK);
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.copied_bytes, past->positions[TOTAL] - past->positions[SYNCED]);
    CHECK_EQUAL(state.durable, past->positions[TOTAL]);
    close_store(store);
}

/* A read-only handle that is alone recovers in private memory: a sync stream shows nothing in doubt, and no byte
 * changes. */
static void check_read_only(void)
{
    for (int doubt = 0; doubt < 2; doubt++) {
        put_image();
        if (doubt)
            put_control32(offsetof(ss_control_header, poison), 5);
        ss_store *store = open_store(SS_OPEN_READ_ONLY);
        ss_log *log = open_log(store, SS_DURABILITY_SYNC);
        const expectation all = whole('A', doubt ? SYNCED : TOTAL);
        CHECK_EQUAL(read_all(log, &all), doubt ? SYNCED : TOTAL);
        close_store(store);
        uint8_t after[ROOM];
        CHECK_EQUAL(scratch_read(SEGMENT, after, ROOM, 0), ROOM);
        CHECK_BYTES(after, segment_image, ROOM);
        CHECK_EQUAL(scratch_read("control", after, ROOM, 0), ROOM);
    }
}

/* ---- Rolls that died half-way ---- */

static void check_unfinished_rolls(void)
{
    const expectation all = whole('A', TOTAL);
    put_image();
    scratch_resize(SECOND, 0); /* created */
    check_outcome(&all);
    put_image();
    scratch_resize(SECOND, ROOM); /* allocated, copies written perhaps, no header */
    scratch_write(SECOND, "copies", 6, 8192);
    check_outcome(&all);
    put_image();
    scratch_write(SECOND, "half a header", 13, 0);
    scratch_resize(SECOND, ROOM);
    check_outcome(&all);
    put_image(); /* committed, and the writer died before it said so */
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    memcpy(header, segment_image, sizeof header);
    format_store64(header + SEGMENT_ORDINAL, 2);
    for (int i = 0; i < 2; i++)
        format_store64(header + (i ? SEGMENT_PREVIOUS_END : SEGMENT_BASE), past->positions[TOTAL]);
    format_store64(header + SEGMENT_COPIED_END, past->positions[TOTAL]);
    format_store64(header + SEGMENT_BASE_ORDINAL, TOTAL);
    format_store64(header + SEGMENT_FLOOR_ARRIVAL, past->arrivals[TOTAL - 1]);
    format_store64(header + SEGMENT_CHECK, ss_xxh3_64_seeded(header, SEGMENT_CHECK, 0));
    scratch_write(SECOND, header, sizeof header, 0);
    scratch_resize(SECOND, ROOM);
    check_outcome(&all);
}

/* ---- Any image that a power cut can leave ---- */

static void check_crash_images(void)
{
    const uint64_t durable = past->positions[SYNCED], end = past->positions[TOTAL];
    srand(3);
    for (int image = 0; image < 60; image++) {
        put_image();
        uint64_t step = image % 2 ? 512 : 8; /* sectors or words are missing, above what was synced */
        for (uint64_t at = durable; at < end; at += step)
            if (rand() % (image % 7 + 2) == 0) {
                uint64_t to = (at + step) / step * step;
                zero_from(at, to < end ? to : end);
            }
        ss_store *store = open_store(0);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        ss_log_state state;
        ss_recovery report;
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        ss_log_recovery_get(log, &report);
        CHECK(report.verdict >= 'A' && report.verdict <= 'C');
        uint64_t count = SYNCED;
        while (count < TOTAL && past->positions[count] < state.tail)
            count++;
        CHECK_EQUAL(state.tail, past->positions[count]); /* a boundary, at or above all that was promised */
        CHECK_EQUAL(state.record_count, count);
        const expectation prefix = whole(report.verdict, count);
        CHECK_EQUAL(read_all(log, &prefix), count);
        close_store(store);
    }
}

int main(void)
{
    past = mmap(NULL, sizeof *past, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check_clean_close();
    write_and_die(SS_DURABILITY_PROCESS);
    check_in_doubt();
    check_copy_in_doubt();
    check_failed_recovery(0);
    check_failed_recovery(1);
    check_read_only();
    check_unfinished_rolls();
    check_crash_images();
    scratch_remove();
    return check_report();
}
