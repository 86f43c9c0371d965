/* when - a moment as people write it: how long ago, or a date. */
#ifndef CLIENT_WHEN_H
#define CLIENT_WHEN_H

#include <stdint.h>

/* "10min" (ago; ms, s, min, h, d), "@SECONDS" since 1970, "2026-11-20", "2026-11-20T14:05[:06[.789]]"
 * with or without Z (else local time; a blank in place of the T), "14:05[:06]" (today).  Microseconds
 * since 1970; -1: none of them. */
int when_parse(const char *text, uint64_t *ret_us);

#endif
