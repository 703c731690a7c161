/* Segment headers and names: what comes back, what each field may be, and what a hostile file may not make us do. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "check.h"
#include "file.h"
#include "scratch.h"
#include "segment.h"

static const uint8_t store_id[16] = "one store's id.";

static ss_segment_facts some_facts(void)
{
    static const uint8_t description[] = "description";
    ss_segment_facts facts = {.stream_id = 7,
                              .shard = 3,
                              .ordinal = 12,
                              .base = 4096,
                              .previous_end = 4096,
                              .base_ordinal = 99,
                              .epoch = 1700000000000000,
                              .salt = UINT64_C(0xfedcba9876543210),
                              .created_us = 1700000000000001,
                              .map_size = SEGMENT_SIZE_DEFAULT,
                              .copied_end = 8192,
                              .floor_arrival = 1600000000000000,
                              .description = description,
                              .description_size = sizeof description};
    memcpy(facts.store_id, store_id, 16);
    return facts;
}

static void seal(uint8_t *header)
{
    format_store64(header + SEGMENT_CHECK, ss_xxh3_64_seeded(header, SEGMENT_CHECK, 0));
}

static void check_round_trip(void)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_segment_facts facts = some_facts(), found;
    ss_segment_encode_header(&facts, header);
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_OK);
    CHECK_BYTES(found.store_id, facts.store_id, 16);
    CHECK_EQUAL(found.stream_id, facts.stream_id);
    CHECK_EQUAL(found.shard, facts.shard);
    CHECK_EQUAL(found.ordinal, facts.ordinal);
    CHECK_EQUAL(found.base, facts.base);
    CHECK_EQUAL(found.previous_end, facts.previous_end);
    CHECK_EQUAL(found.base_ordinal, facts.base_ordinal);
    CHECK_EQUAL(found.epoch, facts.epoch);
    CHECK_EQUAL(found.salt, facts.salt);
    CHECK_EQUAL(found.created_us, facts.created_us);
    CHECK_EQUAL(found.map_size, facts.map_size);
    CHECK_EQUAL(found.copied_end, facts.copied_end);
    CHECK_EQUAL(found.floor_arrival, facts.floor_arrival);
    CHECK_EQUAL(found.description_size, facts.description_size);
    CHECK_BYTES(found.description, facts.description, facts.description_size);
    uint8_t large[SS_DESCRIPTION_SIZE_MAX];
    memset(large, 0xd5, sizeof large);
    facts.description = large;
    facts.description_size = sizeof large;
    ss_segment_encode_header(&facts, header);
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_OK);
    CHECK_BYTES(found.description, large, sizeof large);
}

static void check_damage(void)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE] = {0};
    ss_segment_facts facts = some_facts(), found = {.base = 77};
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_NOT_FOUND); /* never committed */
    header[4095] = 1;
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_NOT_FOUND); /* torn: its first sector never came */
    ss_segment_encode_header(&facts, header);
    for (size_t sector = 0; sector < sizeof header; sector += 512) {
        uint8_t half[SS_SEGMENT_HEADER_SIZE];
        memcpy(half, header, sizeof half);
        memset(half + sector, 0, 512);
        int used = sector == 0 || sector == sizeof header - 512; /* the rest is zero anyway: a short description */
        CHECK_EQUAL(ss_segment_decode_header(half, &found), used ? SS_NOT_FOUND : SS_OK);
    }
    found.base = 77;
    for (size_t at = 0; at < sizeof header; at++)
        for (int bit = 0; bit < 8; bit += 7) {
            header[at] ^= (uint8_t)(1 << bit);
            CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_CORRUPT);
            header[at] ^= (uint8_t)(1 << bit);
        }
    CHECK_EQUAL(found.base, 77); /* untouched on failure */
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_OK);
}

static ss_status with64(size_t offset, uint64_t value)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_segment_facts facts = some_facts(), found;
    ss_segment_encode_header(&facts, header);
    format_store64(header + offset, value);
    if (offset == SEGMENT_BASE) { /* these three move together */
        format_store64(header + SEGMENT_PREVIOUS_END, value);
        format_store64(header + SEGMENT_COPIED_END, value);
    }
    seal(header);
    return ss_segment_decode_header(header, &found);
}

static ss_status with32(size_t offset, uint32_t value)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_segment_facts facts = some_facts(), found;
    ss_segment_encode_header(&facts, header);
    format_store32(header + offset, value);
    seal(header);
    return ss_segment_decode_header(header, &found);
}

