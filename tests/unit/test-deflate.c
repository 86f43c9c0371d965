/* permessage-deflate: answers to the offer (protocol cases D01 to D10), messages from the RFC and
 * from hostile hands (D11 to D31, D37, D39), and both machines against zlib at every window size
 * (D33 to D36). */
#include <errno.h>
#include <stdbool.h>

#include <zlib.h>

#include "base/buf.h"
#include "codec/deflate.h"

#include "check.h"

#define BYTES(s) (s), sizeof(s) - 1

enum { LIMIT = 1 << 20 };

static const struct deflate_terms plain_terms = {.agreed = true};
static const struct deflate_terms resetting = {.agreed = true, .server_resets = true};

/* --- answers to the offer ------------------------------------------------------------------- */

static void agree(const char *answer, const char *described)
{
	struct deflate_terms terms = {0};
	char text[DEFLATE_TERMS_MAX];
	const char *problem = NULL;

	CHECK_EQ(deflate_judge(&terms, answer, strlen(answer), &problem), 0);
	CHECK(terms.agreed);
	deflate_describe(&terms, text);
	CHECK_STR(text, described ? described : answer);
}

static void test_agreed(void)
{
	char answer[64];

	agree("permessage-deflate", NULL); /* D01 */
	agree("permessage-deflate; server_no_context_takeover", NULL);
	agree("permessage-deflate; client_no_context_takeover", NULL);
	agree("permessage-deflate; client_no_context_takeover;server_no_context_takeover",
	      "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
	for (int bits = 8; bits <= 15; bits++) { /* D03, D04, D05 */
		snprintf(answer, sizeof(answer), "permessage-deflate; server_max_window_bits=%d", bits);
		agree(answer, NULL);
		snprintf(answer, sizeof(answer), "permessage-deflate; client_max_window_bits=%d", bits);
		agree(answer, NULL);
	}
	agree("permessage-deflate; server_max_window_bits=\"10\"", /* D07's last */
	      "permessage-deflate; server_max_window_bits=10");
	agree("permessage-deflate; server_max_window_bits=\"1\\0\"",
	      "permessage-deflate; server_max_window_bits=10");
	agree("permessage-deflate ;  server_no_context_takeover", /* D10 */
	      "permessage-deflate; server_no_context_takeover");
	agree("permessage-deflate;server_max_window_bits = 12\t; client_max_window_bits=9",
	      "permessage-deflate; server_max_window_bits=12; client_max_window_bits=9");
	agree("permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
	      "server_max_window_bits=15; client_max_window_bits=15",
	      NULL);
}

static void test_refused(void)
{
	static const char *const answers[] = {
		"permessage-deflate; client_max_window_bits", /* D06 */
		"permessage-deflate; server_max_window_bits",
		"permessage-deflate; server_max_window_bits=7", /* D07 */
		"permessage-deflate; server_max_window_bits=16",
		"permessage-deflate; server_max_window_bits=010",
		"permessage-deflate; server_max_window_bits=08",
		"permessage-deflate; server_max_window_bits=+9",
		"permessage-deflate; server_max_window_bits=9.0",
		"permessage-deflate; server_max_window_bits=",
		"permessage-deflate; server_max_window_bits=\"\"",
		"permessage-deflate; server_max_window_bits=\"",
		"permessage-deflate; server_max_window_bits=\"10",
		"permessage-deflate; server_max_window_bits=\"10\\\"",
		"permessage-deflate; server_max_window_bits=10\\",
		"permessage-deflate; server_max_window_bits=100",
		"permessage-deflate; server_max_window_bits=4294967306",
		"permessage-deflate; server_max_window_bits=1 0",
		"permessage-deflate; server_max_window_bits=10=",
		"permessage-deflate; client_max_window_bits=7",
		/* D08 */
		"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
		"permessage-deflate; client_max_window_bits=10; client_max_window_bits=9",
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
		"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; x",
		"permessage-deflate; x=1",
		"permessage-deflate; Server_no_context_takeover",
		"permessage-deflate; server_no_context_takeover=1",
		"permessage-deflate; server_no_context_takeover=",
		"permessage-deflate; client_no_context_takeover=true",
		"permessage-deflate;",
		"permessage-deflate;; server_no_context_takeover",
		"permessage-deflate=1",
		"permessage-bzip2", /* D09 */
		"x-webkit-deflate-frame",
		"permessage-deflat",
		"permessage-deflate2",
		"Permessage-Deflate", /* D10: an extension's name is taken as it was offered */
		"\"permessage-deflate\"",
		"=",
		"; permessage-deflate",
	};
	const char *problem = NULL, *again = "permessage-deflate; server_max_window_bits=9";
	struct deflate_terms terms = {0};

	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		problem = NULL;
		CHECK_EQ(deflate_judge(&terms, answers[i], strlen(answers[i]), &problem), -EPROTO);
		CHECK(problem && *problem);
		CHECK(!terms.agreed && !terms.server_bits && !terms.client_bits);
		CHECK(!terms.server_resets && !terms.client_resets);
	}
	CHECK_EQ(deflate_judge(&terms, again, strlen(again), &problem), 0); /* D09: twice */
	CHECK_EQ(deflate_judge(&terms, again, strlen(again), &problem), -EPROTO);
	CHECK_EQ(terms.server_bits, 9);
}

