/* The public interface of the core. Conventions, for every function here:
 *
 *  1. Status out, results through pointers; results are untouched unless the status is SS_OK (or says otherwise).
 *  2. An ss_store is one attachment of one process to one directory; an ss_log is one shard (or the catalog) seen
 *     through it. Any thread may call anything at any time. ss_store_close ends every wait and every later call with
 *     SS_CLOSED; ss_store_free releases the memory and may run only when no call is in flight. Logs live until
 *     ss_store_free.
 *  3. Positions are bytes in a log's endless address space, multiples of 8, starting at SS_FIRST_POSITION. A record's
 *     position and epoch make its sequence number; the position of the record after it is position + frame size.
 *  4. Times are microseconds: `_us` since 1970 UTC; timeouts are relative, negative means without limit.
 *  5. A sleep is bounded and interruptible: SS_INTERRUPTED means a signal came before anything was done.
 *  6. Bytes returned were copied into the caller's buffer and verified there.
 */
#ifndef STREAMSTORE_H
#define STREAMSTORE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* cffi: begin */
#define SS_FIRST_POSITION 64
#define SS_FORMAT_VERSION 1
#define SS_KEY_SIZE_MAX 1024
#define SS_ATTRIBUTES_SIZE_MAX 4096
#define SS_DESCRIPTION_SIZE_MAX 3840
#define SS_FRAME_HEADER_SIZE 48
#define SS_SEAL_SIZE 32
#define SS_SEGMENT_HEADER_SIZE 4096
#define SS_BLOCK_HEADER_SIZE 64

typedef struct ss_store ss_store;
typedef struct ss_log ss_log;

/* What an acknowledgement waits for; stored with the stream (DESIGN section 2). */
enum { SS_DURABILITY_SYNC = 0, SS_DURABILITY_INTERVAL = 1, SS_DURABILITY_PROCESS = 2 };

/* Frame types on disk; numbers are for ever. */
enum { SS_FRAME_DATA = 1, SS_FRAME_CLOSE = 2, SS_FRAME_EPOCH = 3, SS_FRAME_PAD = 4 };

enum {
    SS_OPEN_CREATE = 1,    /* make the store where there is none */
    SS_OPEN_READ_ONLY = 2, /* never change a byte of data; private recovery where nobody has the store open */
    SS_OPEN_PWRITE = 4     /* use the pwrite backend whatever the file system */
};

/* Facts on an attachment, fixed at open. */
typedef struct {
    uint8_t store_id[16];
    uint64_t incarnation;
    uint32_t slot;
    int created;      /* this call made the store */
    int first_opener; /* this call made the incarnation */
    int hints_known;  /* an earlier control file was there to take hints from */
    int read_only;
    int private_recovery; /* read-only with nobody else there: a frozen view */
    int mmap_backend;
} ss_store_info;

ss_status ss_store_open(const char *path, int flags, ss_store **out);
/* Everything is released whatever it returns: SS_OK, or why records of an interval or process stream that were
 * acknowledged are not known to be durable. The second call does nothing. */
ss_status ss_store_close(ss_store *store);
void ss_store_free(ss_store *store);
/* In a forked child: drop inherited lock descriptors and refuse every later call with SS_FORKED. */
void ss_store_after_fork(ss_store *store);
void ss_store_info_get(const ss_store *store, ss_store_info *out);
/* Sync every log with anything unsynced by any process. Durable at return: all that was published before the call. */
ss_status ss_store_flush(ss_store *store);
/* How often interval logs are synced by this process; 100,000 unless set. */
ss_status ss_store_sync_interval_set(ss_store *store, int64_t interval_us);
/* Epochs handed out from now on are above `epoch` (a delete, clear or restore raises this first). */
ss_status ss_store_epoch_raise(ss_store *store, uint64_t epoch);
uint64_t ss_store_epoch_counter(ss_store *store);
/* The wall clock, and by how much it differs from where the boot clock says it should stand: counted from when the
 * first incarnation of this boot was made, or the clock was last accepted. */
ss_status ss_store_clock(ss_store *store, uint64_t *wall_us, int64_t *jump_us);
/* Take the wall clock as it is now for right, in every process. */
ss_status ss_store_clock_accept(ss_store *store);
/* When maintenance last went through the store, in any process: for those who take turns, and for people. */
void ss_store_maintained_set(ss_store *store, uint64_t when_us);
uint64_t ss_store_maintained(ss_store *store);
/* Make the file that a full disk spends, where it is missing; SS_FULL where there is no space for it. */
ss_status ss_store_reserve(ss_store *store);
/* What the first opener of a store needs to know of a log in it, where the store was put together file by file: how
 * far its files are durable (each file synced before), and a frame's position at or below that. */
