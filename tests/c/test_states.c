/* Every call says what state its store is in: closed, forked, retired by a newer incarnation, poisoned by a sync that
 * failed, or open to be read only; and does nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/wait.h>

#include "log.h"
#include "packs.h"

static ss_store *store;
static ss_log *fresh, *used; /* one that this incarnation has not touched, and one that it has */
static ss_pack *pack;
static uint8_t buffer[8 << 10];

static const ss_log_options plain = {
    .durability = SS_DURABILITY_PROCESS, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};

static ss_status append_to(ss_log *log, int flags)
{
    const ss_entry entry = {.data = (const uint8_t *)"data", .data_size = 4, .key_size = -1};
    ss_appended appended;
    return ss_log_append(log, &entry, 1, 0, flags, NULL, &appended);
}

/* ---- the calls; each on the log that it is given ---- */

static ss_status call_append(ss_log *log)
{
    return append_to(log, 0);
}

static ss_status call_close(ss_log *log)
{
    return append_to(log, SS_APPEND_CLOSE);
}

static ss_status call_sync(ss_log *log)
{
    return ss_log_sync(log, 0);
}

static ss_status call_roll(ss_log *log)
{
    return ss_log_roll(log, 0);
}

static ss_status call_trim(ss_log *log)
{
    uint64_t freed;
    return ss_log_trim(log, SS_FIRST_POSITION, &freed);
}

static ss_status call_terms(ss_log *log)
{
    return ss_log_terms_raise(log, 1, NULL, 0);
}

static ss_status call_limit(ss_log *log)
{
    return ss_log_limit_set(log, 0);
}

static ss_status call_retire(ss_log *log)
{
    return ss_log_retire(log);
}

static ss_status call_pack_begin(ss_log *log)
{
    ss_pack *begun;
    return ss_log_pack_begin(log, 1, 1, &begun);
}

static ss_status call_pack_clean(ss_log *log)
{
    size_t removed;
    return ss_log_pack_clean(log, &removed);
}

static ss_status call_state(ss_log *log)
{
    ss_log_state state;
    return ss_log_state_get(log, &state);
}

static ss_status call_read(ss_log *log)
{
    ss_record records[1];
    ss_read_result result;
    return ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 1, &result);
}

static ss_status call_get(ss_log *log)
{
    ss_record record;
    ss_read_result result;
    return ss_log_get(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, &record, &result);
}

static ss_status call_seek(ss_log *log)
{
    uint64_t out;
    return ss_log_seek(log, SS_FIRST_POSITION, &out);
}

static ss_status call_seek_time(ss_log *log)
{
    uint64_t out;
    return ss_log_seek_time(log, 1, &out);
}

static ss_status call_epoch_at(ss_log *log)
{
    uint64_t out;
    return ss_log_epoch_at(log, 1 << 20, &out);
}

static ss_status call_epoch_after(ss_log *log)
{
    uint64_t out;
    return ss_log_epoch_after(log, 0, &out);
}

static ss_status call_wait(ss_log *log)
{
    return ss_log_wait(log, SS_FIRST_POSITION, 0);
}

static ss_status call_segments(ss_log *log)
{
    ss_segment_info segments[2];
    size_t count;
    return ss_log_segments(log, segments, 2, &count);
}

static ss_status call_live(ss_log *log)
{
    ss_live_segment segments[2];
    size_t count;
    return ss_log_live_segments(log, segments, 2, &count);
}

static ss_status call_verify(ss_log *log)
{
    size_t count;
    ss_verify_totals totals;
    return ss_log_verify(log, 0, 0, NULL, 0, &count, &totals);
}

static ss_status call_close_data(ss_log *log)
{
    size_t size;
    return ss_log_close_data(log, buffer, sizeof buffer, &size);
}

static ss_status call_pack_next(ss_log *log)
{
    ss_pack_block blocks[1];
    size_t count;
    (void)log;
    return ss_log_pack_next(pack, buffer, sizeof buffer, blocks, 1, &count);
}

static ss_status call_pack_some(ss_log *log)
{
    size_t count;
    (void)log;
    return ss_log_pack_some(pack, 1, &count);
}

static ss_status call_pack_finish(ss_log *log)
{
    size_t left;
    (void)log;
    return ss_log_pack_finish(pack, 1, &left);
}

static ss_status call_pack_put(ss_log *log)
{
    const ss_pack_stored stored = {.raw = buffer, .stored = buffer};
    (void)log;
    return ss_log_pack_put(pack, &stored);
}

static ss_status call_pack_commit(ss_log *log)
{
    (void)log;
    return ss_log_pack_commit(pack);
}

