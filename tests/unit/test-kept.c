/* kept: what an endpoint left on the shelf comes back as it was, or not at all.  The shelf is an
 * array of copies here, which gives them back in the other order; a daemon that ends is one that
 * leaves. */
#include "endpoint/kept.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "feed.h"

enum { ENTRIES = 16 };

/* --- the shelf ------------------------------------------------------------------------------ */

static struct entry {
	char name[HELD_NAME_MAX + 1]; /* "": free */
	int fd;
} entry[ENTRIES];

static void entry_add(const char *name, int fd)
{
	for (int i = 0; i < ENTRIES; i++) {
		if (entry[i].name[0])
			continue;
		snprintf(entry[i].name, sizeof(entry[i].name), "%s", name);
		entry[i].fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		CHECK(entry[i].fd >= 0);
		return;
	}
	CHECK(false);
}

static void entry_remove(struct entry *it)
{
	close(it->fd);
	it->name[0] = '\0';
}

static void test_put(struct shelf *shelf, const char *name, const int *fds, size_t n)
{
	(void)shelf;
	for (size_t i = 0; i < n; i++)
		entry_add(name, fds[i]);
}

static void test_remove(struct shelf *shelf, const char *name)
{
	(void)shelf;
	for (int i = 0; i < ENTRIES; i++)
		if (strcmp(entry[i].name, name) == 0)
			entry_remove(&entry[i]);
}

static size_t test_take(struct shelf *shelf, const char *name, int fds[SHELF_FDS_MAX])
{
	size_t n = 0;

	(void)shelf;
	for (int i = ENTRIES - 1; i >= 0; i--)
		if (strcmp(entry[i].name, name) == 0 && n < SHELF_FDS_MAX)
			fds[n++] = fcntl(entry[i].fd, F_DUPFD_CLOEXEC, 0);
	return n;
}

static struct shelf shelf = {.put = test_put, .remove = test_remove, .take = test_take};

static size_t entries(const char *name)
{
	size_t n = 0;

	for (int i = 0; i < ENTRIES; i++)
		n += strcmp(entry[i].name, name) == 0;
	return n;
}

/* Of NAME, the first one that lies in a file of this kind. */
static struct entry *entry_of(const char *name, mode_t kind)
{
	struct stat st;

	for (int i = 0; i < ENTRIES; i++)
		if (strcmp(entry[i].name, name) == 0 && fstat(entry[i].fd, &st) == 0 &&
		    (st.st_mode & S_IFMT) == kind)
			return &entry[i];
	CHECK(false);
	return NULL;
}

/* --- a daemon and the next ------------------------------------------------------------------ */

static struct kept kept;
static int near, far; /* a client: our end (while we have it), and his */

static void take(const char *endpoint, enum held_kind kind, enum framing framing)
{
	kept_take(&kept, &shelf, conn, endpoint, kind == HELD_SOCK ? -1 : dir_fd, kind, framing,
		  true);
}

/* The daemon ends; what is on the shelf stays. */
static void leave(int fd)
{
	shelf.leaving = true;
	kept_done(&kept);
	shelf.leaving = false;
	if (fd >= 0)
		close(fd);
}

/* One client is there, with the bytes `half` read from him. */
static void put_client(void)
{
	const uint8_t *data;
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	near = ends[0];
	far = ends[1];
	take("sock.1", HELD_SOCK, FRAMING_LINE);
	CHECK_EQ(kept.fd, -1);
	CHECK(kept.held && kept.sluice && !kept.returned);
	kept_put(&kept, near);
	CHECK_EQ(entries("feed/sock.1"), 3);
	CHECK_EQ(write(far, "half", 4), 4);
	CHECK_EQ(held_read(kept.held, near, &data), 4);
}

/* What came back was not right: the client sees the end, nothing is on the shelf, and the endpoint
 * can begin afresh. */
static void check_refused(void)
{
	char byte;

	CHECK_EQ(kept.fd, -1);
	CHECK(kept.held && kept.sluice && !kept.returned);
	CHECK_EQ(entries("feed/sock.1"), 0);
	CHECK_EQ(read(far, &byte, 1), 0);
	kept_done(&kept);
	close(far);
}

/* --- tests ---------------------------------------------------------------------------------- */

