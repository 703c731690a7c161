/* Futex sleeps, event words and clocks. */
#define _GNU_SOURCE
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

ss_status ss_wait_sleep(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_us)
{
    struct timespec timeout = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    if (timeout_us <= 0)
        return SS_TIMEOUT;
    long result = syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, expected, &timeout, NULL, 0);
    if (result == 0 || errno == EAGAIN)
        return SS_OK;
    if (errno == ETIMEDOUT)
        return SS_TIMEOUT;
    return errno == EINTR ? SS_INTERRUPTED : ss_status_with_errno(SS_IO, errno);
}

void ss_wait_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void ss_wait_wake_all(_Atomic uint32_t *word)
{
    ss_wait_wake(word, INT_MAX);
}

long ss_wait_processors(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN);
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t ss_wait_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

uint64_t ss_wait_boot_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

uint64_t ss_wait_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint32_t ss_wait_event_read(_Atomic uint32_t *event)
{
    return atomic_load_explicit(event, memory_order_acquire);
}

int ss_wait_event_announce(_Atomic uint32_t *event, uint32_t *seen)
{
    uint32_t announced = *seen | 1;
    if (*seen != announced && !atomic_compare_exchange_strong(event, seen, announced))
        return 0;
    *seen = announced;
    /* The caller looks again for its event after this fence, the signaller looks at the bit after publishing: one of
     * the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    return 1;
}

void ss_wait_event_signal(_Atomic uint32_t *event)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t seen = atomic_load_explicit(event, memory_order_relaxed);
    while (seen & 1) {
        if (atomic_compare_exchange_weak(event, &seen, seen + 1)) { /* bit 0 set: + 1 clears it and counts */
            ss_wait_wake_all(event);
            return;
        }
    }
}

void ss_wait_event_force(_Atomic uint32_t *event)
{
    uint32_t seen = atomic_load(event);
    while (!atomic_compare_exchange_weak(event, &seen, (seen | 1) + 1))
        continue;
    ss_wait_wake_all(event);
}
