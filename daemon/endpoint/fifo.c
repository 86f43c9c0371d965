/* fifo - see fifo.h.  Each step here answers to a row of facts; change none without measuring. */
#include "endpoint/fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "endpoint/arrivals.h"
#include "endpoint/intake.h"
#include "endpoint/kept.h"
#include "endpoint/outlet.h"
#include "endpoint/pipe.h"

#define HELD_FILE "held.in"

enum { OPEN_FLAGS = O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW };

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
	struct kept kept;
	struct held *file; /* the page, if it is one of the connection's store */
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

/* The FIFO is made anew when the machine was started anew: the runtime directory is none of a disk.
 */
static uint64_t life_of(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		return 1;
	if (!(st.stx_mask & STATX_BTIME))
		st.stx_btime = (struct statx_timestamp){0};
	return (st.stx_ino << 32 ^ (uint64_t)st.stx_btime.tv_sec << 30 ^ st.stx_btime.tv_nsec) | 1;
}

/* With `persist` what is read outlives the machine's restart as well; the store is gone through by
 * name at a start, and passes over this one. */
static struct held *open_file(struct conn *conn, int fifo, enum framing framing)
{
	struct store *store = conn_store(conn);
	struct held_terms terms = {
		.name = HELD_FILE,
		.kind = HELD_IN,
		.framing = framing,
		.type = (enum msg_kind)conn_options(conn)->type,
		.max_message = conn_options(conn)->ws.max_message_bytes,
		.life = life_of(fifo),
	};
	struct held *held = NULL;
	int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, fd, r;

	for (int i = 0; i < 2; i++) {
		fd = openat(store->dirfd, HELD_FILE, flags, 0600);
		r = fd < 0 ? -errno : held_open(&held, fd, &terms);
		if (r != -EINVAL && r != -ESTALE)
			break;
		log_info(conn_name(conn),
			 "in: the page is %s: what it held of a record that is not whole is "
			 "dropped",
			 r == -EINVAL ? "damaged" : "one for another configuration or version");
		store_remove(store, HELD_FILE);
	}
	if (r < 0)
		log_warning(conn_name(conn),
			    "in: a record that is not whole yet would not outlive the "
			    "daemon: %s",
			    strerror(-r));
	return held;
}

static int start_in(struct fifo_in *fifo, int dirfd, struct shelf *shelf, enum framing framing)
{
	bool stored = conn_store(fifo->conn) != NULL;
	int r;

	kept_take(&fifo->kept, shelf, fifo->conn, "in", dirfd, HELD_IN, framing, !stored);
	fifo->fd = fifo->kept.fd >= 0 ? fifo->kept.fd : openat(dirfd, "in", O_RDONLY | OPEN_FLAGS);
	if (fifo->fd < 0)
		return -errno;
	if (stored)
		fifo->file = open_file(fifo->conn, fifo->fd, framing);
	kept_put(&fifo->kept, fifo->fd);
	r = intake_new(&fifo->intake, fifo->fd, fifo->conn, framing,
		       (enum msg_kind)conn_options(fifo->conn)->type, &intake_events, fifo);
	if (r < 0)
		return r;
	if (fifo->file || fifo->kept.held)
		intake_set_held(fifo->intake, fifo->file ? fifo->file : fifo->kept.held);
	intake_start(fifo->intake);
	return 0;
}

int fifo_in_new(struct fifo_in **ret, int dirfd, struct shelf *shelf, struct conn *conn,
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
	fifo->fd = -1;
	r = start_in(fifo, dirfd, shelf, (enum framing)options->framing);
	if (r < 0) {
		fifo_in_free(fifo);
		return r;
	}
	*ret = fifo;
	return 0;
}

/* What was written while the queue was full.  The pipe lives on with a writer who has it open, and the next
 * to read from it finds it; without one it goes. */
static void tell_untaken(const struct fifo_in *fifo)
{
	size_t unread = pipe_bytes(fifo->fd), unsent = intake_unsent(fifo->intake);
	struct pollfd writers = {.fd = fifo->fd, .events = POLLIN};
	bool kept = poll(&writers, 1, 0) >= 0 && !(writers.revents & POLLHUP);

	if (fifo->file)
		unsent = 0; /* the page has them */
	if (shelf_leaving(fifo->kept.shelf)) {
		if (unsent + unread > 0)
			log_info(conn_name(fifo->conn), "in: %zu bytes are not taken yet: the next daemon "
				 "has them, if this is a restart", unsent + unread);
		return;
	}
	if (unsent > 0)
		log_warning(conn_name(fifo->conn), "in: %zu bytes were read, but not sent (the queue was full, or "
			    "a record had no end), and are lost", unsent);
	if (unread > 0)
		log_warning(conn_name(fifo->conn), "in: %zu bytes that were written were not taken, and %s", unread,
			    kept ? "stay for whoever opens it next, as long as its writer has it open"
				 : "are lost");
}

