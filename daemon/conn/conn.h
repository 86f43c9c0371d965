/* conn - one configured connection: when to connect, when to try again, what to send, whom to tell.
 *
 * Lives as long as the daemon wants it; each attempt makes a dial and a ws, which die with it.  Owns
 * the spool (received) and the outbox (to be sent), each through its half: receiver, sender.  A state
 * is entered by one function only.
 * Knows no descriptors and no libevent: tests/sim runs it in virtual time. */
#ifndef CONN_CONN_H
#define CONN_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cause.h"
#include "base/list.h"
#include "base/msg.h"
#include "codec/url.h"
#include "conn/calls.h"
#include "conn/credentials.h"
#include "conn/cursors.h"
#include "conn/opening.h"
#include "conn/outbox.h"
#include "conn/spool.h"
#include "net/dial.h"
#include "net/ws.h"

struct confirm;
struct conn;
struct turns;

enum conn_state {
	CONN_CONNECTING, /* dialing, in the opening handshake, or behind it: opening.h */
	CONN_OPEN,
	CONN_CLOSING, /* our Close was sent (or is behind queued messages) */
	CONN_CLOSED,  /* by the operator, or `reconnect` says so; stays until asked */
	CONN_WAITING, /* for the next attempt */
	CONN_FAILED,  /* time alone will not mend it, and retrying was not asked for */
	CONN_STATES
};

enum conn_reconnect { CONN_RECONNECT_ALWAYS, CONN_RECONNECT_ON_FAILURE, CONN_RECONNECT_NEVER };

struct conn_options {
	char *url; /* as configured; parsed by conn_new() */
	struct dial_options dial;
	struct ws_options ws;
	struct spool_options spool;
	struct outbox_options outbox;
	struct credentials_options credentials;
	bool resend;    /* ... again what no pong has covered when the link was lost */
	struct calls_options calls;
	char **on_open; /* messages sent first at each open */
	struct opening_options opening;
	bool persist;   /* see conn_persist() */
	int type;       /* MSG_TEXT or MSG_BINARY: of on_open, and what endpoints send */
	uint64_t max_redirects; /* followed in one attempt; REDIRECT_MAX at most */
	uint64_t connect_timeout_ms, close_timeout_ms;
	uint64_t ping_interval_ms, ping_timeout_ms; /* 0: off */
	int reconnect;                              /* enum conn_reconnect */
	uint64_t reconnect_delay_ms, reconnect_max_ms;
};

struct conn_stats {
	uint64_t received_messages, received_bytes;
	uint64_t sent_messages, sent_bytes;       /* wholly written to the socket; resend: and confirmed */
	uint64_t rejected_messages;               /* from programs: not representable, refused */
	uint64_t unconfirmed_messages;            /* sent, and maybe not read when the link was lost */
	uint64_t unsent_messages, unsent_bytes;   /* half sent when the link was lost, expired, cleared */
	uint64_t reconnects;                      /* opens after the first */
	uint64_t attempts;
	uint32_t rtt_us; /* of the newest ping; 0: none yet */
};

/* Whoever wants to hear of state changes embeds one (endpoints, service, waiting verbs). */
struct conn_watch {
	struct list link;
	void (*changed)(void *owner); /* from a clean stack; may remove any watch */
	void *owner;
};

/* OPTIONS are borrowed and must outlive the conn (or until conn_set_options()). -EINVAL: the url. */
int conn_new(struct conn **ret, const char *name, const struct conn_options *options,
	     struct records_pool *pool);
struct conn *conn_free(struct conn *conn); /* at once, without a Close */
/* Without one, a connection with `login` cannot be opened.  RUNNER must stay. */
void conn_set_runner(struct conn *conn, const struct opening_runner *runner);

/* With `persist`: keep messages and places of readers below STATE_FD (negative: the errno why there is
 * no state directory), and take up what lies there.  Before anything reads or opens it; again after
 * conn_set_options(), for one that did not persist.  What fails is in the log. */
