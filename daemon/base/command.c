/* command - see command.h.
 *
 * It is done when the shell has ended, not when its output is closed: a grandchild in the background
 * may hold that open for ever.  The child has a process group of its own, so that a kill reaches the
 * programs that the shell has started as well.
 *
 * A child must be waited for, or it stays as a zombie.  One that was killed needs a moment to end:
 * if that is longer than we are willing to wait, its pidfd stays in the loop, with nothing else. */
#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "base/strv.h"

extern char **environ;

enum {
	COMMAND_READ_BYTES = 4096,
	COMMAND_KILLED_MS = 20,
};

struct command {
	pid_t pid; /* 0: waited for */
	int pid_fd, out_fd;
	struct event *ended, *readable;
	struct buf output;
	void (*done)(void *owner); /* NULL: nobody is interested any more */
	void *owner;
	int error; /* that kept us from having all of the output; or 0 */
	int status;
	char problem[64];
};

/* --- starting ------------------------------------------------------------------------------- */

static int command_set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
							 POSIX_SPAWN_SETPGROUP);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attributes, &all);
	return r ? -r : -posix_spawnattr_setpgroup(attributes, 0);
}

/* IN_FD -1: /dev/null. */
static int command_spawn(struct command *command, const char *line, int in_fd, int out_fd,
			 char *const *environment)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)line, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r = -posix_spawnattr_init(&attributes);

	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0) {
		posix_spawnattr_destroy(&attributes);
		return r;
	}
	r = command_set_attributes(&attributes);
	if (r == 0 && in_fd >= 0)
		r = -posix_spawn_file_actions_adddup2(&actions, in_fd, 0);
	else if (r == 0)
		r = -posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	if (r == 0)
		r = -posix_spawn(&command->pid, "/bin/sh", &actions, &attributes, argv,
				 environment);
	if (r < 0)
		command->pid = 0;
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return r;
}

/* --- its end -------------------------------------------------------------------------------- */

static void command_dispose(struct command *command)
{
	if (command->ended)
		event_free(command->ended);
	if (command->readable)
		event_free(command->readable);
	if (command->pid_fd >= 0)
		close(command->pid_fd);
	if (command->out_fd >= 0)
		close(command->out_fd);
	buf_done(&command->output);
	free(command);
}

/* > 0: there may be more; 0: nothing now, or the end; -errno. */
static int command_read(struct command *command)
{
	uint8_t *tail;
	size_t room = buf_room(&command->output);
	ssize_t n;
	char probe;
	int r;

	if (room > COMMAND_READ_BYTES)
		room = COMMAND_READ_BYTES;
	r = buf_reserve(&command->output, room, &tail);
	if (r < 0)
		return r;
	n = room > 0 ? read(command->out_fd, tail, room) : read(command->out_fd, &probe, 1);
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -errno;
	if (n > 0 && room == 0)
		return -EFBIG;
	buf_commit(&command->output, (size_t)n);
	if (n == 0)
		event_del(command->readable);
	return n > 0;
}

/* What cannot be taken ends it. */
static void command_drain(struct command *command)
{
	int r;

	do
		r = command->error ? 0 : command_read(command);
	while (r > 0);
	if (r == 0)
		return;
	command->error = -r;
	event_del(command->readable);
	if (command->pid)
		kill(-command->pid, SIGKILL);
}

static void command_on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	command_drain(arg);
}

/* False: it has not ended yet. */
static bool command_wait(struct command *command)
{
	if (command->pid && waitpid(command->pid, &command->status, WNOHANG) == 0)
		return false;
	command->pid = 0;
	return true;
}

static void command_describe(struct command *command)
{
	if (command->error == EFBIG)
		snprintf(command->problem, sizeof(command->problem), "printed too much");
	else if (command->error)
		snprintf(command->problem, sizeof(command->problem), "cannot be read: %s",
			 strerror(command->error));
	else if (WIFSIGNALED(command->status))
		snprintf(command->problem, sizeof(command->problem), "was ended by signal %d",
			 WTERMSIG(command->status));
	else if (WEXITSTATUS(command->status) != 0)
		snprintf(command->problem, sizeof(command->problem), "ended with status %d",
			 WEXITSTATUS(command->status));
}

