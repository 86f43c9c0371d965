/* statefile - `status`: key='value' lines about the connection's state that a shell can source;
 * replaced atomically at each change of state. */
#ifndef ENDPOINT_STATEFILE_H
#define ENDPOINT_STATEFILE_H

#include "endpoint/endpoint.h"

struct statefile;

int statefile_new(struct statefile **ret, int dirfd, struct conn *conn,
		  const struct access *access);
struct statefile *statefile_free(struct statefile *statefile, int dirfd); /* and the file */

#endif
