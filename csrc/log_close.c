/* The end of a closed log: what its close frame holds, from which a reshard can be finished without the catalog. */
#include <string.h>

#include "log.h"
#include "scan.h"

/* Copy the data of the frame at `position` out of its segment, if it is a close frame that holds. */
static ss_status copy_data(ss_log *log, uint64_t position, uint8_t *buffer, size_t buffer_size, size_t *size)
{
    ss_segment *segment;
    uint64_t end;
    ss_status status = ss_log_table_find(log, position, &segment, &end);
    if (status != SS_OK)
        return status;
    char name[SS_SEGMENT_NAME_SIZE];
    ss_scan scan = {.fd = -1};
    ss_segment_name(log->directory, segment->facts.ordinal, name);
    if ((status = ss_scan_open(&scan, segment, log->store->root, name)) == SS_OK) {
        ss_record_header header;
        const uint8_t *frame;
        if ((status = ss_scan_frame(&scan, position, &header, &frame)) == SS_OK)
            status = ss_record_check_known(&header);
        if (status == SS_OK && header.type != SS_FRAME_CLOSE)
            status = SS_NOT_FOUND;
        if (status == SS_OK) {
            ss_record record;
            ss_record_describe(&header, frame, 0, 0, &record);
            *size = record.data_size;
            if (record.data_size > buffer_size)
                status = SS_SMALL;
            else
                memcpy(buffer, frame + record.data_offset, record.data_size);
        }
        ss_scan_close(&scan);
    }
    ss_log_table_release(log, segment);
    return status;
}

ss_status ss_log_close_data(ss_log *log, uint8_t *buffer, size_t buffer_size, size_t *size)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    if ((status = ss_log_ready(log)) == SS_OK) {
        const ss_control_entry *entry = log->entry;
        uint64_t last = atomic_load(&entry->last_frame);
        if (!atomic_load_explicit(&entry->closed, memory_order_acquire) || !last)
            status = SS_NOT_FOUND;
        else
            status = copy_data(log, last, buffer, buffer_size, size);
    }
    ss_store_leave(log->store);
    return status;
}
