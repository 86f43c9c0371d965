/* exchange - see exchange.h.
 *
 * Whatever happens to a request, one line about it goes out: from the intake (refused), from the
 * caller's upcalls (answered, failed).  It is over when the client's input has ended and each
 * record has had its line, or when the connection is down for good; exchange_look() decides that,
 * always from a clean stack. */
#include "control/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "codec/json.h"
#include "endpoint/intake.h"

enum {
	OUT_MAX = 4 * 1024 * 1024, /* waiting for the client; one reply may be longer */
	HEAD_MAX = 4096,
};

struct exchange {
	struct conn *conn; /* NULL: let go of */
	struct peer *peer;
	struct exchange_options options;
	int fd;
	struct intake *intake;
	struct caller caller;
	struct event *writable;
	struct later look;
	struct buf out;
	uint64_t told;           /* requests that have had their last line */
	uint64_t asked, refused; /* records; kept when the intake has gone */
	bool input_ended, done;
	int exit; /* of the whole, when it cannot go on */
	char message[256];
	void (*ended)(void *owner);
	void *owner;
};

/* --- what the client gets ------------------------------------------------------------------- */

static void give_up(struct exchange *exchange, const char *message)
{
	if (exchange->exit)
		return;
	exchange->exit = EXIT_PEER;
	snprintf(exchange->message, sizeof(exchange->message), "%s", message);
	loop_later(&exchange->look);
}

static bool has_room(struct exchange *exchange, size_t bytes)
{
	if (exchange->exit)
		return false;
	if (buf_len(&exchange->out) == 0 || buf_len(&exchange->out) + bytes <= OUT_MAX)
		return true;
	give_up(exchange, "the client does not read its replies");
	return false;
}

/* R: how making the line in OUT went. */
static void put_line(struct exchange *exchange, int r)
{
	if (r >= 0)
		r = buf_append_str(&exchange->out, "}\n");
	if (r < 0)
		give_up(exchange, "an answer was lost: out of memory");
	loop_later(&exchange->look);
}

static void tell_none(struct exchange *exchange, uint64_t n, enum protocol_exit exit,
		      const char *message)
{
	struct buf *out = &exchange->out;
	int r;

	exchange->told++;
	if (!has_room(exchange, HEAD_MAX))
		return;
	r = buf_printf(out, "{\"n\":%llu,\"answer\":\"none\",\"exit\":%d,\"message\":",
		       (unsigned long long)n, exit);
	if (r >= 0)
		r = peer_quote(out, message, strlen(message));
	put_line(exchange, r);
}

static int put_record(struct buf *out, const struct frame_parts *parts)
{
	int r = buf_append(out, parts->head, parts->head_len);

	if (r >= 0)
		r = buf_append(out, parts->body, parts->body_len);
	return r < 0 ? r : buf_append(out, parts->tail, parts->tail_len);
}

static void tell_reply(struct exchange *exchange, uint64_t n, bool last, const struct msg *msg,
		       const struct frame_parts *parts)
{
	size_t len = parts->head_len + parts->body_len + parts->tail_len;
	struct buf *out = &exchange->out;
	int r;

	exchange->told += last;
	if (!has_room(exchange, len + HEAD_MAX))
		return;
	r = buf_printf(out, "{\"n\":%llu,\"answer\":\"%s\",\"error\":%s,\"bytes\":%zu",
		       (unsigned long long)n, last ? "reply" : "part",
		       conn_reply_is_error(exchange->conn, msg) ? "true" : "false", len);
	put_line(exchange, r);
	if (!exchange->exit && put_record(out, parts) < 0)
		give_up(exchange, "an answer was lost: out of memory");
}

