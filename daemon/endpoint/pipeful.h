/* pipeful - the discipline of a pipe whose readers may go at any time: one record stands in it (or
 * as many whole ones as fit into a page), and the next follows when that has been read.
 *
 * So it is always known what a reader got: what is not in the pipe any more.  One who leaves in the
 * middle of a record leaves a residue, and his successor gets that record again, whole; only `raw`
 * has no wholes.  Through a sluice the record is in the page, too, until it has been read, and a
 * daemon after ours does the same. */
#ifndef ENDPOINT_PIPEFUL_H
#define ENDPOINT_PIPEFUL_H

#include "endpoint/pen.h"

struct pipeful {
	struct held_place before; /* through a sluice: where the cursor stood ahead of the record */
	bool unsure;              /* whether the pipe is empty */

	/* Records that stand in the pipe together, if not 0; the cursor is still ahead of them. */
	size_t page_bytes;
	uint64_t page_end_seq;
	bool page_jumped; /* the spool has dropped some of them meanwhile */
};

/* What can be written now.  True: there may be more. */
bool pipeful_write(struct pipeful *pipeful, struct pen *pen);

/* Something is there that has not been read, as far as is known. */
static inline bool pipeful_is_there(const struct pipeful *pipeful, const struct pen *pen)
{
	return pen->current.there || pipeful->page_bytes > 0;
}

/* ... and nothing waits for its place: nobody need be woken when it is read. */
bool pipeful_rests(const struct pen *pen);
/* The current record has been read out of the pipe, though nobody was told. */
bool pipeful_was_read(const struct pen *pen);

/* For the functions of outlet.h of these names. */
bool pipeful_reader_left(struct pipeful *pipeful, struct pen *pen, size_t residue);
void pipeful_begin(struct pipeful *pipeful, struct pen *pen);
void pipeful_take_back(struct pipeful *pipeful, struct pen *pen, size_t residue);
void pipeful_adopt(struct pen *pen, size_t residue);
bool pipeful_return(struct pipeful *pipeful, struct pen *pen);

#endif
