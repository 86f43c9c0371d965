/* transport - see the header.
 *
 * Reading.  Bytes are read into the loop's scratch and offered from there; only what a paused owner
 * leaves is copied to memory of our own (`kept`).  The socket is not read again before that has
 * been taken, so there is never more of it than one scratch.
 *
 * TLS bytes that sit inside OpenSSL would not wake epoll.  There are none: SSL_read() is only
 * called with room for a whole record, and without read-ahead OpenSSL reads no further than the
 * record that it was asked for.  What is left is in the socket, and epoll is level-triggered.
 *
 * Writing.  `tx` leaves with one send(); for TLS one SSL_write() a record.  When the socket is
 * full, the write event is armed, and nobody tries again before it fires.  It is an event of its
 * own, so that in the usual case, where everything leaves at once, epoll is not told anything.
 *
 * A failed write does not end the transport at once: the peer may have sent its reasons (a Close
 * frame) before it hung up.  What has arrived is read and offered first.
 *
 * Upcalls that are not caused by a byte come from one later, transport_on_turn().  OpenSSL writes
 * with write(2), so the process has to ignore SIGPIPE. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/loop.h"
#include "net/address.h"
#include "net/tls.h"
#include "net/tlscause.h"
#include "net/tlspeer.h"
#include "net/transport.h"

enum {
	TX_FIRST = 16 * 1024,
	TRANSPORT_FILLS = 4,    /* of the scratch in one wake-up; then the others have their turn */
	TRANSPORT_RECORDS = 64, /* in one fill: even 1-byte records cost two reads each */
};

enum transport_state {
	TRANSPORT_HANDSHAKE,
	TRANSPORT_OPEN,
	TRANSPORT_ENDED, /* `ended` has been told */
};

struct transport {
	int fd;
	SSL *ssl;
	struct event read_event, write_event;
	bool read_armed, write_armed;
	enum transport_state state;

	const struct transport_events *events;
	void *owner;
	struct later turn;
	bool tell_ready, tell_written, tell_again; /* what the next turn has to say */

	bool paused;
	bool rx_done;           /* nothing more will be read; .cause says why */
	bool read_wants_write;  /* OpenSSL's crossed wants; in a handshake also the plain ones */
	const uint8_t *offered; /* while `readable` runs: what transport_read() gives out */
	size_t offered_bytes;
	struct buf kept;
	uint64_t last_rx_ms;

	struct buf tx;
	bool tx_failed;
	bool write_blocked;
	bool write_wants_read;
	bool shutdown_wanted, shutdown_done;
	uint64_t committed, written;

	struct cause *cause; /* of the end; NULL while there is none */
	char *address, *tls; /* for status; NULL: not known, or no TLS */
};

/* ---- events ---- */

static bool transport_wants_read(const struct transport *transport)
{
	if (!transport->events || transport->state == TRANSPORT_ENDED || transport->rx_done)
		return false;
	if (transport->state == TRANSPORT_HANDSHAKE)
		return !transport->write_blocked;
	if (transport->write_wants_read)
		return true;
	return !transport->paused && !transport->read_wants_write && !transport->tell_ready &&
	       buf_len(&transport->kept) == 0;
}

static bool transport_wants_write(const struct transport *transport)
{
	if (!transport->events || transport->state == TRANSPORT_ENDED || transport->rx_done)
		return false;
	return transport->write_blocked || (transport->read_wants_write && !transport->paused);
}

static void transport_end(struct transport *transport);

static int transport_arm(struct event *event, bool *armed, bool wanted)
{
	if (wanted == *armed)
		return 0;
	if (wanted && event_add(event, NULL) < 0)
		return errno ? -errno : -ENOMEM;
	if (!wanted)
		event_del(event);
	*armed = wanted;
	return 0;
}

/* The one place that decides what is armed. */
static void transport_rearm(struct transport *transport)
{
	int r;

	errno = 0;
	r = transport_arm(&transport->read_event, &transport->read_armed,
			  transport_wants_read(transport));
	if (r == 0)
		r = transport_arm(&transport->write_event, &transport->write_armed,
				  transport_wants_write(transport));
	if (r == 0)
		return;
	cause_set(cause_room(&transport->cause), CAUSE_LOCAL, -r, "epoll: %s", strerror(-r));
	transport_end(transport);
	/* Only adding can fail, and now nothing is wanted. */
	transport_arm(&transport->read_event, &transport->read_armed, false);
	transport_arm(&transport->write_event, &transport->write_armed, false);
}

