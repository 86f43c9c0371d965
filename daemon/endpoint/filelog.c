/* filelog - see filelog.h.
 *
 * One write for each wake-up, of whole records; what a full disk has cut is taken back, so that the
 * file always ends with a whole one.  Writing to a file blocks while the disk does; the page cache
 * makes that rare, and nothing is synced. */
#include "endpoint/filelog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"

enum {
	COPY_MAX = 16 * 1024, /* larger ones are written alone, from where they lie */
	RETRY_MS = 1000,
};

enum { FILELOG_DONE, FILELOG_MORE }; /* DONE: there is nothing left to write */

struct filelog {
	struct conn *conn;
	const struct endpoint_options *options;
	struct file_grant *grants;
	size_t n_grants;
	int fd;
	struct cursor cursor;
	struct mark_holder place; /* the same for a later daemon */
	struct later write;
	struct timer retry;
	struct buf encoded;
	bool failing;
	uint64_t failures;
};

/* --- files ---------------------------------------------------------------------------------- */

/* Made with its rights at once; the rights of one that is there are its owner's business. */
static int open_file(const struct filelog *filelog, const char *path)
{
	int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	cleanup_close int fd = open(path, flags);
	struct stat st;
	int r = 0;

	if (fd < 0 && errno == ENOENT) {
		fd = open(path, flags | O_CREAT | O_EXCL, 0600);
		if (fd >= 0)
			r = file_grant(fd, false, filelog->grants, filelog->n_grants);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOTSUP; /* a FIFO, a device: not for us to fill or to rotate */
	return r < 0 ? r : take_fd(&fd);
}

static int move(const char *path, uint64_t from, uint64_t to)
{
	cleanup_free char *old = NULL, *new = NULL;

	if ((from ? asprintf(&old, "%s.%llu", path, (unsigned long long)from)
		  : asprintf(&old, "%s", path)) < 0) {
		old = NULL;
		return -ENOMEM;
	}
	if (asprintf(&new, "%s.%llu", path, (unsigned long long)to) < 0) {
		new = NULL;
		return -ENOMEM;
	}
	return rename(old, new) < 0 && errno != ENOENT ? -errno : 0;
}

static bool exists(const char *path, uint64_t number)
{
	cleanup_free char *name = NULL;

	if (asprintf(&name, "%s.%llu", path, (unsigned long long)number) < 0) {
		name = NULL;
		return true;
	}
	return access(name, F_OK) == 0;
}

/* Up to the first number that is free: should the last step fail again and again, nothing goes. */
static int rotate(struct filelog *filelog)
{
	const char *path = filelog->options->file;
	uint64_t keep = filelog->options->file_keep, to = 1;
	int r = 0;

	if (keep == 0 && unlink(path) < 0 && errno != ENOENT)
		return -errno;
	while (to < keep && exists(path, to))
		to++;
	for (; keep > 0 && to > 0 && r == 0; to--)
		r = move(path, to - 1, to);
	if (r < 0)
		return r;
	close(filelog->fd);
	filelog->fd = -1;
	return 0;
}

/* --- writing -------------------------------------------------------------------------------- */

static size_t parts_len(const struct frame_parts *parts)
{
	return parts->head_len + parts->body_len + parts->tail_len;
}

static void put_parts(uint8_t *to, const struct frame_parts *parts)
{
	memcpy(to, parts->head, parts->head_len);
	if (parts->body_len > 0)
		memcpy(to + parts->head_len, parts->body, parts->body_len);
	memcpy(to + parts->head_len + parts->body_len, parts->tail, parts->tail_len);
}

static int encode(struct filelog *filelog, const struct msg *msg, struct frame_parts *parts)
{
	struct buf *out = &filelog->encoded;
	int r;

	buf_clear(out);
	r = frame_encode((enum framing)filelog->options->framing,
			 (enum msg_kind)conn_options(filelog->conn)->type, msg, parts, out);
	if (r == FRAME_ENCODED)
		*parts = (struct frame_parts){.body = buf_head(out), .body_len = buf_len(out)};
	return r;
}

/* All of it, or the file is as before. */
static int write_whole(struct filelog *filelog, const struct iovec *iov, int n, off_t size)
{
	size_t len = 0;
	ssize_t written;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	do {
		written = writev(filelog->fd, iov, n);
	} while (written < 0 && errno == EINTR);
	if (written == (ssize_t)len)
		return 0;
	if (written < 0)
		return -errno;
	return ftruncate(filelog->fd, size) < 0 ? -errno : -ENOSPC;
}

/* Small records into the scratch, as many as fit into ROOM; *at goes behind them. */
static size_t gather(struct filelog *filelog, uint64_t room, struct position *at)
{
	uint8_t *scratch = loop_write_scratch();
	struct position after = *at;
	struct frame_parts parts;
	size_t used = 0;
	struct msg msg;

	while (used < LOOP_SCRATCH_BYTES - COPY_MAX &&
	       cursor_read(&filelog->cursor, &after, &msg) &&
	       msg.len <= COPY_MAX - sizeof(parts.head) - sizeof(parts.tail)) {
		int r = encode(filelog, &msg, &parts);

		if (r == FRAME_NOTHING)
			parts = (struct frame_parts){0};
		if (r < 0 || parts_len(&parts) > COPY_MAX || used + parts_len(&parts) > room)
			break;
		if (parts_len(&parts) > 0) {
			put_parts(scratch + used, &parts);
			used += parts_len(&parts);
		}
		*at = after;
	}
	return used;
}

/* One that is large, in need of encoding, or too long for what is left of the file. */
static int write_alone(struct filelog *filelog, uint64_t room, off_t size, struct position *at)
{
	struct frame_parts parts;
	struct msg msg;
	int r;

	if (!cursor_read(&filelog->cursor, at, &msg))
		return FILELOG_DONE;
	r = encode(filelog, &msg, &parts);
	if (r < 0 && (msg.kind == MSG_TEXT || msg.kind == MSG_BINARY))
		cursor_lose(&filelog->cursor, &msg);
	if (r != FRAME_PARTS && r != FRAME_ENCODED)
		return FILELOG_MORE;
	if (size > 0 && parts_len(&parts) > room) {
		*at = filelog->cursor.at;
		r = rotate(filelog);
	} else {
		const struct iovec iov[] = {
			{(void *)parts.head, parts.head_len},
			{(void *)parts.body, parts.body_len},
			{(void *)parts.tail, parts.tail_len},
		};

		r = write_whole(filelog, iov, 3, size);
	}
	return r < 0 ? r : FILELOG_MORE;
}

static int write_once(struct filelog *filelog)
{
	uint64_t max = filelog->options->file_max_bytes, room = UINT64_MAX;
	struct position at = cursor_start(&filelog->cursor);
	struct iovec iov = {.iov_base = loop_write_scratch()};
	struct stat st;
	int r = FILELOG_MORE;

	if (filelog->fd < 0)
		filelog->fd = r = open_file(filelog, filelog->options->file);
	if (r < 0)
		return r;
	if (fstat(filelog->fd, &st) < 0) /* somebody may have emptied it */
		return -errno;
	if (max)
		room = (uint64_t)st.st_size < max ? max - (uint64_t)st.st_size : 0;
	iov.iov_len = gather(filelog, room, &at);
	r = iov.iov_len > 0 ? write_whole(filelog, &iov, 1, st.st_size)
			    : write_alone(filelog, room, st.st_size, &at);
	if (r < 0)
		return r;
	cursor_commit(&filelog->cursor, &at);
	if (filelog->place.mark)
		mark_commit(filelog->place.mark, at.seq, at.marks);
	return iov.iov_len > 0 ? FILELOG_MORE : r;
}

/* --- when ----------------------------------------------------------------------------------- */

/* A full disk is told once, and once more when it is over. */
static void tell(struct filelog *filelog, int r)
{
	const char *path = filelog->options->file;

	filelog->failures += r < 0;
	if (r < 0 && !filelog->failing)
		log_warning(conn_name(filelog->conn),
			    "file: %s cannot be written (%s); messages wait, trying every second", path,
			    r == -ENOTSUP ? "no regular file" : strerror(-r));
	else if (r >= 0 && filelog->failing)
		log_info(conn_name(filelog->conn), "file: %s is written again", path);
	filelog->failing = r < 0;
}

static void filelog_on_write(void *owner)
{
	struct filelog *filelog = owner;
	int r = write_once(filelog);

	tell(filelog, r);
	if (r < 0 && !cursor_at_end(&filelog->cursor))
		timer_set(&filelog->retry, RETRY_MS);
	else if (r == FILELOG_MORE)
		loop_later(&filelog->write);
	else
		cursor_wait(&filelog->cursor);
}

static void filelog_on_retry(void *owner)
{
	filelog_on_write(owner);
}

static void filelog_cursor_ready(void *owner)
{
	struct filelog *filelog = owner;

	if (!timer_is_set(&filelog->retry))
		loop_later(&filelog->write);
}

void filelog_reopen(struct filelog *filelog)
{
	if (filelog->fd >= 0)
		close(filelog->fd);
	filelog->fd = -1;
	timer_cancel(&filelog->retry);
	loop_later(&filelog->write);
}

/* --- life ----------------------------------------------------------------------------------- */

int filelog_new(struct filelog **ret, struct conn *conn, const struct endpoint_options *options,
		const struct access *access)
{
	struct filelog *filelog = calloc(1, sizeof(*filelog));
	int r;

	if (!filelog)
		return -ENOMEM;
	filelog->fd = -1;
	filelog->conn = conn;
	filelog->options = options;
	later_init(&filelog->write, filelog_on_write, filelog);
	buf_init(&filelog->encoded, 6 * (size_t)conn_options(conn)->ws.max_message_bytes + 4096);
	r = access_grants(access, ACCESS_OUTPUT, &filelog->grants, &filelog->n_grants);
	if (r == 0)
		r = timer_init(&filelog->retry, filelog_on_retry, filelog);
	if (r < 0) {
		filelog_free(filelog);
		return r;
	}
	cursor_open(&filelog->cursor, conn_spool(conn), CURSOR_OLDEST, "file", filelog_cursor_ready,
		    filelog);
	r = cursors_resume(conn_cursors(conn), &filelog->cursor, &filelog->place);
	if (r < 0) {
		filelog_free(filelog);
		return r;
	}
	filelog->cursor.live = true;
	loop_later(&filelog->write); /* so that it is there before the first message */
	*ret = filelog;
	return 0;
}

/* What was received until now is written if that can be done at once: nobody else will. */
struct filelog *filelog_free(struct filelog *filelog)
{
	if (!filelog)
		return NULL;
	while (filelog->cursor.spool && write_once(filelog) == FILELOG_MORE)
		continue;
	cursor_close(&filelog->cursor);
	mark_release(&filelog->place);
	later_cancel(&filelog->write);
	timer_done(&filelog->retry);
	if (filelog->fd >= 0)
		close(filelog->fd);
	buf_done(&filelog->encoded);
	free(filelog->grants);
	free(filelog);
	return NULL;
}

void filelog_set_options(struct filelog *filelog, const struct endpoint_options *options)
{
	filelog->options = options;
}

int filelog_describe(const struct filelog *filelog, struct buf *out)
{
	return buf_printf(out,
			  ",{\"kind\":\"file\",\"name\":\"file\",\"pid\":null,"
			  "\"behind_messages\":%llu,\"missed\":%llu,\"failures\":%llu,"
			  "\"failing\":%s}",
			  (unsigned long long)cursor_behind(&filelog->cursor),
			  (unsigned long long)filelog->cursor.missed,
			  (unsigned long long)filelog->failures, filelog->failing ? "true" : "false");
}
