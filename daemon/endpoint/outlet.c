/* outlet - see outlet.h.
 *
 * Small records are copied into the loop's scratch, behind one another, and leave with one write(2);
 * large ones are written from where they lie in the spool.  After a write that took only a part, the
 * records that went out whole are committed, and the one that was cut is held until the rest of it has
 * gone: its bytes stay, whatever the spool drops meanwhile. */
#include "endpoint/outlet.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/loop.h"
#include "endpoint/receipts.h"
#include "endpoint/sluice.h"

enum {
	COPY_MAX = 16 * 1024,            /* larger bodies are not copied */
	COPY_SHORT = 64,
	BATCH_MAX = 128 * 1024,          /* bytes copied for one write */
	CHECKPOINT_EVERY = 4096,         /* bytes of a batch, see struct batch */
	CHECKPOINTS = BATCH_MAX / CHECKPOINT_EVERY + 2,
	WRITES_PER_TURN = 16,
	PAGE_BYTES = 4096,
};

/* Ahead of each encoded record in outlet->pushed. */
struct pushed {
	uint64_t seq; /* number of the message that it goes ahead of */
	size_t len;
};

struct outlet {
	int fd;
	struct outlet_options options;
	struct cursor cursor;
	struct cursor anchor; /* of a spool of its own: ahead of what has not been read; else zeroed */
	struct event *writable;
	struct later run;

	/* The record being written, if `in_record`: the cursor is behind it already. */
	bool in_record;
	struct frame_parts parts; /* its pieces: views into `held`, or into `encoded` */
	struct block *held;
	struct buf encoded;
	size_t done; /* bytes of it that are out */
	bool counts; /* it is a message */
	struct held_place
		before; /* one by one through a sluice: where the cursor stood ahead of it */

	/* Records that stand in the page, if not 0; the cursor is still ahead of them. */
	size_t page_bytes;
	uint64_t page_end_seq;
	bool page_jumped; /* the spool has dropped some of them meanwhile */
	uint64_t until;   /* messages from this number on are for another time */

	struct buf pushed;  /* struct pushed and the record, one behind the other */
	size_t pushed_done; /* bytes of the first record that are out */

	bool unsure; /* one by one: whether the pipe is empty */
	bool started, absent, blocked, finishing, over;
	int error;
	uint64_t delivered; /* messages */
	uint64_t written;   /* bytes */
	const struct outlet_events *events;
	void *owner;
};

static size_t parts_len(const struct frame_parts *parts)
{
	return parts->head_len + parts->body_len + parts->tail_len;
}

static bool counts(const struct msg *msg)
{
	return msg->kind == MSG_TEXT || msg->kind == MSG_BINARY;
}

/* MSG was read, and AT is behind it. */
static bool is_beyond(const struct outlet *outlet, const struct msg *msg, const struct position *at)
{
	return counts(msg) && at->seq > outlet->until;
}

static void end(struct outlet *outlet, int error)
{
	if (outlet->over)
		return;
	outlet->over = true;
	outlet->error = error;
	loop_later(&outlet->run);
}

static bool is_stream(const struct outlet *outlet)
{
	return outlet->options.sluice && !outlet->options.one_by_one;
}

static struct held_place place_now(const struct outlet *outlet)
{
	return (struct held_place){
		.seq = outlet->cursor.at.seq,
		.marks = outlet->cursor.at.marks,
		.flags = outlet->options.lasts ? HELD_LASTS : 0,
	};
}

static void save_in_page(struct outlet *outlet)
{
	struct held_place place = place_now(outlet);

	if (is_stream(outlet))
		sluice_commit(outlet->options.sluice, &place);
	else
		sluice_withdraw(outlet->options.sluice, &place);
}

/* All before the cursor has gone out wholly: a later reader begins there. */
static void save_at(struct outlet *outlet, uint64_t written)
{
	const struct position *at = &outlet->cursor.at;

	if (outlet->options.receipts)
		receipts_note(outlet->options.receipts, written, at);
	else if (outlet->options.holder && outlet->options.holder->mark)
		mark_commit(outlet->options.holder->mark, at->seq, at->marks);
	if (outlet->options.sluice)
		save_in_page(outlet);
}

