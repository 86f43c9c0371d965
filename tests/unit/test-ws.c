/* A ws against a scripted server: protocol cases H, F, G, U, K, L, M and D as far as bytes and a
 * clock can tell them, then sending and its positions.  The transport is a fake, the loop below is one in
 * virtual time. */
#include <endian.h>
#include <errno.h>

#include <openssl/evp.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/loop.h"
#include "codec/base64.h"
#include "codec/url.h"
#include "net/ws.h"

#include "../fake/transport.h"
#include "check.h"

#define BYTES(s) (s), sizeof(s) - 1

/* --- a loop in virtual time ----------------------------------------------------------------- */

static uint64_t now_ms = 1000;
static struct list laters = {&laters, &laters};
static struct timer *timers[8];

uint64_t loop_now_ms(void)
{
	return now_ms;
}

uint64_t loop_wall_us(void)
{
	return 1234567;
}

void loop_later(struct later *later)
{
	if (!list_linked(&later->link))
		list_append(&laters, &later->link);
}

void later_cancel(struct later *later)
{
	list_remove(&later->link);
}

int timer_init(struct timer *timer, void (*on_due)(void *owner), void *owner)
{
	*timer = (struct timer){.on_due = on_due, .owner = owner};
	return 0;
}

void timer_set(struct timer *timer, uint64_t delay_ms)
{
	timer->due_ms = now_ms + delay_ms;
	for (size_t i = 0; !timer->slot && i < 8; i++) {
		if (!timers[i]) {
			timers[i] = timer;
			timer->slot = i + 1;
		}
	}
	CHECK(timer->slot);
}

void timer_cancel(struct timer *timer)
{
	if (timer->slot)
		timers[timer->slot - 1] = NULL;
	timer->slot = 0;
}

void timer_done(struct timer *timer)
{
	timer_cancel(timer);
}

static void run_laters(void)
{
	struct later *later;

	while ((later = list_first(&laters, struct later, link))) {
		list_remove(&later->link);
		later->run(later->owner);
	}
}

/* --- one ws, its owner and its server ------------------------------------------------------- */

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

static void on_opened(void *owner)
{
	CHECK(owner == &f);
	f.opened++;
	buf_append_str(&f.log, "open ");
}

static void on_message(void *owner, const struct msg *msg)
{
	const struct cause gone = {.class = CAUSE_TIMEOUT};
	uint64_t end;

	CHECK(owner == &f);
	CHECK(!f.ended);
	CHECK_EQ(msg->time_us, 1234567);
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

static void on_drained(void *owner)
{
	CHECK(owner == &f);
	f.drained++;
}

static void on_pong(void *owner, uint64_t ping_mark, uint32_t rtt_us)
{
	CHECK(owner == &f);
	CHECK(rtt_us < 60 * 1000000);
	f.pongs++;
	f.pong_mark = ping_mark;
}

static void on_ended(void *owner, const struct cause *cause)
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

static void settle(void)
{
	do
		run_laters();
	while (!f.ended && fake_transport_turn(f.transport));
	run_laters();
}

static void pass_ms(uint64_t ms)
{
	now_ms += ms;
	for (size_t i = 0; i < 8; i++) {
		struct timer *timer = timers[i];

		if (timer && timer->due_ms <= now_ms) {
			timer_cancel(timer);
			timer->on_due(timer->owner);
		}
	}
	settle();
}

static const uint8_t *output(size_t *ret_len)
{
	const struct buf *out = fake_transport_output(f.transport);

	*ret_len = buf_len(out) - f.checked;
	return buf_head(out) + f.checked;
}

static void take_request(void)
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

static void start(void)
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

static void stop(void)
{
	f.ws = ws_free(f.ws);
	url_done(&f.url);
	buf_done(&f.log);
	CHECK(list_empty(&laters));
	memset(&f, 0, sizeof(f));
}

static void feed(const void *data, size_t len)
{
	fake_transport_feed(f.transport, data, len);
}

static void put_good(struct buf *out)
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

static void feed_good(void)
{
	struct buf good;

	buf_init(&good, 1024);
	put_good(&good);
	feed(buf_head(&good), buf_len(&good));
	buf_done(&good);
}

static void start_open(void)
{
	start();
	feed_good();
	settle();
	CHECK_EQ(f.opened, 1);
	CHECK(ws_writable(f.ws));
	buf_clear(&f.log);
}

/* A frame of the server's. */
static void put_frame(struct buf *out, uint8_t first, const void *data, size_t len)
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

static void feed_frame(uint8_t first, const void *data, size_t len)
{
	struct buf frame;

	buf_init(&frame, len + 10);
	put_frame(&frame, first, data, len);
	feed(buf_head(&frame), buf_len(&frame));
	buf_done(&frame);
}

static void check_log(const char *expected)
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
static bool next_frame(struct frame *ret)
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

static void expect_frame(uint8_t first, const void *data, size_t len)
{
	struct frame frame;

	CHECK(next_frame(&frame));
	CHECK_EQ(frame.first, first);
	CHECK_EQ(frame.len, len);
	CHECK(len == 0 || memcmp(frame.data, data, len) == 0);
	free(frame.data);
}

static void expect_nothing(void)
{
	size_t len;

	output(&len);
	CHECK_EQ(len, 0);
}

/* 1005: one without a code. */
static void expect_close(uint16_t code)
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

static void send_text(const char *text)
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

static void expect_alive(void)
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
static void expect_failed(uint16_t code)
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

static void expect_ended(enum cause_class class, int code)
{
	settle();
	CHECK_EQ(f.ended, 1);
	CHECK_EQ(f.cause.class, class);
	CHECK_EQ(f.cause.code, code);
	CHECK(f.cause.text[0]);
}

static void server_hangs_up(void)
{
	fake_transport_end(f.transport, CAUSE_CLOSED, 1006, "the server closed the connection");
}

/* --- H: the opening handshake --------------------------------------------------------------- */

static void test_handshake(void)
{
	start();
	feed(BYTES("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"));
	feed_good();
	feed_frame(0x81, "hello", 5);
	feed(BYTES("\x81\x05he"));
	settle();
	check_log("open T5:hello ");
	feed(BYTES("llo"));
	settle();
	check_log("T5:hello ");
	CHECK_STR(ws_subprotocol(f.ws), "");
	CHECK_STR(ws_address(f.ws), "192.0.2.7:80");
	CHECK_STR(ws_tls(f.ws), "");
	expect_alive();
	stop();

	start(); /* one byte at a time */
	fake_transport_drip(f.transport, 1);
	feed_good();
	settle();
	check_log("open ");
	expect_alive();
	stop();

	start(); /* a second head is a broken frame */
	feed_good();
	feed_good();
	expect_failed(1002);
	stop();
}

static void refuse_handshake(const char *answer, size_t len, size_t drip, enum cause_class class,
			     int code)
{
	start();
	fake_transport_drip(f.transport, drip);
	feed(answer, len);
	settle();
	if (!f.ended) {
		CHECK(class == CAUSE_CLOSED || code >= 200); /* there might be more of a body */
		server_hangs_up();
	}
	expect_ended(class, code);
	CHECK_EQ(f.opened, 0);
	expect_nothing();
	stop();
}

/* What the cause says behind the status. */
static void refuse_with_body(const char *head, const char *body, bool ends, const char *said)
{
	start();
	feed(head, strlen(head));
	feed(body, strlen(body));
	settle();
	CHECK_EQ(f.ended, ends);
	pass_ms(999);
	CHECK_EQ(f.ended, ends);
	pass_ms(1);
	expect_ended(CAUSE_HTTP, 403);
	CHECK_STR(f.cause.text, said);
	stop();
}

/* H47 */
static void test_body_of_refusal(void)
{
	char *headers[] = {(char *)"Authorization: Bearer abcdef0123", NULL};
	struct buf many;

	refuse_with_body("HTTP/1.1 403 No\r\n\r\n", "", false, "HTTP 403 No");
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "", true, "HTTP 403 No");
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Length: 19\r\n\r\n", "{\"error\":\r\n \"late\"}", true,
			 "HTTP 403 No: {\"error\": \"late\"}");
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Length: 30\r\n\r\n", "less\x01\x1b[2J\xff", false,
			 "HTTP 403 No: less [2J?");
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n",
			 "10\r\n<html><b>So</b> \r\n6;x=y\r\nsorry\n\r\n0\r\n\r\n", true,
			 "HTTP 403 No: So sorry");
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Encoding: gzip\r\n\r\n", "abc", true, "HTTP 403 No");
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Type: image/png\r\n\r\n", "abc", true, "HTTP 403 No");
	f.options.upgrade.headers = headers;
	f.options.upgrade.user = (char *)"ann:pass word";
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Length: 41\r\n\r\n",
			 "bad token abcdef0123 or pass word, Bearer", true,
			 "HTTP 403 No: bad token ********** or *********, Bearer");
	f.options.upgrade.user = (char *)"ann:pass word"; /* each time: stop() */
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Length: 41\r\n\r\n",
			 "Authorization: Basic YW5uOnBhc3Mgd29yZA==", true,
			 "HTTP 403 No: Authorization: Basic ********************");
	f.options.upgrade.headers = headers;
	refuse_with_body("HTTP/1.1 403 No abcdef0123\r\nContent-Length: 0\r\n\r\n", "", true,
			 "HTTP 403 No **********");
	f.options.upgrade.user = (char *)"ann:p\xc3\xa4<ss>";
	refuse_with_body("HTTP/1.1 403 No\r\nContent-Length: 16\r\n\r\n", "not p\xc3\xa4<ss>, ann",
			 true, "HTTP 403 No: not *******, ann");
	buf_init(&many, 1 << 20);
	for (int i = 0; i < 100000; i++)
		buf_append_str(&many, "no ");
	start();
	feed(BYTES("HTTP/1.1 403 No\r\n\r\n"));
	feed(buf_head(&many), buf_len(&many));
	expect_ended(CAUSE_HTTP, 403);
	CHECK(strlen(f.cause.text) < 150 && strstr(f.cause.text, "no no no"));
	stop();
	for (int i = 0; i < 5000; i++) { /* nonsense for chunks */
		char junk[64];

		for (size_t c = 0; c < sizeof(junk); c++)
			junk[c] = "0123456789abcdefg\r\n;<>"[(size_t)rand() % 22];
		start();
		feed(BYTES("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n"));
		feed(junk, sizeof(junk));
		server_hangs_up();
		expect_ended(CAUSE_HTTP, 403);
		stop();
	}
	buf_done(&many);
}

