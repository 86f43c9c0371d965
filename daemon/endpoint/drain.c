/* drain - see drain.h.
 *
 * An end of file is reliable only where no writer can come again: closing the FIFO and opening it anew
 * loses it for a reader who has not looked yet.  So each batch has a FIFO of its own.  The one under
 * the name is the door; when somebody has opened it, a fresh one is renamed over the name, and what was
 * the door is a batch that waits for its turn.  Its writing end is closed when all was read.
 *
 * Who looked up the name before the rename and opens after that close would sleep for ever: therefore
 * an O_PATH descriptor stays a little longer, by which he is woken. */
#include "endpoint/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "endpoint/arrivals.h"
#include "endpoint/kept.h"
#include "endpoint/outlet.h"
#include "endpoint/pipe.h"

#define DOOR_NAME "drain"
#define NEXT_NAME ".drain.next"

enum {
	BATCHES_MAX = 64, /* that wait; others share the door's batch until there is room */
	ORPHANS_MAX = 64,
	RETURNING_MAX = 2 * BATCHES_MAX,
	RETRY_MS = 1000,
};

/* How long after its end a FIFO is looked at for sleepers: a machine may be slow. */
static const unsigned rescue_ms[] = {5, 50, 500};
enum { RESCUES = sizeof(rescue_ms) / sizeof(*rescue_ms) };

struct batch { /* the door, or somebody's */
	struct list link;
	int fd; /* write-only */
	uint64_t number; /* as it is called on the shelf, and in their order */
	struct kept kept;
	struct arrival arrival;
};

struct orphan {
	int fd; /* O_PATH */
	uint64_t due_ms;
	unsigned rescues;
};

struct drain {
	int dirfd;
	struct arrivals *arrivals;
	struct shelf *shelf; /* NULL also where what is under way is not kept */
	enum framing framing;
	uint64_t next_number; /* of a batch */
	struct conn *conn;
	struct file_grant *grants;
	size_t n_grants;
	struct batch *door;
	struct list waiting;
	unsigned n_waiting;
	struct batch *served;
	struct batch *returned; /* in the sluice of which the outlet is, though it is not served
				   yet; or NULL */
	struct event *left; /* the last reader of served->fd has */
	struct outlet *outlet;
	struct mark_holder place; /* of its readers, across restarts */
	struct orphan orphan[ORPHANS_MAX];
	unsigned orphans;
	struct timer rescue, retry;
	bool failing;
};

static void serve_next(struct drain *drain);

/* --- those who came too late ---------------------------------------------------------------- */

static void forget_orphan(struct drain *drain, unsigned i)
{
	close(drain->orphan[i].fd);
	drain->orphan[i] = drain->orphan[--drain->orphans];
}

static void arm_rescue(struct drain *drain)
{
	uint64_t now = loop_now_ms(), due = UINT64_MAX;

	for (unsigned i = 0; i < drain->orphans; i++)
		if (drain->orphan[i].due_ms < due)
			due = drain->orphan[i].due_ms;
	if (drain->orphans > 0)
		timer_set(&drain->rescue, due > now ? due - now : 0);
}

static void drain_on_rescue(void *owner)
{
	struct drain *drain = owner;
	uint64_t now = loop_now_ms();

	for (unsigned i = drain->orphans; i-- > 0;) {
		struct orphan *orphan = &drain->orphan[i];

		if (orphan->due_ms > now)
			continue;
		pipe_release_opener(orphan->fd);
		if (++orphan->rescues == RESCUES)
			forget_orphan(drain, i);
		else
			orphan->due_ms = now + rescue_ms[orphan->rescues];
	}
	arm_rescue(drain);
}

static void adopt_orphan(struct drain *drain, const struct batch *batch)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", batch->fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return; /* no descriptors: the risk is small */
	if (drain->orphans == ORPHANS_MAX) {
		pipe_release_opener(drain->orphan[0].fd);
		forget_orphan(drain, 0);
	}
	drain->orphan[drain->orphans++] =
		(struct orphan){.fd = fd, .due_ms = loop_now_ms() + rescue_ms[0]};
	arm_rescue(drain);
}

