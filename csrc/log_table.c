/* The live segments of a log as this process knows them. A later segment cuts all earlier ones at its base, so the
 * live ones are strictly increasing in ordinal and in base; what was cut away never comes back. */
#include <stdlib.h>

#include "file.h"
#include "log.h"

enum { LIST_FROM = 64 };       /* this many unknown ordinals and more are looked for in the directory */
enum { OPEN_FILES_MAX = 256 }; /* read descriptors kept by one store; more are closed after each use */

/* References are counted under the table mutex; the table owns one of each segment in it. */
static void drop_reference(ss_segment *segment)
{
    if (--segment->refs == 0)
        ss_segment_free(segment);
}

static ss_status push(ss_log *log, ss_segment *segment)
{
    while (log->table_count && log->table[log->table_count - 1]->facts.base >= segment->facts.base)
        drop_reference(log->table[--log->table_count]);
    if (log->table_count == log->table_capacity) {
        size_t capacity = log->table_capacity ? log->table_capacity * 2 : 4;
        ss_segment **table = realloc(log->table, capacity * sizeof *table);
        if (!table)
            return SS_NO_MEMORY;
        log->table = table;
        log->table_capacity = capacity;
    }
    if (log->table_count)
        atomic_store(&log->table[log->table_count - 1]->sealed_end, segment->facts.base);
    log->table[log->table_count++] = segment;
    return SS_OK;
}

typedef struct {
    uint64_t *ordinals;
    size_t count;
    size_t capacity;
} ordinal_list;

static ss_status collect_ordinal(const char *name, void *context)
{
    ordinal_list *list = context;
    uint64_t ordinal = ss_segment_ordinal(name);
    if (!ordinal)
        return SS_OK;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        uint64_t *ordinals = realloc(list->ordinals, capacity * sizeof *ordinals);
        if (!ordinals)
            return SS_NO_MEMORY;
        list->ordinals = ordinals;
        list->capacity = capacity;
    }
    list->ordinals[list->count++] = ordinal;
    return SS_OK;
}

