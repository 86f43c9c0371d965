/* fifo - see fifo.h.  Each step here answers to a row of facts; change none without measuring. */
#include "endpoint/fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "endpoint/arrivals.h"
#include "endpoint/intake.h"
#include "endpoint/outlet.h"

enum { ONE_PAGE = 4096, OPEN_FLAGS = O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW };

static int make_fifo(int dirfd, const char *name, const struct access *access,
		     enum access_object object)
{
	cleanup_free struct file_grant *grants = NULL;
	size_t n;
	int r = access_grants(access, object, &grants, &n);

	return r < 0 ? r : file_make_fifo(dirfd, name, grants, n);
}

/* --- in ------------------------------------------------------------------------------------- */

struct fifo_in {
	int fd;
	struct conn *conn;
	struct intake *intake;
};

static void fifo_intake_ended(void *owner)
{
	(void)owner; /* the last writer has gone; the next one finds the door open */
}

static void fifo_intake_refused(void *owner, const char *problem, bool broken)
{
	struct fifo_in *fifo = owner;

	log_warning(conn_name(fifo->conn), "in: a record %s; it was not sent%s", problem,
		    broken ? ", nor is what follows until its writers have closed `in` (length framing "
			     "has no way back)"
			   : "");
}

static const struct intake_events intake_events = {
	.ended = fifo_intake_ended,
	.refused = fifo_intake_refused,
};

int fifo_in_new(struct fifo_in **ret, int dirfd, struct conn *conn,
		const struct endpoint_options *options, const struct access *access)
{
	struct fifo_in *fifo;
	int r = make_fifo(dirfd, "in", access, ACCESS_INPUT);

	if (r < 0)
		return r;
	fifo = calloc(1, sizeof(*fifo));
	if (!fifo)
		return -ENOMEM;
	fifo->conn = conn;
	fifo->fd = openat(dirfd, "in", O_RDONLY | OPEN_FLAGS);
	r = fifo->fd < 0 ? -errno
			 : intake_new(&fifo->intake, fifo->fd, conn, (enum framing)options->framing,
				      (enum msg_kind)conn_options(conn)->type, &intake_events, fifo);
	if (r < 0) {
		fifo_in_free(fifo);
		return r;
	}
	intake_start(fifo->intake);
	*ret = fifo;
	return 0;
}

struct fifo_in *fifo_in_free(struct fifo_in *fifo)
{
	if (!fifo)
		return NULL;
	fifo->intake = intake_free(fifo->intake);
	if (fifo->fd >= 0)
		close(fifo->fd);
	free(fifo);
	return NULL;
}

void fifo_in_drain(struct fifo_in *fifo)
{
	intake_drain(fifo->intake);
}

/* --- out ------------------------------------------------------------------------------------ */

struct fifo_out {
	int fd; /* write-only, without being a reader */
	struct event *left; /* the last reader has */
	struct arrival arrival;
	struct outlet *outlet;
	struct mark_holder place; /* of its reader, across restarts */
};

static bool has_reader(const struct fifo_out *fifo)
{
	struct pollfd poller = {.fd = fifo->fd, .events = POLLOUT};

	return poll(&poller, 1, 0) >= 0 && !(poller.revents & POLLERR);
}

