/* The index of a packed segment: which block holds which positions, and where epochs begin. Its check holds it; where
 * it does not, the blocks themselves say where they are. */
#include <assert.h>
#include <stdlib.h>

#include "file.h"
#include "packed.h"

uint64_t ss_packed_index_size(uint64_t blocks, uint64_t runs)
{
    return blocks * PACKED_MARK_SIZE + runs * PACKED_RUN_SIZE;
}

void ss_packed_index_encode(const ss_packed_mark *marks, size_t count, const ss_packed_run *runs, size_t run_count,
                            uint8_t *bytes)
{
    for (size_t i = 0; i < count; i++, bytes += PACKED_MARK_SIZE) {
        format_store64(bytes, marks[i].position);
        format_store64(bytes + 8, marks[i].arrival_us);
        format_store64(bytes + 16, marks[i].ordinal);
        format_store64(bytes + 24, marks[i].offset);
    }
    for (size_t i = 0; i < run_count; i++, bytes += PACKED_RUN_SIZE) {
        format_store64(bytes, runs[i].position);
        format_store64(bytes + 8, runs[i].epoch);
    }
}

void ss_packed_index_free(ss_packed_index *index)
{
    if (!index)
        return;
    free(index->runs);
    free(index);
}

static ss_packed_index *allocate(size_t blocks, size_t runs)
{
    ss_packed_index *index = calloc(1, sizeof *index + (blocks + 1) * sizeof index->marks[0]);
    if (index && !(index->runs = calloc(runs, sizeof *index->runs))) {
        free(index);
        return NULL;
    }
    return index;
}

/* Whether marks can be true: blocks in a row from the header to the index, positions in a row from base to end. */
static int marks_hold(const ss_segment_facts *facts, const ss_packed_index *index)
{
    const ss_packed_mark *marks = index->marks;
    if (marks[0].position != facts->base || marks[0].offset != SS_SEGMENT_HEADER_SIZE)
        return 0;
    for (size_t i = 0; i < index->count; i++) {
        const ss_packed_mark *mark = &marks[i], *next = mark + 1;
        if (next->position <= mark->position || next->position - mark->position < FRAME_BODY ||
            next->position - mark->position > BLOCK_SIZE_MAX || next->position % 8)
            return 0;
        if (next->offset <= mark->offset || next->offset % 8 || next->offset - mark->offset < BLOCK_STORED ||
            next->offset - mark->offset > BLOCK_STORED + (uint64_t)BLOCK_SIZE_MAX)
            return 0;
        if (mark->arrival_us > FRAME_BITS_52 || mark->ordinal < facts->base_ordinal ||
            mark->ordinal - facts->base_ordinal > facts->packed_records)
            return 0;
        if (i && (mark->arrival_us < mark[-1].arrival_us || mark->ordinal < mark[-1].ordinal))
            return 0;
    }
    return 1;
}

static int runs_hold(const ss_segment_facts *facts, const ss_packed_index *index)
{
    const ss_packed_run *runs = index->runs;
    if (runs[0].position != facts->base)
        return 0;
    for (size_t i = 0; i < index->run_count; i++) {
        if (runs[i].position >= facts->packed_end || runs[i].position % 8 || runs[i].epoch > FRAME_EPOCH_MAX)
            return 0;
        if (i && (runs[i].position <= runs[i - 1].position || runs[i].epoch <= runs[i - 1].epoch))
            return 0;
    }
    return 1;
}

