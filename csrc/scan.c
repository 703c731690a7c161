/* Frame by frame through one file. */
#include "scan.h"

#include <assert.h>
#include <stdlib.h>

#include "file.h"

enum { SCAN_WINDOW = 1 << 20 };

/* The file of a segment: its own description where that is at hand, because its name may stand for another by now. */
static ss_status open_file(ss_scan *scan, int root, const char *name)
{
    uint8_t salt[8];
    size_t got = 0;
    scan->fd = scan->segment->fd;
    if (scan->fd >= 0)
        return SS_OK;
    ss_status status = ss_file_open(root, name, SS_FILE_READ, &scan->fd);
    if (status != SS_OK)
        return status;
    scan->fd_owned = 1;
    status = ss_file_read(scan->fd, salt, sizeof salt, SEGMENT_SALT, &got);
    if (status == SS_OK && got == sizeof salt && format_load64(salt) != scan->segment->facts.salt)
        return SS_NOT_FOUND;
    return status;
}

ss_status ss_scan_open(ss_scan *scan, const ss_segment *segment, int root, const char *name)
{
    *scan = (ss_scan){.segment = segment, .fd = -1, .capacity = SCAN_WINDOW};
    ss_status status = open_file(scan, root, name);
    if (status == SS_OK)
        status = ss_file_size(scan->fd, &scan->file_size, NULL);
    if (status == SS_OK && !(scan->buffer = malloc(SCAN_WINDOW)))
        status = SS_NO_MEMORY;
    scan->blocks = segment->blocks;
    if (status == SS_OK && segment->facts.packed && !scan->blocks)
        status = ss_packed_index_load(segment, scan->fd, &scan->blocks);
    if (status != SS_OK)
        ss_scan_close(scan);
    return status;
}

void ss_scan_close(ss_scan *scan)
{
    if (scan->fd_owned)
        ss_file_close(scan->fd);
    free(scan->buffer);
    if (scan->segment && scan->blocks != scan->segment->blocks)
        ss_packed_index_free(scan->blocks);
    ss_packed_release(&scan->block);
    *scan = (ss_scan){.fd = -1};
}

uint64_t ss_scan_file_end(const ss_scan *scan)
{
    if (scan->blocks)
        return scan->segment->facts.packed_end;
    uint64_t bytes = scan->file_size > SS_SEGMENT_HEADER_SIZE ? scan->file_size - SS_SEGMENT_HEADER_SIZE : 0;
    return scan->segment->facts.base + (bytes & ~UINT64_C(7));
}

uint64_t ss_scan_offset(const ss_scan *scan, uint64_t position)
{
    if (scan->blocks)
        return scan->blocks->marks[ss_packed_index_find(scan->blocks, position)].offset;
    return ss_segment_offset(scan->segment, position);
}

uint64_t ss_scan_block_end(const ss_scan *scan, uint64_t position)
{
    return scan->blocks->marks[ss_packed_index_find(scan->blocks, position) + 1].position;
}

/* The first frame at or after `position` in the block that holds `position`; *next is where the block after it begins.
 * SS_NOT_FOUND where none begins there any more. */
static ss_status packed_frame(ss_scan *scan, uint64_t position, ss_record_header *header, const uint8_t **frame,
                              uint64_t *next)
{
    size_t i = ss_packed_index_find(scan->blocks, position);
    *next = scan->blocks->marks[i + 1].position;
    if (scan->block.position == scan->block.end || position < scan->block.position || position >= scan->block.end) {
        ss_status status = ss_packed_load(scan->segment, scan->fd, scan->blocks, i, &scan->block);
        if (status != SS_OK)
            return status;
    }
    return ss_packed_frame(&scan->block, position, header, frame);
}

/* As ss_scan_resync: frames behind damage begin with a block, those behind a position with the next frame. */
static ss_status packed_resync(ss_scan *scan, uint64_t from, uint64_t limit, uint64_t *position)
{
    uint64_t at = (from | 7) + 1, next;
    limit = limit < scan->segment->facts.packed_end ? limit : scan->segment->facts.packed_end;
    while (at < limit) {
        ss_record_header header;
        const uint8_t *frame;
        ss_status status = packed_frame(scan, at, &header, &frame, &next);
        if (status == SS_OK) {
            *position = header.position;
            return header.position < limit ? SS_OK : SS_NOT_FOUND;
        }
        if (status != SS_CORRUPT && status != SS_NOT_FOUND)
            return status;
        at = next;
    }
    return SS_NOT_FOUND;
}

/* Make `size` bytes at file offset `offset` available; fewer where the file ends. */
static ss_status window_at(ss_scan *scan, uint64_t offset, size_t size, const uint8_t **bytes, size_t *available)
{
    if (offset >= scan->window && offset + size <= scan->window + scan->window_size) {
        *bytes = scan->buffer + (offset - scan->window);
        *available = (size_t)(scan->window + scan->window_size - offset);
        return SS_OK;
    }
    if (size > scan->capacity) {
        uint8_t *larger = realloc(scan->buffer, size);
        if (!larger)
            return SS_NO_MEMORY;
        scan->buffer = larger;
        scan->capacity = size;
    }
    size_t got = 0;
    scan->window_size = 0;
    ss_status status = ss_file_read(scan->fd, scan->buffer, scan->capacity, offset, &got);
    if (status != SS_OK)
        return status;
    scan->window = offset;
    scan->window_size = got;
    *bytes = scan->buffer;
    *available = got;
    return SS_OK;
}

