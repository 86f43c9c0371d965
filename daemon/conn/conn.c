/* conn - see conn.h.
 *
 * States and what they own:
 *
 *	connecting	credentials being read, a turn being waited for (without a timer), a dial, then a ws
 *			until its handshake is done, maybe redirected to another dial, and then an opening
 *			where there is one; timer: connect-timeout
 *	open		a ws; timer: the next ping, or the wait for its pong
 *	closing		a ws; timer: close-timeout
 *	waiting		timer: the next attempt
 *	closed, failed	nothing
 *
 * There is one timer, because no state needs two.  conn_enter() is the only one who writes `state`.
 * Every end comes through conn_ended(), which decides where to go by what is `wanted`. */
#include "conn/conn.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/strv.h"
#include "codec/frame.h"
#include "conn/durable.h"
#include "conn/losses.h"
#include "conn/reach.h"
#include "conn/retry.h"
#include "conn/sender.h"

enum {
	SETTLE_QUIET_MS = 250,
	SETTLE_MAX_MS = 2000,
};

/* Where to go when the link ends. */
enum wanted {
	WANT_BY_POLICY, /* as `reconnect` says */
	WANT_CLOSED,
	WANT_RECONNECT,
};

/* conn_finish(): what is still awaited before our Close. */
enum settle {
	SETTLED,
	SETTLE_ASK,   /* the queue is not out yet; then a ping */
	SETTLE_PONG,  /* the server has read all of it when this is here */
	SETTLE_QUIET, /* ... and has answered all of it when nothing comes for a while */
};

struct conn {
	char *name;
	const struct conn_options *options;
	struct url url;
	enum conn_state state;
	enum wanted wanted;
	uint64_t since_us, open_since_ms, retry_due_ms;
	struct cause *cause; /* of the last end; NULL: there was none yet */
	uint16_t close_code; /* ours to send while closing */
	char *close_why;
	enum settle settle;
	uint64_t settle_received, settle_until_ms;
	bool close_sent;   /* ws_close() was called */
	bool tried;
	bool was_open;     /* ever */
	bool in_session;   /* readers were told that one has begun, and not yet that it has ended */
	uint64_t progress; /* ws_written() when the close timer was last set */

	struct credentials *credentials; /* of this attempt and session, where the options have some */
	struct reach reach;
	uint64_t left_ms; /* of connect-timeout, when `reach` comes to its turn */
	struct ws *ws;
	struct opening *opening; /* between the upgrade and open, where there is something to do */
	const struct opening_runner *runner;
	struct records_pool *pool;
	struct spool *spool;
	struct sender sender;
	struct cursors *cursors;
	struct durable durable;
	struct retry retry;
	struct losses losses;
	struct timer timer;
	struct later notify;
	struct list watches;
	struct conn_stats stats;

	uint16_t peer_code;
	char *peer_reason; /* NULL: none */
	int http_status;
};

const char *const conn_state_names[CONN_STATES + 1] = {
	[CONN_CONNECTING] = "connecting", [CONN_OPEN] = "open",       [CONN_CLOSING] = "closing",
	[CONN_CLOSED] = "closed",         [CONN_WAITING] = "waiting", [CONN_FAILED] = "failed",
};

/* --- states --------------------------------------------------------------------------------- */

#define BIT(state) (1u << (state))

/* From each state, the states that may follow. */
static const unsigned moves[CONN_STATES] = {
	[CONN_CONNECTING] = BIT(CONN_OPEN) | BIT(CONN_CLOSED) | BIT(CONN_WAITING) |
			    BIT(CONN_FAILED) | BIT(CONN_CONNECTING),
	[CONN_OPEN] = BIT(CONN_CLOSING) | BIT(CONN_CLOSED) | BIT(CONN_WAITING) | BIT(CONN_FAILED) |
		      BIT(CONN_CONNECTING),
	[CONN_CLOSING] = BIT(CONN_CLOSED) | BIT(CONN_WAITING) | BIT(CONN_FAILED) |
			 BIT(CONN_CONNECTING),
	[CONN_CLOSED] = BIT(CONN_CONNECTING),
	[CONN_WAITING] = BIT(CONN_CONNECTING) | BIT(CONN_CLOSED),
	[CONN_FAILED] = BIT(CONN_CONNECTING) | BIT(CONN_CLOSED),
};

static void conn_enter(struct conn *conn, enum conn_state state)
{
	assert(moves[conn->state] & BIT(state));
	log_debug(conn->name, "%s -> %s", conn_state_names[conn->state], conn_state_names[state]);
	timer_cancel(&conn->timer);
	conn->state = state;
	conn->since_us = loop_wall_us();
	loop_later(&conn->notify);
}

