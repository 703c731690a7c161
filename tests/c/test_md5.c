/* MD5 against the vectors of RFC 1321, and the many-at-once form against the digest of each by itself. */
#include "md5.h"

#include <stdlib.h>

#include "check.h"

enum { KEYS = 200, KEY_SIZE_MAX = 300 };

static const struct {
    const char *text, *digest;
} rfc1321[] = {
    {"", "d41d8cd98f00b204e9800998ecf8427e"},
    {"a", "0cc175b9c0f1b6a831c399e269772661"},
    {"abc", "900150983cd24fb0d6963f7d28e17f72"},
    {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
    {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
    {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"},
    {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
     "57edf4a22be3c955ac49da2e2107b67a"},
};

static void digest_to_hex(const uint8_t digest[16], char hex[33])
{
    for (size_t i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void test_rfc1321_vectors(void)
{
    for (size_t i = 0; i < sizeof rfc1321 / sizeof *rfc1321; i++) {
        uint8_t digest[16];
        char hex[33];
        ss_md5(rfc1321[i].text, strlen(rfc1321[i].text), digest);
        digest_to_hex(digest, hex);
        CHECK_BYTES(hex, rfc1321[i].digest, 33);
    }
}

/* Every length around the ends of blocks: the MD5 of all their digests, made with Python's hashlib. */
static void test_every_length_to_300(void)
{
    uint8_t input[300], digests[301][16], all[16];
    char hex[33];
    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (uint8_t)(i * 7 + 3);
    for (size_t size = 0; size <= sizeof input; size++)
        ss_md5(input, size, digests[size]);
    ss_md5(digests, sizeof digests, all);
    digest_to_hex(all, hex);
    CHECK_BYTES(hex, "bbc8219ce2f09cb1b1235ce3b7ef018c", 33);
}

static uint64_t random_next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Keys on the heap, each in a block of its own size, so that a sanitizer sees a read past one. */
static void make_keys(uint8_t *keys[KEYS], size_t sizes[KEYS], size_t size_max, uint64_t seed)
{
    uint64_t random = seed;
    for (size_t i = 0; i < KEYS; i++) {
        sizes[i] = random_next(&random) % (size_max + 1);
        keys[i] = malloc(sizes[i] + (sizes[i] == 0));
        if (keys[i] == NULL)
            abort();
        for (size_t k = 0; k < sizes[i]; k++)
            keys[i][k] = (uint8_t)random_next(&random);
    }
}

static void check_many(ss_md5_path path, const uint8_t *const *keys, const size_t *sizes, size_t count)
{
    static uint8_t digests[KEYS + 1][16];
    uint8_t untouched[16];
    memset(digests, 0xA5, sizeof digests);
    memset(untouched, 0xA5, sizeof untouched);
    if (path == SS_MD5_PATHS)
        ss_md5_many(keys, sizes, count, digests);
    else
        ss_md5_many_by(path, keys, sizes, count, digests);
    for (size_t i = 0; i < count; i++) {
        uint8_t expected[16];
        ss_md5(keys[i], sizes[i], expected);
        CHECK_BYTES(digests[i], expected, 16);
    }
    CHECK_BYTES(digests[count], untouched, 16);
}

/* All counts up to KEYS, on every path of this machine, with only short keys, mixtures, and nearly only long ones. */
static void test_many_equals_one_by_one(void)
{
    const size_t size_maxes[] = {8, 55, 56, 64, KEY_SIZE_MAX};
    for (size_t m = 0; m < sizeof size_maxes / sizeof *size_maxes; m++) {
        uint8_t *keys[KEYS];
        size_t sizes[KEYS];
        make_keys(keys, sizes, size_maxes[m], m + 1);
        for (int path = SS_MD5_LANES4; path <= SS_MD5_PATHS; path++)
            for (size_t count = 0; count <= KEYS; count += count < 70 ? 1 : 13)
                if (path == SS_MD5_PATHS || ss_md5_path_runs((ss_md5_path)path))
                    check_many((ss_md5_path)path, (const uint8_t *const *)keys, sizes, count);
        for (size_t i = 0; i < KEYS; i++)
            free(keys[i]);
    }
}

/* As aggregates are hashed: many blocks each, of one size or nearly, so that lanes end together, one after the other,
 * and are taken again while others are under way. */
static void test_long_inputs_side_by_side(void)
{
    enum { INPUTS = 70, SIZE_MAX_HERE = 5000 };
    static uint8_t bytes[INPUTS][SIZE_MAX_HERE];
    const uint8_t *inputs[INPUTS];
    uint64_t random = 99;
    for (size_t i = 0; i < INPUTS; i++)
        for (size_t k = 0; k < SIZE_MAX_HERE; k++)
            bytes[i][k] = (uint8_t)random_next(&random);
    for (size_t spread = 0; spread <= SIZE_MAX_HERE; spread = spread * 5 + 1) {
        size_t sizes[INPUTS];
        for (size_t i = 0; i < INPUTS; i++) {
            inputs[i] = bytes[i];
            sizes[i] = SIZE_MAX_HERE - random_next(&random) % (spread + 1);
        }
        for (int path = SS_MD5_LANES4; path < SS_MD5_PATHS; path++)
            for (size_t count = 0; ss_md5_path_runs((ss_md5_path)path) && count <= INPUTS; count++)
                check_many((ss_md5_path)path, inputs, sizes, count);
    }
}

static void test_empty_input_may_be_null(void)
{
    const uint8_t *keys[3] = {NULL, (const uint8_t *)"a", NULL};
    const size_t sizes[3] = {0, 1, 0};
    uint8_t digests[3][16], empty[16];
    ss_md5(NULL, 0, empty);
    ss_md5_many(keys, sizes, 3, digests);
    CHECK_BYTES(digests[0], empty, 16);
    CHECK_BYTES(digests[2], empty, 16);
}

static void test_a_path_that_is_none_does_not_run(void)
{
    CHECK(ss_md5_path_runs(SS_MD5_LANES4));
    CHECK(!ss_md5_path_runs(SS_MD5_PATHS));
}

int main(void)
{
    test_rfc1321_vectors();
    test_every_length_to_300();
    test_many_equals_one_by_one();
    test_long_inputs_side_by_side();
    test_empty_input_may_be_null();
    test_a_path_that_is_none_does_not_run();
    return check_report();
}
