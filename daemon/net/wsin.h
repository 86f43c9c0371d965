/* wsin - the receiving half of a ws: what the transport has goes in, whole messages and control
 * frames come out, one by one, and what breaks a rule of RFC 6455 is named together with the code
 * that refuses it.
 *
 * Messages that were compressed are inflated, if that was agreed.  A server that begins a message
 * and does not go on with it is found out by the one timer here, which is set only meanwhile.
 * Embedded in the ws, which decides when to read; what stands in a Close, a ping or a pong is
 * judged there.
 *
 * Usage: wsin_begin(); wsin_next() as often as it finds something; wsin_end(). */
#ifndef NET_WSIN_H
#define NET_WSIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/msg.h"
#include "net/assembly.h"
#include "net/closeframe.h"

struct transport;
struct wslay_frame_context;

enum wsin_opcode { WSIN_CLOSE = 0x8, WSIN_PING = 0x9, WSIN_PONG = 0xa };

struct wsin {
	struct transport *transport; /* the ws's */
	struct buf early; /* the ws puts here what came behind the handshake; it goes first */
	struct wslay_frame_context *frames; /* NULL between frames */
	struct assembly message;
	uint64_t frame_left;
	size_t unparsed; /* bytes that wslay has taken, and not given back in frames */
	bool in_frame;
	bool dry; /* the transport had no more bytes for wslay */

	/* the newest control frame, whole behind WSIN_CONTROL; ends with a NUL */
	uint8_t control; /* enum wsin_opcode */
	uint8_t control_len;
	uint8_t control_data[CLOSEFRAME_PAYLOAD_MAX + 1];

	struct timer unfinished;      /* set while a message or frame is */
	uint32_t chunks, chunks_seen; /* of messages; when it was looked last */
	uint64_t progress_ms;         /* when there was a new one */
	void (*stalled)(void *owner, const struct closeframe *refusal);
	void *owner;
};

/* STALLED: the server has not gone on with a message, and is to be refused. -errno; wsin_done() in
 * any case. */
int wsin_init(struct wsin *in, struct transport *transport, uint64_t max_message_bytes,
	      void (*stalled)(void *owner, const struct closeframe *refusal), void *owner);
void wsin_done(struct wsin *in);

int wsin_begin(struct wsin *in); /* -ENOMEM */

enum {
	WSIN_DRY,     /* there is no more now */
	WSIN_MESSAGE, /* in *ret, good until wsin_release(), which must follow */
	WSIN_CONTROL,
	WSIN_REFUSED, /* the server broke a rule: *ret_refusal; nothing more may be read */
	WSIN_MUCH,    /* go on in another turn: much was inflated, and others wait */
};
int wsin_next(struct wsin *in, struct msg *ret, struct closeframe *ret_refusal); /* -ENOMEM */
void wsin_release(struct wsin *in);

/* Enough for this turn.  GOES_ON: more will be read as soon as it is there. */
void wsin_end(struct wsin *in, bool goes_on);

void wsin_stop(struct wsin *in); /* nothing is read for a while, or any more: nobody waits for it */
bool wsin_in_message(const struct wsin *in);

#endif