static void test_handshake_refused(void)
{
	static const struct {
		const char *answer;
		size_t len;
		enum cause_class class;
		int code;
	} cases[] = {
		{BYTES("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		       "Sec-WebSocket-Accept: x\r\n\r\n"),
		 CAUSE_HTTP, 0},
		{BYTES("HTTP/1.1 200 OK\r\n\r\n<html>"), CAUSE_HTTP, 200},
		{BYTES("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found"), CAUSE_HTTP,
		 404},
		{BYTES("HTTP/1.0 101 X\r\n\r\n"), CAUSE_HTTP, 0},
		{BYTES("SSH-2.0-x\r\n"), CAUSE_HTTP, 0},
		{BYTES("\x15\x03\x01\x00\x02\x02\x46"), CAUSE_HTTP, 0},
		{BYTES("<html>"), CAUSE_HTTP, 0},
		{BYTES("HTTP/1.1 101 X\nUpgrade: websocket\n\n"), CAUSE_HTTP, 0},
		{BYTES(""), CAUSE_CLOSED, 1006},
		{BYTES("HTTP/1.1 1"), CAUSE_CLOSED, 1006},
		{BYTES("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n"), CAUSE_CLOSED, 1006},
	};
	struct buf many;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (size_t drip = 0; drip < 2; drip++)
			refuse_handshake(cases[i].answer, cases[i].len, drip, cases[i].class,
					 cases[i].code);
	buf_init(&many, 1 << 20);
	for (int i = 0; i < 9; i++)
		buf_append_str(&many, "HTTP/1.1 100 Continue\r\n\r\n");
	refuse_handshake((char *)buf_head(&many), buf_len(&many), 0, CAUSE_HTTP, 0);
	buf_clear(&many);
	buf_append_str(&many, "HTTP/1.1 101 X\r\n");
	for (int i = 0; i < 16; i++)
		buf_printf(&many, "X: %01023d\r\n", 0);
	refuse_handshake((char *)buf_head(&many), buf_len(&many), 0, CAUSE_HTTP, 0);
	refuse_handshake((char *)buf_head(&many), buf_len(&many), 1, CAUSE_HTTP, 0);
	buf_clear(&many);
	buf_append_str(&many, "HTTP/1.1 101 X\r\nX: "); /* never a line's end */
	for (int i = 0; i < 20000; i++)
		buf_append_char(&many, 'x');
	refuse_handshake((char *)buf_head(&many), buf_len(&many), 0, CAUSE_HTTP, 0);
	buf_done(&many);
}

static void test_handshake_owner(void)
{
	const struct cause late = {.class = CAUSE_TIMEOUT};

	start();
	ws_close(f.ws, 1000, NULL);
	CHECK_EQ(f.ended, 0); /* only from a clean stack */
	feed_good();
	expect_ended(CAUSE_OPERATOR, 0);
	CHECK_EQ(f.opened, 0);
	expect_nothing();
	stop();

	start();
	ws_abort(f.ws, &late);
	CHECK_EQ(f.ended, 0);
	f.cause.text[0] = 'x';
	settle();
	CHECK_EQ(f.ended, 1);
	CHECK_EQ(f.cause.class, CAUSE_TIMEOUT);
	stop();

	start(); /* connected, then lost */
	feed_good();
	server_hangs_up();
	expect_ended(CAUSE_CLOSED, 1006);
	CHECK_EQ(f.opened, 1);
	stop();
}

static void test_request_too_long(void)
{
	char *headers[2] = {NULL, NULL};
	const char *problem;

	headers[0] = malloc(20000);
	CHECK(headers[0]);
	memset(headers[0], 'x', 20000);
	memcpy(headers[0], "X: ", 3);
	headers[0][19999] = '\0';
	f.options.upgrade.headers = headers;
	CHECK_EQ(url_parse(&f.url, "ws://example.org/", &problem), 0);
	f.transport = fake_transport_new(); /* taken although it fails */
	CHECK_EQ(ws_start(&f.ws, f.transport, &f.url, &f.options, &events, &f), -ENOBUFS);
	CHECK(!f.ws);
	free(headers[0]);
	stop();
}

/* --- F, G, U, M: frames, fragments, UTF-8, limits ------------------------------------------- */

/* The script behind the head in one piece; after it; after it byte by byte. */
enum { PLAY_WITH_HEAD, PLAY_AFTER, PLAY_DRIP, PLAYS };

static void play(int how, const void *bytes, size_t len)
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

#define MASKED "\x01\x02\x03\x04"

static const struct {
	const char *bytes;
	size_t len;
	const char *log;
	uint16_t code; /* of the failure; 0: none */
} wire[] = {
	/* F */
	{BYTES("\x81\x05hello"), "T5:hello ", 0},
	{BYTES("\x82\x03xyz"), "B3:xyz ", 0},
	{BYTES("\x81\x00\x82\x00"), "T0: B0: ", 0},
	{BYTES("\x81\x7e\x00\x7d"), "", 1002},
	{BYTES("\x82\x7e\x00\x00"), "", 1002},
	{BYTES("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), "", 1002},
	{BYTES("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7d"), "", 1002},
	{BYTES("\x82\x7f\x80\x00\x00\x00\x00\x01\x00\x00"), "", 1002},
	{BYTES("\x81\x85" MASKED "hello"), "", 1002},
	{BYTES("\x82\x80\x00\x00\x00\x00"), "", 1002},
	{BYTES("\x89\x80" MASKED), "", 1002},
	{BYTES("\xc1\x01x"), "", 1002},
	{BYTES("\xa1\x01x"), "", 1002},
	{BYTES("\x91\x01x"), "", 1002},
	{BYTES("\xf1\x00"), "", 1002},
	{BYTES("\xc9\x00"), "", 1002},
	{BYTES("\x01\x01x\xc0\x01x"), "", 1002},
	{BYTES("\x83\x00"), "", 1002},
	{BYTES("\x84\x01x"), "", 1002},
	{BYTES("\x85\x00"), "", 1002},
	{BYTES("\x86\x01x"), "", 1002},
	{BYTES("\x87\x00"), "", 1002},
	{BYTES("\x8b\x00"), "", 1002},
	{BYTES("\x8c\x01x"), "", 1002},
	{BYTES("\x8d\x00"), "", 1002},
	{BYTES("\x8e\x00"), "", 1002},
	{BYTES("\x8f\x01x"), "", 1002},
	{BYTES("\x01\x01x\x03\x01y"), "", 1002},
	{BYTES("\x82\x7f\x00\x00\x00\x00\x80\x00\x00\x00x"), "", 1009},
	{BYTES("\x82\x7f\x40\x00\x00\x00\x00\x00\x00\x00"), "", 0xffff}, /* invisible yet */
	{BYTES("\x81\x05hello\x83\x00"), "T5:hello ", 1002},
	{BYTES("\x81\x01x\x81\x7f\x00\x00\x00\x00\x00\x10\x00\x01y"), "T1:x ", 1009},
	/* G */
	{BYTES("\x01\x02he\x00\x01l\x80\x02lo"), "T5:hello ", 0},
	{BYTES("\x01\x00\x00\x00\x80\x00"), "T0: ", 0},
	{BYTES("\x01\x00\x00\x02hi\x80\x00"), "T2:hi ", 0},
	{BYTES("\x02\x02hi\x00\x00\x80\x00"), "B2:hi ", 0},
	{BYTES("\x01\x00\x00\x00\x80\x02hi"), "T2:hi ", 0},
	{BYTES("\x80\x01x"), "", 1002},
	{BYTES("\x00\x01x"), "", 1002},
	{BYTES("\x81\x01x\x80\x01y"), "T1:x ", 1002},
	{BYTES("\x01\x01x\x81\x01y"), "", 1002},
	{BYTES("\x02\x01x\x02\x01y"), "", 1002},
	{BYTES("\x09\x01x\x80\x01y"), "", 1002},
	{BYTES("\x08\x00"), "", 1002},
	{BYTES("\x02\x03\xff\xfe\xfd\x80\x01\xfc"), "B4:\xff\xfe\xfd\xfc ", 0},
	/* U */
	{BYTES("\x81\x07\xce\xba\xe1\xbd\xb9\xcf\x83"), "T7:\xce\xba\xe1\xbd\xb9\xcf\x83 ", 0},
	{BYTES("\x81\x04\xf4\x8f\xbf\xbf"), "T4:\xf4\x8f\xbf\xbf ", 0},
	{BYTES("\x81\x03\xef\xbf\xbe"), "T3:\xef\xbf\xbe ", 0},
	{BYTES("\x81\x04\xef\xbb\xbf!"), "T4:\xef\xbb\xbf! ", 0},
	{BYTES("\x81\x01\xff"), "", 1007},
	{BYTES("\x81\x02\xc0\xaf"), "", 1007},
	{BYTES("\x81\x03\xe0\x80\xaf"), "", 1007},
	{BYTES("\x81\x04\xf0\x80\x80\xaf"), "", 1007},
	{BYTES("\x81\x03\xed\xa0\x80"), "", 1007},
	{BYTES("\x81\x03\xed\xbf\xbf"), "", 1007},
	{BYTES("\x81\x04\xf4\x90\x80\x80"), "", 1007},
	{BYTES("\x81\x05\xf8\x88\x80\x80\x80"), "", 1007},
	{BYTES("\x81\x01\x80"), "", 1007},
	{BYTES("\x81\x01\xc3"), "", 1007},
	{BYTES("\x81\x02\xe2\x82"), "", 1007},
	{BYTES("\x81\x03\xf0\x9f\x98"), "", 1007},
	{BYTES("\x01\x02\xf0\x9f\x80\x01\x98"), "", 1007},
	{BYTES("\x01\x02\xf0\x9f\x80\x00"), "", 1007},
	{BYTES("\x01\x01\xf0\x00\x01\x9f\x00\x01\x98\x80\x01\x80"), "T4:\xf0\x9f\x98\x80 ", 0},
	{BYTES("\x01\x03\xe2\x82\xac\x00\x01\xe2\x89\x00\x80\x02\x82\xac"),
	 "T6:\xe2\x82\xac\xe2\x82\xac ", 0},
	{BYTES("\x01\x01\xff"), "", 1007}, /* before the last fragment is there */
	{BYTES("\x82\x01\xff"), "B1:\xff ", 0},
	/* after half a message the next is as new */
	{BYTES("\x01\x01\xc3\x80\x01\xa4\x81\x01y\x01\x00\x80\x01z"), "T2:\xc3\xa4 T1:y T1:z ", 0},
	/* K */
	{BYTES("\x89\x7e\x00\x7e"), "", 1002},
	{BYTES("\x8a\x00"), "", 0},
	{BYTES("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x01"), "", 0},
};

static void test_wire(void)
{
	for (size_t i = 0; i < sizeof(wire) / sizeof(*wire); i++) {
		for (int how = 0; how < PLAYS; how++) {
			play(how, wire[i].bytes, wire[i].len);
			check_log(wire[i].log);
			if (wire[i].code == 0xffff) {
				CHECK_EQ(f.ended, 0);
				expect_nothing();
			} else if (wire[i].code) {
				expect_failed(wire[i].code);
			} else {
				struct frame frame;

				while (next_frame(&frame))
					free(frame.data);
				expect_alive();
			}
			stop();
		}
	}
}

/* F02, F10, F12: every length, at every place of wslay's buffer. */
static void test_lengths(void)
{
	static const size_t lengths[] = {0,    1,    125,   126,   127,   4085,   4096,
					 5000, 8192, 65535, 65536, 70000, 1 << 20};
	static const size_t drips[] = {0, 1, 7, 4096, 4097};
	static uint8_t data[1 << 20];
	char expected[32];

	memset(data, 'x', sizeof(data));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		for (size_t d = 0; d < sizeof(drips) / sizeof(*drips); d++) {
			start_open();
			fake_transport_drip(f.transport, drips[d]);
			feed_frame(0x82, data, lengths[i]);
			feed_frame(0x81, data, lengths[i]);
			settle();
			CHECK_EQ(f.messages, 2);
			snprintf(expected, sizeof(expected), "B%zu:", lengths[i]);
			CHECK(memcmp(buf_head(&f.log), expected, strlen(expected)) == 0);
			expect_alive();
			stop();
		}
	}
	for (size_t offset = 4080; offset <= 4100; offset++) {
		start_open();
		feed_frame(0x82, data, offset - 4);
		feed_frame(0x81, "hello", 5);
		feed_frame(0x88, "\x03\xf4yes", 5); /* L09 */
		settle();
		CHECK_EQ(f.messages, 2);
		CHECK_EQ(ws_close_code(f.ws, &(const char *){NULL}), 1012);
		stop();
	}
}

/* H12: the head is read in steps; here one ends behind a few bytes of a frame's header. */
static void test_frame_behind_head(void)
{
	static uint8_t data[70000];
	struct buf good;

	buf_init(&good, 8192);
	for (int cut = 0; cut <= 12; cut++) {
		start();
		buf_clear(&good);
		put_good(&good);
		good.end -= 2; /* one field more, so long that the head ends at 4096 - cut */
		buf_printf(&good, "X: %0*d\r\n\r\n", 4096 - cut - (int)buf_len(&good) - 7, 0);
		CHECK_EQ(buf_len(&good), 4096 - cut);
		feed(buf_head(&good), buf_len(&good));
		feed_frame(0x82, data, sizeof(data));
		settle();
		CHECK_EQ(f.messages, 1);
		expect_alive();
		stop();
	}
	buf_done(&good);
}

static void test_contents(void)
{
	static char data[300000];

	/* many sizes in one stream, each delivered byte for byte: the owner echoes */
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)('a' + i % 23);
	start_open();
	f.echoes = true;
	for (size_t len = 0; len < 3000; len += 13) {
		feed_frame(0x81, data + len, len);
		if (len % 130 == 0) {
			settle();
			ws_flush(f.ws);
		}
	}
	for (size_t len = 0; len < 3000; len += 13) {
		feed_frame(0x01, data, len / 2);
		feed_frame(0x80, data + len / 2, len - len / 2);
		settle();
		ws_flush(f.ws);
	}
	feed_frame(0x81, data, 65536);
	settle();
	ws_flush(f.ws);
	for (size_t len = 0; len < 3000; len += 13)
		expect_frame(0x81, data + len, len);
	for (size_t len = 0; len < 3000; len += 13)
		expect_frame(0x81, data, len);
	expect_frame(0x81, data, 65536);
	expect_nothing();
	expect_alive();
	stop();
}

static void test_many_messages(void)
{
	struct buf burst;
	char text[16];

	buf_init(&burst, 1 << 20);
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%04d", i);
		put_frame(&burst, 0x81, text, 4);
	}
	for (int how = 0; how < PLAYS; how++) {
		play(how, buf_head(&burst), buf_len(&burst));
		CHECK_EQ(f.messages, 1000);
		for (int i = 0; i < 1000; i++) {
			snprintf(text, sizeof(text), "%04d", i);
			CHECK(memcmp(buf_head(&f.log) + (size_t)i * 8 + 3, text, 4) == 0);
		}
		expect_alive();
		stop();
	}
	buf_done(&burst);
}

