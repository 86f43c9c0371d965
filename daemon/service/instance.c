/* instance - see instance.h. */
#include "service/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"

enum { MALLOC_KEEPS = 4 * 1024 * 1024 };

/* $RUNTIME_DIRECTORY may list several directories (systemd.exec(5)); the first is ours. */
static char *default_dir(void)
{
	const char *given = getenv("RUNTIME_DIRECTORY"), *xdg = getenv("XDG_RUNTIME_DIR");
	char *path = NULL;

	if (given && *given)
		return strndup(given, strcspn(given, ":"));
	if (geteuid() == 0)
		return strdup("/run/wspipe");
	if (xdg && *xdg == '/')
		return asprintf(&path, "%s/wspipe", xdg) < 0 ? NULL : path;
	return asprintf(&path, "/tmp/wspipe-%u", (unsigned)geteuid()) < 0 ? NULL : path;
}

/* The system's directory lets everybody search it: who may do what below is said by each connection's
 * `access`, and all that stands in it is made closed. */
static mode_t default_mode(const char *given)
{
	return !given && geteuid() == 0 ? 0755 : 0700;
}

static void write_pid(int fd)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) == 0 && write(fd, text, (size_t)len) < 0)
		return; /* only people read it */
}

int instance_take(struct instance *ret, const char *runtime_dir)
{
	int r;

	*ret = (struct instance){.runtime_fd = -1, .lock_fd = -1};
	ret->runtime_dir = runtime_dir ? strdup(runtime_dir) : default_dir();
	if (!ret->runtime_dir)
		return -ENOMEM;
	r = file_make_dirs(ret->runtime_dir, default_mode(runtime_dir));
	if (r == 0)
		r = file_open_dir(AT_FDCWD, ret->runtime_dir, &ret->runtime_fd);
	if (r == 0)
		r = file_lock(ret->runtime_fd, "daemon", &ret->lock_fd);
	if (r == 0)
		write_pid(ret->lock_fd);
	return r;
}

void instance_done(struct instance *instance)
{
	if (instance->lock_fd >= 0)
		close(instance->lock_fd);
	if (instance->runtime_fd >= 0)
		close(instance->runtime_fd);
	free(instance->runtime_dir);
}

void instance_prepare_process(void)
{
	struct rlimit limit;

	/* Buffers come and go with every wake-up: they shall not be mapped, unmapped and cleared by the
	 * kernel each time. */
	mallopt(M_MMAP_THRESHOLD, MALLOC_KEEPS);
	mallopt(M_TRIM_THRESHOLD, MALLOC_KEEPS);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the write, no reason to die */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}
