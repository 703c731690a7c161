/* Frames that end exactly where a page, an allocation step, a segment or the largest file ends. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "log.h"
#include "sized.h"

/* Put until the newest frame ends at `goal`, counted from the beginning of the first file. */
static void put_up_to(ss_log *log, uint64_t goal)
{
    for (;;) {
        uint64_t left = goal - (SS_SEGMENT_HEADER_SIZE + tail_of(log) - SS_FIRST_POSITION);
        uint64_t frame = left > 70000 ? 60000 : left;
        CHECK_EQUAL(put_sized(log, frame - FRAME_BODY, &(ss_appended){0}), SS_OK);
        if (frame == left)
            return;
    }
}

/* A process writes up to there and dies; the next one finds all of it, goes on, and so does one after a clean close. */
static void check_end_at(int durability, int flags, uint64_t goal)
{
    fresh_root();
    put_count = 0;
    int ended = 0, failed_before = check_failed;
    pid_t child = fork();
    if (child == 0) {
        ss_store *own = open_store(SS_OPEN_CREATE | flags);
        put_up_to(open_log(own, durability), goal);
        _exit(check_failed > failed_before); /* as a kill: nothing is closed */
    }
    CHECK_EQUAL(waitpid(child, &ended, 0), child);
    CHECK_EQUAL(ended, 0);
    for (uint64_t left = goal - SS_SEGMENT_HEADER_SIZE; left;) { /* what it put */
        uint64_t frame = left > 70000 ? 60000 : left;
        sizes[put_count++] = (size_t)frame - FRAME_BODY;
        left -= frame;
    }
    for (int life = 0; life < 2; life++) {
        ss_store *store = open_store(flags);
        ss_log *log = open_log(store, durability);
        if (life == 0)
            CHECK_EQUAL(tail_of(log), SS_FIRST_POSITION + goal - SS_SEGMENT_HEADER_SIZE);
        check_all(log);
        CHECK_EQUAL(put_sized(log, (size_t)life, &(ss_appended){0}), SS_OK);
        CHECK_EQUAL(put_sized(log, 5000, &(ss_appended){0}), SS_OK);
        check_all(log);
        close_store(store);
    }
    ss_store *store = open_store(flags | SS_OPEN_READ_ONLY);
    ss_log *log = open_log(store, durability);
    check_all(log);
    close_store(store);
    remove_root();
}

static void check_frame_ends(void)
{
    const uint64_t step = 64 << 10, limit = (256 << 10) - format_index_room(256 << 10);
    const uint64_t goals[] = {8192 - 8, 8192,     8192 + 8,   step - 8,  step,
                              step + 8, 2 * step, limit - 48, limit - 8, limit};
    for (size_t i = 0; i < sizeof goals / sizeof *goals; i++) {
        check_end_at(SS_DURABILITY_PROCESS, 0, goals[i]);
        check_end_at(SS_DURABILITY_SYNC, i % 2 ? SS_OPEN_PWRITE : 0, goals[i]);
    }
}

/* A frame that ends with the segment stands in it; eight bytes more, and it begins the next one. */
static void check_segment_end(int flags)
{
    const uint64_t limit = (256 << 10) - format_index_room(256 << 10);
    for (uint64_t over = 0; over <= 8; over += 8) {
        fresh_root();
        put_count = 0;
        ss_store *store = open_store(SS_OPEN_CREATE | flags);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        put_up_to(log, limit - 4096);
        ss_appended appended;
        ss_log_state state;
        CHECK_EQUAL(put_sized(log, 4096 - FRAME_BODY + over, &appended), SS_OK);
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.segment_ordinal, over ? 2 : 1);
        CHECK_EQUAL(put_sized(log, 0, &appended), SS_OK);
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        CHECK_EQUAL(state.segment_ordinal, 2);
        check_all(log);
        close_store(store); /* the index trailer takes the room that was kept for it, to the last byte */
        store = open_store(flags);
        log = open_log(store, SS_DURABILITY_PROCESS);
        check_all(log);
        /* a frame larger than a segment gets one of its own size, and leaves the log as it was made */
        CHECK_EQUAL(put_sized(log, 1 << 20, &appended), SS_OK);
        CHECK_EQUAL(put_sized(log, 1, &appended), SS_OK);
        check_all(log);
        close_store(store);
        remove_root();
    }
}

/* ---- A file past 2 GiB ---- */

#define PAD_SIZE (UINT64_C(1) << 20)

static uint64_t facts_of(ss_xxh3_key *salt)
{
    ss_segment_facts facts = {0};
    ss_store *store = open_store(0);
    ss_store_info info;
    ss_store_info_get(store, &info);
    CHECK_EQUAL(ss_segment_read_header(store->root, "streams/1/0/000000000001.seg", info.store_id, 1, 0, &facts),
                SS_OK);
    close_store(store);
    ss_xxh3_key_init(salt, facts.salt);
    return facts.epoch;
}

