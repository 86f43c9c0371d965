/* pen - see pen.h. */
#include "endpoint/pen.h"

#include <errno.h>
#include <unistd.h>

#include "endpoint/receipts.h"
#include "endpoint/sluice.h"

/* --- life ----------------------------------------------------------------------------------- */

void pen_init(struct pen *pen, int fd, struct conn *conn, struct later *run)
{
	const struct outlet_options *options = &pen->options;

	pen->fd = fd;
	pen->run = run;
	pen->until = UINT64_MAX;
	current_init(&pen->current, 6 * (size_t)conn_options(conn)->ws.max_message_bytes + 4096);
	pen->current.framing = options->framing;
	pen->current.type = options->type;
	pen->current.no_replies = options->pushed;
	cursor_open(&pen->cursor, options->spool ? options->spool : conn_spool(conn), options->from,
		    options->label, NULL, NULL);
	if (options->spool) {
		cursor_open(&pen->anchor, options->spool, options->from, options->label, NULL,
			    NULL);
		cursor_set_live(&pen->anchor, true);
	}
	pen->cursor.live = !options->is_fifo;
}

void pen_done(struct pen *pen)
{
	current_clear(&pen->current);
	cursor_close(&pen->anchor);
	cursor_close(&pen->cursor);
}

void pen_end(struct pen *pen, int error)
{
	if (pen->over)
		return;
	pen->over = true;
	pen->error = error;
	loop_later(pen->run);
}

void pen_count(struct pen *pen, uint64_t messages)
{
	pen->delivered += messages;
	if (messages > 0 && pen->options.count && pen->delivered >= pen->options.count)
		pen_end(pen, 0);
}

/* --- the reader's place --------------------------------------------------------------------- */

struct held_place pen_place(const struct pen *pen)
{
	return (struct held_place){
		.seq = pen->cursor.at.seq,
		.marks = pen->cursor.at.marks,
		.flags = pen->options.lasts ? HELD_LASTS : 0,
	};
}

static void save_in_page(struct pen *pen)
{
	struct held_place place = pen_place(pen);

	if (pen_is_stream(pen))
		sluice_commit(pen->options.sluice, &place);
	else
		sluice_withdraw(pen->options.sluice, &place);
}

void pen_save_at(struct pen *pen, uint64_t written)
{
	const struct outlet_options *options = &pen->options;
	const struct position *at = &pen->cursor.at;

	if (options->receipts)
		receipts_note(options->receipts, written, at);
	else if (options->holder && options->holder->mark)
		mark_commit(options->holder->mark, at->seq, at->marks);
	if (options->sluice)
		save_in_page(pen);
}

void pen_save(struct pen *pen)
{
	pen_save_at(pen, pen->written);
}

void pen_anchor(struct pen *pen)
{
	if (pen->options.spool)
		cursor_commit(&pen->anchor, &pen->cursor.at);
}

/* --- writing -------------------------------------------------------------------------------- */

/* As writev(2), but into the page that outlives us, which takes all of it or is full for good; or
 * one by one, where the page has the record already. */
static ssize_t write_held(struct pen *pen, const struct iovec *iov, int n)
{
	ssize_t bytes = 0;

	if (pen->options.one_by_one)
		bytes = sluice_move(pen->options.sluice, pen->fd);
	else
		bytes = sluice_put(pen->options.sluice, iov, n);
	for (int i = 0; i < n && bytes >= 0 && pen_is_stream(pen); i++)
		bytes += (ssize_t)iov[i].iov_len;
	if (bytes < 0)
		errno = (int)-bytes;
	return bytes < 0 ? -1 : bytes > 0 ? bytes : (errno = EAGAIN, -1);
}

/* A FIFO whose reader has just gone: its owner is told by the edge that comes with it. */
static void fail(struct pen *pen, int error)
{
	if (error == EPIPE && pen->options.is_fifo)
		pen->absent = true;
	else
		pen_end(pen, error);
}

ssize_t pen_write(struct pen *pen, const struct iovec *iov, int n)
{
	ssize_t written;

	do {
		written = pen->options.sluice ? write_held(pen, iov, n) : writev(pen->fd, iov, n);
	} while (written < 0 && errno == EINTR);
	if (written >= 0) {
		pen->written += (size_t)written;
		return written;
	}
	if (errno == EAGAIN)
		return 0;
	fail(pen, errno);
	return -1;
}

bool pen_flush(struct pen *pen)
{
	int r = sluice_flush(pen->options.sluice, pen->fd);

	if (r < 0)
		fail(pen, -r);
	pen->blocked = r == 0;
	return r > 0;
}

/* --- a record on its own: large, in need of encoding, or one by one ------------------------- */

bool pen_next(struct pen *pen, uint64_t stop)
{
	struct position at = cursor_start(&pen->cursor);
	struct frame_parts parts;
	struct msg msg;

	while (at.seq < stop && cursor_read(&pen->cursor, &at, &msg)) {
		int r;

		if (pen_is_beyond(pen, &msg, &at))
			return false;
		r = current_encode(&pen->current, &msg, &parts);
		if (r == FRAME_PARTS || r == FRAME_ENCODED) {
			current_begin(&pen->current, &msg, &parts, &at, 0);
			cursor_commit(&pen->cursor, &at);
			return true;
		}
		cursor_commit(&pen->cursor, &at);
		if (r < 0 && msg_counts(&msg)) /* no memory for it, or too long for `length` */
			cursor_lose(&pen->cursor, &msg);
	}
	cursor_commit(&pen->cursor, &at);
	pen_save(pen);
	return false;
}

bool pen_go_on(struct pen *pen)
{
	struct iovec iov[3];
	int n = current_pieces(&pen->current, pen->current.done, iov);
	ssize_t written = n > 0 ? pen_write(pen, iov, n) : 0;

	if (written < 0)
		return false;
	pen->current.done += (size_t)written;
	pen->blocked |= !current_is_out(&pen->current);
	return current_is_out(&pen->current);
}

void pen_record_done(struct pen *pen)
{
	bool counted = pen->current.counts;

	current_clear(&pen->current);
	pen_save(pen);
	pen_anchor(pen);
	pen_count(pen, counted);
}

bool pen_nothing_left(struct pen *pen)
{
	struct position at = pen->cursor.at;
	struct msg msg;

	if (cursor_at_end(&pen->cursor))
		return true;
	return cursor_read(&pen->cursor, &at, &msg) && pen_is_beyond(pen, &msg, &at);
}
