/* Frame by frame through one file. */
#include "scan.h"

#include <stdlib.h>

#include "file.h"

enum { SCAN_WINDOW = 1 << 20 };

ss_status ss_scan_open(ss_scan *scan, const ss_segment *segment, int root, const char *name)
{
    int fd;
    ss_status status = ss_file_open(root, name, SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    uint64_t size;
    if ((status = ss_file_size(fd, &size, NULL)) != SS_OK) {
        ss_file_close(fd);
        return status;
    }
    uint8_t *buffer = malloc(SCAN_WINDOW);
    if (!buffer) {
        ss_file_close(fd);
        return SS_NO_MEMORY;
    }
    *scan = (ss_scan){.segment = segment, .fd = fd, .file_size = size, .buffer = buffer, .capacity = SCAN_WINDOW};
    return SS_OK;
}

void ss_scan_close(ss_scan *scan)
{
    ss_file_close(scan->fd);
    free(scan->buffer);
    *scan = (ss_scan){.fd = -1};
}

uint64_t ss_scan_file_end(const ss_scan *scan)
{
    uint64_t bytes = scan->file_size > SS_SEGMENT_HEADER_SIZE ? scan->file_size - SS_SEGMENT_HEADER_SIZE : 0;
    return scan->segment->facts.base + (bytes & ~UINT64_C(7));
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
            if (step == 0)
                return SS_NOT_FOUND;
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
    if (end > scan->file_size)
        end = scan->file_size;
    while (offset < end) {
        uint64_t data;
        ss_status status = ss_file_next_data(scan->fd, offset, end, &data);
        if (status != SS_OK)
            return status;
        if (data >= end)
            break;
        size_t size = end - data < SCAN_WINDOW ? (size_t)(end - data) : (size_t)SCAN_WINDOW, available;
        const uint8_t *bytes;
        if ((status = window_at(scan, data, size, &bytes, &available)) != SS_OK)
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

ss_status ss_scan_tear_possible(ss_scan *scan, uint64_t position, int *possible, uint64_t *size)
{
    uint64_t offset = ss_segment_offset(scan->segment, position);
    const uint8_t *bytes;
    size_t available, unit = FRAME_BODY;
    ss_record_header header;
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
    *possible = available < unit;
    *size = unit;
    for (size_t at = 0; at + 8 <= unit && at + 8 <= available; at += 8)
        *possible |= format_load64(bytes + at) == 0;
    return SS_OK;
}
