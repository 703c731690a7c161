/* The LZ4 block format, both ways. Written from its specification; knows bytes and nothing else. */
#ifndef STREAMSTORE_LZ4_H
#define STREAMSTORE_LZ4_H

#include "streamstore.h"

/* Both functions are declared there. Expanding checks every length and every offset; neither writes outside of
 * [to, to + to_size). The two stretches must not overlap. */

#endif