static void save(struct outlet *outlet)
{
	save_at(outlet, outlet->written);
}

/* All before the cursor has been read: the spool need not keep it for us. */
static void anchor_here(struct outlet *outlet)
{
	if (outlet->options.spool)
		cursor_commit(&outlet->anchor, &outlet->cursor.at);
}

/* --- one record ----------------------------------------------------------------------------- */

/* Pieces of the record from byte DONE on. */
static int rest_of(const struct frame_parts *parts, size_t done, struct iovec iov[3])
{
	const struct iovec all[3] = {
		{(void *)parts->head, parts->head_len},
		{(void *)parts->body, parts->body_len},
		{(void *)parts->tail, parts->tail_len},
	};
	int n = 0;

	for (int i = 0; i < 3; i++) {
		size_t skip = done < all[i].iov_len ? done : all[i].iov_len;

		done -= skip;
		if (all[i].iov_len > skip)
			iov[n++] = (struct iovec){(char *)all[i].iov_base + skip,
						  all[i].iov_len - skip};
	}
	return n;
}

static void release_record(struct outlet *outlet)
{
	if (outlet->held)
		block_release(outlet->held);
	outlet->held = NULL;
	buf_done(&outlet->encoded);
	outlet->in_record = false;
	outlet->done = 0;
}

static void record_done(struct outlet *outlet)
{
	bool counted = outlet->counts;

	release_record(outlet);
	save(outlet);
	anchor_here(outlet);
	if (counted && ++outlet->delivered == outlet->options.count)
		end(outlet, 0);
}

/* As writev(2), but into the page that outlives us, which takes all of it or is full for good; or
 * one by one, where the page has the record already. */
static ssize_t write_held(struct outlet *outlet, const struct iovec *iov, int n)
{
	ssize_t bytes = 0;

	if (outlet->options.one_by_one)
		bytes = sluice_move(outlet->options.sluice, outlet->fd);
	else
		bytes = sluice_put(outlet->options.sluice, iov, n);
	for (int i = 0; i < n && bytes >= 0 && is_stream(outlet); i++)
		bytes += (ssize_t)iov[i].iov_len;
	if (bytes < 0)
		errno = (int)-bytes;
	return bytes < 0 ? -1 : bytes > 0 ? bytes : (errno = EAGAIN, -1);
}

/* Bytes written, 0 if it would block, or -1 and the outlet is over. */
static ssize_t write_some(struct outlet *outlet, const struct iovec *iov, int n)
{
	ssize_t written;

	do {
		written = outlet->options.sluice ? write_held(outlet, iov, n)
						 : writev(outlet->fd, iov, n);
	} while (written < 0 && errno == EINTR);
	if (written >= 0) {
		outlet->written += (size_t)written;
		return written;
	}
	if (errno == EAGAIN)
		return 0;
	/* A FIFO whose reader has just gone: its owner is told by the edge that comes with it. */
	if (errno == EPIPE && outlet->options.is_fifo)
		outlet->absent = true;
	else
		end(outlet, errno);
	return -1;
}

/* Go on with the record that was begun.  True: it is out, and more may be written. */
static bool continue_record(struct outlet *outlet)
{
	size_t len = parts_len(&outlet->parts);
	struct iovec iov[3];
	int n = rest_of(&outlet->parts, outlet->done, iov);
	ssize_t written = n > 0 ? write_some(outlet, iov, n) : 0;

	if (written < 0)
		return false;
	outlet->done += (size_t)written;
	if (outlet->done < len) {
		outlet->blocked = true;
		return false;
	}
	if (outlet->options.one_by_one && len > 0)
		return false; /* out, but not read yet */
	record_done(outlet);
	return true;
}

/* Make MSG the record in progress, DONE bytes of which are out; the cursor goes behind it. */
static void begin_record(struct outlet *outlet, const struct msg *msg,
			 const struct frame_parts *parts, const struct position *after, size_t done)
{
	outlet->parts = *parts;
	outlet->held = cursor_hold(after);
	outlet->in_record = true;
	outlet->done = done;
	outlet->counts = counts(msg);
	cursor_commit(&outlet->cursor, after);
}

