/* filelog - messages appended to a regular file, for programs that only know files: rotation by
 * size, reopening for logrotate(8).
 *
 * A file that cannot be written (a full disk) is a slow reader like any other: messages wait in the
 * spool, and it goes on by itself where it was as soon as it can. */
#ifndef ENDPOINT_FILELOG_H
#define ENDPOINT_FILELOG_H

#include "endpoint/endpoint.h"

struct filelog;

int filelog_new(struct filelog **ret, struct conn *conn, const struct endpoint_options *options,
		const struct access *access);
struct filelog *filelog_free(struct filelog *filelog);
void filelog_set_options(struct filelog *filelog, const struct endpoint_options *options);

/* Somebody has moved the file away: from now on write to one by the configured name. */
void filelog_reopen(struct filelog *filelog);

/* For endpoints_describe(): ",{...}". */
int filelog_describe(const struct filelog *filelog, struct buf *out);

#endif
