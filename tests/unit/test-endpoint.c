/* endpoint: real FIFOs, sockets and files in a temporary directory on the real loop; behind them
 * the real conn, on a dial and a ws that are the test's. */
#include "endpoint/endpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "feed.h"

static char *all[] = {(char *)"in",   (char *)"out",    (char *)"sock",
		      (char *)"last", (char *)"status", NULL};

static bool rung;

static void on_ring(void *owner)
{
	(void)owner;
	rung = true;
}

/* Nothing happens: the loop sleeps. */
static void check_quiet(void)
{
	struct timer timer;
	int wakes = 0;

	turns();
	CHECK_EQ(timer_init(&timer, on_ring, NULL), 0);
	rung = false;
	for (timer_set(&timer, 100); !rung; wakes++)
		event_base_loop(loop_base(), EVLOOP_ONCE);
	timer_done(&timer);
	CHECK(wakes < 20);
}

/* ... and the next one has the usual options. */
static void leave(void)
{
	unmake();
	feed_defaults(all);
}

static void write_in(const char *text)
{
	int fd = openat(dir_fd, "in", O_WRONLY | O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* DIGITS of NUMBER, and a full stop. */
static void put_number(char *text, int digits, int number)
{
	text[digits] = '.';
	for (; digits > 0; number /= 10)
		text[--digits] = (char)('0' + number % 10);
}

/* --- in ------------------------------------------------------------------------------------- */

static void check_in(void)
{
	char line[32];

	make();
	check_quiet(); /* before the first writer */
	for (int i = 0; i < 300; i++) {
		snprintf(line, sizeof(line), "%d\n", i);
		write_in(line);
		if (i % 3 == 0) /* so that two or three writers come and go within a turn */
			turn();
	}
	UNTIL(fake_ws_got() == 300);
	for (int i = 0; i < 300; i++) {
		snprintf(line, sizeof(line), "%d", i);
		CHECK_STR(fake_ws_got_text((size_t)i), line);
	}
	check_quiet(); /* and behind the last */
	write_in("no end");
	UNTIL(fake_ws_got() == 301);
	CHECK_STR(fake_ws_got_text(300), "no end");
	write_in("");
	write_in("\n");
	UNTIL(fake_ws_got() == 302);
	CHECK_STR(fake_ws_got_text(301), "");
	write_in("\xff\xfe\nfine\n");
	UNTIL(fake_ws_got() == 303);
	CHECK_STR(fake_ws_got_text(302), "fine");
	CHECK_EQ(conn_get_stats(conn)->rejected_messages, 1);
	check_quiet();
	leave();
}

static int open_in(void)
{
	int fd = openat(dir_fd, "in", O_WRONLY | O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	return fd;
}

/* Lines of eight bytes until the writer would block.  Returns the number behind the last. */
static int fill_in(int fd, int number)
{
	char line[16];

	for (int idle = 0; idle < 3; number++) {
		snprintf(line, sizeof(line), "%07d\n", number);
		if (write(fd, line, 8) == 8) {
			idle = 0;
			continue;
		}
		CHECK_EQ(errno, EAGAIN);
		turns();
		idle++;
		number--;
	}
	return number;
}

static void check_in_full(void)
{
	struct outbox_stats queue;
	char line[16];
	int fd, n;

	conn_opts.outbox.queue_bytes = 7000;
	make_closed();
	fd = open_in();
	n = fill_in(fd, 0);
	outbox_get_stats(conn_outbox(conn), &queue);
	CHECK_EQ(queue.queued_messages, 1000); /* the rest is in the pipe, and the writer blocks */
	CHECK(n > 1000 && n < 50000);
	check_quiet();
	go_open();
	UNTIL(fake_ws_got() == (size_t)n);
	CHECK_EQ(write(fd, "0000000\n", 8), 8); /* the same writer goes on */
	close(fd);
	UNTIL(fake_ws_got() == (size_t)n + 1);
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%07d", i);
		CHECK_STR(fake_ws_got_text((size_t)i), line);
	}
	check_quiet();

	/* while it is full, the last writer goes, his tail unfinished, and others come and go:
	 * nothing tells of them again */
	fake_ws_take(fake_ws_now(), 0);
	fake_ws_forget();
	fd = open_in();
	for (n = 0; n < 1200; n++) {
		snprintf(line, sizeof(line), "%07d\n", n);
		CHECK_EQ(write(fd, line, 8), 8);
		turn();
	}
	CHECK_EQ(write(fd, "tail", 4), 4);
	close(fd);
	turns();
	fake_ws_take(fake_ws_now(), SIZE_MAX);
	UNTIL(fake_ws_got() == 1201);
	CHECK_STR(fake_ws_got_text(1200), "tail");
	fake_ws_forget();
	leave();

	/* only the tail itself finds the queue full; the next writer comes meanwhile */
	conn_opts.outbox.queue_bytes = 5;
	make_closed();
	write_in("first\n");
	turns();
	write_in("tail");
	turns();
	write_in("next\n");
	turns();
	go_open();
	UNTIL(fake_ws_got() == 3);
	CHECK_STR(fake_ws_got_text(1), "tail");
	CHECK_STR(fake_ws_got_text(2), "next");
	leave();
}

static void check_in_two_writers(void)
{
	int a, b, n = 0, from_a = 0, from_b = 0;

	conn_opts.outbox.queue_bytes = 100;
	all[1] = (char *)"sock"; /* in and sock are two intakes of one queue */
	make_closed();
	CHECK(file_connect("/dev/null", 0, &a) < 0);
	a = open_in();
	{
		char path[64];

		snprintf(path, sizeof(path), "%s/feed/sock", root);
		CHECK_EQ(file_connect(path, SOCK_NONBLOCK, &b), 0);
	}
	go_open();
	fake_ws_take(fake_ws_now(), 0);
	for (int round = 0; round < 300; round++) {
		for (int i = 0; i < 40; i++) {
			(void)!write(a, "aaaaaaaaa\n", 10);
			(void)!write(b, "bbbbbbbbb\n", 10);
		}
		turns();
		fake_ws_take(fake_ws_now(), 100);
		turns();
	}
	for (size_t i = 0; i < fake_ws_got(); i++, n++) {
		CHECK_EQ(strlen(fake_ws_got_text(i)), 9);
		from_a += fake_ws_got_text(i)[0] == 'a';
		from_b += fake_ws_got_text(i)[0] == 'b';
	}
	CHECK(n > 500);
	CHECK(from_a > n / 4 && from_b > n / 4);
	close(a);
	close(b);
	turns();
	leave();
	all[1] = (char *)"out";
}

static void check_in_broken(void)
{
	int fd;

	options.framing = FRAMING_LENGTH;
	make();
	fd = open_in();
	CHECK_EQ(write(fd, "\0\0\0\2ok\x7f\xff\xff\xff rubbish", 18), 18);
	UNTIL(conn_get_stats(conn)->rejected_messages == 1);
	for (int i = 0; i < 1000; i++) { /* passed over: this writer is not stuck for ever */
		static const char more[4096];

		if (write(fd, more, sizeof(more)) < 0)
			turns();
	}
	CHECK_EQ(conn_get_stats(conn)->rejected_messages, 1);
	close(fd);
	turns();
	fd = open_in();
	CHECK_EQ(write(fd, "\0\0\0\5fresh", 9), 9);
	close(fd);
	UNTIL(fake_ws_got() == 2);
	CHECK_STR(fake_ws_got_text(0), "ok");
	CHECK_STR(fake_ws_got_text(1), "fresh");
	leave();
}

static void check_in_drain(void)
{
	int fd;

	make_closed();
	fd = open_in();
	CHECK_EQ(write(fd, "last words\n", 11), 11);
	endpoints_drain_in(endpoints);
	CHECK(!conn_is_idle(conn));
	close(fd);
	leave();
}

/* --- out ------------------------------------------------------------------------------------ */

static int open_out(void)
{
	int fd = openat(dir_fd, "out", O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	return fd;
}

static ssize_t read_now(int fd, char *to, size_t size)
{
	ssize_t n;

	UNTIL((n = read(fd, to, size)) != -1 || errno != EAGAIN);
	return n;
}

/* What `head -n1` does: one read as large as can be, and gone. */
static void check_next_line(const char *expected)
{
	static char text[65536];
	int fd = open_out();
	ssize_t n = read_now(fd, text, sizeof(text) - 1);

	CHECK(n >= 0);
	text[n] = '\0';
	CHECK_STR(text, expected);
	close(fd);
	turns();
}

static void check_out(void)
{
	char line[32], text[64];
	int fd;

	make();
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "%d", i);
		receive(line);
	}
	check_quiet(); /* nobody reads */
	for (int i = 0; i < 50; i++) {
		snprintf(line, sizeof(line), "%d\n", i);
		check_next_line(line);
	}
	fd = open_out(); /* one who stays gets line after line */
	for (int i = 50; i < 100; i++) {
		ssize_t n = read_now(fd, text, sizeof(text));

		snprintf(line, sizeof(line), "%d\n", i);
		CHECK_EQ(n, (ssize_t)strlen(line));
		CHECK(memcmp(text, line, (size_t)n) == 0);
	}
	turns();
	CHECK_EQ(read(fd, text, sizeof(text)), -1); /* and no end of file */
	CHECK_EQ(errno, EAGAIN);
	check_quiet();
	receive("");
	CHECK_EQ(read_now(fd, text, sizeof(text)), 1);
	CHECK_EQ(text[0], '\n');
	close(fd);
	turns();
	check_quiet();
	leave();
}

static void check_out_partly_read(void)
{
	char text[64];
	int fd, other;

	make();
	/* one who comes and reads nothing has taken nothing */
	receive("kept");
	fd = open_out();
	turns();
	close(fd);
	turns();
	check_next_line("kept\n");

	/* one who takes half a line leaves the whole of it to the next */
	receive("hello world");
	receive("behind it");
	fd = open_out();
	CHECK_EQ(read_now(fd, text, 5), 5);
	close(fd);
	turns();
	check_next_line("hello world\n");
	check_next_line("behind it\n");

	/* also when he comes and goes between two looks, and the line stood in the pipe already */
	receive("hello again");
	fd = open_out();
	turns();
	close(fd);
	turns();
	fd = open_out();
	CHECK_EQ(read(fd, text, 5), 5);
	close(fd);
	turns();
	check_next_line("hello again\n");

	/* bytewise, as the shell's read does, by two who share */
	receive("shared 1");
	receive("shared 2");
	fd = open_out();
	other = open_out();
	for (int i = 0; i < 9; i++)
		CHECK_EQ(read_now(fd, text + i, 1), 1);
	CHECK(memcmp(text, "shared 1\n", 9) == 0);
	CHECK_EQ(read_now(other, text, sizeof(text)), 9);
	CHECK(memcmp(text, "shared 2\n", 9) == 0);
	close(fd);
	close(other);
	turns();
	check_quiet();
	leave();
}

static void fill_text(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + i % 26);
	text[len] = '\0';
}