/* ---- the end ---- */

/* Nothing more can be read: what has been is offered, then the cause is told. */
static void transport_end(struct transport *transport)
{
	assert(transport->cause);
	transport->rx_done = true;
	loop_later(&transport->turn);
}

/* The first cause stays: a reset that a write has met looks to the next read like a mere end. */
static struct cause *transport_first_cause(struct transport *transport, struct cause *spare)
{
	return transport->cause ? spare : cause_room(&transport->cause);
}

static void transport_note_eof(struct transport *transport)
{
	struct cause spare, *cause = transport_first_cause(transport, &spare);

	if (transport->state == TRANSPORT_HANDSHAKE)
		cause_set(cause, CAUSE_CLOSED, 1006,
			  "%s hung up in the TLS handshake (%s)", tlspeer_name(transport->ssl),
			  tlscause_hang_up_hint(transport->ssl));
	else
		cause_set(cause, CAUSE_CLOSED, 1006, "the server closed the connection");
}

static void transport_note_errno(struct transport *transport, int error)
{
	char where[TLSPEER_NAME_MAX + 32] = "";
	struct cause spare;
	struct cause *cause = transport_first_cause(transport, &spare);

	if (transport->state == TRANSPORT_HANDSHAKE)
		snprintf(where, sizeof(where), " in the TLS handshake with %s",
			 tlspeer_name(transport->ssl));
	switch (error) {
	case 0: /* OpenSSL's way to say that the stream just stopped */
		transport_note_eof(transport);
		return;
	case EPIPE:
	case ECONNRESET:
		cause_set(cause, CAUSE_CLOSED, 1006, "connection reset by the server%s", where);
		return;
	case ETIMEDOUT: /* TCP_USER_TIMEOUT, SO_KEEPALIVE */
		cause_set(cause, CAUSE_TIMEOUT, 0, "the server does not answer any more (TCP)%s",
			  where);
		return;
	case ENOMEM:
	case ENOBUFS:
		cause_set(cause, CAUSE_LOCAL, error, "%s%s", strerror(error), where);
		return;
	default:
		cause_set(cause, CAUSE_CLOSED, 1006, "connection lost%s: %s", where,
			  strerror(error));
	}
}

/* An alert explains the reset that a write has met because of it. */
static void transport_note_tls(struct transport *transport)
{
	struct cause told;

	tls_failed(transport->ssl, &told);
	if (!transport->cause || told.class == CAUSE_TLS)
		*cause_room(&transport->cause) = told;
}

/* SSL_ERROR_SYSCALL stands for the errno of plain streams too. */
static void transport_note_ssl(struct transport *transport, int ssl_error, int saved_errno)
{
	if (ssl_error == SSL_ERROR_ZERO_RETURN)
		transport_note_eof(transport);
	else if (ssl_error == SSL_ERROR_SSL)
		transport_note_tls(transport);
	else
		transport_note_errno(transport, saved_errno);
	ERR_clear_error();
}

/* ---- reading ---- */

/* A short read has emptied the socket, or nearly: epoll will tell.  But when writing has failed
 * this is the last chance, and the socket is read to its very end. */
static size_t transport_fill_plain(struct transport *transport, uint8_t *scratch, bool *ret_more)
{
	ssize_t n = read(transport->fd, scratch, LOOP_SCRATCH_BYTES);

	*ret_more = n == LOOP_SCRATCH_BYTES || (n > 0 && transport->tx_failed);
	if (n > 0)
		return (size_t)n;
	if (n < 0 && errno == EINTR)
		return 0;
	if (n == 0)
		transport_note_eof(transport);
	else if (errno != EAGAIN)
		transport_note_errno(transport, errno);
	else if (!transport->tx_failed)
		return 0;
	transport_end(transport);
	return 0;
}

