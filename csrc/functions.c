/* The table through which the _hot extension reaches the core, so that both use one copy of it. */
#include "aggregate.h"
#include "streamstore.h"
#include "wait.h"

static const ss_function_table table = {
    .version = SS_FUNCTIONS_VERSION,
    .size = sizeof(ss_function_table),
    .log_append = ss_log_append_under,
    .log_sync = ss_log_sync,
    .log_read = ss_log_read,
    .log_get = ss_log_get,
    .log_state = ss_log_state_get,
    .ranges_route = ss_ranges_route,
    .ranges_route_keys = ss_ranges_route_keys,
    .ranges_hash = ss_ranges_hash,
    .aggregates = &ss_aggregate_functions,
    .monotonic_us = ss_wait_monotonic_us,
};

const void *ss_functions(void)
{
    return &table;
}
