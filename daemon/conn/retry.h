/* retry - when to try again (wspipe.conf(5), `reconnect-delay`; RFC 6455 7.2.3).
 *
 * Two ways: soon (exponential with full jitter) for what time mends, slowly (from `reconnect-max` up
 * to 15 minutes) for what it does not: a wrong password or a wrong certificate is not hammered.
 * Pure: the clock and the seed come from outside, so a week of bad weather runs in a second. */
#ifndef CONN_RETRY_H
#define CONN_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cause.h"

struct retry {
	uint64_t random;        /* state of the generator; any seed will do */
	unsigned soon, slow;    /* attempts since the last good connection, by way */
	unsigned short_lived;   /* connections in a row that were closed with 1000 within 10 s */
	uint64_t last_delay_ms;
	uint64_t hurried_ms; /* when the last wait was cut short; 0: never */
};

struct retry_limits {
	uint64_t delay_ms, max_ms; /* reconnect-delay, reconnect-max */
};

/* An attempt or a connection has ended so; it was OPEN for OPEN_MS (0: never).  Returns how long to
 * wait, at least 100 ms.  A connection that stayed open for max(30 s, the last delay) starts anew. */
uint64_t retry_delay_ms(struct retry *retry, const struct retry_limits *limits,
			const struct cause *cause, uint64_t open_ms);

/* The network has changed, or the machine has slept, when of the wait after CAUSE there were LEFT_MS to
 * go.  Returns how long to wait now: less, if the network may have been the reason, and at most one
 * wait in RETRY_HURRY_GAP_MS is cut short. */
enum { RETRY_HURRY_GAP_MS = 5000, RETRY_HURRY_MAX_MS = 500 };
uint64_t retry_hurry_ms(struct retry *retry, const struct cause *cause, uint64_t now_ms,
			uint64_t left_ms);

#endif