static void check_out_large(void)
{
	static char text[20001], got[20010];
	size_t have = 0;
	int fd;

	make();
	fill_text(text, 20000);
	receive(text);
	receive("small");
	fd = open_out(); /* takes a page and a bit, and dies */
	CHECK_EQ(read_now(fd, got, 4096), 4096);
	CHECK_EQ(read_now(fd, got, 100), 100);
	close(fd);
	turns();
	fd = open_out(); /* takes exactly a page, and dies */
	CHECK_EQ(read_now(fd, got, 4096), 4096);
	close(fd);
	turns();
	fd = open_out();
	while (have < 20001)
		have += (size_t)read_now(fd, got + have, have < 10000 ? 777 : sizeof(got) - have);
	CHECK_EQ(have, 20001);
	CHECK(memcmp(got, text, 20000) == 0);
	CHECK_EQ(got[20000], '\n');
	CHECK_EQ(read_now(fd, got, sizeof(got)), 6);
	close(fd);
	turns();
	check_quiet();
	leave();
}

static void check_out_missed(void)
{
	static char text[1001];
	struct spool_stats stats;
	struct buf json;
	char *at;
	int n = 0, first;

	conn_opts.spool.keep_bytes = 100000;
	make_closed(); /* there before the first message, and never read until too late */
	go_open();
	fill_text(text, 1000);
	for (n = 0; n < 1000; n++) {
		put_number(text, 5, n);
		receive(text);
	}
	spool_get_stats(conn_spool(conn), &stats);
	buf_init(&json, 10000);
	CHECK_EQ(endpoints_describe(endpoints, &json), 0);
	buf_append(&json, "", 1);
	at = strstr((char *)buf_head(&json), "\"missed\":");
	CHECK(at);
	first = atoi(at + 9);
	CHECK(first > 800);
	CHECK_EQ(stats.dropped_messages, first);
	at = strstr((char *)buf_head(&json), "\"behind_messages\":");
	CHECK_EQ(atoi(at + 18), 1000 - first);
	buf_done(&json);
	put_number(text, 5, first);
	{
		char line[1010];

		snprintf(line, sizeof(line), "%s\n", text);
		check_next_line(line);
	}
	leave();
}

