/* fdstore - the shelf that the service manager keeps for us (FileDescriptorStoreMax= in the unit
 * file): what is put there is handed to the next daemon, be it started anew or after a crash.
 *
 * On `systemctl stop` the manager closes all of it by itself. */
#ifndef SERVICE_FDSTORE_H
#define SERVICE_FDSTORE_H

#include "endpoint/shelf.h"

struct fdstore;

/* Takes what the manager has handed to us, which it does once in a process's life.  *ret is NULL
 * without a manager.  -ENOMEM. */
int fdstore_new(struct fdstore **ret);
struct fdstore *fdstore_free(struct fdstore *fdstore);
struct shelf *fdstore_shelf(struct fdstore *fdstore); /* NULL for NULL */

/* Everybody has taken what is his: the rest is closed, removed and told. */
void fdstore_settle(struct fdstore *fdstore);

#endif
