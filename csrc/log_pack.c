/* Making a packed segment: blocks out of sealed segments, into a file aside. log_pack_commit.c verifies it and puts it
 * in their place. */
#include "log_pack.h"

#include <stdio.h>
#include <stdlib.h>

#include "file.h"
#include "killpoint.h"
#include "lz4.h"

/* The live segments of the pack, by reference and open for reading. */
static ss_status take_sources(ss_pack *pack, uint64_t first, uint64_t last)
{
    ss_log *log = pack->log;
    uint64_t durable = atomic_load(&log->entry->durable), end = 0;
    ss_segment *segment;
    ss_status status = SS_OK;
    for (size_t i = 0; status == SS_OK && ss_log_table_at(log, i, &segment, &end) == SS_OK; i++) {
        int wanted = segment->facts.ordinal >= first && segment->facts.ordinal <= last;
        if (wanted && (end == UINT64_MAX || end > durable))
            status = SS_INVALID; /* the active one, or one that a power cut may still take */
        ss_segment **grown = wanted && status == SS_OK
                                 ? realloc(pack->sources, (pack->source_count + 1) * sizeof *grown)
                                 : NULL;
        if (!grown) {
            ss_log_table_release(log, segment);
            status = wanted && status == SS_OK ? SS_NO_MEMORY : status;
            continue;
        }
        pack->sources = grown;
        pack->sources[pack->source_count++] = segment;
        pack->end = end;
        status = ss_log_table_open(log, segment, 0);
    }
    if (status != SS_OK)
        return status;
    if (!pack->source_count || pack->sources[0]->facts.ordinal != first ||
        pack->sources[pack->source_count - 1]->facts.ordinal != last)
        return SS_INVALID;
    return pack->end > atomic_load(&log->entry->start) ? SS_OK : SS_INVALID;
}

/* The new segment's header, as far as it is known before the blocks are. */
static ss_status describe(ss_pack *pack)
{
    const ss_segment_facts *base = &pack->sources[0]->facts;
    const ss_segment_facts *last = &pack->sources[pack->source_count - 1]->facts;
    uint64_t size = pack->end - base->base, map_size = SEGMENT_SIZE_MIN;
    ss_segment_facts facts = *base;
    for (size_t i = 0; i < pack->source_count; i++) {
        const ss_segment_facts *source = &pack->sources[i]->facts;
        map_size = source->map_size > map_size ? source->map_size : map_size;
        facts.epoch = source->epoch > facts.epoch ? source->epoch : facts.epoch;
    }
    map_size = map_size > size ? map_size : (size + ALLOCATE_STEP_MIN - 1) & ~(ALLOCATE_STEP_MIN - 1);
    if (map_size > SEGMENT_SIZE_LIMIT)
        return SS_INVALID;
    facts.ordinal = last->ordinal;
    facts.created_us = last->created_us;
    facts.map_size = map_size;
    facts.copied_end = pack->end;
    facts.packed = 1;
    facts.packed_end = pack->end;
    facts.packed_records = facts.packed_last_arrival = facts.packed_last_frame = 0;
    ss_status status = ss_file_random(&facts.salt, sizeof facts.salt);
    if (status == SS_OK && !(pack->target = ss_segment_new(&facts)))
        status = SS_NO_MEMORY;
    if (status == SS_OK)
        pack->target->unsealer = &pack->log->store->unsealer;
    return status;
}

static ss_status create_file(ss_pack *pack)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_log *log = pack->log;
    ss_status status = ss_file_open_directory(log->store->root, log->directory, &pack->directory);
    if (status != SS_OK)
        return status;
    ss_segment_name(log->directory, pack->target->facts.ordinal, name);
    snprintf(pack->name, sizeof pack->name, "%s", strrchr(name, '/') + 1);
    snprintf(pack->name_aside, sizeof pack->name_aside, "%s" SS_LOG_PACK_SUFFIX, pack->name);
    status = ss_file_unlink(pack->directory, pack->name_aside); /* what a packer left that died */
    if (status != SS_OK && ss_status_code(status) != SS_NOT_FOUND)
        return status;
    status = ss_file_open(pack->directory, pack->name_aside, SS_FILE_WRITE | SS_FILE_CREATE, &pack->fd);
    pack->aside = status == SS_OK;
    pack->offset = SS_SEGMENT_HEADER_SIZE;
    return status;
}

