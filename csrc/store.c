/* Attaching to a directory: manifest, lock file, incarnation; and what is true of the store as a whole. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "killpoint.h"
#include "log.h"
#include "wait.h"
#include "xxh3.h"

#define MANIFEST_NAME "manifest"
#define MANIFEST_NEW_NAME "manifest.new"
#define LOCK_NAME "lock"
#define HOUR_US UINT64_C(3600000000)
#define CONTROL_SYNC_EVERY_US 1000000

/* manifest, 64 bytes: magic 8 | version 4 | compat 4 | read-only compat 4 | incompat 4 | store id 16 | created_us 8 | zero 8 | check 8 */
enum {
    MANIFEST_VERSION = 8,
    MANIFEST_COMPAT = 12,
    MANIFEST_RO_COMPAT = 16,
    MANIFEST_INCOMPAT = 20,
    MANIFEST_STORE_ID = 24,
    MANIFEST_CREATED = 40,
    MANIFEST_CHECK = 56,
    MANIFEST_SIZE = 64
};
#define MANIFEST_MAGIC_VALUE UINT64_C(0x0a0d1a46494e4d53) /* "SMNIF" 1a 0d 0a, less a byte */

static ss_status read_manifest(int root, int flags, uint8_t store_id[16])
{
    uint8_t bytes[MANIFEST_SIZE];
    size_t got = 0;
    int fd;
    ss_status status = ss_file_open(root, MANIFEST_NAME, SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    status = ss_file_read(fd, bytes, sizeof bytes, 0, &got);
    ss_file_close(fd);
    if (status != SS_OK)
        return status;
    if (got < MANIFEST_SIZE || format_load64(bytes) != MANIFEST_MAGIC_VALUE)
        return SS_FOREIGN;
    if (format_load64(bytes + MANIFEST_CHECK) != ss_xxh3_64_seeded(bytes, MANIFEST_CHECK, 0))
        return SS_CORRUPT;
    if (format_load32(bytes + MANIFEST_VERSION) != SS_FORMAT_VERSION || format_load32(bytes + MANIFEST_INCOMPAT) != 0)
        return SS_FORMAT;
    if (format_load32(bytes + MANIFEST_RO_COMPAT) != 0 && !(flags & SS_OPEN_READ_ONLY))
        return SS_FORMAT;
    memcpy(store_id, bytes + MANIFEST_STORE_ID, 16);
    return SS_OK;
}

static ss_status write_manifest(int root, uint8_t store_id[16])
{
    uint8_t bytes[MANIFEST_SIZE] = {0};
    int fd;
    ss_status status = ss_file_random(store_id, 16);
    if (status != SS_OK)
        return status;
    format_store64(bytes, MANIFEST_MAGIC_VALUE);
    format_store32(bytes + MANIFEST_VERSION, SS_FORMAT_VERSION);
    memcpy(bytes + MANIFEST_STORE_ID, store_id, 16);
    format_store64(bytes + MANIFEST_CREATED, ss_wait_wall_us());
    format_store64(bytes + MANIFEST_CHECK, ss_xxh3_64_seeded(bytes, MANIFEST_CHECK, 0));
    status = ss_file_unlink(root, MANIFEST_NEW_NAME); /* from a crash in the middle of what follows */
    if (status != SS_OK && ss_status_code(status) != SS_NOT_FOUND)
        return status;
    if ((status = ss_file_open(root, MANIFEST_NEW_NAME, SS_FILE_WRITE | SS_FILE_CREATE, &fd)) != SS_OK)
        return status;
    status = ss_file_write(fd, bytes, sizeof bytes, 0);
    if (status == SS_OK)
        status = ss_file_sync(fd);
    ss_file_close(fd);
    SS_KILLPOINT("manifest-made");
    if (status == SS_OK)
        status = ss_file_rename(root, MANIFEST_NEW_NAME, MANIFEST_NAME);
    return status == SS_OK ? ss_file_sync_directory(root) : status;
}

static ss_status only_ours(const char *name, void *context)
{
    (void)context;
    return strcmp(name, LOCK_NAME) == 0 || strcmp(name, MANIFEST_NEW_NAME) == 0 || strcmp(name, "lost+found") == 0 ? SS_OK : SS_FOREIGN;
}

/* The directory, made if asked; a directory with other people's files is never taken. */
static ss_status open_root(const char *path, int flags, int *root)
{
    ss_status status = ss_file_open_directory(AT_FDCWD, path, root);
    if (ss_status_code(status) == SS_NOT_FOUND && flags & SS_OPEN_CREATE && !(flags & SS_OPEN_READ_ONLY)) {
        status = ss_file_make_directory(AT_FDCWD, path);
        if (status == SS_OK || ss_status_code(status) == SS_EXISTS)
            status = ss_file_open_directory(AT_FDCWD, path, root);
        int parent;
        if (status == SS_OK && ss_file_open_directory(*root, "..", &parent) == SS_OK) {
            status = ss_file_sync_directory(parent); /* guards a power cut that loses the directory after the first ack */
            ss_file_close(parent);
        }
    }
    return status;
}

static ss_status open_lock_file(ss_store *store)
{
    int writable = !(store->flags & SS_OPEN_READ_ONLY);
    ss_status status = ss_file_open(store->root, LOCK_NAME, writable ? SS_FILE_WRITE | SS_FILE_OPEN_OR_CREATE : SS_FILE_WRITE, &store->lock_fd);
    if (status != SS_OK && !writable)
        status = ss_file_open(store->root, LOCK_NAME, SS_FILE_READ, &store->lock_fd);
    if (status != SS_OK || !writable)
        return status;
    status = ss_file_allocate(store->lock_fd, SS_LOCK_FILE_SIZE, 1);
    return ss_status_code(status) == SS_IO ? ss_file_allocate(store->lock_fd, SS_LOCK_FILE_SIZE, 0) : status;
}

static ss_status find_or_make_manifest(ss_store *store)
{
    ss_status status = read_manifest(store->root, store->flags, store->store_id);
    if (ss_status_code(status) != SS_NOT_FOUND)
        return status;
    if (!(store->flags & SS_OPEN_CREATE) || store->flags & SS_OPEN_READ_ONLY)
        return SS_NOT_FOUND;
    if ((status = ss_file_list(store->root, only_ours, NULL)) != SS_OK)
        return status;
    if ((status = write_manifest(store->root, store->store_id)) == SS_OK)
        store->info.created = 1;
    return status;
}

/* Attach to the incarnation that stands or make the next one. The open lock is held: one opener at a time. */
static ss_status enter_incarnation(ss_store *store)
{
    int alone = 0;
    ss_status status = ss_file_lock_try(store->lock_fd, SS_LOCK_BYTE_PRESENCE, 1, &alone);
    if (status != SS_OK)
        return status;
    SS_KILLPOINT("open-attached");
    if (!alone) {
        status = ss_control_attach(store->root, store->store_id, 1, &store->control);
        if (status != SS_OK)
            return status;
        if (atomic_load(&store->control.header->poison)) {
            /* Others still hold the poisoned incarnation: it ends here, for them too. */
            if ((status = ss_control_retire(&store->control, &store->self)) != SS_OK)
                return status;
            ss_control_close(&store->control);
            alone = 1;
        }
    }
    if (alone) {
        status = ss_control_create(store->root, store->store_id, 0, &store->control, &store->info.hints_known);
        if (status != SS_OK)
            return status;
        store->info.first_opener = 1;
        if (store->info.created)
            store->control.header->hints_complete = 1;
    }
    int shared;
    return ss_file_lock_try(store->lock_fd, SS_LOCK_BYTE_PRESENCE, 0, &shared); /* converts: others may attach once we are done */
}

static ss_status map_slots(ss_store *store, int private_memory)
{
    void *map;
    ss_status status = private_memory ? ss_file_map_private(SS_LOCK_FILE_SIZE, &map) : ss_file_map(store->lock_fd, SS_LOCK_FILE_SIZE, 1, &map);
    if (status != SS_OK)
        return status;
    ss_file_map_dont_fork(map, SS_LOCK_FILE_SIZE);
    store->self = (ss_lock_self){.fd = store->lock_fd, .slots = map, .closing = &store->closing};
    return SS_OK;
}

static ss_status attach_writable(ss_store *store)
{
    ss_status status = open_lock_file(store);
    if (status != SS_OK)
        return status;
    if ((status = ss_file_lock_wait(store->lock_fd, SS_LOCK_BYTE_OPEN)) != SS_OK)
        return status;
    if ((status = find_or_make_manifest(store)) == SS_OK && (status = map_slots(store, 0)) == SS_OK &&
        (status = ss_lock_attach(&store->self)) == SS_OK)
        status = enter_incarnation(store);
    ss_file_unlock(store->lock_fd, SS_LOCK_BYTE_OPEN);
    return status;
}

/* Read-only: share a living incarnation where there is one and the medium lets us, else recover in private memory. */
static ss_status attach_read_only(ss_store *store)
{
    int present = 0;
    ss_status status = read_manifest(store->root, store->flags, store->store_id);
    if (status != SS_OK)
        return status;
    status = open_lock_file(store);
    if (status == SS_OK)
        ss_file_lock_held_elsewhere(store->lock_fd, SS_LOCK_BYTE_PRESENCE, &present);
    if (present) {
        int locked = 0;
        ss_file_lock_try(store->lock_fd, SS_LOCK_BYTE_PRESENCE, 0, &locked);
        if (locked && (status = map_slots(store, 0)) == SS_OK && (status = ss_lock_attach(&store->self)) == SS_OK &&
            (status = ss_control_attach(store->root, store->store_id, 1, &store->control)) == SS_OK)
            return SS_OK;
        if (locked)
            ss_file_unlock(store->lock_fd, SS_LOCK_BYTE_PRESENCE);
        if (store->self.slots) {
            ss_lock_detach(&store->self);
            ss_file_unmap(store->self.slots, SS_LOCK_FILE_SIZE);
            store->self.slots = NULL;
        }
    }
    if ((status = map_slots(store, 1)) != SS_OK)
        return status;
    store->self.slot = 1; /* alone in private memory: locks are free and stay ours */
    store->self.word = 1U << 21 | 1;
    atomic_store(&store->self.slots[1].generation, 1);
    store->info.private_recovery = 1;
    return ss_control_create(store->root, store->store_id, 1, &store->control, &store->info.hints_known);
}

ss_status ss_store_open(const char *path, int flags, ss_store **out)
{
    ss_store *store = calloc(1, sizeof *store);
    if (!store)
        return SS_NO_MEMORY;
    store->root = store->lock_fd = store->control.fd = -1;
    store->flags = flags;
    store->info.read_only = (flags & SS_OPEN_READ_ONLY) != 0;
    atomic_store(&store->sync_interval_us, 100000);
    pthread_mutex_init(&store->logs_mutex, NULL);
    pthread_mutex_init(&store->flusher.mutex, NULL);
    ss_status status = open_root(path, flags, &store->root);
    if (status != SS_OK)
        goto fail;
    uint8_t ignored[16];
    status = read_manifest(store->root, flags, ignored);
    if (ss_status_code(status) == SS_NOT_FOUND) { /* look before the first file is made in a directory that is not ours */
        status = ss_file_list(store->root, only_ours, NULL);
        if (status == SS_OK && (!(flags & SS_OPEN_CREATE) || store->info.read_only))
            status = SS_NOT_FOUND;
    }
    if (status != SS_OK)
        goto fail;
    if ((status = store->info.read_only ? attach_read_only(store) : attach_writable(store)) != SS_OK)
        goto fail;
    int safe = 0;
    if ((status = ss_file_mmap_safe(store->root, &safe)) != SS_OK)
        goto fail;
    store->mmap_ok = safe && !(flags & SS_OPEN_PWRITE);
    atomic_store(&store->wall_checked_us, 0);
    memcpy(store->info.store_id, store->store_id, 16);
    store->info.incarnation = store->control.header->incarnation;
    store->info.slot = store->self.slot;
    store->info.mmap_backend = store->mmap_ok;
    *out = store;
    return SS_OK;
fail:
    if (store->control.map)
        ss_control_close(&store->control);
    if (store->self.slots && !store->info.private_recovery)
        ss_lock_detach(&store->self);
    ss_file_unmap(store->self.slots, SS_LOCK_FILE_SIZE);
    ss_file_close(store->lock_fd);
    ss_file_close(store->root);
    ss_store_free(store);
    return status;
}

ss_status ss_store_enter(ss_store *store)
{
    if (atomic_load_explicit(&store->forked, memory_order_relaxed))
        return SS_FORKED;
    atomic_fetch_add(&store->active, 1);
    if (atomic_load(&store->closing)) {
        ss_store_leave(store);
        return SS_CLOSED;
    }
    return SS_OK;
}

void ss_store_leave(ss_store *store)
{
    uint32_t before = atomic_fetch_sub(&store->active, 1);
    assert(before > 0);
    (void)before;
}

/* A clean close syncs what is published and leaves watermarks that the next opener can take as clean (process mode: DESIGN section 2). */
static void sync_for_close(ss_store *store)
{
    for (uint32_t i = 0; i < store->logs_size; i++) {
        ss_log *log = store->logs[i];
        if (log && log->writer && atomic_load(&log->entry->state) == SS_LOG_READY)
            ss_log_sync_to(log, atomic_load(&log->entry->tail), 0); /* a failure poisons: the next opener sees it */
    }
    ss_store_control_sync(store, 1);
}

void ss_store_close(ss_store *store)
{
    int open = SS_STORE_OPEN;
    if (atomic_load(&store->forked) || !atomic_compare_exchange_strong(&store->closing, &open, SS_STORE_CLOSING))
        return;
    ss_control_wake_all(&store->control);
    ss_flusher_stop(store);
    for (int turn = 0; atomic_load(&store->active) != 0; turn++) { /* calls under way see the mark at their next look */
        ss_wait_event_force(&store->control.header->watch);
        struct timespec pause = {.tv_nsec = 200000};
        nanosleep(&pause, NULL);
        if (turn % 16 == 15)
            ss_control_wake_all(&store->control);
    }
    ss_flusher_stop(store); /* again: an append under way may have started it after the first stop */
    atomic_store(&store->closing, SS_STORE_LAST_SYNC);
    if (!store->info.read_only)
        sync_for_close(store);
    for (uint32_t i = 0; i < store->logs_size; i++)
        if (store->logs[i])
            ss_log_release(store->logs[i]);
    if (!store->info.private_recovery)
        ss_lock_detach(&store->self);
    ss_control_close(&store->control);
    ss_file_unmap(store->self.slots, SS_LOCK_FILE_SIZE);
    ss_file_close(store->lock_fd);
    ss_file_close(store->root);
}

void ss_store_free(ss_store *store)
{
    if (atomic_load(&store->forked))
        return; /* threads of the parent may have held its mutexes: a child leaves the memory alone */
    for (uint32_t i = 0; i < store->logs_size; i++)
        if (store->logs[i])
            ss_log_free(store->logs[i]);
    free(store->logs);
    pthread_mutex_destroy(&store->logs_mutex);
    pthread_mutex_destroy(&store->flusher.mutex);
    free(store);
}

void ss_store_after_fork(ss_store *store)
{
    /* The descriptions are shared with the parent: closing our copies keeps its locks, keeping them would outlive its death. The maps
     * are not here (MADV_DONTFORK); mutexes may be held by threads that do not exist in this process, so nothing else is touched. */
    if (atomic_load(&store->closing) == SS_STORE_LAST_SYNC)
        return;
    atomic_store(&store->forked, 1);
    ss_file_close(store->lock_fd);
    ss_file_close(store->control.fd);
    ss_file_close(store->root);
    store->lock_fd = store->root = store->control.fd = -1;
}

void ss_store_info_get(const ss_store *store, ss_store_info *out)
{
    *out = store->info;
}

ss_status ss_store_usable(const ss_store *store)
{
    const ss_control_header *header = store->control.header;
    if (atomic_load_explicit(&header->retired, memory_order_acquire))
        return SS_STALE;
    uint32_t poison = atomic_load_explicit(&header->poison, memory_order_acquire);
    return poison ? ss_status_with_errno(SS_POISONED, (int)poison) : SS_OK;
}

ss_status ss_store_poison_set(ss_store *store, ss_status cause)
{
    uint32_t none = 0, error = (uint32_t)(cause >> 8) & 0xffff;
    error = error ? error : EIO;
    if (!store->info.private_recovery) {
        atomic_compare_exchange_strong(&store->control.header->poison, &none, error);
        ss_control_wake_all(&store->control);
    }
    return ss_status_with_errno(SS_POISONED, (int)error);
}

int ss_store_poison(const ss_store *store)
{
    if (atomic_load(&store->closing) || atomic_load(&store->forked))
        return 0;
    return (int)atomic_load(&store->control.header->poison);
}

uint64_t ss_store_arrival_us(ss_store *store)
{
    uint64_t now = ss_wait_wall_us(), checked = atomic_load_explicit(&store->wall_checked_us, memory_order_relaxed);
    if (now <= checked)
        return now;
    const ss_control_header *header = store->control.header;
    uint64_t limit = header->anchor_wall_us + (ss_wait_boot_us() - header->anchor_boot_us) + HOUR_US;
    if (now > limit)
        return limit;
    atomic_store_explicit(&store->wall_checked_us, now + 1000000, memory_order_relaxed); /* a second at a time */
    return now;
}

ss_status ss_store_log_at(ss_store *store, uint32_t index, ss_log **out)
{
    ss_status status = SS_OK;
    pthread_mutex_lock(&store->logs_mutex);
    if (index >= store->logs_size) {
        uint32_t size = store->logs_size ? store->logs_size : 64;
        while (size <= index)
            size *= 2;
        ss_log **logs = realloc(store->logs, size * sizeof *logs);
        if (logs) {
            memset(logs + store->logs_size, 0, (size - store->logs_size) * sizeof *logs);
            store->logs = logs;
            store->logs_size = size;
        } else {
            status = SS_NO_MEMORY;
        }
    }
    if (status == SS_OK && !store->logs[index])
        status = ss_log_new(store, index, &store->logs[index]);
    if (status == SS_OK)
        *out = store->logs[index];
    pthread_mutex_unlock(&store->logs_mutex);
    return status;
}

ss_log *ss_store_log_known(ss_store *store, uint32_t index)
{
    pthread_mutex_lock(&store->logs_mutex);
    ss_log *log = index < store->logs_size ? store->logs[index] : NULL;
    pthread_mutex_unlock(&store->logs_mutex);
    return log;
}

ss_status ss_store_flush(ss_store *store)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    uint32_t count = store->info.read_only ? 0 : atomic_load(&store->control.header->log_count);
    for (uint32_t i = 0; i < count && status == SS_OK; i++) {
        ss_control_entry *entry = ss_control_entry_at(&store->control, i);
        uint32_t state = atomic_load(&entry->state);
        if (state == SS_LOG_RETIRED || (state == SS_LOG_READY && atomic_load(&entry->durable) >= atomic_load(&entry->tail)))
            continue;
        if (state == SS_LOG_UNRECOVERED && atomic_load(&entry->carried) == SS_CARRIED_CLEAN)
            continue; /* closed with all of it durable, and untouched since */
        ss_log *log;
        if ((status = ss_store_log_at(store, i, &log)) == SS_OK && (status = ss_log_ready(log)) == SS_OK)
            status = ss_log_sync_to(log, atomic_load(&entry->tail), 0);
    }
    ss_store_control_sync(store, 1);
    ss_store_leave(store);
    return status;
}

