/* command - see command.h.
 *
 * Bytes for it go into a pipe as it reads them.  Its secret output is read into memory that was
 * taken whole at the beginning, because growing would leave copies behind; what it prints beyond
 * that ends it.  Lines never hold it up. */
#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/child.h"
#include "base/cleanup.h"
#include "base/lines.h"
#include "base/loop.h"

enum { READ_BYTES = 4096 };

struct command {
	struct child *child;
	const struct command_events *events;
	void *owner;

	int in_fd; /* our end; -1: it is given nothing, or has got it all */
	struct event *writable;
	const uint8_t *input;
	size_t input_left;

	int out_fd; /* our end; -1: no output is kept */
	struct event *readable;
	struct buf output;
	int error; /* that kept us from having all of it; or 0 */
	char problem[64];

	struct lines lines;
};

/* --- what it is given ------------------------------------------------------------------------- */

static void close_input(struct command *command)
{
	if (command->writable)
		event_free(command->writable);
	command->writable = NULL;
	if (command->in_fd >= 0)
		close(command->in_fd);
	command->in_fd = -1;
}

/* EPIPE: it does not want (any more of) it. */
static void write_input(struct command *command)
{
	while (command->input_left > 0) {
		ssize_t n = write(command->in_fd, command->input, command->input_left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		command->input += n;
		command->input_left -= (size_t)n;
	}
	close_input(command);
}

static void command_on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_input(arg);
}

/* --- its secret output ------------------------------------------------------------------------ */

/* > 0: there may be more; 0: nothing now, or the end; -errno. */
static int read_some(struct command *command)
{
	uint8_t *tail;
	size_t room = buf_room(&command->output);
	ssize_t n;
	char probe;
	int r;

	if (room > READ_BYTES)
		room = READ_BYTES;
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
static void read_output(struct command *command)
{
	int r;

	do
		r = command->error ? 0 : read_some(command);
	while (r > 0);
	if (r == 0)
		return;
	command->error = -r;
	event_del(command->readable);
	child_kill(command->child);
}

static void command_on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_output(arg);
}

/* --- from the beginning to the end ------------------------------------------------------------ */

static void command_on_line(void *owner, const char *text)
{
	struct command *command = owner;

	command->events->line(command->owner, text);
}

static void describe(struct command *command)
{
	const char *problem = child_problem(command->child);

	if (command->error == EFBIG)
		problem = "printed too much";
	if (command->error && command->error != EFBIG)
		snprintf(command->problem, sizeof(command->problem), "cannot be read: %s",
			 strerror(command->error));
	else
		snprintf(command->problem, sizeof(command->problem), "%s", problem ? problem : "");
}

static void command_child_ended(void *owner)
{
	struct command *command = owner;

	close_input(command);
	if (command->readable) {
		read_output(command);
		event_del(command->readable);
	}
	lines_end(&command->lines);
	describe(command);
	command->events->ended(command->owner);
}

/* OURS does not block, and THEIRS does, as programs expect. */
static int make_pipe(int *ret_read, int *ret_write, const int *ours)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = fds[0];
	*ret_write = fds[1];
	return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int watch(struct event **ret, int fd, short what, event_callback_fn call, void *arg)
{
	*ret = event_new(loop_base(), fd, (short)(what | EV_PERSIST), call, arg);
	return *ret && event_add(*ret, NULL) == 0 ? 0 : -ENOMEM;
}

static int give_input(struct command *command, const struct command_options *options, int *ret_fd)
{
	int r;

	if (options->input_len == 0)
		return 0;
	command->input = options->input;
	command->input_left = options->input_len;
	r = make_pipe(ret_fd, &command->in_fd, &command->in_fd);
	if (r < 0)
		return r;
	return watch(&command->writable, command->in_fd, EV_WRITE, command_on_writable, command);
}

static int keep_output(struct command *command, size_t max, int *ret_fd)
{
	uint8_t *all;
	int r;

	buf_init_secret(&command->output, max);
	r = buf_reserve(&command->output, max, &all);
	if (r == 0)
		r = make_pipe(&command->out_fd, ret_fd, &command->out_fd);
	if (r < 0)
		return r;
	return watch(&command->readable, command->out_fd, EV_READ, command_on_readable, command);
}

static int hear_lines(struct command *command, int *ret_fd)
{
	cleanup_close int fd = -1;
	int r = make_pipe(&fd, ret_fd, &fd);

	if (r < 0)
		return r;
	return lines_start(&command->lines, take_fd(&fd), command_on_line, command);
}

static int start(struct command *command, const struct command_options *options)
{
	cleanup_close int in_fd = -1, out_fd = -1, err_fd = -1; /* the command's ends */
	struct child_options child = {.line = options->line, .environment = options->environment};
	int r = hear_lines(command, &err_fd);

	if (r == 0 && !options->ends)
		r = give_input(command, options, &in_fd);
	if (r == 0 && options->secret_max > 0)
		r = keep_output(command, options->secret_max, &out_fd);
	if (r < 0)
		return r;
	child.in_fd = options->ends ? options->ends->in_fd : in_fd;
	child.out_fd = options->ends ? options->ends->out_fd : out_fd >= 0 ? out_fd : err_fd;
	child.err_fd = err_fd;
	return child_start(&command->child, &child, command_child_ended, command);
}

int command_start(struct command **ret, const struct command_options *options,
		  const struct command_events *events, void *owner)
{
	struct command *command = calloc(1, sizeof(*command));
	int r;

	if (!command)
		return -ENOMEM;
	command->in_fd = command->out_fd = -1;
	command->events = events;
	command->owner = owner;
	r = start(command, options);
	if (r < 0) {
		command_free(command);
		return r;
	}
	write_input(command);
	*ret = command;
	return 0;
}

struct command *command_free(struct command *command)
{
	if (!command)
		return NULL;
	close_input(command);
	if (command->readable)
		event_free(command->readable);
	if (command->out_fd >= 0)
		close(command->out_fd);
	lines_done(&command->lines);
	buf_done(&command->output);
	command->child = child_free(command->child);
	free(command);
	return NULL;
}

pid_t command_pid(const struct command *command)
{
	return child_pid(command->child);
}

const char *command_problem(const struct command *command)
{
	return *command->problem ? command->problem : NULL;
}

int command_status(const struct command *command)
{
	return child_status(command->child);
}

const struct buf *command_output(const struct command *command)
{
	return &command->output;
}
