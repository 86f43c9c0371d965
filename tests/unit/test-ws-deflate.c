/* A ws with permessage-deflate (RFC 7692), both ways. */
#include <zlib.h>

#include "wire.h"

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
	fake_loop_settle();
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
	wire_init();
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