/* Any watch may be removed, and others added, by any that is called: so walk by emptying. */
static void conn_on_notify(void *owner)
{
	struct conn *conn = owner;
	struct list due;

	list_init(&due);
	list_move_all(&due, &conn->watches);
	while (!list_empty(&due)) {
		struct conn_watch *watch = list_first(&due, struct conn_watch, link);

		list_remove(&watch->link);
		list_append(&conn->watches, &watch->link);
		watch->changed(watch->owner);
	}
}

/* --- one attempt ---------------------------------------------------------------------------- */

static void conn_ended(struct conn *conn, const struct cause *cause);

/* Without memory there is just no reason to show. */
static void set_peer_reason(struct conn *conn, const char *reason)
{
	free(conn->peer_reason);
	conn->peer_reason = *reason ? strdup(reason) : NULL;
}

/* Messages may come before it is open, when something is expected first; they are this session's. */
static void begin_session(struct conn *conn)
{
	struct msg mark = {.kind = MSG_OPENED, .time_us = loop_wall_us()};

	if (!conn->in_session)
		spool_append(conn->spool, &mark);
	conn->in_session = true;
}

/* The first GREETED messages of on-open are out. */
static void conn_opened(struct conn *conn, size_t greeted)
{
	if (conn->was_open)
		conn->stats.reconnects++;
	conn->was_open = conn->tried = true;
	conn->peer_code = 0;
	set_peer_reason(conn, "");
	conn->open_since_ms = loop_now_ms();
	sender_link_up(&conn->sender, conn->ws, conn->credentials, greeted);
	conn_enter(conn, CONN_OPEN);
	log_info(conn->name, "open: %s%s%s%s%s", ws_address(conn->ws),
		 *ws_tls(conn->ws) ? ", " : "", ws_tls(conn->ws),
		 *ws_subprotocol(conn->ws) ? ", subprotocol " : "", ws_subprotocol(conn->ws));
	begin_session(conn);
	if (spool_full(conn->spool)) /* still, since the session before */
		ws_pause(conn->ws);
	if (conn->options->ping_interval_ms)
		timer_set(&conn->timer, conn->options->ping_interval_ms);
}

static void conn_opening_message(void *owner, const struct msg *msg);
static void conn_opening_missed(void *owner, uint64_t messages, uint64_t bytes);

static void conn_opening_done(void *owner, const struct cause *cause)
{
	struct conn *conn = owner;
	struct cause kept = cause ? *cause : (struct cause){.class = CAUSE_NONE};
	size_t greeted = opening_greeted(conn->opening);

	conn->opening = opening_free(conn->opening);
	if (cause)
		ws_give_up(conn->ws, 1000, &kept);
	else
		conn_opened(conn, greeted);
}

static void start_opening(struct conn *conn)
{
	static const struct opening_events events = {conn_opening_message, conn_opening_missed,
						     conn_opening_done};
	const struct opening_terms terms = {
		.conn = conn,
		.options = conn->options,
		.ws = conn->ws,
		.greetings = conn->credentials ? credentials_on_open(conn->credentials)
					       : conn->options->on_open,
		.pool = conn->pool,
		.runner = conn->runner,
	};
	struct cause cause;
	int r = opening_start(&conn->opening, &terms, &events, conn);

	if (r == 0)
		return;
	cause_set(&cause, CAUSE_LOCAL, -r, "cannot start the login: %s", strerror(-r));
	ws_give_up(conn->ws, 1000, &cause);
}

static void conn_ws_opened(void *owner)
{
	struct conn *conn = owner;

	conn->http_status = 101;
	reach_arrived(&conn->reach);
	credentials_forget_request(conn->credentials);
	if (opening_needed(&conn->options->opening))
		start_opening(conn);
	else
		conn_opened(conn, 0);
}

/* False: its asker has it, or nobody wants it. */
static bool is_public(struct conn *conn, struct msg *msg)
{
	struct msg reply;

	switch (calls_claim(conn->sender.calls, msg, &reply)) {
	case CALLS_EVENT:
		return true;
	case CALLS_PUBLIC:
		*msg = reply;
		return true;
	case CALLS_DELIVERED:
		*msg = reply;
		msg->flags |= MSG_IS_REPLY;
		return conn->options->calls.replies == CALLS_REPLIES_ALL;
	default:
		return false;
	}
}

static void publish(struct conn *conn, struct msg *msg)
{
	begin_session(conn);
	if (conn->sender.calls && !is_public(conn, msg))
		return;
	if (spool_append(conn->spool, msg) == SPOOL_FULL)
		ws_pause(conn->ws);
}

