/* Finding a log's end after a death of any kind, by the decision table of docs/durability.md (verdicts A to F).
 * Runs under the append lock at the first touch in an incarnation; changes no file but by a roll with copying (I8). */
#include <errno.h>
#include <stdlib.h>

#include "file.h"
#include "killpoint.h"
#include "log.h"
#include "record.h"
#include "scan.h"

typedef struct {
    ss_log *log;
    ss_segment **live;  /* by ordinal and base, as in log_table.c */
    size_t count;
    uint64_t next_ordinal;
    int later_files;    /* files beyond the last live segment: an unfinished roll */
    int damaged_first;  /* a header older than every live one was committed and no longer holds */
    int damaged_last;   /* one newer than every live one */
    uint64_t known;     /* highest durable end proven: watermark, frames' claims, copied ends */
    uint64_t epoch;     /* highest seen anywhere, also in what is dropped */
    uint64_t records;
    uint64_t arrival_us;
    uint64_t last_frame;
    uint64_t end;
    size_t active;      /* index of the segment that holds `end` */
    int uncertain;      /* the last segment holds copies alone, and nothing proves that its header was synced */
    int closed;
    struct { /* where the last whole batch ended, and what was true there */
        uint64_t end;
        uint64_t records;
        uint64_t arrival_us;
        uint64_t last_frame;
    } whole;
    int in_batch;       /* the last frame says that more of its batch follows */
    ss_recovery report;
} recovery;

/* A sync failed or died in flight, in an earlier incarnation or in this one's own recovery: the page cache proves nothing. */
static int in_doubt(const ss_log *log)
{
    return (atomic_load(&log->entry->carried) & SS_CARRIED_IN_DOUBT) != 0 || atomic_load(&log->entry->sync_inflight) != 0;
}

static void raise_to(uint64_t *value, uint64_t seen)
{
    *value = seen > *value ? seen : *value;
}

static ss_status load_segment(recovery *r, uint64_t ordinal)
{
    ss_log *log = r->log;
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_facts facts;
    ss_segment_name(log->directory, ordinal, name);
    ss_status status = ss_segment_read_header(log->store->root, name, log->store->store_id, log->stream_id, log->shard, &facts);
    int code = ss_status_code(status);
    r->later_files = code != SS_OK;
    if (code == SS_CORRUPT) { /* its range reads as damage, up to the next base or to what is known durable */
        r->damaged_first |= r->count == 0;
        r->damaged_last = 1;
        return SS_OK;
    }
    if (status != SS_OK)
        return code == SS_NOT_FOUND ? SS_OK : status; /* never committed */
    r->damaged_last = 0;
    raise_to(&r->epoch, facts.epoch);
    while (r->count && r->live[r->count - 1]->facts.base >= facts.base)
        ss_segment_free(r->live[--r->count]);
    ss_segment *segment = ss_segment_new(&facts);
    if (!segment)
        return SS_NO_MEMORY;
    r->live[r->count++] = segment;
    return SS_OK;
}

static ss_status load_segments(recovery *r)
{
    uint64_t *ordinals;
    size_t count;
    ss_status status = ss_log_table_list(r->log, &ordinals, &count);
    if (status != SS_OK)
        return status;
    r->live = calloc(count + 1, sizeof *r->live);
    if (!r->live)
        status = SS_NO_MEMORY;
    for (size_t i = 0; i < count && status == SS_OK; i++)
        status = load_segment(r, ordinals[i]);
    r->next_ordinal = count ? ordinals[count - 1] + 1 : 1;
    free(ordinals);
    return status;
}

/* Without options of its own a roll goes on with what the newest header says. */
static ss_status adopt_header(recovery *r)
{
    ss_log *log = r->log;
    const ss_segment_facts *newest = &r->live[r->count - 1]->facts;
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_facts facts;
    int fd;
    size_t got = 0;
    ss_segment_name(log->directory, newest->ordinal, name);
    ss_status status = ss_file_open(log->store->root, name, SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    status = ss_file_read(fd, header, sizeof header, 0, &got);
    ss_file_close(fd);
    if (status != SS_OK || got < sizeof header || (status = ss_segment_decode_header(header, &facts)) != SS_OK)
        return status == SS_OK ? SS_CORRUPT : status;
    log->segment_size_max = facts.map_size;
    return ss_log_describe(log, facts.description, facts.description_size);
}

static ss_status open_scan(recovery *r, size_t i, ss_scan *scan)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_name(r->log->directory, r->live[i]->facts.ordinal, name);
    return ss_scan_open(scan, r->live[i], r->log->store->root, name);
}

