/* A library to preload: it stands between the ordinary build of the core and the system, writes down what would have
 * become durable when, builds the directories that a power cut could leave, and fails calls on request.
 *
 * Everything is recorded in moments. A moment ends with a call that the store makes (or a mark of the program that
 * drives it); what changed in a file's bytes since the moment before is found by comparing them, so stores through a
 * map are seen without the core's help. */
#ifndef STREAMSTORE_SEAM_H
#define STREAMSTORE_SEAM_H

#include <stddef.h>
#include <stdint.h>

enum { SEAM_SECTOR = 512, SEAM_PATH_SIZE = 256 };

enum seam_kind {
    SEAM_STORE,  /* bytes changed, within one sector, in the moment before */
    SEAM_SIZE,   /* the file is as long as `offset` now */
    SEAM_CREATE, /* path names the file */
    SEAM_MKDIR,
    SEAM_RENAME, /* path, to */
    SEAM_UNLINK,
    SEAM_RMDIR,
    SEAM_SYNC,     /* of a file: began at `moment`, succeeded at `end`; [offset, offset + size) */
    SEAM_SYNC_DIR, /* of the directory `path` */
};

typedef struct {
    uint8_t kind;
    uint32_t moment;
    uint32_t end; /* of syncs: UINT32_MAX where it never succeeded */
    int failed;   /* it came back with an error: what it should have written counts as clean, and is not tried again */
    uint32_t file;
    uint64_t offset;
    uint64_t size;
    uint8_t *bytes;
    char *path;
    char *to;
} seam_op;

typedef struct {
    int fd;
    uint64_t device;
    uint64_t inode;
    uint8_t *begin; /* as it stood on disk when the trace began */
    uint64_t begin_size;
    uint8_t *now;
    uint64_t size;
    uint64_t capacity;
    int plain; /* its bytes are never written: only its length is followed */
} seam_file;

typedef struct {
    char path[SEAM_PATH_SIZE]; /* from the root */
    int32_t file;              /* -1: a directory */
} seam_entry;

typedef struct seam_trace {
    char root[SEAM_PATH_SIZE];
    uint32_t moment;
    seam_op *ops;
    size_t count;
    size_t capacity;
    seam_file *files;
    uint32_t file_count;
    seam_entry *entries; /* of the directory when the trace began */
    uint32_t entry_count;
} seam_trace;

/* ---- for the program that drives the store ---- */

/* What is in `root` now counts as durable; every change from now on is recorded, until seam_end. NULL on failure. */
seam_trace *seam_begin(const char *root);
void seam_end(seam_trace *trace);
void seam_free(seam_trace *trace);
/* The moment that ends here: what came before the call has a number up to it. */
uint32_t seam_mark(seam_trace *trace);
/* Let the file system pass for one where stores through a map are not safe: the core then writes by pwrite. */
void seam_backend(int by_pwrite);
/* The core's wall clock stands still at this time; 0: it goes again. */
void seam_freeze(uint64_t wall_us);
/* Whoever asks which boot this is reads that file from now on; NULL: the system's own again. */
void seam_boot(const char *path);

enum seam_mode {
    SEAM_LOST,    /* nothing that was not durable survives */
    SEAM_KEPT,    /* all of it does */
    SEAM_CUT,     /* what was done up to a random time */
    SEAM_FILES,   /* the same, with a time of its own for each file */
    SEAM_PAGES,   /* with one for each 4 KiB page */
    SEAM_SECTORS, /* with one for each sector */
    SEAM_TORN,    /* each sector at a random time, in the middle of being written: any subset of its newest words */
    SEAM_LAST,    /* all but what the last moment wrote, of which any subset of words */
    SEAM_EACH,    /* bit i of `seed` says whether unit i survives: a changed sector, a longer file, a name */
};

/* Write down the trace, a line an operation, for people. Returns 0 or an errno. */
int seam_print(const seam_trace *trace, const char *path);
/* How many units of the crash in `moment` are open. */
uint32_t seam_units(const seam_trace *trace, uint32_t moment);
/* Make the directory `target` (which is not there) as a power cut in `moment` could leave it. Returns 0 or an errno. */
int seam_image(const seam_trace *trace, uint32_t moment, enum seam_mode mode, uint64_t seed, const char *target);

/* Fail the `first`-th of the calls of one kind (or of all, where kind is -1) that the core makes, and where `lasting`
 * every one after it; error 0 ends it. A `short_write` moves half of the bytes. */
void seam_fail(int kind, uint64_t first, int error, int lasting, int short_write);
/* Calls of that kind (-1: all) that the core made since seam_fail was called; how many of them were failed. */
uint64_t seam_calls(int kind);
uint64_t seam_failed(void);
/* The name of a kind of call; NULL beyond the last. */
const char *seam_name(int kind);

/* ---- between the files of this library ---- */

/* What the core asks of the system. */
enum seam_call {
    SEAM_CALL_OPEN,
    SEAM_CALL_MKDIR,
    SEAM_CALL_STAT,
    SEAM_CALL_UNLINK,
    SEAM_CALL_RENAME,
    SEAM_CALL_READ,
    SEAM_CALL_WRITE,
    SEAM_CALL_ALLOCATE,
    SEAM_CALL_TRUNCATE,
    SEAM_CALL_SYNC,
    SEAM_CALL_SYNC_DIR,
    SEAM_CALL_SEEK,
    SEAM_CALL_STATFS,
    SEAM_CALL_MAP,
    SEAM_CALL_ADVISE,
    SEAM_CALL_SYNC_MAP,
    SEAM_CALL_LOCK,
    SEAM_CALL_LIST,
    SEAM_CALL_RANDOM,
    SEAM_CALL_MEMORY,
    SEAM_CALL_THREAD,
    SEAM_CALLS
};

/* Whether the call, made by whoever stands at `caller`, is one that shall fail; errno is set where it is. */
int seam_fails(enum seam_call call, const void *caller);
int seam_short_write(void);
void seam_find_core(void);
int seam_is_core(const void *caller);

void seam_lock(void);
void seam_unlock(void);
/* The trace that is being recorded, or NULL. The caller holds the lock for the rest. */
seam_trace *seam_recording(void);
void seam_scan(seam_trace *trace);
/* The path of a name below a directory descriptor, from the trace's root: 0 where it is elsewhere. */
int seam_path(const seam_trace *trace, int directory, const char *name, char path[SEAM_PATH_SIZE]);
int32_t seam_file_of(const seam_trace *trace, int fd);
seam_op *seam_note(seam_trace *trace, enum seam_kind kind, const char *path, const char *to);
uint32_t seam_follow(seam_trace *trace, const char *path, int fd, int durable);

#endif