/* SS_CORRUPT where what the file holds cannot be believed. */
static ss_status read_index(const ss_segment *segment, int fd, uint64_t file_size, ss_packed_index **out)
{
    const ss_segment_facts *facts = &segment->facts;
    size_t blocks = facts->packed_blocks, runs = facts->packed_runs, got = 0;
    size_t size = (size_t)ss_packed_index_size(blocks, runs);
    if (facts->packed_index > file_size || size > file_size - facts->packed_index)
        return SS_CORRUPT; /* bounded by the file before memory is asked for it */
    uint8_t *bytes = malloc(size);
    ss_packed_index *index = allocate(blocks, runs);
    ss_status status = bytes && index ? ss_file_read(fd, bytes, size, facts->packed_index, &got) : SS_NO_MEMORY;
    if (status == SS_OK && (got < size || ss_xxh3_64(&segment->salt, bytes, size) != facts->packed_index_check))
        status = SS_CORRUPT;
    if (status == SS_OK) {
        const uint8_t *from = bytes;
        for (size_t i = 0; i < blocks; i++, from += PACKED_MARK_SIZE)
            index->marks[i] = (ss_packed_mark){format_load64(from), format_load64(from + 8), format_load64(from + 16),
                                               format_load64(from + 24)};
        for (size_t i = 0; i < runs; i++, from += PACKED_RUN_SIZE)
            index->runs[i] = (ss_packed_run){format_load64(from), format_load64(from + 8)};
        index->marks[blocks] = (ss_packed_mark){.position = facts->packed_end, .offset = facts->packed_index};
        index->count = blocks;
        index->run_count = runs;
        index->holds = 1;
        if (!marks_hold(facts, index) || !runs_hold(facts, index))
            status = SS_CORRUPT;
    }
    free(bytes);
    if (status == SS_OK)
        *out = index;
    else
        ss_packed_index_free(index);
    return status;
}

/* Whether a whole block that holds stands at `offset`. */
static ss_status block_at(const ss_segment *segment, int fd, uint64_t offset, uint64_t file_size,
                          ss_packed_header *header)
{
    uint8_t head[BLOCK_STORED];
    size_t got = 0;
    ss_status status = ss_file_read(fd, head, sizeof head, offset, &got);
    if (status != SS_OK)
        return status;
    if (got < sizeof head || ss_packed_decode(&segment->facts, head, header) != SS_OK ||
        header->stored_size > file_size - offset - BLOCK_STORED)
        return SS_CORRUPT;
    uint8_t *bytes = malloc(BLOCK_STORED + (size_t)header->stored_size);
    if (!bytes)
        return SS_NO_MEMORY;
    status = ss_file_read(fd, bytes, BLOCK_STORED + (size_t)header->stored_size, offset, &got);
    if (status == SS_OK &&
        (got < BLOCK_STORED + (size_t)header->stored_size ||
         ss_xxh3_64(&segment->salt, bytes + BLOCK_POSITION, got - BLOCK_POSITION) != format_load64(bytes)))
        status = SS_CORRUPT;
    free(bytes);
    return status;
}

/* The next offset from `offset` on, in steps of 8, where a block holds that begins at or beyond `position`. `patience`
 * bounds the bytes that are hashed in vain: a file may be made such that each step looks like a block. */
static ss_status next_block(const ss_segment *segment, int fd, uint64_t blocks_end, uint64_t position, uint64_t *offset,
                            uint64_t *patience, ss_packed_header *header)
{
    enum { WINDOW = 32 << 10 };
    uint8_t *window = malloc(WINDOW);
    uint64_t begin = 0;
    size_t got = 0;
    ss_status status = window ? SS_NOT_FOUND : SS_NO_MEMORY;
    for (uint64_t at = *offset; status == SS_NOT_FOUND && at + BLOCK_STORED <= blocks_end && *patience; at += 8) {
        if (at + BLOCK_STORED > begin + got) {
            ss_status read = ss_file_read(fd, window, WINDOW, begin = at, &got);
            status = read == SS_OK ? SS_NOT_FOUND : read;
            if (read != SS_OK || got < BLOCK_STORED)
                break;
        }
        if (ss_packed_decode(&segment->facts, window + (at - begin), header) != SS_OK || header->position < position)
            continue;
        *patience -= header->stored_size < *patience ? header->stored_size : *patience;
        ss_status found = block_at(segment, fd, at, blocks_end, header);
        if (found != SS_CORRUPT)
            status = found;
        *offset = at;
    }
    free(window);
    return status;
}

/* A mark without a block behind it: reading there finds damage. Its stretch is cut so that no step is too long. */
static void mark_gap(ss_packed_index *index, size_t room, uint64_t position, uint64_t end, uint64_t offset,
                     const ss_packed_mark *like)
{
    while (position < end && index->count < room) {
        uint64_t step = end - position < BLOCK_SIZE_MAX ? end - position : BLOCK_SIZE_MAX;
        index->marks[index->count++] = (ss_packed_mark){position, like->arrival_us, like->ordinal, offset};
        position += step;
    }
}

