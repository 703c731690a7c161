/* What is called durable was synced, by a call that does sync: every sync of this program is watched, and may be
 * made to fail. */
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "streamstore.h"

static char root[64];
static _Atomic int fail_syncs;      /* this many data syncs from now on fail with EIO */
static _Atomic unsigned synced[16]; /* effective data syncs by segment ordinal */

static void note_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash && strstr(slash, ".seg"))
        synced[atoi(slash + 1) & 15]++;
}

static int refuse(void)
{
    int left = fail_syncs;
    while (left > 0)
        if (__atomic_compare_exchange_n((int *)&fail_syncs, &left, left - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            errno = EIO;
            return 1;
        }
    return 0;
}

int fdatasync(int fd)
{
    char link[32], path[256];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size > 0) {
        path[size] = 0;
        if (strstr(path, ".seg") && refuse())
            return -1;
        note_path(path);
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* The kernel ignores msync on a map that is not "sh" (shared and opened for writing). */
int msync(void *address, size_t size, int flags)
{
    static __thread char line[512], path[512];
    FILE *maps = fopen("/proc/self/smaps", "r");
    int inside = 0, effective = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char text[300] = "";
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %299s", &from, &to, text) >= 2 && strchr(line, '-') && to > from) {
            inside = (unsigned long)address >= from && (unsigned long)address < to;
            if (inside)
                strcpy(path, text);
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            effective = strstr(line, " sh") != NULL;
            break;
        }
    }
    if (maps)
        fclose(maps);
    if (refuse())
        return -1;
    if (effective)
        note_path(path);
    return (int)syscall(SYS_msync, address, size, flags);
}

static _Atomic int disk_full;

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (disk_full) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void fresh_root(void)
{
    strcpy(root, "/tmp/ss-test-sync-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    memset((void *)synced, 0, sizeof synced);
    fail_syncs = 0;
}

static void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(root, flags, &store), SS_OK);
    return store;
}

static ss_log *open_log(ss_store *store, int durability)
{
    ss_log *log = NULL;
    ss_log_options options = {.durability = durability, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

static ss_status put(ss_log *log)
{
    static const uint8_t data[100] = {1};
    ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    return ss_log_append(log, &entry, 1, 0, 0, NULL, &appended);
}

static ss_log_state state_of(ss_log *log)
{
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    return state;
}

/* A process that puts `count` records and is killed. */
static void put_and_die(int flags, int durability, int count)
{
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(flags);
        ss_log *log = open_log(store, durability);
        for (int i = 0; i < count; i++)
            if (put(log) != SS_OK)
                _exit(1);
        raise(SIGKILL);
    }
    int how = 0;
    waitpid(child, &how, 0);
    CHECK(WIFSIGNALED(how));
}

/* flush() syncs what a process that died published, through whatever this process had open. */
static void check_flush_for_the_dead(int flags)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    put_and_die(flags, SS_DURABILITY_PROCESS, 10);
    ss_log_state state = state_of(log);
    CHECK(state.durable < state.tail);
    CHECK_EQUAL(synced[1], 0);
    CHECK_EQUAL(ss_store_flush(store), SS_OK);
    CHECK_EQUAL(synced[1], 1);
    close_store(store);
    remove_root();
}

#ifndef __SANITIZE_THREAD__
/* A process that only has an interval log at hand syncs what another left in it when it died. */
static void check_idle_attachment(int flags)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, SS_DURABILITY_INTERVAL);
    CHECK_EQUAL(state_of(log).record_count, 0);
    put_and_die(flags, SS_DURABILITY_INTERVAL, 10);
    ss_log_state state = state_of(log);
    for (int turn = 0; turn < 500 && state.durable < state.tail; turn++) {
        usleep(10000);
        state = state_of(log);
    }
    CHECK_EQUAL(state.record_count, 10);
    CHECK_EQUAL(state.durable, state.tail);
    close_store(store);
    remove_root();
}

#endif

/* Recovery after a kill syncs what it finds in the page cache before it calls it durable. */
static void check_recovery(int flags)
{
    fresh_root();
    put_and_die(SS_OPEN_CREATE | flags, SS_DURABILITY_SYNC, 10);
    ss_store *store = open_store(flags);
    ss_log *log = open_log(store, SS_DURABILITY_SYNC);
    ss_log_state state = state_of(log);
    CHECK_EQUAL(state.record_count, 10);
    CHECK_EQUAL(state.durable, state.tail);
    CHECK_EQUAL(synced[1], 1);
    close_store(store);
    remove_root();
}

/* A read-only handle nobody else shares syncs what it shows of a sync stream, too. */
static void check_read_only(int flags)
{
    fresh_root();
    put_and_die(SS_OPEN_CREATE | flags, SS_DURABILITY_SYNC, 10);
    ss_store *store = open_store(flags | SS_OPEN_READ_ONLY);
    ss_log *log = open_log(store, SS_DURABILITY_SYNC);
    CHECK_EQUAL(state_of(log).durable, state_of(log).tail);
    CHECK_EQUAL(synced[1], 1);
    close_store(store);
    remove_root();
}

/* Where the durable end was trimmed away, what was kept is synced all the same. */
static void check_trimmed(int flags)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(put(log), SS_OK);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    uint64_t freed, kept = state_of(log).tail;
    CHECK_EQUAL(ss_log_trim(log, kept, &freed), SS_OK);
    CHECK_EQUAL(put(log), SS_OK);
    ss_log_state state = state_of(log);
    if (state.durable >= kept)
        printf("the flusher was quicker: nothing tested\n");
    unsigned before = synced[2];
    CHECK_EQUAL(ss_store_flush(store), SS_OK);
    CHECK_EQUAL(state_of(log).durable, state.tail);
    CHECK_EQUAL(synced[2], before + 1);
    close_store(store);
    remove_root();
}

