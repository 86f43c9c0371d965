/* child - a shell command as a process of ours: how it is started, watched and ended.
 *
 * Process-wide state is left alone: no SIGCHLD handler, each child is watched by its pidfd. Signals
 * are as a fresh process has them: none blocked, none ignored.  All descriptors of ours are
 * O_CLOEXEC. */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <sys/types.h>

struct child;

struct child_options {
	const char *line;         /* for /bin/sh -c */
	char *const *environment; /* NULL: ours */
	int in_fd, out_fd;        /* in_fd -1: /dev/null */
	int err_fd;               /* -1: ours */
};

/* In a session of its own.  ENDED is called once, from the loop, when the shell has ended; the
 * child may be freed there.  -errno: nothing runs. */
int child_start(struct child **ret, const struct child_options *options, void (*ended)(void *owner),
		void *owner);
/* One that still runs is killed, with all it has started (but what has a session of its own). */
struct child *child_free(struct child *child);

pid_t child_pid(const struct child *child);
/* In ENDED.  NULL: with status 0; otherwise a phrase like "ended with status 1". */
const char *child_problem(const struct child *child);

#endif