/* --- receiving ------------------------------------------------------------------------------ */

static struct inflater *inflater;
static struct buf out;
static const char *problem;

static void begin_limited(const struct deflate_terms *terms, size_t limit)
{
	inflater = inflater_free(inflater);
	CHECK_EQ(inflater_new(&inflater, terms), 0);
	buf_done(&out);
	buf_init(&out, limit);
}

static void begin(const struct deflate_terms *terms)
{
	begin_limited(terms, LIMIT);
}

/* A whole message, STEP bytes at a time (0: at once). */
static int feed_in(const void *data, size_t len, size_t step)
{
	const uint8_t *at = data;
	int r = 0;

	buf_clear(&out);
	problem = NULL;
	while (r == 0 && step > 0 && len > step) {
		r = inflater_feed(inflater, at, step, false, &out, &problem);
		at += step;
		len -= step;
	}
	return r < 0 ? r : inflater_feed(inflater, at, len, true, &out, &problem);
}

static int feed(const void *data, size_t len)
{
	return feed_in(data, len, 0);
}

static bool out_is(const void *data, size_t len)
{
	return buf_len(&out) == len && (len == 0 || memcmp(buf_head(&out), data, len) == 0);
}

#define HELLO BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00")
#define SHARED BYTES("\xf2\x00\x11\x00\x00")

/* Messages one behind the other, and what comes out: "|" ends a message, "!" is a refusal. */
struct vector {
	const char *name;
	struct {
		const char *data;
		size_t len;
	} messages[4];
	const char *result;
	bool resets;
};

