/* wsout - see the header.
 *
 * Not by wslay_frame_send(): that masks byte by byte at 0.7 ns each and copies twice more, which
 * alone costs more than all the rest of sending.
 *
 * Between the fragments of a large message pings, pongs and a Close may pass, so where in the byte
 * stream a message will end is not known when it is sent.  Only the bytes of data frames are
 * counted therefore, where the end is known at once (a compressed message is compressed as a whole,
 * first); `gaps` keep what must be subtracted from the transport's position, until the socket has
 * taken it. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "codec/deflate.h"
#include "net/transport.h"
#include "net/ws.h"
#include "net/wsout.h"

enum {
	WSOUT_FIN = 0x80,
	WSOUT_RSV1 = 0x40, /* RFC 7692 6: on the first frame of a compressed message */
	WSOUT_MASKED = 0x80,
};

void wsout_init(struct wsout *out, struct transport *transport)
{
	*out = (struct wsout){.transport = transport};
}

void wsout_done(struct wsout *out)
{
	mask_done(&out->mask);
	buf_done(&out->kept);
	out->deflater = deflater_free(out->deflater);
}

int wsout_compress(struct wsout *out, const struct deflate_terms *terms)
{
	return deflater_new(&out->deflater, terms);
}

/* --- encoding ------------------------------------------------------------------------------- */

static size_t wsout_header_len(size_t len)
{
	return (len <= 125 ? 2 : len <= UINT16_MAX ? 4 : 10) + MASK_KEY_LEN;
}

static size_t wsout_frame_len(size_t len)
{
	return wsout_header_len(len) + len;
}

/* The first two to ten bytes, length in its shortest form (5.2). */
static void wsout_encode_header(uint8_t *tail, uint8_t first, size_t len)
{
	*tail++ = first;
	if (len <= 125) {
		*tail = WSOUT_MASKED | (uint8_t)len;
	} else if (len <= UINT16_MAX) {
		uint16_t len16 = htobe16((uint16_t)len);

		*tail++ = WSOUT_MASKED | 126;
		memcpy(tail, &len16, sizeof(len16));
	} else {
		uint64_t len64 = htobe64(len);

		*tail++ = WSOUT_MASKED | 127;
		memcpy(tail, &len64, sizeof(len64));
	}
}

/* BURST: see mask_key(). */
static int wsout_put_frame(struct wsout *out, bool burst, uint8_t first, const uint8_t *data,
			   size_t len)
{
	size_t header = wsout_header_len(len);
	uint8_t key[MASK_KEY_LEN], *tail;
	int r = transport_reserve(out->transport, header + len, &tail);

	if (r < 0)
		return r;
	r = mask_key(&out->mask, burst, key);
	if (r < 0)
		return r;
	wsout_encode_header(tail, first, len);
	memcpy(tail + header - MASK_KEY_LEN, key, MASK_KEY_LEN);
	if (len > 0)
		mask_copy(tail + header, data, len, key);
	transport_commit(out->transport, header + len);
	return 0;
}

int wsout_put_head(struct wsout *out, const struct buf *head)
{
	uint8_t *tail;
	int r = transport_reserve(out->transport, buf_len(head), &tail);

	if (r < 0)
		return r;
	memcpy(tail, buf_head(head), buf_len(head));
	transport_commit(out->transport, buf_len(head));
	transport_mark_secret(out->transport);
	gaps_add(&out->gaps, 0, transport_committed(out->transport));
	return 0;
}

/* --- control frames ------------------------------------------------------------------------- */

static unsigned wsout_gaps_room(struct wsout *out)
{
	gaps_retire(&out->gaps, transport_written(out->transport));
	return gaps_room(&out->gaps, transport_committed(out->transport));
}

int wsout_put_control(struct wsout *out, uint8_t opcode, const uint8_t *data, size_t len)
{
	uint64_t start = transport_committed(out->transport);
	int r;

	if (wsout_gaps_room(out) == 0)
		return -ENOBUFS;
	r = wsout_put_frame(out, false, WSOUT_FIN | opcode, data, len);
	if (r < 0)
		return r;
	gaps_add(&out->gaps, start, wsout_frame_len(len));
	out->dirty = true;
	if (opcode == WSOUT_CLOSE)
		out->close_sent = true;
	return 0;
}

/* Two gaps are kept back for our ping and our Close. */
static bool wsout_pong_may_go(struct wsout *out)
{
	return transport_room(out->transport) >= TRANSPORT_TX_MAX / 2 && wsout_gaps_room(out) > 2;
}

static void wsout_hold(struct wsout *out, uint8_t opcode, const uint8_t *data, size_t len)
{
	out->held = opcode;
	out->held_len = (uint8_t)len;
	memcpy(out->held_data, data, len);
}

