/* Commands of each kind: what they are given, what they say and to whom, how they end, and that
 * nothing of them is left over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/command.h"
#include "base/lines.h"
#include "base/loop.h"
#include "check.h"

enum { WATCHDOG_MS = 20000, MOST = 64 * 1024 };

static struct command *command;
static char said[2 * MOST], problem[100], output[MOST + 1];
static size_t output_len;
static int status;
static bool over;

static void on_line(void *owner, const char *text)
{
	CHECK(owner == &over && !over);
	CHECK(strlen(text) <= LINES_BYTES_MAX && strlen(said) + strlen(text) + 2 < sizeof(said));
	strcat(strcat(said, text), "|");
}

static void on_ended(void *owner)
{
	const struct buf *got = command_output(command);
	const char *why = command_problem(command);

	CHECK(owner == &over && !over);
	over = true;
	snprintf(problem, sizeof(problem), "%s", why ? why : "");
	status = command_status(command);
	output_len = buf_len(got);
	if (output_len > 0)
		memcpy(output, buf_head(got), output_len);
	output[output_len] = '\0';
	command = command_free(command);
	loop_stop();
}

static const struct command_events events = {.line = on_line, .ended = on_ended};

static void on_watchdog(void *owner)
{
	fprintf(stderr, "'%s' never ends\n", (const char *)owner);
	exit(1);
}

static void on_pause_over(void *owner)
{
	(void)owner;
	loop_stop();
}

static void pause_ms(uint64_t ms)
{
	struct timer timer;

	CHECK_EQ(timer_init(&timer, on_pause_over, NULL), 0);
	timer_set(&timer, ms);
	loop_run();
	timer_done(&timer);
}

static void start(const struct command_options *options)
{
	said[0] = '\0';
	over = false;
	CHECK_EQ(command_start(&command, options, &events, &over), 0);
	CHECK(!over && command_pid(command) > 0 && command_status(command) == -1);
}

static void run(const struct command_options *options)
{
	struct timer dog;

	CHECK_EQ(timer_init(&dog, on_watchdog, (void *)options->line), 0);
	timer_set(&dog, WATCHDOG_MS);
	start(options);
	while (!over)
		CHECK_EQ(loop_run(), 0);
	timer_done(&dog);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	CHECK_EQ(errno, ECHILD);
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

/* --- a secret -----------------------------------------------------------------------------------
 */

static void run_secret(const char *line)
{
	const struct command_options options = {.line = line, .secret_max = MOST};

	run(&options);
}

static void prints(const char *line, const char *expected)
{
	run_secret(line);
	CHECK_STR(problem, "");
	CHECK_STR(output, expected);
	CHECK_STR(said, ""); /* nothing of it is a line */
}

static void fails(const char *line, const char *expected)
{
	run_secret(line);
	CHECK_STR(problem, expected);
}

static void test_secret(void)
{
	prints("echo hello", "hello\n");
	prints("true", "");
	prints("cat", ""); /* standard input is empty */
	prints("printf one; sleep 0.05; printf two", "onetwo");
	prints("echo \"$TEST_WORD\"", "from the environment\n");
	prints("exec 1>&-; sleep 0.05", "");
	prints("echo now; sleep 30 2>/dev/null &", "now\n"); /* the output stays open */
	prints("echo now; sleep 30 &", "now\n");             /* and so does standard error */
	run_secret("head -c 65536 /dev/zero | tr '\\0' x");
	CHECK_STR(problem, "");
	CHECK_EQ(output_len, MOST);
	CHECK_EQ(strspn(output, "x"), MOST);
}

static void test_secret_fails(void)
{
	fails("exit 7", "ended with status 7");
	CHECK_EQ(status, 7);
	fails("/no/such/program 2>/dev/null", "ended with status 127");
	fails("kill -TERM $$", "was ended by signal 15");
	CHECK_EQ(status, -1);
	fails("kill -PIPE $$", "was ended by signal 13"); /* which we ignore */
	fails("head -c 65537 /dev/zero", "printed too much");
	fails("cat /dev/zero", "printed too much");
	fails("trap '' TERM; cat /dev/zero", "printed too much");
}

/* What it complains of is for the log, bounded as for all. */
static void test_secret_complains(void)
{
	run_secret("echo secret; echo oh >&2; printf dear >&2");
	CHECK_STR(said, "oh|dear|");
	CHECK_STR(output, "secret\n");
	run_secret("seq 1 1000 >&2");
	CHECK(strstr(said, "|100|900 more lines|") && !strstr(said, "|101|"));
}

/* --- given something ----------------------------------------------------------------------------
 */

