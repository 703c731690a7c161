/* Finding a log's end after a death of any kind, by the decision table of docs/durability.md (verdicts A to F).
 * Reads files and changes none. */
#include "recovery.h"

#include <stdlib.h>

#include "file.h"
#include "record.h"
#include "scan.h"

/* A sync failed or died in flight, in an earlier incarnation or in this one's own recovery: the page cache proves
 * nothing. */
int ss_recovery_in_doubt(const ss_log *log)
{
    return (atomic_load(&log->entry->carried) & SS_CARRIED_IN_DOUBT) != 0 ||
           atomic_load(&log->entry->sync_inflight) != 0;
}

static void raise_to(uint64_t *value, uint64_t seen)
{
    *value = seen > *value ? seen : *value;
}

/* Segments are looked at from the newest down: one lives if it begins below all that came after it. */
static ss_status load_segment(ss_recovery_walk *r, uint64_t ordinal)
{
    ss_log *log = r->log;
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_facts facts;
    ss_segment_name(log->directory, ordinal, name);
    ss_status status = ss_segment_read_header(log->store->root, name, log->store->store_id, log->stream_id, log->shard,
                                              &facts);
    int code = ss_status_code(status);
    if (ordinal + 1 == r->next_ordinal)
        r->later_files = code != SS_OK;
    if (code == SS_CORRUPT) { /* its range reads as damage, up to the next base or to what is known durable */
        r->damaged_first = 1;
        r->damaged_last |= r->count == 0;
        return SS_OK;
    }
    if (status != SS_OK)
        return code == SS_NOT_FOUND ? SS_OK : status; /* never committed */
    r->damaged_first = 0;
    raise_to(&r->epoch, facts.epoch);
    if (r->count && facts.base >= r->live[r->count - 1]->facts.base)
        return SS_OK;
    ss_segment *segment = ss_segment_new(&facts);
    if (!segment)
        return SS_NO_MEMORY;
    r->live[r->count++] = segment;
    return SS_OK;
}

static void reverse(ss_segment **segments, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        ss_segment *other = segments[i];
        segments[i] = segments[count - 1 - i];
        segments[count - 1 - i] = other;
    }
}

ss_status ss_recovery_load(ss_recovery_walk *r)
{
    uint64_t *ordinals, frame, hint = ss_control_watermark_load(r->log->entry, &frame);
    size_t count;
    ss_status status = ss_log_table_list(r->log, &ordinals, &count);
    if (status != SS_OK)
        return status;
    r->live = calloc(count + 1, sizeof *r->live);
    if (!r->live)
        status = SS_NO_MEMORY;
    r->next_ordinal = count ? ordinals[count - 1] + 1 : 1;
    for (size_t i = count; i-- > 0 && status == SS_OK;) {
        status = load_segment(r, ordinals[i]);
        /* Below what is known durable there is nothing to find out: recovery costs the same at any size. The
         * catalog's own log alone needs its first segment, which is its trim horizon. */
        if (r->log->stream_id && hint && r->count && r->live[r->count - 1]->facts.base <= hint)
            break;
    }
    if (r->live)
        reverse(r->live, r->count);
    free(ordinals);
    return status;
}

/* Without options of its own a roll goes on with what the newest header says. */
ss_status ss_recovery_adopt_header(ss_recovery_walk *r)
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

static ss_status open_scan(ss_recovery_walk *r, size_t i, ss_scan *scan)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_name(r->log->directory, r->live[i]->facts.ordinal, name);
    return ss_scan_open(scan, r->live[i], r->log->store->root, name);
}

static uint64_t segment_end(const ss_recovery_walk *r, size_t i, const ss_scan *scan)
{
    uint64_t file_end = ss_scan_file_end(scan);
    if (i + 1 < r->count && r->live[i + 1]->facts.base < file_end)
        return r->live[i + 1]->facts.base;
    return file_end;
}

static void take_frame(ss_recovery_walk *r, size_t i, const ss_record_header *header)
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

