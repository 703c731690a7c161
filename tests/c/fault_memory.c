/* Memory that runs out at the first, the second, the third allocation of a recovery, of a put, and of a sync of what
 * was trimmed: it is told, nothing was done by halves, and the next try goes through. */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "calls_fail.h"
#include "log.h"
#include "logs.h"

enum { RECORDS = 60, TRIES = 200 };

static void put_and_die(void)
{
    pid_t child = fork();
    if (child == 0) {
        ss_log *log = open_log(open_store(SS_OPEN_CREATE), SS_DURABILITY_SYNC);
        for (uint64_t n = 0; n < RECORDS; n++) {
            if (n % 20 == 0)
                CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
            put(log, n);
        }
        _exit(check_failed != 0);
    }
    int how = 0;
    CHECK_EQUAL(waitpid(child, &how, 0), child);
    CHECK_EQUAL(how, 0);
}

static void check_recovery(void)
{
    ss_log_state state;
    uint64_t failed = 1;
    for (uint64_t first = 1; first < TRIES && failed; first++) {
        fresh_root();
        put_and_die();
        ss_store *store = open_store(0);
        ss_log *log = open_log(store, SS_DURABILITY_SYNC);
        calls_fail(CALL_MEMORY, first, ENOMEM, CALL_WHOLE, CALL_ONCE);
        ss_status status = ss_log_state_get(log, &state);
        failed = calls_heal();
        CHECK(status == SS_OK || ss_status_code(status) == SS_NO_MEMORY);
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.record_count, RECORDS);
        CHECK_EQUAL(state.durable, state.tail);
        read_all(log, 0, RECORDS);
        close_store(store);
        remove_root();
    }
    CHECK_EQUAL(failed, 0); /* all were tried */
}

/* A batch that goes by pwrite is put together in memory of its own. */
static void check_puts(void)
{
    static const uint8_t data[20 << 10];
    const ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_SYNC);
    ss_log_state state;
    uint64_t failed = 1, records = 0;
    put(log, 0);
    for (uint64_t first = 1; first < TRIES && failed; first++) {
        ss_appended appended;
        calls_fail(CALL_MEMORY, first, ENOMEM, CALL_WHOLE, CALL_ONCE);
        ss_status status = ss_log_append(log, &entry, 1, 0, 0, NULL, &appended);
        failed = calls_heal();
        CHECK(status == SS_OK || ss_status_code(status) == SS_NO_MEMORY);
        records += status == SS_OK;
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.record_count, 1 + records);
    }
    CHECK_EQUAL(failed, 0);
    CHECK(records > 0);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    close_store(store);
    remove_root();
}

/* Another process trimmed what this one was about to sync: where the log begins now has to be looked up. */
static void check_sync_of_what_was_trimmed(enum call_kind kind, int error)
{
    ss_log_state state;
    uint64_t failed = 1, freed, behind = 0;
    for (uint64_t first = 1; first < TRIES && failed; first++) {
        fresh_root();
        ss_store *mine = open_store(SS_OPEN_CREATE), *yours = open_store(0);
        ss_log *log = open_log(mine, SS_DURABILITY_PROCESS), *other = open_log(yours, SS_DURABILITY_PROCESS);
        for (uint64_t n = 0; n < 4; n++) {
            uint64_t position = put(log, n);
            behind = n == 2 ? position : behind;
            CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
        }
        CHECK_EQUAL(ss_log_state_get(other, &state), SS_OK);
        CHECK_EQUAL(ss_log_trim(log, behind, &freed), SS_OK);
        atomic_store(&log->entry->durable, SS_FIRST_POSITION);
        calls_fail(kind, first, error, CALL_WHOLE, CALL_ONCE);
        ss_status status = ss_log_sync(other, 0);
        failed = calls_heal();
        CHECK(status == SS_OK || failed);
        CHECK_EQUAL(ss_log_sync(other, 0), SS_OK);
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.durable, state.tail);
        close_store(yours);
        close_store(mine);
        remove_root();
    }
    CHECK_EQUAL(failed, 0);
}

int main(void)
{
    check_recovery();
    check_puts();
    check_sync_of_what_was_trimmed(CALL_MEMORY, ENOMEM);
    check_sync_of_what_was_trimmed(CALL_OPEN, EMFILE);
    check_sync_of_what_was_trimmed(CALL_LIST, EIO);
    return check_report();
}
