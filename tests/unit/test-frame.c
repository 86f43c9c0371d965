/* frame: the exact bytes of each framing, both ways; and that no cut of the stream, no drip, no
 * pause (decoder_keep) and no mix of them changes what comes out.  Every piece that is fed stands
 * in memory of exactly its size that is freed as soon as the decoder may no longer look at it. */
#include <errno.h>
#include <unistd.h>

#include "check.h"
#include "codec/frame.h"
#include "codec/json.h"

static uint32_t seed = 20261120;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void *exact(const void *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	CHECK(copy);
	if (len)
		memcpy(copy, data, len);
	return copy;
}

static bool same(const struct buf *a, const struct buf *b)
{
	return buf_len(a) == buf_len(b) &&
	       (buf_len(a) == 0 || !memcmp(buf_head(a), buf_head(b), buf_len(a)));
}

/* --- encoding ------------------------------------------------------------------------------- */

/* The whole record behind OUT, however it was given. */
static int put(enum framing framing, enum msg_kind type, struct msg msg, struct buf *out)
{
	struct frame_parts parts;
	uint8_t *copy = exact(msg.data, msg.len);
	size_t before = buf_len(out);
	int r;

	msg.data = copy;
	frame_scan(&msg);
	memset(&parts, 0xee, sizeof(parts));
	r = frame_encode(framing, type, &msg, &parts, out);
	if (r == FRAME_PARTS) {
		CHECK_EQ(buf_len(out), before);
		CHECK(parts.head_len <= sizeof(parts.head));
		CHECK(parts.tail_len <= sizeof(parts.tail));
		CHECK(parts.body == msg.data && parts.body_len == msg.len);
		CHECK_EQ(buf_append(out, parts.head, parts.head_len), 0);
		if (parts.body_len)
			CHECK_EQ(buf_append(out, parts.body, parts.body_len), 0);
		CHECK_EQ(buf_append(out, parts.tail, parts.tail_len), 0);
	} else if (r == FRAME_ENCODED) {
		CHECK(buf_len(out) > before);
	} else {
		CHECK_EQ(buf_len(out), before);
	}
	free(copy);
	return r;
}

static struct msg message(enum msg_kind kind, const void *data, size_t len)
{
	return (struct msg){.kind = (uint8_t)kind, .data = data, .len = len};
}

struct vector {
	enum framing framing;
	enum msg_kind type, kind;
	const char *data;
	size_t len;
	int outcome;
	const char *record;
	size_t record_len;
};

#define S(text) text, sizeof(text) - 1
#define T MSG_TEXT
#define B MSG_BINARY
#define LINE FRAMING_LINE
#define NUL FRAMING_NUL
#define LENGTH FRAMING_LENGTH
#define JSON FRAMING_JSON
#define RAW FRAMING_RAW
#define PARTS FRAME_PARTS
#define WHOLE FRAME_ENCODED

static const struct vector vectors[] = {
	{LINE, T, T, S(""), PARTS, S("\n")},
	{LINE, T, T, S("hello"), PARTS, S("hello\n")},
	{LINE, T, T, S("a\rb\r"), PARTS, S("a\rb\r\n")},
	{LINE, T, T, S("a\0b"), PARTS, S("a\0b\n")},
	{LINE, T, T, S("a\nb"), WHOLE, S("data:text/plain;base64,YQpi\n")},
	{LINE, T, T, S("\n"), WHOLE, S("data:text/plain;base64,Cg==\n")},
	{LINE, T, T, S("{\n\"a\":\r\n1}"), WHOLE, S("{ \"a\":  1}\n")},
	{LINE, T, T, S("{\"a\":1}\n"), WHOLE, S("{\"a\":1} \n")},
	{LINE, T, T, S("{\"a\":\r1}"), PARTS, S("{\"a\":\r1}\n")},
	{LINE, T, T, S("{\n\"a\":1"), WHOLE, S("data:text/plain;base64,ewoiYSI6MQ==\n")},
	{LINE, T, T, S("data:"), WHOLE, S("data:text/plain;base64,ZGF0YTo=\n")},
	{LINE, T, T, S("data:\nx"), WHOLE, S("data:text/plain;base64,ZGF0YToKeA==\n")},
	{LINE, T, T, S("data"), PARTS, S("data\n")},
	{LINE, T, T, S("DATA:x"), PARTS, S("DATA:x\n")},
	{LINE, T, T, S(" data:x"), PARTS, S(" data:x\n")},
	{LINE, T, B, S(""), WHOLE, S("data:application/octet-stream;base64,\n")},
	{LINE, T, B, S("\0\xff"), WHOLE, S("data:application/octet-stream;base64,AP8=\n")},
	{LINE, T, B, S("[\n]"), WHOLE, S("data:application/octet-stream;base64,Wwpd\n")},
	{LINE, B, B, S("\0\xff\r"), PARTS, S("\0\xff\r\n")},
	{LINE, B, B, S(""), PARTS, S("\n")},
	{LINE, B, B, S("[\n]"), WHOLE, S("data:application/octet-stream;base64,Wwpd\n")},
	{LINE, B, B, S("data:"), WHOLE, S("data:application/octet-stream;base64,ZGF0YTo=\n")},
	{LINE, B, T, S("abc"), WHOLE, S("data:text/plain;base64,YWJj\n")},
	{LINE, B, T, S(""), WHOLE, S("data:text/plain;base64,\n")},
	{LINE, B, T, S("[\n]"), WHOLE, S("data:text/plain;base64,Wwpd\n")},
	{NUL, T, T, S("a\nb\r"), PARTS, S("a\nb\r\0")},
	{NUL, T, T, S(""), PARTS, S("\0")},
	{NUL, T, T, S("a\0b"), WHOLE, S("data:text/plain;base64,YQBi\0")},
	{NUL, T, T, S("data:x"), WHOLE, S("data:text/plain;base64,ZGF0YTp4\0")},
	{NUL, T, B, S("ab"), WHOLE, S("data:application/octet-stream;base64,YWI=\0")},
	{NUL, B, B, S("\xff\n"), PARTS, S("\xff\n\0")},
	{NUL, B, B, S("\0"), WHOLE, S("data:application/octet-stream;base64,AA==\0")},
	{NUL, B, B, S("data:"), WHOLE, S("data:application/octet-stream;base64,ZGF0YTo=\0")},
	{NUL, B, T, S("ab"), WHOLE, S("data:text/plain;base64,YWI=\0")},
	{LENGTH, T, T, S(""), PARTS, S("\0\0\0\0")},
	{LENGTH, T, T, S("a\n\0"), PARTS, S("\0\0\0\3a\n\0")},
	{LENGTH, T, B, S("data:"), PARTS, S("\x80\0\0\5data:")},
	{LENGTH, B, T, S("x"), PARTS, S("\0\0\0\1x")},
	{JSON, T, T, S(""), WHOLE, S("{\"type\":\"text\",\"data\":\"\"}\n")},
	{JSON, T, T, S("a\n\"\0"), WHOLE, S("{\"type\":\"text\",\"data\":\"a\\n\\\"\\u0000\"}\n")},
	{JSON, T, T, S("data:"), WHOLE, S("{\"type\":\"text\",\"data\":\"data:\"}\n")},
	{JSON, T, B, S("\0\xff"), WHOLE, S("{\"type\":\"binary\",\"data\":\"AP8=\"}\n")},
	{JSON, B, B, S(""), WHOLE, S("{\"type\":\"binary\",\"data\":\"\"}\n")},
	{JSON, B, T, S("x"), WHOLE, S("{\"type\":\"text\",\"data\":\"x\"}\n")},
};

