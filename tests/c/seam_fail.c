/* Which calls of the core fail: by their number among all, or among those of one kind. */
#define _GNU_SOURCE
#include "seam.h"

#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>

static const char *const NAMES[SEAM_CALLS] = {
    "openat",    "mkdirat",   "fstat",     "unlinkat", "renameat",  "pread",   "pwrite",
    "fallocate", "ftruncate", "fdatasync", "fsync",    "lseek",     "fstatfs", "mmap",
    "madvise",   "msync",     "fcntl",     "readdir",  "getrandom", "malloc",  "pthread_create",
};

static struct {
    _Atomic int kind; /* SEAM_CALLS: nothing fails */
    _Atomic uint64_t first;
    _Atomic int error;
    _Atomic int lasting;
    _Atomic int short_write;
    _Atomic uint64_t calls[SEAM_CALLS];
    _Atomic uint64_t all;
    _Atomic uint64_t failed;
    _Atomic uintptr_t core_begin, core_end;
} plan = {.kind = SEAM_CALLS};

static int find_core(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    const char *name = strrchr(info->dlpi_name, '/');
    if (!name || strncmp(name, "/_core.", 7) != 0)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            plan.core_begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            plan.core_end = plan.core_begin + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

void seam_find_core(void)
{
    dl_iterate_phdr(find_core, NULL);
}

int seam_is_core(const void *caller)
{
    uintptr_t from = (uintptr_t)caller;
    return from >= plan.core_begin && from < plan.core_end;
}

int seam_short_write(void)
{
    return plan.short_write;
}

void seam_fail(int kind, uint64_t first, int error, int lasting, int short_write)
{
    seam_find_core();
    plan.kind = SEAM_CALLS;
    for (int i = 0; i < SEAM_CALLS; i++)
        plan.calls[i] = 0;
    plan.all = plan.failed = 0;
    plan.first = first;
    plan.error = error;
    plan.lasting = lasting;
    plan.short_write = short_write;
    plan.kind = error || short_write ? kind : SEAM_CALLS;
}

uint64_t seam_calls(int kind)
{
    return kind < 0 ? plan.all : plan.calls[kind];
}

uint64_t seam_failed(void)
{
    return plan.failed;
}

const char *seam_name(int kind)
{
    return kind >= 0 && kind < SEAM_CALLS ? NAMES[kind] : NULL;
}

int seam_fails(enum seam_call call, const void *caller)
{
    if (!seam_is_core(caller))
        return 0;
    uint64_t nth = ++plan.calls[call], overall = ++plan.all;
    int kind = plan.kind;
    if (kind != (int)call && kind != -1)
        return 0;
    uint64_t number = kind < 0 ? overall : nth;
    if (number < plan.first || (number > plan.first && !plan.lasting))
        return 0;
    plan.failed++;
    errno = plan.error;
    return 1;
}
