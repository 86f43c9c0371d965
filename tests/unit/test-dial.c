/* Dialling real sockets on loopback.  Only the resolver is a fake one, where a test needs names
 * with several addresses, slow names or bad ones. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "certs.h"
#include "check.h"
#include "net/address.h"
#include "net/dial.h"
#include "net/lookup.h"
#include "net/transport.h"
#include "running.h"
#include "server.h"

static char dir[] = "/tmp/test-dial-XXXXXX";
static char ca_file[64];
static struct cert good;

/* ---- the resolver ---- */

static atomic_int slow_running, slow_most, slow_asked;
static atomic_bool slow_go;

static const struct {
	const char *name;
	int result;
	const char *addresses[6];
} fake_names[] = {
	{"one.test", 0, {"127.0.0.1"}},
	{"refused-first.test", 0, {"127.0.0.2", "127.0.0.1"}},
	{"six-first.test", 0, {"::1", "127.0.0.1"}},
	{"hole-first.test", 0, {"127.0.0.3", "127.0.0.1"}},
	{"holes.test", 0, {"127.0.0.3", "127.0.0.3", "127.0.0.3"}},
	{"all-refused.test", 0, {"127.0.0.2", "127.0.0.4", "::1", "127.0.0.5", "127.0.0.6"}},
	{"slow.test", 0, {"127.0.0.1"}},
	{"nowhere.test", EAI_NONAME, {0}},
	{"again.test", EAI_AGAIN, {0}},
	{"memory.test", EAI_MEMORY, {0}},
	{"localhost", EAI_AGAIN, {0}},
	{"unknown.LocalHost.", EAI_NONAME, {0}},
	{"unknown.localhost", EAI_NONAME, {0}},
	{"known.localhost", 0, {"127.0.0.4"}},
	{"notlocalhost", EAI_NONAME, {0}},
};

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static getaddrinfo_fn *real_getaddrinfo(void)
{
	union {
		void *object;
		getaddrinfo_fn *function;
	} symbol = {.object = dlsym(RTLD_NEXT, "getaddrinfo")};

	return symbol.function;
}

static void fake_slow(void)
{
	sigset_t mask;
	int running = ++slow_running;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	CHECK(sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1);
	slow_asked++;
	if (running > slow_most)
		slow_most = running;
	while (!slow_go)
		server_wait_ms(1);
	slow_running--;
}

static int fake_answer(size_t i, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res)
{
	struct addrinfo numeric = *hints, **end = res;

	numeric.ai_flags |= AI_NUMERICHOST;
	*res = NULL;
	for (const char *const *at = fake_names[i].addresses; *at; at++) {
		if (real_getaddrinfo()(*at, service, &numeric, end) == 0)
			end = &(*end)->ai_next;
	}
	return *res ? 0 : EAI_NONAME;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	CHECK(hints->ai_socktype == SOCK_STREAM);
	CHECK(!(hints->ai_flags & AI_ADDRCONFIG));
	if (!node)
		return real_getaddrinfo()(node, service, hints, res);
	for (size_t i = 0; i < sizeof(fake_names) / sizeof(fake_names[0]); i++) {
		if (hints->ai_flags & AI_NUMERICHOST || strcmp(fake_names[i].name, node) != 0)
			continue;
		if (strcmp(node, "slow.test") == 0)
			fake_slow();
		return fake_names[i].result ? fake_names[i].result
					    : fake_answer(i, service, hints, res);
	}
	return real_getaddrinfo()(node, service, hints, res);
}

/* ---- who dials ---- */

struct caller {
	struct dial *dial;
	struct url url;
	struct dial_options options;
	struct transport *transport;
	struct cause cause;
	bool connected, failed, keep; /* keep: do not free the dial in the upcall */
	uint64_t started_ms, took_ms;
};

static void caller_done(struct caller *caller)
{
	caller->took_ms = loop_now_ms() - caller->started_ms;
	if (!caller->keep)
		caller->dial = dial_free(caller->dial);
	loop_stop();
}

static void caller_dial_connected(void *owner, struct transport *transport)
{
	struct caller *caller = owner;

	CHECK(!caller->connected && !caller->failed);
	caller->connected = true;
	caller->transport = transport;
	caller_done(caller);
}

