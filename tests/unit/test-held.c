/* Pages and sluices: what a process that was killed between any two instructions leaves behind is what the
 * next one needs.  Children are killed in the middle of their work; their own work is checked by the parent. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sync.h"
#include "check.h"
#include "endpoint/held.h"
#include "endpoint/sluice.h"

static struct held_terms terms(enum held_kind kind)
{
	return (struct held_terms){
		.name = "feed/sock.1",
		.kind = kind,
		.framing = FRAMING_LINE,
		.type = MSG_TEXT,
		.max_message = 1 << 16,
	};
}

/* The page as the next process would get it. */
static struct held *reopen(struct held *held, enum held_kind kind)
{
	struct held_terms t = terms(kind);
	int fd = fcntl(held_fd(held), F_DUPFD_CLOEXEC, 0);

	held_free(held);
	CHECK_EQ(held_open(&held, fd, &t), 0);
	return held;
}

static struct held *fresh(enum held_kind kind)
{
	struct held_terms t = terms(kind);
	struct held *held;

	CHECK_EQ(held_new(&held, &t), 0);
	return held;
}

static void check_input(const struct held *held, const char *text)
{
	const uint8_t *data;
	bool skipping;

	CHECK_EQ(held_input(held, &data, &skipping), strlen(text));
	CHECK(memcmp(data, text, strlen(text)) == 0);
	CHECK(!skipping);
}

/* --- input ---------------------------------------------------------------------------------- */

static void test_input_is_kept(void)
{
	struct held *held = fresh(HELD_SOCK);
	const uint8_t *data;
	bool skipping;
	int ends[2];

	CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
	CHECK_EQ(held_read(held, ends[0], &data), -EAGAIN);
	CHECK_EQ(write(ends[1], "one\ntwo\nthr", 11), 11);
	CHECK_EQ(held_read(held, ends[0], &data), 11);
	CHECK(memcmp(data, "one\ntwo\nthr", 11) == 0);
	held = reopen(held, HELD_SOCK);
	check_input(held, "one\ntwo\nthr");
	held_settle(held, 7, false);
	held = reopen(held, HELD_SOCK);
	check_input(held, "two\nthr");
	held_settle(held, 3, false);
	CHECK_EQ(write(ends[1], "ee\n", 3), 3);
	CHECK_EQ(held_read(held, ends[0], &data), 3);
	check_input(held, "three\n");
	held_settle(held, 0, true);
	held = reopen(held, HELD_SOCK);
	CHECK_EQ(held_input(held, &data, &skipping), 0);
	CHECK(skipping);
	held_settle(held, 0, false);
	close(ends[1]);
	CHECK_EQ(held_read(held, ends[0], &data), 0);
	close(ends[0]);
	held_free(held);
}

/* Far more bytes go through than there is room, and something is always left over. */
static void test_input_moves_to_the_front(void)
{
	struct held *held = fresh(HELD_SOCK);
	char block[4096];
	const uint8_t *data;
	struct stat st;
	int ends[2];

	CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
	for (int i = 0; i < 2000; i++) {
		memset(block, 'a' + i % 26, sizeof(block));
		CHECK_EQ(write(ends[1], block, sizeof(block)), sizeof(block));
		CHECK_EQ(held_read(held, ends[0], &data), sizeof(block));
		CHECK(memcmp(data, block, sizeof(block)) == 0);
		held_settle(held, 100, false);
	}
	CHECK_EQ(fstat(held_fd(held), &st), 0);
	CHECK(st.st_blocks * 512 < 512 * 1024);
	/* A record as long as any may be has room, and then there is an end. */
	held_settle(held, 0, false);
	for (int i = 0; i < 35; i++) {
		CHECK_EQ(write(ends[1], block, sizeof(block)), sizeof(block));
		CHECK_EQ(held_read(held, ends[0], &data), sizeof(block));
	}
	for (int i = 0; i < 1000; i++) {
		ssize_t n = write(ends[1], block, sizeof(block));

		CHECK(n > 0 || errno == EAGAIN);
		n = held_read(held, ends[0], &data);
		if (n == -ENOSPC)
			break;
		CHECK(n > 0 && i < 999);
	}
	held_settle(held, 0, false);
	CHECK(held_read(held, ends[0], &data) > 0);
	close(ends[0]);
	close(ends[1]);
	held_free(held);
}

static unsigned random_state = 1;

static unsigned random_below(unsigned limit)
{
	random_state = random_state * 1103515245 + 12345;
	return (random_state >> 8) % limit;
}

/* A daemon in small: reads numbers of four bytes by the page, "queues" each by writing it to OUT, and then
 * lets go of it. */
