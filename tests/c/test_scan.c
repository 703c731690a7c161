/* Walking a file that may be torn, damaged, short or hostile: frames, the next one behind damage, zeros, and the tear
 * rule. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "check.h"
#include "scan.h"
#include "scratch.h"

#define NAME "000000000001.seg"
enum { BASE = 4096, FRAMES_MAX = 4000 };

static ss_segment *segment;
static int root;
static uint64_t positions[FRAMES_MAX + 1]; /* of each frame, then the end */
static size_t frames;

static uint64_t offset_of(uint64_t position)
{
    return ss_segment_offset(segment, position);
}

/* A file of `count` frames with `size` bytes of data each, none of them zero, and `tail` bytes of zeros. */
static void make_file(size_t count, size_t size, uint64_t tail)
{
    uint8_t *data = malloc(size + 1), *frame = NULL;
    memset(data, 0x5a, size + 1);
    scratch_resize(NAME, 0);
    uint64_t position = BASE, frame_size = 0;
    for (frames = 0; frames < count; frames++) {
        const ss_entry entry = {.data = data, .data_size = size - frames % 8 % (size + 1), .key_size = -1};
        CHECK_EQUAL(ss_record_frame_size(&entry, RECORD_SIZE_LIMIT, &frame_size), SS_OK);
        const ss_record_place place = {.position = position,
                                       .arrival_us = 1000,
                                       .epoch = 9,
                                       .ordinal = (uint32_t)frames + 1,
                                       .type = SS_FRAME_DATA};
        frame = realloc(frame, frame_size);
        ss_record_write(frame, &entry, frame_size, &place, &segment->salt);
        scratch_write(NAME, frame, frame_size, offset_of(position));
        positions[frames] = position;
        position += frame_size;
    }
    positions[frames] = position;
    scratch_write(NAME, &segment->facts.salt, 8, SEGMENT_SALT); /* all that a scan looks at of the header */
    scratch_resize(NAME, offset_of(position) + tail);
    free(frame);
    free(data);
}

static ss_scan open_scan(void)
{
    ss_scan scan = {.fd = -1};
    CHECK_EQUAL(ss_scan_open(&scan, segment, root, NAME), SS_OK);
    return scan;
}

static ss_status frame_at(uint64_t position)
{
    ss_scan scan = open_scan();
    ss_record_header header;
    const uint8_t *frame;
    ss_status status = ss_scan_frame(&scan, position, &header, &frame);
    ss_scan_close(&scan);
    return status;
}

static uint64_t resync_from(uint64_t from, uint64_t limit)
{
    ss_scan scan = open_scan();
    uint64_t found = 1;
    ss_status status = ss_scan_resync(&scan, from, limit, &found);
    CHECK(status == SS_OK || (status == SS_NOT_FOUND && found == 1));
    ss_scan_close(&scan);
    return status == SS_OK ? found : 0;
}

static int zero_between(uint64_t from, uint64_t to)
{
    ss_scan scan = open_scan();
    int zero = -1;
    CHECK_EQUAL(ss_scan_zero(&scan, from, to, &zero), SS_OK);
    ss_scan_close(&scan);
    return zero;
}

static int tear_at(uint64_t position, uint64_t *size)
{
    ss_scan scan = open_scan();
    int possible = -1;
    CHECK_EQUAL(ss_scan_tear_possible(&scan, position, &possible, size), SS_OK);
    ss_scan_close(&scan);
    return possible;
}

