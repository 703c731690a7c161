/* Aggregates: a known one byte for byte, random ones both ways, and what is damaged, hostile or none at all. */
#include "aggregate.h"

#include <stdbool.h>
#include <stdlib.h>

#include "check.h"
#include "md5.h"

enum { ENTRIES_MAX = 300, KEYS = 40, MUTATIONS = 200000, TABLE_BITS = 10 };

static uint64_t state = 42;

static uint64_t random_below(uint64_t end)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % end;
}

typedef struct {
    uint32_t key_index[ENTRIES_MAX], hash_key_index[ENTRIES_MAX];
    uint32_t key_table[1 << TABLE_BITS], hash_key_table[1 << TABLE_BITS];
} tables;

static ss_aggregate_scratch scratch_in(tables *t)
{
    memset(t, 0, sizeof *t);
    return (ss_aggregate_scratch){t->key_index, t->hash_key_index, t->key_table, t->hash_key_table, TABLE_BITS};
}

static ss_entry entry_of(const char *key, const char *data)
{
    return (ss_entry){.data = (const uint8_t *)data,
                      .data_size = strlen(data),
                      .key = (const uint8_t *)key,
                      .key_size = (int32_t)strlen(key)};
}

/* An aggregate of its own block, so that a sanitizer sees a read past it. */
static uint8_t *make(const ss_entry *entries, size_t count, size_t *size)
{
    static tables t;
    ss_aggregate_scratch scratch = scratch_in(&t);
    ss_aggregate_plan plan;
    ss_aggregate_fit(entries, 0, count, SS_AGGREGATE_SIZE_MAX, SIZE_MAX, &scratch, &plan);
    CHECK_EQUAL(plan.count, count);
    plan.out = malloc(plan.size);
    ss_aggregate_write(entries, &plan, 1, &scratch);
    *size = plan.size;
    return plan.out;
}

/* Decode into exactly the room that the shape asks for. The number of records, or -1 for what is no aggregate. */
static long decode(const uint8_t *bytes, size_t size, ss_aggregate_record **records)
{
    ss_aggregate_shape shape;
    *records = NULL;
    if (ss_aggregate_open(bytes, size, &shape) != SS_OK)
        return -1;
    ss_aggregate_slice *keys = malloc(shape.key_count * sizeof *keys + 1);
    ss_aggregate_slice *hash_keys = malloc(shape.hash_key_count * sizeof *hash_keys + 1);
    *records = malloc(shape.record_count * sizeof **records + 1);
    ss_status status = ss_aggregate_decode(bytes, size, &shape, keys, hash_keys, *records);
    free(keys);
    free(hash_keys);
    return status == SS_OK ? (long)shape.record_count : -1;
}

static void test_a_known_aggregate(void)
{
    const ss_entry entries[] = {
        entry_of("ab", "hello"),
        {.data = (const uint8_t *)"!",
         .data_size = 1,
         .key = (const uint8_t *)"ab",
         .key_size = 2,
         .hash_key_lo = 7,
         .hash_key_present = 1},
        entry_of("c", ""),
    };
    static const uint8_t expected[] = {0xf3, 0x89, 0x9a, 0xc2, 0x0a, 2,   'a',  'b', 0x0a, 1,   'c',  0x12, 1, '7',
                                       0x1a, 9,    0x08, 0,    0x1a, 5,   'h',  'e', 'l',  'l', 'o',  0x1a, 7, 0x08,
                                       0,    0x10, 0,    0x1a, 1,    '!', 0x1a, 4,   0x08, 1,   0x1a, 0};
    size_t size;
    uint8_t *made = make(entries, 3, &size), digest[16];
    CHECK_EQUAL(size, sizeof expected + 16);
    CHECK_BYTES(made, expected, sizeof expected);
    ss_md5(expected + 4, sizeof expected - 4, digest);
    CHECK_BYTES(made + sizeof expected, digest, 16);
    free(made);
}

