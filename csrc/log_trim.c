/* The start of a log: moving it forward, unlinking what lies before; listing and verifying segments. */
#include <stdlib.h>

#include "file.h"
#include "killpoint.h"
#include "log.h"
#include "record.h"
#include "scan.h"

static ss_status sync_directory(ss_log *log)
{
    int directory;
    ss_status status = ss_file_open_directory(log->store->root, log->directory, &directory);
    if (status != SS_OK)
        return status;
    status = ss_file_sync_directory(directory);
    ss_file_close(directory);
    return status == SS_OK ? SS_OK : ss_store_poison_set(log->store, status);
}

/* Unlink every segment file that ends at or before `position` or was cut away: the files, oldest first. */
static ss_status unlink_before(ss_log *log, uint64_t position, uint64_t *freed)
{
    uint64_t *ordinals, keep_from;
    size_t count;
    ss_segment *segment;
    uint64_t end;
    ss_status status = ss_log_table_find(log, position, &segment, &end);
    if (status == SS_TRIMMED)
        return SS_OK;
    if (status != SS_OK)
        return status;
    /* the segment that holds `position`; live ones before it end at or before its base */
    keep_from = segment->facts.ordinal;
    /* Whoever packed it may have died before its name was durable: then what it cut must not go first. */
    status = segment->facts.packed ? sync_directory(log) : SS_OK;
    ss_log_table_release(log, segment);
    if (status != SS_OK || (status = ss_log_table_list(log, &ordinals, &count)) != SS_OK)
        return status;
    for (size_t i = 0; i < count && ordinals[i] < keep_from && status == SS_OK; i++) {
        char name[SS_SEGMENT_NAME_SIZE];
        uint64_t size, disk_bytes = 0;
        int fd;
        ss_segment_name(log->directory, ordinals[i], name);
        if (ss_file_open(log->store->root, name, SS_FILE_READ, &fd) == SS_OK) {
            ss_file_size(fd, &size, &disk_bytes);
            ss_file_close(fd);
        }
        status = ss_file_unlink(log->store->root, name);
        SS_KILLPOINT("trim-unlinked");
        if (ss_status_code(status) == SS_NOT_FOUND)
            status = SS_OK; /* another process trims too */
        else if (status == SS_OK)
            *freed += disk_bytes;
    }
    free(ordinals);
    return status;
}

ss_status ss_log_trim(ss_log *log, uint64_t position, uint64_t *bytes_freed)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    int taken_over;
    uint64_t freed = 0;
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_ready(log)) == SS_OK && (status = ss_log_lock(log, 0, &taken_over)) == SS_OK) {
        ss_control_entry *entry = log->entry;
        uint64_t before, start = atomic_load(&entry->start);
        if (position % 8 || position > atomic_load(&entry->tail))
            status = SS_INVALID;
        else if (position > start && (status = ss_log_seek_records_before(log, position, &before)) == SS_OK) {
            atomic_store(&entry->start_record_count, before);
            /* readers turn away before a file goes */
            atomic_store_explicit(&entry->start, position, memory_order_release);
            SS_KILLPOINT("trim-started");
        }
        ss_log_unlock(log);
        /* Files go without the lock: to free the blocks of a large one takes the file system a while. At the start
         * itself too: who trimmed to there may have died before its files went. Where the first roll died no segment
         * counts yet, and none goes. */
        if (status == SS_OK && position >= start && atomic_load(&entry->segment_ordinal)) {
            status = unlink_before(log, position, &freed);
            ss_log_table_drop_before(log, position);
        }
    }
    if (status == SS_OK)
        *bytes_freed = freed;
    ss_store_leave(log->store);
    return status;
}

static void describe_segment(ss_log *log, uint64_t ordinal, ss_segment_info *info)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_facts facts;
    int fd;
    *info = (ss_segment_info){.ordinal = ordinal};
    ss_segment_name(log->directory, ordinal, name);
    if (ss_file_open(log->store->root, name, SS_FILE_READ, &fd) != SS_OK)
        return;
    ss_file_size(fd, &info->file_size, &info->disk_bytes);
    ss_file_close(fd);
    if (ss_segment_read_header(log->store->root, name, log->store->store_id, log->stream_id, log->shard, &facts) !=
        SS_OK)
        return;
    info->base = facts.base;
    info->base_ordinal = facts.base_ordinal;
    info->epoch = facts.epoch;
    info->salt = facts.salt;
    info->created_us = facts.created_us;
    info->packed = facts.packed;
}