void conn_persist(struct conn *conn, int state_fd);
void conn_forget(struct conn *conn); /* remove what is there when the conn is freed */
const char *conn_persist_problem(const struct conn *conn); /* NULL: there is none */
struct store *conn_store(const struct conn *conn);         /* where it is kept; NULL: nowhere */

/* Live options take effect now; the others with the next attempt.  (The service reconnects when
 * those differ that need it.) */
int conn_set_options(struct conn *conn, const struct conn_options *options);

/* Connect to each host one after the other, with all that use the same TURNS, which must outlive them. */
void conn_use_turns(struct conn *conn, struct turns *turns);

/* What waits for a reason that the network explains is tried again soon, but not every time: retry.h. */
void conn_network_changed(struct conn *conn);
void conn_resumed(struct conn *conn); /* the same; and what is open has to prove that it is alive */

void conn_open(struct conn *conn);      /* connect now, unless it is doing so or is open */
void conn_close(struct conn *conn, uint16_t code, const char *why); /* sends what is queued, then Close; stays closed */
void conn_pause(struct conn *conn);     /* Close at once; what is queued waits for conn_open() */
void conn_reconnect(struct conn *conn); /* drop what there is properly, connect again at once */
/* Close as a program that is done with it would (`cat`): what is queued, then Close 1000; then as
 * `reconnect` says.  SETTLE: ahead of the Close wait until the server has read everything (a pong) and
 * then been quiet for a quarter of a second, at most two seconds: so its last answers are not cut off. */
void conn_finish(struct conn *conn, bool settle);

enum { CONN_QUEUED, CONN_FULL, CONN_REFUSED };

/* CONN_QUEUED; CONN_FULL: not taken, WAITER is called when it is worth trying again; CONN_REFUSED:
 * *ret_problem says why (text that is not UTF-8, longer than max-message), counted. -ENOMEM. */
int conn_send(struct conn *conn, const struct msg *msg, struct outbox_waiter *waiter,
	      const char **ret_problem);
/* The same for a message that may be a request (key id): its answer goes to the caller of TERMS.
 * CONN_FULL also when too many requests are open.  Without the key, or when it is no request, this is
 * conn_send(). */
int conn_request(struct conn *conn, const struct msg *msg, const struct calls_terms *terms,
		 struct outbox_waiter *waiter, const char **ret_problem);
bool conn_has_calls(const struct conn *conn);
bool conn_reply_is_error(const struct conn *conn, const struct msg *reply);
void conn_get_calls(const struct conn *conn, struct calls_stats *ret);

void conn_count_rejected(struct conn *conn); /* an endpoint could not even make a message of it */

void conn_watch_add(struct conn *conn, struct conn_watch *watch);
void conn_watch_remove(struct conn_watch *watch);

const char *conn_name(const struct conn *conn);
const struct conn_options *conn_options(const struct conn *conn);
const struct url *conn_url(const struct conn *conn);
struct spool *conn_spool(struct conn *conn);
struct outbox *conn_outbox(struct conn *conn);
struct confirm *conn_confirm(struct conn *conn);
struct cursors *conn_cursors(struct conn *conn);
enum conn_state conn_state(const struct conn *conn);
extern const char *const conn_state_names[CONN_STATES + 1];
uint64_t conn_since_us(const struct conn *conn);        /* wall clock of the last state change */
const struct cause *conn_cause(const struct conn *conn); /* of the last end; class NONE: none yet */
uint16_t conn_close_code(const struct conn *conn, const char **ret_reason); /* the last peer's Close, 1006; 0: none */
int conn_http_status(const struct conn *conn); /* of the last handshake: 101, 401, ...; 0: none */
const struct conn_stats *conn_get_stats(const struct conn *conn);
struct ws *conn_ws(struct conn *conn); /* NULL when there is none: for status */
const char *conn_redirected_to(const struct conn *conn); /* for people, without secrets; NULL: it is not */
void conn_describe_step(const struct conn *conn, char *text, size_t size); /* while connecting; else "" */
uint64_t conn_retry_in_ms(const struct conn *conn); /* in state WAITING */
bool conn_tried(const struct conn *conn); /* at least one attempt has succeeded or failed */
bool conn_is_idle(const struct conn *conn); /* nothing queued */

#endif
