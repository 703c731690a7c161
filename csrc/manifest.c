/* Reading and writing the manifest. */
#include "manifest.h"

#include <string.h>

#include "file.h"
#include "format.h"
#include "killpoint.h"
#include "wait.h"
#include "xxh3.h"

#define MANIFEST_NAME "manifest"

/* manifest, 64 bytes: magic 8 | version 4 | compat 4 | read-only compat 4 | incompat 4 | store id 16 | created_us 8
 * | zero 8 | check 8 */
enum {
    MANIFEST_VERSION = 8,
    MANIFEST_COMPAT = 12,
    MANIFEST_RO_COMPAT = 16,
    MANIFEST_INCOMPAT = 20,
    MANIFEST_STORE_ID = 24,
    MANIFEST_CREATED = 40,
    MANIFEST_CHECK = 56,
    MANIFEST_SIZE = 64
};
#define MANIFEST_MAGIC_VALUE UINT64_C(0x0a0d1a46494e4d53) /* "SMNIF" 1a 0d 0a, less a byte */

ss_status ss_manifest_read(int root, int read_only, uint8_t store_id[16])
{
    uint8_t bytes[MANIFEST_SIZE];
    size_t got = 0;
    int fd;
    ss_status status = ss_file_open(root, MANIFEST_NAME, SS_FILE_READ, &fd);
    if (status != SS_OK)
        return status;
    status = ss_file_read(fd, bytes, sizeof bytes, 0, &got);
    ss_file_close(fd);
    if (status != SS_OK)
        return status;
    if (got < MANIFEST_SIZE || format_load64(bytes) != MANIFEST_MAGIC_VALUE)
        return SS_FOREIGN;
    if (format_load64(bytes + MANIFEST_CHECK) != ss_xxh3_64_seeded(bytes, MANIFEST_CHECK, 0))
        return SS_CORRUPT;
    if (format_load32(bytes + MANIFEST_VERSION) != SS_FORMAT_VERSION || format_load32(bytes + MANIFEST_INCOMPAT) != 0)
        return SS_FORMAT;
    if (format_load32(bytes + MANIFEST_RO_COMPAT) != 0 && !read_only)
        return SS_FORMAT;
    memcpy(store_id, bytes + MANIFEST_STORE_ID, 16);
    return SS_OK;
}

ss_status ss_manifest_write(int root, uint8_t store_id[16])
{
    uint8_t bytes[MANIFEST_SIZE] = {0};
    int fd;
    ss_status status = ss_file_random(store_id, 16);
    if (status != SS_OK)
        return status;
    format_store64(bytes, MANIFEST_MAGIC_VALUE);
    format_store32(bytes + MANIFEST_VERSION, SS_FORMAT_VERSION);
    memcpy(bytes + MANIFEST_STORE_ID, store_id, 16);
    format_store64(bytes + MANIFEST_CREATED, ss_wait_wall_us());
    format_store64(bytes + MANIFEST_CHECK, ss_xxh3_64_seeded(bytes, MANIFEST_CHECK, 0));
    status = ss_file_unlink(root, SS_MANIFEST_NEW_NAME); /* from a crash in the middle of what follows */
    if (status != SS_OK && ss_status_code(status) != SS_NOT_FOUND)
        return status;
    if ((status = ss_file_open(root, SS_MANIFEST_NEW_NAME, SS_FILE_WRITE | SS_FILE_CREATE, &fd)) != SS_OK)
        return status;
    status = ss_file_write(fd, bytes, sizeof bytes, 0);
    if (status == SS_OK)
        status = ss_file_sync(fd);
    ss_file_close(fd);
    SS_KILLPOINT("manifest-made");
    if (status == SS_OK)
        status = ss_file_rename(root, SS_MANIFEST_NEW_NAME, MANIFEST_NAME);
    return status == SS_OK ? ss_file_sync_directory(root) : status;
}
