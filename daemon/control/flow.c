/* flow - when a stream is over, and what its client is told.
 *
 * It ends by one of four: the client's input has ended (send, or after the closing handshake with
 * `finish`), the count is reached, the connection is closed for good, or the stream itself is
 * broken. flow_wind_up() lets the outlet write what was received until then; flow_end() is the only
 * place that tells "end".  After that the socket stays open without a sender, so that the client
 * finds all its bytes and then end of file, until it closes the control connection. */
#include "control/flow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "codec/json.h"
#include "conn/confirm.h"
#include "endpoint/intake.h"
#include "endpoint/outlet.h"
#include "endpoint/receipts.h"

enum {
	SOCKET_BYTES = 1024 * 1024, /* the default holds only 278 small writes, measured */
	REFUSALS_TOLD = 10,
	BACKLOG_MAX = 16 * 1024, /* of untaken events: what is not urgent waits or is left out */
};

/* What "end" will say. */
struct ending {
	enum protocol_exit exit;
	unsigned close_code;
	char reason[WS_REASON_MAX + 1];
	char message[256];
};

struct flow {
	struct conn *conn;
	struct peer *peer;
	struct flow_options options;
	int fd;
	struct intake *intake;
	struct outlet *outlet;
	struct caller caller; /* of what it asks; only if it reads, too */
	struct mark_holder holder;
	struct receipts receipts;
	struct later settle;
	enum conn_state told;
	uint64_t missed;              /* not told yet */
	uint64_t taken, refused;      /* records from the client */
	const char *problem;          /* of the first one refused; constant */
	const char *broken;           /* why nothing more can be read; constant */
	bool wants_finish, finishing; /* the input has ended; conn_finish() was called */
	uint64_t attempt;             /* ... in this session of the connection */
	struct confirm_waiter confirm;
	bool confirming; /* the input has ended, the answer is awaited */
	bool unconfirmed;
	bool winding_up, done;
	struct ending ending;
	void (*ended)(void *owner);
	void *owner;
};

/* --- events for the client ------------------------------------------------------------------ */

/* R: how making the line went. */
static void flow_tell(struct flow *flow, struct buf *line, int r)
{
	if (r >= 0)
		r = buf_append_char(line, '}');
	if (r >= 0) {
		peer_send(flow->peer, line, -1);
		return;
	}
	buf_done(line);
	peer_drop(flow->peer);
}

static int put_member(struct buf *line, const char *key, const char *text)
{
	int r = buf_printf(line, ",\"%s\":", key);

	return r < 0 ? r : text ? peer_quote(line, text, strlen(text)) : json_quote_str(line, NULL);
}

static void flow_tell_missed(struct flow *flow)
{
	struct buf line;

	if (!flow->missed)
		return;
	peer_line_init(&line);
	flow_tell(flow, &line,
		  buf_printf(&line, "{\"event\":\"missed\",\"messages\":%llu",
			     (unsigned long long)flow->missed));
	flow->missed = 0;
}

static void flow_tell_state(struct flow *flow)
{
	enum conn_state state = conn_state(flow->conn);
	const struct cause *cause = conn_cause(flow->conn);
	struct buf line;
	int r;

	if (state == flow->told || peer_backlog(flow->peer) > BACKLOG_MAX)
		return;
	flow->told = state;
	peer_line_init(&line);
	r = buf_printf(&line, "{\"event\":\"state\",\"state\":\"%s\"", conn_state_names[state]);
	if (r >= 0 && state >= CONN_CLOSED && cause->class != CAUSE_NONE)
		r = put_member(&line, "message", cause->text);
	flow_tell(flow, &line, r);
}

static void flow_tell_end(struct flow *flow)
{
	const struct ending *end = &flow->ending;
	enum conn_state state = conn_state(flow->conn);
	struct buf line;
	int r;

	peer_line_init(&line);
	r = buf_printf(&line, "{\"event\":\"end\",\"exit\":%d", end->exit);
	if (r >= 0)
		r = put_member(&line, "message", end->message);
	if (r >= 0)
		r = end->close_code ? buf_printf(&line, ",\"close_code\":%u", end->close_code)
				    : buf_append_str(&line, ",\"close_code\":null");
	if (r >= 0)
		r = put_member(&line, "close_reason", end->close_code ? end->reason : NULL);
	if (r >= 0)
		r = buf_printf(
			&line,
			",\"messages\":%llu,\"rejected\":%llu,\"state\":\"%s\",\"queued\":%s",
			(unsigned long long)flow->taken, (unsigned long long)flow->refused,
			conn_state_names[state],
			state != CONN_OPEN && !conn_is_idle(flow->conn) ? "true" : "false");
	flow_tell(flow, &line, r);
}

