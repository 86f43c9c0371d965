/* ws - the state of one WebSocket: what may happen when, how it ends, and why.  The opening
 * handshake is handshake's, what is received wsin's, what is sent wsout's, the ping ping's; each is
 * told here what to do, and the transport's news go to them. */
#include "net/ws.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "codec/deflate.h"
#include "net/closecode.h"
#include "net/closeframe.h"
#include "net/handshake.h"
#include "net/ping.h"
#include "net/transport.h"
#include "net/wsin.h"
#include "net/wsout.h"

enum {
	WS_FLUSH_ROUNDS = 8,
	WS_LINGER_MS = 1000, /* for the server to end the stream when all has been said */
};

enum ws_state {
	WS_UPGRADING, /* the answer's head is not whole */
	WS_REFUSED,   /* it says no, and some of its body is read */
	WS_OPEN,
	WS_CLOSING, /* our owner asked; messages still come in */
	WS_CLOSED,  /* both have said Close: the server's end of stream is awaited */
	WS_FAILED, /* the server broke the rules: our Close is leaving, nothing is heard any more */
	WS_ENDED,  /* `ended` is on its way, or was */
};

struct ws {
	struct transport *transport;
	const struct ws_events *events;
	void *owner;
	struct later later; /* `ended` */
	struct later again; /* goes on reading */
	struct timer linger;
	struct cause *cause; /* why it ends, as soon as that is known */
	uint8_t state;
	bool paused;
	uint16_t peer_code; /* of the server's Close, which is the last thing that `in` holds */

	struct handshake handshake;
	struct wsin in;
	struct wsout out;
	struct ping ping;
};

static void ws_enter(struct ws *ws, enum ws_state state);

static bool ws_receiving(const struct ws *ws)
{
	return (ws->state == WS_OPEN || ws->state == WS_CLOSING) && !ws->paused;
}

/* Something here, not at the server, makes it impossible to go on. */
static void ws_break(struct ws *ws, int error, const char *what)
{
	cause_set(cause_room(&ws->cause), CAUSE_LOCAL, error, "%s: %s", what, strerror(error));
	ws_enter(ws, WS_ENDED);
}

static void ws_fill(struct ws *ws)
{
	int r = ws->state == WS_ENDED ? 0 : wsout_fill(&ws->out);

	if (r < 0)
		ws_break(ws, -r, "cannot send");
}

static void ws_note_written(struct ws *ws)
{
	ping_written(&ws->ping, transport_written(ws->transport));
}

/* A large message goes on being encoded as long as the socket takes it, but not for ever in one
 * turn: then the rest waits for `writable`. */
void ws_flush(struct ws *ws)
{
	for (int i = 0; ws->state != WS_ENDED; i++) {
		ws->out.dirty = false;
		transport_flush(ws->transport);
		ws_note_written(ws);
		if (!wsout_waits(&ws->out))
			return;
		if (i == WS_FLUSH_ROUNDS) {
			transport_ask_writable(ws->transport);
			return;
		}
		ws_fill(ws);
		if (!ws->out.dirty)
			return;
	}
}

/* A flush that our owner has not asked for: he must hear of it if anything of his has left. */
static void ws_flush_own(struct ws *ws)
{
	uint64_t before = ws_written(ws);

	ws_flush(ws);
	if (ws->state != WS_ENDED && ws_written(ws) != before)
		transport_ask_writable(ws->transport);
}

/* --- ending --------------------------------------------------------------------------------- */

/* The one place that changes the state. */
static void ws_enter(struct ws *ws, enum ws_state state)
{
	bool server_closed = ws->state == WS_OPEN && state == WS_CLOSED;

	assert(state > ws->state);
	ws->state = state;
	if (state < WS_CLOSED)
		return;
	wsout_drop(&ws->out); /* no data behind a Close (5.5.1) */
	wsin_stop(&ws->in);
	if (state == WS_ENDED) {
		timer_cancel(&ws->linger);
		transport_pause(ws->transport);
		loop_later(&ws->later);
		return;
	}
	/* Reading is not paused, since both follow from what was read; so the end will be seen. */
	if (server_closed || state == WS_FAILED) /* else our owner's timer bounds it */
		timer_set(&ws->linger, WS_LINGER_MS);
}

