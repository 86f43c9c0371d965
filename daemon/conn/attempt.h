/* attempt - one attempt to connect, and the ws that comes of it: the credentials are read, a server
 * is reached, the handshake done, maybe elsewhere once more where the answer redirects, then what
 * must be said and heard first (opening); and then it is open.
 *
 * What it received goes to the receiver, what has left is told to the sender, how it ended to the
 * conn that it is embedded in.  There is one at a time; what the last one came to stays to be asked
 * for. Its clock (`connect-timeout`) is the conn's timer, which is nobody else's until it is open.
 */
#ifndef CONN_ATTEMPT_H
#define CONN_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cause.h"
#include "codec/url.h"
#include "conn/reach.h"

struct conn;
struct conn_options;
struct credentials;
struct opening;
struct opening_runner;
struct receiver;
struct records_pool;
struct sender;
struct timer;
struct ws;

/* To the conn. */
struct attempt_events {
	void (*opened)(struct conn *conn, size_t greeted); /* so many greetings are out already */
	void (*pong)(struct conn *conn, uint64_t ping_mark, uint32_t rtt_us);
	/* From a clean stack, or from within attempt_start(): attempt_drop() it there.  Until then
	 * there is all that it had. */
	void (*ended)(struct conn *conn, const struct cause *cause);
};

/* All of it borrowed, for as long as there is the conn. */
struct attempt_terms {
	struct conn *conn;
	const char *name;
	const struct url *url; /* as configured */
	struct timer *timer;
	struct sender *sender;
	struct receiver *receiver;
	struct records_pool *pool;
	const struct opening_runner *runner; /* NULL: `login` fails */
};

struct attempt {
	struct attempt_terms terms;
	const struct attempt_events *events;
	const struct conn_options *options;
	struct credentials *credentials; /* of it and its session, where the options have some */
	struct reach reach;
	uint64_t left_ms;        /* of connect-timeout, when `reach` comes to its turn */
	struct ws *ws;           /* from the handshake on */
	struct opening *opening; /* between the upgrade and open, where there is something to do */

	int http_status;     /* of the last handshake: 101, 401, ...; 0: none */
	uint16_t close_code; /* the server's, of the last session; 1006: no Close came; 0: open, none */
	char *close_reason;  /* NULL: none */
};

void attempt_init(struct attempt *attempt, const struct attempt_terms *terms,
		  const struct attempt_events *events);
void attempt_done(struct attempt *attempt);

/* OPTIONS must stay until it is open, or dropped. */
void attempt_start(struct attempt *attempt, const struct conn_options *options);
void attempt_drop(struct attempt *attempt); /* at once, whatever it has */

/* ... but it is us who do not want it any more: a server for which it may be open already hears of that by
 * a Close with CODE, and readers that heard of the session hear of its end. */
void attempt_abandon(struct attempt *attempt, uint16_t code);

/* The timer is due: it ends with what it was waiting for.  False: not while it waits for its turn,
 * which may take long. */
bool attempt_due(struct attempt *attempt);

const char *attempt_close_reason(const struct attempt *attempt); /* "": none */
/* What it is doing. */
void attempt_describe(const struct attempt *attempt, char *text, size_t size);

#endif
