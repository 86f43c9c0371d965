/* The log: how lines look, and that a standard error that is full, closed or without a reader costs
 * lines and nothing else.  Standard error is a pipe here.  sd_journal_sendv() and access() are our
 * own, so that the way to the journal can be seen where there is none. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "check.h"

int sd_journal_sendv(const struct iovec *iov, int n);

static int pipe_fds[2], real_stderr;
static char sent[4096]; /* the journal's fields, each in a line */
static int journal_answer;

int sd_journal_sendv(const struct iovec *iov, int n)
{
	sent[0] = '\0';
	for (int i = 0; i < n; i++) {
		strncat(sent, iov[i].iov_base, iov[i].iov_len);
		strcat(sent, "\n");
	}
	return journal_answer;
}

int access(const char *path, int mode)
{
	(void)mode;
	errno = ENOENT;
	return strstr(path, "journal") ? 0 : -1;
}

static void open_pipe(void)
{
	if (pipe(pipe_fds) < 0 || fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK) < 0 ||
	    dup2(pipe_fds[1], STDERR_FILENO) < 0)
		exit(99);
	close(pipe_fds[1]);
}

/* CHECK writes to standard error, so what was seen is compared while that is the real one. */
static const char *written(void)
{
	static char seen[16384];
	ssize_t n = read(pipe_fds[0], seen, sizeof(seen) - 1);

	seen[n > 0 ? n : 0] = '\0';
	return seen;
}

#define CHECK_LINE(line)                                                                           \
	do {                                                                                       \
		const char *seen_ = written();                                                     \
		int pipe_end_ = dup(STDERR_FILENO);                                                \
		dup2(real_stderr, STDERR_FILENO);                                                  \
		CHECK_STR(seen_, line);                                                            \
		if (pipe_end_ >= 0)                                                                \
			dup2(pipe_end_, STDERR_FILENO);                                            \
		close(pipe_end_);                                                                  \
	} while (0)

static void test_lines(void)
{
	struct cause cause;

	log_info(NULL, "started");
	CHECK_LINE("wspiped: started\n");
	log_info("ticker", "open after %d ms", 12);
	CHECK_LINE("wspiped: ticker: open after 12 ms\n");
	log_warning("ticker", "slow");
	CHECK_LINE("wspiped: ticker: warning: slow\n");
	log_error(NULL, "bad");
	CHECK_LINE("wspiped: error: bad\n");
	cause_set(&cause, CAUSE_CONNECT, ECONNREFUSED, "refused by %s", "::1");
	log_write(LOG_LEVEL_WARNING, "ticker", &cause, "retry in 2 s");
	CHECK_LINE("wspiped: ticker: warning: retry in 2 s: refused by ::1\n");
	cause_set(&cause, CAUSE_TIMEOUT, 0, "%s", "");
	log_write(LOG_LEVEL_INFO, "ticker", &cause, "ended");
	CHECK_LINE("wspiped: ticker: ended: timeout\n");
	cause_set(&cause, CAUSE_NONE, 0, "%s", "");
	log_write(LOG_LEVEL_INFO, NULL, &cause, "ended");
	CHECK_LINE("wspiped: ended\n");
	log_info(NULL, "%s", "a\nwspiped: forged\x1b[1m\xff\xc3\xbc");
	CHECK_LINE("wspiped: a?wspiped: forged?[1m?\xc3\xbc\n");
}

static void test_levels(void)
{
	CHECK_EQ(log_level_from_name("error"), LOG_LEVEL_ERROR);
	CHECK_EQ(log_level_from_name("warning"), LOG_LEVEL_WARNING);
	CHECK_EQ(log_level_from_name("info"), LOG_LEVEL_INFO);
	CHECK_EQ(log_level_from_name("debug"), LOG_LEVEL_DEBUG);
	CHECK(log_level_from_name("") < 0);
	CHECK(log_level_from_name("Info") < 0);

	CHECK_EQ(log_level(), LOG_LEVEL_INFO); /* before log_open() */
	log_debug(NULL, "not seen");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning(NULL, "not seen");
	CHECK_LINE("");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug(NULL, "seen");
	CHECK_LINE("wspiped: seen\n");
	log_open(LOG_LEVEL_INFO);
	CHECK_EQ(log_level(), LOG_LEVEL_INFO);
}

