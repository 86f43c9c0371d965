/* ping - the one ping of ours that is on its way: what has arrived when its pong is here, how long
 * that took, and how long the peer has owed us a sign of life.
 *
 * There is one at a time.  Its payload is its number, so pongs that nobody asked for, which are
 * legal (RFC 6455 5.5.3), are not taken for its answer.  The clock runs only from a ping that has
 * really left.  Embedded in the ws, which sends and reads. */
#ifndef NET_PING_H
#define NET_PING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsout;

struct ping { /* zeroed */
	bool outstanding, left;
	uint64_t count;
	uint64_t mark; /* position (ws.h) of what went before it; stays when its pong is here */
	uint64_t end;  /* its own end in the transport's stream */
	uint64_t sent_us, left_ms;
};

/* While none is outstanding.  False: OUT has no room, or there is no memory: try again next time.
 */
bool ping_send(struct ping *ping, struct wsout *out);

void ping_written(struct ping *ping, uint64_t written); /* transport_written() has grown to this */

/* True: that pong is the answer, and none is outstanding any more. */
bool ping_take_pong(struct ping *ping, const uint8_t *payload, size_t len, uint32_t *ret_rtt_us);

/* Since the ping left, LAST_RX_MS or ping_forgive(), whichever is latest; 0: none has left. */
uint64_t ping_silence_ms(const struct ping *ping, uint64_t last_rx_ms);
void ping_forgive(struct ping *ping); /* an answer may be here, unread: count from now on */

#endif