static void command_on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct command *command = arg;

	(void)fd;
	(void)what;
	if (!command_wait(command))
		return;
	if (!command->done) {
		command_dispose(command);
		return;
	}
	event_del(command->ended);
	if (command->readable) {
		command_drain(command);
		event_del(command->readable);
	}
	command_describe(command);
	command->done(command->owner);
}

/* --- from the beginning to the end ---------------------------------------------------------- */

static int command_watch(struct command *command)
{
	command->pid_fd = pidfd_open(command->pid, 0); /* O_CLOEXEC by itself */
	if (command->pid_fd < 0)
		return -errno;
	command->ended = event_new(loop_base(), command->pid_fd, EV_READ | EV_PERSIST,
				   command_on_ended, command);
	if (!command->ended || event_add(command->ended, NULL) < 0)
		return -ENOMEM;
	if (command->out_fd < 0)
		return 0;
	command->readable = event_new(loop_base(), command->out_fd, EV_READ | EV_PERSIST,
				      command_on_readable, command);
	return command->readable && event_add(command->readable, NULL) == 0 ? 0 : -ENOMEM;
}

static struct command *command_new(size_t output_max, void (*done)(void *owner), void *owner)
{
	struct command *command = calloc(1, sizeof(*command));

	if (!command)
		return NULL;
	command->pid_fd = command->out_fd = -1;
	command->done = done;
	command->owner = owner;
	buf_init_secret(&command->output, output_max);
	return command;
}

int command_start(struct command **ret, const char *line, size_t output_max,
		  void (*done)(void *owner), void *owner)
{
	struct command *command = command_new(output_max, done, owner);
	cleanup_close int out_fd = -1;
	uint8_t *all;
	int fds[2], r;

	if (!command)
		return -ENOMEM;
	r = buf_reserve(&command->output, output_max, &all); /* growing would leave copies behind */
	if (r == 0)
		r = pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
	if (r == 0) {
		command->out_fd = fds[0];
		out_fd = fds[1];
		r = fcntl(command->out_fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	}
	if (r == 0)
		r = command_spawn(command, line, -1, out_fd, environ);
	if (r == 0)
		r = command_watch(command);
	if (r < 0) {
		command_free(command);
		return r;
	}
	*ret = command;
	return 0;
}

/* Ours, and behind them MORE: the last one of a name counts for nobody, so those of ours that are
 * among MORE are left out. */
static char **command_environment(char *const *more)
{
	size_t n = strv_len(environ) + strv_len(more), made = 0;
	char **all = calloc(n + 1, sizeof(*all));
	char *const *item, *const *other;

	if (!all)
		return NULL;
	strv_for_each (item, more)
		all[made++] = *item;
	strv_for_each (item, (char *const *)environ) {
		size_t name = strcspn(*item, "=") + 1;
		bool replaced = false;

		strv_for_each (other, more)
			replaced = replaced || strncmp(*item, *other, name) == 0;
		if (!replaced)
			all[made++] = *item;
	}
	return all;
}

int command_start_talk(struct command **ret, const struct command_talk *talk,
		       void (*done)(void *owner), void *owner)
{
	struct command *command = command_new(0, done, owner);
	cleanup_free char **environment = command_environment(talk->environment);
	int r = -ENOMEM;

	if (command && environment)
		r = command_spawn(command, talk->line, talk->in_fd, talk->out_fd, environment);
	if (r == 0)
		r = command_watch(command);
	if (r < 0) {
		command_free(command);
		return r;
	}
	*ret = command;
	return 0;
}

struct command *command_free(struct command *command)
{
	struct pollfd polled = {.events = POLLIN};

	if (!command)
		return NULL;
	command->done = NULL;
	if (command->pid) {
		kill(-command->pid, SIGKILL);
		polled.fd = command->pid_fd;
		poll(&polled, 1, COMMAND_KILLED_MS);
	}
	if (command_wait(command) || !command->ended) {
		command_dispose(command);
		return NULL;
	}
	if (command->readable)
		event_del(command->readable);
	buf_done(&command->output);
	return NULL;
}

const char *command_problem(const struct command *command)
{
	return *command->problem ? command->problem : NULL;
}

int command_status(const struct command *command)
{
	return command->pid == 0 && WIFEXITED(command->status) ? WEXITSTATUS(command->status) : -1;
}

const struct buf *command_output(const struct command *command)
{
	return &command->output;
}
