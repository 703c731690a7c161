/* Files that go, or become others, under a handle that knows them; names in a log's directory that are none of ours;
 * what a packer left that died: what is missing is told as damage, what is left is read, and nothing else goes. */
#define _GNU_SOURCE
#include "log_pack.h"
#include "packs.h"

#include "forged.h"

enum { TOTAL = 500, EACH = 100 };

static uint64_t positions[TOTAL];
static char directory[128];
static uint8_t buffer[64 << 10];
static ss_record records[TOTAL];

static ss_store *make_log(ss_log **log)
{
    fresh_root();
    snprintf(directory, sizeof directory, "%s/streams/1/0", root);
    ss_store *store = open_store(SS_OPEN_CREATE);
    *log = open_log(store, SS_DURABILITY_PROCESS);
    for (uint64_t n = 0; n < TOTAL; n++) {
        if (n && n % EACH == 0)
            CHECK_EQUAL(ss_log_roll(*log, 0), SS_OK);
        positions[n] = put(*log, n);
    }
    CHECK_EQUAL(ss_log_sync(*log, 0), SS_OK);
    return store;
}

static void name_of(char path[192], const char *name)
{
    snprintf(path, 192, "%s/%s", directory, name);
}

static void make_file(const char *name)
{
    char path[192];
    name_of(path, name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "bytes", 5) == 5);
    close(fd);
}

static int there(const char *name)
{
    char path[192];
    name_of(path, name);
    return access(path, F_OK) == 0;
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t bytes[512 << 10];
    char path[192];
    name_of(path, from);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, bytes, sizeof bytes);
    close(fd);
    CHECK(got > 0 && got < (ssize_t)sizeof bytes);
    name_of(path, to);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, (size_t)got) == got);
    close(fd);
}

static void spoil_header(const char *name)
{
    char path[192];
    uint8_t byte = 0xff;
    name_of(path, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(pwrite(fd, &byte, 1, SEGMENT_BASE + 3), 1);
    close(fd);
}

/* A compacted file that another handle knows and has not opened yet is gone: epochs are told from what it knows, the
 * rest is damage. */
static void check_packed_file_gone(void)
{
    ss_log *log, *theirs;
    ss_store *store = make_log(&log), *other;
    ss_live_segment live[8];
    ss_segment_info segments[8];
    ss_read_result result;
    size_t count;
    uint64_t epoch, out;
    CHECK_EQUAL(pack_segments(log, 2, 3), SS_OK);
    other = open_store(SS_OPEN_READ_ONLY);
    theirs = open_log(other, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_live_segments(theirs, live, 8, &count), SS_OK);
    CHECK_EQUAL(count, 4);
    char path[192];
    name_of(path, "000000000003.seg");
    CHECK_EQUAL(unlink(path), 0);
    CHECK_EQUAL(ss_log_epoch_at(theirs, positions[EACH + 5], &epoch), SS_OK);
    CHECK(epoch > 0);
    CHECK_EQUAL(ss_log_epoch_after(theirs, 0, &out), SS_OK);
    CHECK_EQUAL(out, positions[0]);
    CHECK_EQUAL(ss_log_segments(theirs, segments, 8, &count), SS_OK);
    CHECK_EQUAL(count, 3);
    CHECK_EQUAL(ss_log_read(theirs, positions[EACH], 0, buffer, sizeof buffer, records, 8, &result), SS_CORRUPT);
    CHECK_EQUAL(result.damage_end, positions[3 * EACH]);
    CHECK_EQUAL(ss_log_read(theirs, positions[3 * EACH], 0, buffer, sizeof buffer, records, 8, &result), SS_OK);
    CHECK_EQUAL(result.count, 8);
    close_store(other);
    close_store(store);
    remove_root();
}

/* The first file is gone: what it held reads as missing, up to the next one. */
static void check_first_file_gone(void)
{
    ss_log *log, *theirs;
    ss_store *store = make_log(&log), *other = open_store(SS_OPEN_READ_ONLY);
    ss_read_result result;
    char path[192];
    name_of(path, "000000000001.seg");
    CHECK_EQUAL(unlink(path), 0);
    theirs = open_log(other, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_read(theirs, positions[0], 0, buffer, sizeof buffer, records, 8, &result), SS_CORRUPT);
    CHECK_EQUAL(result.damage_begin, positions[0]);
    CHECK_EQUAL(result.damage_end, positions[EACH]);
    close_store(other);
    close_store(store);
    remove_root();
}

/* Whoever packs takes the table of all others with it, also where a header in between no longer holds. */
static void check_packed_behind_a_bad_header(void)
{
    ss_log *log, *theirs;
    ss_store *store = make_log(&log), *other = open_store(0);
    ss_read_result result;
    theirs = open_log(other, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_read(theirs, positions[0], 0, buffer, sizeof buffer, records, 8, &result), SS_OK);
    spoil_header("000000000002.seg");
    CHECK_EQUAL(pack_segments(log, 3, 4), SS_OK);
    for (uint64_t n = 0; n < TOTAL; n += 50) {
        ss_status status = ss_log_get(theirs, positions[n], 0, buffer, sizeof buffer, records, &result);
        if (n > EACH && n < 2 * EACH) /* within what is damaged nobody knows where a frame began */
            CHECK(status == SS_CORRUPT || status == SS_NOT_FOUND);
        else
            CHECK_EQUAL(status, n == EACH ? SS_CORRUPT : SS_OK);
    }
    close_store(other);
    close_store(store);
    remove_root();
}

/* The active segment's header is destroyed while another process writes to it: who wants to write too is told, and
 * nothing is written anywhere else. */
static void check_active_header_gone(void)
{
    ss_log *log, *theirs;
    ss_store *store = make_log(&log), *other = open_store(0);
    const ss_entry entry = {.data = buffer, .data_size = 10, .key_size = -1};
    ss_appended appended;
    ss_log_state before, after;
    theirs = open_log(other, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_state_get(theirs, &before), SS_OK);
    spoil_header("000000000005.seg");
    CHECK_EQUAL(ss_log_append(theirs, &entry, 1, 0, 0, NULL, &appended), SS_CORRUPT);
    CHECK_EQUAL(ss_log_state_get(theirs, &after), SS_OK);
    CHECK_EQUAL(after.tail, before.tail);
    close_store(other);
    close_store(store);
    remove_root();
}

/* A log's last words where the segment that holds them is gone. */
static void check_close_data_gone(void)
{
    ss_log *log, *theirs;
    ss_store *store = make_log(&log), *other = open_store(0);
    const ss_entry entry = {.data = buffer, .data_size = 10, .key_size = -1};
    ss_appended appended;
    size_t size;
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, SS_APPEND_CLOSE, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_close_data(log, buffer, sizeof buffer, &size), SS_OK);
    theirs = open_log(other, SS_DURABILITY_PROCESS);
    for (int file = 1; file < 10; file++) {
        char name[32];
        snprintf(name, sizeof name, "00000000000%d.seg", file);
        if (there(name))
            spoil_header(name);
    }
    CHECK_EQUAL(ss_log_close_data(theirs, buffer, sizeof buffer, &size), SS_CORRUPT);
    close_store(other);
    close_store(store);
    remove_root();
}

