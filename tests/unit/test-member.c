/* member: finding with duplicates told, replacing and inserting without another byte changed, and
 * which values are the same.  Generated texts are in tests/splice.py. */
#include "codec/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static struct member_path path_of(const char *pointer)
{
	struct member_path path;

	CHECK_EQ(member_path_init(&path, pointer), 0);
	return path;
}

static int find(const char *text, const char *pointer, char ret[64])
{
	struct member_path path = path_of(pointer);
	struct json_span span = {"", 0};
	int r = member_find(text, strlen(text), &path, &span);

	snprintf(ret, 64, "%.*s", r == MEMBER_FOUND ? (int)span.len : 0, span.at);
	member_path_done(&path);
	return r;
}

#define check_found(text, pointer, expected)                                                       \
	do {                                                                                       \
		CHECK_EQ(find(text, pointer, value), MEMBER_FOUND);                                \
		CHECK_STR(value, expected);                                                        \
	} while (0)

static void test_find(void)
{
	char value[64];

	check_found("{\"id\":1}", "/id", "1");
	check_found(" { \"a\" : 2 , \"id\" : \"x\" } ", "/id", "\"x\"");
	check_found("{\"\\u0069d\":1.10}", "/id", "1.10");
	check_found("[8,68,\"7\",{}]", "/2", "\"7\"");
	check_found("{\"d\":{\"requestId\":[1, 2]}}", "/d/requestId", "[1, 2]");
	check_found("{\"a/b\":{\"m~n\":null}}", "/a~1b/m~0n", "null");
	CHECK_EQ(find("{\"id\":1,\"a\":2,\"id\":1}", "/id", value), MEMBER_TWICE);
	CHECK_EQ(find("{\"id\":1,\"\\u0069d\":2}", "/id", value), MEMBER_TWICE);
	CHECK_EQ(find("{\"d\":{},\"d\":{}}", "/d/x", value), MEMBER_TWICE);
	CHECK_EQ(find("{\"id\":1,\"a\":{\"id\":1}}", "/id", value), MEMBER_FOUND);
	CHECK_EQ(find("{\"a\":1}", "/id", value), MEMBER_NONE);
	CHECK_EQ(find("[1]", "/01", value), MEMBER_NONE);
	CHECK_EQ(find("\"id\"", "/id", value), MEMBER_NONE);
	CHECK_EQ(find("{\"id\":1} x", "/id", value), -EINVAL);
	CHECK_EQ(find("{\"id\":1,\"a\":tru}", "/id", value), -EINVAL);
	CHECK_EQ(find("{\"id\":1", "/id", value), -EINVAL);
	CHECK_EQ(find("", "/id", value), -EINVAL);
	CHECK_EQ(find("{", "/id", value), -EINVAL);
}

static void test_depth(void)
{
	char text[600], value[64];

	memset(text, '[', 200);
	memset(text + 200, ']', 200);
	text[400] = '\0';
	CHECK_EQ(find(text, "/0", value), -EINVAL);
	memset(text, '[', 128);
	memset(text + 128, ']', 128);
	text[256] = '\0';
	CHECK_EQ(find(text, "/1", value), MEMBER_NONE);
}

static void test_paths(void)
{
	struct member_path path;

	CHECK_EQ(member_path_init(&path, "id"), -EINVAL);
	CHECK_EQ(member_path_init(&path, "/a~2"), -EINVAL);
	CHECK_EQ(member_path_init(&path, ""), 0);
	member_path_done(&path);
	member_path_done(&path);
}

static void check_insert(const char *text, const char *pointer, const char *expected)
{
	struct member_path path = path_of(pointer);
	struct json_span at;
	char to[256];
	size_t len;
	bool alone;

	CHECK(member_place(text, strlen(text), &path, &at, &alone));
	len = member_insert(text, strlen(text), &at, alone, &path, "17", 2, to);
	CHECK(len <= strlen(text) + member_growth(&path, 2));
	to[len] = '\0';
	CHECK_STR(to, expected);
	member_path_done(&path);
}

static void test_insert(void)
{
	struct member_path path = path_of("/d/id"), element = path_of("/1");
	struct json_span at;
	bool alone;

	check_insert("{\"a\":1e3}", "/id", "{\"id\":17,\"a\":1e3}");
	check_insert(" { } ", "/id", " {\"id\":17 } ");
	check_insert("{\"d\":{}}", "/d/i\"d", "{\"d\":{\"i\\\"d\":17}}");
	CHECK(!member_place("{}", 2, &path, &at, &alone));
	CHECK(!member_place("[1]", 3, &element, &at, &alone));
	member_path_done(&path);
	member_path_done(&element);
}

static void check_number(const char *text, bool is_one, uint64_t expected)
{
	struct json_span span = {text, strlen(text)};
	uint64_t number = 0;

	CHECK_EQ(member_number(&span, &number), is_one);
	CHECK_EQ(number, expected);
}

static void test_numbers(void)
{
	check_number("5", true, 5);
	check_number("5.0", true, 5);
	check_number("5.000000", true, 5);
	check_number("50e-1", true, 5);
	check_number("0.5E1", true, 5);
	check_number("5e0", true, 5);
	check_number("0", true, 0);
	check_number("2147483647.0", true, 2147483647);
	check_number("\"5\"", true, 5);
	check_number("\"\\u0035\"", true, 5);
	check_number("\"1\\u0030\"", true, 10);
	check_number("5.5", false, 0);
	check_number("-5", false, 0);
	check_number("1e400", false, 0);
	check_number("1e99999", false, 0);
	check_number("99999999999999999999999", false, 0);
	check_number("\"05\"", false, 0);
	check_number("\"5.0\"", false, 0);
	check_number("\"\"", false, 0);
	check_number("\"\\u00350x\"", false, 0);
	check_number("null", false, 0);
}

static bool same(const char *a, const char *b)
{
	struct json_span one = {a, strlen(a)}, other = {b, strlen(b)};

	return member_same(&one, &other);
}

static void test_same(void)
{
	CHECK(same("\"ack\"", "\"\\u0061ck\""));
	CHECK(same("\"a\\/b\"", "\"a/b\""));
	CHECK(same("8", "8.0"));
	CHECK(same("null", "null"));
	CHECK(same("-1", "-1"));
	CHECK(!same("\"8\"", "8"));
	CHECK(!same("\"ack\"", "\"nack\""));
	CHECK(!same("\"\\ud800\"", "\"\\ud800\""));
	CHECK(!same("true", "false"));
	CHECK(!same("8", "9"));
}

int main(void)
{
	test_find();
	test_depth();
	test_paths();
	test_insert();
	test_numbers();
	test_same();
	return 0;
}
