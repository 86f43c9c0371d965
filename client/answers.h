/* answers - what the daemon says about each request (control/protocol.h, VERB_REQUEST), to be
 * printed: as it comes or in the order of asking, whole or one member of it. */
#ifndef CLIENT_ANSWERS_H
#define CLIENT_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct answers {
	const char *who;
	const char *field; /* JSON pointer: print that member, unquoted; or NULL */
	bool ordered;
	bool numbered; /* there may be many: say which request failed */
	int exit;      /* of the first one that went wrong; 0 as long as none has */

	struct buf in;
	struct held { /* by number; only with `ordered` */
		struct buf text;
		bool whole;
	} * held;
	uint64_t held_n, next;
};

/* Zeroed but for what the caller wants. */
void answers_init(struct answers *answers);
void answers_done(struct answers *answers);

/* Bytes of the stream; what is to be printed is appended to OUT.  Failures are told on standard
 * error. -errno: it cannot go on. */
int answers_feed(struct answers *answers, const uint8_t *data, size_t len, struct buf *out);

#endif