static uint64_t segment_end(const recovery *r, size_t i, const ss_scan *scan)
{
    uint64_t file_end = ss_scan_file_end(scan);
    if (i + 1 < r->count && r->live[i + 1]->facts.base < file_end)
        return r->live[i + 1]->facts.base;
    return file_end;
}

static void take_frame(recovery *r, size_t i, const ss_record_header *header)
{
    const ss_segment *segment = r->live[i];
    raise_to(&r->epoch, header->epoch);
    raise_to(&r->arrival_us, header->arrival_us);
    raise_to(&r->known, header->durable);
    uint64_t before = segment->facts.base_ordinal + header->ordinal - 1;
    r->records = before + (header->type == SS_FRAME_DATA);
    r->last_frame = header->position;
    r->closed = header->type == SS_FRAME_CLOSE;
    r->in_batch = (header->flags & FRAME_FLAG_MORE) != 0;
    if (!r->in_batch) {
        r->whole.end = header->position + header->frame_size;
        r->whole.records = r->records;
        r->whole.arrival_us = r->arrival_us;
        r->whole.last_frame = r->last_frame;
    }
}

/* The gravest verdict stays: a log that ends well behind damage is a damaged one. */
static void judge(recovery *r, int verdict)
{
    if (verdict > r->report.verdict)
        r->report.verdict = verdict;
}

/* The writer died inside a batch that nobody was told of: what stands of it goes, like any torn tail. Never below what was durable. */
static void cut_batch(recovery *r)
{
    if (!r->in_batch || r->whole.end == 0 || r->whole.end < r->known || r->whole.end > r->end)
        return;
    judge(r, 'B');
    r->report.torn_bytes += r->end - r->whole.end;
    r->end = r->whole.end;
    r->records = r->whole.records;
    r->arrival_us = r->whole.arrival_us;
    r->last_frame = r->whole.last_frame;
}

/* What stands behind `x` in segment i and later ones: the first whole frame, and how far all of them claim the log was durable. */
static ss_status look_behind(recovery *r, size_t i, ss_scan *scan, uint64_t x, uint64_t *next, size_t *next_segment, uint64_t *frames)
{
    *next = 0;
    *frames = 0;
    for (size_t s = i; s < r->count; s++) {
        ss_scan other, *in = s == i ? scan : &other;
        ss_status status = s == i ? SS_OK : open_scan(r, s, &other);
        if (status != SS_OK)
            return status;
        uint64_t limit = segment_end(r, s, in), at = s == i ? x : in->segment->facts.base;
        ss_record_header header;
        const uint8_t *frame;
        /* A committed header proves that what was copied under it was synced before. */
        if (s != i && in->segment->facts.copied_end > in->segment->facts.base)
            raise_to(&r->known, in->segment->facts.copied_end);
        status = s == i ? SS_CORRUPT : ss_scan_frame(in, at, &header, &frame);
        for (;;) {
            if (status == SS_CORRUPT) {
                status = ss_scan_resync(in, at, limit, &at);
                if (status == SS_OK)
                    status = ss_scan_frame(in, at, &header, &frame);
            }
            if (status != SS_OK)
                break;
            if (!*next) {
                *next = at;
                *next_segment = s;
            }
            ++*frames;
            raise_to(&r->epoch, header.epoch);
            raise_to(&r->known, header.durable);
            at += header.frame_size;
            status = at < limit ? ss_scan_frame(in, at, &header, &frame) : SS_NOT_FOUND;
        }
        if (s != i)
            ss_scan_close(&other);
        if (status != SS_NOT_FOUND)
            return status;
    }
    return SS_OK;
}


