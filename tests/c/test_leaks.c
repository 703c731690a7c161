/* What a process holds stays flat: over cycles of open and close of a log (STREAMSTORE_LEAK_CYCLES, 10^6 in the long
 * run), and while STREAMSTORE_LEAK_MIB of records (1,024 in the long run) go in and are read back. */
#define _GNU_SOURCE
#include <dirent.h>

#include "scratch.h"
#include "streamstore.h"

/* A sanitizer's own memory is not flat, and it has leak checks of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#else
#define INSTRUMENTED 0
#endif

typedef struct {
    long anonymous_kib;
    long descriptors;
    long maps;
} holdings;

static long count_descriptors(void)
{
    long count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 3; /* two dots and this one */
}

static holdings measure(void)
{
    holdings now = {.descriptors = count_descriptors()};
    char line[512];
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file))
        sscanf(line, "RssAnon: %ld", &now.anonymous_kib);
    fclose(file);
    file = fopen("/proc/self/maps", "r");
    for (int c = getc(file); c != EOF; c = getc(file))
        now.maps += c == '\n';
    fclose(file);
    return now;
}

static void check_flat(const char *what, holdings before, holdings after)
{
    printf("%s: anonymous %ld -> %ld KiB, descriptors %ld -> %ld, maps %ld -> %ld\n", what, before.anonymous_kib,
           after.anonymous_kib, before.descriptors, after.descriptors, before.maps, after.maps);
    CHECK_EQUAL(after.descriptors, before.descriptors);
    if (!INSTRUMENTED) {
        CHECK(after.maps <= before.maps + 2); /* the allocator's own */
        CHECK(after.anonymous_kib <= before.anonymous_kib + 512);
    }
}

static long from_environment(const char *name, long otherwise)
{
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

static ss_store *open_store(void)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(scratch_root, SS_OPEN_CREATE, &store), SS_OK);
    return store;
}

static ss_log *open_log(ss_store *store, uint32_t shard, uint64_t segment_size)
{
    static const uint8_t description[100];
    ss_log *log = NULL;
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS,
                              .segment_size_max = segment_size,
                              .description = description,
                              .description_size = sizeof description};
    CHECK_EQUAL(ss_store_log(store, 1, shard, &options, &log), SS_OK);
    return log;
}

static void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

static void put(ss_log *log, const uint8_t *data, size_t size)
{
    ss_entry entry = {.data = data, .data_size = size, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
}

/* Attach, touch, let go: every hundredth time with a put, so that segments are written by each and sealed under it. */
static void cycle(long i)
{
    static uint8_t buffer[64 << 10];
    static const uint8_t data[20000];
    ss_record record;
    ss_read_result result;
    ss_store *store = open_store();
    ss_log *log = open_log(store, (uint32_t)(i % 3), 256 << 10);
    if (i % 100 < 3)
        put(log, data, sizeof data);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(ss_log_read(log, state.start, 0, buffer, sizeof buffer, &record, 1, &result), SS_OK);
    CHECK_EQUAL(result.count, 1);
    close_store(store);
}

/* Cycles on a new store: what a store has to know (its segments) stays as small. `beside` a second handle that keeps
 * the incarnation, like a running program; alone, each cycle recovers. */
static void block(long cycles, int beside)
{
    scratch_new();
    ss_store *holder = beside ? open_store() : NULL;
    for (long i = 0; i < cycles; i++)
        cycle(i);
    if (holder)
        close_store(holder);
    scratch_remove();
}

static void check_cycles(long cycles, int beside)
{
    const long size = cycles < 2000 ? cycles / 4 : 500;
    block(size, beside);
    holdings before = measure();
    for (long done = size; done < cycles; done += size)
        block(size, beside);
    check_flat(beside ? "open and close beside another" : "open and close alone", before, measure());
}

static void read_through(ss_log *log, long records)
{
    static uint8_t buffer[1 << 20];
    static ss_record found[256];
    ss_log_state state;
    ss_read_result result = {0};
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint64_t position = state.start;
    long count = 0;
    do {
        CHECK_EQUAL(ss_log_read(log, position, 0, buffer, sizeof buffer, found, 256, &result), SS_OK);
        count += (long)result.count;
        position = result.next_position;
    } while (result.count);
    CHECK_EQUAL(count, records);
}

static void check_volume(long mib)
{
    static uint8_t data[8 << 10];
    scratch_new();
    ss_store *store = open_store();
    ss_log *log = open_log(store, 0, mib > 256 ? 1 << 20 : 128 << 10); /* some hundred segments */
    long records = mib * 128, warm = records / 8;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    for (long i = 0; i < warm; i++)
        put(log, data, sizeof data);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    read_through(log, warm);
    holdings before = measure();
    for (long i = warm; i < records; i++)
        put(log, data, sizeof data);
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    read_through(log, records);
    holdings after = measure();
    printf("%ld MiB written and read: anonymous %ld -> %ld KiB, descriptors %ld -> %ld, maps %ld -> %ld\n", mib,
           before.anonymous_kib, after.anonymous_kib, before.descriptors, after.descriptors, before.maps, after.maps);
    CHECK(after.descriptors <= before.descriptors + 256); /* sealed segments that stay open for reading, at most */
    if (!INSTRUMENTED) {
        CHECK(after.maps <= before.maps + 16);
        CHECK(after.anonymous_kib <= before.anonymous_kib + 4096);
    }
    close_store(store);
    scratch_remove();
}

int main(void)
{
    long cycles = from_environment("STREAMSTORE_LEAK_CYCLES", 1000);
    check_cycles(cycles, 1);
    check_cycles(cycles / 20, 0);
    check_volume(from_environment("STREAMSTORE_LEAK_MIB", 48));
    return check_report();
}
