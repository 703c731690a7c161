/* The way of a put: lock, reserve, copy, publish (docs/durability.md draws it). */
#include <assert.h>
#include <stdlib.h>

#include "file.h"
#include "killpoint.h"
#include "log.h"
#include "record.h"
#include "reserve.h"
#include "wait.h"

#define POPULATE_AHEAD_MIN (UINT64_C(4) << 10)
#define POPULATE_AHEAD_MAX (UINT64_C(256) << 10)
#define PREPARE_FROM (UINT64_C(1) << 20) /* logs that hold less fault their own pages */
#define PREPARE_BELOW (UINT64_C(2) << 20)
#define PWRITE_FROM (UINT64_C(16) << 10)

static ss_status sizes(const ss_log *log, const ss_entry *entries, size_t count, uint64_t *total)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t size;
        ss_status status = ss_record_frame_size(&entries[i], log->record_size_max, &size);
        if (status != SS_OK)
            return status;
        sum += size;
    }
    /* a batch stands in one segment, and its records are numbered there */
    if (sum > SEGMENT_SIZE_LIMIT / 2 || count > FRAME_ORDINAL_MAX)
        return SS_TOO_LARGE;
    *total = sum;
    return SS_OK;
}

/* Give the file blocks up to file offset `needed`. The step doubles with what the segment holds, so a shard of one
 * small record costs
 * 64 KiB and a busy one a call in 32 MiB. */
static ss_status allocate(ss_log *log, uint64_t needed, int exact)
{
    ss_control_entry *entry = log->entry;
    uint64_t allocated = atomic_load(&entry->allocated), limit = log->writer->facts.map_size;
    uint64_t step = ALLOCATE_STEP_MIN;
    while (step < allocated && step < ALLOCATE_STEP_MAX)
        step *= 2;
    uint64_t wanted = allocated + step;
    if (wanted < needed)
        wanted = (needed + ALLOCATE_STEP_MIN - 1) & ~(ALLOCATE_STEP_MIN - 1);
    if (exact) /* nothing follows */
        wanted = (needed + 4095) & ~UINT64_C(4095);
    if (wanted > limit)
        wanted = limit;
    assert(needed <= wanted);
    char name[SS_SEGMENT_NAME_SIZE];
    int fd;
    ss_segment_name(log->directory, log->writer->facts.ordinal, name);
    ss_status status = ss_file_open(log->store->root, name, SS_FILE_WRITE, &fd);
    if (status != SS_OK)
        return status;
    status = ss_file_allocate(fd, wanted, log->store->mmap_ok);
    if (ss_status_code(status) == SS_FULL) { /* nearly full: the frame itself may still fit */
        wanted = (needed + 4095) & ~UINT64_C(4095);
        status = ss_file_allocate(fd, wanted < limit ? wanted : limit, log->store->mmap_ok);
    }
    ss_file_close(fd);
    if (status == SS_OK)
        atomic_store(&entry->allocated, wanted < limit ? wanted : limit);
    return status;
}

/* Fault pages in ahead of the tail, in one call for many: a fault at a time costs more, and a full disk shows here
 * as an error where a store would be SIGBUS. Busy logs find it done by the preparer. A sync log goes page by page:
 * what is faulted is dirty, and dirty is synced. */
static ss_status populate(ss_log *log, uint64_t needed)
{
    ss_segment *segment = log->writer;
    uint64_t allocated = atomic_load(&log->entry->allocated), ahead = 0;
    uint64_t tail = ss_segment_offset(segment, atomic_load(&log->entry->tail)) & ~UINT64_C(4095);
    if (atomic_load(&segment->populate_failed))
        return ss_file_populate(segment->map + tail, (size_t)(needed - tail));
    /* Pages below the tail were written, by another process or by pwrite: pass over them, unless somebody is at work
     * there. */
    uint64_t from = atomic_load(&segment->populated);
    if (from < tail && atomic_compare_exchange_strong(&segment->claimed, &from, tail))
        atomic_store(&segment->populated, tail);
    if (log->durability != SS_DURABILITY_SYNC) {
        ahead = needed / 4;
        ahead = ahead < POPULATE_AHEAD_MIN   ? POPULATE_AHEAD_MIN
                : ahead > POPULATE_AHEAD_MAX ? POPULATE_AHEAD_MAX
                                             : ahead;
    }
    uint64_t target = (needed + ahead + 4095) & ~UINT64_C(4095);
    target = target < allocated ? target : allocated;
    ss_status status = ss_preparer_populate(segment, needed, target);
    if (status == SS_OK && atomic_load(&segment->populate_failed)) /* the preparer's part, while we waited for it */
        status = ss_file_populate(segment->map + tail, (size_t)(needed - tail));
    return status;
}

