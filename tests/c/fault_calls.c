/* Every call that the core makes fails in turn, under each thing that a store does: what was acknowledged is there
 * afterwards where the acknowledgement said, nothing else is, nothing is held that was not held before, and the store
 * goes on. Under AddressSanitizer nothing is leaked either. tests/faults does the same from Python, with power cuts on
 * top; here it is cheap enough for every run.
 *
 * Arguments: a scenario ("": all), and a number: of the calls every so manieth. Arguments: all four ways. */
#define _GNU_SOURCE
#include "trials.h"

/* ---- what is done while calls fail ---- */

static ss_status act_create(void)
{
    TRY(open_all(SS_OPEN_CREATE));
    TRY(put(1));
    TRY(put(3));
    return ss_log_sync(log_, 0);
}

static ss_status act_put(void)
{
    TRY(open_all(0));
    TRY(put(1));
    TRY(put(60)); /* of more than 16 KiB: by pwrite on a sync log */
    TRY(put(1));
    return close_one(&store);
}

static ss_status act_roll(void)
{
    TRY(open_all(0));
    for (int i = 0; i < 3; i++)
        TRY(put(80));
    TRY(ss_log_roll(log_, 0));
    TRY(put(1));
    return ss_store_flush(store);
}

static ss_status act_read(void)
{
    uint64_t found, out;
    ss_record record;
    ss_read_result result;
    size_t count;
    ss_verify_totals totals;
    ss_segment_info segments[16];
    ss_live_segment live[16];
    TRY(open_all(0));
    TRY(read_through(log_, &found));
    for (uint32_t n = 0; n < now->attempted; n += 29)
        if (now->acked[n] && now->positions[n] >= now->trimmed) {
            TRY(ss_log_get(log_, now->positions[n], 0, buffer, sizeof buffer, &record, &result));
            CHECK_EQUAL(record.position, now->positions[n]);
            TRY(ss_log_seek(log_, now->positions[n] + 8, &out));
            CHECK(out > now->positions[n]);
            TRY(ss_log_seek_ordinal(log_, record.ordinal, &out));
            CHECK_EQUAL(out, now->positions[n]);
            TRY(ss_log_seek_time(log_, record.arrival_us, &out));
            CHECK(out <= now->positions[n]);
            TRY(ss_log_epoch_at(log_, out, &found));
            TRY(ss_log_epoch_after(log_, 0, &out));
        }
    TRY(ss_log_segments(log_, segments, 16, &count));
    TRY(ss_log_live_segments(log_, live, 16, &count));
    TRY(ss_log_verify(log_, 0, 0, NULL, 0, &count, &totals));
    CHECK_EQUAL(count, 0);
    return SS_OK;
}

/* The first thing that is done to it. */
static ss_status act_roll_first(void)
{
    TRY(open_all(0));
    TRY(ss_log_roll(log_, 0));
    return put(1);
}

/* What failed is asked for once more. */
static ss_status act_put_again(void)
{
    TRY(open_all(0));
    return put(1) == SS_OK ? SS_OK : put(1);
}

static ss_status act_read_only(void)
{
    uint64_t found;
    TRY(open_all(SS_OPEN_READ_ONLY));
    return read_through(log_, &found);
}

static ss_status pack_all(uint64_t first, uint64_t last)
{
    static uint8_t raw[256 << 10];
    ss_pack *pack;
    ss_pack_block blocks[4];
    size_t count, left = 1;
    TRY(ss_log_pack_begin(log_, first, last, &pack));
    ss_status status = ss_log_pack_some(pack, 1, &count);
    for (count = 1; status == SS_OK && count;) {
        status = ss_log_pack_next(pack, raw, sizeof raw, blocks, 4, &count);
        for (size_t i = 0; status == SS_OK && i < count; i++) {
            ss_pack_stored stored = {.raw = raw + blocks[i].offset,
                                     .stored = raw + blocks[i].offset,
                                     .raw_size = blocks[i].size,
                                     .stored_size = blocks[i].size};
            status = ss_log_pack_put(pack, &stored);
        }
    }
    while (status == SS_OK && left)
        status = ss_log_pack_finish(pack, 1, &left);
    if (status == SS_OK)
        status = ss_log_pack_commit(pack);
    ss_log_pack_free(pack);
    return status;
}

static ss_status act_pack(void)
{
    size_t removed;
    uint64_t found;
    TRY(open_all(0));
    TRY(pack_all(1, 2));
    TRY(put(1));
    TRY(ss_log_pack_clean(log_, &removed));
    return read_through(log_, &found);
}

/* A packed segment is read back before it takes the place of what it was made of: whatever the disk did with it. */
static ss_status act_pack_lied_to(void)
{
    TRY(open_all(0));
    return pack_all(1, 2);
}

