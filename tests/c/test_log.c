/* A log through its whole life in one process: put, read, seek, roll, close, reopen, in each mode and on both backends. */
#define _GNU_SOURCE
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "streamstore.h"

static char root[64];

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void fresh_root(void)
{
    strcpy(root, "/tmp/ss-test-log-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
}

static void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static ss_store *open_store(int flags)
{
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(root, flags, &store), SS_OK);
    return store;
}

static ss_log *open_log(ss_store *store, int durability)
{
    ss_log *log = NULL;
    ss_log_options options = {.durability = durability, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

static void close_store(ss_store *store)
{
    ss_store_close(store);
    ss_store_free(store);
}

/* Record n is its own oracle: size and bytes follow from n. */
static size_t content(uint64_t n, uint8_t *data)
{
    size_t size = (size_t)(n * 2654435761u % 700);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(n * 31 + i * 7);
    return size;
}

static uint64_t put(ss_log *log, uint64_t n)
{
    uint8_t data[700], key[16];
    ss_entry entry = {.data = data, .data_size = content(n, data), .key = key, .key_size = (int32_t)(n % 17) - 1};
    memset(key, 'k', sizeof key);
    uint64_t position = 0;
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, &position, &appended), SS_OK);
    return position;
}

static uint64_t read_all(ss_log *log, uint64_t first, uint64_t count)
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

static void check_mode(int durability, int flags)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE | flags);
    ss_log *log = open_log(store, durability);
    uint64_t positions[3000];
    for (uint64_t n = 0; n < 2000; n++)
        positions[n] = put(log, n);
    if (durability == SS_DURABILITY_SYNC)
        CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    read_all(log, 0, 2000);
    close_store(store);
    for (int round = 0; round < 3; round++) {
        store = open_store(flags);
        log = open_log(store, durability);
        read_all(log, 0, 2000 + (uint64_t)round * 100);
        for (uint64_t n = 2000 + (uint64_t)round * 100; n < 2100 + (uint64_t)round * 100; n++)
            positions[n] = put(log, n);
        if (durability == SS_DURABILITY_SYNC)
            CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
        read_all(log, 0, 2100 + (uint64_t)round * 100);
        ss_recovery recovery;
        ss_log_recovery_get(log, &recovery);
        CHECK_EQUAL(recovery.verdict, 'A');
        CHECK_EQUAL(recovery.in_place, 1);
        close_store(store);
    }
    store = open_store(flags | SS_OPEN_READ_ONLY);
    log = open_log(store, durability);
    read_all(log, 0, 2300);
    for (uint64_t n = 0; n < 2300; n++) {
        uint8_t buffer[2048], data[700];
        ss_record record;
        ss_read_result result;
        CHECK_EQUAL(ss_log_get(log, positions[n], 0, buffer, sizeof buffer, &record, &result), SS_OK);
        size_t size = content(n, data);
        CHECK_EQUAL(record.data_size, size);
        CHECK_BYTES(buffer + record.data_offset, data, size);
        uint64_t found = 0;
        CHECK_EQUAL(ss_log_seek_ordinal(log, n + 1, &found), SS_OK);
        CHECK_EQUAL(found, positions[n]);
        CHECK_EQUAL(ss_log_seek(log, positions[n] - 8, &found), SS_OK);
        CHECK(found == positions[n] || (n == 0 && found == 64) || found == positions[n] - 48 || found == positions[n] - 8);
        CHECK_EQUAL(ss_log_get(log, positions[n] + 8, 0, buffer, sizeof buffer, &record, &result), SS_NOT_FOUND);
    }
    ss_verify_totals totals;
    size_t damaged = 1;
    CHECK_EQUAL(ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals), SS_OK);
    CHECK_EQUAL(damaged, 0);
    CHECK_EQUAL(totals.records, 2300);
    CHECK_EQUAL(totals.frames, 2303);
    close_store(store);
    remove_root();
}

static void check_expected_tail(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint8_t byte = 1;
    ss_entry entry = {.data = &byte, .data_size = 1, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, state.tail + 8, 0, NULL, &appended), SS_TAIL_MISMATCH);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, state.tail, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, state.tail, 0, NULL, &appended), SS_TAIL_MISMATCH);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, appended.end_position, SS_APPEND_CLOSE, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_SHARD_CLOSED);
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_SHARD_CLOSED);
    close_store(store);
    remove_root();
}

static void check_roll_and_trim(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    for (uint64_t n = 0; n < 1000; n++)
        put(log, n);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint64_t freed = 0;
    CHECK_EQUAL(ss_log_trim(log, state.tail, &freed), SS_OK);
    CHECK(freed > 0);
    for (uint64_t n = 1000; n < 1500; n++)
        put(log, n);
    read_all(log, 1000, 500);
    uint8_t buffer[4096];
    ss_record records[2];
    ss_read_result result;
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 2, &result), SS_TRIMMED);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.start_record_count, 1000);
    CHECK_EQUAL(state.record_count, 1500);
    close_store(store);
    store = open_store(0);
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .start_position = state.start}; /* as the catalog would say */
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    read_all(log, 1000, 500);
    close_store(store);
    remove_root();
}