/* Into PARTS, which may be views into outlet->encoded. */
static int encode(struct outlet *outlet, const struct msg *msg, struct frame_parts *parts)
{
	struct buf *out = &outlet->encoded;
	int r;

	buf_clear(out);
	if ((msg->flags & MSG_IS_REPLY) && outlet->options.pushed)
		return FRAME_NOTHING;
	r = frame_encode(outlet->options.framing, outlet->options.type, msg, parts, out);
	if (r == FRAME_ENCODED)
		*parts = (struct frame_parts){.body = buf_head(out), .body_len = buf_len(out)};
	return r;
}

/* Number of the message that must wait until an answer of our own has gone out. */
static uint64_t first_to_wait(const struct outlet *outlet)
{
	struct pushed first = {.seq = UINT64_MAX};

	if (buf_len(&outlet->pushed) > 0)
		memcpy(&first, buf_head(&outlet->pushed), sizeof(first));
	return first.seq;
}

/* The next record on its own: large, in need of encoding, or one by one.  False: nothing there. */
static bool next_record(struct outlet *outlet)
{
	struct position at = cursor_start(&outlet->cursor);
	uint64_t stop = first_to_wait(outlet);
	struct frame_parts parts;
	struct msg msg;

	while (at.seq < stop && cursor_read(&outlet->cursor, &at, &msg)) {
		int r;

		if (is_beyond(outlet, &msg, &at))
			return false;
		r = encode(outlet, &msg, &parts);
		if (r == FRAME_PARTS || r == FRAME_ENCODED) {
			begin_record(outlet, &msg, &parts, &at, 0);
			return true;
		}
		cursor_commit(&outlet->cursor, &at);
		if (r < 0 && counts(&msg)) /* no memory for it, or too long for `length` */
			cursor_lose(&outlet->cursor, &msg);
	}
	cursor_commit(&outlet->cursor, &at);
	save(outlet);
	return false;
}

/* --- answers to this reader alone ----------------------------------------------------------- */

static void put_parts(uint8_t *at, const struct frame_parts *parts)
{
	memcpy(at, parts->head, parts->head_len);
	if (parts->body_len > 0)
		memcpy(at + parts->head_len, parts->body, parts->body_len);
	if (parts->tail_len)
		at[parts->head_len + parts->body_len] = parts->tail[0];
}

/* What was received before it has been written, or was lost. */
static bool pushed_is_due(const struct outlet *outlet)
{
	return buf_len(&outlet->pushed) > 0 &&
	       (outlet->pushed_done > 0 || outlet->cursor.at.seq >= first_to_wait(outlet) ||
		cursor_at_end(&outlet->cursor));
}

/* True: one is out, and more may be written. */
static bool write_pushed(struct outlet *outlet)
{
	struct pushed first;
	struct iovec iov;
	ssize_t written;

	memcpy(&first, buf_head(&outlet->pushed), sizeof(first));
	iov = (struct iovec){buf_head(&outlet->pushed) + sizeof(first) + outlet->pushed_done,
			     first.len - outlet->pushed_done};
	written = iov.iov_len > 0 ? write_some(outlet, &iov, 1) : 0;
	if (written < 0)
		return false;
	outlet->pushed_done += (size_t)written;
	if (outlet->pushed_done < first.len) {
		outlet->blocked = true;
		return false;
	}
	buf_consume(&outlet->pushed, sizeof(first) + first.len);
	outlet->pushed_done = 0;
	if (outlet->pushed.size > BATCH_MAX)
		buf_trim(&outlet->pushed);
	if (outlet->options.sluice)
		save(outlet);
	if (++outlet->delivered == outlet->options.count)
		end(outlet, 0);
	return true;
}