/* A failed sync ends the incarnation for all; a read-only view keeps the bytes in doubt back for good; the next
 * opener copies them and syncs the copy. */
static void check_failed_sync(int flags)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, SS_DURABILITY_SYNC);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(put(log), SS_OK);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    uint64_t durable = state_of(log).durable;
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(put(log), SS_OK);
    fail_syncs = 1;
    CHECK_EQUAL(ss_status_code(ss_log_sync(log, 0)), SS_POISONED);
    CHECK_EQUAL(ss_status_code(ss_log_sync(log, 0)), SS_POISONED);
    CHECK_EQUAL(ss_status_code(put(log)), SS_POISONED);
    CHECK_EQUAL(ss_store_poison(store), EIO);
    close_store(store);
    unsigned before = synced[1];
    store = open_store(flags | SS_OPEN_READ_ONLY);
    log = open_log(store, SS_DURABILITY_SYNC);
    CHECK_EQUAL(state_of(log).visible, durable);
    CHECK_EQUAL(ss_log_wait(log, durable, 700000), SS_TIMEOUT);
    CHECK_EQUAL(state_of(log).visible, durable);
    close_store(store);
    CHECK_EQUAL(synced[1], before);
    store = open_store(flags);
    log = open_log(store, SS_DURABILITY_SYNC);
    CHECK_EQUAL(state_of(log).record_count, 10);
    CHECK_EQUAL(state_of(log).segment_ordinal, 2);
    CHECK_EQUAL(state_of(log).durable, state_of(log).tail);
    CHECK(synced[2] > 0);
    uint64_t found = 0;
    CHECK_EQUAL(ss_log_seek_ordinal(log, 8, &found), SS_OK);
    CHECK_EQUAL(found, SS_FIRST_POSITION + 7 * 152);
    CHECK_EQUAL(put(log), SS_OK);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    close_store(store);
    remove_root();
}

/* Who puts and closes is told where the last sync fails, once all is released; what was never acknowledged before its
 * sync is nobody's loss. */
static void check_close_tells(int flags)
{
    const struct {
        int durability;
        ss_status expected;
    } cases[] = {{SS_DURABILITY_PROCESS, SS_POISONED}, {SS_DURABILITY_SYNC, SS_OK}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fresh_root();
        ss_store *store = open_store(SS_OPEN_CREATE | flags);
        CHECK_EQUAL(put(open_log(store, cases[i].durability)), SS_OK);
        fail_syncs = 1;
        CHECK_EQUAL(ss_status_code(ss_store_close(store)), cases[i].expected);
        fail_syncs = 0;
        CHECK_EQUAL(ss_store_close(store), SS_OK);
        ss_store_free(store);
        store = open_store(flags);
        CHECK_EQUAL(put(open_log(store, cases[i].durability)), SS_OK);
        CHECK_EQUAL(ss_store_close(store), SS_OK);
        ss_store_free(store);
        remove_root();
    }
}

/* Those who hold a poisoned incarnation find it ended by the next opener, and no append of theirs gets in. */
static void check_retired(int flags)
{
    fresh_root();
    ss_store *old = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(old, SS_DURABILITY_SYNC);
    CHECK_EQUAL(put(log), SS_OK);
    fail_syncs = 1;
    CHECK_EQUAL(ss_status_code(ss_log_sync(log, 0)), SS_POISONED);
    ss_store *store = open_store(flags);
    CHECK_EQUAL(ss_status_code(put(log)), SS_STALE);
    CHECK_EQUAL(ss_status_code(ss_log_sync(log, 0)), SS_STALE);
    ss_log *fresh = open_log(store, SS_DURABILITY_SYNC);
    CHECK_EQUAL(state_of(fresh).record_count, 1);
    CHECK_EQUAL(put(fresh), SS_OK);
    CHECK_EQUAL(ss_log_sync(fresh, 0), SS_OK);
    close_store(old);
    close_store(store);
    remove_root();
}

/* Where a roll finds the disk full, what still fits in the segment goes on there; with space again the roll comes. */
static void check_full_disk(int flags)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(put(log), SS_OK);
    static const uint8_t data[255 << 10] = {1};
    ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    disk_full = 1;
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(ss_status_code(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended)), SS_FULL);
    CHECK_EQUAL(put(log), SS_OK);
    CHECK_EQUAL(state_of(log).segment_ordinal, 1);
    CHECK_EQUAL(state_of(log).record_count, 2);
    disk_full = 0;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(state_of(log).segment_ordinal, 2);
    CHECK_EQUAL(state_of(log).record_count, 3);
    close_store(store);
    remove_root();
}

int main(void)
{
    for (int flags = 0; flags <= SS_OPEN_PWRITE; flags += SS_OPEN_PWRITE) {
        check_flush_for_the_dead(flags);
#ifndef __SANITIZE_THREAD__ /* which allows no threads in the child of a process that has some */
        check_idle_attachment(flags);
#endif
        check_recovery(flags);
        check_read_only(flags);
        check_trimmed(flags);
        check_close_tells(flags);
        check_failed_sync(flags);
        check_retired(flags);
    }
    check_full_disk(0); /* the pwrite backend never allocates */
    return check_report();
}
