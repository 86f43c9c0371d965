/* fake/command - base/command.h without processes: the test says when it ends, and how.  Linked
 * instead of the real one, where the loop is a fake one, too. */
#ifndef FAKE_COMMAND_H
#define FAKE_COMMAND_H

#include "base/command.h"

struct command *fake_command_now(void); /* that runs, or NULL */

/* PROBLEM: what command_problem() says; NULL: all was well. */
void fake_command_end(struct command *command, const char *output, const char *problem);

#endif
