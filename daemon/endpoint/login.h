/* login - the command of `login`, with a connection that is not open yet as its standard input and
 * output.
 *
 * Two pipes and the movers that all endpoints have: an intake, of which the messages go to
 * opening_say(), and an outlet from opening_heard().  Its standard input is a page, filled anew when it
 * has been read empty: so it is known to the byte what the command has read when it ends. */
#ifndef ENDPOINT_LOGIN_H
#define ENDPOINT_LOGIN_H

#include "conn/opening.h"

struct endpoint_options;

/* OPTIONS must stay: they say in which framing it talks. */
void login_runner_init(struct opening_runner *runner, struct endpoint_options *options);

#endif
