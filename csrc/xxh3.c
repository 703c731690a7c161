/* XXH3, 64 bits: deriving the secret, the tiny and the long inputs, and the choice of vector instructions. */
#include "xxh3.h"

#include <assert.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { LONG_FROM = 241, STRIPE_SIZE = 64, BLOCK_STRIPES = 16, BLOCK_SIZE = BLOCK_STRIPES * STRIPE_SIZE };
_Static_assert(BLOCK_STRIPES == (SS_XXH3_SECRET_SIZE - STRIPE_SIZE) / 8, "the secret's size fixes the block's");

#define PRIME32_1 UINT64_C(0x9E3779B1)
#define PRIME32_2 UINT64_C(0x85EBCA77)
#define PRIME32_3 UINT64_C(0xC2B2AE3D)
#define PRIME64_1 SS_XXH3_PRIME64_1
#define PRIME64_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME64_3 UINT64_C(0x165667B19E3779F9)
#define PRIME64_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME64_5 UINT64_C(0x27D4EB2F165667C5)
#define PRIME_MX2 UINT64_C(0x9FB21C651E98DF25)

/* clang-format off: rows of 16, as the specification prints them */
static const uint8_t default_secret[SS_XXH3_SECRET_SIZE] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4,
    0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e,
    0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43,
    0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb,
    0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19,
    0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7,
    0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78,
    0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16,
    0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
    0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};
/* clang-format on */

void ss_xxh3_key_init(ss_xxh3_key *key, uint64_t seed)
{
    key->seed = seed;
    for (size_t offset = 0; offset < SS_XXH3_SECRET_SIZE; offset += 16) {
        uint64_t words[2] = {ss_xxh3_load64(default_secret + offset) + seed,
                             ss_xxh3_load64(default_secret + offset + 8) - seed};
        memcpy(key->secret + offset, words, sizeof words);
    }
}