/* SSL_read() gave nothing. */
static void transport_read_stopped(struct transport *transport, int ssl_error, int saved_errno)
{
	if (ssl_error == SSL_ERROR_WANT_WRITE)
		transport->read_wants_write = true;
	if (ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE) {
		if (transport->tx_failed)
			transport_end(transport);
		/* SSL_MODE_RELEASE_BUFFERS forgets the 17 KiB in which session tickets came
		 * (3.0.15, tested).  Between records ("RH") nothing can be lost by it. */
		if (strcmp(SSL_rstate_string(transport->ssl), "RH") == 0)
			SSL_free_buffers(transport->ssl);
		return;
	}
	transport_note_ssl(transport, ssl_error, saved_errno);
	transport_end(transport);
}

/* Several records, if they are there, before anything is offered. */
static size_t transport_fill_tls(struct transport *transport, uint8_t *scratch, bool *ret_more)
{
	size_t bytes = 0;
	int n, saved;

	for (int records = 0; records < TRANSPORT_RECORDS; records++) {
		if (LOOP_SCRATCH_BYTES - bytes < SSL3_RT_MAX_PLAIN_LENGTH)
			break;
		ERR_clear_error();
		errno = 0;
		n = SSL_read(transport->ssl, scratch + bytes, (int)(LOOP_SCRATCH_BYTES - bytes));
		saved = errno;
		if (n <= 0) {
			transport_read_stopped(transport, SSL_get_error(transport->ssl, n), saved);
			*ret_more = false;
			return bytes;
		}
		bytes += (size_t)n;
	}
	*ret_more = true;
	return bytes;
}

/* Offer bytes to the owner; how many were taken. */
static size_t transport_offer(struct transport *transport, const uint8_t *data, size_t bytes)
{
	size_t left;

	transport->offered = data;
	transport->offered_bytes = bytes;
	transport->events->readable(transport->owner);
	left = transport->offered_bytes;
	transport->offered = NULL;
	transport->offered_bytes = 0;
	/* Left without a pause: it is offered again, as if there had been one. */
	if (left > 0 && !transport->paused) {
		transport->tell_again = true;
		loop_later(&transport->turn);
	}
	return bytes - left;
}

static void transport_offer_fresh(struct transport *transport, const uint8_t *data, size_t bytes)
{
	size_t taken = transport_offer(transport, data, bytes);
	int r;

	if (taken == bytes)
		return;
	r = buf_append(&transport->kept, data + taken, bytes - taken);
	if (r < 0) {
		transport_note_errno(transport, -r);
		transport_end(transport);
	}
}

/* After a resume: `readable` comes in any case, because the owner may have kept bytes itself. */
static void transport_offer_kept(struct transport *transport)
{
	struct buf *kept = &transport->kept;

	transport->tell_again = false;
	buf_consume(kept, transport_offer(transport, buf_head(kept), buf_len(kept)));
	buf_trim(kept);
}

static void transport_receive(struct transport *transport)
{
	uint8_t *scratch = loop_read_scratch();
	bool more = true;
	size_t bytes;

	for (int i = 0; more && i < TRANSPORT_FILLS; i++) {
		if (transport->paused || transport->rx_done || buf_len(&transport->kept) > 0)
			return;
		bytes = transport->ssl ? transport_fill_tls(transport, scratch, &more)
				       : transport_fill_plain(transport, scratch, &more);
		if (bytes == 0)
			continue;
		transport->last_rx_ms = loop_now_ms();
		transport_offer_fresh(transport, scratch, bytes);
	}
	/* To the end, even if epoll has nothing to say about a stream that TLS has given up. */
	if (more && transport->tx_failed)
		loop_later(&transport->turn);
}

size_t transport_read(struct transport *transport, uint8_t *data, size_t len)
{
	if (transport->paused)
		return 0;
	if (len > transport->offered_bytes)
		len = transport->offered_bytes;
	if (len == 0)
		return 0;
	memcpy(data, transport->offered, len);
	transport->offered += len;
	transport->offered_bytes -= len;
	return len;
}

void transport_pause(struct transport *transport)
{
	transport->paused = true;
	transport_rearm(transport);
}

