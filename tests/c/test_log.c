/* A log through its whole life in one process: put, read, seek, roll, close, reopen, in each mode and on both
 * backends. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "format.h"
#include "logs.h"

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
        CHECK(found == positions[n] || (n == 0 && found == 64) || found == positions[n] - 48 ||
              found == positions[n] - 8);
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
    uint64_t freed = 0;
    /* a log that nobody wrote to yet has nothing to give, and no damage either */
    CHECK_EQUAL(ss_log_trim(log, SS_FIRST_POSITION, &freed), SS_OK);
    CHECK_EQUAL(freed, 0);
    for (uint64_t n = 0; n < 1000; n++)
        put(log, n);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
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
    /* as the catalog would say */
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .start_position = state.start};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    read_all(log, 1000, 500);
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
    long offset = (long)(SS_SEGMENT_HEADER_SIZE + segments[0].end - segments[0].base) + INDEX_FIRST + 9; /* a time */
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
        /* A seek into the middle of a frame must not leave its index there. */
        CHECK_EQUAL(ss_log_seek(log, positions[n] + 8, &found), SS_OK);
        CHECK_EQUAL(found, positions[n + 1]);
        CHECK_EQUAL(ss_log_seek_ordinal(log, n + 1, &found), SS_OK);
        CHECK_EQUAL(found, positions[n]);
    }
    read_all(log, 0, 2000);
    close_store(store);
    remove_root();
}

/* A seek between frames walks whole frames: it needs no look at the file for damage, which here is gone from its
 * name. */
static void check_seek_between_frames(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    uint64_t positions[100], found = 0;
    for (uint64_t n = 0; n < 100; n++)
        positions[n] = put(log, n);
    char path[128];
    snprintf(path, sizeof path, "%s/streams/1/0/%012d.seg", root, 1);
    CHECK_EQUAL(unlink(path), 0);
    for (uint64_t n = 0; n < 99; n += 9) {
        CHECK_EQUAL(ss_log_seek(log, positions[n] + 8, &found), SS_OK);
        CHECK_EQUAL(found, positions[n + 1]);
    }
    close_store(store);
    remove_root();
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
    check_index();
    check_seek_between_frames();
    check_closed();
    check_last_epoch();
    check_reader_lets_go();
    check_foreign();
    return check_report();
}
