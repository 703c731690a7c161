/* Rounds of syncs, rolls and packing where something has changed under them: trimmed meanwhile, taken over, in doubt,
 * closed, or not what was said. One process with two handles, each with what the other would have of a process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "log.h"
#include "packs.h"

static ss_store *mine, *yours;
static ss_log *my_log, *your_log;

static void open_both(int durability)
{
    fresh_root();
    mine = open_store(SS_OPEN_CREATE);
    my_log = open_log(mine, durability);
    fill(my_log, 0, 1, 1000);
    yours = open_store(0);
    your_log = open_log(yours, durability);
}

static void close_both(void)
{
    close_store(yours);
    close_store(mine);
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) /* whoever used a segment has let it go */
        CHECK(strstr(line, ".seg") == NULL);
    fclose(maps);
    remove_root();
}

static ss_log_state state_of(ss_log *log)
{
    ss_log_state state = {0};
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    return state;
}

/* What was trimmed has nothing to lose: a sync goes on behind it, also where all of it went. */
static void test_sync_of_what_was_trimmed(int in_doubt, int all)
{
    uint64_t freed;
    open_both(SS_DURABILITY_PROCESS);
    put(my_log, 1);
    CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    put(my_log, 2);
    if (all)
        CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    ss_log_state state = state_of(my_log);
    uint64_t durable = SS_FIRST_POSITION;
    CHECK_EQUAL(ss_log_trim(your_log, state.segment_base, &freed), SS_OK);
    atomic_store(&my_log->entry->durable, durable);
    if (in_doubt) /* who syncs must have been there before, or write it anew */
        atomic_store(&my_log->entry->sync_inflight, state.tail);
    CHECK_EQUAL(ss_log_sync(my_log, 0), SS_OK);
    CHECK_EQUAL(state_of(my_log).durable, state_of(my_log).tail);
    CHECK_EQUAL(atomic_load(&my_log->entry->sync_inflight), 0);
    put(your_log, 3);
    CHECK_EQUAL(ss_log_sync(your_log, 0), SS_OK);
    close_both();
}

/* Each round counts: itself, what it took, the puts that it released. */
static void test_rounds_are_counted(void)
{
    open_both(SS_DURABILITY_PROCESS);
    ss_log_live before, after;
    ss_log_live_get(your_log, &before);
    for (uint64_t round = 1; round < 4; round++) {
        put(my_log, 2 * round - 1);
        put(my_log, 2 * round);
        CHECK_EQUAL(ss_log_sync(my_log, 0), SS_OK);
        CHECK_EQUAL(ss_log_sync(my_log, 0), SS_OK); /* nothing is left for this one */
        ss_log_live_get(your_log, &after);
        CHECK_EQUAL(after.sync_count, before.sync_count + round);
        CHECK_EQUAL(after.synced_puts, before.synced_puts + 2 * round);
        CHECK(after.sync_total_us >= after.sync_max_us); /* which may be 0 where the files lie in memory */
        CHECK(after.sync_total_us <= after.sync_max_us * after.sync_count);
    }
    close_both();
}

/* A leader died in its round, and an append half-way too: what is in doubt is copied, and counted anew. */
static void test_round_in_doubt_over_half_an_append(void)
{
    open_both(SS_DURABILITY_PROCESS);
    for (uint64_t n = 1; n < 5; n++)
        put(my_log, n);
    ss_control_entry *entry = my_log->entry;
    atomic_store(&entry->sync_inflight, atomic_load(&entry->tail));
    atomic_store(&entry->reserve_end, atomic_load(&entry->tail) + 64);
    atomic_store(&entry->sync_number, 0);  /* nobody was there before it */
    atomic_store(&entry->record_count, 6); /* it had counted, and came no further */
    CHECK_EQUAL(ss_log_sync(your_log, 0), SS_OK);
    CHECK_EQUAL(state_of(my_log).durable, state_of(my_log).tail);
    CHECK_EQUAL(state_of(my_log).record_count, 5);
    read_all(my_log, 0, 5);
    put(my_log, 5);
    read_all(your_log, 0, 6);
    /* what was copied kept its epochs: the later ones begin behind it, in a packed segment too */
    uint64_t behind, again, older = atomic_load(&entry->epoch) - 1;
    CHECK_EQUAL(ss_log_epoch_after(your_log, older, &behind), SS_OK);
    CHECK(behind > SS_FIRST_POSITION && behind < state_of(my_log).tail);
    CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    CHECK_EQUAL(ss_log_sync(my_log, 0), SS_OK);
    ss_segment_info segments[16];
    size_t count = list_segments(my_log, segments, 16);
    CHECK(count >= 3);
    CHECK_EQUAL(pack_segments(my_log, segments[0].ordinal, segments[count - 2].ordinal), SS_OK);
    CHECK_EQUAL(ss_log_epoch_after(your_log, older, &again), SS_OK);
    CHECK_EQUAL(again, behind);
    CHECK_EQUAL(ss_log_epoch_after(your_log, 0, &again), SS_OK);
    CHECK_EQUAL(again, SS_FIRST_POSITION);
    close_both();
}

