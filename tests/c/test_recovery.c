/* What the first touch after a death makes of what was left: the trim horizon holds, and no death or lost suffix
 * hides what comes after. */
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
    const uint8_t description[] = "described";
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS,
                              .segment_size_max = 256 << 10,
                              .record_size_max = 1 << 20,
                              .start_position = start};
    options.description = description;
    options.description_size = sizeof description;
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

static ss_appended put(ss_log *log)
{
    static const uint8_t data[100] = {1};
    ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended = {0};
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    return appended;
}

static ss_log_state state_of(ss_log *log)
{
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    return state;
}

static void put_and_die(int count)
{
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_log(store, 0);
        for (int i = 0; i < count; i++)
            put(log);
        raise(SIGKILL);
    }
    int how = 0;
    waitpid(child, &how, 0);
    CHECK(WIFSIGNALED(how));
}

enum { FRAME = 152 }; /* of a put above */

/* A flush before anybody touched the log makes it durable and forgets no trim horizon. */
static void check_flush_first(void)
{
    scratch_new();
    put_and_die(10);
    ss_store *store = open_store(0);
    CHECK_EQUAL(ss_store_flush(store), SS_OK);
    CHECK_EQUAL(ss_store_flush(store), SS_OK);
    ss_log *log = open_log(store, SS_FIRST_POSITION + 4 * FRAME);
    ss_log_state state = state_of(log);
    CHECK_EQUAL(state.start, SS_FIRST_POSITION + 4 * FRAME);
    CHECK_EQUAL(state.start_record_count, 4);
    CHECK_EQUAL(state.tail, SS_FIRST_POSITION + 10 * FRAME);
    CHECK_EQUAL(state.durable, state.tail);
    put(log);
    CHECK_EQUAL(state_of(log).record_count, 11);
    close_store(store);
    scratch_remove();
}

/* Without a control file all above the known end is in doubt: it is copied before it counts. */
static void check_no_control(void)
{
    scratch_new();
    put_and_die(10);
    char path[256];
    snprintf(path, sizeof path, "%s/control", scratch_root);
    CHECK_EQUAL(unlink(path), 0);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, 0);
    ss_log_state state = state_of(log);
    CHECK_EQUAL(state.record_count, 10);
    CHECK_EQUAL(state.durable, state.tail);
    CHECK_EQUAL(state.segment_ordinal, 2);
    close_store(store);
    scratch_remove();
}

/* A log that ends before its trim horizon (the suffix was lost, its trimming was not) goes on at the horizon, where
 * readers look. */
static void check_lost_suffix(void)
{
    scratch_new();
    put_and_die(10);
    uint64_t start = SS_FIRST_POSITION + 20 * FRAME;
    for (int round = 0; round < 3; round++) {
        ss_store *store = open_store(0);
        ss_log *log = open_log(store, start);
        ss_log_state state = state_of(log);
        CHECK_EQUAL(state.start, start);
        CHECK(state.tail >= start);
        ss_appended appended = put(log);
        CHECK(appended.first_position >= start);
        uint8_t buffer[4096];
        ss_record records[8];
        ss_read_result result;
        CHECK_EQUAL(ss_log_read(log, start, 0, buffer, sizeof buffer, records, 8, &result), SS_OK);
        CHECK_EQUAL(result.count, round + 1);
        CHECK_EQUAL(records[round].position, appended.first_position);
        close_store(store);
    }
    scratch_remove();
}

/* The catalog's own log has no horizon but its first segment, be there one or several. */
static void check_first_segment(void)
{
    scratch_new();
    for (int round = 0; round < 5; round++) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = NULL;
        ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .segment_size_max = 256 << 10};
        CHECK_EQUAL(ss_store_log(store, 0, 0, &options, &log), SS_OK);
        ss_log_state state = state_of(log);
        ss_segment_info segments[8];
        size_t count = 0;
        uint64_t freed;
        CHECK_EQUAL(ss_log_segments(log, segments, 8, &count), SS_OK);
        CHECK_EQUAL(state.start, count ? segments[0].base : SS_FIRST_POSITION);
        CHECK_EQUAL(count, round < 4 ? round : 1);
        put(log);
        CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
        put(log);
        if (round == 0 || round == 3)
            CHECK_EQUAL(ss_log_trim(log, state_of(log).segment_base, &freed), SS_OK);
        close_store(store);
    }
    scratch_remove();
}

/* A file cut short under a known durable end is damage to report, not a signal to die of. */
static void check_cut_file(uint64_t keep)
{
    scratch_new();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, 0);
    for (int i = 0; i < 1000; i++)
        put(log);
    close_store(store);
    char path[256];
    snprintf(path, sizeof path, "%s/streams/1/0/000000000001.seg", scratch_root);
    CHECK_EQUAL(truncate(path, (off_t)keep), 0);
    for (int flags = 0; flags <= SS_OPEN_READ_ONLY; flags += SS_OPEN_READ_ONLY) {
        store = open_store(flags);
        log = open_log(store, 0);
        CHECK_EQUAL(state_of(log).tail, SS_FIRST_POSITION + 1000 * FRAME);
        static uint8_t buffer[64 << 10];
        ss_record records[100];
        ss_read_result result;
        uint64_t position = SS_FIRST_POSITION, seen = 0;
        ss_status status;
        while ((status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 100, &result)) == SS_OK &&
               result.count) {
            seen += result.count;
            position = result.next_position;
        }
        seen += status == SS_CORRUPT ? result.count : 0;
        CHECK_EQUAL(status, SS_CORRUPT);
        CHECK_EQUAL(seen, (keep - SS_SEGMENT_HEADER_SIZE) / FRAME);
        CHECK_EQUAL(result.damage_end, SS_FIRST_POSITION + 1000 * FRAME);
        uint64_t found;
        CHECK_EQUAL(ss_log_seek_ordinal(log, 900, &found), SS_OK);
        close_store(store);
    }
    scratch_remove();
}

int main(void)
{
    check_flush_first();
    check_no_control();
    check_lost_suffix();
    check_first_segment();
    check_cut_file(SS_SEGMENT_HEADER_SIZE + 100 * FRAME + 8);
    check_cut_file(SS_SEGMENT_HEADER_SIZE);
    return check_report();
}
