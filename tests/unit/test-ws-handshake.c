/* The opening handshake of a ws: what is asked, and which answers will do. */
#include <errno.h>

#include "wire.h"

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

int main(void)
{
	wire_init();
	test_handshake();
	test_handshake_refused();
	test_body_of_refusal();
	test_handshake_owner();
	test_request_too_long();
	return 0;
}
