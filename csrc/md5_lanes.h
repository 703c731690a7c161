/* MD5 of one block in each lane of two vectors; md5.c includes this once for each instruction set.
 * No include guard, on purpose. Two vectors, because a step waits for the one before it: the second fills the gaps.
 * Expects, and undefines again:
 *   SS_MD5_NAME(x)              the name x of this instantiation
 *   SS_MD5_TARGET               the attribute that enables the instructions, or nothing
 *   SS_MD5_LANES                32-bit lanes in a vector: 4, 8 or 16
 *   SS_MD5_LOW32 ... HIGH64     index lists that interleave two vectors within each 128 bits
 *   SS_MD5_LOAD(p)              16 bytes at p, at p + 4 blocks, and so on, as one vector
 *   SS_MD5_F, _G, _H, _I        the round functions
 *
 * Turning rows (blocks of one input) into columns (word w of every input) goes four by four, in each 128 bits on its
 * own: vector r holds quarter q of rows r, r + 4, r + 8 ...; after two rounds of interleaving, lane l is row l. */

typedef uint32_t SS_MD5_NAME(vector) __attribute__((vector_size(SS_MD5_LANES * 4)));

enum { SS_MD5_NAME(GROUP) = 2 * SS_MD5_LANES };

SS_MD5_TARGET __attribute__((always_inline)) static inline void SS_MD5_NAME(transpose)(SS_MD5_NAME(vector) v[4])
{
    SS_MD5_NAME(vector) low01 = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), v[0], v[1], SS_MD5_LOW32);
    SS_MD5_NAME(vector) low23 = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), v[2], v[3], SS_MD5_LOW32);
    SS_MD5_NAME(vector) high01 = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), v[0], v[1], SS_MD5_HIGH32);
    SS_MD5_NAME(vector) high23 = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), v[2], v[3], SS_MD5_HIGH32);
    v[0] = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), low01, low23, SS_MD5_LOW64);
    v[1] = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), low01, low23, SS_MD5_HIGH64);
    v[2] = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), high01, high23, SS_MD5_LOW64);
    v[3] = SS_MD5_SHUFFLE(SS_MD5_NAME(vector), high01, high23, SS_MD5_HIGH64);
}

SS_MD5_TARGET __attribute__((always_inline)) static inline void SS_MD5_NAME(columns)(SS_MD5_NAME(vector) columns[16],
                                                                                     const uint8_t (*rows)[BLOCK_SIZE])
{
    for (size_t quarter = 0; quarter < 4; quarter++) {
        SS_MD5_NAME(vector) v[4];
#pragma GCC unroll 4
        for (size_t row = 0; row < 4; row++)
            v[row] = SS_MD5_LOAD(rows[row] + quarter * 16);
        SS_MD5_NAME(transpose)(v);
        memcpy(&columns[quarter * 4], v, sizeof v);
    }
}

SS_MD5_TARGET __attribute__((always_inline)) static inline void
SS_MD5_NAME(store)(SS_MD5_NAME(vector) a, SS_MD5_NAME(vector) b, SS_MD5_NAME(vector) c, SS_MD5_NAME(vector) d,
                   uint8_t (*digests)[16])
{
    SS_MD5_NAME(vector) v[4] = {a + STATE_A, b + STATE_B, c + STATE_C, d + STATE_D};
    SS_MD5_NAME(transpose)(v);
#pragma GCC unroll 4
    for (size_t row = 0; row < 4; row++)
#pragma GCC unroll 4
        for (size_t part = 0; part < SS_MD5_LANES / 4; part++)
            memcpy(digests[row + part * 4], (const uint8_t *)&v[row] + part * 16, 16);
}

#define SS_MD5_STEP_HALF(f, a, b, c, d, words, shift, constant) \
    a += (words) + (constant) + SS_MD5_##f(b, c, d); \
    a = (a << (shift) | a >> (32 - (shift))) + b;
#define SS_MD5_STEP(f, a, b, c, d, word, shift, constant) \
    SS_MD5_STEP_HALF(f, a##0, b##0, c##0, d##0, columns0[word], shift, constant) \
    SS_MD5_STEP_HALF(f, a##1, b##1, c##1, d##1, columns1[word], shift, constant)

/* The digests of 2 * SS_MD5_LANES padded blocks. */
SS_MD5_TARGET static void SS_MD5_NAME(group)(const uint8_t (*rows)[BLOCK_SIZE], uint8_t (*digests)[16])
{
    SS_MD5_NAME(vector) columns0[16], columns1[16];
    SS_MD5_NAME(columns)(columns0, rows);
    SS_MD5_NAME(columns)(columns1, rows + SS_MD5_LANES);
    const SS_MD5_NAME(vector) zero = {0};
    SS_MD5_NAME(vector) a0 = zero + STATE_A, b0 = zero + STATE_B, c0 = zero + STATE_C, d0 = zero + STATE_D;
    SS_MD5_NAME(vector) a1 = a0, b1 = b0, c1 = c0, d1 = d0;
    SS_MD5_STEPS(SS_MD5_STEP)
    SS_MD5_NAME(store)(a0, b0, c0, d0, digests);
    SS_MD5_NAME(store)(a1, b1, c1, d1, digests + SS_MD5_LANES);
}

#undef SS_MD5_NAME
#undef SS_MD5_TARGET
#undef SS_MD5_LANES
#undef SS_MD5_LOW32
#undef SS_MD5_HIGH32
#undef SS_MD5_LOW64
#undef SS_MD5_HIGH64
#undef SS_MD5_LOAD
#undef SS_MD5_F
#undef SS_MD5_G
#undef SS_MD5_H
#undef SS_MD5_I
#undef SS_MD5_STEP
#undef SS_MD5_STEP_HALF