static void test_long_line(void)
{
	char text[9000];
	const char *seen;
	size_t len;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	errno = 77;
	log_error(text, "%s", text);
	CHECK_EQ(errno, 77);
	seen = written();
	len = strlen(seen);
	CHECK(len > 1000 && len < 2048);
	CHECK_EQ(seen[len - 1], '\n');
}

static void test_full(void)
{
	char fill[4096];
	int flags = fcntl(STDERR_FILENO, F_GETFL);

	memset(fill, 'f', sizeof(fill));
	for (size_t i = 0; i < 65536 / sizeof(fill); i++)
		if (write(STDERR_FILENO, fill, sizeof(fill)) != (ssize_t)sizeof(fill))
			exit(98);
	for (int i = 0; i < 3; i++)
		log_info(NULL, "lost"); /* would block for ever */
	while (*written())
		;
	log_info("ticker", "goes");
	CHECK_LINE("wspiped: ticker: goes (lines lost before this one: 3)\n");
	log_info("ticker", "goes");
	CHECK_LINE("wspiped: ticker: goes\n");
	CHECK_EQ(fcntl(STDERR_FILENO, F_GETFL), flags); /* it is shared: not ours to change */
}

static void test_nobody_reads(void)
{
	close(pipe_fds[0]);
	log_info(NULL, "lost");
	open_pipe();
	log_info(NULL, "goes");
	CHECK_LINE("wspiped: goes (lines lost before this one: 1)\n");
}

static void test_closed(void)
{
	int fd;

	close(pipe_fds[0]);
	close(STDERR_FILENO);
	log_info(NULL, "lost");
	log_open(LOG_LEVEL_INFO); /* holds the place, or else ... */
	fd = open("/dev/null", O_RDONLY);
	if (fd == STDERR_FILENO)
		exit(97); /* ... this would now get the lines */
	close(fd);
	open_pipe();
	log_info(NULL, "goes");
	CHECK_LINE("wspiped: goes (lines lost before this one: 1)\n");
}

static void test_journal(void)
{
	struct cause cause;
	struct stat st;
	char stream[64];

	if (fstat(STDERR_FILENO, &st) < 0)
		exit(96);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1); /* inherited, but standard error is something else */
	log_open(LOG_LEVEL_INFO);
	log_info(NULL, "here");
	CHECK_LINE("wspiped: here\n");
	CHECK_STR(sent, "");

	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open(LOG_LEVEL_INFO);
	cause_set(&cause, CAUSE_HTTP, 503, "busy");
	log_write(LOG_LEVEL_WARNING, "ticker", &cause, "retry in %d s", 2);
	CHECK_LINE("");
	CHECK_STR(sent, "MESSAGE=ticker: retry in 2 s: busy\nPRIORITY=4\n"
			"SYSLOG_IDENTIFIER=wspiped\nCONN=ticker\nCAUSE=http\nCODE=503\n");
	log_info(NULL, "plain");
	CHECK_STR(sent, "MESSAGE=plain\nPRIORITY=6\nSYSLOG_IDENTIFIER=wspiped\n");

	journal_answer = -ECONNREFUSED;
	log_error("ticker", "bad");
	CHECK_LINE("wspiped: ticker: error: bad\n");
	journal_answer = 0;
	unsetenv("JOURNAL_STREAM");
	log_open(LOG_LEVEL_INFO);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	alarm(20); /* a log that waits fails the test */
	real_stderr = dup(STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	open_pipe();
	test_levels();
	test_lines();
	test_long_line();
	test_full();
	test_nobody_reads();
	test_closed();
	test_journal();
	return 0;
}
