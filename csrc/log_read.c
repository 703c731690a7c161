/* Reading: copy a window out of a segment, verify it there, describe the records. Nothing that another process may
 * change under us is believed: every length is checked in the private copy. */
#include <assert.h>

#include "log_reading.h"
#include "scan.h"

/* What is copied at once: enough to be worth a system call, and little enough to be still in the cache when it is
 * checked. */
#define WINDOW_MIN ((size_t)4 << 10)
#define WINDOW_MAX ((size_t)64 << 10)
#define WINDOW_FRAMES 8 /* of large frames, so that few bytes of cut ones are copied twice */

/* What a get reads at first where it must call the system. */
#define GET_READ_SIZE ((size_t)2 << 10)

/* The damaged range that begins at `position`: up to the next frame that holds, in this segment or at the next one's
 * base. */
static ss_status report_damage(ss_log_reading *r, ss_segment *segment, uint64_t position, uint64_t segment_end)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_scan scan;
    uint64_t limit = segment_end < r->result->visible ? segment_end : r->result->visible, next = limit;
    ss_segment_name(r->log->directory, segment->facts.ordinal, name);
    if (ss_scan_open(&scan, segment, r->log->store->root, name) == SS_OK) {
        uint64_t found;
        if (ss_scan_resync(&scan, position, limit, &found) == SS_OK)
            next = found;
        ss_scan_close(&scan);
    }
    r->result->damage_begin = position;
    r->result->damage_end = next;
    r->result->next_position = next;
    return SS_CORRUPT;
}

/* Describe the frames that stand whole in the window; *position moves past them. SS_CORRUPT at the first that does not
 * hold. */
static ss_status take_window(ss_log_reading *r, const ss_segment *segment, uint64_t available, uint64_t *position)
{
    ss_read_result *result = r->result;
    ss_status status = SS_OK;
    uint64_t taken = 0;
    const uint8_t *base = r->buffer + result->used;
    while (taken + FRAME_BODY <= available && result->count < r->limit) {
        ss_record_header header;
        if (ss_record_read_header(base + taken, *position, &segment->salt, &header) != SS_OK) {
            status = SS_CORRUPT;
            break;
        }
        if (header.frame_size > available - taken) {
            result->size_needed = header.frame_size;
            break;
        }
        if (ss_record_check_body(base + taken, &header, &segment->salt) != SS_OK) {
            status = SS_CORRUPT;
            break;
        }
        if ((status = ss_record_check_known(&header)) != SS_OK)
            break; /* written by a later version: neither skipped nor guessed at */
        if (header.type == SS_FRAME_DATA)
            ss_log_reading_put(r, &header, result->used + taken, segment->facts.base_ordinal);
        else if (header.type == SS_FRAME_CLOSE)
            result->end_of_log = 1;
        taken += header.frame_size;
        *position += header.frame_size;
    }
    result->used += (size_t)taken; /* also before damage: what was delivered lies there */
    return status;
}

static ss_status read_segment(ss_log_reading *r, ss_segment *segment, uint64_t end, uint64_t *position)
{
    ss_read_result *result = r->result;
    if (segment->facts.packed)
        return ss_log_read_packed(r, segment, end, position);
    size_t wanted = r->limit - result->count, window = wanted < 128 ? WINDOW_MIN + wanted * 256 : WINDOW_MAX;
    while (*position < end && result->count < r->limit) {
        if (result->count == 0)
            result->used = 0; /* frames that are no records take no room: a buffer of size_needed must do */
        size_t room = r->buffer_size - result->used;
        uint64_t left = end - *position, before = *position;
        size_t take = window < room ? window : room;
        take = left < take ? (size_t)left : take & ~(size_t)7;
        result->size_needed = 0;
        if (left < FRAME_BODY)
            return SS_CORRUPT; /* too little for any frame: no room that a caller has would help */
        if (take < FRAME_BODY) {
            result->size_needed = FRAME_BODY;
            return SS_SMALL;
        }
        ss_status status = ss_segment_copy(segment, *position, r->buffer + result->used, take);
        if (status != SS_OK)
            return status;
        if ((status = take_window(r, segment, take, position)) != SS_OK)
            return status;
        if (*position == before) {
            if (result->size_needed > left)
                return SS_CORRUPT;              /* a frame that runs past the published end was never published so */
            assert(result->size_needed > take); /* else a frame was taken, or told as damage */
            if (result->size_needed > room)
                return SS_SMALL;
            window = (size_t)result->size_needed;
        } else if (result->size_needed > window / WINDOW_FRAMES) {
            size_t frames = r->limit - result->count;
            window = (size_t)result->size_needed * (frames < WINDOW_FRAMES ? frames : WINDOW_FRAMES);
        }
    }
    return SS_OK;
}

/* No segment holds `position`, though it was never trimmed: the damage goes to where the next one begins. */
static ss_status report_missing(ss_log_reading *r, uint64_t position)
{
    r->result->damage_begin = position;
    r->result->damage_end = r->result->next_position = ss_log_table_next_base(r->log, position, r->result->visible);
    return SS_CORRUPT;
}

static ss_status read_from(ss_log_reading *r, uint64_t position)
{
    ss_read_result *result = r->result;
    while (position < r->stop && result->count < r->limit) {
        ss_segment *segment;
        uint64_t segment_end;
        ss_status status = ss_log_table_find(r->log, position, &segment, &segment_end);
        if (status == SS_CORRUPT)
            return report_missing(r, position);
        if (status != SS_OK)
            return result->count ? SS_OK : status;
        uint64_t end = segment_end < result->visible ? segment_end : result->visible;
        end = end < r->stop ? end : r->stop;
        status = read_segment(r, segment, end, &position);
        result->next_position = position;
        if (status == SS_CORRUPT)
            status = report_damage(r, segment, position, segment_end);
        ss_log_table_release(r->log, segment);
        /* Damage is told at once, with its range; what else ends the read is met again by the next one. */
        if (status != SS_OK)
            return result->count && status != SS_CORRUPT ? SS_OK : status;
    }
    return SS_OK;
}

