/* opening - what must happen between the upgrade and "open": the command of `login` has its talk, then
 * the lines of `on-open` go out, each awaiting its line of `expect`.
 *
 * Made only where one of the two keys is set, and freed when the connection is open or the attempt
 * has failed.  Sends by itself: the sender, and with it the queue, hears of the link only afterwards,
 * so nothing that is queued can leave too early. */
#ifndef CONN_OPENING_H
#define CONN_OPENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cause.h"
#include "base/msg.h"

struct conn;
struct conn_options;
struct login;
struct opening;
struct outbox_waiter;
struct records_pool;
struct spool;
struct ws;

struct opening_options {
	char *login;   /* shell command; NULL: none */
	char **expect; /* what must be received; opening_check_expect() */
};

/* Who can run a command: a room to the right of this one, for this one has no descriptors.  What it
 * says goes to opening_say(), what it is to hear stands in opening_heard(); when it has ended,
 * opening_login_ended(). */
struct opening_runner {
	int (*start)(struct login **ret, void *owner, struct conn *conn, struct opening *opening);
	struct login *(*free)(struct login *login); /* one that runs is killed */
	void *owner;
};

struct opening_events {
	/* Received while the command ran, and not read by it. */
	void (*message)(void *owner, const struct msg *msg);
	/* So many were lost unread by the command: the memory for all was used up. */
	void (*missed)(void *owner, uint64_t messages, uint64_t bytes);
	/* From a clean stack, once; frees it.  CAUSE NULL: now the connection is open. */
	void (*done)(void *owner, const struct cause *cause);
};

/* All of it borrowed. */
struct opening_terms {
	struct conn *conn;
	const struct conn_options *options;
	struct ws *ws;
	char **greetings;                    /* of `on-open`; NULL: none */
	struct records_pool *pool;           /* for what the command has not read yet */
	const struct opening_runner *runner; /* NULL: there is none, and `login` fails */
};

bool opening_needed(const struct opening_options *options);
/* 0; -EINVAL with *ret_problem; -ENOMEM. */
int opening_check_expect(const char *value, const char **ret_problem);

/* The upgrade is done.  -errno */
int opening_start(struct opening **ret, const struct opening_terms *terms,
		  const struct opening_events *events, void *owner);
struct opening *opening_free(struct opening *opening);

/* MSG was received.  True: the command alone has it; false: it is for everybody. */
bool opening_hear(struct opening *opening, const struct msg *msg);
void opening_drained(struct opening *opening);        /* ws: has written something */
size_t opening_greeted(const struct opening *opening); /* greetings that were given to the link */
/* What is awaited now, to stand behind "while". */
void opening_describe(const struct opening *opening, char *text, size_t size);

/* --- for the runner ------------------------------------------------------------------------- */

/* Send what the command says; CONN_QUEUED, CONN_FULL, CONN_REFUSED, -errno as conn_send(). */
int opening_say(struct opening *opening, const struct msg *msg, struct outbox_waiter *waiter,
		const char **ret_problem);
struct spool *opening_heard(struct opening *opening);
/* CAUSE: it has failed; NULL: all is well, and messages from number UNREAD on were not read by it. */
void opening_login_ended(struct opening *opening, const struct cause *cause, uint64_t unread);

#endif
