/* A store's directory, damaged as the input says, is opened, recovered, read, verified, written to and opened again: no
 * crash, no endless loop, and no record that nobody wrote.
 *
 * The input is a row of patches: which file, where, what; checks over headers are made to hold again, so that what is
 * behind them gets to see hostile numbers. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format.h"
#include "packs.h"
#include "xxh3.h"

enum { FILES = 8, RECORDS = 120, EACH = 20, PATCH = 4 };

typedef struct {
    char name[64];
    uint8_t *bytes;
    size_t size;
} image;

static image images[FILES];
static size_t image_count;
static size_t template_length;

static int take(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)walk;
    if (kind != FTW_F || image_count == FILES)
        return 0;
    image *one = &images[image_count];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = (size_t)info->st_size < (256 << 10) ? (size_t)info->st_size : 256 << 10;
    one->bytes = malloc(size + 1);
    if (fd < 0 || !one->bytes || read(fd, one->bytes, size) != (ssize_t)size)
        abort();
    close(fd);
    snprintf(one->name, sizeof one->name, "%s", path + template_length + 1);
    one->size = size;
    image_count++;
    return 0;
}

/* In memory where there is such a place: nothing here is about disks. */
static void fresh_directory(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(root, sizeof root, "%s/ss-fuzz-XXXXXX", parent);
    if (!mkdtemp(root))
        abort();
}

/* What a killed writer left of a log of several segments, of which the first were compacted. */
static void make_images(void)
{
    fresh_directory();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        fill(log, 0, RECORDS, EACH);
        pack_squeezed = 100;
        pack_segments(log, 1, 3);
        for (uint64_t n = RECORDS; n < RECORDS + 5; n++)
            put(log, n);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    template_length = strlen(root);
    nftw(root, take, 16, FTW_PHYS);
    remove_root();
    if (image_count < 5)
        abort();
}

static void fix_checks(uint8_t *bytes, size_t size, const char *name)
{
    if (strstr(name, ".seg") && size >= SS_SEGMENT_HEADER_SIZE) {
        format_store64(bytes + SEGMENT_CHECK, ss_xxh3_64_seeded(bytes, SEGMENT_CHECK, 0));
        if (size >= SS_SEGMENT_HEADER_SIZE + FRAME_BODY) { /* the first frame's too */
            ss_xxh3_key salt;
            uint8_t *frame = bytes + SS_SEGMENT_HEADER_SIZE;
            ss_xxh3_key_init(&salt, format_load64(bytes + SEGMENT_SALT));
            uint64_t hash = ss_xxh3_64(&salt, frame + FRAME_SIZE, FRAME_BODY_CHECK - FRAME_SIZE);
            uint32_t claimed = format_load32(frame + FRAME_SIZE);
            size_t room = size - SS_SEGMENT_HEADER_SIZE;
            size_t body = claimed >= FRAME_BODY && claimed <= room ? claimed - FRAME_BODY : 0;
            uint64_t check = ss_xxh3_64(&salt, frame + FRAME_BODY, body) ^ hash;
            if (!(format_load32(bytes + SEGMENT_INCOMPAT))) {
                format_store32(frame + FRAME_CHECK, (uint32_t)hash);
                format_store64(frame + FRAME_BODY_CHECK, check ? check : 1);
            }
        }
    }
}

/* The files, with the input's patches in them: each a file, an offset (two bytes, in words unless the file's byte has
 * its top bit), a length, and so many bytes. The input's first byte says in which files checks are made to hold. */
static void lay_out(const uint8_t *data, size_t size)
{
    char path[256];
    uint8_t fix = data[0];
    size_t at = 1;
    for (size_t i = 0; i < image_count; i++) {
        for (char *slash = images[i].name; (slash = strchr(slash, '/')); slash++) {
            snprintf(path, sizeof path, "%s/%.*s", root, (int)(slash - images[i].name), images[i].name);
            mkdir(path, 0700);
        }
    }
    uint8_t *copies[FILES];
    for (size_t i = 0; i < image_count; i++) {
        copies[i] = malloc(images[i].size + 1);
        if (!copies[i])
            abort();
        memcpy(copies[i], images[i].bytes, images[i].size);
    }
    while (at + PATCH <= size) {
        size_t file = data[at] % image_count, length = data[at + 3] % 16 + 1;
        size_t offset = ((size_t)data[at + 1] << 8 | data[at + 2]) * (data[at] & 0x80 ? 1 : 8);
        at += PATCH;
        for (size_t i = 0; i < length && at < size && offset + i < images[file].size; i++)
            copies[file][offset + i] = data[at++];
    }
    for (size_t i = 0; i < image_count; i++) {
        if (fix >> i % 8 & 1)
            fix_checks(copies[i], images[i].size, images[i].name);
        snprintf(path, sizeof path, "%s/%.63s", root, images[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, copies[i], images[i].size) < 0)
            abort();
        close(fd);
        free(copies[i]);
    }
}

/* All that can be read, and what is damaged passed over. */
static void read_through(ss_log *log)
{
    static uint8_t buffer[64 << 10];
    ss_record records[50];
    ss_log_state state;
    volatile uint64_t sum = 0;
    if (ss_log_state_get(log, &state) != SS_OK)
        return;
    uint64_t position = state.start;
    for (int turn = 0; turn < 1000; turn++) {
        ss_read_result result = {0};
        ss_status status = ss_log_read(log, position, 0, buffer, sizeof buffer, records, 50, &result);
        for (size_t i = 0; i < result.count && (status == SS_OK || status == SS_CORRUPT); i++)
            for (uint32_t b = 0; b < records[i].data_size; b++)
                sum += buffer[records[i].data_offset + b];
        if ((status != SS_OK && status != SS_CORRUPT) || result.next_position <= position)
            return;
        position = result.next_position;
    }
    (void)sum;
}

static void use(int flags)
{
    ss_store *store = NULL;
    ss_log *log = NULL;
    ss_log_options options = {
        .durability = SS_DURABILITY_PROCESS, .segment_size_max = 256 << 10, .record_size_max = 1 << 20};
    if (ss_store_open(root, flags, &store) != SS_OK)
        return;
    if (ss_store_log(store, 1, 0, &options, &log) == SS_OK) {
        uint64_t found;
        size_t damaged;
        ss_verify_totals totals;
        read_through(log);
        ss_log_seek_ordinal(log, 30, &found);
        ss_log_seek_time(log, 1, &found);
        ss_log_verify(log, 0, 0, NULL, 0, &damaged, &totals);
        const ss_entry entry = {.data = (const uint8_t *)"after it all", .data_size = 12, .key_size = -1};
        ss_appended appended;
        if (!(flags & SS_OPEN_READ_ONLY) && ss_log_append(log, &entry, 1, 0, 0, NULL, &appended) == SS_OK)
            read_through(log);
    }
    ss_store_close(store);
    ss_store_free(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!image_count)
        make_images();
    if (size < 1 + PATCH)
        return 0;
    fresh_directory();
    lay_out(data, size);
    use(SS_OPEN_READ_ONLY);
    use(0);
    use(0);
    remove_root();
    return 0;
}
