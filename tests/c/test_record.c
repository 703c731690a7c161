/* One frame: what it may hold, what a crash may leave of it, what damage it shows, and what no frame may claim. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "record.h"

#define SALT UINT64_C(0x5eed0123456789ab)
enum { PAGE = 4096, ROOM = 8192 };

static ss_xxh3_key salt;
static int sealed;            /* make() puts a seal in front of the body */
static uint8_t content[ROOM]; /* no zero byte, so that every word of it is non-zero */

typedef struct {
    ss_entry entry;
    uint64_t size;
    _Alignas(8) uint8_t bytes[ROOM];
} framed;

static ss_record_place place_at(uint64_t position)
{
    return (ss_record_place){.position = position,
                             .arrival_us = 1700000000000000,
                             .epoch = 1700000000000001,
                             .durable = 64,
                             .ordinal = 5,
                             .type = SS_FRAME_DATA};
}

static void make(framed *f, uint32_t attributes_size, int hash_key, int32_t key_size, size_t data_size)
{
    f->entry = (ss_entry){.attributes = content + 1,
                          .attributes_size = attributes_size,
                          .hash_key_present = hash_key,
                          .hash_key_hi = UINT64_C(0x8182838485868788),
                          .hash_key_lo = UINT64_C(0x9192939495969798),
                          .key = content + 3,
                          .key_size = key_size,
                          .data = content + 5,
                          .data_size = data_size,
                          .seal = sealed ? content + 17 : NULL};
    memset(f->bytes, 0, sizeof f->bytes);
    CHECK_EQUAL(ss_record_frame_size(&f->entry, 1 << 20, &f->size), SS_OK);
    ss_record_place place = place_at(4096);
    ss_record_write(f->bytes, &f->entry, f->size, &place, &salt);
}

static ss_status decode(const uint8_t *bytes, size_t size, ss_record *record)
{
    return ss_record_decode(bytes, size, 4096, 100, SALT, record);
}

static void check_holds(const framed *f)
{
    const ss_entry *entry = &f->entry;
    ss_record record;
    CHECK_EQUAL(decode(f->bytes, f->size, &record), SS_OK);
    uint64_t used = 48 + (entry->seal ? 32u : 0u) + entry->attributes_size + (entry->hash_key_present ? 16u : 0u) +
                    (entry->key_size > 0 ? (uint64_t)entry->key_size : 0) + entry->data_size;
    CHECK_EQUAL(f->size, (used + 7) / 8 * 8);
    CHECK_EQUAL(record.frame_size, f->size);
    CHECK_EQUAL(record.position, 4096);
    CHECK_EQUAL(record.epoch, 1700000000000001);
    CHECK_EQUAL(record.arrival_us, 1700000000000000);
    CHECK_EQUAL(record.ordinal, 105);
    CHECK_EQUAL(record.type, SS_FRAME_DATA);
    CHECK_EQUAL(record.seal_offset, entry->seal ? 48 : 0);
    if (entry->seal)
        CHECK_BYTES(f->bytes + record.seal_offset, entry->seal, 32);
    CHECK_EQUAL(record.attributes_size, entry->attributes_size);
    CHECK_BYTES(f->bytes + record.attributes_offset, entry->attributes, entry->attributes_size);
    CHECK_EQUAL(record.hash_key_present, entry->hash_key_present);
    CHECK_EQUAL(record.hash_key_hi, entry->hash_key_present ? entry->hash_key_hi : 0);
    CHECK_EQUAL(record.hash_key_lo, entry->hash_key_present ? entry->hash_key_lo : 0);
    CHECK(record.key_size == entry->key_size);
    CHECK_BYTES(f->bytes + record.key_offset, entry->key, entry->key_size > 0 ? (size_t)entry->key_size : 0);
    CHECK_EQUAL(record.data_size, entry->data_size);
    CHECK_BYTES(f->bytes + record.data_offset, entry->data, entry->data_size);
    for (uint64_t at = used; at < ROOM; at++) /* the pad, and all that lies behind the frame */
        if (f->bytes[at])
            CHECK_EQUAL(f->bytes[at], 0);
}

