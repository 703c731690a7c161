/* The layout on disk, as derived offsets (docs/format.md has the tables and a worked example). Little-endian
 * throughout; numbers and magics here are for ever. Knows no I/O.
 *
 * A frame, 8-byte aligned; every header word of a real frame is non-zero, so that on zeroed space each torn store
 * leaves a zero word:
 *
 *   0        4        8                16               24               32               40               48
 *   +--------+--------+----------------+----------------+----------------+----------------+----------------+ body
 *   ... pad
 *   | header | frame  |    position    | arrival 52 bit | epoch   52 bit | ordinal 24 bit |   body check   |
 *   | check  | size   |                | key_size 12    | type 4 flags 8 | lag 24 attr 13 |                |
 *   |        |        |                |                |                | pad 3          |                |
 *   +--------+--------+----------------+----------------+----------------+----------------+----------------+
 *
 *   body = seal (32, if flagged) | attributes | explicit hash key (16, if flagged) | partition key | data | zero pad
 *   seal = key id 4 | nonce 12 | tag 16, in clear; attributes, partition key and data behind it are ciphertext
 *   header check = low 32 bits of H = XXH3-64(bytes 4..40, seed salt);  body check = XXH3-64(body, seed salt) ^ H, 0
 *   written as 1. So the body check covers header and position too.
 */
#ifndef STREAMSTORE_FORMAT_H
#define STREAMSTORE_FORMAT_H

#include <stdint.h>
#include <string.h>

#include "streamstore.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is little-endian and so are the machines it is written for"
#endif

enum {
    FRAME_CHECK = 0,
    FRAME_SIZE = FRAME_CHECK + 4,
    FRAME_POSITION = FRAME_SIZE + 4,
    FRAME_ARRIVAL = FRAME_POSITION + 8,
    FRAME_EPOCH = FRAME_ARRIVAL + 8,
    FRAME_ORDINAL = FRAME_EPOCH + 8,
    FRAME_BODY_CHECK = FRAME_ORDINAL + 8,
    FRAME_BODY = FRAME_BODY_CHECK + 8
};
_Static_assert(FRAME_BODY == SS_FRAME_HEADER_SIZE, "docs/format.md says 48");

enum {
    FRAME_FLAG_PRESENT = 1,  /* always set: keeps the word non-zero */
    FRAME_FLAG_HASH_KEY = 2, /* 16 bytes of explicit hash key follow the attributes */
    FRAME_FLAG_MORE = 4,     /* the next frame belongs to the same batch: recovery keeps a batch whole or not at all */
    FRAME_FLAG_SEALED = 8,   /* a seal stands in front of a body that is encrypted */
    FRAME_FLAG_OPENED = 16,  /* was sealed; compaction opened it: the seal's bytes are zero, the body is plain */
    FRAME_FLAGS_SEAL = FRAME_FLAG_SEALED | FRAME_FLAG_OPENED,
    FRAME_FLAGS_KNOWN = FRAME_FLAG_PRESENT | FRAME_FLAG_HASH_KEY | FRAME_FLAG_MORE | FRAME_FLAGS_SEAL
};
#define FRAME_BITS_52 ((UINT64_C(1) << 52) - 1)
#define FRAME_BITS_24 ((UINT64_C(1) << 24) - 1)
#define FRAME_EPOCH_MAX FRAME_BITS_52
/* The ordinal field counts data frames in the segment before this one, plus one; a segment is rolled before it
 * overflows. */
#define FRAME_ORDINAL_MAX (FRAME_BITS_24 - 1)
/* The lag field is (position - durable end when written) / 8; all ones = not known. */
#define FRAME_LAG_UNKNOWN FRAME_BITS_24

