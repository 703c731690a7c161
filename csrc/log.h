/* What the parts of a log share: the store it lives in, its control entry, its segments. Private to log_*.c and
 * store*.c.
 *
 * Locks, outer before inner: sync_lock (shared) > entry->lock (shared) > table_mutex (this process) . index_mutex is
 * a leaf.
 */
#ifndef STREAMSTORE_LOG_H
#define STREAMSTORE_LOG_H

#include <pthread.h>
#include <stdatomic.h>

#include "control.h"
#include "lock.h"
#include "packed.h"
#include "segment.h"
#include "streamstore.h"
#include "worker.h"

enum { SS_PREPARER_WANTED = 256 };
enum { SS_STORE_BLOCKS = 16 };

enum { SS_STORE_OPEN = 0, SS_STORE_CLOSING = SS_LOCK_CLOSING, SS_STORE_LAST_SYNC = 2 };

struct ss_store {
    int root;
    int lock_fd;
    int flags;
    uint8_t store_id[16];
    ss_control control;
    ss_lock_self self;
    ss_store_info info;
    /* SS_STORE_OPEN, then SS_STORE_CLOSING ends every wait and no call starts; SS_STORE_LAST_SYNC: close alone works */
    _Atomic int closing;
    _Atomic int forked;
    _Atomic uint32_t active; /* calls under way */
    _Atomic int64_t sync_interval_us;
    _Atomic uint64_t wall_checked_us; /* wall time up to which the boot clock has agreed */
    _Atomic uint64_t control_synced_us;
    _Atomic int control_dirty; /* this process wrote watermarks since then */
    int mmap_ok;
    long processors;
    pthread_mutex_t logs_mutex;
    ss_log **logs; /* by control index */
    uint32_t logs_size;
    _Atomic uint32_t open_files; /* segment descriptors kept for reading */
    ss_worker flusher;
    ss_worker preparer;
    ss_packed_unsealer unsealer; /* fixed before the first read */
    pthread_mutex_t blocks_mutex;
    ss_packed_block blocks[SS_STORE_BLOCKS]; /* expanded lately, for gets and small reads; guarded by blocks_mutex */
    uint32_t blocks_turn;
    uint32_t wanted[SS_PREPARER_WANTED]; /* logs whose pages the preparer shall fault in; guarded by logs_mutex */
    _Atomic uint32_t wanted_count;
};

struct ss_log {
    ss_store *store;
    ss_control_entry *entry;
    uint32_t index;
    uint32_t stream_id;
    uint32_t shard;
    int durability;
    uint64_t segment_size_max;
    uint64_t record_size_max;
    uint64_t epoch_floor;
    uint64_t start_position;
    uint64_t arrival_floor_us;
    uint64_t reserve_size;
    _Atomic int attached; /* the options below and above came from the caller; else defaults stand here */
    uint8_t *description; /* with its size and terms guarded by table_mutex, and replaced under entry->lock only */
    uint32_t description_size;
    uint32_t described; /* the terms that it knows */
    char directory[48];

    /* guarded by entry->lock */
    ss_segment *writer;                             /* a reference; NULL or stale where another process rolled */
    _Atomic uint64_t doubt_durable, doubt_since_us; /* since when waiters see the log stand unsynced there */
    _Atomic int waits_short;                        /* the last wait ended soon: spin a little before the next sleep */
    _Atomic int prepare_pending; /* the preparer was asked and has not come by yet (guarded by nothing) */

    /* guarded by table_mutex: the live segments this process knows, by ordinal and base, strictly increasing in both */
    pthread_mutex_t table_mutex;
    ss_segment **table;
    size_t table_count;
    size_t table_capacity;
    uint64_t table_newest; /* ordinals up to here were looked at; 0 = none */
    uint32_t table_packed; /* the entry's `packed` when the table was read last */

