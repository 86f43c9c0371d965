/* A proxy that answers anything.  There is one outcome; a way that is handed over has lost not a
 * byte of what stands behind the answer, and was rightly so by a plain reading; cut otherwise, it
 * is the same.
 *
 * Input: a byte (bits 0-1: kind, 2: a password, 3: the server's name is an address), a byte (number
 * of cuts), the cuts, the proxy's bytes. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "base/loop.h"
#include "fuzz.h"
#include "net/proxy.h"

enum { CUTS_MAX = 16, TURNS = 100, LEN_MAX = 32 * 1024 };

struct outcome {
	bool ready, failed;
	size_t used;
	int code;
	char text[sizeof(((struct cause *)0)->text)];
	int fd;
};

static void on_ready(void *owner, int fd)
{
	struct outcome *outcome = owner;

	HOLDS(!outcome->ready && !outcome->failed && fd >= 0);
	outcome->ready = true;
	outcome->fd = fd;
}

static void on_failed(void *owner, const struct cause *cause)
{
	struct outcome *outcome = owner;

	HOLDS(!outcome->ready && !outcome->failed);
	HOLDS(cause->class == CAUSE_PROXY && *cause->text && is_one_line(cause->text));
	HOLDS((cause->code >= 0 && cause->code <= 599) || cause->code == PROXY_BAD_ANSWER);
	outcome->failed = true;
	outcome->code = cause->code;
	memcpy(outcome->text, cause->text, sizeof(outcome->text));
}

static const struct proxy_events events = {on_ready, on_failed};

static bool is_done(const struct outcome *outcome)
{
	return outcome->ready || outcome->failed;
}

static void turns(const struct outcome *outcome)
{
	for (int i = 0; i < 4 && !is_done(outcome); i++)
		HOLDS(event_base_loop(loop_base(), EVLOOP_NONBLOCK) >= 0);
}

/* How much of what was sent is still to be read. */
static size_t count_rest(int fd)
{
	static uint8_t bytes[LEN_MAX];
	size_t n = 0;
	ssize_t r;

	while ((r = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		n += (size_t)r;
	return n;
}

static void run(struct outcome *outcome, const struct proxy_address *address, const char *host,
		struct food cuts, struct food bytes)
{
	size_t sent = 0;
	struct proxy *proxy;
	int fds[2];

	*outcome = (struct outcome){.fd = -1};
	HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	HOLDS(proxy_start(&proxy, fds[0], address, host, 443, &events, outcome) == 0);
	while (bytes.len > 0 && !is_done(outcome)) {
		struct food piece = take_bytes(&bytes, next_cut(&cuts, bytes.len));

		HOLDS(send(fds[1], piece.at, piece.len, MSG_NOSIGNAL) == (ssize_t)piece.len);
		sent += piece.len;
		turns(outcome);
	}
	HOLDS(shutdown(fds[1], SHUT_WR) == 0);
	for (int i = 0; i < TURNS && !is_done(outcome); i++)
		turns(outcome);
	HOLDS(is_done(outcome));
	if (outcome->ready) {
		outcome->used = sent - count_rest(outcome->fd);
		close(outcome->fd);
	}
	proxy_free(proxy);
	close(fds[1]);
}

/* --- a plain reading of RFC 1928 and 1929 ------------------------------------------------------
 */

/* Bytes of a conversation that leads to the server; 0: it does not. */
static size_t socks_len(struct food food, bool password)
{
	size_t all = food.len, host_len;
	uint8_t method, type;

	if (take_byte(&food) != 5)
		return 0;
	method = take_byte(&food);
	if (method != 0 && !(method == 2 && password))
		return 0;
	if (method == 2) {
		uint8_t version = take_byte(&food);

		if ((version != 1 && version != 5) || food.len == 0 || take_byte(&food) != 0)
			return 0; /* 5 is wrong, but what some say */
	}
	if (food.len < 5 || take_byte(&food) != 5 || take_byte(&food) != 0)
		return 0;
	take_byte(&food);
	type = take_byte(&food);
	host_len = type == 1   ? 4
		   : type == 4 ? 16
		   : type == 3 ? (size_t)take_byte(&food)
			       : SIZE_MAX - 2;
	if (food.len < host_len + 2 || host_len > 255)
		return 0;
	take_bytes(&food, host_len + 2);
	return all - food.len;
}

static void check_socks(const struct outcome *outcome, struct food bytes, bool password)
{
	size_t len = socks_len(bytes, password);

	HOLDS(outcome->ready == (len > 0));
	HOLDS(!outcome->ready || outcome->used == len);
}

/* --- HTTP --------------------------------------------------------------------------------------
 */

/* No byte may stand behind a head that lets us in; and it says 2xx. */
static void check_http(const struct outcome *outcome, struct food bytes)
{
	const char *text = (const char *)bytes.at;

	if (!outcome->ready)
		return;
	HOLDS(outcome->used <= bytes.len && outcome->used >= 16);
	HOLDS(memcmp(text + outcome->used - 4, "\r\n\r\n", 4) == 0);
	while (!(text[9] == '2' && strncmp(text, "HTTP/1.", 7) == 0)) { /* ahead of it: 1xx */
		const char *next = memmem(text, outcome->used, "\r\n\r\n", 4);

		HOLDS(strncmp(text, "HTTP/1.", 7) == 0 && text[9] == '1' && next);
		text = next + 4;
		HOLDS((size_t)(text - (const char *)bytes.at) + 16 <= outcome->used);
	}
}

/* Bytes behind the head are seen if they come with it. */
static bool is_same(const struct outcome *whole, const struct outcome *pieces)
{
	if (whole->failed && strstr(whole->text, "behind its answer"))
		return pieces->ready || strcmp(whole->text, pieces->text) == 0;
	return whole->ready == pieces->ready && whole->used == pieces->used &&
	       whole->code == pieces->code;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return loop_init();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char host_name[] = "proxy.example", user[] = "name:secret";
	struct food food = {data, len}, cuts, no_cuts = {NULL, 0};
	uint8_t flags = take_byte(&food);
	struct proxy_address address = {.kind = (flags & 3) % 3,
					.host = host_name,
					.port = 1080,
					.user = flags & 4 ? user : NULL,
					.name = "proxy.example:1080"};
	const char *host = flags & 8 ? "2001:db8::1" : "server.example";
	struct outcome whole, pieces;

	cuts = take_bytes(&food, take_byte(&food) % CUTS_MAX);
	food.len = food.len < LEN_MAX ? food.len : LEN_MAX;
	run(&whole, &address, host, no_cuts, food);
	run(&pieces, &address, host, cuts, food);
	if (address.kind == PROXY_HTTP)
		check_http(&whole, food);
	else
		check_socks(&whole, food, address.user);
	HOLDS(is_same(&whole, &pieces));
	return 0;
}
