/* Segment headers and access to a segment's bytes. */
#include "segment.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "file.h"
#include "packed.h"

void ss_segment_name(const char *directory, uint64_t ordinal, char name[SS_SEGMENT_NAME_SIZE])
{
    snprintf(name, SS_SEGMENT_NAME_SIZE, "%s/%012" PRIu64 ".seg", directory, ordinal);
}

uint64_t ss_segment_ordinal(const char *name)
{
    uint64_t ordinal = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9' && digits < 18; digits++)
        ordinal = ordinal * 10 + (uint64_t)(name[digits] - '0');
    return digits >= 12 && strcmp(name + digits, ".seg") == 0 ? ordinal : 0;
}

void ss_segment_encode_header(const ss_segment_facts *facts, uint8_t header[SS_SEGMENT_HEADER_SIZE])
{
    assert(facts->description_size <= SS_DESCRIPTION_SIZE_MAX);
    memset(header, 0, SS_SEGMENT_HEADER_SIZE);
    format_store64(header + SEGMENT_MAGIC, SEGMENT_MAGIC_VALUE);
    format_store32(header + SEGMENT_VERSION, SS_FORMAT_VERSION);
    memcpy(header + SEGMENT_STORE_ID, facts->store_id, 16);
    format_store32(header + SEGMENT_STREAM, facts->stream_id);
    format_store32(header + SEGMENT_SHARD, facts->shard);
    format_store64(header + SEGMENT_ORDINAL, facts->ordinal);
    format_store64(header + SEGMENT_BASE, facts->base);
    format_store64(header + SEGMENT_PREVIOUS_END, facts->previous_end);
    format_store64(header + SEGMENT_BASE_ORDINAL, facts->base_ordinal);
    format_store64(header + SEGMENT_EPOCH, facts->epoch);
    format_store64(header + SEGMENT_SALT, facts->salt);
    format_store64(header + SEGMENT_CREATED, facts->created_us);
    format_store64(header + SEGMENT_MAP_SIZE, facts->map_size);
    format_store64(header + SEGMENT_COPIED_END, facts->copied_end);
    format_store64(header + SEGMENT_FLOOR_ARRIVAL, facts->floor_arrival);
    format_store32(header + SEGMENT_DESCRIPTION_SIZE, facts->description_size);
    if (facts->description_size)
        memcpy(header + SEGMENT_DESCRIPTION, facts->description, facts->description_size);
    if (facts->packed) {
        format_store32(header + SEGMENT_INCOMPAT, SEGMENT_INCOMPAT_PACKED);
        format_store64(header + SEGMENT_PACKED_END, facts->packed_end);
        format_store64(header + SEGMENT_PACKED_RECORDS, facts->packed_records);
        format_store64(header + SEGMENT_PACKED_LAST_ARRIVAL, facts->packed_last_arrival);
        format_store64(header + SEGMENT_PACKED_LAST_FRAME, facts->packed_last_frame);
        format_store64(header + SEGMENT_PACKED_INDEX, facts->packed_index);
        format_store32(header + SEGMENT_PACKED_BLOCKS, facts->packed_blocks);
        format_store32(header + SEGMENT_PACKED_RUNS, facts->packed_runs);
        format_store64(header + SEGMENT_PACKED_INDEX_CHECK, facts->packed_index_check);
    }
    format_store64(header + SEGMENT_CHECK, ss_xxh3_64_seeded(header, SEGMENT_CHECK, 0));
}

static int all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size; at++)
        if (bytes[at])
            return 0;
    return 1;
}

/* A header that was being written when the power went, and so was never committed: a sector that must hold something
 * is still zero. One that was committed and then damaged has its magic, its check and its description's sectors. */
static int torn(const uint8_t *header)
{
    enum { SECTOR = 512 };
    uint32_t size = format_load32(header + SEGMENT_DESCRIPTION_SIZE);
    if (format_load64(header + SEGMENT_MAGIC) == 0 || format_load64(header + SEGMENT_CHECK) == 0)
        return 1;
    size_t used = SEGMENT_DESCRIPTION + (size <= SS_DESCRIPTION_SIZE_MAX ? size : 0);
    for (size_t sector = 0; sector + SECTOR <= used; sector += SECTOR)
        if (all_zero(header + sector, SECTOR))
            return 1;
    return 0;
}

static void decode_packed(const uint8_t *header, ss_segment_facts *facts)
{
    facts->packed = 1;
    facts->packed_end = format_load64(header + SEGMENT_PACKED_END);
    facts->packed_records = format_load64(header + SEGMENT_PACKED_RECORDS);
    facts->packed_last_arrival = format_load64(header + SEGMENT_PACKED_LAST_ARRIVAL);
    facts->packed_last_frame = format_load64(header + SEGMENT_PACKED_LAST_FRAME);
    facts->packed_index = format_load64(header + SEGMENT_PACKED_INDEX);
    facts->packed_blocks = format_load32(header + SEGMENT_PACKED_BLOCKS);
    facts->packed_runs = format_load32(header + SEGMENT_PACKED_RUNS);
    facts->packed_index_check = format_load64(header + SEGMENT_PACKED_INDEX_CHECK);
}