static void test_vectors(void)
{
	struct buf out, want;

	buf_init(&out, 4096);
	buf_init(&want, 4096);
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
		const struct vector *v = &vectors[i];
		struct decoder decoder;
		const char *problem;
		struct msg msg;
		uint8_t *copy;
		int r;

		buf_clear(&out);
		r = put(v->framing, v->type, message(v->kind, v->data, v->len), &out);
		if (r != v->outcome || buf_len(&out) != v->record_len ||
		    memcmp(buf_head(&out), v->record, v->record_len))
			fprintf(stderr, "vector %zu: %.*s\n", i, (int)buf_len(&out),
				(char *)buf_head(&out));
		CHECK_EQ(r, v->outcome);
		CHECK_EQ(buf_len(&out), v->record_len);
		CHECK(!memcmp(buf_head(&out), v->record, v->record_len));
		/* And back. */
		decoder_init(&decoder, v->framing, v->type, 100);
		copy = exact(v->record, v->record_len);
		decoder_feed(&decoder, copy, v->record_len);
		CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
		CHECK_EQ(msg.kind, v->kind);
		CHECK_EQ(msg.len, strchr("{[", v->data[0]) && v->len && r == WHOLE &&
						  buf_head(&out)[0] == (uint8_t)v->data[0] &&
						  v->framing == LINE
					  ? v->record_len - 1
					  : v->len);
		CHECK(msg.len == 0 || msg.data[0] == (uint8_t)v->data[0]);
		CHECK(msg.len != v->len || memchr(v->data, '{', v->len) ||
		      !memcmp(msg.data, v->data, v->len));
		CHECK(msg.code == 0 && msg.flags == 0 && msg.time_us == 0 && msg.data);
		CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
		CHECK(!decoder_unfinished(&decoder));
		free(copy);
		decoder_done(&decoder);
	}
	buf_done(&out);
	buf_done(&want);
}

static const char *as_json(struct msg msg)
{
	static char text[512];
	struct buf out;

	buf_init(&out, sizeof(text) - 1);
	CHECK_EQ(put(JSON, T, msg, &out), FRAME_ENCODED);
	memcpy(text, buf_head(&out), buf_len(&out));
	text[buf_len(&out)] = '\0';
	CHECK(json_valid(text, strlen(text)));
	buf_done(&out);
	return text;
}

static void test_marks_and_time(void)
{
	static const uint8_t reason[] = "\"bye\"";
	const uint64_t time_us = UINT64_C(1795183506123456);
	struct msg msg = {.kind = MSG_TEXT, .data = reason, .len = 5, .time_us = time_us};
	struct buf out;

	CHECK_STR(as_json(msg), "{\"type\":\"text\",\"data\":\"\\\"bye\\\"\","
				"\"time\":\"2026-11-20T14:05:06.123456Z\"}\n");
	msg.kind = MSG_BINARY;
	CHECK_STR(as_json(msg), "{\"type\":\"binary\",\"data\":\"ImJ5ZSI=\","
				"\"time\":\"2026-11-20T14:05:06.123456Z\"}\n");
	msg.kind = MSG_CLOSED;
	msg.code = 1006;
	CHECK_STR(as_json(msg), "{\"type\":\"close\",\"code\":1006,\"reason\":\"\\\"bye\\\"\","
				"\"time\":\"2026-11-20T14:05:06.123456Z\"}\n");
	msg.kind = MSG_OPENED;
	CHECK_STR(as_json(msg), "{\"type\":\"open\",\"time\":\"2026-11-20T14:05:06.123456Z\"}\n");
	msg.time_us = UINT64_C(951782400000001); /* a leap day */
	CHECK_STR(as_json(msg), "{\"type\":\"open\",\"time\":\"2000-02-29T00:00:00.000001Z\"}\n");
	msg.time_us = UINT64_MAX; /* no sense, but JSON */
	CHECK(strstr(as_json(msg), "{\"type\":\"open\",\"time\":\"") != NULL);
	msg.time_us = 0;
	CHECK_STR(as_json(msg), "{\"type\":\"open\"}\n");
	msg.kind = MSG_CLOSED;
	msg.len = 0;
	msg.data = NULL;
	CHECK_STR(as_json(msg), "{\"type\":\"close\",\"code\":1006,\"reason\":\"\"}\n");
	buf_init(&out, 100);
	for (enum framing framing = 0; framing < FRAMINGS; framing++) {
		for (uint8_t kind = MSG_OPENED; framing != JSON && kind <= MSG_CLOSED; kind++) {
			msg.kind = kind;
			CHECK_EQ(put(framing, T, msg, &out), FRAME_NOTHING);
			CHECK_EQ(put(framing, B, msg, &out), FRAME_NOTHING);
		}
	}
	buf_done(&out);
}

static void test_scan(void)
{
	struct msg msg = message(T, "a\nb", 3);

	msg.flags = MSG_HAS_SCHEME;
	frame_scan(&msg);
	CHECK_EQ(msg.flags, MSG_HAS_LF);
	msg = message(T, "data:\n", 6);
	frame_scan(&msg);
	CHECK_EQ(msg.flags, MSG_HAS_LF | MSG_HAS_SCHEME);
	msg = message(T, "data:", 4);
	frame_scan(&msg);
	CHECK_EQ(msg.flags, 0);
	msg = message(T, NULL, 0);
	frame_scan(&msg);
	CHECK_EQ(msg.flags, 0);
	for (int i = 0; i < FRAMINGS; i++)
		CHECK(framing_names[i]);
	CHECK(framing_names[FRAMINGS] == NULL);
	CHECK_STR(framing_names[FRAMING_LINE], "line");
	CHECK_STR(framing_names[FRAMING_RAW], "raw");
}

