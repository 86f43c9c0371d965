/* What comes of files, tokens and the options they belong to; and every way in which they fail. */
#include "conn/credentials.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "check.h"
#include "running.h"
#include "conn/conn.h"

static char dir[] = "/tmp/test-credentials-XXXXXX";
static struct conn_options options;
static struct credentials *credentials;
static struct cause cause;
static bool over;
static char shown[2048]; /* the parts, one a line */

static const char *path(const char *name)
{
	static char text[8][128];
	size_t n = 0;

	while (*text[n] && strcmp(text[n] + sizeof(dir), name) != 0)
		n++;
	snprintf(text[n], sizeof(text[n]), "%s/%s", dir, name);
	return text[n];
}

static void put(const char *name, const char *text, size_t len)
{
	FILE *file = fopen(path(name), "w");

	CHECK(file && fwrite(text, 1, len, file) == len && fclose(file) == 0);
}

static void write_file(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static void note(const char *name, const char *text)
{
	size_t used = strlen(shown);

	if (text)
		snprintf(shown + used, sizeof(shown) - used, "%s: %s\n", name, text);
}

static void on_done(void *owner, const struct cause *why)
{
	char **item;

	CHECK(owner == &over && !over);
	over = true;
	shown[0] = '\0';
	cause = (struct cause){0};
	if (why) {
		cause = *why;
	} else {
		note("target", credentials_url(credentials)->target);
		note("host", credentials_url(credentials)->host);
		note("user", credentials_ws(credentials)->upgrade.user);
		note("cookie", credentials_ws(credentials)->upgrade.cookie);
		note("origin", credentials_ws(credentials)->upgrade.origin);
		strv_for_each (item, credentials_ws(credentials)->upgrade.headers)
			note("header", *item);
		strv_for_each (item, credentials_on_open(credentials))
			note("on-open", *item);
	}
	loop_stop();
}

static void run(void)
{
	const char *problem;
	struct url url;

	CHECK_EQ(url_parse(&url, options.url, &problem), 0);
	over = false;
	CHECK(credentials_needed(&options.credentials));
	CHECK_EQ(credentials_start(&credentials, "a", &options, &url, on_done, &over), 0);
	CHECK(!over); /* never from inside the call */
	RUN_UNTIL(over);
	if (cause.class == CAUSE_NONE) {
		credentials_forget_request(credentials);
		CHECK(!credentials_url(credentials)->target);
		CHECK(!credentials_ws(credentials)->upgrade.headers);
		credentials_forget_greetings(credentials);
		CHECK(!credentials_on_open(credentials));
	}
	credentials = credentials_free(credentials);
	url_done(&url);
}

static void gives(const char *expected)
{
	run();
	CHECK_STR(cause.text, "");
	CHECK_STR(shown, expected);
}

static void fails(int code, const char *text)
{
	run();
	if (!strstr(cause.text, text))
		CHECK_STR(cause.text, text);
	CHECK_EQ(cause.class, CAUSE_LOCAL);
	CHECK_EQ(cause.code, code);
	CHECK(!strstr(cause.text, "s3cret"));
}

static void reset(void)
{
	options = (struct conn_options){
		.url = (char *)"ws://h/",
		.ws.max_message_bytes = 100,
		.type = MSG_TEXT,
	};
}

/* ---- the token ---- */

static void test_places(void)
{
	char *headers[] = {(char *)"Authorization: Bearer @token@", (char *)"X: @token", NULL};
	char *on_open[] = {(char *)"{\"a\":\"@token@\",\"b\":\"@token@@token@\"}", (char *)"@", NULL};

	reset();
	write_file("token", "s3c+/=ret\n");
	options.url = (char *)"ws://h/a/@token@?t=@token@&u";
	options.ws.upgrade.headers = headers;
	options.ws.upgrade.user = (char *)"ann:@token@";
	options.ws.upgrade.cookie = (char *)"id=@token@";
	options.ws.upgrade.origin = (char *)"@token@";
	options.on_open = on_open;
	CHECK(!credentials_needed(&options.credentials));
	options.credentials.token_file = (char *)path("token");
	gives("target: /a/s3c+/=ret?t=s3c+/=ret&u\nhost: h\nuser: ann:s3c+/=ret\n"
	      "cookie: id=s3c+/=ret\norigin: @token@\nheader: Authorization: Bearer s3c+/=ret\n"
	      "header: X: @token\non-open: {\"a\":\"s3c+/=ret\",\"b\":\"s3c+/=rets3c+/=ret\"}\n"
	      "on-open: @\n");
	options.credentials.token_file = NULL;
	options.credentials.token_command = (char *)"printf 'two\\nlines'";
	run();
	CHECK(strstr(shown, "user: ann:two\n"));
	CHECK_STR(headers[0], "Authorization: Bearer @token@");
}

static void test_contents(void)
{
	static const struct {
		const char *content, *user, *problem;
	} rows[] = {
		{"abc", "abc", NULL},
		{"abc\n", "abc", NULL},
		{"abc\r\n", "abc", NULL},
		{"a b", "a b", NULL},
		{"@token@", "@token@", NULL}, /* once is enough */
		{"", NULL, "is empty"},
		{"\n", NULL, "is empty"},
		{"abc\n\n", NULL, "a line break"},
		{"s3cret\nX: y", NULL, "a line break"},
		{"s3cret\033[m", NULL, "control character"},
		{" s3cret", NULL, "blank at an end"},
	};
	char expected[200];

	reset();
	options.ws.upgrade.user = (char *)"@token@";
	options.credentials.token_file = (char *)path("token");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		write_file("token", rows[i].content);
		snprintf(expected, sizeof(expected), "target: /\nhost: h\nuser: %s\n",
			 rows[i].user ? rows[i].user : "");
		if (rows[i].user)
			gives(expected);
		else
			fails(EINVAL, rows[i].problem);
	}
	put("token", "s3cret\0x", 8);
	snprintf(expected, sizeof(expected), "token-file %s has a NUL", options.credentials.token_file);
	fails(EINVAL, expected);
	write_file("token", "s3cret s3cret");
	options.url = (char *)"ws://h/?@token@";
	fails(EINVAL, "that a url cannot hold");
	write_file("token", "s3cret#");
	fails(EINVAL, "that a url cannot hold");
}

