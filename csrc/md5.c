/* MD5: the scalar digest, and the sharing out of many inputs over vector lanes. */
#include "md5.h"

#include <assert.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "md5_steps.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie in memory");

/* A block: the input, 0x80, zeros, and in the last eight bytes the input's size in bits. */
enum { BLOCK_SIZE = 64, LENGTH_OFFSET = BLOCK_SIZE - 8, ONE_BLOCK_MAX = LENGTH_OFFSET - 1 };
enum { GROUP_MAX = 32 };

#define STATE_A 0x67452301u
#define STATE_B 0xefcdab89u
#define STATE_C 0x98badcfeu
#define STATE_D 0x10325476u

/* G is a sum rather than an or (the two terms share no bit), so that the term without b need not wait for it. */
#define SCALAR_F(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define SCALAR_G(b, c, d) (((c) & ~(d)) + ((b) & (d)))
#define SCALAR_H(b, c, d) ((b) ^ ((c) ^ (d)))
#define SCALAR_I(b, c, d) ((c) ^ ((b) | ~(d)))
#define SCALAR_STEP(f, a, b, c, d, word, shift, constant) \
    a += block[word] + (constant) + SCALAR_##f(b, c, d); \
    a = (a << (shift) | a >> (32 - (shift))) + b;

static void scalar_blocks(uint32_t state[4], const uint8_t *data, size_t count)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (size_t i = 0; i < count; i++) {
        uint32_t block[BLOCK_SIZE / 4];
        memcpy(block, data + i * BLOCK_SIZE, BLOCK_SIZE);
        uint32_t a_before = a, b_before = b, c_before = c, d_before = d;
        SS_MD5_STEPS(SCALAR_STEP)
        a += a_before;
        b += b_before;
        c += c_before;
        d += d_before;
    }
    state[0] = a;
    state[1] = b;
    state[2] = c;
    state[3] = d;
}

/* Two copies that may overlap reach any size from n to 2n without a loop over bytes, and never read past the input. */
__attribute__((always_inline)) static inline void copy_ends(uint8_t *to, const uint8_t *from, size_t size, size_t n)
{
    memcpy(to, from, n);
    memcpy(to + size - n, from + size - n, n);
}

/* The only block of an input that fits one. */
static inline void pad_block(uint8_t block[BLOCK_SIZE], const uint8_t *data, size_t size)
{
    const uint64_t bits = (uint64_t)size * 8;
    memset(block, 0, LENGTH_OFFSET);
    memcpy(block + LENGTH_OFFSET, &bits, sizeof bits);
    if (size >= 32)
        copy_ends(block, data, size, 32);
    else if (size >= 16)
        copy_ends(block, data, size, 16);
    else if (size >= 8)
        copy_ends(block, data, size, 8);
    else if (size >= 4)
        copy_ends(block, data, size, 4);
    else if (size >= 2)
        copy_ends(block, data, size, 2);
    else if (size == 1)
        block[0] = data[0];
    block[size] = 0x80;
}

/* What is behind the last whole block of a long input, padded; how many blocks that takes. */
static size_t pad_end(uint8_t end[2 * BLOCK_SIZE], const uint8_t *data, size_t size)
{
    const size_t rest = size % BLOCK_SIZE, count = rest <= ONE_BLOCK_MAX ? 1 : 2;
    const uint64_t bits = (uint64_t)size * 8;
    memset(end, 0, 2 * BLOCK_SIZE);
    memcpy(end, data + size - rest, rest);
    end[rest] = 0x80;
    memcpy(end + count * BLOCK_SIZE - sizeof bits, &bits, sizeof bits);
    return count;
}

void ss_md5(const void *data, size_t size, uint8_t digest[16])
{
    uint32_t state[4] = {STATE_A, STATE_B, STATE_C, STATE_D};
    uint8_t end[2 * BLOCK_SIZE];
    if (size <= ONE_BLOCK_MAX) {
        pad_block(end, data, size);
        scalar_blocks(state, end, 1);
    } else {
        const size_t end_count = pad_end(end, data, size);
        scalar_blocks(state, data, size / BLOCK_SIZE);
        scalar_blocks(state, end, end_count);
    }
    memcpy(digest, state, 16);
}

#if defined(__clang__)
#define SS_MD5_SHUFFLE(vector, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SS_MD5_SHUFFLE(vector, a, b, ...) __builtin_shuffle(a, b, (vector){__VA_ARGS__})
#endif

typedef uint32_t lanes4_load_vector __attribute__((vector_size(16), aligned(1), may_alias));

/* Four lanes: any machine with 128-bit vectors, and correct on any other. */
#define SS_MD5_NAME(x) lanes4_##x
#define SS_MD5_TARGET
#define SS_MD5_LANES 4
#define SS_MD5_LOW32 0, 4, 1, 5
#define SS_MD5_HIGH32 2, 6, 3, 7
#define SS_MD5_LOW64 0, 1, 4, 5
#define SS_MD5_HIGH64 2, 3, 6, 7
#define SS_MD5_LOAD(p) *(const lanes4_load_vector *)(p)
#define SS_MD5_F SCALAR_F
#define SS_MD5_G SCALAR_G
#define SS_MD5_H SCALAR_H
#define SS_MD5_I SCALAR_I
#include "md5_lanes.h"