typedef struct {
    uint32_t stream_id;
    uint32_t shard;
    uint32_t durability;
    uint64_t durable;
    uint64_t frame;
} ss_seed;
/* Write the control file of a directory that has none and that nobody has open. All logs in it are named: one that is
 * not was never written. Durable at return but for its name. */
ss_status ss_store_seed(const char *path, const uint8_t store_id[16], uint64_t epoch_counter, const ss_seed *seeds,
                        size_t count);
/* 0, or the errno of the failed sync that poisoned the store. */
int ss_store_poison(ss_store *store);
/* Store-wide activity: read the word first, look for work, then wait for it to differ. Returns SS_OK on a change. */
uint32_t ss_store_watch(ss_store *store);
ss_status ss_store_wait(ss_store *store, uint32_t seen, int64_t timeout_us);
/* Wake every wait of this process on the store (readers re-check whether they were closed). */
void ss_store_wake(ss_store *store);

/* How blocks of compacted segments are stored; a bit each, for ever. */
enum { SS_BLOCK_LZ4 = 1, SS_BLOCK_SEALED = 2 };
/* Open `size` sealed bytes into as many at `opened` (AES-256-GCM); SS_NO_KEY where there is no key, SS_CORRUPT where
 * the tag does not hold. Called from any thread with no lock held. */
typedef ss_status (*ss_unseal)(void *context, uint32_t stream_id, uint32_t key_id, const uint8_t *nonce,
                               const uint8_t *tag, const uint8_t *associated, size_t associated_size,
                               const uint8_t *sealed, size_t size, uint8_t *opened);
/* Who opens sealed blocks. Set it before anything is read; without one, reading them is SS_NO_KEY. */
void ss_store_unsealer_set(ss_store *store, ss_unseal function, void *context);

/* What a log needs to know when its first segment is made here. `description` is msgpack for rebuilding the catalog:
 * stream name, hash range, parents, limits; it is copied. */
typedef struct {
    int durability;
    uint64_t segment_size_max; /* bytes of address space a segment maps; 0 = 128 MiB; multiples of 64 KiB */
    uint64_t record_size_max;  /* key and data together */
    uint64_t epoch_floor;      /* the first epoch is above this (parents' and the catalog's) */
    uint64_t start_position;   /* trim horizon known to the catalog; 0 = none */
    const uint8_t *description;
    size_t description_size;
    uint64_t arrival_floor_us; /* no record arrives before it: a shard's parents' last arrival; 0 = none */
    uint64_t reserve_size;     /* bytes that stay allocated behind every append without SS_APPEND_RESERVE; 0 = none */
} ss_log_options;

/* Attach to a log, by its directory ids; nothing is created on disk before the first append. Recovers nothing yet. */
ss_status ss_store_log(ss_store *store, uint32_t stream_id, uint32_t shard, const ss_log_options *options,
                       ss_log **out);

/* One record to append. key_size -1 = no partition key. hash_key_present adds an explicit hash key (hi, lo). Where
 * `seal` is not NULL, its SS_SEAL_SIZE bytes (key id, nonce, tag) say how attributes, key and data were encrypted. */
typedef struct {
    const uint8_t *data;
    size_t data_size;
    const uint8_t *key;
    int32_t key_size;
    uint32_t attributes_size;
    const uint8_t *attributes;
    uint64_t hash_key_hi;
    uint64_t hash_key_lo;
    int hash_key_present;
    const uint8_t *seal;
} ss_entry;

enum {
    SS_APPEND_TRY = 1,    /* never sleep and make no slow system call: SS_WOULD_BLOCK instead, with nothing done */
    SS_APPEND_CLOSE = 2,  /* the entries (one) become a close frame, alone in its segment; synced before it is shown */
    SS_APPEND_RESERVE = 4 /* may use the log's reserve and, on a full disk, the store's */
};

typedef struct {
    uint64_t epoch;
    uint64_t first_position;
    uint64_t end_position; /* pass to ss_log_sync to make the batch durable */
    uint64_t arrival_us;
} ss_appended;

