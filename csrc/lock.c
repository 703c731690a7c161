/* Slots and takeover locks (DESIGN section 6, "Append lock"). */
#include "lock.h"

#include <assert.h>
#include <unistd.h>

#include "file.h"
#include "killpoint.h"
#include "wait.h"

#define WAITERS (UINT32_C(1) << 31)
#define GENERATION_BITS 21
#define GENERATION_MASK ((UINT32_C(1) << GENERATION_BITS) - 1)
#define TAKEOVER_AFTER_US 100000

ss_status ss_lock_attach(ss_lock_self *self)
{
    for (uint32_t slot = 1; slot < SS_LOCK_SLOTS; slot++) {
        int locked = 0;
        ss_status status = ss_file_lock_try(self->fd, SS_LOCK_BYTE_SLOTS + slot, 1, &locked);
        if (status != SS_OK)
            return status;
        if (!locked)
            continue;
        /* From here on every word that names an earlier holder of this slot is a dead owner's. */
        uint32_t generation = atomic_fetch_add(&self->slots[slot].generation, 1) + 1;
        atomic_store(&self->slots[slot].pid, (uint32_t)getpid());
        atomic_store(&self->slots[slot].attached_us, ss_wait_wall_us());
        SS_KILLPOINT("slot-taken");
        self->slot = slot;
        self->word = slot << GENERATION_BITS | (generation & GENERATION_MASK);
        return SS_OK;
    }
    return SS_LIMIT;
}

void ss_lock_detach(ss_lock_self *self)
{
    if (self->slot) {
        atomic_store(&self->slots[self->slot].pid, 0);
        ss_file_unlock(self->fd, SS_LOCK_BYTE_SLOTS + self->slot);
    }
    self->slot = 0;
}

int ss_lock_try(const ss_lock_self *self, _Atomic uint32_t *word)
{
    uint32_t expected = 0;
    return atomic_compare_exchange_strong_explicit(word, &expected, self->word, memory_order_acquire,
                                                   memory_order_relaxed);
}

uint32_t ss_lock_owner_slot(uint32_t word)
{
    return (word & ~WAITERS) >> GENERATION_BITS;
}

int ss_lock_slot_alive(const ss_lock_self *self, uint32_t slot)
{
    if (slot == self->slot)
        return 1;
    int held = 1;
    if (ss_file_lock_held_elsewhere(self->fd, SS_LOCK_BYTE_SLOTS + slot, &held) != SS_OK)
        return 1; /* no proof of death: never steal */
    return held;
}

/* Dead only with proof: another generation holds the slot now, or the kernel says that nobody does. Never by time
 * alone. */
static int owner_dead(const ss_lock_self *self, uint32_t word)
{
    uint32_t slot = ss_lock_owner_slot(word);
    if (slot == 0 || slot >= SS_LOCK_SLOTS)
        return 1; /* a word that nobody could have written: a damaged control file */
    uint32_t current = atomic_load(&self->slots[slot].generation) & GENERATION_MASK;
    return current != (word & GENERATION_MASK) || !ss_lock_slot_alive(self, slot);
}

static int take_over(const ss_lock_self *self, _Atomic uint32_t *word, uint32_t seen)
{
    /* A dead owner's word changes only by another takeover, and then this exchange fails. Sleepers may be there:
     * keep the bit. */
    return atomic_load(word) == seen && owner_dead(self, seen) &&
           atomic_compare_exchange_strong(word, &seen, self->word | WAITERS);
}

ss_status ss_lock_acquire(const ss_lock_self *self, _Atomic uint32_t *word, int *taken_over)
{
    *taken_over = 0;
    for (int spin = 0; spin < 100; spin++) {
        if (ss_lock_try(self, word))
            return SS_OK;
        ss_wait_pause();
    }
    for (;;) {
        uint32_t seen = 0;
        if (atomic_compare_exchange_strong(word, &seen, self->word | WAITERS))
            return SS_OK; /* with the bit: others may sleep too */
        if (atomic_load_explicit(self->closing, memory_order_relaxed) == SS_LOCK_CLOSING)
            return SS_CLOSED;
        if (!(seen & WAITERS) && !atomic_compare_exchange_strong(word, &seen, seen | WAITERS))
            continue;
        ss_status status = ss_wait_sleep(word, seen | WAITERS, TAKEOVER_AFTER_US);
        /* However the sleep ended: signals that come faster than the timeout would else keep a dead owner's lock for
         * good. */
        if (take_over(self, word, seen | WAITERS)) {
            *taken_over = 1;
            return SS_OK;
        }
        if (status == SS_INTERRUPTED)
            return status;
    }
}

ss_status ss_lock_try_or_take_over(const ss_lock_self *self, _Atomic uint32_t *word, int *taken_over)
{
    *taken_over = 0;
    if (ss_lock_try(self, word))
        return SS_OK;
    uint32_t seen = atomic_load(word);
    if (seen && take_over(self, word, seen)) {
        *taken_over = 1;
        return SS_OK;
    }
    return SS_WOULD_BLOCK;
}

void ss_lock_release(_Atomic uint32_t *word)
{
    uint32_t old = atomic_exchange_explicit(word, 0, memory_order_release);
    assert(old != 0);
    if (old & WAITERS)
        ss_wait_wake(word, 1);
}
