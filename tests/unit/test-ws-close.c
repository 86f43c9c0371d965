/* How a ws ends: closed by the server, by us, for a fault, with or without an answer. */
#include "wire.h"

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
	struct frame frame = {0};

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
	struct frame frame = {0};
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
	struct frame frame = {0};
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
	struct frame frame = {0};
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

int main(void)
{
	wire_init();
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
	return 0;
}