/* A log that is marked closed and does not end so: a control page that lies, and no close frame is made up. */
static void test_a_close_that_is_none(void)
{
    uint8_t told[64];
    size_t size;
    open_both(SS_DURABILITY_PROCESS);
    put(my_log, 1);
    atomic_store(&my_log->entry->closed, 1);
    CHECK_EQUAL(ss_log_close_data(my_log, told, sizeof told, &size), SS_NOT_FOUND);
    atomic_store(&my_log->entry->last_frame, 0);
    CHECK_EQUAL(ss_log_close_data(my_log, told, sizeof told, &size), SS_NOT_FOUND);
    atomic_store(&my_log->entry->last_frame, SS_FIRST_POSITION + 8);
    CHECK_EQUAL(ss_log_close_data(my_log, told, sizeof told, &size), SS_CORRUPT);
    CHECK_EQUAL(ss_log_wait(my_log, state_of(my_log).tail, -1), SS_OK); /* nothing more will come */
    atomic_store(&my_log->entry->closed, 0);
    close_both();
}

/* Frames longer than what is kept of expanded blocks. */
static void test_a_large_record_is_packed(void)
{
    static uint8_t data[3 << 20], room[4 << 20];
    const ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .segment_size_max = 8 << 20};
    const ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    ss_record record;
    ss_read_result result;
    fresh_root();
    mine = open_store(SS_OPEN_CREATE);
    CHECK_EQUAL(ss_store_log(mine, 5, 0, &options, &my_log), SS_OK);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 7);
    CHECK_EQUAL(ss_log_append(my_log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    CHECK_EQUAL(ss_log_sync(my_log, 0), SS_OK);
    ss_pack *pack;
    size_t count = 0, left = 1;
    CHECK_EQUAL(ss_log_pack_begin(my_log, 1, 1, &pack), SS_OK);
    CHECK_EQUAL(ss_log_pack_some(pack, 9, &count), SS_OK);
    CHECK_EQUAL(ss_log_pack_finish(pack, 9, &left), SS_OK);
    CHECK_EQUAL(left, 0);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_OK);
    ss_log_pack_free(pack);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(ss_log_get(my_log, appended.first_position, 0, room, sizeof room, &record, &result), SS_OK);
        CHECK_BYTES(room + record.data_offset, data, sizeof data);
    }
    close_store(mine);
    remove_root();
}

