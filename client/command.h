/* command - exec's command, with a stream of the daemon as its standard input and output. */
#ifndef CLIENT_COMMAND_H
#define CLIENT_COMMAND_H

#include <stdbool.h>

struct session;

/* SESSION has been answered with a descriptor, which is taken.  FINISHES: the connection is ours
 * alone, and "end" comes when all that the command wrote is out and the WebSocket is closed.  The
 * exit status of the command as a shell shows it; 126, 127 when it cannot be run. */
int command_run(struct session *session, char *const *argv, bool finishes);

#endif