static void check_walk(void)
{
    make_file(FRAMES_MAX, 700, 1000); /* several windows of the scan, frames across their borders */
    ss_scan scan = open_scan();
    for (size_t i = 0; i < frames; i++) {
        ss_record_header header = {0};
        const uint8_t *frame = NULL;
        CHECK_EQUAL(ss_scan_frame(&scan, positions[i], &header, &frame), SS_OK);
        CHECK_EQUAL(header.ordinal, i + 1);
        CHECK_EQUAL(header.frame_size, positions[i + 1] - positions[i]);
        CHECK_EQUAL(frame[FRAME_BODY], 0x5a);
    }
    ss_record_header header;
    const uint8_t *frame;
    CHECK_EQUAL(ss_scan_frame(&scan, positions[frames], &header, &frame), SS_CORRUPT); /* zeros */
    CHECK_EQUAL(ss_scan_frame(&scan, positions[5] + 8, &header, &frame), SS_CORRUPT);
    CHECK_EQUAL(ss_scan_frame(&scan, BASE - 8, &header, &frame), SS_CORRUPT);
    CHECK_EQUAL(ss_scan_frame(&scan, UINT64_C(1) << 40, &header, &frame), SS_CORRUPT);
    CHECK_EQUAL(ss_scan_frame(&scan, positions[0], &header, &frame), SS_OK); /* backwards again */
    CHECK_EQUAL(ss_scan_file_end(&scan), positions[frames] + 1000);
    ss_scan_close(&scan);
    ss_scan missing;
    CHECK_EQUAL(ss_status_code(ss_scan_open(&missing, segment, root, "000000000002.seg")), SS_NOT_FOUND);
}

static void check_resync(void)
{
    make_file(FRAMES_MAX, 700, 1000);
    const uint64_t end = positions[frames] + 1000;
    for (size_t i = 0; i + 1 < frames; i += 97) {
        CHECK_EQUAL(resync_from(positions[i], end), positions[i + 1]); /* strictly behind */
        CHECK_EQUAL(resync_from(positions[i] + 8, end), positions[i + 1]);
        CHECK_EQUAL(resync_from(positions[i + 1] - 8, end), positions[i + 1]);
    }
    CHECK_EQUAL(resync_from(positions[10], positions[11]), 0); /* before the limit, not at it */
    CHECK_EQUAL(resync_from(positions[10], positions[11] + 8), positions[11]);
    CHECK_EQUAL(resync_from(positions[frames - 1], end), 0);
    CHECK_EQUAL(resync_from(end + 4096, end + 8192), 0);
    /* A frame with a damaged body is passed over, whole frames behind it are found; also across window borders. */
    for (size_t i = 1000; i < 3500; i++)
        scratch_flip(NAME, offset_of(positions[i]) + (i % 2 ? 60 : 20));
    CHECK_EQUAL(resync_from(positions[999], end), positions[3500]);
    CHECK_EQUAL(frame_at(positions[1000]), SS_CORRUPT);
    CHECK_EQUAL(frame_at(positions[3500]), SS_OK);
    /* Data that is itself a frame, of another position, is no frame. */
    make_file(3, 200, 1000);
    uint8_t copy[100];
    CHECK_EQUAL(scratch_read(NAME, copy, sizeof copy, offset_of(positions[2])), sizeof copy);
    scratch_write(NAME, copy, sizeof copy, offset_of(positions[0]) + 64);
    CHECK_EQUAL(resync_from(positions[0], end), positions[1]);
}

static void check_zero(void)
{
    make_file(2, 100, 3 << 20);
    const uint64_t tail = positions[frames], end = tail + (3 << 20);
    CHECK_EQUAL(zero_between(tail, end), 1);
    CHECK_EQUAL(zero_between(tail, end + (1 << 20)), 1); /* past the file's end */
    CHECK_EQUAL(zero_between(positions[1], end), 0);
    CHECK_EQUAL(zero_between(positions[1], positions[1]), 1);
    const uint64_t places[] = {0, 7, 8, 4095, 1 << 20, (2 << 20) + 5, (3 << 20) - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const uint8_t one = 1, none = 0;
        scratch_write(NAME, &one, 1, offset_of(tail) + places[i]);
        CHECK_EQUAL(zero_between(tail, end), 0);
        CHECK_EQUAL(zero_between(tail + (places[i] & ~UINT64_C(7)), end), 0);
        CHECK_EQUAL(zero_between(tail, tail + (places[i] & ~UINT64_C(7))), 1); /* up to the word it lies in */
        scratch_write(NAME, &none, 1, offset_of(tail) + places[i]);
    }
    CHECK_EQUAL(zero_between(tail, end), 1); /* zeros that were written are zeros */
}

