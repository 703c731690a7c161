/* Aggregated records in the KPL's format: several user records in the data of one record of a stream.
 *
 * F3 89 9A C2, a protobuf message, and the 16 bytes of its MD5. The message: field 1, repeated, the partition keys;
 * field 2, repeated, explicit hash keys as decimal digits; field 3, repeated, the user records, each a message of
 * field 1 (which partition key, from 0), field 2 (which explicit hash key; may be absent), field 3 (the data) and
 * field 4 (tags, which nobody uses). Knows bytes: no stream, no shard, no Python. */
#ifndef STREAMSTORE_AGGREGATE_H
#define STREAMSTORE_AGGREGATE_H

#include <stddef.h>
#include <stdint.h>

#include "streamstore.h"

/* Nothing longer is taken for an aggregate: it is what the largest record of the service can carry. So offsets in one
 * fit 32 bits. */
#define SS_AGGREGATE_SIZE_MAX ((size_t)10 << 20)

/* What is around the message: the magic number before it, the digest behind it. */
enum { SS_AGGREGATE_MAGIC_SIZE = 4, SS_AGGREGATE_DIGEST_SIZE = 16, SS_AGGREGATE_OVERHEAD = 20 };

/* Where one user record lies, in bytes from the start of the aggregate. */
typedef struct {
    uint32_t data_offset;
    uint32_t data_size;
    uint32_t key_offset;
    uint32_t key_size;
    ss_hash_key hash_key;
    int hash_key_present;
} ss_aggregate_record;

/* A stretch of the aggregate. */
typedef struct {
    uint32_t offset;
    uint32_t size;
} ss_aggregate_slice;

/* How much there is of each kind, and so how much room decoding needs. */
typedef struct {
    size_t key_count;
    size_t hash_key_count;
    size_t record_count;
} ss_aggregate_shape;

/* Whether these bytes are an aggregate, and of which shape; SS_NOT_FOUND for all else, and for one whose digest or
 * structure does not hold. Decoding may still find it broken. */
ss_status ss_aggregate_open(const uint8_t *bytes, size_t size, ss_aggregate_shape *shape);

/* The user records of what ss_aggregate_open took, into arrays of at least the shape's counts. SS_NOT_FOUND, with
 * `records` in no particular state, where an index leads nowhere or a hash key is none. */
ss_status ss_aggregate_decode(const uint8_t *bytes, size_t size, const ss_aggregate_shape *shape,
                              ss_aggregate_slice *keys, ss_aggregate_slice *hash_keys, ss_aggregate_record *records);

/* The hash key of each record: its explicit one, else the MD5 of its partition key. */
void ss_aggregate_hashes(const uint8_t *bytes, const ss_aggregate_record *records, size_t count, ss_hash_key *hashes);

/* Scratch of making aggregates out of an array of entries; whoever makes several out of one array uses one of these,
 * and takes the entries in order. Both tables are zeros at first and have 2^bits slots. */
typedef struct {
    uint32_t *key_index;      /* one an entry: which of the aggregate's keys; the top bit: the first with it */
    uint32_t *hash_key_index; /* the same for explicit hash keys, where present */
    uint32_t *key_table;
    uint32_t *hash_key_table;
    unsigned bits;
} ss_aggregate_scratch;

/* Enough for the tables that make aggregates of those limits out of `count` entries. */
unsigned ss_aggregate_table_bits(size_t count, size_t size_max, size_t count_max);

typedef struct {
    size_t begin; /* the first of its entries */
    size_t count; /* entries that go in, at least 1 */
    size_t size;  /* of the aggregate with them, in bytes */
    uint8_t *out; /* where it is to be written; NULL: it is not */
} ss_aggregate_plan;

/* How many of the entries from `begin` on fit into one aggregate of at most `size_max` bytes and `count_max` records.
 * One is taken whatever its size: an aggregate of one is not to be made, its entry goes as it is. Every entry has a
 * partition key. `plan->out` is NULL. */
void ss_aggregate_fit(const ss_entry *entries, size_t begin, size_t count, size_t size_max, size_t count_max,
                      ss_aggregate_scratch *scratch, ss_aggregate_plan *plan);

/* Write the aggregates that ss_aggregate_fit planned with this scratch, all plan->size bytes of each. Several at a
 * time, because their digests, most of the work, are had at once. */
void ss_aggregate_write(const ss_entry *entries, const ss_aggregate_plan *plans, size_t plan_count,
                        const ss_aggregate_scratch *scratch);

/* These functions, for whoever reaches the core through its table. */
struct ss_aggregate_calls {
    ss_status (*open)(const uint8_t *, size_t, ss_aggregate_shape *);
    ss_status (*decode)(const uint8_t *, size_t, const ss_aggregate_shape *, ss_aggregate_slice *, ss_aggregate_slice *,
                        ss_aggregate_record *);
    void (*hashes)(const uint8_t *, const ss_aggregate_record *, size_t, ss_hash_key *);
    unsigned (*table_bits)(size_t, size_t, size_t);
    void (*fit)(const ss_entry *, size_t, size_t, size_t, size_t, ss_aggregate_scratch *, ss_aggregate_plan *);
    void (*write)(const ss_entry *, const ss_aggregate_plan *, size_t, const ss_aggregate_scratch *);
};
extern const ss_aggregate_calls ss_aggregate_functions;

#endif
