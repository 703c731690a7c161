/* Starting a segment. Its commit point is a valid header: everything in it is synced before, nothing counts without
 * it. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "file.h"
#include "killpoint.h"
#include "log.h"
#include "record.h"
#include "reserve.h"
#include "scan.h"
#include "wait.h"

#define FIRST_STEP_MAX (UINT64_C(8) << 20)

uint64_t ss_log_roll_epoch(const ss_log *log)
{
    const uint64_t us_2100 = UINT64_C(4102444800000000);
    uint64_t wall = ss_wait_wall_us(), epoch = atomic_load(&log->entry->epoch);
    uint64_t counter = atomic_load(&log->store->control.header->epoch_counter);
    epoch = epoch > log->epoch_floor ? epoch : log->epoch_floor;
    epoch = (epoch > counter ? epoch : counter) + 1;
    if (wall < us_2100 && wall > epoch)
        epoch = wall;
    return epoch;
}

/* Make the log's directory and its parents, each durable before anything in it is. */
static ss_status make_directories(ss_log *log)
{
    int root = log->store->root, parent;
    char path[48];
    if (log->stream_id == 0 && log->shard == 0) {
        ss_status made = ss_file_make_directory(root, log->directory);
        if (made != SS_OK && ss_status_code(made) != SS_EXISTS)
            return made;
        return ss_file_sync_directory(root);
    }
    ss_status status = ss_file_make_directory(root, "streams");
    if (status != SS_OK && ss_status_code(status) != SS_EXISTS)
        return status;
    snprintf(path, sizeof path, "streams/%" PRIu32, log->stream_id);
    ss_status made_stream = ss_file_make_directory(root, path);
    if (made_stream != SS_OK && ss_status_code(made_stream) != SS_EXISTS)
        return made_stream;
    ss_status made_shard = ss_file_make_directory(root, log->directory);
    if (made_shard != SS_OK && ss_status_code(made_shard) != SS_EXISTS)
        return made_shard;
    /* Names that a killed process made but did not sync look just like old ones: sync the whole chain. An unchanged
     * directory costs little. */
    if (status == SS_OK && (status = ss_file_sync_directory(root)) != SS_OK)
        return status;
    if ((status = ss_file_open_directory(root, "streams", &parent)) != SS_OK)
        return status;
    status = ss_file_sync_directory(parent);
    ss_file_close(parent);
    if (status != SS_OK || (status = ss_file_open_directory(root, path, &parent)) != SS_OK)
        return status;
    status = ss_file_sync_directory(parent);
    ss_file_close(parent);
    return status;
}

/* An empty file under the next free ordinal. What an unfinished roll left there is removed, unless it was committed. */
static ss_status create_file(ss_log *log, uint64_t *ordinal, char name[SS_SEGMENT_NAME_SIZE], int *fd)
{
    *ordinal = atomic_load(&log->entry->next_ordinal);
    int made_directories = 0;
    if (*ordinal <= 1) {
        ss_status status = make_directories(log);
        if (status != SS_OK)
            return status;
        *ordinal = 1;
        made_directories = 1;
    }
    for (;;) {
        if (*ordinal > SS_SEGMENT_ORDINAL_MAX)
            return SS_LIMIT; /* nobody would find a file of that name again */
        ss_segment_name(log->directory, *ordinal, name);
        ss_status status = ss_file_open(log->store->root, name, SS_FILE_WRITE | SS_FILE_CREATE, fd);
        if (status == SS_OK)
            return SS_OK;
        if (ss_status_code(status) == SS_NOT_FOUND && !made_directories) {
            if ((status = make_directories(log)) != SS_OK)
                return status;
            made_directories = 1;
            continue;
        }
        if (ss_status_code(status) != SS_EXISTS)
            return status;
        ss_segment_facts facts;
        status = ss_segment_read_header(log->store->root, name, log->store->store_id, log->stream_id, log->shard,
                                        &facts);
        if (ss_status_code(status) == SS_NOT_FOUND) {
            if ((status = ss_file_unlink(log->store->root, name)) != SS_OK)
                return status;
        } else {
            /* A valid header: the roller died after its commit point. Anything else is not ours to remove. */
            ++*ordinal;
        }
    }
}

