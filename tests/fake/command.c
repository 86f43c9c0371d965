/* fake/command - see fake/command.h. */
#include "command.h"

#include <errno.h>
#include <stdlib.h>

struct command {
	const struct command_events *events;
	void *owner;
	const char *problem;
	struct buf output;
};

static struct command *now;

struct command *fake_command_now(void)
{
	return now;
}

int command_start(struct command **ret, const struct command_options *options,
		  const struct command_events *events, void *owner)
{
	struct command *command = calloc(1, sizeof(*command));

	if (!command)
		return -ENOMEM;
	command->events = events;
	command->owner = owner;
	buf_init(&command->output, options->secret_max);
	*ret = now = command;
	return 0;
}

struct command *command_free(struct command *command)
{
	if (!command)
		return NULL;
	if (command == now)
		now = NULL;
	buf_done(&command->output);
	free(command);
	return NULL;
}

void fake_command_end(struct command *command, const char *output, const char *problem)
{
	if (buf_append_str(&command->output, output) < 0)
		abort();
	command->problem = problem;
	command->events->ended(command->owner);
}

const char *command_problem(const struct command *command)
{
	return command->problem;
}

const struct buf *command_output(const struct command *command)
{
	return &command->output;
}

int command_status(const struct command *command)
{
	return command_problem(command) ? -1 : 0;
}

pid_t command_pid(const struct command *command)
{
	return command ? 1 : 0;
}
