/* Commands that are given something: what they get, what they say, how they end, and that nothing
 * of them is left over. */
#include <dirent.h>
#include <errno.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/job.h"
#include "check.h"
#include "running.h"

enum { MOST = 64 * 1024 };

static struct job *job;
static char said[MOST], problem[100];
static uint64_t left_out;
static bool over;

static void on_line(void *owner, const char *text)
{
	CHECK(owner == &over);
	CHECK(strlen(text) <= JOB_LINE_MAX && strlen(said) + strlen(text) + 2 < MOST);
	strcat(strcat(said, text), "|");
}

static void on_ended(void *owner)
{
	const char *why = job_problem(job);

	CHECK(owner == &over && !over);
	over = true;
	snprintf(problem, sizeof(problem), "%s", why ? why : "");
	left_out = job_lines_left_out(job);
	job = job_free(job);
	loop_stop();
}

static const struct job_events events = {.line = on_line, .ended = on_ended};

static void start(const char *line, const void *input, size_t len)
{
	static char *environment[] = {(char *)"PATH=/usr/bin:/bin", (char *)"WORD=mine", NULL};
	struct job_options options = {
		.line = line, .environment = environment, .input = input, .input_len = len};

	said[0] = '\0';
	over = false;
	CHECK_EQ(job_start(&job, &options, &events, &over), 0);
	CHECK(!over && job_pid(job) > 0);
}

static void run(const char *line, const void *input, size_t len)
{

	start(line, input, len);
	RUN_UNTIL_OF(line, over);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	CHECK_EQ(errno, ECHILD);
}

static void says(const char *line, const char *input, const char *expected)
{
	run(line, input, strlen(input));
	CHECK_STR(problem, "");
	CHECK_STR(said, expected);
	CHECK_EQ(left_out, 0);
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

static void test_input(void)
{
	size_t len = 3 << 20;
	char *large = malloc(len);

	CHECK(large);
	memset(large, 'x', len);
	says("cat", "hello", "hello|");
	says("cat; echo end", "", "end|");
	run("sleep 0.05; wc -c", large, len); /* more than the pipe holds */
	CHECK_STR(said, "3145728|");
	run("true", large, len); /* it does not want it */
	CHECK_STR(problem, "");
	run("head -c 7; exec <&-; sleep 0.05; echo; echo done", large, len);
	CHECK_STR(said, "xxxxxxx|done|");
	free(large);
}

static void test_output(void)
{
	says("echo $WORD; echo to err >&2; printf 'a\\n\\nb'", "", "mine|to err|a||b|");
	says("exec 1>&- 2>&-; sleep 0.05", "", "");
	says("echo now; sleep 30 &", "", "now|"); /* the output stays open */
	run("seq 1 1000", "", 0);
	CHECK_EQ(left_out, 1000 - JOB_LINES_MAX);
	CHECK(strstr(said, "|100|") && !strstr(said, "|101|"));
	run("head -c 200000 /dev/zero | tr '\\0' x; echo; echo next", "", 0);
	CHECK_EQ(strspn(said, "x"), JOB_LINE_MAX);
	CHECK_STR(said + JOB_LINE_MAX, "|next|");
	run("yes & sleep 0.1; kill $!", "", 0); /* a flood does not keep it from its end */
	CHECK(left_out > 1000);
}

static void test_failures(void)
{
	run("exit 7", "", 0);
	CHECK_STR(problem, "ended with status 7");
	run("kill -PIPE $$", "", 0); /* which we ignore */
	CHECK_STR(problem, "was ended by signal 13");
}

/* Freed while it runs: killed, whatever it has started, and nobody is told. */
static void test_killed(void)
{
	start("trap '' TERM; sleep 1000 & sleep 1000; true", "x", 1);
	run_for_ms(50);
	job = job_free(job);
	for (int i = 0; i < 100 && waitpid(-1, NULL, WNOHANG) == 0; i++)
		run_for_ms(10);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
	CHECK(!over);
	CHECK(!job_free(NULL));
}

int main(void)
{
	unsigned descriptors;

	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), 0); /* whoever started us left open */
	CHECK_EQ(loop_init(), 0);
	run_for_ms(1);
	descriptors = count_descriptors();
	test_input();
	test_output();
	test_failures();
	test_killed();
	CHECK_EQ(count_descriptors(), descriptors);
	loop_done();
	return 0;
}