ss_status ss_log_pack_begin(ss_log *log, uint64_t first, uint64_t last, ss_pack **out)
{
    ss_pack *pack = calloc(1, sizeof *pack);
    if (!pack)
        return SS_NO_MEMORY;
    *pack = (ss_pack){.log = log, .directory = -1, .fd = -1};
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK) {
        free(pack);
        return status;
    }
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_store_usable(log->store)) == SS_OK && (status = ss_log_ready(log)) == SS_OK)
        status = first && first <= last ? take_sources(pack, first, last) : SS_INVALID;
    if (status == SS_OK && (status = describe(pack)) == SS_OK && (status = create_file(pack)) == SS_OK)
        pack->position = pack->put_position = pack->sources[0]->facts.base;
    SS_KILLPOINT("pack-created");
    ss_store_leave(log->store);
    if (status == SS_OK)
        *out = pack;
    else
        ss_log_pack_free(pack);
    return status;
}

void ss_log_pack_free(ss_pack *pack)
{
    ss_scan_close(&pack->scan);
    for (size_t i = 0; i < pack->source_count; i++)
        ss_log_table_release(pack->log, pack->sources[i]);
    if (ss_store_enter(pack->log->store) == SS_OK) {
        ss_log_table_notice(pack->log); /* of our own commit: the table has the old files open */
        ss_store_leave(pack->log->store);
    }
    ss_packed_index_free(pack->index);
    ss_packed_release(&pack->block);
    ss_segment_free(pack->target);
    ss_file_close(pack->fd);
    if (pack->aside)
        ss_file_unlink(pack->directory, pack->name_aside);
    ss_file_close(pack->directory);
    free(pack->sources);
    free(pack->marks);
    free(pack->hashes);
    free(pack->runs);
    free(pack->raw);
    free(pack->squeezed);
    free(pack->bytes);
    free(pack);
}

ss_status ss_log_pack_source(ss_pack *pack, uint64_t position, ss_record_header *header, const uint8_t **frame,
                             uint32_t *ordinal)
{
    size_t i = 0;
    while (i + 1 < pack->source_count && pack->sources[i + 1]->facts.base <= position)
        i++;
    const ss_segment *source = pack->sources[i];
    uint64_t end = i + 1 < pack->source_count ? pack->sources[i + 1]->facts.base : pack->end;
    ss_status status = SS_OK;
    if (pack->scan.segment != source) {
        char name[SS_SEGMENT_NAME_SIZE];
        ss_segment_name(pack->log->directory, source->facts.ordinal, name);
        ss_scan_close(&pack->scan);
        if ((status = ss_scan_open(&pack->scan, source, pack->log->store->root, name)) != SS_OK)
            return ss_status_code(status) == SS_NOT_FOUND ? SS_CHANGED : status;
    }
    if ((status = ss_scan_frame(&pack->scan, position, header, frame)) != SS_OK)
        return status;
    uint64_t before = source->facts.base_ordinal + header->ordinal - pack->sources[0]->facts.base_ordinal;
    if (header->frame_size > end - position || before - 1 > FRAME_ORDINAL_MAX)
        return SS_CORRUPT;
    *ordinal = (uint32_t)before;
    return ss_record_check_known(header);
}

static ss_status add_run(ss_pack *pack, uint64_t position, uint64_t epoch)
{
    if (pack->run_count == pack->run_capacity) {
        size_t capacity = pack->run_capacity ? pack->run_capacity * 2 : 16;
        ss_packed_run *runs = realloc(pack->runs, capacity * sizeof *runs);
        if (!runs)
            return SS_NO_MEMORY;
        pack->runs = runs;
        pack->run_capacity = capacity;
    }
    pack->runs[pack->run_count++] = (ss_packed_run){position, epoch};
    return SS_OK;
}

/* What the new header and the index say of the frames, one by one. */
static ss_status count_frame(ss_pack *pack, const ss_record_header *header, uint32_t ordinal)
{
    ss_segment_facts *facts = &pack->target->facts;
    /* What a repair gave up is counted by the pad in its place. */
    if (header->type == SS_FRAME_PAD && ordinal > facts->packed_records + 1)
        facts->packed_records = ordinal - 1;
    /* No other gap in the count: something is missing then, though nothing is damaged. */
    if (ordinal != facts->packed_records + 1 || header->arrival_us < facts->packed_last_arrival)
        return SS_CORRUPT;
    facts->packed_records += header->type == SS_FRAME_DATA;
    facts->packed_last_arrival = header->arrival_us;
    facts->packed_last_frame = header->position;
    facts->epoch = header->epoch > facts->epoch ? header->epoch : facts->epoch;
    if (facts->packed_records > FRAME_ORDINAL_MAX)
        return SS_INVALID;
    if (pack->run_count && header->epoch <= pack->runs[pack->run_count - 1].epoch)
        return SS_OK;
    return add_run(pack, header->position, header->epoch);
}