static void check_every_padding(void)
{
    static framed f;
    for (size_t data_size = 0; data_size <= 40; data_size++)
        for (uint32_t attributes_size = 0; attributes_size < 10; attributes_size += 3)
            for (int32_t key_size = -1; key_size < 10; key_size += 2)
                for (int hash_key = 0; hash_key < 2; hash_key++) {
                    make(&f, attributes_size, hash_key, key_size, data_size);
                    check_holds(&f);
                }
    for (size_t data_size = 120; data_size < 300; data_size += 7) {
        make(&f, 11, 1, 13, data_size);
        check_holds(&f);
    }
    make(&f, SS_ATTRIBUTES_SIZE_MAX, 1, SS_KEY_SIZE_MAX, 1000);
    check_holds(&f);
}

static ss_status size_of(uint32_t attributes_size, int32_t key_size, size_t data_size, uint64_t limit)
{
    ss_entry entry = {.attributes_size = attributes_size, .key_size = key_size, .data_size = data_size};
    uint64_t size = 77;
    ss_status status = ss_record_frame_size(&entry, limit, &size);
    if (status != SS_OK)
        CHECK_EQUAL(size, 77); /* results are untouched on failure */
    return status;
}

static void check_limits(void)
{
    CHECK_EQUAL(size_of(0, SS_KEY_SIZE_MAX, 0, 1 << 20), SS_OK);
    CHECK_EQUAL(size_of(0, SS_KEY_SIZE_MAX + 1, 0, 1 << 20), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(0, INT32_MAX, 0, 1 << 20), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(0, INT32_MIN, 0, 1 << 20), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(0, -2, 0, 1 << 20), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(SS_ATTRIBUTES_SIZE_MAX, -1, 0, 1 << 20), SS_OK);
    CHECK_EQUAL(size_of(SS_ATTRIBUTES_SIZE_MAX + 1, -1, 0, 1 << 20), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(UINT32_MAX, -1, 0, 1 << 20), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(0, 10, 90, 100), SS_OK); /* key and data together */
    CHECK_EQUAL(size_of(0, 10, 91, 100), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(SS_ATTRIBUTES_SIZE_MAX, 10, 90, 100), SS_OK); /* attributes are not in the limit */
    CHECK_EQUAL(size_of(0, -1, RECORD_SIZE_LIMIT, RECORD_SIZE_LIMIT), SS_OK);
    CHECK_EQUAL(size_of(0, -1, RECORD_SIZE_LIMIT + 1, UINT64_MAX), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(0, SS_KEY_SIZE_MAX, SIZE_MAX, UINT64_MAX), SS_TOO_LARGE);
    CHECK_EQUAL(size_of(0, SS_KEY_SIZE_MAX, SIZE_MAX - 1000, UINT64_MAX), SS_TOO_LARGE);
}

/* Recovery's rule, as docs/format.md has it: the declared frame if the header holds, else the header, has a zero
 * word. */
static int tear_possible(const uint8_t *bytes, uint64_t size)
{
    ss_record_header header;
    uint64_t unit = ss_record_read_header(bytes, 4096, &salt, &header) == SS_OK ? size : FRAME_BODY;
    int found = 0;
    for (uint64_t at = 0; at < unit; at += 8)
        found |= format_load64(bytes + at) == 0;
    return found;
}

/* Any words of a frame may be missing after a power cut, and space was zero before: the frame then does not hold, and
 * shows a zero word. */
static void check_tears(void)
{
    static framed f;
    static _Alignas(8) uint8_t torn[ROOM];
    srand(7);
    for (size_t data_size = 0; data_size < 400; data_size += data_size < 20 ? 1 : 37) {
        make(&f, 9, 1, 5, data_size);
        uint64_t words = f.size / 8;
        for (uint64_t word = 0; word < words; word++)
            CHECK(format_load64(f.bytes + 8 * word) != 0);
        for (uint64_t attempt = 0; attempt < 3 * words + 200; attempt++) {
            ss_record record;
            memcpy(torn, f.bytes, f.size);
            if (attempt < words) /* the body was stored up to here, then a kill */
                memset(torn, 0, FRAME_BODY), memset(torn + 8 * attempt, 0, f.size - 8 * attempt);
            else if (attempt < 2 * words) /* all but one word reached the disk */
                memset(torn + 8 * (attempt - words), 0, 8);
            else if (attempt < 3 * words) /* only one did */
                memset(torn, 0, f.size),
                    memcpy(torn + 8 * (attempt - 2 * words), f.bytes + 8 * (attempt - 2 * words), 8);
            else
                for (uint64_t word = 0; word < words; word++)
                    if (rand() % 3 == 0)
                        memset(torn + 8 * word, 0, 8);
            if (memcmp(torn, f.bytes, f.size) == 0)
                continue;
            CHECK_EQUAL(decode(torn, f.size, &record), SS_CORRUPT);
            CHECK(tear_possible(torn, f.size));
        }
    }
}

