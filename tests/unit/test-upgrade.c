/* The request that goes out, and answers right, nearly right and wrong (protocol cases H01-H46, as
 * far as one head can tell). */
#include <errno.h>

#include "base/cause.h"
#include "codec/base64.h"
#include "codec/url.h"
#include "net/upgrade.h"

#include "check.h"

static char request[HTTP_HEAD_MAX + 1];
static char key[UPGRADE_KEY_LEN + 1];

static int make_request_in(const char *address, const struct upgrade_options *options, size_t max)
{
	const char *problem;
	struct url url;
	struct buf out;
	int r;

	CHECK_EQ(url_parse(&url, address, &problem), 0);
	buf_init(&out, max);
	r = upgrade_request(&out, &url, options, key);
	if (r == 0) {
		memcpy(request, buf_head(&out), buf_len(&out));
		request[buf_len(&out)] = '\0';
	}
	buf_done(&out);
	url_done(&url);
	return r;
}

static int make_request(const char *address, const struct upgrade_options *options)
{
	return make_request_in(address, options, HTTP_HEAD_MAX);
}

static bool has_line(const char *line)
{
	const char *at = strstr(request, line);

	return at && at > request && at[-1] == '\n' && strncmp(at + strlen(line), "\r\n", 2) == 0;
}

static int count(const char *text)
{
	int n = 0;

	for (const char *at = strstr(request, text); at; at = strstr(at + 1, text))
		n++;
	return n;
}

static void test_request(void)
{
	const struct upgrade_options none = {0};
	uint8_t raw[UPGRADE_KEY_LEN];
	char line[80];

	CHECK_EQ(make_request("ws://example.org/chat?room=1", &none), 0);
	CHECK(strncmp(request, "GET /chat?room=1 HTTP/1.1\r\n", 27) == 0);
	CHECK(has_line("Host: example.org"));
	CHECK(has_line("Connection: Upgrade"));
	CHECK(has_line("Upgrade: websocket"));
	CHECK(has_line("Sec-WebSocket-Version: 13"));
	CHECK(has_line("User-Agent: wspipe/" WSPIPE_VERSION));
	CHECK_EQ(strlen(key), UPGRADE_KEY_LEN);
	CHECK_EQ(base64_decode(raw, key, UPGRADE_KEY_LEN), 16);
	snprintf(line, sizeof(line), "Sec-WebSocket-Key: %s", key);
	CHECK(has_line(line));
	CHECK_EQ(count("Host:"), 1);
	CHECK_EQ(count("Upgrade:"), 1);
	CHECK_EQ(count("Connection:"), 1);
	CHECK_EQ(count("Sec-WebSocket-"), 2);
	CHECK_EQ(count("\r\n\r\n"), 1);
	CHECK_STR(request + strlen(request) - 4, "\r\n\r\n");
	CHECK_EQ(count("Authorization"), 0);
	CHECK_EQ(count("Origin"), 0);

	CHECK_EQ(make_request("ws://[::1]:9000", &none), 0);
	CHECK(strncmp(request, "GET / HTTP/1.1\r\n", 16) == 0);
	CHECK(has_line("Host: [::1]:9000"));
	CHECK_EQ(make_request_in("ws://example.org/", &none, 64), -ENOBUFS);
}

static void test_request_options(void)
{
	char *headers[] = {"X-One:  a b\t", "X-Two:", "Authorization: Bearer abc", NULL};
	char *protocols[] = {"a", "b.v2", NULL};
	const struct upgrade_options options = {
		.headers = headers,
		.subprotocols = protocols,
		.origin = "https://example.org",
		.user_agent = "me/1",
		.cookie = "a=b; c=d",
		.user = "x:y",
	};
	const struct upgrade_options user = {.user = "anna:geheim"}, none = {0};
	char *agents[] = {"user-agent: mine", NULL};
	const struct upgrade_options agent = {.headers = agents};

	CHECK_EQ(make_request("ws://u:v@example.org:8080/", &options), 0);
	CHECK(has_line("Host: example.org:8080"));
	CHECK(has_line("X-One: a b"));
	CHECK(has_line("X-Two: "));
	CHECK(has_line("Authorization: Bearer abc"));
	CHECK_EQ(count("Authorization"), 1); /* a header line goes before both users */
	CHECK(has_line("Sec-WebSocket-Protocol: a, b.v2"));
	CHECK(has_line("Origin: https://example.org"));
	CHECK(has_line("User-Agent: me/1"));
	CHECK(has_line("Cookie: a=b; c=d"));

	CHECK_EQ(make_request("ws://user:p%40ss@example.org/", &none), 0);
	CHECK(has_line("Authorization: Basic dXNlcjpwQHNz"));
	CHECK(has_line("Host: example.org"));
	CHECK_EQ(make_request("ws://user:p%40ss@example.org/", &user), 0);
	CHECK(has_line("Authorization: Basic YW5uYTpnZWhlaW0="));
	CHECK_EQ(make_request("ws://example.org/", &agent), 0);
	CHECK_EQ(count("gent: "), 1);
	CHECK(has_line("user-agent: mine"));
}

