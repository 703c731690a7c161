/* A thread that knows nothing but the tail finds every byte below it in place. It takes no lock and makes no call, so
 * that the order of the two stores is all there is between it and the writer: ThreadSanitizer sees whether it is kept,
 * however the two are scheduled. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "log.h"
#include "logs.h"
#include "record.h"

enum { RECORDS = 200 };

typedef struct {
    const ss_log *log;
    const ss_segment *segment;
    uint64_t first;
    unsigned wrong;
} witness;

/* Walk the frames behind `first` in the map itself, each once the tail is past it. */
static void *look(void *context)
{
    witness *w = context;
    uint64_t at = w->first;
    for (int n = 0; n < RECORDS; n++) {
        ss_record_header header;
        uint64_t tail;
        while ((tail = atomic_load_explicit(&w->log->entry->tail, memory_order_acquire)) <= at)
            continue;
        const uint8_t *frame = w->segment->map + ss_segment_offset(w->segment, at);
        if (ss_record_read_header(frame, at, &w->segment->salt, &header) != SS_OK || at + header.frame_size > tail ||
            ss_record_check_body(frame, &header, &w->segment->salt) != SS_OK) {
            w->wrong++;
            break;
        }
        at += header.frame_size;
    }
    return NULL;
}

int main(void)
{
    fresh_root();
    pthread_t thread;
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    put(log, 0);
    witness w = {.log = log, .segment = log->writer, .first = atomic_load(&log->entry->tail)};
    CHECK(w.segment->map != NULL);
    CHECK_EQUAL(pthread_create(&thread, NULL, look, &w), 0);
    for (uint64_t n = 1; n <= RECORDS; n++)
        put(log, n);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    CHECK_EQUAL(w.wrong, 0);
    CHECK_EQUAL(log->writer->facts.ordinal, 1); /* all of them in the segment that was looked at */
    close_store(store);
    remove_root();
    return check_report();
}