static void exchange_caller_answered(void *owner, uint64_t tag, enum calls_answer kind,
				     const struct msg *msg)
{
	struct exchange *exchange = owner;
	struct frame_parts parts;
	struct buf encoded;
	int r;

	if (kind == CALLS_INTERIM)
		return; /* who waits for the reply has no use for it */
	buf_init(&encoded, exchange->out.max);
	r = frame_encode(exchange->options.reply_framing, exchange->options.type, msg, &parts,
			 &encoded);
	if (r == FRAME_ENCODED)
		parts = (struct frame_parts){.body = buf_head(&encoded),
					     .body_len = buf_len(&encoded)};
	if (r < 0)
		tell_none(exchange, tag, EXIT_PEER, "the reply was lost: out of memory");
	else
		tell_reply(exchange, tag, kind == CALLS_FINAL, msg, &parts);
	buf_done(&encoded);
}

static void exchange_caller_failed(void *owner, uint64_t tag, const struct cause *cause)
{
	bool timed_out = cause->class == CAUSE_TIMEOUT && cause->code == CALLS_TIMED_OUT;

	tell_none(owner, tag, timed_out ? EXIT_TIMED_OUT : EXIT_PEER, cause->text);
}

/* --- the end -------------------------------------------------------------------------------- */

static void let_go(struct exchange *exchange)
{
	caller_leave(&exchange->caller);
	if (exchange->intake) {
		const struct intake_stats *stats = intake_get_stats(exchange->intake);

		exchange->asked = stats->messages + stats->refused;
		exchange->refused = stats->refused;
	}
	exchange->intake = intake_free(exchange->intake);
	exchange->conn = NULL;
}

static void tell_end(struct exchange *exchange, const char *state)
{
	struct buf line;
	int r;

	peer_line_init(&line);
	r = buf_printf(&line, "{\"event\":\"end\",\"exit\":%d,\"message\":", exchange->exit);
	if (r >= 0)
		r = peer_quote(&line, exchange->message, strlen(exchange->message));
	if (r >= 0)
		r = buf_printf(&line,
			       ",\"close_code\":null,\"close_reason\":null,\"messages\":%llu,"
			       "\"rejected\":%llu,\"state\":\"%s\",\"queued\":false}",
			       (unsigned long long)(exchange->asked - exchange->refused),
			       (unsigned long long)exchange->refused, state);
	if (r >= 0) {
		peer_send(exchange->peer, &line, -1);
		return;
	}
	buf_done(&line);
	peer_drop(exchange->peer);
}

static void exchange_end(struct exchange *exchange)
{
	const char *state = conn_state_names[conn_state(exchange->conn)];

	exchange->done = true;
	later_cancel(&exchange->look);
	event_del(exchange->writable);
	let_go(exchange);
	shutdown(exchange->fd, SHUT_WR);
	tell_end(exchange, state);
	exchange->ended(exchange->owner);
}

/* --- writing -------------------------------------------------------------------------------- */

/* All that the socket takes now. */
static void flush(struct exchange *exchange)
{
	struct buf *out = &exchange->out;

	while (buf_len(out) > 0) {
		ssize_t n = send(exchange->fd, buf_head(out), buf_len(out), MSG_NOSIGNAL);

		if (n > 0) {
			buf_consume(out, (size_t)n);
		} else if (errno == EAGAIN) {
			event_add(exchange->writable, NULL);
			return;
		} else if (errno != EINTR) {
			buf_clear(out); /* it has gone */
			give_up(exchange, "the client has gone");
		}
	}
	if (out->size > HEAD_MAX * 16)
		buf_trim(out);
}

static bool has_been_answered(const struct exchange *exchange)
{
	const struct intake_stats *stats = intake_get_stats(exchange->intake);

	return exchange->input_ended && exchange->told >= stats->messages + stats->refused;
}

static void exchange_look(void *owner)
{
	struct exchange *exchange = owner;

	if (exchange->done)
		return;
	flush(exchange);
	if ((exchange->exit || has_been_answered(exchange)) && buf_len(&exchange->out) == 0)
		exchange_end(exchange);
}

