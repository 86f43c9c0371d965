/* What the owner asks of a ws: to stop and go on, and to send; and where its bytes are. */
#include <errno.h>

#include "wire.h"

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

int main(void)
{
	wire_init();
	test_owner_in_message();
	test_pause();
	test_pause_and_states();
	test_send_lengths();
	test_mask_keys();
	test_writable();
	test_positions();
	test_no_memory();
	test_flushes();
	return 0;
}
