/* Sequence numbers in six limbs of 32 bits, lowest first, so that every step is a 64-bit division by a constant.
 *
 *   bits 184-185   132-183   68-131     36-67   4-35          0-3
 *        2         epoch     position   zero    shard index   2
 *
 *   limb 5: 2 << 24 | epoch >> 28          limb 2: position << 4 (low 28 bits)
 *   limb 4: epoch << 4 | position >> 60    limb 1: shard index >> 28
 *   limb 3: position >> 28                 limb 0: shard index << 4 | 2
 */
#include "sequence.h"

#include <assert.h>
#include <string.h>

enum { LIMBS = 6, GROUPS = 6, GROUP_DIGITS = 9, HEAD_DIGITS = SS_SEQUENCE_DIGITS - GROUPS * GROUP_DIGITS };

#define GROUP_BASE 1000000000u
#define EPOCH_MASK ((UINT64_C(1) << SS_SEQUENCE_EPOCH_BITS) - 1)
#define LIMB_MASK UINT64_C(0xffffffff)

_Static_assert(HEAD_DIGITS == 2, "two digits remain above six groups of nine");

static const char pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static void put_group(uint32_t value, char *digits)
{
    for (int at = GROUP_DIGITS - 2; at > 0; at -= 2) {
        memcpy(digits + at, pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    digits[0] = (char)('0' + value);
}

void ss_sequence_format(uint64_t epoch, uint64_t position, uint32_t shard_index, char *digits)
{
    assert(epoch <= EPOCH_MASK);
    uint32_t limbs[LIMBS] = {
        shard_index << 4 | 2,
        shard_index >> 28,
        (uint32_t)(position << 4 & LIMB_MASK),
        (uint32_t)(position >> 28 & LIMB_MASK),
        (uint32_t)((epoch << 4 | position >> 60) & LIMB_MASK),
        (uint32_t)(UINT64_C(2) << 24 | epoch >> 28),
    };
    int top = LIMBS - 1;
    for (int group = GROUPS - 1; group >= 0; group--) {
        uint64_t rest = 0;
        for (int limb = top; limb >= 0; limb--) {
            uint64_t part = rest << 32 | limbs[limb];
            limbs[limb] = (uint32_t)(part / GROUP_BASE);
            rest = part % GROUP_BASE;
        }
        put_group((uint32_t)rest, digits + HEAD_DIGITS + group * GROUP_DIGITS);
        while (top > 0 && limbs[top] == 0)
            top--;
    }
    memcpy(digits, pairs + 2 * limbs[0], HEAD_DIGITS);
}

/* Multiply by 10^count and add that many digits; 0 if one of them is none. */
static int take_group(const char *digits, int count, uint32_t *limbs)
{
    uint64_t carry = 0;
    uint32_t base = 1;
    for (int i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return 0;
        carry = carry * 10 + (uint64_t)(digits[i] - '0');
        base *= 10;
    }
    for (int limb = 0; limb < LIMBS; limb++) {
        carry += (uint64_t)limbs[limb] * base;
        limbs[limb] = (uint32_t)(carry & LIMB_MASK);
        carry >>= 32;
    }
    return 1; /* 10^56 < 2^192: nothing was carried out */
}

int ss_sequence_parse(const char *text, size_t size, uint64_t *epoch, uint64_t *position, uint32_t *shard_index)
{
    if (size != SS_SEQUENCE_DIGITS)
        return 0;
    uint32_t limbs[LIMBS] = {0};
    if (!take_group(text, HEAD_DIGITS, limbs))
        return 0;
    for (int group = 0; group < GROUPS; group++)
        if (!take_group(text + HEAD_DIGITS + group * GROUP_DIGITS, GROUP_DIGITS, limbs))
            return 0;
    /* Fixed bits: 184 and up = 2, 36 to 67 = 0, 0 to 3 = 2. */
    if (limbs[5] >> 24 != 2 || limbs[1] >> 4 != 0 || (limbs[2] & 15) != 0 || (limbs[0] & 15) != 2)
        return 0;
    *epoch = (uint64_t)(limbs[5] & 0xffffff) << 28 | limbs[4] >> 4;
    *position = (uint64_t)(limbs[4] & 15) << 60 | (uint64_t)limbs[3] << 28 | limbs[2] >> 4;
    *shard_index = limbs[1] << 28 | limbs[0] >> 4;
    return 1;
}
