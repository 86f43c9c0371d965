/* A transport against a real server in a thread, over loopback, plain and TLS. */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/un.h>

#include <openssl/ssl.h>

#include "certs.h"
#include "check.h"
#include "net/tls.h"
#include "net/transport.h"
#include "running.h"
#include "server.h"

enum { BULK_BYTES = 6 * 1024 * 1024 };

static char ca_file[] = "/tmp/test-transport-XXXXXX";
static struct cert good, expired;

/* ---- the owner of a transport, for all tests ---- */

struct owner {
	struct transport *transport;
	bool ready, ended, stalled; /* stalled: do not take anything */
	bool attach_none;           /* in ready */
	bool free_in_ready, free_in_ended;
	struct cause cause;
	unsigned readables, writables;

	size_t read_len;    /* bytes asked for in one transport_read() */
	size_t pause_every; /* pause after so many bytes; 0: never */
	size_t since_pause;
	bool resume_later; /* by .timer; else the test resumes */
	struct timer timer;

	uint64_t received, to_send;
	bool pattern_wrong;
	uint8_t first[64]; /* the first bytes received */
};

static uint8_t pattern(uint64_t position)
{
	return (uint8_t)((position * 2654435761u) >> 11);
}

static void owner_take(struct owner *owner, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++, owner->received++) {
		if (owner->received < sizeof(owner->first))
			owner->first[owner->received] = data[i];
		if (data[i] != pattern(owner->received))
			owner->pattern_wrong = true;
	}
	owner->since_pause += n;
}

static void owner_transport_readable(void *arg)
{
	struct owner *owner = arg;
	uint8_t data[65536];
	size_t n;

	CHECK(owner->ready && !owner->ended);
	owner->readables++;
	while (!owner->stalled && (n = transport_read(owner->transport, data, owner->read_len))) {
		owner_take(owner, data, n);
		if (owner->pause_every && owner->since_pause >= owner->pause_every) {
			owner->since_pause = 0;
			transport_pause(owner->transport);
			CHECK_EQ(transport_read(owner->transport, data, 1), 0);
			if (owner->resume_later)
				timer_set(&owner->timer, owner->received % 3);
		}
	}
	loop_stop();
}

static void owner_send(struct owner *owner)
{
	uint64_t at = transport_committed(owner->transport);
	uint8_t *tail;
	size_t n;

	while (at < owner->to_send && transport_room(owner->transport) > 0) {
		n = transport_room(owner->transport);
		if (n > 10000)
			n = 10000;
		if (n > owner->to_send - at)
			n = owner->to_send - at;
		CHECK_EQ(transport_reserve(owner->transport, n, &tail), 0);
		for (size_t i = 0; i < n; i++)
			tail[i] = pattern(at++);
		transport_commit(owner->transport, n);
		if (transport_room(owner->transport) == 0)
			transport_flush(owner->transport);
	}
	transport_flush(owner->transport);
}

static void owner_transport_writable(void *arg)
{
	struct owner *owner = arg;

	CHECK(owner->ready && !owner->ended);
	owner->writables++;
	owner_send(owner);
	loop_stop();
}

static void owner_transport_ready(void *arg)
{
	struct owner *owner = arg;

	CHECK(!owner->ready && !owner->ended);
	owner->ready = true;
	if (owner->free_in_ready)
		owner->transport = transport_free(owner->transport);
	else if (owner->attach_none)
		transport_attach(owner->transport, NULL, NULL);
	loop_stop();
}

static void owner_transport_ended(void *arg, const struct cause *cause)
{
	struct owner *owner = arg;

	CHECK(!owner->ended);
	owner->ended = true;
	owner->cause = *cause;
	if (owner->free_in_ended)
		owner->transport = transport_free(owner->transport);
	loop_stop();
}

static const struct transport_events owner_events = {
	.ready = owner_transport_ready,
	.readable = owner_transport_readable,
	.writable = owner_transport_writable,
	.ended = owner_transport_ended,
};

static void owner_on_timer(void *arg)
{
	struct owner *owner = arg;

	transport_resume(owner->transport);
}

/* ---- running ---- */

static int connect_to(const char *ip, uint16_t port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool is_six = inet_pton(AF_INET6, ip, &six.sin6_addr) == 1;
	int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!is_six)
		CHECK(inet_pton(AF_INET, ip, &four.sin_addr) == 1);
	CHECK(connect(fd, is_six ? (void *)&six : (void *)&four,
		      is_six ? sizeof(six) : sizeof(four)) == 0);
	CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	return fd;
}

