/* current - the record that an outlet is writing, one at a time.
 *
 * It may leave in pieces.  Until the last of them is out its bytes stay, whatever the spool drops
 * meanwhile: views into a block of the spool that is pinned, or, where the framing does not take
 * the message as it is, a copy of our own. */
#ifndef ENDPOINT_CURRENT_H
#define ENDPOINT_CURRENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "codec/frame.h"
#include "conn/spool.h"

struct current {
	enum framing framing;
	enum msg_kind type;
	bool no_replies; /* those that all readers get: this one has his own (outlet_push()) */

	bool there;
	bool counts;              /* it is a message */
	size_t done;              /* bytes of it that are out */
	struct frame_parts parts; /* its pieces: views into the pinned block, or into `encoded` */
	struct block *pinned;
	struct buf encoded;
};

/* Nothing is there; the three that say how records look are the owner's to set. */
void current_init(struct current *current, size_t max_record);
void current_clear(struct current *current); /* ... any more; its memory is given back */

/* MSG as frame_encode() would have it, but in PARTS in any case: perhaps views into our memory,
 * good until the next call.  Only while nothing is there. */
int current_encode(struct current *current, const struct msg *msg, struct frame_parts *parts);

/* Make it the one that was encoded last, of which DONE bytes are out; AFTER is the place behind. */
void current_begin(struct current *current, const struct msg *msg, const struct frame_parts *parts,
		   const struct position *after, size_t done);
/* ... or LEN bytes that a daemon before us has encoded.  -ENOMEM, -ENOBUFS. */
int current_begin_copy(struct current *current, const uint8_t *record, size_t len, bool counts,
		       size_t done);

/* Its pieces from byte FROM on; returns how many. */
int current_pieces(const struct current *current, size_t from, struct iovec iov[3]);

static inline size_t current_len(const struct current *current)
{
	return frame_parts_len(&current->parts);
}

static inline bool current_is_out(const struct current *current)
{
	return current->there && current->done == current_len(current);
}

#endif
