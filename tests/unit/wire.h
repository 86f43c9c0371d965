/* wire - one ws, its owner and its server, whose every byte is the test's: net/ws.h on a transport
 * that is a fake, in virtual time.
 *
 * wire_init() once; then start() or start_open(), feed...(), settle(), expect...(), stop().  What
 * the owner was told is in `f`, and does what its flags say. */
#ifndef UNIT_WIRE_H
#define UNIT_WIRE_H

#include <endian.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/loop.h"
#include "codec/base64.h"
#include "codec/url.h"
#include "net/ws.h"

#include "../fake/loop.h"
#include "../fake/transport.h"
#include "check.h"

#define BYTES(s) (s), sizeof(s) - 1

static inline void wire_init(void)
{
	CHECK_EQ(loop_init(), 0);
}

static struct {
	struct ws *ws;
	struct transport *transport;
	struct url url;
	struct ws_options options;
	char key[UPGRADE_KEY_LEN + 1];
	size_t checked; /* so much of the output was looked at */

	unsigned opened, messages, drained, pongs, ended;
	struct buf log; /* "T5:hello " for each message */
	uint64_t pong_mark;
	struct cause cause;
	bool last_unsent; /* at the end: ws_written() had not passed `mine` */
	uint64_t mine;
	bool pauses, closes, aborts, echoes; /* what the owner does when a message comes */
	const char *extensions;              /* what the server's answer says of them */
} f;

static inline void on_opened(void *owner)
{
	CHECK(owner == &f);
	f.opened++;
	buf_append_str(&f.log, "open ");
}

static inline void on_message(void *owner, const struct msg *msg)
{
	const struct cause gone = {.class = CAUSE_TIMEOUT};
	uint64_t end;

	CHECK(owner == &f);
	CHECK(!f.ended);
	CHECK_EQ(msg->time_us, loop_wall_us());
	f.messages++;
	buf_printf(&f.log, "%c%zu:", msg->kind == MSG_TEXT ? 'T' : 'B', msg->len);
	buf_append(&f.log, msg->data, msg->len < 64 ? msg->len : 64);
	buf_append_str(&f.log, " ");
	if (f.pauses)
		ws_pause(f.ws);
	if (f.echoes && ws_writable(f.ws))
		CHECK_EQ(ws_send(f.ws, msg, &end), 0);
	if (f.closes)
		ws_close(f.ws, 1000, "enough");
	if (f.aborts)
		ws_abort(f.ws, &gone);
}

static inline void on_drained(void *owner)
{
	CHECK(owner == &f);
	f.drained++;
}

static inline void on_pong(void *owner, uint64_t ping_mark, uint32_t rtt_us)
{
	CHECK(owner == &f);
	CHECK(rtt_us < 60 * 1000000);
	f.pongs++;
	f.pong_mark = ping_mark;
}

static inline void on_ended(void *owner, const struct cause *cause)
{
	CHECK(owner == &f);
	CHECK(!f.ended);
	f.ended++;
	f.cause = *cause;
	f.last_unsent = f.mine >= ws_written(f.ws);
}

static const struct ws_events events = {
	.opened = on_opened,
	.message = on_message,
	.drained = on_drained,
	.pong = on_pong,
	.ended = on_ended,
};

static inline void settle(void)
{
	do
		fake_loop_settle();
	while (!f.ended && fake_transport_turn(f.transport));
	fake_loop_settle();
}

static inline void pass_ms(uint64_t ms)
{
	fake_loop_advance(ms);
	settle();
}

static inline const uint8_t *output(size_t *ret_len)
{
	const struct buf *out = fake_transport_output(f.transport);

	*ret_len = buf_len(out) - f.checked;
	return buf_head(out) + f.checked;
}

static inline void take_request(void)
{
	size_t len;
	const char *head = (const char *)output(&len), *at, *end;

	end = memmem(head, len, "\r\n\r\n", 4);
	CHECK(end);
	at = memmem(head, len, "Sec-WebSocket-Key: ", 19);
	CHECK(at);
	memcpy(f.key, at + 19, UPGRADE_KEY_LEN);
	f.checked += (size_t)(end + 4 - head);
	CHECK_EQ(f.checked, buf_len(fake_transport_output(f.transport)));
}