static void caller_dial_failed(void *owner, const struct cause *cause)
{
	struct caller *caller = owner;

	CHECK(!caller->connected && !caller->failed);
	caller->failed = true;
	caller->cause = *cause;
	caller_done(caller);
}

static const struct dial_events caller_events = {
	.connected = caller_dial_connected,
	.failed = caller_dial_failed,
};

static int caller_try(struct caller *caller, const char *format, const char *host, uint16_t port)
{
	const char *problem;
	char text[512];

	snprintf(text, sizeof(text), format, host, port);
	CHECK_EQ(url_parse(&caller->url, text, &problem), 0);
	caller->options.tls.cacert = ca_file;
	caller->started_ms = loop_now_ms();
	return dial_start(&caller->dial, &caller->url, &caller->options, &caller_events, caller);
}

static void caller_start(struct caller *caller, const char *format, const char *host, uint16_t port)
{
	CHECK_EQ(caller_try(caller, format, host, port), 0);
	CHECK(!caller->connected && !caller->failed); /* never from inside the call */
}

static void caller_stop(struct caller *caller)
{
	caller->dial = dial_free(caller->dial);
	caller->transport = transport_free(caller->transport);
	url_done(&caller->url);
}

static void expect_connected(struct caller *caller, const char *address)
{
	RUN_UNTIL(caller->connected || caller->failed);
	if (caller->failed)
		CHECK_STR(caller->cause.text, "");
	CHECK_STR(transport_address(caller->transport), address);
	caller_stop(caller);
}

static void expect_failed(struct caller *caller, enum cause_class class, int code, const char *text)
{
	RUN_UNTIL(caller->connected || caller->failed);
	CHECK(caller->failed);
	if (!strstr(caller->cause.text, text))
		CHECK_STR(caller->cause.text, text);
	CHECK_EQ(caller->cause.class, class);
	CHECK_EQ(caller->cause.code, code);
	caller_stop(caller);
}

static const char *at(const char *ip, uint16_t port)
{
	static char text[64];

	snprintf(text, sizeof(text), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
	return text;
}

/* A port that was free a moment ago. */
static uint16_t dead_port(void)
{
	uint16_t port = 0;

	close(server_listen("127.0.0.1", &port, 1));
	return port;
}

/* An address that swallows SYNs: a listener whose queue is full. */
struct hole {
	int listen_fd, fill[4];
};

static void hole_open(struct hole *hole, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, "127.0.0.3", &address.sin_addr);
	hole->listen_fd = server_listen("127.0.0.3", &port, 0);
	for (size_t i = 0; i < 4; i++) {
		hole->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(hole->fill[i], (void *)&address, sizeof(address));
	}
	server_wait_ms(20);
}

static void hole_close(struct hole *hole)
{
	close(hole->listen_fd);
	for (size_t i = 0; i < 4; i++)
		close(hole->fill[i]);
}

/* ---- plain ---- */

static void test_addresses_and_names(void)
{
	uint16_t port = 0, six_port = 0;
	int fd = server_listen("127.0.0.1", &port, 8), six = server_listen("::1", &six_port, 8);
	struct caller caller = {0};

	caller_start(&caller, "ws://%s:%u/", "127.0.0.1", port);
	expect_connected(&caller, at("127.0.0.1", port));
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "[::1]", six_port);
	expect_connected(&caller, at("::1", six_port));
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "localhost", port);
	CHECK_STR(dial_step(caller.dial), "resolving localhost");
	expect_connected(&caller, at("127.0.0.1", port));
	caller = (struct caller){.keep = true};
	caller_start(&caller, "ws://%s:%u/", "one.test", port);
	RUN_UNTIL(caller.connected);
	CHECK(strstr(dial_step(caller.dial), "connecting to 127.0.0.1:"));
	expect_connected(&caller, at("127.0.0.1", port));
	close(fd);
	close(six);
}

