/* cursor - what clients do with named cursors: begin a stream at one, list, move and remove them. */
#ifndef CONTROL_CURSOR_H
#define CONTROL_CURSOR_H

#include "control/flow.h"
#include "control/request.h"

/* Where the stream shall begin, and whether it ends with what is there: "cursor", "last", "since",
 * "follow" of the line, into OPTIONS.  1; 0: it was refused, and the client has been told; -errno. */
int cursor_place(struct request *request, struct conn *conn, struct flow_options *options);

int verb_cursor(struct request *request);

#endif
