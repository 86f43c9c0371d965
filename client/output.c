/* output - see output.h.
 *
 * O_NONBLOCK belongs to the open file, which we share with whoever started us (the shell's
 * terminal!), so it must not be set on an inherited descriptor.  A pipe can be opened once more
 * through /proc, and that one is ours alone; a socket takes MSG_DONTWAIT.  Where neither works,
 * PIPE_BUF bytes at a time is what poll(2) promises for a pipe (pipe(7)). */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void output_open(struct output *output)
{
	struct stat st = {0};
	int fd;

	*output = (struct output){.fd = STDOUT_FILENO, .at_once = PIPE_BUF};
	fstat(STDOUT_FILENO, &st);
	if (S_ISSOCK(st.st_mode)) {
		output->is_socket = true;
		output->at_once = SIZE_MAX;
	} else if (S_ISFIFO(st.st_mode)) {
		fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			*output = (struct output){.fd = fd, .is_ours = true, .at_once = SIZE_MAX};
	} else if (S_ISREG(st.st_mode)) {
		output->at_once = SIZE_MAX;
	}
}

void output_close(struct output *output)
{
	if (output->is_ours)
		close(output->fd);
	output->is_ours = false;
}

int output_write(const struct output *output, struct buf *buf)
{
	size_t len = buf_len(buf) < output->at_once ? buf_len(buf) : output->at_once;
	ssize_t n = output->is_socket ? send(output->fd, buf_head(buf), len, MSG_DONTWAIT)
				      : write(output->fd, buf_head(buf), len);

	if (n >= 0) {
		buf_consume(buf, (size_t)n);
		return 0;
	}
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	if (errno == EPIPE)
		raise(SIGPIPE);
	return -errno;
}