ss_status ss_log_segments(ss_log *log, ss_segment_info *segments, size_t limit, size_t *count)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    uint64_t *ordinals = NULL;
    size_t found = 0;
    if ((status = ss_log_ready(log)) == SS_OK && (status = ss_log_table_list(log, &ordinals, &found)) == SS_OK) {
        for (size_t i = 0; i < found && i < limit; i++)
            describe_segment(log, ordinals[i], &segments[i]);
        ss_segment *live;
        uint64_t end, tail = atomic_load(&log->entry->tail);
        for (size_t i = 0; ss_log_table_at(log, i, &live, &end) == SS_OK; i++) {
            for (size_t s = 0; s < found && s < limit; s++)
                if (segments[s].ordinal == live->facts.ordinal) {
                    segments[s].live = 1;
                    segments[s].sealed = end != UINT64_MAX;
                    segments[s].end = end == UINT64_MAX ? tail : end;
                    segments[s].index_present = segments[s].sealed && ss_log_index_present(log, live, end);
                }
            ss_log_table_release(log, live);
        }
        free(ordinals);
        *count = found;
    }
    ss_store_leave(log->store);
    return status;
}

typedef struct {
    ss_damage *damage;
    size_t limit;
    size_t count;
    uint64_t ordinal; /* records before the position that the walk has reached */
} verification;

static void note(verification *v, const ss_segment *segment, uint64_t offset, uint64_t begin, uint64_t end)
{
    if (v->count < v->limit)
        v->damage[v->count] = (ss_damage){.begin = begin,
                                          .end = end,
                                          .segment_ordinal = segment ? segment->facts.ordinal : 0,
                                          .file_offset = offset,
                                          .first_ordinal = v->ordinal};
    v->count++;
}

static ss_status verify_segment(ss_log *log, const ss_segment *segment, uint64_t begin, uint64_t end, verification *v,
                                ss_verify_totals *totals)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_scan scan = {.fd = -1};
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    if (v->ordinal < segment->facts.base_ordinal)
        v->ordinal = segment->facts.base_ordinal; /* where the first frame does not hold, the header knows */
    ss_status status = ss_scan_open(&scan, segment, log->store->root, name);
    while (status == SS_OK && begin < end) {
        ss_record_header header;
        const uint8_t *frame;
        status = ss_scan_frame(&scan, begin, &header, &frame);
        if (status == SS_OK && header.frame_size <= end - begin) {
            uint64_t ordinal = segment->facts.base_ordinal + header.ordinal;
            if (v->count && v->count <= v->limit && !v->damage[v->count - 1].next_ordinal)
                v->damage[v->count - 1].next_ordinal = ordinal;
            totals->frames++;
            totals->records += header.type == SS_FRAME_DATA;
            totals->bytes += header.frame_size;
            v->ordinal = header.type == SS_FRAME_DATA ? ordinal : ordinal - 1;
            begin += header.frame_size;
        } else if (status == SS_OK || status == SS_CORRUPT) {
            uint64_t next = end;
            status = ss_scan_resync(&scan, begin, end, &next);
            note(v, segment, ss_scan_offset(&scan, begin), begin, next);
            begin = next;
            status = status == SS_NOT_FOUND ? SS_OK : status;
        } else if (status == SS_NO_KEY) { /* its check holds: that much is known of it */
            uint64_t next = ss_scan_block_end(&scan, begin) < end ? ss_scan_block_end(&scan, begin) : end;
            totals->bytes += next - begin;
            begin = next;
            status = SS_OK;
        }
    }
    if (scan.buffer)
        ss_scan_close(&scan);
    return status;
}

ss_status ss_log_verify(ss_log *log, uint64_t begin, uint64_t end, ss_damage *damage, size_t limit, size_t *count,
                        ss_verify_totals *totals)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    verification v = {.damage = damage, .limit = limit};
    ss_verify_totals sums = {0};
    if ((status = ss_log_ready(log)) == SS_OK) {
        uint64_t start = atomic_load(&log->entry->start), tail = atomic_load(&log->entry->tail);
        begin = begin > start ? begin : start;
        end = end && end < tail ? end : tail;
        while (begin < end && status == SS_OK) {
            ss_segment *segment;
            uint64_t segment_end;
            status = ss_log_table_find(log, begin, &segment, &segment_end);
            if (status == SS_CORRUPT) { /* a whole segment is missing, or its header is damaged */
                uint64_t next = ss_log_table_next_base(log, begin, end);
                note(&v, NULL, 0, begin, next);
                begin = next;
                status = SS_OK;
                continue;
            }
            if (status != SS_OK)
                break;
            uint64_t to = segment_end < end ? segment_end : end;
            status = verify_segment(log, segment, begin, to, &v, &sums);
            ss_log_table_release(log, segment);
            begin = to;
        }
    }
    if (status == SS_OK) {
        *count = v.count;
        *totals = sums;
    }
    ss_store_leave(log->store);
    return status;
}
