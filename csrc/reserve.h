/* A file of zeros whose only use is to be given up: on a full disk what frees space needs a little first. */
#ifndef STREAMSTORE_RESERVE_H
#define STREAMSTORE_RESERVE_H

#include "status.h"

#define SS_RESERVE_NAME "reserve"

/* Make it, or make it whole; SS_OK where it is. Nothing is left behind where there is no space for it. */
ss_status ss_reserve_make(int root);
/* Give it up. SS_NOT_FOUND where there is none left. */
ss_status ss_reserve_spend(int root);

#endif