static uint8_t *pages;
static uint8_t body_seen[PAGE];

static void on_header_store(int signal_number)
{
    (void)signal_number;
    memcpy(body_seen, pages + PAGE, PAGE);
    mprotect(pages, PAGE, PROT_READ | PROT_WRITE);
}

/* The header lies at the end of a page that cannot be written: its first store finds the whole body in place. */
static void check_header_is_last(void)
{
    pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    struct sigaction action = {.sa_handler = on_header_store}, before;
    sigaction(SIGSEGV, &action, &before);
    for (size_t data_size = 1; data_size < 3000; data_size += 131) {
        framed f;
        make(&f, 3, 1, 7, data_size);
        memset(pages, 0, 2 * PAGE);
        memset(body_seen, 0, PAGE);
        mprotect(pages, PAGE, PROT_READ);
        ss_record_place place = place_at(4096);
        ss_record_write(pages + PAGE - FRAME_BODY, &f.entry, f.size, &place, &salt);
        CHECK_BYTES(body_seen, f.bytes + FRAME_BODY, f.size - FRAME_BODY);
        CHECK_BYTES(pages + PAGE - FRAME_BODY, f.bytes, f.size);
    }
    sigaction(SIGSEGV, &before, NULL);
    munmap(pages, 2 * PAGE);
}

