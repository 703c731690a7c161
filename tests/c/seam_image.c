/* Images: the directory that a power cut in some moment of a trace could leave behind. */
#define _GNU_SOURCE
#include "seam.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WHOLE UINT64_MAX

enum { WORD = 8, PAGE = 4096 };

typedef struct {
    const seam_trace *trace;
    uint32_t moment;
    enum seam_mode mode;
    uint64_t seed;
    uint64_t random;
    uint32_t cut;
    uint32_t units; /* looked at so far: of SEAM_EACH, and of those who only count */
    seam_entry *entries;
    uint32_t entry_count;
    const seam_op **syncs; /* that succeeded before the cut */
    size_t sync_count;
    int some_failed;
    const char **skipped; /* names of which a change did not survive: no later one did */
    size_t skipped_count;
} image;

static uint64_t next_random(image *made)
{
    uint64_t z = made->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The same answer for the same question: how far the thing of that number came. */
static uint32_t time_of(const image *made, uint64_t what)
{
    image asked = {.random = made->seed ^ what * UINT64_C(0xd1342543de82ef95)};
    next_random(&asked);
    return (uint32_t)(next_random(&asked) % (made->moment + 1));
}

static int each_survives(image *made)
{
    uint32_t unit = made->units++;
    return unit < 64 ? (int)(made->seed >> unit & 1) : 0;
}

/* ---- what was durable ---- */

/* The last moment of which all is durable at an offset of a file; WHOLE asks for its length, which every sync takes
 * along, however little it was asked for. */
static uint32_t durable_since(const image *made, uint32_t file, uint64_t offset)
{
    uint32_t since = 0;
    for (size_t i = 0; i < made->sync_count; i++) {
        const seam_op *op = made->syncs[i];
        if (op->kind == SEAM_SYNC && !op->failed && op->file == file && op->moment > since &&
            (offset == WHOLE || (offset >= op->offset && offset - op->offset < op->size)))
            since = op->moment;
    }
    return since;
}

/* Whether the first sync that should have written a store failed: its pages then count as clean, whatever syncs
 * succeed later. */
static int is_doomed(const image *made, const seam_op *store)
{
    for (size_t i = 0; made->some_failed && i < made->sync_count; i++) {
        const seam_op *op = made->syncs[i];
        if (op->kind == SEAM_SYNC && op->file == store->file && op->moment >= store->moment &&
            store->offset + store->size > op->offset && store->offset - op->offset < op->size)
            return op->failed;
    }
    return 0;
}

static uint32_t durable_names_since(const image *made, const char *directory, size_t length)
{
    uint32_t since = 0;
    for (size_t i = 0; i < made->sync_count; i++) {
        const seam_op *op = made->syncs[i];
        if (op->kind == SEAM_SYNC_DIR && !op->failed && op->moment > since && strlen(op->path) == length &&
            memcmp(op->path, directory, length) == 0)
            since = op->moment;
    }
    return since;
}

/* ---- one file ---- */

/* How long the file is, of the lengths that it had since it was last synced. */
static uint64_t choose_size(image *made, uint32_t file)
{
    const seam_trace *trace = made->trace;
    uint64_t size = trace->files[file].begin_size, chosen;
    uint32_t since = durable_since(made, file, WHOLE), open = 0;
    for (size_t i = 0; i < trace->count; i++) {
        const seam_op *op = &trace->ops[i];
        if (op->kind != SEAM_SIZE || op->file != file || op->moment > made->moment)
            continue;
        if (op->moment <= since)
            size = op->offset;
        else
            open++;
    }
    if (!open)
        return size;
    uint32_t keep = 0, cut = UINT32_MAX;
    if (made->mode == SEAM_EACH)
        keep = each_survives(made) ? open : 0;
    else if (made->mode == SEAM_KEPT || made->mode == SEAM_LAST)
        keep = open;
    else if (made->mode == SEAM_CUT)
        cut = made->cut;
    else if (made->mode == SEAM_FILES)
        cut = time_of(made, file);
    else if (made->mode != SEAM_LOST)
        keep = (uint32_t)(next_random(made) % (open + 1));
    chosen = size;
    for (size_t i = 0; i < trace->count && (keep || cut != UINT32_MAX); i++) {
        const seam_op *op = &trace->ops[i];
        if (op->kind != SEAM_SIZE || op->file != file || op->moment > made->moment || op->moment <= since)
            continue;
        if (cut != UINT32_MAX ? op->moment <= cut : keep-- > 0)
            chosen = op->offset;
    }
    return chosen;
}

static void apply(uint8_t *bytes, const seam_op *op, image *made, int torn)
{
    if (!torn) {
        memcpy(bytes + op->offset, op->bytes, op->size);
        return;
    }
    for (uint64_t at = 0; at < op->size; at += WORD) {
        uint64_t size = op->size - at < WORD ? op->size - at : WORD;
        if (next_random(made) & 1)
            memcpy(bytes + op->offset + at, op->bytes + at, size);
    }
}

/* One sector: what was durable, and of what came after as much as the mode says. `ops` are its stores, in order. */
static void choose_sector(image *made, uint8_t *bytes, uint32_t file, uint64_t sector, const seam_op **ops,
                          size_t count)
{
    uint32_t since = durable_since(made, file, sector * SEAM_SECTOR), cut = 0;
    size_t durable = 0, keep = 0;
    while (durable < count && ops[durable]->moment <= since)
        durable++;
    for (size_t i = 0; i < durable; i++) {
        int lost = is_doomed(made, ops[i]) && made->mode != SEAM_KEPT && made->mode != SEAM_LAST;
        if (!lost || (made->mode != SEAM_LOST && made->mode != SEAM_EACH && next_random(made) & 1))
            apply(bytes, ops[i], made, 0);
    }
    ops += durable;
    count -= durable;
    if (!count)
        return;
    switch (made->mode) {
    case SEAM_LOST:
        return;
    case SEAM_EACH:
        keep = each_survives(made) ? count : 0;
        break;
    case SEAM_CUT:
        cut = made->cut;
        break;
    case SEAM_FILES:
        cut = time_of(made, file);
        break;
    case SEAM_PAGES:
        cut = time_of(made, (uint64_t)file << 32 | sector / (PAGE / SEAM_SECTOR) | UINT64_C(1) << 63);
        break;
    default:
        break;
    }
    if (made->mode == SEAM_SECTORS || made->mode == SEAM_TORN)
        keep = (size_t)(next_random(made) % (count + 1));
    else if (made->mode == SEAM_KEPT || made->mode == SEAM_LAST)
        keep = count;
    else if (made->mode != SEAM_EACH)
        for (keep = 0; keep < count && ops[keep]->moment <= cut;)
            keep++;
    int last_torn = made->mode == SEAM_LAST && ops[count - 1]->moment == made->moment;
    if (last_torn)
        keep = count - 1;
    for (size_t i = 0; i < keep; i++)
        apply(bytes, ops[i], made, 0);
    if (keep < count && (last_torn || made->mode == SEAM_TORN))
        apply(bytes, ops[keep], made, 1);
}

static int by_place(const void *a, const void *b)
{
    const seam_op *const *x = a, *const *y = b;
    uint64_t p = (*x)->offset / SEAM_SECTOR, q = (*y)->offset / SEAM_SECTOR;
    return p < q ? -1 : p > q ? 1 : *x < *y ? -1 : *x > *y;
}

/* The bytes of a file; free(). Capacity covers every length it had. */
static uint8_t *choose_bytes(image *made, uint32_t file, uint64_t *capacity)
{
    const seam_trace *trace = made->trace;
    const seam_op **ops = malloc((trace->count + 1) * sizeof *ops);
    size_t count = 0;
    *capacity = trace->files[file].begin_size;
    for (size_t i = 0; ops && i < trace->count; i++) {
        const seam_op *op = &trace->ops[i];
        if (op->kind != SEAM_STORE || op->file != file || op->moment > made->moment)
            continue;
        ops[count++] = op;
        if (op->offset + op->size > *capacity)
            *capacity = op->offset + op->size;
    }
    uint8_t *bytes = calloc(1, *capacity + PAGE);
    if (!ops || !bytes) {
        free(ops);
        free(bytes);
        return NULL;
    }
    if (trace->files[file].begin)
        memcpy(bytes, trace->files[file].begin, trace->files[file].begin_size);
    qsort(ops, count, sizeof *ops, by_place);
    for (size_t i = 0, n; i < count; i += n) {
        uint64_t sector = ops[i]->offset / SEAM_SECTOR;
        for (n = 1; i + n < count && ops[i + n]->offset / SEAM_SECTOR == sector;)
            n++;
        choose_sector(made, bytes, file, sector, ops + i, n);
    }
    free(ops);
    return bytes;
}

static int write_file(image *made, const char *path, uint32_t file)
{
    uint64_t capacity, size = choose_size(made, file);
    uint8_t *bytes = choose_bytes(made, file, &capacity);
    if (!bytes)
        return ENOMEM;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), error = 0;
    if (fd < 0 || syscall(SYS_ftruncate, fd, size) != 0)
        error = errno;
    static const uint8_t zeros[PAGE];
    for (uint64_t at = 0; !error && at < size && at < capacity; at += PAGE) {
        uint64_t part = size - at < PAGE ? size - at : PAGE;
        if (memcmp(bytes + at, zeros, part) != 0 && syscall(SYS_pwrite64, fd, bytes + at, part, at) != (long)part)
            error = EIO;
    }
    if (fd >= 0)
        syscall(SYS_close, fd);
    free(bytes);
    return error;
}

