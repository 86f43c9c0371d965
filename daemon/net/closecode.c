/* closecode - the registry as a table. */
#include "net/closecode.h"
static const char *const closecode_names[] = {
	[0] = "normal closure",    [1] = "going away",       [2] = "protocol error",
	[3] = "unsupported data",  [5] = "no code given",    [6] = "no close frame",
	[7] = "invalid data",      [8] = "policy violation", [9] = "message too big",
	[10] = "extension needed", [11] = "internal error",  [12] = "service restart",
	[13] = "try again later",  [14] = "bad gateway",     [15] = "TLS handshake failed",
};

/* 1012 to 1014 came after the RFC; 3000 to 3999 belong to libraries, 4000 to 4999 to anybody. */
bool closecode_is_valid(uint16_t code)
{
	if (code >= 3000)
		return code <= 4999;
	return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

const char *closecode_name(uint16_t code)
{
	unsigned i = code - 1000u;

	if (i >= sizeof(closecode_names) / sizeof(*closecode_names) || !closecode_names[i])
		return "";
	return closecode_names[i];
}
