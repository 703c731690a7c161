/* Starting and joining a thread of the core. */
#define _GNU_SOURCE
#include "worker.h"

#include <signal.h>

#include "wait.h"

enum { WORKER_RUNS = 1, WORKER_JOINED = 2 };

void ss_worker_init(ss_worker *worker)
{
    pthread_mutex_init(&worker->mutex, NULL);
}

void ss_worker_destroy(ss_worker *worker)
{
    pthread_mutex_destroy(&worker->mutex);
}

ss_status ss_worker_start(ss_worker *worker, void *(*run)(void *), void *context)
{
    ss_status status = SS_OK;
    pthread_mutex_lock(&worker->mutex);
    if (!atomic_load(&worker->started)) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the program's own threads */
        status = pthread_create(&worker->thread, NULL, run, context) == 0 ? SS_OK : SS_NO_MEMORY;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (status == SS_OK)
            atomic_store(&worker->started, WORKER_RUNS);
    }
    pthread_mutex_unlock(&worker->mutex);
    return status;
}

void ss_worker_stop(ss_worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    if (atomic_load(&worker->started) == WORKER_RUNS) {
        atomic_store(&worker->stop, 1);
        ss_wait_event_force(&worker->event);
        pthread_join(worker->thread, NULL);
        atomic_store(&worker->started, WORKER_JOINED);
    }
    pthread_mutex_unlock(&worker->mutex);
}
