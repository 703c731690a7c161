/* Trials: a store is made, something is done to it while calls fail, and what stands is looked at; for each way to
 * fail, and for the first, the second, the third call. The user defines _GNU_SOURCE before any include. */
#ifndef STREAMSTORE_TRIALS_H
#define STREAMSTORE_TRIALS_H

#include "calls_fail.h"

#include <sys/wait.h>

#include "proven.h"

#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 11, FIRST_ONES = 3 };
#else
enum { STRIDE = 9, FIRST_ONES = 4 }; /* of most kinds there are no more */
#endif

/* With a second handle open beside it, as another process would have one; or with writes that say they were done; or
 * with reads that give another byte, or end where the file does not, and names that are not found: of a store that is
 * open already, or that nobody may write to. */
enum { ALONE, BESIDE, LIED_TO, MISREAD, MISREAD_COLD };

typedef struct {
    const char *name;
    void (*make)(void); /* NULL: there is nothing */
    ss_status (*act)(void);
    int how;
} scenario;

static const struct {
    enum call_kind kind;
    int error;
    int cut;
} faults[] = {
    {CALL_OPEN, EMFILE, 0},
    {CALL_OPEN, EINTR, 0},
    {CALL_MKDIR, ENOSPC, 0},
    {CALL_STAT, EIO, 0},
    {CALL_UNLINK, EIO, 0},
    {CALL_UNLINK, ENOENT, 0},
    {CALL_RENAME, EIO, 0},
    {CALL_READ, EIO, 0},
    {CALL_READ, EINTR, 0},
    {CALL_READ, 0, CALL_SHORT},
    {CALL_WRITE, ENOSPC, 0},
    {CALL_WRITE, EINTR, 0},
    {CALL_WRITE, 0, CALL_SHORT},
    {CALL_WRITE, 0, CALL_NOTHING},
    {CALL_ALLOCATE, ENOSPC, 0},
    {CALL_ALLOCATE, EOPNOTSUPP, 0},
    {CALL_ALLOCATE, EINTR, 0},
    {CALL_TRUNCATE, EIO, 0},
    {CALL_TRUNCATE, EINTR, 0},
    {CALL_SYNC, EIO, 0},
    {CALL_SYNC, EINTR, 0},
    {CALL_SYNC_DIRECTORY, EIO, 0},
    {CALL_SYNC_DIRECTORY, EINTR, 0},
    {CALL_SEEK, EINVAL, 0},
    {CALL_STATFS, EIO, 0},
    {CALL_MAP, ENOMEM, 0},
    {CALL_ADVISE, ENOMEM, 0},
    {CALL_ADVISE, EFAULT, 0},
    {CALL_ADVISE, EINVAL, 0},
    {CALL_ADVISE, EINTR, 0},
    {CALL_SYNC_MAP, EIO, 0},
    {CALL_SYNC_MAP, EINTR, 0},
    {CALL_LOCK, ENOLCK, 0},
    {CALL_LOCK, EINTR, 0},
    {CALL_WRITE, 0, CALL_LOST},
    {CALL_WRITE, 0, CALL_FLIPPED},
    {CALL_LIST, EIO, 0},
    {CALL_RANDOM, EIO, 0},
    {CALL_RANDOM, EINTR, 0},
    {CALL_RANDOM, 0, CALL_SHORT},
    {CALL_MEMORY, ENOMEM, 0},
    {CALL_THREAD, EAGAIN, 0},
    {CALL_SLEEP, EINTR, 0},
    {CALL_SLEEP, ENOSYS, 0},
    {CALL_READ, 0, CALL_NOTHING},
    {CALL_READ, 0, CALL_FLIPPED},
    {CALL_READ, 0, CALL_FLIPPED_EARLY},
    {CALL_OPEN, ENOENT, 0},
};

/* Nobody may notice: the call is made again, or goes on where it stopped, or was no more than advice. */
static inline int harmless(size_t f)
{
    int error = faults[f].error;
    if (faults[f].kind == CALL_LOCK || faults[f].kind == CALL_SLEEP)
        return 0; /* EINTR ends these waits */
    return (error == EINTR || error == EINVAL) || faults[f].cut == CALL_SHORT;
}

static inline int lies(size_t f)
{
    return faults[f].kind == CALL_WRITE && faults[f].cut >= CALL_LOST;
}

/* Where this comes in the middle of recovery a log is no longer what it was, and it is told so. */
static inline int misleads(size_t f)
{
    return faults[f].error == ENOENT || (faults[f].kind == CALL_READ && faults[f].cut > CALL_SHORT);
}

static inline int fits(size_t f, int how)
{
    if (how < MISREAD)
        return lies(f) == (how == LIED_TO) && !misleads(f);
    return misleads(f) || (!harmless(f) && (faults[f].kind == CALL_READ || faults[f].kind == CALL_MEMORY));
}

/* A header that does not hold is another file's, or none: then what was in it is damaged, or gone. */
static inline int tells_of_damage(ss_status status)
{
    return status == SS_OK || status == SS_CORRUPT || status == SS_NOT_FOUND || status == SS_TRIMMED ||
           status == SS_INVALID || status == SS_FOREIGN || status == SS_FORMAT;
}

