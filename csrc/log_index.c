/* The sparse index of a segment: a mark per 64 KiB stride, built by walking frame headers as far as it is asked for,
 * and kept in a checksummed trailer behind the frames of a sealed segment. Always a hint: what does not hold is
 * built anew from the frames. */
#include <assert.h>
#include <stdlib.h>

#include "file.h"
#include "log.h"
#include "record.h"
#include "scan.h"

enum { WALK_WINDOW = 64 * 1024 };

static ss_status add_mark(ss_segment *segment, uint64_t position, uint64_t arrival_us, uint64_t ordinal)
{
    if (segment->mark_count == segment->mark_capacity) {
        size_t capacity = segment->mark_capacity ? segment->mark_capacity * 2 : 16;
        ss_segment_mark *marks = realloc(segment->marks, capacity * sizeof *marks);
        if (!marks)
            return SS_NO_MEMORY;
        segment->marks = marks;
        segment->mark_capacity = capacity;
    }
    segment->marks[segment->mark_count++] = (ss_segment_mark){position, arrival_us, ordinal};
    return SS_OK;
}

ss_status ss_log_index_resync(ss_log *log, const ss_segment *segment, uint64_t from, uint64_t end, uint64_t *position)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_scan scan = {.fd = -1};
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    ss_status status = ss_scan_open(&scan, segment, log->store->root, name);
    if (status != SS_OK)
        return ss_status_code(status) == SS_NOT_FOUND ? SS_TRIMMED : status;
    status = ss_scan_resync(&scan, from, end, position);
    ss_scan_close(&scan);
    if (status == SS_NOT_FOUND)
        *position = end;
    return status == SS_NOT_FOUND ? SS_OK : status;
}

static size_t trailer_size(size_t marks)
{
    return INDEX_FIRST + marks * INDEX_ENTRY_SIZE + 8;
}

/* Every number is checked before it is used: a trailer is as hostile as any file. */
static int trailer_holds(const uint8_t *bytes, size_t size, const ss_segment *segment, uint64_t end)
{
    uint32_t count = format_load32(bytes + INDEX_ENTRIES);
    if (format_load64(bytes) != INDEX_MAGIC_VALUE || format_load32(bytes + INDEX_VERSION) != SS_FORMAT_VERSION)
        return 0;
    if (format_load64(bytes + INDEX_ORDINAL) != segment->facts.ordinal || format_load64(bytes + INDEX_END) != end)
        return 0;
    if (count > (end - segment->facts.base) / INDEX_STRIDE + 2 || trailer_size(count) > size)
        return 0;
    size_t covered = trailer_size(count) - 8;
    return format_load64(bytes + covered) == ss_xxh3_64(&segment->salt, bytes, covered);
}

static ss_status adopt_trailer(ss_segment *segment, const uint8_t *bytes, uint64_t end)
{
    uint32_t count = format_load32(bytes + INDEX_ENTRIES);
    ss_status status = SS_OK;
    segment->mark_count = 0;
    for (uint32_t i = 0; i < count && status == SS_OK; i++) {
        const uint8_t *entry = bytes + INDEX_FIRST + (size_t)i * INDEX_ENTRY_SIZE;
        uint64_t position = format_load64(entry), last = i ? segment->marks[i - 1].position : 0;
        if (position < segment->facts.base || position >= end || position % 8 || position <= last)
            status = SS_CORRUPT;
        else
            status = add_mark(segment, position, format_load64(entry + 8), format_load64(entry + 16));
    }
    if (status != SS_OK) { /* as if nothing had been built */
        segment->mark_count = 0;
        segment->indexed_end = segment->facts.base;
        segment->indexed_ordinal = segment->facts.base_ordinal;
        return status;
    }
    segment->indexed_ordinal = segment->facts.base_ordinal + format_load64(bytes + INDEX_RECORDS);
    segment->indexed_end = end;
    return SS_OK;
}