/* ---- names ---- */

static size_t parent_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static seam_entry *entry_of(const image *made, const char *path, size_t length)
{
    for (uint32_t i = 0; i < made->entry_count; i++)
        if (strlen(made->entries[i].path) == length && memcmp(made->entries[i].path, path, length) == 0)
            return &made->entries[i];
    return NULL;
}

static int was_skipped(const image *made, const char *path)
{
    for (size_t i = 0; path && i < made->skipped_count; i++)
        if (strcmp(made->skipped[i], path) == 0)
            return 1;
    return 0;
}

static void remove_entry(image *made, const char *path)
{
    seam_entry *entry = entry_of(made, path, strlen(path));
    if (entry)
        *entry = made->entries[--made->entry_count];
}

static void add_entry(image *made, const char *path, int32_t file)
{
    remove_entry(made, path);
    seam_entry *entry = &made->entries[made->entry_count++];
    strcpy(entry->path, path);
    entry->file = file;
}

static int name_survives(image *made, const seam_op *op)
{
    size_t length = parent_length(op->path);
    int durable = op->moment <= durable_names_since(made, op->path, length);
    if (op->to)
        durable = durable && op->moment <= durable_names_since(made, op->to, parent_length(op->to));
    if (was_skipped(made, op->path) || was_skipped(made, op->to))
        return 0;
    if (durable)
        return 1;
    switch (made->mode) {
    case SEAM_LOST:
        return 0;
    case SEAM_KEPT:
    case SEAM_LAST:
        return 1;
    case SEAM_CUT:
        return op->moment <= made->cut;
    case SEAM_EACH:
        return each_survives(made);
    default:
        return (int)(next_random(made) & 1);
    }
}

