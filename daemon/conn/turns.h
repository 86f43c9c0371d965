/* turns - at most one connection at a time is being established to one host (RFC 6455 4.1, 2): the
 * others wait, in the order in which they came.
 *
 * A host is a name or address with its port as it stands in the url (or connect-to), or a socket's
 * path: the queue is in front of the look-up, so two names of one address count as two hosts.
 * Owner: the service; each conn embeds a turn. */
#ifndef CONN_TURNS_H
#define CONN_TURNS_H

#include <stdbool.h>

#include "base/list.h"
#include "codec/url.h"

struct turns;
struct turn_host;

struct turn {
	struct list link;       /* in its host's queue, or among those that are called next */
	struct turn_host *host; /* NULL: it wants nothing */
	void (*come)(void *owner);
	void *owner;
};

int turns_new(struct turns **ret);             /* -ENOMEM */
struct turns *turns_free(struct turns *turns); /* when all turns have been left */

static inline void turn_init(struct turn *turn, void (*come)(void *owner), void *owner)
{
	*turn = (struct turn){.come = come, .owner = owner};
}

enum { TURN_WAITS, TURN_NOW };

/* TURN_NOW; or TURN_WAITS: `come` is called from a clean stack when it is time.  -ENOMEM.  TURNS
 * may be NULL: then nobody waits for anybody.  CONNECT_TO is dialed instead of URL's host, or NULL.
 */
int turn_take(struct turn *turn, struct turns *turns, const struct url *url,
	      const char *connect_to);
void turn_leave(struct turn *turn); /* it is over, or not wanted any more; the next one comes */

bool turn_waits(const struct turn *turn);
const char *
turn_host_name(const struct turn *turn); /* "host:port" or the path; "" without a host */

#endif
