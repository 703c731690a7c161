/* Finding a frame by position, time or ordinal: the segment by its header's facts, then the sparse
 * index, then a short walk over frame headers. */
#include <assert.h>

#include "log.h"
#include "record.h"

typedef enum { BY_POSITION, BY_TIME, BY_ORDINAL } seek_key;

/* The header at `position` of a segment that is open, copied out before it is looked at. */
static ss_status header_at(ss_log *log, const ss_segment *segment, uint64_t position, uint64_t end,
                           ss_record_header *header)
{
    uint8_t bytes[FRAME_BODY];
    if (end - position < FRAME_BODY)
        return SS_CORRUPT;
    if (segment->facts.packed) {
        ss_status found = ss_log_packed_header(log, segment, position, header);
        return found == SS_OK && header->frame_size > end - position ? SS_CORRUPT : found;
    }
    ss_status status = ss_segment_copy(segment, position, bytes, sizeof bytes);
    if (status != SS_OK)
        return status;
    status = ss_record_read_header(bytes, position, &segment->salt, header);
    return status == SS_OK && header->frame_size > end - position ? SS_CORRUPT : status;
}

static uint64_t mark_value(const ss_segment_mark *mark, seek_key key)
{
    return key == BY_POSITION ? mark->position : key == BY_TIME ? mark->arrival_us : mark->ordinal;
}

/* Whether the frame is at or past what is sought. */
static int reached(const ss_segment *segment, const ss_record_header *header, seek_key key, uint64_t value)
{
    if (key == BY_POSITION)
        return header->position >= value;
    if (header->type != SS_FRAME_DATA)
        return 0;
    return key == BY_TIME ? header->arrival_us >= value : segment->facts.base_ordinal + header->ordinal >= value;
}

static uint64_t packed_value(const ss_packed_mark *mark, seek_key key)
{
    return key == BY_POSITION ? mark->position : key == BY_TIME ? mark->arrival_us : mark->ordinal;
}

/* The first frame in block i that is at or past what is sought; SS_NOT_FOUND: none is. */
static ss_status seek_in_block(ss_log *log, ss_segment *segment, size_t i, seek_key key, uint64_t value, uint64_t *out)
{
    ss_packed_block block;
    ss_status status = ss_log_packed_take(log, segment, i, &block);
    if (status != SS_OK)
        return status;
    ss_record_header header = {0};
    const uint8_t *frame;
    uint64_t at = block.position;
    while ((status = ss_packed_frame(&block, at, &header, &frame)) == SS_OK && !reached(segment, &header, key, value))
        at += header.frame_size;
    *out = header.position;
    ss_log_packed_leave(log, &block);
    return status;
}

/* As seek_in_segment: the marks of the blocks are the index. Damage is passed over, except where it stands at the very
 * position sought: reading there reports it. */
static ss_status seek_in_packed(ss_log *log, ss_segment *segment, uint64_t end, seek_key key, uint64_t value,
                                uint64_t *out)
{
    const ss_packed_index *index = segment->blocks;
    size_t low = 0, high = index->count;
    while (low < high) { /* blocks that begin below the value: the frame sought is in the last of them or behind */
        size_t middle = (low + high) / 2;
        if (packed_value(&index->marks[middle], key) < value)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low ? low - 1 : 0; i < index->count && index->marks[i].position < end; i++) {
        uint64_t found = 0;
        if (key == BY_POSITION && index->marks[i].position >= value)
            found = index->marks[i].position; /* whatever the block holds, it begins there */
        else {
            ss_status status = seek_in_block(log, segment, i, key, value, &found);
            if (status == SS_NOT_FOUND || (status == SS_CORRUPT && key != BY_POSITION))
                continue;
            if (status == SS_CORRUPT)
                found = value & ~UINT64_C(7); /* inside what is damaged: reading there reports it */
            else if (status != SS_OK)
                return status;
        }
        *out = found < end ? found : end;
        return SS_OK;
    }
    *out = end;
    return SS_OK;
}

