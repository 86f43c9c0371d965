/* store - the directory in which a connection keeps what must outlive the daemon, and the files in it.
 *
 * A file is memory: its space is reserved when it is made (so a full disk is an error then, and no
 * signal later), it is mapped, and what is written to the mapping is in the kernel's hands at once: kill
 * -9 loses nothing of it.  Against a power cut it is synced within a second, by the thread of base/sync. */
#ifndef CONN_STORE_H
#define CONN_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"

struct store {
	char *name; /* of the connection, for the log */
	int dirfd;
	struct list dirty; /* files written to since they were synced */
	bool made;         /* ... and the directory itself */
	struct timer sync;
	int error;      /* why the last file could not be made; 0: it could */
	uint64_t tried_ms; /* when that was */
	int sync_error; /* told once */
};

/* Zeroed: there is none.  May be moved before it is first written to. */
struct mapped {
	struct list link; /* in store->dirty */
	struct store *store;
	int fd; /* -1: nothing more will be written */
	uint8_t *at;
	size_t bytes;
};

/* The directory NAME below STATE_FD, made 0700 if absent.  -errno. */
int store_open(struct store **ret, int state_fd, const char *name);
struct store *store_close(struct store *store); /* what is dirty is handed to be synced */

/* Files whose name is PREFIX and 16 hexadecimal digits: their numbers in order, to be freed. */
int store_list(const struct store *store, const char *prefix, uint64_t **ret, size_t *ret_n);
/* Names that begin with PREFIX, without it (strv_free()). */
int store_names(const struct store *store, const char *prefix, char ***ret);

/* A new file of BYTES zeros, in place of any of that name.  What fails is logged once, until it goes well
 * again: store_problem() tells it meanwhile. */
int store_make(struct store *store, const char *name, size_t bytes, struct mapped *ret);
/* One that is there, whole.  -EINVAL: no regular file, or empty. */
int store_map(struct store *store, const char *name, struct mapped *ret);
void store_remove(struct store *store, const char *name);
/* What cannot be read is not thrown away, but does not stand in the way: NAME becomes bad.NAME. */
void store_set_aside(struct store *store, const char *name);

/* NULL: it does what it should; or an errno's text. */
/* Whether to try it again, if making a file failed: once a second. */
bool store_may_try(const struct store *store);
const char *store_problem(const struct store *store);

void mapped_dirty(struct mapped *mapped);
/* It was written to: sync it soon. */
static inline void mapped_touch(struct mapped *mapped)
{
	if (!list_linked(&mapped->link))
		mapped_dirty(mapped);
}
/* Reserve its space (again: after a power cut there may be less than was asked for).  -errno. */
int mapped_reserve(struct mapped *mapped);
void mapped_end(struct mapped *mapped); /* nothing more will be written to it; it can still be read */
void mapped_done(struct mapped *mapped);

#endif
