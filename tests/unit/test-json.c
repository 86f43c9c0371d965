/* json: the grammar against a second, recursive reading of RFC 8259; places against RFC 6901;
 * nothing ever read behind the end (each text stands in memory of exactly its size, so that the
 * address sanitizer sees it). */
#include <errno.h>

#include "check.h"
#include "codec/json.h"

/* --- the reference -------------------------------------------------------------------------- */

static const char *ref_blanks(const char *p, const char *end)
{
	while (p < end && memchr(" \t\r\n", *p, 4))
		p++;
	return p;
}

static const char *ref_string(const char *p, const char *end)
{
	if (p == end || *p++ != '"')
		return NULL;
	for (; p < end && *p != '"'; p++) {
		if ((unsigned char)*p < 0x20)
			return NULL;
		if (*p != '\\')
			continue;
		if (++p == end || !memchr("\"\\/bfnrtu", *p, 9))
			return NULL;
		if (*p != 'u')
			continue;
		for (int i = 0; i < 4; i++) {
			if (++p == end || !memchr("0123456789abcdefABCDEF", *p, 22))
				return NULL;
		}
	}
	return p < end ? p + 1 : NULL;
}

static const char *ref_digits(const char *p, const char *end, size_t least)
{
	size_t n = 0;

	for (; p < end && memchr("0123456789", *p, 10); n++)
		p++;
	return n >= least ? p : NULL;
}

static const char *ref_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else
		p = ref_digits(p, end, 1);
	if (p && p < end && *p == '.')
		p = ref_digits(p + 1, end, 1);
	if (p && p < end && (*p == 'e' || *p == 'E')) {
		p++;
		p = ref_digits(p + (p < end && (*p == '+' || *p == '-')), end, 1);
	}
	return p;
}

static const char *ref_value(const char *p, const char *end, int depth)
{
	static const char *const words[] = {"true", "false", "null"};
	char close;

	p = ref_blanks(p, end);
	if (p == end)
		return NULL;
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(end - p) >= n && !memcmp(p, words[i], n))
			return p + n;
	}
	if (*p == '"')
		return ref_string(p, end);
	if (*p != '{' && *p != '[')
		return ref_number(p, end);
	if (depth == JSON_DEPTH_MAX)
		return NULL;
	close = *p == '{' ? '}' : ']';
	p = ref_blanks(p + 1, end);
	if (p < end && *p == close)
		return p + 1;
	for (;;) {
		if (close == '}') {
			p = ref_string(ref_blanks(p, end), end);
			p = p ? ref_blanks(p, end) : NULL;
			if (!p || p == end || *p++ != ':')
				return NULL;
		}
		p = ref_value(p, end, depth + 1);
		p = p ? ref_blanks(p, end) : NULL;
		if (!p || p == end)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static bool ref_valid(const char *text, size_t len)
{
	const char *p = ref_value(text, text + len, 0);

	return p && ref_blanks(p, text + len) == text + len;
}

/* --- helpers -------------------------------------------------------------------------------- */

static uint32_t seed = 20261120;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static char *exact(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);

	CHECK(copy);
	memcpy(copy, text, len);
	return copy;
}

static bool valid(const char *text)
{
	char *copy = exact(text, strlen(text));
	bool result = json_valid(copy, strlen(text));

	free(copy);
	return result;
}

/* As text "VALUE", or "none", or "bad". */
static const char *find(const char *text, const char *pointer)
{
	static char result[256];
	size_t len = strlen(text);
	char *copy = exact(text, len);
	struct json_span span = {"untouched", 9};
	int r = json_find(copy, len, pointer, &span);

	if (r == 1)
		snprintf(result, sizeof(result), "%.*s", (int)span.len, span.at);
	else
		CHECK(span.len == 9 && !strcmp(span.at, "untouched"));
	free(copy);
	CHECK(r == 1 || r == 0 || r == -EINVAL);
	return r == 1 ? result : r == 0 ? "none" : "bad";
}

static struct json_span span_of(const char *text)
{
	return (struct json_span){text, strlen(text)};
}

/* --- tests ---------------------------------------------------------------------------------- */

