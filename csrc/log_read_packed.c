/* Reading out of packed segments. A long read expands each block right into the caller's buffer; a short one, or one
 * that begins or ends inside a block, copies from a block that is kept for the next. */
#include "log_reading.h"

/* A read of fewer records than this copies no more than they may need. */
#define LIMIT_SMALL 128
#define WINDOW_MIN ((uint64_t)4 << 10)

/* Describe the frames that stand whole in `available` bytes at the end of what is used; *position moves past them.
 * SS_CORRUPT at the first that does not follow from the one before. */
static ss_status take_frames(ss_log_reading *r, const ss_segment *segment, uint64_t available, uint64_t *position)
{
    ss_read_result *result = r->result;
    ss_status status = SS_OK;
    uint64_t taken = 0;
    const uint8_t *base = r->buffer + result->used;
    while (taken + FRAME_BODY <= available && result->count < r->limit) {
        ss_record_header header;
        if ((status = ss_record_read_packed(base + taken, *position, &header)) != SS_OK)
            break;
        if (header.frame_size > available - taken) {
            result->size_needed = header.frame_size;
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
    result->used += (size_t)taken;
    return status;
}

/* Copy from `position` on out of block i, as much as is asked for and there is room; to the end of the block or to
 * `end`. */
static ss_status copy_out(ss_log_reading *r, const ss_segment *segment, size_t i, uint64_t position, uint64_t window,
                          uint64_t end, uint64_t *copied)
{
    ss_packed_block block;
    ss_record_header header;
    const uint8_t *frame;
    ss_status status = ss_log_packed_take(r->log, segment, i, &block);
    if (status != SS_OK)
        return status;
    status = ss_packed_frame(&block, position, &header, &frame);
    if (status == SS_OK && header.position != position)
        status = SS_CORRUPT;
    if (status == SS_OK) {
        uint64_t room = r->buffer_size - r->result->used, limit = end < block.end ? end : block.end;
        uint64_t size = limit - position < room ? limit - position : room & ~UINT64_C(7);
        *copied = size < window ? size : window;
        memcpy(r->buffer + r->result->used, frame, (size_t)*copied);
    }
    ss_log_packed_leave(r->log, &block);
    return status == SS_NOT_FOUND ? SS_CORRUPT : status;
}

/* One step from *position on, which moves. */
static ss_status read_some(ss_log_reading *r, ss_segment *segment, uint64_t end, uint64_t *position)
{
    ss_read_result *result = r->result;
    size_t i = ss_packed_index_find(segment->blocks, *position), wanted = r->limit - result->count;
    const ss_packed_mark *mark = &segment->blocks->marks[i];
    uint64_t size = mark[1].position - mark->position, before = *position, taken = 0;
    uint64_t window = wanted < LIMIT_SMALL ? WINDOW_MIN + wanted * 256 : UINT64_MAX;
    result->size_needed = 0;
    if (*position == mark->position && mark[1].position <= end && window == UINT64_MAX &&
        size <= r->buffer_size - result->used) {
        ss_status status = ss_packed_expand(segment, segment->fd, segment->blocks, i, r->buffer + result->used);
        if (status == SS_OK)
            status = take_frames(r, segment, size, position);
        return status == SS_OK && *position == before ? SS_CORRUPT : status; /* a frame that runs past its block */
    }
    for (;;) {
        ss_status status = copy_out(r, segment, i, *position, window, end, &taken);
        if (status == SS_OK)
            status = take_frames(r, segment, taken, position);
        if (status != SS_OK || *position > before)
            return status;
        uint64_t left = mark[1].position < end ? mark[1].position - before : end - before;
        uint64_t needed = result->size_needed ? result->size_needed : FRAME_BODY;
        if (needed > left)
            return SS_CORRUPT; /* a frame that runs past its block, or past the published end */
        result->size_needed = needed;
        if (needed > r->buffer_size - result->used)
            return SS_SMALL;
        window = needed;
    }
}

ss_status ss_log_read_packed(ss_log_reading *r, ss_segment *segment, uint64_t end, uint64_t *position)
{
    /* What lies between the last frame here and the next segment is missing. */
    uint64_t limit = end < segment->facts.packed_end ? end : segment->facts.packed_end;
    while (*position < limit && r->result->count < r->limit) {
        if (r->result->count == 0)
            r->result->used = 0; /* frames that are no records take no room: a buffer of size_needed must do */
        ss_status status = read_some(r, segment, limit, position);
        if (status != SS_OK)
            return status;
    }
    return *position >= limit && *position < end ? SS_CORRUPT : SS_OK;
}

ss_status ss_log_read_packed_get(ss_log *log, ss_segment *segment, uint64_t position, uint64_t end, uint64_t epoch,
                                 uint8_t *buffer, size_t buffer_size, ss_record *record, ss_read_result *result)
{
    ss_packed_block block;
    ss_record_header header;
    const uint8_t *frame;
    size_t i = ss_packed_index_find(segment->blocks, position);
    ss_status status = position < segment->facts.packed_end ? ss_log_packed_take(log, segment, i, &block) : SS_CORRUPT;
    if (status == SS_CORRUPT) { /* what is damaged is all or nothing: the block, or what is missing behind the last */
        result->damage_begin = position;
        result->damage_end = position + FRAME_BODY;
    }
    if (status != SS_OK)
        return status;
    status = ss_packed_frame(&block, position, &header, &frame);
    if (status == SS_CORRUPT) {
        result->damage_begin = position;
        result->damage_end = position + FRAME_BODY;
    } else if (status == SS_OK && header.position != position) {
        status = SS_NOT_FOUND; /* a place between frames */
    } else if (status == SS_OK && header.frame_size > end - position) {
        status = SS_CORRUPT;
    } else if (status == SS_OK && header.frame_size > buffer_size) {
        result->size_needed = header.frame_size;
        status = SS_SMALL;
    } else if (status == SS_OK && (header.type != SS_FRAME_DATA || (epoch && header.epoch != epoch))) {
        status = SS_NOT_FOUND;
    } else if (status == SS_OK && (status = ss_record_check_known(&header)) == SS_OK) {
        memcpy(buffer, frame, header.frame_size);
        ss_record_describe(&header, buffer, 0, segment->facts.base_ordinal, record);
        result->count = 1;
        result->sealed = (header.flags & FRAME_FLAG_SEALED) != 0;
        result->used = header.frame_size;
        result->next_position = position + header.frame_size;
    }
    ss_log_packed_leave(log, &block);
    return status;
}