static ss_status seek_in_segment(ss_log *log, ss_segment *segment, uint64_t end, seek_key key, uint64_t value,
                                 uint64_t *out)
{
    if (segment->facts.packed)
        return seek_in_packed(log, segment, end, key, value, out);
    pthread_mutex_lock(&log->index_mutex);
    /* A position needs the index only up to itself. */
    assert(key != BY_POSITION || value < end);
    uint64_t needed = key == BY_POSITION ? value : end;
    ss_status status = ss_log_index_extend(log, segment, needed, end);
    uint64_t at = segment->facts.base;
    size_t low = 0, high = segment->mark_count;
    while (low < high) { /* last mark that is below the value: the first frame sought is behind it */
        size_t middle = (low + high) / 2;
        if (mark_value(&segment->marks[middle], key) < value)
            low = middle + 1;
        else
            high = middle;
    }
    if (low)
        at = segment->marks[low - 1].position;
    pthread_mutex_unlock(&log->index_mutex);
    while (status == SS_OK && at < end) {
        ss_record_header header;
        status = header_at(log, segment, at, end, &header);
        if (status == SS_CORRUPT) {
            if (key == BY_POSITION && at >= value)
                status = SS_OK; /* the damage itself is where a frame should begin: reading there reports it */
            else {
                status = ss_log_index_resync(log, segment, at, end, &at);
                continue;
            }
            break;
        }
        if (status != SS_OK || reached(segment, &header, key, value))
            break;
        at += header.frame_size;
    }
    *out = at < end ? at : end;
    return status;
}

/* The last segment that begins below the value; the one sought is in it or is the next one's first. SS_TRIMMED where
 * another process trimmed while the walk went on. */
static ss_status pick_segment(ss_log *log, seek_key key, uint64_t value, ss_segment **out, uint64_t *end)
{
    ss_segment *picked = NULL;
    uint64_t next_base = 0;
    for (size_t i = 0;; i++) {
        ss_segment *segment;
        uint64_t segment_end;
        ss_status status = ss_log_table_at(log, i, &segment, &segment_end);
        if (ss_status_code(status) == SS_NOT_FOUND && picked && next_base != UINT64_MAX) {
            /* so did it if it is over before its end */
            ss_log_table_release(log, picked);
            picked = NULL;
            i = SIZE_MAX;
            continue;
        }
        if (ss_status_code(status) == SS_NOT_FOUND)
            break;
        if (status != SS_OK) {
            if (picked)
                ss_log_table_release(log, picked);
            return status;
        }
        /* the table moved under the walk (a trim, a cut): walk it again */
        if (picked && segment->facts.base != next_base) {
            ss_log_table_release(log, segment);
            ss_log_table_release(log, picked);
            picked = NULL;
            i = SIZE_MAX;
            continue;
        }
        next_base = segment_end;
        uint64_t begins = key == BY_TIME ? segment->facts.floor_arrival : segment->facts.base_ordinal;
        if (picked && begins >= value) {
            ss_log_table_release(log, segment);
            break;
        }
        if (picked)
            ss_log_table_release(log, picked);
        picked = segment;
    }
    if (!picked)
        return SS_NOT_FOUND;
    /* The log may begin in the middle of it, and then nothing below is asked for. */
    uint64_t base = picked->facts.base, start = atomic_load(&log->entry->start);
    ss_log_table_release(log, picked);
    return ss_log_table_find(log, base > start ? base : start, out, end); /* open now, and still there */
}

static ss_status seek_by(ss_log *log, seek_key key, uint64_t value, uint64_t *out)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        uint64_t visible = ss_log_visible(log), end, found = visible;
        ss_segment *segment;
        do /* ends: trimmed means that the start went forward since the walk began */
            status = pick_segment(log, key, value, &segment, &end);
        while (status == SS_TRIMMED);
        uint64_t start = atomic_load(&log->entry->start);
        if (status == SS_OK) {
            end = end < visible ? end : visible;
            status = seek_in_segment(log, segment, end, key, value, &found);
            ss_log_table_release(log, segment);
        } else if (ss_status_code(status) == SS_NOT_FOUND) {
            status = SS_OK;
        }
        if (status == SS_OK)
            *out = found > start ? found : start;
    }
    ss_store_leave(log->store);
    return status;
}

ss_status ss_log_seek_boundary(ss_log *log, uint64_t position, uint64_t visible, uint64_t *out)
{
    ss_segment *segment;
    uint64_t end;
    if (position >= visible) {
        *out = visible;
        return SS_OK;
    }
    ss_status status = ss_log_table_find(log, position, &segment, &end);
    if (status == SS_CORRUPT) {
        *out = position & ~UINT64_C(7); /* nothing stands here, and it was not trimmed: reading from here reports it */
        return SS_OK;
    }
    if (status != SS_OK)
        return status;
    end = end < visible ? end : visible;
    ss_record_header header;
    if (position % 8 == 0 && header_at(log, segment, position, end, &header) == SS_OK)
        *out = position; /* the common case: a number that was handed out */
    else
        status = seek_in_segment(log, segment, end, BY_POSITION, position, out);
    ss_log_table_release(log, segment);
    return status;
}