static SSL *new_ssl(const char *host)
{
	struct tls_options options = {.cacert = ca_file};
	struct url url = {.tls = true, .host = (char *)host};
	struct cause cause;
	SSL_CTX *context;
	SSL *ssl;

	CHECK_EQ(tls_context_new(&context, &options, &cause), 0);
	CHECK_EQ(tls_new(&ssl, context, &options, &url), 0);
	tls_context_free(context);
	return ssl;
}

static void owner_start(struct owner *owner, struct server *server, const char *host)
{
	int fd;

	server_start(server, "127.0.0.1");
	fd = connect_to("127.0.0.1", server->port);
	CHECK_EQ(timer_init(&owner->timer, owner_on_timer, owner), 0);
	if (!owner->read_len)
		owner->read_len = 4096;
	CHECK_EQ(transport_new(&owner->transport, fd, host ? new_ssl(host) : NULL), 0);
	transport_attach(owner->transport, &owner_events, owner);
	CHECK(!owner->ready); /* never from inside a call */
}

static void owner_stop(struct owner *owner, struct server *server)
{
	owner->transport = transport_free(owner->transport);
	timer_done(&owner->timer);
	server_stop(server);
}

/* ---- both directions, much ---- */

static void talk_echo(struct server *server)
{
	static uint8_t data[50000];
	ssize_t n;

	while ((n = server_read(server, data, sizeof(data))) > 0) {
		if (!server_write(server, data, (size_t)n))
			return;
	}
}

static void test_echo(const struct cert *cert, int max_version, size_t pause_every, size_t read_len)
{
	struct server server = {.cert = cert, .max_version = max_version, .talk = talk_echo};
	struct owner owner = {.to_send = BULK_BYTES,
			      .pause_every = pause_every,
			      .resume_later = true,
			      .read_len = read_len};

	owner_start(&owner, &server, cert ? "good.example" : NULL);
	RUN_UNTIL(owner.ready);
	CHECK(!cert == !*transport_tls(owner.transport));
	owner_send(&owner);
	RUN_UNTIL(owner.received == BULK_BYTES || owner.ended);
	CHECK(!owner.ended && !owner.pattern_wrong);
	CHECK_EQ(transport_committed(owner.transport), BULK_BYTES);
	CHECK_EQ(transport_written(owner.transport), BULK_BYTES);
	CHECK(loop_now_ms() - transport_last_rx_ms(owner.transport) < 1000);
	/* It takes its end of the stream when we end ours. */
	transport_shutdown(owner.transport);
	timer_cancel(&owner.timer);
	owner.pause_every = 0;
	transport_resume(owner.transport);
	RUN_UNTIL(owner.ended);
	CHECK_EQ(owner.cause.class, CAUSE_CLOSED);
	CHECK_EQ(owner.cause.code, 1006);
	owner_stop(&owner, &server);
}

/* ---- ends ---- */

static void talk_short(struct server *server)
{
	uint8_t data[1000];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	server_write(server, data, sizeof(data));
}

/* Paused with half of the bytes taken: the end must wait for the other half. */
static void test_end_after_pause(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_short};
	struct owner owner = {.read_len = 100, .pause_every = 300};

	owner_start(&owner, &server, cert ? "good.example" : NULL);
	RUN_UNTIL(owner.received == 300);
	run_for_ms(30);
	CHECK_EQ(owner.received, 300);
	CHECK(!owner.ended);
	transport_resume(owner.transport);
	RUN_UNTIL(owner.received == 600);
	transport_resume(owner.transport);
	transport_pause(owner.transport); /* thought better of it */
	run_for_ms(10);
	CHECK_EQ(owner.received, 600);
	owner.pause_every = 0;
	transport_resume(owner.transport);
	RUN_UNTIL(owner.ended);
	CHECK_EQ(owner.received, 1000);
	CHECK(!owner.pattern_wrong);
	CHECK_EQ(owner.cause.class, CAUSE_CLOSED);
	CHECK_EQ(owner.cause.code, 1006);
	CHECK(!cert || strstr(owner.cause.text, "truncated"));
	CHECK(cert || strstr(owner.cause.text, "the server closed the connection"));
	/* Silent from now on, whatever is asked. */
	transport_pause(owner.transport);
	transport_resume(owner.transport);
	transport_flush(owner.transport);
	run_for_ms(10);
	owner_stop(&owner, &server);
}