/* F18: what the server still sends is not kept. */
static void test_flood_after_failure(void)
{
	static uint8_t zeros[1 << 20];

	start_open();
	feed(BYTES("\x83\x00"));
	settle();
	expect_close(1002);
	for (int i = 0; i < 10; i++) {
		feed(zeros, sizeof(zeros));
		settle();
	}
	expect_nothing();
	server_hangs_up();
	expect_ended(CAUSE_PROTOCOL, 1002);
	stop();
}

static void test_fragments(void)
{
	struct buf many;

	/* G03: 65,536 fragments of a byte; G04, G05: one too many, empty or not */
	buf_init(&many, 16 << 20);
	put_frame(&many, 0x01, "x", 1);
	for (int i = 0; i < 65534; i++)
		put_frame(&many, 0x00, "x", 1);
	put_frame(&many, 0x80, "x", 1);
	play(PLAY_AFTER, buf_head(&many), buf_len(&many));
	CHECK(memcmp(buf_head(&f.log), "T65536:x", 8) == 0);
	expect_alive();
	stop();

	buf_clear(&many);
	put_frame(&many, 0x01, "", 0);
	for (int i = 0; i < WS_FRAGMENTS_MAX - 2; i++)
		put_frame(&many, 0x00, "", 0);
	start_open();
	feed(buf_head(&many), buf_len(&many));
	feed_frame(0x80, "", 0);
	settle();
	check_log("T0: ");
	feed(buf_head(&many), buf_len(&many));
	feed_frame(0x00, "", 0);
	settle();
	CHECK_EQ(f.ended, 0);
	feed_frame(0x00, "", 0);
	expect_failed(1008);
	stop();
	buf_done(&many);
}

static void test_fragments_and_control(void)
{
	/* G08, G12, U08 */
	start_open();
	feed_frame(0x01, "\xe2\x82", 2);
	feed_frame(0x89, "ping", 4);
	for (int i = 0; i < 1000; i++)
		feed_frame(0x89, "again", 5);
	feed_frame(0x80, "\xac", 1);
	settle();
	check_log("T3:\xe2\x82\xac ");
	expect_frame(0x8a, "ping", 4);
	for (int i = 0; i < 1000; i++)
		expect_frame(0x8a, "again", 5);
	expect_alive();
	stop();

	/* G09 */
	start_open();
	feed_frame(0x01, "half", 4);
	feed_frame(0x88, "\x03\xe9", 2);
	settle();
	expect_close(1001);
	server_hangs_up();
	expect_ended(CAUSE_CLOSED, 1001);
	CHECK_EQ(f.messages, 0);
	CHECK(strstr(f.cause.text, "in the middle of a message"));
	stop();

	/* G13: unfinished, the connection stays for a minute without a byte of it */
	start_open();
	feed_frame(0x02, "half", 4);
	settle();
	pass_ms(59000);
	feed_frame(0x89, "", 0); /* no progress */
	settle();
	expect_frame(0x8a, "", 0);
	pass_ms(999);
	CHECK_EQ(f.ended, 0);
	feed_frame(0x00, "", 0); /* progress */
	settle();
	pass_ms(1);
	pass_ms(59000);
	expect_nothing();
	CHECK_EQ(f.ended, 0);
	pass_ms(998);
	CHECK_EQ(f.ended, 0);
	pass_ms(1);
	expect_failed(1008);
	CHECK(strstr(f.cause.text, "not gone on with a message for 60 s"));
	stop();

	/* S14: so a frame; but not while we do not read, and not when it was ended */
	start_open();
	feed(BYTES("\x81\x05he"));
	settle();
	ws_pause(f.ws);
	pass_ms(200000);
	ws_resume(f.ws);
	settle();
	pass_ms(59999);
	CHECK_EQ(f.ended, 0);
	feed(BYTES("llo"));
	settle();
	check_log("T5:hello ");
	pass_ms(200000);
	CHECK_EQ(f.ended, 0);
	feed(BYTES("\x81")); /* half a header */
	settle();
	pass_ms(60000);
	expect_failed(1008);
	stop();
}