static void check_bounds(void)
{
    const uint64_t far = UINT64_C(1) << 62;
    CHECK_EQUAL(with32(SEGMENT_VERSION, 0), SS_FORMAT);
    CHECK_EQUAL(with32(SEGMENT_VERSION, 2), SS_FORMAT);
    for (uint32_t bit = 1; bit < 32; bit++)
        CHECK_EQUAL(with32(SEGMENT_INCOMPAT, UINT32_C(1) << bit), SS_FORMAT);
    CHECK_EQUAL(with32(SEGMENT_INCOMPAT, SEGMENT_INCOMPAT_PACKED), SS_CORRUPT); /* and nothing said about blocks */
    CHECK_EQUAL(with32(SEGMENT_DESCRIPTION_SIZE, SS_DESCRIPTION_SIZE_MAX), SS_OK);
    CHECK_EQUAL(with32(SEGMENT_DESCRIPTION_SIZE, SS_DESCRIPTION_SIZE_MAX + 1), SS_CORRUPT);
    CHECK_EQUAL(with32(SEGMENT_DESCRIPTION_SIZE, UINT32_MAX), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_BASE, SS_FIRST_POSITION), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_BASE, SS_FIRST_POSITION - 8), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_BASE, 4100), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_BASE, far), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_BASE, far + 8), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_BASE, UINT64_MAX - 7), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_PREVIOUS_END, 4088), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_PREVIOUS_END, 4104), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_BASE_ORDINAL, far), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_BASE_ORDINAL, far + 1), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_EPOCH, FRAME_EPOCH_MAX), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_EPOCH, FRAME_EPOCH_MAX + 1), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_MAP_SIZE, SEGMENT_SIZE_MIN), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_MAP_SIZE, SEGMENT_SIZE_MIN - 1), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_MAP_SIZE, SEGMENT_SIZE_LIMIT), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_MAP_SIZE, SEGMENT_SIZE_LIMIT + 1), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_COPIED_END, 4096), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_COPIED_END, 4088), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_COPIED_END, 4096 + SEGMENT_SIZE_DEFAULT), SS_OK);
    CHECK_EQUAL(with64(SEGMENT_COPIED_END, 4104 + SEGMENT_SIZE_DEFAULT), SS_CORRUPT);
    CHECK_EQUAL(with64(SEGMENT_COPIED_END, UINT64_MAX), SS_CORRUPT);
}

/* Any numbers under a good check: what is accepted is safe to compute with. */
static void check_hostile_headers(void)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_segment_facts facts = some_facts(), found;
    srand(11);
    for (int round = 0; round < 20000; round++) {
        ss_segment_encode_header(&facts, header);
        for (int hits = rand() % 4 + 1; hits > 0; hits--) {
            uint64_t value = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 12 ^ (uint64_t)rand();
            format_store64(header + SEGMENT_STORE_ID + 8 * (size_t)(rand() % 14), value >> rand() % 64);
        }
        seal(header);
        if (ss_segment_decode_header(header, &found) != SS_OK)
            continue;
        const ss_segment segment = {.facts = found};
        CHECK(found.description_size <= SS_DESCRIPTION_SIZE_MAX);
        CHECK(ss_segment_limit(&segment) > found.base && ss_segment_limit(&segment) < UINT64_C(1) << 63);
        CHECK(ss_segment_offset(&segment, found.copied_end) <= SS_SEGMENT_HEADER_SIZE + found.map_size);
    }
}

