/* Recovery, verdict by verdict, from files damaged by hand: where the log ends, what is still read, what is reported,
 * and that a second recovery finds the same. docs/durability.md has the table. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "check.h"
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

static size_t content(uint64_t n, uint8_t *data)
{
    size_t size = 40 + n * 13 % 300;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((n * 31 + i * 7) | 1); /* no zero byte: a zero word is a tear */
    return size;
}

static ss_log *open_log(ss_store *store, int durability)
{
    const ss_log_options options = {
        .durability = durability, .segment_size_max = SEGMENT_SIZE_MIN, .record_size_max = 1 << 20};
    ss_log *log = NULL;
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static ss_appended put(ss_log *log, uint64_t n)
{
    uint8_t data[400];
    const ss_entry entry = {.data = data, .data_size = content(n, data), .key = (const uint8_t *)"key", .key_size = 3};
    ss_appended appended = {0};
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    return appended;
}

static ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(scratch_root, flags, &store), SS_OK);
    return store;
}

static void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

static void write_all(int durability, int clean)
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

static void write_and_die(int durability)
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
static void put_image(void)
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

static uint64_t file_offset(uint64_t position)
{
    return SS_SEGMENT_HEADER_SIZE + position - SS_FIRST_POSITION;
}

static void zero_from(uint64_t position, uint64_t end)
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

static void check_content(const uint8_t *buffer, const ss_record *record, uint64_t n, uint64_t end)
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
static uint64_t read_all(ss_log *log, const expectation *expected)
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

static void check_recovered(ss_log *log, const expectation *expected, int again)
{
    ss_recovery report;
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.end, expected->end);
    if (!again) { /* the second time damage lies below the durable end, and is no news */
        CHECK_EQUAL(report.verdict, expected->verdict);
        CHECK_EQUAL(report.damage_bytes, expected->damage_end - expected->damage_begin);
    }
    CHECK_EQUAL(state.tail, expected->end);
    CHECK_EQUAL(state.durable, expected->end); /* what survived was made durable before it was shown */
    CHECK_EQUAL(state.closed, 0);
}

/* Recover, recover again, write on, and look at it all once more. */
static void check_outcome(const expectation *expected)
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

static expectation whole(int verdict, uint64_t count)
{
    return (expectation){.verdict = verdict, .end = past->positions[count], .first_lost = TOTAL + 1};
}

/* ---- The verdicts ---- */

static void check_verdict_a(void)
{
    const expectation all = whole('A', TOTAL);
    put_image();
    check_outcome(&all); /* kill -9 loses nothing that was published */
    put_image();
    scratch_resize(SEGMENT, file_offset(past->positions[TOTAL])); /* no zero tail at all */
    check_outcome(&all);
    for (uint64_t count = SYNCED; count < TOTAL; count += 7) { /* the power went: a suffix never reached the disk */
        const expectation some = whole('A', count);
        put_image();
        zero_from(past->positions[count], past->positions[TOTAL]);
        check_outcome(&some);
    }
}

static void check_verdict_b(void)
{
    const uint64_t last = past->positions[TOTAL - 1], end = past->positions[TOTAL];
    const expectation torn = whole('B', TOTAL - 1);
    for (uint64_t word = 0; word < end - last; word += word < 56 ? 8 : 40) {
        put_image();
        zero_from(last + word, last + word + 8);
        check_outcome(&torn);
    }
    for (uint64_t cut = 8; cut < end - last; cut += 56) {
        put_image();
        scratch_resize(SEGMENT, file_offset(end) - cut + cut % 3); /* the file ends in the frame, at any byte */
        check_outcome(&torn);
    }
}

static void check_verdict_c(void)
{
    for (uint64_t hole = SYNCED; hole < TOTAL - 1; hole += 5) {
        const expectation prefix = whole('C', hole);
        put_image();
        zero_from(past->positions[hole] + 16, past->positions[hole] + 24);
        check_outcome(&prefix);
        put_image(); /* a whole frame is missing, later ones are there */
        zero_from(past->positions[hole], past->positions[hole + 1]);
        check_outcome(&prefix);
    }
}

static void check_verdict_d(void)
{
    for (uint64_t n = SYNCED; n < TOTAL; n += 7) {
        expectation damaged = whole('D', TOTAL);
        damaged.first_lost = n;
        damaged.first_kept = n + 1;
        damaged.damage_begin = past->positions[n];
        damaged.damage_end = past->positions[n + 1];
        put_image();
        scratch_flip(SEGMENT, file_offset(past->positions[n]) + 60); /* a flipped bit is no tear */
        check_outcome(&damaged);
    }
}

static void check_verdict_e(void)
{
    const uint64_t n = SYNCED - 1; /* where the watermark lets the scan begin */
    expectation damaged = whole('E', TOTAL);
    damaged.first_lost = n;
    damaged.first_kept = n + 1;
    damaged.damage_begin = past->positions[n];
    damaged.damage_end = past->positions[n + 1];
    put_image();
    scratch_flip(SEGMENT, file_offset(past->positions[n]) + 60);
    check_outcome(&damaged);
    put_image(); /* also zeros, which above the durable end would be a tear */
    zero_from(past->positions[n], past->positions[n + 1]);
    check_outcome(&damaged);
    put_image(); /* damage before the watermark's frame costs recovery nothing, and is reported when it is read */
    damaged.verdict = 'A';
    damaged.first_lost = 3;
    damaged.first_kept = 4;
    damaged.damage_begin = past->positions[3];
    damaged.damage_end = past->positions[4];
    scratch_flip(SEGMENT, file_offset(past->positions[3]) + 60);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(read_all(log, &damaged), TOTAL);
    close_store(store);
}

static void check_verdict_f(void)
{
    const uint64_t n = SYNCED - 3; /* the disk lied: the last three durable records, and all after them, are gone */
    expectation lost = whole('F', SYNCED);
    lost.first_lost = n;
    lost.first_kept = TOTAL;
    lost.damage_begin = past->positions[n];
    lost.damage_end = past->positions[SYNCED];
    put_image();
    zero_from(past->positions[n], past->positions[TOTAL]);
    check_outcome(&lost);
    put_image(); /* and the file with them */
    scratch_resize(SEGMENT, file_offset(past->positions[n]));
    check_outcome(&lost);
    put_image(); /* almost all of it: a look at a page that the file no longer has is SIGBUS */
    scratch_resize(SEGMENT, file_offset(past->positions[1]));
    lost.first_lost = 1;
    lost.damage_begin = past->positions[1];
    check_outcome(&lost);
}

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
    check_verdict_a();
    check_verdict_b();
    check_verdict_c();
    check_verdict_d();
    check_verdict_e();
    check_verdict_f();
    check_in_doubt();
    check_read_only();
    check_unfinished_rolls();
    check_crash_images();
    scratch_remove();
    return check_report();
}
