/* reach - how one attempt gets to a server: it waits for its turn at the host, dials, and does the
 * same again where the server's answer sends it.
 *
 * Embedded in the conn, which has the deadline and the ws. */
#ifndef CONN_REACH_H
#define CONN_REACH_H

#include <stdbool.h>

#include "base/cause.h"
#include "codec/url.h"
#include "conn/redirect.h"
#include "conn/turns.h"
#include "net/ws.h"

struct conn_options;
struct transport;

struct reach_events {
	void (*begins)(void *owner); /* it is its turn: the deadline's clock runs from here on */
	void (*connected)(void *owner, struct transport *transport); /* now the owner's */
	void (*failed)(void *owner, const struct cause *cause);      /* drop it there */
};

struct reach {
	const struct reach_events *events;
	void *owner;
	const struct conn_options *options;
	const struct url *url;       /* what is asked for at first ... */
	const struct ws_options *ws; /* ... and with what */
	struct turns *turns;         /* of all; or NULL */
	struct turn turn;            /* held from the dial to reach_arrived() or reach_drop() */
	struct dial *dial;
	struct redirect
		*redirect; /* where the server has sent it, or NULL; stays until reach_drop() */
};

void reach_init(struct reach *reach, const struct reach_events *events, void *owner);

/* All that is given must stay until it has arrived, or is dropped.  Upcalls may come from within.
 */
void reach_start(struct reach *reach, const struct conn_options *options, const struct url *url,
		 const struct ws_options *ws);

/* The server has answered *CAUSE and LOCATION (redirect.h).  True: it is to go to another place
 * now, whose name for people is reach_redirected_to(), by reach_go(); false: *cause says why not.
 */
bool reach_redirect(struct reach *reach, const char *location, struct cause *cause);
void reach_go(struct reach *reach);

void reach_arrived(struct reach *reach); /* the handshake is done: the next one's turn */
void reach_drop(struct reach *reach);

bool reach_waits(const struct reach *reach);                  /* for its turn */
const struct url *reach_url(const struct reach *reach);       /* where it is going now, */
const struct ws_options *reach_ws(const struct reach *reach); /* and what to say there */
const char *reach_redirected_to(const struct reach *reach);   /* NULL: it was not */

/* "waiting for its turn at HOST", or what the dial is doing; NULL: neither. */
const char *reach_step(const struct reach *reach, const char **ret_host);

#endif
