/* top - a table of the connections that is shown again and again: what goes through them now. */
#ifndef CLIENT_TOP_H
#define CLIENT_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

#include "codec/json.h"

struct top {
	bool on_screen; /* standard output is a terminal: drawn in place; else one table below the other */
	bool has_keys;  /* standard input is one, too, and was set to give single keys */
	struct termios before;
	struct seen *seen; /* what was counted the last time */
	size_t seen_n;
	int64_t seen_ms; /* CLOCK_MONOTONIC; 0: nothing yet */
};

/* Takes the terminal; SIGINT, SIGTERM and SIGHUP then only end top_wait(). */
void top_begin(struct top *top);
void top_end(struct top *top);

/* ANSWER: the daemon's to "status". */
void top_show(struct top *top, const struct json_span *answer);

/* False: a signal or the key q says that it is enough. */
bool top_wait(struct top *top, int64_t ms);

#endif