/* Fill one block at `to`; SS_SMALL where there is not enough room for it, with nothing taken. */
static ss_status fill_block(ss_pack *pack, uint8_t *to, size_t room, ss_pack_block *block)
{
    block->position = pack->position;
    block->size = block->sealed_frames = block->opened_frames = 0;
    while (pack->position < pack->end) {
        ss_record_header header;
        const uint8_t *frame;
        uint32_t ordinal;
        ss_status status = ss_log_pack_source(pack, pack->position, &header, &frame, &ordinal);
        if (status != SS_OK)
            return status;
        if (header.frame_size > BLOCK_SIZE_MAX)
            return SS_TOO_LARGE;
        if (block->size && block->size + header.frame_size > BLOCK_SIZE)
            break;
        uint64_t needed = header.frame_size > BLOCK_SIZE ? header.frame_size : BLOCK_SIZE;
        if (!block->size && needed > room) {
            block->size = needed;
            return SS_SMALL;
        }
        if ((status = count_frame(pack, &header, ordinal)) != SS_OK)
            return status;
        memcpy(to + block->size, frame, header.frame_size);
        ss_record_pack(to + block->size, ordinal);
        block->sealed_frames += (header.flags & FRAME_FLAG_SEALED) != 0;
        block->opened_frames += (header.flags & FRAME_FLAG_OPENED) != 0;
        block->size += header.frame_size;
        pack->position += header.frame_size;
    }
    return SS_OK;
}

ss_status ss_log_pack_next(ss_pack *pack, uint8_t *buffer, size_t buffer_size, ss_pack_block *blocks, size_t limit,
                           size_t *count)
{
    ss_status status = ss_store_enter(pack->log->store);
    size_t used = 0, filled = 0;
    if (status != SS_OK)
        return status;
    status = ss_store_usable(pack->log->store);
    while (status == SS_OK && filled < limit && pack->position < pack->end) {
        status = fill_block(pack, buffer + used, buffer_size - used, &blocks[filled]);
        if (status == SS_OK) {
            blocks[filled].offset = used;
            used += (size_t)blocks[filled++].size;
        }
    }
    if (status == SS_SMALL && filled)
        status = SS_OK;
    if (status == SS_OK)
        *count = filled;
    ss_store_leave(pack->log->store);
    return status;
}

static ss_status add_mark(ss_pack *pack, const ss_record_header *first, uint64_t hash)
{
    if (pack->mark_count == pack->mark_capacity) {
        size_t capacity = pack->mark_capacity ? pack->mark_capacity * 2 : 64;
        ss_packed_mark *marks = realloc(pack->marks, capacity * sizeof *marks);
        if (!marks)
            return SS_NO_MEMORY;
        pack->marks = marks;
        uint64_t *hashes = realloc(pack->hashes, capacity * sizeof *hashes);
        if (!hashes)
            return SS_NO_MEMORY;
        pack->hashes = hashes;
        pack->mark_capacity = capacity;
    }
    pack->hashes[pack->mark_count] = hash;
    pack->marks[pack->mark_count++] = (ss_packed_mark){.position = first->position,
                                                       .arrival_us = first->arrival_us,
                                                       .ordinal = pack->target->facts.base_ordinal + first->ordinal - 1,
                                                       .offset = pack->offset};
    return SS_OK;
}

static ss_packed_header header_of(uint64_t position, const ss_pack_stored *stored)
{
    ss_packed_header header = {.position = position,
                               .raw_size = (uint32_t)stored->raw_size,
                               .stored_size = (uint32_t)stored->stored_size,
                               .flags = stored->flags,
                               .key_id = stored->key_id};
    memcpy(header.nonce, stored->nonce, sizeof header.nonce);
    memcpy(header.tag, stored->tag, sizeof header.tag);
    return header;
}

void ss_log_pack_associate(const ss_pack *pack, uint64_t position, const ss_pack_stored *block, uint8_t associated[32])
{
    ss_packed_header header = header_of(position, block);
    ss_packed_associate(&pack->target->facts, &header, associated);
}