static const char *const good[] = {
	"{}",
	"[]",
	" { } ",
	"\t[\r\n]\n",
	"0",
	"-0",
	"1",
	"-1",
	"10",
	"1.0",
	"-0.25",
	"1e5",
	"1E+5",
	"1.5e-10",
	"123456789012345678901234567890",
	"true",
	"false",
	"null",
	"\"\"",
	"\"a\"",
	"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
	"\"\\ud83d\\ude00\"",
	"\"\\ud800\"",
	"\"\x7f\"",
	"\"\xc3\xa9\"",
	"[1,2,3]",
	"[[],{}]",
	"{\"a\":1}",
	"{\"a\":1,\"a\":2}",
	"{\"\":0}",
	" {\"a\" : [ 1 , {\"b\" : null} ] , \"c\":\"d\" } ",
	"[[[[[]]]]]",
	"{\"a\":{\"b\":{}}}",
	"\"0123456789abcdef0123456789\\\"abcdef\"",
	"\"12345678\"",
	"\"1234567\"",
	"\"123456789\"",
};

static const char *const wrong[] = {
	"",
	" ",
	"{",
	"}",
	"[",
	"]",
	"[1",
	"[1,",
	"[1,]",
	"[,1]",
	"[,]",
	"[1 2]",
	"[1}",
	"{1}",
	"{]",
	"{\"a\"}",
	"{\"a\":}",
	"{\"a\":1,}",
	"{,}",
	"{\"a\" 1}",
	"{a:1}",
	"{'a':1}",
	"{\"a\":1 \"b\":2}",
	"{\"a\":1]",
	"[\"a\":1]",
	"00",
	"01",
	"-",
	"+1",
	"-01",
	".5",
	"1.",
	"1.e5",
	"1e",
	"1e+",
	"0x10",
	"- 1",
	"1 2",
	"NaN",
	"Infinity",
	"tru",
	"truee",
	"True",
	"nul",
	"\"",
	"\"a",
	"a\"",
	"\"\\\"",
	"\"\\x\"",
	"\"\\u\"",
	"\"\\u12\"",
	"\"\\u123\"",
	"\"\\u123g\"",
	"\"\\",
	"\"\n\"",
	"\"\t\"",
	"\"\x1f\"",
	"\"a\"b",
	"\"a\" \"b\"",
	"{}{}",
	"[] x",
	"/*a*/1",
	"1//",
	"\xef\xbb\xbf{}",
	"\f1",
	"\v1",
	"[1]]",
	"[[1]",
	"{\"a\":{}",
	"\"12345678\n9abcdef0\"",
	"\"123456789abcdef\x01\"",
	"hello",
	"pong",
	"\"\\u 041\"",
	"\"\\u+041\"",
	"'a'",
	"\xa0",
	"1\xa0",
};

static void test_grammar(void)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		size_t len = strlen(good[i]);

		if (!valid(good[i]))
			fprintf(stderr, "%s\n", good[i]);
		CHECK(valid(good[i]));
		CHECK(ref_valid(good[i], len));
		/* No part of a text that has brackets or quotes is a text. */
		for (size_t n = 0; n < len && strchr("{[\"", good[i][0]); n++) {
			char *copy = exact(good[i], n);

			CHECK(json_valid(copy, n) == ref_valid(copy, n));
			CHECK(!json_valid(copy, n) || good[i][n] == ' ');
			free(copy);
		}
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		if (valid(wrong[i]))
			fprintf(stderr, "%s\n", wrong[i]);
		CHECK(!valid(wrong[i]));
	}
	CHECK(!json_valid("1\0", 2));
	CHECK(!json_valid("\"\0\"", 3));
	CHECK(!json_valid("\"\\\0\"", 4));
	CHECK(!json_valid("\0", 1));
	CHECK(!json_valid(NULL, 0));
}

static void test_every_byte(void)
{
	/* In a string, at each place of a word of eight, and alone. */
	for (int c = 0; c < 256; c++) {
		for (size_t at = 1; at < 20; at++) {
			char text[] = "\"aaaaaaaaaaaaaaaaaaa\"";

			text[at] = (char)c;
			CHECK_EQ(json_valid(text, 21), c >= 0x20 && c != '"' && c != '\\');
		}
		CHECK_EQ(json_valid((char[]){(char)c}, 1), c >= '0' && c <= '9');
	}
}

