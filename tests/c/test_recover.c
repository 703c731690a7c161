/* Recovery, verdict by verdict, from files damaged by hand: where the log ends, what is still read, what is reported,
 * and that a second recovery finds the same. docs/durability.md has the table. */
#define _GNU_SOURCE
#include "check.h"
#include "crashed.h"

/* ---- The verdicts ---- */

static void check_verdict_a(void)
{
    const expectation all = whole('A', TOTAL);
    put_image();
    check_outcome(&all); /* kill -9 loses nothing that was published */
    put_image();
    scratch_resize(SEGMENT, file_offset(past->positions[TOTAL])); /* no zero tail at all */
    check_outcome(&all);
    for (uint64_t count = SYNCED; count < TOTAL; count += 7) { /* the power went: a suffix never reached the disk */
        const expectation some = whole('A', count);
        put_image();
        zero_from(past->positions[count], past->positions[TOTAL]);
        check_outcome(&some);
    }
}

static void check_verdict_b(void)
{
    const uint64_t last = past->positions[TOTAL - 1], end = past->positions[TOTAL];
    const expectation torn = whole('B', TOTAL - 1);
    for (uint64_t word = 0; word < end - last; word += word < 56 ? 8 : 40) {
        put_image();
        zero_from(last + word, last + word + 8);
        check_outcome(&torn);
    }
    for (uint64_t cut = 8; cut < end - last; cut += 56) {
        put_image();
        scratch_resize(SEGMENT, file_offset(end) - cut + cut % 3); /* the file ends in the frame, at any byte */
        check_outcome(&torn);
    }
}

static void check_verdict_c(void)
{
    for (uint64_t hole = SYNCED; hole < TOTAL - 1; hole += 5) {
        const expectation prefix = whole('C', hole);
        put_image();
        zero_from(past->positions[hole] + 16, past->positions[hole] + 24);
        check_outcome(&prefix);
        put_image(); /* a whole frame is missing, later ones are there */
        zero_from(past->positions[hole], past->positions[hole + 1]);
        check_outcome(&prefix);
    }
}

static void check_verdict_d(void)
{
    for (uint64_t n = SYNCED; n < TOTAL; n += 7) {
        expectation damaged = whole('D', TOTAL);
        damaged.first_lost = n;
        damaged.first_kept = n + 1;
        damaged.damage_begin = past->positions[n];
        damaged.damage_end = past->positions[n + 1];
        put_image();
        scratch_flip(SEGMENT, file_offset(past->positions[n]) + 60); /* a flipped bit is no tear */
        check_outcome(&damaged);
    }
}

static void check_verdict_e(void)
{
    const uint64_t n = SYNCED - 1; /* where the watermark lets the scan begin */
    expectation damaged = whole('E', TOTAL);
    damaged.first_lost = n;
    damaged.first_kept = n + 1;
    damaged.damage_begin = past->positions[n];
    damaged.damage_end = past->positions[n + 1];
    put_image();
    scratch_flip(SEGMENT, file_offset(past->positions[n]) + 60);
    check_outcome(&damaged);
    put_image(); /* also zeros, which above the durable end would be a tear */
    zero_from(past->positions[n], past->positions[n + 1]);
    check_outcome(&damaged);
    put_image(); /* damage before the watermark's frame costs recovery nothing, and is reported when it is read */
    damaged.verdict = 'A';
    damaged.first_lost = 3;
    damaged.first_kept = 4;
    damaged.damage_begin = past->positions[3];
    damaged.damage_end = past->positions[4];
    scratch_flip(SEGMENT, file_offset(past->positions[3]) + 60);
    ss_store *store = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(read_all(log, &damaged), TOTAL);
    close_store(store);
}

/* With the control file gone it is the frames behind the hole that say how far the log was durable: what is missing
 * below that was lost, and is no tear, though it looks like one. */
static void check_claims(void)
{
    const uint64_t n = SYNCED - 4;
    expectation damaged = whole('E', TOTAL);
    damaged.first_lost = n;
    damaged.first_kept = n + 1;
    damaged.damage_begin = past->positions[n];
    damaged.damage_end = past->positions[n + 1];
    put_image();
    scratch_delete("control");
    zero_from(past->positions[n] + 16, past->positions[n] + 24);
    check_outcome(&damaged);
}

static void check_verdict_f(void)
{
    const uint64_t n = SYNCED - 3; /* the disk lied: the last three durable records, and all after them, are gone */
    expectation lost = whole('F', SYNCED);
    lost.first_lost = n;
    lost.first_kept = TOTAL;
    lost.damage_begin = past->positions[n];
    lost.damage_end = past->positions[SYNCED];
    put_image();
    zero_from(past->positions[n], past->positions[TOTAL]);
    check_outcome(&lost);
    put_image(); /* and the file with them */
    scratch_resize(SEGMENT, file_offset(past->positions[n]));
    check_outcome(&lost);
    put_image(); /* almost all of it: a look at a page that the file no longer has is SIGBUS */
    scratch_resize(SEGMENT, file_offset(past->positions[1]));
    lost.first_lost = 1;
    lost.damage_begin = past->positions[1];
    check_outcome(&lost);
}

int main(void)
{
    past = mmap(NULL, sizeof *past, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    write_and_die(SS_DURABILITY_PROCESS);
    check_verdict_a();
    check_verdict_b();
    check_verdict_c();
    check_verdict_d();
    check_verdict_e();
    check_claims();
    check_verdict_f();
    scratch_remove();
    return check_report();
}