/* Copy the frames of [base, tail) under the new segment's salt; complete and synced before the header. */
static ss_status copy_frames(ss_log *log, ss_segment *to, uint64_t base, uint64_t tail, uint64_t *first_ordinal)
{
    uint64_t position = base, data_frames = 0;
    *first_ordinal = 0;
    while (position < tail) {
        ss_segment *from;
        uint64_t end;
        ss_status status = ss_log_table_find(log, position, &from, &end);
        if (status != SS_OK)
            return status;
        end = end < tail ? end : tail;
        char name[SS_SEGMENT_NAME_SIZE];
        ss_scan scan = {.fd = -1};
        ss_segment_name(log->directory, from->facts.ordinal, name);
        status = ss_scan_open(&scan, from, log->store->root, name);
        while (status == SS_OK && position < end) {
            ss_record_header header;
            const uint8_t *frame;
            if ((status = ss_scan_frame(&scan, position, &header, &frame)) != SS_OK)
                break;
            if (*first_ordinal == 0) {
                *first_ordinal = from->facts.base_ordinal + header.ordinal;
                to->facts.floor_arrival = header.arrival_us; /* a seek by time must find what was copied */
            }
            uint64_t offset = ss_segment_offset(to, position);
            assert(offset + header.frame_size <= to->facts.map_size);
            if (to->map) {
                ss_record_rewrite(to->map + offset, frame, &header, (uint32_t)data_frames + 1, 0, &to->salt);
            } else {
                /* not in place: the scan's window serves the next frames too */
                uint8_t *copy = malloc(header.frame_size);
                if (!copy) {
                    status = SS_NO_MEMORY;
                    break;
                }
                ss_record_rewrite(copy, frame, &header, (uint32_t)data_frames + 1, 0, &to->salt);
                status = ss_file_write(to->fd, copy, header.frame_size, offset);
                free(copy);
            }
            data_frames += header.type == SS_FRAME_DATA;
            SS_KILLPOINT("roll-copying");
            position += header.frame_size;
        }
        if (scan.buffer)
            ss_scan_close(&scan);
        ss_log_table_release(log, from);
        if (status != SS_OK)
            return status;
    }
    return SS_OK;
}

/* All of the header but its first word, the magic, without which it is none. */
static ss_status write_header(ss_log *log, ss_segment *segment)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_log_encode_header(log, &segment->facts, header);
    if (!segment->map)
        return ss_file_write(segment->fd, header + SEGMENT_VERSION, sizeof header - SEGMENT_VERSION, SEGMENT_VERSION);
    memcpy(segment->map + SEGMENT_VERSION, header + SEGMENT_VERSION, sizeof header - SEGMENT_VERSION);
    return SS_OK;
}

static ss_status write_magic(ss_segment *segment)
{
    uint8_t magic[SEGMENT_VERSION];
    format_store64(magic, SEGMENT_MAGIC_VALUE);
    if (!segment->map)
        return ss_file_write(segment->fd, magic, sizeof magic, SEGMENT_MAGIC);
    memcpy(segment->map + SEGMENT_MAGIC, magic, sizeof magic);
    return SS_OK;
}

static ss_status sync_new(ss_log *log, ss_segment *segment, uint64_t size)
{
    ss_status status = segment->map ? ss_file_sync_map(segment->map, (size_t)size) : ss_file_sync(segment->fd);
    return status == SS_OK ? SS_OK : ss_store_poison_set(log->store, status);
}

/* Fill and commit the file: copies and header, sync, the header's magic, sync, directory. */
static ss_status commit(ss_log *log, ss_segment *segment, uint64_t base, uint64_t tail)
{
    ss_status status = SS_OK;
    uint64_t size = SS_SEGMENT_HEADER_SIZE + (tail - base), first_ordinal = 0;
    if (segment->map && (status = ss_file_populate(segment->map, (size_t)size)) != SS_OK)
        return status;
    if (base < tail) {
        if ((status = copy_frames(log, segment, base, tail, &first_ordinal)) != SS_OK)
            return status;
        assert(first_ordinal > 0); /* of a frame that was copied: there was one */
        segment->facts.base_ordinal = first_ordinal - 1;
        segment->indexed_ordinal = segment->facts.base_ordinal;
    }
    if ((status = write_header(log, segment)) != SS_OK)
        return status;
    /* Guards a cut that tears the header: over copies it would pass for one that was committed and then damaged. With
     * nothing behind it a torn header hides nothing, and one sync does. */
    if (base < tail && (status = sync_new(log, segment, size)) != SS_OK)
        return status;
    SS_KILLPOINT("roll-copied");
    if ((status = write_magic(segment)) != SS_OK)
        return status;
    SS_KILLPOINT("roll-header");
    if ((status = sync_new(log, segment, SS_SEGMENT_HEADER_SIZE)) != SS_OK)
        return status;
    int directory;
    if ((status = ss_file_open_directory(log->store->root, log->directory, &directory)) != SS_OK)
        return status;
    status = ss_file_sync_directory(directory); /* guards a power cut that keeps the data and loses its name */
    ss_file_close(directory);
    return status == SS_OK ? SS_OK : ss_store_poison_set(log->store, status);
}

