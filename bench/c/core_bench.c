/* The core without Python: append against what it cannot do without, memcpy and checksum into a populated mapping.
 * Usage: core_bench DIRECTORY ROUNDS COUNT SIZE. Prints one JSON object: seconds a record, round by round, in turn. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "streamstore.h"

enum { BATCH = 500, SOURCES = 64, ROUNDS_MAX = 100, MAPPING_SIZE = 128 << 20, PATH_SIZE = 4096 };

/* What every record of a run is taken from: a few distinct payloads, resident in the cache as a caller's would be. */
typedef struct {
    uint8_t *bytes;
    size_t size;
} payloads;

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "core_bench: %s\n", what);
        exit(1);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static payloads payloads_make(size_t size)
{
    payloads made = {malloc(size * SOURCES), size};
    uint64_t state = 20240229;
    require(made.bytes != NULL, "no memory");
    for (size_t i = 0; i < size * SOURCES; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        made.bytes[i] = (uint8_t)(state >> 56);
    }
    return made;
}

static const uint8_t *payload(const payloads *from, size_t index)
{
    return from->bytes + (index % SOURCES) * from->size;
}

/* A mapping as a segment's is, with every page there before the clock starts. */
static uint8_t *floor_map(const char *directory)
{
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/floor", directory);
    require(length > 0 && (size_t)length < sizeof path, "path too long");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && posix_fallocate(fd, 0, MAPPING_SIZE) == 0, "cannot allocate the floor's file");
    void *map = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    require(map != MAP_FAILED, "cannot map the floor's file");
    memset(map, 1, MAPPING_SIZE);
    close(fd);
    return map;
}

static double floor_round(uint8_t *map, const payloads *from, size_t count, uint64_t *sum)
{
    size_t offset = 0;
    double started = now();
    for (size_t i = 0; i < count; i++) {
        if (offset + from->size > MAPPING_SIZE)
            offset = 0;
        memcpy(map + offset, payload(from, i), from->size);
        *sum ^= ss_xxh3_64_seeded(map + offset, from->size, i);
        offset += from->size;
    }
    return (now() - started) / (double)count;
}

static double append_round(ss_log *log, const payloads *from, size_t count)
{
    ss_entry entry = {.data_size = from->size, .key = (const uint8_t *)"user-42", .key_size = 7};
    ss_appended appended;
    double started = now();
    for (size_t i = 0; i < count; i++) {
        entry.data = payload(from, i);
        require(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended) == SS_OK, "append failed");
    }
    return (now() - started) / (double)count;
}

static double batch_round(ss_log *log, const payloads *from, size_t count)
{
    static ss_entry entries[BATCH];
    ss_appended appended;
    size_t batches = count / BATCH;
    for (size_t i = 0; i < BATCH; i++)
        entries[i] = (ss_entry){
            .data = payload(from, i), .data_size = from->size, .key = (const uint8_t *)"user-42", .key_size = 7};
    double started = now();
    for (size_t i = 0; i < batches; i++)
        require(ss_log_append(log, entries, BATCH, 0, 0, NULL, &appended) == SS_OK, "append failed");
    return (now() - started) / (double)(batches * BATCH);
}

static void print_list(const char *name, const double *values, size_t count, const char *after)
{
    printf("\"%s\": [", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%.4g", i == 0 ? "" : ", ", values[i]);
    printf("]%s", after);
}

int main(int argc, char **argv)
{
    require(argc == 5, "usage: core_bench DIRECTORY ROUNDS COUNT SIZE");
    static double floors[ROUNDS_MAX], appends[ROUNDS_MAX], batches[ROUNDS_MAX];
    size_t rounds = strtoul(argv[2], NULL, 10), count = strtoul(argv[3], NULL, 10);
    require(rounds > 0 && rounds <= ROUNDS_MAX && count >= BATCH, "rounds or count out of range");
    payloads from = payloads_make(strtoul(argv[4], NULL, 10));
    uint8_t *map = floor_map(argv[1]);
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/store", argv[1]);
    require(length > 0 && (size_t)length < sizeof path, "path too long");
    ss_store *store;
    ss_log *log;
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .record_size_max = 1 << 20};
    require(ss_store_open(path, SS_OPEN_CREATE, &store) == SS_OK, "cannot open the store");
    require(ss_store_log(store, 1, 0, &options, &log) == SS_OK, "cannot attach the log");
    uint64_t sum = 0;
    floor_round(map, &from, count, &sum);
    append_round(log, &from, count);
    for (size_t i = 0; i < rounds; i++) {
        floors[i] = floor_round(map, &from, count, &sum);
        appends[i] = append_round(log, &from, count);
        batches[i] = batch_round(log, &from, count);
    }
    printf("{");
    print_list("floor", floors, rounds, ", ");
    print_list("append", appends, rounds, ", ");
    print_list("batch", batches, rounds, ", ");
    printf("\"sum\": %u}\n", (unsigned)(sum & 0xffff));
    ss_store_close(store);
    ss_store_free(store);
    munmap(map, MAPPING_SIZE);
    free(from.bytes);
    return 0;
}
