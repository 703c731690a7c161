/* Arguments at and past their bounds, and files that say what nobody wrote: each is refused by its own answer, and
 * nothing is done. */
#define _GNU_SOURCE
#include "columns.h"
#include "format.h"
#include "lock.h"
#include "log.h"
#include "manifest.h"
#include "record.h"
#include "scratch.h"
#include "segment.h"
#include "wait.h"

static ss_store *store_;
static ss_log *log_;
static uint8_t buffer[128 << 10];

static ss_status open_scratch(int flags, ss_store **out)
{
    return ss_store_open(scratch_root, flags, out);
}

static void close_it(void)
{
    CHECK_EQUAL(ss_store_close(store_), SS_OK);
    ss_store_free(store_);
    scratch_remove();
}

static void open_new(int flags)
{
    const ss_log_options options = {.durability = SS_DURABILITY_PROCESS, .segment_size_max = 256 << 10};
    scratch_new();
    CHECK_EQUAL(open_scratch(SS_OPEN_CREATE | flags, &store_), SS_OK);
    CHECK_EQUAL(ss_store_log(store_, 1, 0, &options, &log_), SS_OK);
}

static uint64_t put(const char *text, int32_t key_size)
{
    const ss_entry entry = {.data = (const uint8_t *)text,
                            .data_size = strlen(text),
                            .key = (const uint8_t *)"a longer partition key",
                            .key_size = key_size};
    ss_appended appended = {0};
    CHECK_EQUAL(ss_log_append(log_, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    return appended.first_position;
}

/* ---- options of a log, and a batch ---- */

static void check_options(ss_log_options options, int wanted)
{
    ss_log *log;
    CHECK_EQUAL(ss_store_log(store_, 2, 0, &options, &log), wanted);
}

static void test_options_out_of_bounds(void)
{
    static const uint8_t words[SS_DESCRIPTION_SIZE_MAX + 1];
    open_new(0);
    check_options((ss_log_options){.durability = -1}, SS_INVALID);
    check_options((ss_log_options){.durability = 3}, SS_INVALID);
    check_options((ss_log_options){.segment_size_max = SEGMENT_SIZE_MIN - ALLOCATE_STEP_MIN}, SS_INVALID);
    check_options((ss_log_options){.segment_size_max = SEGMENT_SIZE_LIMIT + ALLOCATE_STEP_MIN}, SS_INVALID);
    check_options((ss_log_options){.segment_size_max = SEGMENT_SIZE_MIN + 1}, SS_INVALID);
    check_options((ss_log_options){.record_size_max = RECORD_SIZE_LIMIT + 1}, SS_INVALID);
    check_options((ss_log_options){.description = words, .description_size = sizeof words}, SS_INVALID);
    check_options((ss_log_options){.start_position = 4}, SS_INVALID);
    check_options((ss_log_options){.epoch_floor = FRAME_EPOCH_MAX + 1}, SS_INVALID);
    check_options((ss_log_options){.arrival_floor_us = FRAME_BITS_52 + 1}, SS_INVALID);
    check_options((ss_log_options){.reserve_size = SEGMENT_SIZE_MIN}, SS_INVALID);
    check_options((ss_log_options){.segment_size_max = SEGMENT_SIZE_LIMIT}, SS_OK);
    CHECK_EQUAL(ss_log_terms_raise(log_, 2, words, sizeof words), SS_INVALID);
    CHECK_EQUAL(ss_store_sync_interval_set(store_, 999), SS_INVALID);
    CHECK_EQUAL(ss_store_sync_interval_set(store_, INT64_C(3600000001)), SS_INVALID);
    CHECK_EQUAL(ss_store_sync_interval_set(store_, 1000), SS_OK);
    CHECK_EQUAL(ss_store_epoch_raise(store_, FRAME_EPOCH_MAX + 1), SS_INVALID);
    CHECK_EQUAL(ss_store_epoch_raise(store_, 7), SS_OK);
    CHECK_EQUAL(ss_store_epoch_raise(store_, 6), SS_OK); /* never lower */
    CHECK(ss_store_epoch_counter(store_) >= 7);
    close_it();
}

static void test_batches_out_of_bounds(void)
{
    static uint8_t byte;
    static ss_entry many[3];
    ss_appended appended;
    ss_log *large;
    const ss_log_options options = {.durability = SS_DURABILITY_PROCESS};
    open_new(0);
    CHECK_EQUAL(ss_store_log(store_, 3, 0, &options, &large), SS_OK);
    for (int i = 0; i < 3; i++)
        many[i] = (ss_entry){.data = &byte, .data_size = 1, .key_size = -1};
    CHECK_EQUAL(ss_log_append(log_, many, 0, 0, 0, NULL, &appended), SS_INVALID);
    CHECK_EQUAL(ss_log_append(log_, many, 2, 0, SS_APPEND_CLOSE, NULL, &appended), SS_INVALID);
    many[1].data_size = RECORD_SIZE_LIMIT + 1;
    CHECK_EQUAL(ss_log_append(large, many, 2, 0, 0, NULL, &appended), SS_TOO_LARGE);
    for (int i = 0; i < 3; i++)
        many[i].data_size = RECORD_SIZE_LIMIT - 64; /* each may be, and together they fit no segment */
    CHECK_EQUAL(ss_log_append(large, many, 3, 0, 0, NULL, &appended), SS_TOO_LARGE);
    CHECK_EQUAL(ss_log_append(large, many, 1, 8, SS_APPEND_TRY, NULL, &appended), SS_WOULD_BLOCK);
    many[0].data_size = 1;
    CHECK_EQUAL(ss_log_append(large, many, 1, 4711 * 8, 0, NULL, &appended), SS_TAIL_MISMATCH);
    CHECK_EQUAL(ss_log_append(large, many, 1, SS_FIRST_POSITION, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(appended.first_position, SS_FIRST_POSITION);
    close_it();
}

/* ---- reads ---- */

static void test_reads_out_of_bounds(int flags)
{
    ss_record records[8], record;
    ss_read_result result;
    open_new(flags);
    uint64_t first = put("the first", 5), second = put("the second", -1), third = put("the third", 0), out;
    CHECK_EQUAL(ss_log_read(log_, first, 0, buffer, sizeof buffer, records, 0, &result), SS_INVALID);
    CHECK_EQUAL(ss_log_read(log_, first, 0, buffer, FRAME_BODY - 1, records, 8, &result), SS_INVALID);
    CHECK_EQUAL(ss_log_read(log_, first, 0, buffer, SIZE_MAX, records, 8, &result), SS_INVALID);
    CHECK_EQUAL(ss_log_read(log_, first + 4, 0, buffer, sizeof buffer, records, 8, &result), SS_INVALID);
    CHECK_EQUAL(ss_log_read(log_, third + 4096, 0, buffer, sizeof buffer, records, 8, &result), SS_INVALID);
    CHECK_EQUAL(ss_log_read(log_, first, third, buffer, sizeof buffer, records, 8, &result), SS_OK);
    CHECK_EQUAL(result.count, 2); /* to before the third */
    CHECK_EQUAL(ss_log_read(log_, first, third + 4096, buffer, sizeof buffer, records, 8, &result), SS_OK);
    CHECK_EQUAL(result.count, 3);
    CHECK_EQUAL(ss_log_read(log_, first, 0, buffer, 56, records, 8, &result), SS_SMALL);
    CHECK(result.size_needed > 56);
    CHECK_EQUAL(ss_log_get(log_, first + 4, 0, buffer, sizeof buffer, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(log_, third + 4096, 0, buffer, sizeof buffer, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(log_, first, 0, buffer, FRAME_BODY - 1, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(log_, first, 0, buffer, FRAME_BODY, &record, &result), SS_SMALL);
    CHECK_EQUAL(ss_log_get(log_, first + 8, 0, buffer, sizeof buffer, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(log_, 8, 0, buffer, sizeof buffer, &record, &result), SS_TRIMMED);
    CHECK_EQUAL(ss_log_get(log_, second, 1, buffer, sizeof buffer, &record, &result), SS_NOT_FOUND);
    CHECK_EQUAL(ss_log_get(log_, second, 0, buffer, sizeof buffer, &record, &result), SS_OK);
    CHECK_EQUAL(ss_log_seek(log_, first + 1, &out), SS_OK);
    CHECK_EQUAL(out, second);
    CHECK_EQUAL(ss_log_seek(log_, 0, &out), SS_OK);
    CHECK_EQUAL(out, first);
    CHECK_EQUAL(ss_log_seek(log_, UINT64_MAX, &out), SS_OK);
    CHECK(out > third);
    CHECK_EQUAL(ss_log_sync(log_, third + 4096), SS_INVALID);
    CHECK_EQUAL(ss_log_trim(log_, first + 4, &out), SS_INVALID);
    CHECK_EQUAL(ss_log_trim(log_, third + 4096, &out), SS_INVALID);
    CHECK_EQUAL(ss_log_trim(log_, second, &out), SS_OK);
    CHECK_EQUAL(ss_log_trim(log_, first, &out), SS_OK); /* below the start: nothing to do */
    CHECK_EQUAL(ss_log_read(log_, first, 0, buffer, sizeof buffer, records, 8, &result), SS_TRIMMED);
    CHECK_EQUAL(ss_log_get(log_, first, 0, buffer, sizeof buffer, &record, &result), SS_TRIMMED);
    size_t count = 0;
    ss_segment_info segments[1];
    ss_live_segment live[1];
    CHECK_EQUAL(ss_log_roll(log_, 0), SS_OK);
    CHECK_EQUAL(ss_log_segments(log_, segments, 1, &count), SS_OK);
    CHECK_EQUAL(count, 2); /* more than there was room for */
    CHECK_EQUAL(ss_log_live_segments(log_, live, 1, &count), SS_OK);
    CHECK_EQUAL(count, 2);
    ss_process processes[1];
    CHECK_EQUAL(ss_store_processes(store_, processes, 0, &count), SS_OK);
    CHECK_EQUAL(count, 1);
    close_it();
}

/* What is told of a wait, by the state of what is waited for. */
static void test_waits(void)
{
    open_new(0);
    uint64_t first = put("the first", 5);
    CHECK_EQUAL(ss_log_wait(log_, first, -1), SS_OK);
    CHECK_EQUAL(ss_log_wait(log_, first + 4096, 0), SS_TIMEOUT);
    CHECK_EQUAL(ss_log_wait(log_, first + 4096, 200), SS_TIMEOUT);
    uint32_t seen = ss_store_watch(store_);
    CHECK_EQUAL(ss_store_wait(store_, seen, 0), SS_TIMEOUT);
    CHECK_EQUAL(ss_store_wait(store_, seen, 200), SS_TIMEOUT);
    CHECK_EQUAL(ss_store_wait(store_, seen, -1), SS_OK); /* after half a second: look whether what you wait for lives */
    CHECK_EQUAL(ss_store_wait(store_, seen, 600000), SS_OK);
    put("the second", -1);
    CHECK_EQUAL(ss_store_wait(store_, seen, -1), SS_OK);
    ss_log_wake(log_);
    CHECK_EQUAL(ss_log_wait(log_, first, 0), SS_OK);
    close_it();
}

/* ---- the manifest ---- */

static void write_manifest(uint32_t version, uint32_t read_only_compat, uint32_t incompat, uint64_t magic, int whole)
{
    uint8_t bytes[64] = {0};
    format_store64(bytes, magic);
    format_store32(bytes + 8, version);
    format_store32(bytes + 16, read_only_compat);
    format_store32(bytes + 20, incompat);
    memset(bytes + 24, 7, 16);
    format_store64(bytes + 56, ss_xxh3_64_seeded(bytes, 56, 0) + (whole ? 0 : 1));
    scratch_write("manifest", bytes, sizeof bytes, 0);
}

static void test_manifests(void)
{
    const uint64_t magic = UINT64_C(0x0a0d1a46494e4d53);
    static const struct {
        uint32_t version, read_only_compat, incompat;
        int magic, whole, wanted, read_only;
    } cases[] = {
        {1, 0, 0, 1, 1, SS_OK, SS_OK},           {2, 0, 0, 1, 1, SS_FORMAT, SS_FORMAT},
        {1, 0, 1, 1, 1, SS_FORMAT, SS_FORMAT},   {1, 1, 0, 1, 1, SS_FORMAT, SS_OK},
        {1, 0, 0, 0, 1, SS_FOREIGN, SS_FOREIGN}, {1, 0, 0, 1, 0, SS_CORRUPT, SS_CORRUPT},
    };
    uint8_t id[16];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_new();
        write_manifest(cases[i].version, cases[i].read_only_compat, cases[i].incompat, cases[i].magic ? magic : 1,
                       cases[i].whole);
        int root = scratch_directory();
        CHECK_EQUAL(ss_manifest_read(root, 0, id), cases[i].wanted);
        CHECK_EQUAL(ss_manifest_read(root, 1, id), cases[i].read_only);
        ss_store *store;
        ss_status status = open_scratch(SS_OPEN_CREATE, &store);
        CHECK_EQUAL(status, cases[i].wanted);
        if (status == SS_OK) {
            CHECK_EQUAL(id[3], 7);
            ss_store_close(store);
            ss_store_free(store);
        }
        scratch_write("manifest", "short", 5, 0);
        scratch_resize("manifest", 5);
        CHECK_EQUAL(ss_manifest_read(root, 0, id), SS_FOREIGN);
        close(root);
        scratch_remove();
    }
}

/* A directory with a file of somebody else is not made a store, by nobody; nor is one that is not there, unasked. */
static void test_directories_of_others(void)
{
    ss_store *store;
    scratch_new();
    CHECK_EQUAL(ss_status_code(open_scratch(0, &store)), SS_NOT_FOUND);
    CHECK_EQUAL(ss_status_code(open_scratch(SS_OPEN_CREATE | SS_OPEN_READ_ONLY, &store)), SS_NOT_FOUND);
    scratch_write("lock", "", 0, 0);
    CHECK_EQUAL(ss_status_code(open_scratch(SS_OPEN_READ_ONLY, &store)), SS_NOT_FOUND);
    scratch_write("lost+found", "", 0, 0); /* of the file system's own */
    scratch_write("manifest.new", "half", 4, 0);
    scratch_write("letters.txt", "dear", 4, 0);
    CHECK_EQUAL(ss_status_code(open_scratch(SS_OPEN_CREATE, &store)), SS_FOREIGN);
    CHECK_EQUAL(scratch_size("letters.txt"), 4);
    scratch_delete("letters.txt");
    CHECK_EQUAL(open_scratch(SS_OPEN_CREATE, &store), SS_OK);
    ss_store_close(store);
    ss_store_free(store);
    scratch_remove();
    CHECK_EQUAL(ss_status_code(open_scratch(SS_OPEN_CREATE | SS_OPEN_READ_ONLY, &store)), SS_NOT_FOUND);
    CHECK_EQUAL(ss_status_code(ss_store_open("/nowhere/at/all", SS_OPEN_CREATE, &store)), SS_NOT_FOUND);
}

/* ---- headers of segments ---- */

/* A description that reaches over several sectors: one that is still zero was never written, one that is other bytes is
 * damage; and what a packed segment says of itself is bounded. */
static void test_headers(void)
{
    static uint8_t words[2000], header[SS_SEGMENT_HEADER_SIZE];
    memset(words, 'x', sizeof words);
    ss_segment_facts facts = {.stream_id = 1,
                              .ordinal = 1,
                              .base = 64,
                              .previous_end = 64,
                              .copied_end = 64 + 4096,
                              .map_size = SEGMENT_SIZE_MIN,
                              .description = words,
                              .description_size = sizeof words,
                              .packed = 1,
                              .packed_end = 64 + 4096,
                              .packed_last_frame = 64,
                              .packed_blocks = 1,
                              .packed_runs = 1,
                              .packed_index = 8192};
    ss_segment_facts found;
    ss_segment_encode_header(&facts, header);
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_OK);
    header[1100] ^= 1;
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_CORRUPT);
    memset(header + 1024, 0, 512);
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_NOT_FOUND);
    facts.packed_last_arrival = FRAME_BITS_52 + 1;
    ss_segment_encode_header(&facts, header);
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_CORRUPT);
    facts.packed_last_arrival = 0;
    facts.packed_last_frame = 68;
    ss_segment_encode_header(&facts, header);
    CHECK_EQUAL(ss_segment_decode_header(header, &found), SS_CORRUPT);
}

/* ---- the control file that a store is given ---- */

static void test_seeds(void)
{
    static const uint8_t id[16] = "a store of files";
    const ss_seed good = {.stream_id = 1, .durability = SS_DURABILITY_SYNC, .durable = 128, .frame = 64};
    scratch_new();
    ss_seed seed = good;
    seed.durable = 129;
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &seed, 1), SS_INVALID);
    seed.durable = SS_FIRST_POSITION - 8;
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &seed, 1), SS_INVALID);
    seed.durable = SS_CONTROL_POSITION_MAX + 8;
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &seed, 1), SS_INVALID);
    seed = good;
    seed.frame = 136;
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &seed, 1), SS_INVALID);
    seed = good;
    seed.durability = 3;
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &seed, 1), SS_INVALID);
    CHECK_EQUAL(ss_store_seed(scratch_root, id, FRAME_EPOCH_MAX + 1, &good, 1), SS_INVALID);
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &good, SS_CONTROL_LOGS_MAX + 1), SS_LIMIT);
    CHECK_EQUAL(ss_status_code(ss_store_seed("/nowhere", id, 1, &good, 1)), SS_NOT_FOUND);
    CHECK_EQUAL(ss_store_seed(scratch_root, id, 1, &good, 1), SS_OK);
    CHECK_EQUAL(ss_status_code(ss_store_seed(scratch_root, id, 1, &good, 1)), SS_EXISTS);
    scratch_remove();
}

