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

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sync.h"

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

/* $STATE_DIRECTORY likewise.  NULL: there is no place for it. */
static char *default_state_dir(void)
{
	const char *given = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *path = NULL;

	if (given && *given)
		return strndup(given, strcspn(given, ":"));
	if (geteuid() == 0)
		return strdup("/var/lib/wspipe");
	if (xdg && *xdg == '/')
		return asprintf(&path, "%s/wspipe", xdg) < 0 ? NULL : path;
	if (home && *home == '/')
		return asprintf(&path, "%s/.local/state/wspipe", home) < 0 ? NULL : path;
	return NULL;
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

int instance_take(struct instance *ret, const char *runtime_dir, const char *state_dir)
{
	int r;

	*ret = (struct instance){
		.runtime_fd = -1, .lock_fd = -1, .state_fd = -1, .state_lock_fd = -1};
	ret->runtime_dir = runtime_dir ? strdup(runtime_dir) : default_dir();
	ret->state_dir = state_dir ? strdup(state_dir) : default_state_dir();
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

/* --- the state directory -------------------------------------------------------------------- */

#define RUNNING_NAME "running"

enum { BOOT_ID_MAX = 64 };

/* Which boot of the machine this is; "" when the kernel does not tell. */
static void boot_id(char ret[BOOT_ID_MAX])
{
	cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, BOOT_ID_MAX - 1);

	ret[n > 0 ? n : 0] = '\0';
}

/* Best effort: without it only the warning below could be missing. */
static void sync_name(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && sync_take(fd) < 0)
		close(fd);
}

/* The file says in which boot a daemon has run that has not ended properly: after kill -9 nothing is
 * missing, but when the whole machine went down, what was not synced is. */
static void look_for_power_cut(const struct instance *instance)
{
	char now[BOOT_ID_MAX];
	struct buf before;

	boot_id(now);
	buf_init(&before, BOOT_ID_MAX);
	if (file_read(instance->state_fd, RUNNING_NAME, &before) == 0 &&
	    (buf_len(&before) != strlen(now) || memcmp(buf_head(&before), now, strlen(now)) != 0))
		log_warning(NULL, "%s: the machine went down under the daemon before this one: of what was to "
			    "be kept, the last second may be missing", instance->state_dir);
	buf_done(&before);
	if (file_replace(instance->state_fd, RUNNING_NAME, now, strlen(now), NULL, 0) < 0)
		log_warning(NULL, "%s cannot be written to", instance->state_dir);
	sync_name(instance->state_fd, RUNNING_NAME);
	sync_name(instance->state_fd, ".");
}

static int take_state(struct instance *instance)
{
	int r;

	if (!instance->state_dir)
		return -ENOENT;
	r = file_make_dirs(instance->state_dir, 0700);
	if (r == 0)
		r = file_open_dir(AT_FDCWD, instance->state_dir, &instance->state_fd);
	if (r == 0)
		r = file_lock(instance->state_fd, "lock", &instance->state_lock_fd);
	return r;
}

int instance_take_state(struct instance *instance)
{
	int r;

	if (instance->state_lock_fd >= 0)
		return instance->state_fd;
	r = take_state(instance);
	if (r == 0) {
		look_for_power_cut(instance);
		return instance->state_fd;
	}
	log_error(NULL, "cannot use the state directory %s: %s",
		  instance->state_dir ? instance->state_dir : "(no HOME)",
		  r == -EWOULDBLOCK ? "another wspiped is using it (--state-dir names another)"
				    : strerror(-r));
	if (instance->state_fd >= 0)
		close(instance->state_fd);
	instance->state_fd = -1;
	return r;
}

static void leave_state(struct instance *instance)
{
	if (instance->state_lock_fd >= 0) {
		unlinkat(instance->state_fd, RUNNING_NAME, 0);
		close(instance->state_lock_fd);
	}
	if (instance->state_fd >= 0)
		close(instance->state_fd);
	free(instance->state_dir);
}

void instance_done(struct instance *instance)
{
	leave_state(instance);
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