static ss_status act_trim(void)
{
    uint64_t freed;
    TRY(open_all(0));
    now->trimmed = now->fixed;
    TRY(ss_log_trim(log_, now->fixed, &freed));
    return put(1);
}

/* To a place inside a compacted segment, which stays. */
static ss_status act_trim_inside(void)
{
    uint64_t freed;
    TRY(open_all(0));
    now->trimmed = now->positions[40];
    TRY(ss_log_trim(log_, now->trimmed, &freed));
    return put(1);
}

static ss_status act_clean(void)
{
    size_t removed;
    TRY(open_all(0));
    TRY(ss_log_pack_clean(log_, &removed));
    CHECK(removed <= 1); /* or it is tried again by the next */
    return put(1);
}

static ss_status act_terms_known(void)
{
    TRY(open_all(0));
    TRY(ss_log_terms_raise(log_, 2, (const uint8_t *)"words", 5));
    terms = 2;
    return put(1);
}

static ss_status act_close_frame(void)
{
    static const uint8_t words[] = "the children are 1 and 2";
    const ss_entry entry = {.data = words, .data_size = sizeof words, .key_size = -1};
    ss_appended appended;
    uint8_t told[64];
    size_t size;
    TRY(open_all(0));
    TRY(put(1));
    TRY(ss_log_append(log_, &entry, 1, 0, SS_APPEND_CLOSE, NULL, &appended));
    TRY(ss_log_close_data(log_, told, sizeof told, &size));
    CHECK_EQUAL(size, sizeof words);
    return SS_OK;
}

static ss_status act_terms(void)
{
    static const uint8_t words[] = "keys of the second terms";
    TRY(open_all(0));
    TRY(put(1));
    TRY(ss_log_terms_raise(log_, 2, words, sizeof words));
    terms = 2;
    TRY(put(1));
    TRY(put(1));
    TRY(ss_log_terms_raise(log_, 3, NULL, 0));
    terms = 3;
    return put(1);
}

/* A second handle beside one that is open, as another process would have it. */
static ss_status act_beside(void)
{
    ss_log *theirs;
    uint64_t found;
    TRY(log_of(beside, &theirs));
    TRY(put_to(theirs, 1));
    TRY(open_all(0));
    TRY(put(2));
    TRY(put_to(theirs, 2));
    TRY(read_through(log_, &found));
    return put(80);
}

/* What the other handle left half done: an append that reserved and died. */
static ss_status act_half_done(void)
{
    ss_log *theirs;
    TRY(log_of(beside, &theirs));
    TRY(put_to(theirs, 1));
    atomic_store(&theirs->entry->reserve_end, atomic_load(&theirs->entry->tail) + 64);
    TRY(open_all(0));
    return put(2);
}

/* The other handle's incarnation is poisoned: it is retired, and a new one stands. */
static ss_status act_poisoned(void)
{
    ss_log *theirs;
    TRY(log_of(beside, &theirs));
    TRY(put_to(theirs, 1));
    atomic_store(&beside->control.header->poison, EIO);
    TRY(open_all(0));
    return put(2);
}

/* A sync was in flight when all died: what it covered is written anew. */
static ss_status act_doubt(void)
{
    TRY(open_all(0));
    return put(2);
}

static ss_status act_seed(void)
{
    ss_store_info info;
    ss_log_state state;
    ss_seed seed = {.stream_id = 1, .shard = 0, .durability = (uint32_t)durability};
    TRY(open_all(0));
    TRY(ss_log_state_get(log_, &state));
    ss_store_info_get(store, &info);
    TRY(close_one(&store));
    char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/control", root);
    unlink(path);
    seed.durable = state.tail;
    TRY(ss_store_seed(root, info.store_id, 1 << 20, &seed, 1));
    TRY(open_all(0));
    return put(1);
}

static ss_status act_waits(void)
{
    ss_process processes[4];
    size_t count;
    ss_log_state state;
    TRY(open_all(0));
    TRY(put(1));
    TRY(ss_log_state_get(log_, &state));
    ss_status status = ss_log_wait(log_, state.tail, 300);
    if (status != SS_TIMEOUT && status != SS_OK)
        return status;
    status = ss_store_wait(store, ss_store_watch(store), 300);
    if (status != SS_TIMEOUT && status != SS_OK)
        return status;
    TRY(ss_store_processes(store, processes, 4, &count));
    ss_store_reserve(store);
    TRY(ss_log_limit_set(log_, 0));
    return ss_store_flush(store);
}

/* ---- the stores it is done to ---- */

static void made_clean(void)
{
    CHECK_EQUAL(open_all(SS_OPEN_CREATE), SS_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(put(30), SS_OK);
        if (i < 2)
            CHECK_EQUAL(ss_log_roll(log_, 0), SS_OK);
        ss_log_state state;
        CHECK_EQUAL(ss_log_state_get(log_, &state), SS_OK);
        if (i == 1)
            now->fixed = state.tail;
    }
    CHECK_EQUAL(ss_log_sync(log_, 0), SS_OK);
}

