/* Group commit: one sync at a time a log, by ticket and without a timer; while it runs, the next group forms. */
#include <assert.h>

#include "killpoint.h"
#include "log.h"
#include "wait.h"

/* `position`, or where the log begins if that was trimmed away; `end` if all of it was. */
static ss_status skip_trimmed(ss_log *log, uint64_t end, uint64_t *position)
{
    ss_segment *segment;
    uint64_t segment_end, first = end;
    ss_status status = ss_log_table_at(log, 0, &segment, &segment_end);
    if (status == SS_OK) {
        first = segment->facts.base;
        ss_log_table_release(log, segment);
    } else if (ss_status_code(status) != SS_NOT_FOUND) {
        return status;
    }
    first = first < end ? first : end;
    *position = *position > first ? *position : first;
    return SS_OK;
}

/* Sync the files behind [begin, end), oldest first. The caller has marked the range in flight or holds the append
 * lock. */
ss_status ss_log_sync_range(ss_log *log, uint64_t begin, uint64_t end)
{
    while (begin < end) {
        ss_segment *segment;
        uint64_t segment_end;
        ss_status status = ss_log_table_find(log, begin, &segment, &segment_end);
        if (status == SS_TRIMMED && (status = skip_trimmed(log, end, &begin)) == SS_OK)
            continue; /* nothing left to lose below; what was kept is still to be synced */
        if (status != SS_OK)
            return status;
        uint64_t to = end < segment_end ? end : segment_end;
        ss_log_table_seal(log, segment);
        status = ss_segment_sync(segment, begin, to);
        ss_log_table_release(log, segment);
        if (status != SS_OK)
            return ss_store_poison_set(log->store, status);
        begin = to;
    }
    return SS_OK;
}

void ss_log_sync_publish(ss_log *log, uint64_t durable, uint64_t frame)
{
    ss_control_entry *entry = log->entry;
    uint64_t seen = atomic_load(&entry->durable);
    while (seen < durable && !atomic_compare_exchange_weak_explicit(&entry->durable, &seen, durable,
                                                                    memory_order_release, memory_order_relaxed))
        continue;
    atomic_store_explicit(&log->store->control_dirty, 1, memory_order_relaxed);
    if (seen < durable)
        ss_control_watermark_store(entry, durable, frame < durable ? frame : 0);
    ss_wait_event_signal(&entry->durable_event);
    if (log->durability == SS_DURABILITY_SYNC)
        ss_log_announce_tail(log);
}

/* A syncer died between its call and publishing: it may have consumed the only report of a failure. Descriptions
 * opened before its sync began would still report it; a younger one is silent, and then the bytes are written anew
 * instead of believed. */
static int may_certify(ss_log *log, uint64_t begin, uint64_t end)
{
    uint32_t number = atomic_load(&log->entry->sync_number);
    while (begin < end) {
        ss_segment *segment;
        uint64_t segment_end;
        ss_status status = ss_log_table_find(log, begin, &segment, &segment_end);
        if (status == SS_TRIMMED && skip_trimmed(log, end, &begin) == SS_OK)
            continue;
        if (status != SS_OK)
            return 0;
        int older = segment->opened_at_sync < number;
        ss_log_table_release(log, segment);
        if (!older)
            return 0;
        begin = segment_end < end ? segment_end : end;
    }
    return 1;
}

static ss_status copy_in_doubt(ss_log *log)
{
    int taken_over;
    ss_status status = ss_log_lock(log, 0, &taken_over);
    if (status != SS_OK)
        return status;
    ss_control_entry *entry = log->entry;
    if (atomic_load(&entry->reserve_end) != atomic_load(&entry->tail))
        status = ss_log_recover_counters(log);
    uint64_t from = atomic_load(&entry->durable), tail = atomic_load(&entry->tail);
    if (status == SS_OK && from < tail && (status = skip_trimmed(log, tail, &from)) == SS_OK)
        status = ss_log_roll_to(log, from, ss_log_roll_epoch(log), 0);
    if (status == SS_OK)
        atomic_store(&entry->sync_inflight, 0);
    ss_log_unlock(log);
    return status;
}

static void count_sync(ss_control_entry *entry, uint64_t started_us, uint64_t records)
{
    uint64_t took = ss_wait_monotonic_us() - started_us;
    atomic_fetch_add_explicit(&entry->sync_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&entry->sync_total_us, took, memory_order_relaxed);
    if (took > atomic_load_explicit(&entry->sync_max_us, memory_order_relaxed))
        atomic_store_explicit(&entry->sync_max_us, took, memory_order_relaxed);
    uint64_t before = atomic_exchange(&entry->durable_records, records);
    if (records > before)
        atomic_fetch_add_explicit(&entry->synced_records, records - before, memory_order_relaxed);
}

/* One round, under the sync lock: everything published so far becomes durable, or the store is poisoned. `limit`
 * bounds it (0 = the tail). */
