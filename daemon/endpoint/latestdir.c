/* latestdir - see latestdir.h.
 *
 * Two cursors: the scout notes for each value which message is its newest; the writer comes behind,
 * and writes only those.  So a fast feed costs one replacement for each value, not for each
 * message, and one turn of the loop a bounded number of them.  When both have caught up there is a
 * pause, as `last` has it.  The writer stays where it is while the disk is full. */
#include "endpoint/latestdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "codec/member.h"
#include "codec/safename.h"
#include "endpoint/recordfile.h"

#define DIR_NAME "latest"

enum {
	PAUSE_MS = 10,
	RETRY_MS = 1000,
	/* of one turn */
	MESSAGES_MAX = 2000,
	BYTES_MAX = 512 * 1024,
	FILES_MAX = 64,
	/* of the table */
	BUCKETS_MIN = 64,
	BUCKETS_MAX = 64 * 1024,
};

struct value {
	struct list link;   /* in order of change, the oldest first */
	struct value *next; /* in its bucket */
	uint64_t hash;
	uint64_t newest; /* number of its newest message */
	bool stands;     /* there is a file */
	char name[];
};

struct latestdir {
	int fd;
	struct conn *conn;
	const struct endpoint_options *options;
	struct file_grant *grants;
	size_t n_grants;
	struct member_path path;
	struct cursor cursor, scout; /* the writer's, and the one ahead of it */
	struct later run;
	struct timer pause;
	struct buf text; /* a value without its quotes */
	struct value **bucket;
	size_t buckets; /* a power of two */
	struct list values;
	size_t n;
	uint64_t removed; /* because there were too many */
	bool swept, failing;
};

/* --- the table ------------------------------------------------------------------------------ */

static struct value **place_of(const struct latestdir *dir, const char *name, uint64_t hash)
{
	struct value **at = &dir->bucket[hash & (dir->buckets - 1)];

	while (*at && ((*at)->hash != hash || strcmp((*at)->name, name) != 0))
		at = &(*at)->next;
	return at;
}

static uint64_t hash_of(const char *name)
{
	return digest_bytes(0, name, strlen(name));
}

static void forget(struct latestdir *dir, struct value *value)
{
	*place_of(dir, value->name, value->hash) = value->next;
	list_remove(&value->link);
	dir->n--;
	free(value);
}

/* Told the first time: it may be so for each message from now on. */
static void remove_oldest(struct latestdir *dir)
{
	struct value *value = list_first(&dir->values, struct value, link);

	if (dir->removed++ == 0)
		log_warning(
			conn_name(dir->conn),
			"latest: more than %llu values (latest-max): files that were not changed "
			"for the longest time are removed",
			(unsigned long long)dir->options->latest_max);
	if (value->stands)
		unlinkat(dir->fd, value->name, 0);
	forget(dir, value);
}

/* NULL: no memory. */
static struct value *find_or_add(struct latestdir *dir, const char *name, size_t len)
{
	uint64_t hash = hash_of(name);
	struct value *value = *place_of(dir, name, hash), **place;

	if (value)
		return value;
	value = calloc(1, sizeof(*value) + len + 1);
	if (!value)
		return NULL;
	while (dir->n >= dir->options->latest_max)
		remove_oldest(dir);
	value->hash = hash;
	memcpy(value->name, name, len + 1);
	list_init(&value->link);
	place = place_of(dir, name, hash);
	*place = value;
	dir->n++;
	return value;
}

/* --- one turn ------------------------------------------------------------------------------- */

/* The name of the file for MSG; 0: none. */
static size_t name_of(struct latestdir *dir, const struct msg *msg, char name[SAFENAME_MAX + 1])
{
	struct json_span value;

	if (msg->kind != MSG_TEXT && msg->kind != MSG_BINARY)
		return 0;
	if (member_find((const char *)msg->data, msg->len, &dir->path, &value) != MEMBER_FOUND ||
	    *value.at == '{' || *value.at == '[')
		return 0;
	if (!json_is_string(&value))
		return safename_make(name, value.at, value.len);
	buf_clear(&dir->text);
	if (json_unquote(&value, &dir->text) < 0)
		return 0;
	return safename_make(name, buf_head(&dir->text), buf_len(&dir->text));
}