/* A roll that is asked for under a condition, on a log half-way through something, and on one that is closed. */
static void test_rolls_under_conditions(void)
{
    const ss_entry last = {.data = (const uint8_t *)"end", .data_size = 3, .key_size = -1};
    ss_appended appended;
    open_both(SS_DURABILITY_PROCESS);
    uint64_t tail = state_of(my_log).tail;
    CHECK_EQUAL(ss_log_roll(my_log, tail + 8), SS_TAIL_MISMATCH);
    CHECK_EQUAL(ss_log_roll(my_log, tail), SS_OK);
    atomic_store(&my_log->entry->reserve_end, tail + 8);
    CHECK_EQUAL(ss_log_roll(your_log, 0), SS_OK); /* counted anew first */
    CHECK_EQUAL(atomic_load(&my_log->entry->reserve_end), tail);
    put(my_log, 1);
    CHECK_EQUAL(ss_log_append(my_log, &last, 1, 0, SS_APPEND_CLOSE, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_roll(your_log, 0), SS_SHARD_CLOSED);
    CHECK_EQUAL(ss_log_append(your_log, &last, 1, 0, 0, NULL, &appended), SS_SHARD_CLOSED);
    uint8_t told[8];
    size_t size = 0;
    CHECK_EQUAL(ss_log_close_data(your_log, told, 2, &size), SS_SMALL);
    CHECK_EQUAL(size, 3);
    /* closed by who died before it could say so: found in the last frame */
    atomic_store(&my_log->entry->closed, 0);
    atomic_store(&my_log->entry->reserve_end, atomic_load(&my_log->entry->tail) + 8);
    CHECK_EQUAL(ss_log_append(your_log, &last, 1, 0, 0, NULL, &appended), SS_SHARD_CLOSED);
    CHECK_EQUAL(atomic_load(&my_log->entry->closed), 1);
    close_both();
}

/* A first roll that died leaves nothing; a log without segments is rolled, trimmed and closed like any. */
static void test_a_log_of_nothing(void)
{
    uint64_t freed, out;
    size_t count, removed = 7;
    fresh_root();
    mine = open_store(SS_OPEN_CREATE);
    my_log = open_log(mine, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    CHECK_EQUAL(ss_log_trim(my_log, SS_FIRST_POSITION, &freed), SS_OK);
    CHECK_EQUAL(ss_log_pack_clean(my_log, &removed), SS_OK);
    CHECK_EQUAL(removed, 0);
    CHECK_EQUAL(ss_log_epoch_at(my_log, 1 << 20, &out), SS_OK);
    CHECK_EQUAL(out, 0);
    CHECK_EQUAL(ss_log_epoch_after(my_log, 0, &out), SS_OK);
    CHECK_EQUAL(out, SS_FIRST_POSITION);
    CHECK_EQUAL(ss_log_seek_time(my_log, 5, &out), SS_OK);
    CHECK_EQUAL(out, SS_FIRST_POSITION);
    CHECK_EQUAL(ss_log_live_segments(my_log, NULL, 0, &count), SS_OK);
    CHECK_EQUAL(count, 0);
    atomic_store(&my_log->entry->reserve_end, SS_FIRST_POSITION + 8); /* the first roll died */
    CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    put(my_log, 0);
    read_all(my_log, 0, 1);
    CHECK_EQUAL(ss_log_pack_clean(my_log, &removed), SS_OK);
    close_store(mine);
    remove_root();
}

static void touch(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/streams/1/0/%s", root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
}

/* A packer is told what it may not pack, and what is no block of its; files that only look like its own stay. */
static void test_packers_mistakes(void)
{
    static uint8_t room[PACK_BUFFER];
    ss_pack *pack;
    ss_pack_block blocks[PACK_BLOCKS];
    size_t count, left, removed = 0;
    open_both(SS_DURABILITY_PROCESS);
    fill(my_log, 1, 400, 100);
    CHECK_EQUAL(ss_log_pack_begin(my_log, 0, 1, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(my_log, 3, 2, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(my_log, 77, 78, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(my_log, 1, 78, &pack), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_begin(my_log, 1, 2, &pack), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_INVALID); /* nothing is there yet */
    CHECK_EQUAL(ss_log_pack_finish(pack, 1, &left), SS_INVALID);
    CHECK_EQUAL(ss_log_pack_next(pack, room, 100, blocks, 1, &count), SS_SMALL);
    CHECK(blocks[0].size > 100);
    CHECK_EQUAL(ss_log_pack_next(pack, room, sizeof room, blocks, PACK_BLOCKS, &count), SS_OK);
    CHECK(count > 0);
    CHECK_EQUAL(ss_log_pack_some(pack, 1, &left), SS_INVALID); /* what was handed out is still to be put */
    ss_pack_stored stored = store_plain(room, &blocks[0]), bad = stored;
    bad.raw_size = UINT64_C(1) << 40;
    CHECK_EQUAL(ss_log_pack_put(pack, &bad), SS_INVALID);
    bad = stored;
    bad.stored_size = stored.raw_size + 8;
    CHECK_EQUAL(ss_log_pack_put(pack, &bad), SS_INVALID);
    bad = stored;
    bad.raw_size = bad.stored_size = 8;
    CHECK_EQUAL(ss_log_pack_put(pack, &bad), SS_INVALID);
    bad = stored;
    bad.stored_size -= 8; /* shorter, and not compressed */
    CHECK_EQUAL(ss_log_pack_put(pack, &bad), SS_INVALID);
    bad = stored;
    bad.raw = bad.stored = room + 8; /* no frame begins there */
    CHECK_EQUAL(ss_log_pack_put(pack, &bad), SS_INVALID);
    /* what it was made of is trimmed, or deleted, before it is there */
    for (size_t i = 0; i < count; i++) {
        stored = store_plain(room, &blocks[i]);
        CHECK_EQUAL(ss_log_pack_put(pack, &stored), SS_OK);
    }
    CHECK_EQUAL(pack_blocks(pack), SS_OK);
    uint64_t freed;
    ss_segment_info segments[16];
    CHECK(list_segments(my_log, segments, 16) > 3);
    CHECK_EQUAL(ss_log_trim(your_log, segments[1].base, &freed), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_CHANGED);
    ss_log_pack_free(pack);
    CHECK_EQUAL(ss_log_pack_begin(my_log, segments[1].ordinal, segments[2].ordinal, &pack), SS_OK);
    CHECK_EQUAL(pack_blocks(pack), SS_OK);
    CHECK_EQUAL(ss_log_retire(your_log), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_CHANGED);
    ss_log_pack_free(pack);
    atomic_store(&my_log->entry->state, SS_LOG_READY);
    touch("letters.packing");
    touch("000000000099.seg.other");
    touch("a name that is longer than the name of any segment that there can ever be, and then some more of "
          "it.seg.packing");
    CHECK_EQUAL(ss_log_pack_clean(my_log, &removed), SS_OK);
    CHECK_EQUAL(removed, 0);
    close_both();
}

static size_t move_bytes(const char *name, uint8_t *bytes, size_t size, int out)
{
    char path[256];
    snprintf(path, sizeof path, "%s/streams/1/0/%s", root, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ssize_t done = out ? write(fd, bytes, size) : read(fd, bytes, size);
    CHECK(fd >= 0 && done > 0);
    close(fd);
    return (size_t)done;
}

/* A packer died before it had unlinked what it packed: the next one removes that, and nothing that is still read. */
static void test_what_a_packer_left(void)
{
    static uint8_t first[512 << 10];
    size_t removed = 0;
    open_both(SS_DURABILITY_PROCESS);
    fill(my_log, 1, 700, 100);
    size_t size = move_bytes("000000000002.seg", first, sizeof first, 0);
    CHECK_EQUAL(pack_segments(my_log, 2, 4), SS_OK);
    CHECK_EQUAL(move_bytes("000000000002.seg", first, size, 1), size);
    CHECK_EQUAL(ss_log_pack_clean(my_log, &removed), SS_OK);
    CHECK_EQUAL(removed, 1);
    CHECK_EQUAL(ss_log_pack_clean(your_log, &removed), SS_OK);
    CHECK_EQUAL(removed, 0);
    read_all(your_log, 0, 701);
    close_both();
}

static void lose(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/streams/1/0/%s", root, name);
    CHECK_EQUAL(remove(path), 0);
}

/* A file that somebody removed is told of as damage of its whole range, by every call, and passed over; who has it open
 * reads on. */
static void test_a_file_that_was_removed(void)
{
    static uint8_t room[64 << 10];
    ss_record records[8];
    ss_read_result result;
    ss_live_segment live[8];
    ss_damage damage[2];
    ss_verify_totals totals;
    size_t count = 0;
    uint64_t freed;
    open_both(SS_DURABILITY_PROCESS);
    fill(my_log, 1, 400, 100);
    CHECK_EQUAL(ss_log_live_segments(your_log, live, 8, &count), SS_OK);
    CHECK(count >= 5);
    lose("000000000002.seg");
    CHECK_EQUAL(ss_log_read(your_log, live[1].base, 0, room, sizeof room, records, 8, &result), SS_CORRUPT);
    CHECK_EQUAL(result.damage_begin, live[1].base);
    CHECK_EQUAL(result.next_position, live[2].base);
    CHECK_EQUAL(ss_log_get(your_log, live[1].base, 0, room, sizeof room, records, &result), SS_CORRUPT);
    CHECK_EQUAL(ss_log_verify(your_log, 0, 0, damage, 2, &count, &totals), SS_OK);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(damage[0].end, live[2].base);
    CHECK_EQUAL(ss_log_read(your_log, live[2].base, 0, room, sizeof room, records, 8, &result), SS_OK);
    CHECK_EQUAL(ss_log_trim(your_log, live[3].base, &freed), SS_OK);
    CHECK_EQUAL(ss_log_read(your_log, live[1].base, 0, room, sizeof room, records, 8, &result), SS_TRIMMED);
    put(your_log, 401);
    close_both();
}

/* A whole directory that somebody removed is made again by the next roll; what stood there is damage. */
static void test_a_directory_that_was_removed(void)
{
    open_both(SS_DURABILITY_PROCESS);
    lose("000000000001.seg");
    lose("");
    CHECK_EQUAL(ss_log_roll(my_log, 0), SS_OK);
    put(my_log, 1);
    CHECK_EQUAL(ss_log_sync(my_log, 0), SS_OK);
    close_both();
}

/* A position between frames is no place to read from, in a packed segment as in any; and a buffer may be too small. */
static void test_reads_in_packed_segments(void)
{
    static uint8_t room[96 << 10];
    ss_record records[8], record;
    ss_read_result result;
    open_both(SS_DURABILITY_PROCESS);
    fill(my_log, 1, 400, 100);
    CHECK_EQUAL(pack_segments(my_log, 1, 3), SS_OK);
    CHECK_EQUAL(ss_log_read(my_log, SS_FIRST_POSITION, 0, room, sizeof room, records, 8, &result), SS_OK);
    uint64_t second = records[1].position, end;
    uint32_t size = records[1].frame_size;
    CHECK_EQUAL(ss_log_read(my_log, second + 8, 0, room, sizeof room, records, 8, &result), SS_CORRUPT);
    CHECK_EQUAL(ss_log_read(my_log, second, 0, room, size - 8, records, 8, &result), SS_SMALL);
    CHECK_EQUAL(result.size_needed, size);
    CHECK_EQUAL(ss_log_read(my_log, second, second + 8, room, sizeof room, records, 8, &result), SS_CORRUPT);
    CHECK_EQUAL(ss_log_get(my_log, second, 0, room, size - 8, &record, &result), SS_SMALL);
    CHECK_EQUAL(ss_log_get(my_log, second, 1, room, sizeof room, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(my_log, second + 8, 0, room, sizeof room, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(my_log, second, 0, room, sizeof room, &record, &result), SS_OK);
    CHECK_EQUAL(ss_log_epoch_after(my_log, record.epoch, &end), SS_OK);
    CHECK(end > second && end < state_of(my_log).tail); /* where it was rolled */
    CHECK_EQUAL(ss_log_epoch_after(my_log, FRAME_EPOCH_MAX, &end), SS_OK);
    CHECK_EQUAL(end, state_of(my_log).tail);
    close_both();
}

int main(void)
{
    for (int i = 0; i < 4; i++)
        test_sync_of_what_was_trimmed(i & 1, i >> 1);
    test_rounds_are_counted();
    test_round_in_doubt_over_half_an_append();
    test_a_close_that_is_none();
    test_a_large_record_is_packed();
    test_rolls_under_conditions();
    test_a_log_of_nothing();
    test_packers_mistakes();
    test_what_a_packer_left();
    test_a_file_that_was_removed();
    test_a_directory_that_was_removed();
    test_reads_in_packed_segments();
    return check_report();
}
