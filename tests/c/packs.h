/* Compacting a log of logs.h, with blocks stored as they are: what is compressed is compressed by Python. The user
 * defines _GNU_SOURCE. */
#ifndef STREAMSTORE_PACKS_H
#define STREAMSTORE_PACKS_H

#include "logs.h"

enum { PACK_BUFFER = 512 << 10, PACK_BLOCKS = 8 };

/* How many blocks are compressed by the core before the rest go through by hand. */
static size_t pack_squeezed;

/* A block without compression. */
static inline ss_pack_stored store_plain(const uint8_t *buffer, const ss_pack_block *block)
{
    return (ss_pack_stored){.raw = buffer + block->offset,
                            .stored = buffer + block->offset,
                            .raw_size = block->size,
                            .stored_size = block->size};
}

/* All blocks through, and verified; the first status that is none of SS_OK. */
static inline ss_status pack_blocks(ss_pack *pack)
{
    static uint8_t buffer[PACK_BUFFER];
    ss_pack_block blocks[PACK_BLOCKS];
    size_t count = 1, left = 1;
    ss_status status = pack_squeezed ? ss_log_pack_some(pack, pack_squeezed, &count) : SS_OK;
    CHECK(status != SS_OK || count <= (pack_squeezed ? pack_squeezed : 1));
    count = 1;
    while (status == SS_OK && count) {
        status = ss_log_pack_next(pack, buffer, sizeof buffer, blocks, PACK_BLOCKS, &count);
        for (size_t i = 0; status == SS_OK && i < count; i++) {
            ss_pack_stored stored = store_plain(buffer, &blocks[i]);
            status = ss_log_pack_put(pack, &stored);
        }
    }
    while (status == SS_OK && left)
        status = ss_log_pack_finish(pack, 2, &left);
    return status;
}

static inline ss_status pack_segments(ss_log *log, uint64_t first, uint64_t last)
{
    ss_pack *pack;
    ss_status status = ss_log_pack_begin(log, first, last, &pack);
    if (status != SS_OK)
        return status;
    status = pack_blocks(pack);
    if (status == SS_OK)
        status = ss_log_pack_commit(pack);
    ss_log_pack_free(pack);
    return status;
}

/* Records [first, first + count) into segments of about `each` records; the last one is the active one. */
static inline void fill(ss_log *log, uint64_t first, uint64_t count, uint64_t each)
{
    for (uint64_t n = first; n < first + count; n++) {
        if (n > first && n % each == 0)
            CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
        put(log, n);
    }
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
}

static inline size_t list_segments(ss_log *log, ss_segment_info *segments, size_t limit)
{
    size_t count = 0;
    CHECK_EQUAL(ss_log_segments(log, segments, limit, &count), SS_OK);
    CHECK(count <= limit);
    return count;
}

#endif
