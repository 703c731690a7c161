/* Files, maps and byte-range locks: every system call on the file system is made here, and nowhere else.
 * Knows nothing of segments or frames. EINTR is retried; every other error comes back as a status with its errno. */
#ifndef STREAMSTORE_FILE_H
#define STREAMSTORE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "status.h"

enum { SS_FILE_READ = 0, SS_FILE_WRITE = 1, SS_FILE_CREATE = 2 /* exclusive */, SS_FILE_OPEN_OR_CREATE = 4 };

/* Status for the errno of a failed call: ENOSPC and EDQUOT are SS_FULL, ENOENT SS_NOT_FOUND, and so on. */
ss_status ss_file_status(int error);

ss_status ss_file_open_directory(int parent, const char *name, int *fd);
ss_status ss_file_open(int directory, const char *name, int flags, int *fd);
void ss_file_close(int fd);
ss_status ss_file_make_directory(int parent, const char *name); /* SS_EXISTS if there */
ss_status ss_file_size(int fd, uint64_t *size, uint64_t *disk_bytes);
ss_status ss_file_unlink(int directory, const char *name);
ss_status ss_file_rename(int directory, const char *from, const char *to);
/* Read until `size` bytes or end of file. */
ss_status ss_file_read(int fd, void *buffer, size_t size, uint64_t offset, size_t *got);
ss_status ss_file_write(int fd, const void *buffer, size_t size, uint64_t offset);
/* Give [0, size) disk blocks and extend the file to it; SS_FULL leaves it as it was or longer, never mapped past. */
ss_status ss_file_allocate(int fd, uint64_t size, int fallocate_ok);
/* For a file that is still empty: let stores through a map overwrite its blocks in place, where the file system
 * would copy them (and on a full disk answer a store with SIGBUS). Nothing happens where there is no such thing. */
void ss_file_overwrite_in_place(int fd);
ss_status ss_file_sync(int fd); /* fdatasync */
/* Let the system forget what it keeps of a file that was synced, so that what is read next comes from the disk. */
void ss_file_forget_cached(int fd);
ss_status ss_file_sync_directory(int fd); /* fsync: makes names durable */
/* First offset at or after `offset` that may hold data; `size` where only holes follow. */
uint64_t ss_file_next_data(int fd, uint64_t offset, uint64_t size);

/* Whether stores through a shared map are safe here: a write to an allocated block can never fail for want of space. */
ss_status ss_file_mmap_safe(int fd, int *safe);

ss_status ss_file_map(int fd, size_t size, int writable, void **out);
ss_status ss_file_map_private(size_t size, void **out); /* anonymous, zero */
void ss_file_unmap(void *map, size_t size);
void ss_file_map_dont_fork(void *map, size_t size);
/* Fault pages in for writing without touching them: an error where a store would raise SIGBUS. */
ss_status ss_file_populate(void *map, size_t size);
/* Sync the file range behind a map, through the description that the map was made with. */
ss_status ss_file_sync_map(void *map, size_t size);

/* Open-file-description locks on one byte. */
ss_status ss_file_lock_try(int fd, uint64_t byte, int exclusive, int *locked);
ss_status ss_file_lock_wait(int fd, uint64_t byte); /* exclusive; SS_INTERRUPTED on a signal */
ss_status ss_file_unlock(int fd, uint64_t byte);
ss_status ss_file_lock_held_elsewhere(int fd, uint64_t byte, int *held); /* never reports one's own lock */

/* Call `visit` for each name in a directory but `.` and `..`; a non-OK status from it ends the walk. */
typedef ss_status (*ss_file_visitor)(const char *name, void *context);
ss_status ss_file_list(int directory, ss_file_visitor visit, void *context);

ss_status ss_file_random(void *buffer, size_t size);

#endif
