/* Compaction that dies at each of its steps, with a reader and a writer beside it or before the next opening: nothing
 * is lost, whoever comes next reads the same, and the next compaction clears away what is left. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "packs.h"

enum { TOTAL = 1200, EACH = 200 };

static const char *const POINTS[] = {"pack-created", "pack-block", "pack-written", "pack-synced",
                                     "pack-renamed", "pack-named", "pack-unlinked"};

/* A process that packs segments 1 to 4 and dies at the n-th time it comes to `point`. */
static void pack_and_die(const char *point, int n)
{
    pid_t pid = fork();
    if (pid == 0) {
        char value[64];
        snprintf(value, sizeof value, "%s:%d", point, n);
        setenv("STREAMSTORE_KILLPOINT", value, 1);
        ss_store *store = NULL;
        if (ss_store_open(root, 0, &store) != SS_OK)
            _exit(1);
        pack_segments(open_log(store, SS_DURABILITY_PROCESS), 1, 4);
        _exit(2);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static size_t count_files(void)
{
    char command[128], line[16] = "0";
    snprintf(command, sizeof command, "ls %s/streams/1/0 | wc -l", root);
    FILE *pipe = popen(command, "r");
    CHECK(pipe && fgets(line, sizeof line, pipe));
    if (pipe)
        pclose(pipe);
    return strtoul(line, NULL, 10);
}

static void check_whole(ss_log *log, uint64_t count)
{
    size_t damaged = 1;
    ss_verify_totals totals = {0};
    read_all(log, 0, count);
    CHECK_EQUAL(ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals), SS_OK);
    CHECK_EQUAL(damaged, 0);
    CHECK_EQUAL(totals.records, count);
}

/* The next packer, and what the directory holds then: one packed segment, the active one, no leftovers. */
static void check_next(ss_log *log, uint64_t count, int recovered)
{
    size_t removed, dead = 0;
    ss_segment_info segments[16];
    /* What was just sealed is durable a moment later; before, it is refused. */
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    CHECK_EQUAL(ss_log_pack_clean(log, &removed), SS_OK);
    size_t files = list_segments(log, segments, 16);
    CHECK_EQUAL(count_files(), files); /* no file aside is left */
    uint64_t first = 0, last = 0;
    for (size_t i = 0; i < files; i++) {
        first = first ? first : segments[i].live ? segments[i].ordinal : 0;
        last = segments[i].sealed ? segments[i].ordinal : last;
        dead += !segments[i].live; /* cut by a recovery, which is not for us to remove; none that was replaced */
    }
    CHECK(!dead || recovered);
    if (!last) { /* a recovery without hints took all of it for doubtful, and copied it into what is now active */
        CHECK(recovered);
        CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
        CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
        last = first;
    }
    CHECK_EQUAL(pack_segments(log, first, last), SS_OK);
    CHECK_EQUAL(ss_log_pack_clean(log, &removed), SS_OK);
    files = list_segments(log, segments, 16);
    CHECK(files >= 2 && segments[files - 1].live && !segments[files - 1].packed);
    for (size_t i = 0; i + 1 < files; i++)
        CHECK_EQUAL(segments[i].packed, segments[i].live);
    check_whole(log, count);
}

/* `alive`: another process has the store open all the while; else the next one recovers, with or without hints. */
static void run(const char *point, int n, int alive, int hints)
{
    int before = check_failed;
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    fill(log, 0, TOTAL, EACH);
    if (!alive || !hints)
        close_store(store);
    if (alive && !hints) { /* one who knows of the segments and has none of them open */
        ss_segment_info segments[16];
        store = open_store(0);
        log = open_log(store, SS_DURABILITY_PROCESS);
        list_segments(log, segments, 16);
    }
    pack_and_die(point, n);
    if (alive) {
        if (hints) /* else the next packer is the first who looks */
            check_whole(log, TOTAL);
        put(log, TOTAL);
        if (hints)
            check_whole(log, TOTAL + 1);
        check_next(log, TOTAL + 1, 0);
        close_store(store);
    }
    if (!hints) {
        char path[128];
        snprintf(path, sizeof path, "%s/control", root);
        CHECK_EQUAL(remove(path), 0);
    }
    uint64_t count = TOTAL + (alive ? 1 : 0);
    store = open_store(SS_OPEN_READ_ONLY);
    check_whole(open_log(store, SS_DURABILITY_PROCESS), count);
    close_store(store);
    for (int turn = 0; turn < 2; turn++, count++) {
        store = open_store(0);
        log = open_log(store, SS_DURABILITY_PROCESS);
        check_whole(log, count);
        put(log, count);
        if (turn)
            check_next(log, count + 1, !hints);
        close_store(store);
    }
    remove_root();
    if (check_failed > before)
        printf("FAILED: %s:%d alive %d hints %d\n", point, n, alive, hints);
}

int main(void)
{
    for (size_t i = 0; i < sizeof POINTS / sizeof *POINTS; i++)
        for (int variant = 0; variant < 4; variant++)
            run(POINTS[i], 1 + (i == 1 || i == 6), variant & 1, variant >> 1);
    return check_report();
}
