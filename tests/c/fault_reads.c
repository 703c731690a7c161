/* Reads that give another byte than was written or end too early, and names that are not found, each in turn, while a
 * store that is whole or spoilt is read, sought through, verified and packed: what is read is what was put, the rest is
 * damage that is told of, and the store stands afterwards as it stood. Arguments as of fault_calls. */
#define _GNU_SOURCE
#include "spoilt.h"

/* Damage is told of, and the next question asked. */
#define SEE(call) \
    do { \
        ss_status seen_ = (call); \
        if (seen_ != SS_OK && seen_ != SS_CORRUPT && !(seen_ == SS_NOT_FOUND && now->damaged)) \
            return seen_; \
    } while (0)

/* ---- what is done ---- */

static ss_status look(void)
{
    uint64_t found, out;
    ss_record record;
    ss_read_result result;
    ss_damage damage[2];
    size_t count;
    ss_verify_totals totals;
    ss_segment_info segments[16];
    ss_live_segment live[16];
    SEE(ss_log_live_segments(log_, live, 16, &count));
    SEE(ss_log_epoch_after(log_, 0, &out));
    CHECK(out >= now->trimmed);
    SEE(read_through(log_, &found));
    for (uint32_t n = 0; n < now->attempted; n += 17) {
        if (!now->acked[n])
            continue;
        ss_status status = ss_log_get(log_, now->positions[n], 0, buffer, sizeof buffer, &record, &result);
        CHECK(status != SS_OK || record.position == now->positions[n]);
        SEE(status);
        SEE(ss_log_seek(log_, now->positions[n] + 8, &out));
        SEE(ss_log_seek_ordinal(log_, n + 1, &out));
        SEE(ss_log_seek_time(log_, 1, &out));
        SEE(ss_log_epoch_at(log_, now->positions[n], &found));
        SEE(ss_log_epoch_after(log_, found, &out));
    }
    SEE(ss_log_segments(log_, segments, 16, &count));
    return ss_log_verify(log_, 0, 0, damage, 2, &count, &totals);
}

static ss_status verify(void)
{
    ss_damage damage[2];
    size_t count;
    ss_verify_totals totals;
    return ss_log_verify(log_, 0, 0, damage, 2, &count, &totals);
}

static ss_status list(void)
{
    ss_segment_info segments[16];
    size_t count;
    TRY(ss_log_segments(log_, segments, 16, &count));
    CHECK(count >= 2 || now->damaged);
    return SS_OK;
}

/* What the active segment says of the stream's keys is compared with what is known here. */
static ss_status put_under_terms(void)
{
    TRY(ss_log_terms_raise(log_, 2, (const uint8_t *)"words", 5));
    terms = 2;
    return put(1);
}

static ss_status look_for_reading(void)
{
    TRY(open_all(SS_OPEN_READ_ONLY));
    return look();
}

/* A segment is sealed, which writes its index. */
static ss_status roll(void)
{
    TRY(ss_log_roll(log_, 0));
    TRY(put(1));
    return ss_store_flush(store);
}

/* What was packed took the place of its sources, or it did not. */
static ss_status pack(void)
{
    ss_pack *packing;
    size_t count, left = 1;
    TRY(ss_log_pack_begin(log_, 1, 2, &packing));
    ss_status status = ss_log_pack_some(packing, 100, &count);
    while (status == SS_OK && left)
        status = ss_log_pack_finish(packing, 100, &left);
    if (status == SS_OK)
        status = ss_log_pack_commit(packing);
    ss_log_pack_free(packing);
    return status == SS_CHANGED ? SS_NOT_FOUND : status; /* a source is not what it was */
}

/* ---- to which stores ---- */

/* Its second half was copied when it was recovered, as it was in doubt. */
static void made_of_copies(void)
{
    made_of_three();
    CHECK_EQUAL(put(30), SS_OK);
    atomic_store(&log_->entry->durable, now->positions[25]);
    atomic_store(&log_->entry->sync_inflight, atomic_load(&log_->entry->tail));
    atomic_store(&store->control.header->poison, EIO);
    close_one(&store);
    CHECK_EQUAL(open_all(0), SS_OK);
    CHECK_EQUAL(put(10), SS_OK);
    CHECK_EQUAL(ss_log_sync(log_, 0), SS_OK);
}