static size_t residue(const struct fifo_out *fifo)
{
	int bytes = 0;

	return ioctl(fifo->fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

/* Read away what the reader who left did not: half a line is no use to the next one. */
static void empty_pipe(const struct fifo_out *fifo)
{
	char path[32], waste[ONE_PAGE];
	cleanup_close int fd = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fifo->fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while (read(fd, waste, sizeof(waste)) > 0)
		continue;
}

/* Both kinds of news lead here: that the last reader has left, and an arrival.  A
 * reader may have come and gone since the last look, so its traces count, not what was known of it. */
static void look(struct fifo_out *fifo)
{
	if (has_reader(fifo))
		outlet_set_present(fifo->outlet, true);
	else if (outlet_reader_left(fifo->outlet, residue(fifo)))
		empty_pipe(fifo);
}

static void fifo_on_left(evutil_socket_t fd, short what, void *owner)
{
	(void)fd;
	(void)what;
	look(owner);
}

static void fifo_arrival_opened(void *owner)
{
	look(owner);
}

static void fifo_outlet_ended(void *owner, int error)
{
	(void)owner; /* a FIFO's outlet has no end */
	(void)error;
}

static const struct outlet_events outlet_events = {.ended = fifo_outlet_ended};

static int open_held(int dirfd, const char *name)
{
	cleanup_close int both = openat(dirfd, name, O_RDWR | OPEN_FLAGS);
	int fd;

	if (both < 0)
		return -errno;
	fd = openat(dirfd, name, O_WRONLY | OPEN_FLAGS);
	return fd < 0 ? -errno : fd;
}

/* Where the reader of an earlier daemon, or of an earlier configuration, has stopped. */
static int find_place(struct fifo_out *fifo, struct conn *conn, struct outlet_options *options)
{
	struct cursors *cursors = conn_cursors(conn);
	struct mark *mark = cursors_find(cursors, MARK_READER, "out");
	int r = mark ? 0 : cursors_add(cursors, MARK_READER, "out", &mark);

	if (r < 0)
		return r;
	mark_hold(mark, &fifo->place);
	options->holder = &fifo->place;
	options->seeks = true;
	options->seek = SEEK_SEQ;
	options->number = mark->seq;
	options->marks = mark->marks;
	return 0;
}

static int start_out(struct fifo_out *fifo, struct arrivals *arrivals, struct conn *conn,
		     const struct endpoint_options *options)
{
	struct outlet_options outlet_options = {
		.framing = (enum framing)options->framing,
		.type = (enum msg_kind)conn_options(conn)->type,
		.from = CURSOR_OLDEST,
		.label = "out",
		.is_fifo = true,
		.one_by_one = !options->batch,
	};
	int r;

	/* A pipe that still holds more than a page keeps its size, and one by one still holds. */
	if (!options->batch)
		fcntl(fifo->fd, F_SETPIPE_SZ, ONE_PAGE);
	r = find_place(fifo, conn, &outlet_options);
	if (r == 0)
		r = outlet_new(&fifo->outlet, fifo->fd, conn, &outlet_options, &outlet_events, fifo);
	if (r < 0)
		return r;
	if (residue(fifo) > 0)
		outlet_adopt(fifo->outlet, residue(fifo));
	r = arrivals_watch(arrivals, &fifo->arrival, fifo->fd, fifo_arrival_opened, fifo);
	if (r < 0)
		return r;
	/* "Readable" the writing end of a FIFO is only by its error, which is: no reader. */
	fifo->left = event_new(loop_base(), fifo->fd, EV_READ | EV_ET | EV_PERSIST, fifo_on_left, fifo);
	if (!fifo->left || event_add(fifo->left, NULL) < 0)
		return -ENOMEM;
	outlet_set_present(fifo->outlet, false);
	outlet_start(fifo->outlet);
	look(fifo);
	return 0;
}

int fifo_out_new(struct fifo_out **ret, int dirfd, struct arrivals *arrivals, struct conn *conn,
		 const struct endpoint_options *options, const struct access *access)
{
	struct fifo_out *fifo;
	int r = make_fifo(dirfd, "out", access, ACCESS_OUTPUT);

	if (r < 0)
		return r;
	fifo = calloc(1, sizeof(*fifo));
	if (!fifo)
		return -ENOMEM;
	fifo->fd = r = open_held(dirfd, "out");
	if (r >= 0)
		r = start_out(fifo, arrivals, conn, options);
	if (r < 0) {
		fifo_out_free(fifo);
		return r;
	}
	*ret = fifo;
	return 0;
}

struct fifo_out *fifo_out_free(struct fifo_out *fifo)
{
	if (!fifo)
		return NULL;
	if (fifo->left)
		event_free(fifo->left);
	arrivals_forget(&fifo->arrival);
	if (fifo->outlet) /* it may have read more than we have been told */
		outlet_reader_left(fifo->outlet, residue(fifo));
	fifo->outlet = outlet_free(fifo->outlet);
	mark_release(&fifo->place);
	if (fifo->fd >= 0)
		close(fifo->fd);
	free(fifo);
	return NULL;
}

struct outlet *fifo_out_outlet(const struct fifo_out *fifo)
{
	return fifo->outlet;
}
