/* Sequence numbers: 186 bits as 56 decimal digits. Knows no Python. */
#ifndef STREAMSTORE_SEQUENCE_H
#define STREAMSTORE_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

#define SS_SEQUENCE_DIGITS 56
#define SS_SEQUENCE_EPOCH_BITS 52

/* Write exactly SS_SEQUENCE_DIGITS digits, no terminator. The epoch must fit SS_SEQUENCE_EPOCH_BITS. */
void ss_sequence_format(uint64_t epoch, uint64_t position, uint32_t shard_index, char *digits);
/* 1 and the three parts if `text` is one of our numbers, else 0 with the results untouched. */
int ss_sequence_parse(const char *text, size_t size, uint64_t *epoch, uint64_t *position, uint32_t *shard_index);

#endif