static void test_refused(void)
{
	uint16_t port = dead_port();
	char text[256];
	struct caller caller = {0};

	caller_start(&caller, "ws://%s:%u/", "127.0.0.1", port);
	snprintf(text, sizeof(text), "cannot connect to 127.0.0.1:%u (Connection refused)", port);
	expect_failed(&caller, CAUSE_CONNECT, ECONNREFUSED, text);
	/* The order: families alternate, within each the resolver's order. */
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "all-refused.test", port);
	snprintf(text, sizeof(text),
		 "cannot connect to 127.0.0.2:%u (Connection refused), [::1]:%u (Connection "
		 "refused), 127.0.0.4:%u (Connection refused) and 2 more",
		 port, port, port);
	expect_failed(&caller, CAUSE_CONNECT, ECONNREFUSED, text);
	CHECK(caller.took_ms < 240); /* nobody waits after a refusal */
}

static void test_names_that_fail(void)
{
	struct caller caller = {0};

	caller_start(&caller, "ws://%s:%u/", "nowhere.test", 80);
	expect_failed(&caller, CAUSE_DNS, EAI_NONAME,
		      "cannot resolve host nowhere.test: Name or service not known");
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "again.test", 80);
	expect_failed(&caller, CAUSE_DNS, EAI_AGAIN, "Temporary failure in name resolution");
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "memory.test", 80);
	expect_failed(&caller, CAUSE_LOCAL, ENOMEM, "cannot resolve host memory.test");
}

/* RFC 6761 6.3, on a system that knows nothing of it. */
static void test_localhost(void)
{
	static const char *const names[] = {"localhost", "unknown.localhost", "unknown.LocalHost."};
	uint16_t port = 0, six_port = 0, other_port = 0;
	int fd = server_listen("127.0.0.1", &port, 8), six = server_listen("::1", &six_port, 8);
	int other = server_listen("127.0.0.4", &other_port, 8);
	struct caller caller;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		caller = (struct caller){0};
		caller_start(&caller, "ws://%s:%u/", names[i], port);
		expect_connected(&caller, at("127.0.0.1", port));
		caller = (struct caller){0};
		caller_start(&caller, "ws://%s:%u/", names[i], six_port);
		expect_connected(&caller, at("::1", six_port));
	}
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "known.localhost", other_port);
	expect_connected(&caller, at("127.0.0.4", other_port));
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "notlocalhost", port);
	expect_failed(&caller, CAUSE_DNS, EAI_NONAME, "cannot resolve host notlocalhost");
	close(fd);
	close(six);
	close(other);
}

/* ---- through proxies ---- */

static char asked[512];

/* Reads one head, answers it, and is the server from then on. */
static void talk_http_proxy(struct server *server)
{
	size_t len = 0;

	memset(asked, 0, sizeof(asked));
	while (len < sizeof(asked) - 1 && !strstr(asked, "\r\n\r\n")) {
		ssize_t n = read(server->fd, asked + len, sizeof(asked) - 1 - len);

		CHECK(n > 0);
		len += (size_t)n;
	}
	CHECK(server_write(server, "HTTP/1.1 200 OK\r\n\r\n", 19));
	server->cert = &good;
	server_start_tls(server);
}

static void talk_socks(struct server *server)
{
	CHECK(read(server->fd, asked, 3) == 3);
	CHECK(server_write(server, "\5\0", 2));
	CHECK(read(server->fd, asked, sizeof(asked)) >= 8);
	CHECK(server_write(server, "\5\0\0\1\0\0\0\0\0\0", 10));
}

static void caller_start_by(struct caller *caller, char *proxy, const char *format,
			    const char *host, uint16_t port)
{
	*caller = (struct caller){.options.proxy = proxy};
	caller_start(caller, format, host, port);
}

/* The name in the certificate is the server's, which only the proxy looks up. */
static void test_http_proxy(void)
{
	struct server server = {.talk = talk_http_proxy};
	struct caller caller;
	char proxy[64];

	for (int i = 0; i < 2; i++) {
		server = (struct server){.talk = talk_http_proxy};
		server_start(&server, "127.0.0.1");
		snprintf(proxy, sizeof(proxy), "http://refused-first.test:%u", server.port);
		caller_start_by(&caller, proxy, "wss://%s:%u/", i ? "other.test" : "good.example",
				443);
		if (i)
			expect_failed(&caller, CAUSE_TLS, 62, "other.test");
		else
			expect_connected(&caller, at("127.0.0.1", server.port));
		CHECK(strncmp(asked, i ? "CONNECT other.test:443 HTTP" : "CONNECT good.example:443 HTTP",
			      27) == 0);
		server_stop(&server);
	}
}

