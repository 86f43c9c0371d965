/* gaps - the stretches of a stream that do not count.
 *
 * A ws counts positions in the bytes of its data frames only, a transport in all bytes; the control
 * frames in between are the gaps.  Only those that have not left yet are remembered, a few at most:
 * who finds no place for one more has to wait. */
#ifndef NET_GAPS_H
#define NET_GAPS_H

#include <stdbool.h>
#include <stdint.h>

enum { GAPS_MAX = 8 };

struct gap {
	uint64_t start, bytes;
};

struct gaps {          /* starts zeroed */
	uint64_t left; /* bytes of gaps that have left whole and are forgotten */
	unsigned n;
	struct gap gap[GAPS_MAX]; /* in order, none touches the next */
};

/* All before WRITTEN has left. */
void gaps_retire(struct gaps *gaps, uint64_t written);

/* Places for gaps that begin at START: GAPS_MAX at most; one that goes on where the last ends needs
 * none, then it is at least 1. */
unsigned gaps_room(const struct gaps *gaps, uint64_t start);

/* There must be room. */
void gaps_add(struct gaps *gaps, uint64_t start, uint64_t bytes);

/* How many of the first WRITTEN bytes count. */
uint64_t gaps_position(const struct gaps *gaps, uint64_t written);

#endif
