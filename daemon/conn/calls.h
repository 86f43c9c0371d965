/* calls - requests in flight: whose they are, and which message is the answer.
 *
 * Programs that share a connection choose ids of their own, and choose the same ones.  So each
 * request is sent with an id that is unique on the connection (rising in the order of sending), and
 * in the answer the asker's own id is put back, byte for byte; every other byte of both stays as it
 * was. What answers nobody is an event.  Remembers for a while which ids are done with, so that
 * late and repeated answers are told from events.  Owned by one conn; knows no descriptors, never
 * logs. */
#ifndef CONN_CALLS_H
#define CONN_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cause.h"
#include "base/list.h"
#include "base/msg.h"
#include "conn/outbox.h"

struct calls;

enum {
	CALLS_MAX = 65536,          /* open at once; then askers wait */
	CALLS_ID_MAX = 128,         /* bytes of an asker's id as it is written, with its quotes */
	CALLS_WIRE_MAX = INT32_MAX, /* then from 1 again: many servers have ids of 32 bits */
	CALLS_DONE_MAX = 65536, /* ids, the newest, remembered when they are done with (8 bytes each) ... */
	CALLS_DONE_S = 5 * 60,  /* ... for so long */
	CALLS_TIMED_OUT = 1,           /* of CAUSE_TIMEOUT */
};

enum calls_id_type { CALLS_ID_AUTO, CALLS_ID_STRING, CALLS_ID_INTEGER };
enum calls_replies { CALLS_REPLIES_ASKER, CALLS_REPLIES_ALL };

struct calls_options {
	char **id;       /* rules: where requests have it.  None: there are no calls */
	char **reply_id; /* rules; none: as `id` */
	int id_type;     /* enum calls_id_type: of the ids that are sent; AUTO: as the asker's */
	char **interim, **partial, **not_reply, **error_reply; /* tests */
	int replies;         /* enum calls_replies; here only kept for the owner */
	uint64_t timeout_ms; /* 0: for ever */
};

/* Is it a list that calls_new() will take?  -EINVAL with *ret_problem; -ENOMEM. */
int calls_check(const char *value, bool places, const char **ret_problem);

enum calls_answer {
	CALLS_FINAL,   /* the last one */
	CALLS_PARTIAL, /* a part of it; more will come, without a time limit */
	CALLS_INTERIM, /* only an acknowledgement */
};

/* Whoever asks embeds one, zeroed but for the functions. */
struct caller {
	struct list open; /* its requests */
	/* The answer to the request with this tag, with its own id in it; good until this returns.
	 * Must not free what is behind the conn; may call caller_leave(). */
	void (*answered)(void *owner, uint64_t tag, enum calls_answer kind, const struct msg *msg);
	/* None will come; after the time limit the cause's code is CALLS_TIMED_OUT.  May be NULL.
	 */
	void (*failed)(void *owner, uint64_t tag, const struct cause *cause);
	void *owner;
};

/* It goes away: answers to what it has open are dropped and counted. */
void caller_leave(struct caller *caller);

/* How one message is to be understood. */
struct calls_terms {
	struct caller *caller; /* NULL: nobody who could be answered; the answer becomes an event */
	uint64_t tag;
	uint64_t timeout_ms; /* 0: as the options say */
	bool must;           /* refuse what is no request; put an id in where there is none */
	bool raw;            /* send it as it is, and wait for the answer to that id */
};

struct calls_stats {
	uint64_t open, answered, timed_out;
	uint64_t failed;   /* the connection was lost first */
	uint64_t late;     /* answers after a timeout, or whose asker had gone: dropped */
	uint64_t repeated; /* second answers: dropped */
	uint64_t unknown;  /* answers to nothing that was asked: events */
};

/* *ret is NULL when the options ask for none.  -ENOMEM, -EINVAL. */
int calls_new(struct calls **ret, const struct calls_options *options);
struct calls *calls_free(struct calls *calls); /* callers are let go of, not told */
/* Others from now on; requests that are open stay so.  OPTIONS must ask for some.  After a failure
 * all is as it was. */
int calls_set_options(struct calls *calls, const struct calls_options *options);
/* This message will be sent as it is (on-open): if it has a number as its id, ours begin behind it.
 */
void calls_reserve(struct calls *calls, const struct msg *msg);

enum {
	CALLS_NONE,    /* no request: send it as it is */
	CALLS_READY,   /* send *ret, then calls_begin() */
	CALLS_FULL,    /* too many are open: WAITER is called when there is room */
	CALLS_REFUSED, /* *ret_problem says why */
	CALLS_PART_OF, /* it belongs to one that is open (an end asked for): send *ret, begin
			  nothing */
};

/* What to send for MSG; *ret is good until the next call of anything here.  Nothing has happened
 * until calls_begin(), so asking again is harmless.  -ENOMEM, -ENOBUFS (longer than MAX bytes). */
int calls_prepare(struct calls *calls, const struct msg *msg, const struct calls_terms *terms,
		  size_t max, struct outbox_waiter *waiter, struct msg *ret,
		  const char **ret_problem);
/* It has been queued, as message number SEQ of all that ever were (from 1 on). */
void calls_begin(struct calls *calls, const struct calls_terms *terms, uint64_t seq);

enum {
	CALLS_EVENT,     /* not ours, as it is */
	CALLS_DELIVERED, /* *ret (with the asker's id) has gone to its asker */
	CALLS_PUBLIC,    /* *ret is the answer to somebody who cannot be answered: an event */
	CALLS_DROPPED,   /* late, or repeated */
};

/* Look at a received message.  *ret is good until the next call. */
int calls_claim(struct calls *calls, const struct msg *msg, struct msg *ret);

/* The link is lost: what was sent on it (messages up to number SENT) will not be answered. */
void calls_lose(struct calls *calls, uint64_t sent, const struct cause *cause);
/* Messages behind number AFTER, and up to LAST, were never sent. */
void calls_lose_between(struct calls *calls, uint64_t after, uint64_t last, const struct cause *cause);

bool calls_is_error(const struct calls *calls, const struct msg *reply);
void calls_get_stats(const struct calls *calls, struct calls_stats *ret);

#endif
