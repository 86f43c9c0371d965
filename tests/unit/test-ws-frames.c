/* What a ws receives: frames, fragments, UTF-8, limits. */
#include "wire.h"

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

int main(void)
{
	wire_init();
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
	return 0;
}
