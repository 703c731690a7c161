/* Takeover locks between processes: taken from the dead, never from the living or the stopped, and a slot's next
 * holder is somebody else. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "file.h"
#include "lock.h"
#include "scratch.h"
#include "wait.h"

/* What parent and children share besides the lock file. */
typedef struct {
    _Atomic uint32_t word;
    _Atomic uint32_t other_word;
    _Atomic int ready;
    _Atomic int go;
    _Atomic uint64_t counter;
    uint64_t plain; /* guarded by word */
} board;

static board *shared;
static const _Atomic int open_store = 0;

/* A handle as another process, or another store handle of this one, would have it: its own description of the lock
 * file. */
static ss_lock_self attach(void)
{
    void *map;
    ss_lock_self self = {.fd = scratch_open("lock", O_RDWR | O_CREAT), .closing = &open_store};
    CHECK_EQUAL(ftruncate(self.fd, SS_LOCK_FILE_SIZE), 0);
    CHECK_EQUAL(ss_file_map(self.fd, SS_LOCK_FILE_SIZE, 1, &map), SS_OK);
    self.slots = map;
    CHECK_EQUAL(ss_lock_attach(&self), SS_OK);
    return self;
}

static void detach(ss_lock_self *self)
{
    ss_lock_detach(self);
    ss_file_unmap(self->slots, SS_LOCK_FILE_SIZE);
    ss_file_close(self->fd);
}

/* A child that attaches, takes the word, says so and never lets go. */
static pid_t child_with_lock(void)
{
    atomic_store(&shared->ready, 0);
    pid_t child = fork();
    if (child == 0) {
        ss_lock_self self = attach();
        int taken_over;
        if (ss_lock_acquire(&self, &shared->word, &taken_over) != SS_OK)
            _exit(1);
        atomic_store(&shared->ready, 1);
        for (;;)
            pause();
    }
    while (!atomic_load(&shared->ready))
        usleep(100);
    return child;
}

static void end(pid_t child)
{
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
}

static void fresh(void)
{
    memset(shared, 0, sizeof *shared);
    scratch_new();
}

static void check_slots(void)
{
    fresh();
    ss_lock_self a = attach(), b = attach();
    CHECK(a.slot != b.slot && a.slot >= 1 && b.slot >= 1);
    CHECK_EQUAL(ss_lock_owner_slot(a.word), a.slot);
    CHECK(ss_lock_slot_alive(&a, a.slot) && ss_lock_slot_alive(&a, b.slot));
    CHECK_EQUAL(ss_lock_slot_alive(&a, 1000), 0);
    CHECK_EQUAL(a.slots[a.slot].pid, getpid());
    uint32_t slot = b.slot, word = b.word;
    detach(&b);
    CHECK_EQUAL(ss_lock_slot_alive(&a, slot), 0);
    ss_lock_self c = attach(); /* the same slot, another generation: a word of the first holder is a dead owner's */
    CHECK_EQUAL(c.slot, slot);
    CHECK(c.word != word);
    atomic_store(&shared->word, word);
    int taken_over = 0;
    CHECK_EQUAL(ss_lock_try_or_take_over(&a, &shared->word, &taken_over), SS_OK);
    CHECK_EQUAL(taken_over, 1);
    ss_lock_release(&shared->word);
    /* Even the new holder of the slot takes over from its predecessor. */
    atomic_store(&shared->word, word);
    CHECK_EQUAL(ss_lock_try_or_take_over(&c, &shared->word, &taken_over), SS_OK);
    CHECK_EQUAL(taken_over, 1);
    ss_lock_release(&shared->word);
    CHECK_EQUAL(shared->word, 0);
    detach(&a);
    detach(&c);
    scratch_remove();
}

/* Who has left is nobody, before its descriptor is closed, and leaving once more changes nothing. */
static void check_leaving(void)
{
    fresh();
    ss_lock_self a = attach(), b = attach();
    uint32_t slot = b.slot;
    ss_lock_detach(&b);
    CHECK_EQUAL(a.slots[slot].pid, 0);
    CHECK_EQUAL(ss_lock_slot_alive(&a, slot), 0);
    atomic_store(&a.slots[0].pid, 77); /* nobody's */
    detach(&b);
    CHECK_EQUAL(a.slots[0].pid, 77);
    detach(&a);
    scratch_remove();
}

