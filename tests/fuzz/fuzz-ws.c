/* A WebSocket whose server says anything at all.  Without compression, what is delivered and how it
 * ends is compared with a plain reading of RFC 6455; however the bytes are cut, it is the same; and
 * whatever we say is well-formed.
 *
 * Input: a byte of flags, a byte (max-message), a byte (number of cuts), the cuts, then what the
 * server says behind its head, or with OWN_HEAD all of it: the proof of RFC 6455 1.3 is there put
 * right. */
#include <endian.h>
#include <openssl/evp.h>

#include "codec/base64.h"
#include "codec/utf8.h"
#include "fuzz.h"
#include "loop.h"
#include "net/closecode.h"
#include "net/ws.h"
#include "transport.h"

enum {
	COMPRESS = 1,
	OWN_HEAD = 2,
	FORGETS = 4,
	ECHOES = 8,
	CLOSES = 16,
	PAUSES = 32,
	PINGS = 64,
	STINTS = 128
};
enum { CUTS_MAX = 64, LOG_MAX = 64 << 20, PROOF_LEN = 28 };
#define ACTS (ECHOES | CLOSES | PAUSES | PINGS | STINTS)

static const char proof[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* What became of one stream: messages as kind, length, bytes; and the end. */
struct fate {
	struct buf messages;
	unsigned n;
	enum cause_class class;
	int code;
};

static void fate_add(struct fate *fate, uint8_t kind, const void *data, uint32_t len)
{
	HOLDS(buf_append(&fate->messages, &kind, 1) == 0);
	HOLDS(buf_append(&fate->messages, &len, sizeof(len)) == 0);
	HOLDS(buf_append(&fate->messages, data, len) == 0);
	fate->n++;
}

/* --- a plain reading -------------------------------------------------------------------------- */

struct frame {
	uint8_t opcode, rsv;
	bool fin, mask;
	uint64_t len;
	struct food payload; /* what of it is there */
};

struct model {
	struct fate *fate;
	size_t max;
	uint8_t kind; /* of the message that has begun */
	uint32_t fragments;
	struct buf bytes;
	bool open_end; /* the stream stops where a rule may be broken already, or not */
};

static bool model_end(struct model *model, enum cause_class class, int code)
{
	model->fate->class = class;
	model->fate->code = code;
	return false;
}

static bool model_refuse(struct model *model, int code)
{
	return model_end(model, code == CLOSECODE_TOO_BIG ? CAUSE_TOO_BIG : CAUSE_PROTOCOL, code);
}

/* 5.2.  False: it is not whole, or bad: that is what the frame's length says then. */
static bool read_head(struct model *model, struct food *food, struct frame *ret)
{
	struct food at = *food;
	uint8_t first = take_byte(&at), second = take_byte(&at);
	size_t extra = (second & 127) == 126 ? 2 : (second & 127) == 127 ? 8 : 0;

	*ret = (struct frame){first & 15,   first >> 4 & 7, first & 128,
			      second & 128, second & 127,   {0}};
	if (food->len < 2 + extra + (ret->mask ? 4 : 0)) {
		model->open_end = true;
		return model_end(model, CAUSE_CLOSED, CLOSECODE_LOST);
	}
	if (extra > 0)
		ret->len = 0;
	for (size_t i = 0; i < extra; i++)
		ret->len = ret->len << 8 | take_byte(&at);
	if ((ret->opcode & 8) && (!ret->fin || extra > 0))
		return model_refuse(model, CLOSECODE_PROTOCOL);
	if ((extra == 2 && ret->len < 126) || (extra == 8 && (ret->len < 65536 || ret->len >> 63)))
		return model_refuse(model, CLOSECODE_PROTOCOL);
	take_bytes(&at, ret->mask ? 4 : 0);
	ret->payload = take_bytes(&at, ret->len < at.len ? (size_t)ret->len : at.len);
	*food = at;
	return true;
}

static bool take_close(struct model *model, const struct food *payload)
{
	int code = CLOSECODE_NONE;

	if (payload->len == 1)
		return model_refuse(model, CLOSECODE_PROTOCOL);
	if (payload->len >= 2) {
		code = payload->at[0] << 8 | payload->at[1];
		/* 7.4, and what IANA has added */
		if (code < 1000 || code > 4999 || (code > 1014 && code < 3000) || code == 1004 ||
		    code == 1005 || code == 1006)
			return model_refuse(model, CLOSECODE_PROTOCOL);
		if (!utf8_valid(payload->at + 2, payload->len - 2))
			return model_refuse(model, CLOSECODE_INVALID);
	}
	return model_end(model, CAUSE_CLOSED, code);
}

static bool take_data(struct model *model, const struct frame *frame)
{
	struct utf8 utf8 = {0};
	bool whole = frame->payload.len == frame->len && frame->fin;

	if (!frame->opcode == !model->kind) /* 5.4 */
		return model_refuse(model, CLOSECODE_PROTOCOL);
	if (frame->opcode)
		model->kind = frame->opcode;
	if (frame->len > model->max - buf_len(&model->bytes))
		return model_refuse(model, CLOSECODE_TOO_BIG);
	HOLDS(buf_append(&model->bytes, frame->payload.at, frame->payload.len) == 0);
	if (model->kind == MSG_TEXT &&
	    (!utf8_feed(&utf8, buf_head(&model->bytes), buf_len(&model->bytes)) ||
	     (whole && !utf8_complete(&utf8))))
		return model_refuse(model, CLOSECODE_INVALID);
	if (frame->payload.len < frame->len)
		return model_end(model, CAUSE_CLOSED, CLOSECODE_LOST);
	if (!whole)
		return true;
	fate_add(model->fate, model->kind, buf_head(&model->bytes),
		 (uint32_t)buf_len(&model->bytes));
	buf_clear(&model->bytes);
	model->kind = 0;
	return true;
}

/* False: it has ended. */
static bool take_frame(struct model *model, const struct frame *frame)
{
	bool is_control = frame->opcode & 8;

	if (frame->len > 0 && frame->payload.len == 0) {
		model->open_end = true;
		return model_end(model, CAUSE_CLOSED, CLOSECODE_LOST);
	}
	if (frame->mask || frame->rsv)
		return model_refuse(model, CLOSECODE_PROTOCOL);
	if ((frame->opcode & 7) > 2)
		return model_refuse(model, CLOSECODE_PROTOCOL);
	if (!is_control)
		return take_data(model, frame);
	if (frame->payload.len < frame->len)
		return model_end(model, CAUSE_CLOSED, CLOSECODE_LOST);
	return frame->opcode == 8 ? take_close(model, &frame->payload) : true;
}

static void read_plainly(struct fate *fate, struct food food, size_t max, bool *ret_open_end)
{
	struct model model = {.fate = fate, .max = max};
	struct frame frame;

	buf_init(&model.bytes, max);
	model_end(&model, CAUSE_CLOSED, CLOSECODE_LOST);
	while (food.len > 0 && read_head(&model, &food, &frame) && take_frame(&model, &frame))
		continue;
	*ret_open_end = model.open_end;
	buf_done(&model.bytes);
}

/* --- the real one ------------------------------------------------------------------------------
 */

static struct {
	struct ws *ws;
	struct transport *transport;
	uint8_t flags;
	size_t max;
	struct fate *fate;
	bool opened, ended, compressed;
	size_t request_len;
	struct buf echoed; /* as messages of a fate */
} f;

static void on_opened(void *owner)
{
	(void)owner;
	HOLDS(!f.opened && !f.ended);
	f.opened = true;
	if (f.flags & PINGS)
		ws_ping(f.ws);
}

static void echo(const struct msg *msg)
{
	uint64_t from = ws_queued(f.ws), end = 0;

	if (!ws_writable(f.ws))
		return;
	HOLDS(ws_send(f.ws, msg, &end) == 0);
	HOLDS(end > from && end == ws_queued(f.ws));
	ws_flush(f.ws);
}

static void on_message(void *owner, const struct msg *msg)
{
	(void)owner;
	HOLDS(f.opened && !f.ended);
	HOLDS(msg->kind == MSG_TEXT || msg->kind == MSG_BINARY);
	HOLDS(msg->len <= f.max);
	HOLDS(msg->kind != MSG_TEXT || utf8_valid(msg->data, msg->len));
	fate_add(f.fate, msg->kind, msg->data, (uint32_t)msg->len);
	if (f.flags & ECHOES)
		echo(msg);
	if (f.flags & PINGS)
		ws_ping(f.ws);
	if (f.flags & PAUSES)
		ws_pause(f.ws);
	if ((f.flags & CLOSES) && f.fate->n == 2)
		ws_close(f.ws, 1000, "enough");
}

static void on_drained(void *owner)
{
	(void)owner;
	HOLDS(!f.ended);
}

static void on_pong(void *owner, uint64_t ping_mark, uint32_t rtt_us)
{
	(void)owner, (void)rtt_us;
	HOLDS(!f.ended && (f.flags & PINGS));
	HOLDS(ping_mark <= ws_written(f.ws));
}

static void on_ended(void *owner, const struct cause *cause)
{
	(void)owner;
	HOLDS(!f.ended);
	HOLDS(cause->class > CAUSE_NONE && cause->class < CAUSE_CLASSES);
	HOLDS(*cause->text && is_one_line(cause->text));
	HOLDS(utf8_valid((const uint8_t *)cause->text, strlen(cause->text)));
	f.ended = true;
	f.fate->class = cause->class;
	f.fate->code = cause->code;
}

static const struct ws_events events = {on_opened, on_message, on_drained, on_pong, on_ended};

static void settle(void)
{
	fake_loop_settle();
	while (!f.ended && fake_transport_turn(f.transport)) {
		fake_loop_settle();
		if (f.flags & PAUSES)
			ws_resume(f.ws);
		if (f.flags & STINTS)
			fake_transport_take(f.transport, 7);
	}
	fake_loop_settle();
}

static void make_proof(char ret[PROOF_LEN + 1])
{
	const struct buf *out = fake_transport_output(f.transport);
	const char *at = memmem(buf_head(out), buf_len(out), "Sec-WebSocket-Key: ", 19);
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[100];
	unsigned len;

	HOLDS(at);
	snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", at + 19);
	HOLDS(EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) == 1);
	base64_encode(ret, digest, len);
	ret[PROOF_LEN] = '\0';
}

