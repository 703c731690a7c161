/* The end of packing: index and header, sync, reading it all back, the rename that replaces the sources; and clearing
 * away what a death in the middle left. */
#include <stdlib.h>

#include "file.h"
#include "killpoint.h"
#include "log_pack.h"

/* Index, then header. Nothing of it counts before the rename, so their order on disk does not matter. */
static ss_status write_ends(ss_pack *pack)
{
    ss_segment_facts *facts = &pack->target->facts;
    size_t size = (size_t)ss_packed_index_size(pack->mark_count, pack->run_count);
    uint8_t header[SS_SEGMENT_HEADER_SIZE], *bytes = malloc(size);
    if (!bytes)
        return SS_NO_MEMORY;
    ss_packed_index_encode(pack->marks, pack->mark_count, pack->runs, pack->run_count, bytes);
    facts->packed_index = pack->offset;
    facts->packed_blocks = (uint32_t)pack->mark_count;
    facts->packed_runs = (uint32_t)pack->run_count;
    facts->packed_index_check = ss_xxh3_64(&pack->target->salt, bytes, size);
    ss_log_encode_header(pack->log, facts, header);
    ss_status status = ss_file_write(pack->fd, bytes, size, pack->offset);
    free(bytes);
    if (status == SS_OK)
        status = ss_file_write(pack->fd, header, sizeof header, 0);
    SS_KILLPOINT("pack-written");
    if (status == SS_OK)
        status = ss_file_sync(pack->fd); /* a failure poisons nothing: the sources stand as they did */
    SS_KILLPOINT("pack-synced");
    return status;
}

/* Read the header and the index back as any reader would. */
static ss_status read_back(ss_pack *pack)
{
    ss_log *log = pack->log;
    ss_segment_facts facts;
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    size_t got = 0;
    ss_file_forget_cached(pack->fd);
    ss_status status = ss_file_read(pack->fd, header, sizeof header, 0, &got);
    if (status != SS_OK)
        return status;
    if (got < sizeof header || ss_segment_decode_header(header, &facts) != SS_OK || !facts.packed ||
        facts.salt != pack->target->facts.salt || facts.packed_end != pack->end ||
        memcmp(facts.store_id, log->store->store_id, 16) != 0)
        return SS_CORRUPT;
    status = ss_packed_index_load(pack->target, pack->fd, &pack->index);
    return status == SS_OK && (!pack->index->holds || pack->index->count != pack->mark_count) ? SS_CORRUPT : status;
}

/* Whether a frame read back is the source's. One that was encrypted and is open now differs in that, and in content. */
static int same_frame(ss_pack *pack, const uint8_t *found, const uint8_t *original, const ss_record_header *source,
                      uint32_t ordinal)
{
    int sealed = (source->flags & FRAME_FLAG_SEALED) != 0;
    size_t size = sealed ? FRAME_BODY : source->frame_size;
    memcpy(pack->bytes, original, size);
    ss_record_pack(pack->bytes, ordinal);
    if (sealed && !(found[FRAME_EPOCH] & FRAME_FLAG_SEALED))
        pack->bytes[FRAME_EPOCH] = (uint8_t)((pack->bytes[FRAME_EPOCH] & ~FRAME_FLAG_SEALED) | FRAME_FLAG_OPENED);
    return memcmp(pack->bytes, found, size) == 0;
}

