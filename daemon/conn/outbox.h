/* outbox - messages waiting for the link: in order, bounded, never lost in silence.
 *
 * A program that writes faster than the server reads should feel its own write(2) block, rather than
 * fill our memory.  So put() refuses when `queue` bytes are waiting, and wakes the refused writer once
 * there is room again.  Messages stay here until their last byte has been written to the socket: when
 * the link is lost, those of which no byte had left are sent on the next one.
 * With a store it lies in files, and each message bears how far it has got: what was not given to the
 * link when the daemon was killed is sent by the next one; what was given to it may have left, so it is
 * sent again only if that is asked for, else counted.  Owned by one conn.  Never logs. */
#ifndef CONN_OUTBOX_H
#define CONN_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/msg.h"
#include "conn/records.h"

struct outbox;

struct outbox_options {
	uint64_t queue_bytes; /* one message may be larger when nothing else waits */
	uint64_t ttl_ms;      /* 0: for ever */
};

/* Embedded in the writer, zeroed; linked while it waits. */
struct outbox_waiter {
	struct list link;
	uint64_t ticket; /* waiting since; kept over vain calls of `room`, 0 once something was taken */
	void (*room)(void *owner);
	void *owner;
};

struct outbox_stats {
	uint64_t queued_messages, queued_bytes; /* now */
	uint64_t taken_messages;                /* of these, given to the link */
	uint64_t put_messages;                  /* ever: the number of the newest, counted from 1 */
	uint64_t released_number;               /* up to this one they have left the outbox */
	uint64_t given_number;                  /* the last that the link was given, 0: none */
	uint64_t passed_number;                 /* up to this one none waits for the link */
};

/* What did not get out. */
struct outbox_loss {
	uint64_t messages, bytes;
};

enum { OUTBOX_OK, OUTBOX_FULL }; /* FULL: nothing was taken, the waiter will be called */

int outbox_new(struct outbox **ret, const struct outbox_options *options);
struct outbox *outbox_free(struct outbox *outbox); /* waiters are unlinked, not called */
void outbox_set_options(struct outbox *outbox, const struct outbox_options *options);

/* Copies MSG.  -ENOMEM: not taken. */
int outbox_put(struct outbox *outbox, const struct msg *msg, struct outbox_waiter *waiter);
void outbox_forget(struct outbox_waiter *waiter);

/* Keep what comes from now on in files of STORE (NULL: no longer). */
void outbox_set_store(struct outbox *outbox, struct store *store);
/* And first take up what waits there; only if nothing was ever put here.  *RET_DOUBTFUL had been taken, but
 * not released: with AGAIN it waits with the others, else it is removed.  -errno: nothing is kept in files. */
int outbox_take_up(struct outbox *outbox, struct store *store, bool again, struct records_found *ret,
		   struct outbox_loss *ret_doubtful);

/* The oldest message that was not taken yet, or false.  The view is good until it is released. */
bool outbox_next(struct outbox *outbox, struct msg *ret);
/* It is about to be given to the link: not again after a crash, for some of it may have left. */
void outbox_begin(struct outbox *outbox);
/* It has been given to the link, where it covers these stream positions. */
void outbox_take(struct outbox *outbox, uint64_t start, uint64_t end);
/* The link has written so far: what is wholly out is released, and waiters are called if there is
 * room now.  Returns the messages and bytes released. */
struct outbox_loss outbox_written(struct outbox *outbox, uint64_t position);
/* The link is gone, having written so far: what had not begun to leave is as if never taken; what
 * had left in part is removed and returned. */
struct outbox_loss outbox_rewind(struct outbox *outbox, uint64_t position);
/* Remove what waited longer than the time to live, of what the link has not been given: the oldest, behind
 * what it has.  Returns what was lost. */
struct outbox_loss outbox_expire(struct outbox *outbox, uint64_t (*age_us)(uint64_t stamp_us));
/* Remove all of it.  Only while nothing is taken (the link is down).  Returns what was lost. */
struct outbox_loss outbox_clear(struct outbox *outbox);
/* The stamp of the message that outbox_expire() would remove first; 0: nothing to expire. */
uint64_t outbox_oldest_us(const struct outbox *outbox);

bool outbox_empty(const struct outbox *outbox);
void outbox_get_stats(const struct outbox *outbox, struct outbox_stats *ret);

#endif
