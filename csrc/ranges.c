/* Routing by hash key: a table over the top bits says where to look, a short search says which range. */
#include "ranges.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "md5.h"

/* Keys hashed at a time; bounds the stack used (4 KiB). */
enum { CHUNK_KEYS = 256 };

/* More ranges than any stream has shards; keeps all sizes below far from overflow. */
enum { COUNT_MAX = 1 << 24 };

/* I1  starts[0] = 0, starts ascend, and range i ends where range i + 1 starts
 * I2  first[b] is the range that holds the least key whose top bucket_bits bits are b; first[2^bucket_bits] = count - 1
 *     so the range of a key in bucket b is one of first[b] .. first[b + 1]
 * I3  with one range there are no buckets, and nothing is looked up */
struct ss_ranges {
    size_t count;
    unsigned bucket_shift; /* 64 - bucket_bits */
    ss_hash_key *starts;
    uint32_t *shards;
    uint32_t *first;
};

typedef struct {
    ss_hash_key start, end;
    uint32_t shard;
} range;

static bool at_most(ss_hash_key a, ss_hash_key b)
{
    __extension__ typedef unsigned __int128 wide;
    return ((wide)a.hi << 64 | a.lo) <= ((wide)b.hi << 64 | b.lo);
}

static int compare_starts(const void *a, const void *b)
{
    const ss_hash_key x = ((const range *)a)->start, y = ((const range *)b)->start;
    return (int)at_most(y, x) - (int)at_most(x, y);
}

/* Whether sorted ranges begin at 0, follow one another without gap or overlap, and end at 2^128 - 1. */
static bool ranges_tile(const range *sorted, size_t count)
{
    ss_hash_key expected = {0, 0};
    for (size_t i = 0; i < count; i++) {
        const ss_hash_key start = sorted[i].start, end = sorted[i].end;
        if (start.hi != expected.hi || start.lo != expected.lo || !at_most(start, end))
            return false;
        expected.lo = end.lo + 1;
        expected.hi = end.hi + (expected.lo == 0);
        const bool last = expected.hi == 0 && expected.lo == 0;
        if (last != (i == count - 1))
            return false;
    }
    return true;
}

/* At least four buckets a range: even a skewed split then mostly finds one or two ranges in its bucket. */
static unsigned bucket_bits_for(size_t count)
{
    unsigned bits = 2;
    while ((size_t)1 << (bits - 2) < count)
        bits++;
    return bits;
}

static void fill_buckets(ss_ranges *ranges, unsigned bits)
{
    size_t at = 0;
    const size_t buckets = (size_t)1 << bits;
    for (size_t b = 0; b < buckets; b++) {
        const ss_hash_key least = {(uint64_t)b << ranges->bucket_shift, 0};
        while (at + 1 < ranges->count && at_most(ranges->starts[at + 1], least))
            at++;
        ranges->first[b] = (uint32_t)at;
    }
    ranges->first[buckets] = (uint32_t)(ranges->count - 1);
}

static ss_status build(const range *sorted, size_t count, ss_ranges **out)
{
    const unsigned bits = bucket_bits_for(count);
    ss_ranges *ranges = calloc(1, sizeof *ranges);
    if (ranges == NULL)
        return SS_NO_MEMORY;
    ranges->count = count;
    ranges->bucket_shift = 64 - bits;
    ranges->starts = malloc(count * sizeof *ranges->starts);
    ranges->shards = malloc(count * sizeof *ranges->shards);
    ranges->first = malloc((((size_t)1 << bits) + 1) * sizeof *ranges->first);
    if (ranges->starts == NULL || ranges->shards == NULL || ranges->first == NULL) {
        ss_ranges_free(ranges);
        return SS_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        ranges->starts[i] = sorted[i].start;
        ranges->shards[i] = sorted[i].shard;
    }
    fill_buckets(ranges, bits);
    *out = ranges;
    return SS_OK;
}

ss_status ss_ranges_create(const ss_hash_key *starts, const ss_hash_key *ends, const uint32_t *shards, size_t count,
                           ss_ranges **out)
{
    if (count == 0 || count > COUNT_MAX)
        return SS_INVALID;
    range *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL)
        return SS_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        sorted[i] = (range){.start = starts[i], .end = ends[i], .shard = shards[i]};
    qsort(sorted, count, sizeof *sorted, compare_starts);
    const ss_status status = ranges_tile(sorted, count) ? build(sorted, count, out) : SS_INVALID;
    free(sorted);
    return status;
}

void ss_ranges_free(ss_ranges *ranges)
{
    if (ranges == NULL)
        return;
    free(ranges->first);
    free(ranges->shards);
    free(ranges->starts);
    free(ranges);
}

static inline uint32_t route(const ss_ranges *ranges, ss_hash_key key)
{
    const size_t bucket = key.hi >> ranges->bucket_shift;
    size_t low = ranges->first[bucket], high = ranges->first[bucket + 1];
    while (low < high) { /* the last range that starts at or below the key */
        const size_t middle = high - (high - low) / 2;
        if (at_most(ranges->starts[middle], key))
            low = middle;
        else
            high = middle - 1;
    }
    return ranges->shards[low];
}

uint32_t ss_ranges_route(const ss_ranges *ranges, ss_hash_key key)
{
    return ranges->count == 1 ? ranges->shards[0] : route(ranges, key);
}

static inline ss_hash_key key_of_digest(const uint8_t digest[16])
{
    uint64_t words[2];
    memcpy(words, digest, sizeof words);
    return (ss_hash_key){.hi = __builtin_bswap64(words[0]), .lo = __builtin_bswap64(words[1])};
}

ss_hash_key ss_ranges_hash(const void *key, size_t size)
{
    uint8_t digest[16];
    ss_md5(key, size, digest);
    return key_of_digest(digest);
}

void ss_ranges_route_keys(const ss_ranges *ranges, const uint8_t *const *keys, const size_t *key_sizes, size_t count,
                          uint32_t *shards_out)
{
    if (ranges->count == 1) {
        for (size_t i = 0; i < count; i++)
            shards_out[i] = ranges->shards[0];
        return;
    }
    uint8_t digests[CHUNK_KEYS][16];
    for (size_t done = 0; done < count;) {
        const size_t chunk = count - done < CHUNK_KEYS ? count - done : CHUNK_KEYS;
        ss_md5_many(keys + done, key_sizes + done, chunk, digests);
        for (size_t i = 0; i < chunk; i++)
            shards_out[done + i] = route(ranges, key_of_digest(digests[i]));
        done += chunk;
    }
}