/* --- batches -------------------------------------------------------------------------------- */

static struct batch *batch_free(struct batch *batch)
{
	if (!batch)
		return NULL;
	list_remove(&batch->link);
	arrivals_forget(&batch->arrival);
	kept_done(&batch->kept);
	if (batch->fd >= 0)
		close(batch->fd);
	free(batch);
	return NULL;
}

/* Its reader finds the end of file behind what is still in the pipe. */
static void end_of_file(struct drain *drain, struct batch *batch)
{
	adopt_orphan(drain, batch);
	batch_free(batch);
}

static void drain_look(void *owner);

static void take_kept(struct drain *drain, struct batch *batch, uint64_t number)
{
	char name[32];

	batch->number = number;
	snprintf(name, sizeof(name), "%s.%" PRIu64, DOOR_NAME, number);
	kept_take(&batch->kept, drain->shelf, drain->conn, name, -1, HELD_DRAIN, drain->framing,
		  true);
}

static int batch_new(struct batch **ret, struct drain *drain, const char *name)
{
	struct batch *batch = calloc(1, sizeof(*batch));
	int r;

	if (!batch)
		return -ENOMEM;
	list_init(&batch->link);
	batch->fd = r = pipe_hold(drain->dirfd, name);
	if (r >= 0)
		r = arrivals_watch(drain->arrivals, &batch->arrival, batch->fd, drain_look, drain);
	if (r < 0) {
		batch_free(batch);
		return r;
	}
	fcntl(batch->fd, F_SETPIPE_SZ, PIPE_ONE_PAGE);
	take_kept(drain, batch, drain->next_number++);
	kept_put(&batch->kept, batch->fd);
	*ret = batch;
	return 0;
}

/* A fresh door; it is held and watched before anybody can find it. */
static int change_door(struct drain *drain)
{
	struct batch *fresh = NULL; /* gcc 12 at -O3 does not see that it is set */
	int r = file_make_fifo(drain->dirfd, NEXT_NAME, drain->grants, drain->n_grants);

	if (r == 0)
		r = batch_new(&fresh, drain, NEXT_NAME);
	if (r < 0)
		return r;
	if (renameat(drain->dirfd, NEXT_NAME, drain->dirfd, DOOR_NAME) < 0) {
		r = -errno;
		batch_free(fresh);
		return r;
	}
	arrivals_forget(&drain->door->arrival);
	list_append(&drain->waiting, &drain->door->link);
	drain->n_waiting++;
	drain->door = fresh;
	return 0;
}

static void tell(struct drain *drain, int r)
{
	if (r < 0 && !drain->failing)
		log_warning(conn_name(drain->conn),
			    "drain: cannot make the next FIFO (%s), readers wait; trying every second",
			    strerror(-r));
	else if (r == 0 && drain->failing)
		log_info(conn_name(drain->conn), "drain: works again");
	drain->failing = r < 0;
}

/* Has somebody come through the door? */
static void drain_look(void *owner)
{
	struct drain *drain = owner;
	int r;

	if (drain->n_waiting >= BATCHES_MAX || !pipe_has_reader(drain->door->fd))
		return;
	r = change_door(drain);
	tell(drain, r);
	if (r < 0)
		timer_set(&drain->retry, RETRY_MS);
	serve_next(drain);
}

/* --- one after the other -------------------------------------------------------------------- */

static void stop_serving(struct drain *drain)
{
	event_free(drain->left);
	drain->left = NULL;
	outlet_take_back(drain->outlet, pipe_bytes(drain->served->fd));
	pipe_take_back(drain->served->fd);
	end_of_file(drain, drain->served);
	drain->served = NULL;
}

