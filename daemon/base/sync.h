/* sync - fdatasync(2) by a thread of its own, because it may take a tenth of a second while somebody
 * copies a large file, and the event loop has no such time.
 *
 * One thread for the whole process, started with the first request; a bounded queue. */
#ifndef BASE_SYNC_H
#define BASE_SYNC_H

/* Takes FD: it is synced, then closed.  -EAGAIN: the queue is full; or the thread cannot be started.
 * On failure FD is still the caller's. */
int sync_take(int fd);

/* The errno of a sync that has failed since the last call; 0: none has. */
int sync_error(void);

/* What is queued is finished, then the thread ends (a later request starts it again). */
void sync_stop(void);

#endif