static int append_pushed(struct outlet *outlet, const struct frame_parts *parts)
{
	struct pushed pushed = {.seq = spool_next_seq(outlet->cursor.spool),
				.len = parts_len(parts)};
	size_t all = sizeof(pushed) + pushed.len;
	uint8_t *tail;
	int r;

	if (buf_len(&outlet->pushed) > 0 && buf_len(&outlet->pushed) + all > OUTLET_PUSHED_MAX)
		return -ENOBUFS;
	r = buf_reserve(&outlet->pushed, all, &tail);
	if (r < 0)
		return r;
	memcpy(tail, &pushed, sizeof(pushed));
	put_parts(tail + sizeof(pushed), parts);
	buf_commit(&outlet->pushed, all);
	loop_later(&outlet->run);
	return 0;
}

int outlet_push(struct outlet *outlet, const struct msg *msg)
{
	struct frame_parts parts;
	struct buf encoded;
	int r;

	buf_init(&encoded, outlet->encoded.max);
	r = frame_encode(outlet->options.framing, outlet->options.type, msg, &parts, &encoded);
	if (r == FRAME_ENCODED)
		parts = (struct frame_parts){.body = buf_head(&encoded),
					     .body_len = buf_len(&encoded)};
	if (r == FRAME_PARTS || r == FRAME_ENCODED)
		r = append_pushed(outlet, &parts);
	buf_done(&encoded);
	return r < 0 ? r : 0;
}

/* --- many records, one write ---------------------------------------------------------------- */

/* What stands in the scratch.  The checkpoints tell where the record that was cut is to be looked for,
 * without counting from the start: short writes are the rule when a reader is slow. */
struct batch {
	size_t len;
	uint64_t messages;
	struct position end;
	unsigned checkpoints;
	struct checkpoint {
		size_t offset;
		uint64_t messages;
		struct position at;
	} checkpoint[CHECKPOINTS];
};

static void checkpoint(struct batch *batch)
{
	if (batch->checkpoints > 0 &&
	    batch->len - batch->checkpoint[batch->checkpoints - 1].offset < CHECKPOINT_EVERY)
		return;
	batch->checkpoint[batch->checkpoints++] =
		(struct checkpoint){batch->len, batch->messages, batch->end};
}

/* Eight bytes at a time: payloads in the spool are padded to that, and the scratch is larger than any
 * batch, so a few bytes too many hurt nobody. */
static inline void copy_padded(uint8_t *to, const uint8_t *from, size_t len)
{
	if (len > COPY_SHORT) {
		memcpy(to, from, len);
		return;
	}
	for (size_t at = 0; at < len; at += 8)
		memcpy(to + at, from + at, 8);
}

static uint64_t count_left(const struct outlet *outlet)
{
	return outlet->options.count ? outlet->options.count - outlet->delivered : UINT64_MAX;
}

/* Append one small record.  False: it takes its turn alone (rare). */
static bool put_record(struct outlet *outlet, struct batch *batch, const struct msg *msg)
{
	uint8_t *to = loop_write_scratch() + batch->len;
	int end = frame_usual_end(outlet->options.framing, outlet->options.type, msg);
	struct frame_parts parts;
	int r;

	if (end >= 0) {
		checkpoint(batch);
		copy_padded(to, msg->data, msg->len);
		to[msg->len] = (uint8_t)end;
		batch->len += msg->len + 1;
		batch->messages++;
		return true;
	}
	r = encode(outlet, msg, &parts);
	if (r == FRAME_NOTHING)
		return true;
	if (r < 0 || parts_len(&parts) > COPY_MAX)
		return false;
	checkpoint(batch);
	put_parts(to, &parts);
	batch->len += parts_len(&parts);
	batch->messages += counts(msg);
	return true;
}

/* Fill the scratch with whole small records, up to one that is not, and to at most MAX bytes. */
static void fill_batch(struct outlet *outlet, struct batch *batch, size_t max)
{
	uint64_t limit = count_left(outlet), stop = first_to_wait(outlet);
	struct position at;
	struct msg msg;

	batch->len = batch->messages = batch->checkpoints = 0;
	batch->end = at = cursor_start(&outlet->cursor);
	while (batch->len < BATCH_MAX - COPY_MAX && batch->messages < limit && at.seq < stop &&
	       cursor_read(&outlet->cursor, &at, &msg)) {
		size_t len = batch->len;

		if (msg.len > COPY_MAX - 16 || is_beyond(outlet, &msg, &at) ||
		    !put_record(outlet, batch, &msg))
			break;
		if (batch->len > max) { /* only known when it is there */
			batch->len = len;
			batch->messages -= counts(&msg);
			break;
		}
		batch->end = at;
	}
}