static void feed_head(void)
{
	char head[400], made[PROOF_LEN + 1];

	make_proof(made);
	snprintf(head, sizeof(head),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %s\r\n%s%s\r\n",
		 made, f.flags & COMPRESS ? "Sec-WebSocket-Extensions: permessage-deflate" : "",
		 !(f.flags & COMPRESS) ? ""
		 : f.flags & FORGETS   ? "; server_no_context_takeover\r\n"
				       : "\r\n");
	fake_transport_feed(f.transport, head, strlen(head));
}

static void feed(struct food stream, struct food cuts)
{
	char made[PROOF_LEN + 1], *copy = (char *)copy_bytes(stream.at, stream.len), *found;
	size_t at = 0;

	make_proof(made);
	found = f.flags & OWN_HEAD && stream.len > 0 ? memmem(copy, stream.len, proof, PROOF_LEN)
						     : NULL;
	if (found)
		memcpy(found, made, PROOF_LEN);
	while (at < stream.len) {
		size_t n = next_cut(&cuts, stream.len - at);

		fake_transport_feed(f.transport, copy + at, n);
		at += n;
		settle();
		if (f.ended)
			break;
	}
	free(copy);
}

/* --- what we have said -------------------------------------------------------------------------
 */

struct said {
	struct food rest;
	bool inside, closed;
};