/* A pad frame over a hole: only its header is stored. */
static void write_pad(int fd, uint64_t position, uint64_t size, const ss_xxh3_key *salt, uint64_t epoch,
                      const ss_log_state *state, uint32_t ordinal)
{
    static const uint8_t zeros[PAD_SIZE];
    static uint64_t body_hash, hashed, salted; /* most pads are of one size */
    if (hashed != size || salted != salt->seed)
        body_hash = ss_xxh3_64(salt, zeros, (size_t)size - FRAME_BODY);
    hashed = size;
    salted = salt->seed;
    uint8_t header[FRAME_BODY];
    format_store64(header, size << 32);
    format_store64(header + FRAME_POSITION, position);
    format_store64(header + FRAME_ARRIVAL, state->last_arrival_us << 12);
    format_store64(header + FRAME_EPOCH, epoch << 12 | SS_FRAME_PAD << 8 | FRAME_FLAG_PRESENT);
    format_store64(header + FRAME_ORDINAL, (uint64_t)ordinal << 40 | FRAME_LAG_UNKNOWN << 16);
    uint64_t hash = ss_xxh3_64(salt, header + FRAME_SIZE, FRAME_BODY_CHECK - FRAME_SIZE);
    format_store32(header, (uint32_t)hash);
    format_store64(header + FRAME_BODY_CHECK, body_hash ^ hash);
    off_t offset = (off_t)(SS_SEGMENT_HEADER_SIZE + position - SS_FIRST_POSITION);
    CHECK_EQUAL(pwrite(fd, header, sizeof header, offset), sizeof header);
}

/* Fill the file with pads from the tail to file offset `to`, as a writer would have that was killed. */
static void pad_to(const ss_log_state *state, uint64_t to)
{
    char path[128];
    ss_xxh3_key salt;
    uint64_t epoch = facts_of(&salt), at = state->tail, end = SS_FIRST_POSITION + to - SS_SEGMENT_HEADER_SIZE;
    snprintf(path, sizeof path, "%s/streams/1/0/000000000001.seg", root);
    int fd = open(path, O_RDWR);
    for (uint64_t size; at < end; at += size) {
        size = end - at < PAD_SIZE ? end - at : PAD_SIZE;
        write_pad(fd, at, size, &salt, epoch, state, (uint32_t)put_count + 1);
    }
    CHECK_EQUAL(ftruncate(fd, (off_t)to), 0);
    close(fd);
}

static ss_log *open_large(ss_store *store)
{
    ss_log *log = NULL;
    const ss_log_options options = {
        .durability = SS_DURABILITY_PROCESS, .segment_size_max = SEGMENT_SIZE_LIMIT, .record_size_max = 1 << 20};
    CHECK_EQUAL(ss_store_log(store, 1, 0, &options, &log), SS_OK);
    return log;
}

/* One segment of the largest size: records across file offset 2^31, and one that ends with the segment. */
static void check_large_file(void)
{
    const uint64_t limit = SEGMENT_SIZE_LIMIT - format_index_room(SEGMENT_SIZE_LIMIT);
    const uint64_t goals[] = {(UINT64_C(1) << 31) - 3000, limit - 8192};
    fresh_root();
    put_count = 0;
    ss_appended appended;
    ss_log_state state;
    ss_store *store = open_store(SS_OPEN_CREATE);
    CHECK_EQUAL(put_sized(open_large(store), 10, &appended), SS_OK);
    uint64_t last_pad_end = 0;
    size_t count_at_last_pad = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(ss_log_state_get(open_large(store), &state), SS_OK);
        close_store(store);
        pad_to(&state, goals[i]);
        store = open_store(0); /* takes the pads for what a killed writer left, and makes it durable */
        last_pad_end = tail_of(open_large(store));
        CHECK_EQUAL(last_pad_end, SS_FIRST_POSITION + goals[i] - SS_SEGMENT_HEADER_SIZE);
        count_at_last_pad = put_count;
        atomic_store(&open_large(store)->entry->in_place, 1); /* as if what it found had been closed cleanly */
        close_store(store);
        store = open_store(0);
        for (int n = 0; n < 5; n++)
            CHECK_EQUAL(put_sized(open_large(store), 1000, &appended), SS_OK);
        check_from(open_large(store), last_pad_end, count_at_last_pad);
    }
    ss_log *log = open_large(store);
    put_up_to(log, limit);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.segment_ordinal, 1);
    CHECK_EQUAL(put_sized(log, 1, &appended), SS_OK);
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    CHECK_EQUAL(state.segment_ordinal, 2);
    check_from(log, last_pad_end, count_at_last_pad);
    close_store(store);
    store = open_store(SS_OPEN_READ_ONLY);
    check_from(open_large(store), last_pad_end, count_at_last_pad);
    close_store(store);
    remove_root();
}

int main(void)
{
    check_frame_ends();
    check_segment_end(0);
    check_segment_end(SS_OPEN_PWRITE);
    check_large_file();
    return check_report();
}
