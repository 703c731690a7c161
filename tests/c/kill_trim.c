/* A process that dies in the middle of a trim: whoever is left reads from the new start on, and the same trim, made
 * once more by a survivor or by the next incarnation, removes what is left. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "scratch.h"
#include "streamstore.h"

static ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(scratch_root, flags, &store), SS_OK);
    return store;
}

static ss_log *open_log(ss_store *store, uint64_t start)
{
    ss_log *log = NULL;
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS,
                              .segment_size_max = 256 << 10,
                              .record_size_max = 1 << 20,
                              .start_position = start};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static void put(ss_log *log)
{
    static const uint8_t data[100] = {1};
    ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
}

static uint64_t count(ss_log *log)
{
    static uint8_t buffer[64 << 10];
    ss_record records[100];
    ss_log_state state;
    ss_read_result result;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(ss_log_read(log, state.start, 0, buffer, sizeof buffer, records, 100, &result), SS_OK);
    return result.count;
}

static int is_there(int ordinal)
{
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s/streams/1/0/%012d.seg", scratch_root, ordinal);
    return stat(path, &info) == 0;
}

static void die_trimming(const char *point, uint64_t position)
{
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(0);
        ss_log *log = open_log(store, 0);
        uint64_t freed;
        setenv("STREAMSTORE_KILLPOINT", point, 1);
        ss_log_trim(log, position, &freed);
        _exit(1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void check(const char *point, int gone, int next_incarnation)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, 0);
    for (int segment = 0; segment < 4; segment++) {
        for (int i = 0; i < 10; i++)
            put(log);
        if (segment < 3)
            CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    }
    ss_live_segment live[8];
    size_t found = 0;
    CHECK_EQUAL(ss_log_live_segments(log, live, 8, &found), SS_OK);
    CHECK_EQUAL(found, 4);
    die_trimming(point, live[3].base);
    for (int ordinal = 1; ordinal <= 4; ordinal++)
        CHECK_EQUAL(is_there(ordinal), ordinal > gone);
    CHECK_EQUAL(count(log), 10);
    if (next_incarnation) {
        ss_store_close(store);
        ss_store_free(store);
        store = open_store(0);
        log = open_log(store, live[3].base); /* as the catalog has it, which was told before */
    }
    uint64_t freed = 0;
    CHECK_EQUAL(ss_log_trim(log, live[3].base, &freed), SS_OK);
    for (int ordinal = 1; ordinal <= 4; ordinal++)
        CHECK_EQUAL(is_there(ordinal), ordinal > 3);
    CHECK(gone == 3 || freed > 0);
    CHECK_EQUAL(count(log), 10);
    put(log);
    CHECK_EQUAL(count(log), 11);
    ss_verify_totals totals;
    size_t damaged = 1;
    CHECK_EQUAL(ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals), SS_OK);
    CHECK_EQUAL(damaged, 0);
    CHECK_EQUAL(totals.records, 11);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

int main(void)
{
    for (int next = 0; next < 2; next++) {
        check("trim-started:1", 0, next);
        check("trim-unlinked:1", 1, next);
        check("trim-unlinked:2", 2, next);
        check("trim-unlinked:3", 3, next);
    }
    return check_report();
}
