/* Processes that die at exact points of the core (killpoint.h), beside survivors and before successors: the
 * survivors go on within a second, nothing acknowledged or seen is lost, nothing is damaged, no number is used twice,
 * and the store opens again. Where we are root, some of those who die do so in a PID namespace of their own.
 *
 * Arguments: seed and passes over the table (1 and 1 unless given); each pass draws modes, backends and counts anew. */
#define _GNU_SOURCE
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ledger.h"

/* Who is there when the victim dies. */
enum {
    STEADY,  /* survivors and a reader at work before, during and after */
    UNCLEAN, /* the victim opens what a killed process left; the others come after its death */
    CLEAN,   /* the same after a clean close */
    FRESH,   /* the victim makes the store */
    DOUBT,   /* what it opens was left by a death inside a sync, so that its bytes must be copied */
    LATE     /* a first victim died inside a sync and only a reader lives: all writers are younger than the sync */
};

typedef struct {
    const char *point;
    int kind;
    int count_max; /* the victim dies at its first to count_max-th time there */
    int modes;     /* bit n: durability n comes to this point */
} scenario;

enum { SYNC = 1, INTERVAL = 2, PROCESS = 4, ALL = 7 };

static const scenario SCENARIOS[] = {
    {"append-locked", STEADY, 40, ALL},   {"append-reserved", STEADY, 40, ALL},  {"append-copying", STEADY, 90, ALL},
    {"append-counted", STEADY, 40, ALL},  {"append-published", STEADY, 40, ALL}, {"append-unlocked", STEADY, 40, ALL},
    {"roll-reserved", STEADY, 2, ALL},    {"roll-created", STEADY, 2, ALL},      {"roll-copied", STEADY, 2, ALL},
    {"roll-header", STEADY, 2, ALL},      {"roll-committed", STEADY, 2, ALL},    {"roll-entering", STEADY, 2, ALL},
    {"roll-entered", STEADY, 2, ALL},     {"sync-marked", STEADY, 8, SYNC},      {"sync-done", STEADY, 8, SYNC},
    {"sync-published", STEADY, 8, SYNC},  {"sync-held", STEADY, 8, SYNC},        {"sync-released", STEADY, 8, SYNC},
    {"sync-marked", STEADY, 1, INTERVAL}, {"sync-done", STEADY, 1, INTERVAL},    {"slot-taken", STEADY, 1, ALL},
    {"open-attached", STEADY, 1, ALL},    {"slot-taken", UNCLEAN, 1, ALL},       {"open-attached", UNCLEAN, 1, ALL},
    {"control-made", UNCLEAN, 1, ALL},    {"control-renamed", UNCLEAN, 1, ALL},  {"recover-entering", UNCLEAN, 1, ALL},
    {"recover-settled", UNCLEAN, 1, ALL}, {"roll-header", UNCLEAN, 1, ALL},      {"roll-committed", UNCLEAN, 1, ALL},
    {"roll-entering", UNCLEAN, 1, ALL},   {"marker-reserved", CLEAN, 1, ALL},    {"marker-synced", CLEAN, 1, ALL},
    {"marker-published", CLEAN, 1, ALL},  {"append-reserved", CLEAN, 1, ALL},    {"append-counted", CLEAN, 1, ALL},
    {"manifest-made", FRESH, 1, ALL},     {"control-made", FRESH, 1, ALL},       {"control-registering", FRESH, 1, ALL},
    {"roll-reserved", FRESH, 1, ALL},     {"roll-created", FRESH, 1, ALL},       {"roll-header", FRESH, 1, ALL},
    {"roll-committed", FRESH, 1, ALL},    {"append-reserved", FRESH, 1, ALL},    {"append-copying", FRESH, 2, ALL},
    {"roll-copying", DOUBT, 3, SYNC},     {"roll-copied", DOUBT, 1, SYNC},       {"roll-header", DOUBT, 1, SYNC},
    {"roll-committed", DOUBT, 1, SYNC},   {"recover-settled", DOUBT, 1, SYNC},   {"append-published", DOUBT, 3, SYNC},
    {"roll-copying", LATE, 2, SYNC},      {"roll-header", LATE, 1, SYNC},        {"roll-committed", LATE, 1, SYNC},
    {"roll-entering", LATE, 1, SYNC},     {"append-published", LATE, 3, SYNC},
};

static char root[512];
static ledger *shared;
static uint64_t random_state;
static int durability, flags, elsewhere;

