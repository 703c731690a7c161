/* Indexes that say what is not so under checks that hold: of sealed segments and of compacted ones. They are hints, so
 * every answer is what it is without them. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "format.h"
#include "packs.h"
#include "xxh3.h"

enum { TOTAL = 900, EACH = 400, FILE_MAX = 1 << 20 };

static uint8_t image[FILE_MAX], changed[FILE_MAX];
static size_t image_size;
static char path[128];
static uint64_t positions[TOTAL];

static void write_file(const uint8_t *bytes, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void read_file(const char *name)
{
    snprintf(path, sizeof path, "%s/streams/1/0/%s", root, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, image, sizeof image);
    CHECK(got > 0 && got < FILE_MAX);
    image_size = (size_t)got;
    close(fd);
}

/* Three incarnations, so that there are three epochs; two sealed segments of several strides. */
static void make_log(void)
{
    fresh_root();
    for (uint64_t n = 0; n < TOTAL;) {
        ss_store *store = open_store(SS_OPEN_CREATE);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        for (uint64_t end = n + TOTAL / 3; n < end; n++) {
            if (n && n % EACH == 0)
                CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
            positions[n] = put(log, n);
        }
        close_store(store);
    }
}

/* Places by position, number and time, and every record. */
static void ask_everything(const char *what, uint64_t i)
{
    int before = check_failed;
    ss_store *store = open_store(SS_OPEN_READ_ONLY);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    uint64_t out;
    for (uint64_t n = 0; n < TOTAL; n += 13) {
        CHECK_EQUAL(ss_log_seek(log, positions[n] - 8, &out), SS_OK);
        CHECK(out <= positions[n]);
        CHECK_EQUAL(ss_log_seek_ordinal(log, n + 1, &out), SS_OK);
        CHECK_EQUAL(out, positions[n]);
    }
    CHECK_EQUAL(ss_log_seek_time(log, 1, &out), SS_OK);
    CHECK_EQUAL(out, positions[0]);
    CHECK_EQUAL(ss_log_epoch_after(log, 0, &out), SS_OK);
    CHECK_EQUAL(out, SS_FIRST_POSITION);
    read_all(log, 0, TOTAL);
    close_store(store);
    if (check_failed > before)
        printf("FAILED: %s, change %" PRIu64 "\n", what, i);
}

/* Write 8 bytes at `at`, seal the trailer anew, and ask. */
static void try_trailer(uint64_t i, size_t trailer, size_t size, size_t at, uint64_t value)
{
    ss_xxh3_key salt;
    ss_xxh3_key_init(&salt, format_load64(image + SEGMENT_SALT));
    memcpy(changed, image, image_size);
    format_store64(changed + trailer + at, value);
    format_store64(changed + trailer + size - 8, ss_xxh3_64(&salt, changed + trailer, size - 8));
    write_file(changed, image_size);
    ask_everything("trailer", i);
}

