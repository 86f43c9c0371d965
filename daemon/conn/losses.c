/* losses - see losses.h. */
#include "conn/losses.h"

#include <inttypes.h>

#include "base/log.h"

enum { PAUSE_MS = 60 * 1000 };

static void write_line(struct losses *losses, const char *reader)
{
	if (losses->pending == 0)
		return;
	log_warning(losses->name,
		    "readers are too slow: %" PRIu64 " messages dropped for '%s' and others "
		    "(raise keep, or set overflow = block)",
		    losses->pending, reader);
	losses->pending = 0;
}

static void losses_on_pause(void *owner)
{
	struct losses *losses = owner;

	if (losses->pending == 0)
		return;
	write_line(losses, "some");
	timer_set(&losses->pause, PAUSE_MS);
}

int losses_init(struct losses *losses, const char *name)
{
	losses->name = name;
	return timer_init(&losses->pause, losses_on_pause, losses);
}

void losses_done(struct losses *losses)
{
	write_line(losses, "some");
	timer_done(&losses->pause);
}

void losses_add(struct losses *losses, const char *reader, uint64_t messages)
{
	losses->pending += messages;
	if (timer_is_set(&losses->pause))
		return;
	write_line(losses, reader);
	timer_set(&losses->pause, PAUSE_MS);
}
