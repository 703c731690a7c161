/* Included before all else where branches are counted: children of the tests leave by _exit, and bring their counts out
 * first. */
#ifndef STREAMSTORE_COUNTED_H
#define STREAMSTORE_COUNTED_H

#define _GNU_SOURCE
#include <unistd.h>

void __gcov_dump(void);

static inline _Noreturn void counted_exit(int status)
{
    __gcov_dump();
    _exit(status);
}

#define _exit counted_exit

#endif
