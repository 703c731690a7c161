/* What is durable before what: every sync, rename and unlink of this program is watched, and what the files hold at
 * that moment is looked at. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "format.h"
#include "packs.h"

enum { SEGMENTS = 16, ROOM = 64 << 10 };

/* What was seen of one segment, by whichever thread synced it. */
typedef struct {
    _Atomic unsigned bare_syncs;   /* while its header was still zero */
    _Atomic unsigned headed_syncs; /* with a header */
    _Atomic uint64_t synced_end;   /* where what it held ended, at its last sync */
    _Atomic uint64_t copied;       /* bytes that its header says were copied before it */
    _Atomic uint64_t salt;
} sight;

static sight seen[SEGMENTS];
static _Atomic unsigned directory_syncs, directory_syncs_at_rename, orphans;
static _Atomic int renamed, watching;
static void (*_Atomic during_sync)(void); /* called once, in the middle of the next sync of a segment */

static uint64_t content_end(const uint8_t *bytes, size_t size)
{
    while (size && bytes[size - 1] == 0)
        size--;
    return size;
}

/* The first 64 KiB of a segment's file as any reader sees them now. */
static uint64_t look(const char *path, uint8_t *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : pread(fd, bytes, ROOM, 0);
    if (fd >= 0)
        close(fd);
    return content_end(bytes, got > 0 ? (size_t)got : 0);
}

static void note_sync(const char *path)
{
    static __thread uint8_t bytes[ROOM];
    const char *slash = strrchr(path, '/');
    if (!watching || !slash || strncmp(path, root, strlen(root)) != 0 || !strstr(slash, ".seg") ||
        strstr(path, "/catalog/"))
        return;
    sight *s = &seen[atoi(slash + 1) % SEGMENTS];
    uint64_t end = look(path, bytes);
    int headed = end > SEGMENT_MAGIC && format_load64(bytes + SEGMENT_MAGIC) == SEGMENT_MAGIC_VALUE;
    s->bare_syncs += headed ? 0 : 1;
    s->headed_syncs += headed ? 1 : 0;
    s->synced_end = end;
    if (headed) {
        s->copied = format_load64(bytes + SEGMENT_COPIED_END) - format_load64(bytes + SEGMENT_BASE);
        s->salt = format_load64(bytes + SEGMENT_SALT);
    }
    void (*call)(void) = atomic_exchange(&during_sync, NULL);
    if (call)
        call();
}

static int path_of(int fd, char path[256])
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, 255);
    path[size > 0 ? size : 0] = 0;
    return size > 0;
}

int fdatasync(int fd)
{
    char path[256];
    if (path_of(fd, path))
        note_sync(path);
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    char path[256];
    if (watching && path_of(fd, path) && strncmp(path, root, strlen(root)) == 0 && strstr(path, "/streams/1/0"))
        directory_syncs++;
    return (int)syscall(SYS_fsync, fd);
}

int msync(void *address, size_t size, int flags)
{
    char line[512], path[256] = "";
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char text[256] = "";
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &from, &to, text) >= 2 && (unsigned long)address >= from &&
            (unsigned long)address < to)
            strcpy(path, text);
    }
    if (maps)
        fclose(maps);
    note_sync(path);
    return (int)syscall(SYS_msync, address, size, flags);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    renamed |= strstr(to, ".seg") != NULL;
    directory_syncs_at_rename = directory_syncs;
    return (int)syscall(SYS_renameat, from_directory, from, to_directory, to);
}

int unlinkat(int directory, const char *name, int flags)
{
    size_t size = strlen(name);
    if (watching && size > 4 && strcmp(name + size - 4, ".seg") == 0)
        orphans += !renamed || directory_syncs == directory_syncs_at_rename;
    return (int)syscall(SYS_unlinkat, directory, name, flags);
}

static void begin(void)
{
    fresh_root();
    memset(seen, 0, sizeof seen);
    directory_syncs = directory_syncs_at_rename = orphans = 0;
    renamed = 0;
    watching = 1;
}

static _Atomic int64_t clock_shift_s; /* of the wall clock */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += clock_shift_s;
    return result;
}

static ss_store *store;
static ss_log *log_;
static uint64_t put_meanwhile, durable_meanwhile;

static void put_and_look(void)
{
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log_, &state), SS_OK);
    durable_meanwhile = state.durable;
    put_meanwhile = put(log_, 1);
}

/* A sync covers what was whole before it began: not what is put while it runs, and none of it before it ends. */
static void check_what_a_sync_covers(int flags)
{
    begin();
    store = open_store(SS_OPEN_CREATE | flags);
    log_ = open_log(store, SS_DURABILITY_SYNC);
    uint64_t first = put(log_, 0);
    during_sync = put_and_look;
    CHECK_EQUAL(ss_log_sync(log_, first + 8), SS_OK);
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log_, &state), SS_OK);
    CHECK_EQUAL(durable_meanwhile, first);
    CHECK(put_meanwhile > first);
    CHECK_EQUAL(state.durable, put_meanwhile);
    CHECK(state.tail > state.durable);
    close_store(store);
    remove_root();
}

/* Before a record in a new segment is acknowledged its header was synced, and then its name. Each has a salt of its
 * own. */
static void check_new_segment(int flags)
{
    begin();
    store = open_store(SS_OPEN_CREATE | flags);
    log_ = open_log(store, SS_DURABILITY_PROCESS);
    for (unsigned segment = 1; segment < 4; segment++) {
        unsigned before = directory_syncs;
        if (segment > 1)
            CHECK_EQUAL(ss_log_roll(log_, 0), SS_OK);
        put(log_, segment);
        CHECK(seen[segment].headed_syncs > 0);
        CHECK(directory_syncs > before);
        CHECK(seen[segment].salt != seen[segment - 1].salt);
    }
    close_store(store);
    remove_root();
}