#if defined(__x86_64__)
#define SS_MD5_NAME(x) avx2_##x
#define SS_MD5_TARGET __attribute__((target("avx2")))
#define SS_MD5_LANES 8
#define SS_MD5_LOW32 0, 8, 1, 9, 4, 12, 5, 13
#define SS_MD5_HIGH32 2, 10, 3, 11, 6, 14, 7, 15
#define SS_MD5_LOW64 0, 1, 8, 9, 4, 5, 12, 13
#define SS_MD5_HIGH64 2, 3, 10, 11, 6, 7, 14, 15
#define SS_MD5_LOAD(p) (avx2_vector) _mm256_loadu2_m128i((const __m128i *)((p) + 4 * BLOCK_SIZE), (const __m128i *)(p))
#define SS_MD5_F SCALAR_F
#define SS_MD5_G SCALAR_G
#define SS_MD5_H SCALAR_H
#define SS_MD5_I SCALAR_I
#include "md5_lanes.h"

/* AVX-512 does any function of three bits in one instruction; its eight outcomes are the last operand. */
#define TERNARY(b, c, d, table) \
    (avx512_vector) _mm512_ternarylogic_epi32((__m512i)(b), (__m512i)(c), (__m512i)(d), table)
#define SS_MD5_NAME(x) avx512_##x
#define SS_MD5_TARGET __attribute__((target("avx512f")))
#define SS_MD5_LANES 16
#define SS_MD5_LOW32 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define SS_MD5_HIGH32 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define SS_MD5_LOW64 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define SS_MD5_HIGH64 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define SS_MD5_LOAD(p) \
    (avx512_vector) _mm512_inserti64x4( \
        _mm512_castsi256_si512(_mm256_loadu2_m128i((const __m128i *)((p) + 4 * BLOCK_SIZE), (const __m128i *)(p))), \
        _mm256_loadu2_m128i((const __m128i *)((p) + 12 * BLOCK_SIZE), (const __m128i *)((p) + 8 * BLOCK_SIZE)), 1)
#define SS_MD5_F(b, c, d) TERNARY(b, c, d, 0xCA)
#define SS_MD5_G(b, c, d) TERNARY(b, c, d, 0xE4)
#define SS_MD5_H(b, c, d) TERNARY(b, c, d, 0x96)
#define SS_MD5_I(b, c, d) TERNARY(b, c, d, 0x39)
#include "md5_lanes.h"
#endif

/* How an instruction set does it, and how many inputs at a time. */
typedef struct {
    void (*group)(const uint8_t (*rows)[BLOCK_SIZE], uint8_t (*digests)[16]);
    void (*advance)(uint32_t (*state)[GROUP_MAX], const uint8_t *const *at, size_t lane_count, size_t block_count);
    size_t group_size;
} path_calls;

static const path_calls paths[SS_MD5_PATHS] = {
    [SS_MD5_LANES4] = {lanes4_group, lanes4_advance, lanes4_GROUP},
#if defined(__x86_64__)
    [SS_MD5_AVX2] = {avx2_group, avx2_advance, avx2_GROUP},
    [SS_MD5_AVX512] = {avx512_group, avx512_advance, avx512_GROUP},
#endif
};

/* Padded inputs of one block that wait for their group to fill, and where their digests go. */
typedef struct {
    _Alignas(BLOCK_SIZE) uint8_t rows[GROUP_MAX][BLOCK_SIZE];
    uint8_t *places[GROUP_MAX];
    size_t filled;
} group;

static void group_finish(group *waiting, const path_calls *path)
{
    uint8_t digests[GROUP_MAX][16];
    path->group((const uint8_t (*)[BLOCK_SIZE])waiting->rows, digests);
    for (size_t i = 0; i < waiting->filled; i++)
        memcpy(waiting->places[i], digests[i], 16);
    waiting->filled = 0;
}

/* Those of one block. How many are longer. */
static size_t many_short(const path_calls *path, const uint8_t *const *data, const size_t *sizes, size_t count,
                         uint8_t (*digests)[16])
{
    size_t long_count = 0;
    group waiting;
    waiting.filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > ONE_BLOCK_MAX) {
            long_count++;
            continue;
        }
        pad_block(waiting.rows[waiting.filled], data[i], sizes[i]);
        waiting.places[waiting.filled++] = digests[i];
        if (waiting.filled == path->group_size)
            group_finish(&waiting, path);
    }
    if (waiting.filled == 1) { /* one alone is cheaper by itself; two already are not */
        uint32_t state[4] = {STATE_A, STATE_B, STATE_C, STATE_D};
        scalar_blocks(state, waiting.rows[0], 1);
        memcpy(waiting.places[0], state, 16);
    } else if (waiting.filled > 0) {
        memset(waiting.rows[waiting.filled], 0, (path->group_size - waiting.filled) * BLOCK_SIZE);
        group_finish(&waiting, path);
    }
    return long_count;
}