static void test_depth(void)
{
	char text[2 * (JSON_DEPTH_MAX + 1)], pointer[2 * JSON_DEPTH_MAX + 3];
	struct json_span span;

	for (int kinds = 0; kinds < 2; kinds++) {
		for (size_t depth = 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
			for (size_t i = 0; i < depth; i++) {
				text[i] = '[';
				text[2 * depth - 1 - i] = kinds && i % 3 == 1 ? '}' : ']';
			}
			CHECK_EQ(json_valid(text, 2 * depth),
				 depth <= JSON_DEPTH_MAX && (!kinds || depth < 2));
		}
	}
	memset(text, '[', sizeof(text));
	CHECK(!json_valid(text, sizeof(text)));
	/* The way down counts as well. */
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	pointer[0] = '\0';
	for (size_t i = 0; i < JSON_DEPTH_MAX; i++) {
		CHECK_EQ(json_find(text, 2 * JSON_DEPTH_MAX, pointer, &span), 1);
		CHECK_EQ(span.len, 2 * (JSON_DEPTH_MAX - i));
		strcat(pointer, "/0");
	}
	CHECK_EQ(json_find(text, 2 * JSON_DEPTH_MAX, pointer, &span), 0);
	memset(text, '[', JSON_DEPTH_MAX + 1);
	memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
	CHECK_EQ(json_find(text, sizeof(text), pointer, &span), -EINVAL);
	CHECK_EQ(json_find(text, sizeof(text), "/0/0/0", &span), -EINVAL);
	strcat(pointer, "/0");
	CHECK_EQ(json_find(text, sizeof(text), pointer, &span), -EINVAL);
	/* Wide is not deep. */
	CHECK(valid("[[],[],{\"a\":[]},[[]],{},[{}]]"));
}

/* What is only passed on the way to a member counts, too. */
static void test_depth_beside(void)
{
	for (size_t deep = JSON_DEPTH_MAX - 1; deep <= JSON_DEPTH_MAX; deep++) {
		char text[2 * JSON_DEPTH_MAX + 5];

		memset(text, '[', deep + 1);
		memset(text + deep + 1, ']', deep);
		strcpy(text + 2 * deep + 1, ",1]");
		CHECK_STR(find(text, "/1"), deep < JSON_DEPTH_MAX ? "1" : "bad");
		CHECK(valid(text) == (deep < JSON_DEPTH_MAX));
	}
}

static void test_mixed_depth(void)
{
	/* Alternating kinds across the border of a 64-bit word of the stack. */
	struct buf text;

	buf_init(&text, 1 << 16);
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		CHECK_EQ(buf_append_str(&text, i % 3 ? "[" : "{\"k\":"), 0);
	CHECK_EQ(buf_append_str(&text, "1"), 0);
	for (int i = JSON_DEPTH_MAX; i-- > 0;)
		CHECK_EQ(buf_append_str(&text, i % 3 ? "]" : "}"), 0);
	CHECK(json_valid((char *)buf_head(&text), buf_len(&text)));
	for (size_t i = 0; i < buf_len(&text); i++) {
		uint8_t *c = buf_head(&text) + i, was = *c;

		if (was == ']' || was == '}') {
			*c = was == ']' ? '}' : ']';
			CHECK(!json_valid((char *)buf_head(&text), buf_len(&text)));
			*c = was;
		}
	}
	buf_done(&text);
}

