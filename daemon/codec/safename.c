/* safename - see safename.h. */
#include "codec/safename.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"

enum { DIGEST_CHARS = 2 + 16 };

static bool is_kept(unsigned char c, bool first)
{
	if (c == '.' || c == '-')
		return !first;
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* Up to ROOM characters, and not a part of %XX.  *ret_taken: so many bytes are in them. */
static size_t encode(char *to, size_t room, const unsigned char *bytes, size_t len,
		     size_t *ret_taken)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t used = 0, i;

	for (i = 0; i < len; i++) {
		bool kept = is_kept(bytes[i], i == 0);

		if (used + (kept ? 1 : 3) > room)
			break;
		if (kept) {
			to[used++] = (char)bytes[i];
			continue;
		}
		to[used++] = '%';
		to[used++] = hex[bytes[i] >> 4];
		to[used++] = hex[bytes[i] & 15];
	}
	*ret_taken = i;
	return used;
}

size_t safename_make(char to[SAFENAME_MAX + 1], const void *bytes, size_t len)
{
	size_t taken, used = encode(to, SAFENAME_MAX, bytes, len, &taken);

	if (len == 0)
		to[used++] = '%';
	to[used] = '\0';
	if (taken == len)
		return used;
	used = encode(to, SAFENAME_MAX - DIGEST_CHARS, bytes, len, &taken);
	snprintf(to + used, DIGEST_CHARS + 1, "%%-%016" PRIX64, digest_bytes(0, bytes, len));
	return used + DIGEST_CHARS;
}