/* A long input that has a lane: first its whole blocks, then its padded end. */
typedef struct {
    uint8_t end[2 * BLOCK_SIZE];
    size_t end_count;    /* blocks of that; 0 once they are under way */
    size_t blocks_ahead; /* of what is under way */
    uint8_t *digest;
} long_input;

/* Lanes 0 to `filled` are taken, so that none of them stands still. */
typedef struct {
    uint32_t state[4][GROUP_MAX];
    const uint8_t *at[GROUP_MAX];
    long_input *taken_by[GROUP_MAX]; /* every one of those below, in some order: an input may change its lane */
    long_input inputs[GROUP_MAX];
    size_t filled;
} long_inputs;

static void lane_begin(long_inputs *c, const uint8_t *data, size_t size, uint8_t *digest)
{
    const size_t lane = c->filled++;
    long_input *own = c->taken_by[lane];
    own->end_count = pad_end(own->end, data, size);
    own->blocks_ahead = size / BLOCK_SIZE;
    own->digest = digest;
    c->at[lane] = data;
    c->state[0][lane] = STATE_A;
    c->state[1][lane] = STATE_B;
    c->state[2][lane] = STATE_C;
    c->state[3][lane] = STATE_D;
}

/* Its digest is done, and the last lane's input goes on in its place. */
static void lane_end(long_inputs *c, size_t lane)
{
    const size_t last = --c->filled;
    long_input *own = c->taken_by[lane];
    for (size_t word = 0; word < 4; word++) {
        memcpy(own->digest + word * 4, &c->state[word][lane], 4);
        c->state[word][lane] = c->state[word][last];
    }
    c->at[lane] = c->at[last];
    c->taken_by[lane] = c->taken_by[last];
    c->taken_by[last] = own;
}

/* On to the next event: an input's whole blocks are behind it, or its end is. */
static void long_inputs_advance(long_inputs *c, const path_calls *path)
{
    size_t step = SIZE_MAX;
    for (size_t lane = 0; lane < c->filled; lane++)
        if (c->taken_by[lane]->blocks_ahead < step)
            step = c->taken_by[lane]->blocks_ahead;
    path->advance(c->state, c->at, c->filled, step);
    for (size_t lane = c->filled; lane-- > 0;) { /* from the last, so that whoever moves was looked at */
        long_input *own = c->taken_by[lane];
        c->at[lane] += step * BLOCK_SIZE;
        own->blocks_ahead -= step;
        if (own->blocks_ahead > 0)
            continue;
        if (own->end_count == 0) {
            lane_end(c, lane);
            continue;
        }
        c->at[lane] = own->end;
        own->blocks_ahead = own->end_count;
        own->end_count = 0;
    }
}

static void lane_finish_alone(long_inputs *c)
{
    long_input *own = c->taken_by[0];
    uint32_t state[4] = {c->state[0][0], c->state[1][0], c->state[2][0], c->state[3][0]};
    scalar_blocks(state, c->at[0], own->blocks_ahead);
    if (own->end_count > 0)
        scalar_blocks(state, own->end, own->end_count);
    memcpy(own->digest, state, 16);
    c->filled = 0;
}

static void many_long(const path_calls *path, const uint8_t *const *data, const size_t *sizes, size_t count,
                      uint8_t (*digests)[16])
{
    long_inputs c;
    c.filled = 0;
    for (size_t i = 0; i < GROUP_MAX; i++)
        c.taken_by[i] = &c.inputs[i];
    for (size_t next = 0;;) {
        for (; next < count && c.filled < path->group_size; next++)
            if (sizes[next] > ONE_BLOCK_MAX)
                lane_begin(&c, data[next], sizes[next], digests[next]);
        if (c.filled == 0)
            return;
        if (c.filled == 1) /* a lane by itself is slower than none */
            lane_finish_alone(&c);
        else
            long_inputs_advance(&c, path);
    }
}

bool ss_md5_path_runs(ss_md5_path path)
{
    switch (path) {
    case SS_MD5_LANES4:
        return true;
#if defined(__x86_64__)
    case SS_MD5_AVX2:
        return __builtin_cpu_supports("avx2");
    case SS_MD5_AVX512:
        return __builtin_cpu_supports("avx512f");
#endif
    default:
        return false;
    }
}

void ss_md5_many_by(ss_md5_path path, const uint8_t *const *data, const size_t *sizes, size_t count,
                    uint8_t (*digests)[16])
{
    assert(ss_md5_path_runs(path));
    if (many_short(&paths[path], data, sizes, count, digests) > 0)
        many_long(&paths[path], data, sizes, count, digests);
}

void ss_md5_many(const uint8_t *const *data, const size_t *sizes, size_t count, uint8_t (*digests)[16])
{
    ss_md5_path path = SS_MD5_LANES4; /* the widest whose group is more than half full: an empty lane costs the same */
    if (count > lanes4_GROUP && ss_md5_path_runs(SS_MD5_AVX2))
        path = SS_MD5_AVX2;
    if (count > 2 * lanes4_GROUP && ss_md5_path_runs(SS_MD5_AVX512))
        path = SS_MD5_AVX512;
    ss_md5_many_by(path, data, sizes, count, digests);
}
