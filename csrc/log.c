/* A log's life in this process: attach, state, locking, waiting. */
#include "log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "file.h"
#include "wait.h"

enum { SPIN_US = 20, WAIT_SHORT_US = 100 };

ss_status ss_log_new(ss_store *store, uint32_t index, ss_log **out)
{
    ss_log *log = calloc(1, sizeof *log);
    if (!log)
        return SS_NO_MEMORY;
    log->store = store;
    log->index = index;
    log->entry = ss_control_entry_at(&store->control, index);
    log->stream_id = log->entry->stream_id;
    log->shard = log->entry->shard;
    log->durability = (int)atomic_load(&log->entry->durability);
    log->segment_size_max = SEGMENT_SIZE_DEFAULT;
    log->record_size_max = RECORD_SIZE_LIMIT;
    if (log->stream_id == 0 && log->shard == 0)
        snprintf(log->directory, sizeof log->directory, "catalog");
    else
        snprintf(log->directory, sizeof log->directory, "streams/%" PRIu32 "/%" PRIu32, log->stream_id, log->shard);
    pthread_mutex_init(&log->table_mutex, NULL);
    pthread_mutex_init(&log->index_mutex, NULL);
    *out = log;
    return SS_OK;
}

void ss_log_release(ss_log *log)
{
    if (log->writer)
        ss_log_table_release(log, log->writer);
    log->writer = NULL;
    ss_log_table_forget(log);
}

void ss_log_free(ss_log *log)
{
    pthread_mutex_destroy(&log->table_mutex);
    pthread_mutex_destroy(&log->index_mutex);
    free(log->table);
    free(log->description);
    free(log);
}

static ss_status check_options(const ss_log_options *options)
{
    uint64_t size = options->segment_size_max;
    if (options->durability < SS_DURABILITY_SYNC || options->durability > SS_DURABILITY_PROCESS)
        return SS_INVALID;
    if (size && (size < SEGMENT_SIZE_MIN || size > SEGMENT_SIZE_LIMIT || size % ALLOCATE_STEP_MIN))
        return SS_INVALID;
    if (options->record_size_max > RECORD_SIZE_LIMIT || options->description_size > SS_DESCRIPTION_SIZE_MAX)
        return SS_INVALID;
    if (options->start_position % 8 || options->start_position > SS_CONTROL_POSITION_MAX ||
        options->epoch_floor > FRAME_EPOCH_MAX || options->arrival_floor_us > FRAME_BITS_52 ||
        options->reserve_size > SEGMENT_SIZE_MIN / 2)
        return SS_INVALID;
    return SS_OK;
}

ss_status ss_log_describe(ss_log *log, const uint8_t *description, uint32_t size)
{
    ss_status status = SS_OK;
    pthread_mutex_lock(&log->table_mutex);
    uint8_t *copy = size && !log->description ? malloc(size) : NULL;
    if (copy) {
        memcpy(copy, description, size);
        log->description_size = size;
        log->description = copy;
    } else if (size && !log->description) {
        status = SS_NO_MEMORY;
    }
    pthread_mutex_unlock(&log->table_mutex);
    return status;
}

static ss_status set_options(ss_log *log, const ss_log_options *options)
{
    ss_status status = ss_log_describe(log, options->description, (uint32_t)options->description_size);
    if (status != SS_OK)
        return status;
    /* Appenders read these without a lock: what stays the same is not written again. */
    if (log->durability != options->durability) {
        log->durability = options->durability;
        atomic_store(&log->entry->durability, (uint32_t)options->durability);
    }
    if (options->segment_size_max && log->segment_size_max != options->segment_size_max)
        log->segment_size_max = options->segment_size_max;
    if (options->record_size_max && log->record_size_max != options->record_size_max)
        log->record_size_max = options->record_size_max;
    if (options->epoch_floor > log->epoch_floor)
        log->epoch_floor = options->epoch_floor;
    if (options->start_position > log->start_position)
        log->start_position = options->start_position;
    if (options->arrival_floor_us > log->arrival_floor_us)
        log->arrival_floor_us = options->arrival_floor_us;
    if (log->reserve_size != options->reserve_size)
        log->reserve_size = options->reserve_size;
    atomic_store_explicit(&log->attached, 1, memory_order_release);
    return SS_OK;
}

