/* Calls that fail under the parts of the core by themselves: walking a file, finding blocks without their index,
 * adopting a header, locks, the reserve. Every answer is right or says what failed, and the next is as if nothing
 * had. */
#define _GNU_SOURCE
#include "calls_fail.h"

#include <errno.h>

#include "file.h"
#include "packs.h"
#include "recovery.h"
#include "reserve.h"
#include "scan.h"

enum { SMALL = 100, LARGE = 1500 << 10 };

static const struct {
    enum call_kind kind;
    int error;
    int cut;
} faults[] = {
    {CALL_READ, EIO, 0},          {CALL_READ, 0, CALL_NOTHING},       {CALL_READ, 0, CALL_SHORT},
    {CALL_READ, 0, CALL_FLIPPED}, {CALL_READ, 0, CALL_FLIPPED_EARLY}, {CALL_MEMORY, ENOMEM, 0},
};
enum { FAULTS = sizeof faults / sizeof *faults };

static int told(size_t f, ss_status status)
{
    int code = ss_status_code(status);
    if (faults[f].error)
        return code == SS_OK || code == (faults[f].error == EIO ? SS_IO : SS_NO_MEMORY);
    return code == SS_OK || code == SS_CORRUPT || code == SS_NOT_FOUND;
}

/* ---- walking a file ---- */

static ss_segment *segment;
static char segment_name[SS_SEGMENT_NAME_SIZE];
static uint64_t first, large, last, end_of_file;
static int directory;

typedef ss_status walk(ss_scan *scan, uint64_t *out);

static ss_status walk_frames(ss_scan *scan, uint64_t *out)
{
    ss_record_header header;
    const uint8_t *frame;
    ss_status status = SS_OK;
    for (*out = first; *out < end_of_file && status == SS_OK; *out += header.frame_size)
        if ((status = ss_scan_frame(scan, *out, &header, &frame)) != SS_OK)
            break;
    return status;
}

static ss_status walk_resync(ss_scan *scan, uint64_t *out)
{
    return ss_scan_resync(scan, first, end_of_file, out);
}

static ss_status walk_zero(ss_scan *scan, uint64_t *out)
{
    int zero = 0;
    ss_status status = ss_scan_zero(scan, end_of_file, end_of_file + (2 << 20), &zero);
    *out = (uint64_t)zero;
    return status;
}

static ss_status walk_tear(ss_scan *scan, uint64_t *out)
{
    int possible = 1;
    ss_status status = ss_scan_tear_possible(scan, last, &possible, out);
    return status == SS_OK && possible ? SS_CORRUPT : status;
}

static ss_status walk_large_tear(ss_scan *scan, uint64_t *out)
{
    int possible = 1;
    ss_status status = ss_scan_tear_possible(scan, large, &possible, out);
    return status == SS_OK && possible ? SS_CORRUPT : status;
}

static uint64_t walked(walk *w, size_t f, uint64_t call, uint64_t *failed, ss_status *status)
{
    ss_scan scan;
    uint64_t out = 0;
    CHECK_EQUAL(ss_scan_open(&scan, segment, directory, segment_name), SS_OK);
    if (call)
        calls_fail(faults[f].kind, call, faults[f].error, faults[f].cut, 0);
    *status = w(&scan, &out);
    *failed = calls_heal();
    ss_scan_close(&scan);
    return out;
}

static void check_walks(void)
{
    static walk *const walks[] = {walk_frames, walk_resync, walk_zero, walk_tear, walk_large_tear};
    static uint8_t data[LARGE];
    ss_store *store = open_store(SS_OPEN_CREATE);
    const ss_log_options options = {.segment_size_max = 8 << 20, .record_size_max = 4 << 20};
    ss_log *log;
    ss_appended appended;
    memset(data, 'x', sizeof data);
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    for (int i = 0; i < 4; i++) {
        const ss_entry entry = {.data = data, .data_size = i == 1 ? LARGE : SMALL, .key_size = -1};
        CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
        *(i == 1 ? &large : i ? &last : &first) = appended.first_position;
    }
    end_of_file = appended.end_position;
    CHECK_EQUAL(ss_log_table_find(log, first, &segment, &end_of_file), SS_OK);
    end_of_file = appended.end_position;
    ss_segment copy = {.facts = segment->facts, .salt = segment->salt, .fd = -1}; /* as one that is not open */
    ss_log_table_release(log, segment);
    segment = &copy;
    ss_segment_name(log->directory, 1, segment_name);
    directory = store->root;
    for (size_t w = 0; w < sizeof walks / sizeof *walks; w++) {
        ss_status status;
        uint64_t failed = 1, right = walked(walks[w], 0, 0, &failed, &status);
        CHECK_EQUAL(status, SS_OK);
        for (size_t f = 0; f < FAULTS; f++)
            for (uint64_t call = 1; walked(walks[w], f, call, &failed, &status), failed; call++) {
                CHECK(told(f, status));
                CHECK_EQUAL(walked(walks[w], 0, 0, &failed, &status), right);
                CHECK_EQUAL(status, SS_OK);
            }
    }
    close_store(store);
}

