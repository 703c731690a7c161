/* Attaching to a directory: manifest, lock file, slot, incarnation. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "killpoint.h"
#include "log.h"
#include "manifest.h"
#include "reserve.h"
#include "wait.h"

#define LOCK_NAME "lock"

static ss_status only_ours(const char *name, void *context)
{
    (void)context;
    return strcmp(name, LOCK_NAME) == 0 || strcmp(name, SS_MANIFEST_NEW_NAME) == 0 || strcmp(name, "lost+found") == 0
               ? SS_OK
               : SS_FOREIGN;
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
            /* guards a power cut that loses the directory after the first ack */
            status = ss_file_sync_directory(parent);
            ss_file_close(parent);
        }
    }
    return status;
}

static ss_status open_lock_file(ss_store *store)
{
    int writable = !(store->flags & SS_OPEN_READ_ONLY);
    ss_status status = ss_file_open(store->root, LOCK_NAME,
                                    writable ? SS_FILE_WRITE | SS_FILE_OPEN_OR_CREATE : SS_FILE_WRITE, &store->lock_fd);
    if (status != SS_OK && !writable)
        status = ss_file_open(store->root, LOCK_NAME, SS_FILE_READ, &store->lock_fd);
    if (status != SS_OK || !writable)
        return status;
    uint64_t size = 0;
    if (ss_file_size(store->lock_fd, &size, NULL) == SS_OK && size == 0)
        ss_file_overwrite_in_place(store->lock_fd);
    status = ss_file_allocate(store->lock_fd, SS_LOCK_FILE_SIZE, 1);
    if (ss_status_code(status) != SS_IO)
        return status;
    /* no blocks in advance (ext2 and ext3 say they are ext4): no stores through a map */
    store->flags |= SS_OPEN_PWRITE;
    return ss_file_allocate(store->lock_fd, SS_LOCK_FILE_SIZE, 0);
}

static ss_status find_or_make_manifest(ss_store *store)
{
    ss_status status = ss_manifest_read(store->root, store->info.read_only, store->store_id);
    if (ss_status_code(status) != SS_NOT_FOUND)
        return status;
    if (!(store->flags & SS_OPEN_CREATE))
        return SS_NOT_FOUND; /* it was there when this was called */
    if ((status = ss_file_list(store->root, only_ours, NULL)) != SS_OK)
        return status;
    if ((status = ss_manifest_write(store->root, store->store_id)) == SS_OK)
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
        int spent = ss_status_code(status) == SS_FULL && ss_reserve_spend(store->root) == SS_OK;
        if (spent) /* who opens on a full disk may be about to trim */
            status = ss_control_create(store->root, store->store_id, 0, &store->control, &store->info.hints_known);
        if (status != SS_OK)
            return status;
        if (!spent)
            ss_reserve_make(store->root); /* without space for it the store works all the same */
        store->info.first_opener = 1;
        if (store->info.created)
            store->control.header->hints_complete = 1;
    }
    int shared;
    /* converts: others may attach once we are done */
    return ss_file_lock_try(store->lock_fd, SS_LOCK_BYTE_PRESENCE, 0, &shared);
}

static ss_status map_slots(ss_store *store, int private_memory)
{
    void *map;
    ss_status status = private_memory ? ss_file_map_private(SS_LOCK_FILE_SIZE, &map)
                                      : ss_file_map(store->lock_fd, SS_LOCK_FILE_SIZE, 1, &map);
    if (status != SS_OK)
        return status;
    ss_file_map_dont_fork(map, SS_LOCK_FILE_SIZE);
    store->self = (ss_lock_self){.fd = store->lock_fd, .slots = map, .closing = &store->closing};
    /* Where no block was promised, a full disk says so here and not as SIGBUS. The caller unmaps. */
    return private_memory || store->info.read_only ? SS_OK : ss_file_populate(map, SS_LOCK_FILE_SIZE);
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

static ss_status share_or_recover(ss_store *store)
{
    int present = 0;
    ss_status status;
    if (store->lock_fd >= 0)
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

/* Read-only: share a living incarnation where there is one and the medium lets us, else recover in private memory. */
static ss_status attach_read_only(ss_store *store)
{
    ss_status status = ss_manifest_read(store->root, store->info.read_only, store->store_id);
    if (status != SS_OK)
        return status;
    /* In turn with other openers where we may: one that is half-way holds the store, and has no incarnation to share
     * yet. */
    status = open_lock_file(store);
    if (status == SS_OK && (status = ss_file_lock_wait(store->lock_fd, SS_LOCK_BYTE_OPEN)) == SS_INTERRUPTED)
        return status;
    int in_turn = status == SS_OK;
    status = share_or_recover(store);
    if (in_turn)
        ss_file_unlock(store->lock_fd, SS_LOCK_BYTE_OPEN);
    return status;
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
    pthread_mutex_init(&store->blocks_mutex, NULL);
    ss_worker_init(&store->flusher);
    ss_worker_init(&store->preparer);
    ss_status status = open_root(path, flags, &store->root);
    if (status != SS_OK)
        goto fail;
    uint8_t ignored[16];
    status = ss_manifest_read(store->root, store->info.read_only, ignored);
    /* look before the first file is made in a directory that is not ours */
    if (ss_status_code(status) == SS_NOT_FOUND) {
        status = ss_file_list(store->root, only_ours, NULL);
        if (ss_status_code(status) == SS_FOREIGN &&
            ss_manifest_read(store->root, store->info.read_only, ignored) == SS_OK)
            status = SS_OK; /* made by another process between the two looks */
        else if (status == SS_OK && (!(flags & SS_OPEN_CREATE) || store->info.read_only))
            status = SS_NOT_FOUND;
    }
    if (status != SS_OK)
        goto fail;
    if ((status = store->info.read_only ? attach_read_only(store) : attach_writable(store)) != SS_OK)
        goto fail;
    int safe = 0;
    if ((status = ss_file_mmap_safe(store->root, &safe)) != SS_OK)
        goto fail;
    store->processors = ss_wait_processors();
    store->mmap_ok = safe && !(store->flags & SS_OPEN_PWRITE);
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
