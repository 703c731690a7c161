/* Preloaded into a program, it has the wall clock go wrong by as much as the program says; the other clocks stay. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t wrong_by_us;

void false_clock_set(int64_t us)
{
    wrong_by_us = us;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    int64_t us = wrong_by_us;
    if (clock == CLOCK_REALTIME && result == 0 && us) {
        us += (int64_t)now->tv_sec * 1000000 + now->tv_nsec / 1000;
        now->tv_sec = us / 1000000 - (us % 1000000 < 0);
        now->tv_nsec = (us % 1000000 + (us % 1000000 < 0 ? 1000000 : 0)) * 1000;
    }
    return result;
}
