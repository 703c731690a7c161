/* LZ4 blocks and aggregated records of any bytes. */
#include <stdlib.h>
#include <string.h>

#include "aggregate.h"
#include "lz4.h"
#include "md5.h"

enum { EXPANDED_MAX = 1 << 16 };

static void try_lz4(const uint8_t *data, size_t size)
{
    size_t room = 1 + (size_t)(data[0] << 8 | data[1]) % EXPANDED_MAX;
    uint8_t *to = malloc(room);
    if (to)
        ss_lz4_expand(data + 2, size - 2, to, room);
    free(to);
}

static void *room_for(size_t count, size_t size)
{
    return calloc(count ? count : 1, size);
}

/* With the magic and the digest that make an aggregate of it. */
static void try_aggregate(const uint8_t *data, size_t size)
{
    static const uint8_t magic[SS_AGGREGATE_MAGIC_SIZE] = {0xf3, 0x89, 0x9a, 0xc2};
    ss_aggregate_shape shape;
    size_t whole = size + SS_AGGREGATE_OVERHEAD;
    uint8_t *bytes = malloc(whole);
    if (!bytes)
        return;
    memcpy(bytes, magic, sizeof magic);
    memcpy(bytes + sizeof magic, data, size);
    ss_md5(data, size, bytes + sizeof magic + size);
    if (ss_aggregate_open(bytes, whole, &shape) == SS_OK) {
        ss_aggregate_slice *keys = room_for(shape.key_count, sizeof *keys);
        ss_aggregate_slice *hash_keys = room_for(shape.hash_key_count, sizeof *hash_keys);
        ss_aggregate_record *records = room_for(shape.record_count, sizeof *records);
        volatile uint64_t sum = 0;
        if (keys && hash_keys && records &&
            ss_aggregate_decode(bytes, whole, &shape, keys, hash_keys, records) == SS_OK)
            for (size_t i = 0; i < shape.record_count; i++) {
                for (uint32_t b = 0; b < records[i].data_size; b++)
                    sum += bytes[records[i].data_offset + b];
                for (uint32_t b = 0; b < records[i].key_size; b++)
                    sum += bytes[records[i].key_offset + b];
            }
        (void)sum;
        free(keys);
        free(hash_keys);
        free(records);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    if (data[0] & 1)
        try_lz4(data + 1, size - 1);
    else
        try_aggregate(data + 1, size - 1);
    return 0;
}
