/* Making an aggregate: which records fit, which keys they share, and the bytes. */
#include "aggregate.h"

#include <assert.h>
#include <string.h>

#include "md5.h"
#include "xxh3.h"

/* A tag is the field's number and its wire type: 2 is bytes with a length before them, 0 a number. */
enum { KEY_TAG = 0x0a, HASH_KEY_TAG = 0x12, RECORD_TAG = 0x1a };
enum { KEY_INDEX_TAG = 0x08, HASH_KEY_INDEX_TAG = 0x10, DATA_TAG = 0x1a };

/* The entry is the first of its aggregate with this key: the table of keys has it from there. */
#define FIRST UINT32_C(0x80000000)

/* Sharing is optional, so keys that were chosen to collide cost a few steps and some bytes, never more. */
enum { PROBES_MAX = 8 };

/* As many as the widest vectors have lanes for; of the usual size they are still in the cache when they are hashed. */
enum { DIGESTS_AT_ONCE = 32 };

/* What no entry that brings a key of its own takes less than: the key's field of 3 bytes, and a record of 6. */
enum { ENTRY_SIZE_MIN = 9 };

/* 2^128 - 1 has 39 digits. */
enum { DIGITS_MAX = 39 };

static const uint8_t magic[SS_AGGREGATE_MAGIC_SIZE] = {0xf3, 0x89, 0x9a, 0xc2};

static size_t varint_size(uint64_t value)
{
    return ((size_t)(63 - __builtin_clzll(value | 1)) + 7) / 7;
}

