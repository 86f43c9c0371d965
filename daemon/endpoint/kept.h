/* kept - what of an endpoint lies on the shelf (shelf.h): a FIFO, or a client's socket, with its
 * page (held.h) and the pipe of its sluice; and sockets that listen.
 *
 * What comes back is looked at before it is used: kinds by fstat(2), a FIFO by the inode that has
 * the name now, a page by what it says of itself.  What is not right is closed, removed and told in
 * the log. */
#ifndef ENDPOINT_KEPT_H
#define ENDPOINT_KEPT_H

#include "endpoint/held.h"
#include "endpoint/shelf.h"
#include "endpoint/sluice.h"

struct conn;
struct file_grant;

/* Zeroed: nothing is kept. */
struct kept {
	struct shelf *shelf;
	char name[HELD_NAME_MAX + 1];
	int fd;                /* that has come back, for the owner to take; -1: none */
	struct held *held;     /* NULL: there is none */
	struct sluice *sluice; /* NULL: none, or the page has no output */
	bool returned;         /* the page is that of a daemon before this one */
};

/* What is kept of CONN's ENDPOINT ("in", "sock.3"), or nothing and a fresh page.  DIRFD: it is the
 * FIFO of that name there; -1: a socket, or of a drain the FIFO that we write to.  PAGED false: the
 * descriptor alone.  Without a shelf there is nothing. */
void kept_take(struct kept *kept, struct shelf *shelf, struct conn *conn, const char *endpoint,
	       int dirfd, enum held_kind kind, enum framing framing, bool paged);
/* FOUND, a name on the shelf, is PREFIX and a number as we write it. */
bool kept_number(const char *found, const char *prefix, uint64_t *ret);
/* Now it is FD (which is not taken), if none has come back: put it on the shelf. */
void kept_put(struct kept *kept, int fd);
/* The owner goes.  Unless the daemon is leaving, it is on the shelf no longer. */
void kept_done(struct kept *kept);

/* A socket that listens as NAME in DIRFD, kept as PREFIX@inode: its descriptor, with the grants
 * given anew, or -1: there is none. */
int kept_take_listener(struct shelf *shelf, const char *prefix, int dirfd, const char *name,
		       const struct file_grant *grants, size_t n);
void kept_put_listener(struct shelf *shelf, const char *prefix, int dirfd, const char *name,
		       int fd);
void kept_remove_listener(struct shelf *shelf, const char *prefix, int dirfd, const char *name);

#endif