void transport_resume(struct transport *transport)
{
	if (!transport->paused)
		return;
	transport->paused = false;
	transport->tell_again = true;
	loop_later(&transport->turn);
}

/* ---- writing ---- */

/* If the peer is gone, what it sent before is still read, to the end of the stream.  A trouble of
 * our own promises no such end. */
static void transport_write_failed(struct transport *transport, int ssl_error, int saved_errno)
{
	transport->tx_failed = true;
	transport_note_ssl(transport, ssl_error, saved_errno);
	if (transport->cause->class == CAUSE_LOCAL)
		transport_end(transport);
}

/* Only the first bytes are secret: what comes later is not worth the time. */
static void transport_trim_tx(struct transport *transport)
{
	if (buf_len(&transport->tx) > 0)
		return;
	buf_done(&transport->tx);
	transport->tx.secret = false;
}

/* How many bytes left; 0: blocked or failed. */
static size_t transport_write_plain(struct transport *transport)
{
	size_t len = buf_len(&transport->tx);
	ssize_t n = send(transport->fd, buf_head(&transport->tx), len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		transport_write_failed(transport, SSL_ERROR_SYSCALL, errno);
		return 0;
	}
	if (n < (ssize_t)len)
		transport->write_blocked = true;
	return n > 0 ? (size_t)n : 0;
}

static size_t transport_write_tls(struct transport *transport)
{
	int n, error, saved;

	ERR_clear_error();
	errno = 0;
	n = SSL_write(transport->ssl, buf_head(&transport->tx), (int)buf_len(&transport->tx));
	saved = errno;
	if (n > 0)
		return (size_t)n;
	error = SSL_get_error(transport->ssl, n);
	if (error == SSL_ERROR_WANT_WRITE) {
		transport->write_blocked = true;
	} else if (error == SSL_ERROR_WANT_READ) {
		transport->write_wants_read = true;
	} else {
		transport_write_failed(transport, error, saved);
	}
	return 0;
}

/* Errors are not looked at: a peer that is gone is met by the next read. */
static void transport_end_stream(struct transport *transport)
{
	int r;

	if (transport->ssl) {
		ERR_clear_error();
		r = SSL_shutdown(transport->ssl);
		if (r < 0 && SSL_get_error(transport->ssl, r) == SSL_ERROR_WANT_WRITE) {
			transport->write_blocked = true;
			return;
		}
		ERR_clear_error();
	}
	shutdown(transport->fd, SHUT_WR);
	transport->shutdown_done = true;
}

static bool transport_may_write(const struct transport *transport)
{
	return transport->state == TRANSPORT_OPEN && !transport->write_blocked &&
	       !transport->write_wants_read && !transport->tx_failed && !transport->rx_done &&
	       !transport->shutdown_done;
}

/* One caller knows by himself that bytes have left; the other, the loop, must tell the owner. */
static bool transport_send(struct transport *transport)
{
	uint64_t before = transport->written;
	size_t n;

	while (buf_len(&transport->tx) > 0 && transport_may_write(transport)) {
		n = transport->ssl ? transport_write_tls(transport)
				   : transport_write_plain(transport);
		if (n == 0)
			break;
		buf_consume(&transport->tx, n);
		transport->written += n;
	}
	if (buf_len(&transport->tx) == 0 && transport->shutdown_wanted &&
	    transport_may_write(transport))
		transport_end_stream(transport);
	if (transport->tx_failed)
		loop_later(&transport->turn);
	transport_trim_tx(transport);
	return transport->written > before;
}

void transport_ask_writable(struct transport *transport)
{
	transport->tell_written = true;
	loop_later(&transport->turn);
}

int transport_reserve(struct transport *transport, size_t bytes, uint8_t **ret_tail)
{
	/* Not from small to large each time: the memory is given back whenever tx is empty. */
	if (!transport->tx.data && bytes < TX_FIRST)
		bytes = TX_FIRST;
	return buf_reserve(&transport->tx, bytes, ret_tail);
}

void transport_commit(struct transport *transport, size_t bytes)
{
	buf_commit(&transport->tx, bytes);
	transport->committed += bytes;
}

void transport_mark_secret(struct transport *transport)
{
	transport->tx.secret = true;
}

