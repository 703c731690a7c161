/* Taking an aggregate apart. It may be anything: what is no aggregate, or a broken one, is said to be none, and no
 * length is believed before it was compared with what is left. */
#include "aggregate.h"

#include <stdbool.h>
#include <string.h>

#include "md5.h"

/* Protobuf's wire types. Groups (3 and 4) are not taken: no writer of this format has any. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { KEYS = 1, HASH_KEYS = 2, RECORDS = 3 };
enum { KEY_INDEX = 1, HASH_KEY_INDEX = 2, DATA = 3 };

/* Keys hashed at a time; bounds the stack used. */
enum { CHUNK_KEYS = 128 };

static const uint8_t magic[SS_AGGREGATE_MAGIC_SIZE] = {0xf3, 0x89, 0x9a, 0xc2};

/* What is left of a message. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} walk;

/* One field: a number in `number`, or a stretch of bytes. */
typedef struct {
    uint32_t field;
    uint32_t type;
    uint64_t number;
    const uint8_t *bytes;
    size_t size;
} item;

static inline bool take_varint(walk *w, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (w->at == w->end)
            return false;
        uint64_t byte = *w->at++;
        value |= (byte & 0x7f) << (shift & 63); /* the tenth byte: its lowest bit counts, as in every protobuf reader */
        if (byte < 0x80) {
            *out = value;
            return true;
        }
        if (shift == 63)
            return false;
    }
}

