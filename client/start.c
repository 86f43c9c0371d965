/* start - see start.h.
 *
 * Nothing tells that a daemon is ready but its control socket, so that is tried again and again,
 * for a bounded time.  Two clients may start one each: the lock of the runtime directory lets one
 * live, and the loser's end is no failure as long as somebody answers.  The same holds for one
 * that ends just now because its last client has left: it still has the lock, so starting is tried
 * a few times. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "control/protocol.h"
#include "deadline.h"
#include "place.h"
#include "print.h"

#define DAEMON "wspiped"
#define LOG_NAME "daemon.log"

enum {
	WAIT_MS = 10000,       /* as a whole */
	STARTS_MAX = 5,
	PAUSE_MS = 5,          /* the first one; each is twice as long as the one before ... */
	PAUSE_MAX_MS = 100,    /* ... up to this */
	LOG_MAX = 1024 * 1024, /* a log that has become longer is begun anew */
	TAIL_MAX = 4096,
};

struct start {
	const struct place *place;
	const char *dir;
	int log_fd;
	off_t log_at; /* where the last start began */
	pid_t pid;    /* 0: not running */
	unsigned starts;
};

/* --- which program -------------------------------------------------------------------------- */

/* Our own directory, without a slash at the end; NULL: not known. */
static char *own_dir(void)
{
	char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (len <= 0)
		return NULL;
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	return strdup(path);
}

/* Beside us, in the build tree, or as installed. */
static char *find_beside(void)
{
	static const char *const where[] = {"", "/../daemon", "/../sbin"};
	cleanup_free char *dir = own_dir();

	for (size_t i = 0; dir && i < sizeof(where) / sizeof(*where); i++) {
		char *path;

		if (asprintf(&path, "%s%s/" DAEMON, dir, where[i]) < 0)
			return NULL;
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* A name without a slash is to be looked up in $PATH. NULL: no memory. */
static char *find_program(void)
{
	const char *given = getenv("WSPIPED");
	char *found;

	if (given && *given)
		return strchr(given, '/') ? place_absolute(given) : strdup(given);
	found = find_beside();
	return found ? found : strdup(DAEMON);
}

int start_become(char *const *argv)
{
	cleanup_free char *program = find_program();

	if (program)
		execvp(program, argv);
	say(NULL, "cannot run %s: %s", program ? program : DAEMON, strerror(errno));
	return EXIT_PEER;
}

/* --- the child ------------------------------------------------------------------------------ */

/* Nothing of our caller may be held open, or be told things, by a daemon that outlives it. */
static void leave_caller(int log_fd)
{
	static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
						"LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};
	int null_fd = open("/dev/null", O_RDWR);
	sigset_t none;

	dup2(null_fd, 0);
	dup2(null_fd, 1);
	dup2(log_fd, 2);
	close_range(3, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		unsetenv(variables[i]);
	setsid();
}

static void become_daemon(const struct start *start)
{
	cleanup_free char *program = find_program();
	char *argv[] = {DAEMON, "--on-demand", "--runtime-dir", (char *)start->dir,
			"--log-level", "warning", NULL};

	leave_caller(start->log_fd);
	if (program && chdir("/") == 0)
		execvp(program, argv);
	say(NULL, "cannot run %s: %s", program ? program : DAEMON, strerror(errno));
	_exit(127);
}

static int start_child(struct start *start)
{
	struct stat st;
	pid_t pid;

	start->log_at = fstat(start->log_fd, &st) == 0 ? st.st_size : 0;
	start->starts++;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become_daemon(start);
	start->pid = pid;
	return 0;
}

/* --- waiting for it ------------------------------------------------------------------------- */

static void print_tail(const struct start *start)
{
	char text[TAIL_MAX + 1];
	ssize_t len = pread(start->log_fd, text, TAIL_MAX, start->log_at);

	if (len <= 0)
		return;
	text[len] = '\0';
	say(DAEMON, "%s", text);
}

/* True: it has ended, and another start would not help. */
static bool has_failed(struct start *start, int *ret_exit)
{
	int status;

	if (!start->pid || waitpid(start->pid, &status, WNOHANG) != start->pid)
		return false;
	start->pid = 0;
	*ret_exit = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE ? EXIT_USAGE
									   : EXIT_NO_DAEMON;
	return *ret_exit == EXIT_USAGE || start->starts >= STARTS_MAX ||
	       (WIFEXITED(status) && WEXITSTATUS(status) == 127);
}

static int start_and_wait(struct start *start, int *ret_fd)
{
	struct deadline deadline = deadline_in(WAIT_MS);
	int pause_ms = PAUSE_MS, exit_status = EXIT_NO_DAEMON, r;

	while (place_connect(start->place, ret_fd) < 0) {
		if (has_failed(start, &exit_status)) {
			print_tail(start);
			say(NULL, "the daemon did not start (its log is %s/" LOG_NAME ")", start->dir);
			return exit_status;
		}
		r = start->pid ? 0 : start_child(start);
		if (r < 0 || deadline_passed(&deadline)) {
			say(NULL, "the daemon in %s does not answer%s%s", start->dir, r < 0 ? ": " : "",
			    r < 0 ? strerror(-r) : "");
			return EXIT_NO_DAEMON;
		}
		poll(NULL, 0, pause_ms);
		pause_ms = pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms * 2;
	}
	return 0;
}

static int open_log(const char *dir, int *ret_fd)
{
	cleanup_close int dir_fd = -1;
	struct stat st;
	int fd, r = file_make_dirs(dir, 0700);

	if (r == 0)
		r = file_open_dir(AT_FDCWD, dir, &dir_fd);
	if (r < 0)
		return r;
	fd = openat(dir_fd, LOG_NAME, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && st.st_size > LOG_MAX && ftruncate(fd, 0) < 0)
		say(NULL, "%s/" LOG_NAME ": %s", dir, strerror(errno));
	*ret_fd = fd;
	return 0;
}

int start_daemon(const struct place *place, int *ret_fd)
{
	struct start start = {.place = place, .dir = place->dirs[0], .log_fd = -1};
	int r = open_log(start.dir, &start.log_fd);

	if (r < 0) {
		say(NULL, "cannot use %s: %s", start.dir, strerror(-r));
		return EXIT_NO_DAEMON;
	}
	r = start_and_wait(&start, ret_fd);
	close(start.log_fd);
	return r;
}