static int compare_ordinals(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

ss_status ss_log_table_list(const ss_log *log, uint64_t **ordinals, size_t *count)
{
    ordinal_list list = {0};
    int directory;
    *ordinals = NULL;
    *count = 0;
    ss_status status = ss_file_open_directory(log->store->root, log->directory, &directory);
    if (ss_status_code(status) == SS_NOT_FOUND)
        return SS_OK;
    if (status != SS_OK)
        return status;
    status = ss_file_list(directory, collect_ordinal, &list);
    ss_file_close(directory);
    if (status != SS_OK) {
        free(list.ordinals);
        return status;
    }
    if (list.count)
        qsort(list.ordinals, list.count, sizeof *list.ordinals, compare_ordinals);
    *ordinals = list.ordinals;
    *count = list.count;
    return SS_OK;
}

static ss_status add_ordinal(ss_log *log, uint64_t ordinal)
{
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_facts facts;
    ss_segment_name(log->directory, ordinal, name);
    ss_status status = ss_segment_read_header(log->store->root, name, log->store->store_id, log->stream_id, log->shard,
                                              &facts);
    int code = ss_status_code(status);
    if (code == SS_NOT_FOUND || code == SS_CORRUPT)
        return SS_OK; /* never committed, trimmed, or damaged: then its range reads as damage up to the next base */
    if (status != SS_OK)
        return status;
    ss_segment *segment = ss_segment_new(&facts);
    if (!segment)
        return SS_NO_MEMORY;
    segment->unsealer = &log->store->unsealer;
    segment->refs = 1;
    if ((status = push(log, segment)) != SS_OK)
        ss_segment_free(segment);
    return status;
}

/* Somebody packed segments: let go of what they were, and keep what still is. A map or descriptor here would hold the
 * blocks of files that are gone; whoever reads from one has a reference of his own. */
static ss_status reload(ss_log *log, uint64_t current)
{
    ss_segment **before = log->table;
    size_t count = log->table_count;
    uint64_t *ordinals;
    size_t listed;
    ss_status status = ss_log_table_list(log, &ordinals, &listed);
    if (status != SS_OK)
        return status;
    current = current > log->table_newest ? current : log->table_newest;
    log->table = NULL;
    log->table_count = log->table_capacity = 0;
    log->table_newest = 0;
    for (size_t i = 0, old = 0; i < listed && ordinals[i] <= current && status == SS_OK; i++) {
        if ((status = add_ordinal(log, ordinals[i])) != SS_OK || log->table_count == 0)
            continue;
        ss_segment *fresh = log->table[log->table_count - 1];
        while (old < count && before[old]->facts.ordinal < fresh->facts.ordinal)
            old++;
        if (old < count && before[old]->facts.salt == fresh->facts.salt && fresh->facts.ordinal == ordinals[i]) {
            log->table[log->table_count - 1] = before[old];
            before[old]->refs++;
            drop_reference(fresh);
        }
    }
    for (size_t i = 0; i < count; i++)
        drop_reference(before[i]);
    free(before);
    free(ordinals);
    if (status == SS_OK)
        log->table_newest = current;
    return status;
}

static uint64_t active_ordinal(const ss_log *log)
{
    return atomic_load_explicit(&log->entry->segment_ordinal, memory_order_acquire);
}

static void drop_before(ss_log *log, uint64_t position)
{
    size_t dropped = 0;
    while (dropped + 1 < log->table_count && log->table[dropped + 1]->facts.base <= position)
        drop_reference(log->table[dropped++]);
    log->table_count -= dropped;
    for (size_t i = 0; i < log->table_count; i++)
        log->table[i] = log->table[i + dropped];
}

/* Let go of what another process trimmed, whose blocks a map or descriptor here would keep, and of maps that readers
 * no longer need. */
static void let_go(ss_log *log)
{
    uint64_t durable = atomic_load(&log->entry->durable);
    drop_before(log, atomic_load(&log->entry->start));
    for (size_t i = 0; i + 1 < log->table_count; i++) {
        ss_segment *segment = log->table[i];
        if (segment->map && !segment->writable && segment->refs == 1 && log->table[i + 1]->facts.base <= durable)
            ss_segment_unmap(segment);
    }
}

/* Take notice of segments made since the last look, up to `current`. The mutex is held. */
static ss_status refresh(ss_log *log, uint64_t current)
{
    uint32_t packed = atomic_load_explicit(&log->entry->packed, memory_order_acquire);
    if (log->table_packed != packed) {
        ss_status reloaded = log->table_newest ? reload(log, current) : SS_OK;
        if (reloaded != SS_OK)
            return reloaded;
        log->table_packed = packed;
    }
    if (log->table_count > 1 &&
        log->table[1]->facts.base <= atomic_load_explicit(&log->entry->start, memory_order_relaxed))
        let_go(log);
    if (log->table_newest >= current)
        return SS_OK;
    ss_status status = SS_OK;
    let_go(log);
    if (log->table_newest == 0 || current - log->table_newest > LIST_FROM) {
        uint64_t *ordinals;
        size_t count;
        if ((status = ss_log_table_list(log, &ordinals, &count)) != SS_OK)
            return status;
        for (size_t i = 0; i < count && status == SS_OK && ordinals[i] <= current; i++)
            if (ordinals[i] > log->table_newest)
                status = add_ordinal(log, ordinals[i]);
        free(ordinals);
    } else {
        for (uint64_t ordinal = log->table_newest + 1; ordinal <= current && status == SS_OK; ordinal++)
            status = add_ordinal(log, ordinal);
    }
    if (status == SS_OK)
        log->table_newest = current;
    /* what is new may be all that is kept */
    drop_before(log, atomic_load_explicit(&log->entry->start, memory_order_relaxed));
    return status;
}

void ss_log_table_notice(ss_log *log)
{
    if (!atomic_load_explicit(&log->entry->packed, memory_order_relaxed))
        return;
    pthread_mutex_lock(&log->table_mutex);
    if (log->table_newest)
        refresh(log, active_ordinal(log)); /* if it fails, whoever uses the table next is told */
    pthread_mutex_unlock(&log->table_mutex);
}

void ss_log_table_forget(ss_log *log)
{
    pthread_mutex_lock(&log->table_mutex);
    while (log->table_count)
        drop_reference(log->table[--log->table_count]);
    log->table_newest = 0;
    pthread_mutex_unlock(&log->table_mutex);
}

/* Open for reading: the active segment through a map, sealed ones by pread (a cold page read through a map can be
 * SIGBUS). */
static ss_status open_for_reading(ss_log *log, ss_segment *segment, int active)
{
    if (segment->map || segment->fd >= 0)
        return SS_OK;
    char name[SS_SEGMENT_NAME_SIZE];
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    active &= !segment->facts.packed;
    int access = active && log->store->mmap_ok && !log->store->info.read_only ? SS_SEGMENT_SYNC : SS_SEGMENT_READ;
    /* Appends allocate before they publish: a file that holds today's tail holds every later one. */
    uint64_t needed = active && log->store->mmap_ok ? ss_segment_offset(segment, atomic_load(&log->entry->tail)) : 0;
    ss_status status = ss_segment_open(segment, log->store->root, name, access, needed);
    int same = 1;
    if (status == SS_OK)
        status = ss_segment_still_there(segment, &same);
    if (status == SS_OK && !same)
        status = SS_NOT_FOUND; /* a packed segment took its name: the table is to be read again */
    if (status == SS_OK && segment->facts.packed && !segment->blocks)
        status = ss_packed_index_load(segment, segment->fd, &segment->blocks);
    if (status != SS_OK)
        ss_segment_unmap(segment);
    if (status == SS_OK)
        /* after: a sync that started before may have eaten an error */
        segment->opened_at_sync = atomic_load(&log->entry->sync_number);
    if (status == SS_OK && segment->fd >= 0) {
        segment->open_files = &log->store->open_files;
        atomic_fetch_add(segment->open_files, 1);
    }
    return status;
}

static uint64_t end_of(const ss_log *log, size_t i)
{
    return i + 1 < log->table_count ? log->table[i + 1]->facts.base : UINT64_MAX;
}

ss_status ss_log_table_find(ss_log *log, uint64_t position, ss_segment **out, uint64_t *end)
{
    pthread_mutex_lock(&log->table_mutex);
    ss_status status = SS_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        if ((status = refresh(log, active_ordinal(log))) != SS_OK)
            break;
        size_t low = 0, high = log->table_count;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (log->table[middle]->facts.base <= position)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == 0) {
            /* below every segment, yet not trimmed */
            status = position < atomic_load(&log->entry->start) ? SS_TRIMMED : SS_CORRUPT;
            break;
        }
        ss_segment *segment = log->table[low - 1];
        status = open_for_reading(log, segment, low == log->table_count);
        if (status == SS_OK) {
            segment->refs++;
            *out = segment;
            *end = end_of(log, low - 1);
            break;
        }
        if (ss_status_code(status) != SS_NOT_FOUND)
            break;
        /* A listed segment is gone: look again, then it was trimmed (or, if not, lost). */
        while (log->table_count)
            drop_reference(log->table[--log->table_count]);
        log->table_newest = 0;
        status = position < atomic_load(&log->entry->start) ? SS_TRIMMED : SS_CORRUPT;
    }
    pthread_mutex_unlock(&log->table_mutex);
    return status;
}