/* A packed segment was complete and durable before it had its name: its header says all that its frames would, and
 * recovery neither expands them nor needs a key. Damage in it is told when it is read. */
static uint64_t take_packed(ss_recovery_walk *r, size_t i)
{
    const ss_segment_facts *facts = &r->live[i]->facts;
    raise_to(&r->epoch, facts->epoch);
    raise_to(&r->arrival_us, facts->packed_last_arrival);
    raise_to(&r->known, facts->packed_end);
    r->records = facts->base_ordinal + facts->packed_records;
    r->last_frame = facts->packed_last_frame;
    r->closed = r->in_batch = 0;
    r->whole.end = facts->packed_end;
    r->whole.records = r->records;
    r->whole.arrival_us = r->arrival_us;
    r->whole.last_frame = r->last_frame;
    return facts->packed_end;
}

/* The gravest verdict stays: a log that ends well behind damage is a damaged one. */
static void judge(ss_recovery_walk *r, int verdict)
{
    if (verdict > r->report.verdict)
        r->report.verdict = verdict;
}

/* The writer died inside a batch that nobody was told of: what stands of it goes, like any torn tail. Never below
 * what was durable. */
static void cut_batch(ss_recovery_walk *r)
{
    if (!r->in_batch || r->whole.end < r->known || r->whole.end > r->end)
        return;
    judge(r, 'B');
    r->report.torn_bytes += r->end - r->whole.end;
    r->end = r->whole.end;
    r->records = r->whole.records;
    r->arrival_us = r->whole.arrival_us;
    r->last_frame = r->whole.last_frame;
}

/* What stands behind `x` in segment i and later ones: the first whole frame, and how far all of them claim the log
 * was durable. */
static ss_status look_behind(ss_recovery_walk *r, size_t i, ss_scan *scan, uint64_t x, uint64_t *next,
                             size_t *next_segment, uint64_t *frames)
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
        if (s != i && in->segment->facts.packed) {
            if (!*next) {
                *next = at;
                *next_segment = s;
            }
            *frames += in->segment->facts.packed_records;
            raise_to(&r->epoch, in->segment->facts.epoch);
            ss_scan_close(&other);
            continue;
        }
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

/* Nothing valid stands at x: decide by the table. *resume: the scan goes on there; 0 = x (or what r->end says) is
 * the end. */
