/* Decoded frames as columns, for Arrow: numbers side by side, and bytes as 16-byte views into the buffer of frames.
 * Knows neither logs nor files, and allocates nothing. A view, as the Arrow columnar format has it (little-endian):
 *
 *   up to 12 bytes   size u32 | the bytes, then zeros                              (12)
 *   longer           size u32 | first 4 bytes | index of the buffer u32 | offset in it u32
 */
#include <assert.h>
#include <string.h>

#include "streamstore.h"

enum { VIEW_SIZE = 16, VIEW_INLINE = 12 };

/* Up to 12 bytes into a view that is zero so far, in two moves that may overlap: a call of memcpy costs more than all
 * the rest. */
static void put_inline(uint8_t *to, const uint8_t *from, uint32_t size)
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

static void put_view(uint8_t *view, const uint8_t *frames, uint32_t offset, uint32_t size)
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

static void put_bit(uint8_t *bits, size_t row, unsigned value)
{
    uint8_t mask = (uint8_t)(1U << (row & 7));
    bits[row >> 3] = (uint8_t)(value ? bits[row >> 3] | mask : bits[row >> 3] & ~mask);
}

void ss_columns_fill(const ss_record *records, size_t count, const uint8_t *frames, uint32_t base, size_t first_row,
                     ss_columns *columns)
{
    for (size_t i = 0; i < count; i++) {
        const ss_record *record = &records[i];
        size_t row = first_row + i;
        unsigned key = record->key_size >= 0, attributes = record->attributes_size > 0;
        assert(record->data_offset <= UINT32_MAX - base); /* the caller's buffer is smaller than 2 GiB */
        columns->position[row] = record->position;
        columns->epoch[row] = record->epoch;
        columns->ordinal[row] = record->ordinal;
        columns->arrival_us[row] = record->arrival_us;
        put_view(columns->data + row * VIEW_SIZE, frames, base + record->data_offset, record->data_size);
        put_view(columns->key + row * VIEW_SIZE, frames, base + record->key_offset,
                 key ? (uint32_t)record->key_size : 0);
        put_view(columns->attributes + row * VIEW_SIZE, frames, base + record->attributes_offset,
                 record->attributes_size);
        put_bit(columns->key_present, row, key);
        put_bit(columns->attributes_present, row, attributes);
        columns->key_count += key;
        columns->attributes_count += attributes;
    }
}
