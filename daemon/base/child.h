/* child - a shell command as a process of ours: the one place where such are started, watched and
 * ended.
 *
 * It begins as a fresh process: a session of its own, no signal blocked or ignored, no descriptor
 * of ours but the three it is given (all others are O_CLOEXEC), the environment that childenv.h
 * says. It does not outlive us: if this process ends in whatever way, the kernel kills the shell
 * (but not what the shell has started, and not if it has become another user by a set-user-ID
 * program).
 *
 * Process-wide state is left alone: no SIGCHLD handler, each child is watched by its pidfd. */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <sys/types.h>

struct child;

struct child_options {
	const char *line;          /* for /bin/sh -c */
	char *const *environment;  /* further variables, "NAME=value"; NULL: none */
	int in_fd, out_fd, err_fd; /* they stay the caller's; in_fd -1: /dev/null */
};

/* ENDED is called once, from the loop, when the shell has ended; the child may be freed there.  To
 * be called from the main thread.  All of OPTIONS may go when it returns.  -errno: nothing runs. */
int child_start(struct child **ret, const struct child_options *options, void (*ended)(void *owner),
		void *owner);
/* One that still runs is killed, with all it has started (but what has a session or a process group
 * of its own).  SIGKILL: who frees it has waited for as long as there was time. */
struct child *child_free(struct child *child);

/* The same kill; ENDED is still to be called. */
void child_kill(struct child *child);

pid_t child_pid(const struct child *child);
/* In ENDED.  NULL: with status 0; otherwise a phrase like "ended with status 1". */
const char *child_problem(const struct child *child);
int child_status(const struct child *child); /* -1: it has not ended, or by a signal */

#endif
