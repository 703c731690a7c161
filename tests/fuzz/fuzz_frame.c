/* Frames, packed frames and segment headers of any bytes, with checks that hold: what is hostile reaches the code
 * behind them. */
#include <stdlib.h>

#include "record.h"
#include "segment.h"

enum { SALT = 77 };

/* The checks of a frame that stands at `position`, as its writer would have made them. */
static void fix_frame(uint8_t *frame, size_t size, uint64_t position)
{
    ss_xxh3_key key;
    ss_xxh3_key_init(&key, SALT);
    format_store64(frame + FRAME_POSITION, position);
    uint64_t hash = ss_xxh3_64(&key, frame + FRAME_SIZE, FRAME_BODY_CHECK - FRAME_SIZE);
    format_store32(frame + FRAME_CHECK, (uint32_t)hash);
    uint32_t claimed = format_load32(frame + FRAME_SIZE);
    size_t body = claimed >= FRAME_BODY && claimed <= size ? claimed - FRAME_BODY : 0;
    uint64_t check = ss_xxh3_64(&key, frame + FRAME_BODY, body) ^ hash;
    format_store64(frame + FRAME_BODY_CHECK, check ? check : 1);
}

/* Every byte that a description names lies in the frame: reading them all shows it to the sanitizer. */
static uint64_t touch(const uint8_t *bytes, const ss_record *record)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < record->attributes_size; i++)
        sum += bytes[record->attributes_offset + i];
    for (int32_t i = 0; i < record->key_size; i++)
        sum += bytes[record->key_offset + (uint32_t)i];
    for (uint32_t i = 0; i < record->data_size; i++)
        sum += bytes[record->data_offset + i];
    return sum;
}

static void try_frame(uint8_t *bytes, size_t size)
{
    ss_record record;
    ss_record_header header;
    const uint64_t position = 8 * (1 + (uint64_t)bytes[0]);
    if (size < FRAME_BODY)
        return;
    fix_frame(bytes, size, position);
    volatile uint64_t sum = 0;
    if (ss_record_decode(bytes, size, position, 0, SALT, &record) == SS_OK)
        sum += touch(bytes, &record);
    format_store32(bytes + FRAME_CHECK, 0);
    format_store64(bytes + FRAME_BODY_CHECK, 0);
    if (ss_record_read_packed(bytes, position, &header) == SS_OK && header.frame_size <= size &&
        ss_record_check_known(&header) == SS_OK) {
        ss_record_describe(&header, bytes, 0, 0, &record);
        sum += touch(bytes, &record);
    }
    (void)sum;
}

static void try_segment_header(const uint8_t *bytes, size_t size)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE] = {0};
    ss_segment_facts facts;
    memcpy(header, bytes, size < sizeof header ? size : sizeof header);
    format_store64(header + SEGMENT_MAGIC, SEGMENT_MAGIC_VALUE);
    format_store32(header + SEGMENT_VERSION, SS_FORMAT_VERSION);
    format_store64(header + SEGMENT_CHECK, ss_xxh3_64_seeded(header, SEGMENT_CHECK, 0));
    if (ss_segment_decode_header(header, &facts) == SS_OK && facts.map_size > SEGMENT_SIZE_LIMIT)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t *bytes = malloc(size); /* of its own size, so that one byte too far is seen */
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    try_segment_header(bytes, size);
    try_frame(bytes, size);
    free(bytes);
    return 0;
}