static void test_pointers(void)
{
	static const char rfc[] = "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,"
				  "\"g|h\":4,\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}";

	CHECK_STR(find(rfc, ""), rfc);
	CHECK_STR(find(rfc, "/foo"), "[\"bar\",\"baz\"]");
	CHECK_STR(find(rfc, "/foo/0"), "\"bar\"");
	CHECK_STR(find(rfc, "/foo/1"), "\"baz\"");
	CHECK_STR(find(rfc, "/"), "0");
	CHECK_STR(find(rfc, "/a~1b"), "1");
	CHECK_STR(find(rfc, "/c%d"), "2");
	CHECK_STR(find(rfc, "/e^f"), "3");
	CHECK_STR(find(rfc, "/g|h"), "4");
	CHECK_STR(find(rfc, "/i\\j"), "5");
	CHECK_STR(find(rfc, "/k\"l"), "6");
	CHECK_STR(find(rfc, "/ "), "7");
	CHECK_STR(find(rfc, "/m~0n"), "8");
	CHECK_STR(find("{\"~1\":1,\"/\":2}", "/~01"), "1");
	CHECK_STR(find("{\"~1\":1,\"/\":2}", "/~1"), "2");
	CHECK_STR(find(rfc, "/foo/2"), "none");
	CHECK_STR(find(rfc, "/foo/-"), "none");
	CHECK_STR(find(rfc, "/foo/00"), "none");
	CHECK_STR(find(rfc, "/foo/01"), "none");
	CHECK_STR(find(rfc, "/foo/+1"), "none");
	CHECK_STR(find(rfc, "/foo/"), "none");
	CHECK_STR(find(rfc, "/foo/1x"), "none");
	CHECK_STR(find(rfc, "/foo/18446744073709551616"), "none");
	CHECK_STR(find(rfc, "/foo/18446744073709551617"), "none");
	CHECK_STR(find(rfc, "/foo/0/x"), "none");
	CHECK_STR(find(rfc, "/fo"), "none");
	CHECK_STR(find(rfc, "/fooo"), "none");
	CHECK_STR(find(rfc, "//"), "none");
	CHECK_STR(find(rfc, "foo"), "bad");
	CHECK_STR(find(rfc, "/m~n"), "bad");
	CHECK_STR(find(rfc, "/m~"), "bad");
	CHECK_STR(find("{\"0\":1}", "/0"), "1");
	CHECK_STR(find("{\"01\":1}", "/01"), "1");
	CHECK_STR(find(" [ 1 , 22 , 3 ] ", "/1"), "22");
	CHECK_STR(find("[[1],[2,[3]]]", "/1/1/0"), "3");
	/* Keys are compared by value. */
	CHECK_STR(find("{\"\\u0069\\u0064\":1}", "/id"), "1");
	CHECK_STR(find("{\"\\u00e9\":1}", "/\xc3\xa9"), "1");
	CHECK_STR(find("{\"\\ud83d\\ude00\":1}", "/\xf0\x9f\x98\x80"), "1");
	CHECK_STR(find("{\"\\ud800\":1,\"a\":2}", "/a"), "2");
	CHECK_STR(find("{\"i\\u0000d\":1}", "/i"), "none");
	CHECK_STR(find("{\"a\\/b\":1}", "/a~1b"), "1");
	/* The first of duplicates, blanks not included. */
	CHECK_STR(find("{ \"a\" \t: \n 1 , \"a\":2}", "/a"), "1");
	CHECK_STR(find("{\"a\" : { } }", "/a"), "{ }");
	CHECK_STR(find(" 5 ", ""), "5");
	CHECK(json_pointer_valid(""));
	CHECK(json_pointer_valid("/"));
	CHECK(json_pointer_valid("/a~0~1//b"));
	CHECK(!json_pointer_valid("a"));
	CHECK(!json_pointer_valid("/~"));
	CHECK(!json_pointer_valid("/~2"));
}

static void test_find_broken(void)
{
	/* Up to the place, and no further. */
	CHECK_STR(find("{\"a\":1,garbage", "/a"), "1");
	CHECK_STR(find("{\"a\":1", "/a"), "1");
	CHECK_STR(find("{\"a\":[1,2", "/a/0"), "1");
	CHECK_STR(find("{\"a\":{\"b\":1},x", "/a/c"), "none");
	CHECK_STR(find("{garbage,\"a\":1}", "/a"), "bad");
	CHECK_STR(find("{\"b\":tru,\"a\":1}", "/a"), "bad");
	CHECK_STR(find("{\"a\":", "/a"), "bad");
	CHECK_STR(find("{\"a\":  ", "/a"), "bad");
	CHECK_STR(find("{\"a\":{", "/a/b"), "bad");
	CHECK_STR(find("{\"a\":\"x", "/a"), "bad");
	CHECK_STR(find("{\"b\":1", "/a"), "bad");
	CHECK_STR(find("{\"b\":1,", "/a"), "bad");
	CHECK_STR(find("{\"b\":1,}", "/a"), "bad");
	CHECK_STR(find("{\"b\":1]", "/a"), "bad");
	CHECK_STR(find("[1,]", "/3"), "bad");
	CHECK_STR(find("[1,]", "/1"), "bad");
	CHECK_STR(find("hello", "/id"), "bad");
	CHECK_STR(find("", "/id"), "bad");
	CHECK_STR(find("  ", ""), "bad");
	CHECK_STR(find("5", "/id"), "none");
	CHECK_STR(find("\"x\"", "/0"), "none");
	CHECK_STR(find("{} x", ""), "bad");
	CHECK_STR(find("{}", "/a"), "none");
	CHECK_STR(find("[]", "/0"), "none");
}