ss_status ss_scan_frame(ss_scan *scan, uint64_t position, ss_record_header *header, const uint8_t **frame)
{
    uint64_t offset = ss_segment_offset(scan->segment, position);
    const uint8_t *bytes;
    size_t available;
    if (scan->blocks) {
        uint64_t next;
        if (position < scan->segment->facts.base || position >= scan->segment->facts.packed_end)
            return SS_CORRUPT;
        ss_status found = packed_frame(scan, position, header, frame, &next);
        return found == SS_NOT_FOUND || (found == SS_OK && header->position != position) ? SS_CORRUPT : found;
    }
    if (position < scan->segment->facts.base || offset + FRAME_BODY > scan->file_size)
        return SS_CORRUPT;
    ss_status status = window_at(scan, offset, FRAME_BODY, &bytes, &available);
    if (status != SS_OK)
        return status;
    if (available < FRAME_BODY || ss_record_read_header(bytes, position, &scan->segment->salt, header) != SS_OK)
        return SS_CORRUPT;
    if (header->frame_size > scan->file_size - offset)
        return SS_CORRUPT; /* bounded by the file before memory is asked for it */
    if ((status = window_at(scan, offset, header->frame_size, &bytes, &available)) != SS_OK)
        return status;
    if (available < header->frame_size || ss_record_check_body(bytes, header, &scan->segment->salt) != SS_OK)
        return SS_CORRUPT;
    *frame = bytes;
    return SS_OK;
}

ss_status ss_scan_resync(ss_scan *scan, uint64_t from, uint64_t limit, uint64_t *position)
{
    if (scan->blocks)
        return packed_resync(scan, from, limit, position);
    for (uint64_t at = (from | 7) + 1; at < limit;) {
        uint64_t offset = ss_segment_offset(scan->segment, at);
        const uint8_t *bytes;
        size_t available;
        if (offset + FRAME_BODY > scan->file_size)
            return SS_NOT_FOUND;
        ss_status status = window_at(scan, offset, FRAME_BODY, &bytes, &available);
        if (status != SS_OK)
            return status;
        if (available < FRAME_BODY)
            return SS_NOT_FOUND;
        /* Words that could be a frame's position word: only there is a header worth hashing. */
        size_t step = 0;
        while (step + FRAME_BODY <= available && at + step < limit &&
               format_load64(bytes + step + FRAME_POSITION) != at + step)
            step += 8;
        at += step;
        if (step + FRAME_BODY > available || at >= limit) {
            assert(step > 0); /* a header's worth was there, below the limit */
            continue;
        }
        ss_record_header header;
        const uint8_t *frame;
        status = ss_scan_frame(scan, at, &header, &frame);
        if (status == SS_OK) {
            *position = at;
            return SS_OK;
        }
        if (status != SS_CORRUPT)
            return status;
        at += 8;
    }
    return SS_NOT_FOUND;
}

static size_t zero_prefix(const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (at + 8 <= size && format_load64(bytes + at) == 0)
        at += 8;
    while (at < size && bytes[at] == 0)
        at++;
    return at;
}

ss_status ss_scan_zero(ss_scan *scan, uint64_t from, uint64_t to, int *zero)
{
    uint64_t offset = ss_segment_offset(scan->segment, from), end = ss_segment_offset(scan->segment, to);
    if (scan->blocks) {
        *zero = from >= scan->segment->facts.packed_end;
        return SS_OK;
    }
    if (end > scan->file_size)
        end = scan->file_size;
    while (offset < end) {
        uint64_t data = ss_file_next_data(scan->fd, offset, end);
        if (data >= end)
            break;
        size_t size = end - data < SCAN_WINDOW ? (size_t)(end - data) : (size_t)SCAN_WINDOW, available;
        const uint8_t *bytes;
        ss_status status = window_at(scan, data, size, &bytes, &available);
        if (status != SS_OK)
            return status;
        size_t take = size < available ? size : available;
        if (zero_prefix(bytes, take) < take) {
            *zero = 0;
            return SS_OK;
        }
        if (take < size)
            break;
        offset = data + take;
    }
    *zero = 1;
    return SS_OK;
}

/* Whether the index of the segment, sealed with its end there, begins with these bytes: the segment behind it is gone,
 * and no frame of this one was ever begun there. */
static int is_index(const ss_segment *segment, const uint8_t *bytes, uint64_t end)
{
    return format_load64(bytes) == INDEX_MAGIC_VALUE &&
           format_load64(bytes + INDEX_ORDINAL) == segment->facts.ordinal && format_load64(bytes + INDEX_END) == end;
}

ss_status ss_scan_tear_possible(ss_scan *scan, uint64_t position, int *possible, uint64_t *size)
{
    uint64_t offset = ss_segment_offset(scan->segment, position);
    const uint8_t *bytes;
    size_t available, unit = FRAME_BODY;
    ss_record_header header;
    if (scan->blocks) { /* complete and synced before it was named so */
        *possible = 0;
        *size = FRAME_BODY;
        return SS_OK;
    }
    if (offset + FRAME_BODY > scan->file_size) {
        *possible = 1; /* the file ends in it: space that was never made durable */
        *size = FRAME_BODY;
        return SS_OK;
    }
    ss_status status = window_at(scan, offset, FRAME_BODY, &bytes, &available);
    if (status != SS_OK)
        return status;
    if (available >= FRAME_BODY && ss_record_read_header(bytes, position, &scan->segment->salt, &header) == SS_OK) {
        if (header.frame_size > scan->file_size - offset) {
            *possible = 1;
            *size = header.frame_size;
            return SS_OK;
        }
        unit = header.frame_size;
        if ((status = window_at(scan, offset, unit, &bytes, &available)) != SS_OK)
            return status;
    }
    *possible = available < unit || is_index(scan->segment, bytes, position);
    *size = unit;
    for (size_t at = 0; at + 8 <= unit && at + 8 <= available; at += 8)
        *possible |= format_load64(bytes + at) == 0;
    return SS_OK;
}