static ss_status verify_block(ss_pack *pack, size_t i)
{
    ss_status status = ss_packed_load(pack->target, pack->fd, pack->index, i, &pack->block);
    if (status != SS_OK)
        return status;
    size_t size = (size_t)(pack->block.end - pack->block.position);
    if (ss_xxh3_64(&pack->target->salt, pack->block.bytes, size) != pack->hashes[i])
        return SS_CORRUPT;
    if (size > pack->bytes_capacity) {
        uint8_t *bytes = realloc(pack->bytes, size);
        if (!bytes)
            return SS_NO_MEMORY;
        pack->bytes = bytes;
        pack->bytes_capacity = size;
    }
    for (uint64_t at = pack->block.position; at < pack->block.end;) {
        ss_record_header header, source;
        const uint8_t *frame, *original;
        uint32_t ordinal;
        if ((status = ss_log_pack_source(pack, at, &source, &original, &ordinal)) != SS_OK)
            return status;
        if (ss_packed_frame(&pack->block, at, &header, &frame) != SS_OK || header.position != at ||
            header.frame_size != source.frame_size || !same_frame(pack, frame, original, &source, ordinal))
            return SS_CORRUPT;
        at += header.frame_size;
    }
    return SS_OK;
}

ss_status ss_log_pack_finish(ss_pack *pack, size_t limit, size_t *left)
{
    ss_status status = ss_store_enter(pack->log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_store_usable(pack->log->store)) == SS_OK && pack->put_position != pack->end)
        status = SS_INVALID;
    if (status == SS_OK && !pack->index && (status = write_ends(pack)) == SS_OK)
        status = read_back(pack);
    for (; status == SS_OK && limit && pack->verified < pack->mark_count; limit--)
        if ((status = verify_block(pack, pack->verified)) == SS_OK)
            pack->verified++;
    if (status == SS_OK)
        *left = pack->mark_count - pack->verified;
    ss_store_leave(pack->log->store);
    return status;
}

/* Whether the sources are still what the log is made of. */
static int sources_stand(ss_pack *pack)
{
    ss_segment *segment;
    uint64_t end;
    size_t found = 0;
    for (size_t i = 0; ss_log_table_at(pack->log, i, &segment, &end) == SS_OK; i++) {
        found += found < pack->source_count && segment->facts.ordinal == pack->sources[found]->facts.ordinal &&
                 segment->facts.salt == pack->sources[found]->facts.salt;
        ss_log_table_release(pack->log, segment);
    }
    return found == pack->source_count;
}

static ss_status sync_directory(ss_log *log, int directory)
{
    ss_status status = ss_file_sync_directory(directory);
    return status == SS_OK ? SS_OK : ss_store_poison_set(log->store, status);
}

/* The rename is the commit: a later ordinal with the first one's base cuts all the sources but the last, whose name it
 * takes. Under the append lock, so that a log that is being deleted or retired gets no new file. */
static ss_status commit(ss_pack *pack)
{
    ss_log *log = pack->log;
    int taken_over;
    ss_status status = ss_log_lock(log, 0, &taken_over);
    if (status != SS_OK)
        return status;
    if (atomic_load(&log->entry->state) != SS_LOG_READY || !sources_stand(pack))
        status = SS_CHANGED;
    if (status == SS_OK && (status = ss_file_rename(pack->directory, pack->name_aside, pack->name)) == SS_OK)
        pack->aside = 0;
    SS_KILLPOINT("pack-renamed");
    if (status == SS_OK) /* before the lock is free: whoever takes it over from one who died here says it instead */
        atomic_fetch_add(&log->entry->packed, 1);
    ss_log_unlock(log);
    if (status != SS_OK)
        return status;
    /* Before a source goes: a power cut that took the rename and kept an unlink would leave a hole. */
    if ((status = sync_directory(log, pack->directory)) != SS_OK)
        return status;
    SS_KILLPOINT("pack-named");
    for (size_t i = 0; i + 1 < pack->source_count; i++) {
        char name[SS_SEGMENT_NAME_SIZE];
        ss_segment_name(log->directory, pack->sources[i]->facts.ordinal, name);
        ss_file_unlink(log->store->root, name); /* dead already: what is left of them the next packer removes */
        SS_KILLPOINT("pack-unlinked");
    }
    return SS_OK;
}

ss_status ss_log_pack_commit(ss_pack *pack)
{
    ss_status status = ss_store_enter(pack->log->store);
    if (status != SS_OK)
        return status;
    status = pack->index && pack->verified == pack->mark_count && pack->aside ? commit(pack) : SS_INVALID;
    ss_store_leave(pack->log->store);
    return status;
}

