/* latest - `last`: a file that always holds the newest message, whole, as a record of the connection's
 * framing; replaced atomically. */
#ifndef ENDPOINT_LATEST_H
#define ENDPOINT_LATEST_H

#include "endpoint/endpoint.h"

struct latest;

int latest_new(struct latest **ret, int dirfd, struct conn *conn,
	       const struct endpoint_options *options, const struct access *access);
struct latest *latest_free(struct latest *latest);

/* The options have moved (they are equal). */
void latest_set_options(struct latest *latest, const struct endpoint_options *options);

#endif