static uint64_t first_allocation(const ss_log *log, uint64_t needed, uint64_t map_size)
{
    /* A log that filled its last segment will fill this one: begin with a larger step. */
    uint64_t step = atomic_load(&log->entry->allocated) / 8;
    step = step < ALLOCATE_STEP_MIN ? ALLOCATE_STEP_MIN : step > FIRST_STEP_MAX ? FIRST_STEP_MAX : step;
    step = step > needed ? step : needed;
    step = (step + ALLOCATE_STEP_MIN - 1) & ~(ALLOCATE_STEP_MIN - 1);
    return step < map_size ? step : map_size;
}

static void describe_new(ss_log *log, uint64_t base, uint64_t tail, uint64_t epoch, uint64_t frame_size,
                         ss_segment_facts *facts)
{
    uint64_t wanted = SS_SEGMENT_HEADER_SIZE + (tail - base) + frame_size + (UINT64_C(64) << 10);
    wanted += format_index_room(wanted);
    wanted = (wanted + ALLOCATE_STEP_MIN - 1) & ~(ALLOCATE_STEP_MIN - 1);
    *facts = (ss_segment_facts){
        .stream_id = log->stream_id,
        .shard = log->shard,
        .base = base,
        .previous_end = base,
        .base_ordinal = atomic_load(&log->entry->record_count),
        .epoch = epoch,
        .created_us = ss_wait_wall_us(),
        .map_size = wanted > log->segment_size_max ? wanted : log->segment_size_max,
        .copied_end = tail,
        .floor_arrival = atomic_load(&log->entry->last_arrival_us),
    };
    memcpy(facts->store_id, log->store->store_id, 16);
}

static void enter_new(ss_log *log, ss_segment *segment, uint64_t base, uint64_t tail, uint64_t epoch,
                      uint64_t allocated)
{
    ss_control_entry *entry = log->entry;
    if (log->writer)
        ss_log_table_release(log, log->writer);
    log->writer = segment;
    atomic_store(&entry->segment_base, base);
    atomic_store(&entry->segment_base_ordinal, segment->facts.base_ordinal);
    SS_KILLPOINT("roll-entering");
    atomic_store(&entry->allocated, allocated);
    atomic_store(&entry->epoch, epoch);
    atomic_store(&entry->next_ordinal, segment->facts.ordinal + 1);
    atomic_store(&entry->described, 0); /* who dies before the other store leaves a segment for the next to look at */
    atomic_store_explicit(&entry->segment_ordinal, segment->facts.ordinal, memory_order_release);
    SS_KILLPOINT("roll-entered");
    atomic_store(&entry->described, log->described);
    atomic_store(&entry->in_place, 0);
    atomic_store(&entry->epoch_current, 1);
    atomic_store(&entry->reserve_end, tail); /* C1 again: the roll is whole */
}

