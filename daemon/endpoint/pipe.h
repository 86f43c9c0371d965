/* pipe - the writing end of a FIFO, held by somebody who is no reader himself. */
#ifndef ENDPOINT_PIPE_H
#define ENDPOINT_PIPE_H

#include <stdbool.h>
#include <stddef.h>

enum { PIPE_ONE_PAGE = 4096 };

/* A descriptor for writing alone, though nobody reads: from now on a reader's open() does not block.
 * -errno. */
int pipe_hold(int dirfd, const char *name);

bool pipe_has_reader(int fd); /* exact, at any time */
size_t pipe_bytes(int fd);    /* written, and not read */

/* Read away what is in the pipe; returns how much that was. */
size_t pipe_take_back(int fd);

/* Whoever sleeps in open() for reading on this FIFO wakes up and finds the end of file.  FD may be
 * O_PATH. */
void pipe_release_opener(int fd);

#endif
