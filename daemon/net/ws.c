/* ws - the message layer of RFC 6455 above wslay's frame API: the opening handshake, what is received,
 * the close, and the one ping.  Sending is wsout's, joining fragments is assembly's.
 *
 * Why not wslay's event API: it refuses close codes 1012 to 1014, drops messages that were queued
 * before a Close, checks UTF-8 byte by byte, and holds memory that no limit bounds.  wslay knows the
 * frame headers of what comes in, no more. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <wslay/wslay.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "codec/deflate.h"
#include "codec/utf8.h"
#include "net/assembly.h"
#include "net/closecode.h"
#include "net/refusal.h"
#include "net/transport.h"
#include "net/ws.h"
#include "net/wsout.h"

enum {
	WS_INTERIM_MAX = 8, /* answers 1xx before the one that counts */
	WS_HEAD_STEP = 4096,
	WS_FLUSH_ROUNDS = 8,
	WS_INFLATE_BYTES = 4 * 1024 * 1024, /* in one turn: then the others have theirs */
	WS_UNFINISHED_MS = 60 * 1000, /* without a byte of the message that has begun */
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
	wslay_frame_context_ptr frames;
	const struct url *url; /* as the options, until we are open */
	const struct ws_options *options;
	const struct ws_events *events;
	void *owner;
	char *subprotocol; /* copies: the options may go when we are open */
	char *compression;
	char *location;
	struct later later; /* `ended` */
	struct later again; /* goes on reading */
	struct timer linger;
	struct cause *cause; /* why it ends, as soon as that is known */
	uint8_t state;
	bool paused;
	bool dry;        /* the transport had no more bytes for wslay */
	uint16_t peer_code;

	/* the handshake; then what stood behind its head, until wslay has taken it */
	char key[UPGRADE_KEY_LEN + 1];
	uint8_t interim;
	struct refusal refusal;
	struct buf head;

	/* the frame and the message being received */
	uint64_t frame_left;
	size_t unparsed; /* bytes that wslay has taken, and not given back in frames */
	bool in_frame;
	struct timer unfinished;      /* set while a message or frame is */
	uint32_t chunks, chunks_seen; /* of messages; when it was looked last */
	uint64_t progress_ms;         /* when there was a new one */
	uint8_t ctl_len;
	uint8_t ctl[WSOUT_CONTROL_MAX + 1]; /* a control frame's payload; in the end the Close's */
	struct assembly in;

	struct wsout out;

	/* the one ping */
	bool ping_outstanding, ping_left;
	uint64_t ping_count;
	uint64_t ping_mark; /* position of what went before it */
	uint64_t ping_end;  /* its own end in the transport's stream */
	uint64_t ping_sent_us, ping_left_ms;
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

static void ws_note_ping_left(struct ws *ws)
{
	if (!ws->ping_outstanding || ws->ping_left ||
	    transport_written(ws->transport) < ws->ping_end)
		return;
	ws->ping_left = true;
	ws->ping_left_ms = loop_now_ms();
}

/* A large message goes on being encoded as long as the socket takes it, but not for ever in one turn:
 * then the rest waits for `writable`. */
