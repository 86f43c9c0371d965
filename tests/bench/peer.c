/* peer - the other end of every measurement: a WebSocket or a raw TCP server that costs little.
 *
 *	peer [--tls CERT KEY] [--raw] [--echo]
 *
 * It listens on a port of 127.0.0.1, says "port N", and obeys lines from its standard input; when
 * that ends, so does it.  Reports go to standard output, times are CLOCK_MONOTONIC in ns.
 *
 *	flood SIZE COUNT ascii|other   send so many messages on the newest connection; tells "flood
 *START END" expect BYTES                   tells "got END MESSAGES" when so many bytes of payload
 *have come stats                          tells "stats CONNECTIONS PINGS"
 *
 * Messages that it sends are made before the clock starts; of those that it receives only headers
 * are looked at, unless it echoes.  It trusts its clients: it serves measurements, nothing else. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include "bench.h"

enum {
	LIFE_SECONDS = 3600,
	READ_BYTES = 256 * 1024,
	BLOCK_BYTES = 256 * 1024, /* of a flood, for one write */
	KEPT_MAX = 64 * 1024,     /* the start of a frame that is not whole yet */
	HEADER_MAX = 14,
};

struct conn {
	int fd;
	SSL *ssl;
	bool open;
	bool closed;   /* a Close has come: the server is the one who ends the stream then */
	uint64_t skip; /* bytes of payload that only are to be counted */
	bool skip_ends;
	uint8_t *kept;
	size_t kept_len;
};

static struct {
	bool raw, echo;
	SSL_CTX *tls;
	int epoll, listener;
	struct conn *newest;
	unsigned connections;
	uint64_t pings, bytes, messages, expected;
	/* Room before the bytes read, for what was kept of the frame that they continue. */
	uint8_t in[KEPT_MAX + READ_BYTES], out[KEPT_MAX + READ_BYTES];
	size_t out_len;
} peer;

/* --- bytes ---------------------------------------------------------------------------------- */

/* -1: the end; 0: nothing there. */
static ssize_t conn_read(struct conn *conn, uint8_t *data, size_t len)
{
	ssize_t n;

	if (!conn->ssl) {
		n = read(conn->fd, data, len);
		return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
	}
	n = SSL_read(conn->ssl, data, (int)len);
	return n > 0 ? n : SSL_get_error(conn->ssl, (int)n) == SSL_ERROR_WANT_READ ? 0 : -1;
}

static bool conn_write(struct conn *conn, const uint8_t *data, size_t len)
{
	while (len > 0) {
		struct pollfd pollfd = {.fd = conn->fd, .events = POLLOUT};
		ssize_t n = conn->ssl ? SSL_write(conn->ssl, data, (int)len)
				      : send(conn->fd, data, len, MSG_NOSIGNAL);

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (conn->ssl ? SSL_get_error(conn->ssl, (int)n) != SSL_ERROR_WANT_WRITE
				     : errno != EAGAIN) {
			return false;
		} else if (poll(&pollfd, 1, 20000) <= 0) {
			return false;
		}
	}
	return true;
}

static void conn_free(struct conn *conn)
{
	if (peer.newest == conn)
		peer.newest = NULL;
	peer.connections -= conn->open;
	SSL_free(conn->ssl);
	close(conn->fd);
	free(conn->kept);
	free(conn);
}

static void conn_opened(struct conn *conn)
{
	conn->open = true;
	peer.connections++;
	peer.newest = conn;
}

/* --- frames --------------------------------------------------------------------------------- */

static size_t put_header(uint8_t *out, uint8_t first, uint64_t len)
{
	out[0] = first;
	if (len <= 125) {
		out[1] = (uint8_t)len;
		return 2;
	}
	if (len <= UINT16_MAX) {
		out[1] = 126;
		out[2] = (uint8_t)(len >> 8);
		out[3] = (uint8_t)len;
		return 4;
	}
	out[1] = 127;
	len = htobe64(len);
	memcpy(out + 2, &len, sizeof(len));
	return 10;
}

/* Length of the header, 0 if it is not whole. */
static size_t get_header(const uint8_t *in, size_t have, uint64_t *ret_len)
{
	size_t extended;

	if (have < 2)
		return 0;
	extended = (in[1] & 0x7f) == 126 ? 2 : (in[1] & 0x7f) == 127 ? 8 : 0;
	if (have < 2 + extended + 4)
		return 0;
	*ret_len = in[1] & 0x7f;
	if (extended)
		*ret_len = 0;
	for (size_t i = 0; i < extended; i++)
		*ret_len = *ret_len << 8 | in[2 + i];
	return 2 + extended + 4; /* clients mask */
}

static void count(uint64_t bytes, bool ends)
{
	peer.bytes += bytes;
	peer.messages += ends;
	if (peer.expected > 0 && peer.bytes >= peer.expected) {
		printf("got %llu %llu\n", (unsigned long long)now_ns(),
		       (unsigned long long)peer.messages);
		fflush(stdout);
		peer.expected = 0;
	}
}

