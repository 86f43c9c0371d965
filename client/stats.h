/* stats - the daemon's counters: as a table for people, and as text for Prometheus. */
#ifndef CLIENT_STATS_H
#define CLIENT_STATS_H

#include "codec/json.h"

/* CONNECTIONS: the array of the daemon's answer to "status". */
void stats_print(const struct json_span *connections);

/* ANSWER: the whole of it.  Text exposition format 0.0.4: a family of samples for each counter, one
 * sample for each connection. */
void stats_print_prometheus(const struct json_span *answer);

#endif