/* Whether the batch goes through pwrite: always on the pwrite backend; on a sync log where it spans pages, since
 * pages that were never mapped need no write-protecting when they are synced (a fifth of the time of such a sync). */
static int by_pwrite(const ss_log *log, uint64_t size)
{
    return !log->writer->map || (log->durability == SS_DURABILITY_SYNC && size >= PWRITE_FROM);
}

/* Where frames are built: in the map itself, or in memory that write_out writes. */
static ss_status destination(ss_log *log, uint64_t offset, uint64_t size, uint8_t **to)
{
    *to = by_pwrite(log, size) ? malloc((size_t)size) : log->writer->map + offset;
    return *to ? SS_OK : SS_NO_MEMORY;
}

static ss_status write_out(ss_log *log, uint8_t *from, uint64_t offset, uint64_t size)
{
    if (!by_pwrite(log, size))
        return SS_OK;
    int fd = log->writer->fd;
    ss_status status = SS_OK;
    /* a descriptor for the moment: write errors are reported through the map's description, which is older */
    if (log->writer->map) {
        char name[SS_SEGMENT_NAME_SIZE];
        ss_segment_name(log->directory, log->writer->facts.ordinal, name);
        status = ss_file_open(log->store->root, name, SS_FILE_WRITE, &fd);
    }
    if (status == SS_OK)
        status = ss_file_write(fd, from, (size_t)size, offset);
    if (log->writer->map && fd >= 0)
        ss_file_close(fd);
    free(from);
    return status;
}

/* One frame of ours (epoch, close) at the tail, synced before it is published, with everything before it. */
static ss_status append_marker(ss_log *log, uint32_t type, uint64_t epoch, const ss_entry *content, ss_appended *out)
{
    ss_control_entry *entry = log->entry;
    uint64_t tail = atomic_load(&entry->tail), size, arrival = ss_store_arrival_us(log->store);
    uint64_t last = atomic_load(&entry->last_arrival_us);
    arrival = arrival > last ? arrival : last;
    ss_status status = ss_record_frame_size(content, RECORD_SIZE_LIMIT, &size);
    uint64_t offset = ss_segment_offset(log->writer, tail);
    uint8_t *to;
    if (status != SS_OK || (status = destination(log, offset, size, &to)) != SS_OK)
        return status;
    ss_record_place place = {
        .position = tail,
        .arrival_us = arrival,
        .epoch = epoch,
        .durable = atomic_load(&entry->durable),
        .ordinal = (uint32_t)(atomic_load(&entry->record_count) - log->writer->facts.base_ordinal) + 1,
        .type = type,
    };
    /* A close reserves past its frame until the log is marked closed: who dies between leaves work for the next
     * owner to look at. */
    atomic_store(&entry->reserve_end, tail + size + (type == SS_FRAME_CLOSE ? 8 : 0));
    SS_KILLPOINT("marker-reserved");
    ss_record_write(to, content, size, &place, &log->writer->salt);
    if ((status = write_out(log, to, offset, size)) != SS_OK)
        return status;
    uint64_t durable = atomic_load(&entry->durable);
    if (type == SS_FRAME_CLOSE) { /* the sync lock is held: a death in this sync is found as one in any round */
        atomic_fetch_add(&entry->sync_number, 1);
        atomic_store(&entry->sync_inflight, tail + size);
    }
    if ((status = ss_log_sync_range(log, durable, tail + size)) != SS_OK)
        return status;
    atomic_store(&entry->epoch, epoch);
    atomic_store(&entry->last_arrival_us, arrival);
    atomic_store(&entry->last_frame, tail);
    SS_KILLPOINT("marker-synced");
    atomic_store_explicit(&entry->tail, tail + size, memory_order_release);
    SS_KILLPOINT("marker-published");
    if (type == SS_FRAME_CLOSE) {
        atomic_store_explicit(&entry->closed, 1, memory_order_release);
        atomic_store(&entry->reserve_end, tail + size);
    }
    ss_log_sync_publish(log, tail + size, tail);
    if (type == SS_FRAME_CLOSE)
        atomic_store(&entry->sync_inflight, 0);
    if (out)
        *out = (ss_appended){
            .epoch = epoch, .first_position = tail, .end_position = tail + size, .arrival_us = arrival};
    return SS_OK;
}