/* connect-to takes the server's place, not the proxy's. */
static void test_socks_proxy(void)
{
	struct server server = {.talk = talk_socks};
	struct caller caller = {0};
	char proxy[64];

	server_start(&server, "127.0.0.1");
	snprintf(proxy, sizeof(proxy), "socks5://127.0.0.1:%u", server.port);
	caller_start_by(&caller, proxy, "ws://%s:%u/", "refused-first.test", 0x1234);
	CHECK_STR(dial_step(caller.dial), "resolving refused-first.test");
	expect_connected(&caller, at("127.0.0.1", server.port));
	CHECK(memcmp(asked, "\5\1\0\1\177\0\0\2\22\64", 10) == 0);
	server_stop(&server);
	server = (struct server){.talk = talk_socks};
	server_start(&server, "127.0.0.1");
	snprintf(proxy, sizeof(proxy), "socks5h://127.0.0.1:%u", server.port);
	caller = (struct caller){.options = {.proxy = proxy, .connect_to = (char *)"a:258"}};
	caller_start(&caller, "ws://%s:%u/", "nowhere.test", 1);
	expect_connected(&caller, at("127.0.0.1", server.port));
	CHECK(memcmp(asked, "\5\1\0\3\1a\1\2", 8) == 0);
	server_stop(&server);
}

static void talk_nothing(struct server *server)
{
	char byte[64];

	while (read(server->fd, byte, sizeof(byte)) > 0)
		;
}

static void test_proxy_fails(void)
{
	uint16_t dead = dead_port();
	struct server server = {.talk = talk_nothing};
	struct caller caller;
	char proxy[64], text[128];

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", dead);
	caller_start_by(&caller, proxy, "ws://%s:%u/", "one.test", 80);
	snprintf(text, sizeof(text), "cannot connect to the proxy 127.0.0.1:%u (Connection refused)",
		 dead);
	expect_failed(&caller, CAUSE_PROXY, 0, text);
	caller_start_by(&caller, (char *)"http://nowhere.test:1", "ws://%s:%u/", "one.test", 80);
	expect_failed(&caller, CAUSE_PROXY, 0, "cannot resolve the proxy's name nowhere.test: ");
	caller_start_by(&caller, (char *)"socks5://one.test:1", "ws://%s:%u/", "nowhere.test", 80);
	expect_failed(&caller, CAUSE_DNS, EAI_NONAME, "cannot resolve host nowhere.test: ");
	/* Silent: what it is waiting for can be told, and it can be stopped. */
	server_start(&server, "127.0.0.1");
	snprintf(proxy, sizeof(proxy), "http://u:p@127.0.0.1:%u", server.port);
	caller_start_by(&caller, proxy, "ws://%s:%u/", "one.test", 80);
	run_for_ms(50);
	snprintf(text, sizeof(text), "asking the proxy 127.0.0.1:%u", server.port);
	CHECK_STR(dial_step(caller.dial), text);
	CHECK(!caller.connected && !caller.failed);
	caller_stop(&caller);
	server_stop(&server);
}

static void test_families(void)
{
	uint16_t port = 0;
	int fd = server_listen("127.0.0.1", &port, 8);
	struct caller caller = {.options.address_family = DIAL_IPV4};

	caller_start(&caller, "ws://%s:%u/", "six-first.test", port);
	expect_connected(&caller, at("127.0.0.1", port));
	caller = (struct caller){.options.address_family = DIAL_IPV6};
	caller_start(&caller, "ws://%s:%u/", "six-first.test", port);
	expect_failed(&caller, CAUSE_CONNECT, ECONNREFUSED, "cannot connect to [::1]:");
	caller = (struct caller){.options.address_family = DIAL_IPV6};
	caller_start(&caller, "ws://%s:%u/", "one.test", port);
	expect_failed(&caller, CAUSE_DNS, EAI_NONAME, "cannot resolve host one.test");
	caller = (struct caller){.options.address_family = DIAL_IPV6};
	caller_start(&caller, "ws://%s:%u/", "127.0.0.1", port);
	expect_failed(&caller, CAUSE_DNS, EAI_ADDRFAMILY, "cannot resolve host 127.0.0.1");
	close(fd);
}

