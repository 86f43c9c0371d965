/* pen - what an outlet writes with, whatever its discipline: the descriptor (or the sluice ahead of
 * it), the cursor, the record in progress, and the reader's place.
 *
 * All writing goes through pen_write().  Who has written moves the cursor, and then says
 * pen_save(): so the reader's place that outlives us is never ahead of what has gone out. */
#ifndef ENDPOINT_PEN_H
#define ENDPOINT_PEN_H

#include "base/loop.h"
#include "endpoint/current.h"
#include "endpoint/held.h"
#include "endpoint/outlet.h"

struct pen {
	int fd;
	struct outlet_options options;
	struct cursor cursor;
	struct cursor anchor;   /* of a spool of its own: ahead of what was not read; else zeroed */
	struct current current; /* if there is one, the cursor is behind it already */
	uint64_t until;         /* messages from this number on are for another time */
	uint64_t delivered;     /* messages */
	uint64_t written;       /* bytes */
	bool blocked;           /* the descriptor takes no more */
	bool absent;            /* nobody reads */
	bool over;              /* for this reason: */
	int error;
	struct later *run; /* called when it is over; not owned */
};

/* The pen is zeroed, its options set. */
void pen_init(struct pen *pen, int fd, struct conn *conn, struct later *run);
void pen_done(struct pen *pen);

/* Bytes written (through the sluice, if there is one), 0 if it would block, or -1: there is nobody
 * any more, or it is over. */
ssize_t pen_write(struct pen *pen, const struct iovec *iov, int n);
/* A stream: what has been written into the page of a sluice goes on from there.  False: not all of
 * it yet. */
bool pen_flush(struct pen *pen);

/* Make the next record the current one.  False: there is none that stands ahead of message number
 * STOP, and the place is saved. */
bool pen_next(struct pen *pen, uint64_t stop);
bool pen_go_on(struct pen *pen);       /* with the current one; true: all of it is out */
void pen_record_done(struct pen *pen); /* nobody will ask for it any more */

/* All before the cursor has gone out wholly: a later reader begins there. */
void pen_save(struct pen *pen);
void pen_save_at(struct pen *pen, uint64_t written); /* ... when so many bytes had been written */
void pen_anchor(struct pen *pen); /* all before it has been read: the spool need not keep it */
struct held_place pen_place(const struct pen *pen);

void pen_count(struct pen *pen, uint64_t messages); /* are out, and it ends with the last one */
void pen_end(struct pen *pen, int error);

/* All records that can be had are written?  (A gap is something: it is crossed, and told.) */
bool pen_nothing_left(struct pen *pen);

/* MSG was read, and AT is behind it. */
static inline bool pen_is_beyond(const struct pen *pen, const struct msg *msg,
				 const struct position *at)
{
	return msg_counts(msg) && at->seq > pen->until;
}

/* Through a sluice, record behind record. */
static inline bool pen_is_stream(const struct pen *pen)
{
	return pen->options.sluice && !pen->options.one_by_one;
}

#endif