static void test_limits(void)
{
	static uint8_t data[(1 << 20) + 1];
	const size_t max = 1 << 20;

	memset(data, 'x', sizeof(data));
	start_open(); /* M01, whole and in fragments */
	feed_frame(0x82, data, max);
	feed_frame(0x02, data, max / 2);
	feed_frame(0x00, data, max / 4);
	feed_frame(0x80, data, max / 4);
	settle();
	CHECK_EQ(f.messages, 2);
	expect_alive();
	stop();

	start_open(); /* M02: at the header and one byte */
	feed(BYTES("\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x01x"));
	expect_failed(1009);
	stop();

	start_open(); /* G11 */
	feed_frame(0x02, data, max / 2);
	feed_frame(0x00, data, max / 2);
	feed(BYTES("\x80\x01"));
	settle();
	CHECK_EQ(f.ended, 0);
	feed(BYTES("x"));
	expect_failed(1009);
	stop();

	start_open(); /* U07 */
	data[max - 1] = 0xff;
	feed_frame(0x81, data, max);
	settle();
	CHECK_EQ(f.messages, 0);
	expect_failed(1007);
	stop();
}

/* U11: wherever the bad byte stands. */
static void test_utf8_offsets(void)
{
	char text[64];

	for (size_t len = 1; len <= 40; len += 13) {
		for (size_t at = 0; at < len; at++) {
			memset(text, 'a', sizeof(text));
			text[at] = (char)0xc1;
			start_open();
			feed_frame(0x81, text, len);
			settle();
			CHECK_EQ(f.messages, 0);
			expect_failed(1007);
			stop();
		}
	}
}

/* --- K: pings and pongs --------------------------------------------------------------------- */

static void test_pings_of_server(void)
{
	char data[125];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i % 2 ? 0xff : 0);
	start_open(); /* K01, K03 */
	feed_frame(0x89, "", 0);
	feed_frame(0x89, data, 125);
	feed_frame(0x89, "c", 1);
	settle();
	expect_frame(0x8a, "", 0);
	expect_frame(0x8a, data, 125);
	expect_frame(0x8a, "c", 1);
	CHECK_EQ(ws_written(f.ws), 0); /* control frames have no position */
	expect_alive();
	stop();
}

/* K04: nobody reads; memory stays, and in the end the newest is answered. */
static void test_ping_flood(void)
{
	struct frame frame;
	uint32_t last = 0, n;
	int frames = 0;

	start_open();
	fake_transport_take(f.transport, 0);
	for (n = 1; n <= 100000; n++) {
		feed_frame(0x89, &n, 4);
		if (n % 1000 == 0)
			settle();
	}
	CHECK(transport_room(f.transport) >= TRANSPORT_TX_MAX / 2 - 16);
	CHECK(ws_writable(f.ws));
	fake_transport_take(f.transport, SIZE_MAX);
	settle();
	while (next_frame(&frame)) {
		CHECK_EQ(frame.first, 0x8a);
		memcpy(&n, frame.data, 4);
		CHECK(n > last);
		last = n;
		frames++;
		free(frame.data);
	}
	CHECK_EQ(last, 100000);
	CHECK(frames > 1000);
	expect_alive();
	stop();
}

/* Pongs between messages, more than there are gaps: the newest is never forgotten, and our own ping
 * and Close still find a place. */
static void test_pongs_between_messages(void)
{
	struct frame frame;
	char last[8] = "";
	int texts = 0;

	start_open();
	fake_transport_take(f.transport, 0);
	for (int i = 0; i < 50; i++) {
		char n[16];

		send_text("between");
		snprintf(n, sizeof(n), "%d", i);
		feed_frame(0x89, n, strlen(n));
		settle();
	}
	ws_ping(f.ws);
	CHECK(ws_ping_outstanding(f.ws));
	fake_transport_take(f.transport, SIZE_MAX);
	settle();
	CHECK_EQ(ws_written(f.ws), ws_queued(f.ws));
	while (next_frame(&frame)) {
		texts += frame.first == 0x81;
		if (frame.first == 0x8a)
			snprintf(last, sizeof(last), "%s", (char *)frame.data);
		free(frame.data);
	}
	CHECK_EQ(texts, 50);
	CHECK_STR(last, "49");
	expect_alive();
	stop();
}

static void answer_ping(const struct frame *ping)
{
	feed_frame(0x8a, ping->data, ping->len);
	settle();
}

static void test_our_pings(void)
{
	struct frame first, second;

	start();
	ws_ping(f.ws); /* K11: not before the 101 */
	CHECK(!ws_ping_outstanding(f.ws));
	feed_good();
	settle();
	send_text("before");
	ws_ping(f.ws);
	CHECK(ws_ping_outstanding(f.ws));
	send_text("behind");
	ws_ping(f.ws); /* one at a time */
	ws_flush(f.ws);
	expect_frame(0x81, "before", 6);
	CHECK(next_frame(&first));
	CHECK_EQ(first.first, 0x89);
	expect_frame(0x81, "behind", 6);
	expect_nothing();

	feed_frame(0x8a, "", 0); /* K05 */
	feed_frame(0x8a, "12345678", 8);
	settle();
	CHECK_EQ(f.pongs, 0);
	answer_ping(&first);
	CHECK_EQ(f.pongs, 1);
	CHECK_EQ(f.pong_mark, 12);
	CHECK_EQ(ws_written(f.ws), 24);
	CHECK(!ws_ping_outstanding(f.ws));
	answer_ping(&first); /* late twin */
	CHECK_EQ(f.pongs, 1);

	ws_ping(f.ws);
	CHECK(next_frame(&second));
	CHECK_EQ(second.len, first.len);
	CHECK(memcmp(first.data, second.data, first.len) != 0);
	answer_ping(&first); /* the old one is no answer */
	CHECK_EQ(f.pongs, 1);
	answer_ping(&second);
	CHECK_EQ(f.pongs, 2);
	CHECK_EQ(f.pong_mark, 24);
	free(first.data);
	free(second.data);
	expect_alive();
	stop();
}

static void test_silence(void)
{
	struct frame ping;

	start_open();
	pass_ms(5000);
	CHECK_EQ(ws_silence_ms(f.ws), 0);
	fake_transport_take(f.transport, 0);
	ws_ping(f.ws);
	pass_ms(1000);
	CHECK_EQ(ws_silence_ms(f.ws), 0); /* it has not left */
	feed_frame(0x8a, "\0\0\0\0\0\0\0\1", 8);
	settle();
	CHECK_EQ(f.pongs, 0); /* ... so this is a guess */
	fake_transport_take(f.transport, SIZE_MAX);
	settle();
	pass_ms(3000);
	CHECK_EQ(ws_silence_ms(f.ws), 3000);
	feed_frame(0x81, "life", 4); /* K06: any byte will do */
	settle();
	CHECK_EQ(ws_silence_ms(f.ws), 0);
	pass_ms(2000);
	CHECK_EQ(ws_silence_ms(f.ws), 2000);
	ws_pause(f.ws); /* K08 */
	CHECK(next_frame(&ping));
	feed_frame(0x8a, ping.data, ping.len);
	free(ping.data);
	pass_ms(60000);
	CHECK_EQ(f.pongs, 0);
	CHECK_EQ(ws_silence_ms(f.ws), 0);
	ws_resume(f.ws);
	CHECK_EQ(ws_silence_ms(f.ws), 0);
	settle();
	CHECK_EQ(f.pongs, 1);
	CHECK_EQ(ws_silence_ms(f.ws), 0);
	expect_alive();
	stop();
}

/* --- L: closing ----------------------------------------------------------------------------- */

static void test_server_closes(void)
{
	static const uint16_t codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
					 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
	const char *reason;

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) { /* L02, L03 */
		uint8_t body[5] = {(uint8_t)(codes[i] >> 8), (uint8_t)codes[i], 'b', 'y', 'e'};

		start_open();
		CHECK_EQ(ws_close_code(f.ws, &reason), 0);
		CHECK_STR(reason, "");
		feed_frame(0x88, body, 5);
		feed_frame(0x81, "late", 4);     /* L10 */
		feed_frame(0x88, "\x03\xe8", 2); /* L11 */
		settle();
		expect_close(codes[i]);
		expect_nothing();
		CHECK_EQ(f.messages, 0);
		CHECK_EQ(f.ended, 0);
		CHECK(!ws_writable(f.ws));
		server_hangs_up();
		expect_ended(CAUSE_CLOSED, codes[i]);
		CHECK_EQ(ws_close_code(f.ws, &reason), codes[i]);
		CHECK_STR(reason, "bye");
		CHECK(strstr(f.cause.text, "server closed: "));
		CHECK(strstr(f.cause.text, "bye"));
		stop();
	}
}

static void test_server_closes_otherwise(void)
{
	const char *reason;

	start_open(); /* L01 */
	feed_frame(0x88, "", 0);
	settle();
	expect_close(1005);
	server_hangs_up();
	expect_ended(CAUSE_CLOSED, 1005);
	CHECK_EQ(ws_close_code(f.ws, &reason), 1005);
	stop();

	start_open();
	feed_frame(0x88, "\x03\xe9", 2);
	settle();
	pass_ms(999);
	CHECK_EQ(f.ended, 0);
	pass_ms(1); /* the server does not hang up: we do */
	expect_ended(CAUSE_CLOSED, 1001);
	CHECK_STR(f.cause.text, "server closed: 1001 going away");
	stop();

	start(); /* L23 */
	feed_good();
	feed_frame(0x88, "\x03\xf5", 2);
	settle();
	check_log("open ");
	expect_close(1013);
	server_hangs_up();
	expect_ended(CAUSE_CLOSED, 1013);
	stop();

	start_open(); /* L24, and TLS that is cut off behind both */
	feed_frame(0x81, "last", 4);
	feed_frame(0x88, "\x03\xe8", 2);
	settle();
	check_log("T4:last ");
	fake_transport_end(f.transport, CAUSE_TLS, 0, "cut off");
	expect_ended(CAUSE_CLOSED, 1000);
	stop();
}

