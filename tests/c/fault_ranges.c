/* The routing table where memory runs out: each allocation in turn. */
#define _GNU_SOURCE
#include "ranges.h"

#include "calls_fail.h"
#include "check.h"

int main(void)
{
    enum { COUNT = 3 };
    ss_hash_key starts[COUNT], ends[COUNT];
    uint32_t shards[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        starts[i] = (ss_hash_key){(uint64_t)i << 62, 0};
        ends[i] = (ss_hash_key){i + 1 < COUNT ? ((uint64_t)(i + 1) << 62) - 1 : UINT64_MAX, UINT64_MAX};
        shards[i] = 10 + i;
    }
    uint64_t failed = 0;
    for (int left = 1; left; failed += (uint64_t)left) {
        ss_ranges *ranges = NULL;
        calls_fail(CALL_MEMORY, failed + 1, ENOMEM, CALL_WHOLE, 0);
        ss_status status = ss_ranges_create(starts, ends, shards, COUNT, &ranges);
        left = calls_heal() == 1;
        CHECK_EQUAL(status, left ? SS_NO_MEMORY : SS_OK);
        CHECK_EQUAL(ranges == NULL, left);
        if (!left)
            CHECK_EQUAL(ss_ranges_route(ranges, starts[1]), 11);
        ss_ranges_free(ranges);
    }
    printf("%" PRIu64 " of %s failed\n", failed, call_names[CALL_MEMORY]);
    CHECK_EQUAL(failed, 5);
    return check_report();
}