static void talk_close_notify(struct server *server)
{
	uint8_t byte;

	SSL_shutdown(server->ssl);
	while (server_read(server, &byte, 1) > 0) /* the stream itself stays open */
		;
}

static void test_close_notify(void)
{
	struct server server = {.cert = &good, .talk = talk_close_notify};
	struct owner owner = {.free_in_ended = true};

	owner_start(&owner, &server, "good.example");
	RUN_UNTIL(owner.ended);
	CHECK_STR(owner.cause.text, "the server closed the connection");
	CHECK_EQ(owner.cause.class, CAUSE_CLOSED);
	owner_stop(&owner, &server);
}

static void talk_reset(struct server *server)
{
	server_wait_ms(20);
	server_reset(server);
}

static void test_reset(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_reset};
	struct owner owner = {0};

	owner_start(&owner, &server, cert ? "good.example" : NULL);
	RUN_UNTIL(owner.ended);
	CHECK_EQ(owner.cause.class, CAUSE_CLOSED);
	CHECK_EQ(owner.cause.code, 1006);
	CHECK_STR(owner.cause.text, "connection reset by the server");
	owner_stop(&owner, &server);
}

static void talk_last_words(struct server *server)
{
	talk_short(server);
	server_wait_ms(50); /* what we send meanwhile it does not read: its end is a reset */
}

/* The write that fails must not swallow what had come before. */
static void test_last_words(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_last_words};
	struct owner owner = {.to_send = 1000};

	owner_start(&owner, &server, cert ? "good.example" : NULL);
	RUN_UNTIL(owner.ready);
	transport_pause(owner.transport);
	owner_send(&owner);
	run_for_ms(150);
	CHECK(!owner.ended);
	owner.to_send = 300000;
	owner_send(&owner);
	CHECK_EQ(owner.received, 0);
	run_for_ms(20);
	CHECK(!owner.ended);
	transport_resume(owner.transport);
	RUN_UNTIL(owner.ended);
	CHECK_EQ(owner.received, 1000);
	CHECK(!owner.pattern_wrong);
	CHECK_STR(owner.cause.text, "connection reset by the server");
	owner_stop(&owner, &server);
}

/* In TLS 1.3 we may have spoken before the server says that it misses our certificate: its alert,
 * not the reset behind it, is the cause. */
static void test_alert_before_reset(const struct cert *cert)
{
	struct server server = {.cert = cert, .wants_client = true};
	struct owner owner = {.to_send = 1000};

	owner_start(&owner, &server, "good.example");
	RUN_UNTIL(owner.ready);
	transport_pause(owner.transport);
	owner_send(&owner);
	run_for_ms(250);
	owner.to_send = 300000;
	owner_send(&owner);
	run_for_ms(20);
	transport_resume(owner.transport);
	RUN_UNTIL(owner.ended);
	CHECK_EQ(owner.cause.class, CAUSE_TLS);
	CHECK(strstr(owner.cause.text, "alert certificate_required"));
	owner_stop(&owner, &server);
}

/* ---- handshakes that fail ---- */