/* Pings, Close, and messages that are to go back: a whole frame goes into the answer of this
 * wake-up. */
static void answer(uint8_t first, const uint8_t *key, const uint8_t *payload, size_t len)
{
	uint8_t *out = peer.out + peer.out_len;

	if ((first & 15) == 9)
		peer.pings++;
	if ((first & 15) == 10 || peer.out_len + HEADER_MAX + len > sizeof(peer.out))
		return;
	out += put_header(out, (first & 15) == 9 ? 0x8a : first, len);
	for (size_t i = 0; i < len; i++)
		out[i] = payload[i] ^ key[i % 4];
	peer.out_len = (size_t)(out + len - peer.out);
}

/* Bytes taken of one frame; 0: it has to be more. */
static size_t take_frame(struct conn *conn, const uint8_t *in, size_t have)
{
	uint64_t len;
	size_t header = get_header(in, have, &len), part;

	if (header == 0)
		return 0;
	if (in[0] & 8 || peer.echo) {
		if (have < header + len)
			return 0;
		conn->closed |= (in[0] & 15) == 8;
		answer(in[0], in + header - 4, in + header, len);
		return header + len;
	}
	part = have - header < len ? have - header : len;
	conn->skip = len - part;
	conn->skip_ends = in[0] & 0x80;
	count(part, conn->skip == 0 && conn->skip_ends);
	return header + part;
}

static size_t take_skipped(struct conn *conn, size_t have)
{
	size_t part = have < conn->skip ? have : conn->skip;

	conn->skip -= part;
	if (part > 0)
		count(part, conn->skip == 0 && conn->skip_ends);
	return part;
}

static bool take_frames(struct conn *conn, const uint8_t *in, size_t have)
{
	size_t at = take_skipped(conn, have), step;

	while ((step = take_frame(conn, in + at, have - at)) > 0)
		at += step;
	conn->kept_len = have - at;
	if (conn->kept_len > KEPT_MAX)
		return false;
	if (conn->kept_len > 0) {
		conn->kept = realloc(conn->kept, conn->kept_len);
		assert(conn->kept);
		memcpy(conn->kept, in + at, conn->kept_len);
	}
	return true;
}

/* --- opening -------------------------------------------------------------------------------- */

static bool conn_upgrade(struct conn *conn)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char head[4096], text[128], answer_head[256];
	uint8_t digest[SHA_DIGEST_LENGTH];
	unsigned char accept[32];
	const char *key = NULL;
	size_t len = 0;
	ssize_t n = 0;

	while (len < sizeof(head) - 1 && n >= 0 && !key) {
		struct pollfd pollfd = {.fd = conn->fd, .events = POLLIN};

		n = conn_read(conn, (uint8_t *)head + len, sizeof(head) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
		head[len] = '\0';
		if (strstr(head, "\r\n\r\n"))
			key = strcasestr(head, "\r\nSec-WebSocket-Key:");
		else if (n == 0 && poll(&pollfd, 1, 5000) <= 0)
			return false;
	}
	if (!key)
		return false;
	key += strlen("\r\nSec-WebSocket-Key:");
	key += strspn(key, " ");
	snprintf(text, sizeof(text), "%.24s%s", key, guid);
	SHA1((const unsigned char *)text, strlen(text), digest);
	EVP_EncodeBlock(accept, digest, sizeof(digest));
	len = (size_t)snprintf(answer_head, sizeof(answer_head),
			       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			       accept);
	return conn_write(conn, (const uint8_t *)answer_head, len);
}

static bool conn_start_tls(struct conn *conn)
{
	const struct timeval wait = {.tv_sec = 5};

	setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	conn->ssl = SSL_new(peer.tls);
	return conn->ssl && SSL_set_fd(conn->ssl, conn->fd) == 1 && SSL_accept(conn->ssl) == 1;
}

/* Handshakes are not measured, so they may be done one by one. */
static void accept_conn(void)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	const int on = 1;

	assert(conn);
	conn->fd = accept4(peer.listener, NULL, NULL, SOCK_CLOEXEC);
	if (conn->fd < 0) {
		free(conn);
		return;
	}
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if ((peer.tls && !conn_start_tls(conn)) || fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    (!peer.raw && !conn_upgrade(conn)) ||
	    epoll_ctl(peer.epoll, EPOLL_CTL_ADD, conn->fd,
		      &(struct epoll_event){.events = EPOLLIN, .data.ptr = conn}) < 0) {
		conn_free(conn);
		return;
	}
	conn_opened(conn);
}

/* --- a wake-up ------------------------------------------------------------------------------ */

static bool conn_take(struct conn *conn, size_t n)
{
	const uint8_t *in = peer.in + KEPT_MAX - conn->kept_len;

	if (peer.raw && peer.echo)
		return conn_write(conn, in, n);
	if (peer.raw) {
		count(n, false);
		return true;
	}
	if (conn->kept_len > 0)
		memcpy(peer.in + KEPT_MAX - conn->kept_len, conn->kept, conn->kept_len);
	peer.out_len = 0;
	return take_frames(conn, in, conn->kept_len + n) &&
	       (peer.out_len == 0 || conn_write(conn, peer.out, peer.out_len)) && !conn->closed;
}