static void check_damage(void)
{
    static framed f;
    ss_record record;
    const size_t sizes[] = {0, 1, 8, 60, 300};
    pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQUAL(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make(&f, 5, 1, 6, sizes[i]);
        for (uint64_t bit = 0; bit < f.size * 8; bit++) {
            f.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            CHECK_EQUAL(decode(f.bytes, f.size, &record), SS_CORRUPT);
            f.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (uint64_t size = 0; size < f.size; size++) {
            uint8_t *exact = pages + PAGE - size; /* a read behind the end is a SIGSEGV */
            memcpy(exact, f.bytes, size);
            CHECK_EQUAL(decode(exact, size, &record), SS_CORRUPT);
        }
        CHECK_EQUAL(ss_record_decode(f.bytes, f.size, 4104, 0, SALT, &record), SS_CORRUPT); /* at another position */
        CHECK_EQUAL(ss_record_decode(f.bytes, f.size, 4096, 0, SALT + 1, &record), SS_CORRUPT); /* of another file */
        CHECK_EQUAL(decode(f.bytes, f.size, &record), SS_OK);
    }
    munmap(pages, 2 * PAGE);
}

/* A frame with these header words and good checks: what nobody wrote, but a hostile file may hold. */
static ss_status forged(uint32_t frame_size, uint64_t arrival, uint64_t epoch, uint64_t counts, ss_record *record)
{
    static _Alignas(8) uint8_t bytes[ROOM];
    memcpy(bytes, content, ROOM);
    format_store32(bytes + FRAME_SIZE, frame_size);
    format_store64(bytes + FRAME_POSITION, 4096);
    format_store64(bytes + FRAME_ARRIVAL, arrival);
    format_store64(bytes + FRAME_EPOCH, epoch);
    format_store64(bytes + FRAME_ORDINAL, counts);
    uint64_t hash = ss_xxh3_64(&salt, bytes + FRAME_SIZE, 36);
    format_store32(bytes, (uint32_t)hash);
    if (frame_size >= FRAME_BODY && frame_size <= ROOM)
        format_store64(bytes + FRAME_BODY_CHECK, ss_xxh3_64(&salt, bytes + FRAME_BODY, frame_size - FRAME_BODY) ^ hash);
    return decode(bytes, ROOM, record);
}

static void check_hostile_headers(void)
{
    ss_record record;
    const uint64_t data = UINT64_C(1) << 12 | SS_FRAME_DATA << 8 | FRAME_FLAG_PRESENT, first = UINT64_C(1) << 40;
    CHECK_EQUAL(forged(104, 1 << 12, data, first, &record), SS_OK);
    CHECK_EQUAL(record.data_size, 56);
    const uint32_t sizes[] = {0, 8, 40, 47, 49, 52, 103, ROOM + 8, 0x7ffffff8, 0xfffffff8, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK_EQUAL(forged(sizes[i], 1 << 12, data, first, &record), SS_CORRUPT);
    CHECK_EQUAL(forged(104, 1 << 12 | 57, data, first, &record), SS_OK); /* a key of 56 bytes fills it */
    CHECK_EQUAL(record.data_size, 0);
    CHECK_EQUAL(forged(104, 1 << 12 | 58, data, first, &record), SS_CORRUPT);
    CHECK_EQUAL(forged(104, 1 << 12 | 0xfff, data, first, &record), SS_CORRUPT);
    CHECK_EQUAL(forged(104, 1 << 12, data, first | 56 << 3, &record), SS_OK); /* attributes */
    CHECK_EQUAL(forged(104, 1 << 12, data, first | 57 << 3, &record), SS_CORRUPT);
    CHECK_EQUAL(forged(104, 1 << 12, data, first | 0x1fff << 3, &record), SS_CORRUPT);
    CHECK_EQUAL(forged(104, 1 << 12, data, first | 50 << 3 | 7, &record), SS_CORRUPT); /* with the pad */
    CHECK_EQUAL(forged(56, 1 << 12, data | FRAME_FLAG_HASH_KEY, first, &record),
                SS_CORRUPT); /* no room for the hash key */
    CHECK_EQUAL(forged(104, 1 << 12, data & ~UINT64_C(0xf00), first, &record), SS_CORRUPT); /* type 0 */
    CHECK_EQUAL(forged(104, 1 << 12, data & ~UINT64_C(1), first, &record),
                SS_CORRUPT); /* never without the first flag */
    CHECK_EQUAL(forged(104, 1 << 12, (data & ~UINT64_C(0xf00)) | SS_FRAME_PAD << 8, first, &record), SS_OK);
    for (uint64_t type = SS_FRAME_PAD + 1; type < 16; type++)
        CHECK_EQUAL(forged(104, 1 << 12, (data & ~UINT64_C(0xf00)) | type << 8, first, &record), SS_FORMAT);
    CHECK_EQUAL(forged(104, 1 << 12, data | FRAME_FLAG_MORE, first, &record), SS_OK);
    CHECK_EQUAL(forged(104, 1 << 12, data | FRAME_FLAG_SEALED, first, &record), SS_OK);
    CHECK_EQUAL(record.seal_offset, 48);
    CHECK_EQUAL(record.data_size, 24);
    CHECK_EQUAL(forged(104, 1 << 12, data | FRAME_FLAG_OPENED, first, &record), SS_OK);
    CHECK_EQUAL(record.seal_offset, 0); /* it takes the room, and there is nothing to decrypt */
    CHECK_EQUAL(record.data_offset, 80);
    CHECK_EQUAL(record.data_size, 24);
    CHECK_EQUAL(forged(72, 1 << 12, data | FRAME_FLAG_SEALED, first, &record), SS_CORRUPT); /* no room for the seal */
    CHECK_EQUAL(forged(104, 1 << 12 | 26, data | FRAME_FLAG_SEALED, first, &record), SS_CORRUPT);
    CHECK_EQUAL(forged(104, 1 << 12, data | FRAME_FLAGS_SEAL, first, &record), SS_CORRUPT); /* it is one or the other */
    for (uint64_t flag = 32; flag < 256; flag *= 2)
        CHECK_EQUAL(forged(104, 1 << 12, data | flag, first, &record), SS_FORMAT);
}

static uint64_t durable_read_back(uint64_t position, uint64_t durable)
{
    _Alignas(8) uint8_t bytes[FRAME_BODY];
    const ss_entry nothing = {.key_size = -1};
    ss_record_place place = place_at(position);
    ss_record_header header;
    place.durable = durable;
    ss_record_write(bytes, &nothing, FRAME_BODY, &place, &salt);
    CHECK_EQUAL(ss_record_read_header(bytes, position, &salt, &header), SS_OK);
    return header.durable;
}

static void check_durable_claims(void)
{
    CHECK_EQUAL(durable_read_back(64, 64), 64);
    CHECK_EQUAL(durable_read_back(4096, 0), 0); /* not known */
    CHECK_EQUAL(durable_read_back(4096, 4096), 4096);
    CHECK_EQUAL(durable_read_back(4096, 72), 72);
    const uint64_t far = UINT64_C(1) << 60, most = (FRAME_LAG_UNKNOWN - 1) * 8;
    CHECK_EQUAL(durable_read_back(far, far - most), far - most);
    CHECK_EQUAL(durable_read_back(far, far - most - 8), 0); /* further than the field says: not known, never more */
    CHECK_EQUAL(durable_read_back(far, 64), 0);
}

static void check_rewrite(void)
{
    framed f;
    _Alignas(8) uint8_t moved[ROOM];
    ss_record before, after;
    ss_record_header header;
    ss_xxh3_key other;
    ss_xxh3_key_init(&other, SALT + 99);
    make(&f, 5, 1, 6, 100);
    CHECK_EQUAL(decode(f.bytes, f.size, &before), SS_OK);
    CHECK_EQUAL(ss_record_read_header(f.bytes, 4096, &salt, &header), SS_OK);
    ss_record_rewrite(moved, f.bytes, &header, 2, 0, &other);
    CHECK_EQUAL(decode(moved, f.size, &after), SS_CORRUPT); /* no frame of its old file any more */
    CHECK_EQUAL(ss_record_decode(moved, f.size, 4096, 103, SALT + 99, &after), SS_OK);
    CHECK_EQUAL(after.position, before.position);
    CHECK_EQUAL(after.epoch, before.epoch);
    CHECK_EQUAL(after.arrival_us, before.arrival_us);
    CHECK_EQUAL(after.ordinal, before.ordinal); /* 103 + 2 is 100 + 5 */
    CHECK_EQUAL(after.frame_size, before.frame_size);
    CHECK_EQUAL(after.key_size, before.key_size);
    CHECK_EQUAL(after.hash_key_hi, before.hash_key_hi);
    CHECK_BYTES(moved + FRAME_BODY, f.bytes + FRAME_BODY, f.size - FRAME_BODY);
    CHECK_EQUAL(ss_record_read_header(moved, 4096, &other, &header), SS_OK);
    CHECK_EQUAL(header.durable, 0);
    ss_record_rewrite(f.bytes, moved, &header, 5, 128, &salt); /* and back */
    CHECK_EQUAL(ss_record_read_header(f.bytes, 4096, &salt, &header), SS_OK);
    CHECK_EQUAL(header.durable, 128);
    CHECK_EQUAL(header.ordinal, 5);
}

/* In a packed block no frame has checks of its own: one that has is no frame of it. */
static void check_packed(void)
{
    framed f;
    ss_record_header header, packed;
    make(&f, 5, 1, 6, 100);
    CHECK_EQUAL(ss_record_read_header(f.bytes, 4096, &salt, &header), SS_OK);
    ss_record_pack(f.bytes, 9);
    CHECK_EQUAL(ss_record_read_packed(f.bytes, 4096, &packed), SS_OK);
    CHECK_EQUAL(packed.ordinal, 9);
    CHECK_EQUAL(packed.frame_size, header.frame_size);
    CHECK_EQUAL(packed.data_size, header.data_size);
    CHECK_EQUAL(ss_record_read_packed(f.bytes, 4104, &packed), SS_CORRUPT); /* of another place */
    const size_t checks[] = {FRAME_CHECK, FRAME_CHECK + 3, FRAME_BODY_CHECK, FRAME_BODY_CHECK + 7};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        f.bytes[checks[i]] = 1;
        CHECK_EQUAL(ss_record_read_packed(f.bytes, 4096, &packed), SS_CORRUPT);
        f.bytes[checks[i]] = 0;
    }
}

int main(void)
{
    ss_xxh3_key_init(&salt, SALT);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i % 251 + 1);
    for (sealed = 0; sealed < 2; sealed++) {
        check_every_padding();
        check_tears();
        check_damage();
        check_packed();
        check_rewrite();
    }
    sealed = 0;
    check_limits();
    check_header_is_last();
    check_hostile_headers();
    check_durable_claims();
    return check_report();
}