/* ---- columns ---- */

/* Every size that a view holds in another way, and rows with and without key and attributes. */
static void test_columns(void)
{
    enum { ROWS = 40 };
    static uint64_t numbers[4][ROWS];
    static uint8_t views[3][ROWS * 16], bits[2][ROWS / 8 + 1];
    static const uint8_t attributes[20] = "attributes of a row";
    ss_columns columns = {.position = numbers[0],
                          .epoch = numbers[1],
                          .ordinal = numbers[2],
                          .arrival_us = numbers[3],
                          .data = views[0],
                          .key = views[1],
                          .attributes = views[2],
                          .key_present = bits[0],
                          .attributes_present = bits[1]};
    ss_read_result result;
    open_new(0);
    for (uint32_t n = 0; n < ROWS; n++) {
        const ss_entry entry = {.data = (const uint8_t *)"abcdefghijklmnopqrstuvwxyz0123456789ABCD",
                                .data_size = n,
                                .key = (const uint8_t *)"0123456789abcdefghij",
                                .key_size = n % 3 ? (int32_t)(n % 20) : -1,
                                .attributes = attributes,
                                .attributes_size = n > 9 && n % 2 ? n % 20 : 0,
                                .hash_key_present = n % 5 == 0,
                                .hash_key_hi = 1};
        ss_appended appended;
        CHECK_EQUAL(ss_log_append(log_, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    }
    CHECK_EQUAL(ss_log_read_columns(log_, SS_FIRST_POSITION, 0, buffer, SIZE_MAX, &columns, ROWS, &result), SS_INVALID);
    CHECK_EQUAL(ss_log_read_columns(log_, SS_FIRST_POSITION, 0, buffer, sizeof buffer, &columns, ROWS, &result), SS_OK);
    CHECK_EQUAL(result.count, ROWS);
    CHECK_EQUAL(columns.key_count, ROWS - (ROWS + 2) / 3);
    for (uint32_t n = 0; n < ROWS; n++) {
        uint32_t words[4];
        memcpy(words, views[0] + n * 16, sizeof words);
        CHECK_EQUAL(words[0], n);
        CHECK_BYTES(n > 12 ? buffer + words[3] : (const uint8_t *)&words[1], "abcdefghijklmnopqrstuvwxyz0123456789ABCD",
                    n);
        int key = n % 3 != 0, some = n > 9 && n % 2 && n % 20;
        CHECK_EQUAL(bits[0][n / 8] >> n % 8 & 1, key);
        CHECK_EQUAL(bits[1][n / 8] >> n % 8 & 1, some);
        memcpy(words, views[1] + n * 16, sizeof words);
        CHECK_EQUAL(words[0], key ? n % 20 : 0);
        memcpy(words, views[2] + n * 16, sizeof words);
        CHECK_EQUAL(words[0], some ? n % 20 : 0);
        CHECK_EQUAL(numbers[2][n], n + 1);
    }
    close_it();
}

int main(void)
{
    test_options_out_of_bounds();
    test_batches_out_of_bounds();
    test_reads_out_of_bounds(0);
    test_reads_out_of_bounds(SS_OPEN_PWRITE);
    test_waits();
    test_manifests();
    test_directories_of_others();
    test_headers();
    test_seeds();
    test_columns();
    return check_report();
}
