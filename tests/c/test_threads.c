/* All threads of one process on one store at once: writers of several logs and modes, readers, syncers, waiters, rolls
 * and trims, and a close in the middle. Meant for ThreadSanitizer; what is checked is that nothing is lost, torn, out
 * of order or left waiting. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "scratch.h"
#include "streamstore.h"

enum { LOGS = 4, WRITERS = 2, READERS = 2, PUTS = 1500, BATCH_MAX = 4, DATA_MAX = 300 };

static ss_store *store;
static ss_log *logs[LOGS]; /* one of each durability, and one more that is trimmed */
static _Atomic uint64_t put_count[LOGS];
static _Atomic int writers_left[LOGS];
static _Atomic int stop;
static _Atomic uint32_t failures;

/* CHECK is for one thread; here a failure is counted, and said once. */
#define HOLD(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

static void failed(int line, const char *text)
{
    if (atomic_fetch_add(&failures, 1) < 10)
        printf("%s:%d: failed: %s\n", __FILE__, line, text);
}

/* What ends a thread's work is the close of the store, and nothing else. */
static int closed(ss_status status)
{
    return ss_status_code(status) == SS_CLOSED;
}

typedef struct {
    int log;
    int number;
} role;

/* data = writer 4 | n 4 | size bytes that follow from them */
static uint32_t make_data(int writer, uint32_t n, uint8_t *data)
{
    uint32_t size = 8 + (n * 37 + (uint32_t)writer * 11) % (DATA_MAX - 8);
    memcpy(data, &(uint32_t){(uint32_t)writer}, 4);
    memcpy(data + 4, &n, 4);
    for (uint32_t i = 8; i < size; i++)
        data[i] = (uint8_t)(n * 7 + i + (uint32_t)writer);
    return size;
}

static void *write_records(void *context)
{
    const role *me = context;
    uint8_t data[BATCH_MAX][DATA_MAX];
    uint64_t positions[BATCH_MAX];
    for (uint32_t n = 0; n < PUTS;) {
        ss_entry entries[BATCH_MAX] = {{0}};
        uint32_t count = 1 + n % BATCH_MAX;
        count = count < PUTS - n ? count : PUTS - n;
        for (uint32_t i = 0; i < count; i++) {
            entries[i].data = data[i];
            entries[i].data_size = make_data(me->number, n + i, data[i]);
            entries[i].key_size = -1;
        }
        ss_appended appended;
        ss_status status = ss_log_append(logs[me->log], entries, count, 0, n % 3 ? 0 : SS_APPEND_TRY, positions,
                                         &appended);
        if (status == SS_WOULD_BLOCK)
            status = ss_log_append(logs[me->log], entries, count, 0, 0, positions, &appended);
        if (closed(status))
            break;
        HOLD(status == SS_OK);
        HOLD(positions[0] == appended.first_position && positions[count - 1] < appended.end_position);
        if (me->log % 3 == SS_DURABILITY_SYNC && n % 8 == 0) {
            status = ss_log_sync(logs[me->log], appended.end_position);
            HOLD(status == SS_OK || closed(status));
        }
        atomic_fetch_add(&put_count[me->log], count);
        n += count;
    }
    if (me->log % 3 == SS_DURABILITY_SYNC) {
        ss_status status = ss_log_sync(logs[me->log], 0);
        HOLD(status == SS_OK || closed(status));
    }
    atomic_fetch_sub(&writers_left[me->log], 1);
    ss_log_wake(logs[me->log]);
    return NULL;
}

typedef struct {
    uint64_t position;
    uint64_t arrival_us;
    uint64_t ordinal;
    uint32_t next[WRITERS]; /* of each writer */
    uint64_t count;
} progress;