size_t transport_room(const struct transport *transport)
{
	return buf_room(&transport->tx);
}

void transport_flush(struct transport *transport)
{
	if (!transport_may_write(transport))
		return;
	transport_send(transport);
	transport_rearm(transport);
}

void transport_shutdown(struct transport *transport)
{
	transport->shutdown_wanted = true;
	transport_flush(transport);
}

/* ---- the handshake ---- */

static void transport_describe_tls(struct transport *transport)
{
	char text[TLS_DESCRIPTION_MAX];

	tls_describe(transport->ssl, text);
	transport->tls = strdup(text);
}

/* `ready` may free us: it is the last thing here, and its callers return at once. */
static void transport_opened(struct transport *transport)
{
	transport->state = TRANSPORT_OPEN;
	transport->tell_ready = false;
	if (transport_send(transport)) /* what was flushed before */
		transport_ask_writable(transport);
	if (transport->tell_again)
		loop_later(&transport->turn);
	transport_rearm(transport);
	if (transport->events->ready)
		transport->events->ready(transport->owner);
}

/* OpenSSL may be content with what we are not. */
static void transport_handshake_done(struct transport *transport)
{
	struct cause cause;

	if (tls_established(transport->ssl, &cause) == 0) {
		transport_describe_tls(transport);
		transport_opened(transport);
		return;
	}
	*cause_room(&transport->cause) = cause;
	transport_end(transport);
	transport_rearm(transport);
}

static void transport_handshake(struct transport *transport)
{
	int r, error, saved;

	ERR_clear_error();
	errno = 0;
	r = SSL_do_handshake(transport->ssl);
	saved = errno;
	transport->write_blocked = false;
	if (r == 1) {
		transport_handshake_done(transport);
		return;
	}
	error = SSL_get_error(transport->ssl, r);
	if (error == SSL_ERROR_WANT_WRITE) {
		transport->write_blocked = true;
	} else if (error != SSL_ERROR_WANT_READ) {
		transport_note_ssl(transport, error, saved);
		transport_end(transport);
	}
	transport_rearm(transport);
}

/* ---- what the loop calls ---- */

static void transport_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct transport *transport = arg;

	(void)fd;
	(void)what;
	if (transport->state == TRANSPORT_HANDSHAKE) {
		transport_handshake(transport);
		return;
	}
	if (transport->write_wants_read) {
		transport->write_wants_read = false;
		if (transport_send(transport))
			transport_ask_writable(transport);
	}
	transport_receive(transport);
	transport_rearm(transport);
}

static void transport_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct transport *transport = arg;

	(void)fd;
	(void)what;
	if (transport->state == TRANSPORT_HANDSHAKE) {
		transport_handshake(transport);
		return;
	}
	transport->write_blocked = false;
	if (transport_send(transport))
		transport_ask_writable(transport);
	if (transport->read_wants_write) {
		transport->read_wants_write = false;
		transport_receive(transport);
	}
	transport_rearm(transport);
}

static void transport_tell_written(struct transport *transport)
{
	if (buf_len(&transport->tx) > TRANSPORT_TX_MAX / 2)
		return; /* a later write will come back to it */
	transport->tell_written = false;
	transport->events->writable(transport->owner);
}

static void transport_on_turn(void *arg)
{
	struct transport *transport = arg;

	if (!transport->events || transport->state == TRANSPORT_ENDED)
		return;
	if (transport->state == TRANSPORT_HANDSHAKE && !transport->rx_done) {
		transport_handshake(transport);
		return;
	}
	if (transport->tell_ready) {
		transport_opened(transport);
		return;
	}
	if (transport->tell_again && !transport->paused && transport->state == TRANSPORT_OPEN)
		transport_offer_kept(transport);
	if (transport->tx_failed)
		transport_receive(transport);
	if (transport->tell_written)
		transport_tell_written(transport);
	transport_trim_tx(transport);
	if (transport->rx_done && !transport->paused && buf_len(&transport->kept) == 0)
		transport->state = TRANSPORT_ENDED;
	transport_rearm(transport);
	if (transport->state == TRANSPORT_ENDED)
		transport->events->ended(transport->owner, transport->cause);
}

