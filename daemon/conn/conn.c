/* conn - see conn.h.  Here are the states, the orders, and what follows when an attempt or a link ends;
 * the work is done by attempt, sender, receiver, keepalive and farewell.
 *
 * States and what they own:
 *
 *	connecting	an attempt (attempt.h); timer: connect-timeout, but for a wait for its turn
 *	open		its ws; timer: the next ping, or the wait for its pong (keepalive.h)
 *	closing		its ws; timer: close-timeout (farewell.h)
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
#include "conn/attempt.h"
#include "conn/durable.h"
#include "conn/farewell.h"
#include "conn/keepalive.h"
#include "conn/receiver.h"
#include "conn/retry.h"
#include "conn/sender.h"
#include "conn/verdict.h"

struct conn {
	char *name;
	const struct conn_options *options;
	struct url url;
	enum conn_state state;
	enum wanted wanted;
	uint64_t since_us, open_since_ms, retry_due_ms;
	struct cause *cause; /* of the last end; NULL: there was none yet */
	bool tried;
	bool was_open; /* ever */

	struct attempt attempt;
	struct sender sender;
	struct receiver receiver;
	struct farewell farewell;
	struct cursors *cursors;
	struct durable durable;
	struct retry retry;
	struct timer timer;
	struct later notify;
	struct list watches;
	struct conn_stats stats;
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

/* --- up ------------------------------------------------------------------------------------- */

static void start_attempt(struct conn *conn)
{
	conn->wanted = WANT_BY_POLICY;
	farewell_forget(&conn->farewell);
	conn->stats.attempts++;
	conn_enter(conn, CONN_CONNECTING);
	attempt_start(&conn->attempt, conn->options);
}

/* The first GREETED messages of on-open are out. */
static void conn_attempt_opened(struct conn *conn, size_t greeted)
{
	struct ws *ws = conn->attempt.ws;

	if (conn->was_open)
		conn->stats.reconnects++;
	conn->was_open = conn->tried = true;
	conn->open_since_ms = loop_now_ms();
	sender_link_up(&conn->sender, ws, conn->attempt.credentials, greeted);
	conn_enter(conn, CONN_OPEN);
	log_info(conn->name, "open: %s%s%s%s%s", ws_address(ws), *ws_tls(ws) ? ", " : "",
		 ws_tls(ws), *ws_subprotocol(ws) ? ", subprotocol " : "", ws_subprotocol(ws));
	receiver_opened(&conn->receiver);
	keepalive_start(&conn->sender, &conn->timer);
}

static void conn_attempt_pong(struct conn *conn, uint64_t ping_mark, uint32_t rtt_us)
{
	conn->stats.rtt_us = rtt_us;
	sender_pong(&conn->sender, ping_mark);
	farewell_pong(&conn->farewell, ping_mark);
	if (conn->state == CONN_OPEN)
		keepalive_start(&conn->sender, &conn->timer);
}

/* All that was queued has been given to the link. */
static void conn_sender_drained(void *owner)
{
	struct conn *conn = owner;

	farewell_queue_sent(&conn->farewell);
}

/* --- the end, and what then ----------------------------------------------------------------- */

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

static void stay_down(struct conn *conn, const struct cause *cause, bool clean)
{
	conn_enter(conn, clean ? CONN_CLOSED : CONN_FAILED);
	sender_fail_calls(&conn->sender, cause, true); /* what is queued may wait for very long now */
	log_write(clean ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, conn->name, cause, "%s",
		  clean ? "closed" : "failed, and not trying again (reconnect)");
}

static void go_on(struct conn *conn, const struct cause *cause, uint64_t open_ms)
{
	switch (verdict_of(conn->wanted, conn->options->reconnect, cause)) {
	case VERDICT_AGAIN:
		log_write(LOG_LEVEL_INFO, conn->name, cause, "connecting again, as asked");
		start_attempt(conn);
		break;
	case VERDICT_WAIT:
		wait_and_retry(conn, cause, open_ms);
		break;
	case VERDICT_CLOSED:
		stay_down(conn, cause, true);
		break;
	case VERDICT_FAILED:
		stay_down(conn, cause, false);
		break;
	}
}

/* The only way out of connecting, open and closing (but for conn_free()). */
static void conn_ended(struct conn *conn, const struct cause *cause)
{
	const struct attempt *attempt = &conn->attempt;
	bool was_up = conn->state == CONN_OPEN || conn->state == CONN_CLOSING;
	uint64_t open_ms = was_up ? loop_now_ms() - conn->open_since_ms + 1 : 0;

	conn->tried = true;
	*cause_room(&conn->cause) = *cause;
	sender_link_down(&conn->sender, farewell_answered(&conn->farewell, attempt->close_code));
	attempt_drop(&conn->attempt);
	receiver_ended(&conn->receiver, attempt->close_code, attempt_close_reason(attempt));
	if (was_up)
		sender_fail_calls(&conn->sender, cause, false);
	go_on(conn, cause, open_ms);
	sender_arm_expiry(&conn->sender);
}

static const struct attempt_events attempt_events = {
	.opened = conn_attempt_opened,
	.pong = conn_attempt_pong,
	.ended = conn_ended,
};

