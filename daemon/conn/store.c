/* store - see store.h. */
#include "conn/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/strv.h"
#include "base/sync.h"

enum {
	SYNC_MS = 800, /* with the time that a disk takes: within a second */
	AGAIN_MS = 1000,
	NUMBER_DIGITS = 16,
};

/* --- syncing -------------------------------------------------------------------------------- */

/* The thread closes what it gets, and we go on writing to ours. */
static int sync_copy(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;

	if (copy < 0)
		return -errno;
	r = sync_take(copy);
	if (r < 0)
		close(copy);
	return r;
}

static void look_for_errors(struct store *store)
{
	int error = sync_error();

	if (error && !store->sync_error)
		log_warning(store->name, "persist: the disk does not take what is kept: %s (after a power "
			    "cut it would be missing)", strerror(error));
	if (error)
		store->sync_error = error;
}

static void sync_dirty(struct store *store)
{
	struct mapped *mapped, *following;
	bool refused = false;

	look_for_errors(store);
	list_for_each_safe(mapped, following, &store->dirty, link) {
		if (sync_copy(mapped->fd) == 0)
			list_remove(&mapped->link);
		else
			refused = true;
	}
	if (store->made)
		store->made = sync_copy(store->dirfd) < 0;
	if (refused || store->made)
		timer_set(&store->sync, SYNC_MS);
}

static void store_on_sync(void *owner)
{
	sync_dirty(owner);
}

static void sync_soon(struct store *store)
{
	if (!timer_is_set(&store->sync))
		timer_set(&store->sync, SYNC_MS);
}

void mapped_dirty(struct mapped *mapped)
{
	list_append(&mapped->store->dirty, &mapped->link);
	sync_soon(mapped->store);
}

void mapped_end(struct mapped *mapped)
{
	bool dirty = list_linked(&mapped->link);

	list_remove(&mapped->link);
	if (mapped->fd >= 0 && mapped->at && (!dirty || sync_take(mapped->fd) < 0))
		close(mapped->fd);
	mapped->fd = -1;
}

void mapped_done(struct mapped *mapped)
{
	if (!mapped->at)
		return;
	mapped_end(mapped);
	munmap(mapped->at, mapped->bytes);
	*mapped = (struct mapped){.fd = -1};
}

/* --- files ---------------------------------------------------------------------------------- */

static int map(struct mapped *mapped)
{
	void *at = mmap(NULL, mapped->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, mapped->fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	mapped->at = at;
	return 0;
}

int mapped_reserve(struct mapped *mapped)
{
	int r;

	do {
		r = -posix_fallocate(mapped->fd, 0, (off_t)mapped->bytes);
	} while (r == -EINTR);
	return r;
}

static int make(struct store *store, const char *name, struct mapped *mapped)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, r;

	unlinkat(store->dirfd, name, 0);
	mapped->fd = openat(store->dirfd, name, flags, 0600);
	if (mapped->fd < 0)
		return -errno;
	r = mapped_reserve(mapped);
	if (r == 0)
		r = map(mapped);
	if (r < 0) {
		close(mapped->fd);
		unlinkat(store->dirfd, name, 0);
	}
	return r;
}

static void note(struct store *store, int r)
{
	if (r < 0 && !store->error)
		log_warning(store->name, "persist: %s: what comes now is kept in memory only, and would not "
			    "outlive the daemon", strerror(-r));
	else if (r == 0 && store->error)
		log_info(store->name, "persist: what comes now is kept in the state directory again");
	store->error = r < 0 ? -r : 0;
	store->tried_ms = loop_now_ms();
}

bool store_may_try(const struct store *store)
{
	return !store->error || loop_now_ms() - store->tried_ms >= AGAIN_MS;
}

int store_make(struct store *store, const char *name, size_t bytes, struct mapped *ret)
{
	struct mapped mapped = {.store = store, .bytes = bytes};
	int r = make(store, name, &mapped);

	note(store, r);
	if (r < 0)
		return r;
	store->made = true;
	sync_soon(store);
	*ret = mapped;
	return 0;
}

int store_map(struct store *store, const char *name, struct mapped *ret)
{
	struct mapped mapped = {.store = store};
	struct stat st;
	int r = 0;

	mapped.fd = openat(store->dirfd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (mapped.fd < 0 || fstat(mapped.fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		r = -EINVAL;
	if (r == 0) {
		mapped.bytes = (size_t)st.st_size;
		r = map(&mapped);
	}
	if (r < 0) {
		if (mapped.fd >= 0)
			close(mapped.fd);
		return r;
	}
	*ret = mapped;
	return 0;
}

void store_remove(struct store *store, const char *name)
{
	unlinkat(store->dirfd, name, 0);
}

void store_set_aside(struct store *store, const char *name)
{
	char aside[NAME_MAX + 1];
	int n = snprintf(aside, sizeof(aside), "bad.%s", name);

	if (n < 0 || (size_t)n >= sizeof(aside) ||
	    renameat(store->dirfd, name, store->dirfd, aside) < 0)
		return;
	log_error(store->name, "persist: %s cannot be read by this version; it is %s now", name, aside);
}

const char *store_problem(const struct store *store)
{
	int error = store->error ? store->error : store->sync_error;

	return error ? strerror(error) : NULL;
}

/* --- listing -------------------------------------------------------------------------------- */

static DIR *open_listing(const struct store *store)
{
	int fd = openat(store->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

int store_names(const struct store *store, const char *prefix, char ***ret)
{
	size_t len = strlen(prefix);
	char **names = NULL;
	struct dirent *entry;
	DIR *dir = open_listing(store);
	int r = 0;

	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir)))
		if (strncmp(entry->d_name, prefix, len) == 0)
			r = strv_append(&names, entry->d_name + len);
	closedir(dir);
	if (r < 0) {
		strv_free(names);
		return r;
	}
	*ret = names;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

int store_list(const struct store *store, const char *prefix, uint64_t **ret, size_t *ret_n)
{
	uint64_t *numbers;
	char **names;
	size_t n = 0;
	int r = store_names(store, prefix, &names);

	if (r < 0)
		return r;
	numbers = calloc(strv_len(names) + 1, sizeof(*numbers));
	for (size_t i = 0; numbers && names && names[i]; i++)
		if (strlen(names[i]) == NUMBER_DIGITS &&
		    strspn(names[i], "0123456789abcdef") == NUMBER_DIGITS)
			numbers[n++] = strtoull(names[i], NULL, 16);
	strv_free(names);
	if (!numbers)
		return -ENOMEM;
	qsort(numbers, n, sizeof(*numbers), by_number);
	*ret = numbers;
	*ret_n = n;
	return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

int store_open(struct store **ret, int state_fd, const char *name)
{
	struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	store->dirfd = -1;
	list_init(&store->dirty);
	store->name = strdup(name);
	r = store->name ? timer_init(&store->sync, store_on_sync, store) : -ENOMEM;
	if (r == 0)
		r = file_open_dir(state_fd, name, &store->dirfd);
	if (r < 0) {
		store_close(store);
		return r;
	}
	*ret = store;
	return 0;
}

struct store *store_close(struct store *store)
{
	if (!store)
		return NULL;
	if (store->dirfd >= 0) {
		sync_dirty(store);
		close(store->dirfd);
	}
	while (!list_empty(&store->dirty))
		list_remove(store->dirty.next);
	timer_done(&store->sync);
	free(store->name);
	free(store);
	return NULL;
}
