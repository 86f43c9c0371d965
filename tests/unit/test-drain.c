/* drain: what came since the last one, then end of file; whoever leaves, waits, or comes too late. */
#include "feed.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *kinds[] = {(char *)"drain", NULL};

static int open_drain(void)
{
	int fd = openat(dir_fd, "drain", O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	return fd;
}

static ssize_t read_now(int fd, char *to, size_t size)
{
	ssize_t n;

	UNTIL((n = read(fd, to, size)) != -1 || errno != EAGAIN);
	return n;
}

/* Up to the end of file. */
static const char *read_all(int fd)
{
	static char text[1 << 20];
	size_t have = 0;
	ssize_t n;

	while ((n = read_now(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)n;
	CHECK_EQ(n, 0);
	text[have] = '\0';
	return text;
}

static void check_batch(const char *expected)
{
	int fd = open_drain();

	CHECK_STR(read_all(fd), expected);
	close(fd);
	turns();
}

/* Lines with numbers in order.  Returns the number behind the last. */
static int numbers_in(const char *text, int number)
{
	for (; *text; number++) {
		char *end;

		CHECK_EQ(strtol(text, &end, 10), number);
		CHECK_EQ(*end, '\n');
		text = end + 1;
	}
	return number;
}

static void check_simple(bool batch)
{
	int fd, other;

	options.batch = batch;
	make();
	check_batch("");
	receive("one");
	receive("two");
	check_batch("one\ntwo\n");
	check_batch("");
	receive("three");
	CHECK_EQ(described("\"behind_messages\":"), 1);
	check_batch("three\n");
	CHECK_EQ(described("\"behind_messages\":"), 0);

	/* a producer that does not stop: the batch is what was there when it began */
	receive_numbers(0, 50);
	fd = open_drain();
	turns();
	receive_numbers(50, 100);
	CHECK_EQ(numbers_in(read_all(fd), 0), 50);
	close(fd);

	/* another one comes while the first is slow: he waits for his turn, and gets the rest */
	fd = open_drain();
	turns();
	receive_numbers(100, 150);
	other = open_drain();
	turns();
	receive_numbers(150, 200);
	CHECK_EQ(numbers_in(read_all(fd), 50), 100);
	CHECK_EQ(numbers_in(read_all(other), 100), 200);
	close(fd);
	close(other);
	turns();
	check_batch("");
	unmake();
}

static void check_early_leavers(bool batch)
{
	static char large[20002];
	char text[9000];
	int fd, next = 0;

	options.batch = batch;
	make();
	receive_numbers(0, 3000);
	/* whoever takes a few lines and a half takes no more than the whole ones */
	for (int round = 0; round < 60; round++) {
		ssize_t n, whole;

		fd = open_drain();
		n = read_now(fd, text, (size_t)(1 + round * 7 % 60));
		close(fd);
		turns();
		for (whole = n; whole > 0 && text[whole - 1] != '\n';)
			whole--;
		text[whole] = '\0';
		next = numbers_in(text, next);
	}
	CHECK(next > 10);
	/* one who comes and goes */
	close(open_drain());
	turns();
	/* and who goes before his turn, leaves it to the next */
	fd = open_drain();
	turns();
	close(open_drain());
	turns();
	next = numbers_in(read_all(fd), next);
	close(fd);
	CHECK_EQ(next, 3000);

	memset(large, 'x', 20000);
	receive(large);
	receive("small");
	fd = open_drain();
	CHECK_EQ(read_now(fd, text, 9000), 4096);
	CHECK_EQ(read_now(fd, text, 10), 10);
	close(fd);
	turns();
	fd = open_drain();
	CHECK_EQ(strlen(read_all(fd)), 20000 + 1 + 6);
	close(fd);
	check_batch("");
	unmake();
}

/* A page of many records is dropped by the spool while it stands in the pipe. */
static void check_overrun(void)
{
	static char line[2001];
	char *text;
	int fd, first, missed;

	options.batch = true;
	conn_opts.spool.keep_bytes = 40000;
	make();
	receive_numbers(0, 100);
	fd = open_drain();
	turns(); /* 290 bytes are in the pipe */
	memset(line, 'x', 2000);
	for (int i = 0; i < 100; i++)
		receive(line);
	turns();
	missed = (int)described("\"missed\":");
	CHECK(missed > 100);
	CHECK_EQ(numbers_in(read_all(fd), 0), 100); /* and none twice */
	close(fd);
	turns();
	fd = open_drain();
	text = (char *)read_all(fd);
	first = (int)strlen(text) / 2001;
	CHECK(first > 5 && first <= 200 - missed);
	close(fd);
	turns();
	conn_opts.spool.keep_bytes = 16 << 20;
	unmake();
}

static void check_framings(void)
{
	char *text;
	int fd;

	options.batch = false;
	options.framing = FRAMING_JSON;
	make();
	receive("x");
	fd = open_drain();
	text = (char *)read_all(fd);
	CHECK(strstr(text, "\"type\":\"open\"") && strstr(text, "\"data\":\"x\""));
	close(fd);
	turns();
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 1001, 1001, "");
	turns();
	fd = open_drain(); /* a mark alone is news, too */
	CHECK(strstr(read_all(fd), "\"type\":\"close\""));
	close(fd);
	turns();
	check_batch("");
	unmake();

	options.framing = FRAMING_RAW;
	make();
	receive("abcdef");
	fd = open_drain();
	{
		char three[3];

		CHECK_EQ(read_now(fd, three, 3), 3);
	}
	close(fd);
	turns();
	check_batch("def");
	unmake();
	options.framing = FRAMING_LINE;
}

/* Endpoints are made anew (a reload): the place is kept, also that of who is being served. */
static void check_made_anew(void)
{
	char text[64];
	int fd;

	make();
	receive_numbers(0, 10);
	fd = open_drain();
	CHECK_EQ(read_now(fd, text, sizeof(text)), 2);
	turns(); /* the second one stands in the pipe */
	unmake_endpoints(true);
	CHECK_STR(read_all(fd), "");
	close(fd);
	make_endpoints();
	fd = open_drain();
	CHECK_EQ(numbers_in(read_all(fd), 1), 10);
	close(fd);
	check_batch("");
	unmake();
}

/* Who has the old FIFO by name, and opens it after its end, is woken. */
static void check_latecomer(void)
{
	int old, status;
	char path[32], byte;
	pid_t child;

	make();
	old = openat(dir_fd, "drain", O_PATH | O_CLOEXEC);
	check_batch("");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", old);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		alarm(5);
		status = open(path, O_RDONLY); /* sleeps: nobody writes there any more */
		_exit(status >= 0 && read(status, &byte, 1) == 0 ? 0 : 1);
	}
	UNTIL(waitpid(child, &status, WNOHANG) == child);
	CHECK_EQ(status, 0);
	close(old);
	unmake();
}

static void check_door(void)
{
	struct stat st;
	int n = 0, fd[100];

	make();
	CHECK_EQ(fstatat(dir_fd, "drain", &st, 0), 0);
	CHECK_EQ(st.st_mode, S_IFIFO | 0600);
	receive_numbers(0, 10);
	for (int i = 0; i < 100; i++) { /* more than may wait on their own */
		fd[i] = open_drain();
		turns();
	}
	for (int i = 0; i < 100; i++) {
		n = numbers_in(read_all(fd[i]), n);
		close(fd[i]);
		turns();
	}
	CHECK_EQ(n, 10);
	CHECK_EQ(fstatat(dir_fd, "drain", &st, 0), 0);
	CHECK_EQ(st.st_mode, S_IFIFO | 0600);
	CHECK_EQ(faccessat(dir_fd, ".drain.next", F_OK, 0), -1);
	unmake();
}

int main(void)
{
	feed_init();
	feed_defaults(kinds);
	check_simple(false);
	check_simple(true);
	check_early_leavers(false);
	check_early_leavers(true);
	check_overrun();
	check_framings();
	check_made_anew();
	check_latecomer();
	check_door();
	feed_done();
	return 0;
}