static ss_status decide(ss_recovery_walk *r, size_t i, ss_scan *scan, uint64_t x, uint64_t *resume,
                        size_t *resume_segment)
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
    tear |= ss_recovery_in_doubt(r->log);
    if (x >= r->known && (tear || zero)) {
        judge(r, frames ? 'C' : 'B');
        r->report.lost_frames = frames;
        r->report.torn_bytes = limit - x;
        r->end = x;
        cut_batch(r);
        return SS_OK;
    }
    /* Durable bytes are gone or damaged, or what stands here was never a tear: nothing is cut, the range is reported
     * when it is read. */
    judge(r, x >= r->known ? 'D' : next ? 'E' : 'F');
    r->last_frame = 0;
    if (next) {
        /* Damage ends with its segment: what stands at the beginning of the next is judged by itself, and may be no
         * worse than torn. */
        if (*resume_segment > i) {
            *resume_segment = i + 1;
            next = r->live[i + 1]->facts.base;
        }
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
static ss_status scan_forward(ss_recovery_walk *r, size_t i, uint64_t position)
{
    ss_scan scan;
    ss_status status = open_scan(r, i, &scan);
    if (status != SS_OK)
        return status;
    for (;;) {
        ss_record_header header;
        const uint8_t *frame;
        uint64_t limit = i + 1 < r->count ? r->live[i + 1]->facts.base : UINT64_MAX;
        if (r->live[i]->facts.packed && position < r->live[i]->facts.packed_end) {
            uint64_t end = take_packed(r, i);
            position = end < limit ? end : limit;
        }
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
static ss_status scan_claims(ss_recovery_walk *r, size_t i)
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
    while (!r->live[i]->facts.packed && at < limit && (status = ss_scan_frame(&scan, at, &header, &frame)) == SS_OK) {
        raise_to(&r->known, header.durable);
        at += header.frame_size;
    }
    ss_scan_close(&scan);
    return status == SS_CORRUPT ? SS_OK : status;
}

static ss_status find_in_segments(ss_recovery_walk *r)
{
    uint64_t frame, hint = ss_control_watermark_load(r->log->entry, &frame);
    size_t i = r->count - 1;
    r->known = hint > r->live[0]->facts.base ? hint : r->live[0]->facts.base;
    while (hint == 0 && i > 0) {
        /* No hint at all: the newest segment whose frames prove that its own start was durable is where the scan may
         * begin. */
        ss_status status = scan_claims(r, i);
        if (status != SS_OK)
            return status;
        if (r->known >= r->live[i]->facts.base)
            break;
        i--;
    }
    while (i > 0 && r->live[i]->facts.base > r->known)
        i--;
    /* What ends below the trim horizon may be there or not, in any order: a power cut brings unlinked names back. */
    while (i + 1 < r->count && r->live[i + 1]->facts.base <= r->log->start_position)
        i++;
    if (r->live[i]->facts.base <= r->log->start_position)
        raise_to(&r->known, r->live[i]->facts.base);
    uint64_t from = r->live[i]->facts.base;
    r->records = r->live[i]->facts.base_ordinal;
    r->arrival_us = r->live[i]->facts.floor_arrival;
    r->whole.end = from; /* batches never span segments */
    r->whole.records = r->records;
    r->whole.arrival_us = r->arrival_us;
    if (frame > from && frame <= r->known && !r->live[i]->facts.packed) {
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

/* Frames are stored only once the header above them is durable, and copies only while what they were copied from
 * stands. Where no header holds, a file with something behind its own had one that was destroyed. */
static ss_status find_hidden(const ss_recovery_walk *r, int *hidden)
{
    uint64_t *ordinals;
    size_t count;
    ss_status status = ss_log_table_list(r->log, &ordinals, &count);
    *hidden = 0;
    if (status != SS_OK)
        return status;
    for (size_t i = 0; i < count && status == SS_OK && !*hidden; i++) {
        char name[SS_SEGMENT_NAME_SIZE];
        ss_segment_name(r->log->directory, ordinals[i], name);
        status = ss_segment_holds_something(r->log->store->root, name, hidden);
    }
    free(ordinals);
    return status;
}

/* No segment stands. A log that was known durable somewhere was not always empty: its files are gone or damaged, and
 * numbers go on behind. */
static ss_status find_nothing(ss_recovery_walk *r)
{
    uint64_t frame, hint = ss_control_watermark_load(r->log->entry, &frame), start = r->log->start_position;
    start = start > SS_FIRST_POSITION ? start : SS_FIRST_POSITION;
    r->end = r->known = hint > start ? hint : start; /* every segment trimmed: numbers go on where they were */
    if (r->end > start) {
        r->report.verdict = 'F';
        r->report.damage_bytes = r->end - start;
    }
    int hidden = 0;
    ss_status status = hint ? SS_OK : find_hidden(r, &hidden);
    return status == SS_OK && hidden ? SS_CORRUPT : status;
}

ss_status ss_recovery_find_end(ss_recovery_walk *r)
{
    uint64_t frame;
    ss_status status = r->count ? find_in_segments(r) : find_nothing(r);
    if (status == SS_OK && r->damaged_last && !ss_control_watermark_load(r->log->entry, &frame))
        /* the newest header is damaged and nothing says how far its segment went: no end can be told */
        status = SS_CORRUPT;
    return status;
}

void ss_recovery_free(ss_recovery_walk *r)
{
    for (size_t i = 0; i < r->count; i++)
        ss_segment_free(r->live[i]);
    free(r->live);
}
