/* sender - the sending half of a connection: what goes out, in which order, and what became of it.
 *
 * First the greetings (`on-open`), once in each session, then what is queued; counts and logs what
 * could not be sent. Gathers all of one turn into one write.  Owns the outbox, which pongs have
 * covered what (confirm), and the requests in flight (calls).  Embedded in its conn, which tells it
 * of the link and decides when to close. */
#ifndef CONN_SENDER_H
#define CONN_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "conn/calls.h"
#include "conn/confirm.h"
#include "conn/conn.h"
#include "conn/outbox.h"

struct sender {           /* zeroed */
	const char *name; /* of the connection */
	const struct conn_options *options;
	struct conn_stats *stats;
	struct outbox *outbox;
	struct confirm confirm;
	struct calls *calls; /* NULL: no key id */
	struct ws *ws;       /* NULL: it is not open */
	struct credentials
		*credentials;  /* of this session; NULL: the greetings are those of the options */
	size_t greeted;        /* greetings that were given to the link, in this session */
	bool closing, stopped; /* sender_close(), sender_stop() */
	uint64_t drain;        /* closing: so many queued messages go first */
	struct timer expiry;
	struct later flush;
	void (*drained)(void *owner);
	void *owner;
};

/* NAME, OPTIONS and STATS are borrowed.  DRAINED, after sender_close(): all that goes ahead of the
 * Close has been given to the link; maybe more than once. */
int sender_init(struct sender *sender, const char *name, const struct conn_options *options,
		struct conn_stats *stats, void (*drained)(void *owner), void *owner);
void sender_done(struct sender *sender);
/* After a failure calls go by the old rules, or there are none. */
int sender_set_options(struct sender *sender, const struct conn_options *options);

/* See conn_send() and conn_request(). */
int sender_send(struct sender *sender, const struct msg *msg, struct outbox_waiter *waiter,
		const char **ret_problem);
int sender_request(struct sender *sender, const struct msg *msg, const struct calls_terms *terms,
		   struct outbox_waiter *waiter, const char **ret_problem);

/* It is open, and the first GREETED greetings are out.  Both are borrowed until sender_link_down(). */
void sender_link_up(struct sender *sender, struct ws *ws, struct credentials *credentials,
		    size_t greeted);
void sender_written(struct sender *sender); /* the link has written something */
void sender_ping(struct sender *sender);    /* instead of ws_ping() */
void sender_pong(struct sender *sender, uint64_t ping_mark);
/* Send nothing that comes from now on; with DRAIN what is queued still goes.  May be called again.
 */
void sender_close(struct sender *sender, bool drain);
void sender_stop(struct sender *sender); /* the Close was given to the link */
/* The link has gone, if there was one.  ANSWERED: by the server's answer to our Close. */
void sender_link_down(struct sender *sender, bool answered);
/* Requests that have left will not be answered any more; EVEN_QUEUED: nor will others. */
void sender_fail_calls(struct sender *sender, const struct cause *cause, bool even_queued);

/* Messages may have come into the outbox, or their time to live have changed. */
void sender_arm_expiry(struct sender *sender);

#endif
