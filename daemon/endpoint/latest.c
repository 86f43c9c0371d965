/* latest - see latest.h.
 *
 * The first message after a pause is written at once; in a fast feed the file is replaced at most
 * every PAUSE_MS, because a replacement costs as much as forwarding a hundred messages.  No timer runs
 * while nothing arrives. */
#include "endpoint/latest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "endpoint/recordfile.h"

enum {
	PAUSE_MS = 10,
	AGAIN_MS = 1000,
};

struct latest {
	int dirfd;
	struct conn *conn;
	const struct endpoint_options *options;
	struct file_grant *grants;
	size_t n_grants;
	struct cursor cursor;
	struct timer pause;
	struct later write;
	uint64_t written; /* so many messages had been received when it was last replaced */
	bool failing;     /* the last replacement failed, and that was logged; it is tried every second */
};

static void latest_cursor_ready(void *owner)
{
	struct latest *latest = owner;

	if (!timer_is_set(&latest->pause))
		loop_later(&latest->write);
}

static int replace(struct latest *latest, const struct msg *msg)
{
	return recordfile_replace(latest->dirfd, "last", latest->conn, latest->options, msg,
				  latest->grants, latest->n_grants);
}

/* A full disk is told once, and once more when it is over. */
static void tell(struct latest *latest, int r)
{
	if (r < 0 && !latest->failing)
		log_warning(conn_name(latest->conn), "last: cannot be replaced: %s, trying every second",
			    strerror(-r));
	else if (r >= 0 && latest->failing)
		log_info(conn_name(latest->conn), "last: is up to date again");
	latest->failing = r < 0;
}

static void latest_on_write(void *owner)
{
	struct latest *latest = owner;
	struct spool *spool = conn_spool(latest->conn);
	struct msg msg;

	if (cursor_at_end(&latest->cursor) && !latest->failing) {
		cursor_wait(&latest->cursor);
		return;
	}
	if (spool_next_seq(spool) != latest->written && spool_newest(spool, &msg)) { /* no mere mark */
		tell(latest, replace(latest, &msg));
		if (!latest->failing)
			latest->written = spool_next_seq(spool);
	} else {
		latest->failing = false; /* what could not be written is not kept any more */
	}
	cursor_to_newest(&latest->cursor);
	cursor_wait(&latest->cursor);
	timer_set(&latest->pause, latest->failing ? AGAIN_MS : PAUSE_MS);
}

static void latest_on_pause(void *owner)
{
	struct latest *latest = owner;

	if (!cursor_at_end(&latest->cursor) || latest->failing)
		loop_later(&latest->write);
}

int latest_new(struct latest **ret, int dirfd, struct conn *conn,
	       const struct endpoint_options *options, const struct access *access)
{
	struct latest *latest = calloc(1, sizeof(*latest));
	int r;

	if (!latest)
		return -ENOMEM;
	latest->dirfd = dirfd;
	latest->conn = conn;
	latest->options = options;
	later_init(&latest->write, latest_on_write, latest);
	r = access_grants(access, ACCESS_OUTPUT, &latest->grants, &latest->n_grants);
	if (r == 0)
		r = timer_init(&latest->pause, latest_on_pause, latest);
	if (r < 0) {
		latest_free(latest);
		return r;
	}
	cursor_open(&latest->cursor, conn_spool(conn), CURSOR_OLDEST, "last", latest_cursor_ready,
		    latest);
	latest->cursor.newest_only = true;
	loop_later(&latest->write);
	*ret = latest;
	return 0;
}

struct latest *latest_free(struct latest *latest)
{
	if (!latest)
		return NULL;
	cursor_close(&latest->cursor);
	later_cancel(&latest->write);
	timer_done(&latest->pause);
	free(latest->grants);
	free(latest);
	return NULL;
}

void latest_set_options(struct latest *latest, const struct endpoint_options *options)
{
	latest->options = options;
}
