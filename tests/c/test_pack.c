/* Compacting: sealed segments become one of blocks, and nothing that a reader, a seek, verify or recovery says of the
 * log changes. */
#define _GNU_SOURCE
#include <stddef.h>

#include "control.h"
#include "packs.h"

enum { TOTAL = 2000, EACH = 300 };

static ss_log *fill_new(ss_store **store)
{
    fresh_root();
    *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(*store, SS_DURABILITY_PROCESS);
    fill(log, 0, TOTAL, EACH);
    return log;
}

/* Every answer of a log to every question, hashed: position, time and ordinal seeks, gets, reads from each record. */
static uint64_t answers(ss_log *log)
{
    static uint8_t buffer[64 << 10];
    ss_record records[64], one;
    ss_read_result result;
    ss_log_state state;
    uint64_t sum = 0, out = 0;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    for (uint64_t position = state.start; position < state.tail;) {
        CHECK_EQUAL(ss_log_read(log, position, 0, buffer, sizeof buffer, records, 64, &result), SS_OK);
        for (size_t i = 0; i < result.count; i++) {
            ss_record *record = &records[i];
            uint64_t facts[] = {record->position,           record->epoch,     record->arrival_us, record->ordinal,
                                (uint64_t)record->key_size, record->data_size, record->type};
            sum = sum * 31 + ss_xxh3_64_seeded(facts, sizeof facts, 0);
            sum = sum * 31 + ss_xxh3_64_seeded(buffer + record->data_offset, record->data_size, 0);
            CHECK_EQUAL(ss_log_seek(log, record->position, &out), SS_OK);
            CHECK_EQUAL(out, record->position);
            CHECK_EQUAL(ss_log_seek(log, record->position + 8, &out), SS_OK);
            sum = sum * 31 + out;
            CHECK_EQUAL(ss_log_seek_ordinal(log, record->ordinal, &out), SS_OK);
            CHECK_EQUAL(out, record->position);
            CHECK_EQUAL(ss_log_seek_time(log, record->arrival_us, &out), SS_OK);
            sum = sum * 31 + out;
        }
        for (size_t i = 0; i < result.count; i += 7) {
            uint8_t frame[4096];
            ss_read_result got;
            CHECK_EQUAL(ss_log_get(log, records[i].position, records[i].epoch, frame, sizeof frame, &one, &got), SS_OK);
            CHECK_EQUAL(one.ordinal, records[i].ordinal);
            CHECK_BYTES(frame + one.data_offset, buffer + records[i].data_offset, one.data_size);
            CHECK_EQUAL(ss_log_get(log, records[i].position, records[i].epoch + 1, frame, sizeof frame, &one, &got),
                        SS_NOT_FOUND);
            CHECK_EQUAL(ss_log_get(log, records[i].position + 8, 0, frame, sizeof frame, &one, &got), SS_NOT_FOUND);
        }
        position = result.next_position;
    }
    return sum;
}

static void check_verified(ss_log *log, uint64_t records)
{
    size_t damaged = 1;
    ss_verify_totals totals = {0};
    CHECK_EQUAL(ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals), SS_OK);
    CHECK_EQUAL(damaged, 0);
    CHECK_EQUAL(totals.records, records);
}

