/* job - a shell command that is given some bytes, and whose output is passed on line by line.
 *
 * Both standard output and standard error are read, so that it never waits for us.  A command that
 * does not read what it is given, or not all of it, is as good as one that does. */
#ifndef BASE_JOB_H
#define BASE_JOB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	JOB_LINE_MAX = 1000, /* bytes: the rest of a longer line is left out */
	JOB_LINES_MAX = 100, /* of one run; what follows is read and counted */
};

struct job;

struct job_options {
	const char *line;         /* for /bin/sh -c */
	char *const *environment; /* whole */
	const uint8_t *input; /* for its standard input; must stay until `ended`, or job_free() */
	size_t input_len;
};

struct job_events {
	/* As the command has written it, without its end.  Do not free the job. */
	void (*line)(void *owner, const char *text);
	/* Once; the job may be freed there. */
	void (*ended)(void *owner);
};

/* -errno: nothing runs. */
int job_start(struct job **ret, const struct job_options *options, const struct job_events *events,
	      void *owner);
/* One that still runs is killed, with all it has started. */
struct job *job_free(struct job *job);

pid_t job_pid(const struct job *job);

/* In `ended`. */
const char *job_problem(const struct job *job); /* NULL: none; or like "ended with status 1" */
uint64_t job_lines_left_out(const struct job *job);

#endif
