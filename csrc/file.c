/* The only system calls on the file system. */
#define _GNU_SOURCE
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { MAGIC_EXT4 = 0xEF53, MAGIC_TMPFS = 0x01021994, MAGIC_XFS = 0x58465342 };

ss_status ss_file_status(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return ss_status_with_errno(SS_FULL, error);
    case ENOMEM:
        return ss_status_with_errno(SS_NO_MEMORY, error);
    case ENOENT:
        return ss_status_with_errno(SS_NOT_FOUND, error);
    case EEXIST:
        return ss_status_with_errno(SS_EXISTS, error);
    case EROFS:
    case EACCES:
    case EPERM:
        return ss_status_with_errno(SS_READ_ONLY, error);
    default:
        return ss_status_with_errno(SS_IO, error);
    }
}

ss_status ss_file_open_directory(int parent, const char *name, int *fd)
{
    int opened;
    do
        opened = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return ss_file_status(errno);
    *fd = opened;
    return SS_OK;
}

ss_status ss_file_open(int directory, const char *name, int flags, int *fd)
{
    /* O_NOFOLLOW: a link planted in the directory must not lead outside it. */
    int how = O_CLOEXEC | O_NOFOLLOW | (flags & SS_FILE_WRITE ? O_RDWR : O_RDONLY);
    if (flags & SS_FILE_CREATE)
        how |= O_CREAT | O_EXCL;
    if (flags & SS_FILE_OPEN_OR_CREATE)
        how |= O_CREAT;
    int opened;
    do
        opened = openat(directory, name, how, 0600);
    while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return ss_file_status(errno);
    *fd = opened;
    return SS_OK;
}

void ss_file_close(int fd)
{
    if (fd >= 0)
        close(fd); /* errors of the data were asked for by sync; a close never carries the only news */
}

ss_status ss_file_make_directory(int parent, const char *name)
{
    return mkdirat(parent, name, 0700) == 0 ? SS_OK : ss_file_status(errno);
}

ss_status ss_file_size(int fd, uint64_t *size, uint64_t *disk_bytes)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return ss_file_status(errno);
    *size = (uint64_t)info.st_size;
    if (disk_bytes)
        *disk_bytes = (uint64_t)info.st_blocks * 512;
    return SS_OK;
}

ss_status ss_file_unlink(int directory, const char *name)
{
    return unlinkat(directory, name, 0) == 0 ? SS_OK : ss_file_status(errno);
}

ss_status ss_file_rename(int directory, const char *from, const char *to)
{
    return renameat(directory, from, directory, to) == 0 ? SS_OK : ss_file_status(errno);
}

ss_status ss_file_read(int fd, void *buffer, size_t size, uint64_t offset, size_t *got)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ss_file_status(errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return SS_OK;
}

ss_status ss_file_write(int fd, const void *buffer, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pwrite(fd, (const char *)buffer + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ss_file_status(errno);
        if (n == 0)
            return ss_status_with_errno(SS_IO, EIO);
        done += (size_t)n;
    }
    return SS_OK;
}

/* Where fallocate is no promise (copy-on-write, network, FUSE) extending the size is all that helps: writes go through
 * pwrite there, which reports a full disk as an error. */
ss_status ss_file_allocate(int fd, uint64_t size, int fallocate_ok)
{
    int error;
    if (fallocate_ok) {
        do
            error = fallocate(fd, 0, 0, (off_t)size) == 0 ? 0 : errno;
        while (error == EINTR);
        return error ? ss_file_status(error) : SS_OK;
    }
    struct stat info;
    if (fstat(fd, &info) != 0)
        return ss_file_status(errno);
    if ((uint64_t)info.st_size >= size)
        return SS_OK; /* never truncate: a shorter file under a map is SIGBUS for its readers */
    do
        error = ftruncate(fd, (off_t)size) == 0 ? 0 : errno;
    while (error == EINTR);
    return error ? ss_file_status(error) : SS_OK;
}

void ss_file_overwrite_in_place(int fd)
{
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
        return;
    flags |= FS_NOCOW_FL;
    (void)!ioctl(fd, FS_IOC_SETFLAGS, &flags); /* btrfs takes it; others refuse it, and need it not */
}

ss_status ss_file_sync(int fd)
{
    int error;
    do
        error = fdatasync(fd) == 0 ? 0 : errno;
    while (error == EINTR); /* interrupted before it ran: no failed sync */
    return error ? ss_status_with_errno(SS_IO, error) : SS_OK;
}

