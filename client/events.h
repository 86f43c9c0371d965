/* events - what the daemon tells beside a stream, told on to people on standard error. */
#ifndef CLIENT_EVENTS_H
#define CLIENT_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "deadline.h"

struct session;

struct events {
	const char *who; /* NAME or URL */
	bool writes;     /* the stream sends: say when something is still waiting */
	bool taken;      /* all of our input is queued (a stream that goes on reading) */
	bool ended;      /* "end" has come, or the daemon has gone */
	int exit;        /* ... and so the command will end */
	uint64_t missed; /* not told yet */
	bool missed_any; /* ever */
	struct deadline rest; /* ... before this: a slow reader shall not be buried in news of it */
};

/* Read what has come on the control connection, without waiting. */
void events_read(struct events *events, struct session *session);

/* What was held back is told, if it is time; and when it will be (never, if there is nothing). */
void events_settle(struct events *events);
struct deadline events_due(const struct events *events);

#endif