static void flip(const char *directory, int ordinal, long offset)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s/%012d.seg", root, directory, ordinal);
    FILE *file = fopen(path, "r+");
    CHECK(file != NULL);
    fseek(file, offset, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, offset, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
}

/* The range in which reads of a reopened log report damage; then a put must go on behind everything. */
static void expect_damage(uint64_t begin, uint64_t end, uint64_t tail)
{
    static uint8_t buffer[64 << 10];
    ss_record records[100];
    ss_read_result result = {0};
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    uint64_t position = SS_FIRST_POSITION, damaged = 0;
    for (;;) {
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 100, &result);
        if (status == SS_CORRUPT) {
            CHECK_EQUAL(result.damage_begin, begin);
            CHECK_EQUAL(result.damage_end, end);
            damaged++;
        } else {
            CHECK_EQUAL(status, SS_OK);
            if (status != SS_OK || result.count == 0)
                break;
        }
        position = result.next_position;
    }
    CHECK_EQUAL(damaged, 1);
    CHECK_EQUAL(position, tail);
    ss_damage damage[4];
    ss_verify_totals totals;
    size_t count = 0;
    CHECK_EQUAL(ss_log_verify(log, 0, 0, damage, 4, &count, &totals), SS_OK);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(damage[0].begin, begin);
    CHECK_EQUAL(damage[0].end, end);
    CHECK(put(log, 7) >= tail);
    close_store(store);
}

/* A segment header that was committed and then damaged hides its segment: the range is reported, never read as empty or trimmed. */
static void check_damaged_headers(void)
{
    for (int victim = 1; victim <= 3; victim++) {
        fresh_root();
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        for (uint64_t n = 0; n < 1500; n++)
            put(log, n);
        ss_segment_info segments[4];
        size_t count = 0;
        CHECK_EQUAL(ss_log_segments(log, segments, 4, &count), SS_OK);
        CHECK_EQUAL(count, 3);
        close_store(store);
        flip("streams/1/0", victim, 100);
        expect_damage(segments[victim - 1].base, segments[victim - 1].end, segments[2].end);
        remove_root();
    }
    fresh_root(); /* the only segment */
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_log_state state;
    put(log, 1);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    close_store(store);
    flip("streams/1/0", 1, 100);
    expect_damage(SS_FIRST_POSITION, state.tail, state.tail);
    remove_root();
    fresh_root(); /* and no hints either: no end can be told, so nothing is */
    store = open_store(SS_OPEN_CREATE);
    log = open_log(store, SS_DURABILITY_PROCESS);
    put(log, 1);
    close_store(store);
    flip("streams/1/0", 1, 100);
    char path[96];
    snprintf(path, sizeof path, "%s/control", root);
    CHECK_EQUAL(remove(path), 0);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_CORRUPT);
    close_store(store);
    remove_root();
}

/* The flusher writes an index trailer behind each sealed segment; one that is damaged is a hint lost, nothing more. */
static void check_index(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    uint64_t positions[2000];
    for (uint64_t n = 0; n < 2000; n++)
        positions[n] = put(log, n);
    ss_segment_info segments[16];
    size_t count = 0, sealed = 0, indexed = 0;
    for (int turn = 0; turn < 200 && (sealed == 0 || indexed < sealed); turn++) {
        usleep(20000);
        CHECK_EQUAL(ss_log_segments(log, segments, 16, &count), SS_OK);
        sealed = indexed = 0;
        for (size_t i = 0; i < count; i++) {
            sealed += segments[i].sealed != 0;
            indexed += segments[i].index_present != 0;
        }
    }
    CHECK(sealed >= 2);
    CHECK_EQUAL(indexed, sealed);
    close_store(store);
    char path[128];
    snprintf(path, sizeof path, "%s/streams/1/0/%012d.seg", root, 1);
    FILE *file = fopen(path, "r+");
    long offset = (long)(SS_SEGMENT_HEADER_SIZE + segments[0].end - segments[0].base) + 30;
    fseek(file, offset, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, offset, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_segments(log, segments, 16, &count), SS_OK);
    CHECK_EQUAL(segments[0].index_present, 0);
    CHECK_EQUAL(segments[1].index_present, 1);
    for (uint64_t n = 0; n < 2000; n += 7) {
        uint64_t found = 0;
        CHECK_EQUAL(ss_log_seek_ordinal(log, n + 1, &found), SS_OK);
        CHECK_EQUAL(found, positions[n]);
    }
    read_all(log, 0, 2000);
    close_store(store);
    remove_root();
}