static int room_for(const ss_log *log, uint64_t size, size_t count)
{
    const ss_control_entry *entry = log->entry;
    uint64_t records = atomic_load(&entry->record_count) - log->writer->facts.base_ordinal;
    return atomic_load(&entry->tail) + size <= ss_segment_limit(log->writer) && records + count <= FRAME_ORDINAL_MAX;
}

/* The first publish of an incarnation goes under a new epoch that is durable before it: a number lost with an earlier
 * incarnation's suffix is then never given again (I4). In place after a clean close, else in a new segment. */
static ss_status begin_epoch(ss_log *log, uint64_t size)
{
    ss_control_entry *entry = log->entry;
    uint64_t epoch = ss_log_roll_epoch(log), tail = atomic_load(&entry->tail);
    if (epoch > FRAME_EPOCH_MAX)
        return SS_LIMIT;
    if (atomic_load(&entry->in_place) && atomic_load(&entry->segment_ordinal)) {
        ss_status status = ss_log_roll_writer(log);
        if (status != SS_OK)
            return status;
        uint64_t end = ss_segment_offset(log->writer, tail) + FRAME_BODY;
        if (room_for(log, FRAME_BODY + size, 1)) {
            if (end > atomic_load(&entry->allocated) && (status = allocate(log, end, 0)) != SS_OK)
                return status;
            if (!by_pwrite(log, FRAME_BODY) && (status = populate(log, end)) != SS_OK)
                return status;
            const ss_entry nothing = {.key_size = -1};
            if ((status = append_marker(log, SS_FRAME_EPOCH, epoch, &nothing, NULL)) == SS_OK) {
                atomic_store(&entry->in_place, 0);
                atomic_store(&entry->epoch_current, 1);
            }
            return status;
        }
    }
    return ss_log_roll_to(log, tail, epoch, size);
}

/* Everything that may sleep or call the system before the copy: all of it is past when the fast path is taken. */
static ss_status prepare(ss_log *log, uint32_t terms, uint64_t size, size_t count, int flags)
{
    ss_control_entry *entry = log->entry;
    ss_status status = SS_OK;
    int try_only = (flags & SS_APPEND_TRY) != 0, may_spend = (flags & SS_APPEND_RESERVE) != 0;
    uint64_t room = size + (may_spend ? 0 : log->reserve_size);
    uint64_t first = flags & SS_APPEND_CLOSE ? 0 : room; /* what a new segment is given at once */
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) != SS_LOG_READY) {
        if (atomic_load(&entry->state) == SS_LOG_RETIRED)
            return SS_SHARD_CLOSED;
        if (try_only)
            return SS_WOULD_BLOCK;
        if ((status = ss_log_recover(log)) != SS_OK)
            return status;
    }
    if (atomic_load_explicit(&entry->closed, memory_order_relaxed))
        return SS_SHARD_CLOSED;
    /* What a stream with max_bytes was granted; a close must always find its place. */
    uint64_t limit = atomic_load_explicit(&entry->limit, memory_order_relaxed);
    if (limit && !(flags & SS_APPEND_CLOSE) && atomic_load_explicit(&entry->tail, memory_order_relaxed) + size > limit)
        return SS_QUOTA;
    int unfinished = atomic_load(&entry->reserve_end) != atomic_load(&entry->tail);
    int fresh = !atomic_load_explicit(&entry->epoch_current, memory_order_relaxed);
    int writer_stale = !log->writer || log->writer->facts.ordinal != atomic_load(&entry->segment_ordinal) ||
                       !log->writer->writable;
    if (unfinished || fresh || writer_stale) {
        if (try_only)
            return SS_WOULD_BLOCK;
        if (unfinished) {
            /* An append or roll died half-way (its owner with it, or on a full disk): what it left is never built
             * upon. */
            if ((status = ss_log_recover_counters(log)) != SS_OK)
                return status;
            if (atomic_load(&entry->closed))
                return SS_SHARD_CLOSED;
            status = ss_log_roll_to(log, atomic_load(&entry->tail), ss_log_roll_epoch(log), first);
        } else if (fresh) {
            status = begin_epoch(log, first);
        } else {
            status = ss_log_roll_writer(log);
        }
        if (status != SS_OK)
            return status;
    }
    /* Terms are above 1 once a stream was ever encrypted: then its segments must know the keys of what they hold. */
    if (terms > 1 && atomic_load_explicit(&entry->described, memory_order_relaxed) < terms) {
        if (try_only)
            return SS_WOULD_BLOCK;
        if ((status = ss_log_describe_active(log, terms, first)) != SS_OK)
            return status;
    }
    if (!room_for(log, room, count)) {
        if (try_only)
            return SS_WOULD_BLOCK;
        if ((status = ss_log_roll_to(log, atomic_load(&entry->tail), atomic_load(&entry->epoch), first)) != SS_OK)
            return status;
    }
    uint64_t end = ss_segment_offset(log->writer, atomic_load(&entry->tail)) + size, wanted = end - size + room;
    if (wanted > atomic_load(&entry->allocated)) {
        if (try_only)
            return SS_WOULD_BLOCK;
        if ((status = allocate(log, wanted, flags & SS_APPEND_CLOSE)) != SS_OK)
            return status;
    }
    if (by_pwrite(log, size))
        return try_only ? SS_WOULD_BLOCK : SS_OK;
    if (end > atomic_load_explicit(&log->writer->populated, memory_order_acquire) ||
        atomic_load_explicit(&log->writer->populate_failed, memory_order_relaxed)) {
        if (try_only && log->durability != SS_DURABILITY_SYNC)
            return SS_WOULD_BLOCK;
        status = populate(log, end);
    }
    return status;
}