enum {
    SEGMENT_MAGIC = 0,
    SEGMENT_VERSION = SEGMENT_MAGIC + 8,
    SEGMENT_INCOMPAT = SEGMENT_VERSION + 4,
    SEGMENT_STORE_ID = SEGMENT_INCOMPAT + 4,
    SEGMENT_STREAM = SEGMENT_STORE_ID + 16,
    SEGMENT_SHARD = SEGMENT_STREAM + 4,
    SEGMENT_ORDINAL = SEGMENT_SHARD + 4,
    SEGMENT_BASE = SEGMENT_ORDINAL + 8,
    SEGMENT_PREVIOUS_END = SEGMENT_BASE + 8,
    SEGMENT_BASE_ORDINAL = SEGMENT_PREVIOUS_END + 8,
    SEGMENT_EPOCH = SEGMENT_BASE_ORDINAL + 8,
    SEGMENT_SALT = SEGMENT_EPOCH + 8,
    SEGMENT_CREATED = SEGMENT_SALT + 8,
    SEGMENT_MAP_SIZE = SEGMENT_CREATED + 8,
    SEGMENT_COPIED_END = SEGMENT_MAP_SIZE + 8,
    SEGMENT_FLOOR_ARRIVAL = SEGMENT_COPIED_END + 8,
    SEGMENT_RESERVED = SEGMENT_FLOOR_ARRIVAL + 8,
    SEGMENT_DESCRIPTION_SIZE = SEGMENT_RESERVED + 4,
    SEGMENT_DESCRIPTION = SEGMENT_DESCRIPTION_SIZE + 4,
    SEGMENT_CHECK = SS_SEGMENT_HEADER_SIZE - 8
};
_Static_assert(SEGMENT_DESCRIPTION == 128, "docs/format.md says 128");

/* Features of one segment file that a reader must know. */
enum {
    SEGMENT_INCOMPAT_PACKED = 1, /* blocks of frames instead of frames: compacted */
    SEGMENT_INCOMPAT_KNOWN = SEGMENT_INCOMPAT_PACKED
};

/* A packed segment says in the spare bytes behind the description what it holds. */
enum {
    SEGMENT_PACKED_END = SEGMENT_DESCRIPTION + SS_DESCRIPTION_SIZE_MAX,
    SEGMENT_PACKED_RECORDS = SEGMENT_PACKED_END + 8,
    SEGMENT_PACKED_LAST_ARRIVAL = SEGMENT_PACKED_RECORDS + 8,
    SEGMENT_PACKED_LAST_FRAME = SEGMENT_PACKED_LAST_ARRIVAL + 8,
    SEGMENT_PACKED_INDEX = SEGMENT_PACKED_LAST_FRAME + 8,
    SEGMENT_PACKED_BLOCKS = SEGMENT_PACKED_INDEX + 8,
    SEGMENT_PACKED_RUNS = SEGMENT_PACKED_BLOCKS + 4,
    SEGMENT_PACKED_INDEX_CHECK = SEGMENT_PACKED_RUNS + 4,
    SEGMENT_PACKED_SPARE = SEGMENT_PACKED_INDEX_CHECK + 8
};
_Static_assert(SEGMENT_PACKED_END == 3968, "docs/format.md says 3968");
_Static_assert((int)SEGMENT_PACKED_SPARE <= (int)SEGMENT_CHECK, "what describes a packed segment fits");

/* A block of a packed segment, 8-byte aligned: whole frames with their checks zeroed, as they are, as an LZ4 block, or
 * as an encrypted one.
 *   check 8 | position 8 | raw size 4 | stored size 4 | flags 4 | key id 4 | nonce 12 | tag 16 | zero 4 | stored bytes
 *   check = XXH3-64(all behind it, seed salt) */