ss_status ss_store_log(ss_store *store, uint32_t stream_id, uint32_t shard, const ss_log_options *options, ss_log **out)
{
    ss_status status = check_options(options);
    if (status != SS_OK || (status = ss_store_enter(store)) != SS_OK)
        return status;
    uint32_t index = 0;
    ss_log *log = NULL;
    pthread_mutex_lock(&store->logs_mutex);
    status = ss_control_register(&store->control, &store->self, stream_id, shard, (uint32_t)options->durability,
                                 &index);
    pthread_mutex_unlock(&store->logs_mutex);
    if (status == SS_OK)
        status = ss_store_log_at(store, index, &log);
    if (status == SS_OK) {
        pthread_mutex_lock(&store->logs_mutex);
        status = set_options(log, options);
        pthread_mutex_unlock(&store->logs_mutex);
    }
    /* Whoever has an interval log at hand syncs what a dead writer leaves in it, idle or not. */
    if (status == SS_OK && options->durability == SS_DURABILITY_INTERVAL && !store->info.read_only)
        status = ss_flusher_start(store);
    if (status == SS_OK)
        *out = log;
    ss_store_leave(store);
    return status;
}

uint64_t ss_log_visible(const ss_log *log)
{
    if (log->durability == SS_DURABILITY_SYNC)
        return atomic_load_explicit(&log->entry->durable, memory_order_acquire);
    return atomic_load_explicit(&log->entry->tail, memory_order_acquire);
}

ss_status ss_log_lock(ss_log *log, int try_only, int *taken_over)
{
    *taken_over = 0;
    if (try_only) {
        if (!ss_lock_try(&log->store->self, &log->entry->lock))
            return SS_WOULD_BLOCK;
    } else {
        ss_status status = ss_lock_acquire(&log->store->self, &log->entry->lock, taken_over);
        if (status != SS_OK)
            return status;
        if (*taken_over) /* the dead may have replaced segments and not said so */
            atomic_fetch_add(&log->entry->packed, 1);
    }
    /* Under the lock: a new incarnation takes this lock once after its mark, so none slips by. */
    ss_status status = ss_store_usable(log->store);
    if (status != SS_OK)
        ss_lock_release(&log->entry->lock);
    return status;
}

void ss_log_unlock(ss_log *log)
{
    ss_lock_release(&log->entry->lock);
}

void ss_log_announce_tail(ss_log *log)
{
    ss_wait_event_signal(&log->entry->tail_event);
    ss_wait_event_signal(&log->store->control.header->watch);
}

ss_status ss_log_ready(ss_log *log)
{
    if (atomic_load_explicit(&log->entry->state, memory_order_acquire) == SS_LOG_READY)
        return SS_OK;
    int taken_over;
    ss_status status = ss_log_lock(log, 0, &taken_over);
    if (status != SS_OK)
        return status;
    uint32_t state = atomic_load(&log->entry->state);
    if (state == SS_LOG_UNRECOVERED)
        status = ss_log_recover(log);
    else if (state == SS_LOG_RETIRED)
        status = SS_SHARD_CLOSED;
    ss_log_unlock(log);
    return status;
}