static void test_bad_close(void)
{
	static const uint16_t codes[] = {0,    999,  1004, 1005, 1006, 1015,
					 1016, 1100, 2000, 2999, 5000, 65535};
	static const char *const reasons[] = {"\xff", "\xc3", "\xed\xa0\x80", "abc\xc0\xaf"};
	char body[128] = "\x03\xe8";

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) { /* L04 */
		uint8_t code[2] = {(uint8_t)(codes[i] >> 8), (uint8_t)codes[i]};

		start_open();
		feed_frame(0x88, code, 2);
		expect_failed(1002);
		stop();
	}
	start_open(); /* L05 */
	feed_frame(0x88, "\x03", 1);
	expect_failed(1002);
	stop();
	start_open(); /* L06 */
	feed(BYTES("\x88\x7e\x00\x7e"));
	expect_failed(1002);
	stop();
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) { /* L07 */
		for (size_t drip = 0; drip < 2; drip++) {
			strcpy(body + 2, reasons[i]);
			start_open();
			fake_transport_drip(f.transport, drip);
			feed_frame(0x88, body, 2 + strlen(reasons[i]));
			expect_failed(1007);
			stop();
		}
	}
}

static void test_close_reason(void)
{
	static const char euro[] = "\xe2\x82\xac\xc3\xa4\xf0\x9f\x98\x80";
	const char *reason;
	char body[126] = "\x03\xe8";

	for (size_t drip = 1; drip < 6; drip++) { /* L08 */
		strcpy(body + 2, euro);
		start_open();
		fake_transport_drip(f.transport, drip);
		feed_frame(0x88, body, 2 + strlen(euro));
		settle();
		expect_close(1000);
		CHECK_EQ(ws_close_code(f.ws, &reason), 1000);
		CHECK_STR(reason, euro);
		stop();
	}
	memset(body + 2, 'r', 123); /* L06 */
	start_open();
	feed_frame(0x88, body, 125);
	settle();
	expect_close(1000);
	ws_close_code(f.ws, &reason);
	CHECK_EQ(strlen(reason), 123);
	stop();
}

static void test_we_close(void)
{
	start_open(); /* L12, L13, L14, K09 */
	ws_close(f.ws, 1000, "done");
	expect_frame(0x88,
		     "\x03\xe8"
		     "done",
		     6);
	CHECK(!ws_writable(f.ws));
	ws_close(f.ws, 1001, "again");
	feed_frame(0x81, "still", 5);
	feed_frame(0x89, "ping", 4);
	feed_frame(0x88, "\x0f\xa0", 2);
	settle();
	check_log("T5:still ");
	expect_nothing();
	CHECK_EQ(f.ended, 0);
	CHECK(!fake_transport_is_shut(f.transport)); /* the server closes first */
	server_hangs_up();
	expect_ended(CAUSE_OPERATOR, 4000);
	stop();

	start_open(); /* without a code; L17 behind it */
	ws_close(f.ws, 0, NULL);
	expect_close(1005);
	server_hangs_up();
	expect_ended(CAUSE_OPERATOR, 1006);
	stop();

	start_open(); /* a rule is broken behind our Close: no second one */
	ws_close(f.ws, 1000, NULL);
	expect_close(1000);
	feed(BYTES("\x83\x00"));
	settle();
	expect_nothing();
	CHECK(fake_transport_is_shut(f.transport));
	server_hangs_up();
	expect_ended(CAUSE_PROTOCOL, 1002);
	stop();
}

static void test_close_reason_cut(void)
{
	char reason[200];
	struct frame frame;

	memset(reason, 'x', sizeof(reason));
	strcpy(reason + 121, "\xe2\x82\xac and more");
	start_open();
	ws_close(f.ws, 1000, reason);
	CHECK(next_frame(&frame));
	CHECK_EQ(frame.len, 2 + 121);
	free(frame.data);
	stop();
}

static void test_close_bounds(void)
{
	const struct cause late = {.class = CAUSE_TIMEOUT, .code = 7};

	start_open(); /* L15 */
	ws_close(f.ws, 1000, NULL);
	pass_ms(5000);
	CHECK_EQ(f.ended, 0);
	ws_abort(f.ws, &late);
	settle();
	CHECK_EQ(f.ended, 1);
	CHECK_EQ(f.cause.class, CAUSE_TIMEOUT);
	CHECK_EQ(f.cause.code, 7);
	stop();

	start_open(); /* L16 */
	ws_close(f.ws, 1000, NULL);
	feed_frame(0x88, "\x03\xe8", 2);
	settle();
	pass_ms(5000);
	CHECK_EQ(f.ended, 0);
	ws_abort(f.ws, &late);
	expect_ended(CAUSE_OPERATOR, 1000);
	ws_abort(f.ws, &late); /* and silent */
	settle();
	stop();

	start_open(); /* L17 */
	server_hangs_up();
	expect_ended(CAUSE_CLOSED, 1006);
	CHECK_STR(f.cause.text, "the server closed the connection (without a close frame)");
	stop();

	start_open();
	fake_transport_end(f.transport, CAUSE_TIMEOUT, 0, "no answer");
	expect_ended(CAUSE_TIMEOUT, 0);
	stop();

	start_open(); /* L22 */
	ws_close(f.ws, 1001, "a");
	feed_frame(0x88,
		   "\x03\xe8"
		   "b",
		   3);
	settle();
	expect_frame(0x88,
		     "\x03\xe9"
		     "a",
		     3);
	expect_nothing();
	server_hangs_up();
	expect_ended(CAUSE_OPERATOR, 1000);
	stop();
}

/* L18: what was sent before goes first, also when the socket is full and a large message is only
 * half encoded. */
static void test_close_behind_data(void)
{
	static uint8_t large[600000];
	const struct msg msg = {.kind = MSG_BINARY, .data = large, .len = sizeof(large)};
	struct frame frame;
	size_t got = 0;
	uint64_t end;

	start_open();
	for (int i = 0; i < 100; i++)
		send_text("queued");
	ws_close(f.ws, 1000, NULL);
	for (int i = 0; i < 100; i++)
		expect_frame(0x81, "queued", 6);
	expect_close(1000);
	expect_nothing();
	stop();

	start_open();
	fake_transport_take(f.transport, 0);
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	ws_flush(f.ws);
	ws_close(f.ws, 1000, NULL);
	feed_frame(0x89, "x", 1); /* not answered any more, and no harm done */
	settle();
	expect_nothing();
	while (ws_written(f.ws) < end) {
		fake_transport_take(f.transport, 10000);
		settle();
	}
	fake_transport_take(f.transport, SIZE_MAX);
	settle();
	while (got < sizeof(large)) {
		CHECK(next_frame(&frame));
		CHECK_EQ(frame.first & 0x0f, got ? 0 : 2);
		got += frame.len;
		CHECK_EQ(frame.first >> 7, got == sizeof(large));
		free(frame.data);
	}
	expect_close(1000);
	expect_nothing();
	stop();
}

/* L19, L20: the server's Close stops a large message; its sender sees that. */
static void test_server_close_stops_data(void)
{
	static uint8_t large[600000];
	const struct msg msg = {.kind = MSG_BINARY, .data = large, .len = sizeof(large)};
	struct frame frame;
	size_t got = 0;
	uint64_t end;

	start_open();
	fake_transport_take(f.transport, 1000);
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	CHECK(!ws_writable(f.ws));
	ws_flush(f.ws);
	feed_frame(0x88, "\x03\xe9", 2);
	settle();
	fake_transport_take(f.transport, SIZE_MAX);
	settle();
	while (next_frame(&frame) && frame.first != 0x88) {
		got += frame.len;
		free(frame.data);
	}
	CHECK_EQ(frame.first, 0x88);
	free(frame.data);
	expect_nothing();
	CHECK(got > 0 && got < sizeof(large));
	CHECK(ws_written(f.ws) < end);
	server_hangs_up();
	expect_ended(CAUSE_CLOSED, 1001);
	stop();

	/* messages behind which no byte has left are to be told from one that is half out */
	start_open();
	fake_transport_take(f.transport, 100);
	for (int i = 0; i < 20; i++)
		send_text("0123456789"); /* 16 bytes each: the 7th is cut */
	ws_flush(f.ws);
	CHECK_EQ(ws_written(f.ws), 100);
	f.mine = 6 * 16;
	server_hangs_up();
	settle();
	CHECK_EQ(f.ended, 1);
	CHECK(!f.last_unsent);
	CHECK(7 * 16 >= ws_written(f.ws));
	stop();
}

/* A failure drops what is only promised, but frames that are in the buffer go out whole. */
static void test_failure_while_sending(void)
{
	static uint8_t large[600000];
	const struct msg msg = {.kind = MSG_BINARY, .data = large, .len = sizeof(large)};
	struct frame frame;
	size_t got = 0;
	uint64_t end;

	start_open();
	fake_transport_take(f.transport, 50);
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	ws_flush(f.ws);
	feed(BYTES("\x83\x00"));
	settle();
	CHECK(!fake_transport_is_shut(f.transport));
	fake_transport_take(f.transport, SIZE_MAX);
	settle();
	CHECK(fake_transport_is_shut(f.transport));
	while (next_frame(&frame) && frame.first != 0x88) {
		got += frame.len;
		free(frame.data);
	}
	CHECK_EQ(frame.data[0] << 8 | frame.data[1], 1002);
	CHECK(frame.len > 2);
	free(frame.data);
	expect_nothing();
	CHECK(got < sizeof(large));
	server_hangs_up();
	expect_ended(CAUSE_PROTOCOL, 1002);
	stop();
}