/* Only WRITTEN bytes of the batch went out: commit what is whole, hold what was cut. */
static void settle_short_write(struct outlet *outlet, const struct batch *batch, size_t written)
{
	const struct checkpoint *from = &batch->checkpoint[batch->checkpoints - 1];
	struct position at, before;
	struct frame_parts parts;
	struct msg msg = {0};
	size_t offset;

	while (from->offset > written)
		from--;
	offset = from->offset;
	outlet->delivered += from->messages;
	at = before = from->at;
	while (cursor_read(&outlet->cursor, &at, &msg)) {
		/* What was encoded before finds the memory for it again. */
		if (encode(outlet, &msg, &parts) != FRAME_NOTHING) {
			if (offset + parts_len(&parts) > written)
				break;
			offset += parts_len(&parts);
			outlet->delivered += counts(&msg);
		}
		before = at;
	}
	cursor_commit(&outlet->cursor, &before);
	save_at(outlet, outlet->written - (written - offset));
	if (offset < written)
		begin_record(outlet, &msg, &parts, &at, written - offset);
	outlet->blocked = true;
}

/* True: something was written, and there may be more. */
static bool write_batch(struct outlet *outlet)
{
	struct batch batch;
	struct iovec iov;
	ssize_t written;

	fill_batch(outlet, &batch, BATCH_MAX);
	if (batch.len == 0) {
		cursor_commit(&outlet->cursor, &batch.end);
		save(outlet);
		return next_record(outlet) && continue_record(outlet);
	}
	iov = (struct iovec){loop_write_scratch(), batch.len};
	written = write_some(outlet, &iov, 1);
	if (written < 0)
		return false;
	if ((size_t)written < batch.len) {
		settle_short_write(outlet, &batch, (size_t)written);
		return false;
	}
	cursor_commit(&outlet->cursor, &batch.end);
	save(outlet);
	outlet->delivered += batch.messages;
	if (outlet->options.count && outlet->delivered >= outlet->options.count)
		end(outlet, 0);
	return true;
}

/* --- the pump ------------------------------------------------------------------------------- */

