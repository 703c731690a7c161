/* Sleeping on a shared word, and the clocks: the only futex and time system calls. Words live in shared maps, so
 * every futex here is a shared one. */
#ifndef STREAMSTORE_WAIT_H
#define STREAMSTORE_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

#include "status.h"

/* Nobody sleeps longer than this without looking whether the one it waits for still lives (DESIGN section 2). */
#define SS_WAIT_BOUND_US 500000

/* Sleep while *word == expected, at most timeout_us. SS_OK on a wake or a change, SS_TIMEOUT, SS_INTERRUPTED. */
ss_status ss_wait_sleep(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_us);
void ss_wait_wake(_Atomic uint32_t *word, int count);
void ss_wait_wake_all(_Atomic uint32_t *word);

/* A hint to the processor inside a spin. */
static inline void ss_wait_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
long ss_wait_processors(void);

uint64_t ss_wait_wall_us(void);
uint64_t ss_wait_boot_us(void);
uint64_t ss_wait_monotonic_us(void);

/* An event word: bit 0 says that somebody sleeps, the rest counts events. The one who signals pays a system call
 * only if the bit is set; the bit is cleared by the wake, so a sleeper killed in its sleep costs one needless wake
 * and no more. */
uint32_t ss_wait_event_read(_Atomic uint32_t *event);
/* Announce a sleep on the value last read; 0 if it has changed meanwhile. */
int ss_wait_event_announce(_Atomic uint32_t *event, uint32_t *seen);
void ss_wait_event_signal(_Atomic uint32_t *event);
/* Count an event and wake all, whoever announced. */
void ss_wait_event_force(_Atomic uint32_t *event);

#endif