static void test_nothing_changes_but_the_files(void)
{
    ss_store *store;
    ss_log *log = fill_new(&store);
    ss_segment_info before[16], after[16];
    size_t count = list_segments(log, before, 16);
    CHECK_EQUAL(count, 7);
    uint64_t sum = answers(log);
    CHECK_EQUAL(pack_segments(log, 1, 3), SS_OK);
    CHECK_EQUAL(answers(log), sum);
    CHECK_EQUAL(pack_segments(log, 4, 6), SS_OK);
    CHECK_EQUAL(answers(log), sum);
    count = list_segments(log, after, 16);
    CHECK_EQUAL(count, 3);
    CHECK(after[0].packed && after[1].packed && !after[2].packed);
    CHECK(after[0].sealed && after[0].index_present && after[0].live);
    CHECK_EQUAL(after[0].ordinal, 3);
    CHECK_EQUAL(after[0].base, before[0].base);
    CHECK_EQUAL(after[0].end, before[3].base);
    CHECK_EQUAL(after[1].base_ordinal, before[3].base_ordinal);
    check_verified(log, TOTAL);
    CHECK_EQUAL(pack_segments(log, 3, 6), SS_OK); /* packed ones join again */
    CHECK_EQUAL(list_segments(log, after, 16), 2);
    CHECK_EQUAL(answers(log), sum);
    check_verified(log, TOTAL);
    read_all(log, 0, TOTAL);
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(answers(log), sum);
    put(log, TOTAL);
    read_all(log, 0, TOTAL + 1);
    close_store(store);
    store = open_store(SS_OPEN_READ_ONLY);
    log = open_log(store, SS_DURABILITY_PROCESS);
    read_all(log, 0, TOTAL + 1);
    check_verified(log, TOTAL + 1);
    close_store(store);
    remove_root();
}

/* Another process's view: its table, maps and descriptors are of the time before. */
static void test_who_reads_meanwhile_notices_nothing(void)
{
    ss_store *store, *other;
    ss_log *log = fill_new(&store);
    other = open_store(0);
    ss_log *theirs = open_log(other, SS_DURABILITY_PROCESS);
    uint64_t sum = answers(theirs);
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
    CHECK_EQUAL(answers(theirs), sum);
    /* one whose table is read and whose files are not open: what it opens is another file by then */
    ss_store *third = open_store(0);
    ss_log *late = open_log(third, SS_DURABILITY_PROCESS);
    ss_segment_info segments[16];
    list_segments(late, segments, 16);
    CHECK_EQUAL(pack_segments(log, 2, 5), SS_OK);
    CHECK_EQUAL(answers(late), sum);
    CHECK_EQUAL(answers(theirs), sum);
    check_verified(late, TOTAL);
    put(late, TOTAL);
    read_all(log, 0, TOTAL + 1);
    close_store(third);
    close_store(other);
    close_store(store);
    remove_root();
}

/* A process that wrote, and then neither writes nor reads: its descriptors do not keep the replaced files. */
static void test_an_idle_process_lets_go(void)
{
    ss_store *store, *other;
    ss_log *log = fill_new(&store);
    other = open_store(0);
    ss_log *theirs = open_log(other, SS_DURABILITY_PROCESS);
    answers(log);
    CHECK_EQUAL(pack_segments(theirs, 1, 6), SS_OK);
    int held = 1;
    for (int turn = 0; turn < 100 && held; turn++) {
        char command[160], line[16] = "1";
        usleep(100000);
        snprintf(command, sizeof command, "ls -l /proc/%d/fd | grep -c '%s.*seg (deleted)'", getpid(), root);
        FILE *pipe = popen(command, "r");
        CHECK(pipe && fgets(line, sizeof line, pipe));
        if (pipe)
            pclose(pipe);
        held = atoi(line);
    }
    CHECK_EQUAL(held, 0);
    close_store(other);
    close_store(store);
    remove_root();
}