/* --- what the owner may do ------------------------------------------------------------------ */

static void test_owner_in_message(void)
{
	start_open();
	f.aborts = true;
	feed(BYTES("\x81\x01"
		   "a\x81\x01"
		   "b"));
	settle();
	check_log("T1:a ");
	CHECK_EQ(f.ended, 1);
	CHECK_EQ(f.cause.class, CAUSE_TIMEOUT);
	expect_nothing();
	stop();

	start_open();
	f.closes = true;
	feed(BYTES("\x81\x01"
		   "a\x81\x01"
		   "b\x88\x02\x03\xe8"));
	settle();
	check_log("T1:a T1:b ");
	expect_frame(0x88,
		     "\x03\xe8"
		     "enough",
		     8);
	expect_nothing();
	server_hangs_up();
	expect_ended(CAUSE_OPERATOR, 1000);
	stop();
}

static void test_pause(void)
{
	static uint8_t data[10000];
	char expected[16];

	/* in the middle of a batch, one at a time */
	start_open();
	f.pauses = true;
	for (int i = 0; i < 5; i++)
		feed_frame(0x81, &"12345"[i], (size_t)(5 - i));
	for (int i = 0; i < 5; i++) {
		settle();
		snprintf(expected, sizeof(expected), "T%d:%s ", 5 - i, &"12345"[i]);
		check_log(expected);
		settle();
		check_log("");
		ws_resume(f.ws);
	}
	settle();
	expect_alive();
	stop();

	start_open(); /* the end waits behind what was kept */
	f.pauses = true;
	feed_frame(0x81, "one", 3);
	feed_frame(0x82, data, sizeof(data));
	feed_frame(0x81, "two", 3);
	server_hangs_up();
	settle();
	check_log("T3:one ");
	CHECK_EQ(f.ended, 0);
	f.pauses = false;
	ws_resume(f.ws);
	settle();
	CHECK_EQ(f.messages, 3);
	expect_ended(CAUSE_CLOSED, 1006);
	stop();
}

static void test_pause_and_states(void)
{
	start(); /* in `opened`'s segment */
	f.pauses = true;
	feed_good();
	feed_frame(0x81, "one", 3);
	feed_frame(0x81, "two", 3);
	settle();
	check_log("open T3:one ");
	f.pauses = false;
	ws_resume(f.ws);
	settle();
	check_log("T3:two ");
	expect_alive();
	stop();

	start_open(); /* paused, but we fail to hear: the close handshake of ours still ends */
	ws_pause(f.ws);
	ws_close(f.ws, 1000, NULL);
	feed_frame(0x88, "\x03\xe8", 2);
	settle();
	CHECK_EQ(f.ended, 0);
	ws_resume(f.ws);
	server_hangs_up();
	expect_ended(CAUSE_OPERATOR, 1000);
	stop();
}

/* --- sending -------------------------------------------------------------------------------- */

static void test_send_lengths(void)
{
	static const size_t lengths[] = {0,     1,     2,     7,     8,     9,      31,  32,
					 33,    63,    64,    65,    125,   126,    127, 1000,
					 65535, 65536, 65537, 81920, 81921, 1 << 20, 5 << 20};
	static uint8_t data[5 << 20], got[5 << 20];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct msg msg = {.kind = MSG_BINARY, .data = data, .len = lengths[i]};
		size_t len = 0, wire_len = 0, frames = 0;
		struct frame frame;
		uint64_t end;

		start_open();
		CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
		CHECK_EQ(ws_written(f.ws), 0);
		expect_nothing(); /* before ws_flush() */
		ws_flush(f.ws);
		settle();
		CHECK_EQ(ws_written(f.ws), end);
		CHECK(ws_writable(f.ws));
		while (next_frame(&frame)) {
			memcpy(got + len, frame.data, frame.len);
			len += frame.len;
			wire_len += frame.wire;
			CHECK_EQ(frame.first & 0x7f, frames ? 0 : 2);
			CHECK_EQ(frame.first >> 7, len == msg.len);
			if (msg.len > WS_SEND_WHOLE)
				CHECK(frame.len <= WS_SEND_FRAGMENT);
			frames++;
			free(frame.data);
		}
		CHECK_EQ(len, msg.len);
		CHECK_EQ(wire_len, end);
		CHECK(memcmp(got, data, len) == 0);
		CHECK_EQ(frames, msg.len > WS_SEND_WHOLE
					 ? (msg.len + WS_SEND_FRAGMENT - 1) / WS_SEND_FRAGMENT
					 : 1);
		expect_alive();
		stop();
	}
}

static int compare_words(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, 4);
	memcpy(&y, b, 4);
	return x < y ? -1 : x > y;
}

/* F13: 10,000 keys; of so many 32-bit numbers a dozen pairs meet by chance, thousands do not. */
static void test_mask_keys(void)
{
	static uint32_t keys[10000];
	uint32_t all = 0, none = UINT32_MAX;
	struct frame frame;
	int twins = 0;

	start_open();
	for (int i = 0; i < 10000; i++) {
		if (!ws_writable(f.ws))
			ws_flush(f.ws);
		send_text("x");
	}
	ws_flush(f.ws);
	for (int i = 0; i < 10000; i++) {
		CHECK(next_frame(&frame));
		memcpy(&keys[i], frame.key, 4);
		all |= keys[i];
		none &= keys[i];
		free(frame.data);
	}
	CHECK_EQ(all, UINT32_MAX);
	CHECK_EQ(none, 0);
	qsort(keys, 10000, sizeof(keys[0]), compare_words);
	for (int i = 1; i < 10000; i++)
		twins += keys[i] == keys[i - 1];
	CHECK(twins < 5);
	stop();
}

static void last_frame_is_close(void)
{
	struct frame frame = {0};

	while (next_frame(&frame))
		free(frame.data);
	CHECK_EQ(frame.first, 0x88);
}

/* However full, a message up to WS_SEND_WHOLE fits while ws_writable(); and tx gets well filled. */
static void fill_with(size_t len)
{
	static uint8_t data[TRANSPORT_TX_MAX * 2];
	const struct msg msg = {.kind = MSG_BINARY, .data = data, .len = len};
	uint64_t end;

	while (ws_writable(f.ws))
		CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
}

static void test_writable(void)
{
	static const size_t lengths[] = {5, WS_SEND_WHOLE, TRANSPORT_TX_MAX * 2};

	/* FIRST is such that in the end nearly every number of bytes would be left */
	for (size_t first = 0; first <= WS_SEND_FRAGMENT; first += first < 16000 ? 16000 : 1) {
		static char text[WS_SEND_FRAGMENT + 1];
		size_t len = lengths[first % 3];

		memset(text, 'x', first);
		text[first] = '\0';
		start_open();
		fake_transport_take(f.transport, 0);
		send_text(text);
		fill_with(len);
		CHECK(transport_room(f.transport) < 70000);
		if (len == 5)
			CHECK(transport_room(f.transport) > WS_SEND_WHOLE);
		ws_ping(f.ws); /* there is always room for those */
		CHECK(ws_ping_outstanding(f.ws));
		if (first % 2)
			ws_close(f.ws, 1000, NULL);
		else
			feed(BYTES("\x83\x00"));
		settle();
		fake_transport_take(f.transport, SIZE_MAX);
		settle();
		last_frame_is_close();
		CHECK(len > WS_SEND_WHOLE || ws_written(f.ws) == ws_queued(f.ws));
		stop();
	}
}

/* F14, and positions: pongs pass between the fragments, ws_written() counts data alone. */
static void test_positions(void)
{
	static uint8_t large[1 << 20];
	const struct msg msg = {.kind = MSG_BINARY, .data = large, .len = sizeof(large)};
	static struct {
		uint64_t raw, data;
	} seen[1000];
	struct frame frame;
	size_t n = 0, raw = f.checked, data = 0, k = 0, between = 0, pings = 0;
	uint64_t start_of_large, end;

	start_open();
	raw = f.checked;
	send_text("first");
	start_of_large = ws_queued(f.ws);
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	CHECK_EQ(end, ws_queued(f.ws));
	fake_transport_take(f.transport, 0);
	ws_ping(f.ws);
	for (n = 0; n < 1000 && ws_written(f.ws) < end; n++) {
		fake_transport_take(f.transport, 3001);
		if (n % 3 == 0)
			feed_frame(0x89, "are you there", 13);
		settle();
		seen[n].raw = transport_written(f.transport);
		seen[n].data = ws_written(f.ws);
	}
	CHECK(n < 1000);
	CHECK_EQ(ws_written(f.ws), end);
	fake_transport_take(f.transport, SIZE_MAX);
	feed_frame(0x8a, "\0\0\0\0\0\0\0\1", 8);
	settle();
	CHECK_EQ(f.pongs, 1); /* the ping stood in the middle of the message */
	CHECK(f.pong_mark > start_of_large && f.pong_mark < end);
	while (next_frame(&frame)) {
		bool is_data = frame.first < 0x88 && (frame.first & 0x0f) <= 2;

		between += frame.first == 0x8a && data > start_of_large && data < end;
		pings += frame.first == 0x89;
		for (; k < n && seen[k].raw <= raw + frame.wire; k++)
			CHECK_EQ(seen[k].data,
				 data + (is_data && seen[k].raw > raw ? seen[k].raw - raw : 0));
		raw += frame.wire;
		data += is_data ? frame.wire : 0;
		free(frame.data);
	}
	CHECK_EQ(k, n);
	CHECK_EQ(data, end);
	CHECK_EQ(pings, 1);
	CHECK(between >= 4);
	expect_alive();
	stop();
}

