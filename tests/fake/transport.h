/* fake/transport - net/transport.h without a socket: a test feeds what the server says, reads what
 * was sent, and decides how much the kernel takes.  Linked instead of the real one.  Takes the time
 * from loop_now_ms(), needs no other part of the loop: the test calls fake_transport_turn(). */
#ifndef FAKE_TRANSPORT_H
#define FAKE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cause.h"
#include "net/transport.h"

struct transport *fake_transport_new(void);

/* The server sends; it is offered in the next turns, DRIP bytes in each (0: all). */
void fake_transport_feed(struct transport *transport, const void *data, size_t len);
void fake_transport_drip(struct transport *transport, size_t drip);
/* The stream ends so, behind all that was fed. */
void fake_transport_end(struct transport *transport, enum cause_class class, int code,
			const char *text);

/* The kernel takes so many bytes more (SIZE_MAX, at first: any number). */
void fake_transport_take(struct transport *transport, size_t bytes);
/* The next N reservations fail with -ENOMEM. */
void fake_transport_fail(struct transport *transport, unsigned n);

/* One turn of the loop: upcalls as the real one makes them.  False: there was none to make. */
bool fake_transport_turn(struct transport *transport);

const struct buf *fake_transport_output(const struct transport *transport); /* all that has left */
bool fake_transport_is_shut(const struct transport *transport);
unsigned fake_transport_flushes(const struct transport *transport);

#endif
