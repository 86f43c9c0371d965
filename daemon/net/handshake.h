/* handshake - the opening handshake of one ws (RFC 6455 4.1): the request goes out, the answer's
 * head comes in, and where it says no also as much of its body as people should see.
 *
 * What is asked and what may be answered is upgrade's, how a body is shown is refusal's; here is
 * the reading, bounded in bytes.  Time is the ws's.  Embedded in it, and keeps what was agreed. */
#ifndef NET_HANDSHAKE_H
#define NET_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cause.h"
#include "codec/url.h"
#include "net/refusal.h"
#include "net/upgrade.h"

struct deflate_terms;
struct transport;
struct wsout;

struct handshake {
	struct transport *transport; /* the ws's */
	const struct url *url;       /* it and the options: until the answer is judged */
	const struct upgrade_options *options;
	char key[UPGRADE_KEY_LEN + 1];
	uint8_t interim; /* answers 1xx so far */
	struct refusal refusal;
	struct buf head;   /* of the answer, not judged yet; then the body; then what came behind */
	char *subprotocol; /* agreed; NULL: none, or no memory for it */
	char *compression; /* "permessage-deflate; ..."; NULL */
	char *location;    /* where the answer that was no 101 sends us, as it stands there; NULL */
};

void handshake_init(struct handshake *handshake, struct transport *transport, const struct url *url,
		    const struct upgrade_options *options);
void handshake_done(struct handshake *handshake);

int handshake_ask(struct handshake *handshake, struct wsout *out); /* to be flushed; -errno */

enum {
	HANDSHAKE_MORE,     /* must come */
	HANDSHAKE_ACCEPTED, /* *ret_terms: what was agreed about compression */
	HANDSHAKE_REFUSED,  /* the cause is known; the body may tell more: handshake_read_body() */
	HANDSHAKE_FAILED,   /* that is no answer: the cause is known, nothing more is read */
};
/* From `readable`.  A cause gets its room (cause_room()) at *CAUSE when there is one.  -errno: it
 * cannot be read. */
int handshake_read(struct handshake *handshake, struct deflate_terms *ret_terms,
		   struct cause **cause);

/* After HANDSHAKE_ACCEPTED: RET takes what came behind the answer's head. */
void handshake_hand_over(struct handshake *handshake, struct buf *ret);

/* After HANDSHAKE_REFUSED, from there and from `readable`.  True: all that will be shown is there.
 */
bool handshake_read_body(struct handshake *handshake);
/* ... or too late: add what there is of it to CAUSE. */
void handshake_show_body(struct handshake *handshake, struct cause *cause);

/* The transport has ended by LOST before there was an answer: what people should know of that. */
void handshake_explain_loss(const struct handshake *handshake, const struct cause *lost,
			    struct cause *ret);

#endif
