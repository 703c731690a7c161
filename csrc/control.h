/* The control file: what all processes of one incarnation share. A new one is made by the first opener; an old one
 * is read for hints only (a power cut can leave any mixture of its old states on disk). Knows words and entries, not
 * what they mean to a log.
 *
 *   header, 4096 bytes | entry 0 | entry 1 | ...        an entry is five cache lines, one log each
 */
#ifndef STREAMSTORE_CONTROL_H
#define STREAMSTORE_CONTROL_H

#include <stdatomic.h>
#include <stdint.h>

#include "lock.h"
#include "streamstore.h"

#define SS_CONTROL_MAGIC UINT64_C(0x0a0d1a4c54435353) /* "SSCTL" 1a 0d 0a */
#define SS_CONTROL_POSITION_MAX (UINT64_C(1) << 62)   /* no log gets there; what says so is damaged */
enum { SS_CONTROL_LAYOUT = 1, SS_CONTROL_HEADER_SIZE = 4096, SS_CONTROL_LOGS_MAX = 1 << 18 };

typedef struct {
    uint64_t magic;
    uint32_t layout;
    uint32_t entry_size;
    uint8_t store_id[16];
    uint64_t incarnation;
    uint32_t hints_complete; /* every log with segments has an entry: an unknown log was never written */
    uint32_t reserved;
    _Atomic uint32_t retired; /* a newer incarnation stands: write nothing */
    _Atomic uint32_t poison;  /* errno of the sync that failed; 0 = none */
    _Atomic uint64_t epoch_counter;
    /* Wall and boot clock at the same moment: when this boot's first incarnation was made, or the wall clock last
     * accepted. The boot clock's is never changed. */
    _Atomic uint64_t anchor_wall_us;
    uint64_t anchor_boot_us;
    _Alignas(64) _Atomic uint32_t registration; /* lock word: who may add entries */
    _Atomic uint32_t log_count;
    _Atomic uint32_t log_capacity;       /* entries that have disk blocks */
    uint64_t boot;                       /* which boot the anchors are of; 0 = not known */
    _Atomic uint64_t maintained_us;      /* when maintenance last went through; 0 = never */
    _Alignas(64) _Atomic uint32_t watch; /* event word: something became visible somewhere */
} ss_control_header;
_Static_assert(sizeof(ss_control_header) <= SS_CONTROL_HEADER_SIZE, "the header fits its page");

enum { SS_LOG_UNRECOVERED = 0, SS_LOG_READY = 1, SS_LOG_RETIRED = 2 };

/* What an entry carries over from an earlier incarnation. */
enum {
    /* closed with all durable, in this boot: the segment may go on in place if only zeros follow */
    SS_CARRIED_CLEAN = 1,
    /* a sync failed or died in flight: bytes above the watermark must be copied before they count */
    SS_CARRIED_IN_DOUBT = 2,
    SS_CARRIED_SETTLED = 4, /* all that earlier incarnations left is durable; not yet recovered for use */
};

/* How far a log was known durable, with its own check: two slots, written in turn, so that one is whole at any
 * crash. */
typedef struct {
    uint64_t durable;
    uint64_t frame; /* a frame boundary at or below durable: where a scan may start */
    uint64_t check;
} ss_control_watermark;

/* Invariants (whoever changes a field holds the lock named; numbers as in ARCHITECTURE.md):
 *  C1  lock free and state READY  =>  reserve_end == tail: no append is half done
 *  C2  durable <= tail, and neither ever falls within an incarnation
 *  C3  sync_inflight != 0 only while sync_lock is held, or its holder died, or the store is poisoned
 */