/* Append a batch, whole and contiguous; visible to readers at once (sync logs: once durable). `positions`, where not
 * NULL, takes one position an entry. expected_tail, where not 0, must equal the tail or SS_TAIL_MISMATCH. Published,
 * not durable, at return. */
ss_status ss_log_append(ss_log *log, const ss_entry *entries, size_t count, uint64_t expected_tail, int flags,
                        uint64_t *positions, ss_appended *out);
/* As ss_log_append, for a writer bound under `terms` of the stream: SS_CHANGED where newer ones hold (0 = never). */
ss_status ss_log_append_under(ss_log *log, uint32_t terms, const ss_entry *entries, size_t count,
                              uint64_t expected_tail, int flags, uint64_t *positions, ss_appended *out);
/* From its return on, no append under terms older than these is let in, by any process, in this incarnation, and what
 * is appended under these terms here stands in a segment with this description (size 0: the one there is). */
ss_status ss_log_terms_raise(ss_log *log, uint32_t terms, const uint8_t *description, size_t description_size);
/* Return once everything below `end_position` is durable (group commit); 0 = the tail as of the call. */
ss_status ss_log_sync(ss_log *log, uint64_t end_position);

typedef struct {
    uint64_t start;              /* trim horizon: the first position that may be read */
    uint64_t tail;               /* end of what is published */
    uint64_t durable;            /* end of what is known durable */
    uint64_t visible;            /* end of what readers may see */
    uint64_t epoch;              /* of the latest publish or recovery; 0 = never written */
    uint64_t record_count;       /* records ever published (ordinal of the newest) */
    uint64_t start_record_count; /* records before `start` */
    uint64_t last_arrival_us;
    uint64_t segment_ordinal;
    uint64_t segment_base;
    uint64_t allocated_bytes; /* of the active segment */
    int closed;               /* a close frame ends it */
    int durability;
} ss_log_state;

/* Recovers the log if this incarnation has not touched it yet. */
ss_status ss_log_state_get(ss_log *log, ss_log_state *out);

/* One decoded frame inside a caller's buffer; offsets count from the buffer's start. */
typedef struct {
    uint64_t position;
    uint64_t epoch;
    uint64_t arrival_us;
    uint64_t ordinal; /* of this record in its log, from 1 */
    uint64_t hash_key_hi;
    uint64_t hash_key_lo;
    uint32_t frame_offset;
    uint32_t frame_size;
    uint32_t attributes_offset;
    uint32_t attributes_size;
    uint32_t key_offset;
    int32_t key_size; /* -1 = none */
    uint32_t data_offset;
    uint32_t data_size;
    uint16_t type;
    uint16_t hash_key_present;
    uint32_t seal_offset; /* of the seal of an encrypted record; 0 = plain */
} ss_record;

typedef struct {
    size_t count;           /* records filled in */
    size_t used;            /* bytes of the buffer in use */
    uint64_t next_position; /* read on from here */
    uint64_t visible;       /* the visible end that this call saw */
    uint64_t damage_begin;  /* SS_CORRUPT: the damaged range (after `count` good records before it) */
    uint64_t damage_end;
    uint64_t size_needed; /* SS_SMALL */
    int end_of_log;       /* a close frame was reached */
    int sealed;           /* some record among them is encrypted */
} ss_read_result;

/* Copy up to `limit` records at or after `position` (to before `end`, 0 = visible end) into `buffer`. Position must
 * be a frame boundary (as returned by this interface) or start; ss_log_seek finds one for any number. SS_CORRUPT
 * still delivers the records before the damage. At the visible end: SS_OK, count 0. */
ss_status ss_log_read(ss_log *log, uint64_t position, uint64_t end, uint8_t *buffer, size_t buffer_size,
                      ss_record *records, size_t limit, ss_read_result *result);
/* Records as columns: arrays with a row for each of `limit` records, views of 16 bytes (Arrow's) into the buffer of
 * frames, presence a bit a row. The arrays of attributes are filled where attributes_count > 0 alone. */
typedef struct {
    uint64_t *position;
    uint64_t *epoch;
    uint64_t *ordinal;
    uint64_t *arrival_us;
    uint8_t *data;
    uint8_t *key;
    uint8_t *attributes;
    uint8_t *key_present;
    uint8_t *attributes_present;
    size_t key_count; /* rows with a key, set by the call */
    size_t attributes_count;
} ss_columns;
/* As ss_log_read, into columns and without an array of records; the buffer has at most INT32_MAX bytes. */
ss_status ss_log_read_columns(ss_log *log, uint64_t position, uint64_t end, uint8_t *buffer, size_t buffer_size,
                              ss_columns *columns, size_t limit, ss_read_result *result);
