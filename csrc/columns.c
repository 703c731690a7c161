/* Decoded frames as columns, for Arrow: numbers side by side, and bytes as 16-byte views into the buffer of frames.
 * Knows neither logs nor files, and allocates nothing. A view, as the Arrow columnar format has it (little-endian):
 *
 *   up to 12 bytes   size u32 | the bytes, then zeros                              (12)
 *   longer           size u32 | first 4 bytes | index of the buffer u32 | offset in it u32
 */
#include "columns.h"

#include <string.h>

enum { VIEW_SIZE = 16, VIEW_INLINE = 12 };

/* Up to 12 bytes into a view that is zero so far, in two moves that may overlap: a call of memcpy costs more than all
 * the rest. */
static inline void put_inline(uint8_t *to, const uint8_t *from, uint32_t size)
{
    if (size >= 8) {
        memcpy(to, from, 8);
        memcpy(to + size - 4, from + size - 4, 4);
    } else if (size >= 4) {
        memcpy(to, from, 4);
        memcpy(to + size - 4, from + size - 4, 4);
    } else if (size > 0) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

static inline void put_view(uint8_t *view, const uint8_t *frames, uint32_t offset, uint32_t size)
{
    if (size > VIEW_INLINE) {
        uint32_t words[4] = {size, 0, 0, offset};
        memcpy(&words[1], frames + offset, 4);
        memcpy(view, words, sizeof words);
    } else {
        memset(view, 0, VIEW_SIZE);
        memcpy(view, &size, sizeof size);
        put_inline(view + sizeof size, frames + offset, size);
    }
}

/* Rows come in order: the first of eight sets the whole byte, so nobody need have cleared it. */
static inline void put_bit(uint8_t *bits, size_t row, unsigned value)
{
    uint8_t bit = (uint8_t)(value << (row & 7));
    bits[row >> 3] = (uint8_t)(row & 7 ? bits[row >> 3] | bit : bit);
}

/* Most records have no attributes: their columns are touched from the first that has some. */
static void put_attributes(ss_columns *columns, size_t row, const uint8_t *frames, uint32_t offset, uint32_t size)
{
    if (columns->attributes_count == 0) {
        if (size == 0)
            return;
        memset(columns->attributes, 0, row * VIEW_SIZE);
        memset(columns->attributes_present, 0, row / 8 + 1);
    }
    put_view(columns->attributes + row * VIEW_SIZE, frames, offset, size);
    put_bit(columns->attributes_present, row, size > 0);
    columns->attributes_count += size > 0;
}

void ss_columns_put(ss_columns *columns, size_t row, const ss_record_header *header, const uint8_t *frames,
                    uint32_t frame_offset, uint64_t base_ordinal)
{
    uint32_t at = frame_offset + FRAME_BODY + ss_record_seal_size(header), key = header->key_size_plus_one > 0;
    columns->position[row] = header->position;
    columns->epoch[row] = header->epoch;
    columns->ordinal[row] = base_ordinal + header->ordinal;
    columns->arrival_us[row] = header->arrival_us;
    put_attributes(columns, row, frames, at, header->attributes_size);
    at += header->attributes_size + (header->flags & FRAME_FLAG_HASH_KEY ? 16 : 0);
    uint32_t key_size = key ? header->key_size_plus_one - 1 : 0;
    put_view(columns->key + row * VIEW_SIZE, frames, at, key_size);
    put_bit(columns->key_present, row, key);
    columns->key_count += key;
    put_view(columns->data + row * VIEW_SIZE, frames, at + key_size, header->data_size);
}