static void note(struct latestdir *dir, const struct msg *msg, uint64_t seq)
{
	char name[SAFENAME_MAX + 1];
	size_t len = name_of(dir, msg, name);
	struct value *value;

	if (len == 0)
		return;
	value = find_or_add(dir, name, len);
	if (!value) {
		cursor_lose(&dir->cursor, msg);
		return;
	}
	value->newest = seq;
	list_remove(&value->link);
	list_append(&dir->values, &value->link);
}

static void look_ahead(struct latestdir *dir)
{
	struct position at = cursor_start(&dir->scout);
	size_t messages = 0, bytes = 0;
	struct msg msg;

	while (messages < MESSAGES_MAX && bytes < BYTES_MAX &&
	       cursor_read(&dir->scout, &at, &msg)) {
		note(dir, &msg, at.seq - 1);
		messages++;
		bytes += msg.len;
	}
	cursor_commit(&dir->scout, &at);
}

/* 1: it was, 0: there is a newer one, or none is wanted; -errno. */
static int write_if_newest(struct latestdir *dir, const struct msg *msg, uint64_t seq)
{
	char name[SAFENAME_MAX + 1];
	struct value *value;
	int r;

	if (name_of(dir, msg, name) == 0)
		return 0;
	value = *place_of(dir, name, hash_of(name));
	if (!value || value->newest != seq)
		return 0;
	r = recordfile_replace(dir->fd, name, dir->conn, dir->options, msg, dir->grants,
			       dir->n_grants);
	value->stands |= r >= 0;
	return r < 0 ? r : 1;
}

/* Up to where the scout is. */
static int write_files(struct latestdir *dir)
{
	struct position at = cursor_start(&dir->cursor), after = at;
	size_t messages = 0, bytes = 0;
	int files = 0, r = 0;
	struct msg msg;

	while (messages < MESSAGES_MAX && bytes < BYTES_MAX && files < FILES_MAX &&
	       at.seq < dir->scout.at.seq && cursor_read(&dir->cursor, &after, &msg)) {
		r = write_if_newest(dir, &msg, after.seq - 1);
		if (r < 0)
			break;
		at = after;
		messages++;
		bytes += msg.len;
		files += r;
	}
	if (r >= 0 && at.seq == dir->scout.at.seq)
		at = dir->scout.at; /* behind marks, too */
	cursor_commit(&dir->cursor, &at);
	return r < 0 ? r : 0;
}

/* A full disk is told once, and once more when it is over. */
static void tell(struct latestdir *dir, int r)
{
	if (r < 0 && !dir->failing)
		log_warning(conn_name(dir->conn),
			    "latest: files cannot be replaced: %s; trying every second",
			    strerror(-r));
	else if (r >= 0 && dir->failing)
		log_info(conn_name(dir->conn), "latest: is up to date again");
	dir->failing = r < 0;
}

static DIR *open_listing(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = copy < 0 ? NULL : fdopendir(copy);

	if (!listing && copy >= 0)
		close(copy);
	return listing;
}

/* Files of an earlier daemon, or configuration, that no message has made right. */
static void sweep(struct latestdir *dir)
{
	DIR *listing = open_listing(dir->fd);
	const struct dirent *entry;

	dir->swept = true;
	while (listing && (entry = readdir(listing))) {
		const struct value *value = *place_of(dir, entry->d_name, hash_of(entry->d_name));

		if (!value || !value->stands)
			unlinkat(dir->fd, entry->d_name, 0); /* of "." and ".." this is refused */
	}
	if (listing)
		closedir(listing);
}

static void latestdir_on_run(void *owner)
{
	struct latestdir *dir = owner;
	int r;

	look_ahead(dir);
	r = write_files(dir);
	tell(dir, r);
	if (r < 0) {
		timer_set(&dir->pause, RETRY_MS);
		return;
	}
	if (!cursor_at_end(&dir->cursor)) {
		loop_later(&dir->run);
		return;
	}
	if (!dir->swept)
		sweep(dir);
	cursor_wait(&dir->cursor);
	timer_set(&dir->pause, PAUSE_MS);
}

static void latestdir_on_pause(void *owner)
{
	struct latestdir *dir = owner;

	if (!cursor_at_end(&dir->cursor))
		loop_later(&dir->run);
}