static void talk_plain_text(struct server *server)
{
	char request[100];

	CHECK(read(server->fd, request, sizeof(request)) > 0);
	server_write(server, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	server_wait_ms(20);
}

static void talk_hang_up(struct server *server)
{
	char request[4000];

	CHECK(read(server->fd, request, sizeof(request)) > 0);
}

static void refused(const struct cert *cert, void (*talk)(struct server *), const char *host,
		    enum cause_class class, const char *text)
{
	struct server server = {.cert = cert, .talk = talk};
	struct owner owner = {0};

	owner_start(&owner, &server, host);
	RUN_UNTIL(owner.ended);
	CHECK(!owner.ready);
	CHECK_EQ(owner.cause.class, class);
	if (!strstr(owner.cause.text, text))
		CHECK_STR(owner.cause.text, text);
	owner_stop(&owner, &server);
}

static void test_refused(void)
{
	struct cert self =
		cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example"}, NULL);

	refused(&good, NULL, "wrong.example", CAUSE_TLS, "hostname mismatch");
	refused(&self, NULL, "good.example", CAUSE_TLS, "self-signed");
	refused(&expired, NULL, "good.example", CAUSE_TLS, "it expired on");
	refused(NULL, talk_plain_text, "good.example", CAUSE_TLS, "not TLS");
	refused(NULL, talk_hang_up, "good.example", CAUSE_CLOSED, "hung up in the TLS handshake");
	refused(NULL, talk_reset, "good.example", CAUSE_CLOSED,
		"connection reset by the server in the TLS handshake");
	cert_free(&self);
}

/* ---- records ---- */

static void talk_tiny_records(struct server *server)
{
	for (uint64_t i = 0; i < 10000; i++) {
		uint8_t byte = pattern(i);

		server_write(server, &byte, 1);
		/* A new key in mid-stream, and the wish for one from us. */
		if (i == 5000 && SSL_version(server->ssl) == TLS1_3_VERSION) {
			SSL_key_update(server->ssl, SSL_KEY_UPDATE_REQUESTED);
			SSL_do_handshake(server->ssl);
		}
	}
	talk_echo(server);
}

static void test_tiny_records(size_t pause_every)
{
	struct server server = {.cert = &good, .talk = talk_tiny_records};
	struct owner owner = {.pause_every = pause_every, .resume_later = true};

	owner_start(&owner, &server, "good.example");
	RUN_UNTIL(owner.received == 10000 || owner.ended);
	CHECK(!owner.ended && !owner.pattern_wrong);
	/* The answer to the wish goes with our next bytes. */
	owner.to_send = 20000;
	owner.received = 0;
	owner_send(&owner);
	RUN_UNTIL(owner.received == 20000 || owner.ended);
	CHECK(!owner.ended && !owner.pattern_wrong);
	owner_stop(&owner, &server);
}

static void talk_one_record(struct server *server)
{
	uint8_t data[16384], byte;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	server_write(server, data, sizeof(data));
	server_read(server, &byte, 1); /* silence */
}

/* One record, eaten in bits with pauses between: no byte may wait for the socket to speak. */
static void test_one_record(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_one_record};
	struct owner owner = {.read_len = 16, .pause_every = 1600};

	owner_start(&owner, &server, cert ? "good.example" : NULL);
	for (uint64_t want = 1600; want < 16384; want += 1600) {
		RUN_UNTIL(owner.received == want);
		transport_resume(owner.transport);
		CHECK_EQ(owner.received, want); /* not from inside the call */
	}
	RUN_UNTIL(owner.received == 16384);
	CHECK(!owner.pattern_wrong);
	/* A resume calls, though there is nothing. */
	owner.readables = 0;
	transport_pause(owner.transport);
	run_for_ms(10);
	CHECK_EQ(owner.readables, 0);
	transport_resume(owner.transport);
	RUN_UNTIL(owner.readables == 1);
	owner_stop(&owner, &server);
}

/* Bytes left without a pause come again. */
static void test_left_over(void)
{
	struct server server = {.talk = talk_one_record};
	struct owner owner = {.stalled = true};

	owner_start(&owner, &server, NULL);
	RUN_UNTIL(owner.readables >= 2);
	CHECK_EQ(owner.received, 0);
	owner.stalled = false;
	RUN_UNTIL(owner.received == 16384);
	CHECK(!owner.pattern_wrong);
	owner_stop(&owner, &server);
}

/* ---- writing ---- */

static atomic_bool server_go;