static void test_files_that_fail(void)
{
	static char large[64 * 1024 + 2];
	char expected[200];

	reset();
	options.credentials.token_file = (char *)path("none");
	snprintf(expected, sizeof(expected), "token-file %s No such file or directory", path("none"));
	fails(ENOENT, expected);
	options.credentials.token_file = dir;
	fails(EISDIR, "Is a directory");
	CHECK_EQ(mkfifo(path("fifo"), 0600), 0);
	options.credentials.token_file = (char *)path("fifo");
	fails(EINVAL, "is not a regular file");
	memset(large, 'x', sizeof(large));
	put("large", large, sizeof(large));
	options.credentials.token_file = (char *)path("large");
	fails(EFBIG, "is too large");
	reset();
	options.credentials.header_file = (char *)path("none");
	fails(ENOENT, "header-file ");
	reset();
	options.credentials.on_open_file = (char *)path("none");
	fails(ENOENT, "on-open-file ");
}

static void test_command(void)
{
	reset();
	options.ws.upgrade.user = (char *)"@token@";
	options.credentials.token_command = (char *)"echo s3c";
	gives("target: /\nhost: h\nuser: s3c\n");
	options.credentials.token_command = (char *)"printf s3c";
	gives("target: /\nhost: h\nuser: s3c\n");
	options.credentials.token_command = (char *)"echo s3cret; exit 3";
	fails(EINVAL, "token-command ended with status 3");
	options.credentials.token_command = (char *)"true";
	fails(EINVAL, "token-command gave no token: it is empty");
	options.credentials.token_command = (char *)"echo; echo s3cret";
	fails(EINVAL, "token-command gave no token: it is empty");
	options.credentials.token_command = (char *)"printf 's3cret\\0x'";
	fails(EINVAL, "control character");
	options.credentials.token_command = (char *)"yes";
	fails(EINVAL, "token-command printed too much");
}

