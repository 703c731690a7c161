/* Making, attaching and growing the control file. */
#include "control.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "format.h"
#include "killpoint.h"
#include "wait.h"
#include "xxh3.h"

#define CONTROL_NAME "control"
#define CONTROL_NEW_NAME "control.new"
#define MAP_SIZE (SS_CONTROL_HEADER_SIZE + (size_t)SS_CONTROL_LOGS_MAX * sizeof(ss_control_entry))
#define GROW_ENTRIES 192 /* 60 KiB: with the header a first step of 64 KiB */

ss_control_entry *ss_control_entry_at(const ss_control *control, uint32_t index)
{
    assert(index < SS_CONTROL_LOGS_MAX);
    return (ss_control_entry *)(void *)(control->map + SS_CONTROL_HEADER_SIZE) + index;
}

static uint64_t watermark_check(const ss_control_entry *entry, const ss_control_watermark *mark)
{
    uint64_t covered[3] = {mark->durable, mark->frame, (uint64_t)entry->stream_id << 32 | entry->shard};
    return ss_xxh3_64_seeded(covered, sizeof covered, SS_CONTROL_MAGIC);
}

void ss_control_watermark_store(ss_control_entry *entry, uint64_t durable, uint64_t frame)
{
    ss_control_watermark *mark = &entry->watermarks[atomic_fetch_add(&entry->watermark_turn, 1) & 1];
    mark->check = 0; /* a half-written slot never holds */
    atomic_thread_fence(memory_order_release);
    mark->durable = durable;
    mark->frame = frame;
    atomic_thread_fence(memory_order_release);
    mark->check = watermark_check(entry, mark);
}

uint64_t ss_control_watermark_load(const ss_control_entry *entry, uint64_t *frame)
{
    uint64_t durable = 0;
    *frame = 0;
    for (int i = 0; i < 2; i++) {
        ss_control_watermark mark = entry->watermarks[i];
        if (mark.durable % 8 || mark.frame > mark.durable || mark.durable > SS_CONTROL_POSITION_MAX)
            continue; /* never written by us, whatever its check says */
        if (mark.durable > durable && mark.check == watermark_check(entry, &mark)) {
            durable = mark.durable;
            *frame = mark.frame;
        }
    }
    return durable;
}

/* Give entries below `count` disk blocks before they are touched: a store to a page without a block on a full disk
 * is SIGBUS. */
static ss_status reserve(ss_control *control, uint32_t count)
{
    uint32_t capacity = atomic_load(&control->header->log_capacity);
    if (count <= capacity)
        return SS_OK;
    if (count > SS_CONTROL_LOGS_MAX)
        return SS_LIMIT;
    uint32_t wanted = capacity;
    while (wanted < count)
        wanted += wanted < 8 * GROW_ENTRIES ? GROW_ENTRIES : wanted / 2;
    if (wanted > SS_CONTROL_LOGS_MAX)
        wanted = SS_CONTROL_LOGS_MAX;
    if (control->fd >= 0) {
        uint64_t size = SS_CONTROL_HEADER_SIZE + (uint64_t)wanted * sizeof(ss_control_entry);
        ss_status status = ss_file_allocate(control->fd, size, 1);
        if (ss_status_code(status) == SS_IO)
            status = ss_file_allocate(control->fd, size, 0); /* no fallocate here: a sparse file is the best there is */
        if (status != SS_OK)
            return status;
        status = ss_file_populate(control->map, (size_t)size);
        if (status != SS_OK)
            return status;
    }
    atomic_store(&control->header->log_capacity, wanted);
    return SS_OK;
}

/* Whether the log may go on in its last segment. A power cut leaves any mixture of a control file's states: one that
 * says clean may be older than records that were lost behind it. Readers and consumers came past those, and only the
 * header of a new segment tells them from where others stand there. So clean holds within its boot, and what recovery
 * said no to stays so until something is published. */
static uint32_t carried_now(const ss_control_entry *old, uint64_t durable, int same_boot)
{
    uint32_t carried = atomic_load(&old->carried);
    if (atomic_load(&old->state) == SS_LOG_READY) {
        uint64_t tail = atomic_load(&old->tail);
        int clean = tail == durable && atomic_load(&old->reserve_end) == tail && atomic_load(&old->lock) == 0;
        int goes_on = atomic_load(&old->epoch_current) || atomic_load(&old->in_place);
        carried = !clean ? 0 : goes_on ? SS_CARRIED_CLEAN : SS_CARRIED_SETTLED;
    }
    return carried == SS_CARRIED_CLEAN && !same_boot ? SS_CARRIED_SETTLED : carried;
}

