/* What is true of a store as a whole: calls under way, poison, arrival time, flush, close, fork. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "log.h"
#include "reserve.h"
#include "wait.h"

#define HOUR_US UINT64_C(3600000000)
#define CONTROL_SYNC_EVERY_US 1000000

ss_status ss_store_enter(ss_store *store)
{
    if (atomic_load_explicit(&store->forked, memory_order_relaxed))
        return SS_FORKED;
    atomic_fetch_add(&store->active, 1);
    if (atomic_load(&store->closing)) {
        ss_store_leave(store);
        return SS_CLOSED;
    }
    return SS_OK;
}

void ss_store_leave(ss_store *store)
{
    uint32_t before = atomic_fetch_sub(&store->active, 1);
    assert(before > 0);
    (void)before;
}

/* A clean close syncs what is published and leaves watermarks that the next opener can take as clean (process mode:
 * DESIGN section 2). */
static ss_status sync_for_close(ss_store *store)
{
    ss_status first = SS_OK;
    for (uint32_t i = 0; i < store->logs_size; i++) {
        ss_log *log = store->logs[i];
        if (!log || !log->writer || atomic_load(&log->entry->state) != SS_LOG_READY)
            continue;
        ss_status status;
        do
            status = ss_log_sync_to(log, atomic_load(&log->entry->tail), 0);
        while (status == SS_INTERRUPTED); /* a failure poisons: the next opener sees it */
        if (first == SS_OK && log->durability != SS_DURABILITY_SYNC)
            first = status; /* there, and only there, a put was acknowledged before its sync */
        if (atomic_load(&log->entry->segment_ordinal) > 1)
            ss_log_index_seal(log); /* what the flusher had not come to yet */
    }
    ss_store_control_sync(store, 1);
    return first;
}

ss_status ss_store_close(ss_store *store)
{
    int open = SS_STORE_OPEN;
    if (atomic_load(&store->forked) || !atomic_compare_exchange_strong(&store->closing, &open, SS_STORE_CLOSING))
        return SS_OK;
    ss_status status = SS_OK;
    ss_control_wake_all(&store->control);
    ss_worker_stop(&store->flusher);
    ss_worker_stop(&store->preparer);
    for (int turn = 0; atomic_load(&store->active) != 0; turn++) { /* calls under way see the mark at their next look */
        ss_wait_event_force(&store->control.header->watch);
        struct timespec pause = {.tv_nsec = 200000};
        nanosleep(&pause, NULL);
        if (turn % 16 == 15)
            ss_control_wake_all(&store->control);
    }
    ss_worker_stop(&store->preparer);
    ss_worker_stop(&store->flusher); /* again: an append under way may have started it after the first stop */
    atomic_store(&store->closing, SS_STORE_LAST_SYNC);
    if (!store->info.read_only)
        status = sync_for_close(store);
    for (uint32_t i = 0; i < store->logs_size; i++)
        if (store->logs[i])
            ss_log_release(store->logs[i]);
    if (!store->info.private_recovery)
        ss_lock_detach(&store->self);
    ss_control_close(&store->control);
    ss_file_unmap(store->self.slots, SS_LOCK_FILE_SIZE);
    ss_file_close(store->lock_fd);
    ss_file_close(store->root);
    store->lock_fd = store->root = -1;
    return status;
}

void ss_store_free(ss_store *store)
{
    if (atomic_load(&store->forked))
        return; /* threads of the parent may have held its mutexes: a child leaves the memory alone */
    for (uint32_t i = 0; i < store->logs_size; i++)
        if (store->logs[i])
            ss_log_free(store->logs[i]);
    free(store->logs);
    for (size_t i = 0; i < SS_STORE_BLOCKS; i++)
        ss_packed_release(&store->blocks[i]);
    pthread_mutex_destroy(&store->blocks_mutex);
    pthread_mutex_destroy(&store->logs_mutex);
    ss_worker_destroy(&store->flusher);
    ss_worker_destroy(&store->preparer);
    free(store);
}

void ss_store_after_fork(ss_store *store)
{
    /* The descriptions are shared with the parent: closing our copies keeps its locks, keeping them would outlive
     * its death. The maps are not here (MADV_DONTFORK); mutexes may be held by threads that do not exist in this
     * process, so nothing else is touched. */
    atomic_store(&store->forked, 1);
    ss_file_close(store->lock_fd);
    ss_file_close(store->control.fd);
    ss_file_close(store->root);
    store->lock_fd = store->root = store->control.fd = -1;
}

void ss_store_unsealer_set(ss_store *store, ss_unseal function, void *context)
{
    store->unsealer = (ss_packed_unsealer){.function = function, .context = context};
}

