/* Expanding LZ4 blocks that may be hostile. A block is a row of sequences: a token (literal length 4 bits, match length
 * 4 bits), more length bytes where a length is 15, the literals, an offset of 2 bytes back into what was written, more
 * length bytes. The last sequence has literals alone. */
#include "lz4.h"

#include <string.h>

enum { LENGTH_MORE = 15, MATCH_MIN = 4, STRIDE = 16 };

/* Bytes of 255 and a last one below it are added to a length of 15. No sum can wrap: each byte was there to be read. */
static int extend(const uint8_t **in, const uint8_t *end, size_t *length)
{
    uint8_t more;
    do {
        if (*in == end)
            return 0;
        more = *(*in)++;
        *length += more;
    } while (more == 255);
    return 1;
}

/* The bytes from `offset` back on, which may be bytes that this very match writes. The caller checked that the match
 * fits; `room` is what may be written from `out` on. */
static inline void copy_match(uint8_t *out, size_t offset, size_t length, size_t room)
{
    const uint8_t *match = out - offset;
    if (offset >= STRIDE && room >= length + STRIDE) {
        for (size_t done = 0; done < length; done += STRIDE)
            memcpy(out + done, match + done, STRIDE);
        return;
    }
    while (length) { /* what was copied may be copied again: the stretch that repeats doubles */
        size_t step = (size_t)(out - match) < length ? (size_t)(out - match) : length;
        memcpy(out, match, step);
        out += step;
        length -= step;
    }
}

ss_status ss_lz4_expand(const uint8_t *from, size_t size, uint8_t *to, size_t to_size)
{
    const uint8_t *in = from, *in_end = from + size;
    uint8_t *out = to, *out_end = to + to_size;
    while (in < in_end) {
        unsigned token = *in++;
        size_t literals = token >> 4, length = (token & 15) + MATCH_MIN;
        if (literals == LENGTH_MORE && !extend(&in, in_end, &literals))
            return SS_CORRUPT;
        size_t left = (size_t)(in_end - in), room = (size_t)(out_end - out);
        if (literals > left || literals > room)
            return SS_CORRUPT;
        if (literals <= STRIDE && left >= STRIDE && room >= STRIDE)
            memcpy(out, in, STRIDE); /* most are short, and a copy of fixed size is one load and one store */
        else
            memcpy(out, in, literals);
        in += literals;
        out += literals;
        if (in == in_end)
            return out == out_end ? SS_OK : SS_CORRUPT;
        if (in_end - in < 2)
            return SS_CORRUPT;
        size_t offset = (size_t)in[0] | (size_t)in[1] << 8;
        in += 2;
        if (length == LENGTH_MORE + MATCH_MIN && !extend(&in, in_end, &length))
            return SS_CORRUPT;
        room = (size_t)(out_end - out);
        if (offset == 0 || offset > (size_t)(out - to) || length > room)
            return SS_CORRUPT;
        copy_match(out, offset, length, room);
        out += length;
    }
    return SS_CORRUPT; /* it ended without a last sequence */
}
