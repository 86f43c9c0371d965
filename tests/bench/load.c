/* load - the local programs of the benchmark: one that asks and waits, one that reads, one that
 * writes.
 *
 *	load rtt COUNT WHERE             32 bytes there and back, one in flight;
 *	                                 tells "rtt P50 MEAN" in ns
 *	load take BYTES WHERE [CLIENTS]  reads until each client has so many;
 *	                                 tells "ready", "took END"
 *	load give SIZE COUNT WHERE       tells "ready", waits for a line on standard input, writes
 *	                                 lines of SIZE bytes and an LF; tells "gave START END"
 *
 * WHERE is tcp:PORT, sock:PATH, fifo:IN:OUT, or - (take: standard input; give: standard output).
 * Reports go to standard error, because standard output may be a pipe full of messages. */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "bench.h"

enum {
	LIFE_SECONDS = 120,
	RTT_BYTES = 32,
	IO_BYTES = 1024 * 1024,
	GIVE_BYTES = 64 * 1024,
	CLIENTS_MAX = 1000
};

static int connect_sock(const char *path)
{
	struct sockaddr_un address = unix_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path);
	return fd;
}

static int open_fifo(const char *path, int flags)
{
	int fd = open(path, flags);

	if (fd < 0)
		die(path);
	return fd;
}

/* To read from (0) and to write to (1). */
static void open_where(char *where, int fds[2])
{
	char *colon = strchr(where, ':'), *second = colon ? strchr(colon + 1, ':') : NULL;

	if (strcmp(where, "-") == 0) {
		fds[0] = STDIN_FILENO;
		fds[1] = STDOUT_FILENO;
	} else if (strncmp(where, "tcp:", 4) == 0) {
		fds[0] = fds[1] = connect_tcp(colon + 1);
	} else if (strncmp(where, "sock:", 5) == 0) {
		fds[0] = fds[1] = connect_sock(colon + 1);
	} else if (strncmp(where, "fifo:", 5) == 0 && second) {
		*second = '\0';
		fds[1] = open_fifo(colon + 1, O_WRONLY);
		fds[0] = second[1] ? open_fifo(second + 1, O_RDONLY) : -1;
	} else {
		die(where);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void ask(const int fds[2], const char *line)
{
	char answer[4096];
	size_t have = 0;

	write_all(fds[1], line, RTT_BYTES);
	while (have < RTT_BYTES) {
		ssize_t n = read(fds[0], answer, sizeof(answer));

		if (n <= 0)
			die("no answer");
		have += (size_t)n;
	}
}

static void rtt(size_t trips, char *where)
{
	/* for a connection with `id` a request, and its own answer when it comes back */
	static const char line[RTT_BYTES + 1] = "{\"id\":1,\"method\":\"01234567890\"}\n";
	uint64_t *took = calloc(trips, sizeof(*took)), sum = 0;
	int fds[2];

	if (!took)
		die("rtt");
	open_where(where, fds);
	for (int i = 0; i < 500; i++)
		ask(fds, line);
	for (size_t i = 0; i < trips; i++) {
		uint64_t start = now_ns();

		ask(fds, line);
		took[i] = now_ns() - start;
		sum += took[i];
	}
	qsort(took, trips, sizeof(*took), compare);
	fprintf(stderr, "rtt %llu %llu\n", (unsigned long long)took[trips / 2],
		(unsigned long long)(sum / trips));
	free(took);
}

static void take_one(uint64_t bytes, int fd, char *buffer)
{
	while (bytes > 0) {
		ssize_t n = read(fd, buffer, IO_BYTES);

		if (n <= 0)
			die("the messages ended too early");
		bytes -= (uint64_t)n < bytes ? (uint64_t)n : bytes;
	}
}

/* Every client in the set has to get BYTES. */
static void take_many(uint64_t bytes, int epoll, char *buffer, unsigned clients)
{
	static uint64_t left[CLIENTS_MAX * 4];
	struct epoll_event events[64];
	unsigned unfinished = clients;

	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
		left[i] = bytes;
	while (unfinished > 0) {
		int n = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			ssize_t len = read(fd, buffer, IO_BYTES);

			if (len <= 0)
				die("the messages ended too early");
			left[fd] -= (uint64_t)len < left[fd] ? (uint64_t)len : left[fd];
			unfinished -= left[fd] == 0;
		}
	}
}

static void say_ready(void)
{
	fputs("ready\n", stderr);
}

static void take(uint64_t bytes, char *where, unsigned clients)
{
	char *buffer = malloc(IO_BYTES);
	int fds[2], epoll = epoll_create1(0);

	if (!buffer || epoll < 0 || clients > CLIENTS_MAX)
		die("take");
	if (clients == 1) {
		open_where(where, fds);
		say_ready();
		take_one(bytes, fds[0], buffer);
	} else {
		for (unsigned i = 0; i < clients; i++) {
			int fd = connect_sock(strchr(where, ':') + 1);
			struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

			if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
				die("epoll");
		}
		say_ready();
		take_many(bytes, epoll, buffer, clients);
	}
	fprintf(stderr, "took %llu\n", (unsigned long long)now_ns());
	free(buffer);
}

static void give(size_t size, size_t lines, char *where)
{
	size_t unit = size + 1, per_block = unit < GIVE_BYTES ? GIVE_BYTES / unit : 1;
	char *block = malloc(unit * per_block), go;
	uint64_t start;
	int fds[2];

	if (!block)
		die("give");
	memset(block, 'x', unit * per_block);
	for (size_t i = 1; i <= per_block; i++)
		block[i * unit - 1] = '\n';
	open_where(where, fds);
	say_ready();
	if (read(STDIN_FILENO, &go, 1) != 1)
		die("go");
	start = now_ns();
	while (lines > 0) {
		size_t n = lines < per_block ? lines : per_block;

		write_all(fds[1], block, n * unit);
		lines -= n;
	}
	fprintf(stderr, "gave %llu %llu\n", (unsigned long long)start,
		(unsigned long long)now_ns());
	free(block);
	if (read(STDIN_FILENO, &go, 1) == 1) /* stay connected until nobody needs us */
		die("too much input");
}

int main(int argc, char **argv)
{
	raise_limits(LIFE_SECONDS);
	if (argc == 4 && strcmp(argv[1], "rtt") == 0)
		rtt(strtoull(argv[2], NULL, 10), argv[3]);
	else if (argc >= 4 && argc <= 5 && strcmp(argv[1], "take") == 0)
		take(strtoull(argv[2], NULL, 10), argv[3], argc == 5 ? (unsigned)atoi(argv[4]) : 1);
	else if (argc == 5 && strcmp(argv[1], "give") == 0)
		give(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), argv[4]);
	else
		die("usage: load rtt COUNT WHERE | take BYTES WHERE [CLIENTS] | give SIZE COUNT "
		    "WHERE");
	return 0;
}