/* Copy what later openers must know of a log: how far it is durable, and whether that can be trusted. */
static void carry_over(ss_control_entry *entry, const ss_control_entry *old, int poisoned, int same_boot)
{
    entry->stream_id = old->stream_id;
    entry->shard = old->shard;
    uint64_t frame, durable = ss_control_watermark_load(old, &frame);
    if (durable)
        ss_control_watermark_store(entry, durable, frame);
    uint32_t carried = carried_now(old, durable, same_boot);
    if (poisoned || atomic_load(&old->sync_inflight) != 0)
        carried = SS_CARRIED_IN_DOUBT;
    atomic_store(&entry->carried, carried);
    atomic_store(&entry->durability, atomic_load(&old->durability));
    atomic_store(&entry->sync_inflight, 0);
}

static ss_status check_header(const ss_control_header *header, const uint8_t store_id[16])
{
    if (header->magic != SS_CONTROL_MAGIC)
        return SS_CORRUPT;
    if (header->layout != SS_CONTROL_LAYOUT || header->entry_size != sizeof(ss_control_entry))
        return SS_FORMAT;
    if (memcmp(header->store_id, store_id, 16) != 0)
        return SS_FOREIGN;
    return SS_OK;
}

/* Map the control file that stands; its entry counts are bounded by the file, whatever they say. */
static ss_status map_existing(int directory, const uint8_t store_id[16], int writable, ss_control *out,
                              uint32_t *entries)
{
    int fd;
    ss_status status = ss_file_open(directory, CONTROL_NAME, writable ? SS_FILE_WRITE : SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    uint64_t size;
    void *map = NULL;
    if ((status = ss_file_size(fd, &size, NULL)) != SS_OK)
        goto close_file;
    if (size < SS_CONTROL_HEADER_SIZE) {
        status = SS_CORRUPT;
        goto close_file;
    }
    if ((status = ss_file_map(fd, MAP_SIZE, writable, &map)) != SS_OK)
        goto close_file;
    ss_file_map_dont_fork(map, MAP_SIZE);
    *out = (ss_control){.fd = fd, .map = map, .map_size = MAP_SIZE, .header = map};
    if ((status = check_header(out->header, store_id)) != SS_OK)
        goto unmap;
    uint64_t held = (size - SS_CONTROL_HEADER_SIZE) / sizeof(ss_control_entry);
    uint32_t count = atomic_load(&out->header->log_count);
    held = held < SS_CONTROL_LOGS_MAX ? held : SS_CONTROL_LOGS_MAX;
    *entries = count < held ? count : (uint32_t)held;
    return SS_OK;
unmap:
    ss_file_unmap(map, MAP_SIZE);
close_file:
    ss_file_close(fd);
    return status;
}

ss_status ss_control_attach(int directory, const uint8_t store_id[16], int writable, ss_control *out)
{
    uint32_t entries;
    ss_control found;
    ss_status status = map_existing(directory, store_id, writable, &found, &entries);
    if (status != SS_OK)
        return status;
    /* What the counts name must lie in the file: a look beyond it is SIGBUS. Counts before size, because the file
     * grows first. */
    uint64_t named = atomic_load(&found.header->log_capacity), size = 0;
    if (named < atomic_load(&found.header->log_count))
        named = atomic_load(&found.header->log_count);
    status = ss_file_size(found.fd, &size, NULL);
    if (status == SS_OK &&
        (named > SS_CONTROL_LOGS_MAX || size < SS_CONTROL_HEADER_SIZE + named * sizeof(ss_control_entry)))
        status = SS_CORRUPT;
    if (status != SS_OK) {
        ss_control_close(&found);
        return status;
    }
    *out = found;
    return SS_OK;
}

uint64_t ss_control_boot(void)
{
    uint8_t text[64];
    size_t size = 0;
    int fd;
    if (ss_file_open(-1, "/proc/sys/kernel/random/boot_id", SS_FILE_READ, &fd) != SS_OK)
        return 0;
    ss_status status = ss_file_read(fd, text, sizeof text, 0, &size);
    ss_file_close(fd);
    return status == SS_OK && size ? ss_xxh3_64_seeded(text, size, SS_CONTROL_MAGIC) : 0;
}

/* Within one boot the anchors stay: else a wall clock that jumped would be believed after the next close and open. A
 * boot id may be that of another machine with this disk (a copied virtual one): its boot clock must not lie behind. */
static void set_anchors(ss_control_header *header, const ss_control_header *old)
{
    header->boot = ss_control_boot();
    header->anchor_boot_us = ss_wait_boot_us();
    atomic_store(&header->anchor_wall_us, ss_wait_wall_us());
    if (old && header->boot && old->boot == header->boot && old->anchor_boot_us <= header->anchor_boot_us) {
        header->anchor_boot_us = old->anchor_boot_us;
        atomic_store(&header->anchor_wall_us, atomic_load(&old->anchor_wall_us));
    }
}

static ss_status new_memory(int directory, int private_memory, ss_control *out)
{
    void *map;
    ss_status status;
    int fd = -1;
    if (private_memory) {
        status = ss_file_map_private(MAP_SIZE, &map);
    } else {
        status = ss_file_unlink(directory, CONTROL_NEW_NAME); /* left by a crash in the middle of what follows */
        if (status != SS_OK && ss_status_code(status) != SS_NOT_FOUND)
            return status;
        if ((status = ss_file_open(directory, CONTROL_NEW_NAME, SS_FILE_WRITE | SS_FILE_CREATE, &fd)) != SS_OK)
            return status;
        ss_file_overwrite_in_place(fd);
        status = ss_file_allocate(fd, SS_CONTROL_HEADER_SIZE, 1);
        if (ss_status_code(status) == SS_IO)
            status = ss_file_allocate(fd, SS_CONTROL_HEADER_SIZE, 0);
        if (status == SS_OK)
            status = ss_file_map(fd, MAP_SIZE, 1, &map);
        /* Where no block was promised, a full disk says so here and not as SIGBUS. */
        if (status == SS_OK && (status = ss_file_populate(map, SS_CONTROL_HEADER_SIZE)) != SS_OK)
            ss_file_unmap(map, MAP_SIZE);
    }
    if (status != SS_OK) {
        ss_file_close(fd);
        return status;
    }
    ss_file_map_dont_fork(map, MAP_SIZE);
    *out = (ss_control){.fd = fd, .map = map, .map_size = MAP_SIZE, .header = map};
    return SS_OK;
}

static uint32_t table_slot(const ss_control *control, uint32_t stream_id, uint32_t shard)
{
    uint64_t key = (uint64_t)stream_id << 32 | shard;
    uint32_t at = (uint32_t)((key + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (control->table_size - 1);
    while (control->table[at]) {
        const ss_control_entry *entry = ss_control_entry_at(control, control->table[at] - 1);
        if (entry->stream_id == stream_id && entry->shard == shard)
            break;
        at = (at + 1) & (control->table_size - 1);
    }
    return at;
}

/* Bring the local table up to `count` entries; identities never change once counted. */
static ss_status index_entries(ss_control *control, uint32_t count)
{
    uint32_t size = control->table_size ? control->table_size : 256;
    while (size < count * 2 + 2)
        size *= 2;
    if (size != control->table_size) {
        uint32_t *table = calloc(size, sizeof *table);
        if (!table)
            return SS_NO_MEMORY;
        free(control->table);
        control->table = table;
        control->table_size = size;
        control->indexed = 0;
    }
    for (; control->indexed < count; control->indexed++) {
        const ss_control_entry *entry = ss_control_entry_at(control, control->indexed);
        control->table[table_slot(control, entry->stream_id, entry->shard)] = control->indexed + 1;
    }
    return SS_OK;
}

static int find(const ss_control *control, uint32_t stream_id, uint32_t shard, uint32_t *index)
{
    uint32_t held = control->table[table_slot(control, stream_id, shard)];
    *index = held ? held - 1 : *index;
    return held != 0;
}

ss_status ss_control_create(int directory, const uint8_t store_id[16], int private_memory, ss_control *out,
                            int *hints_known)
{
    ss_control old = {.fd = -1}, made;
    uint32_t old_entries = 0;
    /* Hints that do not hold are no hints: the logs then count as in doubt above what their own frames prove. */
    int hinted = map_existing(directory, store_id, 0, &old, &old_entries) == SS_OK;
    ss_status status = new_memory(directory, private_memory, &made);
    if (status != SS_OK)
        goto close_old;
    ss_control_header *header = made.header;
    header->magic = SS_CONTROL_MAGIC;
    header->layout = SS_CONTROL_LAYOUT;
    header->entry_size = sizeof(ss_control_entry);
    memcpy(header->store_id, store_id, 16);
    header->incarnation = hinted ? old.header->incarnation + 1 : ss_wait_wall_us();
    header->hints_complete = hinted && old.header->hints_complete;
    set_anchors(header, hinted ? old.header : NULL);
    atomic_store(&header->maintained_us, hinted ? atomic_load(&old.header->maintained_us) : 0);
    if (hinted && atomic_load(&old.header->epoch_counter) <= FRAME_EPOCH_MAX)
        atomic_store(&header->epoch_counter, atomic_load(&old.header->epoch_counter));
    if ((status = reserve(&made, old_entries ? old_entries : 1)) != SS_OK)
        goto drop_new;
    uint32_t kept = 0;
    int poisoned = hinted && atomic_load(&old.header->poison) != 0;
    int same_boot = hinted && header->boot && old.header->boot == header->boot;
    for (uint32_t i = 0; i < old_entries; i++) {
        const ss_control_entry *entry = ss_control_entry_at(&old, i);
        uint32_t other;
        if (atomic_load(&entry->state) == SS_LOG_RETIRED)
            continue;
        /* A page that a power cut took leaves entries of nobody: two entries for one log would be two append locks
         * for it. */
        if ((status = index_entries(&made, kept)) != SS_OK)
            goto drop_new;
        if (!find(&made, entry->stream_id, entry->shard, &other))
            carry_over(ss_control_entry_at(&made, kept++), entry, poisoned, same_boot);
    }
    atomic_store(&header->log_count, kept);
    if (!private_memory) {
        SS_KILLPOINT("control-made");
        /* The new incarnation replaces the old one whole or not at all; hints in it are as durable as they were. */
        if ((status = ss_file_sync(made.fd)) != SS_OK)
            goto drop_new;
        if ((status = ss_file_rename(directory, CONTROL_NEW_NAME, CONTROL_NAME)) != SS_OK)
            goto drop_new;
        SS_KILLPOINT("control-renamed");
        if ((status = ss_file_sync_directory(directory)) != SS_OK)
            goto drop_new;
    }
    *hints_known = hinted;
    *out = made;
    goto close_old;
drop_new:
    ss_control_close(&made);
close_old:
    if (hinted)
        ss_control_close(&old);
    return status;
}

void ss_control_close(ss_control *control)
{
    ss_file_unmap(control->map, control->map_size);
    ss_file_close(control->fd);
    free(control->table);
    *control = (ss_control){.fd = -1};
}

ss_status ss_control_retire(ss_control *control, const ss_lock_self *self)
{
    atomic_store(&control->header->retired, 1);
    /* Appenders look at the mark under their lock: once each lock was ours after the mark, no append of the old
     * incarnation is under way and none can start. A lock whose owner is dead is taken over; a live owner is waited
     * for. */
    uint32_t count = atomic_load(&control->header->log_count);
    for (uint32_t i = 0; i < count; i++) {
        ss_control_entry *entry = ss_control_entry_at(control, i);
        int taken_over;
        ss_status status = ss_lock_acquire(self, &entry->lock, &taken_over);
        if (status != SS_OK)
            return status;
        ss_lock_release(&entry->lock);
    }
    ss_control_wake_all(control);
    return SS_OK;
}

ss_status ss_control_register(ss_control *control, const ss_lock_self *self, uint32_t stream_id, uint32_t shard,
                              uint32_t durability, uint32_t *index)
{
    ss_control_header *header = control->header;
    uint32_t count = atomic_load_explicit(&header->log_count, memory_order_acquire);
    ss_status status = index_entries(control, count);
    if (status != SS_OK || find(control, stream_id, shard, index))
        return status;
    int taken_over; /* a dead registrar left at most an entry above the count: it is written over */
    if ((status = ss_lock_acquire(self, &header->registration, &taken_over)) != SS_OK)
        return status;
    uint32_t now = atomic_load(&header->log_count);
    status = atomic_load(&header->retired) ? SS_STALE : index_entries(control, now);
    if (status == SS_OK && !find(control, stream_id, shard, index) && (status = reserve(control, now + 1)) == SS_OK) {
        ss_control_entry *entry = ss_control_entry_at(control, now);
        memset(entry, 0, sizeof *entry);
        entry->stream_id = stream_id;
        entry->shard = shard;
        atomic_store(&entry->durability, durability);
        SS_KILLPOINT("control-registering");
        atomic_store(&entry->carried, header->hints_complete ? 0 : SS_CARRIED_IN_DOUBT);
        atomic_store_explicit(&header->log_count, now + 1, memory_order_release);
        *index = now;
    }
    ss_lock_release(&header->registration);
    return status;
}

void ss_control_wake_all(ss_control *control)
{
    uint32_t count = atomic_load(&control->header->log_count);
    for (uint32_t i = 0; i < count; i++) {
        ss_control_entry *entry = ss_control_entry_at(control, i);
        ss_wait_event_force(&entry->tail_event);
        ss_wait_event_force(&entry->durable_event);
    }
    ss_wait_event_force(&control->header->watch);
}