/* ---- blocks without their index ---- */

static void check_blocks(void)
{
    ss_store *store = open_store(0);
    ss_log *log;
    const ss_log_options options = {.segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 2, 0, &options, &log), SS_OK);
    fill(log, 0, 500, 250);
    pack_squeezed = 2;
    CHECK_EQUAL(pack_segments(log, 1, 1), SS_OK);
    ss_segment *packed;
    uint64_t end;
    ss_log_table_notice(log);
    CHECK_EQUAL(ss_log_table_find(log, SS_FIRST_POSITION, &packed, &end), SS_OK);
    CHECK(packed->facts.packed && packed->blocks->holds);
    for (int holds = 0; holds < 2; holds++) {
        ss_segment copy = {.facts = packed->facts, .salt = packed->salt, .fd = -1};
        copy.facts.packed_index_check ^= !holds;
        for (size_t f = 0; f < FAULTS; f++)
            for (uint64_t call = 1;; call++) {
                ss_packed_index *index = NULL;
                calls_fail(faults[f].kind, call, faults[f].error, faults[f].cut, 0);
                ss_status status = ss_packed_index_load(&copy, packed->fd, &index);
                uint64_t failed = calls_heal();
                CHECK(failed ? told(f, status) : status == SS_OK);
                if (status == SS_OK) {
                    CHECK_EQUAL(index->marks[0].position, copy.facts.base);
                    CHECK_EQUAL(index->marks[index->count].position, copy.facts.packed_end);
                    for (size_t i = 0; i < index->count; i++)
                        CHECK(index->marks[i].position < index->marks[i + 1].position);
                }
                ss_packed_index_free(index);
                if (!failed)
                    break;
            }
    }
    ss_scan scan;
    ss_record_header header;
    const uint8_t *frame;
    uint64_t found;
    ss_segment_name(log->directory, 1, segment_name);
    CHECK_EQUAL(ss_scan_open(&scan, packed, store->root, segment_name), SS_OK);
    CHECK_EQUAL(ss_scan_frame(&scan, SS_FIRST_POSITION - 8, &header, &frame), SS_CORRUPT);
    CHECK_EQUAL(ss_scan_frame(&scan, SS_FIRST_POSITION + 8, &header, &frame), SS_CORRUPT);
    CHECK_EQUAL(ss_scan_frame(&scan, end, &header, &frame), SS_CORRUPT);
    CHECK_EQUAL(ss_scan_resync(&scan, SS_FIRST_POSITION, end, &found), SS_OK);
    CHECK_EQUAL(ss_scan_resync(&scan, SS_FIRST_POSITION, SS_FIRST_POSITION + 16, &found), SS_NOT_FOUND);
    CHECK_EQUAL(ss_scan_resync(&scan, end - 16, end, &found), SS_NOT_FOUND);
    calls_fail(CALL_READ, 1, EIO, 0, 0);
    CHECK_EQUAL(ss_status_code(ss_scan_resync(&scan, SS_FIRST_POSITION, end, &found)), SS_IO);
    calls_heal();
    ss_scan_close(&scan);
    ss_log_table_release(log, packed);
    read_all(log, 0, 500);
    close_store(store);
}

/* ---- what the newest header says ---- */

static void check_adopting(void)
{
    ss_store *store = open_store(0);
    ss_log *log = NULL;
    const ss_log_options options = {.segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 2, 0, &options, &log), SS_OK);
    for (size_t f = 0; f < FAULTS; f++)
        for (int opening = 0; opening < 2; opening++) {
            ss_recovery_walk r = {.log = log};
            CHECK_EQUAL(ss_recovery_load(&r), SS_OK);
            CHECK_EQUAL(r.count > 0, 1);
            CHECK_EQUAL(ss_recovery_adopt_header(&r), SS_OK);
            if (opening)
                calls_fail(CALL_OPEN, 1, EMFILE, 0, 0);
            else
                calls_fail(faults[f].kind, 1, faults[f].error, faults[f].cut, 0);
            ss_status status = ss_recovery_adopt_header(&r);
            CHECK(calls_heal() || status == SS_OK);
            if (opening)
                CHECK_EQUAL(status, SS_IO | EMFILE << 8);
            else if (faults[f].cut != CALL_SHORT && faults[f].kind == CALL_READ)
                CHECK(status != SS_OK && told(f, status));
            ss_recovery_free(&r);
        }
    close_store(store);
}

/* ---- files and locks ---- */

