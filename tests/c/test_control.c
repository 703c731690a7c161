/* The control file: made, attached to, grown; what the next incarnation takes over from it, and what a damaged one
 * may not do to us. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "check.h"
#include "control.h"
#include "file.h"
#include "scratch.h"

static const uint8_t store_id[16] = "one store's id.", other_id[16] = "another store's";
static const _Atomic int open_store = 0;
static int root;
static ss_lock_self self;

static void fresh(void)
{
    void *map;
    scratch_new();
    root = scratch_directory();
    self = (ss_lock_self){.fd = scratch_open("lock", O_RDWR | O_CREAT), .closing = &open_store};
    CHECK_EQUAL(ftruncate(self.fd, SS_LOCK_FILE_SIZE), 0);
    CHECK_EQUAL(ss_file_map(self.fd, SS_LOCK_FILE_SIZE, 1, &map), SS_OK);
    self.slots = map;
    CHECK_EQUAL(ss_lock_attach(&self), SS_OK);
}

static void done(void)
{
    ss_lock_detach(&self);
    ss_file_unmap(self.slots, SS_LOCK_FILE_SIZE);
    ss_file_close(self.fd);
    close(root);
    scratch_remove();
}

static ss_control create(int expect_hints)
{
    ss_control control = {.fd = -1};
    int hints = -1;
    CHECK_EQUAL(ss_control_create(root, store_id, 0, &control, &hints), SS_OK);
    CHECK_EQUAL(hints, expect_hints);
    return control;
}

static ss_control_entry *add(ss_control *control, uint32_t stream_id, uint32_t shard)
{
    uint32_t index = UINT32_MAX;
    CHECK_EQUAL(ss_control_register(control, &self, stream_id, shard, SS_DURABILITY_INTERVAL, &index), SS_OK);
    ss_control_entry *entry = ss_control_entry_at(control, index);
    CHECK_EQUAL(entry->stream_id, stream_id);
    CHECK_EQUAL(entry->shard, shard);
    return entry;
}

static void check_create_and_attach(void)
{
    fresh();
    ss_control found;
    CHECK_EQUAL(ss_status_code(ss_control_attach(root, store_id, 1, &found)), SS_NOT_FOUND);
    ss_control first = create(0);
    CHECK(first.header->incarnation > 0 && first.header->anchor_wall_us > 0);
    CHECK_EQUAL(first.header->hints_complete, 0);
    add(&first, 1, 0);
    CHECK_EQUAL(ss_control_attach(root, store_id, 1, &found), SS_OK);
    CHECK_EQUAL(found.header->incarnation, first.header->incarnation);
    add(&found, 1, 0);
    CHECK_EQUAL(found.header->log_count, 1);
    atomic_store(&ss_control_entry_at(&found, 0)->tail, 4711);
    CHECK_EQUAL(ss_control_entry_at(&first, 0)->tail, 4711); /* one memory */
    uint64_t incarnation = first.header->incarnation;
    atomic_store(&first.header->epoch_counter, 99);
    ss_control next = create(1);
    CHECK_EQUAL(next.header->incarnation, incarnation + 1);
    CHECK_EQUAL(next.header->epoch_counter, 99);
    CHECK_EQUAL(first.header->incarnation, incarnation); /* a holder of the old one keeps the old one */
    ss_control_close(&first);
    ss_control_close(&found);
    ss_control_close(&next);
    CHECK_EQUAL(ss_control_attach(root, other_id, 1, &found), SS_FOREIGN);
    scratch_write("control.new", "left by a crash", 15, 0);
    next = create(1);
    CHECK_EQUAL(next.header->incarnation, incarnation + 2);
    ss_control_close(&next);
    done();
}

static void check_private(void)
{
    fresh();
    ss_control control, next;
    int hints = -1;
    CHECK_EQUAL(ss_control_create(root, store_id, 1, &control, &hints), SS_OK);
    CHECK_EQUAL(hints, 0);
    add(&control, 1, 0);
    ss_control_close(&control);
    CHECK(faccessat(root, "control", F_OK, 0) != 0); /* nothing was written */
    next = create(0);
    ss_control_close(&next);
    done();
}

