/* What a reopened log says of damage, and of a batch that was cut short. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "logs.h"

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

/* A segment header that was committed and then damaged hides its segment: the range is reported, never read as empty
 * or trimmed. */
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

/* A batch is there whole or not at all, also after its writer died in the middle of it: here its last frame never
 * came. */
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
            entries[i] = (ss_entry){
                .data = data[i], .data_size = content(2 + i, data[i]), .key = key, .key_size = (int32_t)(1 + i)};
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

int main(void)
{
    check_damaged_headers();
    check_batch_is_whole();
    return check_report();
}
