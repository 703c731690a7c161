/* The trace: what the store did to its files, moment by moment. */
#define _GNU_SOURCE
#include "seam.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORD = 8, BLOCK = 4096 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static seam_trace *recording;

void seam_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void seam_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

seam_trace *seam_recording(void)
{
    return recording;
}

static void *grown(void *old, size_t size)
{
    void *made = realloc(old, size);
    if (!made) {
        fputs("seam: no memory\n", stderr);
        abort();
    }
    return made;
}

seam_op *seam_note(seam_trace *trace, enum seam_kind kind, const char *path, const char *to)
{
    if (trace->count == trace->capacity) {
        trace->capacity = trace->capacity ? 2 * trace->capacity : 256;
        trace->ops = grown(trace->ops, trace->capacity * sizeof *trace->ops);
    }
    seam_op *op = &trace->ops[trace->count++];
    *op = (seam_op){.kind = (uint8_t)kind, .moment = trace->moment, .end = UINT32_MAX};
    op->path = path ? strdup(path) : NULL;
    op->to = to ? strdup(to) : NULL;
    return op;
}

int seam_path(const seam_trace *trace, int directory, const char *name, char path[SEAM_PATH_SIZE])
{
    char link[64], full[2 * SEAM_PATH_SIZE];
    ssize_t size = 0;
    if (name[0] != '/' && directory == AT_FDCWD)
        size = readlink("/proc/self/cwd", full, sizeof full - 2);
    else if (name[0] != '/') {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        size = readlink(link, full, sizeof full - 2);
    }
    if (size < 0)
        return 0;
    if (name[0] != '/')
        full[size++] = '/';
    if ((size_t)size + strlen(name) >= sizeof full)
        return 0;
    strcpy(full + size, name);
    size_t length = strlen(full), root = strlen(trace->root);
    while (length > 1 && (full[length - 1] == '/' || (full[length - 1] == '.' && full[length - 2] == '/')))
        full[--length] = 0;
    if (strncmp(full, trace->root, root) != 0 || (full[root] != '/' && full[root] != 0))
        return 0;
    const char *rest = full[root] ? full + root + 1 : "";
    if (strlen(rest) >= SEAM_PATH_SIZE)
        return 0;
    strcpy(path, rest);
    return 1;
}

int32_t seam_file_of(const seam_trace *trace, int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return -1;
    for (uint32_t i = 0; i < trace->file_count; i++)
        if (trace->files[i].inode == info.st_ino && trace->files[i].device == info.st_dev)
            return (int32_t)i;
    return -1;
}

static void make_room(seam_file *file, uint64_t size)
{
    if (size <= file->capacity)
        return;
    uint64_t capacity = (size + 65535) / 65536 * 65536;
    file->now = grown(file->now, capacity);
    memset(file->now + file->capacity, 0, capacity - file->capacity);
    file->capacity = capacity;
}

/* The words of one sector that differ: one op from the first of them to the last, so that a torn one has all the
 * others as they were before. */
static void note_sector(seam_trace *trace, uint32_t index, uint64_t at, const uint8_t *found, uint64_t size)
{
    uint8_t *now = trace->files[index].now + at;
    uint64_t first = 0, last = size;
    while (first < size && memcmp(now + first, found + first, size - first < WORD ? size - first : WORD) == 0)
        first += WORD;
    if (first >= size)
        return;
    while (last - first > WORD && memcmp(now + last - WORD, found + last - WORD, WORD) == 0)
        last -= WORD;
    seam_op *op = seam_note(trace, SEAM_STORE, NULL, NULL);
    op->file = index;
    op->offset = at + first;
    op->size = last - first;
    op->bytes = grown(NULL, op->size);
    memcpy(op->bytes, found + first, op->size);
    memcpy(now + first, op->bytes, op->size);
}

static void scan_file(seam_trace *trace, uint32_t index)
{
    seam_file *file = &trace->files[index];
    struct stat info;
    if (fstat(file->fd, &info) != 0)
        return;
    uint64_t size = (uint64_t)info.st_size;
    if (size != file->size) {
        seam_op *op = seam_note(trace, SEAM_SIZE, NULL, NULL);
        op->file = index;
        op->offset = size;
        file->size = size;
    }
    if (file->plain)
        return;
    make_room(file, size);
    uint8_t found[16 * BLOCK];
    for (uint64_t at = 0; at < size; at += sizeof found) {
        size_t want = size - at < sizeof found ? size - at : sizeof found;
        ssize_t got = syscall(SYS_pread64, file->fd, found, want, at);
        if (got != (ssize_t)want || memcmp(found, file->now + at, want) == 0)
            continue;
        for (uint64_t sector = 0; sector < want; sector += SEAM_SECTOR) {
            uint64_t part = want - sector < SEAM_SECTOR ? want - sector : SEAM_SECTOR;
            if (memcmp(found + sector, file->now + at + sector, part) != 0)
                note_sector(trace, index, at + sector, found + sector, part);
        }
    }
}