static void exchange_on_writable(evutil_socket_t fd, short what, void *owner)
{
	(void)fd;
	(void)what;
	exchange_look(owner);
}

/* --- the rest of the world ------------------------------------------------------------------ */

/* The conn has failed all that was open already, so that only what comes now would wait in vain. */
void exchange_changed(struct exchange *exchange)
{
	enum conn_state state;

	if (exchange->done || has_been_answered(exchange))
		return;
	state = conn_state(exchange->conn);
	if (state == CONN_CLOSED || state == CONN_FAILED)
		give_up(exchange, conn_cause(exchange->conn)->text);
}

void exchange_cut(struct exchange *exchange)
{
	if (exchange->done)
		return;
	give_up(exchange, "the connection was removed");
	flush(exchange);
	exchange_end(exchange);
}

static void exchange_intake_ended(void *owner)
{
	struct exchange *exchange = owner;

	exchange->input_ended = true;
	loop_later(&exchange->look);
}

static void exchange_intake_refused(void *owner, const char *problem, bool broken)
{
	struct exchange *exchange = owner;
	const struct intake_stats *stats = intake_get_stats(exchange->intake);
	char message[512];

	snprintf(message, sizeof(message), "not sent: it %s", problem);
	tell_none(exchange, stats->messages + stats->refused - 1, EXIT_USAGE, message);
	if (broken)
		exchange_intake_ended(exchange);
}

static const struct intake_events exchange_intake_events = {
	.ended = exchange_intake_ended,
	.refused = exchange_intake_refused,
};

/* --- life ----------------------------------------------------------------------------------- */

static int make_movers(struct exchange *exchange)
{
	const struct exchange_options *options = &exchange->options;
	const struct calls_terms terms = {
		.caller = &exchange->caller,
		.timeout_ms = options->timeout_ms,
		.must = true,
		.raw = options->raw,
	};
	int r;

	exchange->caller = (struct caller){
		.answered = exchange_caller_answered,
		.failed = exchange_caller_failed,
		.owner = exchange,
	};
	exchange->writable =
		event_new(loop_base(), exchange->fd, EV_WRITE, exchange_on_writable, exchange);
	if (!exchange->writable)
		return -ENOMEM;
	r = intake_new(&exchange->intake, exchange->fd, exchange->conn, options->framing,
		       options->type, &exchange_intake_events, exchange);
	if (r == 0)
		intake_set_terms(exchange->intake, &terms);
	return r;
}

int exchange_new(struct exchange **ret, struct conn *conn, struct peer *peer,
		 const struct exchange_options *options, void (*ended)(void *owner), void *owner,
		 int *ret_fd)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	int fd[2], r;

	if (!exchange)
		return -ENOMEM;
	exchange->conn = conn;
	exchange->peer = peer;
	exchange->options = *options;
	exchange->ended = ended;
	exchange->owner = owner;
	exchange->fd = -1;
	later_init(&exchange->look, exchange_look, exchange);
	buf_init(&exchange->out,
		 6 * (size_t)conn_options(conn)->ws.max_message_bytes + HEAD_MAX + OUT_MAX);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0) {
		r = -errno;
		exchange_free(exchange);
		return r;
	}
	exchange->fd = fd[0];
	r = make_movers(exchange);
	if (r < 0) {
		close(fd[1]);
		exchange_free(exchange);
		return r;
	}
	*ret_fd = fd[1];
	*ret = exchange;
	return 0;
}

struct exchange *exchange_free(struct exchange *exchange)
{
	if (!exchange)
		return NULL;
	later_cancel(&exchange->look);
	if (exchange->writable)
		event_free(exchange->writable);
	let_go(exchange);
	buf_done(&exchange->out);
	if (exchange->fd >= 0)
		close(exchange->fd);
	free(exchange);
	return NULL;
}

void exchange_start(struct exchange *exchange)
{
	intake_start(exchange->intake);
	loop_later(&exchange->look);
}
