/* Making what recovery found this incarnation's state. Runs under the append lock at the first touch; changes no
 * file but by a roll with copying (D9). */
#include <errno.h>

#include "file.h"
#include "killpoint.h"
#include "record.h"
#include "recovery.h"
#include "scan.h"

/* Two facts from outside the frames: what was trimmed ends no earlier than the catalog says, and a header in the
 * page cache may be one whose sync failed or never came. */
static void look_around(ss_recovery_walk *r)
{
    uint64_t frame, hint = ss_control_watermark_load(r->log->entry, &frame);
    /* a suffix was lost, but not its trimming: numbers go on behind it, where readers look */
    if (r->end < r->log->start_position) {
        r->end = r->known = r->log->start_position;
        r->last_frame = 0;
        r->later_files = 1;
    }
    if (r->count && r->active + 1 == r->count) {
        const ss_segment_facts *last = &r->live[r->active]->facts;
        r->uncertain = !last->packed && last->copied_end > last->base && r->end <= last->copied_end &&
                       hint < last->copied_end && !r->report.damage_bytes;
        if (r->uncertain && r->known > last->base)
            r->known = last->base;
    }
}

/* Where reading may begin. A stream's trim horizon is in the catalog, so what lies between it and the first segment
 * is missing; the catalog's own is its first segment, unless a damaged header stands before that. */
static uint64_t find_start(const ss_recovery_walk *r)
{
    uint64_t start = r->log->start_position > SS_FIRST_POSITION ? r->log->start_position : SS_FIRST_POSITION;
    int from_first = r->count && r->log->stream_id == 0 && !r->damaged_first && r->live[0]->facts.base > start;
    return from_first ? r->live[0]->facts.base : start;
}

/* Make what was found this incarnation's state. */
static void enter(ss_recovery_walk *r)
{
    ss_control_entry *entry = r->log->entry;
    const ss_segment *active = r->count ? r->live[r->active] : NULL;
    uint64_t start = find_start(r);
    uint64_t hint_frame, hint = ss_control_watermark_load(entry, &hint_frame);
    int clean = atomic_load(&entry->carried) == SS_CARRIED_CLEAN && r->report.verdict == 'A' && hint == r->end &&
                !r->later_files && r->active + 1 == r->count && !active->facts.packed;
    atomic_store(&entry->tail, r->end);
    atomic_store(&entry->reserve_end, r->end);
    /* What was trimmed has nothing to lose, and its files may be gone: it is neither synced nor copied. */
    uint64_t known = r->known > start ? r->known : start;
    atomic_store(&entry->durable, known < r->end ? known : r->end);
    SS_KILLPOINT("recover-entering");
    atomic_store(&entry->record_count, r->records);
    atomic_store(&entry->durable_records, r->records);
    /* what a parent's last record says bounds a log that has none itself */
    uint64_t floor = r->log->arrival_floor_us;
    atomic_store(&entry->last_arrival_us, r->arrival_us > floor ? r->arrival_us : floor);
    atomic_store(&entry->last_frame, r->last_frame);
    atomic_store(&entry->epoch, r->epoch);
    atomic_store(&entry->closed, (uint32_t)r->closed);
    atomic_store(&entry->start, start);
    atomic_store(&entry->start_record_count,
                 r->count && start > SS_FIRST_POSITION ? r->live[0]->facts.base_ordinal : 0);
    atomic_store(&entry->segment_base, active ? active->facts.base : r->end);
    atomic_store(&entry->segment_base_ordinal, active ? active->facts.base_ordinal : 0);
    atomic_store(&entry->next_ordinal, r->next_ordinal);
    atomic_store(&entry->segment_ordinal, active ? active->facts.ordinal : 0);
    atomic_store(&entry->epoch_current, 0);
    atomic_store(&entry->in_place, (uint32_t)clean);
    r->report.in_place = clean;
    r->report.end = r->end;
    r->report.durable_known = r->known;
}

static ss_status measure_allocated(ss_log *log, const ss_recovery_walk *r)
{
    uint64_t size = 0;
    if (r->count) {
        char name[SS_SEGMENT_NAME_SIZE];
        int fd;
        ss_segment_name(log->directory, r->live[r->active]->facts.ordinal, name);
        ss_status status = ss_file_open(log->store->root, name, SS_FILE_READ, &fd);
        if (status != SS_OK)
            return status;
        status = ss_file_size(fd, &size, NULL);
        ss_file_close(fd);
        if (status != SS_OK)
            return status;
        if (size > r->live[r->active]->facts.map_size)
            size = r->live[r->active]->facts.map_size;
    }
    atomic_store(&log->entry->allocated, size);
    return SS_OK;
}

/* What the page cache shows above the durable end is not yet durable: sync it, or, where a sync failed or died in
 * flight, write it anew. */