/* --- the end -------------------------------------------------------------------------------- */

static void flow_stop_intake(struct flow *flow)
{
	if (flow->intake)
		flow->taken = intake_get_stats(flow->intake)->messages;
	flow->intake = intake_free(flow->intake);
}

static void flow_end(struct flow *flow)
{
	if (flow->done)
		return;
	flow->done = true;
	later_cancel(&flow->settle);
	confirm_forget(&flow->confirm);
	caller_leave(&flow->caller);
	flow_stop_intake(flow);
	flow->outlet = outlet_free(flow->outlet);
	shutdown(flow->fd, SHUT_WR);
	if (flow->refused && flow->ending.exit == EXIT_DONE) {
		flow->ending.exit = EXIT_USAGE;
		snprintf(flow->ending.message, sizeof(flow->ending.message), "%s", flow->problem);
	}
	flow_tell_missed(flow);
	flow_tell_end(flow);
	flow->ended(flow->owner);
}

static void flow_note_unconfirmed(struct flow *flow)
{
	flow->ending.exit = EXIT_PEER;
	snprintf(flow->ending.message, sizeof(flow->ending.message),
		 "unconfirmed: the connection has ended before the server was known to have read all");
}

/* The answer has come: from a clean stack, as the flow may be freed by it. */
static void flow_settle_confirm(struct flow *flow)
{
	if (flow->unconfirmed)
		flow_note_unconfirmed(flow);
	flow_end(flow);
}

/* Losses before its first message are none of its own. */
static void flow_confirm_told(void *owner, bool confirmed)
{
	struct flow *flow = owner;

	if (!confirmed && flow->intake && intake_get_stats(flow->intake)->messages == 0) {
		confirm_wait(conn_confirm(flow->conn), &flow->confirm);
		return;
	}
	flow->unconfirmed = !confirmed;
	loop_later(&flow->settle);
}

/* All is queued. */
static void flow_begin_confirming(struct flow *flow)
{
	flow->confirming = true;
	if (list_linked(&flow->confirm.link))
		confirm_wait_end(conn_confirm(flow->conn), &flow->confirm);
	loop_later(&flow->settle);
}

/* No more from the client; what was received still goes out to it.  May end (and free) the flow. */
static void flow_wind_up(struct flow *flow)
{
	flow->winding_up = true;
	flow_stop_intake(flow);
	if (flow->outlet)
		outlet_finish(flow->outlet);
	else
		flow_end(flow);
}

static bool code_is_clean(unsigned code)
{
	return code == 0 || code == 1000 || code == 1001 || code == 1005;
}

static bool cause_is_clean(const struct cause *cause)
{
	return (cause->class == CAUSE_NONE || cause->class == CAUSE_OPERATOR ||
		cause->class == CAUSE_CLOSED) &&
	       code_is_clean((unsigned)cause->code);
}

/* The codes of earlier sessions are not why this one ended. */
static void flow_note_conn_end(struct flow *flow)
{
	const struct cause *cause = conn_cause(flow->conn);
	struct ending *end = &flow->ending;
	const char *reason = NULL;

	end->exit = cause_is_clean(cause) ? EXIT_DONE : EXIT_PEER;
	snprintf(end->message, sizeof(end->message), "%s", cause->text);
	if (cause->class == CAUSE_CLOSED || cause->class == CAUSE_OPERATOR)
		end->close_code = conn_close_code(flow->conn, &reason);
	else if (cause->class == CAUSE_PROTOCOL || cause->class == CAUSE_TOO_BIG)
		end->close_code = (unsigned)cause->code;
	snprintf(end->reason, sizeof(end->reason), "%s", reason ? reason : "");
}

static bool flow_is_over(const struct flow *flow, enum conn_state state)
{
	if (flow->finishing && (conn_get_stats(flow->conn)->attempts != flow->attempt ||
				(state != CONN_OPEN && state != CONN_CLOSING)))
		return true;
	if (state == CONN_CLOSED || state == CONN_FAILED)
		return flow->options.reads || flow->options.own || flow->confirming;
	return flow->options.own && state == CONN_WAITING &&
	       conn_options(flow->conn)->reconnect == CONN_RECONNECT_NEVER;
}