/* All of the body that will be shown is there. */
static void ws_end_refused(struct ws *ws)
{
	handshake_show_body(&ws->handshake, cause_room(&ws->cause));
	ws_enter(ws, WS_ENDED);
}

static void ws_linger_due(void *owner)
{
	struct ws *ws = owner;

	if (ws->state == WS_REFUSED)
		ws_end_refused(ws);
	else
		ws_enter(ws, WS_ENDED);
}

/* Nothing more is sent or heard; should there be no memory, there is no Close. */
static void ws_send_last(struct ws *ws, const struct closeframe *close)
{
	uint8_t payload[CLOSEFRAME_PAYLOAD_MAX];

	if (!ws->out.close_sent)
		wsout_put_control(&ws->out, WSOUT_CLOSE, payload,
				  closeframe_encode(close, payload));
	ws_enter(ws, WS_FAILED);
	ws_flush(ws);
	transport_shutdown(ws->transport);
}

/* The server broke a rule: one Close instead of all that still waits, and no more hearing. */
static void ws_fail(struct ws *ws, const struct closeframe *refusal)
{
	enum cause_class class =
		refusal->code == CLOSECODE_TOO_BIG ? CAUSE_TOO_BIG : CAUSE_PROTOCOL;

	cause_set(cause_room(&ws->cause), class, refusal->code, "%s (closed with %u)",
		  refusal->reason, (unsigned)refusal->code);
	ws_send_last(ws, refusal);
}

static void ws_in_stalled(void *owner, const struct closeframe *refusal)
{
	ws_fail(owner, refusal);
}

uint16_t ws_close_code(const struct ws *ws, const char **ret_reason)
{
	bool has_reason = ws->peer_code > 0 && ws->in.control_len > 2;

	*ret_reason = has_reason ? (const char *)ws->in.control_data + 2 : "";
	return ws->peer_code;
}

/* Both have said Close, or will have as soon as ours is out. */
static void ws_explain_close(struct ws *ws)
{
	bool asked = ws->state == WS_CLOSING;
	const char *name = closecode_name(ws->peer_code), *reason;

	ws_close_code(ws, &reason);
	cause_set(cause_room(&ws->cause), asked ? CAUSE_OPERATOR : CAUSE_CLOSED, ws->peer_code,
		  "%s: %u%s%s%s%s%s",
		  asked ? "closed on request, the server said" : "server closed",
		  (unsigned)ws->peer_code, *name ? " " : "", name, *reason ? ": " : "", reason,
		  wsin_in_message(&ws->in) ? " (in the middle of a message)" : "");
}

/* The transport has ended before that. */
static void ws_explain_loss(struct ws *ws, const struct cause *cause)
{
	bool is_end = cause->class == CAUSE_CLOSED && cause->code == CLOSECODE_LOST;

	switch (ws->state) {
	case WS_UPGRADING:
		handshake_explain_loss(&ws->handshake, cause, cause_room(&ws->cause));
		break;
	case WS_OPEN:
		cause_set(cause_room(&ws->cause), cause->class, cause->code, "%s%s", cause->text,
			  is_end ? " (without a close frame)" : "");
		break;
	case WS_CLOSING:
		cause_set(cause_room(&ws->cause), CAUSE_OPERATOR, CLOSECODE_LOST,
			  "closed on request, the server did not answer: %s", cause->text);
		break;
	default: /* has its own cause, and the transport's end is just what it waits for */
		break;
	}
}

static void ws_hold_close(struct ws *ws, uint16_t code, const char *reason)
{
	uint8_t payload[CLOSEFRAME_PAYLOAD_MAX];
	struct closeframe close;

	closeframe_set(&close, code, reason);
	wsout_hold_close(&ws->out, payload, closeframe_encode(&close, payload));
}