static void check_tear_rule(void)
{
    uint64_t size = 0;
    const uint8_t zeros[8] = {0};
    make_file(3, 200, 4096);
    CHECK_EQUAL(tear_at(positions[1], &size), 0); /* a whole frame without a zero word is none */
    CHECK_EQUAL(size, positions[2] - positions[1]);
    for (uint64_t word = 0; word < positions[2] - positions[1]; word += 8) {
        make_file(3, 200, 4096);
        scratch_write(NAME, zeros, 8, offset_of(positions[1]) + word);
        CHECK_EQUAL(frame_at(positions[1]), SS_CORRUPT);
        CHECK_EQUAL(tear_at(positions[1], &size), 1);
        /* The body check is no part of what makes the header hold. */
        CHECK_EQUAL(size, word < FRAME_BODY_CHECK ? FRAME_BODY : positions[2] - positions[1]);
        make_file(3, 200, 4096);
        scratch_flip(NAME, offset_of(positions[1]) + word);
        CHECK_EQUAL(frame_at(positions[1]), SS_CORRUPT);
        CHECK_EQUAL(tear_at(positions[1], &size), 0); /* a flipped bit is no tear */
        if (word >= FRAME_BODY) {                     /* nor is half a word: stores are whole words */
            scratch_write(NAME, zeros, 4, offset_of(positions[1]) + word);
            CHECK_EQUAL(tear_at(positions[1], &size), 0);
        }
    }
    CHECK_EQUAL(tear_at(positions[3], &size), 1); /* zeros: a tear of everything */
    make_file(3, 200, 0);
    for (uint64_t cut = 1; cut < positions[3] - positions[2]; cut++) { /* the file ends within the last frame */
        scratch_resize(NAME, offset_of(positions[3]) - cut);
        CHECK_EQUAL(frame_at(positions[2]), SS_CORRUPT);
        CHECK_EQUAL(tear_at(positions[2], &size), 1);
        CHECK_EQUAL(frame_at(positions[1]), SS_OK);
    }
}

/* A header that holds and declares a gigabyte in a small file asks for no memory. */
static void check_hostile_sizes(void)
{
    make_file(2, 200, 4096);
    uint8_t frame[FRAME_BODY];
    uint64_t size = 0;
    CHECK_EQUAL(scratch_read(NAME, frame, sizeof frame, offset_of(positions[1])), sizeof frame);
    const uint32_t sizes[] = {5000, 1 << 30, 0xfffffff8};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        format_store32(frame + FRAME_SIZE, sizes[i]);
        format_store32(frame, (uint32_t)ss_xxh3_64(&segment->salt, frame + FRAME_SIZE, FRAME_BODY_CHECK - FRAME_SIZE));
        scratch_write(NAME, frame, sizeof frame, offset_of(positions[1]));
        ss_scan scan = open_scan();
        ss_record_header header;
        const uint8_t *bytes;
        CHECK_EQUAL(ss_scan_frame(&scan, positions[1], &header, &bytes), SS_CORRUPT);
        CHECK(scan.capacity <= 2 << 20);
        ss_scan_close(&scan);
        CHECK_EQUAL(tear_at(positions[1], &size), 1);
        CHECK_EQUAL(size, sizes[i]);
    }
}

int main(void)
{
    const ss_segment_facts facts = {.ordinal = 1, .base = BASE, .salt = 12345, .map_size = SEGMENT_SIZE_DEFAULT};
    segment = ss_segment_new(&facts);
    scratch_new();
    root = scratch_directory();
    check_walk();
    check_resync();
    check_zero();
    check_tear_rule();
    check_hostile_sizes();
    close(root);
    scratch_remove();
    ss_segment_free(segment);
    return check_report();
}
