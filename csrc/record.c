/* Encoding and checking of one frame. */
#include "record.h"

#include <assert.h>
#include <stdatomic.h>

ss_status ss_record_frame_size(const ss_entry *entry, uint64_t record_size_max, uint64_t *size)
{
    uint64_t key_size = entry->key_size > 0 ? (uint64_t)entry->key_size : 0;
    if (entry->key_size < -1 || key_size > SS_KEY_SIZE_MAX)
        return SS_TOO_LARGE;
    if (entry->attributes_size > SS_ATTRIBUTES_SIZE_MAX)
        return SS_TOO_LARGE;
    if (entry->data_size > RECORD_SIZE_LIMIT || entry->data_size + key_size > record_size_max)
        return SS_TOO_LARGE; /* each bounded before they are added: no sum below can wrap */
    *size = format_align8(FRAME_BODY + (entry->seal ? (uint64_t)SS_SEAL_SIZE : 0) + entry->attributes_size +
                          (entry->hash_key_present ? 16 : 0) + key_size + entry->data_size);
    return SS_OK;
}

/* Whole aligned words only: a page written back in the middle of a copy then tears at word borders, and a word not
 * yet stored is zero (recovery's "tear possible" rests on it). `carry` holds the bytes of the word being filled. */
typedef struct {
    uint8_t *to;
    uint64_t carry;
    unsigned filled; /* bytes in carry, 0..7 */
} word_writer;

static inline uint64_t load_partial(const uint8_t *from, size_t size)
{
    uint64_t value = 0;
    if (size >= 4) { /* two overlapping loads instead of a byte loop */
        value = format_load32(from) | (uint64_t)format_load32(from + size - 4) << (8 * (size - 4));
    } else if (size > 0) {
        value = (uint64_t)from[0] | (uint64_t)from[size / 2] << (8 * (size / 2)) |
                (uint64_t)from[size - 1] << (8 * (size - 1));
    }
    return value;
}

static inline void words_put(word_writer *writer, const uint8_t *from, size_t size)
{
    if (size == 0)
        return;
    if (writer->filled) {
        size_t room = 8 - writer->filled;
        size_t take = size < room ? size : room;
        writer->carry |= load_partial(from, take) << (8 * writer->filled);
        writer->filled += (unsigned)take;
        if (writer->filled < 8)
            return;
        format_store64(writer->to, writer->carry);
        writer->to += 8;
        from += take;
        size -= take;
    }
    size_t whole = size & ~(size_t)7;
    if (whole <= 128) {
        for (size_t at = 0; at < whole; at += 8)
            format_store64(writer->to + at, format_load64(from + at));
    } else {
        memcpy(writer->to, from, whole);
    }
    writer->to += whole;
    writer->filled = (unsigned)(size - whole);
    writer->carry = load_partial(from + whole, size - whole);
}

static inline unsigned words_finish(word_writer *writer)
{
    if (!writer->filled)
        return 0;
    format_store64(writer->to, writer->carry);
    return 8 - writer->filled;
}

static inline void write_header(uint8_t *to, uint64_t words[6], uint64_t body_hash, const ss_xxh3_key *salt)
{
    uint8_t header[FRAME_BODY];
    memcpy(header, words, sizeof header);
    uint64_t hash = ss_xxh3_64(salt, header + FRAME_SIZE, FRAME_BODY_CHECK - FRAME_SIZE);
    words[0] = (words[0] & ~UINT64_C(0xffffffff)) | (hash & 0xffffffff);
    words[5] = body_hash ^ hash ? body_hash ^ hash : 1;
    /* Header last: a frame torn by a crash then keeps zero words in its header unless its body was stored whole. */
    atomic_thread_fence(memory_order_release);
    for (int word = 0; word < 6; word++)
        format_store64(to + 8 * word, words[word]);
}

static inline uint64_t lag_field(uint64_t position, uint64_t durable)
{
    assert(durable <= position);
    uint64_t lag = durable ? (position - durable) / 8 : FRAME_LAG_UNKNOWN;
    return lag < FRAME_LAG_UNKNOWN ? lag : FRAME_LAG_UNKNOWN;
}

