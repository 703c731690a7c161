/* Frames that were checked, as rows of columns. */
#ifndef STREAMSTORE_COLUMNS_H
#define STREAMSTORE_COLUMNS_H

#include "record.h"

/* Fill row `row`, the rows before it being filled, from the frame that stands whole at frames + frame_offset. */
void ss_columns_put(ss_columns *columns, size_t row, const ss_record_header *header, const uint8_t *frames,
                    uint32_t frame_offset, uint64_t base_ordinal);

#endif