static void conn_opening_message(void *owner, const struct msg *heard)
{
	struct msg msg = *heard;

	publish(owner, &msg);
}

static void conn_opening_missed(void *owner, uint64_t messages, uint64_t bytes)
{
	struct conn *conn = owner;

	spool_lose(conn->spool, messages, bytes);
}

static void conn_ws_message(void *owner, const struct msg *received)
{
	struct conn *conn = owner;
	struct msg msg = *received;

	frame_scan(&msg);
	conn->stats.received_messages++;
	conn->stats.received_bytes += msg.len;
	if (!conn->opening || !opening_hear(conn->opening, &msg))
		publish(conn, &msg);
}

static void conn_spool_eased(void *owner)
{
	struct conn *conn = owner;

	if (conn->ws)
		ws_resume(conn->ws);
}

static void conn_spool_missed(void *owner, const char *reader, uint64_t messages, uint64_t bytes)
{
	struct conn *conn = owner;

	(void)bytes;
	losses_add(&conn->losses, reader, messages);
}

static void conn_ws_drained(void *owner)
{
	struct conn *conn = owner;

	if (conn->opening)
		opening_drained(conn->opening);
	else
		sender_written(&conn->sender);
}

static void conn_ws_pong(void *owner, uint64_t ping_mark, uint32_t rtt_us)
{
	struct conn *conn = owner;

	conn->stats.rtt_us = rtt_us;
	sender_pong(&conn->sender, ping_mark);
	if (conn->settle == SETTLE_PONG && ping_mark < ws_queued(conn->ws)) {
		sender_ping(&conn->sender); /* that one was older than our last message */
	} else if (conn->settle == SETTLE_PONG) {
		conn->settle = SETTLE_QUIET;
		conn->settle_received = conn->stats.received_messages;
		conn->settle_until_ms = loop_now_ms() + SETTLE_MAX_MS;
		timer_set(&conn->timer, SETTLE_QUIET_MS);
	}
	if (conn->state == CONN_OPEN && conn->options->ping_interval_ms)
		timer_set(&conn->timer, conn->options->ping_interval_ms);
}

/* What a wait for a turn leaves of connect-timeout. */
static void note_time_left(struct conn *conn)
{
	uint64_t now_ms = loop_now_ms();

	conn->left_ms = conn->timer.due_ms > now_ms ? conn->timer.due_ms - now_ms : 0;
}

/* Done with the ws in any case.  False: the attempt ends with *cause, which may have changed. */
static bool follow_redirect(struct conn *conn, struct cause *cause)
{
	bool follows = conn->state == CONN_CONNECTING && redirect_is(cause) &&
		       reach_redirect(&conn->reach, ws_location(conn->ws), cause);

	conn->ws = ws_free(conn->ws);
	if (!follows)
		return false;
	log_info(conn->name, "redirected (HTTP %d) to %s", cause->code,
		 reach_redirected_to(&conn->reach));
	note_time_left(conn);
	reach_go(&conn->reach);
	return true;
}

/* What became of the link. */
static void conn_ws_ended(void *owner, const struct cause *cause)
{
	struct conn *conn = owner;
	struct cause kept = *cause; /* it belongs to the ws */
	const char *reason = "";
	uint16_t code = ws_close_code(conn->ws, &reason);

	sender_link_down(&conn->sender, conn->close_sent && code && code == conn->close_code);
	if (conn->http_status == 101) { /* else the last session's stays to be asked for */
		conn->peer_code = code ? code : 1006; /* RFC 6455 7.1.5: no Close was received */
		set_peer_reason(conn, reason);
	}
	if (cause->class == CAUSE_HTTP && cause->code)
		conn->http_status = cause->code;
	conn->opening = opening_free(conn->opening); /* it uses the ws */
	if (!follow_redirect(conn, &kept))
		conn_ended(conn, &kept);
}

static const struct ws_events ws_events = {
	.opened = conn_ws_opened,
	.message = conn_ws_message,
	.drained = conn_ws_drained,
	.pong = conn_ws_pong,
	.ended = conn_ws_ended,
};

static void conn_reach_begins(void *owner)
{
	struct conn *conn = owner;

	timer_set(&conn->timer, conn->left_ms);
	if (reach_url(&conn->reach)->tls && conn->options->dial.tls.insecure)
		log_warning(conn->name, "the server's certificate is not verified (insecure = yes)");
}

static void conn_reach_connected(void *owner, struct transport *transport)
{
	struct conn *conn = owner;
	struct cause cause;
	int r = ws_start(&conn->ws, transport, reach_url(&conn->reach), reach_ws(&conn->reach),
			 &ws_events, conn);

	if (r == 0)
		return;
	cause_set(&cause, CAUSE_LOCAL, -r, "cannot start the handshake: %s", strerror(-r));
	conn_ended(conn, &cause);
}