ss_status ss_store_sync_interval_set(ss_store *store, int64_t interval_us)
{
    if (interval_us < 1000 || interval_us > 3600000000)
        return SS_INVALID;
    atomic_store(&store->sync_interval_us, interval_us);
    return SS_OK;
}

ss_status ss_store_epoch_raise(ss_store *store, uint64_t epoch)
{
    ss_status status = epoch > FRAME_EPOCH_MAX ? SS_INVALID : ss_store_enter(store);
    if (status != SS_OK)
        return status;
    _Atomic uint64_t *counter = &store->control.header->epoch_counter;
    uint64_t seen = atomic_load(counter);
    while (seen < epoch && !atomic_compare_exchange_weak(counter, &seen, epoch))
        continue;
    ss_store_leave(store);
    return SS_OK;
}

uint64_t ss_store_epoch_counter(const ss_store *store)
{
    if (atomic_load(&store->closing) || atomic_load(&store->forked))
        return 0;
    return atomic_load(&store->control.header->epoch_counter);
}

uint32_t ss_store_watch(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return 0;
    uint32_t seen = ss_wait_event_read(&store->control.header->watch);
    /* Announced here, before the caller looks for work: what is published after the look finds the bit and signals. */
    while (!ss_wait_event_announce(&store->control.header->watch, &seen))
        continue;
    ss_store_leave(store);
    return seen;
}

