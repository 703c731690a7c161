/* Compacted files that are damaged, cut short or made to harm: every answer is a record that was written, damage, or a
 * refusal; nothing is read or written out of bounds (the sanitizers watch), and damage costs its block alone. */
#define _GNU_SOURCE
#include "packed_image.h"

static void check_flips(void)
{
    /* any single damaged bit, checks as they were: all but one block is read, and nothing that was not written */
    uint64_t index = format_load64(image + SEGMENT_PACKED_INDEX);
    uint64_t seed = 7;
    for (int turn = 0; turn < 60; turn++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t at = SS_SEGMENT_HEADER_SIZE + (size_t)((seed >> 20) % (image_size - SS_SEGMENT_HEADER_SIZE));
        memcpy(changed, image, image_size);
        changed[at] ^= (uint8_t)(1u << (seed >> 60));
        write_file(changed, image_size);
        uint64_t found = ask_everything(1);
        if (at >= index)
            CHECK_EQUAL(found, TOTAL); /* the index is made again */
        else
            CHECK(found >= TOTAL / 2 && found <= TOTAL);
    }
    /* index and blocks both: what is left of the blocks is found */
    memcpy(changed, image, image_size);
    changed[index + 5] ^= 1;
    changed[SS_SEGMENT_HEADER_SIZE + 1000] ^= 1;
    write_file(changed, image_size);
    uint64_t found = ask_everything(1);
    CHECK(found >= TOTAL / 2 && found < TOTAL);
}

static void check_cuts(void)
{
    for (size_t size = 0; size < image_size; size += image_size / 20 + 1) {
        write_file(image, size);
        ask_everything(1);
    }
}

/* One field after another says what cannot be, and every check says that it is true. */
static void check_lies(void)
{
    static const uint64_t VALUES[] = {0, 8, 4096, 65536, UINT32_MAX, UINT64_C(1) << 62, UINT64_MAX - 7};
    uint64_t index = format_load64(image + SEGMENT_PACKED_INDEX);
    uint64_t block = format_align8(BLOCK_STORED + format_load32(image + SS_SEGMENT_HEADER_SIZE + BLOCK_STORED_SIZE));
    struct {
        uint64_t offset;
        size_t width;
    } fields[] = {
        {SEGMENT_BASE, 8},
        {SEGMENT_BASE_ORDINAL, 8},
        {SEGMENT_EPOCH, 8},
        {SEGMENT_MAP_SIZE, 8},
        {SEGMENT_COPIED_END, 8},
        {SEGMENT_FLOOR_ARRIVAL, 8},
        {SEGMENT_PACKED_END, 8},
        {SEGMENT_PACKED_RECORDS, 8},
        {SEGMENT_PACKED_LAST_ARRIVAL, 8},
        {SEGMENT_PACKED_LAST_FRAME, 8},
        {SEGMENT_PACKED_INDEX, 8},
        {SEGMENT_PACKED_BLOCKS, 4},
        {SEGMENT_PACKED_RUNS, 4},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_POSITION, 8},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_RAW_SIZE, 4},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED_SIZE, 4},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_FLAGS, 4},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED + FRAME_SIZE, 4}, /* the first frame of the first block */
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED + FRAME_POSITION, 8},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED + FRAME_ARRIVAL, 8},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED + FRAME_EPOCH, 8},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED + FRAME_ORDINAL, 8},
        {SS_SEGMENT_HEADER_SIZE + BLOCK_STORED + FRAME_BODY_CHECK, 8},
        {SS_SEGMENT_HEADER_SIZE + block + BLOCK_POSITION, 8}, /* the second block */
        {index, 8},                                           /* the first and the second mark */
        {index + 8, 8},
        {index + 16, 8},
        {index + 24, 8},
        {index + 32, 8},
        {index + 40, 8},
        {index + 48, 8},
        {index + 56, 8},
        {index + PACKED_MARK_SIZE * format_load32(image + SEGMENT_PACKED_BLOCKS), 8}, /* the first run */
        {index + PACKED_MARK_SIZE * format_load32(image + SEGMENT_PACKED_BLOCKS) + 8, 8},
    };
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        for (size_t v = 0; v < sizeof VALUES / sizeof *VALUES; v++) {
            memcpy(changed, image, image_size);
            memcpy(changed + fields[f].offset, &VALUES[v], fields[f].width);
            seal_all(changed);
            write_file(changed, image_size);
            ask_everything(0);
        }
    }
}

/* LZ4 blocks of any bytes: the flag is set on a block that is none, with all checks right. */
static void check_expanding(void)
{
    uint64_t seed = 99;
    for (int turn = 0; turn < 24; turn++) {
        memcpy(changed, image, image_size);
        uint8_t *block = changed + SS_SEGMENT_HEADER_SIZE;
        format_store32(block + BLOCK_FLAGS, turn % 4 == 3 ? BLOCK_FLAG_SEALED : BLOCK_FLAG_LZ4);
        for (int n = 0; n < turn * 20; n++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            block[BLOCK_STORED + (seed >> 33) % 2000] = (uint8_t)(seed >> 20);
        }
        seal_all(changed);
        write_file(changed, image_size);
        ask_everything(0);
    }
}