static ss_status call_log(ss_log *log)
{
    ss_log *made;
    (void)log;
    return ss_store_log(store, 9, 9, &plain, &made);
}

static ss_status call_flush(ss_log *log)
{
    (void)log;
    return ss_store_flush(store);
}

static ss_status call_store_wait(ss_log *log)
{
    (void)log;
    return ss_store_wait(store, 0, 0);
}

static ss_status call_clock(ss_log *log)
{
    uint64_t wall;
    int64_t jump;
    (void)log;
    return ss_store_clock(store, &wall, &jump);
}

static ss_status call_clock_accept(ss_log *log)
{
    (void)log;
    return ss_store_clock_accept(store);
}

static ss_status call_reserve(ss_log *log)
{
    (void)log;
    return ss_store_reserve(store);
}

static ss_status call_epoch_raise(ss_log *log)
{
    (void)log;
    return ss_store_epoch_raise(store, 1);
}

static ss_status call_processes(ss_log *log)
{
    ss_process processes[1];
    size_t count;
    (void)log;
    return ss_store_processes(store, processes, 1, &count);
}

enum { FREE = -1 }; /* whatever it answers */

/* What each says: of a retired store, and of one that is open to be read only. Log calls are made on a log that this
 * incarnation has not touched yet, where it matters. */
static const struct {
    const char *name;
    ss_status (*call)(ss_log *);
    int retired, retired_untouched, poisoned, read_only;
} calls[] = {
    {"append", call_append, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"close", call_close, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"sync", call_sync, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"roll", call_roll, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"trim", call_trim, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"terms", call_terms, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"limit", call_limit, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"retire", call_retire, SS_STALE, SS_STALE, SS_POISONED, FREE},
    {"pack begin", call_pack_begin, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"pack clean", call_pack_clean, SS_STALE, SS_STALE, SS_POISONED, SS_READ_ONLY},
    {"state", call_state, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"read", call_read, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"get", call_get, FREE, SS_STALE, FREE, FREE},
    {"seek", call_seek, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"seek time", call_seek_time, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"epoch at", call_epoch_at, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"epoch after", call_epoch_after, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"wait", call_wait, SS_STALE, SS_STALE, SS_OK, SS_OK},
    {"segments", call_segments, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"live", call_live, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"verify", call_verify, SS_OK, SS_STALE, SS_OK, SS_OK},
    {"close data", call_close_data, SS_NOT_FOUND, SS_STALE, SS_NOT_FOUND, SS_NOT_FOUND},
    {"pack next", call_pack_next, SS_STALE, FREE, SS_POISONED, FREE},
    {"pack some", call_pack_some, SS_STALE, FREE, SS_POISONED, FREE},
    {"pack finish", call_pack_finish, SS_STALE, FREE, SS_POISONED, FREE},
    {"pack put", call_pack_put, FREE, FREE, FREE, FREE},
    {"pack commit", call_pack_commit, FREE, FREE, FREE, FREE},
    {"log", call_log, SS_STALE, SS_STALE, SS_OK, SS_OK},
    {"flush", call_flush, SS_STALE, FREE, SS_POISONED, SS_OK},
    {"store wait", call_store_wait, SS_STALE, SS_STALE, FREE, FREE},
    {"clock", call_clock, SS_OK, SS_OK, SS_OK, SS_OK},
    {"clock accept", call_clock_accept, SS_OK, SS_OK, SS_OK, SS_READ_ONLY},
    {"reserve", call_reserve, SS_OK, SS_OK, SS_OK, SS_READ_ONLY},
    {"epoch raise", call_epoch_raise, SS_OK, SS_OK, SS_OK, SS_OK},
    {"processes", call_processes, SS_OK, SS_OK, SS_OK, SS_OK},
};
enum { CALLS = sizeof calls / sizeof *calls };

static void expect(const char *state, size_t i, ss_log *log, int wanted)
{
    int got = ss_status_code(calls[i].call(log));
    if (wanted != FREE && got != wanted)
        printf("%s, %s:\n", state, calls[i].name);
    if (wanted != FREE)
        CHECK_EQUAL(got, wanted);
}

/* A store with three segments of records in a log, a log that is there and untouched, and a pack that was begun. */
static void make(void)
{
    fresh_root();
    store = open_store(SS_OPEN_CREATE);
    used = open_log(store, SS_DURABILITY_PROCESS);
    fill(used, 0, 300, 100);
    CHECK_EQUAL(ss_store_log(store, 1, 1, &plain, &fresh), SS_OK);
    CHECK_EQUAL(append_to(fresh, 0), SS_OK);
    close_store(store);
    store = open_store(0);
    used = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(append_to(used, 0), SS_OK);
    CHECK_EQUAL(ss_store_log(store, 1, 1, &plain, &fresh), SS_OK);
    CHECK_EQUAL(ss_log_pack_begin(used, 1, 2, &pack), SS_OK);
}