static void test_what_may_not_be_packed_is_refused(void)
{
    ss_store *store;
    ss_log *log = fill_new(&store);
    ss_pack *pack;
    CHECK_EQUAL(ss_log_pack_begin(log, 7, 7, &pack), SS_INVALID); /* the active one */
    CHECK_EQUAL(ss_log_pack_begin(log, 6, 7, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(log, 3, 2, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(log, 0, 2, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(log, 8, 9, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(log, 1, 2, &pack), SS_OK);
    size_t left;
    CHECK_EQUAL(ss_log_pack_finish(pack, 1, &left), SS_INVALID); /* nothing was put */
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_INVALID);
    ss_log_pack_free(pack);
    /* what was put is not what was handed out */
    static uint8_t buffer[PACK_BUFFER];
    ss_pack_block blocks[PACK_BLOCKS];
    size_t count;
    CHECK_EQUAL(ss_log_pack_begin(log, 1, 1, &pack), SS_OK);
    CHECK_EQUAL(ss_log_pack_next(pack, buffer, 1000, blocks, PACK_BLOCKS, &count), SS_SMALL);
    CHECK_EQUAL(ss_log_pack_next(pack, buffer, sizeof buffer, blocks, PACK_BLOCKS, &count), SS_OK);
    for (size_t i = 0; i < count; i++) {
        buffer[blocks[i].offset + 60] ^= i == 0;
        ss_pack_stored stored = store_plain(buffer, &blocks[i]);
        CHECK_EQUAL(ss_log_pack_put(pack, &stored), SS_OK);
    }
    CHECK_EQUAL(ss_log_pack_finish(pack, 100, &left), SS_CORRUPT);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_INVALID);
    ss_log_pack_free(pack);
    /* the log changes under the packer */
    CHECK_EQUAL(ss_log_pack_begin(log, 1, 2, &pack), SS_OK);
    CHECK_EQUAL(pack_blocks(pack), SS_OK);
    ss_segment_info segments[16];
    list_segments(log, segments, 16);
    uint64_t freed;
    CHECK_EQUAL(ss_log_trim(log, segments[2].base, &freed), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_CHANGED);
    ss_log_pack_free(pack);
    CHECK_EQUAL(list_segments(log, segments, 16), 5);
    read_all(log, 2 * EACH, TOTAL - 2 * EACH);
    close_store(store);
    remove_root();
}

/* Trimming inside, up to and behind a packed segment counts records right and removes what lies before. */
static void test_a_packed_log_is_trimmed(void)
{
    ss_store *store;
    ss_log *log = fill_new(&store);
    uint64_t position, freed;
    ss_log_state state;
    ss_segment_info segments[16];
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
    CHECK_EQUAL(pack_segments(log, 3, 6), SS_OK);
    CHECK_EQUAL(ss_log_seek_ordinal(log, 101, &position), SS_OK);
    CHECK_EQUAL(ss_log_trim(log, position, &freed), SS_OK);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.start_record_count, 100);
    read_all(log, 100, TOTAL - 100);
    CHECK_EQUAL(ss_log_seek_ordinal(log, 2 * EACH + 1, &position), SS_OK);
    CHECK_EQUAL(ss_log_trim(log, position, &freed), SS_OK);
    CHECK(freed > 0);
    CHECK_EQUAL(list_segments(log, segments, 16), 2);
    read_all(log, 2 * EACH, TOTAL - 2 * EACH);
    close_store(store);
    remove_root();
}

/* A record longer than a block has one to itself; what is cut at any size of buffer reads on. */
static void test_long_records(void)
{
    static uint8_t data[300 << 10], buffer[400 << 10];
    ss_record records[100];
    ss_read_result result;
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = NULL;
    ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .segment_size_max = 4 << 20};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    memset(data, 'x', sizeof data);
    size_t sizes[] = {10, 100000, 20, 300000, 300000, 30, 64000, 2000, 66000, 5};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    ss_appended appended;
    for (size_t i = 0; i < SIZES; i++) {
        const ss_entry entry = {.data = data, .data_size = sizes[i], .key_size = -1};
        CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    }
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    CHECK_EQUAL(pack_segments(log, 1, 1), SS_OK);
    for (size_t room = 4096; room <= sizeof buffer; room += 9 * 4096 + 8) {
        uint64_t position = SS_FIRST_POSITION, n = 0;
        while (n < SIZES) {
            ss_status status = ss_log_read(log, position, 0, buffer, room, records, 100, &result);
            if (status == SS_SMALL) {
                CHECK(result.size_needed > room);
                CHECK_EQUAL(ss_log_read(log, position, 0, buffer, (size_t)result.size_needed, records, 100, &result),
                            SS_OK);
            } else {
                CHECK_EQUAL(status, SS_OK);
            }
            CHECK(result.count > 0);
            for (size_t i = 0; i < result.count; i++, n++)
                CHECK_EQUAL(records[i].data_size, sizes[n]);
            if (result.count == 0)
                break;
            position = result.next_position;
        }
    }
    close_store(store);
    remove_root();
}