uint64_t ss_log_table_next_base(ss_log *log, uint64_t position, uint64_t limit)
{
    pthread_mutex_lock(&log->table_mutex);
    uint64_t next = limit;
    for (size_t i = log->table_count; i-- > 0 && log->table[i]->facts.base > position;)
        next = log->table[i]->facts.base < limit ? log->table[i]->facts.base : limit;
    pthread_mutex_unlock(&log->table_mutex);
    return next;
}

ss_status ss_log_table_at(ss_log *log, size_t i, ss_segment **out, uint64_t *end)
{
    pthread_mutex_lock(&log->table_mutex);
    ss_status status = refresh(log, active_ordinal(log));
    if (status == SS_OK && i >= log->table_count)
        status = SS_NOT_FOUND;
    if (status == SS_OK) {
        *out = log->table[i];
        (*out)->refs++;
        *end = end_of(log, i);
    }
    pthread_mutex_unlock(&log->table_mutex);
    return status;
}

ss_status ss_log_live_segments(ss_log *log, ss_live_segment *segments, size_t limit, size_t *count)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        pthread_mutex_lock(&log->table_mutex);
        status = refresh(log, active_ordinal(log));
        for (size_t i = 0; status == SS_OK && i < log->table_count && i < limit; i++) {
            const ss_segment_facts *facts = &log->table[i]->facts;
            segments[i] = (ss_live_segment){.ordinal = facts->ordinal,
                                            .base = facts->base,
                                            .base_ordinal = facts->base_ordinal,
                                            .floor_arrival_us = facts->floor_arrival,
                                            .created_us = facts->created_us};
        }
        if (status == SS_OK)
            *count = log->table_count;
        pthread_mutex_unlock(&log->table_mutex);
    }
    ss_store_leave(log->store);
    return status;
}

