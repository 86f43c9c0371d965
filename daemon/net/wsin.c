/* wsin - see wsin.h.  Frame headers are read by wslay, fragments are joined by assembly.
 *
 * Why not wslay's event API: it refuses close codes 1012 to 1014, drops messages that were queued
 * before a Close, checks UTF-8 byte by byte, and holds memory that no limit bounds.  wslay knows
 * the frame headers of what comes in, no more. */
#include "net/wsin.h"

#include <errno.h>
#include <string.h>

#include <wslay/wslay.h>

#include "net/closecode.h"
#include "net/transport.h"

enum {
	INFLATE_BYTES = 4 * 1024 * 1024, /* in one turn: then the others have theirs */
	UNFINISHED_MS = 60 * 1000,       /* without a byte of the message that has begun */
	FRAME_MORE = WSIN_MUCH + 1,      /* nothing is whole yet */
};

/* --- wslay ---------------------------------------------------------------------------------- */

/* What stood behind the head goes first. */
static ssize_t wsin_wslay_recv(uint8_t *data, size_t len, int flags, void *owner)
{
	struct wsin *in = owner;
	size_t n = buf_len(&in->early);

	(void)flags;
	if (n > 0) {
		n = n < len ? n : len;
		memcpy(data, buf_head(&in->early), n);
		buf_consume(&in->early, n);
		buf_trim(&in->early);
	} else {
		n = transport_read(in->transport, data, len);
	}
	in->dry = n == 0;
	in->unparsed += n;
	return n > 0 ? (ssize_t)n : -1;
}

static int new_frames(struct wsin *in)
{
	static const struct wslay_frame_callbacks callbacks = {.recv_callback = wsin_wslay_recv};

	return wslay_frame_context_init(&in->frames, &callbacks, in) == 0 ? 0 : -ENOMEM;
}

static void free_frames(struct wsin *in)
{
	if (in->frames)
		wslay_frame_context_free(in->frames);
	in->frames = NULL;
}

/* --- frames --------------------------------------------------------------------------------- */

/* Of a frame that is not masked; wslay has refused lengths that are not in their shortest form. */
static size_t header_len(uint64_t len)
{
	return len <= 125 ? 2 : len <= UINT16_MAX ? 4 : 10;
}

static bool refuse_message(const struct assembly *message, struct closeframe *refusal)
{
	if (message->refused == CLOSECODE_TOO_BIG)
		return closeframe_refuse(refusal, message->refused,
					 "the server %s (more than %zu bytes)", message->problem,
					 message->bytes.max);
	return closeframe_refuse(refusal, message->refused, "the server %s%s%s", message->problem,
				 *message->detail ? ": " : "", message->detail);
}

static bool begin_frame(struct wsin *in, const struct wslay_frame_iocb *frame,
			struct closeframe *refusal)
{
	if (frame->mask)
		return closeframe_refuse(refusal, CLOSECODE_PROTOCOL, "the server masked a frame");
	/* RSV1: a compressed message begins (RFC 7692 6). */
	if (frame->rsv && (frame->rsv != WSLAY_RSV1_BIT || !in->message.inflater ||
			   wslay_is_ctrl_frame(frame->opcode)))
		return closeframe_refuse(refusal, CLOSECODE_PROTOCOL,
					 "the server set reserved bits in a frame");
	in->frame_left = frame->payload_length;
	in->unparsed -= header_len(frame->payload_length);
	switch (frame->opcode) {
	case WSLAY_CONTINUATION_FRAME:
	case WSLAY_TEXT_FRAME:
	case WSLAY_BINARY_FRAME:
		return assembly_begin(&in->message, frame->opcode, frame->rsv,
				      frame->payload_length) ||
		       refuse_message(&in->message, refusal);
	case WSLAY_CONNECTION_CLOSE:
	case WSLAY_PING:
	case WSLAY_PONG:
		in->control = frame->opcode;
		in->control_len = 0;
		return true;
	default:
		return closeframe_refuse(refusal, CLOSECODE_PROTOCOL,
					 "the server sent a frame of unknown type %u",
					 (unsigned)frame->opcode);
	}
}

static int take_control(struct wsin *in, const struct wslay_frame_iocb *chunk)
{
	/* wslay has refused control frames of more than 125 bytes or without FIN. */
	memcpy(in->control_data + in->control_len, chunk->data, chunk->data_length);
	in->control_len = (uint8_t)(in->control_len + chunk->data_length);
	if (in->in_frame)
		return FRAME_MORE;
	in->control_data[in->control_len] = '\0';
	return WSIN_CONTROL;
}

static int take_data(struct wsin *in, const struct wslay_frame_iocb *chunk, struct msg *ret,
		     struct closeframe *refusal)
{
	int r;