ss_status ss_log_state_get(ss_log *log, ss_log_state *out)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        const ss_control_entry *entry = log->entry;
        ss_log_state state = {
            .start = atomic_load(&entry->start),
            .durable = atomic_load(&entry->durable),
            .tail = atomic_load_explicit(&entry->tail, memory_order_acquire),
            .epoch = atomic_load(&entry->epoch),
            .record_count = atomic_load(&entry->record_count),
            .start_record_count = atomic_load(&entry->start_record_count),
            .last_arrival_us = atomic_load(&entry->last_arrival_us),
            .segment_ordinal = atomic_load(&entry->segment_ordinal),
            .segment_base = atomic_load(&entry->segment_base),
            .allocated_bytes = atomic_load(&entry->allocated),
            .closed = (int)atomic_load(&entry->closed),
            .durability = log->durability,
        };
        state.visible = log->durability == SS_DURABILITY_SYNC ? state.durable : state.tail;
        *out = state;
    }
    ss_store_leave(log->store);
    return status;
}

/* Whether a suffix waits for a sync that its writer should have begun by now. What a private view keeps back it
 * keeps back for good. */
static int orphaned(const ss_log *log)
{
    const ss_control_entry *entry = log->entry;
    if (log->store->info.private_recovery || atomic_load(&entry->tail) <= atomic_load(&entry->durable))
        return 0;
    if (log->durability == SS_DURABILITY_SYNC)
        return 1;
    return log->durability == SS_DURABILITY_INTERVAL &&
           ss_wait_monotonic_us() - atomic_load(&entry->sync_started_us) > 2 * SS_WAIT_BOUND_US;
}

/* Whether that suffix has stood still for half a second, in which a writer alive would have synced it. Counted over
 * sleeps and waits: what wakes a waiter more often than that (a store that opens and closes) must not keep a dead
 * writer's record from it. Waiters of one log share the two words; a race between them costs one needless sync. */
static int abandoned(ss_log *log)
{
    uint64_t durable = atomic_load(&log->entry->durable), now = ss_wait_monotonic_us();
    if (!orphaned(log)) {
        atomic_store_explicit(&log->doubt_since_us, 0, memory_order_relaxed);
        return 0;
    }
    uint64_t since = atomic_load_explicit(&log->doubt_since_us, memory_order_relaxed);
    if (since == 0 || atomic_load_explicit(&log->doubt_durable, memory_order_relaxed) != durable) {
        atomic_store_explicit(&log->doubt_durable, durable, memory_order_relaxed);
        atomic_store_explicit(&log->doubt_since_us, now, memory_order_relaxed);
        return 0;
    }
    return now - since >= SS_WAIT_BOUND_US;
}

/* One look at the log for a waiter: SS_OK ends the wait. */
static ss_status wait_once(ss_log *log, uint64_t position, uint64_t deadline, int endless)
{
    ss_control_entry *entry = log->entry;
    uint32_t seen = ss_wait_event_read(&entry->tail_event);
    ss_status status = ss_store_usable(log->store);
    if (ss_status_code(status) == SS_STALE)
        return status;
    if (atomic_load(&log->store->closing))
        return SS_CLOSED;
    if (ss_log_visible(log) > position || atomic_load(&entry->closed))
        return SS_OK;
    if (!ss_wait_event_announce(&entry->tail_event, &seen))
        return SS_WOULD_BLOCK;
    if (ss_log_visible(log) > position)
        return SS_OK;
    uint64_t now = ss_wait_monotonic_us();
    if (!endless && now >= deadline)
        return SS_TIMEOUT;
    if (abandoned(log)) {
        /* A writer may have died between publish and sync: any live process syncs its suffix. */
        status = ss_log_sync_to(log, atomic_load(&entry->tail), 0);
        return status == SS_OK ? SS_WOULD_BLOCK : status;
    }
    int64_t left = endless || deadline - now > SS_WAIT_BOUND_US ? SS_WAIT_BOUND_US : (int64_t)(deadline - now);
    status = ss_wait_sleep(&entry->tail_event, seen, left);
    if (status == SS_TIMEOUT)
        return SS_WOULD_BLOCK;
    /* Woken: by a publish, or by ss_log_wake so that the caller looks whether it was closed. */
    return status == SS_OK && ss_log_visible(log) <= position && atomic_load(&entry->tail_event) == seen
               ? SS_WOULD_BLOCK
               : status;
}