void ss_record_write(uint8_t *to, const ss_entry *entry, uint64_t frame_size, const ss_record_place *place,
                     const ss_xxh3_key *salt)
{
    assert(((uintptr_t)to & 7) == 0 && place->epoch <= FRAME_EPOCH_MAX && place->ordinal <= FRAME_BITS_24);
    word_writer writer = {.to = to + FRAME_BODY};
    if (entry->seal)
        words_put(&writer, entry->seal, SS_SEAL_SIZE);
    words_put(&writer, entry->attributes, entry->attributes_size);
    if (entry->hash_key_present) {
        uint8_t hash_key[16];
        format_store64(hash_key, entry->hash_key_lo);
        format_store64(hash_key + 8, entry->hash_key_hi);
        words_put(&writer, hash_key, sizeof hash_key);
    }
    if (entry->key_size > 0)
        words_put(&writer, entry->key, (size_t)entry->key_size);
    words_put(&writer, entry->data, entry->data_size);
    unsigned pad = words_finish(&writer);
    uint64_t key_field = (uint64_t)(entry->key_size + 1);
    uint64_t flags = FRAME_FLAG_PRESENT | (entry->hash_key_present ? FRAME_FLAG_HASH_KEY : 0) |
                     (place->more ? FRAME_FLAG_MORE : 0) | (entry->seal ? FRAME_FLAG_SEALED : 0);
    uint64_t words[6] = {
        frame_size << 32,
        place->position,
        place->arrival_us << 12 | key_field,
        place->epoch << 12 | (uint64_t)place->type << 8 | flags,
        (uint64_t)place->ordinal << 40 | lag_field(place->position, place->durable) << 16 |
            (uint64_t)entry->attributes_size << 3 | pad,
        0,
    };
    uint64_t body_hash = ss_xxh3_64(salt, to + FRAME_BODY, (size_t)(frame_size - FRAME_BODY));
    write_header(to, words, body_hash, salt);
}

/* The fields of a header whose frame size and position were looked at. */
static inline ss_status take_fields(const uint8_t *from, uint64_t position, uint32_t frame_size, uint64_t hash,
                                    ss_record_header *out)
{
    uint64_t arrival = format_load64(from + FRAME_ARRIVAL), epoch = format_load64(from + FRAME_EPOCH);
    uint64_t counts = format_load64(from + FRAME_ORDINAL);
    out->position = position;
    out->frame_size = frame_size;
    out->hash = hash;
    out->body_check = format_load64(from + FRAME_BODY_CHECK);
    out->arrival_us = arrival >> 12;
    out->key_size_plus_one = (uint32_t)(arrival & 0xfff);
    out->epoch = epoch >> 12;
    out->type = (uint32_t)(epoch >> 8) & 0xf;
    out->flags = (uint32_t)epoch & 0xff;
    out->ordinal = (uint32_t)(counts >> 40);
    uint64_t lag = counts >> 16 & FRAME_BITS_24;
    out->durable = lag == FRAME_LAG_UNKNOWN || lag * 8 > position ? 0 : position - lag * 8;
    out->attributes_size = (uint32_t)(counts >> 3) & 0x1fff;
    uint32_t pad = (uint32_t)counts & 7;
    uint32_t key_size = out->key_size_plus_one ? out->key_size_plus_one - 1 : 0;
    uint64_t fixed = (uint64_t)FRAME_BODY + ss_record_seal_size(out) + out->attributes_size +
                     (out->flags & FRAME_FLAG_HASH_KEY ? 16 : 0) + key_size + pad;
    if (fixed > frame_size || out->type == 0 || out->ordinal == 0 || !(out->flags & FRAME_FLAG_PRESENT) ||
        (out->flags & FRAME_FLAGS_SEAL) == FRAME_FLAGS_SEAL)
        return SS_CORRUPT; /* a header whose check holds and whose sizes do not was never written by us */
    out->data_size = (uint32_t)(frame_size - fixed);
    return SS_OK;
}

static inline int place_holds(const uint8_t *from, uint64_t position, uint32_t frame_size)
{
    return frame_size >= FRAME_BODY && frame_size % 8 == 0 && format_load64(from + FRAME_POSITION) == position;
}

ss_status ss_record_read_header(const uint8_t *from, uint64_t position, const ss_xxh3_key *salt, ss_record_header *out)
{
    uint32_t frame_size = format_load32(from + FRAME_SIZE);
    if (!place_holds(from, position, frame_size))
        return SS_CORRUPT;
    uint64_t hash = ss_xxh3_64(salt, from + FRAME_SIZE, FRAME_BODY_CHECK - FRAME_SIZE);
    if (format_load32(from + FRAME_CHECK) != (uint32_t)hash)
        return SS_CORRUPT;
    return take_fields(from, position, frame_size, hash, out);
}