static void check_out_batch(void)
{
	static char got[300000];
	size_t have = 0, expected = 0;
	int fd, reads = 0, number = 0;
	char line[16];

	options.batch = true;
	make();
	for (int i = 0; i < 30000; i++) {
		snprintf(line, sizeof(line), "%d", i);
		receive(line);
		expected += strlen(line) + 1;
	}
	fd = open_out();
	while (have < expected) {
		have += (size_t)read_now(fd, got + have, sizeof(got) - have);
		CHECK(have <= expected);
		reads++;
	}
	CHECK(reads < 200);
	for (char *at = strtok(got, "\n"); at; at = strtok(NULL, "\n"))
		CHECK_EQ(atoi(at), number++);
	CHECK_EQ(number, 30000);
	check_quiet();
	close(fd);
	turns();
	leave();
}

/* --- sock ----------------------------------------------------------------------------------- */

static int open_sock(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/feed/sock", root);
	CHECK_EQ(file_connect(path, SOCK_NONBLOCK, &fd), 0);
	turns();
	return fd;
}

static void check_line(int fd, const char *expected)
{
	char text[256];
	ssize_t n = read_now(fd, text, sizeof(text) - 1);

	CHECK(n >= 0);
	text[n] = '\0';
	CHECK_STR(text, expected);
}

