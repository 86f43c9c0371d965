/* receipts - what was put into a stream, until its reader says that it has it.
 *
 * The reader counts bytes, which needs no understanding of records; here is known which record ends
 * where.  What is committed is always a whole record that he has.  Bounded: when very many are on their way,
 * the places in between become fewer, so that more might be repeated if he died now. */
#ifndef ENDPOINT_RECEIPTS_H
#define ENDPOINT_RECEIPTS_H

#include <stdint.h>

#include "conn/cursors.h"

enum { RECEIPTS_MAX = 256 };

struct receipts { /* zeroed, with the holder that says whose place it is; not owned */
	struct mark_holder *holder;
	uint64_t confirmed; /* bytes */
	unsigned n;
	struct receipt {
		uint64_t bytes; /* of the stream up to here ... */
		uint64_t seq;   /* ... are all before this */
		uint32_t marks;
	} receipt[RECEIPTS_MAX];
};

/* After BYTES of the stream, all before AT is in it. */
void receipts_note(struct receipts *receipts, uint64_t bytes, const struct position *at);
/* The reader has so many bytes of it. */
void receipts_confirm(struct receipts *receipts, uint64_t bytes);

#endif