static void change_name(image *made, const seam_op *op)
{
    size_t length = parent_length(op->path);
    seam_entry *from = entry_of(made, op->path, strlen(op->path));
    if (length && !entry_of(made, op->path, length))
        return; /* the directory itself did not survive */
    int32_t file = from ? from->file : -1;
    switch (op->kind) {
    case SEAM_CREATE:
        add_entry(made, op->path, (int32_t)op->file);
        break;
    case SEAM_MKDIR:
        add_entry(made, op->path, -1);
        break;
    case SEAM_RENAME:
        if (from) {
            remove_entry(made, op->path);
            add_entry(made, op->to, file);
        }
        break;
    case SEAM_RMDIR: /* what is still in it keeps it */
        for (uint32_t i = 0; i < made->entry_count; i++)
            if (parent_length(made->entries[i].path) == strlen(op->path) &&
                strncmp(made->entries[i].path, op->path, strlen(op->path)) == 0)
                return;
        remove_entry(made, op->path);
        break;
    default:
        remove_entry(made, op->path);
    }
}

static int choose_names(image *made)
{
    const seam_trace *trace = made->trace;
    size_t most = trace->entry_count + trace->count + 1;
    made->entries = malloc(most * sizeof *made->entries);
    made->skipped = malloc(2 * most * sizeof *made->skipped);
    made->syncs = malloc(most * sizeof *made->syncs);
    if (!made->entries || !made->skipped || !made->syncs)
        return ENOMEM;
    for (size_t i = 0; i < trace->count; i++) {
        const seam_op *op = &trace->ops[i];
        if (op->kind >= SEAM_SYNC && (op->end < made->moment || (op->failed && op->moment < made->moment)))
            made->syncs[made->sync_count++] = op;
        made->some_failed |= op->failed;
    }
    if (trace->entry_count)
        memcpy(made->entries, trace->entries, trace->entry_count * sizeof *made->entries);
    made->entry_count = trace->entry_count;
    for (size_t i = 0; i < trace->count; i++) {
        const seam_op *op = &trace->ops[i];
        if (op->kind < SEAM_CREATE || op->kind > SEAM_RMDIR || op->moment >= made->moment)
            continue;
        if (name_survives(made, op)) {
            change_name(made, op);
            continue;
        }
        made->skipped[made->skipped_count++] = op->path;
        if (op->to)
            made->skipped[made->skipped_count++] = op->to;
    }
    return 0;
}

