/* place - see place.h; the rules are those of wspiped(8), and so are the daemon's.
 *
 * A directory below /tmp could have been made by anybody: before anything is believed that a
 * socket in it says, it must be ours and closed to others. */
#include "place.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "control/protocol.h"
#include "options.h"
#include "print.h"

#define SYSTEM_DIR "/run/wspipe"

char *place_absolute(const char *path)
{
	cleanup_free char *here = NULL;
	char *joined;

	if (*path == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	if (!here || asprintf(&joined, "%s/%s", here, path) < 0)
		return NULL;
	return joined;
}

static int no_memory(void)
{
	say(NULL, "%s", strerror(ENOMEM));
	return EXIT_PEER;
}

/* Takes DIR. */
static int place_add(struct place *place, char *dir)
{
	if (!dir)
		return no_memory();
	place->dirs[place->n++] = dir;
	return 0;
}

/* DIR need not be there yet. */
static int check_own(const char *dir)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0)
		return 0;
	say(NULL, "%s is not safe: it must be a directory of yours with mode 0700 "
		  "(remove it, or use --runtime-dir)", dir);
	return EXIT_NO_DAEMON;
}

static int add_users(struct place *place)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char *dir = NULL;
	int r;

	if (xdg && *xdg == '/')
		return place_add(place, asprintf(&dir, "%s/wspipe", xdg) < 0 ? NULL : dir);
	r = place_add(place, asprintf(&dir, "/tmp/wspipe-%u", (unsigned)geteuid()) < 0 ? NULL : dir);
	return r ? r : check_own(dir);
}

/* What systemd made for a service is searched first by root's commands in it. */
static int add_roots(struct place *place)
{
	const char *given = getenv("RUNTIME_DIRECTORY");

	if (!given || *given != '/')
		return 0;
	return place_add(place, strndup(given, strcspn(given, ":")));
}

int place_find(struct place *place, const struct options *options)
{
	const char *given = options->runtime_dir ? options->runtime_dir
						 : getenv("WSPIPE_RUNTIME_DIR");
	int r;

	*place = (struct place){0};
	if (given && *given)
		return place_add(place, place_absolute(given));
	r = geteuid() == 0 ? add_roots(place) : add_users(place);
	return r ? r : place_add(place, strdup(SYSTEM_DIR));
}

void place_done(struct place *place)
{
	for (size_t i = 0; i < place->n; i++)
		free(place->dirs[i]);
	place->n = 0;
}

static int connect_in(const char *dir, int *ret_fd)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/control", dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return file_connect(path, SOCK_NONBLOCK, ret_fd);
}

static bool is_absent(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ENOTDIR;
}

int place_connect(const struct place *place, int *ret_fd)
{
	int error = -ECONNREFUSED;

	for (size_t i = 0; i < place->n; i++) {
		int r = connect_in(place->dirs[i], ret_fd);

		if (r == 0)
			return 0;
		if (!is_absent(r))
			error = r;
	}
	return error;
}

int place_explain(const struct place *place, int error)
{
	const char *last = place->dirs[place->n - 1];

	if (error == -EACCES)
		say(NULL, "%s/control: you may not use this daemon (the access key of [daemon] "
			  "says who may)", last);
	else if (error != -ECONNREFUSED)
		say(NULL, "%s/control: %s", last, strerror(-error));
	else if (place->n > 1)
		say(NULL, "no daemon answers at %s or %s (start one: wspiped, or systemctl start "
			  "wspiped)", place->dirs[0], last);
	else
		say(NULL, "no daemon answers at %s (start one: wspiped, or systemctl start wspiped)",
		    last);
	return EXIT_NO_DAEMON;
}
