/* The manifest: which store a directory is, and which format it has. Written once, when the store is made. */
#ifndef STREAMSTORE_MANIFEST_H
#define STREAMSTORE_MANIFEST_H

#include <stdint.h>

#include "status.h"

#define SS_MANIFEST_NEW_NAME "manifest.new" /* while it is being written */

/* SS_NOT_FOUND: none there. SS_FOREIGN, SS_CORRUPT, SS_FORMAT: not one that this build may use (to write, or at
 * all). */
ss_status ss_manifest_read(int root, int read_only, uint8_t store_id[16]);
/* Make one with a new random id; whole and durable, or not there. */
ss_status ss_manifest_write(int root, uint8_t store_id[16]);

#endif
