/* utf8 - is it UTF-8 (RFC 3629)?  Resumable, so that a fragment can be judged when it arrives. */
#ifndef CODEC_UTF8_H
#define CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* State between two pieces; starts zeroed.  Not zero: in the middle of a character. */
struct utf8 {
	uint32_t state;
};

/* False as soon as no continuation could make it valid; then the state is spent. */
bool utf8_feed(struct utf8 *utf8, const uint8_t *data, size_t len);

static inline bool utf8_complete(const struct utf8 *utf8)
{
	return utf8->state == 0;
}

/* A whole text at once; the fast way (vector instructions where the CPU has them). */
bool utf8_valid(const uint8_t *data, size_t len);

/* How many bytes at the end of DATA are the beginning of an unfinished character: 0..3. */
size_t utf8_tail(const uint8_t *data, size_t len);

#endif
