/* The routing table: what it accepts, and where keys go, against a search over all ranges one by one. */
#include "ranges.h"

#include <stdlib.h>

#include "check.h"

#define MAX64 UINT64_MAX

enum { COUNT_MAX = 10000 };

static ss_hash_key starts[COUNT_MAX], ends[COUNT_MAX];
static uint32_t shards[COUNT_MAX];

static int key_at_most(ss_hash_key a, ss_hash_key b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo <= b.lo);
}

static ss_hash_key key_before(ss_hash_key key)
{
    return (ss_hash_key){.hi = key.hi - (key.lo == 0), .lo = key.lo - 1};
}

static ss_hash_key key_after(ss_hash_key key)
{
    return (ss_hash_key){.hi = key.hi + (key.lo == MAX64), .lo = key.lo + 1};
}

static uint32_t route_slowly(size_t count, ss_hash_key key)
{
    for (size_t i = 0; i < count; i++)
        if (key_at_most(starts[i], key) && key_at_most(key, ends[i]))
            return shards[i];
    abort();
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Ends and shard values for starts that ascend from 0; shard i gets a value that is not i. */
static void finish_ranges(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ends[i] = i + 1 < count ? key_before(starts[i + 1]) : (ss_hash_key){MAX64, MAX64};
        shards[i] = (uint32_t)(i * 3 + 1000);
    }
}

static void split_evenly(size_t count)
{
    for (size_t i = 0; i < count; i++)
        starts[i] = (ss_hash_key){.hi = MAX64 / count * i, .lo = i == 0 ? 0 : i};
    finish_ranges(count);
}

/* All boundaries crowd into a corner of the space, `step` apart, so that one bucket holds nearly all ranges. */
static void split_crowded(size_t count, ss_hash_key first, uint64_t step)
{
    starts[0] = (ss_hash_key){0, 0};
    for (size_t i = 1; i < count; i++)
        starts[i] = (ss_hash_key){.hi = first.hi, .lo = first.lo + i * step};
    finish_ranges(count);
}

static void shuffle(size_t count)
{
    uint64_t random = 42;
    for (size_t i = count - 1; i > 0; i--) {
        const size_t k = random_next(&random) % (i + 1);
        const ss_hash_key start = starts[i], end = ends[i];
        const uint32_t shard = shards[i];
        starts[i] = starts[k], ends[i] = ends[k], shards[i] = shards[k];
        starts[k] = start, ends[k] = end, shards[k] = shard;
    }
}

/* Both ends of every range, the keys beside them, and random keys. */
static void check_routes(size_t count)
{
    ss_ranges *ranges = NULL;
    CHECK_EQUAL(ss_ranges_create(starts, ends, shards, count, &ranges), SS_OK);
    if (ranges == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(ss_ranges_route(ranges, starts[i]), shards[i]);
        CHECK_EQUAL(ss_ranges_route(ranges, ends[i]), shards[i]);
        if (i % 100 == 0) {
            const ss_hash_key before = key_before(starts[i]),
                              after = key_after(ends[i]); /* around the end of the space */
            CHECK_EQUAL(ss_ranges_route(ranges, before), route_slowly(count, before));
            CHECK_EQUAL(ss_ranges_route(ranges, after), route_slowly(count, after));
        }
    }
    uint64_t random = 7;
    for (int i = 0; i < 500; i++) {
        const ss_hash_key key = {random_next(&random), random_next(&random)};
        CHECK_EQUAL(ss_ranges_route(ranges, key), route_slowly(count, key));
    }
    ss_ranges_free(ranges);
}

static void test_routing_equals_a_search_one_by_one(void)
{
    const size_t counts[] = {1, 2, 3, 4, 5, 7, 16, 17, 64, 100, 1000, COUNT_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        split_evenly(counts[i]);
        check_routes(counts[i]);
        shuffle(counts[i]);
        check_routes(counts[i]);
        split_crowded(counts[i], (ss_hash_key){0, 0}, 1);
        check_routes(counts[i]);
        split_crowded(counts[i], (ss_hash_key){UINT64_C(0x8000000000000000), 5}, 1);
        check_routes(counts[i]);
        split_crowded(counts[i], (ss_hash_key){MAX64, 1}, MAX64 / COUNT_MAX);
        check_routes(counts[i]);
    }
}

static void check_refused(size_t count)
{
    ss_ranges *const before = (ss_ranges *)starts; /* any mark: the result must be left alone */
    ss_ranges *ranges = before;
    CHECK_EQUAL(ss_ranges_create(starts, ends, shards, count, &ranges), SS_INVALID);
    CHECK(ranges == before);
}