void ss_file_forget_cached(int fd)
{
    /* Advice: where it is not taken, what is read next comes from memory, which is no worse than not asking. */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

ss_status ss_file_sync_directory(int fd)
{
    int error;
    do
        error = fsync(fd) == 0 ? 0 : errno;
    while (error == EINTR);
    return error ? ss_status_with_errno(SS_IO, error) : SS_OK;
}

uint64_t ss_file_next_data(int fd, uint64_t offset, uint64_t size)
{
    off_t found = lseek(fd, (off_t)offset, SEEK_DATA);
    if (found >= 0)
        return (uint64_t)found < offset ? offset : (uint64_t)found;
    return errno == ENXIO ? size : offset; /* without hole support all of it may be data */
}

/* XFS with reflink may have to copy a shared block on a store, and so run out of space under a map. */
static int xfs_has_reflink(int fd)
{
    struct {
        uint32_t words[28]; /* struct xfs_fsop_geom_v1, 112 bytes; word 23 is `flags` */
    } geometry;
    memset(&geometry, 0, sizeof geometry);
    const unsigned long fsgeometry_v1 = _IOR('X', 100, geometry);
    if (ioctl(fd, fsgeometry_v1, &geometry) != 0)
        return 1; /* cannot tell: take the careful path */
    int reflink = (geometry.words[23] & (1U << 20)) != 0;
    return reflink;
}

ss_status ss_file_mmap_safe(int fd, int *safe)
{
    struct statfs info;
    if (fstatfs(fd, &info) != 0)
        return ss_file_status(errno);
    unsigned long kind = (unsigned long)info.f_type;
    *safe = kind == MAGIC_EXT4 || kind == MAGIC_TMPFS || (kind == MAGIC_XFS && !xfs_has_reflink(fd));
    return SS_OK;
}

ss_status ss_file_map(int fd, size_t size, int writable, void **out)
{
    void *map = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return ss_file_status(errno);
    *out = map;
    return SS_OK;
}

ss_status ss_file_map_private(size_t size, void **out)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return ss_file_status(errno);
    *out = map;
    return SS_OK;
}

void ss_file_unmap(void *map, size_t size)
{
    if (map)
        munmap(map, size);
}

void ss_file_map_dont_fork(void *map, size_t size)
{
    madvise(map, size, MADV_DONTFORK);
}

ss_status ss_file_populate(void *map, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)map & ~(page - 1);
    uintptr_t end = ((uintptr_t)map + size + page - 1) & ~(page - 1);
    int error;
    do
        error = madvise((void *)begin, end - begin, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    while (error == EINTR || error == EAGAIN);
    if (error == EINVAL)
        return SS_OK; /* before Linux 5.14: the store itself will fault */
    if (error == EFAULT || error == EHWPOISON)
        return ss_status_with_errno(SS_FULL, ENOSPC); /* a full tmpfs answers so */
    return error ? ss_file_status(error) : SS_OK;
}

ss_status ss_file_sync_map(void *map, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)map & ~(page - 1);
    uintptr_t end = ((uintptr_t)map + size + page - 1) & ~(page - 1);
    int error;
    do
        error = msync((void *)begin, end - begin, MS_SYNC) == 0 ? 0 : errno;
    while (error == EINTR);
    return error ? ss_status_with_errno(SS_IO, error) : SS_OK;
}

static struct flock byte_lock(int type, uint64_t byte)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = (short)type;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)byte;
    lock.l_len = 1;
    return lock;
}

ss_status ss_file_lock_try(int fd, uint64_t byte, int exclusive, int *locked)
{
    struct flock lock = byte_lock(exclusive ? F_WRLCK : F_RDLCK, byte);
    int error;
    do
        error = fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error && error != EAGAIN && error != EACCES)
        return ss_file_status(error);
    *locked = !error;
    return SS_OK;
}

ss_status ss_file_lock_wait(int fd, uint64_t byte)
{
    struct flock lock = byte_lock(F_WRLCK, byte);
    if (fcntl(fd, F_OFD_SETLKW, &lock) == 0)
        return SS_OK;
    return errno == EINTR ? SS_INTERRUPTED : ss_file_status(errno);
}

ss_status ss_file_unlock(int fd, uint64_t byte)
{
    struct flock lock = byte_lock(F_UNLCK, byte);
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? SS_OK : ss_file_status(errno);
}

ss_status ss_file_lock_held_elsewhere(int fd, uint64_t byte, int *held)
{
    struct flock lock = byte_lock(F_WRLCK, byte);
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return ss_file_status(errno);
    *held = lock.l_type != F_UNLCK;
    return SS_OK;
}

ss_status ss_file_list(int directory, ss_file_visitor visit, void *context)
{
    /* A fresh description: readdir moves the shared offset of the one it is given. */
    int fd;
    ss_status status = ss_file_open_directory(directory, ".", &fd);
    if (status != SS_OK)
        return status;
    DIR *stream = fdopendir(fd);
    if (!stream) {
        status = ss_file_status(errno);
        ss_file_close(fd);
        return status;
    }
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (!entry) {
            status = errno ? ss_file_status(errno) : SS_OK;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((status = visit(entry->d_name, context)) != SS_OK)
            break;
    }
    closedir(stream);
    return status;
}

ss_status ss_file_random(void *buffer, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = getrandom((char *)buffer + done, size - done, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ss_file_status(errno);
        done += (size_t)n;
    }
    return SS_OK;
}
