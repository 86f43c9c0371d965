/* command - run a shell command and collect what it prints, without waiting for it.
 *
 * Standard input is /dev/null, standard error is ours (so that what it complains of is logged).
 * Process-wide state is left alone: no SIGCHLD handler, the child is watched by its pidfd. */
#ifndef BASE_COMMAND_H
#define BASE_COMMAND_H

#include "base/buf.h"

struct command;

/* DONE is called once, from the loop, when it has ended; the command may be freed there. -errno. */
int command_start(struct command **ret, const char *line, size_t output_max,
		  void (*done)(void *owner), void *owner);

/* What a command gets that talks: FDs as its standard input and output (they stay the caller's), and
 * further variables of the environment, "NAME=value"; all may go when command_start_talk() returns. */
struct command_talk {
	const char *line;
	int in_fd, out_fd;
	char *const *environment; /* NULL-terminated */
};
/* The same, with no output to collect. */
int command_start_talk(struct command **ret, const struct command_talk *talk,
		       void (*done)(void *owner), void *owner);
/* One that still runs is killed, with all it has started.  Wipes the output. */
struct command *command_free(struct command *command);

/* In DONE.  NULL: all is well, and this is the output; otherwise a phrase that says what went wrong,
 * like "ended with status 1". */
const char *command_problem(const struct command *command);
int command_status(const struct command *command); /* with which it has ended; -1: it has not, or by a signal */
const struct buf *command_output(const struct command *command);

#endif
