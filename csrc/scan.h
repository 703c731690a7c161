/* Walking the frames of one segment file by pread, with every check, also past damage: recovery, verify and copying.
 * Of a packed segment the frames come out of its blocks: one holds if its block does. */
#ifndef STREAMSTORE_SCAN_H
#define STREAMSTORE_SCAN_H

#include "packed.h"
#include "record.h"
#include "segment.h"

typedef struct {
    const ss_segment *segment; /* its facts and salt */
    int fd;
    int fd_owned;
    uint64_t file_size;
    uint8_t *buffer;
    size_t capacity;
    uint64_t window;         /* file offset of buffer[0] */
    size_t window_size;      /* valid bytes */
    ss_packed_index *blocks; /* of a packed segment, and the block that was read last */
    ss_packed_block block;
} ss_scan;

/* Reads through the segment's descriptor, if it has one, else opens `name`: SS_NOT_FOUND where another file stands
 * there by now. */
ss_status ss_scan_open(ss_scan *scan, const ss_segment *segment, int root, const char *name);
void ss_scan_close(ss_scan *scan);
/* The frame at `position`: SS_OK; SS_CORRUPT: none stands there (zeros, a tear or damage). *frame stays valid until
 * the next call. */
ss_status ss_scan_frame(ss_scan *scan, uint64_t position, ss_record_header *header, const uint8_t **frame);
/* Next position in (from, limit) where a whole valid frame stands; SS_NOT_FOUND if none. */
ss_status ss_scan_resync(ss_scan *scan, uint64_t from, uint64_t limit, uint64_t *position);
/* Whether [from, to) as positions holds only zeros; an unallocated rest counts as zeros. */
ss_status ss_scan_zero(ss_scan *scan, uint64_t from, uint64_t to, int *zero);
/* Whether the unit at `position` (the frame its header declares if that header holds, else the header) has an
 * aligned all-zero word, or is where the segment's index begins: then it can be a tear; *size is the unit's size. */
ss_status ss_scan_tear_possible(ss_scan *scan, uint64_t position, int *possible, uint64_t *size);
/* The file offset of what stands at `position`: of a packed segment, of its block. */
uint64_t ss_scan_offset(const ss_scan *scan, uint64_t position);
/* Where the block ends that holds `position`, of a packed segment: for who cannot open it. */
uint64_t ss_scan_block_end(const ss_scan *scan, uint64_t position);
/* Position just past the file's last byte; of a packed segment, past its last frame. */
uint64_t ss_scan_file_end(const ss_scan *scan);

#endif
