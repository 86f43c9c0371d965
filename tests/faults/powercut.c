/* powercut - a disk that forgets what was not synced, as a library to be preloaded.
 *
 * Whenever the program syncs a file below $POWERCUT_FROM, the file's content goes to the same place
 * below $POWERCUT_TO; whenever it syncs a directory, entries that have gone go there, too, and new
 * ones appear, empty.  So that tree is what the disk would hold if the power failed now, at the worst:
 * nothing that was only written, created or removed. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fsync(int fd);
int fdatasync(int fd);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what)
{
	perror(what);
	abort();
}

/* Where FD's file is on the disk that stays; false: it is none of ours. */
static bool stays_at(int fd, char from[PATH_MAX], char to[PATH_MAX])
{
	const char *root = getenv("POWERCUT_FROM"), *disk = getenv("POWERCUT_TO");
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, from, PATH_MAX - 1);
	if (n <= 0 || !root || !disk)
		return false;
	from[n] = '\0';
	if (strncmp(from, root, strlen(root)) != 0 || strstr(from, " (deleted)"))
		return false;
	return snprintf(to, PATH_MAX, "%s%s", disk, from + strlen(root)) < PATH_MAX;
}

static void make_dirs(const char *path)
{
	char part[PATH_MAX];

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(part, 0700);
		*slash = '/';
	}
}

static void keep_file(const char *from, const char *to)
{
	static char bytes[1 << 16];
	char next[PATH_MAX + 8];
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	ssize_t n;

	if (in < 0)
		return; /* it was removed meanwhile */
	make_dirs(to);
	snprintf(next, sizeof(next), "%s.next", to);
	out = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		give_up(next);
	while ((n = read(in, bytes, sizeof(bytes))) > 0)
		if (write(out, bytes, (size_t)n) != n)
			give_up(next);
	close(in);
	if (close(out) < 0 || rename(next, to) < 0)
		give_up(to);
}

/* Entries of HERE that THERE has not: removed here, or made there. */
static void compare(const char *here, const char *there, bool make)
{
	DIR *dir = opendir(here);
	struct dirent *entry;
	char mine[2 * PATH_MAX], other[2 * PATH_MAX];

	while (dir && (entry = readdir(dir))) {
		int fd = -1;

		snprintf(mine, sizeof(mine), "%s/%s", here, entry->d_name);
		snprintf(other, sizeof(other), "%s/%s", there, entry->d_name);
		if (entry->d_type != DT_REG || access(other, F_OK) == 0)
			continue;
		if (!make)
			unlink(mine);
		else if ((fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
}

static void keep(int fd)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct stat st;

	if (!stays_at(fd, from, to) || fstat(fd, &st) < 0)
		return;
	pthread_mutex_lock(&lock);
	if (S_ISREG(st.st_mode)) {
		keep_file(from, to);
	} else if (S_ISDIR(st.st_mode)) {
		make_dirs(to);
		mkdir(to, 0700);
		compare(to, from, false);
		compare(from, to, true);
	}
	pthread_mutex_unlock(&lock);
}

int fsync(int fd)
{
	keep(fd);
	return 0;
}

int fdatasync(int fd)
{
	keep(fd);
	return 0;
}