static void test_race(void)
{
	uint16_t port = 0;
	int fd = server_listen("127.0.0.1", &port, 8);
	struct hole hole;
	struct caller caller = {0};

	/* The first address is dead and says so: at once the next. */
	caller_start(&caller, "ws://%s:%u/", "refused-first.test", port);
	expect_connected(&caller, at("127.0.0.1", port));
	CHECK(caller.took_ms < 240);
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "six-first.test", port);
	expect_connected(&caller, at("127.0.0.1", port));
	CHECK(caller.took_ms < 240);
	/* The first address is silent: the next after 250 ms. */
	hole_open(&hole, port);
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "hole-first.test", port);
	expect_connected(&caller, at("127.0.0.1", port));
	CHECK(caller.took_ms >= 245 && caller.took_ms < 900);
	hole_close(&hole);
	close(fd);
}

/* ---- connect_to ---- */

static void test_connect_to(void)
{
	uint16_t port = 0;
	int fd = server_listen("127.0.0.1", &port, 8);
	char there[64];
	struct caller caller = {.options.connect_to = there};

	snprintf(there, sizeof(there), "one.test:%u", port);
	caller_start(&caller, "ws://%s:%u/", "nowhere.test", 1);
	expect_connected(&caller, at("127.0.0.1", port));
	caller = (struct caller){.options.connect_to = there};
	snprintf(there, sizeof(there), "[::ffff:127.0.0.1]:%u", port);
	caller_start(&caller, "ws://%s:%u/", "nowhere.test", 1);
	expect_connected(&caller, at("::ffff:127.0.0.1", port));
	caller = (struct caller){.options.connect_to = there};
	snprintf(there, sizeof(there), "nonsense");
	caller_start(&caller, "ws://%s:%u/", "one.test", port);
	expect_failed(&caller, CAUSE_CONNECT, EINVAL, "no address to connect to: nonsense");
	close(fd);
}

static void test_check_address(void)
{
	static const char *const ok[] = {"a:1",      "a.example:65535",     "127.0.0.1:80",
					 "[::1]:80", "[fe80::1%eth0]:8080", "under_score:1"};
	static const char *const bad[] = {"",         "a",      "a:",        "a:0",    "a:65536",
					  "a:1x",     ":80",    "::1:80",    "[::1]",  "[::1]80",
					  "[]:80",    "[a]:80", "a b:80",    "a:-1",   "a:+1",
					  "a:000001", "a/b:1",  "[::1]:80 ", "\x80:1", "u@a:1"};
	char host[ADDRESS_HOST_MAX], text[400];
	uint16_t port;

	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		CHECK_EQ(dial_check_address(ok[i]), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (dial_check_address(bad[i]) != -EINVAL)
			CHECK_STR(bad[i], "refused");
	}
	CHECK_EQ(address_split("[fe80::1%eth0]:8080", host, &port), 0);
	CHECK_STR(host, "fe80::1%eth0");
	CHECK_EQ(port, 8080);
	memset(text, 'a', sizeof(text));
	memcpy(text + 255, ":80", 4);
	CHECK_EQ(dial_check_address(text), 0);
	memcpy(text + 255, "a:80", 5);
	CHECK_EQ(dial_check_address(text), -EINVAL);
}

/* ---- Unix sockets ---- */