void flow_changed(struct flow *flow)
{
	enum conn_state state;

	if (flow->done || flow->winding_up || flow->options.backlog)
		return;
	state = conn_state(flow->conn);
	flow_tell_state(flow);
	if (flow->confirming && !list_linked(&flow->confirm.link)) {
		flow_settle_confirm(flow);
	} else if (flow_is_over(flow, state)) {
		flow_note_conn_end(flow);
		if (flow->confirming)
			flow_note_unconfirmed(flow);
		flow_wind_up(flow);
	} else if (flow->wants_finish && !flow->finishing && state == CONN_OPEN) {
		/* Not before it is open: what was read from the client has to get out first. */
		flow->finishing = true;
		flow->attempt = conn_get_stats(flow->conn)->attempts;
		conn_finish(flow->conn, flow->options.settle);
	}
}

/* Write as much as the socket takes.  Returns how many messages it does not. */
static uint64_t flow_last_words(struct flow *flow)
{
	uint64_t behind;

	do {
		behind = outlet_behind(flow->outlet);
		outlet_pump(flow->outlet);
	} while (outlet_behind(flow->outlet) < behind);
	return behind;
}

void flow_cut(struct flow *flow)
{
	if (flow->done)
		return;
	if (!flow->winding_up)
		flow_note_conn_end(flow);
	if (list_linked(&flow->confirm.link))
		flow_note_unconfirmed(flow);
	if (flow->outlet && flow_last_words(flow) > 0) {
		flow->missed += outlet_behind(flow->outlet);
		flow->ending.exit = EXIT_PEER;
		snprintf(flow->ending.message, sizeof(flow->ending.message),
			 "the connection was removed before all was read");
	}
	flow_end(flow);
}

void flow_said(struct flow *flow, const char *line, size_t len)
{
	struct json_span span;
	uint64_t bytes;

	if (!json_valid(line, len) || json_find(line, len, "/commit", &span) <= 0 ||
	    json_uint(&span, &bytes) < 0)
		return;
	receipts_confirm(&flow->receipts, bytes);
	if (flow->holder.mark)
		mark_told(flow->holder.mark); /* it is there, so it has heard that, too */
}

/* --- upcalls of intake and outlet ----------------------------------------------------------- */

/* Its input has ended, and all of it is queued; reading goes on. */
static void flow_tell_taken(struct flow *flow)
{
	struct buf line;

	peer_line_init(&line);
	flow_tell(flow, &line, buf_append_str(&line, "{\"event\":\"taken\""));
}

static void flow_intake_ended(void *owner)
{
	struct flow *flow = owner;

	if (flow->options.finish) {
		flow->wants_finish = true;
		flow_changed(flow);
	} else if (flow->done) {
		return;
	} else if (flow->options.confirm) {
		flow_begin_confirming(flow);
	} else if (!flow->options.reads) {
		flow_end(flow);
	} else {
		flow_tell_taken(flow);
	}
}

static void flow_intake_refused(void *owner, const char *problem, bool broken)
{
	struct flow *flow = owner;
	struct buf line;
	int r;

	if (!flow->problem)
		flow->problem = problem;
	if (broken) {
		flow->broken = problem;
		loop_later(&flow->settle); /* the intake is still on the stack */
	}
	if (++flow->refused > REFUSALS_TOLD)
		return;
	peer_line_init(&line);
	r = buf_append_str(&line, "{\"event\":\"rejected\"");
	if (r >= 0)
		r = put_member(&line, "message", problem);
	flow_tell(flow, &line, r);
}

static void flow_outlet_ended(void *owner, int error)
{
	struct flow *flow = owner;

	if (error && !flow->winding_up)
		snprintf(flow->ending.message, sizeof(flow->ending.message),
			 "the reader has gone: %s", strerror(error < 0 ? -error : error));
	flow_end(flow);
}

static void flow_outlet_missed(void *owner, uint64_t messages)
{
	struct flow *flow = owner;

	flow->missed += messages;
	if (peer_backlog(flow->peer) <= BACKLOG_MAX)
		flow_tell_missed(flow);
}

static void flow_caller_answered(void *owner, uint64_t tag, enum calls_answer kind,
				 const struct msg *msg)
{
	struct flow *flow = owner;

	(void)tag;
	(void)kind;
	if (outlet_push(flow->outlet, msg) == 0 || flow->broken)
		return;
	flow->broken = "the client does not read its replies";
	loop_later(&flow->settle);
}

static const struct intake_events flow_intake_events = {
	.ended = flow_intake_ended,
	.refused = flow_intake_refused,
};

static const struct outlet_events flow_outlet_events = {
	.ended = flow_outlet_ended,
	.missed = flow_outlet_missed,
};

/* --- life ----------------------------------------------------------------------------------- */

