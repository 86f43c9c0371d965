/* Base64: decoding and encoding undo each other, and what is refused is refused by a plain reading
 * of RFC 4648 section 4, too.
 *
 * Input: any bytes, taken for both sides. */
#include <errno.h>

#include "codec/base64.h"
#include "fuzz.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Bit by bit. */
static ssize_t decode_slowly(uint8_t *out, const char *in, size_t len)
{
	size_t digits = len, n = 0;
	uint32_t bits = 0;

	if (len % 4 != 0)
		return -EINVAL;
	while (digits > 0 && len - digits < 2 && in[digits - 1] == '=')
		digits--;
	for (size_t i = 0; i < digits; i++) {
		const char *found = in[i] ? strchr(alphabet, in[i]) : NULL;

		if (!found)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)(found - alphabet);
		if (i % 4 > 0)
			out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	if (digits % 4 == 2 && (bits & 15))
		return -EINVAL;
	if (digits % 4 == 3 && (bits & 3))
		return -EINVAL;
	return (ssize_t)(digits / 4 * 3 + (digits % 4 ? digits % 4 - 1 : 0));
}

static void check_decoding(const uint8_t *data, size_t len)
{
	char *in = (char *)copy_bytes(data, len);
	uint8_t *out = copy_bytes(data, len / 4 * 3), *slow = copy_bytes(data, len);
	ssize_t n = base64_decode(out, in, len), expected = decode_slowly(slow, in, len);

	HOLDS(n == expected);
	if (n >= 0) {
		char *text = malloc(base64_encoded_len((size_t)n) + 1);

		HOLDS(text && same_bytes(out, (size_t)n, slow, (size_t)n));
		HOLDS(base64_encoded_len((size_t)n) == len);
		base64_encode(text, out, (size_t)n);
		HOLDS(same_bytes(text, len, data, len));
		free(text);
		HOLDS(base64_decode((uint8_t *)in, in, len) == n); /* in place */
		HOLDS(same_bytes(in, (size_t)n, out, (size_t)n));
	}
	free(in);
	free(out);
	free(slow);
}

static void check_encoding(const uint8_t *data, size_t len)
{
	size_t text_len = base64_encoded_len(len);
	char *text = malloc(text_len + 1);
	uint8_t *out = malloc(text_len + 1);

	HOLDS(text && out);
	base64_encode(text, data, len);
	HOLDS(base64_decode(out, text, text_len) == (ssize_t)len);
	HOLDS(same_bytes(out, len, data, len));
	free(text);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	check_decoding(data, len);
	check_encoding(data, len);
	return 0;
}
