/* durable - see durable.h. */
#include "conn/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strv.h"

void durable_init(struct durable *durable, char *name, struct spool *spool, struct outbox *outbox,
		  struct cursors *cursors)
{
	*durable = (struct durable){
		.name = name,
		.state_fd = -1,
		.spool = spool,
		.outbox = outbox,
		.cursors = cursors,
	};
}

/* --- what was found ------------------------------------------------------------------------- */

static void tell_found(const struct durable *durable, const struct records_found *found,
		       const char *what)
{
	const char *name = durable->name;

	if (found->cut_files > 0)
		log_warning(name, "persist: %" PRIu64 " bytes at the end of %s were torn by a crash, and cut "
			    "off", found->cut_bytes, what);
	if (found->absent > 0)
		log_warning(name, "persist: %" PRIu64 " messages are missing among %s", found->absent, what);
}

static int take_up(struct durable *durable, bool resend, struct outbox_loss *lost)
{
	struct records_found received, queued;
	struct outbox_stats stats;
	int r = spool_set_store(durable->spool, durable->store, true, &received);

	if (r == 0)
		r = outbox_set_store(durable->outbox, durable->store, true, resend, &queued, lost);
	if (r < 0)
		return r;
	tell_found(durable, &received, "the messages received");
	tell_found(durable, &queued, "the messages to be sent");
	outbox_get_stats(durable->outbox, &stats);
	if (received.messages > 0 || stats.queued_messages > 0)
		log_info(durable->name, "persist: %" PRIu64 " messages received and %" PRIu64 " to be sent "
			 "were taken up", received.messages, stats.queued_messages);
	if (lost->messages > 0)
		log_warning(durable->name, "persist: %" PRIu64 " outgoing messages (%" PRIu64 " bytes) were on "
			    "their way when the daemon was killed: they may have arrived, and are not sent "
			    "again", lost->messages, lost->bytes);
	return cursors_set_store(durable->cursors, durable->store, true);
}

/* --- life ----------------------------------------------------------------------------------- */

static bool is_fresh(const struct durable *durable)
{
	return spool_next_seq(durable->spool) == 0 && outbox_empty(durable->outbox);
}

/* Of a time before `persist` was turned off: its numbers are not ours.  A name with '~' is none that
 * a connection can have. */
static void move_away(const struct durable *durable)
{
	char aside[NAME_MAX + 1];

	snprintf(aside, sizeof(aside), "%s~%lld", durable->name, (long long)time(NULL));
	if (renameat(durable->state_fd, durable->name, durable->state_fd, aside) == 0)
		log_warning(durable->name, "persist: what had been kept before is in %s now", aside);
}

static int start(struct durable *durable, bool resend, struct outbox_loss *lost)
{
	bool fresh = is_fresh(durable);
	int r = 0;

	if (!durable->store) {
		if (!fresh)
			move_away(durable);
		r = store_open(&durable->store, durable->state_fd, durable->name);
		if (r == 0 && fresh)
			return take_up(durable, resend, lost);
	}
	if (r < 0)
		return r;
	spool_set_store(durable->spool, durable->store, false, NULL);
	outbox_set_store(durable->outbox, durable->store, false, false, NULL, NULL);
	return cursors_set_store(durable->cursors, durable->store, false);
}

void durable_start(struct durable *durable, int state_fd, bool resend, struct outbox_loss *ret_lost)
{
	int r = state_fd;

	*ret_lost = (struct outbox_loss){0};
	if (durable->on)
		return;
	durable->state_fd = state_fd;
	if (state_fd >= 0)
		r = start(durable, resend, ret_lost);
	durable->on = r >= 0;
	durable->error = r < 0 ? -r : 0;
	if (r < 0) {
		log_error(durable->name, "persist: %s: nothing is kept for the time after the daemon's end",
			  strerror(-r));
		durable_stop(durable);
	}
}

void durable_stop(struct durable *durable)
{
	durable->on = false;
	spool_set_store(durable->spool, NULL, false, NULL);
	outbox_set_store(durable->outbox, NULL, false, false, NULL, NULL);
	cursors_set_store(durable->cursors, NULL, false);
}

void durable_forget(struct durable *durable)
{
	durable->forget = true;
}

static void remove_all(const struct durable *durable)
{
	char **names = NULL, **name;

	if (store_names(durable->store, "", &names) < 0)
		return;
	strv_for_each(name, names)
		unlinkat(durable->store->dirfd, *name, 0);
	strv_free(names);
	unlinkat(durable->state_fd, durable->name, AT_REMOVEDIR);
}

void durable_done(struct durable *durable)
{
	if (durable->store && durable->forget)
		remove_all(durable);
	durable->store = store_close(durable->store);
}

const char *durable_problem(const struct durable *durable)
{
	if (durable->error)
		return strerror(durable->error);
	return durable->on ? store_problem(durable->store) : NULL;
}
