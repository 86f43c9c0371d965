/* kept - see kept.h. */
#include "endpoint/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "conn/conn.h"

/* --- a FIFO or a client --------------------------------------------------------------------- */

struct parts {
	int fd, page, pipe;
	bool twice; /* two of a kind: nobody knows which belongs to what */
};

/* The manager has a copy yet, and whoever is at the other end of a socket shall not wait for that.
 */
static void close_one(int *fd)
{
	if (*fd >= 0) {
		shutdown(*fd, SHUT_RDWR);
		close(*fd);
	}
	*fd = -1;
}

static void close_parts(struct parts *parts)
{
	close_one(&parts->fd);
	close_one(&parts->page);
	close_one(&parts->pipe);
}

static bool is_expected_fifo(const struct stat *st, int fd, const struct stat *expected,
			     enum held_kind kind)
{
	int mode = fcntl(fd, F_GETFL) & O_ACCMODE;

	return st->st_ino == expected->st_ino && st->st_dev == expected->st_dev &&
	       mode == (kind == HELD_IN ? O_RDONLY : O_WRONLY);
}

/* Of a drain, most have no name any more. */
static int *place_for(struct parts *parts, int fd, const struct stat *expected, enum held_kind kind)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	if (S_ISREG(st.st_mode))
		return &parts->page;
	if (kind == HELD_SOCK && S_ISSOCK(st.st_mode))
		return &parts->fd;
	if (!S_ISFIFO(st.st_mode))
		return NULL;
	if (kind == HELD_DRAIN && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
		return &parts->fd;
	return expected && is_expected_fifo(&st, fd, expected, kind) ? &parts->fd : &parts->pipe;
}

static void sort_out(struct parts *parts, const int *fds, size_t n, const struct stat *expected,
		     enum held_kind kind)
{
	for (size_t i = 0; i < n; i++) {
		int fd = fds[i], *place = place_for(parts, fd, expected, kind);

		if (place && *place < 0) {
			*place = fd;
			continue;
		}
		parts->twice |= place != NULL;
		close_one(&fd);
	}
}

static int open_page(struct kept *kept, struct parts *parts, const struct held_terms *terms)
{
	int page = parts->page;

	parts->page = -1;
	return page >= 0 ? held_open(&kept->held, page, terms) : held_new(&kept->held, terms);
}

static int make_sluice(struct kept *kept, struct parts *parts, enum held_kind kind)
{
	int pipe = kept->returned ? parts->pipe : -1;

	if (kind == HELD_IN)
		return 0;
	if (pipe >= 0)
		parts->pipe = -1;
	return sluice_new(&kept->sluice, kept->held, pipe);
}

static void forget_page(struct kept *kept)
{
	kept->sluice = sluice_free(kept->sluice);
	kept->held = held_free(kept->held);
	kept->returned = false;
}

/* A page that came back and is not right makes what came with it worthless, too: nobody knows what
 * its stream is in the middle of. */
static int assemble(struct kept *kept, struct parts *parts, const struct held_terms *terms,
		    bool paged)
{
	bool back = parts->fd >= 0;
	int r;

	if (back && parts->twice)
		return -EEXIST;
	if (!paged)
		return 0;
	if (back && (parts->page < 0 || (terms->kind != HELD_IN && parts->pipe < 0)))
		return -ENOENT;
	r = open_page(kept, parts, terms);
	if (r < 0)
		return r;
	kept->returned = back;
	return make_sluice(kept, parts, terms->kind);
}

static void set_terms(struct held_terms *terms, const struct kept *kept, const struct conn *conn,
		      enum held_kind kind, enum framing framing)
{
	*terms = (struct held_terms){
		.kind = kind,
		.framing = framing,
		.type = (enum msg_kind)conn_options(conn)->type,
		.max_message = conn_options(conn)->ws.max_message_bytes,
	};
	memcpy(terms->name, kept->name, sizeof(terms->name));
}

static const char *why_not(int r)
{
	switch (r) {
	case -ENOENT:
		return "not all of it has come back";
	case -EEXIST:
		return "more than one has come back";
	case -ESTALE:
		return "the connection is configured otherwise now, or another version has kept it";
	case -EINVAL:
		return "it is damaged";
	default:
		return strerror(-r);
	}
}