ss_status ss_store_wait(ss_store *store, uint32_t seen, int64_t timeout_us)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    int64_t bound = timeout_us < 0 || timeout_us > SS_WAIT_BOUND_US ? SS_WAIT_BOUND_US : timeout_us;
    _Atomic uint32_t *watch = &store->control.header->watch;
    if (ss_status_code(status = ss_store_usable(store)) != SS_STALE) {
        status = SS_OK;
        if (atomic_load(&store->closing))
            status = SS_CLOSED;
        else if (atomic_load(watch) == seen)
            status = ss_wait_sleep(watch, seen, bound);
        if (status == SS_TIMEOUT && (timeout_us < 0 || timeout_us > SS_WAIT_BOUND_US))
            status = SS_OK; /* look again, whether what you wait for still lives */
    }
    ss_store_leave(store);
    return status;
}

void ss_store_wake(ss_store *store)
{
    if (ss_store_enter(store) != SS_OK)
        return;
    ss_control_wake_all(&store->control);
    ss_store_leave(store);
}

void ss_store_control_sync(ss_store *store, int now)
{
    uint64_t at = ss_wait_monotonic_us(), last = atomic_load(&store->control_synced_us);
    if (store->control.fd < 0 || store->info.read_only || (!now && at - last < CONTROL_SYNC_EVERY_US))
        return;
    if (atomic_compare_exchange_strong(&store->control_synced_us, &last, at))
        ss_file_sync(store->control.fd); /* a hint: if it fails, recovery scans further back */
}

ss_status ss_store_processes(ss_store *store, ss_process *processes, size_t limit, size_t *count)
{
    ss_status status = ss_store_enter(store);
    if (status != SS_OK)
        return status;
    size_t found = 0;
    for (uint32_t slot = 1; slot < SS_LOCK_SLOTS; slot++) {
        if (!atomic_load(&store->self.slots[slot].pid))
            continue;
        if (found < limit)
            processes[found] = (ss_process){.slot = slot,
                                            .pid = atomic_load(&store->self.slots[slot].pid),
                                            .attached_us = atomic_load(&store->self.slots[slot].attached_us),
                                            .alive = ss_lock_slot_alive(&store->self, slot)};
        found++;
    }
    *count = found;
    ss_store_leave(store);
    return SS_OK;
}
