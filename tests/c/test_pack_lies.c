/* Compacted segments whose index is lost and whose blocks, frames or neighbours say what is not so: blocks are found by
 * themselves, what they say is bounded by what can be, and every call tells what it met. */
#define _GNU_SOURCE
#include "packed_image.h"

static uint8_t buffer[256 << 10];
static ss_record records[300];

static void lose_index(uint8_t *bytes)
{
    format_store64(bytes + SEGMENT_PACKED_INDEX_CHECK, ~format_load64(bytes + SEGMENT_PACKED_INDEX_CHECK));
    format_store64(bytes + SEGMENT_CHECK, ss_xxh3_64_seeded(bytes, SEGMENT_CHECK, 0));
}

static size_t block_of(size_t i)
{
    size_t at = SS_SEGMENT_HEADER_SIZE;
    while (i--)
        at += format_align8(BLOCK_STORED + format_load32(image + at + BLOCK_STORED_SIZE));
    return at;
}

/* What stands in the file is `changed`; a handle that reads it. */
static ss_log *put_changed(ss_store **store)
{
    write_file(changed, image_size);
    *store = open_store(SS_OPEN_READ_ONLY);
    return open_log(*store, SS_DURABILITY_PROCESS);
}

static void check_lies_without_index(void)
{
    const uint64_t end = format_load64(image + SEGMENT_PACKED_END);
    const uint64_t values[] = {0, 8, 4096, 4104, 65536, end - 48, end - 8, end, 48, UINT32_MAX, 104, UINT64_C(1) << 62};
    static const size_t fields[] = {BLOCK_POSITION,
                                    BLOCK_RAW_SIZE,
                                    BLOCK_STORED_SIZE,
                                    BLOCK_FLAGS,
                                    BLOCK_STORED + FRAME_SIZE,
                                    BLOCK_STORED + FRAME_POSITION,
                                    BLOCK_STORED + FRAME_EPOCH,
                                    BLOCK_STORED + FRAME_ORDINAL};
    for (size_t block = 0; block < 2; block++)
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                memcpy(changed, image, image_size);
                int narrow = fields[f] == BLOCK_RAW_SIZE || fields[f] == BLOCK_STORED_SIZE ||
                             fields[f] == BLOCK_FLAGS || fields[f] == BLOCK_STORED + FRAME_SIZE;
                memcpy(changed + block_of(block) + fields[f], &values[v], narrow ? 4 : 8);
                seal_all(changed);
                lose_index(changed);
                write_file(changed, image_size);
                uint64_t found = ask_everything(0);
                /* The segment behind is whole; what a later version wrote, or nobody has a key for, ends a read. */
                int unknown = fields[f] == BLOCK_FLAGS || fields[f] == BLOCK_STORED + FRAME_EPOCH;
                CHECK(found <= TOTAL && (unknown || found >= TOTAL - 2 * EACH));
            }
}

/* The first block begins a little later than the segment: what is before it is missing, and has no room at all. */
static void check_gap_without_room(void)
{
    ss_store *store;
    ss_read_result result;
    memcpy(changed, image, image_size);
    uint8_t *block = changed + SS_SEGMENT_HEADER_SIZE;
    const uint64_t gap = format_load32(block + BLOCK_STORED + FRAME_SIZE);
    const uint32_t size = format_load32(block + BLOCK_RAW_SIZE) - (uint32_t)gap;
    format_store64(block + BLOCK_POSITION, SS_FIRST_POSITION + gap);
    format_store32(block + BLOCK_RAW_SIZE, size);
    format_store32(block + BLOCK_STORED_SIZE, size);
    memmove(block + BLOCK_STORED, block + BLOCK_STORED + gap, size); /* the first frame was never there */
    seal_all(changed);
    lose_index(changed);
    ss_log *log = put_changed(&store);
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 300, &result), SS_CORRUPT);
    CHECK_EQUAL(result.damage_begin, SS_FIRST_POSITION);
    CHECK_EQUAL(result.damage_end, SS_FIRST_POSITION + gap);
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION + gap, 0, buffer, sizeof buffer, records, 1, &result), SS_OK);
    CHECK_EQUAL(records[0].ordinal, 2);
    close_store(store);
}