static int clients(void)
{
	struct buf json;
	int n = 0;

	buf_init(&json, 1 << 20);
	CHECK_EQ(endpoints_describe(endpoints, &json), 0);
	buf_append(&json, "", 1);
	for (const char *at = (char *)buf_head(&json); (at = strstr(at, "\"kind\":\"sock\"")); at++)
		n++;
	buf_done(&json);
	return n;
}

static void check_sock(void)
{
	int a, b, c;

	make();
	receive("before anybody");
	a = open_sock();
	b = open_sock();
	CHECK_EQ(clients(), 2);
	receive("one");
	receive("two");
	check_line(a, "one\ntwo\n");
	check_line(b, "one\ntwo\n");
	CHECK_EQ(write(a, "from a\nunfinished", 17), 17);
	CHECK_EQ(write(b, "from b\n", 7), 7);
	UNTIL(fake_ws_got() == 2);
	shutdown(a, SHUT_WR); /* the tail is sent, and it goes on receiving */
	UNTIL(fake_ws_got() == 3);
	CHECK_STR(fake_ws_got_text(2), "unfinished");
	check_quiet();
	receive("three");
	check_line(a, "three\n");
	check_line(b, "three\n");
	CHECK_EQ(clients(), 2);
	close(a); /* now it has gone for good, and nothing had to be written to find out */
	UNTIL(clients() == 1);
	c = open_sock();
	close(b);
	UNTIL(clients() == 1);
	CHECK_EQ(write(c, "say\n", 4), 4);
	close(c); /* written and gone */
	UNTIL(clients() == 0);
	UNTIL(fake_ws_got() == 4);
	check_quiet();

	/* gone with bytes unread: a reset, and no harm */
	c = open_sock();
	receive("unread");
	turns();
	close(c);
	UNTIL(clients() == 0);
	receive("nobody");
	turns();
	leave();
}

static void check_sock_broken(void)
{
	char byte;
	int fd;

	options.framing = FRAMING_LENGTH;
	make();
	fd = open_sock();
	CHECK_EQ(write(fd, "\xff\xff\xff\xff!", 5), 5);
	CHECK_EQ(read_now(fd, &byte, 1), 0);
	CHECK_EQ(clients(), 0);
	close(fd);
	leave();
}

/* One client does not read.  The other gets everything, and the first is told what it has missed.
 */
