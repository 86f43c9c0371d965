/* job - see job.h.
 *
 * A program that the shell has left in the background keeps its end of the pipe, but we do not:
 * what it prints later goes nowhere. */
#include "base/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/child.h"
#include "base/cleanup.h"
#include "base/loop.h"

enum {
	READ_BYTES = 4096,
	READS_PER_TURN = 16, /* all that a pipe holds at its end, unless somebody made it larger */
};

struct job {
	struct child *child;
	int in_fd, out_fd; /* our ends */
	struct event *writable, *readable;
	const uint8_t *input;
	size_t input_left;
	char text[JOB_LINE_MAX + 1]; /* the line that has begun */
	size_t text_len;
	bool begun; /* there is a line, which may be empty */
	unsigned lines;
	uint64_t left_out;
	const struct job_events *events;
	void *owner;
};

/* --- what it is given ----------------------------------------------------------------------- */

static void close_input(struct job *job)
{
	if (job->writable)
		event_free(job->writable);
	job->writable = NULL;
	if (job->in_fd >= 0)
		close(job->in_fd);
	job->in_fd = -1;
}

/* EPIPE: it does not want (any more of) it. */
static void write_input(struct job *job)
{
	while (job->input_left > 0) {
		ssize_t n = write(job->in_fd, job->input, job->input_left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		job->input += n;
		job->input_left -= (size_t)n;
	}
	close_input(job);
}

static void job_on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_input(arg);
}

/* --- what it says --------------------------------------------------------------------------- */

static void end_line(struct job *job)
{
	job->text[job->text_len] = '\0';
	if (job->lines++ < JOB_LINES_MAX)
		job->events->line(job->owner, job->text);
	else
		job->left_out++;
	job->text_len = 0;
	job->begun = false;
}

static void take_output(struct job *job, const char *bytes, size_t len)
{
	while (len > 0) {
		const char *end = memchr(bytes, '\n', len);
		size_t piece = end ? (size_t)(end - bytes) : len;
		size_t room = JOB_LINE_MAX - job->text_len;

		memcpy(job->text + job->text_len, bytes, piece < room ? piece : room);
		job->text_len += piece < room ? piece : room;
		job->begun = true;
		if (end) {
			end_line(job);
			piece++;
		}
		bytes += piece;
		len -= piece;
	}
}

/* False: nothing now, or never again. */
static bool read_output(struct job *job)
{
	char bytes[READ_BYTES];
	ssize_t n = read(job->out_fd, bytes, sizeof(bytes));

	if (n > 0)
		take_output(job, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		event_del(job->readable);
	return n > 0;
}

static void read_turn(struct job *job)
{
	for (int i = 0; i < READS_PER_TURN && read_output(job); i++)
		continue;
}

static void job_on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_turn(arg);
}

/* --- from the beginning to the end ---------------------------------------------------------- */

static void job_child_ended(void *owner)
{
	struct job *job = owner;

	close_input(job);
	read_turn(job);
	event_del(job->readable);
	if (job->begun)
		end_line(job);
	job->events->ended(job->owner);
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

static int watch(struct job *job)
{
	if (fcntl(job->in_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(job->out_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	job->readable =
		event_new(loop_base(), job->out_fd, EV_READ | EV_PERSIST, job_on_readable, job);
	job->writable =
		event_new(loop_base(), job->in_fd, EV_WRITE | EV_PERSIST, job_on_writable, job);
	if (!job->readable || !job->writable || event_add(job->readable, NULL) < 0 ||
	    event_add(job->writable, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static int start(struct job *job, const struct job_options *options)
{
	cleanup_close int in_fd = -1, out_fd = -1; /* the command's ends */
	struct child_options child = {
		.line = options->line,
		.environment = options->environment,
	};
	int r = make_pipe(&in_fd, &job->in_fd);

	if (r == 0)
		r = make_pipe(&job->out_fd, &out_fd);
	if (r == 0)
		r = watch(job);
	if (r < 0)
		return r;
	child.in_fd = in_fd;
	child.out_fd = child.err_fd = out_fd;
	return child_start(&job->child, &child, job_child_ended, job);
}

int job_start(struct job **ret, const struct job_options *options, const struct job_events *events,
	      void *owner)
{
	struct job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->in_fd = job->out_fd = -1;
	job->input = options->input;
	job->input_left = options->input_len;
	job->events = events;
	job->owner = owner;
	r = start(job, options);
	if (r < 0) {
		job_free(job);
		return r;
	}
	write_input(job);
	*ret = job;
	return 0;
}

struct job *job_free(struct job *job)
{
	if (!job)
		return NULL;
	close_input(job);
	if (job->readable)
		event_free(job->readable);
	if (job->out_fd >= 0)
		close(job->out_fd);
	job->child = child_free(job->child);
	free(job);
	return NULL;
}

pid_t job_pid(const struct job *job)
{
	return child_pid(job->child);
}

const char *job_problem(const struct job *job)
{
	return child_problem(job->child);
}

uint64_t job_lines_left_out(const struct job *job)
{
	return job->left_out;
}