static void conn_reach_failed(void *owner, const struct cause *cause)
{
	conn_ended(owner, cause);
}

static const struct reach_events reach_events = {
	.begins = conn_reach_begins,
	.connected = conn_reach_connected,
	.failed = conn_reach_failed,
};

static void start_reach(struct conn *conn)
{
	struct credentials *credentials = conn->credentials;

	note_time_left(conn);
	reach_start(&conn->reach, conn->options,
		    credentials ? credentials_url(credentials) : &conn->url,
		    credentials ? credentials_ws(credentials) : &conn->options->ws);
}

static void conn_credentials_done(void *owner, const struct cause *cause)
{
	struct cause kept;

	if (!cause) {
		start_reach(owner);
		return;
	}
	kept = *cause; /* it belongs to the credentials */
	conn_ended(owner, &kept);
}

static void start_credentials(struct conn *conn)
{
	struct cause cause;
	int r = credentials_start(&conn->credentials, conn->options, &conn->url,
				  conn_credentials_done, conn);

	if (r == 0)
		return;
	cause_set(&cause, CAUSE_LOCAL, -r, "cannot read the credentials: %s", strerror(-r));
	conn_ended(conn, &cause);
}

static void start_attempt(struct conn *conn)
{
	conn->wanted = WANT_BY_POLICY;
	conn->close_sent = false;
	conn->settle = SETTLED;
	conn->http_status = 0;
	conn->stats.attempts++;
	conn_enter(conn, CONN_CONNECTING);
	timer_set(&conn->timer, conn->options->connect_timeout_ms);
	conn->credentials = credentials_free(conn->credentials);
	if (credentials_needed(&conn->options->credentials))
		start_credentials(conn);
	else
		start_reach(conn);
}

/* Readers are told. */
static void end_session(struct conn *conn)
{
	struct msg mark = {
		.kind = MSG_CLOSED,
		.code = conn->peer_code,
		.time_us = loop_wall_us(),
		.data = (const uint8_t *)conn->peer_reason,
		.len = conn->peer_reason ? strlen(conn->peer_reason) : 0,
	};

	if (conn->in_session)
		spool_append(conn->spool, &mark);
	conn->in_session = false;
}

/* All that an attempt has. */
static void drop_attempt(struct conn *conn)
{
	conn->opening = opening_free(conn->opening); /* it uses the ws */
	reach_drop(&conn->reach);
	conn->ws = ws_free(conn->ws);
	conn->credentials = credentials_free(conn->credentials);
}

/* It is not open yet, and it is us who do not want it any more.  For the server it may be: then it
 * hears of that. */
static void abandon_attempt(struct conn *conn, uint16_t code)
{
	const struct cause cause = {.class = CAUSE_OPERATOR};

	conn->opening = opening_free(conn->opening); /* it uses the ws */
	if (conn->http_status == 101) {
		ws_give_up(conn->ws, code, &cause);
		conn->peer_code = 1006;
		set_peer_reason(conn, "");
	}
	drop_attempt(conn);
	end_session(conn);
}

/* --- the end, and what then ----------------------------------------------------------------- */

static bool is_clean(const struct cause *cause)
{
	return cause->class == CAUSE_OPERATOR ||
	       (cause->class == CAUSE_CLOSED && (cause->code == 1000 || cause->code == 1001));
}

static bool wants_retry(const struct conn *conn, const struct cause *cause)
{
	switch (conn->options->reconnect) {
	case CONN_RECONNECT_NEVER:
		return false;
	case CONN_RECONNECT_ON_FAILURE:
		return !is_clean(cause);
	default:
		return true;
	}
}

static void wait_and_retry(struct conn *conn, const struct cause *cause, uint64_t open_ms)
{
	struct retry_limits limits = {
		.delay_ms = conn->options->reconnect_delay_ms,
		.max_ms = conn->options->reconnect_max_ms,
	};
	uint64_t delay_ms = retry_delay_ms(&conn->retry, &limits, cause, open_ms);

	conn_enter(conn, CONN_WAITING);
	conn->retry_due_ms = loop_now_ms() + delay_ms;
	timer_set(&conn->timer, delay_ms);
	log_write(LOG_LEVEL_WARNING, conn->name, cause, "%s, trying again in %" PRIu64 ".%" PRIu64 " s",
		  open_ms ? "connection ended" : "cannot connect", delay_ms / 1000,
		  delay_ms % 1000 / 100);
}