static void go_on(struct drain *drain)
{
	stop_serving(drain);
	serve_next(drain);
	drain_look(drain); /* in vain before, if too many were waiting */
}

static void drain_on_left(evutil_socket_t fd, short what, void *owner)
{
	struct drain *drain = owner;

	(void)what;
	if (!pipe_has_reader(fd))
		go_on(drain);
}

static void drain_outlet_ended(void *owner, int error)
{
	(void)error;
	go_on(owner);
}

static const struct outlet_events outlet_events = {.ended = drain_outlet_ended};

/* Its snapshot is taken now: a producer that never stops cannot keep him from the end of file.
 * "Readable" a writing end is only by its error, which is: no reader. */
static bool serve(struct drain *drain, struct batch *batch)
{
	drain->left = event_new(loop_base(), batch->fd, EV_READ | EV_ET | EV_PERSIST,
				drain_on_left, drain);
	if (!drain->left || event_add(drain->left, NULL) < 0) {
		if (drain->left)
			event_free(drain->left);
		drain->left = NULL;
		return false;
	}
	drain->served = batch;
	outlet_begin(drain->outlet, batch->fd, batch->kept.sluice,
		     spool_next_seq(conn_spool(drain->conn)));
	return true;
}

static void serve_next(struct drain *drain)
{
	while (!drain->served && !list_empty(&drain->waiting)) {
		struct batch *batch = list_first(&drain->waiting, struct batch, link);

		list_remove(&batch->link);
		drain->n_waiting--;
		if (!pipe_has_reader(batch->fd) || !serve(drain, batch)) {
			if (batch == drain->returned)
				outlet_take_back(drain->outlet, pipe_bytes(batch->fd));
			end_of_file(drain, batch);
		}
		drain->returned = NULL;
	}
}

/* --- life ----------------------------------------------------------------------------------- */

static int make_door(struct drain *drain)
{
	int r = file_make_fifo(drain->dirfd, DOOR_NAME, drain->grants, drain->n_grants);

	return r < 0 || drain->door ? r : batch_new(&drain->door, drain, DOOR_NAME);
}

/* The one that stands under the name is the door, and the others wait, in the order in which they
 * came. */
