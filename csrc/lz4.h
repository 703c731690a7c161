/* The LZ4 block format, decoding only. Written from its specification; knows bytes and nothing else. */
#ifndef STREAMSTORE_LZ4_H
#define STREAMSTORE_LZ4_H

#include "streamstore.h"

/* ss_lz4_expand, which is declared there, checks every length and every offset, and writes nothing outside of
 * [to, to + to_size). The two stretches must not overlap. */

#endif