/* What stands in the old entry, then what the new one must say. */
static void check_carried(uint32_t state, uint64_t tail, uint64_t reserve_end, uint64_t durable, uint32_t lock,
                          uint64_t inflight, uint32_t carried_before, int poison, uint32_t expected)
{
    fresh();
    ss_control old = create(0);
    ss_control_entry *entry = add(&old, 7, 3);
    add(&old, 7, 4);
    atomic_store(&entry->state, state);
    atomic_store(&entry->tail, tail);
    atomic_store(&entry->reserve_end, reserve_end);
    atomic_store(&entry->durable, durable);
    atomic_store(&entry->lock, lock);
    atomic_store(&entry->sync_inflight, inflight);
    atomic_store(&entry->carried, carried_before);
    atomic_store(&entry->epoch_current, 1);
    atomic_store(&entry->durability, SS_DURABILITY_PROCESS);
    ss_control_watermark_store(entry, durable, durable - 64);
    atomic_store(&old.header->poison, (uint32_t)poison);
    ss_control_close(&old);
    ss_control next = create(1);
    entry = add(&next, 7, 3);
    uint64_t frame = 1;
    CHECK_EQUAL(entry->carried, expected);
    CHECK_EQUAL(ss_control_watermark_load(entry, &frame), durable);
    CHECK_EQUAL(frame, durable - 64);
    CHECK_EQUAL(entry->state, SS_LOG_UNRECOVERED);
    CHECK_EQUAL(entry->lock, 0);
    CHECK_EQUAL(entry->sync_inflight, 0);
    CHECK_EQUAL(entry->durability, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(next.header->poison, 0);
    CHECK_EQUAL(next.header->log_count, 2);
    CHECK_EQUAL(add(&next, 7, 4)->carried, SS_CARRIED_IN_DOUBT);
    ss_control_close(&next);
    /* Touched by nobody, the next incarnation says the same. */
    next = create(1);
    CHECK_EQUAL(add(&next, 7, 3)->carried, expected);
    CHECK_EQUAL(ss_control_watermark_load(add(&next, 7, 3), &frame), durable);
    ss_control_close(&next);
    done();
}

static void check_carry_over(void)
{
    const uint32_t ready = SS_LOG_READY, fresh_log = SS_LOG_UNRECOVERED, clean = SS_CARRIED_CLEAN,
                   doubt = SS_CARRIED_IN_DOUBT;
    check_carried(ready, 4096, 4096, 4096, 0, 0, 0, 0, clean);
    check_carried(ready, 4160, 4160, 4096, 0, 0, 0, 0, 0);         /* published, not synced */
    check_carried(ready, 4096, 4160, 4096, 0, 0, 0, 0, 0);         /* an append was under way */
    check_carried(ready, 4096, 4096, 4096, 3, 0, 0, 0, 0);         /* somebody died with the lock */
    check_carried(ready, 4160, 4160, 4096, 0, 4160, 0, 0, doubt);  /* somebody died in a sync */
    check_carried(ready, 4096, 4096, 4096, 0, 0, 0, 5, doubt);     /* a sync failed */
    check_carried(ready, 4096, 4096, 4096, 0, 0, doubt, 0, clean); /* recovered since: what was carried is settled */
    check_carried(fresh_log, 0, 0, 4096, 0, 0, clean, 0, clean);
    check_carried(fresh_log, 0, 0, 4096, 0, 0, doubt, 0, doubt);
    check_carried(fresh_log, 0, 0, 4096, 0, 0, 0, 0, 0);
    check_carried(fresh_log, 0, 0, 4096, 0, 0, clean, 28, doubt);
}

/* What an entry that is clean is carried over as, by what the process did and the boot that the file is of. */
static void check_goes_on(uint32_t epoch_current, uint32_t in_place, uint64_t boot_of_file, uint32_t expected)
{
    fresh();
    ss_control old = create(0);
    ss_control_entry *entry = add(&old, 7, 3);
    atomic_store(&entry->state, SS_LOG_READY);
    atomic_store(&entry->tail, 4096);
    atomic_store(&entry->reserve_end, 4096);
    atomic_store(&entry->epoch_current, epoch_current);
    atomic_store(&entry->in_place, in_place);
    ss_control_watermark_store(entry, 4096, 4032);
    old.header->boot = boot_of_file;
    ss_control_close(&old);
    for (int life = 0; life < 2; life++) { /* touched by nobody, the next incarnation says the same */
        ss_control next = create(1);
        CHECK_EQUAL(add(&next, 7, 3)->carried, expected);
        CHECK_EQUAL(next.header->boot, ss_control_boot());
        ss_control_close(&next);
    }
    done();
}

/* After a power cut the file may be older than what was lost behind its end: what it calls clean is durable, and goes
 * on in a new segment, until that was begun. */
static void check_boots(void)
{
    uint64_t here = ss_control_boot();
    CHECK(here != 0);
    check_goes_on(1, 0, here, SS_CARRIED_CLEAN);   /* published in a new segment, or in place */
    check_goes_on(0, 1, here, SS_CARRIED_CLEAN);   /* looked at, and could have gone on */
    check_goes_on(0, 0, here, SS_CARRIED_SETTLED); /* looked at, and could not */
    check_goes_on(1, 0, here + 1, SS_CARRIED_SETTLED);
    check_goes_on(0, 1, here + 1, SS_CARRIED_SETTLED);
    check_goes_on(1, 0, 0, SS_CARRIED_SETTLED); /* of who knows which boot */
}

static void check_retired_and_unknown(void)
{
    fresh();
    ss_control old = create(0);
    old.header->hints_complete = 1; /* as a store that is made has it */
    CHECK_EQUAL(add(&old, 1, 0)->carried, 0);
    atomic_store(&add(&old, 1, 1)->state, SS_LOG_RETIRED);
    add(&old, 1, 2);
    ss_control_close(&old);
    ss_control next = create(1);
    CHECK_EQUAL(next.header->log_count, 2); /* a deleted log is forgotten */
    CHECK_EQUAL(next.header->hints_complete, 1);
    CHECK_EQUAL(add(&next, 5, 0)->carried, 0); /* unknown, so it was never written */
    ss_control_close(&next);
    scratch_delete("control");
    next = create(0);
    CHECK_EQUAL(add(&next, 5, 0)->carried, SS_CARRIED_IN_DOUBT); /* unknown, because the hints are gone */
    ss_control_close(&next);
    next = create(1);
    CHECK_EQUAL(next.header->hints_complete, 0); /* and stays so */
    ss_control_close(&next);
    done();
}

static void check_watermarks(void)
{
    ss_control_entry entry, torn;
    uint64_t frame;
    memset(&entry, 0, sizeof entry);
    entry.stream_id = 3;
    entry.shard = 9;
    CHECK_EQUAL(ss_control_watermark_load(&entry, &frame), 0);
    CHECK_EQUAL(frame, 0);
    ss_control_watermark_store(&entry, 1000, 900);
    ss_control_watermark_store(&entry, 2000, 1900);
    CHECK_EQUAL(ss_control_watermark_load(&entry, &frame), 2000);
    CHECK_EQUAL(frame, 1900);
    ss_control_watermark_store(&entry, 3000, 0);
    CHECK_EQUAL(ss_control_watermark_load(&entry, &frame), 3000);
    CHECK_EQUAL(frame, 0);
    /* Any byte of the newer slot may be torn: then the older one counts. Both torn: nothing is known. */
    for (size_t at = 0; at < sizeof entry.watermarks; at++) {
        memcpy(&torn, &entry, sizeof torn);
        ((uint8_t *)torn.watermarks)[at] ^= 0x40;
        uint64_t durable = ss_control_watermark_load(&torn, &frame);
        CHECK_EQUAL(durable, at < sizeof torn.watermarks[0] ? 2000 : 3000); /* slot 0 was written first and third */
        CHECK_EQUAL(frame, durable == 2000 ? 1900 : 0);
        ((uint8_t *)torn.watermarks)[(at + 24) % 48] ^= 1;
        CHECK_EQUAL(ss_control_watermark_load(&torn, &frame), 0);
    }
    memcpy(&torn, &entry, sizeof torn);
    torn.shard = 10; /* an entry of another log */
    CHECK_EQUAL(ss_control_watermark_load(&torn, &frame), 0);
}

static void check_growth(void)
{
    enum { LOGS = 3000 };
    fresh();
    ss_control control = create(0), second;
    CHECK_EQUAL(ss_control_attach(root, store_id, 1, &second), SS_OK);
    for (uint32_t i = 0; i < LOGS; i++)
        add(i % 2 ? &control : &second, i / 100, i % 100); /* two handles see each other's entries */
    CHECK_EQUAL(control.header->log_count, LOGS);
    CHECK(control.header->log_capacity >= LOGS);
    CHECK(scratch_size("control") >= SS_CONTROL_HEADER_SIZE + LOGS * sizeof(ss_control_entry));
    for (uint32_t i = 0; i < LOGS; i++) {
        uint32_t index = UINT32_MAX;
        CHECK_EQUAL(ss_control_register(&control, &self, i / 100, i % 100, 0, &index), SS_OK);
        CHECK_EQUAL(index, i);
    }
    CHECK_EQUAL(control.header->log_count, LOGS);
    uint32_t index;
    atomic_store(&control.header->retired, 1);
    CHECK_EQUAL(ss_control_register(&control, &self, 9999, 0, 0, &index), SS_STALE);
    ss_control_close(&control);
    ss_control_close(&second);
    done();
}

static void put32(size_t offset, uint32_t value)
{
    scratch_write("control", &value, sizeof value, offset);
}

/* A damaged or hostile old file is no hint at all, or hints within its bounds; never a crash, never a refusal to
 * open. */
static void check_hostile_files(void)
{
    fresh();
    const uint32_t counts[] = {3, 1000, SS_CONTROL_LOGS_MAX, SS_CONTROL_LOGS_MAX + 1, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        ss_control control = create(i > 0);
        for (uint32_t shard = 0; shard < 3; shard++)
            add(&control, 1, shard);
        ss_control_close(&control);
        put32(offsetof(ss_control_header, log_count), counts[i]);
        control = create(1);
        CHECK_EQUAL(control.header->log_count,
                    counts[i] == 3 ? 3 : 4); /* what was never written names one log, if any */
        ss_control_close(&control);
        /* Who attaches to a living one looks where its counts say: they must lie in the file. */
        put32(i % 2 ? offsetof(ss_control_header, log_count) : offsetof(ss_control_header, log_capacity), counts[i]);
        ss_control attached;
        ss_status status = ss_control_attach(root, store_id, 1, &attached);
        uint64_t held = (scratch_size("control") - SS_CONTROL_HEADER_SIZE) / sizeof(ss_control_entry);
        CHECK_EQUAL(status, counts[i] <= held ? SS_OK : SS_CORRUPT);
        if (status == SS_OK)
            ss_control_close(&attached);
        scratch_delete("control");
        control = create(0);
        ss_control_close(&control);
    }
    const struct {
        size_t offset;
        uint32_t value;
        ss_status attach;
    } headers[] = {
        {offsetof(ss_control_header, magic), 1, SS_CORRUPT},
        {offsetof(ss_control_header, layout), 2, SS_FORMAT},
        {offsetof(ss_control_header, entry_size), 64, SS_FORMAT},
        {offsetof(ss_control_header, entry_size), 0, SS_FORMAT},
        {offsetof(ss_control_header, store_id), 1, SS_FOREIGN},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        ss_control control, attached;
        put32(headers[i].offset, headers[i].value);
        CHECK_EQUAL(ss_control_attach(root, store_id, 1, &attached), headers[i].attach);
        control = create(0);
        ss_control_close(&control);
    }
    for (uint64_t size = 0; size < SS_CONTROL_HEADER_SIZE; size += 1365) {
        ss_control attached;
        scratch_resize("control", size);
        CHECK_EQUAL(ss_control_attach(root, store_id, 1, &attached), SS_CORRUPT);
        ss_control control = create(0);
        ss_control_close(&control);
    }
    done();
}

static void check_retire(void)
{
    fresh();
    ss_control control = create(0);
    for (uint32_t shard = 0; shard < 5; shard++)
        atomic_store(&add(&control, 1, shard)->lock, shard == 3 ? 77u << 21 | 1 : 0); /* one owner is dead */
    CHECK_EQUAL(ss_control_retire(&control, &self), SS_OK);
    CHECK_EQUAL(control.header->retired, 1);
    for (uint32_t shard = 0; shard < 5; shard++)
        CHECK_EQUAL(ss_control_entry_at(&control, shard)->lock, 0);
    ss_control_close(&control);
    done();
}

int main(void)
{
    check_create_and_attach();
    check_private();
    check_carry_over();
    check_boots();
    check_retired_and_unknown();
    check_watermarks();
    check_growth();
    check_hostile_files();
    check_retire();
    return check_report();
}
