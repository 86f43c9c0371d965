/* fdstore - see fdstore.h.  Names come back in any order, and one name with several descriptors as
 * several entries; nothing is known of them but what their owners find out. */
#include "service/fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strv.h"
#include "service/systemd.h"

struct fdstore {
	struct shelf shelf; /* first */
	struct stored {
		char *name;
		int fd; /* -1: taken */
	} * stored;
	size_t n;
};

static void fdstore_put(struct shelf *shelf, const char *name, const int *fds, size_t n)
{
	int r = systemd_store(name, fds, n);

	if (r < 0 && !shelf->refused)
		log_warning(NULL,
			    "the service manager cannot be given descriptors (%s): what local "
			    "programs have open will not outlive this daemon",
			    strerror(-r));
	shelf->refused |= r < 0;
}

static void fdstore_remove(struct shelf *shelf, const char *name)
{
	(void)shelf;
	systemd_unstore(name);
}

static const char *fdstore_find(const struct shelf *shelf, const char *prefix)
{
	const struct fdstore *fdstore = (const struct fdstore *)shelf;

	for (size_t i = 0; i < fdstore->n; i++)
		if (fdstore->stored[i].fd >= 0 &&
		    strncmp(fdstore->stored[i].name, prefix, strlen(prefix)) == 0)
			return fdstore->stored[i].name;
	return NULL;
}

static bool is_among(int fd, const int *fds, size_t n)
{
	struct stat st, other;

	if (fstat(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (fstat(fds[i], &other) == 0 && other.st_ino == st.st_ino &&
		    other.st_dev == st.st_dev)
			return true;
	return false;
}

/* The manager may have its copy a moment longer, and whoever is at the other end shall not wait for
 * that. */
static void end_one(int fd)
{
	shutdown(fd, SHUT_RDWR);
	close(fd);
}

/* The same file may have come twice.  More than an entry has are those of several, of which nobody
 * knows what belongs together. */
static size_t fdstore_take(struct shelf *shelf, const char *name, int fds[SHELF_FDS_MAX])
{
	struct fdstore *fdstore = (struct fdstore *)shelf;
	bool mixed = false;
	size_t n = 0;

	for (size_t i = 0; i < fdstore->n; i++) {
		struct stored *stored = &fdstore->stored[i];

		if (stored->fd < 0 || strcmp(stored->name, name) != 0)
			continue;
		if (is_among(stored->fd, fds, n)) {
			close(stored->fd);
		} else if (n < SHELF_FDS_MAX) {
			fds[n++] = stored->fd;
		} else {
			mixed = true;
			end_one(stored->fd);
		}
		stored->fd = -1;
	}
	if (!mixed)
		return n;
	log_warning(NULL, "more has come back as '%s' than was kept: all of it is closed", name);
	while (n > 0)
		end_one(fds[--n]);
	fdstore_remove(shelf, name);
	return 0;
}

/* Flags came with the descriptors, but whoever has stored them may be an older one of us. */
static void prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int take_all(struct fdstore *fdstore)
{
	char **names = NULL;
	int first, n = systemd_listen_fds(&first, &names);

	if (n < 0 && n != -ENOMEM) {
		log_warning(NULL,
			    "what the service manager says of descriptors is not understood: %s",
			    strerror(-n));
		return 0;
	}
	if (n <= 0)
		return n;
	fdstore->stored = calloc((size_t)n, sizeof(*fdstore->stored));
	if (!fdstore->stored) {
		strv_free(names);
		return -ENOMEM;
	}
	for (int i = 0; i < n; i++) {
		fdstore->stored[i] = (struct stored){.name = names[i], .fd = first + i};
		prepare(first + i);
	}
	fdstore->n = (size_t)n;
	free(names); /* the names are ours now */
	return 0;
}

int fdstore_new(struct fdstore **ret)
{
	struct fdstore *fdstore;
	int r;

	*ret = NULL;
	if (!systemd_is_there())
		return 0;
	fdstore = calloc(1, sizeof(*fdstore));
	if (!fdstore)
		return -ENOMEM;
	fdstore->shelf = (struct shelf){
		.put = fdstore_put,
		.remove = fdstore_remove,
		.take = fdstore_take,
		.find = fdstore_find,
	};
	r = take_all(fdstore);
	if (r < 0) {
		free(fdstore);
		return r;
	}
	*ret = fdstore;
	return 0;
}

struct fdstore *fdstore_free(struct fdstore *fdstore)
{
	if (!fdstore)
		return NULL;
	for (size_t i = 0; i < fdstore->n; i++) {
		if (fdstore->stored[i].fd >= 0)
			close(fdstore->stored[i].fd);
		free(fdstore->stored[i].name);
	}
	free(fdstore->stored);
	free(fdstore);
	return NULL;
}

struct shelf *fdstore_shelf(struct fdstore *fdstore)
{
	return fdstore ? &fdstore->shelf : NULL;
}

void fdstore_settle(struct fdstore *fdstore)
{
	int fds[SHELF_FDS_MAX];
	const char *name;

	while ((name = shelf_find(fdstore_shelf(fdstore), ""))) {
		size_t n = fdstore_take(&fdstore->shelf, name, fds);

		if (n == 0)
			continue; /* there were too many, and are none any more */
		log_warning(
			NULL,
			"what the daemon before this one has kept as '%s' is of no use now, and is "
			"closed",
			name);
		while (n > 0)
			end_one(fds[--n]);
		fdstore_remove(&fdstore->shelf, name);
	}
}