static int listen_unix(const char *dirname, const char *name, int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int dirfd = open(dirname, O_PATH | O_DIRECTORY), fd = socket(AF_UNIX, SOCK_STREAM, 0);

	CHECK(dirfd >= 0 && fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	CHECK(bind(fd, (void *)&address, sizeof(address)) == 0);
	CHECK(listen(fd, backlog) == 0);
	close(dirfd);
	return fd;
}

static void test_unix(void)
{
	char path[300], deep[260], text[400];
	int fd = listen_unix(dir, "s", 8);
	struct caller caller = {0};

	snprintf(path, sizeof(path), "%s/s", dir);
	caller_start(&caller, "ws+unix:%s:/%u", path, 1);
	CHECK(strstr(dial_step(caller.dial), path));
	RUN_UNTIL(caller.connected);
	caller_stop(&caller);
	close(fd);

	caller = (struct caller){0};
	caller_start(&caller, "ws+unix:%s:/%u", path, 1);
	snprintf(text, sizeof(text), "cannot connect to %s (Connection refused)", path);
	expect_failed(&caller, CAUSE_CONNECT, ECONNREFUSED, text);
	caller = (struct caller){0};
	caller_start(&caller, "ws+unix:%s:/%u", "/nonexistent/s", 1);
	expect_failed(&caller, CAUSE_CONNECT, ENOENT, "No such file or directory");

	snprintf(deep, sizeof(deep), "%s/%0200d", dir, 0);
	CHECK_EQ(mkdir(deep, 0700), 0);
	fd = listen_unix(deep, "s", 0);
	snprintf(path, sizeof(path), "%s/s", deep);
	caller = (struct caller){0};
	caller_start(&caller, "ws+unix:%s:/%u", path, 1);
	RUN_UNTIL(caller.connected);
	/* The queue holds one, and nobody accepts. */
	struct caller second = {0};
	caller_start(&second, "ws+unix:%s:/%u", path, 1);
	expect_failed(&second, CAUSE_CONNECT, EAGAIN, "Resource temporarily unavailable");
	caller_stop(&caller);
	close(fd);
}

/* ---- TLS ---- */

static void talk_wait(struct server *server)
{
	char byte;

	server_read(server, &byte, 1);
}

static void test_tls(void)
{
	struct server server = {.cert = &good, .talk = talk_wait};
	struct caller caller = {.keep = true};
	char connect_to[64];

	server_start(&server, "127.0.0.1");
	caller_start(&caller, "wss://%s:%u/", "127.0.0.1", server.port);
	RUN_UNTIL(caller.connected || caller.failed);
	CHECK(caller.connected);
	CHECK(strstr(dial_step(caller.dial), "in the TLS handshake with 127.0.0.1:"));
	CHECK(strncmp(transport_tls(caller.transport), "TLSv1.3 ", 8) == 0);
	caller_stop(&caller);
	server_stop(&server);

	/* connect_to changes where we connect, not whom we expect there. */
	server = (struct server){.cert = &good, .talk = talk_wait};
	server_start(&server, "127.0.0.1");
	snprintf(connect_to, sizeof(connect_to), "127.0.0.1:%u", server.port);
	caller = (struct caller){.options.connect_to = connect_to};
	caller_start(&caller, "wss://%s:%u/", "good.example", 1);
	expect_connected(&caller, connect_to);
	server_stop(&server);
	server = (struct server){.cert = &good};
	server_start(&server, "127.0.0.1");
	snprintf(connect_to, sizeof(connect_to), "127.0.0.1:%u", server.port);
	caller = (struct caller){.options.connect_to = connect_to};
	caller_start(&caller, "wss://%s:%u/", "wrong.example", 1);
	expect_failed(&caller, CAUSE_TLS, X509_V_ERR_HOSTNAME_MISMATCH,
		      "certificate of wrong.example");
	server_stop(&server);

	server = (struct server){0};
	server_start(&server, "127.0.0.1");
	caller = (struct caller){.options.tls.cert = (char *)"/nonexistent.pem"};
	caller_start(&caller, "wss://%s:%u/", "127.0.0.1", server.port);
	expect_failed(&caller, CAUSE_LOCAL, ENOENT, "cert = /nonexistent.pem");
	server_stop(&server);
}

/* ---- letting go at every stage ---- */

static void talk_silent(struct server *server)
{
	char request[4000];

	while (read(server->fd, request, sizeof(request)) > 0)
		;
}

static void test_cancel(void)
{
	uint16_t port = 0;
	int fd = server_listen("127.0.0.1", &port, 8);
	struct server server = {.talk = talk_silent};
	struct hole hole;
	struct caller caller = {0};

	/* At once, in all kinds. */
	caller_start(&caller, "ws://%s:%u/", "127.0.0.1", port);
	caller_stop(&caller);
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "one.test", port);
	caller_stop(&caller);
	caller = (struct caller){0};
	caller_start(&caller, "ws+unix:%s:/%u", "/nonexistent", 1);
	caller_stop(&caller);
	/* While several attempts are under way. */
	hole_open(&hole, port);
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "holes.test", port);
	run_for_ms(350);
	CHECK(strstr(dial_step(caller.dial), "connecting to 127.0.0.3:"));
	CHECK(!caller.failed && !caller.connected);
	caller_stop(&caller);
	hole_close(&hole);
	/* In the TLS handshake. */
	server_start(&server, "127.0.0.1");
	caller = (struct caller){0};
	caller_start(&caller, "wss://%s:%u/", "127.0.0.1", server.port);
	run_for_ms(60);
	CHECK(strstr(dial_step(caller.dial), "in the TLS handshake with 127.0.0.1:"));
	caller_stop(&caller);
	server_stop(&server);
	run_for_ms(20);
	CHECK(!dial_free(NULL));
	close(fd);
}

