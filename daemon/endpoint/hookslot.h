/* hookslot - how many hooks run at once, over all connections: when 1,000 open in the same moment,
 * that shall not be 1,000 shells.  Who finds all slots taken waits in line.
 *
 * Owner: the service; each hooks embeds a slot. */
#ifndef ENDPOINT_HOOKSLOT_H
#define ENDPOINT_HOOKSLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"

enum { HOOKSLOTS = 64 };

struct hookslots {
	unsigned taken; /* never more than HOOKSLOTS */
	struct list line;
	uint64_t told_ms; /* when the log has said that there is a line; 0: never */
};

static inline void hookslots_init(struct hookslots *slots)
{
	*slots = (struct hookslots){0};
	list_init(&slots->line);
}

struct hookslot {
	struct list link; /* in the line */
	bool held;
	struct hookslots *slots;
	struct later *come;
};

/* COME is what runs when a slot has come to one who waited; it may find no use for it any more. */
static inline void hookslot_init(struct hookslot *slot, struct hookslots *slots, struct later *come)
{
	*slot = (struct hookslot){.slots = slots, .come = come};
}

/* True: it has one.  False: it stands in line. */
bool hookslot_take(struct hookslot *slot);
/* Gives it back, and the first in line has it; or leaves the line; or does nothing. */
void hookslot_leave(struct hookslot *slot);

#endif
