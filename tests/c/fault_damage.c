/* Calls that fail while a store is read, recovered and written to whose files are spoilt already: what is read is what
 * was put, whatever else is told, and the store goes on. Arguments as of fault_calls. */
#define _GNU_SOURCE
#include "spoilt.h"

/* ---- what is done ---- */

static ss_status act_read(void)
{
    uint64_t found, out;
    ss_record record;
    ss_read_result result;
    ss_damage damage[1];
    size_t count;
    ss_verify_totals totals;
    ss_segment_info segments[16];
    TRY(open_all(0));
    TRY(read_through(log_, &found));
    for (uint32_t n = 0; n < now->attempted; n += 7)
        if (now->acked[n]) {
            ss_status status = ss_log_get(log_, now->positions[n], 0, buffer, sizeof buffer, &record, &result);
            if (status != SS_OK && status != SS_CORRUPT && status != SS_NOT_FOUND)
                return status;
            CHECK(status != SS_OK || record.position == now->positions[n]);
            TRY(ss_log_seek(log_, now->positions[n] + 8, &out));
            TRY(ss_log_seek_ordinal(log_, n + 1, &out));
            TRY(ss_log_seek_time(log_, 1, &out));
            TRY(ss_log_epoch_at(log_, now->positions[n], &found));
            TRY(ss_log_epoch_after(log_, found, &out));
        }
    TRY(ss_log_segments(log_, segments, 16, &count));
    return ss_log_verify(log_, 0, 0, damage, 1, &count, &totals);
}

static ss_status act_put(void)
{
    uint64_t found;
    TRY(open_all(0));
    TRY(put(1));
    TRY(read_through(log_, &found));
    return put(2);
}

/* A store that is flushed by who knows none of its logs: what was left is settled, and not more. */
static ss_status act_flush(void)
{
    TRY(open_with(0, &store));
    TRY(ss_store_flush(store));
    TRY(log_of(store, &log_));
    return put(1);
}

/* What cannot be packed, because it is damaged, stays as it is. */
static ss_status act_pack(void)
{
    ss_pack *pack;
    size_t count;
    TRY(open_all(0));
    TRY(ss_log_pack_begin(log_, 1, 2, &pack));
    ss_status status = ss_log_pack_some(pack, 100, &count);
    ss_log_pack_free(pack);
    return status == SS_CORRUPT ? SS_OK : status;
}

/* Space is freed on a full disk: an append that may use what was kept for it. */
static ss_status act_reserve(void)
{
    const ss_log_options options = {
        .durability = durability, .segment_size_max = SEGMENT, .record_size_max = 1 << 20, .reserve_size = 32 << 10};
    const ss_entry entry = {.data = (const uint8_t *)"freed", .data_size = 5, .key_size = -1};
    ss_appended appended;
    ss_log *other;
    TRY(open_all(0));
    TRY(ss_store_log(store, 0, 0, &options, &other));
    for (int i = 0; i < 3; i++) {
        TRY(ss_log_append(other, &entry, 1, 0, SS_APPEND_RESERVE, NULL, &appended));
        TRY(ss_log_roll(other, 0));
    }
    TRY(ss_log_sync(other, 0));
    return ss_log_retire(other);
}

/* A log of some mebibytes: its pages are made ready by another thread. */
static ss_status act_large(void)
{
    static uint8_t data[64 << 10];
    const ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .segment_size_max = 8 << 20};
    const ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    ss_log *other;
    TRY(open_all(0));
    TRY(ss_store_log(store, 7, 0, &options, &other));
    for (int i = 0; i < 60; i++)
        TRY(ss_log_append(other, &entry, 1, 0, 0, NULL, &appended));
    return ss_log_sync(other, 0);
}

/* ---- to which stores ---- */

static void made_whole(void)
{
    made_of_three();
    CHECK_EQUAL(close_one(&store), SS_OK);
}

static void made_with_a_bad_frame_and_no_hints(void)
{
    made_with_a_bad_frame();
    forget_hints();
}

static void made_with_a_bad_end(void)
{
    made_of_three();
    flip(THIRD_FILE, SS_SEGMENT_HEADER_SIZE + 2000);
}

static void made_with_a_bad_end_and_no_hints(void)
{
    made_with_a_bad_end();
    forget_hints();
}

static void made_with_a_bad_header(void)
{
    made_of_three();
    flip(SECOND_FILE, SEGMENT_BASE);
}

static void made_with_a_bad_header_and_no_hints(void)
{
    made_with_a_bad_header();
    forget_hints();
}

static const scenario scenarios[] = {
    {"bad-frame", made_with_a_bad_frame, act_read, ALONE},
    {"bad-frame-put", made_with_a_bad_frame_and_no_hints, act_put, ALONE},
    {"bad-frame-pack", made_with_a_bad_frame, act_pack, ALONE},
    {"bad-end", made_with_a_bad_end, act_put, ALONE},
    {"bad-end-no-hints", made_with_a_bad_end_and_no_hints, act_put, ALONE},
    {"bad-header", made_with_a_bad_header, act_read, ALONE},
    {"bad-header-no-hints", made_with_a_bad_header_and_no_hints, act_put, ALONE},
    {"bad-block", made_with_a_bad_block, act_read, ALONE},
    {"bad-index", made_with_a_bad_index, act_read, ALONE},
    {"flush", made_of_three, act_flush, ALONE},
    {"reserve", made_whole, act_reserve, ALONE},
    {"large", made_whole, act_large, ALONE},
};

int main(int argc, char **argv)
{
    return run_trials(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
