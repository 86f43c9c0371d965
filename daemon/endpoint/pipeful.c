/* pipeful - see pipeful.h. */
#include "endpoint/pipeful.h"

#include <limits.h>

#include "endpoint/batch.h"
#include "endpoint/pipe.h"
#include "endpoint/sluice.h"

/* --- one record ----------------------------------------------------------------------------- */

/* The current record goes by way of the page, if there is one; one too long for that goes alone. */
static void give(struct pipeful *pipeful, struct pen *pen)
{
	struct held_place place = pipeful->before;
	struct iovec iov[3];
	int n;

	if (!pen->options.sluice)
		return;
	n = current_pieces(&pen->current, 0, iov);
	place.after = pen->cursor.at.seq;
	place.after_marks = pen->cursor.at.marks;
	place.flags |= HELD_GIVEN | (pen->current.counts ? HELD_COUNTS : 0);
	if (sluice_give(pen->options.sluice, iov, n, &place) < 0)
		pen->options.sluice = NULL;
}

static bool begin_next(struct pipeful *pipeful, struct pen *pen)
{
	pipeful->before = pen_place(pen);
	if (!pen_next(pen, UINT64_MAX))
		return false;
	give(pipeful, pen);
	return true;
}

static bool write_one(struct pipeful *pipeful, struct pen *pen)
{
	if (current_is_out(&pen->current)) {
		if (pipe_bytes(pen->fd) > 0)
			return false;
		pen_record_done(pen);
	}
	if (!pen->current.there && !begin_next(pipeful, pen))
		return false;
	if (pipeful->unsure && pipe_bytes(pen->fd) > 0)
		return false; /* from before our time: it is read first */
	pipeful->unsure = false;
	if (!pen_go_on(pen) || current_len(&pen->current) > 0)
		return false; /* out, but not read yet */
	pen_record_done(pen);
	return true;
}

bool pipeful_was_read(const struct pen *pen)
{
	return pen->options.one_by_one && current_is_out(&pen->current) && pipe_bytes(pen->fd) == 0;
}

/* Is the reader's place kept for a time after ours? */
static bool lasts(const struct pen *pen)
{
	const struct mark_holder *holder = pen->options.holder;

	return holder && holder->mark && holder->mark->file.at;
}

/* That it has been read is looked up when the next one comes; unless a crash in between would have
 * it read twice. */
bool pipeful_rests(const struct pen *pen)
{
	return !lasts(pen) && pen->options.one_by_one && current_is_out(&pen->current) &&
	       cursor_at_end(&pen->cursor);
}

/* --- a page of records ---------------------------------------------------------------------- */

/* TAKEN bytes of the page have been read: go behind what was read wholly. */
static void settle_page(struct pipeful *pipeful, struct pen *pen, size_t taken)
{
	struct position at = pen->cursor.at, before = at;
	struct frame_parts parts;
	struct msg msg;
	size_t offset = 0;

	while (cursor_read(&pen->cursor, &at, &msg)) {
		int r = current_encode(&pen->current, &msg, &parts);

		if (r < 0)
			break; /* such stand in no page */
		if (r == FRAME_NOTHING)
			parts = (struct frame_parts){0};
		if (pipeful->page_jumped ? at.seq > pipeful->page_end_seq
					 : offset + frame_parts_len(&parts) > taken)
			break;
		offset += frame_parts_len(&parts);
		before = at;
	}
	cursor_commit(&pen->cursor, &before);
	pen_save(pen);
	pen_anchor(pen);
	pipeful->page_bytes = 0;
}

/* What does not fit goes alone. */
static bool write_page(struct pipeful *pipeful, struct pen *pen)
{
	struct batch batch;
	struct iovec iov;
	ssize_t written;

	if (pipe_bytes(pen->fd) > 0)
		return false;
	if (pipeful->page_bytes > 0)
		settle_page(pipeful, pen, pipeful->page_bytes);
	if (pen->current.there)
		return write_one(pipeful, pen);
	batch_fill(&batch, pen, PIPE_ONE_PAGE, UINT64_MAX);
	if (batch.len == 0)
		return write_one(pipeful, pen);
	iov = batch_bytes(&batch);
	written = pen_write(pen, &iov, 1); /* all or nothing: pipe(7) */
	pen->blocked = written == 0;
	if (written > 0) {
		pipeful->page_bytes = (size_t)written;
		pipeful->page_end_seq = batch.end.seq;
		pipeful->page_jumped = false;
	}
	return false;
}

bool pipeful_write(struct pipeful *pipeful, struct pen *pen)
{
	return pen->options.pages ? write_page(pipeful, pen) : write_one(pipeful, pen);
}

/* --- readers who go and come ---------------------------------------------------------------- */

bool pipeful_reader_left(struct pipeful *pipeful, struct pen *pen, size_t residue)
{
	struct current *current = &pen->current;
	size_t taken = current->done - residue;

	if (!current->there || residue > current->done || current->framing == FRAMING_RAW)
		return false;
	if (taken == current_len(current)) {
		pen_record_done(pen);
		return false;
	}
	if (taken == 0)
		return false; /* the next reader finds it in the pipe */
	current->done = 0;
	if (pen->options.sluice) {
		sluice_withdraw(pen->options.sluice, &pipeful->before);
		give(pipeful, pen);
	}
	return true;
}

/* What the reader before him has not got. */
void pipeful_begin(struct pipeful *pipeful, struct pen *pen)
{
	if (pen->current.there && pen->current.done == 0)
		give(pipeful, pen);
}

void pipeful_take_back(struct pipeful *pipeful, struct pen *pen, size_t residue)
{
	struct current *current = &pen->current;
	size_t taken = current->done > residue ? current->done - residue : 0;

	if (pipeful->page_bytes > 0)
		settle_page(pipeful, pen,
			    residue < pipeful->page_bytes ? pipeful->page_bytes - residue : 0);
	else if (current->there && taken == current_len(current))
		pen_record_done(pen);
	else if (current->there) /* raw has no wholes */
		current->done = current->framing == FRAMING_RAW ? taken : 0;
	if (pen->options.sluice && current->there)
		sluice_withdraw(pen->options.sluice, &pipeful->before);
}

/* --- after a daemon before this one --------------------------------------------------------- */

void pipeful_adopt(struct pen *pen, size_t residue)
{
	if (!pen->options.one_by_one || residue > PIPE_BUF || !pen_next(pen, UINT64_MAX))
		return;
	if (residue <= current_len(&pen->current) && current_len(&pen->current) <= PIPE_BUF) {
		pen->current.done = current_len(&pen->current);
		return;
	}
	/* It begins with this one once more. */
}

bool pipeful_return(struct pipeful *pipeful, struct pen *pen)
{
	struct sluice *sluice = pen->options.sluice;
	struct held_place place = sluice_place(sluice);
	size_t moved = sluice_moved(sluice);

	if (!(place.flags & HELD_GIVEN) || moved == 0 ||
	    current_begin_copy(&pen->current, sluice_record(sluice), place.total,
			       place.flags & HELD_COUNTS, moved) < 0) {
		place.flags &= ~(uint32_t)(HELD_GIVEN | HELD_COUNTS);
		sluice_withdraw(sluice, &place);
		return false;
	}
	pipeful->before = (struct held_place){
		.seq = place.seq, .marks = place.marks, .flags = place.flags & HELD_LASTS};
	return true;
}