/* The close frame stands alone in its segment: all before it is sealed, and can be compacted and trimmed as any. */
static ss_status prepare_close(ss_log *log, uint64_t size)
{
    ss_control_entry *entry = log->entry;
    uint64_t tail = atomic_load(&entry->tail);
    if (tail == atomic_load(&entry->segment_base))
        return SS_OK;
    ss_status status = ss_log_roll_to(log, tail, atomic_load(&entry->epoch), 0);
    return status == SS_OK ? prepare(log, 0, size, 1, SS_APPEND_CLOSE) : status;
}

static ss_status publish(ss_log *log, const ss_entry *entries, size_t count, uint64_t size, uint64_t *positions,
                         ss_appended *out)
{
    ss_control_entry *entry = log->entry;
    uint64_t tail = atomic_load_explicit(&entry->tail, memory_order_relaxed);
    uint64_t offset = ss_segment_offset(log->writer, tail), arrival = ss_store_arrival_us(log->store);
    uint64_t last_arrival = atomic_load_explicit(&entry->last_arrival_us, memory_order_relaxed);
    uint8_t *built, *to;
    ss_status status = destination(log, offset, size, &built);
    if (status != SS_OK)
        return status;
    arrival = arrival > last_arrival ? arrival : last_arrival;
    uint64_t records = atomic_load_explicit(&entry->record_count, memory_order_relaxed);
    ss_record_place place = {
        .position = tail,
        .arrival_us = arrival,
        .epoch = atomic_load_explicit(&entry->epoch, memory_order_relaxed),
        .durable = atomic_load_explicit(&entry->durable, memory_order_relaxed),
        .ordinal = (uint32_t)(records - log->writer->facts.base_ordinal) + 1,
        .type = SS_FRAME_DATA,
    };
    *out = (ss_appended){
        .epoch = place.epoch, .first_position = tail, .end_position = tail + size, .arrival_us = arrival};
    /* Guards a kill in the middle of the copy: whoever takes the lock over sees the reservation and leaves this
     * segment. */
    atomic_store(&entry->reserve_end, tail + size);
    SS_KILLPOINT("append-reserved");
    uint64_t last = tail;
    to = built;
    for (size_t i = 0; i < count; i++) {
        uint64_t frame_size = 0;
        status = ss_record_frame_size(&entries[i], log->record_size_max, &frame_size);
        assert(status == SS_OK); /* checked before the lock */
        place.more = i + 1 < count;
        ss_record_write(to, &entries[i], frame_size, &place, &log->writer->salt);
        if (positions)
            positions[i] = place.position;
        last = place.position;
        to += frame_size;
        place.position += frame_size;
        place.ordinal++;
        SS_KILLPOINT("append-copying");
    }
    assert(place.position == tail + size);
    if ((status = write_out(log, built, offset, size)) != SS_OK)
        return status;
    /* Counters before the tail: a kill between leaves reserve_end past the tail, and the next owner counts anew. */
    atomic_store_explicit(&entry->record_count, records + count, memory_order_relaxed);
    atomic_store_explicit(&entry->last_arrival_us, arrival, memory_order_relaxed);
    atomic_store_explicit(&entry->last_frame, last, memory_order_relaxed);
    SS_KILLPOINT("append-counted");
    atomic_store_explicit(&entry->tail, tail + size, memory_order_release);
    return SS_OK;
}

