/* A directory that a test may fill and damage: made anew, reached by name, removed with all that is in it.
 * Its user defines _GNU_SOURCE before any include. Knows nothing of what lies in the files. */
#ifndef STREAMSTORE_SCRATCH_H
#define STREAMSTORE_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static char scratch_root[128];

static inline void scratch_new(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(scratch_root, sizeof scratch_root, "%.100s/ss-XXXXXX", parent ? parent : "/tmp");
    CHECK(mkdtemp(scratch_root) != NULL);
}

static inline int scratch_remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void scratch_remove(void)
{
    nftw(scratch_root, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int scratch_open(const char *name, int flags)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch_root, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    return fd;
}

static inline int scratch_directory(void)
{
    return scratch_open(".", O_RDONLY | O_DIRECTORY);
}

static inline void scratch_write(const char *name, const void *bytes, size_t size, uint64_t offset)
{
    int fd = scratch_open(name, O_RDWR | O_CREAT);
    CHECK_EQUAL(pwrite(fd, bytes, size, (off_t)offset), size);
    close(fd);
}

static inline size_t scratch_read(const char *name, void *bytes, size_t size, uint64_t offset)
{
    int fd = scratch_open(name, O_RDONLY);
    ssize_t got = pread(fd, bytes, size, (off_t)offset);
    CHECK(got >= 0);
    close(fd);
    return got < 0 ? 0 : (size_t)got;
}

static inline void scratch_resize(const char *name, uint64_t size)
{
    int fd = scratch_open(name, O_RDWR | O_CREAT);
    CHECK_EQUAL(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static inline void scratch_flip(const char *name, uint64_t offset)
{
    uint8_t byte = 0;
    CHECK_EQUAL(scratch_read(name, &byte, 1, offset), 1);
    byte ^= 0x10;
    scratch_write(name, &byte, 1, offset);
}

static inline void scratch_delete(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch_root, name);
    CHECK_EQUAL(remove(path), 0);
}

static inline uint64_t scratch_size(const char *name)
{
    char path[256];
    struct stat info = {0};
    snprintf(path, sizeof path, "%s/%s", scratch_root, name);
    CHECK_EQUAL(stat(path, &info), 0);
    return (uint64_t)info.st_size;
}

#endif