void ws_close(struct ws *ws, uint16_t code, const char *reason)
{
	if (ws->state > WS_OPEN)
		return;
	if (ws->state < WS_OPEN) {
		cause_set(cause_room(&ws->cause), CAUSE_OPERATOR, 0,
			  "closed on request before it was open");
		ws_enter(ws, WS_ENDED);
		return;
	}
	ws_enter(ws, WS_CLOSING);
	ws_hold_close(ws, code, reason);
	ws_fill(ws);
	ws_flush_own(ws);
}

void ws_abort(struct ws *ws, const struct cause *cause)
{
	if (ws->state == WS_ENDED)
		return;
	if (ws->state < WS_CLOSED && ws->state != WS_REFUSED)
		*cause_room(&ws->cause) = *cause;
	ws_enter(ws, WS_ENDED);
}

void ws_give_up(struct ws *ws, uint16_t code, const struct cause *cause)
{
	struct closeframe close;

	if (ws->state != WS_OPEN) {
		ws_abort(ws, cause);
		return;
	}
	*cause_room(&ws->cause) = *cause;
	ws_resume(ws); /* or the end of the stream would not be seen */
	closeframe_set(&close, code, NULL);
	ws_send_last(ws, &close);
}

/* --- what comes in -------------------------------------------------------------------------- */

static void ws_agree(struct ws *ws, const struct deflate_terms *terms)
{
	int r = 0;

	if (terms->agreed)
		r = assembly_inflate(&ws->in.message, terms);
	if (terms->agreed && r >= 0 && ws->handshake.options->compress == DEFLATE_BOTH)
		r = wsout_compress(&ws->out, terms);
	if (r < 0) {
		ws_break(ws, -r, "cannot compress");
		return;
	}
	handshake_hand_over(&ws->handshake, &ws->in.early);
	ws_enter(ws, WS_OPEN);
	ws->events->opened(ws->owner);
}

static void ws_read_head(struct ws *ws)
{
	struct deflate_terms terms;
	int r = handshake_read(&ws->handshake, &terms, &ws->cause);

	if (r == HANDSHAKE_ACCEPTED) {
		ws_agree(ws, &terms);
	} else if (r == HANDSHAKE_REFUSED) {
		ws_enter(ws, WS_REFUSED);
		timer_set(&ws->linger, REFUSAL_WAIT_MS);
	} else if (r == HANDSHAKE_FAILED) {
		ws_enter(ws, WS_ENDED);
	} else if (r < 0) {
		ws_break(ws, -r, "cannot read the answer");
	}
}

static void ws_take_ping(struct ws *ws)
{
	if (!wsout_is_closing(&ws->out)) /* only the newest counts (5.5.3) */
		wsout_pong(&ws->out, ws->in.control_data, ws->in.control_len);
}

static void ws_take_pong(struct ws *ws)
{
	uint32_t rtt_us;

	ws_note_written(ws);
	if (ping_take_pong(&ws->ping, ws->in.control_data, ws->in.control_len, &rtt_us))
		ws->events->pong(ws->owner, ws->ping.mark, rtt_us);
}

static void ws_take_close(struct ws *ws)
{
	size_t len = ws->in.control_len;
	struct closeframe refusal;

	if (!closeframe_judge(ws->in.control_data, len, &ws->peer_code, &refusal)) {
		ws_fail(ws, &refusal);
		return;
	}
	ws_explain_close(ws);
	wsout_drop_data(&ws->out);
	if (!wsout_is_closing(&ws->out)) /* our answer has the same code, and no reason */
		wsout_hold_close(&ws->out, ws->in.control_data, len < 2 ? len : 2);
	ws_fill(ws);
	if (ws->state < WS_CLOSED)
		ws_enter(ws, WS_CLOSED);
}

static void ws_take_control(struct ws *ws)
{
	if (ws->in.control == WSIN_CLOSE)
		ws_take_close(ws);
	else if (ws->in.control == WSIN_PING)
		ws_take_ping(ws);
	else
		ws_take_pong(ws);
}

