/* sluice - bytes go from a page (held.h) through a pipe of our own into a descriptor, and how many
 * have gone is known even after kill -9.
 *
 * write(2) into a socket or FIFO that somebody reads leaves no trace of how much it has taken; a
 * daemon killed in it would not know where to go on.  splice(2) out of a pipe leaves one: what went
 * out has left the pipe.  Whether the pipe was filled says the page: nothing is spliced before it
 * says so.  The page and the pipe lie on the shelf beside the descriptor. */
#ifndef ENDPOINT_SLUICE_H
#define ENDPOINT_SLUICE_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "endpoint/held.h"

struct sluice;

/* HELD is not taken.  PIPE_FD, which is, comes from the daemon before, with what was in it; -1: a
 * new one. -errno (-EINVAL: the page and what is in the pipe do not agree); PIPE_FD is closed
 * then, too. */
int sluice_new(struct sluice **ret, struct held *held, int pipe_fd);
struct sluice *sluice_free(struct sluice *sluice); /* what is under way stays so */
int sluice_pipe(const struct sluice *sluice);      /* one descriptor for both ends */
struct held_place sluice_place(const struct sluice *sluice);
bool sluice_idle(const struct sluice *sluice); /* nothing is under way */

/* --- a stream: record behind record --------------------------------------------------------- */

/* Copies all of it. -ENOBUFS: the page cannot hold so much. It is as if nothing had happened until:
 */
int sluice_put(struct sluice *sluice, const struct iovec *iov, int n);
/* From now on it goes out, whatever happens, and the reader stands at PLACE (seq, marks, flags). */
void sluice_commit(struct sluice *sluice, const struct held_place *place);
/* 1: all is out; 0: it would block; -errno. */
int sluice_flush(struct sluice *sluice, int fd);

/* --- one by one, each done when it has been read -------------------------------------------- */

/* Make this the record that is under way; PLACE: seq, marks, after, after_marks, flags.  -ENOBUFS.
 */
int sluice_give(struct sluice *sluice, const struct iovec *iov, int n,
		const struct held_place *place);
/* Bytes of it that have gone out now (0: it would block), or -errno. */
ssize_t sluice_move(struct sluice *sluice, int fd);
size_t sluice_moved(const struct sluice *sluice);          /* in all */
const uint8_t *sluice_record(const struct sluice *sluice); /* place.total bytes */
/* None is under way (any more), and the reader stands at PLACE. */
void sluice_withdraw(struct sluice *sluice, const struct held_place *place);

#endif
