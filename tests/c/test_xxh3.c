/* XXH3-64 against values made with the xxhash package from PyPI: every length from 0 to 1100 under four seeds, folded
 * into one number for each class of lengths, and single vectors that say at which length something broke. */
#include "xxh3.h"

#include <stdlib.h>

#include "check.h"

enum { INPUT_SIZE = 5000 };

/* chains[k] folds the lengths bounds[k] .. bounds[k + 1] - 1: chain = chain * 0x100000001b3 ^ hash. */
static const size_t bounds[] = {0, 1, 4, 9, 17, 129, 241, 1025, 1101};

static const struct {
    uint64_t seed;
    uint64_t chains[8];
} chained[] = {
    {UINT64_C(0x0000000000000000),
     {UINT64_C(0x2d06800538d394c2), UINT64_C(0xece0434cde27d6ec), UINT64_C(0xb731ce22e0a9bea4),
      UINT64_C(0xe779d30a61be8953), UINT64_C(0x1c8bc8aabbd5df1b), UINT64_C(0x6bf7e384334dcb6e),
      UINT64_C(0xded7b3e525530fed), UINT64_C(0xdf770c4795c06a1f)}},
    {UINT64_C(0x0000000000000001),
     {UINT64_C(0x4dc5b0cc826f6703), UINT64_C(0x40151e6a99fe07c5), UINT64_C(0x2fde692cf8d78dde),
      UINT64_C(0x3578a9840ae3093f), UINT64_C(0xa4d6219d3bc6f69a), UINT64_C(0xd9d7511ed10eb068),
      UINT64_C(0xe494ef828828bbbb), UINT64_C(0x8005342c83f9f4f1)}},
    {UINT64_C(0x9e3779b97f4a7c15),
     {UINT64_C(0x602b0e2cd6662c8b), UINT64_C(0x1c7c5c093efcf0ae), UINT64_C(0xb04dc8d5143257f2),
      UINT64_C(0xe132638594c5e9d4), UINT64_C(0x8c6a8af520ecf463), UINT64_C(0xdbb40e7ba5b4f9e0),
      UINT64_C(0x56f9633585bc6894), UINT64_C(0xcec1d2e5236650d8)}},
    {UINT64_C(0xffffffffffffffff),
     {UINT64_C(0x4c093276ae47a555), UINT64_C(0x2cab0b106f59d014), UINT64_C(0x2f6b6bfc32c96a45),
      UINT64_C(0xc31654bb19b16816), UINT64_C(0x3bb2548037706ff3), UINT64_C(0x32f12d87bf710fad),
      UINT64_C(0x43f6da0c6784ba4c), UINT64_C(0xeb70d646018d8434)}},
};

static const struct {
    size_t size;
    uint64_t seed, hash;
} vectors[] = {
    {0, UINT64_C(0x0000000000000000), UINT64_C(0x2d06800538d394c2)},
    {1, UINT64_C(0x0000000000000001), UINT64_C(0xf88eb87dfef3b506)},
    {2, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0x181e20777aab1c20)},
    {3, UINT64_C(0x0000000000000000), UINT64_C(0xe92112d1e602af4a)},
    {4, UINT64_C(0x0000000000000001), UINT64_C(0xe9f0a41ee7a7dd4d)},
    {7, UINT64_C(0x0000000000000001), UINT64_C(0x83860c95212335eb)},
    {8, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0x43e370b97e6af1d1)},
    {9, UINT64_C(0x0000000000000000), UINT64_C(0x568f9d2e69ad8bd0)},
    {15, UINT64_C(0x0000000000000000), UINT64_C(0xf79a07c55bebf28a)},
    {16, UINT64_C(0x0000000000000001), UINT64_C(0xa1480dff4484bbee)},
    {17, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xb60e28c96a0d8c66)},
    {31, UINT64_C(0x0000000000000001), UINT64_C(0x9323edb2696746ba)},
    {32, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xa39249db9ed63ef9)},
    {33, UINT64_C(0x0000000000000000), UINT64_C(0xe2f96cd271e72881)},
    {40, UINT64_C(0x0000000000000001), UINT64_C(0x672a0f4bfa870254)},
    {64, UINT64_C(0x0000000000000001), UINT64_C(0xdf8bb7d6dc7416c7)},
    {65, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xa32b491cea9e8bd4)},
    {96, UINT64_C(0x0000000000000000), UINT64_C(0xbf9a1938301428ca)},
    {97, UINT64_C(0x0000000000000001), UINT64_C(0xa6b17b07b75fbba7)},
    {127, UINT64_C(0x0000000000000001), UINT64_C(0x9dac51d2612bfc2f)},
    {128, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xaac125a230b36a17)},
    {129, UINT64_C(0x0000000000000000), UINT64_C(0x55964eec39625032)},
    {130, UINT64_C(0x0000000000000001), UINT64_C(0x880ae79a7ecbb5a8)},
    {159, UINT64_C(0x0000000000000000), UINT64_C(0xb4cd62114f1f4b33)},
    {160, UINT64_C(0x0000000000000001), UINT64_C(0xd7770cab59ba79cd)},
    {239, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xbea2ce5683bec300)},
    {240, UINT64_C(0x0000000000000000), UINT64_C(0x977b659bdc81fdb1)},
    {241, UINT64_C(0x0000000000000001), UINT64_C(0x4c191d5e83d8c9d2)},
    {242, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xcb6876daed8573f9)},
    {256, UINT64_C(0x0000000000000001), UINT64_C(0x9b38d49c45de885c)},
    {300, UINT64_C(0x0000000000000000), UINT64_C(0x23ff79fdc9ad926b)},
    {1023, UINT64_C(0x0000000000000000), UINT64_C(0x296b8bdbd696752e)},
    {1024, UINT64_C(0x0000000000000001), UINT64_C(0xcfe42e77db529545)},
    {1025, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xf2a1f50896e5dfd5)},
    {1088, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xa511641a788293fe)},
    {2048, UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0x450bebcd6316a41f)},
    {2049, UINT64_C(0x0000000000000000), UINT64_C(0x35fa9759e87c7270)},
    {4096, UINT64_C(0x0000000000000001), UINT64_C(0x602939201865cdca)},
    {4999, UINT64_C(0x0000000000000001), UINT64_C(0xd51116a2d959956a)},
};