static int by_path(const void *a, const void *b)
{
    const seam_entry *x = a, *y = b;
    return strcmp(x->path, y->path); /* so a directory comes before what is in it */
}

static int write_all(image *made, const char *target)
{
    char path[2 * SEAM_PATH_SIZE + 2];
    int error = syscall(SYS_mkdirat, AT_FDCWD, target, 0700) == 0 ? 0 : errno;
    qsort(made->entries, made->entry_count, sizeof *made->entries, by_path);
    for (uint32_t i = 0; i < made->entry_count && !error; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", target, made->entries[i].path) >= sizeof path)
            return ENAMETOOLONG;
        if (made->entries[i].file >= 0)
            error = write_file(made, path, (uint32_t)made->entries[i].file);
        else if (syscall(SYS_mkdirat, AT_FDCWD, path, 0700) != 0)
            error = errno;
    }
    return error;
}

static void release(image *made)
{
    free(made->entries);
    free(made->skipped);
    free(made->syncs);
}

uint32_t seam_units(const seam_trace *trace, uint32_t moment)
{
    image made = {.trace = trace, .moment = moment, .mode = SEAM_EACH, .seed = UINT64_MAX};
    choose_names(&made);
    for (uint32_t i = 0; i < made.entry_count; i++) {
        uint64_t capacity;
        if (made.entries[i].file < 0)
            continue;
        choose_size(&made, (uint32_t)made.entries[i].file);
        free(choose_bytes(&made, (uint32_t)made.entries[i].file, &capacity));
    }
    release(&made);
    return made.units;
}

int seam_image(const seam_trace *trace, uint32_t moment, enum seam_mode mode, uint64_t seed, const char *target)
{
    image made = {.trace = trace, .moment = moment, .mode = mode, .seed = seed, .random = seed};
    made.cut = (uint32_t)(next_random(&made) % (moment + 1));
    int error = choose_names(&made);
    if (!error)
        error = write_all(&made, target);
    release(&made);
    return error;
}
