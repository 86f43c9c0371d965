#include <errno.h>

#include "check.h"
#include "codec/http.h"

#define GOOD                                                                                       \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"        \
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
#define LINE "HTTP/1.1 101 X\r\n"

static struct http_head head;
static const char *problem;

/* The memory ends where the bytes do. */
static int parse(const char *text, size_t len)
{
	static uint8_t *copy;

	free(copy); /* the last one: head points into it until now */
	copy = malloc(len ? len : 1);
	CHECK(copy);
	memcpy(copy, text, len);
	problem = NULL;
	return http_parse_head(&head, len ? copy : copy + 1, len, &problem);
}

static int field_is(size_t i, const char *name, const char *value)
{
	const struct http_field *field = &head.field[i];

	return i < head.fields && field->name_len == strlen(name) &&
	       memcmp(field->name, name, field->name_len) == 0 &&
	       field->value_len == strlen(value) &&
	       memcmp(field->value, value, field->value_len) == 0;
}

/* Whole, with and without something behind it, and in drips. */
static void check_good(const char *text, int status, const char *reason, size_t fields)
{
	size_t len = strlen(text);
	char *more = malloc(len + 3);

	CHECK(more);
	for (size_t n = 0; n < len; n++)
		CHECK_EQ(parse(text, n), HTTP_MORE);
	memcpy(more, text, len);
	memcpy(more + len, "\x81\0\r", 3);
	for (size_t n = len; n <= len + 3; n++) {
		CHECK_EQ(parse(more, n), HTTP_DONE);
		CHECK_EQ(head.head_len, len);
		CHECK_EQ(head.status, status);
		CHECK_EQ(head.fields, fields);
		CHECK_EQ(head.reason_len, strlen(reason));
		CHECK(memcmp(head.reason, reason, head.reason_len) == 0);
	}
	free(more);
}

/* Refused when whole; and in drips at exactly the byte AT (0: do not care which), never taken. */
static void check_bad_at(const char *text, size_t len, size_t at)
{
	size_t n = 0;

	while (n < len && parse(text, n) == HTTP_MORE)
		n++;
	if (parse(text, n) != -EPROTO || parse(text, len) != -EPROTO)
		CHECK_STR("taken", text);
	CHECK(problem && strlen(problem) > 5);
	if (at)
		CHECK_EQ(n, at);
}

static void check_bad(const char *text)
{
	check_bad_at(text, strlen(text), 0);
}