    pthread_mutex_t index_mutex;
    _Atomic uint64_t index_sealed; /* active ordinal when the flusher last looked for trailers to write */
    uint64_t unsynced_since_us; /* the flusher's own: since when `durable` of a sync log has stood at unsynced_from */
    uint64_t unsynced_from;
    ss_recovery recovery;
};

/* store.c: every public call is bracketed, so that close can wait for those under way. */
ss_status ss_store_enter(ss_store *store);
void ss_store_leave(ss_store *store);
/* The first failed sync ends all acknowledgements, of every process (DESIGN section 2). Returns SS_POISONED. */
ss_status ss_store_poison_set(ss_store *store, ss_status cause);
/* SS_STALE, SS_POISONED or SS_OK. */
ss_status ss_store_usable(const ss_store *store);
/* Now, but never more than an hour ahead of the boot clock of this incarnation. */
uint64_t ss_store_arrival_us(ss_store *store);
ss_status ss_store_log_at(ss_store *store, uint32_t index, ss_log **out);
/* The log of a control entry if this process has used it, else NULL. */
ss_log *ss_store_log_known(ss_store *store, uint32_t index);
/* The control file is the watermark page: synced lazily, a hint to recovery and never truth. */
void ss_store_control_sync(ss_store *store, int now);

/* flusher.c */
ss_status ss_flusher_start(ss_store *store);
/* Something was published: wake it from a long sleep, if it is in one. */
void ss_flusher_notice(ss_store *store);

/* preparer.c */
/* Fault the pages of [populated, needed) in, claiming up to `target`. */
ss_status ss_preparer_populate(ss_segment *segment, uint64_t needed, uint64_t target);
void ss_preparer_ask(ss_log *log);

/* log.c */
/* Keep a copy of the description, if there is none yet. */
ss_status ss_log_describe(ss_log *log, const uint8_t *description, uint32_t size);
/* The header of a segment of this log, with its description. */
void ss_log_encode_header(ss_log *log, const ss_segment_facts *facts, uint8_t header[SS_SEGMENT_HEADER_SIZE]);
/* See that the active segment is described as it is under these terms, by a roll where it is not; `first` is what a new
 * one is given at once. The append lock is held, and the writer open. */
ss_status ss_log_describe_active(ss_log *log, uint32_t terms, uint64_t first);
ss_status ss_log_new(ss_store *store, uint32_t index, ss_log **out);
/* Let go of every map and descriptor; calls on a closed store may still come, and find the mark. */
void ss_log_release(ss_log *log);
void ss_log_free(ss_log *log);
uint64_t ss_log_visible(const ss_log *log);
/* Recover at first touch; on SS_OK the state is READY. */
ss_status ss_log_ready(ss_log *log);
/* Take the append lock and check that this incarnation may be written (or read, for recovery). */
ss_status ss_log_lock(ss_log *log, int try_only, int *taken_over);
void ss_log_unlock(ss_log *log);
void ss_log_announce_tail(ss_log *log);

/* log_table.c */
/* Let go of files that were packed by another process, though nobody here reads: they would keep their space. */
void ss_log_table_notice(ss_log *log);
void ss_log_table_forget(ss_log *log);
/* A reference to the live segment that holds `position`, open for reading; *end is where the next live one begins
 * (UINT64_MAX: none). */
ss_status ss_log_table_find(ss_log *log, uint64_t position, ss_segment **out, uint64_t *end);
/* A reference to the i-th live segment, not necessarily open; SS_NOT_FOUND past the last. */
ss_status ss_log_table_at(ss_log *log, size_t i, ss_segment **out, uint64_t *end);
/* The lowest base of a live segment above `position`, at most `limit`. */
uint64_t ss_log_table_next_base(ss_log *log, uint64_t position, uint64_t limit);
void ss_log_table_release(ss_log *log, ss_segment *segment);
/* Put a segment this process just made; takes over the caller's reference as the table's own and cuts what it cuts. */
ss_status ss_log_table_add(ss_log *log, ss_segment *segment);
/* Open (or reopen writable) a segment in the table. Holds no lock at call. */
ss_status ss_log_table_open(ss_log *log, ss_segment *segment, int writable);
/* Before a sealed segment is synced: trade its writable map for a descriptor. Syncing mapped pages write-protects
 * each of them, with an interrupt to every processor that runs a thread of ours; of unmapped ones none. The
 * descriptor is as good a witness as the map as long as no sync of the log was in flight when it was opened, which
 * opened_at_sync records. */
