/* Who is attached, and locks that survive their owner's death. A process holds a byte of the lock file (its slot)
 * for as long as it is attached; the kernel frees it at death, in any PID namespace. A lock word names slot and
 * generation of its owner.
 *
 *   lock word:  31 somebody sleeps | 30..21 slot (1..1023) | 20..0 generation of the slot;  0 = free
 */
#ifndef STREAMSTORE_LOCK_H
#define STREAMSTORE_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "streamstore.h"

enum { SS_LOCK_SLOTS = 1024, SS_LOCK_CLOSING = 1 };

/* The mapped part of the lock file, one row a slot. */
typedef struct {
    _Atomic uint32_t generation;
    _Atomic uint32_t pid; /* as its holder sees itself: for people, never for decisions */
    _Atomic uint64_t attached_us;
} ss_lock_slot;

typedef struct {
    int fd;
    ss_lock_slot *slots;
    uint32_t slot;
    uint32_t word;
    const _Atomic int *closing; /* SS_LOCK_CLOSING ends waits of this handle */
} ss_lock_self;

#define SS_LOCK_FILE_SIZE (SS_LOCK_SLOTS * sizeof(ss_lock_slot))
enum { SS_LOCK_BYTE_SLOTS = 1 << 20, SS_LOCK_BYTE_OPEN = 1 << 21, SS_LOCK_BYTE_PRESENCE };

/* Take a free slot and raise its generation, before any other lock is taken. */
ss_status ss_lock_attach(ss_lock_self *self);
void ss_lock_detach(ss_lock_self *self);
int ss_lock_try(const ss_lock_self *self, _Atomic uint32_t *word);
/* Sleep until it is ours. *taken_over: the owner was dead and may have left things half done. */
ss_status ss_lock_acquire(const ss_lock_self *self, _Atomic uint32_t *word, int *taken_over);
/* Take it if it is free or its owner is dead, else SS_WOULD_BLOCK at once. */
ss_status ss_lock_try_or_take_over(const ss_lock_self *self, _Atomic uint32_t *word, int *taken_over);
void ss_lock_release(_Atomic uint32_t *word);
uint32_t ss_lock_owner_slot(uint32_t word);
int ss_lock_slot_alive(const ss_lock_self *self, uint32_t slot);

#endif
