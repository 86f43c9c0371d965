/* drain - a FIFO that ends: everything received since the last drain, then end of file.
 *
 * Whoever opens it gets a batch of his own: what had been received when his turn came and nobody
 * before him has read, also if that is nothing.  `cp NAME/drain batch.txt` from cron.  Those who come at
 * the same time are served one behind the other, each message in exactly one batch; what one who
 * leaves early has not read wholly is for the next. */
#ifndef ENDPOINT_DRAIN_H
#define ENDPOINT_DRAIN_H

#include "endpoint/endpoint.h"

struct arrivals;
struct drain;
struct outlet;
struct shelf;

int drain_new(struct drain **ret, int dirfd, struct arrivals *arrivals, struct shelf *shelf,
	      struct conn *conn, const struct endpoint_options *options,
	      const struct access *access);
struct drain *drain_free(struct drain *drain);
const struct outlet *drain_outlet(const struct drain *drain);

#endif