	*ret = (struct msg){.kind = 0};
	r = assembly_take(&in->message, chunk->data, chunk->data_length,
			  chunk->fin && !in->in_frame, ret);
	if (r == ASSEMBLY_MORE)
		return FRAME_MORE;
	if (r == ASSEMBLY_REFUSED) {
		refuse_message(&in->message, refusal);
		return WSIN_REFUSED;
	}
	if (r < 0)
		return r;
	ret->time_us = loop_wall_us();
	return WSIN_MESSAGE;
}

static int take_chunk(struct wsin *in, const struct wslay_frame_iocb *chunk, struct msg *ret,
		      struct closeframe *refusal)
{
	if (!in->in_frame && !begin_frame(in, chunk, refusal))
		return WSIN_REFUSED;
	in->unparsed -= chunk->data_length;
	in->frame_left -= chunk->data_length;
	in->in_frame = in->frame_left > 0;
	if (wslay_is_ctrl_frame(chunk->opcode))
		return take_control(in, chunk);
	in->chunks++;
	return take_data(in, chunk, ret, refusal);
}

/* --- a message that does not end ------------------------------------------------------------ */

static bool is_unfinished(const struct wsin *in)
{
	return in->message.kind || in->in_frame || in->unparsed > 0;
}

/* A server that answers pings and never ends its message would hold memory, and us, for ever. */
static void wsin_unfinished_due(void *owner)
{
	struct wsin *in = owner;
	uint64_t silence_ms = loop_now_ms() - in->progress_ms;
	struct closeframe refusal;

	if (silence_ms < UNFINISHED_MS) {
		timer_set(&in->unfinished, UNFINISHED_MS - silence_ms);
		return;
	}
	closeframe_refuse(&refusal, CLOSECODE_POLICY,
			  "the server has not gone on with a message for %d s",
			  UNFINISHED_MS / 1000);
	in->stalled(in->owner, &refusal);
}

/* Once for all that was read.  A timer that is set finds out by itself that there was progress. */
static void watch_unfinished(struct wsin *in, bool goes_on)
{
	bool wanted = goes_on && is_unfinished(in);

	if (wanted && (in->chunks != in->chunks_seen || !timer_is_set(&in->unfinished))) {
		in->progress_ms = loop_now_ms();
		in->chunks_seen = in->chunks;
	}
	if (wanted && !timer_is_set(&in->unfinished))
		timer_set(&in->unfinished, UNFINISHED_MS);
	else if (!wanted && timer_is_set(&in->unfinished))
		timer_cancel(&in->unfinished);
}

/* --- what the ws calls ---------------------------------------------------------------------- */

int wsin_init(struct wsin *in, struct transport *transport, uint64_t max_message_bytes,
	      void (*stalled)(void *owner, const struct closeframe *refusal), void *owner)
{
	in->transport = transport;
	in->stalled = stalled;
	in->owner = owner;
	assembly_init(&in->message, max_message_bytes);
	return timer_init(&in->unfinished, wsin_unfinished_due, in);
}

void wsin_done(struct wsin *in)
{
	free_frames(in);
	timer_done(&in->unfinished);
	buf_done(&in->early);
	assembly_done(&in->message);
}

int wsin_begin(struct wsin *in)
{
	in->message.inflated = 0;
	return in->frames ? 0 : new_frames(in);
}

/* WANT_READ does not mean that there are no more bytes: wslay says so after each read that left a
 * header unfinished. */
int wsin_next(struct wsin *in, struct msg *ret, struct closeframe *ret_refusal)
{
	struct wslay_frame_iocb chunk;
	int r = FRAME_MORE;

	while (r == FRAME_MORE) {
		ssize_t n;

		if (in->message.inflated > INFLATE_BYTES) /* of 256 KiB there may come 256 MiB */
			return WSIN_MUCH;
		n = wslay_frame_recv(in->frames, &chunk);
		if (n >= 0) {
			r = take_chunk(in, &chunk, ret, ret_refusal);
		} else if (n != WSLAY_ERR_WANT_READ) {
			closeframe_refuse(ret_refusal, CLOSECODE_PROTOCOL,
					  "the server sent a broken frame header");
			return WSIN_REFUSED;
		} else if (in->dry) {
			return WSIN_DRY;
		}
	}
	return r;
}

void wsin_release(struct wsin *in)
{
	assembly_clear(&in->message);
}

void wsin_end(struct wsin *in, bool goes_on)
{
	watch_unfinished(in, goes_on);
	/* Between frames wslay knows nothing, and has 4 KiB to know it in. */
	if (!in->in_frame && in->unparsed == 0)
		free_frames(in);
}

void wsin_stop(struct wsin *in)
{
	timer_cancel(&in->unfinished);
}

bool wsin_in_message(const struct wsin *in)
{
	return in->message.kind;
}