/* The first frame of a block says what its mark would, and its frames where epochs begin. A sealed block says nothing,
 * and takes after the one before. */
static void describe_block(const ss_segment *segment, int fd, ss_packed_index *index, size_t i, size_t runs_max,
                           ss_packed_block *scratch)
{
    ss_record_header frame;
    const uint8_t *bytes;
    ss_packed_mark *mark = &index->marks[i];
    if (ss_packed_load(segment, fd, index, i, scratch) != SS_OK)
        return;
    for (uint64_t at = mark->position; ss_packed_frame(scratch, at, &frame, &bytes) == SS_OK; at += frame.frame_size) {
        ss_packed_run *run = &index->runs[index->run_count - 1];
        if (at == mark->position) {
            mark->arrival_us = frame.arrival_us;
            mark->ordinal = segment->facts.base_ordinal + frame.ordinal - 1;
        }
        if (at == segment->facts.base)
            run->epoch = frame.epoch;
        else if (frame.epoch > run->epoch && index->run_count < runs_max)
            index->runs[index->run_count++] = (ss_packed_run){at, frame.epoch};
    }
}

/* Make an index from the blocks alone. Nobody is asked for a key: locks are held here. */
static ss_status walk(const ss_segment *segment, int fd, uint64_t file_size, ss_packed_index **out)
{
    enum { RUNS_MAX = 1024 };
    const ss_segment_facts *facts = &segment->facts;
    size_t room = facts->packed_blocks * 2 + (size_t)(facts->map_size / BLOCK_SIZE_MAX) + 2;
    uint64_t position = facts->base, offset = SS_SEGMENT_HEADER_SIZE;
    uint64_t blocks_end = file_size < facts->packed_index ? file_size : facts->packed_index, patience = 4 * blocks_end;
    ss_packed_index *index = allocate(room, RUNS_MAX);
    ss_packed_block scratch = {0};
    if (!index)
        return SS_NO_MEMORY;
    index->runs[0] = (ss_packed_run){facts->base, facts->epoch};
    index->run_count = 1;
    ss_packed_mark like = {.ordinal = facts->base_ordinal, .arrival_us = facts->floor_arrival};
    ss_segment keyless = {.facts = *facts, .salt = segment->salt};
    ss_status status = SS_OK;
    while (position < facts->packed_end && index->count + 1 < room) {
        ss_packed_header header;
        uint64_t found = offset;
        status = next_block(segment, fd, blocks_end, position, &found, &patience, &header);
        if (status != SS_OK)
            break;
        mark_gap(index, room - 1, position, header.position, offset, &like);
        if (index->count + 1 >= room)
            break;
        size_t i = index->count++;
        uint64_t size = BLOCK_STORED + format_align8(header.stored_size);
        index->marks[i] = (ss_packed_mark){header.position, like.arrival_us, like.ordinal, found};
        index->marks[i + 1] = (ss_packed_mark){.position = header.position + header.raw_size, .offset = found + size};
        describe_block(&keyless, fd, index, i, RUNS_MAX, &scratch);
        like = index->marks[i];
        position = header.position + header.raw_size;
        offset = found + size;
    }
    ss_packed_release(&scratch);
    if (status != SS_OK && status != SS_NOT_FOUND) {
        ss_packed_index_free(index);
        return status;
    }
    mark_gap(index, room - 1, position, facts->packed_end, offset, &like);
    index->marks[index->count] = (ss_packed_mark){.position = facts->packed_end, .offset = offset + BLOCK_STORED};
    *out = index;
    return SS_OK;
}

ss_status ss_packed_index_load(const ss_segment *segment, int fd, ss_packed_index **out)
{
    uint64_t file_size;
    ss_status status = ss_file_size(fd, &file_size, NULL);
    if (status == SS_OK)
        status = read_index(segment, fd, file_size, out);
    return status == SS_CORRUPT ? walk(segment, fd, file_size, out) : status;
}

size_t ss_packed_index_find(const ss_packed_index *index, uint64_t position)
{
    size_t low = 0, high = index->count;
    while (low < high) { /* the last mark at or below the position */
        size_t middle = (low + high) / 2;
        if (index->marks[middle].position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    assert(low > 0); /* the first begins where the segment does, and nobody asks below */
    return low - 1;
}