/* Where OUT is full nothing is left in it, at whatever point it was full. */
static void test_full(void)
{
	static const struct {
		enum framing framing;
		enum msg_kind kind;
		const char *data;
	} cases[] = {{JSON, T, "a\nb"}, {JSON, B, "abcd"}, {LINE, T, "[\n]"},
		     {LINE, T, "a\n"},  {NUL, B, "abc"},   {JSON, MSG_CLOSED, "x"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct msg msg = message(cases[i].kind, cases[i].data, strlen(cases[i].data));
		struct buf out;
		size_t max = 3;
		int r;

		msg.time_us = 1;
		do {
			buf_init(&out, max++);
			CHECK_EQ(buf_append_str(&out, "abc"), 0);
			r = put(cases[i].framing, T, msg, &out);
			CHECK(!memcmp(buf_head(&out), "abc", 3));
			CHECK(r == FRAME_ENCODED || r == -ENOBUFS);
			buf_done(&out);
		} while (r < 0);
		CHECK(max > 3 + 4);
	}
}

static void test_length_limit(void)
{
	struct msg msg = message(B, "", (size_t)INT32_MAX);
	struct frame_parts parts;
	struct buf out;

	/* The bytes are not looked at, so none need be there. */
	buf_init(&out, 16);
	CHECK_EQ(frame_encode(LENGTH, T, &msg, &parts, &out), FRAME_PARTS);
	CHECK(!memcmp(parts.head, "\xff\xff\xff\xff", 4));
	msg.len++;
	CHECK_EQ(frame_encode(LENGTH, T, &msg, &parts, &out), -EMSGSIZE);
	CHECK_EQ(frame_encode(RAW, T, &msg, &parts, &out), FRAME_PARTS);
	CHECK(parts.head_len == 0 && parts.tail_len == 0 && parts.body == msg.data);
}

/* --- decoding: what comes out, as bytes that can be compared -------------------------------- */

static void note(struct buf *story, int r, const struct msg *msg, const char *problem)
{
	CHECK(r >= 0);
	if (r == DECODER_MSG) {
		CHECK_EQ(buf_printf(story, "%c%zu:", msg->kind == T ? 'T' : 'B', msg->len), 0);
		if (msg->len)
			CHECK_EQ(buf_append(story, msg->data, msg->len), 0);
		CHECK_EQ(buf_append_str(story, "|"), 0);
	} else if (r == DECODER_BAD || r == DECODER_BROKEN) {
		CHECK(problem && *problem);
		CHECK_EQ(buf_printf(story, "%c:%s|", r == DECODER_BAD ? '!' : 'X', problem), 0);
	}
}

/* Take up to N outcomes. */
static int take(struct decoder *decoder, struct buf *story, uint32_t n)
{
	int r = DECODER_MSG;

	for (; n > 0 && r != DECODER_MORE && r != DECODER_BROKEN; n--) {
		const char *problem = NULL;
		struct msg msg;

		r = decoder_next(decoder, &msg, &problem);
		note(story, r, &msg, problem);
	}
	return r;
}

static void finish(struct decoder *decoder, struct buf *story)
{
	const char *problem = NULL;
	struct msg msg;
	int r = decoder_end(decoder, &msg, &problem);

	note(story, r, &msg, problem);
	CHECK(!decoder_unfinished(decoder));
	CHECK_EQ(decoder_next(decoder, &msg, &problem), DECODER_MORE);
	CHECK(decoder->pending.data == NULL && decoder->decoded.data == NULL);
	decoder_done(decoder);
}

struct stream {
	enum framing framing;
	enum msg_kind type;
	size_t max_message;
	const void *data;
	size_t len;
};

/* All at once. */
static void tell(const struct stream *stream, struct buf *story)
{
	struct decoder decoder;
	uint8_t *copy = exact(stream->data, stream->len);

	buf_clear(story);
	decoder_init(&decoder, stream->framing, stream->type, stream->max_message);
	decoder_feed(&decoder, copy, stream->len);
	take(&decoder, story, UINT32_MAX);
	free(copy);
	finish(&decoder, story);
}

/* In pieces of at most PIECE bytes, PIECE = 1 being the drip. */
static void tell_pieces(const struct stream *stream, struct buf *story, uint32_t piece)
{
	struct decoder decoder;

	buf_clear(story);
	decoder_init(&decoder, stream->framing, stream->type, stream->max_message);
	for (size_t at = 0; at < stream->len;) {
		size_t n = 1 + any(piece);
		uint8_t *copy;
		int r;

		n = n < stream->len - at ? n : stream->len - at;
		copy = exact((const uint8_t *)stream->data + at, n);
		at += n;
		decoder_feed(&decoder, copy, n);
		r = take(&decoder, story, UINT32_MAX);
		free(copy);
		if (r == DECODER_BROKEN)
			break;
	}
	finish(&decoder, story);
}

/* In pieces, with pauses: after some outcomes the rest is kept, and the piece freed; then it goes
 * on with or without the next piece. */
static void tell_pauses(const struct stream *stream, struct buf *story, uint32_t piece)
{
	struct decoder decoder;
	int r = DECODER_MORE;

	buf_clear(story);
	decoder_init(&decoder, stream->framing, stream->type, stream->max_message);
	for (size_t at = 0; at < stream->len && r != DECODER_BROKEN;) {
		size_t n = 1 + any(piece);
		uint8_t *copy;

		n = n < stream->len - at ? n : stream->len - at;
		copy = exact((const uint8_t *)stream->data + at, n);
		at += n;
		decoder_feed(&decoder, copy, n);
		r = take(&decoder, story, any(4));
		CHECK_EQ(decoder_keep(&decoder), 0);
		free(copy);
		while (r != DECODER_BROKEN && any(3)) {
			r = take(&decoder, story, any(4));
			CHECK_EQ(decoder_keep(&decoder), 0);
		}
	}
	if (r != DECODER_BROKEN)
		take(&decoder, story, UINT32_MAX);
	finish(&decoder, story);
}

/* Pause after N outcomes of each batch, then resume until MORE, and only then read on, as intake
 * does. */
static void tell_intake(const struct stream *stream, struct buf *story, size_t piece, uint32_t n)
{
	struct decoder decoder;
	int r = DECODER_MORE;

	buf_clear(story);
	decoder_init(&decoder, stream->framing, stream->type, stream->max_message);
	for (size_t at = 0; at < stream->len && r != DECODER_BROKEN; at += piece) {
		size_t len = piece < stream->len - at ? piece : stream->len - at;
		uint8_t *copy = exact((const uint8_t *)stream->data + at, len);

		decoder_feed(&decoder, copy, len);
		r = n ? take(&decoder, story, n) : DECODER_MSG;
		if (r != DECODER_MORE && r != DECODER_BROKEN)
			CHECK_EQ(decoder_keep(&decoder), 0);
		free(copy);
		if (r != DECODER_MORE && r != DECODER_BROKEN)
			r = take(&decoder, story, UINT32_MAX);
	}
	finish(&decoder, story);
}

/* The story is the same however it is told.  (`raw` has no boundaries: see there.) */
static void check_cuts(const struct stream *stream, const struct buf *want)
{
	struct buf story;

	buf_init(&story, SIZE_MAX / 4);
	tell(stream, &story);
	CHECK(same(&story, want));
	tell_pieces(stream, &story, 1);
	CHECK(same(&story, want));
	for (uint32_t piece = 2; piece < 2 * stream->len + 2; piece += 1 + piece / 2) {
		tell_pieces(stream, &story, piece);
		CHECK(same(&story, want));
		tell_pauses(stream, &story, piece);
		CHECK(same(&story, want));
	}
	buf_done(&story);
}

static void check_story(enum framing framing, enum msg_kind type, size_t max, const char *data,
			size_t len, const char *want)
{
	struct stream stream = {framing, type, max, data, len};
	struct buf story;

	buf_init(&story, SIZE_MAX / 4);
	tell(&stream, &story);
	CHECK_EQ(buf_append_char(&story, '\0'), 0);
	CHECK_STR((char *)buf_head(&story), want);
	story.end--;
	check_cuts(&stream, &story);
	buf_done(&story);
}

#define URL_BAD "!:begins with data: but is not a base64 data: URL|"
#define UTF8_BAD "!:holds text that is not UTF-8|"
#define LONG_BAD "!:is longer than max-message|"

static void test_line(void)
{
	check_story(LINE, T, 100, S(""), "");
	check_story(LINE, T, 100, S("a\nbc\n\nd\r\n"), "T1:a|T2:bc|T0:|T2:d\r|");
	check_story(LINE, T, 100, S("a\nbc"), "T1:a|T2:bc|");
	check_story(LINE, T, 100, S("\n"), "T0:|");
	check_story(LINE, B, 100, S("a\n\xff\n"), "B1:a|B1:\xff|");
	check_story(LINE, T, 100, S("\xff\n"), "T1:\xff|"); /* conn_send() refuses it */
	check_story(LINE, T, 100, S("data:text/plain;base64,YQpi\nx\n"), "T3:a\nb|T1:x|");
	check_story(LINE, T, 100, S("data:text/plain;base64,YQpi"), "T3:a\nb|");
	check_story(LINE, T, 100, S("data:application/octet-stream;base64,/w==\nx"),
		    "B1:\xff|T1:x|");
	check_story(LINE, B, 100, S("data:text/plain;base64,eA==\nx"), "T1:x|B1:x|");
	check_story(LINE, T, 100, S("data:;base64,eA==\n"), "T1:x|");
	check_story(LINE, T, 100, S("data:;charset=utf-8;base64,eA==\n"), "T1:x|");
	check_story(LINE, T, 100, S("data:TEXT/html;charset=UTF-8;BASE64,eA==\n"), "T1:x|");
	check_story(LINE, T, 100, S("data:image/png;base64,eA==\n"), "B1:x|");
	check_story(LINE, T, 100, S("data:application/json;base64,e30=\n"), "B2:{}|");
	check_story(LINE, T, 100, S("data:text/plain;base64,\n"), "T0:|");
	check_story(LINE, T, 100, S("data:a/b;base64,\n"), "B0:|");
	check_story(LINE, T, 100, S("Data:x\ndata\n data:\n"), "T6:Data:x|T4:data|T6: data:|");
	check_story(LINE, T, 100, S("data:\nx\n"), URL_BAD "T1:x|");
	check_story(LINE, T, 100, S("data:,hello\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain,hello\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:base64,eA==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text;base64,eA==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:/plain;base64,eA==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/;base64,eA==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64;x=y,eA==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64,eA\nx"), URL_BAD "T1:x|");
	check_story(LINE, T, 100, S("data:text/plain;base64,eA==\r\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64,eA%3D%3D\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64,eB==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64, eA==\n"), URL_BAD);
	check_story(LINE, T, 100, S("data:text/plain;base64,/w==\nx\n"), UTF8_BAD "T1:x|");
	check_story(LINE, T, 100, S("data:text/plain;base64,4oI=\n"), UTF8_BAD);
}

static void test_nul(void)
{
	check_story(NUL, T, 100, S("a\nb\0\0c\r\0"), "T3:a\nb|T0:|T2:c\r|");
	check_story(NUL, T, 100, S("a\0b"), "T1:a|T1:b|");
	check_story(NUL, B, 100, S("\xff\0data:text/plain;base64,eA==\0y\0"), "B1:\xff|T1:x|B1:y|");
	check_story(NUL, T, 100, S("data:x\0y\0"), URL_BAD "T1:y|");
	check_story(NUL, T, 100, S("data:text/plain;base64,eA==\n\0"), URL_BAD);
}

static void test_length(void)
{
	check_story(LENGTH, T, 100, S("\0\0\0\0"), "T0:|");
	check_story(LENGTH, T, 100, S("\0\0\0\2a\n\x80\0\0\1\xff\0\0\0\0\x80\0\0\0"),
		    "T2:a\n|B1:\xff|T0:|B0:|");
	check_story(LENGTH, T, 100, S("\0\0\0\5data:"), "T5:data:|");
	check_story(LENGTH, T, 2, S("\0\0\0\2ab\0\0\0\3abc\0\0\0\1a"),
		    "T2:ab|X:is longer than max-message|");
	check_story(LENGTH, T, 100, S("\xff\xff\xff\xff"), "X:is longer than max-message|");
	check_story(LENGTH, T, 100, S("\0\0\0\1a\0\0\0"), "T1:a|!:ends in the middle of a record|");
	check_story(LENGTH, T, 100, S("\0\0\0\1a\0\0\0\2b"),
		    "T1:a|!:ends in the middle of a record|");
	check_story(LENGTH, T, 100, S("\0\0\0\1"), "!:ends in the middle of a record|");
}

static void test_broken_stays(void)
{
	struct decoder decoder;
	const char *problem;
	struct msg msg;

	decoder_init(&decoder, LENGTH, T, 5);
	decoder_feed(&decoder, (const uint8_t *)"\0\0\0\6abcdef\0\0\0\1x", 15);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_BROKEN);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_BROKEN);
	decoder_feed(&decoder, (const uint8_t *)"\0\0\0\1x", 5);
	CHECK_EQ(decoder_keep(&decoder), 0);
	CHECK(decoder_unfinished(&decoder));
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_BROKEN);
	CHECK_STR(problem, "is longer than max-message");
	/* The next writer of a FIFO. */
	CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MORE);
	CHECK(!decoder_unfinished(&decoder));
	decoder_feed(&decoder, (const uint8_t *)"\0\0\0\1x", 5);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.len == 1 && *msg.data == 'x');
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	decoder_done(&decoder);
}

