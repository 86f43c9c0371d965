/* transport - one connected stream, plain or TLS: the only caller of read, write, SSL_read and
 * SSL_write on it, and the only one who arms its events.
 *
 * What is to be written is encoded straight into its `tx` buffer, and leaves with one write at
 * transport_flush().  Upcalls come from the loop, never from inside a call; `readable` and
 * `writable` may not free the transport, `ready` and `ended` may.  After `ended` it is silent. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cause.h"

struct ssl_st;
struct transport;

enum { TRANSPORT_TX_MAX = 256 * 1024 };

struct transport_events {
	/* The stream can be used (TLS: handshake and verification done). Once; may be NULL. */
	void (*ready)(void *owner);
	/* Bytes are there: call transport_read() until it returns 0, or pause. */
	void (*readable)(void *owner);
	/* Bytes that had to wait have left, and tx is at most half full; or you asked for the call.
	 * Not for what transport_flush() itself wrote: look at transport_written() behind it. */
	void (*writable)(void *owner);
	/* End of stream, or an error.  All bytes that had arrived were offered and taken before; so
	 * while reading is paused, this is not told.  *cause is CAUSE_CLOSED/1006 for an end of
	 * stream. */
	void (*ended)(void *owner, const struct cause *cause);
};

/* Takes FD (connected, non-blocking) and SSL (may be NULL), also on failure. TCP options
 * (TCP_NODELAY, SO_KEEPALIVE 30/10/3, TCP_USER_TIMEOUT 30 s) are set here; they are ignored on a
 * Unix socket. -errno. */
int transport_new(struct transport **ret, int fd, struct ssl_st *ssl);
struct transport *transport_free(struct transport *transport);

/* From now on upcalls go there (dial hands over to ws this way).  Nothing is read, and nothing
 * told, while EVENTS is NULL.  What is flushed before `ready` leaves then. */
void transport_attach(struct transport *transport, const struct transport_events *events,
		      void *owner);

/* > 0 bytes; 0: nothing more now (you will be called).  Served from large reads (the loop's read
 * scratch), so small LENs are cheap.  Only from inside `readable` is there ever anything. */
size_t transport_read(struct transport *transport, uint8_t *data, size_t len);

/* Stop and go on reading.  What has been read but not taken is kept.  Resuming calls `readable`
 * from the loop even if the socket is silent, because neither kept bytes nor half a TLS record
 * would wake it. */
void transport_pause(struct transport *transport);
void transport_resume(struct transport *transport);

/* Space for BYTES at the end of tx, then commit what was really encoded. -ENOBUFS: does not fit,
 * wait for `writable`; -ENOMEM. */
int transport_reserve(struct transport *transport, size_t bytes, uint8_t **ret_tail);
void transport_commit(struct transport *transport, size_t bytes);
/* There are passwords in what was committed: it is overwritten when it has left. */
void transport_mark_secret(struct transport *transport);
size_t transport_room(const struct transport *transport);

/* One write of all that tx holds; the rest goes when the socket has room.  Errors are told by
 * `ended`, later. */
void transport_flush(struct transport *transport);
/* Call `writable` in the next turn of the loop, whatever happens. */
void transport_ask_writable(struct transport *transport);

/* Positions in the stream of plain bytes: committed by us so far, and accepted by the kernel (TLS:
 * by OpenSSL, whose record has left whole) so far. */
uint64_t transport_committed(const struct transport *transport);
uint64_t transport_written(const struct transport *transport);

/* When the last byte arrived (loop_now_ms()). */
uint64_t transport_last_rx_ms(const struct transport *transport);

/* After tx has left: TLS close_notify, then end our side of the stream. */
void transport_shutdown(struct transport *transport);

/* For status: "192.0.2.7:443", "[::1]:8080", or the socket's path; "TLSv1.3 TLS_AES_...", with
 * "resumed" behind it (tls_describe()), or "". */
const char *transport_address(const struct transport *transport);
const char *transport_tls(const struct transport *transport);

/* The server has asked for a certificate of ours, and we had none to show. */
bool transport_wants_certificate(const struct transport *transport);

#endif
