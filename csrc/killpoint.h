/* Named places at which a test lets a process die: SS_KILLPOINT is nothing at all unless built with -DSS_KILLPOINTS,
 * which only the programs tests/c/kill_*.c are. There STREAMSTORE_KILLPOINT=name:n is SIGKILL at the n-th time that
 * this process comes to `name`. */
#ifndef STREAMSTORE_KILLPOINT_H
#define STREAMSTORE_KILLPOINT_H

#ifdef SS_KILLPOINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef SS_COUNTED
void __gcov_dump(void); /* where branches are counted: who is killed would take its counts along */
#else
#define __gcov_dump() ((void)0)
#endif

/* The environment is read each time: a test sets it in the child, after the fork. A name stands in one place, so one
 * count is enough. */
static inline void ss_killpoint_reach(const char *name)
{
    static _Atomic int reached;
    const char *wanted = getenv("STREAMSTORE_KILLPOINT");
    size_t size = strlen(name);
    if (!wanted || strncmp(wanted, name, size) != 0 || wanted[size] != ':')
        return;
    if (atomic_fetch_add(&reached, 1) + 1 == atoi(wanted + size + 1)) {
        __gcov_dump();
        raise(SIGKILL);
    }
}

#define SS_KILLPOINT(name) ss_killpoint_reach(name)
#else
#define SS_KILLPOINT(name) ((void)0)
#endif

#endif