/* What should have been refused in the configuration is refused here too. */
static void test_request_injection(void)
{
	char *headers[] = {"X: a\r\nEvil: b", NULL}, *protocols[] = {"a\r\nEvil: b", NULL};
	char *owned[] = {"Host: other", NULL};
	const struct upgrade_options bad[] = {
		{.headers = headers},   {.subprotocols = protocols},
		{.headers = owned},     {.origin = "x\r\nEvil: b"},
		{.user_agent = "x\ny"}, {.cookie = "a=b\r\nEvil: b"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_EQ(make_request("ws://example.org/", &bad[i]), -EINVAL);
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void test_keys_differ(void)
{
	static char keys[1000][UPGRADE_KEY_LEN + 1];
	const struct upgrade_options none = {0};

	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(make_request("ws://example.org/", &none), 0);
		strcpy(keys[i], key);
	}
	qsort(keys, 1000, sizeof(keys[0]), compare_keys);
	for (int i = 1; i < 1000; i++)
		CHECK(strcmp(keys[i - 1], keys[i]) != 0);
}

static void test_check_header(void)
{
	static const char *const good[] = {
		"A: b",
		"A:b",
		"X-Token: \t secret \t",
		"Empty:",
		"U: \xc3\xa9",
		"Authorization: Bearer x",
		"Cookie: a=b",
		"Origin: x",
		"User-Agent: x",
		"Hostess: x",
		"Sec-WebSock: x",
		"Tea: x",
	};
	static const char *const bad[] = {
		"",
		"A",
		": b",
		"A b: c",
		"A : b",
		" A: b",
		"A: b\r\nC: d",
		"A: b\n",
		"A: \x01",
		"A: \x7f",
		"Host: x",
		"host: x",
		"Connection: x",
		"UPGRADE: x",
		"Sec-WebSocket-Key: x",
		"sec-websocket-anything: x",
		"Content-Length: 1",
		"Transfer-Encoding: x",
		"TE: x",
		"Trailer: x",
		"Expect: x",
		"Proxy-Authorization: x",
		"\xc3\xa9: x",
	};
	const char *problem;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		CHECK_EQ(upgrade_check_header(good[i], &problem), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		problem = NULL;
		CHECK_EQ(upgrade_check_header(bad[i], &problem), -EINVAL);
		CHECK(problem && *problem);
	}
	CHECK_EQ(upgrade_check_subprotocol("graphql-transport-ws", &problem), 0);
	CHECK_EQ(upgrade_check_subprotocol("a, b", &problem), -EINVAL);
	CHECK_EQ(upgrade_check_subprotocol("", &problem), -EINVAL);
}

/* --- answers -------------------------------------------------------------------------------- */

static const char *chosen;
static struct cause cause;
static int compress; /* enum deflate_use */
static struct deflate_terms terms;

/* The example of RFC 6455 1.3. */
#define RFC_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define SWITCH "Upgrade: websocket\r\nConnection: Upgrade\r\n"

static int judge_for(const char *fields, char **protocols)
{
	const struct upgrade_options options = {.subprotocols = protocols, .compress = compress};
	const char *problem;
	struct http_head head;
	char text[2048];

	snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\n%s\r\n", fields);
	CHECK_EQ(http_parse_head(&head, (uint8_t *)text, strlen(text), &problem), HTTP_DONE);
	chosen = "untouched";
	cause = (struct cause){0};
	return upgrade_accept(&head, &options, RFC_KEY, &chosen, &terms, &cause);
}

static void refuse(const char *fields, char **protocols)
{
	CHECK_EQ(judge_for(fields, protocols), -EPROTO);
	CHECK_EQ(cause.class, CAUSE_HTTP);
	CHECK_EQ(cause.code, 0);
	CHECK(cause.text[0]);
	CHECK_STR(chosen, "untouched");
}

static void test_accept(void)
{
	static const char *const good[] = {
		SWITCH ACCEPT,
		"UPGRADE: WebSocket\r\nconnection: UPGRADE\r\n" ACCEPT,
		"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" ACCEPT,
		"Upgrade: websocket\r\nConnection: x\r\nConnection:\tupgrade \t\r\n" ACCEPT,
		SWITCH "Sec-WebSocket-Accept: \t s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \t\r\n",
		SWITCH ACCEPT "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		SWITCH ACCEPT "Sec-WebSocket-Version: 8\r\nSet-Cookie: a=b\r\nDate: x\r\n",
		SWITCH ACCEPT "Sec-WebSocket-Extensions:\r\n",
		SWITCH ACCEPT "X: \x80\xff\r\n",
	};
	static const char *const bad[] = {
		"Upgrade: websocket\r\n" ACCEPT,
		"Upgrade: websocket\r\nConnection: close\r\n" ACCEPT,
		"Upgrade: websocket\r\nConnection: upgraded\r\n" ACCEPT,
		"Connection: Upgrade\r\n" ACCEPT,
		"Upgrade: websockets\r\nConnection: Upgrade\r\n" ACCEPT,
		"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n" ACCEPT,
		"Upgrade: websocket\r\n" SWITCH ACCEPT,
		"Upgrade:\r\nConnection: Upgrade\r\n" ACCEPT,
		SWITCH,
		SWITCH "Sec-WebSocket-Accept:\r\n",
		SWITCH "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n",
		SWITCH "Sec-WebSocket-Accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
		SWITCH "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=x\r\n",
		SWITCH "Sec-WebSocket-Accept: Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=\r\n",
		SWITCH ACCEPT ACCEPT,
		SWITCH ACCEPT "Sec-WebSocket-Accept: x\r\n",
		SWITCH ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n",
		SWITCH ACCEPT "Sec-WebSocket-Extensions:\r\nSec-WebSocket-Extensions: x; y=1\r\n",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		CHECK_EQ(judge_for(good[i], NULL), 0);
		CHECK(!chosen);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refuse(bad[i], NULL);
}

static void test_subprotocols(void)
{
	char *ab[] = {"a", "b", NULL};

	CHECK_EQ(judge_for(SWITCH ACCEPT "Sec-WebSocket-Protocol:  b \r\n", ab), 0);
	CHECK_STR(chosen, "b");
	CHECK(chosen == ab[1]);
	CHECK_EQ(judge_for(SWITCH ACCEPT, ab), 0); /* none is fine: wspipe.conf(5) */
	CHECK(!chosen);
	refuse(SWITCH ACCEPT "Sec-WebSocket-Protocol: B\r\n", ab);
	refuse(SWITCH ACCEPT "Sec-WebSocket-Protocol: c\r\n", ab);
	refuse(SWITCH ACCEPT "Sec-WebSocket-Protocol: a, b\r\n", ab);
	refuse(SWITCH ACCEPT "Sec-WebSocket-Protocol:\r\n", ab);
	refuse(SWITCH ACCEPT "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n", ab);
	refuse(SWITCH ACCEPT "Sec-WebSocket-Protocol: a\r\n", NULL);
}

static const char *refused(const char *text)
{
	const char *problem;
	struct http_head head;

	CHECK_EQ(http_parse_head(&head, (const uint8_t *)text, strlen(text), &problem), HTTP_DONE);
	upgrade_refused(&head, 1000000000ull * 1000000, &cause);
	CHECK_EQ(cause.class, CAUSE_HTTP);
	CHECK_EQ(cause.code, head.status);
	return cause.text;
}

static void test_refused(void)
{
	char text[4096], value[3001];

	CHECK_STR(refused("HTTP/1.1 403 Forbidden\r\n\r\n"), "HTTP 403 Forbidden");
	CHECK_EQ(cause.retry_after_ms, 0);
	CHECK_STR(refused("HTTP/1.1 500\r\n\r\n"), "HTTP 500");
	CHECK_STR(refused("HTTP/1.1 301 Moved Permanently\r\nLocation: wss://x/y\r\n\r\n"),
		  "HTTP 301 Moved Permanently");
	CHECK_STR(refused("HTTP/1.1 302 Found\r\n\r\n"), "HTTP 302 Found");
	CHECK_STR(
		refused("HTTP/1.1 401 Unauthorized\r\n"
			"WWW-Authenticate: Basic realm=\"a, Evil b\", charset=\"UTF-8\", Bearer\r\n"
			"WWW-Authenticate: Digest realm=\"x\"\r\n\r\n"),
		"HTTP 401 Unauthorized (the server asks for: Basic, Bearer, Digest)");
	CHECK_STR(refused("HTTP/1.1 401 Unauthorized\r\n\r\n"), "HTTP 401 Unauthorized");
	CHECK_STR(refused("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\n\r\n"),
		  "HTTP 426 Upgrade Required, Sec-WebSocket-Version: 8");
	CHECK(strstr(refused("HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n"),
		     "without upgrading"));

	refused("HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\n");
	CHECK_EQ(cause.retry_after_ms, 3000);
	refused("HTTP/1.1 429 Slow\r\nRetry-After: 99999999999\r\n\r\n");
	CHECK_EQ(cause.retry_after_ms, 3600000);
	refused("HTTP/1.1 503 Busy\r\nRetry-After: soon\r\n\r\n");
	CHECK_EQ(cause.retry_after_ms, 0);
	refused("HTTP/1.1 503 Busy\r\nRetry-After: Sun, 09 Sep 2001 01:46:43 GMT\r\n\r\n");
	CHECK_EQ(cause.retry_after_ms, 3000);

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	snprintf(text, sizeof(text), "HTTP/1.1 302 \xff%s\r\nLocation: %s\r\n\r\n", value + 2500,
		 value);
	CHECK(strlen(refused(text)) <= 210);
	CHECK(strstr(cause.text, "HTTP 302 ?xxx"));
}

/* --- permessage-deflate --------------------------------------------------------------------- */

#define EXTENSION "Sec-WebSocket-Extensions: "

static void test_compression(void)
{
	struct upgrade_options options = {.compress = DEFLATE_RECEIVE};

	CHECK_EQ(make_request("ws://example.org/", &options), 0);
	CHECK(has_line(EXTENSION "permessage-deflate; client_max_window_bits"));
	CHECK_EQ(count("Sec-WebSocket-"), 3);
	options.compress = DEFLATE_BOTH;
	CHECK_EQ(make_request("ws://example.org/", &options), 0);
	CHECK(has_line(EXTENSION "permessage-deflate; client_max_window_bits"));

	compress = DEFLATE_RECEIVE;
	CHECK_EQ(judge_for(SWITCH ACCEPT, NULL), 0);
	CHECK(!terms.agreed);
	CHECK_EQ(judge_for(SWITCH ACCEPT EXTENSION "\r\n", NULL), 0);
	CHECK(!terms.agreed);
	CHECK_EQ(judge_for(SWITCH ACCEPT EXTENSION "permessage-deflate\r\n", NULL), 0);
	CHECK(terms.agreed);
	CHECK_EQ(judge_for(SWITCH ACCEPT EXTENSION ", permessage-deflate; "
						   "server_max_window_bits=\"12\"\r\n", NULL), 0);
	CHECK_EQ(terms.server_bits, 12);
	refuse(SWITCH ACCEPT EXTENSION "permessage-deflate, permessage-deflate\r\n", NULL);
	refuse(SWITCH ACCEPT EXTENSION "permessage-deflate\r\n" EXTENSION "permessage-deflate\r\n",
	       NULL);
	CHECK(strstr(cause.text, "twice: 'permessage-deflate'"));
	refuse(SWITCH ACCEPT EXTENSION "permessage-deflate, x-webkit-deflate-frame\r\n", NULL);
	CHECK(strstr(cause.text, "not offered: 'x-webkit-deflate-frame'"));
	refuse(SWITCH ACCEPT EXTENSION "permessage-deflate; server_max_window_bits=7\r\n", NULL);
	compress = DEFLATE_NO;
	refuse(SWITCH ACCEPT EXTENSION "permessage-deflate\r\n", NULL);
}

int main(void)
{
	test_compression();
	test_request();
	test_request_options();
	test_request_injection();
	test_keys_differ();
	test_check_header();
	test_accept();
	test_subprotocols();
	test_refused();
	return 0;
}