/* What is copied into a segment is durable before the header that says so is even written. */
static void check_copies(int flags)
{
    begin();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        store = open_store(SS_OPEN_CREATE | flags);
        log_ = open_log(store, SS_DURABILITY_PROCESS);
        for (uint64_t n = 0; n < 20; n++)
            put(log_, n);
        _exit(check_failed != 0);
    }
    int how = 1;
    waitpid(child, &how, 0);
    CHECK_EQUAL(how, 0);
    char path[128];
    snprintf(path, sizeof path, "%s/control", root);
    CHECK_EQUAL(remove(path), 0); /* with no hint left all is in doubt */
    store = open_store(flags);
    log_ = open_log(store, SS_DURABILITY_PROCESS);
    read_all(log_, 0, 20);
    CHECK(seen[2].copied > 0);
    CHECK(seen[2].bare_syncs > 0);
    CHECK(seen[2].headed_syncs > 0);
    close_store(store);
    remove_root();
}

/* A close frame is durable when the log says that it is closed. */
static void check_close(int flags)
{
    static uint8_t bytes[ROOM];
    begin();
    store = open_store(SS_OPEN_CREATE | flags);
    log_ = open_log(store, SS_DURABILITY_PROCESS);
    put(log_, 0);
    const ss_entry entry = {.data = (const uint8_t *)"end", .data_size = 3, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log_, &entry, 1, 0, SS_APPEND_CLOSE, NULL, &appended), SS_OK);
    char path[128];
    snprintf(path, sizeof path, "%s/streams/1/0/000000000002.seg", root);
    uint64_t end = look(path, bytes);
    CHECK(end > SS_SEGMENT_HEADER_SIZE);
    CHECK_EQUAL(seen[2].synced_end, end);
    close_store(store);
    remove_root();
}

/* A log that goes on in place does so under an epoch that is durable before the first record under it. */
static void check_epoch(int flags)
{
    begin();
    for (uint64_t n = 0; n < 2; n++) {
        store = open_store(SS_OPEN_CREATE | flags);
        log_ = open_log(store, SS_DURABILITY_PROCESS);
        unsigned before = seen[1].headed_syncs;
        uint64_t position = put(log_, n), offset = SS_SEGMENT_HEADER_SIZE + position - SS_FIRST_POSITION;
        ss_log_state state = {0};
        CHECK_EQUAL(ss_log_state_get(log_, &state), SS_OK);
        CHECK_EQUAL(state.segment_ordinal, 1);
        if (n) {
            CHECK_EQUAL(seen[1].headed_syncs, before + 1);
            CHECK(seen[1].synced_end <= offset && seen[1].synced_end + 8 > offset);
        }
        close_store(store);
    }
    remove_root();
}

/* The name under which a compacted segment stands is durable before any of its sources goes. */
static void check_pack(int flags)
{
    begin();
    store = open_store(SS_OPEN_CREATE | flags);
    log_ = open_log(store, SS_DURABILITY_PROCESS);
    fill(log_, 0, 100, 20);
    CHECK_EQUAL(pack_segments(log_, 1, 4), SS_OK);
    CHECK(renamed);
    CHECK_EQUAL(orphans, 0);
    read_all(log_, 0, 100);
    close_store(store);
    remove_root();
}

/* A wall clock that goes back takes neither arrival times nor epochs along. */
static void check_clock(int flags)
{
    const uint8_t data[8] = {1};
    const ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended last = {0}, appended = {0};
    begin();
    for (int life = 0; life < 3; life++) {
        store = open_store(SS_OPEN_CREATE | flags);
        log_ = open_log(store, SS_DURABILITY_PROCESS);
        for (int n = 0; n < 3; n++) {
            clock_shift_s = -3600 * (3 * life + n);
            CHECK_EQUAL(ss_log_append(log_, &entry, 1, 0, 0, NULL, &appended), SS_OK);
            CHECK(appended.arrival_us >= last.arrival_us);
            CHECK(n || appended.epoch > last.epoch);
            last = appended;
        }
        close_store(store);
    }
    clock_shift_s = 0;
    remove_root();
}

static ss_status begun_meanwhile;

static void begin_to_pack(void)
{
    ss_pack *pack;
    begun_meanwhile = ss_log_pack_begin(log_, 1, 1, &pack);
    if (begun_meanwhile == SS_OK)
        ss_log_pack_free(pack);
}

/* A sealed segment may be compacted once it is durable, and not while the sync that makes it so is still under way. */
static void check_what_may_be_packed(int flags)
{
    begin();
    store = open_store(SS_OPEN_CREATE | flags);
    log_ = open_log(store, SS_DURABILITY_SYNC);
    put(log_, 0);
    CHECK_EQUAL(ss_log_roll(log_, 0), SS_OK);
    begun_meanwhile = SS_OK;
    during_sync = begin_to_pack;
    CHECK_EQUAL(ss_log_sync(log_, 0), SS_OK);
    CHECK_EQUAL(begun_meanwhile, SS_INVALID);
    CHECK_EQUAL(pack_segments(log_, 1, 1), SS_OK);
    close_store(store);
    remove_root();
}

int main(void)
{
    for (int flags = 0; flags <= SS_OPEN_PWRITE; flags += SS_OPEN_PWRITE) {
        check_what_a_sync_covers(flags);
        check_new_segment(flags);
        check_copies(flags);
        check_close(flags);
        check_epoch(flags);
        check_pack(flags);
        check_what_may_be_packed(flags);
        check_clock(flags);
    }
    return check_report();
}