static void test_client(void)
{
	const uint8_t *data;
	bool skipping;
	char text[8] = "";

	put_client();
	leave(near);
	take("sock.1", HELD_SOCK, FRAMING_LINE);
	CHECK(kept.fd >= 0 && kept.returned && kept.sluice);
	CHECK_EQ(held_input(kept.held, &data, &skipping), 4);
	CHECK(memcmp(data, "half", 4) == 0 && !skipping);
	CHECK_EQ(write(kept.fd, "yes", 3), 3);
	CHECK_EQ(read(far, text, sizeof(text)), 3);
	kept_put(&kept, kept.fd); /* it is there already */
	CHECK_EQ(entries("feed/sock.1"), 3);
	near = kept.fd;
	kept_done(&kept); /* he goes */
	CHECK_EQ(entries("feed/sock.1"), 0);
	close(near);
	close(far);
}

/* He had shut down his writing side: what he has written and the end of it are still to be read. */
static void test_client_half_closed(void)
{
	char text[8];

	put_client();
	CHECK_EQ(write(far, "more", 4), 4);
	CHECK_EQ(shutdown(far, SHUT_WR), 0);
	leave(near);
	take("sock.1", HELD_SOCK, FRAMING_LINE);
	CHECK(kept.fd >= 0 && kept.returned);
	near = kept.fd;
	CHECK_EQ(read(near, text, sizeof(text)), 4);
	CHECK_EQ(read(near, text, sizeof(text)), 0);
	CHECK_EQ(write(near, "yes", 3), 3);
	CHECK_EQ(read(far, text, sizeof(text)), 3);
	kept_done(&kept);
	close(near);
	close(far);
}

static void test_not_all(void)
{
	static const mode_t kinds[] = {S_IFREG, S_IFIFO};

	for (size_t i = 0; i < 2; i++) {
		put_client();
		entry_remove(entry_of("feed/sock.1", kinds[i]));
		leave(near);
		take("sock.1", HELD_SOCK, FRAMING_LINE);
		check_refused();
	}
}

static void test_twice(void)
{
	int ends[2];
	char byte;

	put_client();
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	entry_remove(entry_of("feed/sock.1", S_IFIFO));
	entry_add("feed/sock.1", ends[0]);
	close(ends[0]);
	leave(near);
	take("sock.1", HELD_SOCK, FRAMING_LINE);
	CHECK_EQ(read(ends[1], &byte, 1), 0);
	close(ends[1]);
	check_refused();
}

static void test_another_page(void)
{
	static const struct {
		off_t at;
		uint32_t value;
	} damage[] = {
		{0, 0},                /* no page at all */
		{8, HELD_VERSION + 1}, /* of another version */
		{12, 8192},            /* with another head */
		{16, HELD_DRAIN},      /* of something else */
	};

	for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++) {
		put_client();
		CHECK_EQ(pwrite(held_fd(kept.held), &damage[i].value, 4, damage[i].at), 4);
		leave(near);
		take("sock.1", HELD_SOCK, FRAMING_LINE);
		check_refused();
	}
	put_client(); /* configured otherwise meanwhile */
	leave(near);
	take("sock.1", HELD_SOCK, FRAMING_NUL);
	check_refused();
	put_client();
	CHECK_EQ(ftruncate(held_fd(kept.held), 100), 0);
	leave(near);
	take("sock.1", HELD_SOCK, FRAMING_LINE);
	check_refused();
}

/* More is in the pipe than has left the page. */
static void test_a_pipe_that_disagrees(void)
{
	const struct held_place place = {.flags = HELD_GIVEN, .after = 1};
	const struct iovec iov = {(void *)"record\n", 7};

	put_client();
	CHECK_EQ(sluice_give(kept.sluice, &iov, 1, &place), 0);
	CHECK_EQ(write(sluice_pipe(kept.sluice), "foreign", 7), 7);
	leave(near);
	take("sock.1", HELD_SOCK, FRAMING_LINE);
	check_refused();
}

/* Messages may be so long that no page holds them: then nothing is kept, not even half. */
static void test_no_page(void)
{
	struct conn_options long_ones = conn_opts;
	struct conn *other;

	long_ones.ws.max_message_bytes = 1U << 30;
	CHECK_EQ(conn_new(&other, "other", &long_ones, &pool), 0);
	kept_take(&kept, &shelf, other, "sock.1", -1, HELD_SOCK, FRAMING_LINE, true);
	CHECK(!kept.held && !kept.sluice && kept.fd == -1);
	kept_put(&kept, STDIN_FILENO);
	CHECK_EQ(entries("other/sock.1"), 0);
	kept_done(&kept);
	conn_free(other);
}