/* Where the last wait was short the next may be too: look for a moment before paying for a sleep and a wake (2 to 4
 * us each). */
static void spin_for_news(const ss_log *log, uint64_t position)
{
    uint64_t until = ss_wait_monotonic_us() + SPIN_US;
    do {
        for (int turn = 0; turn < 32; turn++) {
            if (ss_log_visible(log) > position)
                return;
            ss_wait_pause();
        }
    } while (ss_wait_monotonic_us() < until && !atomic_load_explicit(&log->store->closing, memory_order_relaxed));
}

ss_status ss_log_wait(ss_log *log, uint64_t position, int64_t timeout_us)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        uint64_t began = ss_wait_monotonic_us(), deadline = began + (timeout_us > 0 ? (uint64_t)timeout_us : 0);
        if (log->store->processors > 1 && atomic_load_explicit(&log->waits_short, memory_order_relaxed) &&
            timeout_us != 0)
            spin_for_news(log, position);
        do
            status = wait_once(log, position, deadline, timeout_us < 0);
        while (status == SS_WOULD_BLOCK);
        atomic_store_explicit(&log->waits_short, ss_wait_monotonic_us() - began < WAIT_SHORT_US, memory_order_relaxed);
    }
    ss_store_leave(log->store);
    return status;
}

void ss_log_wake(ss_log *log)
{
    if (ss_store_enter(log->store) != SS_OK)
        return;
    ss_wait_event_force(&log->entry->tail_event);
    ss_store_leave(log->store);
}

ss_status ss_log_limit_set(ss_log *log, uint64_t position)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    int taken_over;
    /* Under the append lock, where the word is looked at: after this no append under an older limit is on its way. */
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_lock(log, 0, &taken_over)) == SS_OK) {
        atomic_store(&log->entry->limit, position);
        ss_log_unlock(log);
    }
    ss_store_leave(log->store);
    return status;
}

uint64_t ss_log_limit_get(const ss_log *log)
{
    uint64_t limit = 0;
    if (ss_store_enter(log->store) == SS_OK) {
        limit = atomic_load(&log->entry->limit);
        ss_store_leave(log->store);
    }
    return limit;
}

void ss_log_recovery_get(const ss_log *log, ss_recovery *out)
{
    *out = log->recovery;
}

void ss_log_live_get(const ss_log *log, ss_log_live *out)
{
    ss_log_live live = {0};
    if (ss_store_enter(log->store) == SS_OK) {
        const ss_control_entry *entry = log->entry;
        live.tail = atomic_load(&entry->tail);
        live.durable = atomic_load(&entry->durable);
        live.sync_count = atomic_load(&entry->sync_count);
        live.sync_total_us = atomic_load(&entry->sync_total_us);
        live.sync_max_us = atomic_load(&entry->sync_max_us);
        live.synced_puts = atomic_load(&entry->synced_records);
        live.synced_groups = live.sync_count;
        live.lock_slot = ss_lock_owner_slot(atomic_load(&entry->lock));
        live.sync_slot = ss_lock_owner_slot(atomic_load(&entry->sync_lock));
        live.tail_waiters = atomic_load(&entry->tail_event) & 1;
        live.durable_waiters = atomic_load(&entry->durable_event) & 1;
        ss_store_leave(log->store);
    }
    *out = live;
}

ss_status ss_log_retire(ss_log *log)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    int taken_over;
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_lock(log, 0, &taken_over)) == SS_OK) {
        atomic_store(&log->entry->state, SS_LOG_RETIRED);
        atomic_store(&log->entry->closed, 1);
        if (log->writer)
            ss_log_table_release(log, log->writer);
        log->writer = NULL;
        ss_log_unlock(log);
        ss_log_table_forget(log);
        ss_wait_event_force(&log->entry->tail_event);
        ss_wait_event_force(&log->entry->durable_event);
        ss_wait_event_force(&log->store->control.header->watch);
    }
    ss_store_leave(log->store);
    return status;
}