static struct frame next_said(struct said *said)
{
	struct food *rest = &said->rest, at = *rest;
	uint8_t first = take_byte(&at), second = take_byte(&at);
	size_t extra = (second & 127) == 126 ? 2 : (second & 127) == 127 ? 8 : 0;
	struct frame frame = {first & 15,   first >> 4 & 7, first & 128,
			      second & 128, second & 127,   {0}};

	HOLDS(rest->len >= 6 + extra && frame.mask);
	for (size_t i = 0; i < extra; i++)
		frame.len = (i ? frame.len << 8 : 0) | take_byte(&at);
	HOLDS(!extra || frame.len > (extra == 2 ? 125 : 65535));
	take_bytes(&at, 4);
	frame.payload = take_bytes(&at, (size_t)frame.len);
	*rest = at;
	return frame;
}

static void check_said_close(const struct frame *frame)
{
	const uint8_t *key = frame->payload.at - 4, *data = frame->payload.at;

	HOLDS(frame->len != 1);
	if (frame->len >= 2)
		HOLDS(closecode_is_valid((uint16_t)((data[0] ^ key[0]) << 8 | (data[1] ^ key[1]))));
}

/* All frames that have left, the last of which may be cut off. */
static void check_said(void)
{
	const struct buf *out = fake_transport_output(f.transport);
	struct said said = {
		{buf_head(out) + f.request_len, buf_len(out) - f.request_len}, false, false};
	bool is_torn = f.flags & STINTS;

	while (said.rest.len > (is_torn ? 14 + WS_SEND_WHOLE : 0)) {
		struct frame frame = next_said(&said);

		HOLDS(!said.closed);
		HOLDS(frame.payload.len == frame.len || is_torn);
		HOLDS(frame.rsv == 0 ||
		      (frame.rsv == 4 && f.flags & COMPRESS && frame.opcode != 0));
		if (frame.opcode & 8) {
			HOLDS(frame.opcode <= 10 && frame.fin && frame.len <= 125);
			said.closed = frame.opcode == 8;
			if (said.closed)
				check_said_close(&frame);
			continue;
		}
		HOLDS(f.flags & ECHOES);
		HOLDS(frame.opcode <= 2 && said.inside == !frame.opcode);
		said.inside = !frame.fin;
	}
}

