/* Commands of each kind: what they print, how they end, and that nothing of them is left over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/command.h"
#include "check.h"
#include "running.h"

enum { MOST = 64 * 1024 };

static struct command *command;
static char problem[100], output[MOST + 1];
static size_t output_len;
static bool over;

static void on_done(void *owner)
{
	const struct buf *got = command_output(command);
	const char *why = command_problem(command);

	CHECK(owner == &over && !over);
	over = true;
	snprintf(problem, sizeof(problem), "%s", why ? why : "");
	output_len = buf_len(got);
	memcpy(output, buf_head(got), output_len);
	output[output_len] = '\0';
	command = command_free(command);
	loop_stop();
}

static void run(const char *line)
{

	over = false;
	CHECK_EQ(command_start(&command, line, MOST, on_done, &over), 0);
	CHECK(!over);
	RUN_UNTIL_OF(line, over);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	CHECK_EQ(errno, ECHILD);
}

static void prints(const char *line, const char *expected)
{
	run(line);
	CHECK_STR(problem, "");
	CHECK_STR(output, expected);
}

static void fails(const char *line, const char *expected)
{
	run(line);
	CHECK_STR(problem, expected);
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

static void test_output(void)
{
	prints("echo hello", "hello\n");
	prints("true", "");
	prints("cat", ""); /* standard input is empty */
	prints("printf one; sleep 0.05; printf two", "onetwo");
	prints("echo \"$WSPIPE_TEST\"", "from the environment\n");
	prints("exec 1>&-; sleep 0.05", "");
	prints("echo now; sleep 30 2>/dev/null &", "now\n"); /* the output stays open */
	run("head -c 65536 /dev/zero | tr '\\0' x");
	CHECK_STR(problem, "");
	CHECK_EQ(output_len, MOST);
	CHECK_EQ(strspn(output, "x"), MOST);
}

static void test_failures(void)
{
	fails("exit 7", "ended with status 7");
	fails("/no/such/program 2>/dev/null", "ended with status 127");
	fails("kill -TERM $$", "was ended by signal 15");
	fails("kill -PIPE $$", "was ended by signal 13"); /* which we ignore */
	fails("head -c 65537 /dev/zero", "printed too much");
	fails("cat /dev/zero", "printed too much");
}

/* No thing of ours is open in the child, and no signal is blocked or ignored. */
static void test_child(void)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	/* glibc's posix_spawn() ignores its own two, 32 and 33. */
	prints("grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\\t\\n' | tr 18 00",
	       "SigBlk:0000000000000000SigIgn:0000000000000000");
	sigprocmask(SIG_SETMASK, &before, NULL);
	prints("ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "); /* 3 is the directory itself */
}

/* Freed while it runs: killed, whatever it has started, and nobody is told. */
static void test_killed(void)
{
	over = false;
	CHECK_EQ(command_start(&command, "trap '' TERM; sleep 1000 2>/dev/null & sleep 1000 2>/dev/null; true", MOST,
			       on_done, &over), 0);
	run_for_ms(50);
	command = command_free(command);
	for (int i = 0; i < 100 && waitpid(-1, NULL, WNOHANG) == 0; i++)
		run_for_ms(10);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
	CHECK(!over);
	CHECK(!command_free(NULL));
}

static void on_talk_done(void *owner)
{
	CHECK(owner == &over);
	over = true;
	loop_stop();
}

/* Descriptors and variables of the caller's; a variable that is there already is replaced. */
static void test_talk(void)
{
	char *environment[] = {(char *)"WSPIPE_TEST=another", (char *)"WSPIPE_MORE=more", NULL};
	struct command_talk talk = {
		.line = "read -r word; echo $word $WSPIPE_TEST $WSPIPE_MORE $(env | grep -c "
			"^WSPIPE_TEST=) ${HOME:+home}; exit 77",
		.environment = environment,
	};
	char said[200] = "";
	int in[2], out[2];

	setenv("HOME", "/", 1);
	CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
	talk.in_fd = in[0];
	talk.out_fd = out[1];
	over = false;
	CHECK_EQ(command_start_talk(&command, &talk, on_talk_done, &over), 0);
	CHECK_EQ(command_status(command), -1);
	CHECK_EQ(write(in[1], "hello\n", 6), 6);
	CHECK_EQ(loop_run(), 0);
	CHECK(over);
	CHECK_EQ(command_status(command), 77);
	CHECK_STR(command_problem(command), "ended with status 77");
	CHECK(read(out[0], said, sizeof(said) - 1) > 0);
	CHECK_STR(said, "hello another more 1 home\n");
	command = command_free(command);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

int main(void)
{
	unsigned descriptors;

	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), 0); /* whoever started us left open */
	setenv("WSPIPE_TEST", "from the environment", 1);
	CHECK_EQ(loop_init(), 0);
	run_for_ms(1);
	descriptors = count_descriptors();
	test_output();
	test_failures();
	test_child();
	test_killed();
	test_talk();
	CHECK_EQ(count_descriptors(), descriptors);
	loop_done();
	return 0;
}