/* What a packed segment says of itself, against what can be: its base and map size were looked at before. */
static int packed_holds(const ss_segment_facts *facts)
{
    uint64_t size = facts->packed_end - facts->base;
    if (facts->packed_end % 8 || facts->packed_end <= facts->base || size > facts->map_size ||
        facts->copied_end != facts->packed_end)
        return 0;
    if (facts->packed_last_frame < facts->base || facts->packed_last_frame >= facts->packed_end ||
        facts->packed_last_frame % 8 || facts->packed_last_arrival > FRAME_BITS_52)
        return 0;
    return facts->packed_records <= FRAME_ORDINAL_MAX && facts->packed_blocks > 0 &&
           facts->packed_blocks <= size / (BLOCK_SIZE / 2) + 2 && facts->packed_runs > 0 &&
           facts->packed_runs <= size / FRAME_BODY && facts->packed_index % 8 == 0 &&
           facts->packed_index > SS_SEGMENT_HEADER_SIZE && facts->packed_index < UINT64_C(1) << 40;
}

ss_status ss_segment_decode_header(const uint8_t header[SS_SEGMENT_HEADER_SIZE], ss_segment_facts *facts)
{
    if (format_load64(header + SEGMENT_MAGIC) != SEGMENT_MAGIC_VALUE)
        return torn(header) ? SS_NOT_FOUND : SS_CORRUPT;
    if (format_load64(header + SEGMENT_CHECK) != ss_xxh3_64_seeded(header, SEGMENT_CHECK, 0))
        return torn(header) ? SS_NOT_FOUND : SS_CORRUPT;
    if (format_load32(header + SEGMENT_VERSION) != SS_FORMAT_VERSION ||
        format_load32(header + SEGMENT_INCOMPAT) & ~(uint32_t)SEGMENT_INCOMPAT_KNOWN)
        return SS_FORMAT;
    memset(facts, 0, sizeof *facts);
    memcpy(facts->store_id, header + SEGMENT_STORE_ID, 16);
    facts->stream_id = format_load32(header + SEGMENT_STREAM);
    facts->shard = format_load32(header + SEGMENT_SHARD);
    facts->ordinal = format_load64(header + SEGMENT_ORDINAL);
    facts->base = format_load64(header + SEGMENT_BASE);
    facts->previous_end = format_load64(header + SEGMENT_PREVIOUS_END);
    facts->base_ordinal = format_load64(header + SEGMENT_BASE_ORDINAL);
    facts->epoch = format_load64(header + SEGMENT_EPOCH);
    facts->salt = format_load64(header + SEGMENT_SALT);
    facts->created_us = format_load64(header + SEGMENT_CREATED);
    facts->map_size = format_load64(header + SEGMENT_MAP_SIZE);
    facts->copied_end = format_load64(header + SEGMENT_COPIED_END);
    facts->floor_arrival = format_load64(header + SEGMENT_FLOOR_ARRIVAL);
    facts->description_size = format_load32(header + SEGMENT_DESCRIPTION_SIZE);
    facts->description = header + SEGMENT_DESCRIPTION;
    /* A hostile header may carry any numbers under a good check: bound what arithmetic will use. */
    const uint64_t far = UINT64_C(1) << 62;
    if (facts->description_size > SS_DESCRIPTION_SIZE_MAX || facts->map_size < SEGMENT_SIZE_MIN ||
        facts->map_size > SEGMENT_SIZE_LIMIT || facts->base % 8 || facts->base < SS_FIRST_POSITION ||
        facts->base > far || facts->previous_end != facts->base || facts->copied_end < facts->base ||
        facts->copied_end % 8 || facts->floor_arrival > FRAME_BITS_52 ||
        facts->copied_end - facts->base > facts->map_size || facts->base_ordinal > far ||
        facts->epoch > FRAME_EPOCH_MAX)
        return SS_CORRUPT;
    if (!(format_load32(header + SEGMENT_INCOMPAT) & SEGMENT_INCOMPAT_PACKED))
        return SS_OK;
    decode_packed(header, facts);
    return packed_holds(facts) ? SS_OK : SS_CORRUPT;
}

/* Whether zeros alone follow the header: nothing was ever stored under it. */
static ss_status nothing_behind(int fd, int *nothing)
{
    uint8_t bytes[SS_SEGMENT_HEADER_SIZE];
    uint64_t size, at = sizeof bytes;
    size_t got = 1;
    *nothing = 0;
    ss_status status = ss_file_size(fd, &size, NULL);
    while (status == SS_OK && got && (at = ss_file_next_data(fd, at, size)) < size &&
           (status = ss_file_read(fd, bytes, sizeof bytes, at, &got)) == SS_OK) {
        if (!all_zero(bytes, got))
            return SS_OK;
        at += got;
    }
    *nothing = status == SS_OK;
    return status;
}

ss_status ss_segment_holds_something(int root, const char *name, int *something)
{
    int fd, nothing = 1;
    ss_status status = ss_file_open(root, name, SS_FILE_READ, &fd);
    if (status == SS_OK) {
        status = nothing_behind(fd, &nothing);
        ss_file_close(fd);
    }
    *something = status == SS_OK && !nothing;
    return status;
}

