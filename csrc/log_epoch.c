/* Which epoch a position belongs to, from headers and indexes alone: what numbers are lost with damaged frames, and how
 * to go on behind them. */
#include "log.h"

/* The highest epoch that began in the segment below `position`; its own where it is no packed one. */
static ss_status epoch_in_segment(ss_log *log, ss_segment *segment, uint64_t position, uint64_t *epoch)
{
    *epoch = segment->facts.epoch;
    if (!segment->facts.packed)
        return SS_OK;
    ss_status status = ss_log_table_open(log, segment, 0);
    if (status != SS_OK)
        return status;
    const ss_packed_index *index = segment->blocks;
    size_t i = 0;
    while (i + 1 < index->run_count && index->runs[i + 1].position < position)
        i++;
    *epoch = index->runs[i].epoch;
    return SS_OK;
}

ss_status ss_log_epoch_at(ss_log *log, uint64_t position, uint64_t *epoch)
{
    ss_status status = ss_store_enter(log->store);
    uint64_t found = 0, end = 0;
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        ss_segment *segment;
        for (size_t i = 0; status == SS_OK && end != UINT64_MAX; i++) {
            if ((status = ss_log_table_at(log, i, &segment, &end)) != SS_OK)
                break;
            if (segment->facts.base >= position)
                end = UINT64_MAX;
            else if (end >= position) /* also the last one, which ends at UINT64_MAX */
                status = epoch_in_segment(log, segment, position, &found);
            else
                found = segment->facts.epoch;
            ss_log_table_release(log, segment);
        }
    }
    if (status == SS_OK || ss_status_code(status) == SS_NOT_FOUND) {
        *epoch = found;
        status = SS_OK;
    }
    ss_store_leave(log->store);
    return status;
}