static void ws_on_again(void *owner)
{
	struct ws *ws = owner;

	if (!ws->paused && ws->state != WS_ENDED)
		transport_resume(ws->transport);
}

/* False: that was all for now. */
static bool ws_take_next(struct ws *ws)
{
	struct closeframe refusal;
	struct msg msg;
	int r = wsin_next(&ws->in, &msg, &refusal);

	switch (r) {
	case WSIN_MESSAGE:
		ws->events->message(ws->owner, &msg);
		wsin_release(&ws->in);
		return true;
	case WSIN_CONTROL:
		ws_take_control(ws);
		return true;
	case WSIN_REFUSED:
		ws_fail(ws, &refusal);
		return false;
	case WSIN_MUCH:
		transport_pause(ws->transport);
		loop_later(&ws->again);
		return false;
	case WSIN_DRY:
		return false;
	default:
		ws_break(ws, -r, "cannot hold a message");
		return false;
	}
}

/* Until the transport has no more, or somebody says stop. */
static void ws_pump(struct ws *ws)
{
	int r = wsin_begin(&ws->in);

	if (r < 0) {
		ws_break(ws, -r, "cannot read frames");
		return;
	}
	while (ws_receiving(ws) && ws_take_next(ws))
		continue;
	wsin_end(&ws->in, ws_receiving(ws));
}

/* --- the transport's upcalls ---------------------------------------------------------------- */

/* After the last frame only the end of the stream matters, but it stands behind whatever the server
 * may still send; and closing with bytes unread would make the kernel reset the connection, which
 * may overtake our Close. */
static void ws_discard(struct ws *ws)
{
	uint8_t bytes[4096];

	while (transport_read(ws->transport, bytes, sizeof(bytes)) > 0)
		continue;
}

static void ws_transport_readable(void *owner)
{
	struct ws *ws = owner;

	if (ws->state == WS_UPGRADING && !ws->paused)
		ws_read_head(ws);
	if (ws->state == WS_REFUSED && handshake_read_body(&ws->handshake))
		ws_end_refused(ws);
	if (ws_receiving(ws))
		ws_pump(ws);
	if (ws->state == WS_CLOSED || ws->state == WS_FAILED)
		ws_discard(ws);
	if (ws->out.dirty)
		ws_flush_own(ws);
}

static void ws_transport_writable(void *owner)
{
	struct ws *ws = owner;

	if (ws->state == WS_ENDED)
		return;
	ws_note_written(ws);
	ws_fill(ws);
	if (ws->state == WS_OPEN || ws->state == WS_CLOSING)
		ws->events->drained(ws->owner);
	if (ws->out.dirty)
		ws_flush_own(ws);
}

static void ws_transport_ended(void *owner, const struct cause *cause)
{
	struct ws *ws = owner;

	ws_explain_loss(ws, cause);
	if (ws->state == WS_REFUSED)
		ws_end_refused(ws);
	else if (ws->state != WS_ENDED)
		ws_enter(ws, WS_ENDED);
}

static void ws_on_later(void *owner)
{
	struct ws *ws = owner;

	ws->events->ended(ws->owner, cause_room(&ws->cause));
}

/* --- what the owner calls ------------------------------------------------------------------- */

static const struct transport_events ws_transport_events = {
	.readable = ws_transport_readable,
	.writable = ws_transport_writable,
	.ended = ws_transport_ended,
};