static void run_given(const char *line, const void *input, size_t len)
{
	static char *environment[] = {(char *)"TEST_WORD=mine", NULL};
	const struct command_options options = {
		.line = line, .environment = environment, .input = input, .input_len = len};

	run(&options);
}

static void says(const char *line, const char *input, const char *expected)
{
	run_given(line, input, strlen(input));
	CHECK_STR(problem, "");
	CHECK_STR(said, expected);
}

static void test_input(void)
{
	size_t len = 3 << 20;
	char *large = malloc(len);

	CHECK(large);
	memset(large, 'x', len);
	says("cat", "hello", "hello|");
	says("cat; echo end", "", "end|");
	run_given("sleep 0.05; wc -c", large, len); /* more than the pipe holds */
	CHECK_STR(said, "3145728|");
	run_given("true", large, len); /* it does not want it */
	CHECK_STR(problem, "");
	run_given("head -c 7; exec <&-; sleep 0.05; echo; echo done", large, len);
	CHECK_STR(said, "xxxxxxx|done|");
	free(large);
}

static void test_lines(void)
{
	size_t from;

	says("echo $TEST_WORD; echo to err >&2; printf 'a\\n\\nb'", "", "mine|to err|a||b|");
	says("exec 1>&- 2>&-; sleep 0.05", "", "");
	says("echo now; sleep 30 &", "", "now|"); /* the output stays open */
	run_given("seq 1 1000", "", 0);
	CHECK(strstr(said, "|100|900 more lines|") && !strstr(said, "|101|"));
	run_given("seq 1 100", "", 0);
	CHECK(strstr(said, "|100|") && !strstr(said, "more lines"));
	run_given("head -c 200000 /dev/zero | tr '\\0' x; echo; echo next", "", 0);
	CHECK_EQ(strspn(said, "x"), LINES_BYTES_MAX);
	CHECK_STR(said + LINES_BYTES_MAX, "|next|");
	run_given("yes & sleep 0.1; kill $!", "", 0); /* a flood does not keep it from its end */
	from = strlen("y|") * LINES_MAX;
	CHECK(atoi(said + from) > 1000 && strstr(said + from, " more lines|"));
	run_given("exit 7", "", 0);
	CHECK_STR(problem, "ended with status 7");
	run_given("kill -PIPE $$", "", 0); /* which we ignore */
	CHECK_STR(problem, "was ended by signal 13");
}

/* --- one that talks -----------------------------------------------------------------------------
 */

/* Descriptors and variables of the caller's; standard error is lines here, too. */
static void test_talk(void)
{
	char *environment[] = {(char *)"TEST_WORD=another", (char *)"WSPIPE_MORE=more", NULL};
	struct command_ends ends;
	struct command_options options = {
		.line = "read -r word; echo grumble >&2; echo $word $TEST_WORD $WSPIPE_MORE "
			"$(env | grep -c ^TEST_WORD=) ${HOME:+home}; exit 77",
		.environment = environment,
		.ends = &ends,
	};
	char got[200] = "";
	int in[2], out[2];

	setenv("HOME", "/", 1);
	CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
	ends = (struct command_ends){in[0], out[1]};
	CHECK_EQ(write(in[1], "hello\n", 6), 6);
	run(&options);
	CHECK_EQ(status, 77);
	CHECK_STR(problem, "ended with status 77");
	CHECK_STR(said, "grumble|");
	CHECK(read(out[0], got, sizeof(got) - 1) > 0);
	CHECK_STR(got, "hello another more 1 home\n");
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

/* --- the end ------------------------------------------------------------------------------------
 */

/* Freed while it runs: killed, whatever it has started, and nobody is told. */
static void check_killed(const struct command_options *options)
{
	start(options);
	pause_ms(50);
	command = command_free(command);
	for (int i = 0; i < 1000 && waitpid(-1, NULL, WNOHANG) == 0; i++)
		pause_ms(10);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
	CHECK(!over);
}

static void test_killed(void)
{
	static const char line[] = "trap '' TERM; sleep 1000 & sleep 1000; true";
	const struct command_options secret = {.line = line, .secret_max = MOST};
	const struct command_options given = {
		.line = line, .input = (const uint8_t *)"x", .input_len = 1};

	check_killed(&secret);
	check_killed(&given);
	CHECK(!command_free(NULL));
}

int main(void)
{
	unsigned descriptors;

	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), 0); /* whoever started us left open */
	setenv("TEST_WORD", "from the environment", 1);
	CHECK_EQ(loop_init(), 0);
	pause_ms(1);
	descriptors = count_descriptors();
	test_secret();
	test_secret_fails();
	test_secret_complains();
	test_input();
	test_lines();
	test_talk();
	test_killed();
	CHECK_EQ(count_descriptors(), descriptors);
	loop_done();
	return 0;
}