/* The record exactly at (position, epoch); SS_NOT_FOUND if none stands there. epoch 0 = any. */
ss_status ss_log_get(ss_log *log, uint64_t position, uint64_t epoch, uint8_t *buffer, size_t buffer_size,
                     ss_record *record, ss_read_result *result);
/* First frame boundary at or after `position` (never into a frame); the tail where there is none. */
ss_status ss_log_seek(ss_log *log, uint64_t position, uint64_t *out);
/* First record whose arrival is at or after `arrival_us`; the visible end where there is none. */
ss_status ss_log_seek_time(ss_log *log, uint64_t arrival_us, uint64_t *out);
/* First record whose ordinal is at or above `ordinal`; the visible end where there is none. */
ss_status ss_log_seek_ordinal(ss_log *log, uint64_t ordinal, uint64_t *out);
/* The epoch of what stands before `position`, or a later one that began before it; 0 = nothing stands there. */
ss_status ss_log_epoch_at(ss_log *log, uint64_t position, uint64_t *epoch);
/* Where the first frame under an epoch above `epoch` stands, the tail if there is none: a reader that came further
 * under `epoch` has not seen what stands from there on. */
ss_status ss_log_epoch_after(ss_log *log, uint64_t epoch, uint64_t *position);
/* Return once something is visible at or beyond `position` (SS_OK), the timeout passed (SS_TIMEOUT), or
 * ss_store_wake / ss_log_wake came (SS_OK too). */
ss_status ss_log_wait(ss_log *log, uint64_t position, int64_t timeout_us);
void ss_log_wake(ss_log *log);
/* No append ends beyond `position` from now on, in any process: SS_QUOTA, with nothing done; 0 = no limit. Holds for
 * this incarnation. */
ss_status ss_log_limit_set(ss_log *log, uint64_t position);
uint64_t ss_log_limit_get(const ss_log *log);
/* One live segment, from memory: what a decision about trimming needs. No record before `base` arrived after
 * `floor_arrival_us`, and none from there on before it. */
typedef struct {
    uint64_t ordinal;
    uint64_t base;
    uint64_t base_ordinal;
    uint64_t floor_arrival_us;
    uint64_t created_us;
} ss_live_segment;
/* The live segments, oldest first; reads no file that this process has seen before. */
ss_status ss_log_live_segments(ss_log *log, ss_live_segment *segments, size_t limit, size_t *count);
/* Start a new segment at the tail, so that everything before can be trimmed; it takes one page of disk until it is
 * written to. expected_tail as in append. */
ss_status ss_log_roll(ss_log *log, uint64_t expected_tail);
/* Readers see nothing before `position` from now on (in this incarnation; the caller has made it durable in the
 * catalog), and segments wholly before it are unlinked. */
ss_status ss_log_trim(ss_log *log, uint64_t position, uint64_t *bytes_freed);
/* The data of the close frame that ends the log, into `buffer`: SS_NOT_FOUND where none does, SS_SMALL (and *size)
 * where the buffer is too small. */
ss_status ss_log_close_data(ss_log *log, uint8_t *buffer, size_t buffer_size, size_t *size);
/* Drop the log's maps and descriptors and let no append in; for streams that are being deleted. */
ss_status ss_log_retire(ss_log *log);

/* One segment as listed on disk, oldest first. */
typedef struct {
    uint64_t ordinal;
    uint64_t base;
    uint64_t end; /* where the next live segment begins, or the tail */
    uint64_t base_ordinal;
    uint64_t epoch;
    uint64_t salt;
    uint64_t file_size;
    uint64_t disk_bytes;
    uint64_t created_us;
    int sealed;        /* a later live segment exists */
    int index_present; /* its index trailer is there and valid */
    int live;          /* 0: cut away by a later segment, or never committed */
    int packed;        /* compacted: blocks of frames */
} ss_segment_info;

ss_status ss_log_segments(ss_log *log, ss_segment_info *segments, size_t limit, size_t *count);

