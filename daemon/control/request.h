/* request - what one client wants, from its line until it has been answered or has left.
 *
 * Holds at most one channel: it watches its state, is told when it goes, and removes it at the end
 * if it was made for this request alone.  What each verb does with that is in verbs.c. */
#ifndef CONTROL_REQUEST_H
#define CONTROL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "codec/json.h"
#include "conn/conn.h"
#include "control/flow.h"
#include "control/peer.h"
#include "service/service.h"

struct exchange;
struct request;

struct request_rights {
	bool read, write;
	bool owner; /* root, or the daemon's own user */
	int pid;
};

/* What happens to the held channel; either may be NULL. */
struct request_events {
	void (*changed)(struct request *request); /* its state */
	void (*removed)(struct request *request); /* it goes now; afterwards it is let go of */
};

struct request {
	struct service *service;
	struct peer *peer;
	struct request_rights rights;
	const char *word; /* the verb's */
	const char *text; /* the line; only while the verb is being started */
	size_t len;

	struct channel *channel; /* held, or NULL */
	bool own;                /* ... and made for this request */
	const struct request_events *events;
	struct conn_watch watch;
	struct channel_reader reader;

	struct flow *flow;    /* send, recv, cat */
	struct exchange *exchange; /* request */
	bool waits_closed;    /* wait: for "closed", not for "open" or a message */
	struct cursor cursor; /* wait: for a message */
	struct later arrived;
	struct timer grace; /* close: for readers that are behind */
	unsigned graces;
};

int request_new(struct request **ret, struct service *service, struct peer *peer,
		const struct request_rights *rights);
struct request *request_free(struct request *request); /* removes a channel of its own */

/* --- members of the line -------------------------------------------------------------------- */

/* 1 and a string that the caller frees, 0: not there (*ret stays), -EINVAL: no string; -ENOMEM. */
int request_str(const struct request *request, const char *pointer, char **ret);
int request_uint(const struct request *request, const char *pointer, uint64_t *ret);
bool request_true(const struct request *request, const char *pointer, bool fallback);
/* The index of the string in WORDS (NULL-terminated) into *ret; 1, 0 as above, -EINVAL: none of
 * them. */
int request_word(const struct request *request, const char *pointer, const char *const *words,
		 int *ret);

/* --- the channel ---------------------------------------------------------------------------- */

/* OWN: the request is its owner from now on. */
void request_hold(struct request *request, struct channel *channel, bool own,
		  const struct request_events *events);
/* Stop watching; a channel of its own is removed (properly closed first). */
void request_let_go(struct request *request);
/* The channel, or the whole daemon, goes: tell the client and let go, without removing anything. */
void request_cut(struct request *request);

/* By "name": 1, or 0 when there is none and the client has been told; -errno. */
int request_find(struct request *request, struct channel **ret);
/* Make one of "url" and "options".  NAME NULL: one is made up.  OWN: no endpoints, and no
 * reconnecting unless the options say so.  1, or 0 when it was refused and the client has been
 * told. */
int request_add(struct request *request, const char *name, const char *url, bool own,
		struct channel **ret);

/* --- answers -------------------------------------------------------------------------------- */

/* {"ok":true ... then more members by the caller, then request_answer(). -errno. */
int request_begin_ok(struct buf *line);
/* Ends the line, sends it and finishes the peer.  R: how making it went. Returns R. */
int request_answer(struct request *request, struct buf *line, int r);
int request_answer_ok(struct request *request);

#endif
