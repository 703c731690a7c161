/* One frame: its size, its bytes, its checks. Knows no files and no segments. */
#ifndef STREAMSTORE_RECORD_H
#define STREAMSTORE_RECORD_H

#include "format.h"
#include "xxh3.h"

/* Where and when a frame stands. `ordinal` counts data frames in the segment before this one, plus one. */
typedef struct {
    uint64_t position;
    uint64_t arrival_us;
    uint64_t epoch;
    uint64_t durable; /* known durable end as it is written; <= position */
    uint32_t ordinal;
    uint32_t type;
    uint32_t more; /* another frame of the same batch follows */
} ss_record_place;

/* A frame header as read, checked but not believed beyond its check. */
typedef struct {
    uint64_t position;
    uint64_t arrival_us;
    uint64_t epoch;
    uint64_t durable; /* 0 = not known */
    uint64_t hash;    /* H of format.h, for the body check */
    uint64_t body_check;
    uint32_t frame_size;
    uint32_t ordinal;
    uint32_t type;
    uint32_t flags;
    uint32_t attributes_size;
    uint32_t key_size_plus_one; /* 0 = no key */
    uint32_t data_size;
} ss_record_header;

/* The bytes that a seal takes in front of the body, in clear or (opened) as zeros. */
static inline uint32_t ss_record_seal_size(const ss_record_header *header)
{
    return header->flags & FRAME_FLAGS_SEAL ? SS_SEAL_SIZE : 0;
}

/* The frame size of an entry, or SS_TOO_LARGE / SS_INVALID. */
ss_status ss_record_frame_size(const ss_entry *entry, uint64_t record_size_max, uint64_t *size);
/* Write a frame at `to` (8-aligned), header last. */
void ss_record_write(uint8_t *to, const ss_entry *entry, uint64_t frame_size, const ss_record_place *place,
                     const ss_xxh3_key *salt);
/* Check the 48 header bytes at `from`: SS_CORRUPT unless check, position and sizes hold. */
ss_status ss_record_read_header(const uint8_t *from, uint64_t position, const ss_xxh3_key *salt, ss_record_header *out);
/* The same for a frame in a block whose check held: its own checks are zero. */
ss_status ss_record_read_packed(const uint8_t *from, uint64_t position, ss_record_header *out);
/* Turn a copy of a valid frame into one of a block, with this ordinal: position, epoch, arrival and content stay. */
void ss_record_pack(uint8_t *frame, uint32_t ordinal);
/* Check the body of a frame whose header held; `from` is the frame's start, all of frame_size bytes are there. */
ss_status ss_record_check_body(const uint8_t *from, const ss_record_header *header, const ss_xxh3_key *salt);
/* SS_FORMAT for a type or flag of a later version: such a frame counts as one, and its content must not be
 * interpreted. */
ss_status ss_record_check_known(const ss_record_header *header);
/* Fill the public view; frame_offset is where the frame stands in the caller's buffer, base_ordinal the records
 * before its segment. */
void ss_record_describe(const ss_record_header *header, const uint8_t *from, uint64_t frame_offset,
                        uint64_t base_ordinal, ss_record *out);
/* Move a valid frame under another salt and place (roll with copying): position, epoch, arrival and content stay. */
void ss_record_rewrite(uint8_t *to, const uint8_t *from, const ss_record_header *header, uint32_t ordinal,
                       uint64_t durable, const ss_xxh3_key *salt);

#endif