/* A batch is there whole or not at all, also after its writer died in the middle of it: here its last frame never came. */
static void check_batch_is_whole(void)
{
    for (int missing = 0; missing < 2; missing++) {
        fresh_root();
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        put(log, 0);
        put(log, 1);
        uint8_t data[3][700];
        ss_entry entries[3];
        uint64_t positions[3];
        ss_appended appended;
        for (uint64_t i = 0; i < 3; i++) {
            static const uint8_t key[16] = "kkkkkkkkkkkkkkk";
            entries[i] = (ss_entry){.data = data[i], .data_size = content(2 + i, data[i]), .key = key, .key_size = (int32_t)(1 + i)};
        }
        CHECK_EQUAL(ss_log_append(log, entries, 3, 0, 0, positions, &appended), SS_OK);
        close_store(store);
        char path[128];
        if (missing) {
            snprintf(path, sizeof path, "%s/streams/1/0/%012d.seg", root, 1);
            FILE *file = fopen(path, "r+");
            fseek(file, (long)(SS_SEGMENT_HEADER_SIZE + positions[2] - SS_FIRST_POSITION), SEEK_SET);
            for (uint64_t at = positions[2]; at < appended.end_position; at++)
                fputc(0, file);
            fclose(file);
        }
        snprintf(path, sizeof path, "%s/control", root);
        CHECK_EQUAL(remove(path), 0); /* no hint: the frames alone decide */
        store = open_store(0);
        log = open_log(store, SS_DURABILITY_PROCESS);
        CHECK_EQUAL(read_all(log, 0, missing ? 2 : 5), missing ? positions[0] : appended.end_position);
        put(log, missing ? 2 : 5);
        read_all(log, 0, missing ? 3 : 6);
        close_store(store);
        remove_root();
    }
}

static void check_closed(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    put(log, 1);
    ss_store_close(store);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_CLOSED); /* logs outlive close: they go with ss_store_free */
    CHECK_EQUAL(ss_log_sync(log, 0), SS_CLOSED);
    CHECK_EQUAL(ss_log_wait(log, 0, -1), SS_CLOSED);
    CHECK_EQUAL(ss_store_flush(store), SS_CLOSED);
    ss_store_close(store);
    ss_store_free(store);
    remove_root();
}

/* Maps and descriptors of this process on files that are unlinked, whose blocks they keep. */
static int deleted_files(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], path[512];
    int found = 0;
    while (maps && fgets(line, sizeof line, maps))
        found += strstr(line, ".seg (deleted)") != NULL;
    if (maps)
        fclose(maps);
    for (int fd = 0; fd < 200; fd++) {
        snprintf(line, sizeof line, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(line, path, sizeof path - 1);
        path[size > 0 ? size : 0] = 0;
        found += strstr(path, ".seg (deleted)") != NULL;
    }
    return found;
}

/* A handle that only reads lets go of what another one trims: nothing keeps the blocks of unlinked files. */
static void check_reader_lets_go(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE), *beside = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS), *reader = open_log(beside, SS_DURABILITY_PROCESS);
    for (uint64_t round = 0; round < 4; round++) {
        for (uint64_t n = round * 100; n < round * 100 + 100; n++)
            put(log, n);
        read_all(reader, 0, round * 100 + 100);
        if (round < 3)
            CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    }
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint64_t freed = 0;
    CHECK_EQUAL(ss_log_trim(log, state.segment_base, &freed), SS_OK);
    CHECK(deleted_files() > 0);
    read_all(reader, 300, 100);
    CHECK_EQUAL(deleted_files(), 0);
    close_store(store);
    close_store(beside);
    remove_root();
}

/* Where no epoch is left above one that stands on disk, an append is refused and nothing breaks. */
static void check_last_epoch(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_store_epoch_raise(store, (UINT64_C(1) << 52) - 1), SS_OK);
    uint8_t byte = 1;
    ss_entry entry = {.data = &byte, .data_size = 1, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_LIMIT);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_LIMIT);
    close_store(store);
    remove_root();
}

static void check_foreign(void)
{
    fresh_root();
    char path[96];
    snprintf(path, sizeof path, "%s/other", root);
    FILE *file = fopen(path, "w");
    fputs("not ours", file);
    fclose(file);
    ss_store *store = NULL;
    CHECK_EQUAL(ss_store_open(root, SS_OPEN_CREATE, &store), SS_FOREIGN);
    snprintf(path, sizeof path, "%s/lock", root);
    CHECK(access(path, F_OK) != 0);
    snprintf(path, sizeof path, "%s/absent", root);
    CHECK_EQUAL(ss_store_open(path, 0, &store) & 0xff, SS_NOT_FOUND);
    CHECK(access(path, F_OK) != 0);
    remove_root();
}

int main(void)
{
    for (int durability = SS_DURABILITY_SYNC; durability <= SS_DURABILITY_PROCESS; durability++) {
        check_mode(durability, 0);
        check_mode(durability, SS_OPEN_PWRITE);
    }
    check_expected_tail();
    check_roll_and_trim();
    check_damaged_headers();
    check_batch_is_whole();
    check_index();
    check_closed();
    check_last_epoch();
    check_reader_lets_go();
    check_foreign();
    return check_report();
}
