/* A hash key, 128 bits, as the int that Python has for it. */
#ifndef STREAMSTORE_HASH_KEY_H
#define STREAMSTORE_HASH_KEY_H

#include "hot.h"

/* A new int, or NULL with MemoryError. */
PyObject *ss_hash_key_number(uint64_t hi, uint64_t lo);
/* The same, or None where there is none. */
PyObject *ss_hash_key_or_none(int present, uint64_t hi, uint64_t lo);

#endif