static void conn_on_readable(struct conn *conn)
{
	ssize_t n;

	do {
		n = conn_read(conn, peer.in + KEPT_MAX, READ_BYTES);
		if (n > 0 && !conn_take(conn, (size_t)n))
			n = -1;
	} while (n > 0 && conn->ssl);
	if (n < 0)
		conn_free(conn);
}

/* --- commands ------------------------------------------------------------------------------- */

static void fill_text(uint8_t *at, size_t len, bool ascii)
{
	static const char other[] =
		"\xd0\xb4\xe8\xaa\x9e\xc3\xa9\xe2\x82\xac"; /* 2, 3, 2, 3 bytes */

	memset(at, 'x', len);
	for (; !ascii && len >= sizeof(other) - 1;
	     len -= sizeof(other) - 1, at += sizeof(other) - 1)
		memcpy(at, other, sizeof(other) - 1);
}

static size_t make_unit(uint8_t *unit, size_t size, bool ascii)
{
	size_t header = peer.raw ? 0 : put_header(unit, 0x81, size);

	fill_text(unit + header, size, ascii);
	if (peer.raw)
		unit[size] = '\n';
	return header + size + (peer.raw ? 1 : 0);
}

static void flood(size_t size, size_t messages, bool ascii)
{
	size_t per_block = size < BLOCK_BYTES ? BLOCK_BYTES / (size + HEADER_MAX) : 1;
	uint8_t *block = malloc(per_block * (size + HEADER_MAX));
	uint64_t start;
	size_t unit;

	assert(block);
	unit = make_unit(block, size, ascii);
	for (size_t i = 1; i < per_block; i++)
		memcpy(block + i * unit, block, unit);
	start = now_ns();
	while (messages > 0 && peer.newest) {
		size_t n = messages < per_block ? messages : per_block;

		if (!conn_write(peer.newest, block, n * unit))
			break;
		messages -= n;
	}
	free(block);
	printf("flood %llu %llu\n", (unsigned long long)start, (unsigned long long)now_ns());
}

static void obey(const char *line)
{
	unsigned long long size, messages;
	char text[16];

	if (sscanf(line, "flood %llu %llu %15s", &size, &messages, text) == 3) {
		flood(size, messages, strcmp(text, "ascii") == 0);
	} else if (sscanf(line, "expect %llu", &size) == 1) {
		peer.bytes = peer.messages = 0;
		peer.expected = size;
		puts("expecting");
	} else if (strcmp(line, "stats\n") == 0) {
		printf("stats %u %llu\n", peer.connections, (unsigned long long)peer.pings);
	}
	fflush(stdout);
}

/* One command a time: whoever gives it waits for its report. */
static bool read_command(void)
{
	char line[128];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (n <= 0)
		return false;
	line[n] = '\0';
	obey(line);
	return true;
}

/* --- start ---------------------------------------------------------------------------------- */

static void listen_on_loopback(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);

	peer.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (peer.listener < 0 || bind(peer.listener, (struct sockaddr *)&address, len) < 0 ||
	    listen(peer.listener, 4096) < 0 ||
	    getsockname(peer.listener, (struct sockaddr *)&address, &len) < 0)
		die("listen");
	printf("port %u\n", (unsigned)ntohs(address.sin_port));
	fflush(stdout);
}

static void use_certificate(const char *cert, const char *key)
{
	peer.tls = SSL_CTX_new(TLS_server_method());
	if (!peer.tls || SSL_CTX_use_certificate_chain_file(peer.tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(peer.tls, key, SSL_FILETYPE_PEM) != 1)
		die("certificate");
	SSL_CTX_set_mode(peer.tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
					   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					   SSL_MODE_RELEASE_BUFFERS);
}

static void watch(int fd, void *mark)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = mark};

	if (epoll_ctl(peer.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll");
}

static void serve(void)
{
	struct epoll_event events[64];

	for (;;) {
		int n = epoll_wait(peer.epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &peer.listener)
				accept_conn();
			else if (events[i].data.ptr != &peer.epoll)
				conn_on_readable(events[i].data.ptr);
			else if (!read_command())
				return;
		}
	}
}

int main(int argc, char **argv)
{
	raise_limits(LIFE_SECONDS);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--raw") == 0) {
			peer.raw = true;
		} else if (strcmp(argv[i], "--echo") == 0) {
			peer.echo = true;
		} else if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
			use_certificate(argv[i + 1], argv[i + 2]);
			i += 2;
		} else {
			die("usage: peer [--tls CERT KEY] [--raw] [--echo]");
		}
	}
	peer.epoll = epoll_create1(EPOLL_CLOEXEC);
	listen_on_loopback();
	watch(peer.listener, &peer.listener);
	watch(STDIN_FILENO, &peer.epoll);
	serve();
	return 0;
}
