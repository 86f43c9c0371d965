/* safename - any bytes as the name of a file: readable where they are harmless, and two different
 * ones never the same (but for those that are too long, where a digest of 64 bits tells them apart).
 *
 *	ES_F.26-x	ES_F.26-x
 *	BTC/USD		BTC%2FUSD
 *	.hidden, -rf	%2Ehidden, %2Drf
 *	(empty)		%
 *
 * Kept are letters, digits, '_', '.' and '-', the last two not at the beginning; all other bytes
 * are %XX.  What would be longer than SAFENAME_MAX ends with "%-" and 16 hexadecimal digits. */
#ifndef CODEC_SAFENAME_H
#define CODEC_SAFENAME_H

#include <stddef.h>

enum { SAFENAME_MAX = 200 }; /* leaves room to NAME_MAX for what temporary names have more */

/* The length of the name; a NUL stands behind it. */
size_t safename_make(char to[SAFENAME_MAX + 1], const void *bytes, size_t len);

#endif