static void talk_slow_reader(struct server *server)
{
	static uint8_t data[65536];
	uint64_t position = 0;
	ssize_t n;

	while (!server_go)
		server_wait_ms(1);
	while ((n = server_read(server, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			CHECK_EQ(data[i], pattern(position++));
	}
	CHECK_EQ(n, 0);
	if (server->ssl) /* close_notify, not just an end */
		CHECK_EQ(SSL_get_error(server->ssl, 0), SSL_ERROR_ZERO_RETURN);
	CHECK_EQ(position, 10000000);
	talk_short(server);
}

static uint64_t cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* S10: no busy loop while the peer does not read; then all, then our end; then still its answer. */
static void test_blocked(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_slow_reader};
	struct owner owner = {.to_send = 10000000};
	uint64_t before, committed;

	server_go = false;
	owner_start(&owner, &server, cert ? "good.example" : NULL);
	RUN_UNTIL(owner.ready);
	owner_send(&owner);
	do { /* until the kernel's buffers have stopped growing */
		committed = transport_committed(owner.transport);
		run_for_ms(100);
	} while (transport_committed(owner.transport) > committed);
	before = cpu_ms();
	run_for_ms(200);
	CHECK(cpu_ms() - before < 50);
	CHECK_EQ(transport_committed(owner.transport), committed);
	CHECK(transport_written(owner.transport) < committed);
	server_go = true;
	RUN_UNTIL(transport_committed(owner.transport) == owner.to_send);
	transport_shutdown(owner.transport);
	RUN_UNTIL(owner.ended);
	CHECK_EQ(transport_written(owner.transport), owner.to_send);
	CHECK_EQ(owner.received, 1000);
	CHECK(!owner.pattern_wrong);
	owner_stop(&owner, &server);
}

static void test_limits(void)
{
	struct server server = {.talk = talk_echo};
	struct owner owner = {0};
	uint64_t before;
	uint8_t *tail;

	owner_start(&owner, &server, NULL);
	RUN_UNTIL(owner.ready);
	CHECK_EQ(transport_room(owner.transport), TRANSPORT_TX_MAX);
	CHECK_EQ(transport_reserve(owner.transport, TRANSPORT_TX_MAX + 1, &tail), -ENOBUFS);
	CHECK_EQ(transport_reserve(owner.transport, 5, &tail), 0);
	memcpy(tail, "hello", 5);
	transport_commit(owner.transport, 5);
	CHECK_EQ(transport_room(owner.transport), TRANSPORT_TX_MAX - 5);
	CHECK_EQ(transport_written(owner.transport), 0);
	transport_flush(owner.transport);
	CHECK_EQ(transport_written(owner.transport), 5);
	RUN_UNTIL(owner.received == 5);
	run_for_ms(5);
	CHECK_EQ(owner.writables, 0); /* the caller knows that all has left */
	transport_ask_writable(owner.transport);
	CHECK_EQ(owner.writables, 0); /* never from inside a call */
	run_for_ms(5);
	CHECK_EQ(owner.writables, 1);
	before = cpu_ms();
	run_for_ms(100);
	CHECK(cpu_ms() - before < 30); /* idle is idle */
	CHECK(memcmp(owner.first, "hello", 5) == 0);
	owner_stop(&owner, &server);
}

/* What is flushed before `ready` leaves then. */
static void test_early_flush(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_echo};
	struct owner owner = {.to_send = 5000};

	owner_start(&owner, &server, cert ? "good.example" : NULL);
	owner_send(&owner);
	CHECK(!cert || transport_written(owner.transport) == 0);
	RUN_UNTIL(owner.received == 5000);
	CHECK(!owner.pattern_wrong);
	owner_stop(&owner, &server);
}

/* ---- handing over, freeing ---- */

static void test_attach(const struct cert *cert)
{
	struct server server = {.cert = cert, .talk = talk_one_record};
	struct owner first = {.attach_none = true};
	struct owner second = {.ready = true, .read_len = 1000};

	owner_start(&first, &server, cert ? "good.example" : NULL);
	RUN_UNTIL(first.ready);
	run_for_ms(30);
	second.transport = first.transport;
	transport_attach(first.transport, &owner_events, &second);
	RUN_UNTIL(second.received == 16384);
	CHECK(!second.pattern_wrong);
	CHECK_EQ(first.readables, 0);
	owner_stop(&first, &server);
}

/* The end comes while nobody is attached. */
static void test_attach_ended(void)
{
	struct server server = {.talk = talk_short};
	struct owner first = {.attach_none = true};
	struct owner second = {.ready = true, .read_len = 1000, .free_in_ended = true};

	owner_start(&first, &server, NULL);
	RUN_UNTIL(first.ready);
	run_for_ms(20);
	second.transport = first.transport;
	transport_attach(first.transport, &owner_events, &second);
	RUN_UNTIL(second.ended);
	CHECK_EQ(second.received, 1000);
	first.transport = NULL;
	owner_stop(&first, &server);
}

static void test_free(const struct cert *cert)
{
	const char *host = cert ? "good.example" : NULL;
	struct server server;
	struct owner owner;

	for (int stage = 0; stage < 6; stage++) {
		server = (struct server){.cert = cert,
					 .talk = stage == 5 ? talk_reset : talk_one_record};
		owner = (struct owner){.free_in_ready = stage == 2};
		owner_start(&owner, &server, host);
		if (stage == 1)
			run_for_ms(1); /* somewhere in the handshake */
		if (stage == 2)
			RUN_UNTIL(owner.ready);
		if (stage == 3) { /* with bytes kept */
			owner.pause_every = 1;
			RUN_UNTIL(owner.received > 0);
		}
		if (stage == 4) { /* with a full tx, events armed, and a turn to come */
			owner.to_send = 100000000;
			RUN_UNTIL(owner.ready);
			owner_send(&owner);
			run_for_ms(20);
			transport_resume(owner.transport);
			transport_flush(owner.transport);
		}
		if (stage == 5) {
			owner.free_in_ended = true;
			RUN_UNTIL(owner.ended);
		}
		owner_stop(&owner, &server);
		run_for_ms(1);
	}
	CHECK(!transport_free(NULL));
}

