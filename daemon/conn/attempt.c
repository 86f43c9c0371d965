/* attempt - see attempt.h.  Its parts tell their news in this order: credentials, reach, ws,
 * opening. */
#include "conn/attempt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "conn/conn.h"
#include "conn/credentials.h"
#include "conn/opening.h"
#include "conn/receiver.h"
#include "conn/redirect.h"
#include "conn/sender.h"
#include "net/ws.h"

static void attempt_end(struct attempt *attempt, const struct cause *cause)
{
	attempt->events->ended(attempt->terms.conn, cause);
}

static void attempt_cannot(struct attempt *attempt, int error, const char *what)
{
	struct cause cause;

	cause_set(&cause, CAUSE_LOCAL, error, "cannot %s: %s", what, strerror(error));
	attempt_end(attempt, &cause);
}

/* --- between the upgrade and open ----------------------------------------------------------- */

/* Without memory there is just no reason to show. */
static void set_close(struct attempt *attempt, uint16_t code, const char *reason)
{
	attempt->close_code = code;
	free(attempt->close_reason);
	attempt->close_reason = *reason ? strdup(reason) : NULL;
}

static void attempt_opened(struct attempt *attempt, size_t greeted)
{
	set_close(attempt, 0, "");
	attempt->events->opened(attempt->terms.conn, greeted);
}

static void attempt_opening_message(void *owner, const struct msg *heard)
{
	struct attempt *attempt = owner;
	struct msg msg = *heard;

	receiver_publish(attempt->terms.receiver, &msg);
}

static void attempt_opening_missed(void *owner, uint64_t messages, uint64_t bytes)
{
	struct attempt *attempt = owner;

	spool_lose(attempt->terms.receiver->spool, messages, bytes);
}

static void attempt_opening_done(void *owner, const struct cause *cause)
{
	struct attempt *attempt = owner;
	struct cause kept = cause ? *cause : (struct cause){.class = CAUSE_NONE};
	size_t greeted = opening_greeted(attempt->opening);

	attempt->opening = opening_free(attempt->opening);
	if (cause)
		ws_give_up(attempt->ws, 1000, &kept);
	else
		attempt_opened(attempt, greeted);
}

static void start_opening(struct attempt *attempt)
{
	static const struct opening_events events = {
		attempt_opening_message, attempt_opening_missed, attempt_opening_done};
	const struct opening_terms terms = {
		.conn = attempt->terms.conn,
		.options = attempt->options,
		.ws = attempt->ws,
		.greetings = attempt->credentials ? credentials_on_open(attempt->credentials)
						  : attempt->options->on_open,
		.pool = attempt->terms.pool,
		.runner = attempt->terms.runner,
	};
	struct cause cause;
	int r = opening_start(&attempt->opening, &terms, &events, attempt);

	if (r == 0)
		return;
	cause_set(&cause, CAUSE_LOCAL, -r, "cannot start the login: %s", strerror(-r));
	ws_give_up(attempt->ws, 1000, &cause);
}

/* --- the ws --------------------------------------------------------------------------------- */

static void attempt_ws_opened(void *owner)
{
	struct attempt *attempt = owner;

	attempt->http_status = 101;
	reach_arrived(&attempt->reach);
	credentials_forget_request(attempt->credentials);
	receiver_link_up(attempt->terms.receiver, attempt->ws);
	if (opening_needed(&attempt->options->opening))
		start_opening(attempt);
	else
		attempt_opened(attempt, 0);
}

static void attempt_ws_message(void *owner, const struct msg *msg)
{
	struct attempt *attempt = owner;

	receiver_take(attempt->terms.receiver, msg, attempt->opening);
}

static void attempt_ws_drained(void *owner)
{
	struct attempt *attempt = owner;

	if (attempt->opening)
		opening_drained(attempt->opening);
	else
		sender_written(attempt->terms.sender);
}

static void attempt_ws_pong(void *owner, uint64_t ping_mark, uint32_t rtt_us)
{
	struct attempt *attempt = owner;

	attempt->events->pong(attempt->terms.conn, ping_mark, rtt_us);
}

/* What a wait for a turn leaves of connect-timeout. */
static void note_time_left(struct attempt *attempt)
{
	uint64_t now_ms = loop_now_ms(), due_ms = attempt->terms.timer->due_ms;

	attempt->left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
}

/* False: it ends with *cause, which may have changed. */
static bool follow_redirect(struct attempt *attempt, struct cause *cause)
{
	if (!redirect_is(cause) ||
	    !reach_redirect(&attempt->reach, ws_location(attempt->ws), cause))
		return false;
	attempt->ws = ws_free(attempt->ws);
	log_info(attempt->terms.name, "redirected (HTTP %d) to %s", cause->code,
		 reach_redirected_to(&attempt->reach));
	note_time_left(attempt);
	reach_go(&attempt->reach);
	return true;
}

static void attempt_ws_ended(void *owner, const struct cause *cause)
{
	struct attempt *attempt = owner;
	bool was_accepted = attempt->http_status == 101;
	struct cause kept = *cause; /* it belongs to the ws */
	const char *reason = "";
	uint16_t code = ws_close_code(attempt->ws, &reason);

	if (was_accepted) /* else the last session's stays to be asked for */
		set_close(attempt, code ? code : 1006, reason); /* RFC 6455 7.1.5: no Close came */
	if (cause->class == CAUSE_HTTP && cause->code)
		attempt->http_status = cause->code;
	attempt->opening = opening_free(attempt->opening); /* it uses the ws */
	if (was_accepted || !follow_redirect(attempt, &kept))
		attempt_end(attempt, &kept);
}