static void check_locks(void)
{
    ss_store *store = open_store(0);
    int locked = 1;
    calls_fail(CALL_LOCK, 1, EACCES, 0, 0); /* POSIX lets it be said so */
    CHECK_EQUAL(ss_file_lock_try(store->lock_fd, 1 << 20, 1, &locked), SS_OK);
    CHECK_EQUAL(locked, 0);
    calls_fail(CALL_LOCK, 1, ENOLCK, 0, 0); /* no proof of death */
    CHECK_EQUAL(ss_lock_slot_alive(&store->self, store->self.slot + 7), 1);
    calls_heal();
    CHECK_EQUAL(ss_lock_slot_alive(&store->self, store->self.slot + 7), 0);
    _Atomic uint32_t word = 0;
    int taken_over = 1;
    CHECK_EQUAL(ss_lock_try_or_take_over(&store->self, &word, &taken_over), SS_OK);
    CHECK_EQUAL(taken_over, 0);
    CHECK_EQUAL(ss_lock_try_or_take_over(&store->self, &word, &taken_over), SS_WOULD_BLOCK);
    close_store(store);
}

static void check_directories(void)
{
    char path[96];
    ss_store *store = NULL;
    snprintf(path, sizeof path, "%s/other", root);
    calls_fail(CALL_MKDIR, 1, EEXIST, 0, 0); /* it was there for a moment */
    CHECK_EQUAL(ss_status_code(ss_store_open(path, SS_OPEN_CREATE, &store)), SS_NOT_FOUND);
    calls_heal();
    CHECK_EQUAL(ss_store_open(path, SS_OPEN_CREATE, &store), SS_OK);
    close_store(store);
}

/* Zeros that were written are nothing, as zeros that never were. */
static void check_nothing_behind(void)
{
    static uint8_t bytes[64 << 10];
    int something = 1, fd = open(root, O_DIRECTORY | O_RDONLY | O_CLOEXEC), file;
    file = openat(fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_EQUAL(pwrite(file, bytes, sizeof bytes, 0), sizeof bytes);
    CHECK_EQUAL(ss_segment_holds_something(fd, "file", &something), SS_OK);
    CHECK_EQUAL(something, 0);
    calls_fail(CALL_READ, 2, EIO, 0, 0);
    CHECK_EQUAL(ss_status_code(ss_segment_holds_something(fd, "file", &something)), SS_IO);
    calls_fail(CALL_READ, 2, 0, CALL_NOTHING, 0); /* cut short meanwhile */
    CHECK_EQUAL(ss_segment_holds_something(fd, "file", &something), SS_OK);
    CHECK_EQUAL(something, 0);
    calls_heal();
    CHECK_EQUAL(pwrite(file, "x", 1, 50000), 1);
    CHECK_EQUAL(ss_segment_holds_something(fd, "file", &something), SS_OK);
    CHECK_EQUAL(something, 1);
    close(file);
    close(fd);
}

static void check_populating(void)
{
    char path[96];
    void *map;
    snprintf(path, sizeof path, "%s/file", root);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(ss_file_map(fd, 8192, 1, &map), SS_OK);
    for (int error = EAGAIN; error; error = error == EAGAIN ? EINTR : 0) {
        calls_fail(CALL_ADVISE, 1, error, 0, 0);
        CHECK_EQUAL(ss_file_populate(map, 8192), SS_OK);
        CHECK_EQUAL(calls_heal(), 1);
    }
    ss_file_unmap(map, 8192);
    close(fd);
}

/* The disk is full, and what the store kept for that was given up before. */
static void check_reserve_is_gone(void)
{
    ss_store *store = open_store(0);
    ss_log *log;
    const ss_log_options options = {.segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    const ss_entry entry = {.data = (const uint8_t *)"freed", .data_size = 5, .key_size = -1};
    ss_appended appended;
    ss_log_state before, after;
    CHECK_EQUAL(ss_store_log(store, 2, 0, &options, &log), SS_OK);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_state_get(log, &before), SS_OK);
    ss_reserve_spend(store->root);
    calls_fail(CALL_ALLOCATE, 1, ENOSPC, 0, 1);
    CHECK_EQUAL(ss_status_code(ss_log_roll(log, 0)), SS_FULL);
    atomic_store(&log->entry->epoch_current, 0); /* so that it needs a new segment */
    CHECK_EQUAL(ss_status_code(ss_log_append(log, &entry, 1, 0, SS_APPEND_RESERVE, NULL, &appended)), SS_FULL);
    calls_heal();
    CHECK_EQUAL(ss_log_state_get(log, &after), SS_OK);
    CHECK_EQUAL(after.tail, before.tail);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, SS_APPEND_RESERVE, NULL, &appended), SS_OK);
    CHECK_EQUAL(appended.first_position, before.tail);
    /* what is durable never falls, whoever says so */
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    ss_log_sync_publish(log, before.tail - 8, 0);
    CHECK_EQUAL(ss_log_state_get(log, &after), SS_OK);
    CHECK_EQUAL(after.durable, after.tail);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_sync_to(log, appended.end_position, 1), SS_OK);
    CHECK_EQUAL(atomic_load(&log->entry->durable), appended.end_position);
    close_store(store);
}

int main(void)
{
    fresh_root();
    check_walks();
    check_blocks();
    check_adopting();
    check_locks();
    check_directories();
    check_nothing_behind();
    check_populating();
    check_reserve_is_gone();
    remove_root();
    return check_report();
}
