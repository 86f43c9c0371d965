/* ws - one WebSocket on a transport, from the opening handshake to the closing one (RFC 6455).
 *
 * Receiving goes through wslay's frame API under our own message layer (wsin.h).  Sending encodes and
 * masks straight into the transport's buffer (wsout.h).  Owner: conn.  `opened`, `message`, `drained`
 * and `pong` are data upcalls: they may call anything here but ws_free().  `ended` comes from a clean
 * stack, once, and there ws is freed.
 *
 * Positions count the bytes of data frames only, from 0: pings, pongs and the Close, which may pass
 * between the fragments of a message, are left out.  So the end of a message is known when it is
 * sent, and a message of which no byte has left is one that starts at or behind ws_written(). */
#ifndef NET_WS_H
#define NET_WS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cause.h"
#include "base/msg.h"
#include "codec/url.h"
#include "net/upgrade.h"

struct transport;
struct ws;

struct ws_options {
	struct upgrade_options upgrade;
	uint64_t max_message_bytes;
};

enum {
	WS_FRAGMENTS_MAX = 65536 * 2, /* of one message; more close with 1008 */
	WS_SEND_FRAGMENT = 16 * 1024, /* of a message above WS_SEND_WHOLE: pongs may pass */
	WS_SEND_WHOLE = 64 * 1024,
	WS_REASON_MAX = 123, /* bytes of a close reason */
};

struct ws_events {
	void (*opened)(void *owner);
	void (*message)(void *owner, const struct msg *msg);
	/* What had to wait has left in part or whole (ws_written() grew); ws_writable() may be true
	 * again.  Not for what ws_flush() itself wrote: look at ws_written() behind it. */
	void (*drained)(void *owner);
	/* Our ping came back.  ping_mark: the position where it stood; all that ends there or
	 * before has been read by the peer. */
	void (*pong)(void *owner, uint64_t ping_mark, uint32_t rtt_us);
	void (*ended)(void *owner, const struct cause *cause);
};

/* Takes TRANSPORT, also on failure.  URL and OPTIONS must stay until `opened`. -errno. */
int ws_start(struct ws **ret, struct transport *transport, const struct url *url,
	     const struct ws_options *options, const struct ws_events *events, void *owner);
struct ws *ws_free(struct ws *ws); /* closes the transport at once */

bool ws_is_open(const struct ws *ws); /* nobody has said Close, and nothing has failed */

/* May a message be sent now?  (Open, none in the middle, room in the buffer.) */
bool ws_writable(const struct ws *ws);

/* Send MSG (text or binary, already UTF-8 checked).  Only when ws_writable().  It covers the
 * positions from ws_queued() before to *ret_end.  A message above WS_SEND_WHOLE is encoded piece by
 * piece as room comes: its bytes must stay where they are until ws_written() has reached *ret_end
 * or the ws has ended; of one that is MSG_SECRET a copy is made, and overwritten.  Nothing leaves
 * before ws_flush(). -ENOMEM: nothing was taken; other errors: `ended` comes too. */
int ws_send(struct ws *ws, const struct msg *msg, uint64_t *ret_end);
void ws_flush(struct ws *ws);

uint64_t ws_written(const struct ws *ws); /* position up to which the kernel has taken bytes */
uint64_t ws_queued(const struct ws *ws);  /* ... up to which we have encoded or promised bytes */

/* Send a ping with a payload of its own, at once between frames; none while one is outstanding. */
void ws_ping(struct ws *ws);
bool ws_ping_outstanding(const struct ws *ws);

/* How long the peer has owed us a sign of life: since the outstanding ping really left, the last
 * byte arrived, or ws_resume(), whichever is latest.  0 while there is none outstanding, or while
 * it has not left, or while reading is paused. */
uint64_t ws_silence_ms(const struct ws *ws);

/* Close properly: what was sent before leaves first, then Close(code, reason), then we wait for the
 * peer's Close and for its end of stream, then `ended` with CAUSE_OPERATOR (code: the peer's close
 * code; 1006: the stream ended without one).  Messages go on arriving meanwhile.  The owner's timer
 * bounds it: ws_abort().  Before `opened` it just ends.  code 0: a Close without a code.  A REASON
 * (or NULL) that is too long is cut. */
void ws_close(struct ws *ws, uint16_t code, const char *reason);

/* Give up: no frame is sent, `ended` comes with this cause; but with its own where both Close
 * frames were exchanged, or the peer was refused already. */
void ws_abort(struct ws *ws, const struct cause *cause);

void ws_forgive_silence(struct ws *ws); /* count it from now on: our machine has slept */

/* The same, but a server with which it is open gets a Close with CODE, and at most a second to end the
 * stream.  Nothing is heard meanwhile. */
void ws_give_up(struct ws *ws, uint16_t code, const struct cause *cause);

void ws_pause(struct ws *ws); /* stop reading, at once after the message being delivered */
void ws_resume(struct ws *ws);

/* In `ended`: where the answer that was no 101 sends us, as it stands there; NULL: nowhere. */
const char *ws_location(const struct ws *ws);

const char *ws_subprotocol(const struct ws *ws); /* "" if none */
const char *ws_compression(const struct ws *ws); /* "permessage-deflate; ..." as agreed, "" if not */
const char *ws_address(const struct ws *ws);
const char *ws_tls(const struct ws *ws);
/* The peer's Close, once there was one: its code (1005: none; 0: no Close yet) and reason. */
uint16_t ws_close_code(const struct ws *ws, const char **ret_reason);

#endif
