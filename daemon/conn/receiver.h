/* receiver - the receiving half of a connection: whose a message is, and that readers hear of
 * sessions.
 *
 * An answer goes to its asker (calls), what a login command hears to that command (opening),
 * everything else into the spool, which is owned here.  When that is full (`overflow = block`) the
 * ws is paused until the slowest reader has come nearer.  Embedded in its conn. */
#ifndef CONN_RECEIVER_H
#define CONN_RECEIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/msg.h"
#include "conn/conn.h"
#include "conn/losses.h"
#include "conn/spool.h"

struct opening;
struct sender;
struct ws;

struct receiver { /* zeroed */
	const struct conn_options *options;
	struct conn_stats *stats;
	struct sender *sender; /* has the calls */
	struct spool *spool;
	struct losses losses;
	struct ws *ws;   /* NULL: there is none that could be paused */
	bool in_session; /* readers were told that one has begun, and not yet that it has ended */
};

/* All is borrowed.  -errno; receiver_done() in any case. */
int receiver_init(struct receiver *receiver, const char *name, const struct conn_options *options,
		  struct conn_stats *stats, struct sender *sender, struct records_pool *pool);
void receiver_done(struct receiver *receiver);
void receiver_set_options(struct receiver *receiver, const struct conn_options *options);

/* The upgrade is done, and messages may come. */
void receiver_link_up(struct receiver *receiver, struct ws *ws);
void receiver_link_down(struct receiver *receiver);

/* RECEIVED has come; OPENING (or NULL) hears it first. */
void receiver_take(struct receiver *receiver, const struct msg *received, struct opening *opening);
/* MSG, which receiver_take() has seen before, is for everybody after all. */
void receiver_publish(struct receiver *receiver, struct msg *msg);

/* A session begins for readers when it is open, or with a message that was received before that. */
void receiver_opened(struct receiver *receiver);
void receiver_ended(struct receiver *receiver, uint16_t close_code, const char *reason);

#endif
