/* What bounds a log from outside: the end it was granted, the space that stays free behind it, the clock it trusts. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "control.h"
#include "logs.h"

#define HOUR_US INT64_C(3600000000)

static ss_status append(ss_log *log, size_t size, int flags, ss_appended *out)
{
    uint8_t *data = calloc(1, size);
    ss_entry entry = {.data = data, .data_size = size, .key_size = -1};
    ss_status status = ss_log_append(log, &entry, 1, 0, flags, NULL, out);
    free(data);
    return status;
}

static void check_limit(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE), *other = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS), *same = open_log(other, SS_DURABILITY_PROCESS);
    ss_appended appended;
    CHECK_EQUAL(append(log, 100, 0, &appended), SS_OK);
    uint64_t frame = appended.end_position - appended.first_position, tail = appended.end_position;
    CHECK_EQUAL(ss_log_limit_get(log), 0);
    CHECK_EQUAL(ss_log_limit_set(log, tail + frame + 8), SS_OK);
    CHECK_EQUAL(append(same, 100, 0, &appended), SS_OK); /* it fits; the word is one for all processes */
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    tail = state.tail;
    CHECK_EQUAL(ss_log_limit_set(log, tail + frame - 8), SS_OK);
    CHECK_EQUAL(append(same, 100, SS_APPEND_TRY, &appended), SS_QUOTA);
    CHECK_EQUAL(append(log, 100, 0, &appended), SS_QUOTA);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.tail, tail);
    CHECK_EQUAL(append(log, 1, 0, &appended), SS_OK); /* the rest of the grant is good for a smaller one */
    CHECK_EQUAL(ss_log_limit_set(log, 64), SS_OK);
    CHECK_EQUAL(append(log, 1, 0, &appended), SS_QUOTA);
    CHECK_EQUAL(append(log, 1, SS_APPEND_CLOSE, &appended), SS_OK); /* a close always finds its place */
    close_store(other);
    close_store(store);
    remove_root();
}

static void check_read_only(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_appended appended;
    CHECK_EQUAL(append(log, 100, 0, &appended), SS_OK);
    ss_store *reader = open_store(SS_OPEN_READ_ONLY); /* beside who writes: its pages are those of the writer */
    ss_log *read = open_log(reader, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_limit_set(read, 64), SS_READ_ONLY);
    CHECK_EQUAL(ss_log_retire(read), SS_READ_ONLY);
    CHECK_EQUAL(append(log, 100, 0, &appended), SS_OK);
    close_store(reader);
    CHECK_EQUAL(ss_log_limit_get(log), 0);
    close_store(store);
    remove_root();
}

static uint64_t free_behind(ss_log *log)
{
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    return state.allocated_bytes - (SS_SEGMENT_HEADER_SIZE + state.tail - state.segment_base);
}

static void check_reserve(void)
{
    enum { RESERVE = 64 << 10 };
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = NULL;
    ss_log_options options = {.segment_size_max = 256 << 10, .record_size_max = 1 << 20, .reserve_size = RESERVE};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    ss_appended appended;
    for (int i = 0; i < 400; i++) { /* through several segments */
        CHECK_EQUAL(append(log, 1000 + (size_t)i, 0, &appended), SS_OK);
        CHECK(free_behind(log) >= RESERVE);
    }
    uint64_t before = free_behind(log);
    CHECK_EQUAL(append(log, 1000, SS_APPEND_RESERVE, &appended), SS_OK);
    CHECK(free_behind(log) < before); /* taken from what was there: nothing was allocated */
    options.reserve_size = 1 << 20;
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_INVALID);
    close_store(store);
    remove_root();
}

static uint64_t disk_bytes(const char *name)
{
    char path[256];
    struct stat info = {0};
    snprintf(path, sizeof path, "%s/%s", root, name);
    return stat(path, &info) == 0 ? (uint64_t)info.st_blocks * 512 : 0;
}

static void check_idle_roll(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_SYNC);
    for (uint64_t n = 0; n < 100; n++)
        put(log, n);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    CHECK(disk_bytes("streams/1/0/000000000002.seg") <= 4096);
    ss_live_segment live[4];
    size_t count = 0;
    CHECK_EQUAL(ss_log_live_segments(log, live, 4, &count), SS_OK);
    CHECK_EQUAL(count, 2);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(live[0].base, 64);
    CHECK_EQUAL(live[1].base, state.tail);
    CHECK_EQUAL(live[1].base_ordinal, 100);
    CHECK_EQUAL(live[1].floor_arrival_us, state.last_arrival_us);
    CHECK(live[1].created_us >= live[0].created_us);
    uint64_t freed = 0;
    CHECK_EQUAL(ss_log_trim(log, live[1].base, &freed), SS_OK);
    CHECK(freed >= 65536);
    CHECK_EQUAL(ss_log_live_segments(log, live, 4, &count), SS_OK);
    CHECK_EQUAL(count, 1);
    put(log, 100); /* the page becomes a segment like any other */
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    read_all(log, 100, 1);
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_SYNC);
    ss_recovery recovery;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &recovery);
    CHECK_EQUAL(recovery.verdict, 'A');
    CHECK_EQUAL(state.record_count, 101);
    close_store(store);
    remove_root();
}