static void test_json(void)
{
	static const char not_object[] = "!:is not a JSON object|";
	static const char no_data[] = "!:has no \"data\" that is a string|";
	static const char bad_type[] = "!:has a \"type\" that is neither \"text\" nor \"binary\"|";
	static const char bad_base64[] = "!:has binary \"data\" that is not base64|";
	static const char surrogate[] = "!:has half a surrogate pair in its \"data\"|";

	check_story(JSON, T, 100, S("{\"type\":\"text\",\"data\":\"a\\nb\"}\n"), "T3:a\nb|");
	check_story(JSON, T, 100, S("{\"data\":\"a\"}\n{\"data\":\"\"}"), "T1:a|T0:|");
	check_story(JSON, B, 100, S("{\"data\":\"a\"}\n"), "T1:a|");
	check_story(JSON, T, 100, S(" { \"x\" : [1,{}] , \"data\" : \"a\" } \r\n\n \t\r\n\n"),
		    "T1:a|");
	check_story(JSON, T, 100, S("\n\n  \n"), "");
	check_story(JSON, T, 100, S("   "), "");
	check_story(JSON, T, 100, S("{\"data\":\"a\"}\n  \n  {\"data\":\"b\"}"), "T1:a|T1:b|");
	check_story(JSON, T, 100, S("{\"type\":\"binary\",\"data\":\"AP8=\"}\n"), "B2:\0\xff|");
	check_story(JSON, T, 100, S("{\"type\":\"binary\",\"data\":\"\\/w==\"}\n"), "B1:\xff|");
	check_story(JSON, T, 100, S("{\"type\":\"binary\",\"data\":\"\"}\n"), "B0:|");
	check_story(JSON, T, 100, S("{\"data\":\"/w==\",\"time\":\"\",\"type\":\"binary\"}\n"),
		    "B1:\xff|");
	check_story(JSON, T, 100,
		    S("{\"type\":\"t\\u0065xt\",\"d\\u0061ta\":\"\\ud83d\\ude00\"}\n"),
		    "T4:\xf0\x9f\x98\x80|");
	check_story(JSON, T, 100, S("{\"data\":\"1\",\"data\":\"2\"}\n"), "T1:1|");
	check_story(JSON, T, 100, S("{\"data\":\"data:x\"}\n"), "T6:data:x|");
	check_story(JSON, T, 100, S("{\"data\":\"a\"}x\n{\"data\":\"a\"}\n"),
		    "!:is not a JSON object|T1:a|");
	check_story(JSON, T, 100, S("hello\n"), not_object);
	check_story(JSON, T, 100, S("[\"data\"]\n"), not_object);
	check_story(JSON, T, 100, S("\"data\"\n"), not_object);
	check_story(JSON, T, 100, S("5"), not_object);
	check_story(JSON, T, 100, S("{\n"), not_object);
	check_story(JSON, T, 100, S("}\n"), not_object);
	check_story(JSON, T, 100, S("{\"data\":\"a\""), not_object);
	check_story(JSON, T, 100, S("{\"data\":\"a\",}\n"), not_object);
	check_story(JSON, T, 100, S("{\"data\":\"a\x01\"}\n"), not_object);
	check_story(JSON, T, 100, S("{\"data\":\"a\"}{\"data\":\"b\"}\n"), not_object);
	check_story(JSON, T, 100, S("data:text/plain;base64,eA==\n"), not_object);
	check_story(JSON, T, 100, S("{}\n"), no_data);
	check_story(JSON, T, 100, S("{\"data\":1}\n"), no_data);
	check_story(JSON, T, 100, S("{\"type\":\"text\"}\n"), no_data);
	check_story(JSON, T, 100, S("{\"data\":{\"data\":\"x\"}}\n"), no_data);
	check_story(JSON, T, 100, S("{\"type\":\"open\"}\n"), bad_type);
	check_story(JSON, T, 100, S("{\"type\":\"close\",\"code\":1000}\n"), bad_type);
	check_story(JSON, T, 100, S("{\"type\":null,\"data\":\"x\"}\n"), bad_type);
	check_story(JSON, T, 100, S("{\"type\":\"Text\",\"data\":\"x\"}\n"), bad_type);
	check_story(JSON, T, 100, S("{\"type\":\"binary\",\"data\":\"x\"}\n"), bad_base64);
	check_story(JSON, T, 100, S("{\"data\":\"\\ud83d\"}\n"), surrogate);
	check_story(JSON, T, 100, S("{\"data\":\"\xff\"}\n"), UTF8_BAD);
	check_story(JSON, T, 100, S("{\"x\":\"\xff\",\"data\":\"a\"}\n"), "T1:a|");
}