static void test_trailers(void)
{
    make_log();
    read_file("000000000001.seg");
    size_t trailer = SS_SEGMENT_HEADER_SIZE;
    while (trailer + 8 < image_size && format_load64(image + trailer) != INDEX_MAGIC_VALUE)
        trailer += 8;
    CHECK(trailer + INDEX_FIRST < image_size);
    uint32_t entries = format_load32(image + trailer + INDEX_ENTRIES);
    size_t size = INDEX_FIRST + entries * (size_t)INDEX_ENTRY_SIZE + 8, second = INDEX_FIRST + INDEX_ENTRY_SIZE;
    CHECK(entries >= 2);
    uint64_t end = format_load64(image + trailer + INDEX_END), both = format_load64(image + trailer + INDEX_VERSION);
    const struct {
        size_t at;
        uint64_t value;
    } changes[] = {
        {0, 1},
        {INDEX_VERSION, both + 1},                   /* another version */
        {INDEX_VERSION, both + (UINT64_C(1) << 40)}, /* more entries than there can be */
        {INDEX_VERSION, both + (UINT64_C(2) << 32)}, /* more than there is room for */
        {INDEX_ORDINAL, 7},                          /* another segment's */
        {INDEX_END, end + 8},                        /* of another length */
        {INDEX_FIRST, SS_FIRST_POSITION - 8},        /* before the segment */
        {second, end},                               /* behind it */
        {second, SS_FIRST_POSITION + 12},            /* between words */
        {second, SS_FIRST_POSITION},                 /* not behind the first */
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        try_trailer(i, trailer, size, changes[i].at, changes[i].value);
    write_file(image, trailer + 24); /* the file ends in it */
    ask_everything("trailer", 100);
    write_file(image, trailer + size - 16); /* behind its head */
    ask_everything("trailer", 101);
    remove_root();
}

/* Write 8 bytes at `at` of the tables, seal them and the header anew, and ask. */
static void try_tables(uint64_t i, size_t at, uint64_t value)
{
    ss_xxh3_key salt;
    ss_xxh3_key_init(&salt, format_load64(image + SEGMENT_SALT));
    size_t tables = format_load64(image + SEGMENT_PACKED_INDEX);
    size_t size = format_load32(image + SEGMENT_PACKED_BLOCKS) * (size_t)PACKED_MARK_SIZE +
                  format_load32(image + SEGMENT_PACKED_RUNS) * (size_t)PACKED_RUN_SIZE;
    memcpy(changed, image, image_size);
    format_store64(changed + tables + at, value);
    format_store64(changed + SEGMENT_PACKED_INDEX_CHECK, ss_xxh3_64(&salt, changed + tables, size));
    format_store64(changed + SEGMENT_CHECK, ss_xxh3_64_seeded(changed, SEGMENT_CHECK, 0));
    write_file(changed, image_size);
    ask_everything("tables", i);
}

static void test_tables(void)
{
    make_log();
    ss_store *store = open_store(0);
    CHECK_EQUAL(pack_segments(open_log(store, SS_DURABILITY_PROCESS), 1, 2), SS_OK);
    close_store(store);
    read_file("000000000002.seg");
    uint32_t blocks = format_load32(image + SEGMENT_PACKED_BLOCKS), runs = format_load32(image + SEGMENT_PACKED_RUNS);
    uint64_t end = format_load64(image + SEGMENT_PACKED_END), index = format_load64(image + SEGMENT_PACKED_INDEX);
    CHECK(blocks >= 3 && runs >= 2);
    size_t first_run = blocks * (size_t)PACKED_MARK_SIZE, second_run = first_run + PACKED_RUN_SIZE;
    const uint8_t *tables = image + index, *mark = tables + PACKED_MARK_SIZE;
    const uint64_t position = format_load64(mark), offset = format_load64(mark + 24);
    const struct {
        size_t at;
        uint64_t value;
    } changes[] = {
        {0, SS_FIRST_POSITION + 8}, /* the first block begins elsewhere */
        {24, SS_SEGMENT_HEADER_SIZE + 8},
        {PACKED_MARK_SIZE, SS_FIRST_POSITION},              /* the second not behind it */
        {PACKED_MARK_SIZE, SS_FIRST_POSITION + 8},          /* too near */
        {PACKED_MARK_SIZE, SS_FIRST_POSITION + (64 << 20)}, /* too far */
        {PACKED_MARK_SIZE, position + 4},
        {PACKED_MARK_SIZE + 24, SS_SEGMENT_HEADER_SIZE},
        {PACKED_MARK_SIZE + 24, SS_SEGMENT_HEADER_SIZE + 8},
        {PACKED_MARK_SIZE + 24, SS_SEGMENT_HEADER_SIZE + (64 << 20)},
        {PACKED_MARK_SIZE + 24, offset + 4},
        {8, FRAME_BITS_52 + 1}, /* times and counts that cannot be */
        {PACKED_MARK_SIZE + 8, 1},
        {PACKED_MARK_SIZE + 16, UINT64_C(1) << 40},
        {2 * PACKED_MARK_SIZE + 16, 0},
        {first_run, SS_FIRST_POSITION + 8}, /* epochs that begin elsewhere */
        {second_run, end},
        {second_run, SS_FIRST_POSITION + 12},
        {second_run, SS_FIRST_POSITION},
        {second_run + 8, FRAME_EPOCH_MAX + 1},
        {second_run + 8, 1},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        try_tables(i, changes[i].at, changes[i].value);
    memcpy(changed, image, image_size);
    write_file(changed, (size_t)index + 20); /* the file ends in them */
    ask_everything("tables", 100);
    remove_root();
}

int main(void)
{
    test_trailers();
    test_tables();
    return check_report();
}