/* --- all together ------------------------------------------------------------------------------
 */

static void run(uint8_t flags, size_t max, struct food cuts, struct food stream, struct fate *fate)
{
	const struct ws_options options = {
		.upgrade.compress = flags & COMPRESS ? DEFLATE_BOTH : DEFLATE_NO,
		.max_message_bytes = max,
	};
	static char host[] = "example.org", target[] = "/";
	const struct url url = {.host = host, .port = 80, .target = target, .host_field = host};

	memset(&f, 0, sizeof(f));
	f.flags = flags;
	f.max = max;
	f.fate = fate;
	f.transport = fake_transport_new();
	HOLDS(loop_init() == 0);
	HOLDS(ws_start(&f.ws, f.transport, &url, &options, &events, NULL) == 0);
	settle();
	f.request_len = buf_len(fake_transport_output(f.transport));
	if (!(flags & OWN_HEAD))
		feed_head();
	if (flags & STINTS)
		fake_transport_take(f.transport, 3);
	settle();
	HOLDS(f.opened == !(flags & OWN_HEAD));
	feed(stream, cuts);
	if (!f.ended)
		fake_transport_end(f.transport, CAUSE_CLOSED, 1006, "end of stream");
	settle();
	fake_loop_advance(5000);
	HOLDS(f.ended);
	check_said();
	ws_free(f.ws);
	fake_loop_settle();
	HOLDS(fake_loop_timers() == 0);
	loop_done();
}

static bool same_fate(const struct fate *a, const struct fate *b)
{
	return a->n == b->n && same_bytes(buf_head(&a->messages), buf_len(&a->messages),
					  buf_head(&b->messages), buf_len(&b->messages));
}

static void check_against_model(const struct fate *fate, size_t max, struct food stream)
{
	struct fate model = {0};
	bool open_end;

	buf_init(&model.messages, LOG_MAX);
	read_plainly(&model, stream, max, &open_end);
	HOLDS(same_fate(fate, &model));
	if (open_end && fate->class == CAUSE_PROTOCOL)
		HOLDS(fate->code == CLOSECODE_PROTOCOL);
	else
		HOLDS(fate->class == model.class && fate->code == model.code);
	buf_done(&model.messages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, cuts, no_cuts = {NULL, 0};
	uint8_t flags = take_byte(&food), size = take_byte(&food);
	size_t max = size < 200 ? size + 1u : 1u << 17;
	struct fate whole = {0}, pieces = {0};

	cuts = take_bytes(&food, take_byte(&food) % CUTS_MAX);
	buf_init(&whole.messages, LOG_MAX);
	buf_init(&pieces.messages, LOG_MAX);
	run(flags, max, no_cuts, food, &whole);
	run(flags, max, cuts, food, &pieces);
	if (!(flags & ACTS)) {
		HOLDS(same_fate(&whole, &pieces));
		if (!(flags & (COMPRESS | OWN_HEAD))) /* there two rules may be broken at once */
			HOLDS(whole.class == pieces.class && whole.code == pieces.code);
	}
	if (!(flags & (ACTS | COMPRESS | OWN_HEAD)))
		check_against_model(&whole, max, food);
	buf_done(&whole.messages);
	buf_done(&pieces.messages);
	return 0;
}