void kept_take(struct kept *kept, struct shelf *shelf, struct conn *conn, const char *endpoint,
	       int dirfd, enum held_kind kind, enum framing framing, bool paged)
{
	struct parts parts = {.fd = -1, .page = -1, .pipe = -1};
	struct held_terms terms;
	struct stat expected;
	int fds[SHELF_FDS_MAX], r;
	size_t n;

	*kept = (struct kept){.shelf = shelf, .fd = -1};
	snprintf(kept->name, sizeof(kept->name), "%s/%s", conn_name(conn), endpoint);
	if (!shelf)
		return;
	n = shelf_take(shelf, kept->name, fds);
	if (dirfd >= 0 && fstatat(dirfd, endpoint, &expected, AT_SYMLINK_NOFOLLOW) < 0)
		expected = (struct stat){0};
	sort_out(&parts, fds, n, dirfd >= 0 ? &expected : NULL, kind);
	set_terms(&terms, kept, conn, kind, framing);
	if (parts.fd < 0)
		close_one(&parts.page);
	r = assemble(kept, &parts, &terms, paged);
	if (r < 0)
		forget_page(kept);
	if (r == 0 && parts.fd >= 0) {
		kept->fd = parts.fd;
		parts.fd = -1;
	} else if (n > 0) {
		log_warning(conn_name(conn),
			    "%s: what the daemon before this one has kept is of no use: %s",
			    endpoint, r < 0 ? why_not(r) : "it is not what stands under that name");
		shelf_remove(shelf, kept->name);
	}
	close_parts(&parts);
	if (r == 0)
		return;
	if (n > 0) { /* once more, with a fresh page */
		kept_take(kept, shelf, conn, endpoint, dirfd, kind, framing, paged);
		return;
	}
	log_warning(conn_name(conn), "%s: would not outlive the daemon: %s", endpoint,
		    strerror(-r));
	kept->shelf = NULL; /* without its page it would be of no use to the next one */
}

bool kept_number(const char *found, const char *prefix, uint64_t *ret)
{
	char canonical[24];

	*ret = strtoull(found + strlen(prefix), NULL, 10);
	snprintf(canonical, sizeof(canonical), "%" PRIu64, *ret);
	return strcmp(canonical, found + strlen(prefix)) == 0 && *ret < UINT64_MAX;
}

void kept_put(struct kept *kept, int fd)
{
	int fds[SHELF_FDS_MAX] = {fd};
	size_t n = 1;

	if (!kept->shelf || kept->fd >= 0)
		return;
	if (kept->held)
		fds[n++] = held_fd(kept->held);
	if (kept->sluice)
		fds[n++] = sluice_pipe(kept->sluice);
	shelf_put(kept->shelf, kept->name, fds, n);
}

void kept_done(struct kept *kept)
{
	if (kept->shelf)
		shelf_remove(kept->shelf, kept->name);
	forget_page(kept);
	*kept = (struct kept){.fd = -1};
}

/* --- a socket that listens ------------------------------------------------------------------ */

static bool listener_name(char name[HELD_NAME_MAX + 1], const char *prefix, int dirfd,
			  const char *path)
{
	struct stat st;

	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	return snprintf(name, HELD_NAME_MAX + 1, "%s@%" PRIu64, prefix, (uint64_t)st.st_ino) <=
	       HELD_NAME_MAX;
}

static bool listens(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

/* Its mode is the mask of an access list: this shuts out whom an earlier one let in. */
static int grant_anew(int dirfd, const char *name, const struct file_grant *grants, size_t n)
{
	cleanup_close int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fchmodat(dirfd, name, 0600, 0) < 0)
		return -errno;
	return file_grant(fd, false, grants, n);
}

int kept_take_listener(struct shelf *shelf, const char *prefix, int dirfd, const char *name,
		       const struct file_grant *grants, size_t n)
{
	char stored[HELD_NAME_MAX + 1];
	int fds[SHELF_FDS_MAX], fd;
	size_t found =
		listener_name(stored, prefix, dirfd, name) ? shelf_take(shelf, stored, fds) : 0;

	if (found == 0)
		return -1;
	while (found > 1)
		close(fds[--found]);
	fd = fds[0];
	if (listens(fd) && grant_anew(dirfd, name, grants, n) == 0)
		return fd;
	close(fd);
	shelf_remove(shelf, stored);
	return -1;
}

void kept_put_listener(struct shelf *shelf, const char *prefix, int dirfd, const char *name, int fd)
{
	char stored[HELD_NAME_MAX + 1];

	if (shelf && listener_name(stored, prefix, dirfd, name))
		shelf_put(shelf, stored, &fd, 1);
}

void kept_remove_listener(struct shelf *shelf, const char *prefix, int dirfd, const char *name)
{
	char stored[HELD_NAME_MAX + 1];

	if (shelf && listener_name(stored, prefix, dirfd, name))
		shelf_remove(shelf, stored);
}