static void test_next(void)
{
	static const char text[] = "{ \"a\" : 1 ,\"b c\":[2,{}],\"\":\"x\" }";
	struct json_span object = span_of(text), key, value;
	struct json_span array = span_of("[ 1,[2] , \"x\\\"y\" ]"), empty = span_of("{ }");
	size_t position = 0;

	CHECK_EQ(json_next(&object, &position, &key, &value), 1);
	CHECK(key.len == 3 && !memcmp(key.at, "\"a\"", 3));
	CHECK(value.len == 1 && *value.at == '1');
	CHECK_EQ(json_next(&object, &position, &key, &value), 1);
	CHECK(json_equals(&key, "b c") && !json_equals(&key, "b") && !json_equals(&key, "b cc"));
	CHECK(value.len == 6 && !memcmp(value.at, "[2,{}]", 6));
	CHECK_EQ(json_next(&object, &position, NULL, &value), 1);
	CHECK(json_equals(&value, "x"));
	CHECK_EQ(json_next(&object, &position, &key, &value), 0);
	CHECK_EQ(json_next(&object, &position, &key, &value), 0);

	position = 0;
	CHECK_EQ(json_next(&array, &position, NULL, &value), 1);
	CHECK_EQ(json_next(&array, &position, NULL, &value), 1);
	CHECK(value.len == 3 && !memcmp(value.at, "[2]", 3));
	CHECK_EQ(json_next(&array, &position, &key, &value), 1);
	CHECK(key.at == NULL && key.len == 0);
	CHECK(json_equals(&value, "x\"y"));
	CHECK_EQ(json_next(&array, &position, NULL, &value), 0);

	position = 0;
	CHECK_EQ(json_next(&empty, &position, &key, &value), 0);
	CHECK_EQ(json_next(&empty, &position, &key, &value), 0);
}

/* All members of TEXT, and of what is in it; false where any of it is refused. */
static bool walk(struct json_span span)
{
	struct json_span key, value;
	size_t position = 0;
	int r;

	if (span.len == 0 || (*span.at != '{' && *span.at != '['))
		return json_valid(span.at, span.len);
	while ((r = json_next(&span, &position, &key, &value)) > 0) {
		CHECK(value.len > 0 && value.at > span.at);
		CHECK(value.at + value.len <= span.at + span.len);
		CHECK(*span.at == '{' ? json_is_string(&key) : key.at == NULL);
		if (!walk(value))
			return false;
	}
	CHECK(r == 0 || r == -EINVAL);
	return r == 0;
}

static void test_next_broken(void)
{
	static const char *const texts[] = {
		"{",   "[", "[1", "[1,", "[1,]", "[1]x",    "[1] ",     "{\"a\":1", "{\"a\":1}]",
		"{1}", "5", "",   "{]",  "[}",   "{\"a\"}", "{\"a\":}", "[,]"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		size_t len = strlen(texts[i]), position = 0;
		char *copy = exact(texts[i], len);
		struct json_span span = {copy, len}, key, value;
		int r;

		while ((r = json_next(&span, &position, &key, &value)) > 0)
			;
		CHECK_EQ(r, -EINVAL);
		free(copy);
	}
	/* A position from elsewhere reads nothing outside either. */
	for (size_t at = 0; at < 12; at++) {
		char *copy = exact("{\"a\":[1]}", 9);
		struct json_span span = {copy, 9}, key, value;
		size_t position = at;

		json_next(&span, &position, &key, &value);
		free(copy);
	}
}

static void test_random(void)
{
	static const char letters[] = "{}[]\",:\\ 0123-.eE+tfnu\n\x01";
	static const char *const bits[] = {"true", "null", "{\"a\":",  "[1,",
					   "]",    "}",    "\"x\\n\"", "1.5"};

	for (int round = 0; round < 60000; round++) {
		char text[200];
		size_t len = 0;
		struct json_span span;
		char *copy;
		bool is;

		if (round % 3 == 0) {
			for (uint32_t n = any(12); n > 0; n--)
				len += (size_t)sprintf(text + len, "%s", bits[any(8)]);
		} else {
			len = (size_t)sprintf(text, "%s", good[any(sizeof(good) / sizeof(*good))]);
		}
		for (uint32_t n = any(4); n > 0 && len; n--)
			text[any((uint32_t)len)] = letters[any(sizeof(letters) - 1)];
		if (any(5) == 0)
			len = len ? any((uint32_t)len) : 0;
		copy = exact(text, len);
		is = ref_valid(copy, len);
		if (json_valid(copy, len) != is)
			fprintf(stderr, "%.*s\n", (int)len, copy);
		CHECK(json_valid(copy, len) == is);
		CHECK_EQ(json_find(copy, len, "", &span), is ? 1 : -EINVAL);
		if (is)
			CHECK(walk(span));
		else if (len && strchr("{[", copy[0]))
			CHECK(!walk((struct json_span){copy, len}));
		json_find(copy, len, "/a/0/a", &span);
		json_find(copy, len, "/1/a", &span);
		free(copy);
	}
}