ss_status ss_log_seek(ss_log *log, uint64_t position, uint64_t *out)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        uint64_t start = atomic_load(&log->entry->start);
        status = ss_log_seek_boundary(log, position > start ? position : start, ss_log_visible(log), out);
    }
    ss_store_leave(log->store);
    return status;
}

ss_status ss_log_seek_time(ss_log *log, uint64_t arrival_us, uint64_t *out)
{
    return seek_by(log, BY_TIME, arrival_us, out);
}

ss_status ss_log_seek_ordinal(ss_log *log, uint64_t ordinal, uint64_t *out)
{
    return seek_by(log, BY_ORDINAL, ordinal, out);
}

ss_status ss_log_seek_records_before(ss_log *log, uint64_t position, uint64_t *count)
{
    uint64_t tail = atomic_load(&log->entry->tail), end;
    ss_segment *segment;
    if (position >= tail) {
        *count = atomic_load(&log->entry->record_count);
        return SS_OK;
    }
    ss_status status = ss_log_table_find(log, position, &segment, &end);
    if (status != SS_OK)
        return status;
    ss_record_header header;
    if (position == segment->facts.base) { /* trimming by segments needs no frame, and no key */
        *count = segment->facts.base_ordinal;
        ss_log_table_release(log, segment);
        return SS_OK;
    }
    status = header_at(log, segment, position, end < tail ? end : tail, &header);
    if (status == SS_OK)
        *count = segment->facts.base_ordinal + header.ordinal - 1;
    ss_log_table_release(log, segment);
    return status;
}

/* The first frame of [at, end) under an epoch above `epoch`, or `end`. */
static ss_status walk_to_epoch(ss_log *log, const ss_segment *segment, uint64_t at, uint64_t end, uint64_t epoch,
                               uint64_t *out)
{
    ss_record_header header;
    ss_status status = SS_OK;
    if (segment->facts.packed) { /* its index knows, and a block that nobody here can open need not be */
        const ss_packed_index *index = segment->blocks;
        size_t i = 0;
        while (i < index->run_count && index->runs[i].epoch <= epoch)
            i++;
        uint64_t found = i < index->run_count ? index->runs[i].position : end;
        *out = found > at ? found : at;
        return SS_OK;
    }
    while (at < end && (status = header_at(log, segment, at, end, &header)) == SS_OK && header.epoch <= epoch)
        at += header.frame_size;
    *out = at;
    return status == SS_CORRUPT ? SS_OK : status; /* reading there reports it */
}

ss_status ss_log_epoch_after(ss_log *log, uint64_t epoch, uint64_t *position)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    uint64_t found = atomic_load(&log->entry->tail);
    status = ss_log_ready(log);
    for (size_t i = 0; status == SS_OK; i++) {
        ss_segment *segment;
        uint64_t end, start = atomic_load(&log->entry->start);
        found = atomic_load(&log->entry->tail);
        if ((status = ss_log_table_at(log, i, &segment, &end)) != SS_OK)
            break;
        uint64_t base = segment->facts.base, copied_end = segment->facts.copied_end;
        int later = segment->facts.epoch > epoch;
        ss_log_table_release(log, segment);
        if (!later)
            continue;
        found = base > start ? base : start;
        /* What was copied into it keeps its epochs: the later ones begin somewhere in there, or behind. */
        if (copied_end > found && (status = ss_log_table_find(log, found, &segment, &end)) == SS_OK) {
            status = walk_to_epoch(log, segment, found, copied_end < end ? copied_end : end, epoch, &found);
            ss_log_table_release(log, segment);
        }
        if (status != SS_TRIMMED)
            break;
        status = SS_OK; /* trimmed meanwhile: look again */
        i = SIZE_MAX;
    }
    if (status == SS_OK || status == SS_CORRUPT || ss_status_code(status) == SS_NOT_FOUND) {
        *position = found; /* also where a segment is missing: reading there reports it */
        status = SS_OK;
    }
    ss_store_leave(log->store);
    return status;
}