static void test_no_memory(void)
{
	static uint8_t large[100000];
	const struct msg text = {.kind = MSG_TEXT, .data = (const uint8_t *)"x", .len = 1};
	const struct msg msg = {.kind = MSG_BINARY, .data = large, .len = sizeof(large)};
	uint64_t end;

	start_open(); /* nothing was taken */
	fake_transport_fail(f.transport, 1);
	CHECK_EQ(ws_send(f.ws, &text, &end), -ENOMEM);
	CHECK_EQ(ws_queued(f.ws), 0);
	fake_transport_fail(f.transport, 1);
	ws_ping(f.ws);
	CHECK(!ws_ping_outstanding(f.ws));
	fake_transport_fail(f.transport, 1); /* a pong may be left out */
	feed_frame(0x89, "lost", 4);
	settle();
	expect_nothing();
	feed_frame(0x89, "next", 4);
	settle();
	expect_frame(0x8a, "next", 4);
	expect_alive();
	stop();

	start_open(); /* half a message cannot be taken back */
	fake_transport_fail(f.transport, 1);
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	expect_ended(CAUSE_LOCAL, ENOMEM);
	stop();
}

/* One wake-up, one write, however many messages were echoed. */
static void test_flushes(void)
{
	unsigned before;

	start_open();
	before = fake_transport_flushes(f.transport);
	for (int i = 0; i < 100; i++)
		feed_frame(0x89, "x", 1);
	settle();
	CHECK_EQ(fake_transport_flushes(f.transport), before + 1);
	stop();
}

/* --- D: permessage-deflate ------------------------------------------------------------------ */

static void agree(enum deflate_use use, const char *extensions)
{
	f.options.upgrade.compress = use;
	f.extensions = extensions;
}

#define SHARED "\x05\xf2\x00\x11\x00\x00"
#define HELLO "\x07\xf2\x48\xcd\xc9\xc9\x07\x00"

static const struct {
	const char *bytes;
	size_t len;
	const char *log;
	uint16_t code; /* of the failure; 0: none */
} deflated[] = {
	{BYTES("\xc1" HELLO), "T5:Hello ", 0}, /* D11 */
	{BYTES("\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"), "T5:Hello ", 0}, /* D12 */
	{BYTES("\xc1" HELLO "\xc1" SHARED), "T5:Hello T5:Hello ", 0}, /* D13 */
	{BYTES("\xc2" HELLO), "B5:Hello ", 0},
	{BYTES("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00\xc1" HELLO "\xc1" SHARED), /* D16 */
	 "T5:Hello T5:Hello T5:Hello ", 0},
	{BYTES("\xc1\x01\x00\xc1\x00\xc1" HELLO), "T0: T0: T5:Hello ", 0}, /* D18, D19 */
	{BYTES("\xc1" HELLO "\x81\x05" "Hello" "\x82\x03" "abc" "\xc1" SHARED), /* D20, D38 */
	 "T5:Hello T5:Hello B3:abc T5:Hello ", 0},
	{BYTES("\x01\x02He\x80\x03llo\xc1" HELLO "\xc1" SHARED), "T5:Hello T5:Hello T5:Hello ", 0},
	/* D21: control frames between the fragments, with what looks compressed */
	{BYTES("\x41\x03\xf2\x48\xcd\x8a" HELLO "\x80\x04\xc9\xc9\x07\x00"), "T5:Hello ", 0},
	{BYTES("\x41\x03\xf2\x48\xcd\x89" HELLO "\x80\x04\xc9\xc9\x07\x00"), "T5:Hello ", 0},
	/* D22 */
	{BYTES("\x41" HELLO "\x80\x00"), "T5:Hello ", 0},
	{BYTES("\x41\x00\x80" HELLO), "T5:Hello ", 0},
	{BYTES("\x41\x00\x00\x00\x80\x00\xc1" HELLO), "T0: T5:Hello ", 0},
	{BYTES("\x41\x01\xf2\x00\x00\x00\x06\x48\xcd\xc9\xc9\x07\x00\x80\x00\xc1" SHARED),
	 "T5:Hello T5:Hello ", 0},
	/* D23 */
	{BYTES("\x41\x03\xf2\x48\xcd\xc0\x04\xc9\xc9\x07\x00"), "", 1002},
	{BYTES("\x01\x01x\xc0\x01y"), "", 1002},
	{BYTES("\xc0\x00"), "", 1002},
	{BYTES("\xc9\x00"), "", 1002},
	{BYTES("\xca\x01x"), "", 1002},
	{BYTES("\xc8\x00"), "", 1002},
	{BYTES("\xc3\x00"), "", 1002},
	/* D24 */
	{BYTES("\xa1\x01x"), "", 1002},
	{BYTES("\xe1" HELLO), "", 1002},
	{BYTES("\x91\x01x"), "", 1002},
	{BYTES("\xd1" HELLO), "", 1002},
	/* D25, D26, D27 */
	{BYTES("\xc1\x05\xff\xff\xff\xff\xff"), "", 1007},
	{BYTES("\xc1\x03\xf2\x48\xcd"), "", 1007},
	{BYTES("\x41\x03\xf2\x48\xcd\x80\x00"), "", 1007},
	{BYTES("\xc1" SHARED), "", 1007},
	{BYTES("\xc1" HELLO "\xc1\x01\x06\x81\x01x"), "T5:Hello ", 1007},
	/* D28: stored blocks with half a character, with none, with two halves */
	{BYTES("\xc1\x07\x00\x01\x00\xfe\xff\xc3\x00"), "", 1007},
	{BYTES("\x41\x06\x00\x01\x00\xfe\xff\xff"), "", 1007}, /* at once */
	{BYTES("\xc2\x07\x00\x01\x00\xfe\xff\xc3\x00"), "B1:\xc3 ", 0},
	{BYTES("\x41\x06\x00\x01\x00\xfe\xff\xc3\x80\x07\x00\x01\x00\xfe\xff\xa4\x00"),
	 "T2:\xc3\xa4 ", 0},
	{BYTES("\x41\x06\x00\x01\x00\xfe\xff\xc3\x80\x01\x00"), "", 1007},
	/* a continuation without a beginning, a beginning inside: as without compression */
	{BYTES("\x41\x03\xf2\x48\xcd\xc1" HELLO), "", 1002},
	{BYTES("\xc1" HELLO "\x80\x00"), "T5:Hello ", 1002},
};

static void test_deflated(void)
{
	for (size_t i = 0; i < sizeof(deflated) / sizeof(*deflated); i++) {
		for (int how = 0; how < PLAYS; how++) {
			struct frame frame;

			agree(DEFLATE_RECEIVE, "permessage-deflate");
			play(how, deflated[i].bytes, deflated[i].len);
			CHECK_STR(ws_compression(f.ws), "permessage-deflate");
			check_log(deflated[i].log);
			if (deflated[i].code) {
				expect_failed(deflated[i].code);
			} else {
				while (next_frame(&frame)) {
					if (frame.first == 0x8a) /* the ping's payload as it was */
						CHECK(memcmp(frame.data, &HELLO[1], 7) == 0);
					free(frame.data);
				}
				expect_alive();
			}
			stop();
		}
	}
}

/* D14, D40: what was before is forgotten where that was agreed, and with the connection. */
static void test_deflate_forgets(void)
{
	agree(DEFLATE_RECEIVE, "permessage-deflate; server_no_context_takeover");
	start_open();
	feed(BYTES("\xc1" HELLO "\xc1" HELLO));
	settle();
	check_log("T5:Hello T5:Hello ");
	ws_ping(f.ws); /* which is when memory is given back */
	feed(BYTES("\xc1" HELLO "\xc1" SHARED));
	expect_frame(0x89, "\0\0\0\0\0\0\0\1", 8);
	settle();
	check_log("T5:Hello ");
	expect_failed(1007);
	stop();

	agree(DEFLATE_RECEIVE, "permessage-deflate");
	start_open();
	feed(BYTES("\xc1" HELLO));
	settle();
	ws_ping(f.ws);
	expect_frame(0x89, "\0\0\0\0\0\0\0\1", 8);
	feed(BYTES("\xc1" SHARED));
	settle();
	check_log("T5:Hello T5:Hello ");
	stop();

	agree(DEFLATE_RECEIVE, "permessage-deflate");
	start_open();
	feed(BYTES("\xc1" SHARED));
	expect_failed(1007);
	stop();
}

static void refuse_answer(enum deflate_use use, const char *extensions)
{
	agree(use, extensions);
	start();
	feed_good();
	expect_ended(CAUSE_HTTP, 0);
	CHECK_EQ(f.opened, 0);
	expect_nothing();
	stop();
}

/* D02 to D10 are test-deflate's and test-upgrade's; here, that somebody asks them. */
static void test_deflate_answers(void)
{
	refuse_answer(DEFLATE_NO, "permessage-deflate");
	refuse_answer(DEFLATE_RECEIVE, "permessage-deflate; client_max_window_bits");
	refuse_answer(DEFLATE_BOTH, "permessage-deflate, permessage-deflate");
	agree(DEFLATE_BOTH, NULL); /* offered, not taken up */
	start_open();
	CHECK_STR(ws_compression(f.ws), "");
	feed(BYTES("\xc1" HELLO));
	expect_failed(1002);
	stop();
}

