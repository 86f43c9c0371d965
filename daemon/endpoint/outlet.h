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
struct receipts;
struct sluice;

struct outlet_events {
	/* The peer has gone (EPIPE, ECONNRESET), or the count is reached (error 0).  From a clean stack;
	 * may free the outlet. */
	void (*ended)(void *owner, int error);
	/* It was too slow: so many messages are lost to it.  May be NULL. */
	void (*missed)(void *owner, uint64_t messages);
};

struct outlet_options {
	enum framing framing;
	enum msg_kind type;
	/* NULL: the connection's.  One of its own keeps what has not been read wholly; only with `pages`. */
	struct spool *spool;
	enum cursor_from from;
	/* Or, with `seeks`: where these say (cursor_seek()). */
	bool seeks;
	enum cursor_seek seek;
	uint64_t number;
	uint32_t marks;
	/* Where the reader's place is kept: what has gone out wholly is committed there at once, or, with
	 * RECEIPTS, when he says so.  Not owned, either may be NULL. */
	struct mark_holder *holder;
	struct receipts *receipts;
	/* By which all goes out, so that a daemon after ours knows what has; not owned, may be
	 * NULL.  LASTS: numbers of messages mean the same to that daemon. */
	struct sluice *sluice;
	bool lasts;
	const char *label; /* "out", "sock", "recv" */
	/* The descriptor is a FIFO's: that its reader has gone is not the end.  The owner watches for
	 * readers who come and go: outlet_set_present(), outlet_reader_left(). */
	bool is_fifo;
	/* One record at a time, the next one when this has been read: for a pipe that was shrunk to one
	 * page.  Only with `is_fifo`. */
	bool one_by_one;
	/* The same with as many whole records as fit into that page. */
	bool pages;
	uint64_t count; /* messages, then `ended`; 0: no limit */
	/* It gets answers of its own by outlet_push(): those that all others get, too, are left out. */
	bool pushed;
};

/* Go on at the mark that HOLDER holds, and keep the place there. */
void outlet_options_resume(struct outlet_options *options, struct mark_holder *holder);

/* FD is not taken: non-blocking, writable. Nothing is written before outlet_start(). */
int outlet_new(struct outlet **ret, int fd, struct conn *conn, const struct outlet_options *options,
	       const struct outlet_events *events, void *owner);
struct outlet *outlet_free(struct outlet *outlet);
void outlet_start(struct outlet *outlet);
void outlet_pump(struct outlet *outlet); /* write now what can be written */

/* There is somebody to read (or not): without a reader nothing is written. At first there is. */
void outlet_set_present(struct outlet *outlet, bool present);

/* One by one: the last reader has gone with RESIDUE bytes left in the pipe.  True: he had read a part
 * of a record; it will be written again, whole, to the next one, so empty the pipe now. */
bool outlet_reader_left(struct outlet *outlet, size_t residue);

/* For an owner whose readers come one behind the other, each with a descriptor of his own: write
 * what stands before message number UNTIL to FD, by way of SLUICE if there is one, then call
 * `ended` (error 0). Only with `is_fifo` and one_by_one or pages, and then `ended` means that all
 * of it has been read. */
void outlet_begin(struct outlet *outlet, int fd, struct sluice *sluice, uint64_t until);
/* That reader has gone (or all was read): RESIDUE bytes are in his pipe, and nobody reads them any
 * more. What he has not read wholly is for the next.  Silent until outlet_begin(). */
void outlet_take_back(struct outlet *outlet, size_t residue);

enum { OUTLET_PUSHED_MAX = 4 * 1024 * 1024 };

/* MSG for this reader alone.  It goes out behind what has been received before it, never in the middle
 * of a record.  -ENOBUFS: OUTLET_PUSHED_MAX bytes are waiting already (one message may be longer):
 * the reader does not read, and the owner should close; -ENOMEM. */
int outlet_push(struct outlet *outlet, const struct msg *msg);

/* One by one, at the start: RESIDUE bytes of an earlier daemon are in the pipe, and somebody has it open:
 * then the record that was in it is there already.  (One longer than a page may be there in part; it
 * will be written again.) */
void outlet_adopt(struct outlet *outlet, size_t residue);

/* Go on with what a daemon before this one has left in the sluice, whose place OPTIONS say already
 * (outlet_options_return()).  True: one by one, and a record is under way, or perhaps read by now.
 */
bool outlet_return(struct outlet *outlet);
/* Set `seeks` as the sluice's place says.  False: it says nothing that is of use now. */
bool outlet_options_return(struct outlet_options *options, struct conn *conn);

/* The daemon ends: what has been read is done; of a stream, the page tells the next one how many
 * messages its reader will not get, unless they last.  Only with a sluice. */
void outlet_leave(struct outlet *outlet);
void outlet_miss(struct outlet *outlet,
		 uint64_t messages); /* so many it had missed before we came */

/* Call `ended` (error 0) as soon as all is written: nothing more will come. */
void outlet_finish(struct outlet *outlet);
/* ... and write only what is there now. */
void outlet_finish_here(struct outlet *outlet);

/* With a spool of its own: number of the first message that has not been read wholly, as far as is known
 * (after outlet_take_back() exactly). */
uint64_t outlet_place(const struct outlet *outlet);

uint64_t outlet_behind(const struct outlet *outlet); /* messages */
uint64_t outlet_missed(const struct outlet *outlet);

#endif
