/* closeframe - what a Close says (RFC 6455 5.5.1): a code and a reason, and how they stand in its
 * payload.
 *
 * Whoever finds that the server has broken a rule says so in one, which then refuses the server. */
#ifndef NET_CLOSEFRAME_H
#define NET_CLOSEFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CLOSEFRAME_PAYLOAD_MAX = 125, /* of every control frame, RFC 6455 5.5 */
	CLOSEFRAME_REASON_MAX = CLOSEFRAME_PAYLOAD_MAX - 2,
};

struct closeframe {
	uint16_t code; /* 0: it says nothing */
	char reason[CLOSEFRAME_REASON_MAX + 1];
};

/* Fills *close whole.  A reason (or NULL) that is too long is cut, not in the middle of a
 * character. */
void closeframe_set(struct closeframe *close, uint16_t code, const char *reason);

/* The same for one that refuses; always false, for those who return what they found. */
bool closeframe_refuse(struct closeframe *refusal, uint16_t code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The payload of CLOSE; returns its length. */
size_t closeframe_encode(const struct closeframe *close, uint8_t ret[CLOSEFRAME_PAYLOAD_MAX]);

/* The code in a payload of the server's (CLOSECODE_NONE: it is empty), of which the rest is then
 * UTF-8. False: it breaks a rule, as *ret_refusal says. */
bool closeframe_judge(const uint8_t *payload, size_t len, uint16_t *ret_code,
		      struct closeframe *ret_refusal);

#endif