static void made_in_pieces(void)
{
    made_clean();
    CHECK_EQUAL(close_one(&store), SS_OK);
}

static void made_packed(void)
{
    made_clean();
    CHECK_EQUAL(pack_all(1, 2), SS_OK);
    CHECK_EQUAL(close_one(&store), SS_OK);
}

/* Nothing is allocated behind the last frame. */
static void made_cut(void)
{
    char path[2 * PATH_SIZE];
    ss_log_state state;
    ss_segment_info segments[4];
    size_t count;
    made_clean();
    CHECK_EQUAL(ss_log_state_get(log_, &state), SS_OK);
    CHECK_EQUAL(ss_log_segments(log_, segments, 4, &count), SS_OK);
    CHECK_EQUAL(count, 3);
    CHECK_EQUAL(close_one(&store), SS_OK);
    snprintf(path, sizeof path, "%s/streams/1/0/000000000003.seg", root);
    CHECK_EQUAL(truncate(path, (off_t)(SS_SEGMENT_HEADER_SIZE + state.tail - segments[2].base)), 0);
}

/* A packer died before the first of its sources went. */
static void made_with_a_source_left(void)
{
    static uint8_t bytes[SEGMENT];
    char path[2 * PATH_SIZE];
    made_clean();
    snprintf(path, sizeof path, "%s/streams/1/0/000000000001.seg", root);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, bytes, sizeof bytes);
    close(fd);
    CHECK_EQUAL(pack_all(1, 2), SS_OK);
    CHECK_EQUAL(close_one(&store), SS_OK);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(size > SS_SEGMENT_HEADER_SIZE && write(fd, bytes, (size_t)size) == size);
    close(fd);
}

static void made_with_terms(void)
{
    made_clean();
    CHECK_EQUAL(ss_log_terms_raise(log_, 2, (const uint8_t *)"words", 5), SS_OK);
    terms = 2;
    CHECK_EQUAL(put(1), SS_OK);
    CHECK_EQUAL(close_one(&store), SS_OK);
}

/* The writer dies with more put than it synced. */
static void made_dead(void)
{
    made_clean();
    int was = durability;
    durability = SS_DURABILITY_PROCESS; /* but for its acknowledgements */
    CHECK_EQUAL(put(20), SS_OK);
    durability = was;
    if (was == SS_DURABILITY_SYNC)
        memset(now->acked + now->attempted - 20, 0, 20);
}

static void made_in_doubt(void)
{
    made_dead();
    atomic_store(&log_->entry->sync_inflight, atomic_load(&log_->entry->tail));
}

static void made_without_hints(void)
{
    char path[2 * PATH_SIZE];
    made_dead();
    snprintf(path, sizeof path, "%s/control", root);
    CHECK_EQUAL(unlink(path), 0);
}

static const scenario scenarios[] = {
    {"create", NULL, act_create, ALONE},
    {"put", made_in_pieces, act_put, ALONE},
    {"recover", made_dead, act_put, ALONE},
    {"roll", made_in_pieces, act_roll, ALONE},
    {"read", made_in_pieces, act_read, ALONE},
    {"read-packed", made_packed, act_read, ALONE},
    {"read-only", made_dead, act_read_only, ALONE},
    {"read-only-beside", made_in_pieces, act_read_only, BESIDE},
    {"pack", made_in_pieces, act_pack, ALONE},
    {"pack-lied-to", made_in_pieces, act_pack_lied_to, LIED_TO},
    {"trim", made_packed, act_trim, ALONE},
    {"close", made_in_pieces, act_close_frame, ALONE},
    {"terms", made_in_pieces, act_terms, ALONE},
    {"beside", made_in_pieces, act_beside, BESIDE},
    {"half-done", made_in_pieces, act_half_done, BESIDE},
    {"poisoned", made_in_pieces, act_poisoned, BESIDE},
    {"doubt", made_in_doubt, act_doubt, ALONE},
    {"no-hints", made_without_hints, act_doubt, ALONE},
    {"seed", made_in_pieces, act_seed, ALONE},
    {"waits", made_in_pieces, act_waits, ALONE},
    {"put-again", made_cut, act_put_again, ALONE},
    {"recover-again", made_dead, act_put_again, ALONE},
    {"roll-first", made_dead, act_roll_first, ALONE},
    {"terms-known", made_with_terms, act_terms_known, ALONE},
    {"trim-pieces", made_in_pieces, act_trim, ALONE},
    {"trim-inside", made_packed, act_trim_inside, ALONE},
    {"clean", made_with_a_source_left, act_clean, ALONE},
};

int main(int argc, char **argv)
{
    return run_trials(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
