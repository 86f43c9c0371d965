#include "check.h"
#include "codec/ini.h"

/* What was told, as one text: "S3 name|V4 key>value|F5 problem|". */
struct told {
	char text[4096];
	size_t len;
};

static void told_section(void *owner, const char *name, unsigned line)
{
	struct told *told = owner;

	told->len += (size_t)snprintf(told->text + told->len, sizeof(told->text) - told->len,
				      "S%u %s|", line, name);
}

static void told_value(void *owner, const char *key, const char *value, unsigned line)
{
	struct told *told = owner;

	told->len += (size_t)snprintf(told->text + told->len, sizeof(told->text) - told->len,
				      "V%u %s>%s|", line, key, value);
}

static void told_fault(void *owner, const char *problem, unsigned line)
{
	struct told *told = owner;

	CHECK(problem && *problem);
	told->len += (size_t)snprintf(told->text + told->len, sizeof(told->text) - told->len,
				      "F%u|", line);
}

static const struct ini_events events = {told_section, told_value, told_fault};

/* Exactly LEN + 1 bytes of memory, as the header asks. */
static void check_parse(const char *text, size_t len, const char *expected)
{
	struct told told = {0};
	char *copy = malloc(len + 1);

	CHECK(copy);
	memcpy(copy, text, len);
	copy[len] = 'X';
	ini_parse(copy, len, &events, &told);
	CHECK_STR(told.text, expected);
	free(copy);
}

static void check(const char *text, const char *expected)
{
	check_parse(text, strlen(text), expected);
}

static void test_lines(void)
{
	check("", "");
	check("\n\n \t \n", "");
	check("[daemon]\nlog-level = debug\n\n[x]\nurl=wss://h/\n",
	      "S1 daemon|V2 log-level>debug|S4 x|V5 url>wss://h/|");
	check("a=b", "V1 a>b|");
	check("[s]", "S1 s|");
	check("  \ta \t=\t b c \t\n", "V1 a>b c|");
	check("[ s t ]  \n", "S1 s t|");
	check("a=\nb = \n", "V1 a>|V2 b>|");
	check("a=b=c\n", "V1 a>b=c|");
	check("a = [x]\n", "V1 a>[x]|");
}

static void test_comments(void)
{
	check("# a=b\n; c=d\n  # e\n\t; f\n", "");
	check("a = b # c ; d\n", "V1 a>b # c ; d|");
	check("a = #b\n", "V1 a>#b|");
	check("on-open = {\"op\":\"subscribe\"}\n", "V1 on-open>{\"op\":\"subscribe\"}|");
}

static void test_line_ends(void)
{
	check("[s]\r\na = b\r\n\r\n# c\r\n", "S1 s|V2 a>b|");
	check("a = b\r\r\n", "V1 a>b\r|");
	check("a = b\rc\n", "V1 a>b\rc|");
	check("\xef\xbb\xbf[s]\na=b\n", "S1 s|V2 a>b|");
	check("\xef\xbb\xbf", "");
	check("\xef\xbb\n", "F1|");
	check("a=b\n\xef\xbb\xbf"
	      "c=d\n",
	      "V1 a>b|V2 \xef\xbb\xbf"
	      "c>d|");
}

static void test_faults(void)
{
	check("nothing\n=b\n[s\n[]\n[ ]\n[s] x\n[s]=1\na=b\n", "F1|F2|F3|F4|F5|F6|F7|V8 a>b|");
	check_parse("a=b\0c\nd=e\n", 10, "F1|V2 d>e|");
	check_parse("\0", 1, "F1|");
	check_parse("# c\0\n[s\0]\na=b\0", 14, "F1|F2|F3|");
}

static void test_long_line(void)
{
	size_t len = 1000 * 1000;
	char *text = malloc(len + 1);
	struct told told = {0};

	CHECK(text);
	memset(text, 'v', len);
	memcpy(text, "\nkey = ", 7);
	text[len - 1] = '\n';
	ini_parse(text, len, &events, &told);
	CHECK(strncmp(told.text, "V2 key>vvvv", 11) == 0);
	CHECK_EQ(told.len, strlen("V2 key>|") + len - 8);
	free(text);
}

int main(void)
{
	test_lines();
	test_comments();
	test_line_ends();
	test_faults();
	test_long_line();
	return 0;
}
