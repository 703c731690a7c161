/* The 128-bit hash-key space, cut into the ranges of the open shards: which shard a key belongs to.
 * Knows no streams, no lineage and no logs; a shard is a number here. */
#ifndef STREAMSTORE_RANGES_H
#define STREAMSTORE_RANGES_H

#include "streamstore.h"

/* streamstore.h declares, because the binding needs them: ss_hash_key (hi, lo), ss_ranges and
 *   ss_ranges_create      a table from inclusive ranges in any order; SS_INVALID unless they tile the space exactly
 *   ss_ranges_free        accepts NULL
 *   ss_ranges_route       the shard whose range holds the hash key
 *   ss_ranges_route_keys  the same for partition keys, many at once; no allocation, and no digest with one open shard
 *   ss_ranges_hash        the hash key of a partition key: its MD5 as a big-endian number
 * A table is immutable: any number of threads may route by one. */

#endif