/* Calls that have no status say nothing of a store that is not there. */
static void check_silent(void)
{
    ss_log_live live;
    CHECK_EQUAL(ss_store_poison(store), 0);
    CHECK_EQUAL(ss_store_epoch_counter(store), 0);
    CHECK_EQUAL(ss_store_maintained(store), 0);
    CHECK_EQUAL(ss_store_watch(store), 0);
    CHECK_EQUAL(ss_log_limit_get(used), 0);
    ss_log_live_get(used, &live);
    CHECK_EQUAL(live.tail, 0);
    ss_store_maintained_set(store, 1);
    ss_store_wake(store);
    ss_log_wake(used);
}

static void test_closed(void)
{
    make();
    CHECK_EQUAL(ss_store_close(store), SS_OK);
    CHECK_EQUAL(ss_store_close(store), SS_OK); /* the second does nothing */
    for (size_t i = 0; i < CALLS; i++)
        expect("closed", i, used, SS_CLOSED);
    check_silent();
    ss_log_pack_free(pack);
    ss_store_free(store);
    remove_root();
}

static void test_forked(void)
{
    make();
    pid_t child = fork();
    if (child == 0) {
        ss_store_after_fork(store);
        for (size_t i = 0; i < CALLS; i++)
            expect("forked", i, used, SS_FORKED);
        check_silent();
        CHECK_EQUAL(ss_store_close(store), SS_OK);
        ss_store_free(store);
        _exit(check_failed != 0);
    }
    int status = 0;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQUAL(append_to(used, 0), SS_OK); /* the parent goes on */
    ss_log_pack_free(pack);
    close_store(store);
    remove_root();
}

static void test_retired(void)
{
    make();
    atomic_store(&store->control.header->retired, 1);
    for (size_t i = 0; i < CALLS; i++) {
        expect("retired", i, used, calls[i].retired);
        expect("retired, untouched", i, fresh, calls[i].retired_untouched);
    }
    CHECK_EQUAL(atomic_load(&used->entry->state), SS_LOG_READY);
    ss_log_pack_free(pack);
    close_store(store);
    remove_root();
}

static void test_poisoned(void)
{
    make();
    atomic_store(&store->control.header->poison, EIO);
    for (size_t i = 0; i < CALLS; i++)
        expect("poisoned", i, used, calls[i].poisoned);
    CHECK_EQUAL(ss_store_poison(store), EIO);
    CHECK_EQUAL(atomic_load(&used->entry->state), SS_LOG_READY);
    ss_log_pack_free(pack);
    close_store(store);
    remove_root();
}

static void test_read_only(int beside)
{
    make();
    ss_log_pack_free(pack);
    ss_store *writer = store;
    if (!beside)
        close_store(writer);
    store = open_store(SS_OPEN_READ_ONLY);
    used = open_log(store, SS_DURABILITY_PROCESS);
    ss_store_info info;
    ss_store_info_get(store, &info);
    CHECK_EQUAL(info.private_recovery, !beside);
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].read_only != FREE)
            expect("read only", i, used, calls[i].read_only);
    close_store(store);
    if (beside)
        close_store(writer);
    remove_root();
}

/* A log that is deleted takes nothing, and tells readers that it ended. */
static void test_retired_log(void)
{
    make();
    ss_log_pack_free(pack);
    CHECK_EQUAL(ss_log_retire(used), SS_OK);
    CHECK_EQUAL(ss_log_retire(fresh), SS_OK);
    CHECK_EQUAL(append_to(used, 0), SS_SHARD_CLOSED);
    CHECK_EQUAL(append_to(used, SS_APPEND_TRY), SS_SHARD_CLOSED);
    CHECK_EQUAL(append_to(fresh, 0), SS_SHARD_CLOSED);
    CHECK_EQUAL(call_state(used), SS_SHARD_CLOSED);
    CHECK_EQUAL(call_wait(fresh), SS_SHARD_CLOSED);
    CHECK_EQUAL(call_close(fresh), SS_SHARD_CLOSED);
    CHECK_EQUAL(ss_store_flush(store), SS_OK);
    close_store(store);
    remove_root();
}

int main(void)
{
    test_closed();
    test_forked();
    test_retired();
    test_poisoned();
    test_read_only(0);
    test_read_only(1);
    test_retired_log();
    return check_report();
}