static inline ss_status open_and_recover(void)
{
    ss_log_state state;
    TRY(open_all(0));
    return ss_log_state_get(log_, &state);
}

/* What stands must be as it was acknowledged, and go on. */
static inline void check_store(void)
{
    uint64_t found;
    for (int round = 0; round < 2; round++) {
        CHECK_EQUAL(open_all(SS_OPEN_CREATE), SS_OK);
        if (!log_)
            return;
        CHECK_EQUAL(read_through(log_, &found), SS_OK);
        ss_log_state state;
        CHECK_EQUAL(ss_log_state_get(log_, &state), SS_OK);
        if (!round && !state.closed)
            CHECK_EQUAL(put(1), SS_OK);
        CHECK_EQUAL(close_one(&store), SS_OK);
    }
}

static inline void make_template(const scenario *s)
{
    strcpy(root, template);
    memset(now, 0, sizeof *now);
    if (!s->make)
        return;
    pid_t child = fork();
    if (child == 0) {
        s->make();
        fflush(stdout);
        _exit(check_failed != 0);
    }
    int status = 0;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    *before = *now;
}

/* One trial; returns how many calls were failed. */
static inline uint64_t trial(const scenario *s, size_t f, uint64_t first, int lasting)
{
    int failed_before = check_failed;
    store = beside = NULL;
    log_ = NULL;
    terms = 0;
    *now = *before;
    snprintf(root, sizeof root, "%s/store", base);
    if (access(template, F_OK) == 0)
        CHECK_EQUAL(nftw(template, copy_one, 16, FTW_PHYS), 0);
    long held = descriptors();
    if (s->how == BESIDE)
        CHECK_EQUAL(open_with(0, &beside), SS_OK);
    if (s->how == MISREAD)
        CHECK_EQUAL(open_and_recover(), SS_OK);
    now->damaged |= misleads(f);
    calls_fail(faults[f].kind, first, faults[f].error, faults[f].cut, lasting);
    ss_status status = s->act();
    uint64_t failed = calls_heal();
    CHECK(status == SS_OK || (failed && !harmless(f)));
    if (lies(f) && status != SS_OK) /* or it was no more than a hint */
        CHECK_EQUAL(ss_status_code(status), SS_CORRUPT);
    if (misleads(f) && !faults[f].error)
        CHECK(tells_of_damage(status));
    now->damaged = before->damaged;
    terms = 0;
    close_one(&store);
    close_one(&beside);
    CHECK_EQUAL(descriptors(), held);
    check_store();
    CHECK_EQUAL(descriptors(), held);
    remove_all(root);
    if (check_failed > failed_before)
        printf("FAILED: %s, durability %d, flags %d: %s %s %s, call %" PRIu64 ", status %d\n", s->name, durability,
               backend, call_names[faults[f].kind], faults[f].error ? strerrorname_np(faults[f].error) : "cut short",
               lasting ? "from then on" : "once", first, status);
    return failed;
}

static uint64_t trials;

static inline void all_faults(const scenario *s, uint64_t stride)
{
    *before = (history){0};
    make_template(s);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++)
        for (int lasting = 0; lasting < 2; lasting++) {
            if (!fits(f, s->how))
                continue;
            if (lasting && (faults[f].error == EINTR || faults[f].error == EAGAIN))
                continue;
            /* A finer run leaves out none of those that are few, or are followed by a branch of their own each. */
            enum call_kind kind = faults[f].kind;
            int all = stride < STRIDE && !lasting &&
                      (kind == CALL_OPEN || kind == CALL_MEMORY || kind == CALL_SYNC_DIRECTORY);
            for (uint64_t first = 1; trial(s, f, first, lasting); first += all || first < FIRST_ONES ? 1 : stride)
                trials++;
        }
    remove_all(template);
}

/* The scenarios, or the one of that name: in all four ways where an argument is given, else each in one of them. */
static inline int run_trials(const scenario *scenarios, size_t count, int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";
    uint64_t stride = argc > 2 ? strtoull(argv[2], NULL, 0) : STRIDE;
    static const struct {
        int durability, backend;
    } ways[] = {{SS_DURABILITY_SYNC, 0},
                {SS_DURABILITY_PROCESS, SS_OPEN_PWRITE},
                {SS_DURABILITY_SYNC, SS_OPEN_PWRITE},
                {SS_DURABILITY_PROCESS, 0}};
    now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    before = calloc(1, sizeof *before);
    strcpy(base, access("/dev/shm", W_OK) == 0 ? "/dev/shm/ss-calls-XXXXXX" : "/tmp/ss-calls-XXXXXX");
    CHECK(mkdtemp(base) != NULL);
    snprintf(template, sizeof template, "%s/template", base);
    for (size_t w = 0; w < 4; w++)
        for (size_t s = 0; s < count; s++) {
            if ((argc < 2 && s % 4 != w) || (*only && strcmp(only, scenarios[s].name) != 0))
                continue;
            durability = ways[w].durability;
            backend = ways[w].backend;
            all_faults(&scenarios[s], stride);
        }
    printf("%" PRIu64 " calls failed\n", trials);
    remove_all(base);
    free(before);
    return check_report();
}

#endif