/* Nothing valid stands at x: decide by the table. *resume: the scan goes on there; 0 = x (or what r->end says) is the end. */
static ss_status decide(recovery *r, size_t i, ss_scan *scan, uint64_t x, uint64_t *resume, size_t *resume_segment)
{
    uint64_t next, frames, unit, limit = segment_end(r, i, scan);
    int zero = 0, tear = 0;
    *resume = 0;
    ss_status status = x < limit ? ss_scan_zero(scan, x, limit, &zero) : SS_OK;
    if (status != SS_OK)
        return status;
    zero |= x >= limit;
    if (zero && i + 1 == r->count && x >= r->known) {
        judge(r, 'A');
        r->end = x;
        cut_batch(r);
        return SS_OK;
    }
    if ((status = look_behind(r, i, scan, x, &next, resume_segment, &frames)) != SS_OK)
        return status;
    if ((status = ss_scan_tear_possible(scan, x, &tear, &unit)) != SS_OK)
        return status;
    /* Where a sync failed or died in flight, pages above the durable end may be any of their older states. */
    tear |= in_doubt(r->log);
    if (x >= r->known && (tear || zero)) {
        judge(r, frames ? 'C' : 'B');
        r->report.lost_frames = frames;
        r->report.torn_bytes = limit - x;
        r->end = x;
        cut_batch(r);
        return SS_OK;
    }
    /* Durable bytes are gone or damaged, or what stands here was never a tear: nothing is cut, the range is reported when it is read. */
    judge(r, x >= r->known ? 'D' : next ? 'E' : 'F');
    r->last_frame = 0;
    if (next) {
        r->report.damage_bytes += next - x;
        if (x < r->known)
            raise_to(&r->known, next); /* below it nothing is left that could be synced or copied */
        *resume = next;
        return SS_OK;
    }
    uint64_t end = x + unit > r->known ? x + (x >= r->known ? unit : 0) : r->known;
    r->end = end > r->known ? end : r->known;
    r->report.damage_bytes += r->end - x;
    return SS_OK;
}

/* From a known boundary forward, frame by frame and segment by segment, to the end. */
static ss_status scan_forward(recovery *r, size_t i, uint64_t position)
{
    ss_scan scan;
    ss_status status = open_scan(r, i, &scan);
    if (status != SS_OK)
        return status;
    for (;;) {
        ss_record_header header;
        const uint8_t *frame;
        uint64_t limit = i + 1 < r->count ? r->live[i + 1]->facts.base : UINT64_MAX;
        status = position < limit ? ss_scan_frame(&scan, position, &header, &frame) : SS_OK;
        size_t goal = i;
        if (status == SS_OK && position < limit && header.frame_size <= limit - position) {
            take_frame(r, i, &header);
            position += header.frame_size;
            continue;
        }
        if (position == limit) {
            goal = i + 1;
        } else if (status == SS_OK || status == SS_CORRUPT) {
            uint64_t resume;
            if ((status = decide(r, i, &scan, position, &resume, &goal)) != SS_OK)
                break;
            if (!resume) {
                r->active = i;
                break;
            }
            position = resume;
        } else {
            break;
        }
        if (goal != i) {
            ss_scan_close(&scan);
            i = goal;
            if ((status = open_scan(r, i, &scan)) != SS_OK)
                return status;
            if (r->live[i]->facts.copied_end > r->live[i]->facts.base)
                raise_to(&r->known, r->live[i]->facts.copied_end);
        }
    }
    ss_scan_close(&scan);
    return status;
}

/* Claims of one segment's frames, where no hint says how far the log was durable. */
static ss_status scan_claims(recovery *r, size_t i)
{
    ss_scan scan;
    ss_status status = open_scan(r, i, &scan);
    if (status != SS_OK)
        return status;
    uint64_t at = r->live[i]->facts.base, limit = segment_end(r, i, &scan);
    ss_record_header header;
    const uint8_t *frame;
    if (r->live[i]->facts.copied_end > r->live[i]->facts.base)
        raise_to(&r->known, r->live[i]->facts.copied_end);
    while (at < limit && (status = ss_scan_frame(&scan, at, &header, &frame)) == SS_OK) {
        raise_to(&r->known, header.durable);
        at += header.frame_size;
    }
    ss_scan_close(&scan);
    return status == SS_CORRUPT ? SS_OK : status;
}