/* A lock file that answers with errors proves nobody dead, and gives no slot; the error is told. */
static void check_errors(void)
{
    fresh();
    ss_lock_self a = attach(), b = attach(), deaf = a;
    int taken_over;
    deaf.fd = -1;
    atomic_store(&shared->word, b.word);
    CHECK_EQUAL(ss_lock_slot_alive(&deaf, b.slot), 1);
    CHECK_EQUAL(ss_lock_try_or_take_over(&deaf, &shared->word, &taken_over), SS_WOULD_BLOCK);
    CHECK_EQUAL(shared->word, b.word);
    ss_status status = ss_lock_attach(&deaf);
    CHECK(status != SS_OK && status != SS_LIMIT);
    detach(&a);
    detach(&b);
    scratch_remove();
}

static void check_generations_wrap(void)
{
    fresh();
    ss_lock_self a = attach();
    const uint32_t generations[] = {(1u << 21) - 2, (1u << 21) - 1, UINT32_MAX - 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof generations / sizeof *generations; i++) {
        atomic_store(&a.slots[a.slot + 1].generation, generations[i]);
        ss_lock_self b = attach();
        CHECK(b.slot == a.slot + 1 && ss_lock_owner_slot(b.word) == b.slot && b.word >> 31 == 0);
        CHECK(ss_lock_try(&b, &shared->word));
        int taken_over;
        CHECK_EQUAL(ss_lock_try_or_take_over(&a, &shared->word, &taken_over), SS_WOULD_BLOCK);
        ss_lock_release(&shared->word);
        detach(&b);
    }
    detach(&a);
    scratch_remove();
}

static void check_exclusion(void)
{
    fresh();
    ss_lock_self a = attach(), b = attach();
    int taken_over;
    CHECK(ss_lock_try(&a, &shared->word));
    CHECK(!ss_lock_try(&a, &shared->word)); /* not by its own process either */
    CHECK(!ss_lock_try(&b, &shared->word));
    CHECK_EQUAL(ss_lock_try_or_take_over(&b, &shared->word, &taken_over), SS_WOULD_BLOCK);
    CHECK_EQUAL(ss_lock_try_or_take_over(&a, &shared->word, &taken_over), SS_WOULD_BLOCK);
    _Atomic int closing = SS_LOCK_CLOSING;
    b.closing = &closing;
    CHECK_EQUAL(ss_lock_acquire(&b, &shared->word, &taken_over), SS_CLOSED); /* a handle that closes waits for nobody */
    ss_lock_release(&shared->word);
    CHECK_EQUAL(shared->word, 0);
    b.closing = &open_store;
    detach(&a);
    detach(&b);
    scratch_remove();
}

static void check_the_dead(void)
{
    fresh();
    for (int round = 0; round < 5; round++) {
        ss_lock_self self = attach();
        pid_t child = child_with_lock();
        int taken_over = 0;
        CHECK_EQUAL(ss_lock_try_or_take_over(&self, &shared->word, &taken_over), SS_WOULD_BLOCK);
        end(child);
        if (round % 2)
            CHECK_EQUAL(ss_lock_acquire(&self, &shared->word, &taken_over), SS_OK);
        else
            CHECK_EQUAL(ss_lock_try_or_take_over(&self, &shared->word, &taken_over), SS_OK);
        CHECK_EQUAL(taken_over, 1);
        CHECK_EQUAL(ss_lock_owner_slot(shared->word), self.slot);
        ss_lock_release(&shared->word);
        CHECK_EQUAL(shared->word, 0);
        detach(&self);
    }
    scratch_remove();
}

static void no_more(int number)
{
    (void)number;
}

/* A profiler's timer cuts every sleep short, long before it would have lasted until the question whether the owner
 * lives: the question is asked all the same. */
static void check_the_dead_under_signals(void)
{
    fresh();
    ss_lock_self self = attach();
    end(child_with_lock());
    struct sigaction action = {.sa_handler = no_more};
    struct itimerval every = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}}, never = {{0}, {0}};
    CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &every, NULL), 0);
    ss_status status = SS_INTERRUPTED;
    int taken_over = 0;
    for (int look = 0; look < 1000 && status == SS_INTERRUPTED; look++)
        status = ss_lock_acquire(&self, &shared->word, &taken_over);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQUAL(status, SS_OK);
    CHECK_EQUAL(taken_over, 1);
    detach(&self);
    scratch_remove();
}

