/* batch - many small records in one write(2): whole ones, copied into the loop's scratch behind one
 * another.
 *
 * Short writes are the rule when a reader is slow.  Then what went out whole is done with, and the
 * record that was cut becomes the pen's current one; checkpoints tell where to look for it without
 * counting from the start. */
#ifndef ENDPOINT_BATCH_H
#define ENDPOINT_BATCH_H

#include "endpoint/pen.h"

enum {
	BATCH_MAX = 128 * 1024,        /* bytes */
	BATCH_CHECKPOINT_EVERY = 4096, /* bytes */
	BATCH_CHECKPOINTS = BATCH_MAX / BATCH_CHECKPOINT_EVERY + 2,
};

struct batch {
	size_t len;
	uint64_t messages;
	struct position end; /* behind the last record */
	unsigned checkpoints;
	struct checkpoint {
		size_t offset;
		uint64_t messages;
		struct position at;
	} checkpoint[BATCH_CHECKPOINTS];
};

/* From where the cursor stands up to a record that is too large or must be encoded in much memory,
 * to message number STOP, or to MAX bytes.  It may remain empty; the cursor stays. */
void batch_fill(struct batch *batch, struct pen *pen, size_t max, uint64_t stop);

static inline struct iovec batch_bytes(const struct batch *batch)
{
	return (struct iovec){loop_write_scratch(), batch->len};
}

/* Write it (it is not empty), and go behind what is out.  True: more may be written. */
bool batch_write(const struct batch *batch, struct pen *pen);

#endif
