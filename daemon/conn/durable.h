/* durable - what of a connection outlives the daemon: the messages kept, those that wait to be sent, and
 * the places of readers, in its directory below the state directory (`persist = yes`).
 *
 * Knows what is there at a start, and says so in the log. */
#ifndef CONN_DURABLE_H
#define CONN_DURABLE_H

#include <stdbool.h>

#include "conn/cursors.h"
#include "conn/outbox.h"
#include "conn/spool.h"
#include "conn/store.h"

struct durable { /* zeroed: nothing does */
	char *name;
	int state_fd; /* not owned */
	struct spool *spool;
	struct outbox *outbox;
	struct cursors *cursors;
	struct store *store;
	bool on, forget;
	int error; /* it was wanted, and cannot be */
};

/* Not taken; they are freed between durable_stop() and durable_done(). */
void durable_init(struct durable *durable, char *name, struct spool *spool, struct outbox *outbox,
		  struct cursors *cursors);

/* From now on, in directory NAME below STATE_FD (a negative one: the errno why there is none).  What
 * lies there is taken up if nothing has been received or queued yet; else it is moved out of the way.
 * *RET_LOST: outgoing messages of which nobody knows whether they have arrived; with RESEND they wait to
 * be sent again.  What fails is in the
 * log, and the connection works without. */
void durable_start(struct durable *durable, int state_fd, bool resend, struct outbox_loss *ret_lost);
void durable_stop(struct durable *durable); /* what comes is kept in memory */
void durable_forget(struct durable *durable); /* remove all of it at the end */
void durable_done(struct durable *durable);

/* NULL: it was not asked for, or all is well. */
const char *durable_problem(const struct durable *durable);

#endif
