/* What recovery learns of a log from its files before anything is entered or changed. Private to recovery.c and
 * log_recover.c. */
#ifndef STREAMSTORE_RECOVERY_H
#define STREAMSTORE_RECOVERY_H

#include "log.h"

typedef struct {
    ss_log *log;
    ss_segment **live; /* by ordinal and base, as in log_table.c */
    size_t count;
    uint64_t next_ordinal;
    int later_files;   /* files beyond the last live segment: an unfinished roll */
    int damaged_first; /* a header older than every live one was committed and no longer holds */
    int damaged_last;  /* one newer than every live one */
    uint64_t known;    /* highest durable end proven: watermark, frames' claims, copied ends */
    uint64_t epoch;    /* highest seen anywhere, also in what is dropped */
    uint64_t records;
    uint64_t arrival_us;
    uint64_t last_frame;
    uint64_t end;
    size_t active; /* index of the segment that holds `end` */
    int uncertain; /* the last segment holds copies alone, and nothing proves that its header was synced */
    int closed;
    struct { /* where the last whole batch ended, and what was true there */
        uint64_t end;
        uint64_t records;
        uint64_t arrival_us;
        uint64_t last_frame;
    } whole;
    int in_batch; /* the last frame says that more of its batch follows */
    ss_recovery report;
} ss_recovery_walk;

/* Read the headers of the segments that may matter, oldest first in r->live; free with ss_recovery_free whatever the
 * status. */
ss_status ss_recovery_load(ss_recovery_walk *r);
void ss_recovery_free(ss_recovery_walk *r);
/* Take over from the newest header what a log without options of its own needs for a roll. */
ss_status ss_recovery_adopt_header(ss_recovery_walk *r);
/* Where the log ends, by the decision table of docs/durability.md. */
ss_status ss_recovery_find_end(ss_recovery_walk *r);
/* A sync failed or died in flight, in an earlier incarnation or in this one's own recovery: the page cache proves
 * nothing. */
int ss_recovery_in_doubt(const ss_log *log);

#endif