void ss_log_table_release(ss_log *log, ss_segment *segment)
{
    pthread_mutex_lock(&log->table_mutex);
    if (segment->refs == 2 && segment->fd >= 0 && !segment->writable &&
        atomic_load(&log->store->open_files) > OPEN_FILES_MAX)
        ss_segment_unmap(segment);
    drop_reference(segment);
    pthread_mutex_unlock(&log->table_mutex);
}

ss_status ss_log_table_add(ss_log *log, ss_segment *segment)
{
    pthread_mutex_lock(&log->table_mutex);
    ss_status status = refresh(log, segment->facts.ordinal - 1);
    if (status == SS_OK && (status = push(log, segment)) == SS_OK)
        log->table_newest = segment->facts.ordinal;
    pthread_mutex_unlock(&log->table_mutex);
    return status;
}

ss_status ss_log_table_open(ss_log *log, ss_segment *segment, int writable)
{
    pthread_mutex_lock(&log->table_mutex);
    ss_status status = SS_OK;
    if (!writable) {
        status = open_for_reading(log, segment, 0);
    } else if (!segment->writable) {
        /* Readers may be copying from the old map: a fresh object takes its place, the old one goes with its last
         * reader. */
        ss_segment *fresh = ss_segment_new(&segment->facts);
        char name[SS_SEGMENT_NAME_SIZE];
        ss_segment_name(log->directory, segment->facts.ordinal, name);
        if (!fresh)
            status = SS_NO_MEMORY;
        else if ((status = ss_segment_open(fresh, log->store->root, name, SS_SEGMENT_WRITE,
                                           log->store->mmap_ok ? SS_SEGMENT_HEADER_SIZE : 0)) == SS_OK)
            fresh->opened_at_sync = atomic_load(&log->entry->sync_number);
        size_t i = 0;
        while (i < log->table_count && log->table[i] != segment)
            i++;
        if (status == SS_OK && i < log->table_count) {
            fresh->refs = 1;
            log->table[i] = fresh;
            drop_reference(segment);
        } else {
            ss_segment_free(fresh);
            if (status == SS_OK)
                status = SS_INVALID;
        }
    }
    pthread_mutex_unlock(&log->table_mutex);
    return status;
}

void ss_log_table_seal(ss_log *log, ss_segment *segment)
{
    pthread_mutex_lock(&log->table_mutex);
    int last = log->table_count && log->table[log->table_count - 1] == segment;
    if (segment->map && segment->writable && segment->refs == 2 && !last) { /* the table's and the caller's */
        char name[SS_SEGMENT_NAME_SIZE];
        int fd;
        ss_segment_name(log->directory, segment->facts.ordinal, name);
        if (ss_file_open(log->store->root, name, SS_FILE_WRITE, &fd) == SS_OK) {
            ss_segment_unmap(segment);
            segment->fd = fd;
            segment->open_files = &log->store->open_files; /* stays for readers, and counts among theirs */
            atomic_fetch_add(segment->open_files, 1);
            segment->opened_at_sync = atomic_load(&log->entry->sync_number);
        }
    }
    pthread_mutex_unlock(&log->table_mutex);
}

void ss_log_table_trim_maps(ss_log *log)
{
    uint64_t durable = atomic_load_explicit(&log->entry->durable, memory_order_acquire);
    pthread_mutex_lock(&log->table_mutex);
    for (size_t i = 0; i + 1 < log->table_count; i++) {
        ss_segment *segment = log->table[i];
        if ((segment->map || segment->writable) && segment->refs == 1 && log->table[i + 1]->facts.base <= durable)
            ss_segment_unmap(segment);
    }
    pthread_mutex_unlock(&log->table_mutex);
}

void ss_log_table_drop_before(ss_log *log, uint64_t position)
{
    pthread_mutex_lock(&log->table_mutex);
    drop_before(log, position);
    pthread_mutex_unlock(&log->table_mutex);
}
