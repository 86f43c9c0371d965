/* sluice - see sluice.h.
 *
 * The order: the page says that its bytes go out (commit, give); it says that the pipe is about to
 * be filled (held_moving); the pipe is filled, which a pipe that was empty takes as a whole; the
 * page says how much that was; and only then is anything spliced.  So a pipe that is found empty
 * while it was about to be filled has not been filled, and one that is not empty has been, but not
 * spliced from. */
#include "endpoint/sluice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "endpoint/pipe.h"

enum { PIPE_BYTES_LEAST = 4096 };

struct sluice {
	struct held *held;
	int pipe;
	size_t pipe_size;
	size_t in_pipe;
	struct held_place place; /* as the page has it */
	size_t put;              /* bytes behind what the page has, not committed */
};

/* --- life ----------------------------------------------------------------------------------- */

static int make_pipe(void)
{
	cleanup_close int reader = -1, writer = -1;
	char path[32];
	int ends[2], fd;

	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
		return -errno;
	reader = ends[0];
	writer = ends[1];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void settle_moving(struct sluice *sluice)
{
	size_t moved = sluice->in_pipe;

	if (!held_was_moving(sluice->held))
		return;
	if (moved > sluice->place.len)
		moved = sluice->place.len;
	sluice->place.start += (uint32_t)moved;
	sluice->place.len -= (uint32_t)moved;
	held_publish(sluice->held, &sluice->place);
}

/* The page has been looked at; but what it says of the pipe and what is in the pipe must agree, too:
 * no more than what has left the page. */
static bool agree(const struct sluice *sluice)
{
	const struct held_place *place = &sluice->place;

	if (!(place->flags & HELD_GIVEN))
		return true;
	return place->start + place->len == place->total && sluice->in_pipe <= place->start;
}

int sluice_new(struct sluice **ret, struct held *held, int pipe_fd)
{
	struct sluice *sluice;
	int size;

	if (pipe_fd < 0)
		pipe_fd = make_pipe();
	if (pipe_fd < 0)
		return pipe_fd;
	sluice = calloc(1, sizeof(*sluice));
	if (!sluice) {
		close(pipe_fd);
		return -ENOMEM;
	}
	size = fcntl(pipe_fd, F_GETPIPE_SZ);
	sluice->held = held;
	sluice->pipe = pipe_fd;
	sluice->pipe_size = size > PIPE_BYTES_LEAST ? (size_t)size : PIPE_BYTES_LEAST;
	sluice->in_pipe = pipe_bytes(pipe_fd);
	sluice->place = held_place(held);
	settle_moving(sluice);
	if (!agree(sluice)) {
		sluice_free(sluice);
		return -EINVAL;
	}
	*ret = sluice;
	return 0;
}

struct sluice *sluice_free(struct sluice *sluice)
{
	if (!sluice)
		return NULL;
	close(sluice->pipe);
	free(sluice);
	return NULL;
}

int sluice_pipe(const struct sluice *sluice)
{
	return sluice->pipe;
}

struct held_place sluice_place(const struct sluice *sluice)
{
	return sluice->place;
}

bool sluice_idle(const struct sluice *sluice)
{
	return sluice->in_pipe == 0 && sluice->place.len == 0 && sluice->put == 0;
}

/* --- through the pipe ----------------------------------------------------------------------- */

static int fill_pipe(struct sluice *sluice)
{
	size_t len = sluice->place.len < sluice->pipe_size ? sluice->place.len : sluice->pipe_size;
	ssize_t n;

	held_moving(sluice->held);
	do {
		n = write(sluice->pipe, held_output(sluice->held, sluice->place.start, len), len);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		sluice->place.start += (uint32_t)n;
		sluice->place.len -= (uint32_t)n;
		sluice->in_pipe = (size_t)n;
	}
	held_publish(sluice->held, &sluice->place);
	return n < 0 ? -errno : 0;
}

/* Bytes that went out, 0 if it would block, -errno. */
static ssize_t splice_out(struct sluice *sluice, int fd)
{
	ssize_t n;

	do {
		n = splice(sluice->pipe, NULL, fd, NULL, sluice->in_pipe, SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	sluice->in_pipe -= (size_t)n;
	return n;
}

ssize_t sluice_move(struct sluice *sluice, int fd)
{
	int r = 0;

	if (sluice->in_pipe == 0 && sluice->place.len > 0)
		r = fill_pipe(sluice);
	if (r < 0 || sluice->in_pipe == 0)
		return r;
	return splice_out(sluice, fd);
}

static bool is_same(const struct sluice *sluice, const struct held_place *place)
{
	return place->seq == sluice->place.seq && place->marks == sluice->place.marks &&
	       place->flags == sluice->place.flags && place->after == sluice->place.after;
}

/* --- a stream ------------------------------------------------------------------------------- */

int sluice_put(struct sluice *sluice, const struct iovec *iov, int n)
{
	size_t at = sluice->place.len || sluice->put
			    ? sluice->place.start + sluice->place.len + sluice->put
			    : 0;

	for (int i = 0; i < n; i++) {
		uint8_t *to = held_output(sluice->held, at, iov[i].iov_len);

		if (!to)
			return -ENOBUFS;
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
		sluice->put += iov[i].iov_len;
	}
	return 0;
}

void sluice_commit(struct sluice *sluice, const struct held_place *place)
{
	uint32_t start = sluice->place.len ? sluice->place.start : 0, len = sluice->place.len;

	if (sluice->put == 0 && is_same(sluice, place))
		return;
	sluice->place = *place;
	sluice->place.start = start;
	sluice->place.len = len + (uint32_t)sluice->put;
	sluice->put = 0;
	held_publish(sluice->held, &sluice->place);
}

int sluice_flush(struct sluice *sluice, int fd)
{
	while (!sluice_idle(sluice)) {
		ssize_t n = sluice_move(sluice, fd);

		if (n <= 0)
			return (int)n;
	}
	held_trim_output(sluice->held);
	return 1;
}

/* --- one by one ----------------------------------------------------------------------------- */

/* Nobody has got what is in the pipe. */
static void empty_pipe(struct sluice *sluice)
{
	char waste[PIPE_ONE_PAGE];
	ssize_t n;

	while (sluice->in_pipe > 0 && (n = read(sluice->pipe, waste, sizeof(waste))) > 0)
		sluice->in_pipe -= (size_t)n < sluice->in_pipe ? (size_t)n : sluice->in_pipe;
	sluice->in_pipe = 0;
}

void sluice_withdraw(struct sluice *sluice, const struct held_place *place)
{
	if (sluice->place.total == 0 && sluice->in_pipe == 0 && is_same(sluice, place))
		return;
	sluice->place = *place;
	sluice->place.start = sluice->place.len = sluice->place.total = 0;
	held_publish(sluice->held, &sluice->place);
	if (sluice->in_pipe > 0)
		empty_pipe(sluice);
	held_trim_output(sluice->held);
}

int sluice_give(struct sluice *sluice, const struct iovec *iov, int n,
		const struct held_place *place)
{
	int r;

	empty_pipe(sluice);
	sluice->place.start = sluice->place.len = 0;
	sluice->put = 0;
	r = sluice_put(sluice, iov, n);
	if (r < 0) {
		sluice->put = 0;
		return r;
	}
	sluice->place = *place;
	sluice->place.start = 0;
	sluice->place.len = sluice->place.total = (uint32_t)sluice->put;
	sluice->put = 0;
	held_publish(sluice->held, &sluice->place);
	return 0;
}

size_t sluice_moved(const struct sluice *sluice)
{
	return sluice->place.start - sluice->in_pipe;
}

const uint8_t *sluice_record(const struct sluice *sluice)
{
	return held_output(sluice->held, 0, sluice->place.total);
}
