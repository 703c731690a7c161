/* The calls that stand before the system's: each is made as it was asked for, written down, or failed on request. */
#define _GNU_SOURCE
#include "seam.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { MAGIC_OTHER = 0x794c7630 /* overlayfs: no store through a map is safe there */, MAPS_MAX = 4096 };

static _Atomic int backend;

/* Of the call that the core makes, wherever this is written. */
#define FAILS(call) seam_fails(call, __builtin_return_address(0))

/* ---- what the trace writes down ---- */

static struct {
    uintptr_t begin, end;
    int32_t file;
} maps[MAPS_MAX];
static uint32_t map_count;

static void next_moment(seam_trace *trace)
{
    trace->moment++;
}

/* Names change under the lock, so that their order is the trace's. Returns the trace if the name is in it. */
static seam_trace *begin_name(int directory, const char *name, char path[SEAM_PATH_SIZE])
{
    seam_lock();
    seam_trace *trace = seam_recording();
    if (trace && seam_path(trace, directory, name, path))
        return trace;
    seam_unlock();
    return NULL;
}

static void end_name(seam_trace *trace, int done, enum seam_kind kind, const char *path, const char *to)
{
    int error = errno;
    seam_scan(trace);
    if (done) {
        seam_note(trace, kind, path, to);
        next_moment(trace);
    }
    seam_unlock();
    errno = error;
}

static int open_at(int directory, const char *name, int flags, mode_t mode)
{
    char path[SEAM_PATH_SIZE];
    seam_trace *trace = flags & O_CREAT ? begin_name(directory, name, path) : NULL;
    if (!trace)
        return (int)syscall(SYS_openat, directory, name, flags, mode);
    struct stat info;
    int there = fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = (int)syscall(SYS_openat, directory, name, flags, mode), error = errno;
    seam_scan(trace);
    if (fd >= 0 && !there) {
        uint32_t file = seam_follow(trace, path, fd, 0);
        seam_note(trace, SEAM_CREATE, path, NULL)->file = file;
        next_moment(trace);
    }
    seam_unlock();
    errno = error;
    return fd;
}

/* Of the same machine after a power cut: another boot, where the system knows but one. */
static char boot_path[SEAM_PATH_SIZE];

void seam_boot(const char *path)
{
    boot_path[0] = 0;
    if (path && strlen(path) < sizeof boot_path)
        strcpy(boot_path, path);
}

static const char *of_this_boot(const char *name)
{
    return boot_path[0] && strcmp(name, "/proc/sys/kernel/random/boot_id") == 0 ? boot_path : name;
}

#define OPEN_BODY(directory, name, flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    } \
    return FAILS(SEAM_CALL_OPEN) ? -1 : open_at(directory, of_this_boot(name), flags, mode)

int openat(int directory, const char *name, int flags, ...)
{
    OPEN_BODY(directory, name, flags);
}

int openat64(int directory, const char *name, int flags, ...)
{
    OPEN_BODY(directory, name, flags);
}

int open(const char *name, int flags, ...)
{
    OPEN_BODY(AT_FDCWD, name, flags);
}

int open64(const char *name, int flags, ...)
{
    OPEN_BODY(AT_FDCWD, name, flags);
}

static int make_directory(int directory, const char *name, mode_t mode)
{
    char path[SEAM_PATH_SIZE];
    seam_trace *trace = begin_name(directory, name, path);
    int result = (int)syscall(SYS_mkdirat, directory, name, mode);
    if (trace)
        end_name(trace, result == 0, SEAM_MKDIR, path, NULL);
    return result;
}

int mkdirat(int directory, const char *name, mode_t mode)
{
    return FAILS(SEAM_CALL_MKDIR) ? -1 : make_directory(directory, name, mode);
}

int mkdir(const char *name, mode_t mode)
{
    return make_directory(AT_FDCWD, name, mode);
}

static int unlink_at(int directory, const char *name, int flags)
{
    char path[SEAM_PATH_SIZE];
    seam_trace *trace = begin_name(directory, name, path);
    int result = (int)syscall(SYS_unlinkat, directory, name, flags);
    if (trace)
        end_name(trace, result == 0, flags & AT_REMOVEDIR ? SEAM_RMDIR : SEAM_UNLINK, path, NULL);
    return result;
}