static ss_status put_block(ss_pack *pack, const ss_pack_stored *stored)
{
    ss_record_header first;
    ss_packed_header header = header_of(pack->put_position, stored), again;
    size_t size = (size_t)format_align8(SS_BLOCK_HEADER_SIZE + stored->stored_size);
    if (stored->raw_size > pack->position - pack->put_position || stored->raw_size > BLOCK_SIZE_MAX ||
        stored->stored_size > stored->raw_size || stored->raw_size < FRAME_BODY ||
        ss_record_read_packed(stored->raw, pack->put_position, &first) != SS_OK)
        return SS_INVALID;
    if (size > pack->bytes_capacity) {
        uint8_t *bytes = realloc(pack->bytes, size);
        if (!bytes)
            return SS_NO_MEMORY;
        pack->bytes = bytes;
        pack->bytes_capacity = size;
    }
    memset(pack->bytes + size - 8, 0, 8);
    memcpy(pack->bytes + SS_BLOCK_HEADER_SIZE, stored->stored, (size_t)stored->stored_size);
    ss_packed_encode(&header, &pack->target->salt, pack->bytes);
    if (ss_packed_decode(&pack->target->facts, pack->bytes, &again) != SS_OK)
        return SS_INVALID; /* it would not be believed when it is read */
    ss_status status = add_mark(pack, &first, ss_xxh3_64(&pack->target->salt, stored->raw, (size_t)stored->raw_size));
    if (status == SS_OK)
        status = ss_file_write(pack->fd, pack->bytes, size, pack->offset);
    if (status == SS_OK) {
        pack->put_position += stored->raw_size;
        pack->offset += size;
    }
    SS_KILLPOINT("pack-block");
    return status;
}

ss_status ss_log_pack_put(ss_pack *pack, const ss_pack_stored *stored)
{
    ss_status status = ss_store_enter(pack->log->store);
    if (status != SS_OK)
        return status;
    status = put_block(pack, stored);
    ss_store_leave(pack->log->store);
    return status;
}

static ss_status make_room(ss_pack *pack, size_t size)
{
    size = size > BLOCK_SIZE ? size : BLOCK_SIZE;
    if (size <= pack->raw_capacity)
        return SS_OK;
    free(pack->raw);
    free(pack->squeezed);
    pack->raw_capacity = 0;
    pack->raw = malloc(size);
    pack->squeezed = malloc(size);
    if (!pack->raw || !pack->squeezed)
        return SS_NO_MEMORY;
    pack->raw_capacity = size;
    return SS_OK;
}

/* One block from source to file; *plain 0: nothing was done, because its frames are, or were, encrypted. */
static ss_status pack_one(ss_pack *pack, int *plain)
{
    const ss_segment_facts facts = pack->target->facts;
    const uint64_t position = pack->position;
    const size_t run_count = pack->run_count;
    ss_pack_block block = {0};
    ss_status status = make_room(pack, 0);
    if (status == SS_OK)
        status = fill_block(pack, pack->raw, pack->raw_capacity, &block);
    if (status == SS_SMALL && (status = make_room(pack, (size_t)block.size)) == SS_OK)
        status = fill_block(pack, pack->raw, pack->raw_capacity, &block);
    if (status != SS_OK)
        return status;
    *plain = !block.sealed_frames && !block.opened_frames;
    if (!*plain) {
        pack->target->facts = facts;
        pack->position = position;
        pack->run_count = run_count;
        return SS_OK;
    }
    size_t size = (size_t)block.size, squeezed = ss_lz4_compress(pack->raw, size, pack->squeezed, size - 1);
    ss_pack_stored stored = {.raw = pack->raw,
                             .stored = squeezed ? pack->squeezed : pack->raw,
                             .raw_size = size,
                             .stored_size = squeezed ? squeezed : size,
                             .flags = squeezed ? SS_BLOCK_LZ4 : 0};
    return put_block(pack, &stored);
}

ss_status ss_log_pack_some(ss_pack *pack, size_t limit, size_t *count)
{
    ss_status status = ss_store_enter(pack->log->store);
    size_t done = 0;
    int plain = 1;
    if (status != SS_OK)
        return status;
    if ((status = ss_store_usable(pack->log->store)) == SS_OK && pack->put_position != pack->position)
        status = SS_INVALID; /* blocks that were handed out are still to be put */
    while (status == SS_OK && plain && done < limit && pack->position < pack->end)
        if ((status = pack_one(pack, &plain)) == SS_OK)
            done += (size_t)plain;
    if (status == SS_OK)
        *count = done;
    ss_store_leave(pack->log->store);
    return status;
}

void ss_log_pack_progress_get(const ss_pack *pack, ss_pack_progress *out)
{
    *out = (ss_pack_progress){.position = pack->put_position,
                              .end = pack->end,
                              .base = pack->sources[0]->facts.base,
                              .stored_bytes = pack->offset};
}
