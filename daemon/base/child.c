/* child - see child.h.
 *
 * It has ended when the shell has: what that left in the background may run for ever.  The shell
 * leads a process group, so that a kill reaches what it waits for as well.
 *
 * Not posix_spawn(), which cannot ask for a signal at the parent's death; and not fork(), which
 * would copy the page tables of a daemon that may hold gigabytes.  So clone(2) as posix_spawn() has
 * it: the new process is in our memory, on a stack of its own, and we stand still until it has
 * called execve() or ended.
 *
 * A child must be waited for, or it stays as a zombie.  One that was killed needs a moment to end:
 * if that is longer than we are willing to wait, its pidfd stays in the loop, with nothing else. */
#include "base/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/childenv.h"
#include "base/cleanup.h"
#include "base/loop.h"

enum {
	KILLED_MS = 20,
	STACK_BYTES = 32 * 1024, /* until execve(): a few frames of libc */
};

struct child {
	pid_t pid;
	bool over; /* waited for, or never begun */
	bool lost; /* the kernel has waited for it, as it does if SIGCHLD was ignored when we began
		    */
	int pid_fd;
	struct event *event;
	void (*ended)(void *owner); /* NULL: nobody is interested any more */
	void *owner;
	int status;
	char problem[40];
};

/* --- in the new process ----------------------------------------------------------------------- */

/* Our memory is its memory: it calls only what a signal handler may call, and leaves nothing behind
 * but `error` and errno.  AddressSanitizer would mark the frames that execve() never returns to. */
#define IN_OUR_MEMORY __attribute__((no_sanitize_address, no_sanitize_thread))

struct birth {
	const struct child_options *options;
	char *const *environment;
	pid_t parent;
	int error;
};

/* A handler of ours must not run here, so all signals are blocked until none is left.  Two libc
 * keeps for itself (32, 33) and refuses: those stay as whoever started us had them. */
IN_OUR_MEMORY static void forget_signals(void)
{
	static const struct sigaction normal = {.sa_handler = SIG_DFL};

	for (int number = 1; number < NSIG; number++)
		sigaction(number, &normal, NULL);
}

/* SIGKILL, because the next daemon counts on it that none of these still runs.  It comes when the
 * *thread* ends that has called clone(), hence child_start() from the main thread alone; and if we
 * were gone before it was asked for, it never comes. */
IN_OUR_MEMORY static bool die_with_parent(pid_t parent)
{
	errno = ECHILD; /* for nobody, if the parent is gone */
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

/* Above the three places where they will be, so that none is lost when another takes its place. */
IN_OUR_MEMORY static int raise_fd(int fd)
{
	return fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

IN_OUR_MEMORY static bool take_descriptors(const struct child_options *options)
{
	int in_fd = options->in_fd >= 0 ? options->in_fd : open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out_fd = raise_fd(options->out_fd), err_fd = raise_fd(options->err_fd);

	in_fd = raise_fd(in_fd);
	return in_fd >= 0 && out_fd >= 0 && err_fd >= 0 && dup2(in_fd, STDIN_FILENO) >= 0 &&
	       dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(err_fd, STDERR_FILENO) >= 0;
}

IN_OUR_MEMORY static int be_born(void *arg)
{
	struct birth *birth = arg;
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)birth->options->line, NULL};
	sigset_t none;

	forget_signals();
	setsid();
	if (die_with_parent(birth->parent) && take_descriptors(birth->options)) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execve("/bin/sh", argv, birth->environment);
	}
	birth->error = errno;
	return 127;
}

/* --- starting --------------------------------------------------------------------------------- */

static int spawn(struct child *child, const struct child_options *options)
{
	alignas(16) char stack[STACK_BYTES];
	cleanup_free char **environment = childenv_new(options->environment);
	struct birth birth = {options, environment, getpid(), 0};
	sigset_t all, before;
	int r;

	assert(gettid() == birth.parent);
	if (!environment)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = clone(be_born, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
		  &birth, &child->pid_fd);
	r = r < 0 ? -errno : r;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		return r;
	if (birth.error) {
		while (waitpid(r, NULL, 0) < 0 && errno == EINTR)
			continue; /* it is ending now */
		return -birth.error;
	}
	child->pid = r;
	child->over = false;
	return 0;
}

/* --- its end ---------------------------------------------------------------------------------- */

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
	pid_t pid = child->over ? child->pid : waitpid(child->pid, &child->status, WNOHANG);

	if (pid == 0 && !child->over)
		return false;
	child->lost = child->lost || pid < 0;
	child->over = true;
	return true;
}

static void describe(struct child *child)
{
	if (child->lost)
		snprintf(child->problem, sizeof(child->problem),
			 "ended, with what status is unknown");
	else if (WIFSIGNALED(child->status))
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

/* --- from the beginning to the end ------------------------------------------------------------ */

static int watch(struct child *child)
{
	child->event =
		event_new(loop_base(), child->pid_fd, EV_READ | EV_PERSIST, child_on_ended, child);
	return child->event && event_add(child->event, NULL) == 0 ? 0 : -ENOMEM;
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

void child_kill(struct child *child)
{
	if (!child->over)
		kill(-child->pid, SIGKILL);
}

struct child *child_free(struct child *child)
{
	struct pollfd polled = {.events = POLLIN};

	if (!child)
		return NULL;
	child->ended = NULL;
	if (!child->over) {
		child_kill(child);
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

int child_status(const struct child *child)
{
	return child->over && !child->lost && WIFEXITED(child->status) ? WEXITSTATUS(child->status)
								       : -1;
}