static void latestdir_cursor_ready(void *owner)
{
	struct latestdir *dir = owner;

	if (!timer_is_set(&dir->pause))
		loop_later(&dir->run);
}

/* --- life ----------------------------------------------------------------------------------- */

static int make_table(struct latestdir *dir)
{
	dir->buckets = BUCKETS_MIN;
	while (dir->buckets < dir->options->latest_max && dir->buckets < BUCKETS_MAX)
		dir->buckets *= 2;
	dir->bucket = calloc(dir->buckets, sizeof(*dir->bucket));
	return dir->bucket ? 0 : -ENOMEM;
}

/* It can be entered only when it has its grants: see make_directory() in endpoint.c. */
static int make_directory(struct latestdir *dir, int dirfd, const struct access *access)
{
	struct file_grant *grants = NULL;
	size_t n = 0;
	int r = file_open_dir(dirfd, DIR_NAME, &dir->fd);

	if (r == 0 && fchmod(dir->fd, 0700) < 0)
		r = -errno;
	if (r == 0)
		r = access_grants(access, ACCESS_LISTING, &grants, &n);
	if (r == 0)
		r = file_grant(dir->fd, true, grants, n);
	free(grants);
	return r;
}

int latestdir_new(struct latestdir **ret, int dirfd, struct conn *conn,
		  const struct endpoint_options *options, const struct access *access)
{
	struct latestdir *dir = calloc(1, sizeof(*dir));
	int r;

	if (!dir)
		return -ENOMEM;
	dir->fd = -1;
	dir->conn = conn;
	dir->options = options;
	list_init(&dir->values);
	later_init(&dir->run, latestdir_on_run, dir);
	buf_init(&dir->text, (size_t)conn_options(conn)->ws.max_message_bytes);
	r = member_path_init(&dir->path, options->latest);
	if (r == 0)
		r = make_table(dir);
	if (r == 0)
		r = access_grants(access, ACCESS_OUTPUT, &dir->grants, &dir->n_grants);
	if (r == 0)
		r = make_directory(dir, dirfd, access);
	if (r == 0)
		r = timer_init(&dir->pause, latestdir_on_pause, dir);
	if (r < 0) {
		latestdir_free(dir);
		return r;
	}
	cursor_open(&dir->cursor, conn_spool(conn), CURSOR_OLDEST, DIR_NAME, latestdir_cursor_ready,
		    dir);
	dir->cursor.live = true;
	cursor_open(&dir->scout, conn_spool(conn), CURSOR_OLDEST, DIR_NAME, NULL, NULL);
	dir->scout.newest_only = true; /* what is lost is the writer's loss */
	loop_later(&dir->run);
	*ret = dir;
	return 0;
}

struct latestdir *latestdir_free(struct latestdir *dir)
{
	if (!dir)
		return NULL;
	cursor_close(&dir->cursor);
	cursor_close(&dir->scout);
	later_cancel(&dir->run);
	timer_done(&dir->pause);
	while (!list_empty(&dir->values))
		forget(dir, list_first(&dir->values, struct value, link));
	free(dir->bucket);
	free(dir->grants);
	member_path_done(&dir->path);
	buf_done(&dir->text);
	if (dir->fd >= 0)
		close(dir->fd);
	free(dir);
	return NULL;
}

void latestdir_set_options(struct latestdir *dir, const struct endpoint_options *options)
{
	dir->options = options;
}

void latestdir_remove(int dirfd)
{
	int fd = openat(dirfd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *listing = fd < 0 ? NULL : open_listing(fd);
	const struct dirent *entry;

	while (listing && (entry = readdir(listing)))
		unlinkat(fd, entry->d_name, 0);
	if (listing)
		closedir(listing);
	if (fd >= 0)
		close(fd);
	unlinkat(dirfd, DIR_NAME, AT_REMOVEDIR);
}

int latestdir_describe(const struct latestdir *dir, struct buf *out)
{
	return buf_printf(out,
			  ",{\"kind\":\"latest\",\"name\":\"latest\",\"pid\":null,"
			  "\"behind_messages\":%llu,\"missed\":%llu,\"values\":%zu,"
			  "\"removed\":%llu}",
			  (unsigned long long)cursor_behind(&dir->cursor),
			  (unsigned long long)dir->cursor.missed, dir->n,
			  (unsigned long long)dir->removed);
}
