/* keepalive - does the server of an open connection still live (`ping-interval`, `ping-timeout`)?
 *
 * A ping goes out an interval after the last pong; a server that then gives no sign of life for as
 * long as the timeout is given up.  Has no state of its own: the clock is the timer of the conn,
 * which is nobody else's while it is open, and the ping is the ws's. */
#ifndef CONN_KEEPALIVE_H
#define CONN_KEEPALIVE_H

struct sender;
struct timer;

/* It is open, or its options have changed, or a pong is here: the next ping is an interval away. */
void keepalive_start(const struct sender *sender, struct timer *timer);

/* TIMER is due: send a ping, go on waiting, or abort the ws. */
void keepalive_due(struct sender *sender, struct timer *timer);

/* All that is known of the network is old: ask for a sign of life now, and give it as long as
 * always. */
void keepalive_ask(struct sender *sender, struct timer *timer);

#endif