static const struct vector vectors[] = {
	{"D11", {{HELLO}}, "Hello|", false},
	{"D13", {{HELLO}, {SHARED}}, "Hello|Hello|", false},
	{"D14a", {{HELLO}, {HELLO}}, "Hello|Hello|", true},
	{"D14b", {{HELLO}, {SHARED}}, "Hello|!", true},
	{"D15", {{BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")}}, "Hello|", false},
	{"D16", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, {HELLO}, {SHARED}},
	 "Hello|Hello|Hello|", false},
	{"D16, shared at once", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, {SHARED}},
	 "Hello|Hello|", false},
	{"D16, reset", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, {HELLO}, {SHARED}},
	 "Hello|Hello|!", true},
	{"D16 without its last byte", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00")}, {HELLO}, {SHARED}},
	 "Hello|Hello|Hello|", false},
	{"two final blocks in a message", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00"
						  "\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, {SHARED}},
	 "HelloHello|Hello|", false},
	{"a final block in the middle, shared behind", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00"
							       "\xf2\x00\x11\x00\x00")}},
	 "HelloHello|", false},
	{"D17", {{BYTES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}}, "Hello|", false},
	{"D18", {{BYTES("\x00")}, {HELLO}, {SHARED}}, "|Hello|Hello|", false},
	{"D18 twice, reset", {{BYTES("\x00")}, {BYTES("\x00")}, {HELLO}}, "||Hello|", true},
	{"D19", {{BYTES("")}, {HELLO}, {SHARED}, {BYTES("")}}, "|Hello|Hello||", false},
	{"an empty final block", {{BYTES("\x03\x00\x00")}, {HELLO}, {BYTES("\x03\x00")}, {SHARED}},
	 "|Hello||Hello|", false},
	{"D25", {{BYTES("\xff\xff\xff\xff\xff")}}, "!", false},
	{"D26", {{BYTES("\xf2\x48\xcd")}}, "!", false},
	{"D26, one byte", {{BYTES("\xf2")}}, "!", false},
	{"cut in a stored block", {{BYTES("\x00\x05\x00\xfa\xff\x48\x65")}}, "!", false},
	{"cut in the head of a stored block", {{BYTES("\x00\x05\x00")}}, "!", false},
	{"D27", {{SHARED}}, "!", false},
	{"D37", {{BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00\xaa\xbb")}}, "!", false},
	{"D37 behind a final block", {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xaa\xbb")}}, "!", false},
	{"with the tail that is to be left out", {{BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"
							 "\x00\x00\xff\xff\x00")}, {SHARED}},
	 "Hello|Hello|", false},
};

static void play(const struct vector *vector, size_t step)
{
	struct buf result;
	char got[256];

	buf_init(&result, sizeof(got) - 1);
	begin(vector->resets ? &resetting : &plain_terms);
	for (size_t i = 0; i < 4 && vector->messages[i].data; i++) {
		int r = feed_in(vector->messages[i].data, vector->messages[i].len, step);

		if (r < 0) {
			CHECK_EQ(r, -EPROTO);
			CHECK(problem && *problem);
			buf_append_str(&result, "!");
			break;
		}
		buf_append(&result, buf_head(&out), buf_len(&out));
		buf_append_str(&result, "|");
		inflater_rest(inflater);
	}
	snprintf(got, sizeof(got), "%.*s", (int)buf_len(&result), (char *)buf_head(&result));
	if (strcmp(got, vector->result) != 0)
		fprintf(stderr, "%s, %zu bytes at a time:\n", vector->name, step);
	CHECK_STR(got, vector->result);
	buf_done(&result);
}

static void test_vectors(void)
{
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
		for (size_t step = 0; step < 4; step++)
			play(&vectors[i], step);
}

/* What a server does: compress with zlib, leave the tail out. */
struct server {
	z_stream z;
	uint8_t *data;
	size_t len;
};

/* zlib cannot compress with 8 window bits; runs of a byte keep what it does with 9 in such a window. */
static void server_init(struct server *server, int bits, int level)
{
	memset(server, 0, sizeof(*server));
	CHECK_EQ(deflateInit2(&server->z, level, Z_DEFLATED, bits == 8 ? -9 : -bits, 8,
			      bits == 8 ? Z_RLE : Z_DEFAULT_STRATEGY), Z_OK);
}

static void server_done(struct server *server)
{
	deflateEnd(&server->z);
	free(server->data);
}

static void server_pack(struct server *server, const uint8_t *data, size_t len)
{
	size_t size = deflateBound(&server->z, len) + 64;

	free(server->data);
	server->data = malloc(size);
	CHECK(server->data);
	server->z.next_in = (uint8_t *)data;
	server->z.avail_in = (uInt)len;
	server->z.next_out = server->data;
	server->z.avail_out = (uInt)size;
	CHECK_EQ(deflate(&server->z, Z_SYNC_FLUSH), Z_OK);
	server->len = size - server->z.avail_out - 4;
}

/* D30, D39: the limit counts what comes out, to the byte, and nothing is stored beyond it. */
static void test_limit(void)
{
	static const size_t around[] = {1, 2, 16383, 16384, 16385, 32768, LIMIT - 1, LIMIT};
	const size_t huge = 200 << 20;
	uint8_t *zeros = calloc(1, huge);
	struct server server;

	CHECK(zeros);
	for (size_t i = 0; i < sizeof(around) / sizeof(*around); i++) {
		for (size_t step = 0; step < 2; step++) {
			server_init(&server, 15, 6);
			begin_limited(&plain_terms, around[i]);
			server_pack(&server, zeros, around[i]);
			CHECK_EQ(feed_in(server.data, server.len, step), 0);
			CHECK(out_is(zeros, around[i]));
			server_pack(&server, zeros, around[i] + 1);
			CHECK_EQ(feed_in(server.data, server.len, step), -ENOBUFS);
			server_done(&server);
		}
	}
	server_init(&server, 15, 6);
	begin(&plain_terms);
	server_pack(&server, zeros, huge);
	CHECK(server.len < 210 << 10);
	CHECK_EQ(feed(server.data, server.len), -ENOBUFS);
	CHECK(out.size <= LIMIT);
	server_done(&server);

	/* D39: what cannot be compressed is longer on the wire than the limit */
	srand(39);
	for (size_t i = 0; i < LIMIT; i++)
		zeros[i] = (uint8_t)rand();
	server_init(&server, 15, 6);
	begin(&plain_terms);
	server_pack(&server, zeros, LIMIT);
	CHECK(server.len > LIMIT);
	CHECK_EQ(feed_in(server.data, server.len, 4096), 0);
	CHECK(out_is(zeros, LIMIT));
	server_done(&server);
	free(zeros);
}

/* D31: many that just fit. */
static void test_small_bombs(void)
{
	uint8_t *zeros = calloc(1, LIMIT);
	struct server server;

	CHECK(zeros);
	server_init(&server, 15, 1);
	begin(&plain_terms);
	for (int i = 0; i < 100; i++) {
		server_pack(&server, zeros, LIMIT - 1);
		CHECK_EQ(feed(server.data, server.len), 0);
		CHECK(out_is(zeros, LIMIT - 1));
		CHECK(out.size <= LIMIT);
	}
	server_done(&server);
	free(zeros);
}

/* --- random messages ------------------------------------------------------------------------ */

enum { POOL = 1 << 18 };
static uint8_t pool[POOL];

/* Text with repetitions near and far, and a stretch of noise. */
static void fill_pool(void)
{
	size_t n = 0;

	srand(7692);
	while (n < POOL / 2) {
		char line[128];
		int len = snprintf(line, sizeof(line),
				   "{\"id\":%d,\"name\":\"item %d\",\"price\":\"%d.%02d\"}", rand() % 999,
				   rand() % 20, rand() % 5000, rand() % 100);

		memcpy(pool + n, line, (size_t)len);
		n += (size_t)len;
	}
	memcpy(pool + n, pool, POOL / 4); /* as far back as no window reaches */
	for (n = POOL - POOL / 8; n < POOL; n++)
		pool[n] = (uint8_t)rand();
}

static size_t random_message(const uint8_t **ret)
{
	size_t most = rand() % 200 == 0 ? 100000 : rand() % 8 == 0 ? 5000 : 400;
	size_t len = (size_t)rand() % most;

	*ret = pool + (size_t)rand() % (POOL - len);
	return len;
}

/* D33, D34: a server with a window of BITS, with and without what was before. */
static void receive_random(int bits, bool resets, int count)
{
	struct server server;
	const uint8_t *data;

	server_init(&server, bits, 1 + rand() % 6);
	begin(resets ? &resetting : &plain_terms);
	for (int i = 0; i < count; i++) {
		size_t len = random_message(&data);

		/* two empty ones in a row: zlib has nothing to flush, RFC 7692 7.2.3.6 */
		if (len == 0) {
			CHECK_EQ(feed("", 1), 0);
			CHECK_EQ(buf_len(&out), 0);
			continue;
		}
		server_pack(&server, data, len);
		CHECK_EQ(feed_in(server.data, server.len, (size_t)rand() % 3 * 700), 0);
		CHECK(out_is(data, len));
		if (resets)
			deflateReset(&server.z);
		if (rand() % 50 == 0)
			inflater_rest(inflater);
	}
	server_done(&server);
}

static void test_receive_random(void)
{
	for (int bits = 8; bits <= 15; bits++) {
		receive_random(bits, false, 10000);
		receive_random(bits, true, 2000);
	}
}

/* --- sending -------------------------------------------------------------------------------- */

/* D04, D35, D36: a server with exactly the window that was agreed, that keeps it or does not. */
static void send_random(int bits, bool resets, int count)
{
	const struct deflate_terms terms = {
		.agreed = true,
		.client_bits = (uint8_t)bits,
		.client_resets = resets,
	};
	struct deflater *deflater;
	const uint8_t *data, *packed;
	size_t packed_len, saved = 0;
	z_stream z = {0};

	CHECK_EQ(deflater_new(&deflater, &terms), 0);
	CHECK_EQ(inflateInit2(&z, bits ? -bits : -15), Z_OK);
	for (int i = 0; i < count; i++) {
		static uint8_t back[100000];
		uint8_t tail[] = {0x00, 0x00, 0xff, 0xff};
		size_t len = random_message(&data);

		if (deflater_pack(deflater, data, len, &packed, &packed_len) == DEFLATER_PLAIN)
			continue;
		CHECK(len >= DEFLATER_MIN_BYTES && packed_len < len);
		saved += len - packed_len;
		z.next_in = (uint8_t *)packed;
		z.avail_in = (uInt)packed_len;
		z.next_out = back;
		z.avail_out = sizeof(back);
		CHECK_EQ(inflate(&z, Z_SYNC_FLUSH), Z_OK);
		CHECK_EQ(z.avail_in, 0);
		z.next_in = tail;
		z.avail_in = sizeof(tail);
		CHECK_EQ(inflate(&z, Z_SYNC_FLUSH), Z_OK);
		CHECK_EQ(sizeof(back) - z.avail_out, len);
		CHECK(memcmp(back, data, len) == 0);
		CHECK(z.data_type & 128);
		if (resets)
			inflateReset(&z);
		if (i % 100 == 0)
			deflater_rest(deflater);
	}
	CHECK(saved > 0 || bits == 8);
	CHECK(saved == 0 || bits != 8); /* D05 */
	inflateEnd(&z);
	deflater_free(deflater);
}

static void test_send_random(void)
{
	for (int bits = 8; bits <= 15; bits++) {
		send_random(bits, false, 3000);
		send_random(bits, true, 1000);
	}
	send_random(0, false, 1000); /* not said: 15 */
}

static int pack(struct deflater *deflater, const uint8_t *data, size_t len, size_t *ret_len)
{
	const uint8_t *packed;

	return deflater_pack(deflater, data, len, &packed, ret_len);
}

static void test_send_plain(void)
{
	const size_t large = DEFLATER_MAX_BYTES + 1;
	uint8_t *data = calloc(1, large);
	struct deflater *deflater;
	size_t len, first;

	CHECK(data);
	CHECK_EQ(deflater_new(&deflater, &plain_terms), 0);
	CHECK_EQ(pack(deflater, data, 0, &len), DEFLATER_PLAIN);
	CHECK_EQ(pack(deflater, data, 127, &len), DEFLATER_PLAIN);
	CHECK_EQ(pack(deflater, data, 128, &len), DEFLATER_PACKED);
	CHECK_EQ(pack(deflater, data, DEFLATER_MAX_BYTES, &len), DEFLATER_PACKED);
	CHECK(len < DEFLATER_MAX_BYTES / 100);
	CHECK_EQ(pack(deflater, data, large, &len), DEFLATER_PLAIN);

	/* noise does not get shorter, whatever its length; and what was before does not help */
	for (size_t i = 0; i < large; i++)
		data[i] = (uint8_t)rand();
	for (size_t n = 128; n < DEFLATER_MAX_BYTES; n *= 2) {
		CHECK_EQ(pack(deflater, data, n, &len), DEFLATER_PLAIN);
		CHECK_EQ(pack(deflater, data, n, &len), DEFLATER_PLAIN);
	}

	/* each message by itself: the second time is no shorter */
	CHECK_EQ(pack(deflater, pool, 1000, &first), DEFLATER_PACKED);
	CHECK_EQ(pack(deflater, pool, 1000, &len), DEFLATER_PACKED);
	CHECK_EQ(len, first);
	deflater_rest(deflater);
	CHECK_EQ(pack(deflater, pool, 1000, &len), DEFLATER_PACKED);
	CHECK_EQ(len, first);
	deflater_free(deflater);
	free(data);
}

int main(void)
{
	fill_pool();
	test_agreed();
	test_refused();
	test_vectors();
	test_limit();
	test_small_bombs();
	test_receive_random();
	test_send_random();
	test_send_plain();
	inflater_free(inflater);
	buf_done(&out);
	return 0;
}