void ss_store_info_get(const ss_store *store, ss_store_info *out)
{
    *out = store->info;
}

ss_status ss_store_usable(const ss_store *store)
{
    const ss_control_header *header = store->control.header;
    if (atomic_load_explicit(&header->retired, memory_order_acquire))
        return SS_STALE;
    uint32_t poison = atomic_load_explicit(&header->poison, memory_order_acquire);
    return poison ? ss_status_with_errno(SS_POISONED, (int)poison) : SS_OK;
}

ss_status ss_store_poison_set(ss_store *store, ss_status cause)
{
    uint32_t none = 0, error = (uint32_t)(cause >> 8) & 0xffff;
    error = error ? error : EIO;
    if (!store->info.private_recovery) {
        atomic_compare_exchange_strong(&store->control.header->poison, &none, error);
        ss_control_wake_all(&store->control);
    }
    return ss_status_with_errno(SS_POISONED, (int)error);
}

int ss_store_poison(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return 0;
    int poison = (int)atomic_load(&store->control.header->poison);
    ss_store_leave(store);
    return poison;
}

/* Where the wall clock should stand by the boot clock; modulo 2^64, as a wall clock before 1970 may put the anchor
 * below 0. */
static uint64_t expected_wall_us(const ss_store *store)
{
    const ss_control_header *header = store->control.header;
    return atomic_load(&header->anchor_wall_us) + (ss_wait_boot_us() - header->anchor_boot_us);
}

uint64_t ss_store_arrival_us(ss_store *store)
{
    uint64_t now = ss_wait_wall_us(), checked = atomic_load_explicit(&store->wall_checked_us, memory_order_relaxed);
    now = now < FRAME_BITS_52 ? now : FRAME_BITS_52; /* in 2112: a frame has room for no later time */
    if (now <= checked)
        return now;
    uint64_t limit = expected_wall_us(store) + HOUR_US;
    if (now > limit)
        return limit;
    atomic_store_explicit(&store->wall_checked_us, now + 1000000, memory_order_relaxed); /* a second at a time */
    return now;
}

ss_status ss_store_clock(ss_store *store, uint64_t *wall_us, int64_t *jump_us)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    *wall_us = ss_wait_wall_us();
    *jump_us = (int64_t)(*wall_us - expected_wall_us(store));
    ss_store_leave(store);
    return SS_OK;
}

ss_status ss_store_clock_accept(ss_store *store)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    ss_control_header *header = store->control.header;
    if (store->info.read_only)
        status = SS_READ_ONLY;
    else
        atomic_store(&header->anchor_wall_us, ss_wait_wall_us() - (ss_wait_boot_us() - header->anchor_boot_us));
    ss_store_leave(store);
    return status;
}

void ss_store_maintained_set(ss_store *store, uint64_t when_us)
{
    if (ss_store_enter(store) != SS_OK)
        return;
    atomic_store(&store->control.header->maintained_us, when_us);
    ss_store_leave(store);
}

uint64_t ss_store_maintained(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return 0;
    uint64_t when_us = atomic_load(&store->control.header->maintained_us);
    ss_store_leave(store);
    return when_us;
}

ss_status ss_store_reserve(ss_store *store)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    status = store->info.read_only ? SS_READ_ONLY : ss_reserve_make(store->root);
    ss_store_leave(store);
    return status;
}

ss_status ss_store_log_at(ss_store *store, uint32_t index, ss_log **out)
{
    ss_status status = SS_OK;
    pthread_mutex_lock(&store->logs_mutex);
    if (index >= store->logs_size) {
        uint32_t size = store->logs_size ? store->logs_size : 64;
        while (size <= index)
            size *= 2;
        ss_log **logs = realloc(store->logs, size * sizeof *logs);
        if (logs) {
            memset(logs + store->logs_size, 0, (size - store->logs_size) * sizeof *logs);
            store->logs = logs;
            store->logs_size = size;
        } else {
            status = SS_NO_MEMORY;
        }
    }
    if (status == SS_OK && !store->logs[index])
        status = ss_log_new(store, index, &store->logs[index]);
    if (status == SS_OK)
        *out = store->logs[index];
    pthread_mutex_unlock(&store->logs_mutex);
    return status;
}

ss_log *ss_store_log_known(ss_store *store, uint32_t index)
{
    pthread_mutex_lock(&store->logs_mutex);
    ss_log *log = index < store->logs_size ? store->logs[index] : NULL;
    pthread_mutex_unlock(&store->logs_mutex);
    return log;
}