static void take_record(progress *seen, const uint8_t *buffer, const ss_record *record)
{
    uint8_t expected[DATA_MAX];
    uint32_t writer, n;
    HOLD(record->data_size >= 8);
    memcpy(&writer, buffer + record->data_offset, 4);
    memcpy(&n, buffer + record->data_offset + 4, 4);
    HOLD(writer < WRITERS && n == seen->next[writer % WRITERS]); /* in the order of each writer, each once */
    seen->next[writer % WRITERS] = n + 1;
    HOLD(record->data_size == make_data((int)writer, n, expected));
    HOLD(memcmp(buffer + record->data_offset, expected, record->data_size) == 0);
    HOLD(record->arrival_us >= seen->arrival_us && record->ordinal == seen->ordinal + 1);
    seen->arrival_us = record->arrival_us;
    seen->ordinal = record->ordinal;
    seen->count++;
}

/* Follow a log to the end of what its writers put, waiting for more; or to the close. */
static void *follow(void *context)
{
    const role *me = context;
    static _Thread_local uint8_t buffer[32 << 10], other[4096];
    ss_record records[64], one;
    ss_read_result result, got;
    progress seen = {.position = SS_FIRST_POSITION};
    for (;;) {
        int done = atomic_load(&writers_left[me->log]) == 0; /* before the read: then nothing came after it */
        ss_status status = ss_log_read(logs[me->log], seen.position, 0, buffer, sizeof buffer, records, 64, &result);
        if (closed(status))
            return NULL;
        HOLD(status == SS_OK);
        for (size_t i = 0; i < result.count; i++)
            take_record(&seen, buffer, &records[i]);
        seen.position = result.next_position;
        if (result.count) {
            status = ss_log_get(logs[me->log], records[0].position, records[0].epoch, other, sizeof other, &one, &got);
            HOLD(closed(status) || (status == SS_OK && one.ordinal == records[0].ordinal));
        } else if (done) {
            HOLD(seen.count == WRITERS * PUTS);
            return NULL;
        } else {
            status = ss_log_wait(logs[me->log], seen.position, -1);
            HOLD(status == SS_OK || closed(status));
        }
    }
}

/* Everything else that may be asked of a log while it is written. */
static void *look_around(void *context)
{
    const role *me = context;
    ss_segment_info segments[200];
    for (uint64_t turn = 0; !atomic_load(&stop); turn++) {
        ss_log *log = logs[me->log];
        ss_log_state state;
        ss_log_live live;
        uint64_t found;
        size_t count;
        ss_status status = ss_log_state_get(log, &state);
        if (closed(status))
            break;
        HOLD(status == SS_OK && state.durable <= state.tail && state.visible <= state.tail &&
             state.start <= state.tail);
        ss_log_live_get(log, &live);
        status = turn % 3 ? ss_log_seek_time(log, state.last_arrival_us, &found)
                          : ss_log_seek_ordinal(log, state.start_record_count + 1, &found);
        HOLD(closed(status) || status == SS_OK || status == SS_TRIMMED);
        status = ss_log_segments(log, segments, 200, &count);
        HOLD(closed(status) || status == SS_OK);
        if (turn % 4 == 0)
            status = ss_log_roll(log, 0);
        HOLD(closed(status) || status == SS_OK);
        usleep(2000);
    }
    return NULL;
}

/* The last log is trimmed while it is written: nobody reads it, and its segments go. */
static void *trim(void *context)
{
    (void)context;
    while (!atomic_load(&stop)) {
        ss_log_state state;
        uint64_t boundary, freed;
        ss_status status = ss_log_state_get(logs[LOGS - 1], &state);
        if (status == SS_OK)
            status = ss_log_seek(logs[LOGS - 1], state.start + (state.tail - state.start) / 2, &boundary);
        if (status == SS_OK)
            status = ss_log_trim(logs[LOGS - 1], boundary, &freed);
        HOLD(closed(status) || status == SS_OK);
        if (closed(status))
            break;
        usleep(3000);
    }
    return NULL;
}

