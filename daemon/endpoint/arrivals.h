/* arrivals - somebody has opened a FIFO (inotify IN_OPEN).
 *
 * A write-only descriptor that is held gets no event when a reader comes.  One
 * inotify instance serves all FIFOs.  The news is a hint and never a count: events are merged, our own
 * opens cause them too, and after an overflow everybody is called. */
#ifndef ENDPOINT_ARRIVALS_H
#define ENDPOINT_ARRIVALS_H

#include "base/list.h"

struct arrivals;

/* Embedded in whoever wants to know. */
struct arrival {
	struct list link;
	struct arrivals *arrivals;
	int watch;
	void (*opened)(void *owner);
	void *owner;
};

int arrivals_new(struct arrivals **ret);
struct arrivals *arrivals_free(struct arrivals *arrivals);

/* FD refers to the file (any descriptor of it). -errno: ENOSPC when the user's watches are used up
 * (fs.inotify.max_user_watches). */
int arrivals_watch(struct arrivals *arrivals, struct arrival *arrival, int fd,
		   void (*opened)(void *owner), void *owner);
void arrivals_forget(struct arrival *arrival); /* a zeroed one is fine */

#endif