static uint8_t *varint_write(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* The number's decimal digits at the end of `digits`; how many they are. */
static size_t decimal(uint64_t hi, uint64_t lo, uint8_t digits[DIGITS_MAX])
{
    __extension__ unsigned __int128 rest = (unsigned __int128)hi << 64 | lo;
    size_t count = 0;
    do {
        digits[DIGITS_MAX - ++count] = (uint8_t)('0' + (int)(rest % 10));
        rest /= 10;
    } while (rest != 0);
    return count;
}

/* A slot holds the number of an entry, from 1. What is at or before `begin` was left by an earlier aggregate, and is
 * as good as empty: nothing of this one was ever put behind it. */
typedef int same_function(const ss_entry *a, const ss_entry *b);

static int same_key(const ss_entry *a, const ss_entry *b)
{
    return a->key_size == b->key_size && memcmp(a->key, b->key, (size_t)a->key_size) == 0;
}

static int same_hash_key(const ss_entry *a, const ss_entry *b)
{
    return a->hash_key_hi == b->hash_key_hi && a->hash_key_lo == b->hash_key_lo;
}

/* Which entry of this aggregate had the same first: `place` itself where none did, and it is remembered. */
static size_t find(const ss_entry *entries, size_t begin, size_t place, uint32_t *table, unsigned bits, uint64_t hash,
                   same_function *same)
{
    const size_t mask = ((size_t)1 << bits) - 1;
    size_t slot = (size_t)hash & mask;
    for (int probe = 0; probe < PROBES_MAX; probe++, slot = (slot + 1) & mask) {
        size_t held = table[slot];
        if (held <= begin) {
            table[slot] = (uint32_t)place + 1;
            return place;
        }
        if (same(&entries[held - 1], &entries[place]))
            return held - 1;
    }
    return place;
}

static size_t record_size(size_t key_index, int hash_key_present, size_t hash_key_index, size_t data_size)
{
    return 1 + varint_size(key_index) + (hash_key_present ? 1 + varint_size(hash_key_index) : 0) + 1 +
           varint_size(data_size) + data_size;
}

static size_t field_size(size_t size)
{
    return 1 + varint_size(size) + size;
}

unsigned ss_aggregate_table_bits(size_t count, size_t size_max, size_t count_max)
{
    size_t most = size_max / ENTRY_SIZE_MIN + 1; /* and one that goes by itself, however long it is */
    unsigned bits = 4;
    most = most < count ? most : count;
    most = most < count_max ? most : count_max;
    while ((size_t)1 << bits < 2 * most)
        bits++;
    return bits;
}

void ss_aggregate_fit(const ss_entry *entries, size_t begin, size_t count, size_t size_max, size_t count_max,
                      ss_aggregate_scratch *scratch, ss_aggregate_plan *plan)
{
    size_t size = SS_AGGREGATE_OVERHEAD, place = begin;
    uint32_t keys = 0, hash_keys = 0;
    assert(begin < count && count < FIRST);
    for (; place < count && place - begin < count_max; place++) {
        const ss_entry *entry = &entries[place];
        assert(entry->key_size >= 0);
        size_t key_size = (size_t)entry->key_size, added = 0;
        size_t first = find(entries, begin, place, scratch->key_table, scratch->bits,
                            ss_xxh3_64_seeded(entry->key, key_size, 0), same_key);
        uint32_t key_index = first == place ? keys : scratch->key_index[first] & ~FIRST, hash_key_index = 0;
        if (first == place)
            added += field_size(key_size);
        scratch->key_index[place] = key_index | (first == place ? FIRST : 0);
        if (entry->hash_key_present) {
            uint8_t digits[DIGITS_MAX];
            uint64_t hash = (entry->hash_key_hi ^ entry->hash_key_lo) * UINT64_C(0x9e3779b97f4a7c15);
            first = find(entries, begin, place, scratch->hash_key_table, scratch->bits, hash >> 32, same_hash_key);
            hash_key_index = first == place ? hash_keys : scratch->hash_key_index[first] & ~FIRST;
            if (first == place)
                added += field_size(decimal(entry->hash_key_hi, entry->hash_key_lo, digits));
            scratch->hash_key_index[place] = hash_key_index | (first == place ? FIRST : 0);
        }
        added += field_size(record_size(key_index, entry->hash_key_present, hash_key_index, entry->data_size));
        if (place > begin && (added > size_max || size > size_max - added))
            break;
        size += added;
        keys += scratch->key_index[place] >= FIRST;
        hash_keys += entry->hash_key_present && scratch->hash_key_index[place] >= FIRST;
    }
    *plan = (ss_aggregate_plan){.begin = begin, .count = place > begin ? place - begin : 1, .size = size};
}

static uint8_t *field_write(uint8_t *out, uint8_t tag, const uint8_t *bytes, size_t size)
{
    *out++ = tag;
    out = varint_write(out, size);
    memcpy(out, bytes, size);
    return out + size;
}

static uint8_t *record_write(uint8_t *out, const ss_entry *entry, size_t key_index, size_t hash_key_index)
{
    *out++ = RECORD_TAG;
    out = varint_write(out, record_size(key_index, entry->hash_key_present, hash_key_index, entry->data_size));
    *out++ = KEY_INDEX_TAG;
    out = varint_write(out, key_index);
    if (entry->hash_key_present) {
        *out++ = HASH_KEY_INDEX_TAG;
        out = varint_write(out, hash_key_index);
    }
    *out++ = DATA_TAG;
    out = varint_write(out, entry->data_size);
    if (entry->data_size > 0) /* there may be no bytes to point at */
        memcpy(out, entry->data, entry->data_size);
    return out + entry->data_size;
}

/* All but the digest, which belongs at the place returned. */
static uint8_t *message_write(const ss_entry *entries, const ss_aggregate_plan *plan,
                              const ss_aggregate_scratch *scratch)
{
    const size_t end = plan->begin + plan->count;
    uint8_t *at = plan->out + SS_AGGREGATE_MAGIC_SIZE;
    memcpy(plan->out, magic, sizeof magic);
    for (size_t i = plan->begin; i < end; i++)
        if (scratch->key_index[i] >= FIRST)
            at = field_write(at, KEY_TAG, entries[i].key, (size_t)entries[i].key_size);
    for (size_t i = plan->begin; i < end; i++) {
        if (!entries[i].hash_key_present || scratch->hash_key_index[i] < FIRST)
            continue;
        uint8_t digits[DIGITS_MAX];
        size_t size = decimal(entries[i].hash_key_hi, entries[i].hash_key_lo, digits);
        at = field_write(at, HASH_KEY_TAG, digits + DIGITS_MAX - size, size);
    }
    for (size_t i = plan->begin; i < end; i++)
        at = record_write(at, &entries[i], scratch->key_index[i] & ~FIRST,
                          entries[i].hash_key_present ? scratch->hash_key_index[i] & ~FIRST : 0);
    assert((size_t)(at - plan->out) + SS_AGGREGATE_DIGEST_SIZE == plan->size);
    return at;
}

void ss_aggregate_write(const ss_entry *entries, const ss_aggregate_plan *plans, size_t plan_count,
                        const ss_aggregate_scratch *scratch)
{
    for (size_t next = 0; next < plan_count;) {
        const uint8_t *messages[DIGESTS_AT_ONCE];
        uint8_t *ends[DIGESTS_AT_ONCE], digests[DIGESTS_AT_ONCE][SS_AGGREGATE_DIGEST_SIZE];
        size_t sizes[DIGESTS_AT_ONCE], count = 0;
        for (; next < plan_count && count < DIGESTS_AT_ONCE; next++) {
            const ss_aggregate_plan *plan = &plans[next];
            if (plan->out == NULL)
                continue;
            messages[count] = plan->out + SS_AGGREGATE_MAGIC_SIZE;
            sizes[count] = plan->size - SS_AGGREGATE_OVERHEAD;
            ends[count++] = message_write(entries, plan, scratch);
        }
        ss_md5_many(messages, sizes, count, digests);
        for (size_t i = 0; i < count; i++)
            memcpy(ends[i], digests[i], SS_AGGREGATE_DIGEST_SIZE);
    }
}

const ss_aggregate_calls ss_aggregate_functions = {
    .open = ss_aggregate_open,
    .decode = ss_aggregate_decode,
    .hashes = ss_aggregate_hashes,
    .table_bits = ss_aggregate_table_bits,
    .fit = ss_aggregate_fit,
    .write = ss_aggregate_write,
};
