/* What writers attempted and what was acknowledged, in memory that outlives every one of them; records that prove
 * themselves; and the check that a log agrees with it all. Knows the public interface only. */
#ifndef STREAMSTORE_LEDGER_H
#define STREAMSTORE_LEDGER_H

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "check.h"
#include "streamstore.h"

enum { LEDGER_WRITERS = 8, LEDGER_RECORDS = 1 << 16, LEDGER_SEEN = 1 << 18, LEDGER_BATCH = 3, LEDGER_DATA_MAX = 1600 };

typedef struct {
    uint64_t position;
    uint64_t epoch;
} ledger_place;

/* One writer; `attempted` is stored before the call, `acked` after it returned. Both count records. */
typedef struct {
    _Atomic uint64_t attempted;
    _Atomic uint64_t acked;
    ledger_place places[LEDGER_RECORDS];
} ledger_writer;

/* A record as a reader saw it while writers lived and died. */
typedef struct {
    ledger_place place;
    uint32_t writer;
    uint32_t n;
} ledger_sighting;

typedef struct {
    _Atomic int go;
    _Atomic int stop;
    _Atomic int failed; /* a child met what it must not */
    _Atomic uint64_t seen;
    ledger_writer writers[LEDGER_WRITERS];
    ledger_sighting sightings[LEDGER_SEEN];
} ledger;

static inline ledger *ledger_new(void)
{
    void *map = mmap(NULL, sizeof(ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        abort();
    return map;
}

/* Report from a child, whose own counts die with it. */
static inline void ledger_fail(ledger *l, const char *what, uint64_t a, uint64_t b)
{
    printf("child: %s (%" PRIu64 ", %" PRIu64 ")\n", what, a, b);
    fflush(stdout);
    atomic_store(&l->failed, 1);
}

static inline uint64_t ledger_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Record n of a writer: writer 4 | n 4 | size 4 | bytes that follow from the three. */
static inline uint32_t ledger_content(uint32_t writer, uint32_t n, uint8_t *data)
{
    uint64_t seed = ledger_mix((uint64_t)writer << 32 | n);
    uint32_t head[3] = {writer, n, 12 + (uint32_t)(seed % (seed % 5 ? 200 : LEDGER_DATA_MAX - 12))};
    memcpy(data, head, sizeof head);
    for (uint32_t i = 12; i < head[2]; i++)
        data[i] = (uint8_t)(ledger_mix(seed + i / 8) >> 8 * (i % 8));
    return head[2];
}

/* Whose record it is; 0 where the bytes are not what a writer ever wrote. */
static inline int ledger_recognize(const uint8_t *data, uint32_t size, uint32_t *writer, uint32_t *n)
{
    uint8_t expected[LEDGER_DATA_MAX];
    uint32_t head[3];
    if (size < sizeof head || size > LEDGER_DATA_MAX)
        return 0;
    memcpy(head, data, sizeof head);
    *writer = head[0];
    *n = head[1];
    return head[0] < LEDGER_WRITERS && head[1] < LEDGER_RECORDS && head[2] == size &&
           ledger_content(head[0], head[1], expected) == size && memcmp(data, expected, size) == 0;
}

/* One put of LEDGER_BATCH records, and its entry in the ledger. */
static inline ss_status ledger_put(ledger *l, ss_log *log, uint32_t writer, int durability)
{
    ledger_writer *mine = &l->writers[writer];
    uint8_t data[LEDGER_BATCH][LEDGER_DATA_MAX];
    ss_entry entries[LEDGER_BATCH];
    uint64_t positions[LEDGER_BATCH], first = atomic_load(&mine->attempted);
    ss_appended appended;
    if (first + LEDGER_BATCH > LEDGER_RECORDS)
        return SS_LIMIT;
    for (uint32_t i = 0; i < LEDGER_BATCH; i++)
        entries[i] = (ss_entry){
            .data = data[i], .data_size = ledger_content(writer, (uint32_t)first + i, data[i]), .key_size = -1};
    atomic_store(&mine->attempted, first + LEDGER_BATCH);
    ss_status status = ss_log_append(log, entries, LEDGER_BATCH, 0, 0, positions, &appended);
    if (status == SS_OK && durability == SS_DURABILITY_SYNC)
        status = ss_log_sync(log, appended.end_position);
    if (status != SS_OK)
        return status;
    for (uint32_t i = 0; i < LEDGER_BATCH; i++)
        mine->places[first + i] = (ledger_place){positions[i], appended.epoch};
    atomic_store(&mine->acked, first + LEDGER_BATCH);
    return SS_OK;
}

/* What one pass over the log found: of each record where it stands; position 0 = nowhere. */
typedef struct {
    ledger_place found[LEDGER_WRITERS][LEDGER_RECORDS];
    uint64_t next[LEDGER_WRITERS];
    uint64_t count;
} ledger_pass;

static inline void ledger_take(ledger_pass *pass, const ledger *l, const ss_record *record, const uint8_t *buffer)
{
    uint32_t writer, n;
    int known = ledger_recognize(buffer + record->data_offset, record->data_size, &writer, &n);
    CHECK(known);
    if (!known)
        return;
    CHECK(n < atomic_load(&l->writers[writer].attempted)); /* nothing invented */
    CHECK_EQUAL(pass->found[writer][n].position, 0);       /* at most once */
    CHECK(n >= pass->next[writer]);                        /* in the writer's order */
    pass->next[writer] = n + 1;
    pass->found[writer][n] = (ledger_place){record->position, record->epoch};
    pass->count++;
}

/* The whole log against the ledger: all that was acknowledged where the ack said, nothing twice, nothing else, and all
 * that was seen still so. */
static inline void ledger_check(const ledger *l, ss_log *log)
{
    static uint8_t buffer[256 << 10];
    static ss_record records[512];
    ledger_pass *pass = calloc(1, sizeof *pass);
    ss_log_state state;
    ss_read_result result;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    uint64_t position = state.start, last_position = 0, last_epoch = 0, miscounted = 0;
    for (;;) {
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 512, &result);
        CHECK_EQUAL(status, SS_OK);
        if (status != SS_OK || result.count == 0)
            break;
        for (size_t i = 0; i < result.count; i++) {
            CHECK(records[i].position > last_position);
            CHECK(records[i].epoch >= last_epoch);
            last_position = records[i].position;
            last_epoch = records[i].epoch;
            ledger_take(pass, l, &records[i], buffer);
            miscounted += records[i].ordinal != pass->count;
        }
        position = result.next_position;
    }
    CHECK_EQUAL(miscounted, 0);
    CHECK_EQUAL(state.record_count, pass->count);
    for (uint32_t w = 0; w < LEDGER_WRITERS; w++) {
        for (uint64_t n = 0; n < atomic_load(&l->writers[w].acked); n++) {
            const ledger_place *found = &pass->found[w][n], *told = &l->writers[w].places[n];
            /* A writer goes on after a failed put: what that one left is not acked, but may stand. */
            if (told->position)
                CHECK(found->position == told->position && found->epoch == told->epoch);
        }
    }
    for (uint64_t i = 0; i < atomic_load(&l->seen); i++) {
        const ledger_sighting *sighting = &l->sightings[i];
        const ledger_place *found = &pass->found[sighting->writer][sighting->n];
        CHECK(found->position == sighting->place.position && found->epoch == sighting->place.epoch);
    }
    free(pass);
}

#endif
