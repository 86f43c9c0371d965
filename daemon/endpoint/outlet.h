/* outlet - cursor -> encoder -> descriptor.  The same for FIFOs, socket clients and `wspipe recv`.
 *
 * Each wake-up encodes as many records as fit into one write; a record of which only a part went out is
 * held (its block pinned) until the rest has gone.  A slow or absent reader costs nothing: the cursor
 * just stays where it is. */
#ifndef ENDPOINT_OUTLET_H
#define ENDPOINT_OUTLET_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/frame.h"
#include "conn/conn.h"

struct outlet;

struct outlet_events {
	/* The peer has gone (EPIPE, ECONNRESET), or the count is reached (error 0).  From a clean stack;
	 * may free the outlet. */
	void (*ended)(void *owner, int error);
};

struct outlet_options {
	enum framing framing;
	enum msg_kind type;
	enum cursor_from from;
	const char *label; /* "out", "sock", "recv" */
	/* One record at a time, the next one when this has been read: only for a FIFO whose pipe was
	 * shrunk to one page (system.md A2.5). */
	bool one_by_one;
	uint64_t count; /* messages, then `ended`; 0: no limit */
};

/* FD is not taken: non-blocking, writable. Nothing is written before outlet_start(). */
int outlet_new(struct outlet **ret, int fd, struct conn *conn, const struct outlet_options *options,
	       const struct outlet_events *events, void *owner);
struct outlet *outlet_free(struct outlet *outlet);
void outlet_start(struct outlet *outlet);

/* There is somebody to read (or not): a FIFO without a reader is not written to. */
void outlet_set_present(struct outlet *outlet, bool present);
/* The FIFO's last reader went away while a record was in the pipe.  TAKEN_PART: some of it had been
 * read, so it must be written again, whole, to the next one; the caller has emptied the pipe. */
void outlet_rewind(struct outlet *outlet);
bool outlet_in_record(const struct outlet *outlet);
uint64_t outlet_record_bytes(const struct outlet *outlet); /* of the record in the pipe, as encoded */

/* Has all that was received been written out (and, one by one, read)? */
bool outlet_drained(const struct outlet *outlet);
/* Call ENDED (error 0) as soon as that is so: the connection is closed, nothing more will come. */
void outlet_finish(struct outlet *outlet);

uint64_t outlet_behind(const struct outlet *outlet);
uint64_t outlet_missed(const struct outlet *outlet);

#endif
