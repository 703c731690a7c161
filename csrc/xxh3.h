/* XXH3, 64 bits, seeded, one shot: the checksum of frames and headers.
 * Written from the published xxHash specification. Knows bytes only: no files, no frames, no status codes. */
#ifndef STREAMSTORE_XXH3_H
#define STREAMSTORE_XXH3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie in memory");

enum { SS_XXH3_SECRET_SIZE = 192 };

/* A seed with the secret derived from it: the even 64-bit words of the default secret plus the seed, the odd ones
 * minus it. Immutable once made, so any number of threads may share one. */
typedef struct {
    uint64_t seed;
    uint8_t secret[SS_XXH3_SECRET_SIZE];
} ss_xxh3_key;

void ss_xxh3_key_init(ss_xxh3_key *key, uint64_t seed);

/* Sizes 0..16 and 129 on: what is not worth inlining. Callers use ss_xxh3_64. */
uint64_t ss_xxh3_64_outlined(const ss_xxh3_key *key, const void *data, size_t size);

/* The ways to sum inputs of more than 240 bytes. All give the same hash; the best the processor has is taken unasked.
 * Public for the tests, which run each that runs here. */
typedef enum { SS_XXH3_PORTABLE, SS_XXH3_SSE2, SS_XXH3_AVX2, SS_XXH3_NEON, SS_XXH3_PATHS } ss_xxh3_path;

bool ss_xxh3_path_runs(ss_xxh3_path path);
uint64_t ss_xxh3_64_long(const ss_xxh3_key *key, const void *data, size_t size, ss_xxh3_path path);

#define SS_XXH3_PRIME64_1 UINT64_C(0x9E3779B185EBCA87)
#define SS_XXH3_PRIME_MX1 UINT64_C(0x165667919E3779F9)

static inline uint64_t ss_xxh3_load64(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* The two halves of the 128-bit product, xored. */
static inline uint64_t ss_xxh3_fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t ss_xxh3_avalanche(uint64_t x)
{
    x = (x ^ (x >> 37)) * SS_XXH3_PRIME_MX1;
    return x ^ (x >> 32);
}

/* One mixing step under a secret that already carries the seed: the specification adds the seed to the first and
 * subtracts it from the second word of the default secret, which at multiples of 16 is what deriving the secret did. */
static inline uint64_t ss_xxh3_mix(const uint8_t *data, const uint8_t *secret)
{
    return ss_xxh3_fold(ss_xxh3_load64(data) ^ ss_xxh3_load64(secret),
                        ss_xxh3_load64(data + 8) ^ ss_xxh3_load64(secret + 8));
}

/* Chunk `pair` from the front and its partner from the back. */
static inline uint64_t ss_xxh3_mix_pair(const ss_xxh3_key *key, const uint8_t *data, size_t size, size_t pair)
{
    return ss_xxh3_mix(data + pair * 16, key->secret + pair * 32) +
           ss_xxh3_mix(data + size - pair * 16 - 16, key->secret + pair * 32 + 16);
}

/* The XXH3-64 of size bytes at data (which may be NULL when size is 0). Inline for 17..128 bytes: every frame header
 * and most small records; a size known to the compiler leaves straight-line code. */
static inline uint64_t ss_xxh3_64(const ss_xxh3_key *key, const void *data, size_t size)
{
    if (size - 17 > 128 - 17)
        return ss_xxh3_64_outlined(key, data, size);
    const uint8_t *bytes = data;
    uint64_t sum = size * SS_XXH3_PRIME64_1 + ss_xxh3_mix_pair(key, bytes, size, 0);
    if (size > 32)
        sum += ss_xxh3_mix_pair(key, bytes, size, 1);
    if (size > 64)
        sum += ss_xxh3_mix_pair(key, bytes, size, 2);
    if (size > 96)
        sum += ss_xxh3_mix_pair(key, bytes, size, 3);
    return ss_xxh3_avalanche(sum);
}

/* The same for a seed used once; deriving the secret costs about as much as hashing 100 bytes. */
uint64_t ss_xxh3_64_seeded(const void *data, size_t size, uint64_t seed);

#endif
