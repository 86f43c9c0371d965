/* control - the control socket: peers and their rights, one request each, streams (protocol.h). */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "service/service.h"

struct control;

/* Binds RUNTIME/control, or takes the socket from SHELF (or NULL) where the daemon before us has
 * put it. -EADDRINUSE: another daemon answers there. */
int control_new(struct control **ret, struct service *service, int runtime_fd, struct shelf *shelf,
		char *const *access);
struct control *
control_free(struct control *control); /* removes the socket, unless it is for the next daemon */

/* Reload changed who may use it. */
int control_set_access(struct control *control, char *const *access);

#endif