/* --- limits --------------------------------------------------------------------------------- */

static char *repeat(const char *head, char c, size_t n, const char *tail)
{
	size_t head_len = strlen(head), tail_len = strlen(tail);
	char *text = malloc(head_len + n + tail_len + 1);

	CHECK(text);
	memcpy(text, head, head_len);
	memset(text + head_len, c, n);
	memcpy(text + head_len + n, tail, tail_len + 1);
	return text;
}

static void check_long(enum framing framing, size_t max, char *text, const char *want)
{
	check_story(framing, T, max, text, strlen(text), want);
	free(text);
}

static void test_limits(void)
{
	check_story(LINE, T, 3, S("abc\nabcd\nabc\n"), "T3:abc|" LONG_BAD "T3:abc|");
	check_story(LINE, T, 3, S("abcd"), LONG_BAD);
	check_story(NUL, T, 3, S("abc\0abcd\0abc\0"), "T3:abc|" LONG_BAD "T3:abc|");
	check_story(LINE, T, 3, S("data:text/plain;base64,YWJj\n"), "T3:abc|");
	check_story(LINE, T, 3, S("data:text/plain;base64,YWJjZA==\nx\n"), LONG_BAD "T1:x|");
	check_story(JSON, T, 3, S("{\"data\":\"abc\"}\n{\"data\":\"abcd\"}\n{\"data\":\"x\"}"),
		    "T3:abc|" LONG_BAD "T1:x|");
	check_story(JSON, T, 3, S("{\"data\":\"\\u0061\\u0061\\u0061\"}\n"), "T3:aaa|");
	check_story(JSON, T, 3, S("{\"type\":\"binary\",\"data\":\"YWJj\"}\n"), "B3:abc|");
	check_story(JSON, T, 3, S("{\"type\":\"binary\",\"data\":\"YWJjZA==\"}\n"), LONG_BAD);
	check_story(JSON, T, 3,
		    S("{\"type\":\"binary\",\"data\":"
		      "\"\\u0059\\u0057\\u004a\\u006a\"}\n"),
		    "B3:abc|");
	/* At, just behind and far behind what a record may have: one complaint each. */
	for (size_t n = 60; n < 80; n++)
		check_long(LINE, 3, repeat("a\n", 'x', n, "\nb\n"), "T1:a|" LONG_BAD "T1:b|");
	check_long(LINE, 3, repeat("a\n", 'x', 5000, "\nb\n"), "T1:a|" LONG_BAD "T1:b|");
	check_long(LINE, 3, repeat("a\n", 'x', 5000, ""), "T1:a|" LONG_BAD);
	check_long(LINE, 3, repeat("", 'x', 5000, "\n"), LONG_BAD);
	check_long(LINE, 3, repeat("data:text/plain;base64,", 'x', 5000, "\nb"), LONG_BAD "T1:b|");
	check_long(JSON, 3, repeat("{\"data\":\"a\"}", ' ', 5000, "\n{\"data\":\"b\"}"),
		   LONG_BAD "T1:b|");
	check_long(JSON, 3, repeat("{\"data\":\"", 'x', 200, "\"}\n{\"data\":\"b\"}"),
		   LONG_BAD "T1:b|");
	for (size_t n = 240; n < 260; n++)
		check_long(JSON, 3, repeat("", ' ', n, "\n"), "");
}