static ss_status sync_round(ss_log *log, uint64_t limit)
{
    ss_control_entry *entry = log->entry;
    ss_status status = ss_store_usable(log->store);
    if (status != SS_OK)
        return status;
    uint64_t inflight = atomic_load(&entry->sync_inflight), durable = atomic_load(&entry->durable);
    if (inflight > durable && !may_certify(log, durable, inflight))
        return copy_in_doubt(log);
    /* Frame before tail: the frame is then a boundary at or below what this round makes durable. */
    uint64_t frame = atomic_load(&entry->last_frame), records = atomic_load(&entry->record_count);
    uint64_t target = atomic_load_explicit(&entry->tail, memory_order_acquire);
    if (limit && limit < target) {
        target = limit;
        frame = 0;
    }
    if (target <= durable)
        return SS_OK;
    uint64_t started = ss_wait_monotonic_us();
    /* A round in doubt that is made again keeps its number: who died in it may have consumed what the first one's
     * failure left to report, so only who was there before the first may certify. */
    if (inflight <= durable)
        atomic_fetch_add(&entry->sync_number, 1);
    atomic_store(&entry->sync_inflight, target); /* guards a death between the call below and the publish after it */
    atomic_store_explicit(&entry->sync_started_us, started, memory_order_relaxed);
    /* Every record below target was complete before this line: the sync starts after it (DESIGN section 2). */
    SS_KILLPOINT("sync-marked");
    if ((status = ss_log_sync_range(log, durable, target)) != SS_OK)
        return status;
    SS_KILLPOINT("sync-done");
    ss_log_sync_publish(log, target, frame);
    SS_KILLPOINT("sync-published");
    atomic_store(&entry->sync_inflight, 0);
    count_sync(entry, started, records);
    return SS_OK;
}

/* Sleep until the round under way ends, or its owner proves dead. The owner is looked at however the sleep ended: every
 * store that opens or closes wakes all sleepers, and where that happens more often than the timeout no sleep would ever
 * see it. */
static ss_status wait_round(ss_log *log, uint64_t end, int *taken_over)
{
    ss_control_entry *entry = log->entry;
    uint32_t seen = ss_wait_event_read(&entry->durable_event);
    if (!ss_wait_event_announce(&entry->durable_event, &seen))
        return SS_WOULD_BLOCK;
    uint32_t leader = atomic_load(&entry->sync_lock);
    if (atomic_load(&entry->durable) >= end || leader == 0 || atomic_load(&log->store->closing) == SS_STORE_CLOSING)
        return SS_WOULD_BLOCK; /* after the announcement: either we see the release or its signal sees us */
    ss_status slept = ss_wait_sleep(&entry->durable_event, seen, SS_WAIT_BOUND_US / 5);
    if (atomic_load(&entry->durable) < end && atomic_load(&entry->sync_lock) == leader &&
        ss_lock_try_or_take_over(&log->store->self, &entry->sync_lock, taken_over) == SS_OK)
        return SS_OK;
    return slept == SS_INTERRUPTED ? slept : SS_WOULD_BLOCK;
}

ss_status ss_log_sync_to(ss_log *log, uint64_t end, int exact)
{
    ss_control_entry *entry = log->entry;
    while (atomic_load_explicit(&entry->durable, memory_order_acquire) < end) {
        ss_status status = ss_store_usable(log->store);
        if (status != SS_OK)
            return status;
        if (atomic_load_explicit(&log->store->closing, memory_order_relaxed) == SS_STORE_CLOSING)
            return SS_CLOSED;
        int taken_over = 0;
        status = ss_lock_try(&log->store->self, &entry->sync_lock) ? SS_OK : wait_round(log, end, &taken_over);
        if (status == SS_WOULD_BLOCK)
            continue;
        if (status != SS_OK)
            return status;
        if (atomic_load(&entry->durable) < end)
            status = sync_round(log, exact ? end : 0);
        ss_log_sync_release(log); /* signals after the release: a sleeper may now lead the next round */
        if (status != SS_OK)
            return status;
        ss_log_table_trim_maps(log);
    }
    return SS_OK;
}

ss_status ss_log_sync_hold(ss_log *log)
{
    int taken_over;
    ss_status status = ss_log_ready(log);
    if (status != SS_OK || (status = ss_lock_acquire(&log->store->self, &log->entry->sync_lock, &taken_over)) != SS_OK)
        return status;
    if ((status = sync_round(log, 0)) != SS_OK) /* settles what a dead leader left in flight */
        ss_log_sync_release(log);
    return status;
}

void ss_log_sync_release(ss_log *log)
{
    SS_KILLPOINT("sync-held");
    ss_lock_release(&log->entry->sync_lock);
    SS_KILLPOINT("sync-released");
    ss_wait_event_signal(&log->entry->durable_event);
}

ss_status ss_log_sync(ss_log *log, uint64_t end_position)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_ready(log)) == SS_OK) {
        uint64_t tail = atomic_load(&log->entry->tail);
        status = end_position > tail ? SS_INVALID : ss_log_sync_to(log, end_position ? end_position : tail, 0);
    }
    ss_store_control_sync(log->store, 0);
    ss_store_leave(log->store);
    return status;
}
