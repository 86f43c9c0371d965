/* events - what the daemon tells beside a stream, told on to people on standard error. */
#ifndef CLIENT_EVENTS_H
#define CLIENT_EVENTS_H

#include <stdbool.h>

#include "codec/json.h"

struct session;

struct events {
	const char *who; /* NAME or URL */
	bool writes;     /* the stream sends: say when something is still waiting */
	bool ended;      /* "end" has come, or the daemon has gone */
	int exit;        /* ... and so the command will end */
};

/* Read what has come on the control connection, without waiting. */
void events_read(struct events *events, struct session *session);

#endif
