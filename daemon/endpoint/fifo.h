/* fifo - `in` and `out`: who comes, who goes, and who holds the door.
 *
 * `in` is opened for reading once and never closed: at the end of the last writer there is an edge, and
 * nothing is lost between two writers.  `out` is held open for writing, so a reader's
 * open() never blocks; one record stands in its one-page pipe at a time, so nobody takes lines that he
 * has not read. */
#ifndef ENDPOINT_FIFO_H
#define ENDPOINT_FIFO_H

#include "endpoint/endpoint.h"

struct arrivals;
struct fifo_in;
struct fifo_out;
struct outlet;
struct shelf;

int fifo_in_new(struct fifo_in **ret, int dirfd, struct shelf *shelf, struct conn *conn,
		const struct endpoint_options *options, const struct access *access);
struct fifo_in *fifo_in_free(struct fifo_in *fifo);
void fifo_in_drain(struct fifo_in *fifo); /* take what is there now */
void fifo_in_freeze(struct fifo_in *fifo); /* the rest is for the next daemon */

int fifo_out_new(struct fifo_out **ret, int dirfd, struct arrivals *arrivals, struct shelf *shelf,
		 struct conn *conn, const struct endpoint_options *options,
		 const struct access *access);
struct fifo_out *fifo_out_free(struct fifo_out *fifo);
struct outlet *fifo_out_outlet(const struct fifo_out *fifo);

#endif