ss_status ss_segment_read_header(int root, const char *name, const uint8_t store_id[16], uint32_t stream_id,
                                 uint32_t shard, ss_segment_facts *facts)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    int fd;
    size_t got = 0;
    ss_status status = ss_file_open(root, name, SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    status = ss_file_read(fd, header, sizeof header, 0, &got);
    if (status == SS_OK && got < sizeof header)
        status = SS_NOT_FOUND; /* created, never allocated */
    ss_segment_facts found;
    if (status == SS_OK)
        status = ss_segment_decode_header(header, &found);
    int nothing = 0;
    if (ss_status_code(status) == SS_CORRUPT && nothing_behind(fd, &nothing) == SS_OK && nothing)
        status = SS_NOT_FOUND; /* torn within a sector; or damaged, and hides nothing */
    ss_file_close(fd);
    if (status != SS_OK)
        return status;
    const char *slash = strrchr(name, '/');
    if (memcmp(found.store_id, store_id, 16) != 0 || found.stream_id != stream_id || found.shard != shard ||
        found.ordinal != ss_segment_ordinal(slash ? slash + 1 : name))
        return SS_FOREIGN;
    found.description = NULL;
    found.description_size = 0;
    *facts = found;
    return SS_OK;
}

ss_segment *ss_segment_new(const ss_segment_facts *facts)
{
    ss_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return NULL;
    segment->facts = *facts;
    segment->facts.description = NULL;
    segment->facts.description_size = 0;
    segment->fd = -1;
    ss_xxh3_key_init(&segment->salt, facts->salt);
    segment->indexed_end = facts->base;
    segment->indexed_ordinal = facts->base_ordinal;
    return segment;
}

void ss_segment_unmap(ss_segment *segment)
{
    ss_file_unmap(segment->map, (size_t)segment->facts.map_size);
    if (segment->open_files) /* set while the descriptor is open */
        atomic_fetch_sub(segment->open_files, 1);
    segment->open_files = NULL;
    ss_file_close(segment->fd);
    segment->map = NULL;
    segment->fd = -1;
    segment->writable = 0;
}

void ss_segment_free(ss_segment *segment)
{
    if (!segment)
        return;
    ss_segment_unmap(segment);
    ss_packed_index_free(segment->blocks);
    free(segment->marks);
    free(segment);
}

ss_status ss_segment_open(ss_segment *segment, int root, const char *name, int access, uint64_t map_from)
{
    int fd, writable = access == SS_SEGMENT_WRITE;
    uint64_t size = 0;
    /* msync through a map whose description is not open for writing does nothing and reports success: what is to be
     * synced through its map is opened for writing, though it is mapped for reading only. */
    ss_status status = ss_file_open(root, name, access == SS_SEGMENT_READ ? SS_FILE_READ : SS_FILE_WRITE, &fd);
    if (status != SS_OK)
        return status;
    void *mapped = NULL;
    if (map_from && (status = ss_file_size(fd, &size, NULL)) != SS_OK) {
        ss_file_close(fd);
        return status;
    }
    if (map_from && size >= map_from) {
        if ((status = ss_file_map(fd, (size_t)segment->facts.map_size, writable, &mapped)) != SS_OK) {
            ss_file_close(fd);
            return status;
        }
        if (writable)
            ss_file_map_dont_fork(mapped, (size_t)segment->facts.map_size);
        if (access != SS_SEGMENT_READ) {
            ss_file_close(fd); /* the map keeps the description: 10,000 written shards need no 10,000 descriptors */
            fd = -1;
        }
    }
    assert(segment->map == NULL && segment->fd < 0);
    segment->map = mapped;
    segment->writable = writable;
    segment->fd = fd;
    return SS_OK;
}

ss_status ss_segment_still_there(const ss_segment *segment, int *same)
{
    uint8_t salt[8];
    size_t got = sizeof salt;
    ss_status status = SS_OK;
    if (segment->map)
        memcpy(salt, segment->map + SEGMENT_SALT, sizeof salt);
    else
        status = ss_file_read(segment->fd, salt, sizeof salt, SEGMENT_SALT, &got);
    *same = got < sizeof salt || format_load64(salt) == segment->facts.salt; /* one cut short reads as damaged */
    return status;
}

ss_status ss_segment_copy(const ss_segment *segment, uint64_t position, void *to, size_t size)
{
    uint64_t offset = ss_segment_offset(segment, position);
    if (segment->map) {
        memcpy(to, segment->map + offset, size);
        return SS_OK;
    }
    size_t got = 0;
    ss_status status = ss_file_read(segment->fd, to, size, offset, &got);
    if (status != SS_OK)
        return status;
    memset((uint8_t *)to + got, 0, size - got); /* a file cut short reads as zeros, which no frame is */
    return SS_OK;
}

ss_status ss_segment_sync(ss_segment *segment, uint64_t begin, uint64_t end)
{
    if (segment->fd < 0)
        return ss_file_sync_map(segment->map + ss_segment_offset(segment, begin), (size_t)(end - begin));
    return ss_file_sync(segment->fd);
}