/* A server's compressor. */
static size_t pack(uint8_t *ret, size_t size, const void *data, size_t len)
{
	z_stream z = {0};

	CHECK_EQ(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (uint8_t *)data;
	z.avail_in = (uInt)len;
	z.next_out = ret;
	z.avail_out = (uInt)size;
	CHECK_EQ(deflate(&z, Z_SYNC_FLUSH), Z_OK);
	deflateEnd(&z);
	return size - z.avail_out - 4;
}

static uint8_t packed[1 << 20];

/* D30, D39, M01: the limit is that of the bytes that come out, also over several frames. */
static void test_deflate_limit(void)
{
	const size_t limit = 1 << 20;
	uint8_t *zeros = calloc(1, limit + 1);
	size_t len;

	CHECK(zeros);
	for (size_t over = 0; over < 2; over++) {
		for (int fragments = 0; fragments < 2; fragments++) {
			agree(DEFLATE_RECEIVE, "permessage-deflate");
			start_open();
			len = pack(packed, sizeof(packed), zeros, limit + over);
			if (fragments) {
				feed_frame(0x42, packed, len / 2);
				feed_frame(0x80, packed + len / 2, len - len / 2);
			} else {
				feed_frame(0xc2, packed, len);
			}
			settle();
			CHECK_EQ(f.messages, 1 - over);
			if (over)
				expect_failed(1009);
			else
				expect_alive();
			stop();
		}
	}
	free(zeros);
}

/* D31: many that just fit, in one read: all come, but not in one turn of the loop; D32: none after a
 * pause. */
static void test_deflate_flood(void)
{
	enum { COUNT = 100 };
	const size_t limit = 1 << 20;
	uint8_t *zeros = calloc(1, limit);
	size_t len;

	CHECK(zeros);
	agree(DEFLATE_RECEIVE, "permessage-deflate; server_no_context_takeover");
	start_open();
	len = pack(packed, sizeof(packed), zeros, limit - 1);
	for (int i = 0; i < COUNT; i++)
		feed_frame(0xc2, packed, len);
	CHECK(fake_transport_turn(f.transport));
	CHECK(f.messages > 0 && f.messages < 10);
	f.pauses = true;
	run_laters();
	CHECK(fake_transport_turn(f.transport));
	len = f.messages;
	settle();
	CHECK_EQ(f.messages, len);
	f.pauses = false;
	ws_resume(f.ws);
	settle();
	CHECK_EQ(f.messages, COUNT);
	expect_alive();
	stop();
	free(zeros);
}

/* D29: characters of several bytes lie across the 16 KiB at which the inflater looks up. */
static void test_deflate_utf8(void)
{
	enum { CHARACTERS = 8192 };
	static uint8_t text[8 + CHARACTERS * 4];

	for (size_t before = 0; before < 8; before++) {
		size_t len = before + CHARACTERS * 4, n;

		memset(text, 'x', before);
		for (size_t i = 0; i < CHARACTERS; i++)
			memcpy(text + before + i * 4, "\xf0\x9f\x98\x80", 4);
		agree(DEFLATE_RECEIVE, "permessage-deflate");
		start_open();
		n = pack(packed, sizeof(packed), text, len);
		feed_frame(0xc1, packed, n);
		feed_frame(0x41, packed, n / 3);
		feed_frame(0x80, packed + n / 3, n - n / 3);
		settle();
		CHECK_EQ(f.messages, 2);
		n = pack(packed, sizeof(packed), text, len - 1);
		feed_frame(0xc1, packed, n);
		expect_failed(1007);
		stop();
	}
}

/* The next message of ours, its frames joined, inflated if it was compressed; to be freed. */
static uint8_t *read_message(size_t *ret_len, bool *ret_compressed, unsigned *ret_frames)
{
	enum { MOST = 8 << 20 };
	uint8_t *data = malloc(MOST), *back;
	struct frame frame;
	z_stream z = {0};
	size_t len = 0;

	CHECK(data);
	*ret_frames = 0;
	do {
		settle();
		CHECK(next_frame(&frame));
		CHECK_EQ(frame.first & 0x0f, *ret_frames == 0 ? 2 : 0);
		if (*ret_frames == 0)
			*ret_compressed = frame.first & 0x40;
		else
			CHECK_EQ(frame.first & 0x40, 0); /* D35 */
		memcpy(data + len, frame.data, frame.len);
		len += frame.len;
		++*ret_frames;
		free(frame.data);
	} while (!(frame.first & 0x80));
	*ret_len = len;
	if (!*ret_compressed)
		return data;
	memcpy(data + len, "\0\0\xff\xff", 4);
	back = malloc(MOST);
	CHECK(back);
	CHECK_EQ(inflateInit2(&z, -15), Z_OK);
	z.next_in = data;
	z.avail_in = (uInt)len + 4;
	z.next_out = back;
	z.avail_out = MOST;
	CHECK_EQ(inflate(&z, Z_SYNC_FLUSH), Z_OK);
	*ret_len = MOST - z.avail_out;
	inflateEnd(&z);
	free(data);
	return back;
}

/* Send LEN bytes, read them back; positions must be those of the wire. */
static void send_and_read(const uint8_t *data, size_t len, bool compressed, bool fragmented)
{
	const struct msg msg = {.kind = MSG_BINARY, .data = data, .len = len};
	uint64_t start = ws_queued(f.ws), end;
	size_t from = f.checked, got_len;
	bool got_compressed = false;
	unsigned frames;
	uint8_t *got;

	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	CHECK_EQ(ws_queued(f.ws), end);
	ws_flush(f.ws);
	got = read_message(&got_len, &got_compressed, &frames);
	CHECK_EQ(got_compressed, compressed);
	CHECK_EQ(frames > 1, fragmented);
	CHECK_EQ(got_len, len);
	CHECK(len == 0 || memcmp(got, data, len) == 0);
	CHECK_EQ(end - start, f.checked - from);
	CHECK_EQ(ws_written(f.ws), end);
	CHECK(ws_writable(f.ws));
	free(got);
}

static void test_deflate_sent(void)
{
	const size_t most = 4 << 20;
	uint8_t *text = malloc(most + 1), *noise = malloc(most);
	size_t n = 0;

	CHECK(text && noise);
	while (n < most - 64)
		n += (size_t)sprintf((char *)text + n, "{\"n\":%zu,\"hash\":%d}", n, rand());
	memset(text + n, 'x', most + 1 - n);
	for (size_t i = 0; i < most; i++)
		noise[i] = (uint8_t)rand();

	agree(DEFLATE_BOTH, "permessage-deflate; client_max_window_bits=15");
	start_open();
	for (int i = 0; i < 2; i++) {
		send_and_read(text, 0, false, false);
		send_and_read(text, 127, false, false);
		send_and_read(text, 128, true, false);
		send_and_read(text, 70000, true, false);
		send_and_read(text, 1 << 20, true, true);
		send_and_read(text, most, true, true);
		send_and_read(text, most + 1, false, true);
		send_and_read(noise, 1000, false, false);
		send_and_read(noise, 1 << 20, false, true);
		ws_ping(f.ws);
		CHECK(ws_ping_outstanding(f.ws));
		expect_frame(0x89, i ? "\0\0\0\0\0\0\0\2" : "\0\0\0\0\0\0\0\1", 8);
		feed_frame(0x8a, i ? "\0\0\0\0\0\0\0\2" : "\0\0\0\0\0\0\0\1", 8);
		settle();
	}
	stop();

	agree(DEFLATE_BOTH, "permessage-deflate; client_max_window_bits=8"); /* D05 */
	start_open();
	send_and_read(text, 1000, false, false);
	stop();
	agree(DEFLATE_RECEIVE, "permessage-deflate");
	start_open();
	send_and_read(text, 1000, false, false);
	stop();
	agree(DEFLATE_BOTH, NULL);
	start_open();
	send_and_read(text, 1000, false, false);
	stop();
	free(text);
	free(noise);
}

/* A large message that is compressed waits for the kernel; what waits are not the sender's bytes. */
static void test_deflate_sent_slowly(void)
{
	const size_t len = 3 << 20;
	uint8_t *noise = malloc(len), *copy = malloc(len), *got;
	struct msg msg = {.kind = MSG_BINARY, .data = noise, .len = len};
	bool compressed = false;
	unsigned frames;
	size_t got_len;
	uint64_t end;

	CHECK(noise && copy);
	for (size_t i = 0; i < len; i++)
		noise[i] = (uint8_t)(rand() & 0x3f);
	memcpy(copy, noise, len);
	agree(DEFLATE_BOTH, "permessage-deflate");
	start_open();
	fake_transport_take(f.transport, 0);
	CHECK_EQ(ws_send(f.ws, &msg, &end), 0);
	ws_flush(f.ws);
	CHECK(!ws_writable(f.ws));
	memset(noise, 0, len);
	while (ws_written(f.ws) < end) {
		CHECK(!ws_writable(f.ws) || ws_queued(f.ws) == end);
		fake_transport_take(f.transport, 50000);
		settle();
	}
	fake_transport_take(f.transport, SIZE_MAX);
	got = read_message(&got_len, &compressed, &frames);
	CHECK(compressed && frames > 100);
	CHECK_EQ(got_len, len);
	CHECK(memcmp(got, copy, len) == 0);
	free(got);
	stop();
	free(noise);
	free(copy);
}

int main(void)
{
	test_handshake();
	test_handshake_refused();
	test_body_of_refusal();
	test_handshake_owner();
	test_request_too_long();
	test_wire();
	test_lengths();
	test_frame_behind_head();
	test_contents();
	test_many_messages();
	test_flood_after_failure();
	test_fragments();
	test_fragments_and_control();
	test_limits();
	test_utf8_offsets();
	test_pings_of_server();
	test_ping_flood();
	test_pongs_between_messages();
	test_our_pings();
	test_silence();
	test_server_closes();
	test_server_closes_otherwise();
	test_bad_close();
	test_close_reason();
	test_we_close();
	test_close_reason_cut();
	test_close_bounds();
	test_close_behind_data();
	test_server_close_stops_data();
	test_failure_while_sending();
	test_owner_in_message();
	test_pause();
	test_pause_and_states();
	test_send_lengths();
	test_mask_keys();
	test_writable();
	test_positions();
	test_no_memory();
	test_flushes();
	test_deflated();
	test_deflate_forgets();
	test_deflate_answers();
	test_deflate_limit();
	test_deflate_utf8();
	test_deflate_flood();
	test_deflate_sent();
	test_deflate_sent_slowly();
	return 0;
}
