/* hookslot - see hookslot.h.
 *
 * A slot that is given back goes to the first in line at once, so that nobody who comes in between
 * can overtake. */
#include "endpoint/hookslot.h"

#include "base/log.h"

enum { TELL_EVERY_MS = 60 * 1000 };

/* Hooks that never end would hold up all others in silence. */
static void tell_line(struct hookslots *slots)
{
	uint64_t now = loop_now_ms();

	if (slots->told_ms && now - slots->told_ms < TELL_EVERY_MS)
		return;
	log_info(NULL, "%d commands of on-message and on-state run at once, others wait",
		 HOOKSLOTS);
	slots->told_ms = now;
}

bool hookslot_take(struct hookslot *slot)
{
	struct hookslots *slots = slot->slots;

	if (slot->held)
		return true;
	if (slots->taken < HOOKSLOTS) {
		slots->taken++;
		slot->held = true;
	} else if (!list_linked(&slot->link)) {
		list_append(&slots->line, &slot->link);
		tell_line(slots);
	}
	return slot->held;
}

void hookslot_leave(struct hookslot *slot)
{
	struct hookslots *slots = slot->slots;
	struct hookslot *next;

	if (list_linked(&slot->link))
		list_remove(&slot->link);
	if (!slot->held)
		return;
	slot->held = false;
	next = list_first(&slots->line, struct hookslot, link);
	if (!next) {
		slots->taken--;
		return;
	}
	list_remove(&next->link);
	next->held = true;
	loop_later(next->come);
}