void seam_scan(seam_trace *trace)
{
    for (uint32_t i = 0; i < trace->file_count; i++)
        scan_file(trace, i);
}

uint32_t seam_follow(seam_trace *trace, const char *path, int fd, int durable)
{
    int32_t known = seam_file_of(trace, fd);
    if (known >= 0)
        return (uint32_t)known;
    uint32_t index = trace->file_count++;
    trace->files = grown(trace->files, trace->file_count * sizeof *trace->files);
    seam_file *file = &trace->files[index];
    struct stat info;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    *file = (seam_file){.fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0)};
    if (file->fd < 0 || fstat(fd, &info) != 0) {
        fprintf(stderr, "seam: %s cannot be followed\n", path);
        abort();
    }
    file->inode = info.st_ino;
    file->device = info.st_dev;
    file->plain = strcmp(path, "reserve") == 0;
    if (durable) {
        file->size = file->begin_size = (uint64_t)info.st_size;
        if (!file->plain) {
            make_room(file, file->size);
            if (syscall(SYS_pread64, file->fd, file->now, file->size, 0) != (ssize_t)file->size)
                abort();
            file->begin = grown(NULL, file->size ? file->size : 1);
            memcpy(file->begin, file->now, file->size);
        }
    }
    return index;
}

/* Everything below a directory, as it is. */
static void take_in(seam_trace *trace, const char *below)
{
    char path[2 * SEAM_PATH_SIZE + 2];
    snprintf(path, sizeof path, "%s%s%s", trace->root, below[0] ? "/" : "", below);
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        trace->entries = grown(trace->entries, (trace->entry_count + 1) * sizeof *trace->entries);
        uint32_t index = trace->entry_count++;
        char name[SEAM_PATH_SIZE];
        if (strlen(below) + strlen(entry->d_name) + 2 > sizeof name)
            abort();
        strcpy(name, below);
        strcat(name, below[0] ? "/" : "");
        strcat(name, entry->d_name);
        strcpy(trace->entries[index].path, name);
        trace->entries[index].file = -1;
        int fd = (int)syscall(SYS_openat, dirfd(directory), entry->d_name, O_RDONLY | O_CLOEXEC, 0);
        struct stat info;
        if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
            int32_t file = (int32_t)seam_follow(trace, name, fd, 1);
            trace->entries[index].file = file;
        } else {
            take_in(trace, name);
        }
        if (fd >= 0)
            syscall(SYS_close, fd);
    }
    if (directory)
        closedir(directory);
}

seam_trace *seam_begin(const char *root)
{
    if (strlen(root) >= SEAM_PATH_SIZE)
        return NULL;
    seam_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return NULL;
    strcpy(trace->root, root);
    trace->moment = 1;
    take_in(trace, "");
    seam_lock();
    recording = trace;
    seam_unlock();
    return trace;
}

void seam_end(seam_trace *trace)
{
    seam_lock();
    if (recording == trace) {
        seam_scan(trace);
        recording = NULL;
    }
    for (uint32_t i = 0; i < trace->file_count; i++) {
        syscall(SYS_close, trace->files[i].fd);
        free(trace->files[i].now);
        trace->files[i].now = NULL;
    }
    seam_unlock();
}

void seam_free(seam_trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        free(trace->ops[i].bytes);
        free(trace->ops[i].path);
        free(trace->ops[i].to);
    }
    for (uint32_t i = 0; i < trace->file_count; i++)
        free(trace->files[i].begin);
    free(trace->ops);
    free(trace->files);
    free(trace->entries);
    free(trace);
}

uint32_t seam_mark(seam_trace *trace)
{
    seam_lock();
    if (recording == trace)
        seam_scan(trace);
    uint32_t moment = trace->moment++;
    seam_unlock();
    return moment;
}

int seam_print(const seam_trace *trace, const char *path)
{
    static const char *const kinds[] = {"store",  "size",  "create", "mkdir", "rename",
                                        "unlink", "rmdir", "sync",   "sync"};
    FILE *out = fopen(path, "w");
    if (!out)
        return errno;
    for (uint32_t i = 0; i < trace->entry_count; i++)
        fprintf(out, "     there  %s as file %d\n", trace->entries[i].path, trace->entries[i].file);
    for (size_t i = 0; i < trace->count; i++) {
        const seam_op *op = &trace->ops[i];
        fprintf(out, "%4u %-6s %s%s%s", op->moment, kinds[op->kind], op->path ? op->path : "", op->to ? " -> " : "",
                op->to ? op->to : "");
        if (op->kind == SEAM_STORE || op->kind == SEAM_SIZE || op->kind == SEAM_SYNC)
            fprintf(out, "file %u, %llu + %lld", op->file, (unsigned long long)op->offset, (long long)op->size);
        if (op->kind == SEAM_CREATE)
            fprintf(out, " as file %u", op->file);
        if (op->kind >= SEAM_SYNC)
            fprintf(out, ", done in %d", (int)op->end);
        fputc('\n', out);
    }
    fclose(out);
    return 0;
}