static void stay_down(struct conn *conn, const struct cause *cause)
{
	bool clean = conn->wanted == WANT_CLOSED || is_clean(cause);

	conn_enter(conn, clean ? CONN_CLOSED : CONN_FAILED);
	sender_fail_calls(&conn->sender, cause, true); /* what is queued may wait for very long now */
	log_write(clean ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, conn->name, cause, "%s",
		  clean ? "closed" : "failed, and not trying again (reconnect)");
}

/* The only way out of connecting, open and closing (but for conn_free()). */
static void conn_ended(struct conn *conn, const struct cause *cause)
{
	bool was_up = conn->state == CONN_OPEN || conn->state == CONN_CLOSING;
	uint64_t open_ms = was_up ? loop_now_ms() - conn->open_since_ms + 1 : 0;

	conn->tried = true;
	*cause_room(&conn->cause) = *cause;
	drop_attempt(conn);
	end_session(conn);
	if (was_up)
		sender_fail_calls(&conn->sender, cause, false);
	if (conn->wanted == WANT_RECONNECT) {
		log_write(LOG_LEVEL_INFO, conn->name, cause, "connecting again, as asked");
		start_attempt(conn);
	} else if (conn->wanted == WANT_CLOSED || !wants_retry(conn, cause)) {
		stay_down(conn, cause);
	} else {
		wait_and_retry(conn, cause, open_ms);
	}
	sender_arm_expiry(&conn->sender);
}

/* --- time ----------------------------------------------------------------------------------- */

static void give_up_connecting(struct conn *conn)
{
	const char *host, *waits_for = reach_step(&conn->reach, &host);
	char step[160] = "waiting for token-command";
	struct cause cause;

	if (reach_waits(&conn->reach)) {
		conn->tried = true; /* it may take long, and the daemon's start does not wait for it */
		loop_later(&conn->notify);
		return;
	}
	if (conn->opening)
		opening_describe(conn->opening, step, sizeof(step));
	else if (waits_for || conn->ws)
		snprintf(step, sizeof(step), "%s",
			 waits_for ? waits_for : "waiting for the answer to the handshake");
	cause_set(&cause, CAUSE_TIMEOUT, 0, "timed out after %" PRIu64 " ms while %s",
		  conn->options->connect_timeout_ms, step);
	if (conn->ws) {
		conn->opening = opening_free(conn->opening);
		ws_give_up(conn->ws, 1000, &cause);
		return;
	}
	conn_ended(conn, &cause);
}

/* The clock runs only from a ping that has really left (websocat #257): ws_silence_ms() knows. */
static void keep_alive(struct conn *conn)
{
	const struct conn_options *options = conn->options;
	uint64_t silence_ms = ws_silence_ms(conn->ws);
	struct cause cause;

	if (!ws_ping_outstanding(conn->ws)) {
		sender_ping(&conn->sender);
		timer_set(&conn->timer, options->ping_timeout_ms ? options->ping_timeout_ms
								 : options->ping_interval_ms);
	} else if (options->ping_timeout_ms && silence_ms >= options->ping_timeout_ms) {
		cause_set(&cause, CAUSE_TIMEOUT, 0,
			  "ping timeout: the server has been silent for %" PRIu64 " ms", silence_ms);
		ws_abort(conn->ws, &cause);
	} else if (options->ping_timeout_ms) {
		timer_set(&conn->timer, options->ping_timeout_ms - silence_ms);
	} else {
		timer_set(&conn->timer, options->ping_interval_ms);
	}
}

static void send_close(struct conn *conn)
{
	conn->close_sent = true;
	sender_stop(&conn->sender);
	conn->settle = SETTLED;
	timer_set(&conn->timer, conn->options->close_timeout_ms);
	ws_close(conn->ws, conn->close_code, conn->close_why ? conn->close_why : "");
	conn->progress = ws_written(conn->ws); /* messages may still stand ahead of the Close */
}

/* Is it quiet?  A server that has just read our last message may still be answering it, and many stop
 * talking as soon as they see a Close. */
static void go_on_settling(struct conn *conn)
{
	uint64_t received = conn->stats.received_messages;

	if (received == conn->settle_received || loop_now_ms() >= conn->settle_until_ms) {
		send_close(conn);
		return;
	}
	conn->settle_received = received;
	timer_set(&conn->timer, SETTLE_QUIET_MS);
}

/* All that was queued has been given to the link. */
static void conn_sender_drained(void *owner)
{
	struct conn *conn = owner;

	if (conn->settle == SETTLED) {
		send_close(conn);
	} else if (conn->settle == SETTLE_ASK) {
		conn->settle = SETTLE_PONG;
		sender_ping(&conn->sender);
	}
}