/* Read the trailer of a sealed segment, if it has one that holds. */
static ss_status load_trailer(ss_log *log, ss_segment *segment, uint64_t end)
{
    char name[SS_SEGMENT_NAME_SIZE];
    int fd;
    size_t got = 0, size = (size_t)format_index_room(end - segment->facts.base);
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    ss_status status = ss_file_open(log->store->root, name, SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    uint8_t *bytes = malloc(size);
    status = bytes ? ss_file_read(fd, bytes, size, ss_segment_offset(segment, end), &got) : SS_NO_MEMORY;
    ss_file_close(fd);
    if (status == SS_OK)
        status = got >= trailer_size(0) && trailer_holds(bytes, got, segment, end) ? adopt_trailer(segment, bytes, end)
                                                                                   : SS_NOT_FOUND;
    free(bytes);
    return status;
}

ss_status ss_log_index_extend(ss_log *log, ss_segment *segment, uint64_t needed, uint64_t end)
{
    uint64_t sealed_end = atomic_load(&segment->sealed_end);
    if (sealed_end && segment->indexed_end == segment->facts.base && end > segment->indexed_end &&
        load_trailer(log, segment, sealed_end) == SS_OK)
        return SS_OK;
    uint8_t *window = NULL;
    uint64_t window_at = 0, window_size = 0;
    ss_status status = SS_OK;
    while (segment->indexed_end < needed && status == SS_OK) {
        uint64_t at = segment->indexed_end;
        ss_record_header header;
        if (!window && !(window = malloc(WALK_WINDOW)))
            return SS_NO_MEMORY;
        assert(at >= window_at); /* the walk goes forward */
        if (at + FRAME_BODY > window_at + window_size) {
            window_at = at;
            window_size = end - at < WALK_WINDOW ? end - at : WALK_WINDOW;
            if ((status = ss_segment_copy(segment, at, window, (size_t)window_size)) != SS_OK)
                break;
        }
        int holds = window_size - (at - window_at) >= FRAME_BODY &&
                    ss_record_read_header(window + (at - window_at), at, &segment->salt, &header) == SS_OK &&
                    header.frame_size <= end - at;
        if (!holds) { /* damage: go on behind it */
            status = ss_log_index_resync(log, segment, at, end, &segment->indexed_end);
            continue;
        }
        uint64_t before = segment->facts.base_ordinal + header.ordinal - 1;
        uint64_t last = segment->mark_count ? segment->marks[segment->mark_count - 1].position : 0;
        if (!segment->mark_count || at / INDEX_STRIDE != last / INDEX_STRIDE)
            status = add_mark(segment, at, header.arrival_us, before);
        segment->indexed_ordinal = before + (header.type == SS_FRAME_DATA);
        segment->indexed_end = at + header.frame_size;
    }
    free(window);
    return status;
}

/* Whether a trailer may be written there: over nothing, or over what an earlier one left. What was cut away at `end`
 * stays as it is, and a power cut that tears a trailer leaves zeros between its words, by which it is known. */
static ss_status look_at_place(int fd, const ss_segment *segment, uint64_t end, size_t size)
{
    uint8_t *found = malloc(size);
    size_t got = 0, at = 0;
    ss_status status = found ? ss_file_read(fd, found, size, ss_segment_offset(segment, end), &got) : SS_NO_MEMORY;
    int ours = status == SS_OK && got > INDEX_RECORDS &&
               (format_load64(found) == INDEX_MAGIC_VALUE ||
                (format_load64(found + INDEX_ORDINAL) == segment->facts.ordinal &&
                 format_load64(found + INDEX_END) == end));
    while (!ours && at < got && !found[at])
        at++;
    free(found);
    return status != SS_OK ? status : at < got && !ours ? SS_EXISTS : SS_OK;
}

static ss_status write_trailer(ss_log *log, const ss_segment *segment, uint64_t end)
{
    size_t size = trailer_size(segment->mark_count);
    uint64_t offset = ss_segment_offset(segment, end);
    if (offset + size > segment->facts.map_size)
        return SS_TOO_LARGE;
    uint8_t *bytes = calloc(1, size);
    if (!bytes)
        return SS_NO_MEMORY;
    format_store64(bytes, INDEX_MAGIC_VALUE);
    format_store32(bytes + INDEX_VERSION, SS_FORMAT_VERSION);
    format_store32(bytes + INDEX_ENTRIES, (uint32_t)segment->mark_count);
    format_store64(bytes + INDEX_ORDINAL, segment->facts.ordinal);
    format_store64(bytes + INDEX_END, end);
    format_store64(bytes + INDEX_RECORDS, segment->indexed_ordinal - segment->facts.base_ordinal);
    for (size_t i = 0; i < segment->mark_count; i++) {
        uint8_t *entry = bytes + INDEX_FIRST + i * INDEX_ENTRY_SIZE;
        format_store64(entry, segment->marks[i].position);
        format_store64(entry + 8, segment->marks[i].arrival_us);
        format_store64(entry + 16, segment->marks[i].ordinal);
    }
    format_store64(bytes + size - 8, ss_xxh3_64(&segment->salt, bytes, size - 8));
    char name[SS_SEGMENT_NAME_SIZE];
    int fd = -1;
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    ss_status status = ss_file_open(log->store->root, name, SS_FILE_WRITE, &fd);
    uint8_t salt[8];
    size_t got = 0;
    if (status == SS_OK)
        status = ss_file_read(fd, salt, sizeof salt, SEGMENT_SALT, &got);
    if (status == SS_OK && (got < sizeof salt || format_load64(salt) != segment->facts.salt))
        status = SS_NOT_FOUND; /* a packed segment has the name by now */
    if (status == SS_OK)
        status = look_at_place(fd, segment, end, size);
    if (status == SS_OK) {
        /* Blocks first: the file is then long enough for whoever maps it, and a full disk leaves it without a
         * trailer. */
        status = ss_file_allocate(fd, offset + size, log->store->mmap_ok);
        if (status == SS_OK)
            status = ss_file_write(fd, bytes, size, offset);
    }
    ss_file_close(fd);
    free(bytes);
    return status;
}

void ss_log_index_seal(ss_log *log)
{
    uint64_t durable = atomic_load(&log->entry->durable), end;
    ss_segment *segment;
    for (size_t i = 0; ss_log_table_at(log, i, &segment, &end) == SS_OK; i++) {
        /* Only what is durable: a trailer behind frames that a power cut may still take would look like damage. */
        int due = end != UINT64_MAX && end <= durable && !segment->facts.packed &&
                  !atomic_exchange(&segment->index_looked_at, 1);
        if (due && ss_log_table_open(log, segment, 0) == SS_OK) {
            pthread_mutex_lock(&log->index_mutex);
            int loaded = load_trailer(log, segment, end) == SS_OK;
            if (!loaded && ss_log_index_extend(log, segment, end, end) == SS_OK && segment->indexed_end == end)
                write_trailer(log, segment, end); /* a hint: without it the next reader walks */
            pthread_mutex_unlock(&log->index_mutex);
        }
        ss_log_table_release(log, segment);
    }
}

int ss_log_index_present(ss_log *log, ss_segment *segment, uint64_t end)
{
    if (segment->facts.packed)
        return ss_log_table_open(log, segment, 0) == SS_OK && segment->blocks->holds;
    pthread_mutex_lock(&log->index_mutex);
    int present = load_trailer(log, segment, end) == SS_OK;
    pthread_mutex_unlock(&log->index_mutex);
    return present;
}
