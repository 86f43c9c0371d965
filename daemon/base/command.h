/* command - run a shell command without waiting for it: what it is given, what it says, and how it
 * ends.
 *
 * Three kinds of users: one wants its output and nobody else may see that (token-command), one has
 * bytes for it and no interest in the output (a hook), one talks to it by pipes of his own (login).
 * Whatever nobody takes for himself, standard error first of all, comes out as lines for the log.
 * How the process begins and is killed is said in child.h; how much of its lines there is, in
 * lines.h.
 *
 * Time is bounded by the owner alone, who knows what it is for: command_free() ends it at once. */
#ifndef BASE_COMMAND_H
#define BASE_COMMAND_H

#include <sys/types.h>

#include "base/buf.h"

struct command;

/* Descriptors for its standard input and output; they stay the caller's. */
struct command_ends {
	int in_fd, out_fd;
};

struct command_options {
	const char *line;                /* for /bin/sh -c */
	char *const *environment;        /* further variables, "NAME=value"; NULL: none */
	const struct command_ends *ends; /* NULL: as the rest says */

	/* For standard input; must stay until `ended`, or command_free().  It need not be read. */
	const uint8_t *input;
	size_t input_len;
	/* Standard output is kept, up to so many bytes, in memory that is wiped; 0: it is lines,
	 * too. */
	size_t secret_max;
};

struct command_events {
	/* As the command has written it, without its end.  Do not free the command. */
	void (*line)(void *owner, const char *text);
	/* Once, from the loop, when the shell has ended and all lines are told; what it has left in
	 * the background is not waited for.  The command may be freed there. */
	void (*ended)(void *owner);
};

/* -errno: nothing runs.  OPTIONS may go when it returns, but for the input; EVENTS stay. */
int command_start(struct command **ret, const struct command_options *options,
		  const struct command_events *events, void *owner);
/* One that still runs is killed, with all it has started.  Wipes the output. */
struct command *command_free(struct command *command);

pid_t command_pid(const struct command *command);

/* In `ended`.  NULL: all is well; otherwise a phrase that says what went wrong, like "ended with
 * status 1", or "printed too much" (then it was killed). */
const char *command_problem(const struct command *command);
int command_status(const struct command *command); /* -1: it has not ended, or by a signal */
const struct buf *command_output(const struct command *command); /* with secret_max */

#endif
