/* outlet - see outlet.h.
 *
 * Which of three ways it goes is decided in write_once(): the readers of a pipe that may go at any
 * time get one record at a time (pipeful.h); into a stream goes what is in progress, then an answer
 * whose turn it is (answers.h), then a batch of small records (batch.h) or a large one from where
 * it lies. All of them write by the pen (pen.h).  Here is when: the loop's events, and what must
 * happen before we are called again. */
#include "endpoint/outlet.h"

#include <errno.h>
#include <stdlib.h>

#include <event2/event.h>

#include "endpoint/answers.h"
#include "endpoint/batch.h"
#include "endpoint/pen.h"
#include "endpoint/pipeful.h"
#include "endpoint/sluice.h"

enum { WRITES_PER_TURN = 16 };

struct outlet {
	struct pen pen;
	struct pipeful pipeful;
	struct answers answers;
	bool started, finishing;
	struct event *writable;
	struct later run;
	const struct outlet_events *events;
	void *owner;
};

/* --- a stream ------------------------------------------------------------------------------- */

static bool continue_record(struct pen *pen)
{
	if (!pen_go_on(pen))
		return false;
	pen_record_done(pen);
	return true;
}

/* What was received before it has been written, or was lost. */
static bool answer_is_due(const struct outlet *outlet)
{
	return answers_due(&outlet->answers, outlet->pen.cursor.at.seq) ||
	       (!answers_empty(&outlet->answers) && cursor_at_end(&outlet->pen.cursor));
}

static bool write_answer(struct outlet *outlet)
{
	const struct iovec rest = answers_rest(&outlet->answers);
	struct pen *pen = &outlet->pen;
	ssize_t written = rest.iov_len > 0 ? pen_write(pen, &rest, 1) : 0;

	if (written < 0)
		return false;
	if (!answers_wrote(&outlet->answers, (size_t)written)) {
		pen->blocked = true;
		return false;
	}
	if (pen->options.sluice)
		pen_save(pen);
	pen_count(pen, 1);
	return true;
}

static bool write_records(struct outlet *outlet)
{
	uint64_t stop = answers_stop(&outlet->answers);
	struct pen *pen = &outlet->pen;
	struct batch batch;

	batch_fill(&batch, pen, BATCH_MAX, stop);
	if (batch.len > 0)
		return batch_write(&batch, pen);
	cursor_commit(&pen->cursor, &batch.end);
	pen_save(pen);
	return pen_next(pen, stop) && continue_record(pen);
}

/* --- the pump ------------------------------------------------------------------------------- */

/* True: something was written, and there may be more. */
static bool write_once(struct outlet *outlet)
{
	struct pen *pen = &outlet->pen;

	if (pen->options.one_by_one)
		return pipeful_write(&outlet->pipeful, pen);
	if (pen->options.sluice && !pen_flush(pen))
		return false;
	if (pen->current.there)
		return continue_record(pen);
	if (answer_is_due(outlet))
		return write_answer(outlet);
	return write_records(outlet);
}

static bool is_flushed(const struct pen *pen)
{
	return !pen_is_stream(pen) || sluice_idle(pen->options.sluice);
}

/* What must happen before we are called again is decided here, and only here. */
static void outlet_rearm(struct outlet *outlet)
{
	struct pen *pen = &outlet->pen;

	if (pen->over || pen->absent)
		return;
	if (!outlet->finishing && pipeful_rests(pen))
		cursor_wait(&pen->cursor);
	else if (pen->blocked || pipeful_is_there(&outlet->pipeful, pen))
		event_add(outlet->writable, NULL);
	else if (!answers_empty(&outlet->answers) || !pen_nothing_left(pen) || !is_flushed(pen))
		loop_later(&outlet->run);
	else if (outlet->finishing)
		pen_end(pen, 0);
	else
		cursor_wait(&pen->cursor);
}

void outlet_pump(struct outlet *outlet)
{
	struct pen *pen = &outlet->pen;

	if (!outlet->started || pen->over || pen->absent)
		return;
	pen->blocked = false;
	for (int i = 0; i < WRITES_PER_TURN && !pen->over; i++)
		if (!write_once(outlet))
			break;
	outlet_rearm(outlet);
}

