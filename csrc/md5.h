/* MD5 (RFC 1321), as Kinesis hashes partition keys: one digest, or those of many inputs side by side in vector lanes.
 * Knows bytes only: not what a key routes to. Not for security. */
#ifndef STREAMSTORE_MD5_H
#define STREAMSTORE_MD5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The digest of size bytes at data (which may be NULL when size is 0). */
void ss_md5(const void *data, size_t size, uint8_t digest[16]);

/* count digests at once, several to a vector; best where many fit one block (up to 55 bytes) or are of a size. */
void ss_md5_many(const uint8_t *const *data, const size_t *sizes, size_t count, uint8_t (*digests)[16]);

/* The ways to run them. All give the same digests; ss_md5_many takes the best the processor has.
 * Public for the tests, which run each that runs here. */
typedef enum { SS_MD5_LANES4, SS_MD5_AVX2, SS_MD5_AVX512, SS_MD5_PATHS } ss_md5_path;

bool ss_md5_path_runs(ss_md5_path path);
void ss_md5_many_by(ss_md5_path path, const uint8_t *const *data, const size_t *sizes, size_t count,
                    uint8_t (*digests)[16]);

#endif