static size_t bytes_in_pipe(const struct outlet *outlet)
{
	int bytes = 0;

	return ioctl(outlet->fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

/* The record in progress goes by way of the page, if there is one; one too long for that goes
 * alone. */
static void give(struct outlet *outlet)
{
	struct held_place place = outlet->before;
	struct iovec iov[3];
	int n;

	if (!outlet->options.sluice)
		return;
	n = rest_of(&outlet->parts, 0, iov);
	place.after = outlet->cursor.at.seq;
	place.after_marks = outlet->cursor.at.marks;
	place.flags |= HELD_GIVEN | (outlet->counts ? HELD_COUNTS : 0);
	if (sluice_give(outlet->options.sluice, iov, n, &place) < 0)
		outlet->options.sluice = NULL;
}

static bool begin_next(struct outlet *outlet)
{
	outlet->before = place_now(outlet);
	if (!next_record(outlet))
		return false;
	give(outlet);
	return true;
}

/* One record in the pipe, and it has been read when the pipe is empty. */
static bool pump_one(struct outlet *outlet)
{
	if (outlet->in_record && outlet->done == parts_len(&outlet->parts)) {
		if (bytes_in_pipe(outlet) > 0)
			return false;
		record_done(outlet);
	}
	if (!outlet->in_record && !begin_next(outlet))
		return false;
	if (outlet->unsure && bytes_in_pipe(outlet) > 0)
		return false; /* from before our time: it is read first */
	outlet->unsure = false;
	return continue_record(outlet);
}

/* TAKEN bytes of the page have been read: go behind what was read wholly. */
static void settle_page(struct outlet *outlet, size_t taken)
{
	struct position at = outlet->cursor.at, before = at;
	struct frame_parts parts;
	struct msg msg;
	size_t offset = 0;

	while (cursor_read(&outlet->cursor, &at, &msg)) {
		int r = encode(outlet, &msg, &parts);

		if (r < 0)
			break; /* such stand in no page */
		if (r == FRAME_NOTHING)
			parts = (struct frame_parts){0};
		if (outlet->page_jumped ? at.seq > outlet->page_end_seq
					: offset + parts_len(&parts) > taken)
			break;
		offset += parts_len(&parts);
		before = at;
	}
	cursor_commit(&outlet->cursor, &before);
	save(outlet);
	anchor_here(outlet);
	outlet->page_bytes = 0;
}

/* A page of records in the pipe; what does not fit goes alone, as in pump_one(). */
static bool pump_page(struct outlet *outlet)
{
	struct batch batch;
	struct iovec iov;
	ssize_t written;

	if (bytes_in_pipe(outlet) > 0)
		return false;
	if (outlet->page_bytes > 0)
		settle_page(outlet, outlet->page_bytes);
	if (outlet->in_record)
		return pump_one(outlet);
	fill_batch(outlet, &batch, PAGE_BYTES);
	if (batch.len == 0)
		return pump_one(outlet);
	iov = (struct iovec){loop_write_scratch(), batch.len};
	written = write_some(outlet, &iov, 1); /* all or nothing: pipe(7) */
	outlet->blocked = written == 0;
	if (written > 0) {
		outlet->page_bytes = (size_t)written;
		outlet->page_end_seq = batch.end.seq;
		outlet->page_jumped = false;
	}
	return false;
}

/* What has been written into the page goes on from there.  False: not all of it yet. */
static bool flush_page(struct outlet *outlet)
{
	int r = sluice_flush(outlet->options.sluice, outlet->fd);

	if (r == -EPIPE && outlet->options.is_fifo)
		outlet->absent = true;
	else if (r < 0)
		end(outlet, -r);
	outlet->blocked = r == 0;
	return r > 0;
}

static bool pump_once(struct outlet *outlet)
{
	if (is_stream(outlet) && !flush_page(outlet))
		return false;
	if (outlet->options.pages)
		return pump_page(outlet);
	if (outlet->options.one_by_one)
		return pump_one(outlet);
	if (outlet->in_record)
		return continue_record(outlet);
	if (pushed_is_due(outlet))
		return write_pushed(outlet);
	return write_batch(outlet);
}

/* A gap is something: it is crossed by cursor_start(), and told. */
static bool nothing_left(struct outlet *outlet)
{
	struct position at = outlet->cursor.at;
	struct msg msg;

	if (cursor_at_end(&outlet->cursor))
		return true;
	return cursor_read(&outlet->cursor, &at, &msg) && is_beyond(outlet, &msg, &at);
}

/* Is the reader's place kept for a time after ours? */
static bool lasts(const struct outlet *outlet)
{
	const struct mark_holder *holder = outlet->options.holder;

	return holder && holder->mark && holder->mark->file.at;
}

/* The record is in the pipe and not read yet, as far as we know, and no other waits for its place: then
 * it need not wake us when it is read.  That is looked up when the next one comes; unless a crash in
 * between would have it read twice. */
static bool rests(const struct outlet *outlet)
{
	return !lasts(outlet) && outlet->options.one_by_one && outlet->in_record && !outlet->finishing &&
	       outlet->done == parts_len(&outlet->parts) && cursor_at_end(&outlet->cursor);
}

/* What must happen before we are called again is decided here, and only here. */
static void outlet_rearm(struct outlet *outlet)
{
	if (outlet->over || outlet->absent)
		return;
	if (rests(outlet)) {
		cursor_wait(&outlet->cursor);
	} else if (outlet->blocked || outlet->in_record || outlet->page_bytes > 0) {
		event_add(outlet->writable, NULL);
	} else if (buf_len(&outlet->pushed) > 0 || !nothing_left(outlet) ||
		   (is_stream(outlet) && !sluice_idle(outlet->options.sluice))) {
		loop_later(&outlet->run);
	} else if (outlet->finishing) {
		end(outlet, 0);
	} else {
		cursor_wait(&outlet->cursor);
	}
}

void outlet_pump(struct outlet *outlet)
{
	if (!outlet->started || outlet->over || outlet->absent)
		return;
	outlet->blocked = false;
	for (int i = 0; i < WRITES_PER_TURN && !outlet->over; i++)
		if (!pump_once(outlet))
			break;
	outlet_rearm(outlet);
}

static void outlet_on_run(void *owner)
{
	struct outlet *outlet = owner;

	if (!outlet->over)
		outlet_pump(outlet);
	else
		outlet->events->ended(outlet->owner, outlet->error);
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

	outlet->page_jumped = true;
	if (!outlet->in_record && !outlet->page_bytes && !outlet->options.receipts)
		save(outlet);
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

int outlet_new(struct outlet **ret, int fd, struct conn *conn, const struct outlet_options *options,
	       const struct outlet_events *events, void *owner)
{
	struct outlet *outlet = calloc(1, sizeof(*outlet));

	if (!outlet)
		return -ENOMEM;
	outlet->fd = fd;
	outlet->until = UINT64_MAX;
	outlet->options = *options;
	outlet->options.one_by_one = options->one_by_one || options->pages;
	outlet->events = events;
	outlet->owner = owner;
	later_init(&outlet->run, outlet_on_run, outlet);
	buf_init(&outlet->encoded, 6 * (size_t)conn_options(conn)->ws.max_message_bytes + 4096);
	buf_init(&outlet->pushed, outlet->encoded.max + OUTLET_PUSHED_MAX);
	cursor_open(&outlet->cursor, options->spool ? options->spool : conn_spool(conn), options->from, options->label,
		    outlet_cursor_ready, outlet);
	outlet->cursor.jumped = outlet_cursor_jumped;
	if (options->spool) {
		cursor_open(&outlet->anchor, options->spool, options->from, options->label, NULL, NULL);
		cursor_set_live(&outlet->anchor, true);
	}
	outlet->cursor.live = !options->is_fifo;
	if (options->seeks)
		cursor_seek(&outlet->cursor, options->seek, options->number, options->marks);
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
	release_record(outlet);
	buf_done(&outlet->pushed);
	cursor_close(&outlet->anchor);
	cursor_close(&outlet->cursor);
	free(outlet);
	return NULL;
}

void outlet_start(struct outlet *outlet)
{
	outlet->started = true;
	loop_later(&outlet->run);
}

/* A FIFO that somebody has read once is waited for from then on, if overflow = block says so. */
void outlet_set_present(struct outlet *outlet, bool present)
{
	outlet->absent = !present;
	outlet->unsure = true;
	if (!present)
		return;
	cursor_set_live(&outlet->cursor, true);
	outlet_pump(outlet);
}

bool outlet_reader_left(struct outlet *outlet, size_t residue)
{
	size_t taken = outlet->done - residue;

	outlet->absent = true;
	if (!outlet->in_record || residue > outlet->done || outlet->options.framing == FRAMING_RAW)
		return false;
	if (taken == parts_len(&outlet->parts)) {
		record_done(outlet);
		return false;
	}
	if (taken == 0)
		return false; /* the next reader finds it in the pipe */
	outlet->done = 0;
	if (outlet->options.sluice) {
		sluice_withdraw(outlet->options.sluice, &outlet->before);
		give(outlet);
	}
	return true;
}

void outlet_begin(struct outlet *outlet, int fd, struct sluice *sluice, uint64_t until)
{
	outlet->fd = fd;
	outlet->options.sluice = sluice;
	if (outlet->in_record && outlet->done == 0)
		give(outlet); /* that of the reader before him */
	event_assign(outlet->writable, loop_base(), fd, EV_WRITE | EV_ET, outlet_on_writable, outlet);
	outlet->until = until;
	outlet->started = outlet->finishing = true;
	outlet->absent = outlet->blocked = false;
	cursor_set_live(&outlet->cursor, true);
	loop_later(&outlet->run);
}

void outlet_take_back(struct outlet *outlet, size_t residue)
{
	size_t taken = outlet->done > residue ? outlet->done - residue : 0;

	later_cancel(&outlet->run);
	event_del(outlet->writable);
	outlet->absent = true;
	outlet->over = false;
	cursor_set_live(&outlet->cursor, false);
	if (outlet->page_bytes > 0)
		settle_page(outlet, residue < outlet->page_bytes ? outlet->page_bytes - residue : 0);
	else if (outlet->in_record && taken == parts_len(&outlet->parts))
		record_done(outlet);
	else if (outlet->in_record) /* raw has no wholes */
		outlet->done = outlet->options.framing == FRAMING_RAW ? taken : 0;
	if (outlet->options.sluice && outlet->in_record)
		sluice_withdraw(outlet->options.sluice, &outlet->before);
	outlet->options.sluice = NULL;
	outlet->fd = -1;
}

void outlet_adopt(struct outlet *outlet, size_t residue)
{
	if (!outlet->options.one_by_one || residue > PIPE_BUF || !next_record(outlet))
		return;
	if (residue <= parts_len(&outlet->parts) && parts_len(&outlet->parts) <= PIPE_BUF) {
		outlet->done = parts_len(&outlet->parts);
		return;
	}
	/* It begins with this one once more. */
}

/* --- after a daemon before this one --------------------------------------------------------- */

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
	struct sluice *sluice = outlet->options.sluice;
	struct held_place place = sluice_place(sluice);

	if (!outlet->options.one_by_one)
		return false; /* what is there goes out first */
	if (!(place.flags & HELD_GIVEN) || sluice_moved(sluice) == 0 ||
	    buf_append(&outlet->encoded, sluice_record(sluice), place.total) < 0) {
		place.flags &= ~(uint32_t)(HELD_GIVEN | HELD_COUNTS);
		sluice_withdraw(sluice, &place);
		return false;
	}
	outlet->parts =
		(struct frame_parts){.body = buf_head(&outlet->encoded), .body_len = place.total};
	outlet->in_record = true;
	outlet->counts = place.flags & HELD_COUNTS;
	outlet->done = sluice_moved(sluice);
	outlet->before = (struct held_place){
		.seq = place.seq, .marks = place.marks, .flags = place.flags & HELD_LASTS};
	return true;
}

void outlet_leave(struct outlet *outlet)
{
	struct held_place place = place_now(outlet);

	if (outlet->options.one_by_one) {
		if (outlet->in_record && outlet->done == parts_len(&outlet->parts) &&
		    bytes_in_pipe(outlet) == 0)
			record_done(outlet);
	} else if (!outlet->options.lasts) {
		place.after = outlet_behind(outlet);
		sluice_commit(outlet->options.sluice, &place);
	}
}

void outlet_miss(struct outlet *outlet, uint64_t messages)
{
	outlet->cursor.missed += messages;
}

void outlet_finish(struct outlet *outlet)
{
	outlet->finishing = true;
	if (outlet->started)
		loop_later(&outlet->run);
}

void outlet_finish_here(struct outlet *outlet)
{
	uint64_t *count = &outlet->options.count, here = outlet->delivered + outlet_behind(outlet);

	if (here > 0 && (*count == 0 || *count > here))
		*count = here;
	outlet_finish(outlet);
}

uint64_t outlet_place(const struct outlet *outlet)
{
	return outlet->anchor.at.seq;
}

/* What was read out of the pipe is not behind, though nobody has looked yet. */
uint64_t outlet_behind(const struct outlet *outlet)
{
	bool was_read = outlet->options.one_by_one && outlet->done == parts_len(&outlet->parts) &&
			bytes_in_pipe(outlet) == 0;

	return cursor_behind(&outlet->cursor) + (outlet->in_record && outlet->counts && !was_read);
}

uint64_t outlet_missed(const struct outlet *outlet)
{
	return outlet->cursor.missed;
}
