/* answers - records for one reader alone (replies to what he has asked), until they are written.
 *
 * They stand in line behind one another, and each knows the number of the message that it goes
 * ahead of: what had been received before the answer is read before it, too.  The first may be out
 * in part. */
#ifndef ENDPOINT_ANSWERS_H
#define ENDPOINT_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "codec/frame.h"

struct answers {
	struct buf waiting; /* a struct answer and the record, one behind the other */
	size_t done;        /* bytes of the first record that are out */
};

void answers_init(struct answers *answers, size_t max_record); /* bytes of one record at most */
void answers_done(struct answers *answers);

/* A copy of the record, ahead of message number SEQ.  -ENOBUFS: OUTLET_PUSHED_MAX bytes are waiting
 * already (one that is alone may be longer); -ENOMEM. */
int answers_add(struct answers *answers, uint64_t seq, const struct frame_parts *record);

/* Number of the message that must wait for the first of them; UINT64_MAX: there is none. */
uint64_t answers_stop(const struct answers *answers);
/* May the first one be written by a reader who stands ahead of message number SEQ?  Once a part of
 * it is out, in any case. */
bool answers_due(const struct answers *answers, uint64_t seq);

struct iovec answers_rest(const struct answers *answers); /* of the first one, which is there */
/* So many more bytes of that are out.  True: it is done with, and the next one is the first. */
bool answers_wrote(struct answers *answers, size_t bytes);

static inline bool answers_empty(const struct answers *answers)
{
	return buf_len(&answers->waiting) == 0;
}

#endif