static void outlet_on_run(void *owner)
{
	struct outlet *outlet = owner;

	if (!outlet->pen.over)
		outlet_pump(outlet);
	else
		outlet->events->ended(outlet->owner, outlet->pen.error);
}

static void outlet_on_writable(evutil_socket_t fd, short what, void *owner)
{
	(void)fd;
	(void)what;
	outlet_pump(owner);
}

static void outlet_cursor_ready(void *owner)
{
	struct outlet *outlet = owner;

	loop_later(&outlet->run);
}

static void outlet_cursor_jumped(void *owner, uint64_t messages)
{
	struct outlet *outlet = owner;
	struct pen *pen = &outlet->pen;

	outlet->pipeful.page_jumped = true;
	if (!pipeful_is_there(&outlet->pipeful, pen) && !pen->options.receipts)
		pen_save(pen);
	if (outlet->events->missed)
		outlet->events->missed(outlet->owner, messages);
}

/* --- life ----------------------------------------------------------------------------------- */

void outlet_options_resume(struct outlet_options *options, struct mark_holder *holder)
{
	options->holder = holder;
	options->seeks = true;
	options->seek = SEEK_SEQ;
	options->number = holder->mark->seq;
	options->marks = holder->mark->marks;
}

static void open_cursor(struct outlet *outlet)
{
	const struct outlet_options *options = &outlet->pen.options;
	struct cursor *cursor = &outlet->pen.cursor;

	cursor->ready = outlet_cursor_ready;
	cursor->jumped = outlet_cursor_jumped;
	cursor->owner = outlet;
	if (options->seeks)
		cursor_seek(cursor, options->seek, options->number, options->marks);
}

int outlet_new(struct outlet **ret, int fd, struct conn *conn, const struct outlet_options *options,
	       const struct outlet_events *events, void *owner)
{
	struct outlet *outlet = calloc(1, sizeof(*outlet));

	if (!outlet)
		return -ENOMEM;
	outlet->events = events;
	outlet->owner = owner;
	later_init(&outlet->run, outlet_on_run, outlet);
	outlet->pen.options = *options;
	outlet->pen.options.one_by_one = options->one_by_one || options->pages;
	pen_init(&outlet->pen, fd, conn, &outlet->run);
	answers_init(&outlet->answers, outlet->pen.current.encoded.max);
	open_cursor(outlet);
	outlet->writable = event_new(loop_base(), fd, EV_WRITE | EV_ET, outlet_on_writable, outlet);
	if (!outlet->writable) {
		outlet_free(outlet);
		return -ENOMEM;
	}
	*ret = outlet;
	return 0;
}

struct outlet *outlet_free(struct outlet *outlet)
{
	if (!outlet)
		return NULL;
	if (outlet->writable)
		event_free(outlet->writable);
	later_cancel(&outlet->run);
	answers_done(&outlet->answers);
	pen_done(&outlet->pen);
	free(outlet);
	return NULL;
}

void outlet_start(struct outlet *outlet)
{
	outlet->started = true;
	loop_later(&outlet->run);
}

void outlet_finish(struct outlet *outlet)
{
	outlet->finishing = true;
	if (outlet->started)
		loop_later(&outlet->run);
}

void outlet_finish_here(struct outlet *outlet)
{
	uint64_t *count = &outlet->pen.options.count;
	uint64_t here = outlet->pen.delivered + outlet_behind(outlet);

	if (here > 0 && (*count == 0 || *count > here))
		*count = here;
	outlet_finish(outlet);
}

int outlet_push(struct outlet *outlet, const struct msg *msg)
{
	const struct current *how = &outlet->pen.current;
	uint64_t seq = spool_next_seq(outlet->pen.cursor.spool);
	struct frame_parts parts;
	struct buf encoded;
	int r;

	buf_init(&encoded, how->encoded.max);
	r = frame_encode(how->framing, how->type, msg, &parts, &encoded);
	if (r == FRAME_ENCODED)
		parts = (struct frame_parts){.body = buf_head(&encoded),
					     .body_len = buf_len(&encoded)};
	if (r == FRAME_PARTS || r == FRAME_ENCODED)
		r = answers_add(&outlet->answers, seq, &parts);
	buf_done(&encoded);
	if (r < 0)
		return r;
	loop_later(&outlet->run);
	return 0;
}