static void test_memory_bounded(void)
{
	uint8_t piece[4096];
	const char *problem;
	struct decoder decoder;
	struct msg msg;
	int bad = 0;

	memset(piece, 'x', sizeof(piece));
	for (enum framing framing = 0; framing < FRAMING_RAW; framing++) {
		if (framing == LENGTH)
			continue;
		decoder_init(&decoder, framing, T, 10000);
		bad = 0;
		for (int i = 0; i < 1000; i++) {
			int r;

			decoder_feed(&decoder, piece, sizeof(piece));
			while ((r = decoder_next(&decoder, &msg, &problem)) != DECODER_MORE) {
				CHECK_EQ(r, DECODER_BAD);
				bad++;
			}
			CHECK(decoder.pending.size <= 61000);
			CHECK(decoder_unfinished(&decoder));
		}
		CHECK_EQ(bad, 1);
		CHECK(decoder.pending.data == NULL);
		CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MORE);
		CHECK(!decoder_unfinished(&decoder));
		decoder_feed(&decoder, (const uint8_t *)"x\n", 2);
		decoder_done(&decoder);
	}
	/* A length that is only announced takes no memory. */
	decoder_init(&decoder, LENGTH, T, INT32_MAX);
	decoder_feed(&decoder, (const uint8_t *)"\x7f\xff\xff\xffxyz", 7);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	CHECK(decoder.pending.size < 4096);
	decoder_done(&decoder);
	decoder_done(&decoder);
}

/* --- in place, keep, end -------------------------------------------------------------------- */

static void test_in_place(void)
{
	static const char text[] = "one\ntwo\nthr";
	struct decoder decoder;
	const char *problem;
	struct msg msg;

	decoder_init(&decoder, LINE, T, 100);
	decoder_feed(&decoder, (const uint8_t *)text, 11);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.data == (const uint8_t *)text && msg.len == 3);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.data == (const uint8_t *)text + 4 && msg.len == 3);
	CHECK(decoder.pending.data == NULL);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	CHECK(decoder_unfinished(&decoder));
	decoder_feed(&decoder, (const uint8_t *)"ee\nfour\n", 8);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.len == 5 && !memcmp(msg.data, "three", 5));
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.len == 4 && !memcmp(msg.data, "four", 4));
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	CHECK(!decoder_unfinished(&decoder));
	/* Idle, it owns nothing. */
	CHECK(decoder.pending.data == NULL && decoder.decoded.data == NULL);
	/* As new after the end, whatever was there. */
	decoder_feed(&decoder, (const uint8_t *)"data:text/plain;base64,eA==", 27);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.len == 1 && *msg.data == 'x');
	CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MORE);
	decoder_feed(&decoder, (const uint8_t *)"y\n", 2);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.len == 1 && *msg.data == 'y');
	/* The end called too early loses nothing. */
	decoder_feed(&decoder, (const uint8_t *)"a\nb", 3);
	CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(*msg.data == 'a');
	CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(*msg.data == 'b');
	CHECK_EQ(decoder_end(&decoder, &msg, &problem), DECODER_MORE);
	decoder_done(&decoder);
}

/* A pause after each number of messages, at each cut of the stream. */
static void test_keep_everywhere(void)
{
	static const struct stream streams[] = {
		{LINE, T, 8,
		 S("one\n\ndata:text/plain;base64,YQpi\ntoo long a line for eight\nlast\nx")},
		{NUL, B, 8, S("one\0\0data:text/plain;base64,YQpi\0too long a record\0last\0x")},
		{LENGTH, T, 8, S("\0\0\0\3one\0\0\0\0\x80\0\0\5three\0\0\0\4last\0\0")},
		{LENGTH, T, 3, S("\0\0\0\3one\0\0\0\0\x80\0\0\5three\0\0\0\4last\0\0")},
		{JSON, T, 8,
		 S("{\"data\":\"one\"}\n\n{}\n{\"data\":\"too long a line\"}\n{\"data\":\"x\"}")},
	};

	for (size_t i = 0; i < sizeof(streams) / sizeof(*streams); i++) {
		struct buf want, story;

		buf_init(&want, 4096);
		buf_init(&story, 4096);
		tell(&streams[i], &want);
		CHECK(buf_len(&want) > 20);
		for (size_t piece = 1; piece <= streams[i].len; piece++) {
			for (uint32_t n = 0; n < 8; n++) {
				tell_intake(&streams[i], &story, piece, n);
				CHECK(same(&story, &want));
			}
		}
		buf_done(&want);
		buf_done(&story);
	}
}