/* Making one compacted segment of sealed, durable ones that follow one another: begin, then next and put until all
 * blocks are through, then finish until nothing is left, then commit. One such at a time for a log, whoever holds the
 * store's maintenance lock; nothing of the log changes before the commit, which is one rename. Not to be used by two
 * threads at once. */
typedef struct ss_pack ss_pack;
/* `first` and `last` are ordinals of live segments. SS_INVALID where they may not be packed: not sealed, not durable,
 * not there, too large together. */
ss_status ss_log_pack_begin(ss_log *log, uint64_t first, uint64_t last, ss_pack **out);
/* A block as it was handed out: whole frames, their checks zero. */
typedef struct {
    uint64_t position;
    uint64_t offset; /* in the buffer */
    uint64_t size;
    uint64_t sealed_frames; /* frames in it whose content is encrypted */
    uint64_t opened_frames; /* frames whose content was, until they were packed */
} ss_pack_block;
/* Hand out up to `limit` blocks into `buffer`; *count 0: there are no more. SS_SMALL: not one fits, blocks[0].size is
 * needed. SS_CORRUPT: the source is damaged, SS_TOO_LARGE: a frame is too long for a block: leave the segment alone. */
ss_status ss_log_pack_next(ss_pack *pack, uint8_t *buffer, size_t buffer_size, ss_pack_block *blocks, size_t limit,
                           size_t *count);
/* Write the blocks of the last `next`, in order: `raw` as it shall be read back (its frames as handed out, or with
 * encrypted ones opened), `stored` as it shall stand in the file. */
typedef struct {
    const uint8_t *raw;
    const uint8_t *stored;
    uint64_t raw_size;
    uint64_t stored_size;
    uint32_t flags; /* SS_BLOCK_LZ4, SS_BLOCK_SEALED */
    uint32_t key_id;
    uint8_t nonce[12];
    uint8_t tag[16];
} ss_pack_stored;
ss_status ss_log_pack_put(ss_pack *pack, const ss_pack_stored *block);
/* Both in one for up to `limit` blocks, compressed here; *count were done. Fewer: it is at the end, or the next block
 * has encrypted frames, or frames that were, and is for `next` and `put`. */
ss_status ss_log_pack_some(ss_pack *pack, size_t limit, size_t *count);
/* What is to be sealed along with a block: 32 bytes. */
void ss_log_pack_associate(const ss_pack *pack, uint64_t position, const ss_pack_stored *block, uint8_t associated[32]);
/* Sync what was written, then read up to `limit` blocks of it back and compare each frame with the original; *left
 * blocks are still to be read. */
ss_status ss_log_pack_finish(ss_pack *pack, size_t limit, size_t *left);
/* Put it in the place of the segments it was made of. SS_CHANGED: the log changed meanwhile, nothing was done. */
ss_status ss_log_pack_commit(ss_pack *pack);
/* Let go; what was not committed is removed. */
void ss_log_pack_free(ss_pack *pack);
typedef struct {
    uint64_t position; /* everything before it was handed out */
    uint64_t end;
    uint64_t base;
    uint64_t stored_bytes; /* of the file so far */
} ss_pack_progress;
void ss_log_pack_progress_get(const ss_pack *pack, ss_pack_progress *out);
/* Remove what packers that died left: files aside, and segments that a packed one replaced. Only for who holds the
 * maintenance lock. */
ss_status ss_log_pack_clean(ss_log *log, size_t *removed);

/* Check every frame of [begin, end) in the log by reading the files, not the maps. Fills damaged ranges; *count may
 * exceed limit. */
typedef struct {
    uint64_t begin;
    uint64_t end;
    uint64_t segment_ordinal;
    uint64_t file_offset;
    uint64_t first_ordinal; /* records before the damage */
    uint64_t next_ordinal;  /* first intact record after it; 0 = none */
} ss_damage;
typedef struct {
    uint64_t frames;
    uint64_t records;
    uint64_t bytes;
} ss_verify_totals;
ss_status ss_log_verify(ss_log *log, uint64_t begin, uint64_t end, ss_damage *damage, size_t limit, size_t *count,
                        ss_verify_totals *totals);

/* What recovery found when this process recovered the log (verdict letters of docs/durability.md); 0 = it did not. */
typedef struct {
    int verdict;  /* 'A' to 'F', or 0 */
    int in_place; /* the last segment goes on */
    uint64_t end;
    uint64_t durable_known;
    uint64_t torn_bytes;   /* unpublished bytes left behind the end */
    uint64_t lost_frames;  /* whole frames behind the end that were never durable */
    uint64_t copied_bytes; /* rewritten because their sync was in doubt */
    uint64_t damage_bytes;
} ss_recovery;
void ss_log_recovery_get(const ss_log *log, ss_recovery *out);