static void test_good(void)
{
	check_good(GOOD, 101, "Switching Protocols", 3);
	CHECK(field_is(0, "Upgrade", "websocket"));
	CHECK(field_is(2, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
	check_good("HTTP/1.1 101\r\n\r\n", 101, "", 0);
	check_good("HTTP/1.1 101 \r\n\r\n", 101, "", 0);
	check_good("HTTP/1.1 101 Whatever it is\t\xfc\r\n\r\n", 101, "Whatever it is\t\xfc", 0);
	check_good("HTTP/1.1 100 Continue\r\n\r\n", 100, "Continue", 0);
	check_good("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 103, "Early Hints", 1);
	check_good("HTTP/1.1 599 ?\r\nA:b\r\n\r\n", 599, "?", 1);
	check_good(LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 101, "X", 2);
	check_good(LINE
		   "A:  \tb c\t d \t\r\nB:\r\nC: \t\r\n!#$%&'*+-.^_`|~09azAZ: \x80\xff\t:x\r\n\r\n",
		   101, "X", 4);
	CHECK(field_is(0, "A", "b c\t d") && field_is(1, "B", "") && field_is(2, "C", ""));
	CHECK(field_is(3, "!#$%&'*+-.^_`|~09azAZ", "\x80\xff\t:x"));
	CHECK_EQ(parse("HTTP/1.1 100 Continue\r\n\r\n" GOOD, 25 + sizeof(GOOD) - 1), HTTP_DONE);
	CHECK_EQ(head.head_len, 25); /* one at a time */
}

static void test_status_line(void)
{
	static const struct {
		const char *text;
		size_t at; /* so many bytes are enough to know */
	} bad[] = {
		{"HTTP/1.0 101 X\r\n\r\n", 8},
		{"HTTP/2 101\r\n\r\n", 6},
		{"HTTP/2.0 101 X\r\n\r\n", 6},
		{"HTTP/1.1 1010 X\r\n\r\n", 13},
		{"HTTP/1.1 10 X\r\n\r\n", 12},
		{"HTTP/1.1  101 X\r\n\r\n", 10},
		{"http/1.1 101 X\r\n\r\n", 1},
		{"HTTP/1.1\t101 X\r\n\r\n", 9},
		{"XHTTP/1.1 101\r\n\r\n", 1},
		{"\r\nHTTP/1.1 101 X\r\n\r\n", 1},
		{" HTTP/1.1 101 X\r\n\r\n", 1},
		{"HTTP/1.2 101 X\r\n\r\n", 8},
		{"HTTP/11 101 X\r\n\r\n", 7},
		{"HTTP/1.1 099 X\r\n\r\n", 10},
		{"HTTP/1.1 600 X\r\n\r\n", 10},
		{"HTTP/1.1 1x1 X\r\n\r\n", 11},
		{"HTTP/1.1 -01 X\r\n\r\n", 10},
		{"HTTP/1.1 101\n\r\n", 13},
		{"HTTP/1.1 101\tX\r\n\r\n", 13},
		{"HTTP/1.1 101\rX\r\n\r\n", 14},
		{"HTTP/1.1 101 X\n\r\n", 15},
		{"HTTP/1.1 101 X\x01\r\n\r\n", 15},
		{"ICY 200 OK\r\n\r\n", 1},
		{"<html><body>", 1},
		{"SSH-2.0-x\r\n", 1},
		{"220 smtp\r\n", 1},
		{"garbage", 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_bad_at(bad[i].text, strlen(bad[i].text), bad[i].at);
	CHECK_EQ(parse("", 0), HTTP_MORE);
}

static void test_suspicions(void)
{
	static const uint8_t zeros[100];
	static const struct {
		const char *bytes;
		size_t len;
		const char *word;
	} others[] = {
		{"\x15\x03\x01\x00\x02\x02\x46", 7, "TLS"},
		{"\x16\x03", 2, "wss://"},
		{"SSH-2.0-x\r\n", 11, "SSH"},
		{"220 smtp", 8, "mail"},
		{"HTTP/1.0 200 OK\r\n", 17, "HTTP/1.0"},
		{"HTTP/2 200", 10, "HTTP/2"},
		{"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00", 10, "HTTP/2"},
		{"<html>", 6, "HTML"},
		{"ICY 200 OK", 10, "ICY"},
		{"HTTP/1.1\t101", 12, "status line"},
		{"HTTP/1.1  101", 13, "status line"},
		{"hello", 5, "not an HTTP/1.1 answer"},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		CHECK_EQ(parse(others[i].bytes, others[i].len), -EPROTO);
		if (!strstr(problem, others[i].word))
			CHECK_STR(problem, others[i].word);
	}
	CHECK_EQ(http_parse_head(&head, zeros, sizeof(zeros), &problem), -EPROTO);
	CHECK(strstr(problem, "binary"));
}

static void test_bad_fields(void)
{
	static const char *const bad[] = {
		"HTTP/1.1 101 X\nUpgrade: websocket\n\n",
		LINE "A: b\nC: d\r\n\r\n",
		LINE "A: b\r\nC: d\n\r\n",
		LINE "A: b\rc\r\n\r\n",
		LINE "A: b\r\r\n\r\n",
		LINE "X: a\r\n b\r\n\r\n",
		LINE "X: a\r\n\tb\r\n\r\n",
		LINE " X: a\r\n\r\n",
		LINE " \r\n\r\n",
		LINE "Upgrade : websocket\r\n\r\n",
		LINE "Upgrade\t: x\r\n\r\n",
		LINE "nocolon\r\n\r\n",
		LINE ": y\r\n\r\n",
		LINE "(x): y\r\n\r\n",
		LINE "a b: y\r\n\r\n",
		LINE "a\x80: y\r\n\r\n",
		LINE "\"a\": y\r\n\r\n",
		LINE "A: \x01\r\n\r\n",
		LINE "A: \x7f\r\n\r\n",
		LINE "A: \x1b[1m\r\n\r\n",
		LINE "A: b\r\n\n",
		LINE "A: b\r\n\rX\r\n",
		LINE "\n",
		LINE "a@b: c\r\n\r\n",
	};
	static const char nul_value[] = LINE "A: b\0c\r\n\r\n", nul_name[] = LINE "A\0: b\r\n\r\n";

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_bad(bad[i]);
	check_bad_at(nul_value, sizeof(nul_value) - 1, sizeof(LINE) - 1 + 5);
	check_bad_at(nul_name, sizeof(nul_name) - 1, sizeof(LINE) - 1 + 2);
	CHECK_EQ(parse(LINE "X: a\r\n b: c\r\n", sizeof(LINE) + 13), -EPROTO);
	CHECK(strstr(problem, "folded"));
	/* known before the line is whole */
	check_bad_at(LINE "A: b\nC", sizeof(LINE) + 5, sizeof(LINE) - 1 + 5);
}

static void test_limits(void)
{
	static char text[HTTP_HEAD_MAX + 100];
	size_t n;

	for (size_t fields = 100; fields <= 101; fields++) {
		n = (size_t)sprintf(text, LINE);
		for (size_t i = 0; i < fields; i++)
			n += (size_t)sprintf(text + n, "X%zu: a\r\n", i);
		n += (size_t)sprintf(text + n, "\r\n");
		CHECK_EQ(parse(text, n), fields == 100 ? HTTP_DONE : -EMSGSIZE);
		CHECK(fields == 100 ? head.fields == 100 : problem != NULL);
	}

	memset(text, 'a', sizeof(text));
	memcpy(text, LINE "A: ", sizeof(LINE) + 2);
	CHECK_EQ(parse(text, HTTP_HEAD_MAX - 1), HTTP_MORE);
	CHECK_EQ(parse(text, HTTP_HEAD_MAX), -EMSGSIZE); /* no end can come in time */
	CHECK(strstr(problem, "16 KiB"));
	CHECK_EQ(parse(text, sizeof(text)), -EMSGSIZE);
	memcpy(text + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
	CHECK_EQ(parse(text, sizeof(text)), -EMSGSIZE);
	memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
	CHECK_EQ(parse(text, sizeof(text)), HTTP_DONE);
	CHECK_EQ(head.head_len, HTTP_HEAD_MAX);
}

static void test_untouched(void)
{
	CHECK_EQ(parse(GOOD, sizeof(GOOD) - 1), HTTP_DONE);
	CHECK_EQ(http_parse_head(&head, (const uint8_t *)LINE "A: b\r\n(: c\r\n", 28, &problem),
		 -EPROTO);
	CHECK_EQ(head.fields, 3);
}

static void test_find(void)
{
	const char text[] = LINE "Upgrade: WebSocket\r\nA: 1\r\na: 2\r\nUpgrad: x\r\n\r\n";
	const struct http_field *field = NULL;

	CHECK_EQ(parse(text, sizeof(text) - 1), HTTP_DONE);
	CHECK_EQ(http_find_one(&head, "none", &field), 0);
	CHECK_EQ(http_find_one(&head, "A", &field), -EPROTO);
	CHECK(!field);
	CHECK_EQ(http_find_one(&head, "UPGRADE", &field), 1);
	CHECK(field == &head.field[0]);
	CHECK_EQ(http_find_one(&head, "upgrad", &field), 1);
	CHECK(field == &head.field[3]);
}

static void check_members(const char *fields, const char *expected)
{
	struct http_position position = {0};
	const char *member;
	char text[1024], all[256] = "";
	size_t len;

	snprintf(text, sizeof(text), LINE "%s\r\n", fields);
	CHECK_EQ(parse(text, strlen(text)), HTTP_DONE);
	while (http_list_next(&head, "List", &position, &member, &len)) {
		strncat(all, member, len);
		strcat(all, "|");
	}
	CHECK_STR(all, expected);
	CHECK(!http_list_next(&head, "List", &position, &member, &len));
}

static void test_lists(void)
{
	const char text[] =
		LINE "Connection: keep-alive, Upgrade\r\n"
		     "connection:\tx\t, ,\"a,y\"\r\nOther: z\r\nConnection: upgraded\r\n\r\n";

	CHECK_EQ(parse(text, sizeof(text) - 1), HTTP_DONE);
	CHECK(http_list_contains(&head, "Connection", "upgrade"));
	CHECK(http_list_contains(&head, "Connection", "keep-alive"));
	CHECK(http_list_contains(&head, "Connection", "X"));
	CHECK(!http_list_contains(&head, "Connection", "y"));
	CHECK(!http_list_contains(&head, "Connection", "z"));
	CHECK(!http_list_contains(&head, "Connection", "upgrad"));
	CHECK(!http_list_contains(&head, "Connection", "keep"));
	CHECK(!http_list_contains(&head, "Connection", ""));
	CHECK(!http_list_contains(&head, "Upgrade", "upgrade"));

	check_members("", "");
	check_members("List:\r\n", "");
	check_members("List: , ,\t,\r\nlist:\r\n", "");
	check_members("List: a\r\n", "a|");
	check_members("List: a,b , c\t,\r\nX: y\r\nLIST: d;e=f\r\n", "a|b|c|d;e=f|");
	check_members("List: a; x=\"1, 2\\\", 3\"; y , b\r\n", "a; x=\"1, 2\\\", 3\"; y|b|");
	check_members("List: \"a, b\r\nList: c\\,d\r\n", "\"a, b|c\\|d|");
	check_members("List: \"a\\\r\n", "\"a\\|");
}

static void test_tokens(void)
{
	CHECK(http_is_token("websocket", 9) && http_is_token("a!#$%&'*+-.^_`|~", 16));
	CHECK(!http_is_token("", 0) && !http_is_token("a b", 3) && !http_is_token("a\0", 2));
	CHECK(!http_is_token("a,", 2) && !http_is_token("\xc3\xbc", 2) && !http_is_token("(", 1));
	for (int c = 1; c < 256; c++) {
		char text[2] = {(char)c, 0};
		int token = c > 0x20 && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);

		CHECK_EQ(http_is_token(text, 1), token);
	}
	CHECK(http_is_value("", 0) && http_is_value("a b\tc \xff", 7) && http_is_value("a", 1));
	CHECK(!http_is_value(" a", 2) && !http_is_value("a ", 2) && !http_is_value("\ta", 2));
	CHECK(!http_is_value("a\r\nb", 4) && !http_is_value("a\nb", 3) &&
	      !http_is_value("a\0b", 3));
	CHECK(!http_is_value("\x7f", 1) && !http_is_value("\x1f", 1) && !http_is_value(" ", 1));
}

static uint32_t retry(const char *value, uint64_t wall_us)
{
	return http_retry_after_ms(value, strlen(value), wall_us);
}

static void test_retry_after(void)
{
	const uint64_t nov94 = UINT64_C(784111777) * 1000000; /* Sun, 06 Nov 1994 08:49:37 GMT */
	static const char *const nonsense[] = {
		"",
		"-1",
		"abc",
		"1.5",
		"3 s",
		"+3",
		"0x3",
		"Sun, 06 Nov 1994",
		"Sun, 06 Nov 1994 08:49:37 CET",
		"Sun, 06 Nov 1994 08:49:37 GMT x",
		"Sun, 06 Nix 1994 08:49:37 GMT",
		"Sun, 32 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun Nov  6 08:49:37",
		"Sun, 06 Nov -994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
	};

	CHECK_EQ(retry("3", nov94), 3000);
	CHECK_EQ(retry("0", nov94), 1000);
	CHECK_EQ(retry("3600", nov94), 3600000);
	CHECK_EQ(retry("3601", nov94), 3600000);
	CHECK_EQ(retry("99999999999", nov94), 3600000);
	CHECK_EQ(retry("999999999999999999999999999999", nov94), 3600000);
	CHECK_EQ(retry("0000000000000000000007", nov94), 7000);

	CHECK_EQ(retry("Sun, 06 Nov 1994 08:49:40 GMT", nov94), 3000);
	CHECK_EQ(retry("Sun, 06 Nov 1994 08:49:40 GMT", nov94 + 500000), 2500);
	CHECK_EQ(retry("Sunday, 06-Nov-94 08:49:40 GMT", nov94), 3000);
	CHECK_EQ(retry("Sun Nov  6 08:49:40 1994", nov94), 3000);
	CHECK_EQ(retry("Wed Nov 16 08:49:40 1994", nov94), 3600000);
	CHECK_EQ(retry("Sun, 06 Nov 1994 08:49:37 GMT", nov94), 1000);
	CHECK_EQ(retry("Sun, 06 Nov 1994 07:00:00 GMT", nov94), 1000);
	CHECK_EQ(retry("Thu, 01 Jan 1970 00:00:00 GMT", nov94), 1000);
	CHECK_EQ(retry("Fri, 31 Dec 9999 23:59:60 GMT", nov94), 3600000);
	/* two digits: 2026 seen from 1994 and 1995 from 2026, which is not 2095 */
	CHECK_EQ(retry("Friday, 06-Nov-26 08:49:40 GMT", nov94), 3600000);
	CHECK_EQ(retry("Monday, 06-Nov-95 08:49:40 GMT", UINT64_C(1790000000) * 1000000), 1000);
	CHECK_EQ(retry("Friday, 06-Nov-26 08:49:40 GMT", UINT64_C(1793954975) * 1000000), 5000);

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
		if (retry(nonsense[i], nov94) != 0)
			CHECK_STR("taken", nonsense[i]);
	CHECK_EQ(http_retry_after_ms("3\0", 2, nov94), 0);
	CHECK_EQ(http_retry_after_ms("35", 1, nov94), 3000);
}

/* Anything at all: no crash, and what is taken is within the bytes. */
static void test_noise(void)
{
	static const char pieces[][12] = {"\r\n", "\r", "\n", ":",  " ",  "A: b\r\n",
					  "\t",   "x",  ",",  "\"", "\\", "\x80"};
	unsigned seed = 3;

	for (int turn = 0; turn < 20000; turn++) {
		char text[200] = LINE;
		size_t n = strlen(text);

		while (n < 100) {
			seed = seed * 1664525 + 1013904223;
			n += (size_t)sprintf(text + n, "%s", pieces[(seed >> 16) % 12]);
			if ((seed >> 24) % 8 == 0)
				n += (size_t)sprintf(text + n, "\r\n\r\n");
		}
		if (parse(text, n) != HTTP_DONE)
			continue;
		CHECK(head.head_len <= n && memcmp(text + head.head_len - 4, "\r\n\r\n", 4) == 0);
		for (size_t i = 0; i < head.fields; i++) {
			CHECK(http_is_token(head.field[i].name, head.field[i].name_len));
			CHECK(http_is_value(head.field[i].value, head.field[i].value_len));
		}
	}
}

int main(void)
{
	test_good();
	test_status_line();
	test_suspicions();
	test_bad_fields();
	test_limits();
	test_untouched();
	test_find();
	test_lists();
	test_tokens();
	test_retry_after();
	test_noise();
	parse("", 0);
	return 0;
}
