/* What the next owner of a log makes of a death at one exact point, where the counters or the close were half
 * stored. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "streamstore.h"

static ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(scratch_root, flags, &store), SS_OK);
    return store;
}

static ss_log *open_log_as(ss_store *store, int durability)
{
    ss_log *log = NULL;
    ss_log_options options = {.durability = durability, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static ss_log *open_log(ss_store *store)
{
    return open_log_as(store, SS_DURABILITY_PROCESS);
}

static ss_status put(ss_log *log, int flags)
{
    static const uint8_t data[100] = {1};
    ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    return ss_log_append(log, &entry, 1, 0, flags, NULL, &appended);
}

/* A process that puts ten records and then does what kills it. */
static void die_at(const char *point, int roll, int flags)
{
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(0);
        ss_log *log = open_log(store);
        for (int i = 0; i < 10; i++)
            CHECK_EQUAL(put(log, 0), SS_OK);
        setenv("STREAMSTORE_KILLPOINT", point, 1);
        if (roll)
            ss_log_roll(log, 0);
        else
            put(log, flags);
        _exit(1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

/* A process that puts and dies in the middle of the sync. */
static void die_in_sync(int count)
{
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(0);
        ss_log *log = open_log(store);
        for (int i = 0; i < count; i++)
            put(log, 0);
        setenv("STREAMSTORE_KILLPOINT", "sync-marked:1", 1);
        ss_log_sync(log, 0);
        _exit(1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static ss_log_state state_of(ss_log *log)
{
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    return state;
}

/* A close frame that is published ends the log, wherever its writer died after it. */
static void check_close(const char *point)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store);
    state_of(log);
    die_at(point, 0, SS_APPEND_CLOSE);
    uint64_t tail = state_of(log).tail;
    CHECK_EQUAL(put(log, 0), SS_SHARD_CLOSED);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_SHARD_CLOSED);
    CHECK_EQUAL(state_of(log).tail, tail);
    CHECK_EQUAL(state_of(log).closed, 1);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

/* A close that died before its frame was published leaves an open log, which takes records and can be closed again. */
static void check_unfinished_close(const char *point)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store);
    state_of(log);
    die_at(point, 0, SS_APPEND_CLOSE);
    CHECK_EQUAL(state_of(log).closed, 0);
    CHECK_EQUAL(put(log, 0), SS_OK);
    uint64_t records = state_of(log).record_count;
    CHECK_EQUAL(put(log, SS_APPEND_CLOSE), SS_OK);
    CHECK_EQUAL(put(log, 0), SS_SHARD_CLOSED);
    CHECK_EQUAL(state_of(log).record_count, records);
    uint8_t data[128];
    size_t size = 0;
    CHECK_EQUAL(ss_log_close_data(log, data, sizeof data, &size), SS_OK);
    CHECK(size > 0);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

/* A roll whose maker died keeps the count of records and the arrival times. */
static void check_roll(const char *point)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store);
    state_of(log);
    die_at(point, 1, 0);
    uint64_t arrival = state_of(log).last_arrival_us;
    CHECK_EQUAL(put(log, 0), SS_OK);
    CHECK_EQUAL(state_of(log).record_count, 11);
    CHECK(arrival > 0 && state_of(log).last_arrival_us >= arrival);
    uint64_t found = 0;
    CHECK_EQUAL(ss_log_seek_ordinal(log, 11, &found), SS_OK);
    CHECK(found > SS_FIRST_POSITION && found < state_of(log).tail);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

/* A neighbour whose work is to open and close the store (a command in a loop, a supervisor that looks at the queue)
 * wakes every sleeper each time, far more often than a sleep for proof of death would last. */
static pid_t start_neighbour(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            ss_store *store = open_store(0);
            ss_log_state state;
            ss_log_state_get(open_log_as(store, SS_DURABILITY_SYNC), &state);
            ss_store_close(store);
            ss_store_free(store);
            usleep(10000);
        }
    }
    return child;
}

/* Four workers slept for good: the leader of a sync round had been killed, and a supervisor's opens and closes woke
 * them before any of them had slept long enough to ask whether the leader lived. */
