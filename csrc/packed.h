/* A packed segment: blocks of frames instead of frames, an index of the blocks behind them. What stands in the file is
 * checked and bounded here before anything is done with it. Expanded frames keep position, epoch, arrival and content;
 * their own checks are zero, since the block's covers them. */
#ifndef STREAMSTORE_PACKED_H
#define STREAMSTORE_PACKED_H

#include "record.h"
#include "segment.h"

/* The first frame of a block, and where the block stands. */
typedef struct {
    uint64_t position;
    uint64_t arrival_us;
    uint64_t ordinal; /* records of the log before the block */
    uint64_t offset;  /* in the file */
} ss_packed_mark;

/* The first frame under an epoch above those before it. */
typedef struct {
    uint64_t position;
    uint64_t epoch;
} ss_packed_run;

typedef struct ss_packed_index {
    size_t count;
    size_t run_count;
    int holds; /* 0: the one in the file did not, and this was made from the blocks */
    ss_packed_run *runs;
    ss_packed_mark marks[]; /* one more than count: where the last block ends */
} ss_packed_index;

/* Who opens sealed blocks: set once for a store, before anything is read. */
typedef struct ss_packed_unsealer {
    ss_unseal function;
    void *context;
} ss_packed_unsealer;

/* A block's header, bounded. */
typedef struct {
    uint64_t position;
    uint32_t raw_size;
    uint32_t stored_size;
    uint32_t flags;
    uint32_t key_id;
    uint8_t nonce[12];
    uint8_t tag[16];
} ss_packed_header;

/* Frames of one block, expanded; used by one caller at a time. */
typedef struct {
    uint64_t salt; /* of the segment, which names it */
    uint64_t position;
    uint64_t end;    /* position == end: nothing is in it */
    uint64_t walked; /* a frame boundary, from which the next look begins */
    uint8_t *bytes;
    size_t capacity;
} ss_packed_block;

/* What is sealed along with a block, so that it opens nowhere else. */
enum { SS_PACKED_ASSOCIATED_SIZE = 32 };
void ss_packed_associate(const ss_segment_facts *facts, const ss_packed_header *header,
                         uint8_t associated[SS_PACKED_ASSOCIATED_SIZE]);
/* Write a block's header in front of its stored bytes, which stand at bytes + SS_BLOCK_HEADER_SIZE. */
void ss_packed_encode(const ss_packed_header *header, const ss_xxh3_key *salt, uint8_t *bytes);
/* SS_CORRUPT unless the header's numbers can be true of this segment; its check is not looked at. */
ss_status ss_packed_decode(const ss_segment_facts *facts, const uint8_t bytes[SS_BLOCK_HEADER_SIZE],
                           ss_packed_header *header);

/* The index of the file at `fd`; where it does not hold, one made by walking the blocks. */
ss_status ss_packed_index_load(const ss_segment *segment, int fd, ss_packed_index **out);
void ss_packed_index_free(ss_packed_index *index);
/* Bytes that marks and runs take in the file, and how they are written there. */
uint64_t ss_packed_index_size(uint64_t blocks, uint64_t runs);
void ss_packed_index_encode(const ss_packed_mark *marks, size_t count, const ss_packed_run *runs, size_t run_count,
                            uint8_t *bytes);
/* The block that holds a position of [base, end). */
size_t ss_packed_index_find(const ss_packed_index *index, uint64_t position);

/* Read block i, check it and expand it to `to`, which has room for the bytes between its mark and the next. SS_CORRUPT:
 * it is damaged; SS_NO_KEY: it is sealed, and nobody here can open it. */
ss_status ss_packed_expand(const ss_segment *segment, int fd, const ss_packed_index *index, size_t i, uint8_t *to);
/* The same into a block of its own; what that held is lost. */
ss_status ss_packed_load(const ss_segment *segment, int fd, const ss_packed_index *index, size_t i,
                         ss_packed_block *block);
void ss_packed_release(ss_packed_block *block);
/* The first frame at or after `position` in the block; SS_NOT_FOUND behind the last, SS_CORRUPT where the frames do not
 * follow one another (*header then says where they end: in its position). */
ss_status ss_packed_frame(ss_packed_block *block, uint64_t position, ss_record_header *header, const uint8_t **frame);

#endif
