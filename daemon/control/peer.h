/* peer - one client of the control socket: a request line in, lines out, perhaps a descriptor.
 *
 * Knows bytes and lines, not verbs.  What is sent waits in one bounded buf when the client does not
 * read; status of very many connections is some megabytes. */
#ifndef CONTROL_PEER_H
#define CONTROL_PEER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "control/protocol.h"

enum { PEER_OUT_MAX = 64 * 1024 * 1024, PEER_WORD_MAX = 1024 };

struct peer;

struct peer_events {
	/* The request line without its end, once; good until this returns.  Do not free the peer
	 * here. */
	void (*request)(void *owner, const char *line, size_t len);
	/* A line that came behind it; likewise.  What is longer than PEER_WORD_MAX is passed over. */
	void (*word)(void *owner, const char *line, size_t len);
	/* It has left, or all has been said after peer_finish().  From a clean stack; free it
	 * there. */
	void (*gone)(void *owner);
};

/* Takes FD, also on failure: non-blocking. -errno. */
int peer_new(struct peer **ret, int fd, const struct peer_events *events, void *owner);
struct peer *peer_free(struct peer *peer);

/* Empty, with the maximum that fits: make a line in it. */
void peer_line_init(struct buf *line);
/* Send LINE (its line feed is added) and empty it.  PASS_FD goes with its first bytes and is taken,
 * -1: none; only with the first line.  When there is no memory or no room, the peer is dropped: a
 * client that does not read its answers is told nothing. */
void peer_send(struct peer *peer, struct buf *line, int pass_fd);
/* {"ok":false,...} with this exit and message, then peer_finish(). */
void peer_refuse(struct peer *peer, enum protocol_exit exit, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void peer_finish(struct peer *peer); /* `gone` comes when what was sent is out */
void peer_drop(struct peer *peer);   /* `gone` comes at once (from a clean stack) */

/* Take what it has said by now.  False: it has left. */
bool peer_look(struct peer *peer);

size_t peer_backlog(const struct peer *peer); /* bytes that the client has not taken yet */

/* Append TEXT as a JSON string, with '?' for what is not UTF-8. */
int peer_quote(struct buf *line, const char *text, size_t len);

#endif