int ws_start(struct ws **ret, struct transport *transport, const struct url *url,
	     const struct ws_options *options, const struct ws_events *events, void *owner)
{
	struct ws *ws = calloc(1, sizeof(*ws));
	int r;

	if (!ws) {
		transport_free(transport);
		return -ENOMEM;
	}
	ws->transport = transport;
	ws->events = events;
	ws->owner = owner;
	handshake_init(&ws->handshake, transport, url, &options->upgrade);
	wsout_init(&ws->out, transport);
	later_init(&ws->later, ws_on_later, ws);
	later_init(&ws->again, ws_on_again, ws);
	r = wsin_init(&ws->in, transport, options->max_message_bytes, ws_in_stalled, ws);
	if (r >= 0)
		r = timer_init(&ws->linger, ws_linger_due, ws);
	if (r >= 0)
		r = handshake_ask(&ws->handshake, &ws->out);
	if (r < 0) {
		ws_free(ws);
		return r;
	}
	transport_attach(transport, &ws_transport_events, ws);
	transport_flush(transport);
	*ret = ws;
	return 0;
}

struct ws *ws_free(struct ws *ws)
{
	if (!ws)
		return NULL;
	transport_free(ws->transport);
	later_cancel(&ws->later);
	later_cancel(&ws->again);
	timer_done(&ws->linger);
	handshake_done(&ws->handshake);
	wsin_done(&ws->in);
	wsout_done(&ws->out);
	cause_free(ws->cause);
	free(ws);
	return NULL;
}

uint64_t ws_written(const struct ws *ws)
{
	return wsout_written(&ws->out);
}

uint64_t ws_queued(const struct ws *ws)
{
	return ws->out.queued;
}

bool ws_is_open(const struct ws *ws)
{
	return ws->state == WS_OPEN;
}

bool ws_writable(const struct ws *ws)
{
	return ws->state == WS_OPEN && wsout_writable(&ws->out);
}

int ws_send(struct ws *ws, const struct msg *msg, uint64_t *ret_end)
{
	int r;

	assert(ws_writable(ws));
	assert(msg->kind == MSG_TEXT || msg->kind == MSG_BINARY);
	r = wsout_send(&ws->out, msg);
	if (r < 0) {
		if (r != -ENOMEM && r != -ENOBUFS)
			ws_break(ws, -r, "cannot send");
		return r;
	}
	*ret_end = ws->out.queued;
	if (wsout_waits(&ws->out))
		ws_fill(ws);
	return 0;
}

/* Give back what only a busy connection needs. */
static void ws_rest(struct ws *ws)
{
	if (ws->out.encoded == ws->ping.mark) /* nothing was sent since the last ping */
		wsout_rest(&ws->out);
	assembly_rest(&ws->in.message);
}

void ws_ping(struct ws *ws)
{
	if (ws->state != WS_OPEN || ws->ping.outstanding)
		return;
	ws_rest(ws);
	if (ping_send(&ws->ping, &ws->out))
		ws_flush_own(ws);
}

bool ws_ping_outstanding(const struct ws *ws)
{
	return ws->ping.outstanding;
}

uint64_t ws_silence_ms(const struct ws *ws)
{
	return ws->paused ? 0 : ping_silence_ms(&ws->ping, transport_last_rx_ms(ws->transport));
}

void ws_forgive_silence(struct ws *ws)
{
	ping_forgive(&ws->ping);
}

void ws_pause(struct ws *ws)
{
	if (ws->paused || ws->state >= WS_CLOSED)
		return;
	ws->paused = true;
	wsin_stop(&ws->in); /* what is missing may be there, unread */
	transport_pause(ws->transport);
}

void ws_resume(struct ws *ws)
{
	if (!ws->paused || ws->state == WS_ENDED)
		return;
	ws->paused = false;
	ping_forgive(&ws->ping);         /* its answer may stand behind what was not read */
	transport_resume(ws->transport); /* calls `readable`: wslay holds bytes too */
}

const char *ws_location(const struct ws *ws)
{
	return ws->handshake.location;
}

const char *ws_subprotocol(const struct ws *ws)
{
	return ws->handshake.subprotocol ? ws->handshake.subprotocol : "";
}

const char *ws_compression(const struct ws *ws)
{
	return ws->handshake.compression ? ws->handshake.compression : "";
}

const char *ws_address(const struct ws *ws)
{
	return transport_address(ws->transport);
}

const char *ws_tls(const struct ws *ws)
{
	return transport_tls(ws->transport);
}
