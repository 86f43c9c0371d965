/* scratch - a directory for one run of a target, below $TMPDIR or /tmp; gone at the end. */
#ifndef FUZZ_SCRATCH_H
#define FUZZ_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>

#include "fuzz.h"

static char scratch_path[PATH_MAX];
static int scratch_fd = -1;

static inline int scratch_unlink(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type;
	if (at->level > 0)
		HOLDS(remove(path) == 0);
	return 0;
}

/* Take away all that is in it. */
static inline void scratch_clear(void)
{
	HOLDS(nftw(scratch_path, scratch_unlink, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static inline void scratch_remove(void)
{
	scratch_clear();
	rmdir(scratch_path);
}

static inline void scratch_init(void)
{
	const char *parent = getenv("TMPDIR");

	snprintf(scratch_path, sizeof(scratch_path), "%s/fuzz-XXXXXX",
		 parent && *parent ? parent : "/tmp");
	HOLDS(mkdtemp(scratch_path));
	scratch_fd = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	HOLDS(scratch_fd >= 0);
	atexit(scratch_remove);
}

static inline void scratch_put(const char *name, const void *data, size_t len)
{
	int fd = openat(scratch_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	HOLDS(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	close(fd);
}

#endif