static void test_only_an_exact_tiling_is_accepted(void)
{
    check_refused(0);
    check_refused((1 << 24) + 1); /* before one of them is looked at */
    check_refused(SIZE_MAX);
    split_evenly(1);
    ends[0].lo--; /* the space's last key is missing */
    check_refused(1);
    split_evenly(1);
    starts[0].lo++; /* the first one is */
    check_refused(1);
    for (size_t i = 0; i < 4; i++) {
        split_evenly(4);
        starts[i] = key_after(starts[i]); /* a gap of one key before range i */
        check_refused(4);
        split_evenly(4);
        ends[i] = key_before(ends[i]); /* a gap of one key after it */
        check_refused(4);
        split_evenly(4);
        if (i < 3) {
            ends[i] = key_after(ends[i]); /* an overlap of one key */
            check_refused(4);
        }
        split_evenly(4);
        starts[i] = starts[(i + 1) % 4], ends[i] = ends[(i + 1) % 4]; /* one twice, one missing */
        check_refused(4);
        split_evenly(5);
        starts[i] = starts[4], ends[i] = (ss_hash_key){MAX64, MAX64}; /* the last range twice */
        check_refused(5);
    }
    split_evenly(2);
    starts[1] = (ss_hash_key){MAX64, MAX64}, ends[0] = key_before(starts[1]); /* a range of one key is fine */
    check_routes(2);
    ends[1] = (ss_hash_key){0, 0}; /* it ends before it starts */
    check_refused(2);
}

static void test_partition_keys_go_where_their_md5_goes(void)
{
    enum { KEYS = 1000 };
    static char text[KEYS][80];
    static const uint8_t *keys[KEYS];
    static size_t sizes[KEYS];
    static uint32_t routed[KEYS + 1];
    for (size_t i = 0; i < KEYS; i++) {
        const int size = snprintf(text[i], sizeof text[i], "%0*zu", (int)(i % 70) + 1, i);
        keys[i] = (const uint8_t *)text[i];
        sizes[i] = (size_t)size;
    }
    const size_t counts[] = {1, 2, 16, 1000}, key_counts[] = {0, 1, 2, 31, 255, 256, 257, KEYS};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        ss_ranges *ranges;
        split_evenly(counts[c]);
        CHECK_EQUAL(ss_ranges_create(starts, ends, shards, counts[c], &ranges), SS_OK);
        for (size_t s = 0; s < sizeof key_counts / sizeof *key_counts; s++) {
            const size_t some = key_counts[s];
            routed[some] = 12345;
            ss_ranges_route_keys(ranges, keys, sizes, some, routed);
            for (size_t i = 0; i < some; i++)
                CHECK_EQUAL(routed[i], route_slowly(counts[c], ss_ranges_hash(keys[i], sizes[i])));
            CHECK_EQUAL(routed[some], 12345);
        }
        ss_ranges_free(ranges);
    }
}

/* With one open shard a key is not even looked at. */
static void test_one_shard_reads_no_key(void)
{
    const uint8_t *keys[2] = {NULL, NULL};
    const size_t sizes[2] = {1 << 20, 1 << 20};
    uint32_t routed[2] = {0, 0};
    ss_ranges *ranges;
    split_evenly(1);
    CHECK_EQUAL(ss_ranges_create(starts, ends, shards, 1, &ranges), SS_OK);
    ss_ranges_route_keys(ranges, keys, sizes, 2, routed);
    CHECK_EQUAL(routed[0], shards[0]);
    CHECK_EQUAL(routed[1], shards[0]);
    ss_ranges_free(ranges);
    ss_ranges_free(NULL);
}

/* The MD5 of "a" is 0cc175b9c0f1b6a831c399e269772661. */
static void test_the_digest_is_a_big_endian_number(void)
{
    const ss_hash_key key = ss_ranges_hash("a", 1);
    CHECK_EQUAL(key.hi, UINT64_C(0x0cc175b9c0f1b6a8));
    CHECK_EQUAL(key.lo, UINT64_C(0x31c399e269772661));
}

int main(void)
{
    test_routing_equals_a_search_one_by_one();
    test_only_an_exact_tiling_is_accepted();
    test_partition_keys_go_where_their_md5_goes();
    test_one_shard_reads_no_key();
    test_the_digest_is_a_big_endian_number();
    return check_report();
}
