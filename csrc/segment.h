/* One segment file: its header, its name, its bytes through a map or by pread. Knows frames only as something that
 * stands between a base position and an end. */
#ifndef STREAMSTORE_SEGMENT_H
#define STREAMSTORE_SEGMENT_H

#include <stdatomic.h>

#include "format.h"
#include "xxh3.h"

/* A header's facts. */
typedef struct {
    uint8_t store_id[16];
    uint32_t stream_id;
    uint32_t shard;
    uint64_t ordinal;
    uint64_t base;         /* position of the first frame */
    uint64_t previous_end; /* cuts all earlier segments there */
    uint64_t base_ordinal; /* records before the first frame */
    uint64_t epoch;        /* of the first frame written here */
    uint64_t salt;
    uint64_t created_us;
    uint64_t map_size;      /* address space; the file never grows past it */
    uint64_t copied_end;    /* frames in [base, copied_end) were copied and synced before the header was written */
    uint64_t floor_arrival; /* no frame here arrived before it, none before this segment after it */
    const uint8_t *description;
    uint32_t description_size;
    /* a packed segment alone: what its blocks hold, so that recovery need not expand them; packed = 0: frames */
    int packed;
    uint64_t packed_end;
    uint64_t packed_records;
    uint64_t packed_last_arrival;
    uint64_t packed_last_frame;
    uint64_t packed_index; /* file offset of the block index: where the blocks end */
    uint32_t packed_blocks;
    uint32_t packed_runs;
    uint64_t packed_index_check;
} ss_segment_facts;

struct ss_packed_index;
struct ss_packed_unsealer;

typedef struct {
    uint64_t position;
    uint64_t arrival_us;
    uint64_t ordinal; /* records before this frame, in the log */
} ss_segment_mark;

typedef struct {
    ss_segment_facts facts; /* description is not kept */
    ss_xxh3_key salt;
    int fd;       /* -1 = not open, or mapped from a description that was open for writing */
    uint8_t *map; /* NULL = not mapped */
    int writable;
    uint32_t opened_at_sync;      /* syncs of the log that had started when fd and map were opened */
    uint32_t refs;                /* guarded by the log's table lock */
    _Atomic uint32_t *open_files; /* the store's count of kept descriptors, while fd counts in it */
    /* a writable map: file offsets up to which pages are faulted in, and are being faulted in by somebody */
    _Atomic uint64_t populated;
    _Atomic uint64_t claimed;
    _Atomic int populate_failed;
    _Atomic uint64_t sealed_end; /* where the next live segment begins; 0 = active */
    _Atomic int index_looked_at; /* its trailer was looked for or written by this process */
    /* sparse index over [base, indexed_end), guarded by the log's index lock */
    ss_segment_mark *marks;
    size_t mark_count;
    size_t mark_capacity;
    uint64_t indexed_end;
    uint64_t indexed_ordinal; /* records before indexed_end */
    /* packed: which block holds what, loaded when the file is opened; and who opens blocks that are sealed */
    struct ss_packed_index *blocks;
    const struct ss_packed_unsealer *unsealer;
} ss_segment;

enum { SS_SEGMENT_NAME_SIZE = 96 };
#define SS_SEGMENT_ORDINAL_MAX UINT64_C(999999999999999999) /* the 18 digits that a file's name may have */
/* "directory/000000000001.seg" */
void ss_segment_name(const char *directory, uint64_t ordinal, char name[SS_SEGMENT_NAME_SIZE]);
/* The ordinal in a file name; 0 if it is none of ours. */
uint64_t ss_segment_ordinal(const char *name);

void ss_segment_encode_header(const ss_segment_facts *facts, uint8_t header[SS_SEGMENT_HEADER_SIZE]);
/* SS_NOT_FOUND: zero or torn, never committed. SS_CORRUPT: committed, then damaged; SS_FORMAT, SS_FOREIGN otherwise.
 * `description` points into `header`. */
ss_status ss_segment_decode_header(const uint8_t header[SS_SEGMENT_HEADER_SIZE], ss_segment_facts *facts);
/* Read and check the header of the segment at `name` under `root`; identity must match. */
ss_status ss_segment_read_header(int root, const char *name, const uint8_t store_id[16], uint32_t stream_id,
                                 uint32_t shard, ss_segment_facts *facts);

/* Whether the file at `name` has more than zeros behind where its header stands, or would. */
ss_status ss_segment_holds_something(int root, const char *name, int *something);

ss_segment *ss_segment_new(const ss_segment_facts *facts);
void ss_segment_free(ss_segment *segment);
/* How a file is opened: to read; to read and to sync; to write too. */
enum { SS_SEGMENT_READ = 0, SS_SEGMENT_SYNC = 1, SS_SEGMENT_WRITE = 2 };
/* Open the file and map it whole if it has at least `map_from` bytes (0: never). Address space past the file's end
 * is not to be touched: a file that was cut short is read by pread, where it reads as zeros. */
ss_status ss_segment_open(ss_segment *segment, int root, const char *name, int access, uint64_t map_from);
void ss_segment_unmap(ss_segment *segment);
/* Whether the file that was opened is the one whose header was read: a compacted one may have taken its name. */
ss_status ss_segment_still_there(const ss_segment *segment, int *same);
/* Copy bytes at `position` out, by map or pread. Not of a packed segment. Short files read as missing: SS_CORRUPT. */
ss_status ss_segment_copy(const ss_segment *segment, uint64_t position, void *to, size_t size);
ss_status ss_segment_sync(ss_segment *segment, uint64_t begin, uint64_t end);

static inline uint64_t ss_segment_offset(const ss_segment *segment, uint64_t position)
{
    return SS_SEGMENT_HEADER_SIZE + (position - segment->facts.base);
}

/* First position that no frame of this segment may reach. */
static inline uint64_t ss_segment_limit(const ss_segment *segment)
{
    return segment->facts.base + segment->facts.map_size - SS_SEGMENT_HEADER_SIZE -
           format_index_room(segment->facts.map_size);
}

#endif