/* A batch of many records is kept whole, far beyond the size of one, and read from the copy. */
static void test_keep_much(void)
{
	char *text = repeat("", '\n', 300000, "tail");
	struct decoder decoder;
	const char *problem;
	struct msg msg;

	decoder_init(&decoder, LINE, T, 10);
	decoder_feed(&decoder, (uint8_t *)text, 300004);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK_EQ(decoder_keep(&decoder), 0);
	free(text);
	for (int i = 1; i < 300000; i++) {
		CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
		CHECK_EQ(msg.len, 0);
	}
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	decoder_feed(&decoder, (const uint8_t *)"!\n", 2);
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MSG);
	CHECK(msg.len == 5 && !memcmp(msg.data, "tail!", 5));
	CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
	CHECK(decoder.pending.data == NULL);
	decoder_done(&decoder);
}

/* --- raw ------------------------------------------------------------------------------------ */

/* Only the bytes, and that no character is cut. */
static void strip(struct buf *story, bool text)
{
	uint8_t *from = buf_head(story), *end = from + buf_len(story), *to = from;

	while (from < end) {
		size_t len = strtoul((char *)from + 1, (char **)&from, 10);

		from++;
		CHECK(len > 0);
		if (text) {
			CHECK((from[0] & 0xc0) != 0x80);
			CHECK(from[len - 1] < 0xc0);
		}
		memmove(to, from, len);
		to += len;
		from += len + 1;
	}
	story->end = story->start + (size_t)(to - buf_head(story));
}

static void test_raw(void)
{
	static const char text[] =
		"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z\n\0data:\xf0\x9f\x98\x80";
	struct stream stream = {RAW, T, 100, text, sizeof(text) - 1};
	struct buf story, want;

	buf_init(&story, 4096);
	buf_init(&want, 4096);
	CHECK_EQ(buf_append(&want, text, sizeof(text) - 1), 0);
	for (stream.max_message = 4; stream.max_message < 40; stream.max_message++) {
		for (uint32_t piece = 1; piece < 40; piece++) {
			tell_pieces(&stream, &story, piece);
			strip(&story, true);
			CHECK(same(&story, &want));
			tell_pauses(&stream, &story, piece);
			strip(&story, true);
			CHECK(same(&story, &want));
		}
	}
	for (stream.max_message = 1; stream.max_message < 4; stream.max_message++) {
		tell_pieces(&stream, &story, 5);
		strip(&story, false);
		CHECK(same(&story, &want));
	}
	buf_done(&story);
	buf_done(&want);
	stream.max_message = 100;
	check_story(RAW, B, 100, S(""), "");
}

static void check_raw(enum msg_kind type, size_t max, const char *first, const char *second,
		      const char *want)
{
	struct decoder decoder;
	struct buf story;
	uint8_t *copy;

	buf_init(&story, 4096);
	decoder_init(&decoder, RAW, type, max);
	copy = exact(first, strlen(first));
	decoder_feed(&decoder, copy, strlen(first));
	take(&decoder, &story, UINT32_MAX);
	free(copy);
	copy = exact(second, strlen(second));
	decoder_feed(&decoder, copy, strlen(second));
	take(&decoder, &story, UINT32_MAX);
	free(copy);
	finish(&decoder, &story);
	CHECK_EQ(buf_append_char(&story, '\0'), 0);
	CHECK_STR((char *)buf_head(&story), want);
	buf_done(&story);
}

static void test_raw_pieces(void)
{
	check_raw(T, 100, "abc", "d\ne", "T3:abc|T3:d\ne|");
	check_raw(T, 100, "abc\xe2\x82",
		  "\xac"
		  "d",
		  "T3:abc|T4:\xe2\x82\xac"
		  "d|");
	check_raw(B, 100, "abc\xe2\x82",
		  "\xac"
		  "d",
		  "B5:abc\xe2\x82|B2:\xac"
		  "d|");
	check_raw(T, 100, "\xe2", "\x82",
		  "T2:\xe2\x82|"); /* at the end, for conn_send() to refuse */
	check_raw(T, 100, "x\xe2", "y", "T1:x|T2:\xe2y|");
	check_raw(T, 4, "abcdefghi", "j", "T4:abcd|T4:efgh|T1:i|T1:j|");
	check_raw(T, 4, "abc\xe2\x82\xac", "", "T3:abc|T3:\xe2\x82\xac|");
	check_raw(T, 4, "\xe2\x82", "\xac\xe2\x82\xac", "T3:\xe2\x82\xac|T3:\xe2\x82\xac|");
	check_raw(T, 2, "\xe2\x82\xac", "", "T2:\xe2\x82|T1:\xac|");
	check_raw(B, 4, "abcde", "", "B4:abcd|B1:e|");
}

/* --- round trips ---------------------------------------------------------------------------- */

static size_t random_text(uint8_t *to, size_t max)
{
	static const char *const bits[] = {"data:",    "\n",           "\r\n",
					   "a",        "xyz",          "{\"a\":\n1}",
					   "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					   "\"",       "\\",           "base64,"};
	size_t len = 0;

	for (uint32_t n = any(3) ? any(8) : any(200); n > 0; n--) {
		uint32_t which = any(14);
		const char *bit = which < 12 ? bits[which] : which == 12 ? "\x01" : "\0";
		size_t bit_len = which < 12 ? strlen(bit) : 1;

		if (len + bit_len > max)
			break;
		memcpy(to + len, bit, bit_len);
		len += bit_len;
	}
	return len;
}

static size_t random_binary(uint8_t *to, size_t max)
{
	size_t len = any(4) ? any(20) : any((uint32_t)max);

	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)any(any(4) ? 256 : 2);
	if (len >= 5 && any(6) == 0)
		memcpy(to, "data:", 5);
	return len;
}

