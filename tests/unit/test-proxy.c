/* Asking proxies that follow a script: each question must be the very bytes, each answer comes at
 * once or byte by byte, and what follows it must be found in the stream untouched. */
#include <fcntl.h>
#include <stdbool.h>

#include "net/proxy.h"
#include "running.h"
#include "server.h"

enum { STEPS_MAX = 4 };

#define BYTES(literal) (literal), sizeof(literal) - 1

struct step {
	const char *expect;
	size_t expect_len;
	const char *say;
	size_t say_len;
};

enum end { HOLD, CLOSE, RESET };

struct script {
	const char *proxy; /* as configured, without HOST:PORT */
	const char *host;
	uint16_t port;
	struct step steps[STEPS_MAX];
	enum end end;
	bool drip;
};

static const struct script *playing;

/* ---- the proxy ---- */

static void say(struct server *server, const char *text, size_t len)
{
	if (!playing->drip) {
		server_write(server, text, len);
		return;
	}
	for (size_t i = 0; i < len && server_write(server, text + i, 1); i++)
		nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
}

/* Each question must come whole and nothing behind it. */
static void play(struct server *server)
{
	char heard[1024];

	for (const struct step *step = playing->steps; step->expect; step++) {
		size_t len = 0;

		while (len < step->expect_len) {
			ssize_t n = server_read(server, heard + len, sizeof(heard) - len);

			CHECK(n > 0);
			len += (size_t)n;
		}
		CHECK_EQ(len, step->expect_len);
		CHECK(memcmp(heard, step->expect, len) == 0);
		say(server, step->say, step->say_len);
	}
	if (playing->end == RESET)
		server_reset(server);
	if (playing->end != HOLD)
		return;
	/* The tunnel: echo until the other side goes. */
	for (;;) {
		ssize_t n = server_read(server, heard, sizeof(heard));

		if (n <= 0)
			return;
		server_write(server, heard, (size_t)n);
	}
}

/* ---- who asks ---- */

struct caller {
	struct proxy *proxy;
	struct cause cause;
	bool failed;
	int fd;
};

static void caller_ready(void *owner, int fd)
{
	struct caller *caller = owner;

	CHECK(caller->fd < 0 && !caller->failed);
	caller->fd = fd;
	caller->proxy = proxy_free(caller->proxy);
	loop_stop();
}

static void caller_failed(void *owner, const struct cause *cause)
{
	struct caller *caller = owner;

	CHECK(caller->fd < 0 && !caller->failed);
	caller->failed = true;
	caller->cause = *cause;
	caller->proxy = proxy_free(caller->proxy);
	loop_stop();
}

static const struct proxy_events events = {.ready = caller_ready, .failed = caller_failed};

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(connect(fd, (void *)&address, sizeof(address)) == 0);
	CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	return fd;
}

static void run(const struct script *script, struct caller *caller)
{
	struct server server = {.talk = play};
	struct proxy_address address = {0};
	const char *problem = "";
	char text[700];

	playing = script;
	*caller = (struct caller){.fd = -1};
	server_start(&server, "127.0.0.1");
	snprintf(text, sizeof(text), "%s127.0.0.1:%u", script->proxy, server.port);
	CHECK_EQ(proxy_parse(&address, text, &problem), 0);
	CHECK_EQ(proxy_start(&caller->proxy, connect_to(server.port), &address, script->host,
			     script->port, &events, caller), 0);
	CHECK(caller->fd < 0 && !caller->failed);
	RUN_UNTIL_OF(script->proxy, caller->fd >= 0 || caller->failed);
	if (caller->fd >= 0) { /* what the proxy gave is the tunnel, and begins where it should */
		char got[8] = "";

		CHECK(fcntl(caller->fd, F_SETFL, 0) == 0);
		CHECK(send(caller->fd, "tunnel", 6, MSG_NOSIGNAL) == 6);
		CHECK(recv(caller->fd, got, 6, MSG_WAITALL) == 6);
		CHECK_STR(got, "tunnel");
		close(caller->fd);
	}
	server_stop(&server);
	proxy_address_done(&address);
}

/* At once, then byte by byte. */
static void expect_tunnel(struct script script)
{
	struct caller caller;

	for (int i = 0; i < 2; i++) {
		script.drip = i == 1;
		run(&script, &caller);
		CHECK_STR(caller.cause.text, "");
		CHECK(!caller.failed);
	}
}