static void *flush(void *context)
{
    (void)context;
    while (!atomic_load(&stop)) {
        ss_status status = ss_store_flush(store);
        HOLD(closed(status) || status == SS_OK);
        if (closed(status))
            break;
        usleep(1000);
    }
    return NULL;
}

static void *watch(void *context)
{
    (void)context;
    while (!atomic_load(&stop)) {
        uint32_t seen = ss_store_watch(store);
        ss_status status = ss_store_wait(store, seen, 100000);
        HOLD(closed(status) || status == SS_OK || status == SS_TIMEOUT);
        if (closed(status))
            break;
    }
    return NULL;
}

static void open_store(int flags)
{
    HOLD(ss_store_open(scratch_root, flags, &store) == SS_OK);
    for (int i = 0; i < LOGS; i++) {
        const ss_log_options options = {.durability = i % 3, .segment_size_max = 128 << 10, .record_size_max = 1 << 20};
        HOLD(ss_store_log(store, 1, (uint32_t)i, &options, &logs[i]) == SS_OK);
        atomic_store(&writers_left[i], WRITERS);
        atomic_store(&put_count[i], 0);
    }
    atomic_store(&stop, 0);
}

enum { THREADS_MAX = LOGS * (WRITERS + READERS + 1) + 3 };
static pthread_t threads[THREADS_MAX];
static role roles[THREADS_MAX];
static int thread_count;

static void start(void *(*work)(void *), int log, int number)
{
    roles[thread_count] = (role){.log = log, .number = number};
    HOLD(pthread_create(&threads[thread_count], NULL, work, &roles[thread_count]) == 0);
    thread_count++;
}

static void start_all(void)
{
    thread_count = 0;
    for (int log = 0; log < LOGS; log++) {
        for (int n = 0; n < WRITERS; n++)
            start(write_records, log, n);
        for (int n = 0; n < READERS && log < LOGS - 1; n++)
            start(follow, log, n);
        start(look_around, log, 0);
    }
    start(trim, 0, 0);
    start(flush, 0, 0);
    start(watch, 0, 0);
}

static void join_all(void)
{
    for (int i = 0; i < thread_count; i++)
        HOLD(pthread_join(threads[i], NULL) == 0);
}

static void check_to_the_end(void)
{
    scratch_new();
    open_store(SS_OPEN_CREATE);
    start_all();
    for (int log = 0; log < LOGS; log++)
        while (atomic_load(&writers_left[log]))
            usleep(1000);
    usleep(20000); /* the others go on while nobody writes */
    atomic_store(&stop, 1);
    ss_store_wake(store);
    join_all();
    ss_store_close(store);
    ss_store_free(store);
    open_store(0); /* and all of it is there for the next one */
    for (int log = 0; log < LOGS; log++)
        atomic_store(&writers_left[log], 0);
    for (int log = 0; log < LOGS - 1; log++)
        follow(&(role){.log = log});
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

/* A close in the middle ends every call and every wait; what was put before it is there. */
static void check_close(int pause_us)
{
    scratch_new();
    open_store(SS_OPEN_CREATE);
    start_all();
    usleep((unsigned)pause_us);
    ss_store_close(store);
    atomic_store(&stop, 1);
    join_all();
    ss_store_free(store);
    uint64_t counts[LOGS];
    for (int log = 0; log < LOGS; log++)
        counts[log] = atomic_load(&put_count[log]);
    open_store(0);
    for (int log = 0; log < LOGS; log++) {
        ss_log_state state;
        HOLD(ss_log_state_get(logs[log], &state) == SS_OK);
        HOLD(state.record_count >= counts[log] && state.durable == state.tail);
        HOLD(state.record_count <=
             counts[log] + WRITERS * BATCH_MAX); /* at most one put of each that was not answered */
    }
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
}

int main(void)
{
    check_to_the_end();
    for (int round = 0; round < 6; round++)
        check_close(3000 + round * 12000);
    CHECK_EQUAL(failures, 0);
    return check_report();
}