static ss_status find_end(recovery *r)
{
    uint64_t frame, hint = ss_control_watermark_load(r->log->entry, &frame);
    size_t i = r->count - 1;
    r->known = hint > r->live[0]->facts.base ? hint : r->live[0]->facts.base;
    while (hint == 0 && i > 0) {
        /* No hint at all: the newest segment whose frames prove that its own start was durable is where the scan may begin. */
        ss_status status = scan_claims(r, i);
        if (status != SS_OK)
            return status;
        if (r->known >= r->live[i]->facts.base)
            break;
        i--;
    }
    while (i > 0 && r->live[i]->facts.base > r->known)
        i--;
    uint64_t from = r->live[i]->facts.base;
    r->records = r->live[i]->facts.base_ordinal;
    r->arrival_us = r->live[i]->facts.floor_arrival;
    r->whole.end = from; /* batches never span segments */
    r->whole.records = r->records;
    r->whole.arrival_us = r->arrival_us;
    if (frame > from && frame <= r->known) {
        ss_scan scan;
        ss_record_header header;
        const uint8_t *bytes;
        ss_status status = open_scan(r, i, &scan);
        if (status != SS_OK)
            return status;
        if (ss_scan_frame(&scan, frame, &header, &bytes) == SS_OK)
            from = frame;
        ss_scan_close(&scan);
    }
    return scan_forward(r, i, from);
}

/* Two facts from outside the frames: what was trimmed ends no earlier than the catalog says, and a header in the page cache may be one whose
 * sync failed or never came. */
static void look_around(recovery *r)
{
    uint64_t frame, hint = ss_control_watermark_load(r->log->entry, &frame);
    if (r->end < r->log->start_position) { /* a suffix was lost, but not its trimming: numbers go on behind it, where readers look */
        r->end = r->known = r->log->start_position;
        r->last_frame = 0;
        r->later_files = 1;
    }
    if (r->count && r->active + 1 == r->count) {
        const ss_segment_facts *last = &r->live[r->active]->facts;
        r->uncertain = last->copied_end > last->base && r->end <= last->copied_end && hint < last->copied_end && !r->report.damage_bytes;
        if (r->uncertain && r->known > last->base)
            r->known = last->base;
    }
}

/* No segment stands. A log that was known durable somewhere was not always empty: its files are gone or damaged, and numbers go on behind. */
static void find_nothing(recovery *r)
{
    uint64_t frame, hint = ss_control_watermark_load(r->log->entry, &frame), start = r->log->start_position;
    start = start > SS_FIRST_POSITION ? start : SS_FIRST_POSITION;
    r->end = r->known = hint > start ? hint : start; /* every segment trimmed: numbers go on where they were */
    if (r->end > start) {
        r->report.verdict = 'F';
        r->report.damage_bytes = r->end - start;
    }
}

/* Where reading may begin. A stream's trim horizon is in the catalog, so what lies between it and the first segment is missing; the
 * catalog's own is its first segment, unless a damaged header stands before that. */
static uint64_t find_start(const recovery *r)
{
    uint64_t start = r->log->start_position > SS_FIRST_POSITION ? r->log->start_position : SS_FIRST_POSITION;
    int from_first = r->count && r->log->stream_id == 0 && !r->damaged_first && r->live[0]->facts.base > start;
    return from_first ? r->live[0]->facts.base : start;
}

