/* A store whose records prove themselves, what of it was acknowledged, and copies of its directory: for programs that
 * do the same thing to the same store over and over. The user defines _GNU_SOURCE before any include. */
#ifndef STREAMSTORE_PROVEN_H
#define STREAMSTORE_PROVEN_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "log.h"

enum { RECORDS = 400, DATA_MAX = 700, SEGMENT = 128 << 10, BUFFER = 64 << 10, PATH_SIZE = 200 };

#define TRY(call) \
    do { \
        ss_status tried_ = (call); \
        if (tried_ != SS_OK) \
            return tried_; \
    } while (0)

/* What was put, and what of it was acknowledged; shared with a child that dies. */
typedef struct {
    uint32_t attempted;
    uint64_t positions[RECORDS];
    uint8_t acked[RECORDS];
    uint64_t trimmed; /* a trim up to here was asked for */
    int damaged;      /* files were spoilt: what is read is right, and some may be missing, each told of */
    uint64_t fixed;   /* segments below hold records up to here: where it can be cut */
} history;

static history *now, *before;
static char base[64], root[PATH_SIZE], template[PATH_SIZE];
static int durability, backend;
static uint32_t terms;
static ss_store *store, *beside;
static ss_log *log_;
static uint8_t buffer[BUFFER];

/* ---- files ---- */

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void remove_all(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int copy_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    static char bytes[64 << 10];
    char to[2 * PATH_SIZE];
    (void)walk;
    snprintf(to, sizeof to, "%s%s", root, path + strlen(template));
    if (kind == FTW_D)
        return mkdir(to, 0700);
    int from = open(path, O_RDONLY | O_CLOEXEC), fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;)
        CHECK_EQUAL(write(fd, bytes, (size_t)got), got);
    CHECK_EQUAL(ftruncate(fd, info->st_size), 0);
    close(from);
    close(fd);
    return 0;
}

static inline long descriptors(void)
{
    long count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* ---- one store ---- */

static inline size_t content(uint32_t n, uint8_t data[DATA_MAX])
{
    size_t size = 8 + n * 37 % 600;
    memcpy(data, &n, sizeof n);
    for (size_t i = sizeof n; i < size; i++)
        data[i] = (uint8_t)((n * 31 + i * 7) | 1);
    return size;
}

static inline ss_status open_with(int flags, ss_store **out)
{
    return ss_store_open(root, flags | backend, out);
}

static inline ss_status log_of(ss_store *in, ss_log **out)
{
    static const uint8_t description[] = "what this log is";
    const ss_log_options options = {.durability = durability,
                                    .segment_size_max = SEGMENT,
                                    .record_size_max = 1 << 20,
                                    .description = description,
                                    .description_size = sizeof description,
                                    .start_position = now->trimmed}; /* as the catalog would say */
    return ss_store_log(in, 1, 0, &options, out);
}

static inline ss_status open_all(int flags)
{
    TRY(open_with(flags, &store));
    return log_of(store, &log_);
}

static inline ss_status close_one(ss_store **which)
{
    ss_status status = SS_OK;
    if (*which) {
        status = ss_store_close(*which);
        ss_store_free(*which);
    }
    *which = NULL;
    return status;
}

/* `count` records in one append through `to`. */
static inline ss_status put_to(ss_log *to, uint32_t count)
{
    static uint8_t data[RECORDS][DATA_MAX];
    ss_entry entries[RECORDS];
    uint64_t positions[RECORDS];
    uint32_t first = now->attempted;
    ss_appended appended;
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (ss_entry){
            .data = data[i], .data_size = content(first + i, data[i]), .key = (const uint8_t *)"key", .key_size = 3};
    now->attempted += count;
    TRY(ss_log_append_under(to, terms, entries, count, 0, 0, positions, &appended));
    if (durability == SS_DURABILITY_SYNC)
        TRY(ss_log_sync(to, appended.end_position));
    for (uint32_t i = 0; i < count; i++) {
        now->positions[first + i] = positions[i];
        now->acked[first + i] = 1;
    }
    return SS_OK;
}

static inline ss_status put(uint32_t count)
{
    return put_to(log_, count);
}

/* All records in their order; those that were acknowledged where they were said to be. */
static inline ss_status read_through(ss_log *log, uint64_t *found)
{
    ss_record records[64];
    ss_read_result result;
    ss_log_state state;
    uint32_t next = 0;
    *found = 0;
    TRY(ss_log_state_get(log, &state));
    for (uint64_t position = state.start;; position = result.next_position) {
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 64, &result);
        if (status != SS_OK && !(now->damaged && status == SS_CORRUPT))
            return status;
        for (size_t i = 0; i < result.count; i++) {
            uint8_t data[DATA_MAX];
            uint32_t n = UINT32_MAX;
            memcpy(&n, buffer + records[i].data_offset, sizeof n);
            CHECK(n >= next && n < now->attempted);
            CHECK_EQUAL(records[i].data_size, content(n, data));
            CHECK_BYTES(buffer + records[i].data_offset, data, records[i].data_size);
            for (; next < n && n < now->attempted; next++)
                CHECK(now->damaged || !now->acked[next] || now->positions[next] < now->trimmed);
            CHECK(!now->acked[n] || now->positions[n] == records[i].position);
            next = n + 1;
            ++*found;
        }
        if (!result.count && status == SS_OK)
            break;
    }
    for (; next < now->attempted; next++)
        CHECK(now->damaged || !now->acked[next] || now->positions[next] < now->trimmed);
    return SS_OK;
}

#endif