/* Whether a busy log should have its next pages faulted in by the preparer. The append lock is held. */
static int runs_low(const ss_log *log)
{
    const ss_segment *segment = log->writer;
    if (log->durability == SS_DURABILITY_SYNC || !segment->map ||
        atomic_load_explicit(&log->prepare_pending, memory_order_relaxed))
        return 0;
    uint64_t offset = ss_segment_offset(segment, atomic_load_explicit(&log->entry->tail, memory_order_relaxed));
    uint64_t populated = atomic_load_explicit(&segment->populated, memory_order_relaxed);
    return offset >= PREPARE_FROM && populated < offset + PREPARE_BELOW &&
           populated < atomic_load_explicit(&log->entry->allocated, memory_order_relaxed);
}

ss_status ss_log_append(ss_log *log, const ss_entry *entries, size_t count, uint64_t expected_tail, int flags,
                        uint64_t *positions, ss_appended *out)
{
    return ss_log_append_under(log, 0, entries, count, expected_tail, flags, positions, out);
}

ss_status ss_log_append_under(ss_log *log, uint32_t terms, const ss_entry *entries, size_t count,
                              uint64_t expected_tail, int flags, uint64_t *positions, ss_appended *out)
{
    uint64_t size;
    if (count == 0 || (flags & SS_APPEND_CLOSE && count != 1))
        return SS_INVALID;
    ss_status status = sizes(log, entries, count, &size);
    if (status != SS_OK || (status = ss_store_enter(log->store)) != SS_OK)
        return status;
    if (log->store->info.read_only) {
        ss_store_leave(log->store);
        return SS_READ_ONLY;
    }
    int taken_over, try_only = (flags & SS_APPEND_TRY) != 0;
    /* Before anything is published: it keeps the promise of `interval`, and brings watermarks to disk in every mode. */
    if ((status = ss_flusher_start(log->store)) != SS_OK)
        goto leave;
    /* A close syncs under the append lock. No other round may be in flight then: its failure could be reported there
     * and nowhere else. */
    if (flags & SS_APPEND_CLOSE && (status = ss_log_sync_hold(log)) != SS_OK)
        goto leave;
    if ((status = ss_log_lock(log, try_only, &taken_over)) != SS_OK)
        goto release_sync;
    SS_KILLPOINT("append-locked");
    /* Before anything is done: what was put together under older terms (in plain text, say) must not get in. */
    if (terms && terms < atomic_load_explicit(&log->entry->terms, memory_order_relaxed))
        status = SS_CHANGED;
    /* The comparison first: a mismatch must not roll or recover on behalf of a put that will not happen. */
    if (status == SS_OK && expected_tail && atomic_load(&log->entry->state) == SS_LOG_UNRECOVERED)
        status = try_only ? SS_WOULD_BLOCK : ss_log_recover(log);
    if (status == SS_OK && expected_tail && atomic_load(&log->entry->tail) != expected_tail)
        status = SS_TAIL_MISMATCH;
    if (status == SS_OK)
        status = prepare(log, terms, size, count, flags);
    /* What frees space must be told on a full disk too: the store keeps a file to give up for it. */
    if (ss_status_code(status) == SS_FULL && flags & SS_APPEND_RESERVE && ss_reserve_spend(log->store->root) == SS_OK)
        status = prepare(log, terms, size, count, flags);
    if (status == SS_OK && flags & SS_APPEND_CLOSE)
        status = prepare_close(log, size);
    if (status == SS_OK) {
        if (flags & SS_APPEND_CLOSE) {
            status = append_marker(log, SS_FRAME_CLOSE, atomic_load(&log->entry->epoch), entries, out);
        } else {
            status = publish(log, entries, count, size, positions, out);
        }
    }
    SS_KILLPOINT("append-published");
    int ahead_low = status == SS_OK && runs_low(log);
    ss_log_unlock(log);
    SS_KILLPOINT("append-unlocked");
    if (status == SS_OK && (flags & SS_APPEND_CLOSE || log->durability != SS_DURABILITY_SYNC))
        ss_log_announce_tail(log);
    if (status == SS_OK && log->durability == SS_DURABILITY_INTERVAL)
        ss_flusher_notice(log->store);
    if (ahead_low)
        ss_preparer_ask(log);
release_sync:
    if (flags & SS_APPEND_CLOSE)
        ss_log_sync_release(log);
leave:
    ss_store_leave(log->store);
    return status;
}