/* A FIFO is the one that has the name now. */
static void test_fifo(void)
{
	int fd, held_for_writing;

	CHECK_EQ(mkfifoat(dir_fd, "in", 0600), 0);
	fd = openat(dir_fd, "in", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	held_for_writing = openat(dir_fd, "in", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(fd >= 0 && held_for_writing >= 0);
	for (int round = 0; round < 2; round++) {
		take("in", HELD_IN, FRAMING_LINE);
		CHECK(kept.held && !kept.sluice && !kept.returned);
		kept_put(&kept, round == 0 ? fd : held_for_writing); /* which is the wrong end */
		CHECK_EQ(entries("feed/in"), 2);
		leave(-1);
		take("in", HELD_IN, FRAMING_LINE);
		CHECK_EQ(kept.fd >= 0, round == 0);
		CHECK_EQ(kept.returned, round == 0);
		if (kept.fd >= 0)
			close(kept.fd);
		kept_done(&kept);
		CHECK_EQ(entries("feed/in"), 0);
	}
	take("in", HELD_IN, FRAMING_LINE);
	kept_put(&kept, fd);
	leave(fd);
	CHECK_EQ(renameat(dir_fd, "in", dir_fd, "was-in"), 0);
	CHECK_EQ(mkfifoat(dir_fd, "in", 0600), 0);
	take("in", HELD_IN, FRAMING_LINE);
	CHECK_EQ(kept.fd, -1);
	CHECK(kept.held && !kept.returned);
	CHECK_EQ(entries("feed/in"), 0);
	kept_done(&kept);
	close(held_for_writing);
	unlinkat(dir_fd, "in", 0);
	unlinkat(dir_fd, "was-in", 0);
}

static void test_without_a_shelf(void)
{
	kept_take(&kept, NULL, conn, "sock.1", -1, HELD_SOCK, FRAMING_LINE, true);
	CHECK(kept.fd == -1 && !kept.held && !kept.sluice && !kept.returned);
	kept_put(&kept, STDIN_FILENO);
	kept_done(&kept);
}

static void test_number(void)
{
	static const char *const bad[] = {"feed/sock.",
					  "feed/sock.x",
					  "feed/sock.01",
					  "feed/sock.-1",
					  "feed/sock.1 ",
					  "feed/sock.+1",
					  "feed/sock.18446744073709551615",
					  "feed/sock.18446744073709551616"};
	uint64_t number;

	CHECK(kept_number("feed/sock.0", "feed/sock.", &number));
	CHECK_EQ(number, 0);
	CHECK(kept_number("feed/sock.18446744073709551614", "feed/sock.", &number));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!kept_number(bad[i], "feed/sock.", &number));
}

static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/feed/%s", root, name);
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static int take_listener(void)
{
	return kept_take_listener(&shelf, "feed/sock", dir_fd, "sock", NULL, 0);
}

static void test_listener(void)
{
	int fd = listen_at("sock"), again;

	kept_put_listener(&shelf, "feed/sock", dir_fd, "sock", fd);
	CHECK_EQ(take_listener(), -1); /* it does not listen */
	CHECK_EQ(listen(fd, 1), 0);
	CHECK_EQ(take_listener(), -1); /* and was removed */
	kept_put_listener(&shelf, "feed/sock", dir_fd, "sock", fd);
	again = take_listener();
	CHECK(again >= 0);
	close(again);
	CHECK_EQ(renameat(dir_fd, "sock", dir_fd, "was-sock"), 0);
	CHECK_EQ(take_listener(), -1); /* nothing has the name */
	again = listen_at("sock");
	CHECK_EQ(take_listener(), -1); /* or another socket */
	close(again);
	CHECK_EQ(renameat(dir_fd, "was-sock", dir_fd, "sock"), 0);
	kept_remove_listener(&shelf, "feed/sock", dir_fd, "sock");
	CHECK_EQ(take_listener(), -1);
	close(fd);
	unlinkat(dir_fd, "sock", 0);
}

int main(void)
{
	feed_init();
	feed_defaults(NULL);
	CHECK_EQ(conn_new(&conn, "feed", &conn_opts, &pool), 0);
	CHECK_EQ(mkdirat(root_fd, "feed", 0700), 0);
	dir_fd = openat(root_fd, "feed", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_client();
	test_client_half_closed();
	test_not_all();
	test_twice();
	test_another_page();
	test_a_pipe_that_disagrees();
	test_no_page();
	test_fifo();
	test_without_a_shelf();
	test_number();
	test_listener();
	for (int i = 0; i < ENTRIES; i++)
		CHECK(!entry[i].name[0]);
	conn = conn_free(conn);
	CHECK_EQ(unlinkat(root_fd, "feed", AT_REMOVEDIR), 0);
	feed_done();
	return 0;
}
