/* base64 - RFC 4648 section 4: padded, no line breaks; decoding is strict. */
#ifndef CODEC_BASE64_H
#define CODEC_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

static inline size_t base64_encoded_len(size_t bytes)
{
	return (bytes + 2) / 3 * 4;
}

/* Writes base64_encoded_len(len) characters, no NUL. */
void base64_encode(char *out, const uint8_t *data, size_t len);

/* Writes at most len / 4 * 3 bytes and returns their number, or -EINVAL: wrong length, alphabet,
 * padding, or bits set behind the end.  OUT may be IN (it never overtakes). */
ssize_t base64_decode(uint8_t *out, const char *in, size_t len);

#endif