static const struct ws_events ws_events = {
	.opened = attempt_ws_opened,
	.message = attempt_ws_message,
	.drained = attempt_ws_drained,
	.pong = attempt_ws_pong,
	.ended = attempt_ws_ended,
};

/* --- the way there -------------------------------------------------------------------------- */

static void attempt_reach_begins(void *owner)
{
	struct attempt *attempt = owner;

	timer_set(attempt->terms.timer, attempt->left_ms);
	if (reach_url(&attempt->reach)->tls && attempt->options->dial.tls.insecure)
		log_warning(attempt->terms.name,
			    "the server's certificate is not verified (insecure = yes)");
}

static void attempt_reach_connected(void *owner, struct transport *transport)
{
	struct attempt *attempt = owner;
	int r = ws_start(&attempt->ws, transport, reach_url(&attempt->reach),
			 reach_ws(&attempt->reach), &ws_events, attempt);

	if (r < 0)
		attempt_cannot(attempt, -r, "start the handshake");
}

static void attempt_reach_failed(void *owner, const struct cause *cause)
{
	attempt_end(owner, cause);
}

static const struct reach_events reach_events = {
	.begins = attempt_reach_begins,
	.connected = attempt_reach_connected,
	.failed = attempt_reach_failed,
};

static void start_reach(struct attempt *attempt)
{
	struct credentials *credentials = attempt->credentials;

	note_time_left(attempt);
	reach_start(&attempt->reach, attempt->options,
		    credentials ? credentials_url(credentials) : attempt->terms.url,
		    credentials ? credentials_ws(credentials) : &attempt->options->ws);
}

static void attempt_credentials_done(void *owner, const struct cause *cause)
{
	struct cause kept;

	if (!cause) {
		start_reach(owner);
		return;
	}
	kept = *cause; /* it belongs to the credentials */
	attempt_end(owner, &kept);
}

static void start_credentials(struct attempt *attempt)
{
	int r = credentials_start(&attempt->credentials, attempt->terms.name, attempt->options,
				  attempt->terms.url, attempt_credentials_done, attempt);

	if (r < 0)
		attempt_cannot(attempt, -r, "read the credentials");
}

/* --- what the conn calls -------------------------------------------------------------------- */

void attempt_init(struct attempt *attempt, const struct attempt_terms *terms,
		  const struct attempt_events *events)
{
	attempt->terms = *terms;
	attempt->events = events;
	reach_init(&attempt->reach, &reach_events, attempt);
}

void attempt_done(struct attempt *attempt)
{
	attempt_drop(attempt);
	free(attempt->close_reason);
	attempt->close_reason = NULL;
}

void attempt_start(struct attempt *attempt, const struct conn_options *options)
{
	attempt->options = options;
	attempt->http_status = 0;
	timer_set(attempt->terms.timer, options->connect_timeout_ms);
	attempt->credentials = credentials_free(attempt->credentials);
	if (credentials_needed(&options->credentials))
		start_credentials(attempt);
	else
		start_reach(attempt);
}

void attempt_drop(struct attempt *attempt)
{
	attempt->opening = opening_free(attempt->opening); /* it uses the ws */
	reach_drop(&attempt->reach);
	receiver_link_down(attempt->terms.receiver);
	attempt->ws = ws_free(attempt->ws);
	attempt->credentials = credentials_free(attempt->credentials);
}

void attempt_abandon(struct attempt *attempt, uint16_t code)
{
	const struct cause cause = {.class = CAUSE_OPERATOR};
	bool was_accepted = attempt->ws && attempt->http_status == 101;

	attempt->opening = opening_free(attempt->opening); /* it uses the ws */
	if (was_accepted) {
		ws_give_up(attempt->ws, code, &cause);
		set_close(attempt, 1006, "");
	}
	attempt_drop(attempt);
	receiver_ended(attempt->terms.receiver, attempt->close_code, attempt_close_reason(attempt));
}

bool attempt_due(struct attempt *attempt)
{
	const char *host, *waits_for = reach_step(&attempt->reach, &host);
	char step[160] = "waiting for token-command";
	struct cause cause;

	if (reach_waits(&attempt->reach))
		return false;
	if (attempt->opening)
		opening_describe(attempt->opening, step, sizeof(step));
	else if (waits_for || attempt->ws)
		snprintf(step, sizeof(step), "%s",
			 waits_for ? waits_for : "waiting for the answer to the handshake");
	cause_set(&cause, CAUSE_TIMEOUT, 0, "timed out after %" PRIu64 " ms while %s",
		  attempt->options->connect_timeout_ms, step);
	attempt->opening = opening_free(attempt->opening);
	if (attempt->ws)
		ws_give_up(attempt->ws, 1000, &cause);
	else
		attempt_end(attempt, &cause);
	return true;
}

const char *attempt_close_reason(const struct attempt *attempt)
{
	return attempt->close_reason ? attempt->close_reason : "";
}

void attempt_describe(const struct attempt *attempt, char *text, size_t size)
{
	const char *host, *step = reach_step(&attempt->reach, &host);

	if (!step)
		step = attempt->ws ? "waiting for the answer to the handshake"
				   : "reading the credentials";
	snprintf(text, size, "%s%s", step, host);
}
