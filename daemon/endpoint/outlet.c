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

enum {
	COPY_MAX = 16 * 1024,            /* larger bodies are not copied */
	COPY_SHORT = 64,
	BATCH_MAX = 128 * 1024,          /* bytes copied for one write */
	CHECKPOINT_EVERY = 4096,         /* bytes of a batch, see struct batch */
	CHECKPOINTS = BATCH_MAX / CHECKPOINT_EVERY + 2,
	WRITES_PER_TURN = 16,
};

struct outlet {
	int fd;
	struct outlet_options options;
	struct cursor cursor;
	struct event *writable;
	struct later run;

	/* The record being written, if `in_record`: the cursor is behind it already. */
	bool in_record;
	struct frame_parts parts; /* its pieces: views into `held`, or into `encoded` */
	struct block *held;
	struct buf encoded;
	size_t done; /* bytes of it that are out */
	bool counts; /* it is a message */

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

static void end(struct outlet *outlet, int error)
{
	if (outlet->over)
		return;
	outlet->over = true;
	outlet->error = error;
	loop_later(&outlet->run);
}

/* All before the cursor has gone out wholly: a later reader begins there. */
static void save_at(struct outlet *outlet, uint64_t written)
{
	const struct position *at = &outlet->cursor.at;

	if (outlet->options.receipts)
		receipts_note(outlet->options.receipts, written, at);
	else if (outlet->options.holder && outlet->options.holder->mark)
		mark_commit(outlet->options.holder->mark, at->seq, at->marks);
}

static void save(struct outlet *outlet)
{
	save_at(outlet, outlet->written);
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
	if (counted && ++outlet->delivered == outlet->options.count)
		end(outlet, 0);
}

/* Bytes written, 0 if it would block, or -1 and the outlet is over. */
static ssize_t write_some(struct outlet *outlet, const struct iovec *iov, int n)
{
	ssize_t written;

	do {
		written = writev(outlet->fd, iov, n);
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
	r = frame_encode(outlet->options.framing, outlet->options.type, msg, parts, out);
	if (r == FRAME_ENCODED)
		*parts = (struct frame_parts){.body = buf_head(out), .body_len = buf_len(out)};
	return r;
}

/* The next record on its own: large, in need of encoding, or one by one.  False: nothing there. */
static bool next_record(struct outlet *outlet)
{
	struct position at = cursor_start(&outlet->cursor);
	struct frame_parts parts;
	struct msg msg;

	while (cursor_read(&outlet->cursor, &at, &msg)) {
		int r = encode(outlet, &msg, &parts);

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

static void put_parts(uint8_t *at, const struct frame_parts *parts)
{
	memcpy(at, parts->head, parts->head_len);
	if (parts->body_len > 0)
		memcpy(at + parts->head_len, parts->body, parts->body_len);
	if (parts->tail_len)
		at[parts->head_len + parts->body_len] = parts->tail[0];
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

/* Fill the scratch with whole small records, up to one that is not. */
static void fill_batch(struct outlet *outlet, struct batch *batch)
{
	uint64_t limit = count_left(outlet);
	struct position at;
	struct msg msg;

	batch->len = batch->messages = batch->checkpoints = 0;
	batch->end = at = cursor_start(&outlet->cursor);
	while (batch->len < BATCH_MAX - COPY_MAX && batch->messages < limit &&
	       cursor_read(&outlet->cursor, &at, &msg)) {
		if (msg.len > COPY_MAX - 16 || !put_record(outlet, batch, &msg))
			break;
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

	fill_batch(outlet, &batch);
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

/* One record in the pipe, and it has been read when the pipe is empty. */
static bool pump_one(struct outlet *outlet)
{
	if (outlet->in_record && outlet->done == parts_len(&outlet->parts)) {
		if (bytes_in_pipe(outlet) > 0)
			return false;
		record_done(outlet);
	}
	if (!outlet->in_record && !next_record(outlet))
		return false;
	if (outlet->unsure && bytes_in_pipe(outlet) > 0)
		return false; /* from before our time: it is read first */
	outlet->unsure = false;
	return continue_record(outlet);
}

static bool pump_once(struct outlet *outlet)
{
	if (outlet->options.one_by_one)
		return pump_one(outlet);
	if (outlet->in_record)
		return continue_record(outlet);
	return write_batch(outlet);
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
	return !lasts(outlet) && outlet->options.one_by_one && outlet->in_record &&
	       outlet->done == parts_len(&outlet->parts) && cursor_at_end(&outlet->cursor);
}

/* What must happen before we are called again is decided here, and only here. */
static void outlet_rearm(struct outlet *outlet)
{
	if (outlet->over || outlet->absent)
		return;
	if (rests(outlet)) {
		cursor_wait(&outlet->cursor);
	} else if (outlet->blocked || outlet->in_record) {
		event_add(outlet->writable, NULL);
	} else if (!cursor_at_end(&outlet->cursor)) {
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

	if (!outlet->in_record && !outlet->options.receipts)
		save(outlet);
	if (outlet->events->missed)
		outlet->events->missed(outlet->owner, messages);
}

/* --- life ----------------------------------------------------------------------------------- */

int outlet_new(struct outlet **ret, int fd, struct conn *conn, const struct outlet_options *options,
	       const struct outlet_events *events, void *owner)
{
	struct outlet *outlet = calloc(1, sizeof(*outlet));

	if (!outlet)
		return -ENOMEM;
	outlet->fd = fd;
	outlet->options = *options;
	outlet->events = events;
	outlet->owner = owner;
	later_init(&outlet->run, outlet_on_run, outlet);
	buf_init(&outlet->encoded, 6 * (size_t)conn_options(conn)->ws.max_message_bytes + 4096);
	cursor_open(&outlet->cursor, conn_spool(conn), options->from, options->label,
		    outlet_cursor_ready, outlet);
	outlet->cursor.jumped = outlet_cursor_jumped;
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
	return true;
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
