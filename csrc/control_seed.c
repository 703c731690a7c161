/* A control file for a store that was put together file by file: what its first opener would otherwise have to scan
 * for, and copy because nothing proves it durable. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>

#include "control.h"
#include "file.h"
#include "format.h"

#define CONTROL_NAME "control"

static ss_status write_header(int fd, const uint8_t store_id[16], uint64_t epoch_counter, size_t count)
{
    _Alignas(64) uint8_t page[SS_CONTROL_HEADER_SIZE] = {0};
    ss_control_header *header = (ss_control_header *)(void *)page;
    header->magic = SS_CONTROL_MAGIC;
    header->layout = SS_CONTROL_LAYOUT;
    header->entry_size = sizeof(ss_control_entry);
    memcpy(header->store_id, store_id, 16);
    header->hints_complete = 1;
    /* boot stays 0: what goes on here begins a new segment, whose header tells places that were saved behind the copy,
     * in what it was copied from, from places in what comes now */
    atomic_store(&header->epoch_counter, epoch_counter);
    atomic_store(&header->log_count, (uint32_t)count);
    atomic_store(&header->log_capacity, (uint32_t)count);
    return ss_file_write(fd, page, sizeof page, 0);
}

static ss_status write_entry(int fd, const ss_seed *seed, size_t index)
{
    ss_control_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.stream_id = seed->stream_id;
    entry.shard = seed->shard;
    atomic_store(&entry.durability, seed->durability);
    atomic_store(&entry.carried, SS_CARRIED_CLEAN);
    ss_control_watermark_store(&entry, seed->durable, seed->frame);
    return ss_file_write(fd, &entry, sizeof entry, SS_CONTROL_HEADER_SIZE + index * sizeof entry);
}

static int holds(const ss_seed *seed)
{
    return seed->durable % 8 == 0 && seed->durable >= SS_FIRST_POSITION && seed->durable <= SS_CONTROL_POSITION_MAX &&
           seed->frame <= seed->durable && seed->durability <= SS_DURABILITY_PROCESS;
}

ss_status ss_store_seed(const char *path, const uint8_t store_id[16], uint64_t epoch_counter, const ss_seed *seeds,
                        size_t count)
{
    int root, fd;
    if (count > SS_CONTROL_LOGS_MAX)
        return SS_LIMIT;
    if (epoch_counter > FRAME_EPOCH_MAX)
        return SS_INVALID;
    for (size_t i = 0; i < count; i++)
        if (!holds(&seeds[i]))
            return SS_INVALID;
    ss_status status = ss_file_open_directory(AT_FDCWD, path, &root);
    if (status != SS_OK)
        return status;
    if ((status = ss_file_open(root, CONTROL_NAME, SS_FILE_WRITE | SS_FILE_CREATE, &fd)) == SS_OK) {
        status = write_header(fd, store_id, epoch_counter, count);
        for (size_t i = 0; i < count && status == SS_OK; i++)
            status = write_entry(fd, &seeds[i], i);
        if (status == SS_OK)
            status = ss_file_sync(fd);
        ss_file_close(fd);
    }
    ss_file_close(root);
    return status;
}