/* Make what was found this incarnation's state. */
static void enter(recovery *r)
{
    ss_control_entry *entry = r->log->entry;
    const ss_segment *active = r->count ? r->live[r->active] : NULL;
    uint64_t start = find_start(r);
    uint64_t hint_frame, hint = ss_control_watermark_load(entry, &hint_frame);
    int clean = atomic_load(&entry->carried) == SS_CARRIED_CLEAN && r->report.verdict == 'A' && hint == r->end && !r->later_files &&
                r->active + 1 == r->count;
    atomic_store(&entry->tail, r->end);
    atomic_store(&entry->reserve_end, r->end);
    atomic_store(&entry->durable, r->known < r->end ? r->known : r->end);
    SS_KILLPOINT("recover-entering");
    atomic_store(&entry->record_count, r->records);
    atomic_store(&entry->durable_records, r->records);
    atomic_store(&entry->last_arrival_us, r->arrival_us);
    atomic_store(&entry->last_frame, r->last_frame);
    atomic_store(&entry->epoch, r->epoch);
    atomic_store(&entry->closed, (uint32_t)r->closed);
    atomic_store(&entry->start, start);
    atomic_store(&entry->start_record_count, r->count && start > SS_FIRST_POSITION ? r->live[0]->facts.base_ordinal : 0);
    atomic_store(&entry->segment_base, active ? active->facts.base : r->end);
    atomic_store(&entry->segment_base_ordinal, active ? active->facts.base_ordinal : 0);
    atomic_store(&entry->next_ordinal, r->next_ordinal);
    atomic_store(&entry->segment_ordinal, active ? active->facts.ordinal : 0);
    atomic_store(&entry->epoch_current, 0);
    atomic_store(&entry->in_place, (uint32_t)(clean && active));
    r->report.in_place = clean && active;
    r->report.end = r->end;
    r->report.durable_known = r->known;
}

static ss_status measure_allocated(ss_log *log, const recovery *r)
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

/* What the page cache shows above the durable end is not yet durable: sync it, or, where a sync failed or died in flight, write it anew. */
static ss_status settle(ss_log *log, int uncertain)
{
    ss_control_entry *entry = log->entry;
    uint64_t durable = atomic_load(&entry->durable), tail = atomic_load(&entry->tail);
    if (durable >= tail) {
        ss_control_watermark_store(entry, tail, atomic_load(&entry->last_frame));
        atomic_store(&log->store->control_dirty, 1);
        return SS_OK;
    }
    int doubtful = uncertain || in_doubt(log);
    if (log->store->info.private_recovery) {
        /* Nothing is written here. Bytes in doubt stay unseen on a sync stream; others become durable by our own sync, or are
         * what a read-only medium holds. */
        ss_status status = doubtful ? SS_OK : ss_log_sync_range(log, durable, tail);
        int error = status >> 8; /* a medium that takes no writes answers a sync so: what it shows is what it holds */
        if (!doubtful && (status == SS_OK || error == EROFS || error == EINVAL))
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
    recovery r = {.log = log, .end = SS_FIRST_POSITION, .known = SS_FIRST_POSITION};
    int attached = atomic_load_explicit(&log->attached, memory_order_acquire);
    ss_log_table_forget(log);
    if (log->writer)
        ss_log_table_release(log, log->writer);
    log->writer = NULL;
    ss_status status = load_segments(&r);
    if (status == SS_OK && r.count && !attached)
        status = adopt_header(&r);
    if (status == SS_OK && r.count)
        status = find_end(&r);
    else if (status == SS_OK)
        find_nothing(&r);
    uint64_t frame;
    if (status == SS_OK && r.damaged_last && !ss_control_watermark_load(log->entry, &frame))
        status = SS_CORRUPT; /* the newest header is damaged and nothing says how far its segment went: no end can be told */
    if (status == SS_OK)
        status = measure_allocated(log, &r);
    if (status == SS_OK) {
        look_around(&r);
        enter(&r);
        log->recovery = r.report;
        status = settle(log, r.uncertain);
    }
    if (status == SS_OK && r.count && log->start_position > r.live[0]->facts.base) {
        uint64_t before = 0;
        if (ss_log_seek_records_before(log, log->start_position, &before) == SS_OK)
            atomic_store(&log->entry->start_record_count, before);
    }
    for (size_t i = 0; i < r.count; i++)
        ss_segment_free(r.live[i]);
    free(r.live);
    if (status == SS_OK) {
        SS_KILLPOINT("recover-settled");
        /* A flush of a log that nobody attached to knows no trim horizon: it makes the bytes durable and leaves the rest to whoever does. */
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
            uint64_t before = atomic_load(&entry->last_arrival_us); /* of the append that died, or older: never let it fall */
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