/* --- readers who come and go ---------------------------------------------------------------- */

/* A FIFO that somebody has read once is waited for from then on, if overflow = block says so. */
void outlet_set_present(struct outlet *outlet, bool present)
{
	outlet->pen.absent = !present;
	outlet->pipeful.unsure = true;
	if (!present)
		return;
	cursor_set_live(&outlet->pen.cursor, true);
	outlet_pump(outlet);
}

bool outlet_reader_left(struct outlet *outlet, size_t residue)
{
	outlet->pen.absent = true;
	return pipeful_reader_left(&outlet->pipeful, &outlet->pen, residue);
}

void outlet_begin(struct outlet *outlet, int fd, struct sluice *sluice, uint64_t until)
{
	struct pen *pen = &outlet->pen;

	pen->fd = fd;
	pen->options.sluice = sluice;
	pipeful_begin(&outlet->pipeful, pen);
	event_assign(outlet->writable, loop_base(), fd, EV_WRITE | EV_ET, outlet_on_writable,
		     outlet);
	pen->until = until;
	outlet->started = outlet->finishing = true;
	pen->absent = pen->blocked = false;
	cursor_set_live(&pen->cursor, true);
	loop_later(&outlet->run);
}

void outlet_take_back(struct outlet *outlet, size_t residue)
{
	struct pen *pen = &outlet->pen;

	later_cancel(&outlet->run);
	event_del(outlet->writable);
	pen->absent = true;
	pen->over = false;
	cursor_set_live(&pen->cursor, false);
	pipeful_take_back(&outlet->pipeful, pen, residue);
	pen->options.sluice = NULL;
	pen->fd = -1;
}

/* --- from one daemon to the next ------------------------------------------------------------ */

void outlet_adopt(struct outlet *outlet, size_t residue)
{
	pipeful_adopt(&outlet->pen, residue);
}

bool outlet_options_return(struct outlet_options *options, struct conn *conn)
{
	const struct held_place place = sluice_place(options->sluice);
	bool past = (place.flags & HELD_GIVEN) && sluice_moved(options->sluice) > 0;
	uint64_t seq = past ? place.after : place.seq;

	if (!options->lasts || !(place.flags & HELD_LASTS) ||
	    seq > spool_next_seq(conn_spool(conn)))
		return false;
	options->seeks = true;
	options->seek = SEEK_SEQ;
	options->number = seq;
	options->marks = past ? place.after_marks : place.marks;
	return true;
}

bool outlet_return(struct outlet *outlet)
{
	if (!outlet->pen.options.one_by_one)
		return false; /* what is there goes out first */
	return pipeful_return(&outlet->pipeful, &outlet->pen);
}

void outlet_leave(struct outlet *outlet)
{
	struct pen *pen = &outlet->pen;
	struct held_place place = pen_place(pen);

	if (pipeful_was_read(pen)) {
		pen_record_done(pen);
	} else if (pen_is_stream(pen) && !pen->options.lasts) {
		place.after = outlet_behind(outlet);
		sluice_commit(pen->options.sluice, &place);
	}
}

/* --- how far it is -------------------------------------------------------------------------- */

void outlet_miss(struct outlet *outlet, uint64_t messages)
{
	outlet->pen.cursor.missed += messages;
}

uint64_t outlet_place(const struct outlet *outlet)
{
	return outlet->pen.anchor.at.seq;
}

/* What was read out of the pipe is not behind, though nobody has looked yet. */
uint64_t outlet_behind(const struct outlet *outlet)
{
	const struct current *current = &outlet->pen.current;
	bool counts = current->there && current->counts && !pipeful_was_read(&outlet->pen);

	return cursor_behind(&outlet->pen.cursor) + counts;
}

uint64_t outlet_missed(const struct outlet *outlet)
{
	return outlet->pen.cursor.missed;
}