/* ---- from the beginning to the end ---- */

/* Keepalive finds a peer that is gone while nothing is sent, the user timeout one that is gone
 * while something is: each alone misses the other half (measured).  An option that
 * the kernel does not take costs only that. */
static void transport_set_tcp(int fd)
{
	static const struct {
		int level, option, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 30}, {IPPROTO_TCP, TCP_KEEPINTVL, 10},
		{IPPROTO_TCP, TCP_KEEPCNT, 3},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30 * 1000},
	};
	int domain = AF_UNSPEC;
	socklen_t len = sizeof(domain);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	if (domain != AF_INET && domain != AF_INET6)
		return;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].option, &options[i].value,
			   sizeof(options[i].value));
}

static void transport_set_address(struct transport *transport)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	char text[ADDRESS_TEXT_MAX];

	if (getpeername(transport->fd, (struct sockaddr *)&peer, &len) < 0)
		return;
	address_format((struct sockaddr *)&peer, len, text);
	transport->address = strdup(text);
}

/* Partial writes, moving buffer: tx grows and slides while OpenSSL holds half a record of it. */
static int transport_set_ssl(struct transport *transport)
{
	if (!transport->ssl)
		return 0;
	SSL_set_mode(transport->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
					     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					     SSL_MODE_RELEASE_BUFFERS);
	SSL_set_read_ahead(transport->ssl, 0);
	if (SSL_set_fd(transport->ssl, transport->fd) == 1)
		return 0;
	ERR_clear_error();
	return -ENOMEM;
}

int transport_new(struct transport **ret, int fd, SSL *ssl)
{
	struct transport *transport = calloc(1, sizeof(*transport));
	int r;

	if (!transport) {
		SSL_free(ssl);
		close(fd);
		return -ENOMEM;
	}
	transport->fd = fd;
	transport->ssl = ssl;
	transport->state = ssl ? TRANSPORT_HANDSHAKE : TRANSPORT_OPEN;
	transport->tell_ready = !ssl;
	transport->last_rx_ms = loop_now_ms();
	buf_init(&transport->kept, LOOP_SCRATCH_BYTES);
	buf_init(&transport->tx, TRANSPORT_TX_MAX);
	later_init(&transport->turn, transport_on_turn, transport);
	event_assign(&transport->read_event, loop_base(), fd, EV_READ | EV_PERSIST,
		     transport_on_readable, transport);
	event_assign(&transport->write_event, loop_base(), fd, EV_WRITE | EV_PERSIST,
		     transport_on_writable, transport);
	r = transport_set_ssl(transport);
	if (r < 0) {
		transport_free(transport);
		return r;
	}
	transport_set_tcp(fd);
	transport_set_address(transport);
	*ret = transport;
	return 0;
}

struct transport *transport_free(struct transport *transport)
{
	if (!transport)
		return NULL;
	later_cancel(&transport->turn);
	event_del(&transport->read_event);
	event_del(&transport->write_event);
	SSL_free(transport->ssl);
	close(transport->fd);
	buf_done(&transport->kept);
	buf_done(&transport->tx);
	cause_free(transport->cause);
	free(transport->address);
	free(transport->tls);
	free(transport);
	return NULL;
}

void transport_attach(struct transport *transport, const struct transport_events *events,
		      void *owner)
{
	transport->events = events;
	transport->owner = owner;
	transport_rearm(transport);
	if (events)
		loop_later(&transport->turn);
}

/* ---- questions ---- */

uint64_t transport_committed(const struct transport *transport)
{
	return transport->committed;
}

uint64_t transport_written(const struct transport *transport)
{
	return transport->written;
}

uint64_t transport_last_rx_ms(const struct transport *transport)
{
	return transport->last_rx_ms;
}

const char *transport_address(const struct transport *transport)
{
	return transport->address ? transport->address : "";
}

const char *transport_tls(const struct transport *transport)
{
	return transport->tls ? transport->tls : "";
}

bool transport_wants_certificate(const struct transport *transport)
{
	const struct tlspeer *peer = transport->ssl ? tlspeer_of(transport->ssl) : NULL;

	return peer && peer->wants_certificate && !SSL_get_certificate(transport->ssl);
}