static void conn_on_timer(void *owner)
{
	struct conn *conn = owner;

	switch (conn->state) {
	case CONN_CONNECTING:
		if (attempt_due(&conn->attempt))
			break;
		conn->tried = true; /* it may take long, and the daemon's start does not wait for it */
		loop_later(&conn->notify);
		break;
	case CONN_OPEN:
		keepalive_due(&conn->sender, &conn->timer);
		break;
	case CONN_CLOSING:
		farewell_due(&conn->farewell);
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

/* Who borrows what of whom.  The conn stays where it is. */
static void join_parts(struct conn *conn, struct records_pool *pool)
{
	const struct attempt_terms terms = {
		.conn = conn,
		.name = conn->name,
		.url = &conn->url,
		.timer = &conn->timer,
		.sender = &conn->sender,
		.receiver = &conn->receiver,
		.pool = pool,
	};

	attempt_init(&conn->attempt, &terms, &attempt_events);
	conn->farewell.sender = &conn->sender;
	conn->farewell.timer = &conn->timer;
	conn->farewell.stats = &conn->stats;
}

int conn_new(struct conn **ret, const char *name, const struct conn_options *options,
	     struct records_pool *pool)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn)
		return -ENOMEM;
	list_init(&conn->watches);
	later_init(&conn->notify, conn_on_notify, conn);
	conn->options = options;
	conn->state = CONN_CLOSED;
	conn->since_us = loop_wall_us();
	if (getrandom(&conn->retry.random, sizeof(conn->retry.random), 0) < 0)
		conn->retry.random = conn->since_us;
	conn->name = strdup(name);
	join_parts(conn, pool);
	r = conn->name ? set_url(conn, options->url) : -ENOMEM;
	if (r == 0)
		r = timer_init(&conn->timer, conn_on_timer, conn);
	if (r == 0)
		r = sender_init(&conn->sender, conn->name, options, &conn->stats,
				conn_sender_drained, conn);
	if (r == 0)
		r = receiver_init(&conn->receiver, conn->name, options, &conn->stats,
				  &conn->sender, pool);
	if (r == 0)
		r = cursors_new(&conn->cursors, conn->receiver.spool);
	if (r < 0) {
		conn_free(conn);
		return r;
	}
	durable_init(&conn->durable, conn->name, conn->receiver.spool, conn->sender.outbox,
		     conn->cursors);
	*ret = conn;
	return 0;
}

void conn_set_runner(struct conn *conn, const struct opening_runner *runner)
{
	conn->attempt.terms.runner = runner;
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
	attempt_done(&conn->attempt);
	later_cancel(&conn->notify);
	timer_done(&conn->timer);
	farewell_done(&conn->farewell);
	sender_done(&conn->sender);
	conn->cursors = cursors_free(conn->cursors);
	receiver_done(&conn->receiver);
	durable_done(&conn->durable);
	url_done(&conn->url);
	cause_free(conn->cause);
	free(conn->name);
	free(conn);
	return NULL;
}

int conn_set_options(struct conn *conn, const struct conn_options *options)
{
	bool dialing = conn->state == CONN_CONNECTING;
	int r, calls_r;

	if (dialing) /* it looks at the old options until it is open */
		attempt_abandon(&conn->attempt, 1000);
	r = set_url(conn, options->url); /* also the same: the last time may have failed */
	conn->options = options; /* in any case: the old ones may be freed now */
	receiver_set_options(&conn->receiver, options);
	calls_r = sender_set_options(&conn->sender, options);
	if (!options->persist && conn->durable.on)
		durable_stop(&conn->durable);
	if (dialing)
		start_attempt(conn);
	if (conn->state == CONN_OPEN)
		keepalive_start(&conn->sender, &conn->timer);
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
	conn->attempt.reach.turns = turns;
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

void conn_resumed(struct conn *conn)
{
	if (conn->state == CONN_WAITING) {
		retry_sooner(conn, "the machine has slept");
	} else if (conn->state == CONN_CONNECTING) {
		attempt_abandon(&conn->attempt, 1000);
		start_attempt(conn);
	} else if (conn->state == CONN_OPEN) {
		keepalive_ask(&conn->sender, &conn->timer);
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

	attempt_abandon(&conn->attempt, conn->farewell.code);
	cause_set(&cause, CAUSE_OPERATOR, 0, "%s",
		  conn->farewell.why ? conn->farewell.why : "asked to");
	conn_ended(conn, &cause);
}

/* Bring the connection down, and then go where it is wanted. */
static void take_down(struct conn *conn, enum wanted wanted, uint16_t code, const char *why,
		      bool drain)
{
	conn->wanted = wanted;
	farewell_plan(&conn->farewell, code, why);
	sender_close(&conn->sender, drain);
	switch (conn->state) {
	case CONN_OPEN:
		conn_enter(conn, CONN_CLOSING);
		farewell_begin(&conn->farewell);
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
	if (settle)
		farewell_settle(&conn->farewell);
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
	return conn->receiver.spool;
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
	*ret_reason = attempt_close_reason(&conn->attempt);
	return conn->attempt.close_code;
}

int conn_http_status(const struct conn *conn)
{
	return conn->attempt.http_status;
}

const struct conn_stats *conn_get_stats(const struct conn *conn)
{
	return &conn->stats;
}

struct ws *conn_ws(struct conn *conn)
{
	return conn->state == CONN_OPEN || conn->state == CONN_CLOSING ? conn->attempt.ws : NULL;
}

const char *conn_redirected_to(const struct conn *conn)
{
	return reach_redirected_to(&conn->attempt.reach);
}

void conn_describe_step(const struct conn *conn, char *text, size_t size)
{
	*text = '\0';
	if (conn->state == CONN_CONNECTING)
		attempt_describe(&conn->attempt, text, size);
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
