/* gaps - see the header.  Eight places, so moving them up is cheaper than a ring would be to read.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "net/gaps.h"

void gaps_retire(struct gaps *gaps, uint64_t written)
{
	unsigned n = 0;

	while (n < gaps->n && gaps->gap[n].start + gaps->gap[n].bytes <= written)
		gaps->left += gaps->gap[n++].bytes;
	gaps->n -= n;
	memmove(gaps->gap, gaps->gap + n, gaps->n * sizeof(*gaps->gap));
}

static const struct gap *gaps_ending_at(const struct gaps *gaps, uint64_t position)
{
	const struct gap *last = gaps->n > 0 ? &gaps->gap[gaps->n - 1] : NULL;

	return last && last->start + last->bytes == position ? last : NULL;
}

unsigned gaps_room(const struct gaps *gaps, uint64_t start)
{
	unsigned room = GAPS_MAX - gaps->n;

	return room == 0 && gaps_ending_at(gaps, start) ? 1 : room;
}

void gaps_add(struct gaps *gaps, uint64_t start, uint64_t bytes)
{
	if (gaps_ending_at(gaps, start)) {
		gaps->gap[gaps->n - 1].bytes += bytes;
		return;
	}
	assert(gaps->n < GAPS_MAX);
	gaps->gap[gaps->n++] = (struct gap){.start = start, .bytes = bytes};
}

uint64_t gaps_position(const struct gaps *gaps, uint64_t written)
{
	uint64_t skipped = gaps->left;

	for (unsigned i = 0; i < gaps->n && gaps->gap[i].start < written; i++) {
		uint64_t part = written - gaps->gap[i].start;

		skipped += part < gaps->gap[i].bytes ? part : gaps->gap[i].bytes;
	}
	return written - skipped;
}
