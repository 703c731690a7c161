/* One thread a process that keeps the promise of `interval` streams, finishes sealed segments, syncs what a dead
 * writer left, and brings watermarks to disk within a second. Started by the first publish. */
#include "log.h"
#include "wait.h"

/* On a sync log every put is synced by its own caller: what stays unsynced for half a second was left by a writer
 * that died. */
static int orphaned(ss_store *store, uint32_t index, uint64_t durable, uint64_t now)
{
    ss_log *log;
    if (ss_store_log_at(store, index, &log) != SS_OK)
        return 0;
    if (log->unsynced_since_us && log->unsynced_from == durable)
        return now - log->unsynced_since_us >= SS_WAIT_BOUND_US;
    log->unsynced_since_us = now;
    log->unsynced_from = durable;
    return 0;
}

/* What of a log is due: 0 = nothing, else the end to sync to. */
static uint64_t due(ss_store *store, uint32_t index, uint64_t now)
{
    const ss_control_entry *entry = ss_control_entry_at(&store->control, index);
    uint64_t durable = atomic_load(&entry->durable), tail = atomic_load(&entry->tail);
    if (atomic_load(&entry->state) != SS_LOG_READY || durable >= tail)
        return 0;
    uint64_t base = atomic_load(&entry->segment_base), interval = (uint64_t)atomic_load(&store->sync_interval_us);
    switch (atomic_load(&entry->durability)) {
    case SS_DURABILITY_INTERVAL:
        return now - atomic_load(&entry->sync_started_us) >= interval / 2 ? tail : 0;
    case SS_DURABILITY_SYNC:
        return orphaned(store, index, durable, now) ? tail : 0;
    default:
        return base > durable ? base : 0; /* process mode: sealed segments only */
    }
}

static ss_status round_of_syncs(ss_store *store)
{
    uint32_t count = atomic_load(&store->control.header->log_count);
    for (uint32_t i = 0; i < count && !atomic_load(&store->flusher.stop); i++) {
        ss_control_entry *entry = ss_control_entry_at(&store->control, i);
        uint64_t end = due(store, i, ss_wait_monotonic_us());
        ss_log *log = NULL;
        if (end && ss_store_log_at(store, i, &log) == SS_OK) {
            ss_status status = ss_log_sync_to(log, end, end < atomic_load(&entry->tail));
            if (ss_status_code(status) == SS_POISONED || ss_status_code(status) == SS_STALE)
                return status; /* nothing is retried: the store says so at every call */
        }
        if ((log || (log = ss_store_log_known(store, i))) &&
            atomic_load(&entry->segment_ordinal) != atomic_load(&log->index_sealed) &&
            atomic_load(&entry->durable) >= atomic_load(&entry->segment_base)) {
            atomic_store(&log->index_sealed, atomic_load(&entry->segment_ordinal));
            ss_log_index_seal(log);
        }
        if (log)
            ss_log_table_notice(log);
    }
    ss_store_control_sync(store, 0);
    return SS_OK;
}

/* Whether anything will be due before long. */
static int expects_work(const ss_store *store)
{
    uint32_t count = atomic_load(&store->control.header->log_count);
    for (uint32_t i = 0; i < count; i++) {
        const ss_control_entry *entry = ss_control_entry_at(&store->control, i);
        int waits = atomic_load(&entry->durability) == SS_DURABILITY_INTERVAL &&
                    atomic_load(&entry->tail) > atomic_load(&entry->durable);
        if (waits && atomic_load(&entry->state) == SS_LOG_READY)
            return 1;
    }
    return 0;
}

static void *run(void *context)
{
    ss_store *store = context;
    _Atomic uint32_t *event = &store->flusher.event;
    while (!atomic_load(&store->flusher.stop)) {
        uint32_t seen = ss_wait_event_read(event);
        if (round_of_syncs(store) != SS_OK)
            break;
        /* Half an interval of sleep, due after half: a record waits at most one interval for its sync to start. With
         * nothing to come the sleep is long, and the next publish to an interval log ends it: announced first,
         * looked again after. */
        int64_t half = atomic_load(&store->sync_interval_us) / 2;
        if (expects_work(store))
            ss_wait_sleep(event, seen, half < SS_WAIT_BOUND_US ? half : SS_WAIT_BOUND_US);
        else if (ss_wait_event_announce(event, &seen) && !expects_work(store) && !atomic_load(&store->flusher.stop))
            ss_wait_sleep(event, seen, SS_WAIT_BOUND_US);
    }
    return NULL;
}

ss_status ss_flusher_start(ss_store *store)
{
    return atomic_load_explicit(&store->flusher.started, memory_order_relaxed)
               ? SS_OK
               : ss_worker_start(&store->flusher, run, store);
}

void ss_flusher_notice(ss_store *store)
{
    ss_wait_event_signal(&store->flusher.event);
}
