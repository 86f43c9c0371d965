/* latestdir - `latest/`: a directory with one file for each value of one member of the messages,
 * which always holds the newest message with that value; replaced atomically.
 *
 * The directory is ours: what does not belong there is removed.  At most latest-max files: for one
 * more the one goes that was not changed for the longest time. */
#ifndef ENDPOINT_LATESTDIR_H
#define ENDPOINT_LATESTDIR_H

#include "endpoint/endpoint.h"

struct latestdir;

/* Begins with the messages that are kept. */
int latestdir_new(struct latestdir **ret, int dirfd, struct conn *conn,
		  const struct endpoint_options *options, const struct access *access);
struct latestdir *latestdir_free(struct latestdir *dir); /* the files stay */
/* The options have moved (they are equal). */
void latestdir_set_options(struct latestdir *dir, const struct endpoint_options *options);

void latestdir_remove(int dirfd); /* the directory with all files, if it is there */

/* For endpoints_describe(): ",{...}". */
int latestdir_describe(const struct latestdir *dir, struct buf *out);

#endif