static void test_random_aggregates_come_back(void)
{
    static char keys[KEYS][32];
    static uint8_t data[400];
    for (size_t i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "key-%zu", i * i * i);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)random_below(256);
    for (int round = 0; round < 300; round++) {
        ss_entry entries[ENTRIES_MAX];
        size_t count = 1 + random_below(ENTRIES_MAX), size;
        for (size_t i = 0; i < count; i++) {
            entries[i] = entry_of(keys[random_below(KEYS)], "");
            entries[i].data = data;
            entries[i].data_size = random_below(sizeof data);
            entries[i].hash_key_present = random_below(3) == 0;
            entries[i].hash_key_hi = random_below(2) ? random_below(5) : UINT64_MAX;
            entries[i].hash_key_lo = random_below(5);
        }
        uint8_t *made = make(entries, count, &size);
        ss_aggregate_record *records;
        CHECK_EQUAL(decode(made, size, &records), count);
        ss_hash_key *hashes = malloc(count * sizeof *hashes);
        ss_aggregate_hashes(made, records, count, hashes);
        for (size_t i = 0; i < count; i++) {
            const ss_entry *given = &entries[i];
            const ss_aggregate_record *got = &records[i];
            CHECK_EQUAL(got->data_size, given->data_size);
            CHECK_BYTES(made + got->data_offset, given->data, given->data_size);
            CHECK_EQUAL(got->key_size, given->key_size);
            CHECK_BYTES(made + got->key_offset, given->key, (size_t)given->key_size);
            CHECK_EQUAL(got->hash_key_present, given->hash_key_present);
            ss_hash_key expected = given->hash_key_present ? (ss_hash_key){given->hash_key_hi, given->hash_key_lo}
                                                           : ss_ranges_hash(given->key, (size_t)given->key_size);
            CHECK_EQUAL(hashes[i].hi, expected.hi);
            CHECK_EQUAL(hashes[i].lo, expected.lo);
        }
        free(hashes);
        free(records);
        free(made);
    }
}

/* Cut at every size limit between one record and all: each aggregate holds what it may, and nothing is lost. */
static void test_the_limits_are_kept(void)
{
    ss_entry entries[50];
    for (size_t i = 0; i < 50; i++)
        entries[i] = entry_of(i % 3 ? "shared" : "other", &"0123456789"[i % 10]);
    for (size_t size_max = 0; size_max < 900; size_max++) {
        static tables t;
        ss_aggregate_scratch scratch = scratch_in(&t);
        size_t count_max = 1 + size_max % 20;
        for (size_t begin = 0; begin < 50;) {
            ss_aggregate_plan plan;
            uint8_t out[2000];
            ss_aggregate_record *records;
            ss_aggregate_fit(entries, begin, 50, size_max, count_max, &scratch, &plan);
            CHECK(plan.count >= 1 && plan.count <= count_max && begin + plan.count <= 50);
            CHECK(plan.count == 1 || plan.size <= size_max);
            plan.out = out;
            ss_aggregate_write(entries, &plan, 1, &scratch);
            CHECK_EQUAL(decode(out, plan.size, &records), plan.count);
            for (size_t i = 0; records != NULL && i < plan.count; i++)
                CHECK_BYTES(out + records[i].data_offset, entries[begin + i].data, entries[begin + i].data_size);
            free(records);
            if (plan.count < count_max && begin + plan.count < 50) { /* one more would not have gone in */
                ss_aggregate_plan more;
                ss_aggregate_fit(entries, begin, begin + plan.count + 1, SIZE_MAX, SIZE_MAX, &scratch, &more);
                CHECK(more.size > size_max);
            }
            begin += plan.count;
        }
    }
}

/* Several at a time, with gaps among them: each as it is by itself, and nothing is written for the gaps. */
static void test_several_are_written_as_each_by_itself(void)
{
    enum { PLANS = 75, EACH = 4 };
    static uint8_t together[PLANS][200], alone[200];
    ss_entry entries[PLANS * EACH];
    ss_aggregate_plan plans[PLANS];
    static tables t;
    ss_aggregate_scratch scratch = scratch_in(&t);
    for (size_t i = 0; i < PLANS * EACH; i++)
        entries[i] = entry_of(i % 3 ? "shared" : "other", &"0123456789012345678901234567890123456789"[i % 40]);
    for (size_t i = 0; i < PLANS; i++) {
        ss_aggregate_fit(entries, i * EACH, PLANS * EACH, SIZE_MAX, EACH, &scratch, &plans[i]);
        CHECK_EQUAL(plans[i].begin, i * EACH);
        CHECK(plans[i].out == NULL);
        if (i % 5 != 0)
            plans[i].out = together[i];
    }
    memset(together, 0xA5, sizeof together);
    ss_aggregate_write(entries, plans, PLANS, &scratch);
    for (size_t i = 0; i < PLANS; i++) {
        memset(alone, 0xA5, sizeof alone);
        if (plans[i].out != NULL) {
            plans[i].out = alone;
            ss_aggregate_write(entries, &plans[i], 1, &scratch);
        }
        CHECK_BYTES(together[i], alone, sizeof alone);
    }
}