void ws_flush(struct ws *ws)
{
	for (int i = 0; ws->state != WS_ENDED; i++) {
		ws->out.dirty = false;
		transport_flush(ws->transport);
		ws_note_ping_left(ws);
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
	timer_cancel(&ws->unfinished);
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
	refusal_tell(&ws->refusal, buf_head(&ws->head), buf_len(&ws->head), ws->url,
		     &ws->options->upgrade, cause_room(&ws->cause));
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
static void ws_send_last(struct ws *ws, const uint8_t *close, size_t len)
{
	if (!ws->out.close_sent)
		wsout_put_control(&ws->out, WSOUT_CLOSE, close, len);
	ws_enter(ws, WS_FAILED);
	ws_flush(ws);
	transport_shutdown(ws->transport);
}

/* The server broke a rule: one Close instead of all that still waits, and no more hearing.  Always
 * false, for those who return what they found. */
__attribute__((format(printf, 3, 4))) static bool ws_fail(struct ws *ws, uint16_t code,
							  const char *format, ...)
{
	enum cause_class class = code == CLOSECODE_TOO_BIG ? CAUSE_TOO_BIG : CAUSE_PROTOCOL;
	char text[2 + WS_REASON_MAX + 1] = {(char)(code >> 8), (char)code};
	va_list args;

	va_start(args, format);
	vsnprintf(text + 2, sizeof(text) - 2, format, args);
	va_end(args);
	cause_set(cause_room(&ws->cause), class, code, "%s (closed with %u)", text + 2, (unsigned)code);
	ws_send_last(ws, (uint8_t *)text, 2 + strlen(text + 2));
	return false;
}

uint16_t ws_close_code(const struct ws *ws, const char **ret_reason)
{
	*ret_reason = ws->peer_code > 0 && ws->ctl_len > 2 ? (const char *)ws->ctl + 2 : "";
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
		  ws->in.kind ? " (in the middle of a message)" : "");
}

static bool ws_is_plain_tcp(const struct ws *ws)
{
	return !*transport_tls(ws->transport) && *transport_address(ws->transport) != '/';
}

/* Why a server may say nothing, or no more than 400: one that waits for TLS takes a request for garbage,
 * and in TLS 1.3 one that misses our certificate says so behind the handshake, if at all. */
static const char *ws_mute_hint(const struct ws *ws)
{
	if (ws_is_plain_tcp(ws))
		return " (perhaps this port wants TLS: wss://)";
	if (transport_wants_certificate(ws->transport))
		return " (the server wants a client certificate, see cert and key)";
	return "";
}

/* The transport has ended before that. */
static void ws_explain_loss(struct ws *ws, const struct cause *cause)
{
	bool is_end = cause->class == CAUSE_CLOSED && cause->code == CLOSECODE_LOST;
	bool is_mute = is_end && buf_len(&ws->head) == 0;

	switch (ws->state) {
	case WS_UPGRADING:
		cause_set(cause_room(&ws->cause), cause->class, cause->code, "in the opening handshake: %s%s",
			  cause->text, is_mute ? ws_mute_hint(ws) : "");
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
	uint8_t data[2 + WS_REASON_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
	size_t len = reason ? strlen(reason) : 0;

	if (len > WS_REASON_MAX) /* not in the middle of a character */
		len = WS_REASON_MAX - utf8_tail((const uint8_t *)reason, WS_REASON_MAX);
	if (len > 0)
		memcpy(data + 2, reason, len);
	wsout_hold_close(&ws->out, data, code > 0 ? 2 + len : 0);
}

void ws_close(struct ws *ws, uint16_t code, const char *reason)
{
	if (ws->state > WS_OPEN)
		return;
	if (ws->state < WS_OPEN) {
		cause_set(cause_room(&ws->cause), CAUSE_OPERATOR, 0, "closed on request before it was open");
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
	const uint8_t close[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	if (ws->state != WS_OPEN) {
		ws_abort(ws, cause);
		return;
	}
	*cause_room(&ws->cause) = *cause;
	ws_resume(ws); /* or the end of the stream would not be seen */
	ws_send_last(ws, close, sizeof(close));
}

/* --- receiving: control frames -------------------------------------------------------------- */

static void ws_take_ping(struct ws *ws)
{
	if (!wsout_is_closing(&ws->out))
		wsout_pong(&ws->out, ws->ctl, ws->ctl_len); /* only the newest counts (5.5.3) */
}

static uint64_t ws_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void ws_take_pong(struct ws *ws)
{
	uint64_t payload = htobe64(ws->ping_count), rtt_us;

	ws_note_ping_left(ws);
	if (!ws->ping_left || ws->ctl_len != sizeof(payload) ||
	    memcmp(ws->ctl, &payload, sizeof(payload)) != 0)
		return; /* unasked for, which is legal */
	rtt_us = ws_clock_us() - ws->ping_sent_us;
	ws->ping_outstanding = ws->ping_left = false;
	ws->events->pong(ws->owner, ws->ping_mark,
			 rtt_us < UINT32_MAX ? (uint32_t)rtt_us : UINT32_MAX);
}

static void ws_take_close(struct ws *ws)
{
	size_t len = ws->ctl_len;
	uint16_t code = CLOSECODE_NONE;

	if (len == 1) {
		ws_fail(ws, CLOSECODE_PROTOCOL, "the server sent a Close with half a code");
		return;
	}
	if (len >= 2) {
		code = (uint16_t)(ws->ctl[0] << 8 | ws->ctl[1]);
		if (!closecode_is_valid(code)) {
			ws_fail(ws, CLOSECODE_PROTOCOL, "the server sent close code %u",
				(unsigned)code);
			return;
		}
		if (!utf8_valid(ws->ctl + 2, len - 2)) {
			ws_fail(ws, CLOSECODE_INVALID,
				"the server sent a close reason that is not UTF-8");
			return;
		}
	}
	ws->peer_code = code;
	ws->ctl[len] = '\0';
	ws_explain_close(ws);
	wsout_drop_data(&ws->out);
	if (!wsout_is_closing(&ws->out))
		wsout_hold_close(&ws->out, ws->ctl, len < 2 ? len : 2);
	ws_fill(ws);
	if (ws->state < WS_CLOSED)
		ws_enter(ws, WS_CLOSED);
}

static void ws_take_control(struct ws *ws, const struct wslay_frame_iocb *chunk)
{
	/* wslay has refused control frames of more than 125 bytes or without FIN. */
	memcpy(ws->ctl + ws->ctl_len, chunk->data, chunk->data_length);
	ws->ctl_len = (uint8_t)(ws->ctl_len + chunk->data_length);
	if (ws->in_frame)
		return;
	if (chunk->opcode == WSLAY_CONNECTION_CLOSE)
		ws_take_close(ws);
	else if (chunk->opcode == WSLAY_PING)
		ws_take_ping(ws);
	else
		ws_take_pong(ws);
}

/* --- receiving: messages -------------------------------------------------------------------- */

static bool ws_refuse_message(struct ws *ws)
{
	const struct assembly *in = &ws->in;

	if (in->refused == CLOSECODE_TOO_BIG)
		return ws_fail(ws, in->refused, "the server %s (more than %zu bytes)", in->problem,
			       in->bytes.max);
	return ws_fail(ws, in->refused, "the server %s%s%s", in->problem, *in->detail ? ": " : "",
		       in->detail);
}

static void ws_take_data(struct ws *ws, const struct wslay_frame_iocb *chunk)
{
	struct msg msg = {.kind = 0};
	int r = assembly_take(&ws->in, chunk->data, chunk->data_length, chunk->fin && !ws->in_frame,
			      &msg);

	if (r == ASSEMBLY_WHOLE) {
		msg.time_us = loop_wall_us();
		ws->events->message(ws->owner, &msg);
		assembly_clear(&ws->in);
	} else if (r == ASSEMBLY_REFUSED) {
		ws_refuse_message(ws);
	} else if (r < 0) {
		ws_break(ws, -r, "cannot hold a message");
	}
}

/* Of a frame that is not masked; wslay has refused lengths that are not in their shortest form. */
static size_t ws_header_len(uint64_t len)
{
	return len <= 125 ? 2 : len <= UINT16_MAX ? 4 : 10;
}

static bool ws_begin_frame(struct ws *ws, const struct wslay_frame_iocb *frame)
{
	if (frame->mask)
		return ws_fail(ws, CLOSECODE_PROTOCOL, "the server masked a frame");
	/* RSV1: a compressed message begins (RFC 7692 6). */
	if (frame->rsv && (frame->rsv != WSLAY_RSV1_BIT || !ws->in.inflater ||
			   wslay_is_ctrl_frame(frame->opcode)))
		return ws_fail(ws, CLOSECODE_PROTOCOL, "the server set reserved bits in a frame");
	ws->frame_left = frame->payload_length;
	ws->unparsed -= ws_header_len(frame->payload_length);
	ws->ctl_len = 0;
	switch (frame->opcode) {
	case WSLAY_CONTINUATION_FRAME:
	case WSLAY_TEXT_FRAME:
	case WSLAY_BINARY_FRAME:
		return assembly_begin(&ws->in, frame->opcode, frame->rsv, frame->payload_length) ||
		       ws_refuse_message(ws);
	case WSLAY_CONNECTION_CLOSE:
	case WSLAY_PING:
	case WSLAY_PONG:
		return true;
	default:
		return ws_fail(ws, CLOSECODE_PROTOCOL, "the server sent a frame of unknown type %u",
			       (unsigned)frame->opcode);
	}
}

static void ws_take_chunk(struct ws *ws, const struct wslay_frame_iocb *chunk)
{
	if (!ws->in_frame && !ws_begin_frame(ws, chunk))
		return;
	ws->unparsed -= chunk->data_length;
	ws->chunks += !wslay_is_ctrl_frame(chunk->opcode);
	ws->frame_left -= chunk->data_length;
	ws->in_frame = ws->frame_left > 0;
	if (wslay_is_ctrl_frame(chunk->opcode))
		ws_take_control(ws, chunk);
	else
		ws_take_data(ws, chunk);
}

/* What stood behind the head goes first. */
static ssize_t ws_wslay_recv(uint8_t *data, size_t len, int flags, void *owner)
{
	struct ws *ws = owner;
	size_t n = buf_len(&ws->head);

	(void)flags;
	if (n > 0) {
		n = n < len ? n : len;
		memcpy(data, buf_head(&ws->head), n);
		buf_consume(&ws->head, n);
		buf_trim(&ws->head);
	} else {
		n = transport_read(ws->transport, data, len);
	}
	ws->dry = n == 0;
	ws->unparsed += n;
	return n > 0 ? (ssize_t)n : -1;
}

static int ws_new_frames(struct ws *ws)
{
	static const struct wslay_frame_callbacks callbacks = {.recv_callback = ws_wslay_recv};

	return wslay_frame_context_init(&ws->frames, &callbacks, ws) == 0 ? 0 : -ENOMEM;
}

static void ws_free_frames(struct ws *ws)
{
	if (ws->frames)
		wslay_frame_context_free(ws->frames);
	ws->frames = NULL;
}

/* A read of 256 KiB may stand for 256 MiB that were compressed. */
static void ws_yield(struct ws *ws)
{
	transport_pause(ws->transport);
	loop_later(&ws->again);
}

static void ws_on_again(void *owner)
{
	struct ws *ws = owner;

	if (!ws->paused && ws->state != WS_ENDED)
		transport_resume(ws->transport);
}

static bool ws_is_unfinished(const struct ws *ws)
{
	return ws->in.kind || ws->in_frame || ws->unparsed > 0;
}

/* A server that answers pings and never ends its message would hold memory, and us, for ever. */
static void ws_unfinished_due(void *owner)
{
	struct ws *ws = owner;
	uint64_t silence_ms = loop_now_ms() - ws->progress_ms;

	if (!ws_receiving(ws) || !ws_is_unfinished(ws))
		return;
	if (silence_ms < WS_UNFINISHED_MS)
		timer_set(&ws->unfinished, WS_UNFINISHED_MS - silence_ms);
	else
		ws_fail(ws, CLOSECODE_POLICY, "the server has not gone on with a message for %d s",
			WS_UNFINISHED_MS / 1000);
}

/* Once for all that was read.  A timer that is set finds out by itself that there was progress. */
static void ws_watch_unfinished(struct ws *ws)
{
	bool wanted = ws_receiving(ws) && ws_is_unfinished(ws);

	if (wanted && (ws->chunks != ws->chunks_seen || !timer_is_set(&ws->unfinished))) {
		ws->progress_ms = loop_now_ms();
		ws->chunks_seen = ws->chunks;
	}
	if (wanted && !timer_is_set(&ws->unfinished))
		timer_set(&ws->unfinished, WS_UNFINISHED_MS);
	else if (!wanted && timer_is_set(&ws->unfinished))
		timer_cancel(&ws->unfinished);
}

/* Frames are taken until the transport has no more, or somebody says stop.  WANT_READ does not mean
 * that there are no more bytes: wslay says so after each read that left a header unfinished. */
static void ws_pump(struct ws *ws)
{
	struct wslay_frame_iocb chunk;
	int r = ws->frames ? 0 : ws_new_frames(ws);

	if (r < 0) {
		ws_break(ws, -r, "cannot read frames");
		return;
	}
	ws->in.inflated = 0;
	while (ws_receiving(ws)) {
		ssize_t n;

		if (ws->in.inflated > WS_INFLATE_BYTES) {
			ws_yield(ws);
			return;
		}
		n = wslay_frame_recv(ws->frames, &chunk);

		if (n >= 0)
			ws_take_chunk(ws, &chunk);
		else if (n != WSLAY_ERR_WANT_READ)
			ws_fail(ws, CLOSECODE_PROTOCOL, "the server sent a broken frame header");
		else if (ws->dry)
			break;
	}
	ws_watch_unfinished(ws);
	/* Between frames it knows nothing, and has 4 KiB to know it in. */
	if (!ws->in_frame && ws->unparsed == 0)
		ws_free_frames(ws);
}

/* --- the opening handshake ------------------------------------------------------------------ */

static void ws_refuse(struct ws *ws, const char *problem)
{
	cause_set(cause_room(&ws->cause), CAUSE_HTTP, 0, "in the opening handshake: %s", problem);
	ws_enter(ws, WS_ENDED);
}

/* A record with an alert in it, of any version (RFC 8446 5.1). */
static bool ws_head_is_tls(const struct ws *ws)
{
	const uint8_t *head = buf_head(&ws->head);

	return buf_len(&ws->head) >= 2 && head[0] == 0x15 && head[1] == 0x03;
}

/* nginx says no more than 400. */
static void ws_hint_refused(struct ws *ws, int status)
{
	struct cause refused = *cause_room(&ws->cause);

	if (status != 400)
		return;
	cause_set(ws->cause, refused.class, refused.code, "%.160s%s", refused.text, ws_mute_hint(ws));
	ws->cause->retry_after_ms = refused.retry_after_ms;
}

static int ws_agree(struct ws *ws, const struct deflate_terms *terms)
{
	char text[DEFLATE_TERMS_MAX];
	int r = assembly_inflate(&ws->in, terms);

	if (r >= 0 && ws->options->upgrade.compress == DEFLATE_BOTH)
		r = wsout_compress(&ws->out, terms);
	deflate_describe(terms, text);
	ws->compression = strdup(text);
	return r;
}

static void ws_take_acceptance(struct ws *ws, const struct http_head *head)
{
	struct deflate_terms terms;
	const char *subprotocol;
	struct cause cause;
	int r;

	if (upgrade_accept(head, &ws->options->upgrade, ws->key, &subprotocol, &terms, &cause) < 0) {
		*cause_room(&ws->cause) = cause;
		ws_enter(ws, WS_ENDED);
		return;
	}
	r = terms.agreed ? ws_agree(ws, &terms) : 0;
	if (r < 0) {
		ws_break(ws, -r, "cannot compress");
		return;
	}
	ws->subprotocol = subprotocol ? strdup(subprotocol) : NULL;
	buf_consume(&ws->head, head->head_len);
	buf_trim(&ws->head);
	ws_enter(ws, WS_OPEN);
	ws->events->opened(ws->owner);
}

static void ws_judge_body(struct ws *ws)
{
	if (refusal_is_whole(&ws->refusal, buf_head(&ws->head), buf_len(&ws->head)))
		ws_end_refused(ws);
}

static void ws_read_body(struct ws *ws)
{
	uint8_t bytes[1024];
	size_t n;

	while (ws->state == WS_REFUSED &&
	       (n = transport_read(ws->transport, bytes, sizeof(bytes))) > 0) {
		if (buf_append(&ws->head, bytes, n) < 0)
			ws_end_refused(ws);
		else
			ws_judge_body(ws);
	}
}

static void ws_take_head(struct ws *ws, const struct http_head *head)
{
	if (head->status < 200 && head->status != 101) {
		buf_consume(&ws->head, head->head_len);
		if (++ws->interim > WS_INTERIM_MAX)
			ws_refuse(ws, "too many answers 1xx");
		return;
	}
	if (head->status != 101) {
		upgrade_refused(head, loop_wall_us(), cause_room(&ws->cause));
		ws_hint_refused(ws, head->status);
		ws->location = upgrade_location(head);
		refusal_init(&ws->refusal, head);
		buf_consume(&ws->head, head->head_len);
		ws_enter(ws, WS_REFUSED);
		timer_set(&ws->linger, REFUSAL_WAIT_MS);
		ws_judge_body(ws);
		return;
	}
	ws_take_acceptance(ws, head);
}

/* Whole heads in what has come so far. */
static void ws_judge_head(struct ws *ws)
{
	while (ws->state == WS_UPGRADING && buf_len(&ws->head) > 0) {
		const char *problem = "";
		struct http_head head;
		int r = http_parse_head(&head, buf_head(&ws->head), buf_len(&ws->head), &problem);

		if (r == HTTP_MORE)
			return;
		if (r == HTTP_DONE)
			ws_take_head(ws, &head);
		else
			ws_refuse(ws, ws_head_is_tls(ws) ? "the server speaks TLS on this port (use wss://)"
							 : problem);
	}
}

static void ws_read_head(struct ws *ws)
{
	while (ws->state == WS_UPGRADING && !ws->paused) {
		size_t had = buf_len(&ws->head), room = buf_room(&ws->head), n;
		uint8_t *tail;
		int r;

		if (room == 0) {
			ws_refuse(ws, "the head is too large");
			return;
		}
		n = room < WS_HEAD_STEP ? room : WS_HEAD_STEP;
		r = buf_reserve(&ws->head, n, &tail);
		if (r < 0) {
			ws_break(ws, -r, "cannot read the answer");
			return;
		}
		n = transport_read(ws->transport, tail, n);
		if (n == 0)
			return;
		buf_commit(&ws->head, n);
		/* A greeting is judged at once, the rest only line by line: drips cost no more. */
		if (had < 64 || memchr(tail, '\n', n))
			ws_judge_head(ws);
	}
}

static int ws_send_request(struct ws *ws, const struct url *url)
{
	struct buf head;
	int r;

	buf_init_secret(&head, HTTP_HEAD_MAX);
	r = upgrade_request(&head, url, &ws->options->upgrade, ws->key);
	if (r >= 0)
		r = wsout_put_head(&ws->out, &head);
	buf_done(&head);
	return r;
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

	if (ws->state == WS_UPGRADING)
		ws_read_head(ws);
	if (ws->state == WS_REFUSED)
		ws_read_body(ws);
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
	ws_note_ping_left(ws);
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
	ws->url = url;
	ws->options = options;
	ws->events = events;
	ws->owner = owner;
	buf_init(&ws->head, HTTP_HEAD_MAX);
	assembly_init(&ws->in, options->max_message_bytes);
	wsout_init(&ws->out, transport);
	later_init(&ws->later, ws_on_later, ws);
	later_init(&ws->again, ws_on_again, ws);
	r = timer_init(&ws->linger, ws_linger_due, ws);
	if (r >= 0)
		r = timer_init(&ws->unfinished, ws_unfinished_due, ws);
	if (r >= 0)
		r = ws_send_request(ws, url);
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
	ws_free_frames(ws);
	later_cancel(&ws->later);
	later_cancel(&ws->again);
	timer_done(&ws->linger);
	timer_done(&ws->unfinished);
	buf_done(&ws->head);
	assembly_done(&ws->in);
	wsout_done(&ws->out);
	cause_free(ws->cause);
	free(ws->subprotocol);
	free(ws->compression);
	wipe_free(ws->location); /* may repeat what we have asked for */
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
	if (ws->out.encoded == ws->ping_mark) /* nothing was sent since the last ping */
		wsout_rest(&ws->out);
	assembly_rest(&ws->in);
}

void ws_ping(struct ws *ws)
{
	uint64_t payload;

	if (ws->state != WS_OPEN || ws->ping_outstanding)
		return;
	ws_rest(ws);
	payload = htobe64(ws->ping_count + 1);
	if (wsout_put_control(&ws->out, WSOUT_PING, (uint8_t *)&payload, sizeof(payload)) < 0)
		return; /* tx is as full as can be, or there is no memory: next time */
	ws->ping_count++;
	ws->ping_outstanding = true;
	ws->ping_left = false;
	ws->ping_mark = ws->out.encoded;
	ws->ping_end = transport_committed(ws->transport);
	ws->ping_sent_us = ws_clock_us();
	ws_flush_own(ws);
}

bool ws_ping_outstanding(const struct ws *ws)
{
	return ws->ping_outstanding;
}

uint64_t ws_silence_ms(const struct ws *ws)
{
	uint64_t since_ms = transport_last_rx_ms(ws->transport), now_ms = loop_now_ms();

	if (!ws->ping_left || ws->paused)
		return 0;
	if (since_ms < ws->ping_left_ms)
		since_ms = ws->ping_left_ms;
	return now_ms > since_ms ? now_ms - since_ms : 0;
}

void ws_forgive_silence(struct ws *ws)
{
	if (ws->ping_left)
		ws->ping_left_ms = loop_now_ms();
}

void ws_pause(struct ws *ws)
{
	if (ws->paused || ws->state >= WS_CLOSED)
		return;
	ws->paused = true;
	timer_cancel(&ws->unfinished); /* what is missing may be there, unread */
	transport_pause(ws->transport);
}

void ws_resume(struct ws *ws)
{
	if (!ws->paused || ws->state == WS_ENDED)
		return;
	ws->paused = false;
	ws->ping_left_ms = loop_now_ms(); /* an answer may stand behind what was not read */
	transport_resume(ws->transport);  /* calls `readable`: wslay holds bytes too */
}

const char *ws_location(const struct ws *ws)
{
	return ws->location;
}

const char *ws_subprotocol(const struct ws *ws)
{
	return ws->subprotocol ? ws->subprotocol : "";
}

const char *ws_compression(const struct ws *ws)
{
	return ws->compression ? ws->compression : "";
}

const char *ws_address(const struct ws *ws)
{
	return transport_address(ws->transport);
}

const char *ws_tls(const struct ws *ws)
{
	return transport_tls(ws->transport);
}
