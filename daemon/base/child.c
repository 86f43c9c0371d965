/* child - see child.h.
 *
 * It has ended when the shell has: what that left in the background may run for ever.  The shell
 * leads a process group, so that a kill reaches what it waits for as well.
 *
 * A child must be waited for, or it stays as a zombie.  One that was killed needs a moment to end:
 * if that is longer than we are willing to wait, its pidfd stays in the loop, with nothing else. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/loop.h"

extern char **environ;

enum { KILLED_MS = 20 };

struct child {
	pid_t pid;
	bool over; /* waited for */
	int pid_fd;
	struct event *event;
	void (*ended)(void *owner); /* NULL: nobody is interested any more */
	void *owner;
	int status;
	char problem[40];
};

/* --- starting ------------------------------------------------------------------------------- */

static int set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
							 POSIX_SPAWN_SETSID);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attributes, &all);
	return -r;
}

static int set_actions(posix_spawn_file_actions_t *actions, const struct child_options *options)
{
	int r;

	if (options->in_fd < 0)
		r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	else
		r = posix_spawn_file_actions_adddup2(actions, options->in_fd, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, options->out_fd, 1);
	if (r == 0 && options->err_fd >= 0)
		r = posix_spawn_file_actions_adddup2(actions, options->err_fd, 2);
	return -r;
}

static int spawn(struct child *child, const struct child_options *options)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)options->line, NULL};
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
	r = set_attributes(&attributes);
	if (r == 0)
		r = set_actions(&actions, options);
	if (r == 0)
		r = -posix_spawn(&child->pid, "/bin/sh", &actions, &attributes, argv,
				 options->environment ? options->environment : environ);
	child->over = r < 0;
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return r;
}

/* --- its end -------------------------------------------------------------------------------- */

static void dispose(struct child *child)
{
	if (child->event)
		event_free(child->event);
	if (child->pid_fd >= 0)
		close(child->pid_fd);
	free(child);
}

/* False: it has not ended yet. */
static bool reap(struct child *child)
{
	if (!child->over && waitpid(child->pid, &child->status, WNOHANG) == 0)
		return false;
	child->over = true;
	return true;
}

static void describe(struct child *child)
{
	if (WIFSIGNALED(child->status))
		snprintf(child->problem, sizeof(child->problem), "was ended by signal %d",
			 WTERMSIG(child->status));
	else if (WEXITSTATUS(child->status) != 0)
		snprintf(child->problem, sizeof(child->problem), "ended with status %d",
			 WEXITSTATUS(child->status));
}

static void child_on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct child *child = arg;

	(void)fd;
	(void)what;
	if (!reap(child))
		return;
	if (!child->ended) {
		dispose(child);
		return;
	}
	event_del(child->event);
	describe(child);
	child->ended(child->owner);
}

/* --- from the beginning to the end ---------------------------------------------------------- */

static int watch(struct child *child)
{
	child->pid_fd = pidfd_open(child->pid, 0); /* O_CLOEXEC by itself */
	if (child->pid_fd < 0)
		return -errno;
	child->event =
		event_new(loop_base(), child->pid_fd, EV_READ | EV_PERSIST, child_on_ended, child);
	if (!child->event || event_add(child->event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int child_start(struct child **ret, const struct child_options *options, void (*ended)(void *owner),
		void *owner)
{
	struct child *child = calloc(1, sizeof(*child));
	int r;

	if (!child)
		return -ENOMEM;
	child->pid_fd = -1;
	child->over = true; /* until there is one: who kills process 0 kills us */
	child->ended = ended;
	child->owner = owner;
	r = spawn(child, options);
	if (r == 0)
		r = watch(child);
	if (r < 0) {
		child_free(child);
		return r;
	}
	*ret = child;
	return 0;
}

struct child *child_free(struct child *child)
{
	struct pollfd polled = {.events = POLLIN};

	if (!child)
		return NULL;
	child->ended = NULL;
	if (!child->over) {
		kill(-child->pid, SIGKILL);
		polled.fd = child->pid_fd;
		poll(&polled, 1, KILLED_MS);
	}
	if (reap(child) || !child->event)
		dispose(child);
	return NULL;
}

pid_t child_pid(const struct child *child)
{
	return child->pid;
}

const char *child_problem(const struct child *child)
{
	return *child->problem ? child->problem : NULL;
}
