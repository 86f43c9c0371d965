/* session - one conversation on the control socket (control/protocol.h): ask, read the answer,
 * take the descriptor that came with it, read the events that follow.
 *
 * Where a function returns an exit status, 0 means "go on", and anything else has been explained
 * on standard error already. */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "codec/json.h"
#include "deadline.h"

struct place;
struct request;

struct session {
	int fd;        /* non-blocking; poll it, then session_read() */
	int stream_fd; /* non-blocking; -1: none was passed */
	const char *who; /* NAME or URL, for messages; not ours */
	bool plain;      /* a refusal is a list of faults (reload): print it as it is */
	struct buf in;
	size_t said;     /* bytes of the line that session_line() gave last */
	size_t searched; /* so much of what follows holds no line feed */
};

void session_init(struct session *session, const char *who);
void session_done(struct session *session);

/* Send REQUEST (ended here) to the daemon at PLACE and wait for its answer, {"ok":true,...} into
 * *ret, good until the next call.  MAY_START: when nobody answers there, start a daemon.  An exit
 * status: refused, timed out, no daemon. */
int session_ask(struct session *session, const struct place *place, struct request *request,
		bool may_start, const struct deadline *deadline, struct json_span *ret);

/* Say a short line to the daemon, without waiting.  -EAGAIN: it does not listen now; or another -errno. */
int session_say(struct session *session, const char *line);
/* Nothing more will be said: wait until the daemon has heard all, and has left.  False: it did not in
 * time. */
bool session_part(struct session *session, const struct deadline *deadline);

/* What has come, without waiting: bytes, 0 at the end, -EAGAIN or another -errno. */
int session_read(struct session *session);
/* The next whole line of that; false: there is none yet. */
bool session_line(struct session *session, struct json_span *ret);

#endif
