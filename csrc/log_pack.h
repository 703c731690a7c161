/* A packed segment in the making. Private to log_pack*.c. */
#ifndef STREAMSTORE_LOG_PACK_H
#define STREAMSTORE_LOG_PACK_H

#include "log.h"
#include "scan.h"

#define SS_LOG_PACK_SUFFIX ".new"

struct ss_pack {
    ss_log *log;
    ss_segment **sources; /* references, in order; open for reading */
    size_t source_count;
    uint64_t end;          /* of the last one */
    ss_scan scan;          /* of the source that was read last */
    uint64_t position;     /* everything before it was handed out */
    uint64_t put_position; /* everything before it was written */
    ss_segment *target;    /* what the new header says so far, and its salt */
    int directory;
    int fd;
    int aside; /* name_aside stands */
    char name[32];
    char name_aside[40];
    uint64_t offset; /* in the file, of the next block */
    ss_packed_mark *marks;
    uint64_t *hashes; /* of the frames of each block, as they shall be read back */
    size_t mark_count;
    size_t mark_capacity;
    ss_packed_run *runs;
    size_t run_count;
    size_t run_capacity;
    uint8_t *raw; /* of one block, and what it is compressed to */
    uint8_t *squeezed;
    size_t raw_capacity;
    uint8_t *bytes; /* of one block or frame */
    size_t bytes_capacity;
    ss_packed_index *index; /* as it was read back; NULL = not yet synced */
    size_t verified;        /* blocks that were read back */
    ss_packed_block block;
};

/* The frame at `position` of the sources, and its ordinal in the new segment. SS_CORRUPT: none stands there. */
ss_status ss_log_pack_source(ss_pack *pack, uint64_t position, ss_record_header *header, const uint8_t **frame,
                             uint32_t *ordinal);

#endif
