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
    SEE(ss_log_live_segments(log_, live, 16, &count));
    return ss_log_verify(log_, 0, 0, damage, 2, &count, &totals);
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

static void made_of_packed_ones(void)
{
    made_of_three();
    pack_first_two();
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
