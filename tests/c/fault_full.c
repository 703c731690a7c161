/* A disk without room: puts say so and lose nothing, and what frees space finds the room that the store kept for it. */
#define _GNU_SOURCE
#include "calls_fail.h"
#include "logs.h"

static int reserve_is_there(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/reserve", root);
    return access(path, F_OK) == 0;
}

/* Puts until one fails; the number of those that did not. */
static uint64_t fill_up(ss_log *log, uint64_t n, ss_status *status)
{
    static const uint8_t data[700];
    const ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    uint64_t before = n;
    while ((*status = ss_log_append(log, &entry, 1, 0, 0, NULL, &appended)) == SS_OK)
        n++;
    return n - before;
}

int main(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    const ss_entry freed = {.data = (const uint8_t *)"freed", .data_size = 5, .key_size = -1};
    ss_appended appended;
    ss_status status;
    put(log, 0);
    CHECK(reserve_is_there());
    calls_fail(CALL_ALLOCATE, 1, ENOSPC, CALL_WHOLE, CALL_UNTIL_ROOM);
    uint64_t count = 1 + fill_up(log, 0, &status);
    CHECK_EQUAL(ss_status_code(status), SS_FULL);
    CHECK(count > 1); /* what was allocated before is used up */
    CHECK_EQUAL(fill_up(log, 0, &status), 0);
    CHECK(reserve_is_there()); /* records never get it */
    ss_log_state state;
    while ((status = ss_log_append(log, &freed, 1, 0, SS_APPEND_RESERVE, NULL, &appended)) == SS_OK &&
           reserve_is_there())
        count++;
    CHECK_EQUAL(status, SS_OK);
    CHECK_EQUAL(calls_plan.kind, CALL_KINDS); /* it was given up, and nothing failed any more */
    CHECK(!reserve_is_there());
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.record_count, count + 1);
    CHECK_EQUAL(state.tail, appended.end_position);
    close_store(store);
    remove_root();
    return check_report();
}