static void check_sock_slow(void)
{
	enum { N = 20000, LEN = 500 };
	static char text[LEN + 1], got[1 << 20];
	int slow, fast, next = 0, seen = 0, last = -1;
	size_t have = 0, part = 0;
	ssize_t n;

	conn_opts.spool.keep_bytes = 1 << 20;
	make();
	slow = open_sock();
	fast = open_sock();
	fill_text(text, LEN);
	for (int i = 0; i < N; i++) {
		put_number(text, 7, i);
		receive(text);
		if (i % 50 < 49)
			continue;
		for (turns(); (n = read(fast, got + have, sizeof(got) - have)) > 0;) {
			size_t at = 0;

			for (have += (size_t)n; have - at > LEN; at += LEN + 1) {
				CHECK_EQ(atoi(got + at), next++);
				CHECK_EQ(got[at + LEN], '\n');
			}
			memmove(got, got + at, have -= at);
			turns();
		}
	}
	CHECK_EQ(next, N);
	for (int idle = 0;
	     idle < 50;) { /* then it reads: whole lines, in order, and the newest too */
		n = read(slow, got + part, sizeof(got) - part);
		idle = n > 0 ? 0 : idle + 1;
		turns();
		if (n <= 0)
			continue;
		part += (size_t)n;
		for (; part > LEN; seen++) {
			CHECK(atoi(got) > last);
			last = atoi(got);
			CHECK_EQ(got[LEN], '\n');
			CHECK_EQ(got[LEN - 1], text[LEN - 1]);
			memmove(got, got + LEN + 1, part -= LEN + 1);
		}
	}
	CHECK_EQ(part, 0);
	CHECK_EQ(last, N - 1);
	CHECK(seen < N);
	{
		struct spool_stats stats;

		spool_get_stats(conn_spool(conn), &stats);
		/* `out` has seen nothing at all: what it missed is what was dropped */
		CHECK(stats.dropped_messages >= (uint64_t)(N - seen));
	}
	close(slow);
	close(fast);
	UNTIL(clients() == 0);
	leave();
}

static void check_sock_full(void)
{
	struct rlimit limit, low;
	int fd[4], spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uint64_t begun;

	make();
	CHECK(spare >= 0);
	for (int i = 0; i < 4; i++)
		fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = (rlim_t)fd[3] + 1; /* every number below is taken, or will be */
	for (int i = 0; i < fd[3]; i++)
		if (fcntl(i, F_GETFD) < 0)
			CHECK(fcntl(spare, F_DUPFD_CLOEXEC, i) >= 0);
	setrlimit(RLIMIT_NOFILE, &low);
	close(fd[3]);
	for (int i = 0; i < 2; i++) { /* one place, two who want it */
		struct {
			sa_family_t family;
			char path[100];
		} address = {.family = AF_UNIX};

		snprintf(address.path, sizeof(address.path), "%s/feed/sock", root);
		CHECK_EQ(connect(fd[i], (void *)&address, sizeof(address)), 0);
	}
	UNTIL(clients() == 1);
	check_quiet(); /* the one that waits in the backlog makes no spin */
	receive("served");
	check_line(fd[0], "served\n");
	setrlimit(RLIMIT_NOFILE, &limit);
	begun = clock_ms();
	UNTIL(clients() == 2);
	CHECK(clock_ms() - begun < 1500);
	receive("both");
	check_line(fd[1], "both\n");
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	turns();
	leave();
}

/* --- files ---------------------------------------------------------------------------------- */

static const char *content(const char *name)
{
	static char text[65536];
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n >= 0 ? text : "(none)";
}

static bool is_newest(const char *expected)
{
	return strcmp(content("last"), expected) == 0;
}

static void check_last(void)
{
	struct stat before, after;

	make_closed();
	CHECK_STR(content("last"), "(none)");
	go_open();
	receive("first");
	UNTIL(is_newest("first\n"));
	for (int i = 0; i < 1000; i++)
		receive("flood");
	receive("newest");
	UNTIL(is_newest("newest\n"));
	check_quiet();
	CHECK_EQ(fstatat(dir_fd, "last", &before, 0), 0);
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 1006, 0, ""); /* a mark is no message */
	UNTIL(conn_state(conn) == CONN_WAITING);
	usleep(15000);
	turns();
	CHECK_EQ(fstatat(dir_fd, "last", &after, 0), 0);
	CHECK_EQ(before.st_ino, after.st_ino);
	CHECK_EQ(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
	leave();
}

