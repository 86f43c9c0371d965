/* server - the other end for tests of streams: a blocking server in a thread, plain or TLS, that
 * takes one connection and does with it what the test's function says. */
#ifndef UNIT_SERVER_H
#define UNIT_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "certs.h"
#include "check.h"

struct server {
	const struct cert *cert;             /* NULL: plain */
	int max_version;                     /* 0: any */
	bool wants_client;                   /* a certificate; without one it leaves with a reset */
	void (*talk)(struct server *server); /* .fd and .ssl are connected; NULL: nothing to do */
	int listen_fd, fd;
	SSL *ssl; /* NULL if plain, or if the handshake failed */
	uint16_t port;
	pthread_t thread;
};

static inline int server_listen(const char *ip, uint16_t *port, int backlog)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(*port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(*port)};
	bool is_six = inet_pton(AF_INET6, ip, &six.sin6_addr) == 1;
	socklen_t len = is_six ? sizeof(six) : sizeof(four);
	void *address = is_six ? (void *)&six : (void *)&four;
	int one = 1, fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	if (!is_six)
		CHECK(inet_pton(AF_INET, ip, &four.sin_addr) == 1);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	CHECK(bind(fd, address, len) == 0);
	CHECK(listen(fd, backlog) == 0);
	CHECK(getsockname(fd, address, &len) == 0);
	*port = ntohs(is_six ? six.sin6_port : four.sin_port);
	return fd;
}

static inline void server_start_tls(struct server *server)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	CHECK(SSL_CTX_use_certificate(context, server->cert->x509) == 1);
	CHECK(SSL_CTX_use_PrivateKey(context, server->cert->key) == 1);
	SSL_CTX_set_max_proto_version(context, server->max_version);
	if (server->wants_client)
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	server->ssl = SSL_new(context);
	SSL_CTX_free(context);
	SSL_set_fd(server->ssl, server->fd);
	if (SSL_accept(server->ssl) != 1) {
		if (server->wants_client)
			nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000}, NULL);
		SSL_free(server->ssl);
		server->ssl = NULL;
	}
}

static inline void *server_thread(void *arg)
{
	struct server *server = arg;
	int one = 1;

	server->fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (server->fd < 0)
		return NULL; /* shut down: nobody came */
	setsockopt(server->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (server->cert)
		server_start_tls(server);
	if (server->talk && (!server->cert || server->ssl))
		server->talk(server);
	SSL_free(server->ssl);
	if (server->fd >= 0)
		close(server->fd);
	return NULL;
}

static inline void server_start(struct server *server, const char *ip)
{
	server->listen_fd = server_listen(ip, &server->port, 8);
	CHECK(pthread_create(&server->thread, NULL, server_thread, server) == 0);
}

/* Waits for the thread; if nobody has come yet, nobody will. */
static inline void server_stop(struct server *server)
{
	shutdown(server->listen_fd, SHUT_RDWR);
	CHECK(pthread_join(server->thread, NULL) == 0);
	close(server->listen_fd);
}

static inline ssize_t server_read(struct server *server, void *data, size_t len)
{
	return server->ssl ? SSL_read(server->ssl, data, (int)len) : read(server->fd, data, len);
}

/* All of it, or false if the peer is gone. */
static inline bool server_write(struct server *server, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = server->ssl ? SSL_write(server->ssl, at, (int)len)
					: send(server->fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static inline void server_wait_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Close with a reset instead of an orderly end. */
static inline void server_reset(struct server *server)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(server->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(server->fd);
	server->fd = -1;
}

#endif
