/* The long-input loop of XXH3 for one vector width; xxh3.c includes this once for each instruction set.
 * No include guard, on purpose. Expects, and undefines again:
 *   SS_XXH3_NAME(x)       the name x of this instantiation
 *   SS_XXH3_TARGET        the attribute that enables the instructions, or nothing
 *   SS_XXH3_LANES         64-bit lanes in a vector: 2 or 4 (eight, with AVX-512, measured no faster)
 *   SS_XXH3_SWAP(v)       exchanges each even lane with the odd one after it
 *   SS_XXH3_MULTIPLY(v)   in each lane, low half times high half
 * A stripe is 64 bytes, eight lanes; a block is 16 stripes, each under the secret eight bytes further on. */

typedef uint64_t SS_XXH3_NAME(vector) __attribute__((vector_size(SS_XXH3_LANES * 8)));

enum { SS_XXH3_NAME(VECTORS) = 8 / SS_XXH3_LANES };

SS_XXH3_TARGET __attribute__((always_inline)) static inline void
SS_XXH3_NAME(stripe)(SS_XXH3_NAME(vector) sums[], const uint8_t *data, const uint8_t *secret)
{
#pragma GCC unroll 8
    for (int i = 0; i < SS_XXH3_NAME(VECTORS); i++) {
        SS_XXH3_NAME(vector) words, keyed;
        memcpy(&words, data + (size_t)i * sizeof words, sizeof words);
        memcpy(&keyed, secret + (size_t)i * sizeof keyed, sizeof keyed);
        keyed ^= words;
        sums[i] += SS_XXH3_SWAP(words);
        sums[i] += SS_XXH3_MULTIPLY(keyed);
    }
}

SS_XXH3_TARGET static void SS_XXH3_NAME(sum)(uint64_t sums_io[8], const uint8_t *data, size_t size,
                                             const uint8_t *secret)
{
    SS_XXH3_NAME(vector) sums[SS_XXH3_NAME(VECTORS)];
    memcpy(sums, sums_io, sizeof sums);
    size_t left = size;
    const uint8_t *block = data;
    for (; left > BLOCK_SIZE; left -= BLOCK_SIZE, block += BLOCK_SIZE) {
#pragma GCC unroll 4
        for (size_t n = 0; n < BLOCK_STRIPES; n++)
            SS_XXH3_NAME(stripe)(sums, block + n * STRIPE_SIZE, secret + n * 8);
#pragma GCC unroll 8
        for (int i = 0; i < SS_XXH3_NAME(VECTORS); i++) {
            SS_XXH3_NAME(vector) keyed;
            memcpy(&keyed, secret + SS_XXH3_SECRET_SIZE - STRIPE_SIZE + (size_t)i * sizeof keyed, sizeof keyed);
            keyed ^= sums[i] ^ (sums[i] >> 47);
            /* times a 32-bit prime, from two 32-bit products: there is no 64-bit vector multiply */
            sums[i] = SS_XXH3_MULTIPLY((keyed << 32 >> 32) | (PRIME32_1 << 32)) +
                      (SS_XXH3_MULTIPLY((keyed >> 32) | (PRIME32_1 << 32)) << 32);
        }
    }
    for (size_t n = 0; n < (left - 1) / STRIPE_SIZE; n++)
        SS_XXH3_NAME(stripe)(sums, block + n * STRIPE_SIZE, secret + n * 8);
    SS_XXH3_NAME(stripe)(sums, data + size - STRIPE_SIZE, secret + SS_XXH3_SECRET_SIZE - STRIPE_SIZE - 7);
    memcpy(sums_io, sums, sizeof sums);
}

#undef SS_XXH3_NAME
#undef SS_XXH3_TARGET
#undef SS_XXH3_LANES
#undef SS_XXH3_SWAP
#undef SS_XXH3_MULTIPLY