static bool status_has(const char *line)
{
	return strstr(content("status"), line) != NULL;
}

static void check_status(void)
{
	make_closed();
	CHECK(status_has("state='closed'\n"));
	CHECK(status_has("name='feed'\n"));
	go_open();
	UNTIL(status_has("state='open'\n"));
	CHECK(status_has("url='ws://example.org/'\n"));
	CHECK(status_has("http_status=101\n"));
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 4000, 4000, "it's\nstate='open'\n$(reboot)");
	UNTIL(status_has("state='waiting'\n"));
	CHECK(status_has("close_code=4000\n"));
	CHECK(status_has("close_reason='it'\\''s?state='\\''open'\\''?$(reboot)'\n"));
	CHECK(!status_has("\nstate='\\''open"));
	CHECK(!status_has("\nstate='open"));
	leave();
}

static void check_modes(void)
{
	static const struct {
		const char *name;
		mode_t mode;
	} row[] = {
		{"in", S_IFIFO | 0600},   {"out", S_IFIFO | 0600},    {"sock", S_IFSOCK | 0600},
		{"last", S_IFREG | 0600}, {"status", S_IFREG | 0600}, {".", S_IFDIR | 0700},
	};
	struct dirent *entry;
	struct stat st;
	ino_t in, out;
	DIR *dir;
	int n = 0;

	make();
	receive("something");
	UNTIL(is_newest("something\n"));
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		CHECK_EQ(fstatat(dir_fd, row[i].name, &st, AT_SYMLINK_NOFOLLOW), 0);
		CHECK_EQ(st.st_mode, row[i].mode);
	}
	CHECK((dir = fdopendir(dup(dir_fd))));
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	CHECK_EQ(n, 5); /* and no temporary names are left */

	/* the FIFOs outlive the daemon, because people sleep in open() on them */
	fstatat(dir_fd, "in", &st, 0);
	in = st.st_ino;
	fstatat(dir_fd, "out", &st, 0);
	out = st.st_ino;
	unmake_endpoints(true);
	CHECK_EQ(faccessat(root_fd, "feed/in", F_OK, 0), 0);
	CHECK_EQ(faccessat(root_fd, "feed/sock", F_OK, 0), -1);
	CHECK_EQ(faccessat(root_fd, "feed/status", F_OK, 0), -1);
	make_endpoints();
	fstatat(dir_fd, "in", &st, 0);
	CHECK_EQ(st.st_ino, in);
	fstatat(dir_fd, "out", &st, 0);
	CHECK_EQ(st.st_ino, out);
	write_in("as before\n");
	UNTIL(fake_ws_got() == 1);

	/* what is not asked for any more goes */
	unmake_endpoints(true);
	all[1] = NULL;
	make_endpoints();
	CHECK_EQ(faccessat(dir_fd, "in", F_OK, 0), 0);
	CHECK_EQ(faccessat(dir_fd, "out", F_OK, 0), -1);
	CHECK_EQ(faccessat(dir_fd, "last", F_OK, 0), -1);
	all[1] = (char *)"out";
	leave();
}

static void check_foreign_file(void)
{
	const char *path = NULL;
	int fd;

	CHECK_EQ(conn_new(&conn, "feed", &conn_opts, &pool), 0);
	CHECK_EQ(mkdirat(root_fd, "feed", 0700), 0);
	fd = openat(root_fd, "feed/out", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CHECK_EQ(write(fd, "mine", 4), 4);
	close(fd);
	CHECK_EQ(endpoints_new(&endpoints, root_fd, arrivals, NULL, conn, &options, &path), -EEXIST);
	CHECK_STR(path, "out");
	CHECK_EQ(faccessat(root_fd, "feed/out", F_OK, 0), 0); /* left alone */
	CHECK_EQ(unlinkat(root_fd, "feed/out", 0), 0);
	make_endpoints();
	leave();
}

int main(void)
{
	feed_init();
	feed_defaults(all);
	check_in();
	check_in_full();
	check_in_two_writers();
	check_in_broken();
	check_in_drain();
	check_out();
	check_out_partly_read();
	check_out_large();
	check_out_missed();
	check_out_batch();
	check_sock();
	check_sock_broken();
	check_sock_slow();
	check_last();
	check_status();
	check_modes();
	check_foreign_file();
	check_sock_full();
	feed_done();
	return 0;
}