ss_status ss_log_roll_to(ss_log *log, uint64_t base, uint64_t epoch, uint64_t frame_size)
{
    ss_control_entry *entry = log->entry;
    uint64_t tail = atomic_load(&entry->tail), ordinal;
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_facts facts;
    assert(base <= tail && base % 8 == 0);
    describe_new(log, base, tail, epoch, frame_size, &facts);
    if (facts.map_size > SEGMENT_SIZE_LIMIT)
        return SS_TOO_LARGE;
    /* No number is left above one that stands on disk, no position that a reader would believe, or no name. */
    if (epoch > FRAME_EPOCH_MAX || base + facts.map_size > SS_CONTROL_POSITION_MAX ||
        atomic_load(&entry->next_ordinal) > SS_SEGMENT_ORDINAL_MAX)
        return SS_LIMIT;
    /* Guards a kill anywhere below: the next owner sees the reservation and rolls once more. */
    int whole = atomic_load(&entry->reserve_end) == tail;
    if (whole)
        atomic_store(&entry->reserve_end, tail + 8);
    SS_KILLPOINT("roll-reserved");
    int fd;
    ss_status status = create_file(log, &ordinal, name, &fd);
    if (status != SS_OK)
        return status;
    facts.ordinal = ordinal;
    SS_KILLPOINT("roll-created");
    /* with nothing to hold yet the header alone: an idle log that rolls so that it can be trimmed costs a page */
    uint64_t needed = SS_SEGMENT_HEADER_SIZE + (tail - base) + frame_size;
    uint64_t allocated = needed == SS_SEGMENT_HEADER_SIZE ? needed : first_allocation(log, needed, facts.map_size);
    status = ss_file_allocate(fd, allocated, log->store->mmap_ok);
    ss_file_close(fd);
    if (status == SS_OK)
        status = ss_file_random(&facts.salt, sizeof facts.salt);
    ss_segment *segment = status == SS_OK ? ss_segment_new(&facts) : NULL;
    if (status == SS_OK && !segment)
        status = SS_NO_MEMORY;
    if (status == SS_OK) {
        status = ss_segment_open(segment, log->store->root, name, SS_SEGMENT_WRITE,
                                 log->store->mmap_ok ? SS_SEGMENT_HEADER_SIZE : 0);
        segment->opened_at_sync = atomic_load(&entry->sync_number);
    }
    int begun = status == SS_OK;
    if (begun)
        status = commit(log, segment, base, tail);
    if (status != SS_OK) {
        ss_segment_free(segment);
        if (ss_status_code(status) != SS_POISONED)
            ss_file_unlink(log->store->root, name); /* nobody entered it: it never counted */
        /* Full before a byte was written: smaller appends may go on here. Once a header may be on disk none may: a
         * power cut could bring the unlinked file back, and with it the cut at this tail. */
        if (whole && !begun)
            atomic_store(&entry->reserve_end, tail);
        return status;
    }
    SS_KILLPOINT("roll-committed");
    segment->refs = 2; /* the table's and the writer's */
    if ((status = ss_log_table_add(log, segment)) != SS_OK) {
        ss_segment_free(segment); /* committed, but not entered: the next roll passes over it */
        return status;
    }
    enter_new(log, segment, base, tail, epoch, allocated);
    ss_flusher_notice(log->store); /* it syncs what was sealed, and writes its index */
    if (base < tail)
        ss_log_sync_publish(log, tail, base);
    return SS_OK;
}

ss_status ss_log_roll_writer(ss_log *log)
{
    ss_segment *segment = NULL;
    uint64_t ordinal = atomic_load(&log->entry->segment_ordinal), end;
    if (log->writer && log->writer->facts.ordinal == ordinal && log->writer->writable)
        return SS_OK;
    if (log->writer)
        ss_log_table_release(log, log->writer);
    log->writer = NULL;
    for (int attempt = 0; attempt < 2; attempt++) {
        ss_status status = ss_log_table_find(log, atomic_load(&log->entry->segment_base), &segment, &end);
        if (status != SS_OK)
            return status;
        if (segment->writable)
            break;
        status = ss_log_table_open(log, segment, 1);
        ss_log_table_release(log, segment);
        segment = NULL;
        if (status != SS_OK)
            return status;
    }
    if (!segment)
        return SS_STALE;
    if (segment->facts.ordinal != ordinal || segment->facts.packed) {
        ss_log_table_release(log, segment);
        return SS_CORRUPT; /* the active segment's header no longer holds */
    }
    log->writer = segment;
    return SS_OK;
}

ss_status ss_log_roll(ss_log *log, uint64_t expected_tail)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    int taken_over;
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_lock(log, 0, &taken_over)) == SS_OK) {
        ss_control_entry *entry = log->entry;
        if (atomic_load(&entry->state) == SS_LOG_UNRECOVERED)
            status = ss_log_recover(log);
        if (status == SS_OK && expected_tail && expected_tail != atomic_load(&entry->tail))
            status = SS_TAIL_MISMATCH;
        if (status == SS_OK && atomic_load(&entry->reserve_end) != atomic_load(&entry->tail))
            status = ss_log_recover_counters(log);
        if (status == SS_OK && atomic_load(&entry->closed))
            status = SS_SHARD_CLOSED;
        if (status == SS_OK && atomic_load(&entry->segment_ordinal)) {
            status = ss_log_roll_to(log, atomic_load(&entry->tail), ss_log_roll_epoch(log), 0);
            /* a page is all it takes, so that a full disk can be trimmed where all there is stands in one segment */
            if (ss_status_code(status) == SS_FULL && ss_reserve_spend(log->store->root) == SS_OK)
                status = ss_log_roll_to(log, atomic_load(&entry->tail), ss_log_roll_epoch(log), 0);
        }
        ss_log_unlock(log);
    }
    ss_store_leave(log->store);
    return status;
}
