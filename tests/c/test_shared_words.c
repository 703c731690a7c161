/* Words of the control page that no process of ours would leave: from a page that was damaged, or whoever else maps it.
 * They are bounded, passed over or told, and what was put stays what it was. */
#define _GNU_SOURCE
#include <errno.h>

#include "log.h"
#include "packs.h"

enum { TOTAL = 300, EACH = 100 };

static uint64_t positions[TOTAL];

static ss_store *make_log(ss_log **log)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    *log = open_log(store, SS_DURABILITY_PROCESS);
    for (uint64_t n = 0; n < TOTAL; n++) {
        if (n && n % EACH == 0)
            CHECK_EQUAL(ss_log_roll(*log, 0), SS_OK);
        positions[n] = put(*log, n);
    }
    CHECK_EQUAL(ss_log_sync(*log, 0), SS_OK);
    return store;
}

/* A counter of epochs beyond all that a frame can carry is not taken over by the next incarnation. */
static void check_epoch_counter(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    atomic_store(&store->control.header->epoch_counter, FRAME_EPOCH_MAX + 5);
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    ss_log_state state;
    put(log, TOTAL);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK(state.epoch < FRAME_EPOCH_MAX);
    read_all(log, 0, TOTAL + 1);
    close_store(store);
    remove_root();
}

/* A log that has no segment is said to go on in place. */
static void check_in_place_of_nothing(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    atomic_store(&log->entry->in_place, 1);
    CHECK_EQUAL(put(log, 0), SS_FIRST_POSITION);
    read_all(log, 0, 1);
    close_store(store);
    remove_root();
}

/* A compacted segment is named as the active one: nobody writes to it. */
static void check_active_is_packed(void)
{
    ss_log *log;
    ss_store *store = make_log(&log), *other = open_store(0);
    ss_log *theirs = open_log(other, SS_DURABILITY_PROCESS);
    const ss_entry entry = {.data = (const uint8_t *)"x", .data_size = 1, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
    uint64_t base = atomic_exchange(&log->entry->segment_base, SS_FIRST_POSITION);
    uint64_t ordinal = atomic_exchange(&log->entry->segment_ordinal, 2);
    CHECK_EQUAL(ss_log_append(theirs, &entry, 1, 0, 0, NULL, &appended), SS_CORRUPT);
    atomic_store(&log->entry->segment_base, base);
    atomic_store(&log->entry->segment_ordinal, ordinal);
    put(theirs, TOTAL);
    read_all(log, 0, TOTAL + 1);
    close_store(other);
    close_store(store);
    remove_root();
}

/* The last frame known is said to stand behind the end that is known. */
static void check_frame_behind_the_end(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    put(log, TOTAL);
    ss_control_watermark_store(log->entry, state.tail, state.tail);
    ss_control_watermark_store(log->entry, state.tail, state.tail + 4096);
    atomic_store(&store->control.header->poison, EIO); /* so that nothing is synced at its close */
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    read_all(log, 0, TOTAL + 1);
    put(log, TOTAL + 1);
    close_store(store);
    remove_root();
}

/* What poisons a store without an error of the system is told as an error of the disk. */
static void check_poison_without_error(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    const ss_entry entry = {.data = (const uint8_t *)"x", .data_size = 1, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_store_poison_set(store, SS_CORRUPT), SS_POISONED | EIO << 8);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_POISONED | EIO << 8);
    CHECK_EQUAL(ss_store_poison(store), EIO);
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    read_all(log, 0, TOTAL);
    close_store(store);
    remove_root();
}

/* The catalog is one log; a second shard of its stream is a log like any other. */
static void check_shard_beside_the_catalog(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *catalog, *beside;
    const ss_log_options options = {
        .durability = SS_DURABILITY_PROCESS, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 0, 0, &options, &catalog), SS_OK);
    CHECK_EQUAL(ss_store_log(store, 0, 1, &options, &beside), SS_OK);
    put(catalog, 0);
    put(beside, 0);
    put(beside, 1);
    read_all(catalog, 0, 1);
    read_all(beside, 0, 2);
    char path[128];
    snprintf(path, sizeof path, "%s/streams/0/1/000000000001.seg", root);
    CHECK_EQUAL(access(path, F_OK), 0);
    close_store(store);
    remove_root();
}

/* A log is said to begin inside what is damaged: what is behind is read, and counted. */
static void check_start_inside_damage(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_log_state state;
    char path[128];
    close_store(store);
    snprintf(path, sizeof path, "%s/streams/1/0/000000000001.seg", root);
    FILE *file = fopen(path, "r+b");
    CHECK(file && fseek(file, (long)(SS_SEGMENT_HEADER_SIZE + positions[50] - SS_FIRST_POSITION), SEEK_SET) == 0);
    CHECK_EQUAL(fwrite("damaged!", 1, 8, file), 8);
    fclose(file);
    store = open_store(0);
    const ss_log_options options = {
        .segment_size_max = 256 << 10, .record_size_max = 1 << 20, .start_position = positions[50]};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.start, positions[50]);
    CHECK(state.start_record_count <= TOTAL); /* how many were trimmed nobody knows */
    CHECK_EQUAL(state.record_count, TOTAL);
    static uint8_t buffer[8 << 10];
    ss_record record;
    ss_read_result result;
    CHECK_EQUAL(ss_log_read(log, positions[50], 0, buffer, sizeof buffer, &record, 1, &result), SS_CORRUPT);
    CHECK_EQUAL(result.damage_end, positions[51]);
    CHECK_EQUAL(ss_log_read(log, positions[51], 0, buffer, sizeof buffer, &record, 1, &result), SS_OK);
    CHECK_EQUAL(record.ordinal, 52);
    close_store(store);
    remove_root();
}

int main(void)
{
    check_epoch_counter();
    check_in_place_of_nothing();
    check_active_is_packed();
    check_frame_behind_the_end();
    check_poison_without_error();
    check_shard_beside_the_catalog();
    check_start_inside_damage();
    return check_report();
}