/* Change an anchor of the closed store's control file: as if the wall clock had jumped since, or the boot been
 * another. */
static void with_control(void (*change)(ss_control_header *header, int64_t value), int64_t value)
{
    ss_control_header header;
    char path[256];
    snprintf(path, sizeof path, "%s/control", root);
    int fd = open(path, O_RDWR);
    CHECK_EQUAL(pread(fd, &header, sizeof header, 0), sizeof header);
    change(&header, value);
    CHECK_EQUAL(pwrite(fd, &header, sizeof header, 0), sizeof header);
    close(fd);
}

static void move_wall(ss_control_header *header, int64_t by_us)
{
    atomic_fetch_add(&header->anchor_wall_us, (uint64_t)by_us);
}

static void move_boot(ss_control_header *header, int64_t by_us)
{
    header->anchor_boot_us += (uint64_t)by_us;
}

static void set_boot(ss_control_header *header, int64_t value)
{
    header->boot = (uint64_t)value;
}

static int64_t jump_of(ss_store *store)
{
    uint64_t wall = 0;
    int64_t jump = INT64_MAX;
    CHECK_EQUAL(ss_store_clock(store, &wall, &jump), SS_OK);
    CHECK(wall > UINT64_C(1500000000000000));
    return jump;
}

static int near(int64_t value, int64_t expected)
{
    return value > expected - HOUR_US / 60 && value < expected + HOUR_US / 60;
}

static void check_clock(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    CHECK(near(jump_of(store), 0));
    close_store(store);
    /* a jump outlives close and open within a boot */
    with_control(move_wall, -30 * HOUR_US);
    store = open_store(0);
    CHECK(near(jump_of(store), 30 * HOUR_US));
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    put(log, 0);
    ss_log_state state;
    uint64_t wall;
    int64_t jump;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(ss_store_clock(store, &wall, &jump), SS_OK);
    CHECK(near((int64_t)(wall - state.last_arrival_us), 29 * HOUR_US)); /* an hour ahead of the boot clock at most */
    CHECK_EQUAL(ss_store_clock_accept(store), SS_OK);
    CHECK(near(jump_of(store), 0));
    close_store(store);
    store = open_store(0);
    CHECK(near(jump_of(store), 0));
    close_store(store);
    /* backwards too */
    with_control(move_wall, 5 * HOUR_US);
    store = open_store(0);
    CHECK(near(jump_of(store), -5 * HOUR_US));
    close_store(store);
    /* another boot begins anew: the shelved store */
    with_control(set_boot, 12345);
    store = open_store(0);
    CHECK(near(jump_of(store), 0));
    close_store(store);
    /* and so does one whose boot clock lies ahead of ours, whatever its id */
    with_control(move_wall, -30 * HOUR_US);
    with_control(move_boot, INT64_C(1) << 60);
    store = open_store(SS_OPEN_READ_ONLY);
    CHECK(near(jump_of(store), 0));
    CHECK_EQUAL(ss_store_clock_accept(store), SS_READ_ONLY);
    CHECK_EQUAL(ss_store_reserve(store), SS_READ_ONLY);
    close_store(store);
    remove_root();
}

static void check_reserve_file(void)
{
    char path[256];
    fresh_root();
    close_store(open_store(SS_OPEN_CREATE));
    snprintf(path, sizeof path, "%s/reserve", root);
    CHECK(disk_bytes("reserve") >= 1 << 20);
    CHECK_EQUAL(unlink(path), 0);
    ss_store *store = open_store(0);
    CHECK(disk_bytes("reserve") >= 1 << 20); /* the next opener makes it again */
    CHECK_EQUAL(truncate(path, 4096), 0);
    CHECK_EQUAL(ss_store_reserve(store), SS_OK);
    CHECK(disk_bytes("reserve") >= 1 << 20);
    close_store(store);
    remove_root();
}

int main(void)
{
    check_limit();
    check_read_only();
    check_reserve();
    check_idle_roll();
    check_clock();
    check_reserve_file();
    return check_report();
}