static _Atomic int alarms, closing_soon;

static void count_alarm(int number)
{
    (void)number;
    if (atomic_fetch_add(&alarms, 1) == 50) /* whoever does not come back for a signal comes back closed */
        atomic_store(&closing_soon, SS_LOCK_CLOSING);
}

/* A signal ends the wait for an owner that lives: its handler may have something to raise. */
static void check_signals_are_told(void)
{
    fresh();
    ss_lock_self self = attach();
    self.closing = &closing_soon;
    pid_t child = child_with_lock();
    struct sigaction action = {.sa_handler = count_alarm};
    struct itimerval every = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}}, never = {{0}, {0}};
    CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &every, NULL), 0);
    int taken_over;
    CHECK_EQUAL(ss_lock_acquire(&self, &shared->word, &taken_over), SS_INTERRUPTED);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
    end(child);
    detach(&self);
    scratch_remove();
}

/* A stopped process is alive: whoever wants its lock waits, however long, and gets it when it is let go. */
static void check_the_stopped(void)
{
    fresh();
    ss_lock_self self = attach();
    pid_t child = child_with_lock();
    kill(child, SIGSTOP);
    CHECK_EQUAL(waitpid(child, NULL, WUNTRACED), child);
    pid_t waiter = fork();
    if (waiter == 0) {
        ss_lock_self waiting = attach();
        int over;
        _exit(ss_lock_acquire(&waiting, &shared->word, &over) == SS_OK ? 10 + over : 1);
    }
    for (int look = 0; look < 5; look++) { /* well past the time after which a waiter asks whether the owner lives */
        usleep(100000);
        CHECK_EQUAL(ss_lock_owner_slot(shared->word), self.slot + 1);
        CHECK_EQUAL(waitpid(waiter, NULL, WNOHANG), 0);
    }
    end(child); /* now it is dead, and the waiter finds out by itself */
    int status = 0;
    CHECK_EQUAL(waitpid(waiter, &status, 0), waiter);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 11);
    detach(&self);
    scratch_remove();
}

/* A word that no process could have written (a damaged control file) holds nobody up. */
static void check_damaged_words(void)
{
    fresh();
    ss_lock_self self = attach();
    int fd = scratch_open("lock", O_RDWR), locked = 0; /* somebody holds the byte of a slot that there is not */
    CHECK_EQUAL(ss_file_lock_try(fd, SS_LOCK_BYTE_SLOTS, 1, &locked), SS_OK);
    CHECK_EQUAL(locked, 1);
    const uint32_t words[] = {1, 0x7fffffff, 0x80000000, UINT32_MAX, 1u << 21, 500u << 21 | 3, self.word ^ 1};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        int taken_over = 0;
        atomic_store(&shared->word, words[i]);
        CHECK_EQUAL(ss_lock_try_or_take_over(&self, &shared->word, &taken_over), SS_OK);
        CHECK_EQUAL(taken_over, 1);
        ss_lock_release(&shared->word);
    }
    close(fd);
    detach(&self);
    scratch_remove();
}

enum { WRITERS = 4, TURNS = 3000 };

/* Writers that count under the lock, some of them killed with it in their hands: no count is lost, nobody stands
 * still. */
static void check_many(void)
{
    fresh();
    ss_lock_self self = attach();
    pid_t children[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            ss_lock_self mine = attach();
            for (int turn = 0; i == 0 || turn < TURNS; turn++) {
                int taken_over;
                if (ss_lock_acquire(&mine, &shared->word, &taken_over) != SS_OK)
                    _exit(1);
                uint64_t plain = shared->plain;
                if (i == 0 && turn == 500)
                    raise(SIGKILL);
                shared->plain = plain + 1;
                atomic_fetch_add(&shared->counter, 1);
                ss_lock_release(&shared->word);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 0;
        CHECK_EQUAL(waitpid(children[i], &status, 0), children[i]);
        CHECK(i == 0 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK_EQUAL(shared->plain, shared->counter);
    CHECK_EQUAL(shared->plain, 500 + (WRITERS - 1) * TURNS);
    detach(&self);
    scratch_remove();
}

int main(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check_slots();
    check_leaving();
    check_errors();
    check_generations_wrap();
    check_exclusion();
    check_the_dead();
    check_the_dead_under_signals();
    check_signals_are_told();
    check_the_stopped();
    check_damaged_words();
    check_many();
    return check_report();
}
