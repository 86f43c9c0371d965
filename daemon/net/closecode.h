/* closecode - the numbers in Close frames (RFC 6455 7.4 and the IANA registry). */
#ifndef NET_CLOSECODE_H
#define NET_CLOSECODE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	CLOSECODE_NORMAL = 1000,
	CLOSECODE_PROTOCOL = 1002,
	CLOSECODE_NONE = 1005, /* never sent: a Close without a code */
	CLOSECODE_LOST = 1006, /* never sent: no Close came */
	CLOSECODE_INVALID = 1007,
	CLOSECODE_POLICY = 1008,
	CLOSECODE_TOO_BIG = 1009,
};

/* May it stand in a frame, from whichever side? */
bool closecode_is_valid(uint16_t code);

const char *closecode_name(uint16_t code); /* "going away"; "" if it has none */

#endif