int unlinkat(int directory, const char *name, int flags)
{
    return FAILS(SEAM_CALL_UNLINK) ? -1 : unlink_at(directory, name, flags);
}

int unlink(const char *name)
{
    return unlink_at(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlink_at(AT_FDCWD, name, AT_REMOVEDIR);
}

static int rename_at(int from_directory, const char *from, int to_directory, const char *to)
{
    char path[SEAM_PATH_SIZE], new_path[SEAM_PATH_SIZE];
    seam_trace *trace = begin_name(from_directory, from, path);
    int result = (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
    if (trace)
        end_name(trace, result == 0 && seam_path(trace, to_directory, to, new_path), SEAM_RENAME, path, new_path);
    return result;
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    return FAILS(SEAM_CALL_RENAME) ? -1 : rename_at(from_directory, from, to_directory, to);
}

int rename(const char *from, const char *to)
{
    return rename_at(AT_FDCWD, from, AT_FDCWD, to);
}

/* ---- syncs: what counts is all that was there before they began, and only if they succeed ---- */

static size_t begin_sync(int fd, int32_t file, uint64_t offset, uint64_t size)
{
    size_t index = SIZE_MAX;
    char path[SEAM_PATH_SIZE];
    seam_lock();
    seam_trace *trace = seam_recording();
    if (trace && file < 0 && fd >= 0)
        file = seam_file_of(trace, fd);
    if (trace && (file >= 0 || (fd >= 0 && seam_path(trace, fd, "", path)))) {
        seam_scan(trace);
        seam_op *op = seam_note(trace, file >= 0 ? SEAM_SYNC : SEAM_SYNC_DIR, file >= 0 ? NULL : path, NULL);
        op->file = (uint32_t)file;
        op->offset = offset;
        op->size = size;
        index = trace->count - 1;
        next_moment(trace);
    }
    seam_unlock();
    return index;
}

static void end_sync(size_t index, int result)
{
    if (index == SIZE_MAX)
        return;
    int error = errno;
    seam_lock();
    seam_trace *trace = seam_recording();
    if (trace) {
        seam_scan(trace);
        if (result == 0)
            trace->ops[index].end = trace->moment;
        trace->ops[index].failed = result != 0 && error != EINTR;
        next_moment(trace);
    }
    seam_unlock();
    errno = error;
}

int fdatasync(int fd)
{
    int failed = FAILS(SEAM_CALL_SYNC), error = errno;
    size_t index = begin_sync(fd, -1, 0, UINT64_MAX);
    int result = failed ? -1 : (int)syscall(SYS_fdatasync, fd);
    errno = failed ? error : errno;
    end_sync(index, result);
    return result;
}

int fsync(int fd)
{
    if (FAILS(SEAM_CALL_SYNC_DIR))
        return -1;
    size_t index = begin_sync(fd, -1, 0, UINT64_MAX);
    int result = (int)syscall(SYS_fsync, fd);
    end_sync(index, result);
    return result;
}

int msync(void *map, size_t size, int flags)
{
    int failed = FAILS(SEAM_CALL_SYNC_MAP), error = errno;
    int32_t file = -1;
    uint64_t offset = 0;
    seam_lock();
    for (uint32_t i = map_count; i-- > 0 && file < 0;)
        if ((uintptr_t)map >= maps[i].begin && (uintptr_t)map < maps[i].end) {
            file = maps[i].file;
            offset = (uintptr_t)map - maps[i].begin;
        }
    seam_unlock();
    size_t index = file >= 0 && flags & MS_SYNC ? begin_sync(-1, file, offset, size) : SIZE_MAX;
    int result = failed ? -1 : (int)syscall(SYS_msync, map, size, flags);
    errno = failed ? error : errno;
    end_sync(index, result);
    return result;
}

/* A map through a description that is open for writing, of a file that is followed: msync on any other writes nothing
 * back, and on this it does, even where the map itself is for reading only. */
void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (FAILS(SEAM_CALL_MAP))
        return MAP_FAILED;
    void *map = (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
    if (map == MAP_FAILED || fd < 0 || !(flags & MAP_SHARED) ||
        (syscall(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return map;
    seam_lock();
    seam_trace *trace = seam_recording();
    int32_t file = trace ? seam_file_of(trace, fd) : -1;
    if (file >= 0 && map_count < MAPS_MAX) {
        maps[map_count].begin = (uintptr_t)map;
        maps[map_count].end = (uintptr_t)map + size;
        maps[map_count++].file = file;
    }
    seam_unlock();
    return map;
}

int munmap(void *map, size_t size)
{
    seam_lock();
    for (uint32_t i = 0; i < map_count; i++)
        if (maps[i].begin == (uintptr_t)map)
            maps[i] = maps[--map_count];
    seam_unlock();
    return (int)syscall(SYS_munmap, map, size);
}

/* ---- calls that can only fail ---- */

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

int fstat(int fd, struct stat *info)
{
    return FAILS(SEAM_CALL_STAT) ? -1 : (int)fstatat(fd, "", info, AT_EMPTY_PATH);
}

int fstatfs(int fd, struct statfs *info)
{
    if (FAILS(SEAM_CALL_STATFS))
        return -1;
    int result = (int)syscall(SYS_fstatfs, fd, info);
    if (result == 0 && backend)
        info->f_type = MAGIC_OTHER;
    return result;
}

void seam_backend(int by_pwrite)
{
    backend = by_pwrite;
}

static _Atomic uint64_t frozen_us;

void seam_freeze(uint64_t wall_us)
{
    seam_find_core();
    frozen_us = wall_us;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    uint64_t us = frozen_us;
    if (!us || clock != CLOCK_REALTIME || !seam_is_core(__builtin_return_address(0)))
        return NEXT(int (*)(clockid_t, struct timespec *), "clock_gettime")(clock, now);
    now->tv_sec = (time_t)(us / 1000000);
    now->tv_nsec = (long)(us % 1000000 * 1000);
    return 0;
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    return FAILS(SEAM_CALL_READ) ? -1 : (ssize_t)syscall(SYS_pread64, fd, buffer, size, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    if (FAILS(SEAM_CALL_WRITE)) {
        if (!seam_short_write())
            return -1;
        size = size > 1 ? size / 2 : size;
    }
    return (ssize_t)syscall(SYS_pwrite64, fd, buffer, size, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    return FAILS(SEAM_CALL_ALLOCATE) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int ftruncate(int fd, off_t size)
{
    return FAILS(SEAM_CALL_TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

off_t lseek(int fd, off_t offset, int whence)
{
    return FAILS(SEAM_CALL_SEEK) ? -1 : (off_t)syscall(SYS_lseek, fd, offset, whence);
}

int madvise(void *map, size_t size, int advice)
{
    return FAILS(SEAM_CALL_ADVISE) ? -1 : (int)syscall(SYS_madvise, map, size, advice);
}

int fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return FAILS(SEAM_CALL_LOCK) ? -1 : (int)syscall(SYS_fcntl, fd, command, argument);
}

DIR *fdopendir(int fd)
{
    return FAILS(SEAM_CALL_LIST) ? NULL : NEXT(DIR * (*)(int), "fdopendir")(fd);
}

struct dirent *readdir(DIR *stream)
{
    return FAILS(SEAM_CALL_LIST) ? NULL : NEXT(struct dirent * (*)(DIR *), "readdir")(stream);
}

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
    return FAILS(SEAM_CALL_RANDOM) ? -1 : (ssize_t)syscall(SYS_getrandom, buffer, size, flags);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return FAILS(SEAM_CALL_MEMORY) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return FAILS(SEAM_CALL_MEMORY) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return FAILS(SEAM_CALL_MEMORY) ? NULL : __libc_realloc(old, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    int failed = FAILS(SEAM_CALL_THREAD);
    return failed ? errno
                  : NEXT(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *),
                         "pthread_create")(thread, attributes, run, context);
}