static void expect_failed(struct script script, int code, const char *text)
{
	struct caller caller;

	for (int i = 0; i < 2; i++) {
		script.drip = i == 1;
		run(&script, &caller);
		CHECK(caller.failed);
		if (!strstr(caller.cause.text, text))
			CHECK_STR(caller.cause.text, text);
		CHECK(strncmp(caller.cause.text, "proxy 127.0.0.1:", 16) == 0);
		CHECK_EQ(caller.cause.class, CAUSE_PROXY);
		CHECK_EQ(caller.cause.code, code);
	}
}

/* ---- HTTP ---- */

#define ASKED "CONNECT server.test:80 HTTP/1.1\r\nHost: server.test:80\r\n\r\n"
#define HTTP(answer)                                                                               \
	((struct script){.proxy = "http://",                                                       \
			 .host = "server.test",                                                    \
			 .port = 80,                                                               \
			 .steps = {{BYTES(ASKED), BYTES(answer)}}})

static void test_http_tunnel(void)
{
	static const char six[] = "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n";
	static const char user[] = "CONNECT server.test:80 HTTP/1.1\r\nHost: server.test:80\r\n"
				   "Proxy-Authorization: Basic YW5uOmFAYjpj\r\n\r\n";
	struct script script;

	expect_tunnel(HTTP("HTTP/1.1 200 OK\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.1 200 Connection established\r\nVia: x\r\nX: y\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.0 200 Connection established\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.1 201 Created\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.1 204\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
	expect_tunnel(HTTP("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 102 Processing\r\nA: b\r\n\r\n"
			   "HTTP/1.1 200 OK\r\n\r\n"));
	script = HTTP("HTTP/1.1 200 OK\r\n\r\n");
	script.host = "::1";
	script.port = 443;
	script.steps[0].expect = six;
	script.steps[0].expect_len = sizeof(six) - 1;
	expect_tunnel(script);
	script.host = "::1%lo"; /* a zone is ours alone */
	expect_tunnel(script);
	script = HTTP("HTTP/1.1 200 OK\r\n\r\n");
	script.proxy = "http://ann:a%40b%3Ac@";
	script.steps[0].expect = user;
	script.steps[0].expect_len = sizeof(user) - 1;
	expect_tunnel(script);
	script.steps[0].say = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
	script.steps[0].say_len = strlen(script.steps[0].say);
	expect_failed(script, 407, "answered HTTP 407 No (it refuses our user and password)");
}

static void test_http_statuses(void)
{
	static const struct {
		int status;
		const char *answer, *text;
	} rows[] = {
		{101, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "HTTP 101 Switch"},
		{302, "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "answered HTTP 302 Found"},
		{403, "HTTP/1.1 403 Forbidden\r\n\r\n<html>", "answered HTTP 403 Forbidden"},
		{404, "HTTP/1.0 404\r\n\r\n", "answered HTTP 404"},
		{407, "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"a, b\", charset=\"UTF-8\"\r\n"
		      "Proxy-Authenticate: Negotiate, Digest realm=\"x\"\r\n\r\n",
		 "answered HTTP 407 Who (it asks for: Basic, Negotiate, Digest)"},
		{502, "HTTP/1.1 502 Bad Gateway\r\n\r\n", "answered HTTP 502 Bad Gateway"},
		{504, "HTTP/1.1 504 Gateway Timeout\r\n\r\n", "HTTP 504"},
	};
	struct caller caller;
	struct script script = HTTP("");

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		script.steps[0].say = rows[i].answer;
		script.steps[0].say_len = strlen(rows[i].answer);
		expect_failed(script, rows[i].status, rows[i].text);
	}
	script = HTTP("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n");
	run(&script, &caller);
	CHECK_EQ(caller.cause.code, 503);
	CHECK_EQ(caller.cause.retry_after_ms, 7000);
}

static void test_http_nonsense(void)
{
	static char large[20 * 1024];
	struct script script = HTTP("");

	expect_failed(HTTP("SSH-2.0-x\r\n"), PROXY_BAD_ANSWER, "like an HTTP proxy: ");
	expect_failed(HTTP("HTTP/2 200 OK\r\n"), PROXY_BAD_ANSWER, "like an HTTP proxy");
	expect_failed(HTTP("HTTP/1.1 200 OK\n\n"), PROXY_BAD_ANSWER, "LF without CR");
	expect_failed(HTTP("\x15\x03\x01\x00\x02\x02\x46"), PROXY_BAD_ANSWER, "speaks TLS");
	expect_failed(HTTP("\x05\xff"), PROXY_BAD_ANSWER, "perhaps one for SOCKS");
	/* Behind the head, in one segment. */
	script = HTTP("HTTP/1.1 200 OK\r\n\r\nX");
	{
		struct caller caller;

		run(&script, &caller);
		CHECK_EQ(caller.cause.code, PROXY_BAD_ANSWER);
		CHECK(strstr(caller.cause.text, "bytes behind its answer"));
	}
	memset(large, 'a', sizeof(large));
	memcpy(large, "HTTP/1.1 200 OK\r\nX: ", 20);
	script = HTTP("");
	script.steps[0].say = large;
	script.steps[0].say_len = sizeof(large);
	{
		struct caller caller;

		run(&script, &caller);
		CHECK_EQ(caller.cause.code, PROXY_BAD_ANSWER);
		CHECK(strstr(caller.cause.text, "larger than 16 KiB"));
	}
}

static void test_http_endings(void)
{
	struct script script = HTTP("");

	script.end = CLOSE;
	expect_failed(script, PROXY_NO_ANSWER, "closed the connection without an answer");
	script = HTTP("HTTP/1.1 200 OK\r\n");
	script.end = CLOSE;
	expect_failed(script, PROXY_NO_ANSWER, "closed the connection in the middle of its answer");
	script = HTTP("");
	script.end = RESET;
	expect_failed(script, PROXY_NO_ANSWER, "has not answered: Connection reset by peer");
}

/* ---- SOCKS ---- */

#define HELLO BYTES("\5\1\0")
#define HELLO_USER BYTES("\5\2\0\2")
#define WANT BYTES("\5\1\0\3\013server.test\0\120")
#define DONE4 BYTES("\5\0\0\1\177\0\0\1\1\2")
#define SOCKS(...)                                                                                 \
	((struct script){.proxy = "socks5h://",                                                    \
			 .host = "server.test",                                                    \
			 .port = 80,                                                               \
			 .steps = {__VA_ARGS__}})
#define SOCKS_USER(...)                                                                            \
	((struct script){.proxy = "socks5h://ann:s3c@",                                            \
			 .host = "server.test",                                                    \
			 .port = 80,                                                               \
			 .steps = {__VA_ARGS__}})

/* Replies of every length, each with the first bytes of the tunnel right behind it. */
static void test_socks_tunnel(void)
{
	static char reply[4 + 1 + 255 + 2] = "\5\0\0\3";

	expect_tunnel(SOCKS({HELLO, BYTES("\5\0")}, {WANT, DONE4}));
	expect_tunnel(SOCKS({HELLO, BYTES("\5\0")},
			    {WANT, BYTES("\5\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\2")}));
	for (unsigned len = 0; len < 256; len = len ? len * 255 : 1) {
		struct script script = SOCKS({HELLO, BYTES("\5\0")}, {WANT, reply, 7 + len});

		reply[4] = (char)len;
		expect_tunnel(script);
		if (len == 255)
			break;
	}
	expect_tunnel((struct script){
		.proxy = "socks5://", .host = "192.0.2.7", .port = 0x1234,
		.steps = {{HELLO, BYTES("\5\0")}, {BYTES("\5\1\0\1\300\0\2\7\22\64"), DONE4}}});
	expect_tunnel((struct script){
		.proxy = "socks5h://", .host = "fe80::1%lo", .port = 443,
		.steps = {{HELLO, BYTES("\5\0")},
			  {BYTES("\5\1\0\4\376\200\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\273"), DONE4}}});
}

/* "what follows belongs to the tunnel" */
static void test_socks_follow_up(void)
{
	static const char after[] = "\5\0\0\1\177\0\0\1\1\2HTTP/1.1";
	struct script script = SOCKS({HELLO, BYTES("\5\0")}, {WANT, BYTES(after)});
	struct server server = {.talk = play};
	struct proxy_address address = {0};
	struct caller caller = {.fd = -1};
	const char *problem;
	char text[64], got[9] = "";

	playing = &script;
	server_start(&server, "127.0.0.1");
	snprintf(text, sizeof(text), "socks5h://127.0.0.1:%u", server.port);
	CHECK_EQ(proxy_parse(&address, text, &problem), 0);
	CHECK_EQ(proxy_start(&caller.proxy, connect_to(server.port), &address, "server.test", 80,
			     &events, &caller), 0);
	while (caller.fd < 0 && !caller.failed)
		CHECK_EQ(loop_run(), 0);
	CHECK(caller.fd >= 0);
	CHECK(fcntl(caller.fd, F_SETFL, 0) == 0);
	CHECK_EQ(recv(caller.fd, got, 8, MSG_WAITALL), 8);
	CHECK_STR(got, "HTTP/1.1");
	close(caller.fd);
	server_stop(&server);
	proxy_address_done(&address);
}

static void test_socks_password(void)
{
	static const char auth[] = "\1\3ann\3s3c";

	expect_tunnel(SOCKS_USER({HELLO_USER, BYTES("\5\2")}, {BYTES(auth), BYTES("\1\0")},
				 {WANT, DONE4}));
	expect_tunnel(SOCKS_USER({HELLO_USER, BYTES("\5\0")}, {WANT, DONE4})); /* not asked for */
	expect_failed(SOCKS_USER({HELLO_USER, BYTES("\5\2")}, {BYTES(auth), BYTES("\1\1")}),
		      PROXY_UNAUTHORISED, "refuses our user and password (status 1)");
	expect_failed(SOCKS_USER({HELLO_USER, BYTES("\5\2")}, {BYTES(auth), BYTES("HTTP")}),
		      PROXY_BAD_ANSWER, "does not answer to a password");
	expect_failed(SOCKS_USER({HELLO_USER, BYTES("\5\377")}), PROXY_UNAUTHORISED,
		      "takes neither a password nor none");
	expect_failed(SOCKS({HELLO, BYTES("\5\377")}), PROXY_UNAUTHORISED,
		      "lets nobody in without a password");
	expect_failed(SOCKS({HELLO, BYTES("\5\2")}), PROXY_BAD_ANSWER,
		      "chose method 2, which was not offered");
	expect_failed(SOCKS({HELLO, BYTES("\5\1")}), PROXY_BAD_ANSWER, "chose method 1");
	expect_failed(SOCKS({HELLO, BYTES("\4\0")}), PROXY_BAD_ANSWER, "speaks SOCKS 4 only");
	expect_failed(SOCKS({HELLO, BYTES("HTTP/1.1 400 Bad Request\r\n\r\n")}), PROXY_BAD_ANSWER,
		      "is an HTTP proxy, not for SOCKS");
	expect_failed(SOCKS({HELLO, BYTES("xy")}), PROXY_BAD_ANSWER, "like a SOCKS proxy");
}

static void test_socks_replies(void)
{
	static const struct {
		int reply;
		const char *text;
	} rows[] = {
		{1, "general failure (reply 1)"},
		{2, "not allowed by its rules (reply 2)"},
		{3, "network unreachable (reply 3)"},
		{4, "host unreachable (reply 4)"},
		{5, "connection refused by the server (reply 5)"},
		{6, "TTL expired (reply 6)"},
		{7, "command not supported (reply 7)"},
		{8, "address type not supported (reply 8)"},
		{9, "unknown reply (reply 9)"},
		{255, "unknown reply (reply 255)"},
	};
	char reply[] = "\5\0\0\1\0\0\0\0\0\0";
	char text[128];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		reply[1] = (char)rows[i].reply;
		snprintf(text, sizeof(text), "cannot reach server.test:80: %s", rows[i].text);
		expect_failed(SOCKS({HELLO, BYTES("\5\0")}, {WANT, BYTES(reply)}), rows[i].reply,
			      text);
	}
	expect_failed(SOCKS({HELLO, BYTES("\5\0")}, {WANT, BYTES("\5\0\0\2\0\0")}), PROXY_BAD_ANSWER,
		      "like a SOCKS proxy");
	expect_failed(SOCKS({HELLO, BYTES("\5\0")}, {WANT, BYTES("\4\0\0\1\0")}), PROXY_BAD_ANSWER,
		      "like a SOCKS proxy");
}

static void test_socks_endings(void)
{
	static const enum end ends[] = {CLOSE, RESET};

	for (size_t i = 0; i < 2; i++) {
		const char *text = i ? "Connection reset" : "closed the connection";
		struct script scripts[] = {
			SOCKS({HELLO, BYTES("")}),
			SOCKS({HELLO, BYTES("\5")}),
			SOCKS({HELLO, BYTES("\5\0")}, {WANT, BYTES("")}),
			SOCKS({HELLO, BYTES("\5\0")}, {WANT, BYTES("\5\0\0\1\0\0\0\0\0")}),
			SOCKS_USER({HELLO_USER, BYTES("\5\2")}, {BYTES("\1\3ann\3s3c"), BYTES("\1")}),
		};

		for (size_t j = 0; j < sizeof(scripts) / sizeof(*scripts); j++) {
			scripts[j].end = ends[i];
			expect_failed(scripts[j], PROXY_NO_ANSWER, text);
		}
	}
}

/* ---- the rest ---- */

static void test_long_names(void)
{
	static char host[256], expect[3 + 2 + 255 + 2] = "\5\1\0\3";
	struct proxy_address address = {.kind = PROXY_SOCKS5H};
	struct caller caller = {.fd = -1};
	struct script script;

	memset(host, 'a', 255);
	expect[4] = (char)255;
	memcpy(expect + 5, host, 255);
	expect[5 + 256] = 80;
	script = SOCKS({HELLO, BYTES("\5\0")}, {expect, sizeof(expect), DONE4});
	script.host = host;
	expect_tunnel(script);
	{
		char longer[257] = "";

		memset(longer, 'a', 256);
		CHECK_EQ(proxy_start(&caller.proxy, dup(0), &address, longer, 80, &events, &caller),
			 -ENAMETOOLONG);
		CHECK(!caller.proxy);
	}
}

static void test_show(void)
{
	char text[PROXY_TEXT_MAX];

	proxy_show("socks5h://u:p@[::1]:9", text);
	CHECK_STR(text, "socks5h://[::1]:9");
	proxy_show("HTTP://u:p@P.example:3128", text);
	CHECK_STR(text, "http://p.example:3128");
	proxy_show("none", text);
	CHECK_STR(text, "");
	proxy_show(NULL, text);
	CHECK_STR(text, "");
}

static void test_parse(void)
{
	static const struct {
		const char *text;
		int kind;
		const char *host;
		int port;
		const char *user, *name;
	} good[] = {
		{"http://p.example:3128", PROXY_HTTP, "p.example", 3128, NULL, "p.example:3128"},
		{"http://p.example:80/", PROXY_HTTP, "p.example", 80, NULL, "p.example:80"},
		{"http://p.example", PROXY_HTTP, "p.example", 1080, NULL, "p.example:1080"},
		{"p.example:3128", PROXY_HTTP, "p.example", 3128, NULL, "p.example:3128"},
		{"HTTP://u:p@P.example:3128", PROXY_HTTP, "p.example", 3128, "u:p", "p.example:3128"},
		{"socks5://127.0.0.1", PROXY_SOCKS5, "127.0.0.1", 1080, NULL, "127.0.0.1:1080"},
		{"socks5h://u%3a:p@[::1%25lo]:9", 0, NULL, 0, NULL, NULL}, /* a colon in the user */
		{"socks5h://u:p@[::1%25lo]:9", PROXY_SOCKS5H, "::1%lo", 9, "u:p", "[::1%lo]:9"},
		{"socks5h://u:p:q@[::1]", PROXY_SOCKS5H, "::1", 1080, "u:p:q", "[::1]:1080"},
	};
	static const char *const bad[] = {
		"https://p.example:3128", "socks4://p.example", "socks5://p.example:0", "env",
		"http://p.example:3128/path", "http://p.example:3128?x", "http://", "http://u@:3128",
		"socks5://u:@h", "socks5://:p@h", "socks5://u@h", "http://h:65536", "http://a b",
	};
	char text[700], long_text[300] = "";
	const char *problem;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct proxy_address address = {0};
		int r = proxy_parse(&address, good[i].text, &problem);

		CHECK_EQ(proxy_check(good[i].text, &problem), r);
		CHECK_EQ(r, good[i].host ? 0 : -EINVAL);
		if (r == 0) {
			CHECK_EQ(address.kind, good[i].kind);
			CHECK_STR(address.host, good[i].host);
			CHECK_EQ(address.port, good[i].port);
			CHECK_STR(address.name, good[i].name);
			CHECK(!address.user == !good[i].user);
			if (address.user)
				CHECK_STR(address.user, good[i].user);
		}
		proxy_address_done(&address);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		problem = NULL;
		CHECK_EQ(proxy_check(bad[i], &problem), -EINVAL);
		CHECK(problem && *problem);
	}
	CHECK_EQ(proxy_check("none", &problem), 0);
	CHECK(!proxy_wanted("none") && !proxy_wanted(NULL) && proxy_wanted("h:1"));
	memset(long_text, 'u', 256);
	snprintf(text, sizeof(text), "socks5://%s:p@h", long_text);
	CHECK_EQ(proxy_check(text, &problem), -EINVAL);
	snprintf(text, sizeof(text), "socks5://%s:p@h", long_text + 1);
	CHECK_EQ(proxy_check(text, &problem), 0);
	snprintf(text, sizeof(text), "socks5://u:%s@h", long_text);
	CHECK_EQ(proxy_check(text, &problem), -EINVAL);
	snprintf(text, sizeof(text), "http://%s", long_text);
	CHECK_EQ(proxy_check(text, &problem), -EINVAL);
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	test_parse();
	test_show();
	test_http_tunnel();
	test_http_statuses();
	test_http_nonsense();
	test_http_endings();
	test_socks_tunnel();
	test_socks_follow_up();
	test_socks_password();
	test_socks_replies();
	test_socks_endings();
	test_long_names();
	loop_done();
	return 0;
}
