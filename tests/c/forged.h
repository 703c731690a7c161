/* Frames of a closed store's segments made to say something else, under checks that hold. The user includes packs.h
 * before, and defines _GNU_SOURCE. */
#ifndef STREAMSTORE_FORGED_H
#define STREAMSTORE_FORGED_H

#include <fcntl.h>

#include "record.h"

typedef struct {
    ss_record_place place;
    uint64_t frame_size;
} forgery;

static inline int open_segment(uint64_t ordinal)
{
    char path[128];
    snprintf(path, sizeof path, "%s/streams/1/0/%012llu.seg", root, (unsigned long long)ordinal);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static inline void remove_file(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", root, name);
    CHECK_EQUAL(unlink(path), 0);
}

/* The frame at `position` of that segment as it stands: where, of which size. */
static inline forgery frame_of(uint64_t ordinal, uint64_t position)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE], bytes[FRAME_BODY];
    ss_record_header found = {0};
    ss_xxh3_key salt;
    int fd = open_segment(ordinal);
    CHECK_EQUAL(pread(fd, header, sizeof header, 0), sizeof header);
    ss_xxh3_key_init(&salt, format_load64(header + SEGMENT_SALT));
    off_t offset = (off_t)(SS_SEGMENT_HEADER_SIZE + position - format_load64(header + SEGMENT_BASE));
    CHECK_EQUAL(pread(fd, bytes, sizeof bytes, offset), sizeof bytes);
    CHECK_EQUAL(ss_record_read_header(bytes, position, &salt, &found), SS_OK);
    close(fd);
    return (forgery){.place = {.position = position,
                               .arrival_us = found.arrival_us,
                               .epoch = found.epoch,
                               .durable = found.durable,
                               .ordinal = found.ordinal,
                               .type = found.type},
                     .frame_size = found.frame_size};
}

/* Put it there, with zeros for what it holds. */
static inline void forge(uint64_t ordinal, const forgery *f)
{
    static uint8_t frame[64 << 10], zeros[64 << 10];
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_xxh3_key salt;
    int fd = open_segment(ordinal);
    CHECK_EQUAL(pread(fd, header, sizeof header, 0), sizeof header);
    ss_xxh3_key_init(&salt, format_load64(header + SEGMENT_SALT));
    const ss_entry entry = {.data = zeros, .data_size = f->frame_size - FRAME_BODY, .key_size = -1};
    memset(frame, 0, sizeof frame);
    ss_record_write(frame, &entry, f->frame_size, &f->place, &salt);
    off_t offset = (off_t)(SS_SEGMENT_HEADER_SIZE + f->place.position - format_load64(header + SEGMENT_BASE));
    CHECK_EQUAL(pwrite(fd, frame, f->frame_size, offset), f->frame_size);
    close(fd);
}

#endif