enum {
    BLOCK_CHECK = 0,
    BLOCK_POSITION = BLOCK_CHECK + 8,
    BLOCK_RAW_SIZE = BLOCK_POSITION + 8,
    BLOCK_STORED_SIZE = BLOCK_RAW_SIZE + 4,
    BLOCK_FLAGS = BLOCK_STORED_SIZE + 4,
    BLOCK_KEY_ID = BLOCK_FLAGS + 4,
    BLOCK_NONCE = BLOCK_KEY_ID + 4,
    BLOCK_TAG = BLOCK_NONCE + 12,
    BLOCK_RESERVED = BLOCK_TAG + 16,
    BLOCK_STORED = BLOCK_RESERVED + 4
};
_Static_assert((int)BLOCK_STORED == SS_BLOCK_HEADER_SIZE, "docs/format.md says 64");

enum {
    BLOCK_FLAG_LZ4 = SS_BLOCK_LZ4,
    BLOCK_FLAG_SEALED = SS_BLOCK_SEALED,
    BLOCK_FLAGS_KNOWN = BLOCK_FLAG_LZ4 | BLOCK_FLAG_SEALED
};
/* Frames are put into a block as long as it stays within this size; a longer frame has one for itself. So two blocks in
 * a row have more than this together, which bounds their number. */
#define BLOCK_SIZE (UINT32_C(64) << 10)
#define BLOCK_SIZE_MAX (UINT32_C(16) << 20) /* what a reader is asked to expand at once */

/* Behind the blocks: position 8, arrival 8, records of the log before 8, file offset 8 of each block, then position 8
 * and epoch 8 of each frame under an epoch above all before it. */
enum { PACKED_MARK_SIZE = 32, PACKED_RUN_SIZE = 16 };
_Static_assert(SEGMENT_DESCRIPTION + SS_DESCRIPTION_SIZE_MAX <= SEGMENT_CHECK, "the description fits");

#define SEGMENT_MAGIC_VALUE UINT64_C(0x0a0d1a4745535353) /* "SSSEG" 1a 0d 0a: text-mode copies damage it visibly */
#define INDEX_MAGIC_VALUE UINT64_C(0x0a0d1a5844495353)   /* "SSIDX" 1a 0d 0a */

/* The index trailer of a sealed segment, at the 8-byte aligned end of its frames: a hint, rebuilt by scanning where
 * it does not hold.
 *   magic 8 | version 4 | entries 4 | ordinal of the segment 8 | end position 8 | records 8 | (position 8, arrival
 *   8, ordinal 8) * entries | check 8 */
enum {
    INDEX_VERSION = 8,
    INDEX_ENTRIES = INDEX_VERSION + 4,
    INDEX_ORDINAL = INDEX_ENTRIES + 4,
    INDEX_END = INDEX_ORDINAL + 8,
    INDEX_RECORDS = INDEX_END + 8,
    INDEX_FIRST = INDEX_RECORDS + 8,
    INDEX_ENTRY_SIZE = 24,
    INDEX_STRIDE = 64 * 1024 /* an entry for the first frame in each 64 KiB of positions */
};

#define SEGMENT_SIZE_DEFAULT (UINT64_C(128) << 20)
#define SEGMENT_SIZE_MIN (UINT64_C(128) << 10)
#define SEGMENT_SIZE_LIMIT (UINT64_C(3) << 30)
#define ALLOCATE_STEP_MIN (UINT64_C(64) << 10)
#define ALLOCATE_STEP_MAX (UINT64_C(32) << 20)
#define RECORD_SIZE_LIMIT (UINT64_C(1) << 30)

static inline uint64_t format_align8(uint64_t size)
{
    return (size + 7) & ~UINT64_C(7);
}

static inline uint64_t format_load64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline uint32_t format_load32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void format_store64(uint8_t *to, uint64_t value)
{
    memcpy(to, &value, sizeof value);
}

static inline void format_store32(uint8_t *to, uint32_t value)
{
    memcpy(to, &value, sizeof value);
}

/* Room that a segment keeps for its index trailer. */
static inline uint64_t format_index_room(uint64_t map_size)
{
    return INDEX_FIRST + (map_size / INDEX_STRIDE + 2) * INDEX_ENTRY_SIZE + 8;
}

#endif