static void check_decoder(void)
{
    static uint8_t block[300], out[600];
    uint64_t seed = 5;
    for (int turn = 0; turn < 20000; turn++) {
        size_t size = (size_t)turn % sizeof block;
        for (size_t n = 0; n < size; n++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            block[n] = (uint8_t)(seed >> 56 & (turn % 3 ? 0xff : 0x33));
        }
        uint8_t *copy = malloc(size ? size : 1),
                *to = malloc(1 + (size_t)turn % sizeof out); /* exact, for the sanitizer */
        if (size)
            memcpy(copy, block, size);
        ss_status status = ss_lz4_expand(copy, size, to, (size_t)turn % sizeof out);
        CHECK(status == SS_OK || status == SS_CORRUPT);
        free(copy);
        free(to);
    }
    for (int turn = 0; turn < 3000; turn++) { /* what is made here expands to itself, in exactly the room there is */
        size_t size = 1 + (size_t)turn % sizeof block, room = size + (size_t)turn % 20;
        for (size_t n = 0; n < size; n++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            block[n] = (uint8_t)(seed >> 60 & (turn % 4 ? 3 : 15));
        }
        uint8_t *made = malloc(room), *back = malloc(size), *copy = malloc(size);
        memcpy(copy, block, size);
        size_t squeezed = ss_lz4_compress(copy, size, made, room);
        if (squeezed) {
            CHECK_EQUAL(ss_lz4_expand(made, squeezed, back, size), SS_OK);
            CHECK_BYTES(back, block, size);
        }
        free(made);
        free(back);
        free(copy);
    }
    /* 'abcd' once, a match of 20 from 4 back, then 5 literals */
    static const uint8_t good[] = {0x4f, 'a', 'b', 'c', 'd', 4, 0, 1, 0x50, '1', '2', '3', '4', '5'};
    CHECK_EQUAL(ss_lz4_expand(good, sizeof good, out, 29), SS_OK);
    CHECK_BYTES(out, "abcdabcdabcdabcdabcdabcd12345", 29);
    CHECK_EQUAL(ss_lz4_expand(good, sizeof good, out, 28), SS_CORRUPT);
    CHECK_EQUAL(ss_lz4_expand(good, sizeof good, out, 30), SS_CORRUPT);
}

/* What repeats from further back than an offset can say is written anew. */
static void check_far_repeats(void)
{
    enum { RUN = 64, FAR = 66000, SIZE = FAR + 64 * RUN, ROOM = SIZE + SIZE / 100 };
    uint8_t *raw = malloc(SIZE), *made = malloc(ROOM), *back = malloc(SIZE);
    uint64_t seed = 7;
    for (size_t n = 0; n < SIZE; n++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        raw[n] = n < FAR ? (uint8_t)(seed >> 56) : raw[(n - FAR) % RUN];
    }
    size_t squeezed = ss_lz4_compress(raw, SIZE, made, ROOM);
    CHECK(squeezed > FAR && squeezed < SIZE); /* the later runs repeat what is near */
    CHECK_EQUAL(ss_lz4_expand(made, squeezed, back, SIZE), SS_OK);
    CHECK_BYTES(back, raw, SIZE);
    free(raw);
    free(made);
    free(back);
}

/* The packed segment where recovery must end: what came after it is gone, with hints and without. */
static void check_recovery_at_its_end(void)
{
    char other[128];
    write_file(image, image_size);
    for (int hints = 1; hints >= 0; hints--) {
        snprintf(other, sizeof other, "%s/streams/1/0/000000000003.seg", root);
        if (hints)
            CHECK_EQUAL(remove(other), 0);
        else {
            snprintf(other, sizeof other, "%s/control", root);
            CHECK_EQUAL(remove(other), 0);
        }
        ss_store *store = open_store(hints ? SS_OPEN_READ_ONLY : 0);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        ss_log_state state;
        ss_recovery report;
        CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
        ss_log_recovery_get(log, &report);
        uint64_t end = format_load64(image + SEGMENT_PACKED_END);
        if (hints) { /* more was known durable than is left */
            CHECK_EQUAL(report.verdict, 'F');
            CHECK(state.tail > end);
        } else {
            CHECK_EQUAL(report.verdict, 'A');
            CHECK_EQUAL(state.tail, end);
            CHECK_EQUAL(state.durable, end);
            CHECK_EQUAL(report.copied_bytes, 0);
            CHECK_EQUAL(state.record_count, 2 * EACH);
            put(log, 2 * EACH);
            read_all(log, 0, 2 * EACH + 1);
            ss_segment_info segments[8];
            CHECK_EQUAL(list_segments(log, segments, 8), 2);
            CHECK(segments[0].packed && !segments[1].packed);
        }
        close_store(store);
    }
}

int main(void)
{
    make_image(TOTAL, EACH);
    check_flips();
    check_cuts();
    check_lies();
    check_expanding();
    check_decoder();
    check_far_repeats();
    check_recovery_at_its_end();
    remove_root();
    return check_report();
}
