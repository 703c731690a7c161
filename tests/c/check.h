/* The whole of the C tests' framework: count what is checked, print what fails. Knows nothing of what is tested. */
#ifndef STREAMSTORE_CHECK_H
#define STREAMSTORE_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int check_passed, check_failed;

static inline void check_record(int holds, const char *file, int line, const char *text)
{
    if (holds) {
        check_passed++;
        return;
    }
    check_failed++;
    printf("%s:%d: failed: %s\n", file, line, text);
}

static inline void check_record_equal(uint64_t got, uint64_t expected, const char *file, int line, const char *text)
{
    check_record(got == expected, file, line, text);
    if (got != expected)
        printf("    got %" PRIu64 " (0x%" PRIx64 "), expected %" PRIu64 " (0x%" PRIx64 ")\n", got, got, expected,
               expected);
}

#define CHECK(condition) check_record((condition) ? 1 : 0, __FILE__, __LINE__, #condition)
#define CHECK_EQUAL(got, expected) \
    check_record_equal((uint64_t)(got), (uint64_t)(expected), __FILE__, __LINE__, #got " == " #expected)
#define CHECK_BYTES(got, expected, size) \
    check_record(memcmp(got, expected, size) == 0, __FILE__, __LINE__, #got " == " #expected)

/* The exit status of a test program. */
static inline int check_report(void)
{
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed == 0 ? 0 : 1;
}

#endif
