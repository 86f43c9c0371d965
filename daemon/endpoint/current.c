/* current - see current.h. */
#include "endpoint/current.h"

void current_init(struct current *current, size_t max_record)
{
	*current = (struct current){.there = false};
	buf_init(&current->encoded, max_record);
}

void current_clear(struct current *current)
{
	if (current->pinned)
		block_release(current->pinned);
	current->pinned = NULL;
	buf_done(&current->encoded);
	current->there = false;
	current->done = 0;
}

/* What was encoded before finds the memory for it again. */
int current_encode(struct current *current, const struct msg *msg, struct frame_parts *parts)
{
	struct buf *out = &current->encoded;
	int r;

	buf_clear(out);
	if ((msg->flags & MSG_IS_REPLY) && current->no_replies)
		return FRAME_NOTHING;
	r = frame_encode(current->framing, current->type, msg, parts, out);
	if (r == FRAME_ENCODED)
		*parts = (struct frame_parts){.body = buf_head(out), .body_len = buf_len(out)};
	return r;
}

void current_begin(struct current *current, const struct msg *msg, const struct frame_parts *parts,
		   const struct position *after, size_t done)
{
	current->parts = *parts;
	current->pinned = cursor_hold(after);
	current->there = true;
	current->done = done;
	current->counts = msg_counts(msg);
}

int current_begin_copy(struct current *current, const uint8_t *record, size_t len, bool counts,
		       size_t done)
{
	int r = buf_append(&current->encoded, record, len);

	if (r < 0)
		return r;
	current->parts = (struct frame_parts){.body = buf_head(&current->encoded), .body_len = len};
	current->there = true;
	current->done = done;
	current->counts = counts;
	return 0;
}

int current_pieces(const struct current *current, size_t from, struct iovec iov[3])
{
	const struct frame_parts *parts = &current->parts;
	const struct iovec all[3] = {
		{(void *)parts->head, parts->head_len},
		{(void *)parts->body, parts->body_len},
		{(void *)parts->tail, parts->tail_len},
	};
	int n = 0;

	for (int i = 0; i < 3; i++) {
		size_t skip = from < all[i].iov_len ? from : all[i].iov_len;

		from -= skip;
		if (all[i].iov_len > skip)
			iov[n++] = (struct iovec){(char *)all[i].iov_base + skip,
						  all[i].iov_len - skip};
	}
	return n;
}