/* Frames of a later version, the last frame of a log, and one that leaves too little behind it, in a block. */
static void check_frames(void)
{
    uint8_t *frame = changed + SS_SEGMENT_HEADER_SIZE + BLOCK_STORED;
    for (int kind = 0; kind < 3; kind++) {
        ss_store *store;
        ss_read_result result;
        memcpy(changed, image, image_size);
        if (kind == 0)
            frame[FRAME_EPOCH] |= 0x80; /* a flag that nobody knows */
        else if (kind == 1)
            frame[FRAME_EPOCH + 1] = (uint8_t)((frame[FRAME_EPOCH + 1] & 0xf0) | SS_FRAME_CLOSE);
        else
            format_store32(frame + FRAME_SIZE, format_load32(frame - BLOCK_STORED + BLOCK_RAW_SIZE) - 40);
        seal_all(changed);
        ss_log *log = put_changed(&store);
        for (int limit = 1; limit <= 300; limit += 299) { /* through a window, and the whole block at once */
            ss_status status = ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, (size_t)limit,
                                           &result);
            CHECK_EQUAL(status, kind == 0 ? SS_FORMAT : kind == 1 || limit == 1 ? SS_OK : SS_CORRUPT);
            CHECK_EQUAL(result.end_of_log, kind == 1);
        }
        ss_status status = ss_log_get(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, &result);
        CHECK_EQUAL(status, kind == 0 ? SS_FORMAT : kind == 1 ? SS_NOT_FOUND : SS_OK);
        close_store(store);
    }
}

/* A sealed block that nobody has a key for tells where it is, though not what is in it: the index is made all the
 * same. */
static void check_sealed_without_index(void)
{
    ss_store *store;
    ss_read_result result;
    memcpy(changed, image, image_size);
    format_store32(changed + SS_SEGMENT_HEADER_SIZE + BLOCK_FLAGS, BLOCK_FLAG_SEALED);
    seal_all(changed);
    lose_index(changed);
    ss_log *log = put_changed(&store);
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 300, &result), SS_NO_KEY);
    const uint64_t second = format_load64(image + block_of(1) + BLOCK_POSITION);
    CHECK_EQUAL(ss_log_read(log, second, 0, buffer, sizeof buffer, records, 300, &result), SS_OK);
    CHECK(result.count > 0);
    CHECK_EQUAL(records[0].position, second);
    close_store(store);
}

/* A read that ends inside a block ends there. */
static void check_read_to_an_end(void)
{
    ss_store *store;
    ss_read_result result;
    memcpy(changed, image, image_size);
    ss_log *log = put_changed(&store);
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 50, &result), SS_OK);
    CHECK_EQUAL(result.count, 50);
    const uint64_t end = result.next_position;
    CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, end, buffer, sizeof buffer, records, 300, &result), SS_OK);
    CHECK_EQUAL(result.count, 50);
    CHECK_EQUAL(result.next_position, end);
    close_store(store);
}

