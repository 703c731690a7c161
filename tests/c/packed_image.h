/* A compacted segment as bytes, to be changed, sealed under checks that hold, and put back. The user defines
 * _GNU_SOURCE. */
#ifndef STREAMSTORE_PACKED_IMAGE_H
#define STREAMSTORE_PACKED_IMAGE_H

#include <fcntl.h>

#include "format.h"
#include "packs.h"
#include "xxh3.h"

enum { TOTAL = 390, EACH = 130, FILE_MAX = 600 << 10 };

static uint8_t image[FILE_MAX], changed[FILE_MAX];
static size_t image_size;
static char path[128];

static inline void write_file(const uint8_t *bytes, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

/* Of a log of `total` records in segments of `each`, of which the first two are packed. */
static inline void make_image(uint64_t total, uint64_t each)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    fill(log, 0, total, each);
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
    close_store(store);
    snprintf(path, sizeof path, "%s/streams/1/0/000000000002.seg", root);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, image, sizeof image);
    CHECK(got > 0 && got < FILE_MAX);
    image_size = (size_t)got;
    close(fd);
}

/* Make every check right again, so that only the bounds are left to refuse it. */
static inline void seal_all(uint8_t *bytes)
{
    ss_xxh3_key salt;
    ss_xxh3_key_init(&salt, format_load64(bytes + SEGMENT_SALT));
    uint64_t index = format_load64(bytes + SEGMENT_PACKED_INDEX), at = SS_SEGMENT_HEADER_SIZE;
    uint64_t end = format_load64(image + SEGMENT_PACKED_INDEX);
    while (at + BLOCK_STORED <= end) {
        uint64_t size = format_load32(image + at + BLOCK_STORED_SIZE),
                 now = format_load32(bytes + at + BLOCK_STORED_SIZE);
        if (at + BLOCK_STORED + now <= image_size)
            format_store64(bytes + at, ss_xxh3_64(&salt, bytes + at + 8, BLOCK_STORED - 8 + now));
        at += format_align8(BLOCK_STORED + size);
    }
    uint64_t tables = (uint64_t)format_load32(bytes + SEGMENT_PACKED_BLOCKS) * PACKED_MARK_SIZE +
                      (uint64_t)format_load32(bytes + SEGMENT_PACKED_RUNS) * PACKED_RUN_SIZE;
    if (index <= image_size && tables <= image_size - index)
        format_store64(bytes + SEGMENT_PACKED_INDEX_CHECK, ss_xxh3_64(&salt, bytes + index, tables));
    format_store64(bytes + SEGMENT_CHECK, ss_xxh3_64_seeded(bytes, SEGMENT_CHECK, 0));
}

/* Every question that there is, of whatever stands there. Returns the records that were read. */
static inline uint64_t ask_everything(int trusted)
{
    static uint8_t buffer[96 << 10];
    static ss_record records[300];
    ss_store *store = open_store(SS_OPEN_READ_ONLY);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    ss_log_state state;
    ss_read_result result;
    ss_segment_info segments[8];
    uint64_t found = 0, out;
    size_t count;
    ss_status status = ss_log_state_get(log, &state);
    if (status == SS_OK) {
        ss_log_segments(log, segments, 8, &count);
        uint64_t position = state.start, steps = 0;
        while (position < state.visible && steps++ < 200) {
            status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 300, &result);
            if (status != SS_OK && status != SS_CORRUPT)
                break;
            for (size_t i = 0; i < result.count; i++) {
                uint8_t data[700];
                size_t size = content(records[i].ordinal - 1, data);
                CHECK(records[i].data_offset + records[i].data_size <= result.used);
                if (trusted) {
                    CHECK_EQUAL(records[i].data_size, size);
                    CHECK_BYTES(buffer + records[i].data_offset, data, size);
                }
                found++;
            }
            if (status == SS_CORRUPT) {
                CHECK(result.damage_begin < result.damage_end && result.damage_end <= state.visible);
                CHECK(result.next_position > position);
            }
            if (result.next_position <= position)
                break;
            position = result.next_position;
        }
        for (position = state.start; position < state.tail; position += (state.tail - state.start) / 16 / 8 * 8 + 8) {
            ss_log_seek(log, position, &out);
            ss_log_seek_ordinal(log, position / 200, &out);
            ss_log_get(log, position, 0, buffer, sizeof buffer, records, &result);
            ss_log_epoch_at(log, position, &out);
        }
        ss_log_seek_time(log, state.last_arrival_us - 10, &out);
        ss_log_epoch_after(log, state.epoch - 1, &out);
        ss_damage damage[8];
        ss_verify_totals totals;
        ss_log_verify(log, 0, 0, damage, 8, &count, &totals);
    }
    close_store(store);
    return found;
}

#endif
