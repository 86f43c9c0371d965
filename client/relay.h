/* relay - standard input to a stream of the daemon, the stream to standard output, until the
 * daemon says that it has ended. */
#ifndef CLIENT_RELAY_H
#define CLIENT_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "codec/frame.h"
#include "deadline.h"

struct answers;
struct session;

struct relay_options {
	bool reads, writes;  /* what the verb does: recv, send, or cat */
	struct buf *given;   /* records to send instead of standard input; NULL: none */
	struct answers *answers; /* the stream is what they take (request); NULL: it is messages */
	bool commits;        /* tell the daemon what has been printed (a cursor) */
	bool strict;         /* messages that were missed are a failure */
	bool stamp;          /* the stream is json; print times and what `framing` makes of it */
	enum framing framing;
	int64_t quiet_ms;    /* between the end of input and telling it; negative: at once */
	struct deadline deadline;
};

/* SESSION has been answered with a descriptor. The exit status of the command. */
int relay_run(struct session *session, const struct relay_options *options);

#endif