/* A table that is too small forgets what it saw: the same key is written again, and every record keeps its own. */
static void test_small_tables_cost_bytes_only(void)
{
    enum { MANY = 120, SMALL_BITS = 4 };
    static char keys[MANY][8];
    static tables t;
    ss_aggregate_scratch large = scratch_in(&t);
    ss_entry entries[2 * MANY];
    for (size_t i = 0; i < 2 * MANY; i++) {
        snprintf(keys[i % MANY], sizeof keys[0], "key-%zu", i % MANY);
        entries[i] = entry_of(keys[i % MANY], "data");
        entries[i].hash_key_present = 1;
        entries[i].hash_key_hi = i % 3;
        entries[i].hash_key_lo = i % MANY;
    }
    ss_aggregate_plan plan, least;
    ss_aggregate_fit(entries, 0, 2 * MANY, SS_AGGREGATE_SIZE_MAX, SIZE_MAX, &large, &least);
    ss_aggregate_scratch small = scratch_in(&t);
    small.bits = SMALL_BITS;
    ss_aggregate_fit(entries, 0, 2 * MANY, SS_AGGREGATE_SIZE_MAX, SIZE_MAX, &small, &plan);
    CHECK_EQUAL(plan.count, 2 * MANY);
    CHECK(plan.size > least.size);
    plan.out = malloc(plan.size);
    ss_aggregate_write(entries, &plan, 1, &small);
    ss_aggregate_record *records;
    CHECK_EQUAL(decode(plan.out, plan.size, &records), 2 * MANY);
    for (size_t i = 0; records != NULL && i < 2 * MANY; i++) {
        CHECK_EQUAL(records[i].key_size, entries[i].key_size);
        CHECK_BYTES(plan.out + records[i].key_offset, entries[i].key, (size_t)entries[i].key_size);
        CHECK_EQUAL(records[i].hash_key.hi, i % 3);
        CHECK_EQUAL(records[i].hash_key.lo, i % MANY);
    }
    free(records);
    free(plan.out);
}

/* One record goes by itself, whatever the limits are. */
static void test_none_at_a_time_is_one_at_a_time(void)
{
    static tables t;
    const ss_entry entries[] = {entry_of("k", "one"), entry_of("k", "two")};
    for (size_t begin = 0; begin < 2; begin++) {
        ss_aggregate_scratch scratch = scratch_in(&t);
        ss_aggregate_plan plan;
        ss_aggregate_fit(entries, begin, 2, SS_AGGREGATE_SIZE_MAX, 0, &scratch, &plan);
        CHECK_EQUAL(plan.begin, begin);
        CHECK_EQUAL(plan.count, 1);
    }
}

/* Tables are at most half full: of what goes into one aggregate, or of what there is. */
static void test_tables_have_room(void)
{
    CHECK_EQUAL(ss_aggregate_table_bits(0, 0, 1), 4);
    CHECK_EQUAL(ss_aggregate_table_bits(100, SS_AGGREGATE_SIZE_MAX, SIZE_MAX), 8);
    CHECK_EQUAL(ss_aggregate_table_bits(100000, SS_AGGREGATE_SIZE_MAX, SIZE_MAX), 18);
    CHECK_EQUAL(ss_aggregate_table_bits(100000, SS_AGGREGATE_SIZE_MAX, 100), 8);
    CHECK_EQUAL(ss_aggregate_table_bits(100000, 51200, SIZE_MAX), 14); /* 51,200 / 9 */
}

/* The message in an aggregate whose digest is right, in a block of its own. */
static uint8_t *around(const uint8_t *message, size_t message_size, size_t *size)
{
    *size = message_size + SS_AGGREGATE_OVERHEAD;
    uint8_t *out = malloc(*size);
    memcpy(out, "\xf3\x89\x9a\xc2", 4);
    memcpy(out + 4, message, message_size);
    ss_md5(message, message_size, out + 4 + message_size);
    return out;
}

static long decode_message(const uint8_t *message, size_t message_size)
{
    size_t size;
    ss_aggregate_record *records;
    uint8_t *whole = around(message, message_size, &size);
    long count = decode(whole, size, &records);
    free(records);
    free(whole);
    return count;
}

/* Decoding looks at the bytes a second time: where they are not those that the shape was found in, it stays within the
 * room that the shape asked for, and says that this is no aggregate. */
