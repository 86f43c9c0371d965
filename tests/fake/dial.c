/* fake/dial - see fake/dial.h. */
#include "dial.h"

#include <errno.h>
#include <stdlib.h>

#include "ws.h"

struct dial {
	const struct dial_events *events;
	void *owner;
	const struct url *url;
	const struct dial_options *options;
};

static struct dial *now;
static unsigned starts, refusals;
static int refusal;

void (*fake_dial_started)(struct dial *dial);
bool fake_dial_many;

struct dial *fake_dial_now(void)
{
	return now;
}

const struct url *fake_dial_url(const struct dial *dial)
{
	return dial->url;
}

unsigned fake_dial_starts(void)
{
	return starts;
}

void fake_dial_refuse(int error, unsigned n)
{
	refusal = error;
	refusals = n;
}

int dial_start(struct dial **ret, const struct url *url, const struct dial_options *options,
	       const struct dial_events *events, void *owner)
{
	struct dial *dial;

	starts++;
	if (refusals > 0) {
		refusals--;
		return refusal;
	}
	if (now && !fake_dial_many)
		abort(); /* two attempts at once */
	dial = calloc(1, sizeof(*dial));
	if (!dial)
		return -ENOMEM;
	dial->events = events;
	dial->owner = owner;
	dial->url = url;
	dial->options = options;
	*ret = now = dial;
	if (fake_dial_started)
		fake_dial_started(dial);
	return 0;
}

struct dial *dial_free(struct dial *dial)
{
	if (dial && dial == now)
		now = NULL;
	free(dial);
	return NULL;
}

const char *dial_step(const struct dial *dial)
{
	(void)dial;
	return "connecting to nowhere";
}

void fake_dial_connect(struct dial *dial)
{
	dial->events->connected(dial->owner, fake_ws_transport());
}

void fake_dial_fail(struct dial *dial, enum cause_class class, int code)
{
	struct cause cause;

	cause_set(&cause, class, code, "the test says so");
	dial->events->failed(dial->owner, &cause);
}
