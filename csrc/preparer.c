/* One thread a process that faults pages in ahead of the tails of busy logs, so that a put finds them there. A page
 * touched for the first time costs as much as six records of 100 bytes. Started by the first log that fills a
 * megabyte. */
#include <sched.h>

#include "file.h"
#include "log.h"
#include "wait.h"

#define CHUNK (UINT64_C(128) << 10)
#define AHEAD (UINT64_C(4) << 20)

/* Populate up to `needed`, in chunks that are claimed first and published in order: the appender and the preparer
 * may both be at it. */
ss_status ss_preparer_populate(ss_segment *segment, uint64_t needed, uint64_t target)
{
    ss_status status = SS_OK;
    while (atomic_load_explicit(&segment->populated, memory_order_acquire) < needed && status == SS_OK) {
        uint64_t from = atomic_load(&segment->claimed);
        uint64_t to = from + CHUNK < target ? from + CHUNK : target;
        if (from >= target || !atomic_compare_exchange_weak(&segment->claimed, &from, to)) {
            sched_yield(); /* all that is needed is claimed by a live thread of this process */
            continue;
        }
        status = ss_file_populate(segment->map + from, (size_t)(to - from));
        if (status != SS_OK)
            atomic_store(&segment->populate_failed, 1); /* from now on every append asks for its own pages */
        while (atomic_load(&segment->populated) != from)
            sched_yield();
        atomic_store_explicit(&segment->populated, to, memory_order_release);
    }
    return status;
}

static void populate_ahead(ss_store *store, ss_log *log)
{
    ss_control_entry *entry = log->entry;
    ss_segment *segment;
    uint64_t end;
    if (ss_log_table_find(log, atomic_load(&entry->segment_base), &segment, &end) != SS_OK)
        return;
    uint64_t ordinal = segment->facts.ordinal, allocated = atomic_load(&entry->allocated),
             tail = atomic_load(&entry->tail);
    /* What was read belongs together only if no roll came between. A stale reading faults pages that nobody will
     * use, no more. */
    if (segment->map && segment->writable && atomic_load(&entry->segment_ordinal) == ordinal &&
        tail >= segment->facts.base) {
        uint64_t target = ss_segment_offset(segment, tail) + AHEAD;
        target = (target < allocated ? target : allocated) & ~UINT64_C(4095);
        while (atomic_load(&segment->claimed) < target && !atomic_load(&store->preparer.stop)) {
            uint64_t next = atomic_load(&segment->populated) + CHUNK;
            if (ss_preparer_populate(segment, next < target ? next : target, target) != SS_OK)
                break;
        }
    }
    ss_log_table_release(log, segment);
}

static void *run(void *context)
{
    ss_store *store = context;
    while (!atomic_load(&store->preparer.stop)) {
        uint32_t seen = ss_wait_event_read(&store->preparer.event);
        uint32_t index = UINT32_MAX;
        pthread_mutex_lock(&store->logs_mutex);
        if (store->wanted_count)
            index = store->wanted[--store->wanted_count];
        pthread_mutex_unlock(&store->logs_mutex);
        if (index == UINT32_MAX) {
            if (ss_wait_event_announce(&store->preparer.event, &seen) && store->wanted_count == 0)
                ss_wait_sleep(&store->preparer.event, seen, SS_WAIT_BOUND_US);
            continue;
        }
        ss_log *log = ss_store_log_known(store, index);
        populate_ahead(store, log);
        atomic_store(&log->prepare_pending, 0);
    }
    return NULL;
}

void ss_preparer_ask(ss_log *log)
{
    ss_store *store = log->store;
    if (atomic_exchange(&log->prepare_pending, 1))
        return;
    pthread_mutex_lock(&store->logs_mutex);
    int room = store->wanted_count < SS_PREPARER_WANTED;
    if (room)
        store->wanted[store->wanted_count++] = log->index;
    pthread_mutex_unlock(&store->logs_mutex);
    if (!room)
        atomic_store(&log->prepare_pending, 0); /* too many at once: their appenders do it themselves */
    else if (atomic_load(&store->preparer.started))
        ss_wait_event_signal(&store->preparer.event);
    else
        ss_worker_start(&store->preparer, run, store); /* without it appenders fault their own pages */
}
