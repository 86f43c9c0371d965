/* batch - see batch.h. */
#include "endpoint/batch.h"

#include <string.h>

enum {
	COPY_MAX = 16 * 1024, /* larger bodies are not copied */
	COPY_SHORT = 64,
};

/* --- filling -------------------------------------------------------------------------------- */

static void checkpoint(struct batch *batch)
{
	if (batch->checkpoints > 0 &&
	    batch->len - batch->checkpoint[batch->checkpoints - 1].offset < BATCH_CHECKPOINT_EVERY)
		return;
	batch->checkpoint[batch->checkpoints++] =
		(struct checkpoint){batch->len, batch->messages, batch->end};
}

/* Eight bytes at a time: payloads in the spool are padded to that, and the scratch is larger than
 * any batch, so a few bytes too many hurt nobody. */
static inline void copy_padded(uint8_t *to, const uint8_t *from, size_t len)
{
	if (len > COPY_SHORT) {
		memcpy(to, from, len);
		return;
	}
	for (size_t at = 0; at < len; at += 8)
		memcpy(to + at, from + at, 8);
}

/* Append one small record.  False: it takes its turn alone (rare). */
static bool put_record(struct batch *batch, struct pen *pen, const struct msg *msg)
{
	uint8_t *to = loop_write_scratch() + batch->len;
	int end = frame_usual_end(pen->current.framing, pen->current.type, msg);
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
	r = current_encode(&pen->current, msg, &parts);
	if (r == FRAME_NOTHING)
		return true;
	if (r < 0 || frame_parts_len(&parts) > COPY_MAX)
		return false;
	checkpoint(batch);
	frame_parts_put(to, &parts);
	batch->len += frame_parts_len(&parts);
	batch->messages += msg_counts(msg);
	return true;
}

static uint64_t count_left(const struct pen *pen)
{
	return pen->options.count ? pen->options.count - pen->delivered : UINT64_MAX;
}

void batch_fill(struct batch *batch, struct pen *pen, size_t max, uint64_t stop)
{
	uint64_t limit = count_left(pen);
	struct position at;
	struct msg msg;

	batch->len = batch->messages = batch->checkpoints = 0;
	batch->end = at = cursor_start(&pen->cursor);
	while (batch->len < BATCH_MAX - COPY_MAX && batch->messages < limit && at.seq < stop &&
	       cursor_read(&pen->cursor, &at, &msg)) {
		size_t len = batch->len;

		if (msg.len > COPY_MAX - 16 || pen_is_beyond(pen, &msg, &at) ||
		    !put_record(batch, pen, &msg))
			break;
		if (batch->len > max) { /* only known when it is there */
			batch->len = len;
			batch->messages -= msg_counts(&msg);
			break;
		}
		batch->end = at;
	}
}

/* --- writing -------------------------------------------------------------------------------- */

/* Only WRITTEN bytes of it went out: commit what is whole, go on with what was cut. */
static void settle_short_write(const struct batch *batch, struct pen *pen, size_t written)
{
	const struct checkpoint *from = &batch->checkpoint[batch->checkpoints - 1];
	struct position at, before;
	struct frame_parts parts;
	struct msg msg = {0};
	size_t offset;

	while (from->offset > written)
		from--;
	offset = from->offset;
	pen->delivered += from->messages;
	at = before = from->at;
	while (cursor_read(&pen->cursor, &at, &msg)) {
		if (current_encode(&pen->current, &msg, &parts) != FRAME_NOTHING) {
			if (offset + frame_parts_len(&parts) > written)
				break;
			offset += frame_parts_len(&parts);
			pen->delivered += msg_counts(&msg);
		}
		before = at;
	}
	cursor_commit(&pen->cursor, &before);
	pen_save_at(pen, pen->written - (written - offset));
	if (offset < written) {
		current_begin(&pen->current, &msg, &parts, &at, written - offset);
		cursor_commit(&pen->cursor, &at);
	}
	pen->blocked = true;
}

bool batch_write(const struct batch *batch, struct pen *pen)
{
	const struct iovec iov = batch_bytes(batch);
	ssize_t written = pen_write(pen, &iov, 1);

	if (written < 0)
		return false;
	if ((size_t)written < batch->len) {
		settle_short_write(batch, pen, (size_t)written);
		return false;
	}
	cursor_commit(&pen->cursor, &batch->end);
	pen_save(pen);
	pen_count(pen, batch->messages);
	return true;
}