static void place_batch(struct drain *drain, struct batch *batch)
{
	struct batch *other;
	struct stat door, st;

	if (!drain->door && fstatat(drain->dirfd, DOOR_NAME, &door, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstat(batch->fd, &st) == 0 && st.st_ino == door.st_ino && st.st_dev == door.st_dev &&
	    arrivals_watch(drain->arrivals, &batch->arrival, batch->fd, drain_look, drain) == 0) {
		drain->door = batch;
		return;
	}
	list_for_each (other, &drain->waiting, link)
		if (other->number > batch->number)
			break;
	list_append(&other->link, &batch->link); /* ahead of it, or at the end of all */
	drain->n_waiting++;
}

/* False: there is no (further) one. */
static bool return_batch(struct drain *drain, const char *prefix)
{
	const char *found = shelf_find(drain->shelf, prefix);
	struct batch *batch;
	uint64_t number;

	if (!found || !kept_number(found, prefix, &number))
		return false;
	batch = calloc(1, sizeof(*batch));
	if (!batch)
		return false;
	list_init(&batch->link);
	take_kept(drain, batch, number);
	batch->fd = batch->kept.fd;
	if (number >= drain->next_number)
		drain->next_number = number + 1;
	if (batch->fd < 0) {
		batch_free(batch);
		return true;
	}
	place_batch(drain, batch);
	return true;
}

static void return_batches(struct drain *drain)
{
	char prefix[HELD_NAME_MAX + 1];

	snprintf(prefix, sizeof(prefix), "%s/%s.", conn_name(drain->conn), DOOR_NAME);
	for (int i = 0; i < RETURNING_MAX && return_batch(drain, prefix); i++)
		;
}

/* The first of those who waited was being served, perhaps. */
static struct sluice *first_sluice(struct drain *drain)
{
	struct batch *first = list_empty(&drain->waiting)
				      ? NULL
				      : list_first(&drain->waiting, struct batch, link);

	drain->returned = first && first->kept.returned ? first : NULL;
	return drain->returned ? first->kept.sluice : NULL;
}

static int start(struct drain *drain, const struct endpoint_options *options)
{
	struct outlet_options outlet_options = {
		.framing = (enum framing)options->framing,
		.type = (enum msg_kind)conn_options(drain->conn)->type,
		.label = "drain",
		.is_fifo = true,
		.one_by_one = true,
		.pages = options->batch,
		.lasts = conn_store(drain->conn) != NULL,
	};
	int r;

	unlinkat(drain->dirfd, NEXT_NAME, 0); /* of a crash */
	r = timer_init(&drain->rescue, drain_on_rescue, drain);
	if (r == 0)
		r = timer_init(&drain->retry, drain_look, drain);
	if (r == 0)
		r = cursors_hold_reader(conn_cursors(drain->conn), "drain", &drain->place);
	if (r < 0)
		return r;
	outlet_options_resume(&outlet_options, &drain->place);
	return_batches(drain);
	outlet_options.sluice = first_sluice(drain);
	if (outlet_options.sluice)
		outlet_options_return(&outlet_options, drain->conn);
	r = outlet_new(&drain->outlet, -1, drain->conn, &outlet_options, &outlet_events, drain);
	if (r == 0 && outlet_options.sluice)
		outlet_return(drain->outlet);
	return r < 0 ? r : make_door(drain);
}

int drain_new(struct drain **ret, int dirfd, struct arrivals *arrivals, struct shelf *shelf,
	      struct conn *conn, const struct endpoint_options *options,
	      const struct access *access)
{
	struct drain *drain = calloc(1, sizeof(*drain));
	int r;

	if (!drain)
		return -ENOMEM;
	drain->dirfd = dirfd;
	drain->arrivals = arrivals;
	/* A page of records, or a part of one, is not what a page of ours can tell of. */
	drain->shelf = options->batch || options->framing == FRAMING_RAW ? NULL : shelf;
	drain->framing = (enum framing)options->framing;
	drain->conn = conn;
	list_init(&drain->waiting);
	r = access_grants(access, ACCESS_OUTPUT, &drain->grants, &drain->n_grants);
	if (r == 0)
		r = start(drain, options);
	if (r < 0) {
		drain_free(drain);
		return r;
	}
	serve_next(drain);
	drain_look(drain); /* somebody may have slept in open() since the daemon before us */
	*ret = drain;
	return 0;
}

/* Whose turn had not come finds an end of file at once; what he would have got is kept. */
static void end_all(struct drain *drain)
{
	if (drain->served)
		stop_serving(drain);
	while (!list_empty(&drain->waiting))
		end_of_file(drain, list_first(&drain->waiting, struct batch, link));
}

/* All go on waiting, for the next daemon. */
static void leave_all(struct drain *drain)
{
	if (drain->left)
		event_free(drain->left);
	if (drain->served)
		outlet_leave(drain->outlet);
	drain->served = batch_free(drain->served);
	while (!list_empty(&drain->waiting))
		batch_free(list_first(&drain->waiting, struct batch, link));
}

struct drain *drain_free(struct drain *drain)
{
	if (!drain)
		return NULL;
	if (shelf_leaving(drain->shelf))
		leave_all(drain);
	else
		end_all(drain);
	drain->door = batch_free(drain->door);
	while (drain->orphans > 0) {
		pipe_release_opener(drain->orphan[0].fd);
		forget_orphan(drain, 0);
	}
	timer_done(&drain->rescue);
	timer_done(&drain->retry);
	drain->outlet = outlet_free(drain->outlet);
	mark_release(&drain->place);
	free(drain->grants);
	free(drain);
	return NULL;
}

const struct outlet *drain_outlet(const struct drain *drain)
{
	return drain->outlet;
}
