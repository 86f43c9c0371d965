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
/* One that still runs is killed, with all it has started.  Wipes the output. */
struct command *command_free(struct command *command);

/* In DONE.  NULL: all is well, and this is the output; otherwise a phrase that says what went wrong,
 * like "ended with status 1". */
const char *command_problem(const struct command *command);
const struct buf *command_output(const struct command *command);

#endif
