/* steps - see steps.h. */
#include "base/steps.h"

#include <string.h>

enum { SLACK_US = 1000 * 1000 };

void steps_note(struct steps *steps, uint64_t wall_us, uint64_t boot_us)
{
	int64_t offset = (int64_t)(wall_us - boot_us), moved;

	if (steps->n > 0) {
		moved = offset - steps->stretch[steps->n - 1].offset_us;
		if (moved < SLACK_US && moved > -SLACK_US)
			return;
	}
	if (steps->n == STEPS_MAX) {
		memmove(steps->stretch, steps->stretch + 1, sizeof(steps->stretch) - sizeof(steps->stretch[0]));
		steps->n--;
	}
	steps->stretch[steps->n].from_us = (int64_t)boot_us;
	steps->stretch[steps->n].offset_us = offset;
	steps->n++;
}

/* Older than the first stretch that is known: it is judged by that one. */
uint64_t steps_age(const struct steps *steps, uint64_t stamp_us, uint64_t boot_us)
{
	int64_t end = (int64_t)boot_us, made = end;

	for (unsigned i = steps->n; i-- > 0;) {
		made = (int64_t)stamp_us - steps->stretch[i].offset_us;
		if (made >= steps->stretch[i].from_us - SLACK_US && made <= end + SLACK_US)
			break;
		end = steps->stretch[i].from_us;
	}
	return made < (int64_t)boot_us ? boot_us - (uint64_t)made : 0;
}
