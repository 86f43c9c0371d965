/* Pings and pongs of a ws, and how long a server is silent. */
#include "wire.h"

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

int main(void)
{
	wire_init();
	test_pings_of_server();
	test_ping_flood();
	test_pongs_between_messages();
	test_our_pings();
	test_silence();
	return 0;
}
