/* control - the control socket: peers and their rights, one request each, streams (protocol.h). */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "service/service.h"

struct control;

/* Binds RUNTIME/control.  -EADDRINUSE: another daemon answers there. */
int control_new(struct control **ret, struct service *service, int runtime_fd,
		char *const *access);
struct control *control_free(struct control *control); /* removes the socket */

/* Reload changed who may use it. */
int control_set_access(struct control *control, char *const *access);

#endif
