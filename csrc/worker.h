/* A thread of the core's own: started at first need, joined at close, never woken by a signal. Knows nothing of its
 * work. */
#ifndef STREAMSTORE_WORKER_H
#define STREAMSTORE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "status.h"

typedef struct {
    pthread_t thread;
    pthread_mutex_t mutex;
    _Atomic int started;
    _Atomic int stop;
    _Atomic uint32_t event; /* event word: work or stop */
} ss_worker;

void ss_worker_init(ss_worker *worker);
void ss_worker_destroy(ss_worker *worker);
/* Start it unless it was ever started. `run` returns soon after worker->stop is set and the event word has changed. */
ss_status ss_worker_start(ss_worker *worker, void *(*run)(void *), void *context);
/* Stop and join; may be called again. */
void ss_worker_stop(ss_worker *worker);

#endif
