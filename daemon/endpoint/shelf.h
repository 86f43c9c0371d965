/* shelf - where descriptors are put so that they outlive the daemon: with the service manager,
 * which hands them to the next one.  endpoint/ knows only these functions; service/fdstore.c is
 * behind them.
 *
 * An entry has a name and one to SHELF_FDS_MAX descriptors, of which the manager has copies.  Their
 * order is lost on the way: who takes them tells them apart by fstat().  A NULL shelf is fine:
 * nothing outlives. */
#ifndef ENDPOINT_SHELF_H
#define ENDPOINT_SHELF_H

#include <stdbool.h>
#include <stddef.h>

enum { SHELF_FDS_MAX = 3, SHELF_NAME_MAX = 255 /* sd_pid_notify_with_fds(3) */ };

struct shelf {
	void (*put)(struct shelf *shelf, const char *name, const int *fds, size_t n);
	void (*remove)(struct shelf *shelf, const char *name);
	size_t (*take)(struct shelf *shelf, const char *name, int fds[SHELF_FDS_MAX]);
	const char *(*find)(const struct shelf *shelf, const char *prefix);
	bool leaving;
	bool refused; /* something could not be put there: others cannot count on it either */
};

/* The descriptors are not taken.  A name is put once until it is removed. */
static inline void shelf_put(struct shelf *shelf, const char *name, const int *fds, size_t n)
{
	if (shelf)
		shelf->put(shelf, name, fds, n);
}

/* The daemon is about to end, and what is on the shelf is for the next one; unless something is not
 * there: then all ends as it does without a shelf. */
static inline void shelf_leave(struct shelf *shelf)
{
	if (shelf)
		shelf->leaving = !shelf->refused;
}

static inline bool shelf_leaving(const struct shelf *shelf)
{
	return shelf && shelf->leaving;
}

static inline void shelf_remove(struct shelf *shelf, const char *name)
{
	if (shelf && !shelf->leaving)
		shelf->remove(shelf, name);
}

/* What the daemon before us has put there: the caller's from now on, close-on-exec and
 * non-blocking, and still on the shelf.  0: nothing. */
static inline size_t shelf_take(struct shelf *shelf, const char *name, int fds[SHELF_FDS_MAX])
{
	return shelf ? shelf->take(shelf, name, fds) : 0;
}

/* The name of one that has not been taken and begins so (good until the next call); NULL: there is
 * none. */
static inline const char *shelf_find(const struct shelf *shelf, const char *prefix)
{
	return shelf ? shelf->find(shelf, prefix) : NULL;
}

#endif