static inline bool take_item(walk *w, item *out)
{
    uint64_t tag;
    if (!take_varint(w, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return false;
    *out = (item){.field = (uint32_t)(tag >> 3), .type = (uint32_t)(tag & 7)};
    size_t left;
    switch (out->type) {
    case VARINT:
        return take_varint(w, &out->number);
    case BYTES:
        if (!take_varint(w, &out->number))
            return false;
        left = (size_t)(w->end - w->at);
        if (out->number > left)
            return false;
        out->bytes = w->at;
        out->size = (size_t)out->number;
        w->at += out->size;
        return true;
    case FIXED64:
    case FIXED32:
        left = (size_t)(w->end - w->at);
        if (left < (out->type == FIXED64 ? 8u : 4u))
            return false;
        w->at += out->type == FIXED64 ? 8 : 4;
        return true;
    default:
        return false;
    }
}

static walk message_of(const uint8_t *bytes, size_t size)
{
    return (walk){bytes + SS_AGGREGATE_MAGIC_SIZE, bytes + size - SS_AGGREGATE_DIGEST_SIZE};
}

ss_status ss_aggregate_open(const uint8_t *bytes, size_t size, ss_aggregate_shape *shape)
{
    if (size <= SS_AGGREGATE_OVERHEAD || size > SS_AGGREGATE_SIZE_MAX || memcmp(bytes, magic, sizeof magic) != 0)
        return SS_NOT_FOUND;
    uint8_t digest[SS_AGGREGATE_DIGEST_SIZE];
    ss_md5(bytes + SS_AGGREGATE_MAGIC_SIZE, size - SS_AGGREGATE_OVERHEAD, digest);
    if (memcmp(digest, bytes + size - sizeof digest, sizeof digest) != 0)
        return SS_NOT_FOUND;
    ss_aggregate_shape found = {0, 0, 0};
    for (walk w = message_of(bytes, size); w.at < w.end;) {
        item field;
        if (!take_item(&w, &field))
            return SS_NOT_FOUND;
        if (field.type == BYTES) {
            found.key_count += field.field == KEYS;
            found.hash_key_count += field.field == HASH_KEYS;
            found.record_count += field.field == RECORDS;
        }
    }
    if (found.record_count == 0) /* nobody makes an empty one: whatever it is, it is not to vanish */
        return SS_NOT_FOUND;
    *shape = found;
    return SS_OK;
}

/* A decimal number below 2^128. */
static bool parse_hash_key(const uint8_t *digits, size_t size, ss_hash_key *out)
{
    __extension__ unsigned __int128 value = 0;
    __extension__ const unsigned __int128 max = ~(unsigned __int128)0;
    if (size == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned)digits[i] - '0';
        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = (ss_hash_key){(uint64_t)(value >> 64), (uint64_t)value};
    return true;
}

typedef struct {
    uint64_t key;
    uint64_t hash_key;
    const uint8_t *data;
    size_t data_size;
    bool key_present, hash_key_present, data_present;
} parts;

/* One user record's own message. Of a field that comes twice the last counts, as protobuf has it. */
static bool take_parts(const item *record, parts *out)
{
    *out = (parts){0};
    for (walk w = {record->bytes, record->bytes + record->size}; w.at < w.end;) {
        item field;
        if (!take_item(&w, &field))
            return false;
        if (field.field == KEY_INDEX && field.type == VARINT) {
            out->key = field.number;
            out->key_present = true;
        } else if (field.field == HASH_KEY_INDEX && field.type == VARINT) {
            out->hash_key = field.number;
            out->hash_key_present = true;
        } else if (field.field == DATA && field.type == BYTES) {
            out->data = field.bytes;
            out->data_size = field.size;
            out->data_present = true;
        }
    }
    return out->key_present && out->data_present;
}

ss_status ss_aggregate_decode(const uint8_t *bytes, size_t size, const ss_aggregate_shape *shape,
                              ss_aggregate_slice *keys, ss_aggregate_slice *hash_keys, ss_aggregate_record *records)
{
    size_t key_count = 0, hash_key_count = 0, record_count = 0;
    item field;
    /* The tables first: a writer may have put them behind the records. */
    for (walk w = message_of(bytes, size); w.at < w.end;) {
        if (!take_item(&w, &field))
            return SS_NOT_FOUND;
        if (field.type != BYTES)
            continue;
        const ss_aggregate_slice slice = {(uint32_t)(field.bytes - bytes), (uint32_t)field.size};
        if (field.field == KEYS && key_count < shape->key_count)
            keys[key_count++] = slice;
        else if (field.field == HASH_KEYS && hash_key_count < shape->hash_key_count)
            hash_keys[hash_key_count++] = slice;
    }
    for (walk w = message_of(bytes, size); w.at < w.end && record_count < shape->record_count;) {
        if (!take_item(&w, &field))
            return SS_NOT_FOUND;
        if (field.type != BYTES || field.field != RECORDS)
            continue;
        parts found;
        if (!take_parts(&field, &found) || found.key >= key_count)
            return SS_NOT_FOUND;
        ss_aggregate_record *record = &records[record_count++];
        *record = (ss_aggregate_record){
            .data_offset = (uint32_t)(found.data - bytes),
            .data_size = (uint32_t)found.data_size,
            .key_offset = keys[found.key].offset,
            .key_size = keys[found.key].size,
            .hash_key_present = found.hash_key_present,
        };
        if (!found.hash_key_present)
            continue;
        if (found.hash_key >= hash_key_count)
            return SS_NOT_FOUND;
        const ss_aggregate_slice digits = hash_keys[found.hash_key];
        if (!parse_hash_key(bytes + digits.offset, digits.size, &record->hash_key))
            return SS_NOT_FOUND;
    }
    return record_count == shape->record_count ? SS_OK : SS_NOT_FOUND;
}

static ss_hash_key from_digest(const uint8_t digest[16])
{
    uint64_t words[2];
    memcpy(words, digest, sizeof words);
    return (ss_hash_key){__builtin_bswap64(words[0]), __builtin_bswap64(words[1])};
}

void ss_aggregate_hashes(const uint8_t *bytes, const ss_aggregate_record *records, size_t count, ss_hash_key *hashes)
{
    for (size_t done = 0; done < count; done += CHUNK_KEYS) {
        const size_t chunk = count - done < CHUNK_KEYS ? count - done : CHUNK_KEYS;
        const uint8_t *keys[CHUNK_KEYS];
        size_t sizes[CHUNK_KEYS], places[CHUNK_KEYS], waiting = 0;
        uint8_t digests[CHUNK_KEYS][16];
        for (size_t i = done; i < done + chunk; i++) {
            if (records[i].hash_key_present) {
                hashes[i] = records[i].hash_key;
                continue;
            }
            keys[waiting] = bytes + records[i].key_offset;
            sizes[waiting] = records[i].key_size;
            places[waiting++] = i;
        }
        ss_md5_many(keys, sizes, waiting, digests);
        for (size_t i = 0; i < waiting; i++)
            hashes[places[i]] = from_digest(digests[i]);
    }
}
