/* confirm - which of the messages that have left the server is known to have read.
 *
 * A server answers a ping when it has read all that stood before it (RFC 6455 5.5.2), so a pong confirms
 * these messages.  Messages have numbers, in the order in which they were put into the outbox.
 *
 * With `keep` (resend = yes) a message leaves the outbox only when it is confirmed; a ping is then
 * sent 0.2 s after the first one that is not, or as soon as the queue is half full of such.
 * Without, nothing is sent for it: the pings that are sent anyway tell how many of the messages that had
 * left are in doubt when the link is lost.
 *
 * Embedded in its conn.  Does no I/O but ws_ping(), never logs. */
#ifndef CONN_CONFIRM_H
#define CONN_CONFIRM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "conn/outbox.h"

struct ws;

/* Embedded in who waits for messages of his own; zeroed. */
struct confirm_waiter {
	struct list link;
	uint64_t first, last; /* numbers; last 0: more may follow */
	/* All of them are confirmed, or (false) one of them is lost or in doubt.  Once; it is removed
	 * then.  May come from an upcall of the ws: arrange to be called from the loop, and return. */
	void (*told)(void *owner, bool confirmed);
	void *owner;
};

struct confirm {
	struct outbox *outbox;
	struct ws *ws;       /* NULL: no link */
	struct timer timer;
	struct list waiters;
	bool keep;
	uint64_t queue_bytes;
	uint64_t confirmed;              /* up to this number nothing is in doubt */
	uint64_t ping_number, ping_end;  /* what the link had been given when the ping was sent */
	uint64_t ping_mark;              /* the stream up to here is confirmed */
	/* Messages of this link: with those that grew too old, numbers are no count of these. */
	uint64_t released_count, ping_count, confirmed_count;
};

int confirm_init(struct confirm *confirm, struct outbox *outbox);
void confirm_done(struct confirm *confirm); /* waiters are unlinked, not told */
void confirm_set_options(struct confirm *confirm, bool keep, uint64_t queue_bytes);

void confirm_link_up(struct confirm *confirm, struct ws *ws);
void confirm_ping(struct confirm *confirm); /* instead of ws_ping() */
void confirm_pong(struct confirm *confirm, uint64_t ping_mark);
/* Let go of what need not be kept any more; returns it. */
struct outbox_loss confirm_release(struct confirm *confirm);
/* Messages were given to the link, or have left: is a ping due? */
void confirm_look(struct confirm *confirm);
/* The link is gone, after confirm_release().  ANSWERED: by the server's answer to our Close, which
 * confirms as a pong does.  What stays in the outbox is as if never given to the link; what had left in
 * part and is not kept is removed, and returned in *ret_half.  Returns how many are in doubt: with keep
 * they will be sent again, without they have gone. */
uint64_t confirm_link_down(struct confirm *confirm, bool answered, struct outbox_loss *ret_half,
			   struct outbox_loss *ret_sent);
/* These numbers, as far as they were in the outbox, were removed from it without having been given to the link. */
void confirm_lost(struct confirm *confirm, uint64_t first, uint64_t last);

/* From the next message on; WAITER->told is set. */
void confirm_wait(struct confirm *confirm, struct confirm_waiter *waiter);
/* Its last message is in the outbox. */
void confirm_wait_end(struct confirm *confirm, struct confirm_waiter *waiter);
void confirm_forget(struct confirm_waiter *waiter);

#endif