/* The next segment says that it begins inside this one's last frames: they run over it, and are damage. */
static void check_next_begins_inside(void)
{
    static uint8_t header[SS_SEGMENT_HEADER_SIZE], before[SS_SEGMENT_HEADER_SIZE];
    const uint64_t last = format_load64(image + SEGMENT_PACKED_LAST_FRAME);
    char next[128];
    write_file(image, image_size);
    snprintf(next, sizeof next, "%s/streams/1/0/000000000003.seg", root);
    int fd = open(next, O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(pread(fd, before, sizeof before, 0), sizeof before);
    for (uint64_t base = last; base <= last + 16; base += 16) {
        memcpy(header, before, sizeof header);
        format_store64(header + SEGMENT_BASE, base);
        format_store64(header + SEGMENT_PREVIOUS_END, base);
        format_store64(header + SEGMENT_CHECK, ss_xxh3_64_seeded(header, SEGMENT_CHECK, 0));
        CHECK_EQUAL(pwrite(fd, header, sizeof header, 0), sizeof header);
        ss_store *store = open_store(SS_OPEN_READ_ONLY);
        ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
        ss_read_result result;
        uint64_t out;
        ss_status status = ss_log_get(log, last, 0, buffer, sizeof buffer, records, &result);
        CHECK(status == SS_CORRUPT);
        CHECK_EQUAL(ss_log_seek(log, last - 8, &out), SS_OK);
        CHECK(out <= base);
        CHECK_EQUAL(ss_log_seek_ordinal(log, 2 * EACH, &out), SS_OK);
        CHECK(out >= last);
        CHECK_EQUAL(ss_log_read(log, SS_FIRST_POSITION, 0, buffer, sizeof buffer, records, 100, &result), SS_OK);
        CHECK_EQUAL(result.count, 100);
        close_store(store);
        CHECK(ask_everything(0) <= TOTAL);
    }
    CHECK_EQUAL(pwrite(fd, before, sizeof before, 0), sizeof before);
    close(fd);
}

/* Which epochs began in blocks that are lost nobody knows: they are looked for behind the segment. */
static void check_epochs_of_lost_blocks(void)
{
    ss_store *store;
    uint64_t epoch, out;
    ss_log *log;
    memcpy(changed, image, image_size);
    log = put_changed(&store);
    CHECK_EQUAL(ss_log_epoch_at(log, SS_FIRST_POSITION + 8, &epoch), SS_OK);
    CHECK_EQUAL(ss_log_epoch_after(log, epoch, &out), SS_OK);
    CHECK(out > SS_FIRST_POSITION && out < format_load64(image + SEGMENT_PACKED_END)); /* the second source's */
    close_store(store);
    lose_index(changed);
    for (size_t at = block_of(1); at < format_load64(image + SEGMENT_PACKED_INDEX); at++)
        changed[at] ^= 0x55;
    log = put_changed(&store);
    CHECK_EQUAL(ss_log_epoch_after(log, epoch, &out), SS_OK);
    CHECK_EQUAL(out, format_load64(image + SEGMENT_PACKED_END));
    close_store(store);
}

/* A source of many epochs, and bytes that do not get smaller. */
static void check_many_epochs(void)
{
    uint8_t data[700];
    const ss_entry entry = {.data = data, .data_size = sizeof data, .key_size = -1};
    ss_appended appended;
    uint64_t seed = 3, positions[40], epochs[40], out;
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    for (int n = 0; n < 40; n++) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)((seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 56);
        CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, &positions[n], &appended), SS_OK);
        epochs[n] = appended.epoch;
        CHECK_EQUAL(ss_log_roll(log, 0), SS_OK);
    }
    CHECK_EQUAL(ss_log_sync(log, 0), SS_OK);
    pack_squeezed = 100;
    CHECK_EQUAL(pack_segments(log, 1, 40), SS_OK);
    for (int n = 0; n < 40; n++) {
        uint64_t epoch;
        CHECK_EQUAL(ss_log_epoch_at(log, positions[n] + 8, &epoch), SS_OK);
        CHECK_EQUAL(epoch, epochs[n]);
        CHECK_EQUAL(ss_log_epoch_after(log, epochs[n] - 1, &out), SS_OK);
        CHECK_EQUAL(out, positions[n]);
    }
    /* closed with nothing in its active segment, which is lost then: it goes on behind what is packed, in a new one */
    close_store(store);
    snprintf(path, sizeof path, "%s/streams/1/0/000000000041.seg", root);
    CHECK_EQUAL(remove(path), 0);
    store = open_store(0);
    log = open_log(store, SS_DURABILITY_PROCESS);
    ss_recovery report;
    ss_log_state state;
    CHECK_EQUAL(ss_log_state_get(log, &state), SS_OK);
    ss_log_recovery_get(log, &report);
    CHECK_EQUAL(report.in_place, 0);
    CHECK_EQUAL(state.record_count, 40);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(appended.first_position, state.tail);
    close_store(store);
    remove_root();
}

int main(void)
{
    make_image(TOTAL, EACH);
    check_lies_without_index();
    check_gap_without_room();
    check_frames();
    check_sealed_without_index();
    check_read_to_an_end();
    check_next_begins_inside();
    remove_root();
    make_image(900, 300); /* blocks of one source alone */
    check_epochs_of_lost_blocks();
    remove_root();
    check_many_epochs();
    return check_report();
}