ss_status ss_record_read_packed(const uint8_t *from, uint64_t position, ss_record_header *out)
{
    uint32_t frame_size = format_load32(from + FRAME_SIZE);
    if (!place_holds(from, position, frame_size) || format_load32(from + FRAME_CHECK) != 0 ||
        format_load64(from + FRAME_BODY_CHECK) != 0)
        return SS_CORRUPT;
    return take_fields(from, position, frame_size, 0, out);
}

void ss_record_pack(uint8_t *frame, uint32_t ordinal)
{
    uint64_t counts = format_load64(frame + FRAME_ORDINAL) & 0xffff;
    format_store32(frame + FRAME_CHECK, 0);
    format_store64(frame + FRAME_ORDINAL, counts | (uint64_t)ordinal << 40 | FRAME_LAG_UNKNOWN << 16);
    format_store64(frame + FRAME_BODY_CHECK, 0);
}

ss_status ss_record_check_body(const uint8_t *from, const ss_record_header *header, const ss_xxh3_key *salt)
{
    uint64_t check = ss_xxh3_64(salt, from + FRAME_BODY, header->frame_size - FRAME_BODY) ^ header->hash;
    return (check ? check : 1) == header->body_check ? SS_OK : SS_CORRUPT;
}

ss_status ss_record_check_known(const ss_record_header *header)
{
    return header->type > SS_FRAME_PAD || header->flags & ~(uint32_t)FRAME_FLAGS_KNOWN ? SS_FORMAT : SS_OK;
}

void ss_record_describe(const ss_record_header *header, const uint8_t *from, uint64_t frame_offset,
                        uint64_t base_ordinal, ss_record *out)
{
    uint32_t seal_size = ss_record_seal_size(header), at = (uint32_t)frame_offset + FRAME_BODY + seal_size;
    out->position = header->position;
    out->epoch = header->epoch;
    out->arrival_us = header->arrival_us;
    out->ordinal = base_ordinal + header->ordinal;
    out->frame_offset = (uint32_t)frame_offset;
    out->frame_size = header->frame_size;
    out->attributes_offset = at;
    out->attributes_size = header->attributes_size;
    at += header->attributes_size;
    out->hash_key_present = (header->flags & FRAME_FLAG_HASH_KEY) != 0;
    out->hash_key_lo = out->hash_key_hi = 0;
    if (out->hash_key_present) {
        const uint8_t *hash_key = from + FRAME_BODY + seal_size + header->attributes_size;
        out->hash_key_lo = format_load64(hash_key);
        out->hash_key_hi = format_load64(hash_key + 8);
        at += 16;
    }
    out->key_offset = at;
    out->key_size = (int32_t)header->key_size_plus_one - 1;
    at += header->key_size_plus_one ? header->key_size_plus_one - 1 : 0;
    out->data_offset = at;
    out->data_size = header->data_size;
    out->type = (uint16_t)header->type;
    out->seal_offset = header->flags & FRAME_FLAG_SEALED ? (uint32_t)frame_offset + FRAME_BODY : 0;
}

void ss_record_rewrite(uint8_t *to, const uint8_t *from, const ss_record_header *header, uint32_t ordinal,
                       uint64_t durable, const ss_xxh3_key *salt)
{
    size_t body_size = header->frame_size - FRAME_BODY;
    uint64_t words[6];
    memcpy(words, from, sizeof words);
    words[4] = (words[4] & 0xffff) | (uint64_t)ordinal << 40 | lag_field(header->position, durable) << 16;
    memcpy(to + FRAME_BODY, from + FRAME_BODY, body_size);
    write_header(to, words, ss_xxh3_64(salt, to + FRAME_BODY, body_size), salt);
}

ss_status ss_record_decode(const uint8_t *bytes, size_t size, uint64_t position, uint64_t base_ordinal, uint64_t salt,
                           ss_record *out)
{
    ss_xxh3_key key;
    ss_record_header header;
    if (size < FRAME_BODY)
        return SS_CORRUPT;
    ss_xxh3_key_init(&key, salt);
    ss_status status = ss_record_read_header(bytes, position, &key, &header);
    if (status != SS_OK)
        return status;
    if (header.frame_size > size || (status = ss_record_check_body(bytes, &header, &key)) != SS_OK)
        return SS_CORRUPT;
    if ((status = ss_record_check_known(&header)) != SS_OK)
        return status;
    ss_record_describe(&header, bytes, 0, base_ordinal, out);
    return SS_OK;
}