ss_status ss_store_flush(ss_store *store)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    uint32_t count = store->info.read_only ? 0 : atomic_load(&store->control.header->log_count);
    for (uint32_t i = 0; i < count && status == SS_OK; i++) {
        ss_control_entry *entry = ss_control_entry_at(&store->control, i);
        uint32_t state = atomic_load(&entry->state);
        if (state == SS_LOG_RETIRED ||
            (state == SS_LOG_READY && atomic_load(&entry->durable) >= atomic_load(&entry->tail)))
            continue;
        uint32_t carried = atomic_load(&entry->carried);
        if (state == SS_LOG_UNRECOVERED && (carried == SS_CARRIED_CLEAN || carried == SS_CARRIED_SETTLED))
            continue; /* all of it durable, and untouched since */
        ss_log *log;
        if ((status = ss_store_log_at(store, i, &log)) == SS_OK && (status = ss_log_ready(log)) == SS_OK)
            status = ss_log_sync_to(log, atomic_load(&entry->tail), 0);
    }
    ss_store_control_sync(store, 1);
    ss_store_leave(store);
    return status;
}

ss_status ss_store_sync_interval_set(ss_store *store, int64_t interval_us)
{
    if (interval_us < 1000 || interval_us > 3600000000)
        return SS_INVALID;
    atomic_store(&store->sync_interval_us, interval_us);
    return SS_OK;
}

ss_status ss_store_epoch_raise(ss_store *store, uint64_t epoch)
{
    ss_status status = epoch > FRAME_EPOCH_MAX ? SS_INVALID : ss_store_enter(store);
    if (status != SS_OK)
        return status;
    _Atomic uint64_t *counter = &store->control.header->epoch_counter;
    uint64_t seen = atomic_load(counter);
    while (seen < epoch && !atomic_compare_exchange_weak(counter, &seen, epoch))
        continue;
    ss_store_leave(store);
    return SS_OK;
}

uint64_t ss_store_epoch_counter(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return 0;
    uint64_t counter = atomic_load(&store->control.header->epoch_counter);
    ss_store_leave(store);
    return counter;
}

uint32_t ss_store_watch(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return 0;
    uint32_t seen = ss_wait_event_read(&store->control.header->watch);
    /* Announced here, before the caller looks for work: what is published after the look finds the bit and signals. */
    while (!ss_wait_event_announce(&store->control.header->watch, &seen))
        continue;
    ss_store_leave(store);
    return seen;
}

ss_status ss_store_wait(ss_store *store, uint32_t seen, int64_t timeout_us)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    int64_t bound = timeout_us < 0 || timeout_us > SS_WAIT_BOUND_US ? SS_WAIT_BOUND_US : timeout_us;
    _Atomic uint32_t *watch = &store->control.header->watch;
    if (ss_status_code(status = ss_store_usable(store)) != SS_STALE) {
        status = SS_OK;
        if (atomic_load(&store->closing))
            status = SS_CLOSED;
        else if (atomic_load(watch) == seen)
            status = ss_wait_sleep(watch, seen, bound);
        if (status == SS_TIMEOUT && (timeout_us < 0 || timeout_us > SS_WAIT_BOUND_US))
            status = SS_OK; /* look again, whether what you wait for still lives */
    }
    ss_store_leave(store);
    return status;
}

void ss_store_wake(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return;
    ss_control_wake_all(&store->control);
    ss_store_leave(store);
}

void ss_store_control_sync(ss_store *store, int now)
{
    uint64_t at = ss_wait_monotonic_us(), last = atomic_load(&store->control_synced_us);
    if (store->control.fd < 0 || store->info.read_only || !atomic_load(&store->control_dirty) ||
        (!now && at - last < CONTROL_SYNC_EVERY_US))
        return;
    if (atomic_compare_exchange_strong(&store->control_synced_us, &last, at)) {
        atomic_store(&store->control_dirty, 0);
        ss_file_sync(store->control.fd); /* a hint: if it fails, recovery scans further back */
    }
}

ss_status ss_store_processes(ss_store *store, ss_process *processes, size_t limit, size_t *count)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    size_t found = 0;
    for (uint32_t slot = 1; slot < SS_LOCK_SLOTS; slot++) {
        if (!atomic_load(&store->self.slots[slot].pid))
            continue;
        if (found < limit)
            processes[found] = (ss_process){.slot = slot,
                                            .pid = atomic_load(&store->self.slots[slot].pid),
                                            .attached_us = atomic_load(&store->self.slots[slot].attached_us),
                                            .generation = atomic_load(&store->self.slots[slot].generation),
                                            .alive = ss_lock_slot_alive(&store->self, slot)};
        found++;
    }
    *count = found;
    ss_store_leave(store);
    return SS_OK;
}
