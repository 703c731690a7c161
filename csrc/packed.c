/* Blocks of a packed segment: their headers, reading one, the frames in one. */
#include "packed.h"

#include <stdlib.h>

#include "file.h"
#include "lz4.h"

void ss_packed_associate(const ss_segment_facts *facts, const ss_packed_header *header,
                         uint8_t associated[SS_PACKED_ASSOCIATED_SIZE])
{
    format_store32(associated, facts->stream_id);
    format_store32(associated + 4, facts->shard);
    format_store64(associated + 8, header->position);
    format_store32(associated + 16, header->raw_size);
    format_store32(associated + 20, header->stored_size);
    format_store32(associated + 24, header->flags);
    format_store32(associated + 28, header->key_id);
}

void ss_packed_encode(const ss_packed_header *header, const ss_xxh3_key *salt, uint8_t *bytes)
{
    format_store64(bytes + BLOCK_POSITION, header->position);
    format_store32(bytes + BLOCK_RAW_SIZE, header->raw_size);
    format_store32(bytes + BLOCK_STORED_SIZE, header->stored_size);
    format_store32(bytes + BLOCK_FLAGS, header->flags);
    format_store32(bytes + BLOCK_KEY_ID, header->key_id);
    memcpy(bytes + BLOCK_NONCE, header->nonce, sizeof header->nonce);
    memcpy(bytes + BLOCK_TAG, header->tag, sizeof header->tag);
    format_store32(bytes + BLOCK_RESERVED, 0);
    size_t covered = BLOCK_STORED - BLOCK_POSITION + (size_t)header->stored_size;
    format_store64(bytes + BLOCK_CHECK, ss_xxh3_64(salt, bytes + BLOCK_POSITION, covered));
}

ss_status ss_packed_decode(const ss_segment_facts *facts, const uint8_t bytes[SS_BLOCK_HEADER_SIZE],
                           ss_packed_header *header)
{
    header->position = format_load64(bytes + BLOCK_POSITION);
    header->raw_size = format_load32(bytes + BLOCK_RAW_SIZE);
    header->stored_size = format_load32(bytes + BLOCK_STORED_SIZE);
    header->flags = format_load32(bytes + BLOCK_FLAGS);
    header->key_id = format_load32(bytes + BLOCK_KEY_ID);
    memcpy(header->nonce, bytes + BLOCK_NONCE, sizeof header->nonce);
    memcpy(header->tag, bytes + BLOCK_TAG, sizeof header->tag);
    if (header->position < facts->base || header->position >= facts->packed_end || header->position % 8)
        return SS_CORRUPT;
    if (header->raw_size < FRAME_BODY || header->raw_size % 8 || header->raw_size > BLOCK_SIZE_MAX ||
        header->raw_size > facts->packed_end - header->position)
        return SS_CORRUPT;
    if (header->stored_size == 0 || header->stored_size > header->raw_size ||
        (!(header->flags & BLOCK_FLAG_LZ4) && header->stored_size != header->raw_size))
        return SS_CORRUPT;
    return SS_OK;
}

/* The stored bytes as they were before compression was undone: opened where the block is sealed. */
static ss_status unseal(const ss_segment *segment, const ss_packed_header *header, const uint8_t *stored,
                        uint8_t *opened)
{
    uint8_t associated[SS_PACKED_ASSOCIATED_SIZE];
    const ss_packed_unsealer *unsealer = segment->unsealer;
    if (!unsealer || !unsealer->function)
        return SS_NO_KEY;
    ss_packed_associate(&segment->facts, header, associated);
    return unsealer->function(unsealer->context, segment->facts.stream_id, header->key_id, header->nonce, header->tag,
                              associated, sizeof associated, stored, header->stored_size, opened);
}

