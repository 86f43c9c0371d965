/* wsout - the sending half of a ws: frames encoded, compressed if that was agreed, and masked into
 * the transport's buffer, and the positions of what is sent.
 *
 * Positions count the bytes of data frames only (see ws.h).  Data leaves WSOUT_CONTROL_ROOM of the
 * buffer free, pongs stop when it is half full: so a ping or a Close always finds room, and a
 * server that pings without reading costs nothing.
 *
 * Functions that return an int: 0; -ENOBUFS, -ENOMEM: nothing was taken, try again; any other
 * error: there are no random bytes, nothing may ever be sent again. */
#ifndef NET_WSOUT_H
#define NET_WSOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/msg.h"
#include "net/gaps.h"
#include "net/mask.h"

struct buf;
struct deflate_terms;
struct deflater;
struct transport;

enum {
	WSOUT_CONTROL_MAX = 125, /* bytes in a control frame, RFC 6455 5.5 */
	WSOUT_HEADER_MAX = 14,
	WSOUT_CONTROL_ROOM = 1024,
};

enum wsout_opcode {
	WSOUT_CONTINUATION = 0x0,
	WSOUT_CLOSE = 0x8,
	WSOUT_PING = 0x9,
	WSOUT_PONG = 0xa
};

struct wsout {
	struct transport *transport; /* the ws's */
	struct mask mask;
	struct deflater *deflater; /* NULL: what is sent is not compressed */
	const uint8_t *rest;       /* what is still to be encoded of a large message */
	size_t rest_len;
	struct buf kept;    /* a copy of it, where its owner may go earlier than it has left */
	uint8_t rest_first; /* of its next fragment: RSV1 and opcode */
	bool dirty;         /* tx holds frames that nobody but the ws will flush */
	bool close_sent;    /* ... or at least encoded */
	uint8_t held;       /* opcode of a control frame that waits: pong or Close; 0: none */
	uint8_t held_len;
	uint8_t held_data[WSOUT_CONTROL_MAX];
	uint64_t queued, encoded; /* positions: promised, and in tx */
	struct gaps gaps;         /* all that is in the transport's stream and no data frame */
};

void wsout_init(struct wsout *out, struct transport *transport);
void wsout_done(struct wsout *out);

/* From now on compress what is worth it.  -ENOMEM */
int wsout_compress(struct wsout *out, const struct deflate_terms *terms);

int wsout_put_head(struct wsout *out, const struct buf *head); /* the handshake's; first of all */

/* See ws_writable() and ws_send(), but for the state, which is the ws's.  A large message only
 * begins to wait here: wsout_fill(). */
bool wsout_writable(const struct wsout *out);
int wsout_send(struct wsout *out, const struct msg *msg);

/* At once, whatever waits. */
int wsout_put_control(struct wsout *out, uint8_t opcode, const uint8_t *data, size_t len);
/* As soon as may be; only one is held, the newest.  A pong goes between fragments, a Close behind
 * them. */
void wsout_pong(struct wsout *out, const uint8_t *data, size_t len);
void wsout_hold_close(struct wsout *out, const uint8_t *data, size_t len);
bool wsout_is_closing(const struct wsout *out); /* a Close was sent, or is held */

/* Encode all that waits and fits. */
int wsout_fill(struct wsout *out);
bool wsout_waits(const struct wsout *out);
void wsout_drop_data(struct wsout *out); /* what is left of a large message */
void wsout_drop(struct wsout *out);      /* all that waits */

void wsout_rest(struct wsout *out); /* nothing was sent lately: give memory back */

uint64_t wsout_written(const struct wsout *out);

#endif