static ss_status settle(ss_log *log, int uncertain)
{
    ss_control_entry *entry = log->entry;
    uint64_t durable = atomic_load(&entry->durable), tail = atomic_load(&entry->tail);
    if (durable >= tail) {
        ss_control_watermark_store(entry, tail, atomic_load(&entry->last_frame));
        atomic_store(&log->store->control_dirty, 1);
        return SS_OK;
    }
    int doubtful = uncertain || ss_recovery_in_doubt(log);
    if (log->store->info.private_recovery) {
        /* Nothing is written here. Bytes in doubt stay unseen on a sync stream; others become durable by our own
         * sync, or are what a read-only medium holds. Events of the catalog are seen in doubt too: the next writer
         * adopts them, and a trim that is not seen makes a loss of the files that went by it. */
        int seen = !doubtful || log->stream_id == 0;
        ss_status status = seen ? ss_log_sync_range(log, durable, tail) : SS_OK;
        int error = status >> 8; /* a medium that takes no writes answers a sync so: what it shows is what it holds */
        if (seen && (status == SS_OK || error == EROFS || error == EINVAL))
            atomic_store(&entry->durable, tail);
        return SS_OK;
    }
    ss_status status;
    if (doubtful) {
        log->recovery.copied_bytes = tail - durable;
        status = ss_log_roll_to(log, durable, ss_log_roll_epoch(log), 0);
    } else {
        atomic_store(&entry->sync_inflight, tail); /* guards a death between a failure and the poison */
        if ((status = ss_log_sync_range(log, durable, tail)) == SS_OK)
            ss_log_sync_publish(log, tail, atomic_load(&entry->last_frame));
    }
    if (status == SS_OK)
        atomic_store(&entry->sync_inflight, 0);
    return status;
}

ss_status ss_log_recover(ss_log *log)
{
    ss_recovery_walk r = {.log = log, .end = SS_FIRST_POSITION, .known = SS_FIRST_POSITION};
    int attached = atomic_load_explicit(&log->attached, memory_order_acquire);
    ss_log_table_forget(log);
    if (log->writer)
        ss_log_table_release(log, log->writer);
    log->writer = NULL;
    ss_status status = ss_recovery_load(&r);
    if (status == SS_OK && r.count && !attached)
        status = ss_recovery_adopt_header(&r);
    if (status == SS_OK)
        status = ss_recovery_find_end(&r);
    if (status == SS_OK)
        status = measure_allocated(log, &r);
    if (status == SS_OK) {
        look_around(&r);
        enter(&r);
        log->recovery = r.report;
        status = settle(log, r.uncertain);
    }
    if (status == SS_OK && r.count && log->start_position > SS_FIRST_POSITION) {
        uint64_t before = 0;
        if (ss_log_seek_records_before(log, log->start_position, &before) == SS_OK)
            atomic_store(&log->entry->start_record_count, before);
    }
    ss_recovery_free(&r);
    if (status == SS_OK) {
        SS_KILLPOINT("recover-settled");
        /* A flush of a log that nobody attached to knows no trim horizon: it makes the bytes durable and leaves the
         * rest to whoever does. */
        atomic_store(&log->entry->carried, attached ? 0 : SS_CARRIED_SETTLED);
        if (attached)
            atomic_store_explicit(&log->entry->state, SS_LOG_READY, memory_order_release);
    }
    return status;
}

ss_status ss_log_recover_counters(ss_log *log)
{
    ss_control_entry *entry = log->entry;
    uint64_t tail = atomic_load(&entry->tail), end;
    ss_segment *segment;
    if (!atomic_load(&entry->segment_ordinal))
        return SS_OK; /* the first roll died: nothing was ever published */
    /* By the tail: segment_base may already be that of a segment whose maker died before it counted. */
    ss_status status = ss_log_table_find(log, tail, &segment, &end);
    if (status != SS_OK)
        return status;
    uint64_t position = segment->facts.base;
    uint32_t last_type = 0;
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    ss_scan scan;
    if ((status = ss_scan_open(&scan, segment, log->store->root, name)) == SS_OK) {
        uint64_t records = segment->facts.base_ordinal, arrival = segment->facts.floor_arrival, frame_at = 0;
        while (position < tail && status == SS_OK) {
            ss_record_header header;
            const uint8_t *frame;
            status = ss_scan_frame(&scan, position, &header, &frame);
            if (status == SS_CORRUPT) { /* damage below the tail is for readers to report; count what stands */
                status = ss_scan_resync(&scan, position, tail, &position);
                continue;
            }
            if (status != SS_OK)
                break;
            records = segment->facts.base_ordinal + header.ordinal - (header.type != SS_FRAME_DATA);
            arrival = header.arrival_us;
            last_type = header.type;
            frame_at = position;
            position += header.frame_size;
        }
        if (status == SS_OK || status == SS_NOT_FOUND) {
            /* of the append that died, or older: never let it fall */
            uint64_t before = atomic_load(&entry->last_arrival_us);
            atomic_store(&entry->record_count, records);
            atomic_store(&entry->last_arrival_us, arrival > before ? arrival : before);
            atomic_store(&entry->last_frame, frame_at);
            if (last_type == SS_FRAME_CLOSE)
                atomic_store(&entry->closed, 1);
            status = SS_OK;
        }
        ss_scan_close(&scan);
    }
    ss_log_table_release(log, segment);
    return status;
}