/* ---- what status shows ---- */

static void check_address(int fd, const char *address)
{
	struct transport *transport;

	CHECK_EQ(transport_new(&transport, fd, NULL), 0);
	CHECK_STR(transport_address(transport), address);
	CHECK_STR(transport_tls(transport), "");
	transport_free(transport);
}

static void test_addresses(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/tmp/test-transport.sock"};
	char want[64];
	uint16_t port = 0;
	int fd, value, pair[2];
	socklen_t len = sizeof(value);

	fd = server_listen("::1", &port, 1);
	snprintf(want, sizeof(want), "[::1]:%u", port);
	check_address(connect_to("::1", port), want);
	close(fd);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s.sock", ca_file);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(fd, (void *)&un, sizeof(un)) == 0 && listen(fd, 1) == 0);
	pair[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(pair[0], (void *)&un, sizeof(un)) == 0);
	check_address(pair[0], un.sun_path);
	close(fd);
	unlink(un.sun_path);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	close(pair[1]);
	check_address(pair[0], "");

	port = 0;
	fd = server_listen("127.0.0.1", &port, 1);
	pair[0] = connect_to("127.0.0.1", port);
	pair[1] = dup(pair[0]);
	snprintf(want, sizeof(want), "127.0.0.1:%u", port);
	check_address(pair[0], want);
	CHECK(getsockopt(pair[1], IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &len) == 0);
	CHECK_EQ(value, 30000);
	CHECK(getsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &value, &len) == 0);
	CHECK_EQ(value, 1);
	CHECK(getsockopt(pair[1], SOL_SOCKET, SO_KEEPALIVE, &value, &len) == 0);
	CHECK_EQ(value, 1);
	CHECK(getsockopt(pair[1], IPPROTO_TCP, TCP_KEEPIDLE, &value, &len) == 0);
	CHECK_EQ(value, 30);
	close(pair[1]);
	close(fd);
}

static void test_tls_name(void)
{
	struct server server = {.cert = &good, .talk = talk_echo, .max_version = TLS1_2_VERSION};
	struct owner owner = {0};

	owner_start(&owner, &server, "good.example");
	RUN_UNTIL(owner.ready);
	CHECK_STR(transport_tls(owner.transport), "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384");
	owner_stop(&owner, &server);
}

static void set_up(void)
{
	struct cert ca = cert_new(&(struct cert_want){.cn = "Test CA", .ca = true}, NULL);
	int fd = mkstemp(ca_file);

	CHECK(fd >= 0);
	close(fd);
	cert_write(&ca, ca_file, NULL);
	good = cert_new(&(struct cert_want){.cn = "x", .san = "DNS:good.example"}, &ca);
	expired = cert_new(&(struct cert_want){.cn = "x",
					       .san = "DNS:good.example",
					       .from_s = -9L * CERT_DAY_S,
					       .to_s = -10},
			   &ca);
	cert_free(&ca);
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
	CHECK_EQ(loop_init(), 0);
}

static void tear_down(void)
{
	loop_done();
	cert_free(&good);
	cert_free(&expired);
	unlink(ca_file);
}

int main(void)
{
	const struct cert *certs[] = {NULL, &good};

	set_up();
	for (size_t i = 0; i < 2; i++) {
		test_echo(certs[i], 0, 0, 65536);
		test_echo(certs[i], 0, 700000, 4096);
		test_echo(certs[i], TLS1_2_VERSION, 100001, 4096);
		test_end_after_pause(certs[i]);
		test_reset(certs[i]);
		test_last_words(certs[i]);
		test_one_record(certs[i]);
		test_blocked(certs[i]);
		test_early_flush(certs[i]);
		test_attach(certs[i]);
		test_free(certs[i]);
	}
	test_close_notify();
	test_alert_before_reset(&good);
	test_refused();
	test_tiny_records(0);
	test_tiny_records(777);
	test_left_over();
	test_limits();
	test_attach_ended();
	test_addresses();
	test_tls_name();
	tear_down();
	return 0;
}
