/* Recovery where the control file is older than the segments, as a power cut may leave it, and they are damaged on top:
 * in front of compacted ones, of copies, of holes, in files cut short. What stands behind is found, whatever it is. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>

#include "log.h"
#include "packs.h"

#include "forged.h"

enum { TOTAL = 400, EACH = 100, SYNCED = 50, CONTROL_MAX = 1 << 20 };

static struct {
    _Alignas(64) uint8_t control[CONTROL_MAX]; /* entries are looked at in it */
    size_t control_size;
    uint64_t positions[TOTAL + 1];
} *past;

static void control_file(uint8_t *bytes, size_t *size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/control", root);
    int fd = open(path, (bytes == past->control && *size ? O_WRONLY | O_TRUNC : O_RDONLY) | O_CLOEXEC);
    ssize_t done = *size ? write(fd, bytes, *size) : read(fd, bytes, CONTROL_MAX);
    CHECK(done > 0 && done < CONTROL_MAX);
    *size = (size_t)done;
    close(fd);
}

static void put_range(ss_log *log, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++) {
        if (n && n % EACH == 0) {
            CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
            CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
        }
        past->positions[n] = put(log, n);
    }
}

/* In a process of its own, which dies: SYNCED records, then the control file is kept, then the rest in segments. */
static void write_and_die(uint64_t total, void (*more)(ss_log *log))
{
    fresh_root();
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        put_range(log, 0, SYNCED);
        CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
        past->control_size = 0;
        control_file(past->control, &past->control_size);
        put_range(log, SYNCED, total);
        if (more)
            more(log);
        fflush(stdout);
        _exit(check_failed != 0);
    }
    int status = 0;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    control_file(past->control, &past->control_size);
}

static void spoil(uint64_t ordinal, uint64_t from, uint64_t to)
{
    static uint8_t junk[256 << 10];
    memset(junk, 0xe5, sizeof junk);
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    int fd = open_segment(ordinal);
    CHECK_EQUAL(pread(fd, header, sizeof header, 0), sizeof header);
    off_t offset = (off_t)(SS_SEGMENT_HEADER_SIZE + from - format_load64(header + SEGMENT_BASE));
    CHECK_EQUAL(pwrite(fd, junk, to - from, offset), to - from);
    close(fd);
}

/* Recovered with that verdict: records [0, first) and [kept, total) are read, what is between is told as damage once,
 * and the next record is put behind all of them. */
static void expect(int verdict, uint64_t first, uint64_t kept, uint64_t total)
{
    static uint8_t buffer[512 << 10];
    static ss_record records[TOTAL + 1];
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_log_state state = {0};
    ss_recovery report;
    ss_read_result result;
    uint64_t n = 0, damages = 0;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.verdict, verdict);
    put(log, total);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    for (uint64_t position = state.start; position < state.visible; position = result.next_position) {
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, TOTAL + 1, &result);
        CHECK(status == SS_OK || status == SS_CORRUPT);
        damages += status == SS_CORRUPT;
        for (size_t i = 0; i < result.count; i++, n++) {
            n = n == first ? kept : n;
            uint8_t data[700];
            size_t size = content(n, data);
            CHECK_EQUAL(records[i].data_size, size);
            CHECK_BYTES(buffer + records[i].data_offset, data, size);
            CHECK_EQUAL(records[i].ordinal, n + 1);
        }
        if (result.next_position <= position)
            break;
    }
    CHECK_EQUAL(n, total + 1);
    CHECK_EQUAL(damages, first < total && kept > first);
    close_store(store);
    remove_root();
}

static void pack_second_and_third(ss_log *log)
{
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(pack_segments(log, 2, 3), SS_OK);
}

static void pack_first_two(ss_log *log)
{
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
}

static void pack_and_roll(ss_log *log)
{
    pack_second_and_third(log);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
}

/* Damage in the first segment, compacted ones behind it. */
static void check_before_packed(void)
{
    write_and_die(TOTAL, pack_second_and_third);
    spoil(1, past->positions[70], past->positions[70] + 40);
    expect('E', 70, 71, TOTAL);
    write_and_die(TOTAL, pack_second_and_third); /* all that is left of it */
    spoil(1, past->positions[70], past->positions[EACH]);
    expect('E', 70, EACH, TOTAL);
    write_and_die(TOTAL, pack_second_and_third); /* without hints nothing before what is compacted is looked at */
    remove_file("control");
    expect('A', TOTAL, TOTAL, TOTAL);
    write_and_die(TOTAL, pack_and_roll); /* and its last segment is empty */
    remove_file("control");
    expect('A', TOTAL, TOTAL, TOTAL);
}

/* A file that ends before the next one begins. */
static void check_cut_short(void)
{
    write_and_die(TOTAL, NULL);
    int fd = open_segment(1);
    CHECK_EQUAL(ftruncate(fd, (off_t)(SS_SEGMENT_HEADER_SIZE + past->positions[70] - SS_FIRST_POSITION)), 0);
    close(fd);
    expect('E', 70, EACH, TOTAL);
    write_and_die(TOTAL, NULL); /* one that is longer than it can be */
    fd = open_segment(4);
    CHECK_EQUAL(ftruncate(fd, 4 << 20), 0);
    close(fd);
    expect('A', TOTAL, TOTAL, TOTAL);
}

static void roll_once(ss_log *log)
{
    pack_first_two(log);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
}

/* What stood between the compacted segment and an empty one is gone, and nothing says that it ever was durable. */
static void check_hole_behind_packed(void)
{
    write_and_die(3 * EACH, roll_once);
    remove_file("streams/1/0/000000000003.seg");
    expect('B', 2 * EACH, 2 * EACH, 2 * EACH);
}

static void leave_in_doubt(ss_log *log)
{
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    for (uint64_t n = 80; n < 95; n++)
        past->positions[n] = put(log, n);
    atomic_store(&log->entry->sync_inflight, atomic_load(&log->entry->tail));
}

/* Damage in front of a segment of copies. */
static void check_before_copies(void)
{
    uint8_t *kept = malloc(CONTROL_MAX);
    write_and_die(80, leave_in_doubt);
    memcpy(kept, past->control, past->control_size);
    /* the control file as the writer left it has the doubt in it: made so in the one that was kept */
    ss_control_entry *entry = (ss_control_entry *)(void *)(past->control + SS_CONTROL_HEADER_SIZE);
    atomic_store(&entry->sync_inflight, past->positions[94]);
    control_file(past->control, &past->control_size);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_recovery report;
    read_all(log, 0, 95);
    ss_log_recovery_get(log, &report);
    CHECK(report.copied_bytes > 0);
    close_store(store);
    memcpy(past->control, kept, past->control_size);
    ss_segment_info segments[4];
    store = open_store(SS_OPEN_READ_ONLY);
    CHECK_EQUAL(list_segments(open_log(store, SS_DURABILITY_PROCESS), segments, 4), 2);
    CHECK(segments[1].base > past->positions[SYNCED]);
    close_store(store);
    control_file(past->control, &past->control_size);
    spoil(1, segments[1].base - 40, segments[1].base); /* the last frame before them */
    uint64_t first = SYNCED;
    while (past->positions[first + 1] < segments[1].base)
        first++;
    expect('E', first, first + 1, 95);
    free(kept);
}

int main(void)
{
    past = mmap(NULL, sizeof *past, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check_before_packed();
    check_cut_short();
    check_hole_behind_packed();
    check_before_copies();
    return check_report();
}