static void be_reader(struct held *held, int in, int out)
{
	for (;;) {
		const uint8_t *data;
		bool skipping;
		ssize_t n = held_read(held, in, &data);
		size_t len = held_input(held, &data, &skipping);

		if (n == 0 && len < 4)
			_exit(0);
		for (; len >= 4; len -= 4, data += 4) {
			if (write(out, data, 4) != 4)
				_exit(1);
			held_settle(held, len - 4, false);
		}
	}
}

enum { NUMBERS = 200000, KILLS = 100 };

static void be_writer(int fd)
{
	for (uint32_t i = 0; i < NUMBERS; i++)
		if (write(fd, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	_exit(0);
}

/* Kills the child after a moment, unless it has ended: then true. */
static bool kill_soon(pid_t child)
{
	int status;

	usleep(200 + random_below(3000));
	kill(child, SIGKILL);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFEXITED(status);
}

/* Every number comes, in order; the last one before a kill may come twice. */
static void check_numbers(int fd, unsigned kills, bool twice)
{
	uint32_t number, next = 0;
	unsigned repeated = 0;

	while (read(fd, &number, sizeof(number)) == sizeof(number)) {
		if (twice && number + 1 == next) {
			repeated++;
			continue;
		}
		CHECK_EQ(number, next);
		next++;
	}
	CHECK_EQ(next, NUMBERS);
	CHECK(repeated <= kills);
}

static int scratch_file(void)
{
	char path[] = "/tmp/wspipe-held-XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	unlink(path);
	return fd;
}

static void test_input_survives_kills(bool socket)
{
	struct held *held = fresh(HELD_SOCK);
	int ends[2], out = scratch_file();
	unsigned kills = 0;
	pid_t writer;

	CHECK_EQ(socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe2(ends, 0), 0);
	writer = fork();
	if (writer == 0) {
		close(ends[0]);
		be_writer(ends[1]);
	}
	close(ends[1]);
	for (;; kills++) {
		pid_t child = fork();

		if (child == 0) {
			held = reopen(held, HELD_SOCK);
			be_reader(held, ends[0], out);
		}
		if (kills == KILLS) { /* the rest */
			CHECK_EQ(waitpid(child, NULL, 0), child);
			break;
		}
		if (kill_soon(child))
			break;
	}
	CHECK_EQ(waitpid(writer, NULL, 0), writer);
	lseek(out, 0, SEEK_SET);
	check_numbers(out, kills, true);
	close(out);
	close(ends[0]);
	held_free(held);
}

/* --- output --------------------------------------------------------------------------------- */

static struct held_place at(uint64_t seq)
{
	return (struct held_place){.seq = seq, .flags = HELD_LASTS};
}

static void put(struct sluice *sluice, const char *text, uint64_t seq)
{
	struct iovec iov = {(char *)text, strlen(text)};
	struct held_place place = at(seq);

	CHECK_EQ(sluice_put(sluice, &iov, 1), 0);
	sluice_commit(sluice, &place);
}

static void check_read(int fd, const char *text)
{
	char got[256];

	CHECK_EQ(read(fd, got, sizeof(got)), strlen(text));
	CHECK(memcmp(got, text, strlen(text)) == 0);
}

static struct sluice *resume(struct sluice *sluice, struct held **held, enum held_kind kind)
{
	int fd = fcntl(sluice_pipe(sluice), F_DUPFD_CLOEXEC, 0);

	sluice_free(sluice);
	*held = reopen(*held, kind);
	CHECK_EQ(sluice_new(&sluice, *held, fd), 0);
	return sluice;
}

static void test_stream(void)
{
	struct held *held = fresh(HELD_SOCK);
	struct sluice *sluice;
	int ends[2];

	CHECK_EQ(sluice_new(&sluice, held, -1), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	CHECK(sluice_idle(sluice));
	put(sluice, "one\n", 1);
	put(sluice, "two\n", 2);
	CHECK(!sluice_idle(sluice));
	sluice = resume(sluice, &held, HELD_SOCK);
	CHECK_EQ(sluice_place(sluice).seq, 2);
	CHECK_EQ(sluice_flush(sluice, ends[0]), 1);
	check_read(ends[1], "one\ntwo\n");
	sluice = resume(sluice, &held, HELD_SOCK);
	CHECK(sluice_idle(sluice));
	put(sluice, "three\n", 3);
	CHECK_EQ(sluice_flush(sluice, ends[0]), 1);
	check_read(ends[1], "three\n");
	/* What was put, and not committed, has never been. */
	CHECK_EQ(sluice_put(sluice, &(struct iovec){(char *)"four\n", 5}, 1), 0);
	sluice = resume(sluice, &held, HELD_SOCK);
	CHECK(sluice_idle(sluice));
	CHECK_EQ(sluice_place(sluice).seq, 3);
	close(ends[1]);
	put(sluice, "four\n", 4);
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(sluice_flush(sluice, ends[0]), -EPIPE);
	close(ends[0]);
	sluice_free(sluice);
	held_free(held);
}

/* Killed while the pipe was being filled: it has been, or it has not. */
static void test_stream_while_filling(bool filled)
{
	struct held *held = fresh(HELD_SOCK);
	struct sluice *sluice;
	int ends[2];

	CHECK_EQ(sluice_new(&sluice, held, -1), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	put(sluice, "one\n", 1);
	held_moving(held);
	if (filled)
		CHECK_EQ(write(sluice_pipe(sluice), "one\n", 4), 4);
	sluice = resume(sluice, &held, HELD_SOCK);
	put(sluice, "two\n", 2);
	CHECK_EQ(sluice_flush(sluice, ends[0]), 1);
	check_read(ends[1], "one\ntwo\n");
	close(ends[0]);
	close(ends[1]);
	sluice_free(sluice);
	held_free(held);
}

static void be_sender(struct held *held, int pipe, int fd)
{
	struct sluice *sluice;

	if (sluice_new(&sluice, held, fcntl(pipe, F_DUPFD_CLOEXEC, 0)) < 0)
		_exit(1);
	for (uint64_t seq = sluice_place(sluice).seq;;) {
		uint32_t numbers[300];
		struct held_place place;
		size_t n = 0;

		while (sluice_flush(sluice, fd) == 0)
			usleep(100);
		if (seq == NUMBERS)
			_exit(0);
		while (n < 300 && seq + n < NUMBERS && (n < 1 || (seq + n) % 17))
			numbers[n] = (uint32_t)(seq + n), n++;
		place = at(seq += n);
		if (sluice_put(sluice, &(struct iovec){numbers, 4 * n}, 1) < 0)
			_exit(1);
		sluice_commit(sluice, &place);
	}
}

/* Each number goes out exactly once, though senders are killed and the reader reads all the time. */
static void test_output_survives_kills(bool socket)
{
	struct held *held = fresh(HELD_SOCK);
	struct sluice *sluice;
	int ends[2], status;
	unsigned kills;
	pid_t reader;

	CHECK_EQ(sluice_new(&sluice, held, -1), 0);
	CHECK_EQ(socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe2(ends, 0), 0);
	CHECK_EQ(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	reader = fork();
	if (reader == 0) {
		close(ends[1]);
		check_numbers(ends[0], 0, false);
		_exit(0);
	}
	for (kills = 0;; kills++) {
		pid_t child = fork();

		if (child == 0) {
			held = reopen(held, HELD_SOCK);
			be_sender(held, sluice_pipe(sluice), ends[1]);
		}
		if (kills == KILLS) {
			CHECK_EQ(waitpid(child, NULL, 0), child);
			break;
		}
		if (kill_soon(child))
			break;
	}
	close(ends[1]);
	close(ends[0]);
	CHECK_EQ(waitpid(reader, &status, 0), reader);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	sluice_free(sluice);
	held_free(held);
}

static void test_one_by_one(void)
{
	struct held *held = fresh(HELD_OUT);
	struct held_place before = at(7), given = at(7);
	char record[10000];
	struct sluice *sluice;
	int ends[2];

	memset(record, 'r', sizeof(record));
	given.after = 8;
	given.flags |= HELD_GIVEN | HELD_COUNTS;
	CHECK_EQ(sluice_new(&sluice, held, -1), 0);
	CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
	CHECK_EQ(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
	CHECK_EQ(sluice_give(sluice, &(struct iovec){record, sizeof(record)}, 1, &given), 0);
	sluice = resume(sluice, &held, HELD_OUT);
	CHECK_EQ(sluice_moved(sluice), 0);
	CHECK_EQ(sluice_move(sluice, ends[1]), 4096);
	CHECK_EQ(sluice_move(sluice, ends[1]), 0); /* not read yet */
	sluice = resume(sluice, &held, HELD_OUT);
	CHECK_EQ(sluice_moved(sluice), 4096);
	CHECK_EQ(sluice_place(sluice).total, sizeof(record));
	CHECK(memcmp(sluice_record(sluice), record, sizeof(record)) == 0);
	CHECK_EQ(read(ends[0], record, sizeof(record)), 4096);
	CHECK_EQ(sluice_move(sluice, ends[1]), 4096);
	sluice_withdraw(sluice, &before);
	sluice = resume(sluice, &held, HELD_OUT);
	CHECK(sluice_idle(sluice));
	CHECK_EQ(sluice_place(sluice).seq, 7);
	CHECK_EQ(sluice_place(sluice).flags, HELD_LASTS);
	/* One that no page can hold. */
	CHECK_EQ(sluice_give(sluice, &(struct iovec){record, (size_t)1 << 30}, 1, &given), -ENOBUFS);
	close(ends[0]);
	close(ends[1]);
	sluice_free(sluice);
	held_free(held);
}

/* --- pages that are not right --------------------------------------------------------------- */

/* A file on a disk, of a machine that went down under the daemon. */
static void test_another_life(void)
{
	struct held_terms t = terms(HELD_IN);
	int fd = scratch_file(), ends[2], again = dup(fd), after = dup(fd);
	struct held *held, *other;
	const uint8_t *data;

	if (fcntl(fd, F_GET_SEALS) >= 0) { /* no disk, and all goes down together */
		close(fd);
		close(again);
		close(after);
		return;
	}
	t.life = 1;
	CHECK_EQ(held_open(&held, fd, &t), 0);
	CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
	CHECK_EQ(write(ends[1], "half", 4), 4);
	CHECK_EQ(held_read(held, ends[0], &data), 4);
	t.life = 2;
	CHECK_EQ(held_open(&other, again, &t), -ESTALE);
	held_free(held); /* properly */
	CHECK_EQ(held_open(&other, after, &t), 0);
	check_input(other, "half");
	held_free(other);
	close(ends[0]);
	close(ends[1]);
	sync_stop();
}

static int copy_of(const struct held *held, int *ret_fd)
{
	int fd = memfd_create("copy", MFD_CLOEXEC);
	struct stat st;

	CHECK_EQ(fstat(held_fd(held), &st), 0);
	CHECK_EQ(ftruncate(fd, st.st_size), 0);
	for (off_t done = 0; done < 4096;) {
		char head[4096];
		ssize_t n = pread(held_fd(held), head, sizeof(head), done);

		CHECK(n > 0 && pwrite(fd, head, (size_t)n, done) == n);
		done += n;
	}
	*ret_fd = fd;
	return fd;
}

static void test_bad_pages(void)
{
	struct held_terms t = terms(HELD_SOCK);
	struct held *held = fresh(HELD_SOCK), *other;
	int fd;

	CHECK_EQ(held_open(&other, open("/dev/null", O_RDWR), &t), -EINVAL);
	fd = memfd_create("small", MFD_CLOEXEC);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(held_open(&other, fd, &t), -EINVAL);
	fd = memfd_create("zeros", MFD_CLOEXEC);
	CHECK_EQ(ftruncate(fd, 1 << 20), 0);
	CHECK_EQ(held_open(&other, fd, &t), -EINVAL);
	t.framing = FRAMING_NUL;
	CHECK_EQ(held_open(&other, copy_of(held, &fd), &t), -ESTALE);
	t = terms(HELD_SOCK);
	strcpy(t.name, "feed/sock.2");
	CHECK_EQ(held_open(&other, copy_of(held, &fd), &t), -ESTALE);
	t = terms(HELD_SOCK);
	copy_of(held, &fd);
	CHECK_EQ(ftruncate(fd, 8192), 0);
	CHECK_EQ(held_open(&other, fd, &t), -EINVAL);
	t.max_message = SIZE_MAX / 16;
	CHECK_EQ(held_new(&other, &t), -EFBIG);
	/* Whatever stands in the head: an error, or a page that can be used. */
	t = terms(HELD_SOCK);
	for (int i = 0; i < 20000; i++) {
		const uint8_t *data;
		bool skipping;
		uint8_t byte = (uint8_t)random_below(256);

		copy_of(held, &fd);
		for (unsigned n = 1 + random_below(3); n > 0; n--)
			CHECK_EQ(pwrite(fd, &byte, 1, random_below(360)), 1);
		if (held_open(&other, fd, &t) < 0)
			continue;
		for (size_t at = 0, len = held_input(other, &data, &skipping); at < len; at += 4096)
			CHECK(data[at] <= 255);
		CHECK(held_output(other, held_place(other).start, held_place(other).len));
		held_free(other);
	}
	held_free(held);
}

int main(void)
{
	test_input_is_kept();
	test_input_moves_to_the_front();
	test_input_survives_kills(false);
	test_input_survives_kills(true);
	test_stream();
	test_stream_while_filling(true);
	test_stream_while_filling(false);
	test_output_survives_kills(false);
	test_output_survives_kills(true);
	test_one_by_one();
	test_bad_pages();
	test_another_life();
	return 0;
}