/* The top bytes of a linear congruential sequence. */
static void fill_input(uint8_t input[INPUT_SIZE])
{
    uint64_t x = 1;
    for (size_t i = 0; i < INPUT_SIZE; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        input[i] = (uint8_t)(x >> 56);
    }
}

static void test_every_length(const uint8_t *input)
{
    for (size_t s = 0; s < sizeof chained / sizeof *chained; s++) {
        ss_xxh3_key key;
        ss_xxh3_key_init(&key, chained[s].seed);
        for (size_t k = 0; k + 1 < sizeof bounds / sizeof *bounds; k++) {
            uint64_t chain = 0;
            for (size_t size = bounds[k]; size < bounds[k + 1]; size++)
                chain = chain * UINT64_C(0x100000001b3) ^ ss_xxh3_64(&key, input, size);
            CHECK_EQUAL(chain, chained[s].chains[k]);
        }
    }
}

static void test_single_vectors(const uint8_t *input)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        ss_xxh3_key key;
        ss_xxh3_key_init(&key, vectors[i].seed);
        CHECK_EQUAL(ss_xxh3_64(&key, input, vectors[i].size), vectors[i].hash);
        CHECK_EQUAL(ss_xxh3_64_seeded(input, vectors[i].size, vectors[i].seed), vectors[i].hash);
    }
}

/* Inputs at every alignment, in a heap block that ends where they end, so that a sanitizer sees a read past it. */
static void test_alignment_and_bounds(const uint8_t *input)
{
    ss_xxh3_key key;
    ss_xxh3_key_init(&key, 7);
    for (size_t size = 0; size < 600; size++) {
        const uint64_t expected = ss_xxh3_64(&key, input, size);
        for (size_t shift = 0; shift < 9; shift++) {
            uint8_t *block = malloc(shift + size + (shift + size == 0));
            if (block == NULL)
                abort();
            memcpy(block + shift, input, size);
            CHECK_EQUAL(ss_xxh3_64(&key, block + shift, size), expected);
            free(block);
        }
    }
}

static void test_every_path(const uint8_t *input)
{
    ss_xxh3_key key;
    ss_xxh3_key_init(&key, UINT64_C(0xfedcba9876543210));
    int paths = 0;
    for (int path = SS_XXH3_PORTABLE; path < SS_XXH3_PATHS; path++) {
        if (!ss_xxh3_path_runs((ss_xxh3_path)path))
            continue;
        paths++;
        for (size_t size = 241; size <= INPUT_SIZE; size += size < 2200 ? 1 : 61)
            CHECK_EQUAL(ss_xxh3_64_long(&key, input, size, (ss_xxh3_path)path), ss_xxh3_64(&key, input, size));
    }
    CHECK(ss_xxh3_path_runs(SS_XXH3_PORTABLE));
    CHECK(paths >= 1);
}

static void test_empty_input_may_be_null(void)
{
    ss_xxh3_key key;
    ss_xxh3_key_init(&key, 0);
    CHECK_EQUAL(ss_xxh3_64(&key, NULL, 0), vectors[0].hash);
}

int main(void)
{
    static uint8_t input[INPUT_SIZE];
    fill_input(input);
    test_every_length(input);
    test_single_vectors(input);
    test_alignment_and_bounds(input);
    test_every_path(input);
    test_empty_input_may_be_null();
    return check_report();
}