typedef struct {
    int directory;
    size_t removed;
} cleaning;

static ss_status remove_aside(const char *name, void *context)
{
    cleaning *c = context;
    char stem[SS_SEGMENT_NAME_SIZE];
    size_t size = strlen(name), suffix = sizeof SS_LOG_PACK_SUFFIX - 1;
    if (size <= suffix || size >= sizeof stem || strcmp(name + size - suffix, SS_LOG_PACK_SUFFIX) != 0)
        return SS_OK;
    memcpy(stem, name, size - suffix);
    stem[size - suffix] = 0;
    if (!ss_segment_ordinal(stem))
        return SS_OK; /* none of ours */
    c->removed += ss_file_unlink(c->directory, name) == SS_OK;
    return SS_OK;
}

/* Of the ordinals on disk leave those that the log does not read: most often none, and no header need be looked at. */
static void keep_dead(ss_log *log, uint64_t *ordinals, size_t *count)
{
    ss_segment *segment;
    uint64_t end;
    for (size_t i = 0, from = 0; ss_log_table_at(log, i, &segment, &end) == SS_OK; i++) {
        while (from < *count && ordinals[from] < segment->facts.ordinal)
            from++;
        if (from < *count && ordinals[from] == segment->facts.ordinal) {
            memmove(ordinals + from, ordinals + from + 1, (*count - from - 1) * sizeof *ordinals);
            --*count;
        }
        ss_log_table_release(log, segment);
    }
}

/* Segments that `packed` cut: their frames stand in it. */
static ss_status remove_replaced(ss_log *log, const ss_segment *packed, const uint64_t *ordinals, size_t count,
                                 cleaning *c)
{
    ss_status status = SS_OK;
    for (size_t i = 0, synced = 0; i < count && ordinals[i] < packed->facts.ordinal && status == SS_OK; i++) {
        char name[SS_SEGMENT_NAME_SIZE];
        ss_segment_facts facts;
        ss_segment_name(log->directory, ordinals[i], name);
        if (ss_segment_read_header(log->store->root, name, log->store->store_id, log->stream_id, log->shard, &facts) !=
                SS_OK ||
            facts.base < packed->facts.base || facts.base >= packed->facts.packed_end)
            continue;
        if (!synced && (status = sync_directory(log, c->directory)) != SS_OK)
            break; /* the packer may have died between its rename and its sync */
        synced = 1;
        c->removed += ss_file_unlink(log->store->root, name) == SS_OK;
    }
    return status;
}

ss_status ss_log_pack_clean(ss_log *log, size_t *removed)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    cleaning c = {.directory = -1};
    uint64_t *ordinals = NULL, end;
    size_t count;
    ss_segment *segment;
    int taken_over;
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_ready(log)) == SS_OK && (status = ss_log_lock(log, 0, &taken_over)) == SS_OK)
        ss_log_unlock(log); /* had its holder died over a rename, we know of it now */
    if (status == SS_OK)
        status = ss_file_open_directory(log->store->root, log->directory, &c.directory);
    if (status == SS_OK)
        status = ss_file_list(c.directory, remove_aside, &c);
    if (status == SS_OK && (status = ss_log_table_list(log, &ordinals, &count)) == SS_OK) {
        keep_dead(log, ordinals, &count);
        for (size_t i = 0; status == SS_OK && count && ss_log_table_at(log, i, &segment, &end) == SS_OK; i++) {
            if (segment->facts.packed)
                status = remove_replaced(log, segment, ordinals, count, &c);
            ss_log_table_release(log, segment);
        }
    }
    free(ordinals);
    ss_file_close(c.directory);
    if (ss_status_code(status) == SS_NOT_FOUND)
        status = SS_OK; /* never written */
    if (status == SS_OK)
        *removed = c.removed;
    ss_store_leave(log->store);
    return status;
}