/* More names than threads; some are let go while they are asked for, some before. */
static void test_many_names(void)
{
	enum { N = 80 };
	static struct caller callers[N];
	uint16_t port = 0;
	int fd = server_listen("127.0.0.1", &port, N);
	int connected = 0;

	for (int i = 0; i < N; i++)
		caller_start(&callers[i], "ws://%s:%u/", "slow.test", port);
	while (slow_running < LOOKUP_THREADS_MAX)
		server_wait_ms(1);
	run_for_ms(30);
	CHECK_EQ(slow_asked, LOOKUP_THREADS_MAX);
	for (int i = 0; i < N; i += 2)
		caller_stop(&callers[i]);
	slow_go = true;
	for (int i = 1; i < N; i += 2) {
		expect_connected(&callers[i], at("127.0.0.1", port));
		connected++;
	}
	CHECK_EQ(connected, N / 2);
	CHECK_EQ(slow_most, LOOKUP_THREADS_MAX);
	/* 32 were being asked for; of the 48 that waited, half had been let go and never were. */
	CHECK_EQ(slow_asked, LOOKUP_THREADS_MAX + (N - LOOKUP_THREADS_MAX) / 2);
	run_for_ms(20);
	close(fd);
}

static void test_no_descriptors(void)
{
	struct rlimit before, none;
	struct caller caller = {0};
	int r, next = dup(0);

	close(next);
	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	none = before;
	none.rlim_cur = (rlim_t)next;
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	r = caller_try(&caller, "ws://%s:%u/", "one.test", 80);
	CHECK_EQ(r, -EMFILE);
	url_done(&caller.url);
	caller = (struct caller){0};
	caller_start(&caller, "ws://%s:%u/", "127.0.0.1", 80);
	RUN_UNTIL(caller.failed);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
	expect_failed(&caller, CAUSE_LOCAL, EMFILE, "Too many open files");
}

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void set_up(void)
{
	struct cert ca = cert_new(&(struct cert_want){.cn = "Test CA", .ca = true}, NULL);

	CHECK(mkdtemp(dir));
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", dir);
	cert_write(&ca, ca_file, NULL);
	good = cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example,IP:127.0.0.1"},
			&ca);
	cert_free(&ca);
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
	CHECK_EQ(loop_init(), 0);
}

static void tear_down(void)
{
	char command[64];

	loop_done();
	cert_free(&good);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);
}

int main(void)
{
	int descriptors;

	set_up();
	run_for_ms(1);
	descriptors = count_descriptors();
	test_addresses_and_names();
	test_refused();
	test_names_that_fail();
	test_localhost();
	test_http_proxy();
	test_socks_proxy();
	test_proxy_fails();
	test_families();
	test_race();
	test_connect_to();
	test_check_address();
	test_unix();
	test_tls();
	test_cancel();
	test_many_names();
	test_no_descriptors();
	CHECK_EQ(count_descriptors(), descriptors);
	tear_down();
	return 0;
}