struct fifo_in *fifo_in_free(struct fifo_in *fifo)
{
	if (!fifo)
		return NULL;
	if (fifo->intake)
		tell_untaken(fifo);
	fifo->intake = intake_free(fifo->intake);
	kept_done(&fifo->kept);
	fifo->file = held_free(fifo->file);
	if (fifo->fd >= 0)
		close(fifo->fd);
	free(fifo);
	return NULL;
}

void fifo_in_drain(struct fifo_in *fifo)
{
	intake_drain(fifo->intake);
}

void fifo_in_freeze(struct fifo_in *fifo)
{
	intake_freeze(fifo->intake);
}

/* --- out ------------------------------------------------------------------------------------ */

struct fifo_out {
	int fd; /* write-only, without being a reader */
	bool one_by_one;
	struct event *left; /* the last reader has */
	struct arrival arrival;
	struct kept kept;
	struct outlet *outlet;
	struct mark_holder place; /* of its reader, across restarts */
};

/* Both kinds of news lead here: that the last reader has left, and an arrival.  A
 * reader may have come and gone since the last look, so its traces count, not what was known of it. */
static void look(struct fifo_out *fifo)
{
	if (pipe_has_reader(fifo->fd))
		outlet_set_present(fifo->outlet, true);
	else if (outlet_reader_left(fifo->outlet, pipe_bytes(fifo->fd)))
		pipe_take_back(fifo->fd); /* half a line is no use to the next one */
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

/* What the daemon before this one has left in the pipe.  Bytes of which its page knows nothing are
 * those of a record that was to be taken back. */
static void take_up(struct fifo_out *fifo)
{
	size_t bytes = pipe_bytes(fifo->fd);

	if (!fifo->kept.returned) {
		if (bytes > 0)
			outlet_adopt(fifo->outlet, bytes);
	} else if (!outlet_return(fifo->outlet) && bytes > 0 && fifo->one_by_one) {
		pipe_take_back(fifo->fd);
	}
}

static int start_out(struct fifo_out *fifo, struct arrivals *arrivals, struct conn *conn,
		     const struct endpoint_options *options)
{
	struct outlet_options outlet_options = {
		.framing = (enum framing)options->framing,
		.type = (enum msg_kind)conn_options(conn)->type,
		.label = "out",
		.is_fifo = true,
		.one_by_one = !options->batch,
		.sluice = fifo->kept.sluice,
		.lasts = conn_store(conn) != NULL,
	};
	int r;

	/* A pipe that still holds more than a page keeps its size, and one by one still holds. */
	if (!options->batch)
		fcntl(fifo->fd, F_SETPIPE_SZ, PIPE_ONE_PAGE);
	r = cursors_hold_reader(conn_cursors(conn), "out", &fifo->place);
	if (r < 0)
		return r;
	outlet_options_resume(&outlet_options, &fifo->place);
	if (fifo->kept.returned)
		outlet_options_return(&outlet_options, conn);
	r = outlet_new(&fifo->outlet, fifo->fd, conn, &outlet_options, &outlet_events, fifo);
	if (r < 0)
		return r;
	take_up(fifo);
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

int fifo_out_new(struct fifo_out **ret, int dirfd, struct arrivals *arrivals, struct shelf *shelf,
		 struct conn *conn, const struct endpoint_options *options,
		 const struct access *access)
{
	struct fifo_out *fifo;
	int r = make_fifo(dirfd, "out", access, ACCESS_OUTPUT);

	if (r < 0)
		return r;
	fifo = calloc(1, sizeof(*fifo));
	if (!fifo)
		return -ENOMEM;
	fifo->one_by_one = !options->batch;
	kept_take(&fifo->kept, shelf, conn, "out", dirfd, HELD_OUT, (enum framing)options->framing,
		  true);
	fifo->fd = r = fifo->kept.fd >= 0 ? fifo->kept.fd : pipe_hold(dirfd, "out");
	if (r >= 0) {
		kept_put(&fifo->kept, fifo->fd);
		r = start_out(fifo, arrivals, conn, options);
	}
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
	/* The reader may have read more than we have been told. */
	if (fifo->outlet && fifo->kept.sluice && shelf_leaving(fifo->kept.shelf))
		outlet_leave(fifo->outlet);
	else if (fifo->outlet)
		outlet_reader_left(fifo->outlet, pipe_bytes(fifo->fd));
	fifo->outlet = outlet_free(fifo->outlet);
	mark_release(&fifo->place);
	kept_done(&fifo->kept);
	if (fifo->fd >= 0)
		close(fifo->fd);
	free(fifo);
	return NULL;
}

struct outlet *fifo_out_outlet(const struct fifo_out *fifo)
{
	return fifo->outlet;
}