static uint32_t load32(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

/* The final mix of XXH64, which inputs of up to three bytes still use. */
static uint64_t avalanche_xxh64(uint64_t x)
{
    x = (x ^ (x >> 33)) * PRIME64_2;
    x = (x ^ (x >> 29)) * PRIME64_3;
    return x ^ (x >> 32);
}

/* Two words of the default secret, xored. */
static uint64_t secret_pair(size_t offset)
{
    return ss_xxh3_load64(default_secret + offset) ^ ss_xxh3_load64(default_secret + offset + 8);
}

static uint64_t hash_0_to_16(uint64_t seed, const uint8_t *data, size_t size)
{
    if (size > 8) {
        uint64_t low = (secret_pair(24) + seed) ^ ss_xxh3_load64(data);
        uint64_t high = (secret_pair(40) - seed) ^ ss_xxh3_load64(data + size - 8);
        return ss_xxh3_avalanche(size + __builtin_bswap64(low) + high + ss_xxh3_fold(low, high));
    }
    if (size >= 4) {
        uint64_t words = load32(data + size - 4) | (uint64_t)load32(data) << 32;
        uint64_t seed_modified = seed ^ (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
        uint64_t x = (secret_pair(8) - seed_modified) ^ words;
        x = (x ^ rotate_left(x, 49) ^ rotate_left(x, 24)) * PRIME_MX2;
        x = (x ^ ((x >> 35) + size)) * PRIME_MX2;
        return x ^ (x >> 28);
    }
    if (size > 0) {
        uint32_t words = data[size - 1] | (uint32_t)size << 8 | (uint32_t)data[0] << 16 |
                         (uint32_t)data[size >> 1] << 24;
        uint64_t secret = load32(default_secret) ^ load32(default_secret + 4);
        return avalanche_xxh64((secret + seed) ^ words);
    }
    return avalanche_xxh64(seed ^ secret_pair(56));
}

/* A mixing step at an offset of the secret where the derived secret is of no use. */
static uint64_t mix_seeded(const uint8_t *data, size_t secret_offset, uint64_t seed)
{
    return ss_xxh3_fold(ss_xxh3_load64(data) ^ (ss_xxh3_load64(default_secret + secret_offset) + seed),
                        ss_xxh3_load64(data + 8) ^ (ss_xxh3_load64(default_secret + secret_offset + 8) - seed));
}

static uint64_t hash_129_to_240(const ss_xxh3_key *key, const uint8_t *data, size_t size)
{
    uint64_t sum = size * PRIME64_1;
#pragma GCC unroll 8
    for (size_t offset = 0; offset < 128; offset += 16)
        sum += ss_xxh3_mix(data + offset, key->secret + offset);
    sum = ss_xxh3_avalanche(sum);
    uint64_t rest = mix_seeded(data + size - 16, 119, key->seed);
    for (size_t offset = 128; offset + 16 <= size; offset += 16)
        rest += mix_seeded(data + offset, offset - 128 + 3, key->seed);
    return ss_xxh3_avalanche(sum + rest);
}

#if defined(__x86_64__)
#define SS_XXH3_NAME(x) sse2_##x
#define SS_XXH3_TARGET
#define SS_XXH3_LANES 2
#define SS_XXH3_SWAP(v) (sse2_vector) _mm_shuffle_epi32((__m128i)(v), 0x4E)
#define SS_XXH3_MULTIPLY(v) (sse2_vector) _mm_mul_epu32((__m128i)(v), (__m128i)((v) >> 32))
#include "xxh3_lanes.h"

#define SS_XXH3_NAME(x) avx2_##x
#define SS_XXH3_TARGET __attribute__((target("avx2")))
#define SS_XXH3_LANES 4
#define SS_XXH3_SWAP(v) (avx2_vector) _mm256_shuffle_epi32((__m256i)(v), 0x4E)
#define SS_XXH3_MULTIPLY(v) (avx2_vector) _mm256_mul_epu32((__m256i)(v), (__m256i)((v) >> 32))
#include "xxh3_lanes.h"
#elif defined(__aarch64__)
#define SS_XXH3_NAME(x) neon_##x
#define SS_XXH3_TARGET
#define SS_XXH3_LANES 2
#define SS_XXH3_SWAP(v) (neon_vector) vextq_u64((uint64x2_t)(v), (uint64x2_t)(v), 1)
#define SS_XXH3_MULTIPLY(v) (neon_vector) vmull_u32(vmovn_u64((uint64x2_t)(v)), vshrn_n_u64((uint64x2_t)(v), 32))
#include "xxh3_lanes.h"
#endif

/* For any other machine, and for the tests to hold the rest against. */
#define SS_XXH3_NAME(x) portable_##x
#define SS_XXH3_TARGET
#define SS_XXH3_LANES 2
#define SS_XXH3_SWAP(v) ((portable_vector){(v)[1], (v)[0]})
#define SS_XXH3_MULTIPLY(v) (((v) & UINT32_MAX) * ((v) >> 32))
#include "xxh3_lanes.h"

bool ss_xxh3_path_runs(ss_xxh3_path path)
{
    switch (path) {
    case SS_XXH3_PORTABLE:
        return true;
#if defined(__x86_64__)
    case SS_XXH3_SSE2:
        return true;
    case SS_XXH3_AVX2:
        return __builtin_cpu_supports("avx2");
#elif defined(__aarch64__)
    case SS_XXH3_NEON:
        return true;
#endif
    default:
        return false;
    }
}

static ss_xxh3_path path_best(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") ? SS_XXH3_AVX2 : SS_XXH3_SSE2;
#elif defined(__aarch64__)
    return SS_XXH3_NEON;
#else
    return SS_XXH3_PORTABLE;
#endif
}

static const uint64_t sums_at_start[8] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                                          PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};

uint64_t ss_xxh3_64_long(const ss_xxh3_key *key, const void *data, size_t size, ss_xxh3_path path)
{
    assert(size >= LONG_FROM);
    _Alignas(STRIPE_SIZE) uint64_t sums[8];
    memcpy(sums, sums_at_start, sizeof sums);
    switch (path) {
#if defined(__x86_64__)
    case SS_XXH3_SSE2:
        sse2_sum(sums, data, size, key->secret);
        break;
    case SS_XXH3_AVX2:
        avx2_sum(sums, data, size, key->secret);
        break;
#elif defined(__aarch64__)
    case SS_XXH3_NEON:
        neon_sum(sums, data, size, key->secret);
        break;
#endif
    default:
        portable_sum(sums, data, size, key->secret);
    }
    uint64_t merged = size * PRIME64_1;
    for (size_t i = 0; i < 8; i += 2)
        merged += ss_xxh3_fold(sums[i] ^ ss_xxh3_load64(key->secret + 11 + i * 8),
                               sums[i + 1] ^ ss_xxh3_load64(key->secret + 11 + i * 8 + 8));
    return ss_xxh3_avalanche(merged);
}

uint64_t ss_xxh3_64_outlined(const ss_xxh3_key *key, const void *data, size_t size)
{
    if (size >= LONG_FROM)
        return ss_xxh3_64_long(key, data, size, path_best());
    if (size > 128)
        return hash_129_to_240(key, data, size);
    assert(size <= 16);
    return hash_0_to_16(key->seed, data, size);
}

uint64_t ss_xxh3_64_seeded(const void *data, size_t size, uint64_t seed)
{
    ss_xxh3_key key;
    ss_xxh3_key_init(&key, seed);
    return ss_xxh3_64(&key, data, size);
}