/* From stored bytes that were checked to frames. */
static ss_status expand(const ss_segment *segment, const ss_packed_header *header, const uint8_t *stored, uint8_t *to)
{
    if (header->flags & ~(uint32_t)BLOCK_FLAGS_KNOWN)
        return SS_FORMAT;
    if (!(header->flags & BLOCK_FLAG_SEALED)) {
        if (header->flags & BLOCK_FLAG_LZ4)
            return ss_lz4_expand(stored, header->stored_size, to, header->raw_size);
        memcpy(to, stored, header->raw_size);
        return SS_OK;
    }
    if (!(header->flags & BLOCK_FLAG_LZ4))
        return unseal(segment, header, stored, to);
    uint8_t *opened = malloc(header->stored_size);
    if (!opened)
        return SS_NO_MEMORY;
    ss_status status = unseal(segment, header, stored, opened);
    if (status == SS_OK)
        status = ss_lz4_expand(opened, header->stored_size, to, header->raw_size);
    free(opened);
    return status;
}

ss_status ss_packed_expand(const ss_segment *segment, int fd, const ss_packed_index *index, size_t i, uint8_t *to)
{
    const ss_packed_mark *mark = &index->marks[i];
    /* No header is believed about its size: from this block's place to the next one's there is so much room. */
    size_t room = (size_t)(mark[1].offset - mark->offset), got = 0;
    if (room < BLOCK_STORED)
        return SS_CORRUPT;
    room = room < BLOCK_STORED + (size_t)BLOCK_SIZE_MAX ? room : BLOCK_STORED + (size_t)BLOCK_SIZE_MAX;
    uint8_t *bytes = malloc(room);
    if (!bytes)
        return SS_NO_MEMORY;
    ss_packed_header header;
    ss_status status = ss_file_read(fd, bytes, room, mark->offset, &got);
    if (status == SS_OK && got < BLOCK_STORED)
        status = SS_CORRUPT;
    if (status == SS_OK)
        status = ss_packed_decode(&segment->facts, bytes, &header);
    if (status == SS_OK && (header.position != mark->position || header.raw_size != mark[1].position - mark->position ||
                            header.stored_size > got - BLOCK_STORED))
        status = SS_CORRUPT;
    if (status == SS_OK &&
        ss_xxh3_64(&segment->salt, bytes + BLOCK_POSITION, BLOCK_STORED - BLOCK_POSITION + header.stored_size) !=
            format_load64(bytes + BLOCK_CHECK))
        status = SS_CORRUPT;
    if (status == SS_OK)
        status = expand(segment, &header, bytes + BLOCK_STORED, to);
    free(bytes);
    return status;
}

ss_status ss_packed_load(const ss_segment *segment, int fd, const ss_packed_index *index, size_t i,
                         ss_packed_block *block)
{
    const ss_packed_mark *mark = &index->marks[i];
    size_t size = (size_t)(mark[1].position - mark->position);
    block->position = block->end = block->walked = 0;
    if (size > BLOCK_SIZE_MAX)
        return SS_CORRUPT;
    if (size > block->capacity) {
        size_t capacity = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        free(block->bytes);
        block->capacity = 0;
        if (!(block->bytes = malloc(capacity)))
            return SS_NO_MEMORY;
        block->capacity = capacity;
    }
    ss_status status = ss_packed_expand(segment, fd, index, i, block->bytes);
    if (status != SS_OK)
        return status;
    block->salt = segment->facts.salt;
    block->position = block->walked = mark->position;
    block->end = mark[1].position;
    return SS_OK;
}

void ss_packed_release(ss_packed_block *block)
{
    free(block->bytes);
    *block = (ss_packed_block){0};
}

ss_status ss_packed_frame(ss_packed_block *block, uint64_t position, ss_record_header *header, const uint8_t **frame)
{
    uint64_t at = position >= block->walked ? block->walked : block->position;
    while (at < block->end) {
        const uint8_t *bytes = block->bytes + (at - block->position);
        uint64_t left = block->end - at;
        header->position = at;
        if (left < FRAME_BODY || ss_record_read_packed(bytes, at, header) != SS_OK || header->frame_size > left)
            return SS_CORRUPT;
        block->walked = at;
        if (at >= position) {
            *frame = bytes;
            return SS_OK;
        }
        at += header->frame_size;
    }
    return SS_NOT_FOUND;
}
