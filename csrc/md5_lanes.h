/* MD5 in the lanes of two vectors, a block of another input in each; md5.c includes this once for each instruction set.
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
_Static_assert((size_t)SS_MD5_NAME(GROUP) <= GROUP_MAX, "every lane has its place in a group");

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

/* The four words of each lane as its 16 bytes. */
SS_MD5_TARGET __attribute__((always_inline)) static inline void SS_MD5_NAME(store)(SS_MD5_NAME(vector) v[4],
                                                                                   uint8_t (*digests)[16])
{
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

/* One more block in each lane; the state of the first vector's is s[0] to s[3]. */
SS_MD5_TARGET __attribute__((always_inline)) static inline void SS_MD5_NAME(block)(SS_MD5_NAME(vector) s[8],
                                                                                   const uint8_t (*rows)[BLOCK_SIZE])
{
    SS_MD5_NAME(vector) columns0[16], columns1[16];
    SS_MD5_NAME(columns)(columns0, rows);
    SS_MD5_NAME(columns)(columns1, rows + SS_MD5_LANES);
    SS_MD5_NAME(vector) a0 = s[0], b0 = s[1], c0 = s[2], d0 = s[3];
    SS_MD5_NAME(vector) a1 = s[4], b1 = s[5], c1 = s[6], d1 = s[7];
    SS_MD5_STEPS(SS_MD5_STEP)
    s[0] += a0;
    s[1] += b0;
    s[2] += c0;
    s[3] += d0;
    s[4] += a1;
    s[5] += b1;
    s[6] += c1;
    s[7] += d1;
}

/* The digests of 2 * SS_MD5_LANES padded blocks. */
SS_MD5_TARGET static void SS_MD5_NAME(group)(const uint8_t (*rows)[BLOCK_SIZE], uint8_t (*digests)[16])
{
    const SS_MD5_NAME(vector) zero = {0};
    SS_MD5_NAME(vector)
    s[8] = {zero + STATE_A, zero + STATE_B, zero + STATE_C, zero + STATE_D,
            zero + STATE_A, zero + STATE_B, zero + STATE_C, zero + STATE_D};
    SS_MD5_NAME(block)(s, rows);
    SS_MD5_NAME(store)(s, digests);
    SS_MD5_NAME(store)(s + 4, digests + SS_MD5_LANES);
}

/* `block_count` more blocks in each of the first `lane_count` lanes, lane l's from at[l] on. */
SS_MD5_TARGET static void SS_MD5_NAME(advance)(uint32_t (*state)[GROUP_MAX], const uint8_t *const *at,
                                               size_t lane_count, size_t block_count)
{
    _Alignas(BLOCK_SIZE) uint8_t rows[SS_MD5_NAME(GROUP)][BLOCK_SIZE] = {{0}};
    SS_MD5_NAME(vector) s[8];
    for (size_t word = 0; word < 4; word++) {
        memcpy(&s[word], state[word], sizeof *s);
        memcpy(&s[word + 4], state[word] + SS_MD5_LANES, sizeof *s);
    }
    for (size_t block = 0; block < block_count; block++) {
        for (size_t lane = 0; lane < lane_count; lane++)
            memcpy(rows[lane], at[lane] + block * BLOCK_SIZE, BLOCK_SIZE);
        SS_MD5_NAME(block)(s, (const uint8_t (*)[BLOCK_SIZE])rows);
    }
    for (size_t word = 0; word < 4; word++) {
        memcpy(state[word], &s[word], sizeof *s);
        memcpy(state[word] + SS_MD5_LANES, &s[word + 4], sizeof *s);
    }
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