static inline void start(void)
{
	const char *problem;

	f.transport = fake_transport_new();
	buf_init(&f.log, 1 << 20);
	f.options.max_message_bytes = 1 << 20;
	CHECK_EQ(url_parse(&f.url, "ws://example.org/", &problem), 0);
	CHECK_EQ(ws_start(&f.ws, f.transport, &f.url, &f.options, &events, &f), 0);
	CHECK(!ws_writable(f.ws));
	settle();
	take_request();
	CHECK_EQ(ws_written(f.ws), 0);
}

static inline void stop(void)
{
	f.ws = ws_free(f.ws);
	url_done(&f.url);
	buf_done(&f.log);
	fake_loop_settle(); /* nothing of it may be left there */
	CHECK_EQ(fake_loop_timers(), 0);
	memset(&f, 0, sizeof(f));
}

static inline void feed(const void *data, size_t len)
{
	fake_transport_feed(f.transport, data, len);
}

static inline void put_good(struct buf *out)
{
	char text[UPGRADE_KEY_LEN + 40], accept[29] = "";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", f.key);
	EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL);
	base64_encode(accept, digest, len);
	buf_printf(out,
		   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
		   accept, f.extensions ? "Sec-WebSocket-Extensions: " : "",
		   f.extensions ? f.extensions : "", f.extensions ? "\r\n" : "");
}

static inline void feed_good(void)
{
	struct buf good;

	buf_init(&good, 1024);
	put_good(&good);
	feed(buf_head(&good), buf_len(&good));
	buf_done(&good);
}

static inline void start_open(void)
{
	start();
	feed_good();
	settle();
	CHECK_EQ(f.opened, 1);
	CHECK(ws_writable(f.ws));
	buf_clear(&f.log);
}

/* A frame of the server's. */
static inline void put_frame(struct buf *out, uint8_t first, const void *data, size_t len)
{
	uint8_t head[10] = {first, (uint8_t)len};
	size_t n = 2;

	if (len > 65535) {
		uint64_t len64 = htobe64(len);

		head[1] = 127;
		memcpy(head + 2, &len64, 8);
		n = 10;
	} else if (len > 125) {
		head[1] = 126;
		head[2] = (uint8_t)(len >> 8);
		head[3] = (uint8_t)len;
		n = 4;
	}
	CHECK_EQ(buf_append(out, head, n), 0);
	CHECK_EQ(buf_append(out, data, len), 0);
}

static inline void feed_frame(uint8_t first, const void *data, size_t len)
{
	struct buf frame;

	buf_init(&frame, len + 10);
	put_frame(&frame, first, data, len);
	feed(buf_head(&frame), buf_len(&frame));
	buf_done(&frame);
}

static inline void check_log(const char *expected)
{
	size_t len = strlen(expected);

	if (buf_len(&f.log) != len || memcmp(buf_head(&f.log), expected, len) != 0)
		fprintf(stderr, "the log is '%.*s'\n", (int)buf_len(&f.log),
			(const char *)buf_head(&f.log));
	CHECK(buf_len(&f.log) == len && memcmp(buf_head(&f.log), expected, len) == 0);
	buf_clear(&f.log);
}

/* A frame of ours, unmasked. */
struct frame {
	uint8_t first;
	uint8_t key[4];
	size_t len, wire;
	uint8_t *data; /* to be freed */
};

/* False: there is no more; half a frame is a fault. */
static inline bool next_frame(struct frame *ret)
{
	size_t len, n = 2;
	const uint8_t *at = output(&len);

	if (len == 0)
		return false;
	CHECK(len >= 2);
	CHECK(at[1] & 0x80);
	CHECK_EQ(at[0] & (f.extensions ? 0x30 : 0x70), 0);
	ret->first = at[0];
	ret->len = at[1] & 0x7f;
	if (ret->len == 126) {
		CHECK(len >= 4);
		ret->len = (size_t)at[2] << 8 | at[3];
		CHECK(ret->len > 125);
		n = 4;
	} else if (ret->len == 127) {
		uint64_t len64;

		CHECK(len >= 10);
		memcpy(&len64, at + 2, 8);
		ret->len = be64toh(len64);
		CHECK(ret->len > 65535);
		n = 10;
	}
	CHECK(len >= n + 4 + ret->len);
	memcpy(ret->key, at + n, 4);
	n += 4;
	ret->data = malloc(ret->len + 1);
	CHECK(ret->data);
	for (size_t i = 0; i < ret->len; i++)
		ret->data[i] = at[n + i] ^ ret->key[i & 3];
	ret->data[ret->len] = '\0';
	ret->wire = n + ret->len;
	f.checked += ret->wire;
	return true;
}

