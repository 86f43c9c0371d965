/* flow - a stream verb at work: send, recv and cat are one socketpair with an intake, an outlet or
 * both.
 *
 * The data path is that of the endpoints; here is only when such a stream is over, and what the
 * client is told beside it (the events of protocol.h). */
#ifndef CONTROL_FLOW_H
#define CONTROL_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/frame.h"
#include "conn/conn.h"
#include "conn/cursors.h"
#include "control/peer.h"

struct flow;
struct outlet;

struct flow_options {
	bool reads, writes; /* what the client does: recv, send, or cat */
	bool own;           /* the connection is there for this stream alone */
	bool finish;        /* the client's end of input closes the WebSocket */
	bool confirm;       /* it ends when the server is known to have read all */
	bool settle;        /* ... when the server has answered, see conn_finish() */
	enum framing framing;
	enum msg_kind type;
	enum cursor_from from;
	bool seeks;        /* or there, instead of `from` */
	enum cursor_seek seek;
	uint64_t number;
	struct mark *mark; /* or there, which nobody holds, and which the client's words move; or NULL */
	int pid;           /* ... for status */
	bool backlog;      /* only what is there, whatever the connection does */
	uint64_t count;    /* messages to the client; 0: no limit */
	const char *label; /* for the log and status */
};

/* OPTIONS are copied.  *RET_FD is the client's end, to be passed to it and closed. -errno. */
int flow_new(struct flow **ret, struct conn *conn, struct peer *peer,
	     const struct flow_options *options, void (*ended)(void *owner), void *owner,
	     int *ret_fd);
/* ENDED: "end" has been told, and conn is not used any more.  Nothing else comes; may free the
 * flow. */
struct flow *flow_free(struct flow *flow);

/* After the "ok" line: bytes and events may come from now on. */
void flow_start(struct flow *flow);
/* A line from the client: {"commit":BYTES}. */
void flow_said(struct flow *flow, const char *line, size_t len);
void flow_changed(struct flow *flow); /* conn is in another state */
/* The conn is about to be freed: tell what is lost by that, let go; ENDED is called from here. */
void flow_cut(struct flow *flow);

struct outlet *flow_outlet(struct flow *flow); /* NULL: it only writes */

#endif
