/* exchange - the verb `request` at work: records from the client are requests, and each gets
 * exactly one last answer: the reply, or why there is none.
 *
 * In by the intake that everybody has; out by lines of its own (protocol.h), because beside the
 * bytes of a reply the client needs to know which of its requests it is for. */
#ifndef CONTROL_EXCHANGE_H
#define CONTROL_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/frame.h"
#include "conn/conn.h"
#include "control/peer.h"

struct exchange;

struct exchange_options {
	enum framing framing, reply_framing;
	enum msg_kind type;
	uint64_t timeout_ms; /* 0: as the connection has it */
	bool raw;            /* ids stay as they are */
};

/* OPTIONS are copied.  *RET_FD is the client's end, to be passed to it and closed. -errno.
 * ENDED: "end" has been told, and conn is not used any more; may free the exchange. */
int exchange_new(struct exchange **ret, struct conn *conn, struct peer *peer,
		 const struct exchange_options *options, void (*ended)(void *owner), void *owner,
		 int *ret_fd);
struct exchange *exchange_free(struct exchange *exchange);

void exchange_start(struct exchange *exchange);   /* after the "ok" line */
void exchange_changed(struct exchange *exchange); /* conn is in another state */
void exchange_cut(struct exchange *exchange);     /* conn is about to be freed: let go */

#endif