static uint32_t draw(uint32_t below)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(ledger_mix(random_state) % below);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void pause_us(long us)
{
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static ss_store *open_store(int more)
{
    ss_store *store = NULL;
    ss_status status;
    while ((status = ss_store_open(root, flags | more, &store)) == SS_INTERRUPTED)
        continue;
    if (status != SS_OK)
        ledger_fail(shared, "open", (uint64_t)status, (uint64_t)more);
    return status == SS_OK ? store : NULL;
}

static ss_log *open_log(ss_store *store)
{
    ss_log *log = NULL;
    ss_log_options options = {.durability = durability, .segment_size_max = 128 << 10, .record_size_max = 1 << 20};
    ss_status status = ss_store_log(store, 1, 0, &options, &log);
    if (status != SS_OK)
        ledger_fail(shared, "log", (uint64_t)status, 0);
    return status == SS_OK ? log : NULL;
}

/* A writer until told to stop, or for `puts` puts. Ends like a program that closes, or like one that is killed. */
static void write_on(uint32_t writer, const char *point, int count, uint64_t puts, int clean)
{
    char value[64];
    if (point) {
        snprintf(value, sizeof value, "%s:%d", point, count);
        setenv("STREAMSTORE_KILLPOINT", value, 1);
    }
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = store ? open_log(store) : NULL;
    if (!log)
        _exit(1);
    ss_store_sync_interval_set(store, 20000);
    for (uint64_t i = 0; i < puts && !atomic_load(&shared->stop); i++) {
        ss_status status = ledger_put(shared, log, writer, durability);
        if (status == SS_LIMIT)
            break;
        if (status != SS_OK) {
            ledger_fail(shared, "put", (uint64_t)status, writer);
            _exit(1);
        }
        pause_us(300);
    }
    if (clean) {
        ss_store_close(store);
        ss_store_free(store);
        _exit(0);
    }
    raise(SIGKILL);
}

/* A tail of the log that notes what it saw, until told to stop. */
static void read_on(void)
{
    static uint8_t buffer[64 << 10];
    ss_record records[64];
    uint64_t next[LEDGER_WRITERS] = {0}, position = 0;
    ss_store *store = open_store(draw(2) ? SS_OPEN_READ_ONLY : 0);
    ss_log *log = store ? open_log(store) : NULL;
    ss_log_state state;
    if (!log || ss_log_state_get(log, &state) != SS_OK)
        _exit(1);
    position = state.start;
    while (!atomic_load(&shared->stop)) {
        ss_read_result result;
        ss_status status = ss_log_wait(log, position, 20000);
        if (status == SS_TIMEOUT || status == SS_INTERRUPTED)
            continue;
        if (status != SS_OK ||
            (status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 64, &result)) != SS_OK) {
            ledger_fail(shared, "read", (uint64_t)status, position);
            _exit(1);
        }
        for (size_t i = 0; i < result.count; i++) {
            uint64_t at = atomic_load(&shared->seen);
            ledger_sighting *sighting = &shared->sightings[at % LEDGER_SEEN];
            if (!ledger_recognize(buffer + records[i].data_offset, records[i].data_size, &sighting->writer,
                                  &sighting->n))
                ledger_fail(shared, "damaged record", records[i].position, records[i].epoch);
            else if (sighting->n < next[sighting->writer])
                ledger_fail(shared, "seen twice or out of order", sighting->writer, sighting->n);
            next[sighting->writer] = sighting->n + 1;
            sighting->place = (ledger_place){records[i].position, records[i].epoch};
            if (at + 1 < LEDGER_SEEN)
                atomic_store(&shared->seen, at + 1);
        }
        position = result.next_position;
    }
    ss_store_close(store);
    ss_store_free(store);
    _exit(0);
}

/* Whoever dies here is a process of another PID namespace, whose number means somebody else or nobody to us. Returns in
 * that process alone; the one that called ends as it ends. Not as the namespace's first process: that one shrugs off
 * its own SIGKILL. */
static void enter_namespace(void)
{
    if (unshare(CLONE_NEWPID) != 0)
        return;
    for (int generation = 0; generation < 2; generation++) {
        pid_t pid = fork();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (pid != 0) {
            int status = 0;
            waitpid(pid, &status, 0);
            if (generation == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 99)
                raise(SIGKILL);
            _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 99 : 1);
        }
    }
}

static pid_t start(uint32_t writer, const char *point, int count, uint64_t puts, int clean)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (point && elsewhere)
            enter_namespace();
        write_on(writer, point, count, puts, clean);
    }
    return pid;
}

static pid_t start_reader(void)
{
    draw(2); /* of the child's choice */
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        read_on();
    }
    return pid;
}

/* Wait until `pid` is gone; 1 if SIGKILL ended it, 0 if anything else did or it lives on. */
static int killed(pid_t pid)
{
    int status = 0;
    for (uint64_t deadline = now_us() + 10000000; now_us() < deadline; pause_us(200)) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return 0;
}

