/* Blocks of packed segments as a log's calls use them: a few that were expanded lately are kept for the whole store, so
 * that gets and small reads close to one another do not expand the same block again. */
#include <assert.h>

#include "log.h"

enum { KEEP_SIZE_MAX = 1 << 20 };

static int same_block(const ss_packed_block *block, const ss_segment *segment, uint64_t position)
{
    return block->position != block->end && block->position == position && block->salt == segment->facts.salt;
}

ss_status ss_log_packed_take(ss_log *log, const ss_segment *segment, size_t i, ss_packed_block *block)
{
    ss_store *store = log->store;
    *block = (ss_packed_block){0};
    pthread_mutex_lock(&store->blocks_mutex);
    for (size_t slot = 0; slot < SS_STORE_BLOCKS && block->position == block->end; slot++) {
        if (same_block(&store->blocks[slot], segment, segment->blocks->marks[i].position)) {
            *block = store->blocks[slot];
            store->blocks[slot] = (ss_packed_block){0};
        }
    }
    pthread_mutex_unlock(&store->blocks_mutex);
    if (block->position != block->end)
        return SS_OK;
    ss_status status = ss_packed_load(segment, segment->fd, segment->blocks, i, block);
    if (status != SS_OK)
        ss_packed_release(block);
    return status;
}

void ss_log_packed_leave(ss_log *log, ss_packed_block *block)
{
    ss_store *store = log->store;
    if (block->position != block->end && block->capacity <= KEEP_SIZE_MAX) {
        pthread_mutex_lock(&store->blocks_mutex);
        size_t slot = 0;
        while (slot < SS_STORE_BLOCKS && store->blocks[slot].position != store->blocks[slot].end)
            slot++;
        if (slot == SS_STORE_BLOCKS)
            slot = store->blocks_turn++ % SS_STORE_BLOCKS;
        ss_packed_block before = store->blocks[slot];
        store->blocks[slot] = *block;
        pthread_mutex_unlock(&store->blocks_mutex);
        *block = before;
    }
    ss_packed_release(block);
}

ss_status ss_log_packed_header(ss_log *log, const ss_segment *segment, uint64_t position, ss_record_header *header)
{
    ss_packed_block block;
    const uint8_t *frame;
    assert(position >= segment->facts.base); /* as the table found it */
    if (position >= segment->facts.packed_end)
        return SS_CORRUPT;
    ss_status status = ss_log_packed_take(log, segment, ss_packed_index_find(segment->blocks, position), &block);
    if (status != SS_OK)
        return status;
    status = ss_packed_frame(&block, position, header, &frame);
    ss_log_packed_leave(log, &block);
    return status == SS_NOT_FOUND || (status == SS_OK && header->position != position) ? SS_CORRUPT : status;
}