static void wsout_send_held(struct wsout *out)
{
	if (wsout_put_control(out, out->held, out->held_data, out->held_len) == 0)
		out->held = 0; /* else it stays, until `writable` */
}

void wsout_pong(struct wsout *out, const uint8_t *data, size_t len)
{
	wsout_hold(out, WSOUT_PONG, data, len);
	if (wsout_pong_may_go(out))
		wsout_send_held(out);
}

void wsout_hold_close(struct wsout *out, const uint8_t *data, size_t len)
{
	wsout_hold(out, WSOUT_CLOSE, data, len);
}

bool wsout_is_closing(const struct wsout *out)
{
	return out->close_sent || out->held == WSOUT_CLOSE;
}

/* --- messages ------------------------------------------------------------------------------- */

static int wsout_put_fragments(struct wsout *out)
{
	while (out->rest_len > 0) {
		size_t len = out->rest_len < WS_SEND_FRAGMENT ? out->rest_len : WS_SEND_FRAGMENT;
		uint8_t fin = len == out->rest_len ? WSOUT_FIN : 0;
		int r;

		if (transport_room(out->transport) < len + WSOUT_HEADER_MAX + WSOUT_CONTROL_ROOM)
			return 0;
		r = wsout_put_frame(out, true, fin | out->rest_first, out->rest, len);
		if (r == -ENOBUFS)
			return 0;
		if (r < 0)
			return r;
		out->rest += len;
		out->rest_len -= len;
		out->rest_first = WSOUT_CONTINUATION;
		if (out->rest_len == 0)
			buf_done(&out->kept);
		out->encoded += wsout_frame_len(len);
		out->dirty = true;
	}
	return 0;
}

/* All that waits and fits, in the order that the rules want: pong, fragments, Close. */
int wsout_fill(struct wsout *out)
{
	int r;

	if (out->held == WSOUT_PONG && wsout_pong_may_go(out))
		wsout_send_held(out);
	r = wsout_put_fragments(out);
	if (out->held == WSOUT_CLOSE && out->rest_len == 0)
		wsout_send_held(out);
	return r;
}

bool wsout_writable(const struct wsout *out)
{
	return out->rest_len == 0 && transport_room(out->transport) >=
					     WS_SEND_WHOLE + WSOUT_HEADER_MAX + WSOUT_CONTROL_ROOM;
}

/* Where a message ends that begins here, cut into fragments as wsout_put_fragments() does. */
static size_t wsout_fragments_len(size_t len)
{
	size_t rest = len % WS_SEND_FRAGMENT;

	return len / WS_SEND_FRAGMENT * wsout_frame_len(WS_SEND_FRAGMENT) +
	       (rest > 0 ? wsout_frame_len(rest) : 0);
}

/* The queue keeps its messages until they are written.  Greetings are of the configuration, which
 * may be another one by then, or of an opening that has ended. */
static int wsout_keep(struct wsout *out, const struct msg *msg, const uint8_t **data)
{
	int r;

	if (!(msg->flags & MSG_SECRET))
		return 0;
	buf_init_secret(&out->kept, msg->len);
	r = buf_append(&out->kept, msg->data, msg->len);
	*data = buf_head(&out->kept);
	return r;
}

static void wsout_begin_large(struct wsout *out, uint8_t first, const uint8_t *data, size_t len)
{
	out->queued += wsout_fragments_len(len);
	out->rest = data;
	out->rest_len = len;
	out->rest_first = first;
}

int wsout_send(struct wsout *out, const struct msg *msg)
{
	const uint8_t *data = msg->data;
	uint8_t first = msg->kind;
	size_t len = msg->len;
	int r;

	if (out->deflater && !(msg->flags & MSG_SECRET) &&
	    deflater_pack(out->deflater, data, len, &data, &len) == DEFLATER_PACKED)
		first |= WSOUT_RSV1;
	if (len > WS_SEND_WHOLE) {
		r = wsout_keep(out, msg, &data);
		if (r == 0)
			wsout_begin_large(out, first, data, len);
		return r;
	}
	r = wsout_put_frame(out, true, WSOUT_FIN | first, data, len);
	if (r < 0)
		return r;
	out->queued += wsout_frame_len(len);
	out->encoded = out->queued;
	return 0;
}

/* --- the rest ------------------------------------------------------------------------------- */

bool wsout_waits(const struct wsout *out)
{
	return out->rest_len > 0 || out->held;
}

void wsout_drop_data(struct wsout *out)
{
	out->rest_len = 0;
	buf_done(&out->kept);
}

void wsout_drop(struct wsout *out)
{
	wsout_drop_data(out);
	out->held = 0;
}

void wsout_rest(struct wsout *out)
{
	mask_done(&out->mask);
	if (out->deflater && out->rest_len == 0)
		deflater_rest(out->deflater);
}

uint64_t wsout_written(const struct wsout *out)
{
	return gaps_position(&out->gaps, transport_written(out->transport));
}
