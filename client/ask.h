/* ask - one question to the daemon that the command line means, and its answer.
 *
 * All return an exit status; 0 means that it has been answered, anything else has been explained on
 * standard error. */
#ifndef CLIENT_ASK_H
#define CLIENT_ASK_H

#include <stdbool.h>

#include "codec/json.h"

struct options;
struct request;
struct session;

/* Ends REQUEST.  MAY_START: a daemon, when none answers.  *ret is good as long as the session. */
int ask(struct session *session, const struct options *options, struct request *request,
	bool may_start, struct json_span *ret);

/* A command that only asks: the answer is "done". */
int ask_and_leave(const struct options *options, struct request *request);

/* Of all connections and the daemon; or of NAME. */
int ask_status(struct session *session, const struct options *options, const char *name,
	       struct json_span *ret);

/* The answer makes no sense. */
int ask_misunderstood(const char *who);

#endif
