/* recordfile - a file that holds one message, as a record of the connection's framing. */
#ifndef ENDPOINT_RECORDFILE_H
#define ENDPOINT_RECORDFILE_H

#include "base/file.h"
#include "endpoint/endpoint.h"

/* NAME in DIRFD, replaced atomically.  -errno: it is as it was. */
int recordfile_replace(int dirfd, const char *name, const struct conn *conn,
		       const struct endpoint_options *options, const struct msg *msg,
		       const struct file_grant *grants, size_t n_grants);

#endif