void ss_log_table_seal(ss_log *log, ss_segment *segment);
/* Drop writable maps of sealed segments that are durable now. */
void ss_log_table_trim_maps(ss_log *log);
void ss_log_table_drop_before(ss_log *log, uint64_t position);
/* All segment ordinals on disk, ascending; free(*ordinals). SS_OK with none where the directory is absent. */
ss_status ss_log_table_list(const ss_log *log, uint64_t **ordinals, size_t *count);

/* log_packed.c */
/* Block i of an open packed segment, expanded: one that was left, or read anew. It is the caller's until it is left
 * with ss_log_packed_leave, so that no lock is held while a key is asked for. */
ss_status ss_log_packed_take(ss_log *log, const ss_segment *segment, size_t i, ss_packed_block *block);
void ss_log_packed_leave(ss_log *log, ss_packed_block *block);
/* The frame at `position`: SS_CORRUPT where none begins there. */
ss_status ss_log_packed_header(ss_log *log, const ss_segment *segment, uint64_t position, ss_record_header *header);

/* log_index.c; the index mutex is held by the caller of extend */
/* Index whole frames until `needed` is passed; no frame reaches beyond `end`. */
ss_status ss_log_index_extend(ss_log *log, ss_segment *segment, uint64_t needed, uint64_t end);
/* First frame that holds in (from, end), or `end`. */
ss_status ss_log_index_resync(ss_log *log, const ss_segment *segment, uint64_t from, uint64_t end, uint64_t *position);
/* Write the trailers that sealed and durable segments lack. */
void ss_log_index_seal(ss_log *log);
int ss_log_index_present(ss_log *log, ss_segment *segment, uint64_t end);

/* log_roll.c */
/* Above every epoch there was; more than FRAME_EPOCH_MAX where none is left. */
uint64_t ss_log_roll_epoch(const ss_log *log);
/* Start a segment at `base` (the tail, or lower: then [base, tail) is copied into it first). Caller holds the append
 * lock. */
ss_status ss_log_roll_to(ss_log *log, uint64_t base, uint64_t epoch, uint64_t frame_size);
ss_status ss_log_roll_writer(ss_log *log); /* log->writer is the active segment, open for writing */

/* log_sync.c */
/* Lead or wait for rounds until `end` is durable; exact: sync no further than `end` when leading. */
ss_status ss_log_sync_to(ss_log *log, uint64_t end, int exact);
ss_status ss_log_sync_range(ss_log *log, uint64_t begin, uint64_t end); /* the system calls alone; poisons on failure */
/* Hold the sync lock with nothing in flight; for who must sync under the append lock, which is taken after it. */
ss_status ss_log_sync_hold(ss_log *log);
void ss_log_sync_release(ss_log *log);
void ss_log_sync_publish(ss_log *log, uint64_t durable, uint64_t frame);

/* log_recover.c */
ss_status ss_log_recover(ss_log *log); /* caller holds the append lock; state is not READY */
/* An append or roll was left half done: make counters agree with the tail. */
ss_status ss_log_recover_counters(ss_log *log);

/* log_seek.c */
ss_status ss_log_seek_boundary(ss_log *log, uint64_t position, uint64_t visible, uint64_t *out);
ss_status ss_log_seek_records_before(ss_log *log, uint64_t position, uint64_t *count);

#endif
