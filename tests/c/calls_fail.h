/* Calls of the core that fail on request: the first, the second, the third of a kind, once or from then on. For
 * programs that are linked with tests/c/calls_wrapped, which puts these functions in the place of the system's, and
 * which include it once. Counts and fails only between calls_fail and calls_heal. The user defines _GNU_SOURCE before
 * any include. */
#ifndef STREAMSTORE_CALLS_FAIL_H
#define STREAMSTORE_CALLS_FAIL_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum call_kind {
    CALL_OPEN,
    CALL_MKDIR,
    CALL_STAT,
    CALL_UNLINK,
    CALL_RENAME,
    CALL_READ,
    CALL_WRITE,
    CALL_ALLOCATE,
    CALL_TRUNCATE,
    CALL_SYNC,
    CALL_SYNC_DIRECTORY,
    CALL_SEEK,
    CALL_STATFS,
    CALL_MAP,
    CALL_ADVISE,
    CALL_SYNC_MAP,
    CALL_LOCK,
    CALL_LIST,
    CALL_RANDOM,
    CALL_MEMORY,
    CALL_THREAD,
    CALL_SLEEP,
    CALL_KINDS
};

static const char *const call_names[CALL_KINDS] = {
    "openat",    "mkdirat",   "fstat",     "unlinkat", "renameat",       "pread", "pwrite",  "fallocate",
    "ftruncate", "fdatasync", "fsync",     "lseek",    "fstatfs",        "mmap",  "madvise", "msync",
    "fcntl",     "readdir",   "getrandom", "malloc",   "pthread_create", "futex",
};

/* How much of a read or write is done before it ends early; or a write says that all is well, and is lost; or another
 * byte is written, or read, in the middle of it or near its beginning. */
enum { CALL_WHOLE, CALL_SHORT, CALL_NOTHING, CALL_LOST, CALL_FLIPPED, CALL_FLIPPED_EARLY };

/* From then on: for good, or, as a full disk does, until a file is removed. */
enum { CALL_ONCE, CALL_LASTING, CALL_UNTIL_ROOM };

static struct {
    _Atomic int kind; /* CALL_KINDS: nothing fails */
    _Atomic uint64_t calls;
    _Atomic uint64_t first;
    _Atomic int error; /* 0: it is cut short instead, as `cut` says */
    _Atomic int cut;
    _Atomic int lasting;
    _Atomic uint64_t failed;
} calls_plan = {.kind = CALL_KINDS};

static void calls_fail(enum call_kind kind, uint64_t first, int error, int cut, int lasting)
{
    calls_plan.calls = calls_plan.failed = 0;
    calls_plan.first = first;
    calls_plan.error = error;
    calls_plan.cut = cut;
    calls_plan.lasting = lasting;
    calls_plan.kind = (int)kind;
}

/* Nothing fails any more; how many calls did. */
static uint64_t calls_heal(void)
{
    calls_plan.kind = CALL_KINDS;
    return calls_plan.failed;
}

static int call_due(enum call_kind kind)
{
    if (calls_plan.kind != (int)kind)
        return 0;
    uint64_t number = ++calls_plan.calls, first = calls_plan.first;
    if (number < first || (number > first && !calls_plan.lasting))
        return 0;
    calls_plan.failed++;
    errno = calls_plan.error;
    return 1;
}

/* `size`, or less of it where the call is to end early; *failed where it fails. */
static size_t call_size(enum call_kind kind, size_t size, int *failed)
{
    int due = call_due(kind);
    *failed = due && calls_plan.error;
    if (!due || *failed)
        return size;
    return calls_plan.cut == CALL_SHORT ? (size + 1) / 2 : calls_plan.cut == CALL_NOTHING ? 0 : size;
}

#define REAL(result, name, parameters) \
    result __real_##name parameters; \
    result __wrap_##name parameters; \
    result __wrap_##name parameters
#define REAL_OR(kind, otherwise, call) return call_due(kind) ? otherwise : (call)

int __real_openat(int directory, const char *name, int flags, ...);
int __wrap_openat(int directory, const char *name, int flags, ...);
int __wrap_openat(int directory, const char *name, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    REAL_OR(CALL_OPEN, -1, __real_openat(directory, name, flags, mode));
}

REAL(int, mkdirat, (int directory, const char *name, mode_t mode))
{
    REAL_OR(CALL_MKDIR, -1, __real_mkdirat(directory, name, mode));
}

REAL(int, fstat, (int fd, struct stat *info))
{
    REAL_OR(CALL_STAT, -1, __real_fstat(fd, info));
}

REAL(int, unlinkat, (int directory, const char *name, int flags))
{
    if (calls_plan.lasting == CALL_UNTIL_ROOM)
        calls_heal();
    REAL_OR(CALL_UNLINK, -1, __real_unlinkat(directory, name, flags));
}

