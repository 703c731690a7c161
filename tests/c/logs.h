/* A store in a directory of its own with one small-segmented log, and records that are their own oracle. The user
 * defines _GNU_SOURCE. */
#ifndef STREAMSTORE_LOGS_H
#define STREAMSTORE_LOGS_H

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "streamstore.h"

static char root[64];

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void fresh_root(void)
{
    const char *parent = getenv("TMPDIR"); /* whoever kills a test then knows what it left */
    snprintf(root, sizeof root, "%s/ss-XXXXXX", parent && strlen(parent) < sizeof root - 12 ? parent : "/tmp");
    CHECK(mkdtemp(root) != NULL);
}

static inline void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(root, flags, &store), SS_OK);
    return store;
}

static inline ss_log *open_log(ss_store *store, int durability)
{
    ss_log *log = NULL;
    ss_log_options options = {.durability = durability, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static inline void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

/* Record n is its own oracle: size and bytes follow from n. */
static inline size_t content(uint64_t n, uint8_t *data)
{
    size_t size = (size_t)(n * 2654435761u % 700);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(n * 31 + i * 7);
    return size;
}

static inline uint64_t put(ss_log *log, uint64_t n)
{
    uint8_t data[700], key[16];
    ss_entry entry = {.data = data, .data_size = content(n, data), .key = key, .key_size = (int32_t)(n % 17) - 1};
    memset(key, 'k', sizeof key);
    uint64_t position = 0;
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, &position, &appended), SS_OK);
    return position;
}

static inline uint64_t read_all(ss_log *log, uint64_t first, uint64_t count)
{
    static uint8_t buffer[64 << 10];
    ss_record records[100];
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint64_t position = state.start, n = first, last_position = 0;
    for (;;) {
        ss_read_result result;
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 100, &result);
        CHECK_EQUAL(status, SS_OK);
        if (status != SS_OK || result.count == 0)
            break;
        for (size_t i = 0; i < result.count; i++, n++) {
            uint8_t data[700];
            size_t size = content(n, data);
            CHECK_EQUAL(records[i].data_size, size);
            CHECK_BYTES(buffer + records[i].data_offset, data, size);
            CHECK_EQUAL(records[i].key_size, (int32_t)(n % 17) - 1);
            CHECK_EQUAL(records[i].ordinal, n + 1);
            CHECK(records[i].position > last_position);
            last_position = records[i].position;
        }
        position = result.next_position;
    }
    CHECK_EQUAL(n - first, count);
    return position;
}

#endif
