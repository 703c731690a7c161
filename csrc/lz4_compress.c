/* Making LZ4 blocks: greedy, by a table of where each hash of four bytes was seen last. Fast before small; any decoder
 * of the format takes what it makes. */
#include <string.h>

#include "lz4.h"

/* The format's own rules for who writes: the last bytes are literals, and no match begins shortly before the end. */
enum { LITERALS_LAST = 5, MATCH_LIMIT = 12, MATCH_MIN = 4, OFFSET_MAX = 65535, LENGTH_MORE = 15 };
enum { HASH_BITS = 13, SKIP_SHIFT = 6 };

static inline uint32_t load32(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static inline uint32_t hash(uint32_t word)
{
    return word * UINT32_C(2654435761) >> (32 - HASH_BITS);
}

/* How many bytes are the same at both places, up to `end`. */
static inline size_t common(const uint8_t *a, const uint8_t *b, const uint8_t *end)
{
    const uint8_t *begin = b;
    while (b + 8 <= end) {
        uint64_t left, right;
        memcpy(&left, a, sizeof left);
        memcpy(&right, b, sizeof right);
        if (left != right)
            return (size_t)(b - begin) + (size_t)__builtin_ctzll(left ^ right) / 8;
        a += 8;
        b += 8;
    }
    while (b < end && *a == *b) {
        a++;
        b++;
    }
    return (size_t)(b - begin);
}

static inline uint8_t *put_length(uint8_t *out, size_t length)
{
    for (length -= LENGTH_MORE; length >= 255; length -= 255)
        *out++ = 255;
    *out++ = (uint8_t)length;
    return out;
}

/* Bytes that a sequence of so many literals takes at most, its match included. */
static inline size_t sequence_size(size_t literals, size_t match)
{
    return 1 + literals / 255 + 1 + literals + 2 + match / 255 + 1;
}

static uint8_t *put_literals(uint8_t *out, const uint8_t *from, size_t size, uint8_t **token)
{
    *token = out++;
    **token = (uint8_t)((size < LENGTH_MORE ? size : LENGTH_MORE) << 4);
    if (size >= LENGTH_MORE)
        out = put_length(out, size);
    memcpy(out, from, size);
    return out + size;
}

size_t ss_lz4_compress(const uint8_t *from, size_t size, uint8_t *to, size_t to_size)
{
    uint32_t places[1 << HASH_BITS] = {0}; /* place + 1; 0 = none */
    const uint8_t *end = from + size, *literals = from, *in = from;
    uint8_t *out = to, *out_end = to + to_size, *token;
    size_t misses = 0;
    while (size >= MATCH_LIMIT && in + MATCH_LIMIT <= end) {
        uint32_t word = load32(in), *place = &places[hash(word)];
        const uint8_t *match = *place ? from + (*place - 1) : from;
        int found = *place && (size_t)(in - match) <= OFFSET_MAX && load32(match) == word;
        *place = (uint32_t)(in - from) + 1;
        if (!found) {
            in += 1 + (misses++ >> SKIP_SHIFT); /* what does not repeat is passed over faster and faster */
            continue;
        }
        misses = 0;
        while (in > literals && match > from && in[-1] == match[-1]) {
            in--;
            match--;
        }
        size_t run = (size_t)(in - literals);
        size_t length = MATCH_MIN + common(match + MATCH_MIN, in + MATCH_MIN, end - LITERALS_LAST);
        if (sequence_size(run, length) > (size_t)(out_end - out))
            return 0;
        out = put_literals(out, literals, run, &token);
        uint16_t offset = (uint16_t)(in - match);
        *out++ = (uint8_t)offset;
        *out++ = (uint8_t)(offset >> 8);
        size_t more = length - MATCH_MIN;
        *token |= (uint8_t)(more < LENGTH_MORE ? more : LENGTH_MORE);
        if (more >= LENGTH_MORE)
            out = put_length(out, more);
        in += length;
        literals = in;
        if (in + MATCH_LIMIT <= end)
            places[hash(load32(in - 2))] = (uint32_t)(in - 2 - from) + 1;
    }
    size_t run = (size_t)(end - literals);
    if (sequence_size(run, 0) > (size_t)(out_end - out))
        return 0;
    return (size_t)(put_literals(out, literals, run, &token) - to);
}
