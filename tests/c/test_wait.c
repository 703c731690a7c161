/* Event words and bounded sleeps: no wake is lost, no sleep outlasts its bound, and nobody pays for a sleeper that is
 * not there. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "check.h"
#include "wait.h"

enum { ROUNDS = 20000, SLEEPERS = 3 };

static void check_sleep(void)
{
    _Atomic uint32_t word = 5;
    CHECK_EQUAL(ss_wait_sleep(&word, 4, 1000000), SS_OK); /* it differs already */
    CHECK_EQUAL(ss_wait_sleep(&word, 5, 0), SS_TIMEOUT);
    CHECK_EQUAL(ss_wait_sleep(&word, 5, -1), SS_TIMEOUT); /* no sleep is without bound */
    CHECK_EQUAL(ss_wait_sleep(&word, 5, 1000), SS_TIMEOUT);
}

static void check_event_word(void)
{
    _Atomic uint32_t event = 6;
    uint32_t seen = ss_wait_event_read(&event), stale = seen;
    ss_wait_event_signal(&event); /* nobody sleeps: nothing is counted, nothing is called */
    CHECK_EQUAL(event, 6);
    CHECK(ss_wait_event_announce(&event, &seen));
    CHECK_EQUAL(seen, 7);
    CHECK_EQUAL(event, 7);
    uint32_t second = ss_wait_event_read(&event);
    CHECK(ss_wait_event_announce(&event, &second)); /* a second sleeper */
    CHECK_EQUAL(event, 7);
    ss_wait_event_signal(&event);
    CHECK_EQUAL(event, 8); /* counted, and the bit is cleared */
    CHECK_EQUAL(ss_wait_sleep(&event, seen, 1000000), SS_OK);
    CHECK_EQUAL(ss_wait_event_announce(&event, &stale), 0); /* what was read is past: look again */
    CHECK_EQUAL(event, 8);
    ss_wait_event_force(&event);
    CHECK_EQUAL(event, 10);
    event = UINT32_MAX; /* the count wraps, with and without the bit */
    ss_wait_event_signal(&event);
    CHECK_EQUAL(event, 0);
    event = UINT32_MAX - 1;
    ss_wait_event_force(&event);
    CHECK_EQUAL(event, 0);
}

static _Atomic uint32_t shared_event;
static _Atomic uint64_t published;
static _Atomic uint32_t timeouts;
static _Atomic uint64_t taken[SLEEPERS];

/* Waits for each number in turn; a wake that is lost shows as a sleep that runs into its bound. */
static void *follow(void *context)
{
    _Atomic uint64_t *mine = context;
    while (atomic_load(mine) < ROUNDS) {
        uint32_t seen = ss_wait_event_read(&shared_event);
        if (atomic_load(&published) > atomic_load(mine)) {
            atomic_store(mine, atomic_load(&published));
            continue;
        }
        if (!ss_wait_event_announce(&shared_event, &seen) || atomic_load(&published) > atomic_load(mine))
            continue;
        if (ss_wait_sleep(&shared_event, seen, 10 * SS_WAIT_BOUND_US) == SS_TIMEOUT)
            atomic_fetch_add(&timeouts, 1);
    }
    return NULL;
}

static void check_no_wake_is_lost(void)
{
    pthread_t threads[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, follow, &taken[i]), 0);
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        atomic_store_explicit(&published, n, memory_order_release);
        ss_wait_event_signal(&shared_event);
        if (n % 2) /* every other number is waited for, so that most of them meet a sleeper or one about to sleep */
            for (int i = 0; i < SLEEPERS; i++)
                while (atomic_load(&taken[i]) < n && !atomic_load(&timeouts))
                    continue;
    }
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(timeouts, 0);
}

static _Atomic uint32_t asleep_word;
static _Atomic int interrupted;

static void on_signal(int number)
{
    (void)number;
}

static void *sleep_long(void *context)
{
    (void)context;
    while (!atomic_load(&interrupted))
        if (ss_wait_sleep(&asleep_word, 0, 60000000) == SS_INTERRUPTED)
            atomic_store(&interrupted, 1);
    return NULL;
}

/* A signal ends a sleep, so that Ctrl-C never waits for a bound. */
static void check_a_signal_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, sleep_long, NULL), 0);
    while (!atomic_load(&interrupted)) {
        pthread_kill(thread, SIGUSR1);
        usleep(1000);
    }
    pthread_join(thread, NULL);
    CHECK_EQUAL(interrupted, 1);
}

static void check_clocks(void)
{
    uint64_t boot = ss_wait_boot_us(), monotonic = ss_wait_monotonic_us(), wall = ss_wait_wall_us();
    CHECK(wall > UINT64_C(1600000000000000));
    CHECK(boot >= monotonic - 1000000); /* the boot clock counts suspension too */
    CHECK(ss_wait_monotonic_us() >= monotonic);
    CHECK(ss_wait_boot_us() >= boot);
}

int main(void)
{
    check_sleep();
    check_event_word();
    check_no_wake_is_lost();
    check_a_signal_interrupts();
    check_clocks();
    return check_report();
}