static inline void expect_frame(uint8_t first, const void *data, size_t len)
{
	struct frame frame;

	CHECK(next_frame(&frame));
	CHECK_EQ(frame.first, first);
	CHECK_EQ(frame.len, len);
	CHECK(len == 0 || memcmp(frame.data, data, len) == 0);
	free(frame.data);
}

static inline void expect_nothing(void)
{
	size_t len;

	output(&len);
	CHECK_EQ(len, 0);
}

/* 1005: one without a code. */
static inline void expect_close(uint16_t code)
{
	struct frame frame;

	CHECK(next_frame(&frame));
	CHECK_EQ(frame.first, 0x88);
	if (code == 1005)
		CHECK_EQ(frame.len, 0);
	else
		CHECK_EQ(frame.data[0] << 8 | frame.data[1], code);
	CHECK(frame.len <= 125);
	free(frame.data);
}

static inline void send_text(const char *text)
{
	struct msg msg = {
		.kind = MSG_TEXT,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};
	uint64_t start = ws_queued(f.ws), end;

	CHECK(ws_writable(f.ws));
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	CHECK_EQ(end, ws_queued(f.ws));
	CHECK_EQ(end - start, msg.len + (msg.len < 126 ? 6 : msg.len < 65536 ? 8 : 14));
}

static inline void expect_alive(void)
{
	settle();
	CHECK_EQ(f.ended, 0);
	buf_clear(&f.log);
	f.pauses = f.closes = f.aborts = f.echoes = false;
	feed_frame(0x81, "alive", 5);
	settle();
	check_log("T5:alive ");
	send_text("too");
	ws_flush(f.ws);
	expect_frame(0x81, "too", 3);
}

/* FAIL(code): one Close, nothing heard after it, the stream ended by us, and the cause. */
static inline void expect_failed(uint16_t code)
{
	unsigned messages;

	settle();
	messages = f.messages;
	expect_close(code);
	CHECK(fake_transport_is_shut(f.transport));
	CHECK_EQ(f.ended, 0);
	feed_frame(0x81, "unheard", 7);
	feed_frame(0x88, "\x03\xe8", 2);
	settle();
	CHECK_EQ(f.messages, messages);
	expect_nothing();
	CHECK(!ws_writable(f.ws));
	pass_ms(999);
	CHECK_EQ(f.ended, 0);
	pass_ms(1);
	CHECK_EQ(f.ended, 1);
	CHECK_EQ(f.cause.class, code == 1009 ? CAUSE_TOO_BIG : CAUSE_PROTOCOL);
	CHECK_EQ(f.cause.code, code);
	expect_nothing();
}

static inline void expect_ended(enum cause_class class, int code)
{
	settle();
	CHECK_EQ(f.ended, 1);
	CHECK_EQ(f.cause.class, class);
	CHECK_EQ(f.cause.code, code);
	CHECK(f.cause.text[0]);
}

static inline void server_hangs_up(void)
{
	fake_transport_end(f.transport, CAUSE_CLOSED, 1006, "the server closed the connection");
}

/* The script behind the head in one piece; after it; after it byte by byte. */
enum { PLAY_WITH_HEAD, PLAY_AFTER, PLAY_DRIP, PLAYS };

static inline void play(int how, const void *bytes, size_t len)
{
	start();
	f.options.max_message_bytes = 1 << 20;
	if (how == PLAY_DRIP)
		fake_transport_drip(f.transport, 1);
	feed_good();
	if (how != PLAY_WITH_HEAD)
		settle();
	feed(bytes, len);
	settle();
	CHECK_EQ(f.opened, 1);
	CHECK(memcmp(buf_head(&f.log), "open ", 5) == 0);
	buf_consume(&f.log, 5);
}

#endif
