/* One read under way, as log_read.c and log_read_packed.c share it. */
#ifndef STREAMSTORE_LOG_READING_H
#define STREAMSTORE_LOG_READING_H

#include "columns.h"
#include "log.h"
#include "record.h"

typedef struct {
    ss_log *log;
    uint8_t *buffer;
    size_t buffer_size;
    ss_record *records; /* records or columns, the other being NULL */
    ss_columns *columns;
    size_t limit;
    uint64_t stop; /* no record at or beyond it */
    ss_read_result *result;
} ss_log_reading;

/* Add the frame at `offset` of the buffer, which was checked, to what the read gives. */
static inline void ss_log_reading_put(ss_log_reading *r, const ss_record_header *header, uint64_t offset,
                                      uint64_t base_ordinal)
{
    size_t row = r->result->count++;
    r->result->sealed |= (header->flags & FRAME_FLAG_SEALED) != 0;
    if (r->columns)
        ss_columns_put(r->columns, row, header, r->buffer, (uint32_t)offset, base_ordinal);
    else
        ss_record_describe(header, r->buffer + offset, offset, base_ordinal, &r->records[row]);
}

/* log_read_packed.c: read on from *position to before `end` in a packed segment that is open. */
ss_status ss_log_read_packed(ss_log_reading *r, ss_segment *segment, uint64_t end, uint64_t *position);
/* ss_log_get in a packed segment, once the position is known to be visible. */
ss_status ss_log_read_packed_get(ss_log *log, ss_segment *segment, uint64_t position, uint64_t end, uint64_t epoch,
                                 uint8_t *buffer, size_t buffer_size, ss_record *record, ss_read_result *result);

#endif