/* Of two packers of one segment the later one finds that its source is not what it read. */
static void check_source_changed(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_pack *pack;
    CHECK_EQUAL(ss_log_pack_begin(log, 3, 3, &pack), SS_OK);
    CHECK_EQUAL(pack_blocks(pack), SS_OK);
    /* the second one of this process would take the first one's file aside: it is made under another name */
    char from[192], to[192];
    name_of(from, "000000000003.seg" SS_LOG_PACK_SUFFIX);
    name_of(to, "kept");
    CHECK_EQUAL(rename(from, to), 0);
    CHECK_EQUAL(pack_segments(log, 2, 3), SS_OK);
    CHECK_EQUAL(rename(to, from), 0);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_CHANGED);
    ss_log_pack_free(pack);
    read_all(log, 0, TOTAL);
    CHECK_EQUAL(ss_log_pack_begin(log, 3, 3, &pack), SS_OK);
    CHECK_EQUAL(pack_blocks(pack), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_INVALID); /* once is all */
    ss_log_pack_free(pack);
    read_all(log, 0, TOTAL);
    close_store(store);
    remove_root();
}

/* Where packers died: files aside and sources that were replaced go; all else stays, whoever made it. */
static void check_cleaning(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    size_t removed;
    copy_file("000000000001.seg", "one");
    copy_file("000000000002.seg", "two");
    copy_file("000000000003.seg", "three");
    make_file("000000000004.seg" SS_LOG_PACK_SUFFIX); /* of one that died over it: made anew */
    CHECK_EQUAL(pack_segments(log, 3, 4), SS_OK);
    CHECK_EQUAL(pack_segments(log, 1, 2), SS_OK);
    make_file("ab");
    make_file("mine" SS_LOG_PACK_SUFFIX);
    make_file("a name that is longer than any of ours can be, and then a little more, so that it is not taken for one "
              "of them.seg" SS_LOG_PACK_SUFFIX);
    make_file("000000000009.seg" SS_LOG_PACK_SUFFIX);
    CHECK_EQUAL(ss_log_pack_clean(log, &removed), SS_OK);
    CHECK_EQUAL(removed, 1);
    CHECK(there("ab") && there("mine" SS_LOG_PACK_SUFFIX) && !there("000000000009.seg" SS_LOG_PACK_SUFFIX));
    copy_file("one", "000000000001.seg"); /* their unlinking did not reach the disk */
    copy_file("three", "000000000003.seg");
    CHECK_EQUAL(ss_log_pack_clean(log, &removed), SS_OK);
    CHECK_EQUAL(removed, 2);
    CHECK(!there("000000000001.seg") && !there("000000000003.seg"));
    read_all(log, 0, TOTAL);
    make_file("000000000001.seg"); /* no header: not known to be replaced */
    copy_file("three", "000000000003.seg");
    char path[192];
    name_of(path, "000000000005.seg"); /* the live one is gone from the directory, and written to all the same */
    CHECK_EQUAL(unlink(path), 0);
    CHECK_EQUAL(ss_log_pack_clean(log, &removed), SS_OK);
    CHECK_EQUAL(removed, 1);
    CHECK(there("000000000001.seg") && !there("000000000003.seg"));
    close_store(store);
    remove_root();
}

