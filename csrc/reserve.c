/* Making and spending the reserve file. */
#include "reserve.h"

#include <stdint.h>

#include "file.h"

#define RESERVE_SIZE (UINT64_C(1) << 20)

ss_status ss_reserve_make(int root)
{
    int fd;
    uint64_t disk_bytes = 0, size;
    ss_status status = ss_file_open(root, SS_RESERVE_NAME, SS_FILE_WRITE | SS_FILE_OPEN_OR_CREATE, &fd);
    if (status != SS_OK)
        return status;
    if ((status = ss_file_size(fd, &size, &disk_bytes)) == SS_OK && disk_bytes < RESERVE_SIZE)
        status = ss_file_allocate(fd, RESERVE_SIZE, 1);
    ss_file_close(fd);
    /* Half a reserve would be space lost to the records, and where blocks cannot be promised it would be none. */
    if (status != SS_OK)
        ss_file_unlink(root, SS_RESERVE_NAME);
    return status;
}

ss_status ss_reserve_spend(int root)
{
    return ss_file_unlink(root, SS_RESERVE_NAME);
}