/* One more message in STREAM, and what the story will say of it in WANT. */
static void add_random(enum framing framing, enum msg_kind type, struct buf *stream,
		       struct buf *want)
{
	uint8_t bytes[512];
	struct msg msg = message(any(2) ? T : B, bytes, 0);

	msg.time_us = any(2) ? 1 + (uint64_t)any(UINT32_MAX) * any(UINT32_MAX) %
					       UINT64_C(4000000000000000)
			     : 0;
	msg.len = msg.kind == T ? random_text(bytes, sizeof(bytes))
				: random_binary(bytes, sizeof(bytes));
	CHECK(put(framing, type, msg, stream) >= 0);
	if (framing == LINE && type == T && msg.kind == T && json_valid((char *)bytes, msg.len) &&
	    memchr(bytes, '\n', msg.len)) {
		for (size_t i = 0; i < msg.len; i++)
			bytes[i] = bytes[i] == '\n' || bytes[i] == '\r' ? ' ' : bytes[i];
	}
	note(want, DECODER_MSG, &msg, NULL);
}

static void test_round_trips(void)
{
	struct buf stream, want;

	buf_init(&stream, 1 << 20);
	buf_init(&want, 1 << 20);
	for (int round = 0; round < 400; round++) {
		enum framing framing = (enum framing)(round % FRAMING_RAW);
		enum msg_kind type = round / FRAMING_RAW % 2 ? T : B;

		buf_clear(&stream);
		buf_clear(&want);
		for (uint32_t n = any(12); n > 0; n--)
			add_random(framing, type, &stream, &want);
		check_cuts(
			&(struct stream){framing, type, 512, buf_head(&stream), buf_len(&stream)},
			&want);
	}
	buf_done(&stream);
	buf_done(&want);
}

/* Sizes around those of pages, pipes and buffers; all byte values. */
static void test_sizes(void)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20};
	uint8_t *bytes = malloc(1 << 20);
	struct buf stream, want, story;

	CHECK(bytes);
	buf_init(&stream, 1 << 25);
	buf_init(&want, 1 << 25);
	buf_init(&story, 1 << 25);
	for (int variant = 0; variant < 20; variant++) {
		enum framing framing = (enum framing)(variant % FRAMING_RAW);
		enum msg_kind type = variant / 4 % 2 ? T : B, kind = variant / 8 % 2 ? T : B;
		struct stream told;

		if (variant >= 16)
			type = kind = T;
		for (size_t i = 0; i < 1 << 20; i++)
			bytes[i] = (uint8_t)(variant >= 16 ? 'a' + i % 26
					     : kind == T   ? i % 128
							   : i + i / 256);
		buf_clear(&stream);
		buf_clear(&want);
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			struct msg msg = message(kind, bytes, sizes[i]);

			CHECK(put(framing, type, msg, &stream) >= 0);
			note(&want, DECODER_MSG, &msg, NULL);
		}
		told = (struct stream){framing, type, 1 << 20, buf_head(&stream), buf_len(&stream)};
		tell(&told, &story);
		CHECK(same(&story, &want));
		tell_pieces(&told, &story, 70000);
		CHECK(same(&story, &want));
		tell_pauses(&told, &story, 200000);
		CHECK(same(&story, &want));
	}
	free(bytes);
	buf_done(&stream);
	buf_done(&want);
	buf_done(&story);
}

/* One byte at a time.  Were each byte looked at anew with each that comes, this would take minutes.
 */
static void test_drip(void)
{
	enum { SIZE = 2 << 20 };
	static const enum framing framings[] = {LINE, NUL, LENGTH, JSON};

	alarm(60);
	for (size_t i = 0; i < 4; i++) {
		char *text = repeat(framings[i] == JSON ? "{\"data\":\"" : "", 'x', SIZE,
				    framings[i] == JSON ? "\"}" : "");
		size_t len = strlen(text), messages = 0;
		const char *problem;
		struct decoder decoder;
		struct msg msg;

		decoder_init(&decoder, framings[i], T, SIZE);
		if (framings[i] == LENGTH) {
			decoder_feed(&decoder, (const uint8_t *)"\0\x20\0\0", 4);
			CHECK_EQ(decoder_next(&decoder, &msg, &problem), DECODER_MORE);
		}
		for (size_t at = 0; at < len + (framings[i] != LENGTH); at++) {
			uint8_t byte = (uint8_t)(at < len             ? text[at]
						 : framings[i] == NUL ? 0
								      : '\n');

			decoder_feed(&decoder, &byte, 1);
			if (at % 3 == 0)
				CHECK_EQ(decoder_keep(&decoder), 0);
			if (decoder_next(&decoder, &msg, &problem) == DECODER_MSG) {
				messages++;
				CHECK_EQ(msg.len, SIZE);
			}
		}
		CHECK_EQ(messages, 1);
		free(text);
		decoder_done(&decoder);
	}
	alarm(0);
}

/* Bytes of no sense: nothing breaks, and the cuts still do not matter. */
static void test_garbage(void)
{
	static const char *const bits[] = {
		"data:", "text/plain", ";base64",  ",", "eA==",  "\n",   "\0", "\0\0\0",
		"{",     "}",          "\"data\"", ":", "\"x\"", "\xff", " ",  "\x80"};
	struct buf story;

	buf_init(&story, 1 << 20);
	for (int round = 0; round < 1500; round++) {
		uint8_t bytes[400];
		size_t len = 0;
		struct stream stream;

		for (uint32_t n = any(60); n > 0 && len < 380; n--) {
			uint32_t which = any(17);
			size_t bit_len = which == 16  ? 0
					 : which == 6 ? 1
					 : which == 7 ? 3
						      : strlen(bits[which]);

			if (bit_len)
				memcpy(bytes + len, bits[which], bit_len);
			else
				bytes[len++] = (uint8_t)any(256);
			len += bit_len;
		}
		stream = (struct stream){(enum framing)(round % FRAMING_RAW), round & 8 ? T : B,
					 1 + any(30), bytes, len};
		tell(&stream, &story);
		check_cuts(&stream, &story);
	}
	buf_done(&story);
}

int main(void)
{
	test_scan();
	test_vectors();
	test_marks_and_time();
	test_full();
	test_length_limit();
	test_line();
	test_nul();
	test_length();
	test_broken_stays();
	test_json();
	test_limits();
	test_memory_bounded();
	test_in_place();
	test_keep_everywhere();
	test_keep_much();
	test_raw();
	test_raw_pieces();
	test_round_trips();
	test_sizes();
	test_drip();
	test_garbage();
	return 0;
}