/* As long as queued messages go on leaving, closing may take longer. */
static void give_up_closing(struct conn *conn)
{
	struct cause cause;

	if (conn->settle == SETTLE_QUIET) {
		go_on_settling(conn);
		return;
	}
	if (ws_written(conn->ws) != conn->progress) {
		conn->progress = ws_written(conn->ws);
		timer_set(&conn->timer, conn->options->close_timeout_ms);
		return;
	}
	if (conn->settle != SETTLED) {
		send_close(conn);
		return;
	}
	cause_set(&cause, CAUSE_OPERATOR, 1006, "closed; the server did not answer within %" PRIu64 " ms",
		  conn->options->close_timeout_ms);
	ws_abort(conn->ws, &cause);
}

static void conn_on_timer(void *owner)
{
	struct conn *conn = owner;

	switch (conn->state) {
	case CONN_CONNECTING:
		give_up_connecting(conn);
		break;
	case CONN_OPEN:
		keep_alive(conn);
		break;
	case CONN_CLOSING:
		give_up_closing(conn);
		break;
	case CONN_WAITING:
		start_attempt(conn);
		break;
	default:
		break;
	}
}

/* --- sending -------------------------------------------------------------------------------- */

int conn_send(struct conn *conn, const struct msg *msg, struct outbox_waiter *waiter,
	      const char **ret_problem)
{
	return sender_send(&conn->sender, msg, waiter, ret_problem);
}

int conn_request(struct conn *conn, const struct msg *msg, const struct calls_terms *terms,
		 struct outbox_waiter *waiter, const char **ret_problem)
{
	return sender_request(&conn->sender, msg, terms, waiter, ret_problem);
}

bool conn_has_calls(const struct conn *conn)
{
	return conn->sender.calls;
}

bool conn_reply_is_error(const struct conn *conn, const struct msg *reply)
{
	return conn->sender.calls && calls_is_error(conn->sender.calls, reply);
}

void conn_get_calls(const struct conn *conn, struct calls_stats *ret)
{
	*ret = (struct calls_stats){0};
	if (conn->sender.calls)
		calls_get_stats(conn->sender.calls, ret);
}

void conn_count_rejected(struct conn *conn)
{
	conn->stats.rejected_messages++;
}

/* --- orders --------------------------------------------------------------------------------- */

static int set_url(struct conn *conn, const char *text)
{
	struct url url;
	const char *problem;
	int r = url_parse(&url, text, &problem);

	if (r < 0)
		return r;
	url_done(&conn->url);
	conn->url = url;
	return 0;
}

int conn_new(struct conn **ret, const char *name, const struct conn_options *options,
	     struct records_pool *pool)
{
	static const struct spool_events spool_events = {conn_spool_eased, conn_spool_missed};
	struct conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn)
		return -ENOMEM;
	list_init(&conn->watches);
	later_init(&conn->notify, conn_on_notify, conn);
	reach_init(&conn->reach, &reach_events, conn);
	conn->options = options;
	conn->pool = pool;
	conn->state = CONN_CLOSED;
	conn->since_us = loop_wall_us();
	if (getrandom(&conn->retry.random, sizeof(conn->retry.random), 0) < 0)
		conn->retry.random = conn->since_us;
	conn->name = strdup(name);
	r = conn->name ? set_url(conn, options->url) : -ENOMEM;
	if (r == 0)
		r = timer_init(&conn->timer, conn_on_timer, conn);
	if (r == 0)
		r = losses_init(&conn->losses, conn->name);
	if (r == 0)
		r = sender_init(&conn->sender, conn->name, options, &conn->stats,
				conn_sender_drained, conn);
	if (r == 0)
		r = spool_new(&conn->spool, &options->spool, pool, &spool_events, conn);
	if (r == 0)
		r = cursors_new(&conn->cursors, conn->spool);
	if (r < 0) {
		conn_free(conn);
		return r;
	}
	durable_init(&conn->durable, conn->name, conn->spool, conn->sender.outbox,
		     conn->cursors);
	*ret = conn;
	return 0;
}

void conn_set_runner(struct conn *conn, const struct opening_runner *runner)
{
	conn->runner = runner;
}

/* Nothing is lost in silence. */
static void tell_what_is_lost(struct conn *conn)
{
	struct outbox_stats left = {0};

	if (conn->sender.outbox)
		outbox_get_stats(conn->sender.outbox, &left);
	if (left.queued_messages > 0 && conn->durable.on && !conn->durable.forget)
		log_info(conn->name, "%" PRIu64 " outgoing messages stay queued, for the next start",
			 left.queued_messages - (conn->options->resend ? 0 : left.taken_messages));
	else if (left.queued_messages > 0)
		log_warning(conn->name,
			    "%" PRIu64 " outgoing messages (%" PRIu64 " bytes) were still queued and "
			    "are lost",
			    left.queued_messages, left.queued_bytes);
}