static void check_names(void)
{
    char name[SS_SEGMENT_NAME_SIZE];
    const uint64_t ordinals[] = {1, 2, 999999999999, 1000000000000, 99999999999999999};
    for (size_t i = 0; i < sizeof ordinals / sizeof *ordinals; i++) {
        ss_segment_name("streams/4294967295/4294967295", ordinals[i], name);
        CHECK_EQUAL(ss_segment_ordinal(strrchr(name, '/') + 1), ordinals[i]);
    }
    ss_segment_name("catalog", 1, name);
    CHECK(strcmp(name, "catalog/000000000001.seg") == 0);
    const char *const others[] = {"",
                                  ".",
                                  "..",
                                  "1.seg",
                                  "00000000001.seg",
                                  "000000000001",
                                  "000000000001.segx",
                                  "000000000001.seg~",
                                  "x00000000001.seg",
                                  "-00000000001.seg",
                                  " 00000000001.seg",
                                  "000000000000.seg",
                                  "000000000001.SEG",
                                  "0000000000000000001.seg",
                                  "99999999999999999999999999.seg",
                                  "00000000000x.seg"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK_EQUAL(ss_segment_ordinal(others[i]), 0);
}

static void check_identity(void)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE], other_store[16] = "another store's";
    ss_segment_facts facts = some_facts(), found = {.base = 77};
    const char *name = "000000000012.seg";
    scratch_new();
    int root = scratch_directory();
    CHECK_EQUAL(ss_status_code(ss_segment_read_header(root, name, store_id, 7, 3, &found)), SS_NOT_FOUND);
    scratch_resize(name, 0);
    CHECK_EQUAL(ss_segment_read_header(root, name, store_id, 7, 3, &found),
                SS_NOT_FOUND); /* created, never allocated */
    scratch_resize(name, 65536);
    CHECK_EQUAL(ss_segment_read_header(root, name, store_id, 7, 3, &found),
                SS_NOT_FOUND); /* allocated, never committed */
    ss_segment_encode_header(&facts, header);
    scratch_write(name, header, sizeof header, 0);
    CHECK_EQUAL(ss_segment_read_header(root, name, store_id, 7, 3, &found), SS_OK);
    CHECK_EQUAL(found.base, 4096);
    CHECK(found.description == NULL && found.description_size == 0);
    CHECK_EQUAL(ss_segment_read_header(root, name, other_store, 7, 3, &found), SS_FOREIGN);
    CHECK_EQUAL(ss_segment_read_header(root, name, store_id, 8, 3, &found), SS_FOREIGN);
    CHECK_EQUAL(ss_segment_read_header(root, name, store_id, 7, 2, &found), SS_FOREIGN);
    scratch_write("000000000013.seg", header, sizeof header, 0);
    CHECK_EQUAL(ss_segment_read_header(root, "000000000013.seg", store_id, 7, 3, &found), SS_FOREIGN);
    scratch_resize(name, 4095);
    CHECK_EQUAL(ss_segment_read_header(root, name, store_id, 7, 3, &found), SS_NOT_FOUND);
    CHECK_EQUAL(symlinkat("000000000013.seg", root, "000000000014.seg"), 0);
    CHECK_EQUAL(ss_status_code(ss_segment_read_header(root, "000000000014.seg", store_id, 7, 3, &found)), SS_IO);
    close(root);
    scratch_remove();
}

/* Bytes are the same through a map and by pread, and what a short file lacks reads as zeros. */
static void check_access(void)
{
    const char *name = "000000000012.seg";
    uint8_t written[10000], got[10000];
    for (size_t i = 0; i < sizeof written; i++)
        written[i] = (uint8_t)(i * 7 + 1);
    scratch_new();
    int root = scratch_directory();
    ss_segment_facts facts = some_facts();
    facts.map_size = SEGMENT_SIZE_MIN;
    ss_segment *segment = ss_segment_new(&facts);
    CHECK(segment && segment->fd == -1 && segment->map == NULL);
    CHECK_EQUAL(ss_status_code(ss_segment_open(segment, root, name, SS_SEGMENT_READ, 0)), SS_NOT_FOUND);
    scratch_write(name, written, sizeof written, 4096);
    for (int map = 0; map < 2; map++) {
        scratch_resize(name, map ? 65536 : 4096 + sizeof written);
        /* The second time a file that is one byte short of what may be touched is not mapped, either. */
        for (uint64_t missing = 1 - (uint64_t)map; missing < 2; missing++) {
            int access = map ? SS_SEGMENT_WRITE : SS_SEGMENT_READ;
            ss_segment_unmap(segment);
            CHECK_EQUAL(ss_segment_open(segment, root, name, access, map ? 65537 - missing : 0), SS_OK);
            CHECK_EQUAL(segment->map != NULL, map && missing);
        }
        CHECK_EQUAL(ss_segment_copy(segment, 4096 + 80, got, 5000), SS_OK);
        CHECK_BYTES(got, written + 80, 5000);
        memset(got, 0xff, sizeof got);
        CHECK_EQUAL(ss_segment_copy(segment, 4096 + 9992, got, 100), SS_OK);
        CHECK_BYTES(got, written + 9992, 8);
        for (size_t i = 8; i < 100; i++)
            CHECK_EQUAL(got[i], 0);
        CHECK_EQUAL(ss_segment_sync(segment, 4096, 4096 + 9000), SS_OK);
        ss_segment_unmap(segment);
        CHECK(segment->fd == -1 && segment->map == NULL);
    }
    /* A file that does not hold what is to be read is not mapped: a look at a page that it lacks is SIGBUS. */
    CHECK_EQUAL(ss_segment_open(segment, root, name, SS_SEGMENT_READ, 65537), SS_OK);
    CHECK(segment->map == NULL && segment->fd >= 0);
    ss_segment_free(segment);
    ss_segment_free(NULL);
    close(root);
    scratch_remove();
}

int main(void)
{
    check_round_trip();
    check_damage();
    check_bounds();
    check_hostile_headers();
    check_names();
    check_identity();
    check_access();
    return check_report();
}