/* Both writers finish a put that they began after this call, within a second of `died`. */
static int go_on_within_a_second(uint32_t a, uint32_t b, uint64_t died, uint64_t *took_us)
{
    ledger_writer *first = &shared->writers[a], *second = &shared->writers[b];
    uint64_t goal_a = atomic_load(&first->attempted) + LEDGER_BATCH,
             goal_b = atomic_load(&second->attempted) + LEDGER_BATCH;
    while (atomic_load(&first->acked) < goal_a || atomic_load(&second->acked) < goal_b) {
        if (now_us() - died > 1000000)
            return 0;
        pause_us(500);
    }
    *took_us = now_us() - died;
    return 1;
}

static void check_whole(const char *when)
{
    int before = check_failed;
    ss_store *store = open_store(0);
    ss_log *log = store ? open_log(store) : NULL;
    CHECK(log != NULL);
    if (!log)
        return;
    ledger_check(shared, log);
    size_t damaged = 1;
    ss_verify_totals totals;
    CHECK_EQUAL(ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals), SS_OK);
    CHECK_EQUAL(damaged, 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(ledger_put(shared, log, 7, durability), SS_OK);
    ledger_check(shared, log);
    ss_store_close(store);
    ss_store_free(store);
    if (check_failed > before)
        printf("    %s\n", when);
}

/* Wait until a count is above zero, or for ten seconds. */
static void await(const _Atomic uint64_t *count)
{
    for (uint64_t deadline = now_us() + 10000000; atomic_load(count) == 0 && now_us() < deadline;)
        pause_us(200);
    CHECK(atomic_load(count) > 0);
}

/* What stands before the victim comes. Returns who is at work by then. */
static void set_the_stage(int kind, pid_t pids[4])
{
    if (kind == STEADY) {
        pids[0] = start(0, NULL, 0, UINT64_MAX, (int)draw(2));
        pids[1] = start(1, NULL, 0, UINT64_MAX, (int)draw(2));
        await(&shared->writers[0].acked);
        await(&shared->writers[1].acked);
        pids[2] = start_reader();
    } else if (kind == UNCLEAN || kind == CLEAN) {
        int ended = killed(start(3, NULL, 0, 20 + draw(200), kind == CLEAN));
        CHECK_EQUAL(ended, kind == UNCLEAN);
    } else if (kind == DOUBT || kind == LATE) {
        if (kind == LATE) {
            killed(start(4, NULL, 0, 3, 1));
            pids[2] = start_reader();
            await(&shared->seen);
        }
        CHECK(killed(start(3, "sync-marked", 1 + (int)draw(20), UINT64_MAX, 1)));
    }
}

static void run(const scenario *s, uint64_t *worst_us)
{
    int before = check_failed, count = 1 + (int)draw((uint32_t)s->count_max);
    pid_t pids[4] = {0};
    uint64_t took_us = 0;
    set_the_stage(s->kind, pids);
    CHECK(killed(start(2, s->point, count, UINT64_MAX, 1)));
    uint64_t died = now_us();
    if (s->kind != STEADY) {
        pids[0] = start(0, NULL, 0, UINT64_MAX, (int)draw(2));
        pids[1] = start(1, NULL, 0, UINT64_MAX, (int)draw(2));
        await(&shared->writers[0].acked); /* a reader does not make a store */
        pids[2] = pids[2] ? pids[2] : start_reader();
    }
    CHECK(go_on_within_a_second(0, 1, died, &took_us));
    *worst_us = took_us > *worst_us ? took_us : *worst_us;
    atomic_store(&shared->stop, 1);
    for (int i = 0; i < 4; i++)
        if (pids[i])
            killed(pids[i]);
    CHECK_EQUAL(atomic_load(&shared->failed), 0);
    check_whole("the first opening after it all");
    check_whole("the second opening");
    if (check_failed > before)
        printf("FAILED: %s:%d, kind %d, durability %d, flags %d, elsewhere %d, after %" PRIu64 " us\n", s->point, count,
               s->kind, durability, flags, elsewhere, took_us);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, worst_us = 0;
    int passes = argc > 2 ? atoi(argv[2]) : 1;
    const char *scratch = getenv("TMPDIR");
    random_state = seed;
    printf("seed %" PRIu64 ", %d passes\n", seed, passes);
    for (int pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < sizeof SCENARIOS / sizeof *SCENARIOS; i++) {
            const scenario *s = &SCENARIOS[i];
            if (argc > 3 && strcmp(argv[3], s->point) != 0)
                continue;
            do
                durability = (int)draw(3);
            while (!(s->modes & 1 << durability));
            flags = draw(3) ? 0 : SS_OPEN_PWRITE;
            elsewhere = geteuid() == 0 && draw(3) == 0;
            snprintf(root, sizeof root, "%s/ss-kill-XXXXXX", scratch ? scratch : "/tmp");
            shared = ledger_new();
            CHECK(mkdtemp(root) != NULL);
            run(s, &worst_us);
            munmap(shared, sizeof *shared);
            nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        }
    }
    printf("survivors went on after %" PRIu64 " us at worst\n", worst_us);
    return check_report();
}