struct conn *conn_free(struct conn *conn)
{
	if (!conn)
		return NULL;
	tell_what_is_lost(conn);
	while (!list_empty(&conn->watches))
		list_remove(conn->watches.next);
	drop_attempt(conn);
	later_cancel(&conn->notify);
	timer_done(&conn->timer);
	losses_done(&conn->losses);
	sender_done(&conn->sender);
	conn->cursors = cursors_free(conn->cursors);
	conn->spool = spool_free(conn->spool);
	durable_done(&conn->durable);
	url_done(&conn->url);
	cause_free(conn->cause);
	free(conn->peer_reason);
	free(conn->close_why);
	free(conn->name);
	free(conn);
	return NULL;
}

int conn_set_options(struct conn *conn, const struct conn_options *options)
{
	bool dialing = conn->state == CONN_CONNECTING;
	int r, calls_r;

	if (dialing) /* it looks at the old options until it is open */
		abandon_attempt(conn, 1000);
	r = set_url(conn, options->url); /* also the same: the last time may have failed */
	conn->options = options; /* in any case: the old ones may be freed now */
	spool_set_options(conn->spool, &options->spool);
	calls_r = sender_set_options(&conn->sender, options);
	if (!options->persist && conn->durable.on)
		durable_stop(&conn->durable);
	if (dialing)
		start_attempt(conn);
	if (conn->state == CONN_OPEN) {
		timer_cancel(&conn->timer);
		if (options->ping_interval_ms)
			timer_set(&conn->timer, options->ping_interval_ms);
	}
	return r < 0 ? r : calls_r;
}

void conn_persist(struct conn *conn, int state_fd)
{
	struct outbox_loss lost;

	if (!conn->options->persist)
		return;
	durable_start(&conn->durable, state_fd, conn->options->resend, &lost);
	conn->stats.unconfirmed_messages += lost.messages;
	sender_arm_expiry(&conn->sender);
}

void conn_forget(struct conn *conn)
{
	durable_forget(&conn->durable);
}

struct store *conn_store(const struct conn *conn)
{
	return conn->options->persist && conn->durable.on ? conn->durable.store : NULL;
}

const char *conn_persist_problem(const struct conn *conn)
{
	return conn->options->persist ? durable_problem(&conn->durable) : NULL;
}

void conn_use_turns(struct conn *conn, struct turns *turns)
{
	conn->reach.turns = turns;
}

/* The attempts since the last good connection go on counting: a network that comes and goes does not
 * shorten what they have come to. */
static void retry_sooner(struct conn *conn, const char *why)
{
	uint64_t left_ms = conn_retry_in_ms(conn);
	uint64_t delay_ms = retry_hurry_ms(&conn->retry, conn->cause, loop_now_ms(), left_ms);

	if (delay_ms >= left_ms)
		return;
	conn->retry_due_ms = loop_now_ms() + delay_ms;
	timer_set(&conn->timer, delay_ms);
	log_info(conn->name, "%s: trying again in %" PRIu64 " ms", why, delay_ms);
}

void conn_network_changed(struct conn *conn)
{
	if (conn->state == CONN_WAITING)
		retry_sooner(conn, "the network has changed");
}

/* All that is known of the network is old: so ask for a sign of life, and give it as long as always. */
void conn_resumed(struct conn *conn)
{
	if (conn->state == CONN_WAITING) {
		retry_sooner(conn, "the machine has slept");
	} else if (conn->state == CONN_CONNECTING) {
		abandon_attempt(conn, 1000);
		start_attempt(conn);
	} else if (conn->state == CONN_OPEN && conn->options->ping_interval_ms) {
		ws_forgive_silence(conn->ws);
		sender_ping(&conn->sender); /* unless one is outstanding */
		timer_set(&conn->timer, conn->options->ping_timeout_ms
						? conn->options->ping_timeout_ms
						: conn->options->ping_interval_ms);
	}
}

void conn_open(struct conn *conn)
{
	if (conn->state == CONN_CLOSED || conn->state == CONN_FAILED || conn->state == CONN_WAITING)
		start_attempt(conn);
	else if (conn->state == CONN_CLOSING)
		conn->wanted = WANT_RECONNECT;
}