/* ---- the other files ---- */

static void test_header_file(void)
{
	char *headers[] = {(char *)"A: 1", NULL};
	char expected[200];

	reset();
	options.ws.upgrade.headers = headers;
	options.credentials.header_file = (char *)path("headers");
	write_file("headers", "B: 2\r\n\n\r\nC: @token@\nD:x");
	gives("target: /\nhost: h\nheader: A: 1\nheader: B: 2\nheader: C: @token@\nheader: D:x\n");
	write_file("token", "t");
	options.credentials.token_file = (char *)path("token");
	gives("target: /\nhost: h\nheader: A: 1\nheader: B: 2\nheader: C: t\nheader: D:x\n");
	write_file("headers", "");
	gives("target: /\nhost: h\nheader: A: 1\n");
	write_file("headers", "B: 2\n\ns3cret\n");
	snprintf(expected, sizeof(expected), "header-file %s line 3 is not of the form Name: value",
		 options.credentials.header_file);
	fails(EINVAL, expected);
	write_file("headers", "Upgrade: s3cret\n");
	fails(EINVAL, "line 1 belongs to the opening handshake itself");
	write_file("headers", "X: s3cret\rY: 2\n");
	fails(EINVAL, "line 1 has control characters");
	put("headers", "X: s3cret\0\n", 11);
	fails(EINVAL, "has a NUL byte in it");
}

static void test_on_open_file(void)
{
	char *on_open[] = {(char *)"first", NULL}, *with_token[] = {(char *)"@token@", NULL};

	reset();
	options.on_open = on_open;
	options.credentials.on_open_file = (char *)path("greetings");
	write_file("greetings", "{\"t\":\"@token@\"}\n\nthird");
	gives("target: /\nhost: h\non-open: first\non-open: {\"t\":\"@token@\"}\non-open: third\n");
	write_file("token", "t");
	options.credentials.token_file = (char *)path("token");
	gives("target: /\nhost: h\non-open: first\non-open: {\"t\":\"t\"}\non-open: third\n");
	write_file("greetings", "ok\ns3cret\xff\n");
	fails(EINVAL, "line 2 is not UTF-8");
	options.type = MSG_BINARY;
	gives("target: /\nhost: h\non-open: first\non-open: ok\non-open: s3cret\xff\n");
	options.ws.max_message_bytes = 5;
	fails(EINVAL, "line 2 is longer than max-message");
	options.on_open = with_token;
	write_file("token", "123456");
	fails(EINVAL, "on-open, with its token, is longer than max-message");
}

/* Freed at any time. */
static void test_cancel(void)
{
	const char *problem;
	struct url url;

	reset();
	CHECK_EQ(url_parse(&url, options.url, &problem), 0);
	options.credentials.token_file = (char *)path("token");
	CHECK_EQ(credentials_start(&credentials, "a", &options, &url, on_done, NULL), 0);
	credentials = credentials_free(credentials);
	options.credentials.token_file = NULL;
	options.credentials.token_command = (char *)"sleep 1000";
	CHECK_EQ(credentials_start(&credentials, "a", &options, &url, on_done, NULL), 0);
	credentials = credentials_free(credentials);
	CHECK(!credentials_free(NULL));
	credentials_forget_request(NULL);
	url_done(&url);
}

int main(void)
{
	char command[64];

	CHECK(mkdtemp(dir));
	CHECK_EQ(loop_init(), 0);
	test_places();
	test_contents();
	test_files_that_fail();
	test_command();
	test_header_file();
	test_on_open_file();
	test_cancel();
	loop_done();
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);
	return 0;
}
