/* status - walks the service and writes it down as JSON; reads, never changes. */
#ifndef SERVICE_STATUS_H
#define SERVICE_STATUS_H

#include "base/buf.h"
#include "service/service.h"

/* {"name":...,"state":...} with the members that wspipe(1) lists. */
int status_channel(struct buf *out, struct service *service, const struct channel *channel);
/* The named cursors as members of "readers", separated by commas. */
int status_cursors(struct buf *out, struct conn *conn);
/* "daemon":{...},"connections":[...] of all, or of CHANNEL alone
 * (NULL: all). */
int status_all(struct buf *out, struct service *service, struct channel *channel);

#endif