static void test_the_shape_of_other_bytes(void)
{
    static const uint8_t opened[] = {0x0a, 1, 'k', 0x12, 1, '7', 0x1a, 6, 0x08, 0, 0x10, 0, 0x1a, 0};
    static const uint8_t changed[][sizeof opened] = {
        {0x0a, 1, 'k', 0x0a, 1, 'l', 0x1a, 6, 0x08, 1, 0x10, 0, 0x1a, 0},  /* a key more, used */
        {0x12, 1, '7', 0x12, 1, '8', 0x0a, 1, 'k', 0x0a, 0, 0x0a, 1, 'k'}, /* tables alone */
        {0x0a, 1, 'k', 0x12, 1, '7', 0x12, 6, 0x08, 0, 0x10, 0, 0x1a, 0},  /* a hash key in the record's place */
        {0x0a, 1, 'k', 0x12, 1, '7', 0x1a, 7, 0x08, 0, 0x10, 0, 0x1a, 0},  /* it goes on past the end */
        {0x0a, 1, 'k', 0x12, 1, '7', 0x1a, 6, 0x08, 0, 0x10, 1, 0x1a, 0},  /* no such hash key */
    };
    ss_aggregate_shape shape;
    size_t size;
    uint8_t *whole = around(opened, sizeof opened, &size);
    CHECK_EQUAL(ss_aggregate_open(whole, size, &shape), SS_OK);
    for (size_t i = 0; i <= sizeof changed / sizeof *changed; i++) {
        ss_aggregate_slice *keys = malloc(sizeof *keys), *hash_keys = malloc(sizeof *keys);
        ss_aggregate_record *records = malloc(sizeof *records);
        ss_status status = ss_aggregate_decode(whole, size, &shape, keys, hash_keys, records);
        CHECK_EQUAL(status, i == 0 ? SS_OK : SS_NOT_FOUND);
        if (i < sizeof changed / sizeof *changed)
            memcpy(whole + 4, changed[i], sizeof opened);
        free(keys);
        free(hash_keys);
        free(records);
    }
    free(whole);
}

#define MESSAGE(...) decode_message((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_messages_with_a_right_digest(void)
{
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 4, 0x08, 0, 0x1a, 0), 1);
    CHECK_EQUAL(MESSAGE(0x1a, 4, 0x08, 0, 0x1a, 0, 0x0a, 1, 'k'), 1);                   /* the table comes last */
    CHECK_EQUAL(MESSAGE(0x0a, 0, 0x1a, 4, 0x08, 0, 0x1a, 0), 1);                        /* an empty key */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 6, 0x08, 9, 0x08, 0, 0x1a, 0), 1);          /* the last index counts */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 8, 0x08, 0, 0x1a, 0, 0x22, 2, 0x0a, 0), 1); /* a tag */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x7d, 1, 2, 3, 4, 0x1a, 4, 0x08, 0, 0x1a, 0), 1); /* a field nobody knows */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 4, 0x08, 1, 0x1a, 0), -1);                  /* no such key */
    CHECK_EQUAL(MESSAGE(0x1a, 4, 0x08, 0, 0x1a, 0), -1);
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 2, 0x1a, 0), -1);                   /* no key */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 2, 0x08, 0), -1);                   /* no data */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 6, 0x08, 0, 0x10, 0, 0x1a, 0), -1); /* no such hash key */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x12, 1, '7', 0x1a, 6, 0x08, 0, 0x10, 0, 0x1a, 0), 1);
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x12, 1, '-', 0x1a, 6, 0x08, 0, 0x10, 0, 0x1a, 0), -1);
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x12, 0, 0x1a, 6, 0x08, 0, 0x10, 0, 0x1a, 0), -1);
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k'), -1);                            /* no record at all */
    CHECK_EQUAL(MESSAGE(0x0a, 9, 'k', 0x1a, 4, 0x08, 0, 0x1a, 0), -1); /* a length past the end */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 4, 0x08, 0, 0x1a, 1), -1);
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 4, 0x08, 0, 0x1a, 0, 0x0b), -1);    /* a group */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 4, 0x08, 0, 0x1a, 0, 0x02, 0), -1); /* field 0 */
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 4, 0x08, 0, 0x1a, 0, 0x79, 0), -1); /* 8 bytes that are not there */
    CHECK_EQUAL(MESSAGE(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x1a, 0), -1);
    CHECK_EQUAL(MESSAGE(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), -1);
    CHECK_EQUAL(MESSAGE(0x0a, 1, 'k', 0x1a, 0x85), -1); /* a length that ends in the middle */
}

