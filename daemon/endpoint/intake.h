/* intake - descriptor -> decoder -> messages.  The same for FIFOs, socket clients and `wspipe send`.
 *
 * Reads into the loop's scratch, hands each message to conn_request(), and when the queue is full keeps
 * what it has and reads no further: so the writer's own write(2) blocks.  Edge-triggered, because a
 * FIFO without writers is for ever "readable". */
#ifndef ENDPOINT_INTAKE_H
#define ENDPOINT_INTAKE_H

#include <stdbool.h>

#include "codec/frame.h"
#include "conn/calls.h"
#include "conn/conn.h"

struct held;
struct intake;

struct intake_events {
	/* End of stream: all writers of a FIFO have gone, or a socket's peer has shut down writing.  All
	 * that it wrote has been taken before.  On a FIFO it comes each time; on a socket it may come
	 * again, at the latest when the peer has gone for good.  May free the intake. */
	void (*ended)(void *owner);
	/* A record was refused; PROBLEM is a constant phrase.  BROKEN: what follows is passed over up to
	 * the end of the stream. */
	void (*refused)(void *owner, const char *problem, bool broken);
};

struct intake_stats {
	uint64_t messages, refused;
};

/* FD is not taken: non-blocking, readable. */
int intake_new(struct intake **ret, int fd, struct conn *conn, enum framing framing,
	       enum msg_kind type, const struct intake_events *events, void *owner);
struct intake *intake_free(struct intake *intake);

/* Who gets the answers to what is read, and how it is to be understood; without this, answers to
 * requests are events.  The tag of a record is its number, from 0 on, refused ones included. */
void intake_set_terms(struct intake *intake, const struct calls_terms *terms);

/* What is read goes there instead of into the queue; the same outcomes as of conn_send().  Once it has
 * been taken, nothing is left of it in memory of the intake. */
struct intake_sink {
	int (*take)(void *owner, const struct msg *msg, struct outbox_waiter *waiter,
		    const char **ret_problem);
	void *owner;
};
void intake_set_sink(struct intake *intake, const struct intake_sink *sink);
/* Has all that was read been taken? */
bool intake_is_empty(const struct intake *intake);

/* Before it starts: what is read goes into this page until it has become messages, and what an earlier
 * daemon has left there comes first.  Not taken. */
void intake_set_held(struct intake *intake, struct held *held);

/* Start reading (and take what is there already). */
void intake_start(struct intake *intake);
/* For a daemon that is stopping: read to the end of what is there, now. */
void intake_drain(struct intake *intake);
/* Bytes that were read, and are part of no message that was queued. */
size_t intake_unsent(const struct intake *intake);
/* Nothing is read or sent from now on: what is there is for the next daemon. */
void intake_freeze(struct intake *intake);
const struct intake_stats *intake_get_stats(const struct intake *intake);

#endif