/* A sealed segment whose name stands for another file by now gets no index written into that. */
static void check_no_index_into_another_file(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_segment *segment;
    uint64_t end;
    uint8_t zeros[4096] = {0}, found[4096];
    close_store(store);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    read_all(log, 0, TOTAL);
    CHECK_EQUAL(ss_log_table_find(log, positions[0], &segment, &end), SS_OK);
    for (int round = 0; round < 2; round++) {
        char path[192];
        copy_file("000000000001.seg", "other");
        name_of(path, "other");
        int fd = open(path, O_RDWR | O_CLOEXEC);
        off_t trailer = (off_t)(SS_SEGMENT_HEADER_SIZE + end - positions[0]);
        CHECK_EQUAL(pwrite(fd, zeros, sizeof zeros, trailer), sizeof zeros);
        if (round)
            CHECK_EQUAL(ftruncate(fd, SEGMENT_SALT + 4), 0);
        else
            CHECK_EQUAL(pwrite(fd, "another!", 8, SEGMENT_SALT), 8);
        copy_file("other", "000000000001.seg");
        name_of(path, "000000000001.seg");
        close(fd);
        atomic_store(&segment->index_looked_at, 0);
        ss_log_index_seal(log);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        memset(found, 0, sizeof found);
        CHECK(pread(fd, found, sizeof found, trailer) >= 0);
        CHECK_BYTES(found, zeros, sizeof found);
        close(fd);
    }
    ss_log_table_release(log, segment);
    close_store(store);
    remove_root();
}

/* More descriptors are open than the store keeps: each is closed after its use, and an index that was read is kept. */
static void check_many_open_files(void)
{
    ss_log *log;
    ss_store *store = make_log(&log);
    ss_read_result result;
    CHECK_EQUAL(pack_segments(log, 1, 3), SS_OK);
    uint32_t open_files = atomic_fetch_add(&store->open_files, 1000) + 1000;
    for (int round = 0; round < 3; round++) {
        CHECK_EQUAL(ss_log_get(log, positions[round], 0, buffer, sizeof buffer, records, &result), SS_OK);
        CHECK_EQUAL(records[0].ordinal, round + 1);
        CHECK_EQUAL(atomic_load(&store->open_files), open_files);
    }
    read_all(log, 0, TOTAL);
    atomic_fetch_sub(&store->open_files, 1000);
    /* one that the table no longer has is not opened for writing */
    ss_segment *segment;
    uint64_t end;
    CHECK_EQUAL(ss_log_table_find(log, positions[3 * EACH], &segment, &end), SS_OK);
    CHECK_EQUAL(pack_segments(log, 3, 4), SS_OK);
    ss_log_table_notice(log);
    CHECK_EQUAL(ss_log_table_open(log, segment, 1), SS_INVALID);
    ss_log_table_release(log, segment);
    read_all(log, 0, TOTAL);
    close_store(store);
    remove_root();
}

int main(void)
{
    check_packed_file_gone();
    check_first_file_gone();
    check_packed_behind_a_bad_header();
    check_active_header_gone();
    check_close_data_gone();
    check_source_changed();
    check_cleaning();
    check_no_index_into_another_file();
    check_many_open_files();
    return check_report();
}