REAL(int, renameat, (int from, const char *old, int to, const char *name))
{
    REAL_OR(CALL_RENAME, -1, __real_renameat(from, old, to, name));
}

REAL(ssize_t, pread, (int fd, void *buffer, size_t size, off_t offset))
{
    int failed;
    uint64_t before = calls_plan.failed;
    size = call_size(CALL_READ, size, &failed);
    if (failed)
        return -1;
    ssize_t done = __real_pread(fd, buffer, size, offset);
    if (done > 0 && calls_plan.failed > before && calls_plan.cut >= CALL_FLIPPED)
        ((uint8_t *)buffer)[calls_plan.cut == CALL_FLIPPED ? done / 2 : done < 64 ? 0 : 21] ^= 0x10;
    return done;
}

REAL(ssize_t, pwrite, (int fd, const void *buffer, size_t size, off_t offset))
{
    int failed;
    uint64_t before = calls_plan.failed;
    size = call_size(CALL_WRITE, size, &failed);
    if (failed)
        return -1;
    int due = calls_plan.failed > before;
    if (due && calls_plan.cut == CALL_LOST)
        return (ssize_t)size;
    ssize_t done = __real_pwrite(fd, buffer, size, offset);
    if (due && calls_plan.cut == CALL_FLIPPED) {
        uint8_t other = ((const uint8_t *)buffer)[size / 2] ^ 0x10;
        (void)!__real_pwrite(fd, &other, 1, offset + (off_t)(size / 2));
    }
    return done;
}

REAL(int, fallocate, (int fd, int mode, off_t offset, off_t size))
{
    REAL_OR(CALL_ALLOCATE, -1, __real_fallocate(fd, mode, offset, size));
}

REAL(int, ftruncate, (int fd, off_t size))
{
    REAL_OR(CALL_TRUNCATE, -1, __real_ftruncate(fd, size));
}

REAL(int, fdatasync, (int fd))
{
    REAL_OR(CALL_SYNC, -1, __real_fdatasync(fd));
}

REAL(int, fsync, (int fd))
{
    REAL_OR(CALL_SYNC_DIRECTORY, -1, __real_fsync(fd));
}

REAL(off_t, lseek, (int fd, off_t offset, int whence))
{
    REAL_OR(CALL_SEEK, -1, __real_lseek(fd, offset, whence));
}

REAL(int, fstatfs, (int fd, struct statfs *info))
{
    REAL_OR(CALL_STATFS, -1, __real_fstatfs(fd, info));
}

REAL(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset))
{
    REAL_OR(CALL_MAP, MAP_FAILED, __real_mmap(at, size, protection, flags, fd, offset));
}

REAL(int, madvise, (void *map, size_t size, int advice))
{
    REAL_OR(CALL_ADVISE, -1, __real_madvise(map, size, advice));
}

REAL(int, msync, (void *map, size_t size, int flags))
{
    REAL_OR(CALL_SYNC_MAP, -1, __real_msync(map, size, flags));
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    REAL_OR(CALL_LOCK, -1, __real_fcntl(fd, command, argument));
}

REAL(DIR *, fdopendir, (int fd))
{
    REAL_OR(CALL_LIST, NULL, __real_fdopendir(fd));
}

REAL(struct dirent *, readdir, (DIR * stream))
{
    REAL_OR(CALL_LIST, NULL, __real_readdir(stream));
}

REAL(ssize_t, getrandom, (void *buffer, size_t size, unsigned flags))
{
    int failed;
    size = call_size(CALL_RANDOM, size, &failed);
    return failed ? -1 : __real_getrandom(buffer, size, flags);
}

REAL(void *, malloc, (size_t size))
{
    REAL_OR(CALL_MEMORY, NULL, __real_malloc(size));
}

REAL(void *, calloc, (size_t count, size_t size))
{
    REAL_OR(CALL_MEMORY, NULL, __real_calloc(count, size));
}

REAL(void *, realloc, (void *old, size_t size))
{
    REAL_OR(CALL_MEMORY, NULL, __real_realloc(old, size));
}

REAL(int, pthread_create, (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context))
{
    REAL_OR(CALL_THREAD, EAGAIN, __real_pthread_create(thread, attributes, run, context));
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list more;
    va_start(more, number);
    void *word = va_arg(more, void *);
    long what = va_arg(more, int), value = va_arg(more, unsigned);
    void *timeout = va_arg(more, void *);
    va_end(more);
    if (number == SYS_futex && what == FUTEX_WAIT && call_due(CALL_SLEEP))
        return -1;
    return __real_syscall(number, word, what, value, timeout, NULL, 0L);
}

#endif
