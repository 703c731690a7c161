/* Status codes of the core. Every fallible function returns an ss_status and writes results through pointers,
 * untouched on failure. The low 8 bits are the code; bits 8 to 23 carry the errno behind it, where there is one. */
#ifndef STREAMSTORE_STATUS_H
#define STREAMSTORE_STATUS_H

/* cffi: begin */
typedef int ss_status;

/* The numbers are part of the seam to Python: append only, never renumber. */
enum {
    SS_OK = 0,
    SS_NO_MEMORY = 1,      /* an allocation or a map was refused */
    SS_INVALID = 2,        /* an argument is out of its range; nothing was done */
    SS_NOT_FOUND = 3,      /* no such store, or no record at that position */
    SS_EXISTS = 4,         /* something stands where a new thing was to be made */
    SS_FULL = 5,           /* the disk (or quota) is full; nothing was published */
    SS_IO = 6,             /* a system call failed; errno is in the status */
    SS_CORRUPT = 7,        /* bytes that were durable are damaged */
    SS_TRIMMED = 8,        /* the position lies before the log's start */
    SS_SHARD_CLOSED = 9,   /* a close frame ends this log */
    SS_TAIL_MISMATCH = 10, /* compare-and-append found another tail */
    SS_POISONED = 11,      /* a sync failed: what is durable is unknown until a reopen */
    SS_STALE = 12,         /* the handle's incarnation was retired */
    SS_FORKED = 13,        /* the handle belongs to the parent process */
    SS_CLOSED = 14,        /* the handle was closed */
    SS_TIMEOUT = 15,       /* the wait ended without its event */
    SS_TOO_LARGE = 16,     /* a record, key or attribute block over its limit */
    SS_READ_ONLY = 17,     /* a write on a read-only handle or medium */
    SS_FORMAT = 18,        /* a version or incompatible feature this build does not know */
    SS_FOREIGN = 19,       /* not a store, or a file of another store */
    SS_INTERRUPTED = 20,   /* a signal arrived before anything was done: call again */
    SS_WOULD_BLOCK = 21,   /* SS_APPEND_TRY met work that may sleep: call again without it */
    SS_LIMIT = 22,         /* too many processes or logs for one store, or a number at its end */
    SS_SMALL = 23,         /* the caller's buffer cannot hold one frame; the size needed is reported */
    SS_CHANGED = 24,       /* the stream's settings changed since the writer was bound; nothing was done */
    SS_QUOTA = 25,         /* the log reached what it was granted of its stream's max_bytes; nothing was done */
    SS_NO_KEY = 26         /* what was to be read is encrypted, and no key that opens it is at hand */
};
/* cffi: end */

static inline int ss_status_code(ss_status status)
{
    return status & 0xff;
}

static inline ss_status ss_status_with_errno(int code, int error)
{
    return code | (error & 0xffff) << 8;
}

#endif
