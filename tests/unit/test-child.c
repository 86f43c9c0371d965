/* Processes of ours: that they begin as fresh ones, in what environment, how they end, that they do
 * not outlive us, and that nothing of them is left over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/child.h"
#include "base/loop.h"
#include "check.h"

enum { WATCHDOG_MS = 20000 };

static struct child *child;
static char problem[100], said[8192];
static int status;
static bool over;
static int in[2], out[2]; /* pipes */

static void on_ended(void *owner)
{
	const char *why = child_problem(child);

	CHECK(owner == &over && !over);
	over = true;
	snprintf(problem, sizeof(problem), "%s", why ? why : "");
	status = child_status(child);
	child = child_free(child);
	loop_stop();
}

static void on_watchdog(void *owner)
{
	fprintf(stderr, "'%s' never ends\n", (const char *)owner);
	exit(1);
}

static void make_pipes(void)
{
	CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
}

static void close_pipes(void)
{
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

static void no_child_is_left(void)
{
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
	CHECK_EQ(errno, ECHILD);
}

static void run(const struct child_options *options)
{
	struct timer dog;

	over = false;
	CHECK_EQ(timer_init(&dog, on_watchdog, (void *)options->line), 0);
	timer_set(&dog, WATCHDOG_MS);
	CHECK_EQ(child_start(&child, options, on_ended, &over), 0);
	CHECK(!over && child_pid(child) > 0 && child_status(child) == -1);
	while (!over)
		CHECK_EQ(loop_run(), 0);
	timer_done(&dog);
	no_child_is_left();
}

static void run_line(const char *line, char *const *environment)
{
	struct child_options options = {.line = line, .environment = environment, .in_fd = -1};
	ssize_t n;

	make_pipes();
	options.out_fd = options.err_fd = out[1];
	run(&options);
	n = fcntl(out[0], F_SETFL, O_NONBLOCK) == 0 ? read(out[0], said, sizeof(said) - 1) : -1;
	said[n > 0 ? n : 0] = '\0';
	close_pipes();
}

static void prints(const char *line, const char *expected)
{
	run_line(line, NULL);
	CHECK_STR(problem, "");
	CHECK_STR(said, expected);
}

static void fails(const char *line, const char *expected, int expected_status)
{
	run_line(line, NULL);
	CHECK_STR(problem, expected);
	CHECK_EQ(status, expected_status);
}

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void test_ends(void)
{
	prints("exit 0", "");
	fails("exit 7", "ended with status 7", 7);
	fails("/no/such/program 2>/dev/null", "ended with status 127", 127);
	fails("kill -TERM $$", "was ended by signal 15", -1);
	fails("kill -PIPE $$", "was ended by signal 13", -1); /* which we ignore */
	prints("sleep 30 2>/dev/null & echo now", "now\n");   /* that is not its end */
}

/* No thing of ours is open in it, it leads a session, and no signal is blocked or ignored. */
static void test_fresh(void)
{
	sigset_t all, before, after;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	signal(SIGHUP, SIG_IGN);
	/* 32 and 33 are libc's own, and ignored below anybody who uses posix_spawn(). */
	prints("set -- $(grep -E '^Sig(Blk|Ign)' /proc/self/status); "
	       "echo $((0x$2)) $((0x$4 & ~0x180000000))",
	       "0 0\n");
	CHECK(signal(SIGHUP, SIG_DFL) == SIG_IGN && signal(SIGPIPE, SIG_IGN) == SIG_IGN); /* ours */
	sigprocmask(SIG_SETMASK, &before, &after);
	CHECK(sigismember(&after, SIGTERM) && sigismember(&after, SIGCHLD));
	prints("ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "); /* 3 is the directory itself */
	prints("set -- $(cat /proc/$$/stat); test $1 = $5 && test $1 = $6 && echo leads",
	       "leads\n");
	prints("cat; echo end", "end\n"); /* standard input is empty */
}

/* Ours may be where its own are going to be, in any order. */
static void test_low_descriptors(void)
{
	int stdin_fd = fcntl(0, F_DUPFD_CLOEXEC, 3), stdout_fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
	struct child_options options = {
		.line = "read -r word; echo got $word", .in_fd = 1, .out_fd = 0, .err_fd = 2};

	make_pipes();
	CHECK_EQ(dup3(out[1], 0, O_CLOEXEC), 0);
	CHECK_EQ(dup3(in[0], 1, O_CLOEXEC), 1);
	CHECK_EQ(write(in[1], "it\n", 3), 3);
	run(&options);
	CHECK_EQ(dup2(stdin_fd, 0), 0);
	CHECK_EQ(dup2(stdout_fd, 1), 1);
	CHECK_EQ(read(out[0], said, sizeof(said)), 7);
	CHECK(memcmp(said, "got it\n", 7) == 0);
	close(stdin_fd);
	close(stdout_fd);
	close_pipes();
}

static void test_environment(void)
{
	static const char *const withheld[] = {"NOTIFY_SOCKET",  "WATCHDOG_USEC", "WATCHDOG_PID",
					       "LISTEN_FDS",     "LISTEN_PID",    "LISTEN_FDNAMES",
					       "JOURNAL_STREAM", "WSPIPE_NAME"};
	char *more[] = {(char *)"TEST_WORD=another", (char *)"WSPIPE_MORE=more", NULL};

	for (size_t i = 0; i < sizeof(withheld) / sizeof(*withheld); i++)
		setenv(withheld[i], "geheim", 1);
	setenv("WSPIPE_RUNTIME_DIR", "/here", 1);
	setenv("TEST_WORD", "ours", 1);
	prints("env | grep -c geheim; echo $WSPIPE_RUNTIME_DIR $TEST_WORD", "0\n/here ours\n");
	run_line("echo $TEST_WORD $WSPIPE_MORE $(env | grep -c ^TEST_WORD=) ${PATH:+path}", more);
	CHECK_STR(said, "another more 1 path\n");
}

/* What cannot begin is told at once, and leaves no zombie. */
static void test_cannot_begin(void)
{
	static char line[256 * 1024]; /* the kernel takes 128 KiB */
	struct child_options options = {.line = line, .in_fd = -1, .out_fd = 1, .err_fd = 2};

	memset(line, ' ', sizeof(line) - 1);
	CHECK_EQ(child_start(&child, &options, on_ended, &over), -E2BIG);
	no_child_is_left();
	options.line = "true";
	options.out_fd = 1 << 20; /* there is none */
	CHECK_EQ(child_start(&child, &options, on_ended, &over), -EBADF);
	no_child_is_left();
	child = NULL;
}

static void expect_word(const char *word)
{
	size_t len = strlen(word);

	for (size_t got = 0; got < len; got++) {
		CHECK_EQ(read(out[0], said + got, 1), 1);
		CHECK_EQ(said[got], word[got]);
	}
}

/* All that had the other end have gone. */
static void expect_end(void)
{
	struct pollfd polled = {.fd = out[0], .events = POLLIN};

	CHECK_EQ(poll(&polled, 1, WATCHDOG_MS), 1);
	CHECK_EQ(read(out[0], said, 1), 0);
}

/* Freed while it runs: killed, whatever it has started, and nobody is told. */
static void test_killed(void)
{
	struct child_options options = {
		.line = "trap '' TERM; sleep 1000 & echo begun; sleep 1000; true", .in_fd = -1};

	make_pipes();
	options.out_fd = options.err_fd = out[1];
	over = false;
	CHECK_EQ(child_start(&child, &options, on_ended, &over), 0);
	close(out[1]);
	expect_word("begun\n");
	child = child_free(child);
	expect_end();
	for (int i = 0; i < 1000 && waitpid(-1, NULL, WNOHANG) == 0; i++) {
		event_base_loop(loop_base(), EVLOOP_NONBLOCK);
		usleep(10000);
	}
	no_child_is_left();
	CHECK(!over);
	CHECK(!child_free(NULL));
	out[1] = -1;
	close_pipes();
}

/* We are killed: so is it, though it ignores what can be ignored. */
static void test_does_not_outlive_us(void)
{
	struct child_options options = {.line = "trap '' TERM HUP INT; echo begun; read -r never"};
	pid_t pid;

	make_pipes();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		options.in_fd = in[0];
		options.out_fd = options.err_fd = out[1];
		if (child_start(&child, &options, on_ended, &over) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(out[1]);
	expect_word("begun\n");
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	expect_end();
	out[1] = -1;
	close_pipes();
}

/* The kernel throws away how it ended: that must not look like success. */
static void test_status_is_lost(void)
{
	signal(SIGCHLD, SIG_IGN);
	fails("exit 0", "ended, with what status is unknown", -1);
	signal(SIGCHLD, SIG_DFL);
}

int main(void)
{
	unsigned descriptors;

	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), 0); /* whoever started us left open */
	CHECK_EQ(loop_init(), 0);
	event_base_loop(loop_base(), EVLOOP_NONBLOCK);
	descriptors = count_descriptors();
	test_ends();
	test_fresh();
	test_low_descriptors();
	test_environment();
	test_cannot_begin();
	test_killed();
	test_status_is_lost();
	CHECK_EQ(count_descriptors(), descriptors);
	test_does_not_outlive_us();
	loop_done();
	return 0;
}