static void end_attempt(struct conn *conn)
{
	struct cause cause;

	abandon_attempt(conn, conn->close_code);
	cause_set(&cause, CAUSE_OPERATOR, 0, "%s", conn->close_why ? conn->close_why : "asked to");
	conn_ended(conn, &cause);
}

/* Bring the connection down, and then go where it is wanted. */
static void take_down(struct conn *conn, enum wanted wanted, uint16_t code, const char *why,
		      bool drain)
{
	conn->wanted = wanted;
	free(conn->close_why);
	conn->close_why = strdup(why); /* without memory there is just no reason given */
	conn->close_code = code;
	sender_close(&conn->sender, drain);
	conn->settle = SETTLED;
	switch (conn->state) {
	case CONN_OPEN:
		conn_enter(conn, CONN_CLOSING);
		conn->progress = ws_written(conn->ws);
		timer_set(&conn->timer, conn->options->close_timeout_ms);
		break;
	case CONN_CONNECTING:
		end_attempt(conn);
		break;
	case CONN_WAITING:
	case CONN_FAILED:
	case CONN_CLOSED:
		if (wanted == WANT_RECONNECT)
			start_attempt(conn);
		else if (conn->state != CONN_CLOSED)
			conn_enter(conn, CONN_CLOSED);
		break;
	default: /* closing already */
		break;
	}
}

void conn_close(struct conn *conn, uint16_t code, const char *why)
{
	take_down(conn, WANT_CLOSED, code, why, true);
}

void conn_pause(struct conn *conn)
{
	take_down(conn, WANT_CLOSED, 1000, "paused", false);
}

void conn_reconnect(struct conn *conn)
{
	take_down(conn, WANT_RECONNECT, 1000, "reconnecting", false);
}

void conn_finish(struct conn *conn, bool settle)
{
	if (conn->state != CONN_OPEN)
		return;
	take_down(conn, WANT_BY_POLICY, 1000, "", true);
	conn->settle = settle ? SETTLE_ASK : SETTLED;
}

/* --- watches and questions ------------------------------------------------------------------ */

void conn_watch_add(struct conn *conn, struct conn_watch *watch)
{
	list_append(&conn->watches, &watch->link);
}

void conn_watch_remove(struct conn_watch *watch)
{
	list_remove(&watch->link);
}

const char *conn_name(const struct conn *conn)
{
	return conn->name;
}

const struct conn_options *conn_options(const struct conn *conn)
{
	return conn->options;
}

const struct url *conn_url(const struct conn *conn)
{
	return &conn->url;
}

struct spool *conn_spool(struct conn *conn)
{
	return conn->spool;
}

struct outbox *conn_outbox(struct conn *conn)
{
	return conn->sender.outbox;
}

struct confirm *conn_confirm(struct conn *conn)
{
	return &conn->sender.confirm;
}

struct cursors *conn_cursors(struct conn *conn)
{
	return conn->cursors;
}

enum conn_state conn_state(const struct conn *conn)
{
	return conn->state;
}

uint64_t conn_since_us(const struct conn *conn)
{
	return conn->since_us;
}

const struct cause *conn_cause(const struct conn *conn)
{
	static const struct cause none = {.class = CAUSE_NONE};

	return conn->cause ? conn->cause : &none;
}

uint16_t conn_close_code(const struct conn *conn, const char **ret_reason)
{
	*ret_reason = conn->peer_reason ? conn->peer_reason : "";
	return conn->peer_code;
}

int conn_http_status(const struct conn *conn)
{
	return conn->http_status;
}

const struct conn_stats *conn_get_stats(const struct conn *conn)
{
	return &conn->stats;
}

struct ws *conn_ws(struct conn *conn)
{
	return conn->state == CONN_OPEN || conn->state == CONN_CLOSING ? conn->ws : NULL;
}

const char *conn_redirected_to(const struct conn *conn)
{
	return reach_redirected_to(&conn->reach);
}

void conn_describe_step(const struct conn *conn, char *text, size_t size)
{
	const char *host, *step = reach_step(&conn->reach, &host);

	if (conn->state != CONN_CONNECTING)
		step = "";
	else if (!step)
		step = conn->ws ? "waiting for the answer to the handshake" : "reading the credentials";
	snprintf(text, size, "%s%s", step, host);
}

uint64_t conn_retry_in_ms(const struct conn *conn)
{
	uint64_t now = loop_now_ms();

	return conn->state == CONN_WAITING && conn->retry_due_ms > now ? conn->retry_due_ms - now : 0;
}

bool conn_tried(const struct conn *conn)
{
	return conn->tried || conn->state == CONN_CLOSED;
}

bool conn_is_idle(const struct conn *conn)
{
	return outbox_empty(conn->sender.outbox);
}
