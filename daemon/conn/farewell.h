/* farewell - how an open connection is left: what is queued goes first, then our Close, then the
 * server's answer to it is awaited, for `close-timeout` behind the last byte that left.
 *
 * One that settles waits in between until the server has read everything (a pong) and has been
 * quiet for a while, since many stop talking as soon as they see a Close.  Embedded in the conn;
 * the clock is the conn's timer, which is nobody else's while it is closing. */
#ifndef CONN_FAREWELL_H
#define CONN_FAREWELL_H

#include <stdbool.h>
#include <stdint.h>

struct conn_stats;
struct sender;
struct timer;

enum farewell_step {
	FAREWELL_CLOSE,      /* nothing but the queue stands ahead of our Close, or it was sent */
	FAREWELL_ASK,        /* the queue is not out yet; then a ping */
	FAREWELL_AWAIT_PONG, /* the server has read all of it when this is here */
	FAREWELL_QUIET,      /* ... and has answered all of it when nothing comes for a while */
};

struct farewell { /* zeroed, but for the first three, which are the conn's */
	struct sender *sender;
	struct timer *timer;
	const struct conn_stats *stats;
	uint8_t step;                      /* enum farewell_step */
	bool said;                         /* the Close was given to the link */
	uint16_t code;                     /* ... of our Close */
	char *why;                         /* NULL: no reason, or no memory for it */
	uint64_t progress;                 /* ws_written() when the timer was last set */
	uint64_t received, quiet_until_ms; /* FAREWELL_QUIET: messages so far; when it is enough */
};

void farewell_done(struct farewell *farewell);
void farewell_forget(struct farewell *farewell); /* a new attempt begins; .why stays to be told */

/* What our Close is to say, now or when it comes to that. */
void farewell_plan(struct farewell *farewell, uint16_t code, const char *why);
void farewell_settle(struct farewell *farewell); /* settle first */

/* The connection is closing from now on, until its ws has ended. */
void farewell_begin(struct farewell *farewell);
void farewell_queue_sent(struct farewell *farewell); /* all that goes first was given to the link */
void farewell_pong(struct farewell *farewell, uint64_t ping_mark);
void farewell_due(struct farewell *farewell); /* the timer is; gives up at last */

/* CODE came from the server, and is its answer to our Close. */
bool farewell_answered(const struct farewell *farewell, uint16_t code);

#endif