/* Live figures of one log, for `stat`. */
typedef struct {
    uint64_t tail;
    uint64_t durable;
    uint64_t sync_count;
    uint64_t sync_total_us;
    uint64_t sync_max_us;
    uint64_t synced_groups; /* puts that a sync released, summed: mean group = synced_puts / sync_count */
    uint64_t synced_puts;
    uint32_t lock_slot; /* 0 = free */
    uint32_t sync_slot;
    uint32_t tail_waiters; /* 1 if anybody sleeps on it */
    uint32_t durable_waiters;
} ss_log_live;
void ss_log_live_get(const ss_log *log, ss_log_live *out);

/* Attached processes: slots in use; pid as written by the holder (0 = free). */
typedef struct {
    uint32_t slot;
    uint32_t pid;
    uint64_t attached_us;
    uint32_t generation; /* grows each time the slot is taken: slot and generation name a holder for ever */
    int alive;
} ss_process;
ss_status ss_store_processes(ss_store *store, ss_process *processes, size_t limit, size_t *count);

/* Leaves, for tests and tools. */
void ss_md5(const void *data, size_t size, uint8_t digest[16]);
uint64_t ss_xxh3_64_seeded(const void *data, size_t size, uint64_t seed);
typedef struct {
    uint64_t hi, lo;
} ss_hash_key;
typedef struct ss_ranges ss_ranges;
ss_status ss_ranges_create(const ss_hash_key *starts, const ss_hash_key *ends, const uint32_t *shards, size_t count,
                           ss_ranges **out);
void ss_ranges_free(ss_ranges *ranges);
uint32_t ss_ranges_route(const ss_ranges *ranges, ss_hash_key key);
void ss_ranges_route_keys(const ss_ranges *ranges, const uint8_t *const *keys, const size_t *key_sizes, size_t count,
                          uint32_t *shards_out);
ss_hash_key ss_ranges_hash(const void *key, size_t size);

/* Expand an LZ4 block into exactly to_size bytes; SS_CORRUPT for anything that is no such block. */
ss_status ss_lz4_expand(const uint8_t *from, size_t size, uint8_t *to, size_t to_size);

/* Compress into an LZ4 block of at most to_size bytes; its size, or 0 where it does not fit. */
size_t ss_lz4_compress(const uint8_t *from, size_t size, uint8_t *to, size_t to_size);

/* Decode one frame from `size` bytes as read from a segment file whose salt is `salt`, expected at `position` and
 * with `base_ordinal` records before the segment. SS_CORRUPT where header or body does not hold, SS_FORMAT for a
 * type or flag of a later version. */
ss_status ss_record_decode(const uint8_t *bytes, size_t size, uint64_t position, uint64_t base_ordinal, uint64_t salt,
                           ss_record *out);

/* The table through which the _hot extension reaches this same core. */
const void *ss_functions(void);
/* cffi: end */

/* The layout of that table; the extension checks the version and size first. */
#define SS_FUNCTIONS_VERSION 6
typedef struct ss_aggregate_calls ss_aggregate_calls; /* aggregate.h */
typedef struct {
    uint32_t version;
    uint32_t size;
    ss_status (*log_append)(ss_log *, uint32_t, const ss_entry *, size_t, uint64_t, int, uint64_t *, ss_appended *);
    ss_status (*log_sync)(ss_log *, uint64_t);
    ss_status (*log_read)(ss_log *, uint64_t, uint64_t, uint8_t *, size_t, ss_record *, size_t, ss_read_result *);
    ss_status (*log_get)(ss_log *, uint64_t, uint64_t, uint8_t *, size_t, ss_record *, ss_read_result *);
    ss_status (*log_state)(ss_log *, ss_log_state *);
    uint32_t (*ranges_route)(const ss_ranges *, ss_hash_key);
    void (*ranges_route_keys)(const ss_ranges *, const uint8_t *const *, const size_t *, size_t, uint32_t *);
    ss_hash_key (*ranges_hash)(const void *, size_t);
    const ss_aggregate_calls *aggregates;
    uint64_t (*monotonic_us)(void);
} ss_function_table;

#endif