static void check_round_of_the_dead(const char *point, int reader)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log_as(store, SS_DURABILITY_SYNC);
    uint64_t before = state_of(log).tail;
    pid_t child = fork();
    if (child == 0) {
        ss_store *own = open_store(0);
        setenv("STREAMSTORE_KILLPOINT", point, 1);
        ss_log *its = open_log_as(own, SS_DURABILITY_SYNC);
        put(its, 0);
        ss_log_sync(its, 0);
        _exit(1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    pid_t neighbour = start_neighbour();
    alarm(20); /* what this guards against is a sleep without end */
    if (reader) {
        while (state_of(log).visible == before)
            ss_log_wait(log, before, -1);
    } else {
        CHECK_EQUAL(put(log, 0), SS_OK);
        CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
        CHECK_EQUAL(state_of(log).record_count, 2);
    }
    alarm(0);
    CHECK_EQUAL(state_of(log).durable, state_of(log).tail);
    kill(neighbour, SIGKILL);
    waitpid(neighbour, NULL, 0);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

/* Somebody who had the segment open before any sync, and who is killed in the middle of a sync when told to. */
static pid_t start_veteran(int told[2])
{
    CHECK_EQUAL(pipe(told), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        ss_store *store = open_store(0);
        ss_log *log = open_log(store);
        put(log, 0);
        CHECK_EQUAL(read(told[0], &byte, 1), 1);
        setenv("STREAMSTORE_KILLPOINT", "sync-marked:1", 1);
        ss_log_sync(log, 0);
        _exit(1);
    }
    return child;
}

/* Two leaders die in a row, each inside a sync of the same bytes. The first one's sync failed, say, and died with the
 * news; the second had the file open by then, got the news through that, and died with them too. Whoever opened the
 * file between the two would hear nothing: it must not take a sync of its own for proof, and writes the bytes anew. */
static void check_two_dead_leaders(void)
{
    uint8_t buffer[4096];
    ss_record records[16];
    ss_read_result result;
    int told[2];
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store);
    pid_t veteran = start_veteran(told);
    while (state_of(log).record_count == 0)
        usleep(1000);
    die_in_sync(10);
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 16, &result), SS_OK);
    CHECK_EQUAL(write(told[1], "", 1), 1);
    int how = 0;
    waitpid(veteran, &how, 0);
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    CHECK(state_of(log).durable < state_of(log).tail);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(state_of(log).durable, state_of(log).tail);
    CHECK_EQUAL(state_of(log).record_count, 11);
    CHECK_EQUAL(state_of(log).segment_ordinal, 2);
    close(told[0]);
    close(told[1]);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

/* A put whose writer died before it was published counts for nothing, and what it left is not built upon: the next one
 * goes into a new segment, with the next ordinal. */
static void check_append(const char *point)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store);
    state_of(log);
    die_at(point, 0, 0);
    uint64_t tail = state_of(log).tail;
    CHECK_EQUAL(put(log, 0), SS_OK);
    CHECK_EQUAL(state_of(log).record_count, 11);
    CHECK_EQUAL(state_of(log).segment_ordinal, 2);
    CHECK_EQUAL(state_of(log).segment_base, tail);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

int main(void)
{
    check_round_of_the_dead("sync-marked:1", 0);
    check_round_of_the_dead("sync-done:1", 0);
    check_round_of_the_dead("append-published:1", 1);
    check_two_dead_leaders();
    check_append("append-reserved:1");
    check_append("append-copying:1");
    check_append("append-counted:1");
    check_close("marker-published:1");
    check_close("append-published:1");
    check_close("append-unlocked:1");
    check_unfinished_close("roll-reserved:1");
    check_unfinished_close("roll-committed:1");
    check_unfinished_close("roll-entered:1");
    check_unfinished_close("marker-reserved:1");
    check_unfinished_close("marker-synced:1");
    check_roll("roll-reserved:1");
    check_roll("roll-header:1");
    check_roll("roll-committed:1");
    check_roll("roll-entering:1");
    check_roll("roll-entered:1");
    return check_report();
}