typedef struct {
    /* line 0: the append lock's own */
    _Atomic uint32_t lock;
    _Atomic uint32_t state;
    _Atomic uint64_t tail;            /* end of what is published: the one meaning of visible */
    _Atomic uint64_t reserve_end;     /* stored before a byte is: past the tail = an append or roll is under way */
    _Atomic uint64_t segment_ordinal; /* active segment; 0 = none yet */
    _Atomic uint64_t segment_base;
    _Atomic uint64_t allocated; /* bytes of the active file that have blocks */
    _Atomic uint64_t epoch;
    _Atomic uint64_t record_count;
    /* line 1: the sync lock's own */
    _Alignas(64) _Atomic uint64_t durable;
    _Atomic uint32_t sync_lock;
    _Atomic uint32_t sync_number;   /* syncs started in this incarnation */
    _Atomic uint64_t sync_inflight; /* end of the range being synced, 0 = none */
    _Atomic uint64_t sync_started_us;
    _Atomic uint32_t durable_event;
    _Atomic uint32_t watermark_turn;
    _Atomic uint64_t durable_records;
    _Atomic uint64_t limit;  /* no append ends beyond it: what a stream with max_bytes was granted; 0 = none */
    _Atomic uint32_t terms;  /* grows when the stream's settings change such that writers must bind anew */
    _Atomic uint32_t packed; /* grows when sealed segments were replaced: tables are read again */
    /* line 2: read by everyone */
    _Alignas(64) _Atomic uint32_t tail_event;
    _Atomic uint32_t closed;
    _Atomic uint64_t last_arrival_us;
    _Atomic uint64_t last_frame; /* position of the newest frame */
    _Atomic uint64_t start;
    _Atomic uint64_t start_record_count;
    _Atomic uint64_t segment_base_ordinal;
    _Atomic uint64_t next_ordinal; /* no segment file at or above it was ever committed */
    _Atomic uint32_t durability;
    _Atomic uint32_t epoch_current; /* a first publish of this incarnation was prepared: epoch is durable and new */
    /* line 3: identity and hints */
    _Alignas(64) uint32_t stream_id;
    uint32_t shard;
    _Atomic uint32_t carried;
    _Atomic uint32_t in_place; /* recovery allows the last segment to go on */
    ss_control_watermark watermarks[2];
    /* line 4: figures for people, and what an encrypted put looks at */
    _Alignas(64) _Atomic uint64_t sync_count;
    _Atomic uint64_t sync_total_us;
    _Atomic uint64_t sync_max_us;
    _Atomic uint64_t synced_records;
    _Atomic uint32_t described; /* the terms that the active segment's description knows; 0 = nobody looked */
} ss_control_entry;
_Static_assert(sizeof(ss_control_entry) == 320, "five cache lines");

typedef struct {
    int fd; /* -1: private memory */
    uint8_t *map;
    size_t map_size;
    ss_control_header *header;
    /* This process's own way from (stream, shard) to entry: open addressing over entries seen so far, guarded by the
     * caller. */
    uint32_t *table;
    uint32_t table_size;
    uint32_t indexed;
} ss_control;

/* Make a new incarnation in directory `directory`, with hints from the control file there, if one holds. The caller
 * holds the open lock and, where the old incarnation may have live holders (it is poisoned), has retired it.
 * private_memory: nothing is written. */
ss_status ss_control_create(int directory, const uint8_t store_id[16], int private_memory, ss_control *out,
                            int *hints_known);
/* Attach to the incarnation that stands. SS_FORMAT, SS_FOREIGN, SS_CORRUPT where it cannot be one of ours. */
ss_status ss_control_attach(int directory, const uint8_t store_id[16], int writable, ss_control *out);
void ss_control_close(ss_control *control);
/* Which boot this is, as a number; 0 where the system does not say. */
uint64_t ss_control_boot(void);
/* Mark retired and wait until no append of the old incarnation is under way. */
ss_status ss_control_retire(ss_control *control, const ss_lock_self *self);
ss_control_entry *ss_control_entry_at(const ss_control *control, uint32_t index);
/* The entry of a log, made if there is none. One caller at a time (the store's mutex). */
ss_status ss_control_register(ss_control *control, const ss_lock_self *self, uint32_t stream_id, uint32_t shard,
                              uint32_t durability, uint32_t *index);
void ss_control_watermark_store(ss_control_entry *entry, uint64_t durable, uint64_t frame);
/* The highest watermark that holds; 0 if none does. */
uint64_t ss_control_watermark_load(const ss_control_entry *entry, uint64_t *frame);
/* Wake every sleeper of every log: poison, retirement, close. */
void ss_control_wake_all(ss_control *control);

#endif