static void made_with_terms(void)
{
    made_of_three();
    CHECK_EQUAL(put_under_terms(), SS_OK);
    CHECK_EQUAL(close_one(&store), SS_OK);
}

static void made_of_packed_ones(void)
{
    made_of_three();
    pack_first_two();
}

/* Records of another log that no single read takes and no block, of bytes that do not get smaller. */
enum { LARGE = 100 << 10, LARGE_ONES = 6 };

static ss_status large_log(ss_log **log)
{
    const ss_log_options options = {
        .durability = durability, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    return ss_store_log(store, 7, 0, &options, log);
}

static void make_large(uint8_t data[LARGE], uint64_t n)
{
    for (size_t i = 0; i < LARGE; i++)
        data[i] = (uint8_t)((n = n * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 56);
}

static void made_large(void)
{
    static uint8_t data[LARGE];
    const ss_entry entry = {.data = data, .data_size = LARGE, .key_size = -1};
    ss_log *log;
    ss_appended appended;
    made_of_three();
    CHECK_EQUAL(large_log(&log), SS_OK);
    for (uint64_t n = 0; n < LARGE_ONES; n++) {
        make_large(data, n);
        CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    }
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(close_one(&store), SS_OK);
}

/* One by one, and compacted: what is got is what was put. */
static ss_status get_large(void)
{
    static uint8_t data[LARGE], frame[2 * LARGE];
    ss_log *log;
    ss_record record;
    ss_read_result result;
    TRY(large_log(&log));
    uint64_t position = SS_FIRST_POSITION;
    for (uint64_t n = 0; n < LARGE_ONES; n++, position = result.next_position) {
        TRY(ss_log_get(log, position, 0, frame, sizeof frame, &record, &result));
        make_large(data, n);
        CHECK_EQUAL(record.data_size, LARGE);
        CHECK_BYTES(frame + record.data_offset, data, LARGE);
    }
    return SS_OK;
}

static ss_status pack_large(void)
{
    ss_log *log;
    ss_pack *packing;
    size_t count, left = 1;
    TRY(large_log(&log));
    TRY(ss_log_pack_begin(log, 1, 2, &packing));
    ss_status status = ss_log_pack_some(packing, 100, &count);
    while (status == SS_OK && left)
        status = ss_log_pack_finish(packing, 100, &left);
    if (status == SS_OK)
        status = ss_log_pack_commit(packing);
    ss_log_pack_free(packing);
    TRY(status == SS_CHANGED ? SS_NOT_FOUND : status);
    return get_large();
}

static const scenario scenarios[] = {
    {"frames", made_of_three, look, MISREAD},
    {"copies", made_of_copies, look, MISREAD},
    {"packed", made_of_packed_ones, look, MISREAD},
    {"packed-pwrite", made_of_packed_ones, look, MISREAD},
    {"bad-frame", made_with_a_bad_frame, look, MISREAD},
    {"bad-index", made_with_a_bad_index, look, MISREAD},
    {"bad-block", made_with_a_bad_block, look, MISREAD},
    {"roll", made_of_three, roll, MISREAD},
    {"large", made_large, get_large, MISREAD},
    {"pack-large", made_large, pack_large, MISREAD},
    {"verify", made_of_three, verify, MISREAD},
    {"list", made_of_packed_ones, list, MISREAD},
    {"terms", made_with_terms, put_under_terms, MISREAD},
    {"pack", made_of_three, pack, MISREAD},
    {"recover", made_of_three, look_for_reading, MISREAD_COLD},
    {"recover-copies", made_of_copies, look_for_reading, MISREAD_COLD},
    {"recover-packed", made_of_packed_ones, look_for_reading, MISREAD_COLD},
    {"recover-bad-frame", made_with_a_bad_frame, look_for_reading, MISREAD_COLD},
};

int main(int argc, char **argv)
{
    return run_trials(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