static void flow_run_settle(void *owner)
{
	struct flow *flow = owner;

	if (!flow->broken || flow->winding_up) {
		flow_changed(flow);
		return;
	}
	flow->ending.exit = EXIT_USAGE;
	snprintf(flow->ending.message, sizeof(flow->ending.message), "%s", flow->broken);
	flow_wind_up(flow);
}

/* Larger buffers are a matter of speed: whatever the kernel grants will do. */
static void socket_enlarge(int fd)
{
	int bytes = SOCKET_BYTES;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static int flow_make_socket(struct flow *flow, int *ret_fd)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	flow->fd = fd[0];
	*ret_fd = fd[1];
	socket_enlarge(fd[0]);
	socket_enlarge(fd[1]);
	return 0;
}

/* Has the client left, and its end of file is still on the way? */
static bool flow_peer_is_there(void *owner)
{
	struct flow *flow = owner;

	return peer_look(flow->peer);
}

static void flow_hold(struct flow *flow, struct mark *mark, struct outlet_options *options)
{
	flow->holder = (struct mark_holder){
		.pid = flow->options.pid,
		.still_there = flow_peer_is_there,
		.owner = flow,
	};
	mark_hold(mark, &flow->holder);
	flow->receipts.holder = &flow->holder;
	flow->missed = mark->missed;
	options->receipts = &flow->receipts;
	options->seeks = true;
	options->seek = SEEK_SEQ;
	options->number = mark->seq;
	options->marks = mark->marks;
}

static int flow_make_movers(struct flow *flow)
{
	const struct flow_options *options = &flow->options;
	struct outlet_options outlet = {
		.framing = options->framing,
		.type = options->type,
		.from = options->from,
		.seeks = options->seeks,
		.seek = options->seek,
		.number = options->number,
		.label = options->label,
		.count = options->count,
		.pushed = options->writes,
	};
	const struct calls_terms terms = {.caller = &flow->caller};
	int r = 0;

	if (options->mark)
		flow_hold(flow, options->mark, &outlet);

	if (options->writes)
		r = intake_new(&flow->intake, flow->fd, flow->conn, options->framing, options->type,
			       &flow_intake_events, flow);
	flow->caller = (struct caller){.answered = flow_caller_answered, .owner = flow};
	if (r >= 0 && options->writes && options->reads)
		intake_set_terms(flow->intake, &terms);
	if (r >= 0 && options->reads)
		r = outlet_new(&flow->outlet, flow->fd, flow->conn, &outlet, &flow_outlet_events,
			       flow);
	return r;
}

int flow_new(struct flow **ret, struct conn *conn, struct peer *peer,
	     const struct flow_options *options, void (*ended)(void *owner), void *owner,
	     int *ret_fd)
{
	struct flow *flow = calloc(1, sizeof(*flow));
	cleanup_close int fd = -1;
	int r;

	if (!flow)
		return -ENOMEM;
	flow->fd = -1;
	flow->conn = conn;
	flow->peer = peer;
	flow->options = *options;
	flow->told = conn_state(conn);
	flow->ended = ended;
	flow->owner = owner;
	later_init(&flow->settle, flow_run_settle, flow);
	flow->confirm = (struct confirm_waiter){.told = flow_confirm_told, .owner = flow};
	r = flow_make_socket(flow, &fd);
	if (r >= 0)
		r = flow_make_movers(flow);
	if (r >= 0 && options->confirm)
		confirm_wait(conn_confirm(conn), &flow->confirm);
	if (r < 0) {
		flow_free(flow);
		return r;
	}
	*ret_fd = take_fd(&fd);
	*ret = flow;
	return 0;
}

struct flow *flow_free(struct flow *flow)
{
	if (!flow)
		return NULL;
	later_cancel(&flow->settle);
	confirm_forget(&flow->confirm);
	caller_leave(&flow->caller);
	flow->intake = intake_free(flow->intake);
	flow->outlet = outlet_free(flow->outlet);
	mark_release(&flow->holder);
	if (flow->fd >= 0)
		close(flow->fd);
	free(flow);
	return NULL;
}

void flow_start(struct flow *flow)
{
	loop_later(&flow->settle); /* it may have failed already, before anybody watched */
	flow_tell_missed(flow);    /* by the cursor, while nobody read */
	if (flow->options.backlog)
		outlet_finish_here(flow->outlet);
	if (flow->outlet)
		outlet_start(flow->outlet);
	if (flow->intake)
		intake_start(flow->intake);
}

struct outlet *flow_outlet(struct flow *flow)
{
	return flow->outlet;
}