static ss_status check_start(ss_log *log, uint64_t position)
{
    if (position < atomic_load(&log->entry->start))
        return SS_TRIMMED;
    return position % 8 || position > atomic_load(&log->entry->tail) ? SS_INVALID : SS_OK;
}

static ss_status read_range(ss_log_reading *r, uint64_t position, uint64_t end)
{
    ss_log *log = r->log;
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if (r->limit == 0 || r->buffer_size < FRAME_BODY || r->buffer_size > (r->columns ? INT32_MAX : UINT32_MAX))
        status = SS_INVALID;
    else if ((status = ss_log_ready(log)) == SS_OK && (status = check_start(log, position)) == SS_OK) {
        uint64_t visible = ss_log_visible(log);
        *r->result = (ss_read_result){.next_position = position, .visible = visible};
        r->stop = end && end < visible ? end : visible;
        status = read_from(r, position);
        if (position < atomic_load(&log->entry->start))
            status = SS_TRIMMED; /* trimmed while we copied: what was read may be half gone */
    }
    ss_store_leave(log->store);
    return status;
}

ss_status ss_log_read(ss_log *log, uint64_t position, uint64_t end, uint8_t *buffer, size_t buffer_size,
                      ss_record *records, size_t limit, ss_read_result *result)
{
    ss_log_reading r = {
        .log = log, .buffer = buffer, .buffer_size = buffer_size, .records = records, .limit = limit, .result = result};
    return read_range(&r, position, end);
}

ss_status ss_log_read_columns(ss_log *log, uint64_t position, uint64_t end, uint8_t *buffer, size_t buffer_size,
                              ss_columns *columns, size_t limit, ss_read_result *result)
{
    ss_log_reading r = {
        .log = log, .buffer = buffer, .buffer_size = buffer_size, .columns = columns, .limit = limit, .result = result};
    columns->key_count = columns->attributes_count = 0;
    return read_range(&r, position, end);
}

ss_status ss_log_get(ss_log *log, uint64_t position, uint64_t epoch, uint8_t *buffer, size_t buffer_size,
                     ss_record *record, ss_read_result *result)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    ss_segment *segment = NULL;
    uint64_t end;
    if ((status = ss_log_ready(log)) != SS_OK)
        goto leave;
    uint64_t visible = ss_log_visible(log);
    if (position < atomic_load(&log->entry->start)) {
        status = SS_TRIMMED;
        goto leave;
    }
    if (position % 8 || position >= visible || buffer_size < FRAME_BODY) {
        status = SS_NOT_FOUND;
        goto leave;
    }
    if ((status = ss_log_table_find(log, position, &segment, &end)) != SS_OK)
        goto leave;
    end = end < visible ? end : visible;
    *result = (ss_read_result){.next_position = position, .visible = visible};
    if (segment->facts.packed) {
        status = ss_log_read_packed_get(log, segment, position, end, epoch, buffer, buffer_size, record, result);
        goto release;
    }
    size_t room = end - position < buffer_size ? (size_t)(end - position) : buffer_size;
    ss_record_header header;
    if (room < FRAME_BODY) {
        status = SS_NOT_FOUND;
        goto release;
    }
    /* From a map no more than the frame is copied; a second system call would cost more than the bytes. */
    size_t taken = segment->map ? FRAME_BODY : room < GET_READ_SIZE ? room : GET_READ_SIZE;
    if ((status = ss_segment_copy(segment, position, buffer, taken)) != SS_OK)
        goto release;
    if (ss_record_read_header(buffer, position, &segment->salt, &header) != SS_OK) {
        /* No frame header: a position between frames is an absent record; where a frame should begin it is damage. */
        uint64_t boundary;
        status = ss_log_seek_boundary(log, position, visible, &boundary);
        if (status == SS_OK)
            status = boundary == position ? SS_CORRUPT : SS_NOT_FOUND;
        result->damage_begin = position;
        result->damage_end = position + FRAME_BODY;
    } else if (header.frame_size > end - position) {
        status = SS_CORRUPT;
    } else if (header.frame_size > room) {
        result->size_needed = header.frame_size;
        status = SS_SMALL;
    } else if (header.type != SS_FRAME_DATA || (epoch && header.epoch != epoch)) {
        status = SS_NOT_FOUND;
    } else if (header.frame_size > taken && (status = ss_segment_copy(segment, position + taken, buffer + taken,
                                                                      header.frame_size - taken)) != SS_OK) {
        goto release;
    } else if (ss_record_check_body(buffer, &header, &segment->salt) != SS_OK) {
        result->damage_begin = position;
        result->damage_end = position + header.frame_size;
        status = SS_CORRUPT;
    } else if ((status = ss_record_check_known(&header)) == SS_OK) {
        ss_record_describe(&header, buffer, 0, segment->facts.base_ordinal, record);
        result->count = 1;
        result->sealed = (header.flags & FRAME_FLAG_SEALED) != 0;
        result->used = header.frame_size;
        result->next_position = position + header.frame_size;
    }
release:
    ss_log_table_release(log, segment);
leave:
    ss_store_leave(log->store);
    return status;
}