static void test_hash_keys_at_their_limit(void)
{
    static const char *const digits[] = {
        "340282366920938463463374607431768211455", "340282366920938463463374607431768211456",
        "3402823669209384634633746074317682114550", "0000000000000000000000000000000000000000000007"};
    static const long expected[] = {1, -1, -1, 1};
    for (size_t i = 0; i < 4; i++) {
        uint8_t message[200] = {0x0a, 1, 'k', 0x12};
        size_t size = strlen(digits[i]), at = 5 + size;
        message[4] = (uint8_t)size;
        memcpy(message + 5, digits[i], size);
        memcpy(message + at, "\x1a\x06\x08\x00\x10\x00\x1a\x00", 8);
        CHECK_EQUAL(decode_message(message, at + 8), expected[i]);
    }
}

static void test_what_is_no_aggregate(void)
{
    ss_aggregate_shape shape;
    ss_entry entries[2] = {entry_of("k", "one"), entry_of("k", "two")};
    size_t size;
    uint8_t *made = make(entries, 2, &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, made, cut);
        CHECK_EQUAL(ss_aggregate_open(copy, cut, &shape), SS_NOT_FOUND);
        free(copy);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        made[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQUAL(ss_aggregate_open(made, size, &shape), SS_NOT_FOUND);
        made[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(made);
    uint8_t *large = calloc(1, SS_AGGREGATE_SIZE_MAX + 1);
    memcpy(large, "\xf3\x89\x9a\xc2", 4);
    CHECK_EQUAL(ss_aggregate_open(large, SS_AGGREGATE_SIZE_MAX + 1, &shape), SS_NOT_FOUND);
    free(large);
}

/* Messages that were bitten into and given a right digest again: whatever is decoded lies within the aggregate. */
static void test_mutated_messages(void)
{
    ss_entry entries[6] = {entry_of("user-1", "some data"),  entry_of("user-2", ""),
                           entry_of("user-1", "more"),       entry_of("x", "y"),
                           entry_of("user-3", "0123456789"), entry_of("x", "z")};
    entries[1].hash_key_present = entries[3].hash_key_present = 1;
    entries[3].hash_key_hi = UINT64_MAX;
    size_t size, message_size;
    uint8_t *made = make(entries, 6, &size);
    long taken = 0, refused = 0;
    message_size = size - SS_AGGREGATE_OVERHEAD;
    for (int round = 0; round < MUTATIONS; round++) {
        uint8_t message[400];
        memcpy(message, made + 4, message_size);
        size_t kept = random_below(8) ? message_size : random_below(message_size + 1);
        for (uint64_t change = 0, changes = 1 + random_below(4); change < changes; change++)
            message[random_below(message_size)] = random_below(2) ? (uint8_t)random_below(256)
                                                                  : (uint8_t)(random_below(5) << 3 | random_below(6));
        size_t whole_size;
        uint8_t *whole = around(message, kept, &whole_size);
        ss_aggregate_record *records;
        long count = decode(whole, whole_size, &records);
        taken += count > 0;
        refused += count < 0;
        for (long i = 0; i < count; i++) {
            CHECK(records[i].data_offset >= 4 && records[i].data_size <= whole_size - 16 - records[i].data_offset);
            CHECK(records[i].key_offset >= 4 && records[i].key_size <= whole_size - 16 - records[i].key_offset);
        }
        if (count > 0) { /* reads every key */
            ss_hash_key *hashes = malloc((size_t)count * sizeof *hashes);
            ss_aggregate_hashes(whole, records, (size_t)count, hashes);
            free(hashes);
        }
        free(records);
        free(whole);
    }
    CHECK(taken > MUTATIONS / 20 && refused > MUTATIONS / 20);
    free(made);
}

int main(void)
{
    test_a_known_aggregate();
    test_random_aggregates_come_back();
    test_the_limits_are_kept();
    test_several_are_written_as_each_by_itself();
    test_small_tables_cost_bytes_only();
    test_none_at_a_time_is_one_at_a_time();
    test_tables_have_room();
    test_the_shape_of_other_bytes();
    test_messages_with_a_right_digest();
    test_hash_keys_at_their_limit();
    test_what_is_no_aggregate();
    test_mutated_messages();
    return check_report();
}