static int unquote(const char *quoted, struct buf *out)
{
	char *copy = exact(quoted, strlen(quoted));
	struct json_span span = {copy, strlen(quoted)};
	int r;

	buf_clear(out);
	r = json_unquote(&span, out);
	free(copy);
	return r;
}

static bool holds(const struct buf *buf, const char *bytes, size_t len)
{
	return buf_len(buf) == len && (len == 0 || !memcmp(buf_head(buf), bytes, len));
}

static void test_unquote(void)
{
	static const char *const refused[] = {
		"",
		"\"",
		"5",
		"null",
		"\"\\ud800\"",
		"\"\\udc00\"",
		"\"\\ud800x\"",
		"\"\\ud800\\n\"",
		"\"\\ud800\\u0041\"",
		"\"\\ud800\\ud800\"",
		"\"\\udc00\\ud800\"",
		"\"\\ud83d\\ude0\"",
		"\"\\\"",
		"\"\\x\"",
		"\"\\u12\"",
		"\"a\"b\"",
		"\"\n\"",
		"x\"\"",
		"\"a\\",
	};
	struct json_span span = span_of("\"a\\u0000b\"");
	char *text = NULL;
	struct buf out;

	buf_init(&out, 64);
	CHECK(unquote("\"\"", &out) == 0 && holds(&out, "", 0));
	CHECK(unquote("\"abc\"", &out) == 0 && holds(&out, "abc", 3));
	CHECK(unquote("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", &out) == 0);
	CHECK(holds(&out, "\"\\/\b\f\n\r\t", 8));
	CHECK(unquote("\"\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\"", &out) == 0);
	CHECK(holds(&out, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
	CHECK(unquote("\"\\ud800\\udc00\\udbff\\udfff\\uffff\\ud7ff\\ue000\"", &out) == 0);
	CHECK(holds(&out, "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80",
		    17));
	CHECK(unquote("\"a\\u0000b\"", &out) == 0 && holds(&out, "a\0b", 3));
	CHECK(unquote("\"\\u07ff\\u0800\\u007f\\u0080\"", &out) == 0);
	CHECK(holds(&out, "\xdf\xbf\xe0\xa0\x80\x7f\xc2\x80", 8));
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		CHECK_EQ(unquote(refused[i], &out), -EINVAL);
		CHECK_EQ(buf_len(&out), 0);
	}
	buf_done(&out);

	CHECK_EQ(json_unquote_str(&span, &text), -EINVAL);
	span = span_of("\"a\\ud800\"");
	CHECK_EQ(json_unquote_str(&span, &text), -EINVAL);
	span = span_of("5");
	CHECK_EQ(json_unquote_str(&span, &text), -EINVAL);
	CHECK(text == NULL);
	span = span_of("\"a\\tb\"");
	CHECK_EQ(json_unquote_str(&span, &text), 0);
	CHECK_STR(text, "a\tb");
	free(text);
	span = span_of("\"\"");
	CHECK_EQ(json_unquote_str(&span, &text), 0);
	CHECK_STR(text, "");
	free(text);
}

static void test_maximum(void)
{
	struct json_span span = span_of("\"\\u0041\\u0042\\u0043\"");
	struct buf out;

	/* What counts is the value, not how it is written; what does not fit changes nothing. */
	buf_init(&out, 5);
	CHECK_EQ(json_unquote(&span, &out), 0);
	CHECK(holds(&out, "ABC", 3));
	CHECK_EQ(json_unquote(&span, &out), -ENOBUFS);
	CHECK(holds(&out, "ABC", 3));
	CHECK_EQ(json_quote(&out, "a", 1), -ENOBUFS);
	CHECK_EQ(json_one_line(&out, "[\n]", 3), -ENOBUFS);
	CHECK(holds(&out, "ABC", 3));
	CHECK_EQ(json_quote(&out, "", 0), 0);
	CHECK(holds(&out, "ABC\"\"", 5));
	buf_done(&out);
}

static void test_quote(void)
{
	static const char all[] =
		"\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u0000\xc3\xa9\"";
	char raw[128];
	struct buf quoted, back;
	struct json_span span;

	buf_init(&quoted, 1 << 20);
	buf_init(&back, 1 << 20);
	CHECK_EQ(json_quote(&quoted, "a\"b\\c/\b\f\n\r\t\x01\x1f\x7f\0\xc3\xa9", 17), 0);
	CHECK(holds(&quoted, all, sizeof(all) - 1));
	buf_clear(&quoted);
	CHECK_EQ(json_quote_str(&quoted, NULL), 0);
	CHECK_EQ(json_quote_str(&quoted, "x\n"), 0);
	CHECK(holds(&quoted, "null\"x\\n\"", 9));
	CHECK_EQ(json_quote(&quoted, NULL, 0), 0);
	for (int round = 0; round < 5000; round++) {
		size_t len = any(sizeof(raw));
		char *copy;

		for (size_t i = 0; i < len; i++)
			raw[i] = (char)any(round % 2 ? 128 : 64);
		copy = exact(raw, len);
		buf_clear(&quoted);
		buf_clear(&back);
		CHECK_EQ(json_quote(&quoted, copy, len), 0);
		free(copy);
		span = (struct json_span){(char *)buf_head(&quoted), buf_len(&quoted)};
		CHECK(json_valid(span.at, span.len));
		CHECK_EQ(json_unquote(&span, &back), 0);
		CHECK(holds(&back, raw, len));
		if (len && !memchr(raw, '\0', len)) {
			raw[len] = '\0';
			CHECK(json_equals(&span, raw));
			raw[len - 1] ^= 1;
			CHECK(!json_equals(&span, raw));
		}
	}
	buf_done(&quoted);
	buf_done(&back);
}

static int uint_of(const char *text, uint64_t *ret)
{
	struct json_span span = span_of(text);

	return json_uint(&span, ret);
}

static void test_scalars(void)
{
	static const char *const no[] = {"",      "-",  "01", "1.0",  "1e3",
					 "\"1\"", "1x", " 1", "null", "-1.5"};
	struct json_span span = span_of("true");
	uint64_t value = 77;

	CHECK(uint_of("0", &value) == 0 && value == 0);
	CHECK(uint_of("42", &value) == 0 && value == 42);
	CHECK(uint_of("18446744073709551615", &value) == 0 && value == UINT64_MAX);
	value = 77;
	CHECK_EQ(uint_of("18446744073709551616", &value), -ERANGE);
	CHECK_EQ(uint_of("99999999999999999999", &value), -ERANGE);
	CHECK_EQ(uint_of("-1", &value), -ERANGE);
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		CHECK_EQ(uint_of(no[i], &value), -EINVAL);
	CHECK_EQ(value, 77);
	CHECK(json_is_true(&span));
	span = span_of("false");
	CHECK(!json_is_true(&span) && !json_is_string(&span) && !json_equals(&span, "false"));
	span = span_of("\"true\"");
	CHECK(!json_is_true(&span) && json_is_string(&span) && json_equals(&span, "true"));
}

static void test_one_line(void)
{
	static const char text[] = "{\r\n\t\"a\\n\" : [\n1,\r2 ]\n}";
	struct buf out;

	buf_init(&out, 100);
	CHECK_EQ(buf_append_str(&out, ">"), 0);
	CHECK_EQ(json_one_line(&out, text, strlen(text)), 0);
	CHECK(holds(&out, ">{  \t\"a\\n\" : [ 1, 2 ] }", strlen(text) + 1));
	CHECK_EQ(json_one_line(&out, "", 0), 0);
	CHECK_EQ(buf_len(&out), strlen(text) + 1);
	buf_done(&out);
}

int main(void)
{
	test_grammar();
	test_every_byte();
	test_depth();
	test_depth_beside();
	test_mixed_depth();
	test_pointers();
	test_find_broken();
	test_next();
	test_next_broken();
	test_random();
	test_unquote();
	test_maximum();
	test_quote();
	test_scalars();
	test_one_line();
	return 0;
}
