/* stream - `sock`: a Unix socket, both ways at once, for any number of programs. */
#ifndef ENDPOINT_STREAM_H
#define ENDPOINT_STREAM_H

#include "endpoint/endpoint.h"

struct buf;
struct shelf;
struct stream;

int stream_new(struct stream **ret, int dirfd, struct shelf *shelf, struct conn *conn,
	       const struct endpoint_options *options, const struct access *access);
struct stream *stream_free(struct stream *stream, int dirfd); /* and the socket file */

/* The daemon ends: clients, those in the backlog too, and what they write are for the next one. */
void stream_freeze(struct stream *stream);

/* A JSON object for each client, with a comma ahead. */
int stream_describe(const struct stream *stream, struct buf *out);

/* The options have moved (they are equal). */
void stream_set_options(struct stream *stream, const struct endpoint_options *options);

#endif
