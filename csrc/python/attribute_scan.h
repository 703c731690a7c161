/* Finding one number in an attribute block without making objects of the rest. */
#ifndef STREAMSTORE_ATTRIBUTE_SCAN_H
#define STREAMSTORE_ATTRIBUTE_SCAN_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    SS_SCAN_FOUND,
    SS_SCAN_ABSENT, /* not there, or no integer, or one below 0 */
    SS_SCAN_UNSURE, /* damaged, or of a kind that is not known here: whoever makes objects of it must say */
} ss_scan;

/* Look in a msgpack map of `size` bytes for what stands under `key`, or, where `inner` is not NULL, under `inner` in
 * the map under `key`. Of equal keys the first one counts; what stands behind it is not looked at. Any bytes may come
 * in. */
ss_scan ss_attribute_scan(const uint8_t *bytes, size_t size, const char *key, const char *inner, uint64_t *out);

#endif