/* A reader that saw a tail which a power cut took must be told, also when what took its place was packed. */
static void test_epochs_stay_known(void)
{
    ss_store *store;
    ss_log *log = fill_new(&store);
    ss_segment_info segments[16];
    ss_log_state state;
    size_t count = list_segments(log, segments, 16);
    uint64_t position = 0, expected[16];
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(ss_log_epoch_after(log, segments[i].epoch - 1, &expected[i]), SS_OK);
        CHECK_EQUAL(expected[i], segments[i].base);
    }
    CHECK_EQUAL(pack_segments(log, 2, 4), SS_OK);
    CHECK_EQUAL(pack_segments(log, 4, 6), SS_OK);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(ss_log_epoch_after(log, segments[i].epoch - 1, &position), SS_OK);
        CHECK_EQUAL(position, expected[i]);
    }
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(ss_log_epoch_after(log, state.epoch, &position), SS_OK);
    CHECK_EQUAL(position, state.tail);
    close_store(store);
    remove_root();
}

/* Where the newest segment is empty and no hint is left, what packed ones say of themselves is all there is: how many
 * records the log had, that it is open, and where it ends. */
static void test_recovered_from_packs_alone(void)
{
    char path[128];
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    fill(log, 0, 40, 20);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
    ss_log_state before, after;
    CHECK_EQUAL(ss_log_state_get(log, &before), SS_OK);
    close_store(store);
    snprintf(path, sizeof path, "%s/control", root);
    CHECK_EQUAL(unlink(path), 0);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_state_get(log, &after), SS_OK);
    CHECK_EQUAL(after.record_count, before.record_count);
    CHECK_EQUAL(after.tail, before.tail);
    CHECK_EQUAL(after.last_arrival_us, before.last_arrival_us);
    CHECK(!after.closed);
    put(log, 40);
    read_all(log, 0, 41);
    close_store(store);
    remove_root();
}

/* Damage before a packed segment ends with its frame: what stands behind it in its own segment is not given up. */
static void test_damage_before_a_pack(void)
{
    char path[128];
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    uint64_t bad = 0, next = 0;
    for (uint64_t n = 0; n < 40; n++) {
        uint64_t end = put(log, n);
        bad = n == 4 ? end : bad;
        next = n == 5 ? end : next;
        if (n == 19 || n == 39)
            CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    }
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(pack_segments(log, 2, 2), SS_OK);
    ss_log_state before, after;
    CHECK_EQUAL(ss_log_state_get(log, &before), SS_OK);
    close_store(store);
    ss_control_entry entry = {.stream_id = 1}; /* of the hints an old one alone came to the disk */
    ss_control_watermark_store(&entry, bad, 0);
    snprintf(path, sizeof path, "%s/control", root);
    FILE *file = fopen(path, "r+");
    CHECK(file != NULL);
    fseek(file, SS_CONTROL_HEADER_SIZE + offsetof(ss_control_entry, watermarks), SEEK_SET);
    CHECK_EQUAL(fwrite(&entry.watermarks, sizeof entry.watermarks, 1, file), 1);
    fclose(file);
    snprintf(path, sizeof path, "%s/streams/1/0/%012d.seg", root, 1);
    file = fopen(path, "r+");
    CHECK(file != NULL);
    fseek(file, (long)(SS_SEGMENT_HEADER_SIZE + bad - SS_FIRST_POSITION + 60), SEEK_SET);
    fputs("no byte of this is zero", file);
    fclose(file);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_state_get(log, &after), SS_OK);
    CHECK_EQUAL(after.record_count, before.record_count);
    CHECK_EQUAL(after.tail, before.tail);
    ss_recovery report;
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.damage_bytes, next - bad);
    close_store(store);
    remove_root();
}

int main(void)
{
    for (pack_squeezed = 0; pack_squeezed < 1000; pack_squeezed = pack_squeezed * 30 + 2) {
        test_long_records();
        test_a_packed_log_is_trimmed();
    }
    test_nothing_changes_but_the_files();
    test_who_reads_meanwhile_notices_nothing();
    test_what_may_not_be_packed_is_refused();
    test_epochs_stay_known();
    test_an_idle_process_lets_go();
    test_recovered_from_packs_alone();
    test_damage_before_a_pack();
    return check_report();
}
