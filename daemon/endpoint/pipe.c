/* pipe - see pipe.h.  What the kernel does here was measured, and fifo(7) does not tell it. */
#include "endpoint/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

static int open_again(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_CLOEXEC);
}

/* Opening for writing alone needs a reader: we are one, for a moment. */
int pipe_hold(int dirfd, const char *name)
{
	int flags = O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW;
	cleanup_close int both = openat(dirfd, name, O_RDWR | flags);
	int fd;

	if (both < 0)
		return -errno;
	fd = openat(dirfd, name, O_WRONLY | flags);
	return fd < 0 ? -errno : fd;
}

bool pipe_has_reader(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLOUT};

	return poll(&poller, 1, 0) >= 0 && !(poller.revents & POLLERR);
}

size_t pipe_bytes(int fd)
{
	int bytes = 0;

	return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

size_t pipe_take_back(int fd)
{
	cleanup_close int reader = open_again(fd, O_RDONLY);
	char waste[PIPE_ONE_PAGE];
	size_t bytes = 0;
	ssize_t n;

	while (reader >= 0 && (n = read(reader, waste, sizeof(waste))) > 0)
		bytes += (size_t)n;
	return bytes;
}

void pipe_release_opener(int fd)
{
	cleanup_close int writer = open_again(fd, O_WRONLY); /* ENXIO: nobody is there */

	(void)writer;
}
