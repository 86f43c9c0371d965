/* relay - what a daemon in the middle costs that does nothing: bytes from here to there, no
 *framing.
 *
 *	relay fifo IN OUT PORT     between two FIFOs and a TCP connection
 *	relay sock PATH PORT       between one client of a Unix socket and a TCP connection
 *	relay fan PATH PORT N      from a TCP connection to N clients of a Unix socket
 *
 * Says "ready" on standard output, and is ended by its parent. */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>

#include "bench.h"

enum { LIFE_SECONDS = 300, COPY_BYTES = 256 * 1024, FAN_MAX = 1000 };

static char buffer[COPY_BYTES];

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static bool copy(int from, const int *to, unsigned n)
{
	ssize_t len = read(from, buffer, sizeof(buffer));

	if (len <= 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		write_all(to[i], buffer, (size_t)len);
	return true;
}

static void both_ways(int in, int out, int tcp)
{
	struct pollfd polled[] = {{.fd = in, .events = POLLIN}, {.fd = tcp, .events = POLLIN}};

	while (poll(polled, 2, -1) > 0) {
		if (polled[0].revents && !copy(in, &tcp, 1))
			return;
		if (polled[1].revents && !copy(tcp, &out, 1))
			return;
	}
}

static int listen_on(const char *path)
{
	struct sockaddr_un address = unix_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, FAN_MAX) < 0)
		die(path);
	return fd;
}

static void relay_fifo(const char *in, const char *out, const char *port)
{
	int from = open(in, O_RDWR), to = open(out, O_RDWR);

	if (from < 0 || to < 0)
		die(in);
	ready();
	both_ways(from, to, connect_tcp(port));
}

static void relay_sock(const char *path, const char *port)
{
	int tcp = connect_tcp(port), listener = listen_on(path), client;

	ready();
	client = accept(listener, NULL, NULL);
	both_ways(client, client, tcp);
}

static void relay_fan(const char *path, const char *port, unsigned n)
{
	int listener = listen_on(path), clients[FAN_MAX], tcp;

	if (n > FAN_MAX)
		die("too many clients");
	ready();
	for (unsigned i = 0; i < n; i++)
		clients[i] = accept(listener, NULL, NULL);
	tcp = connect_tcp(port); /* the peer sees that all are there */
	while (copy(tcp, clients, n))
		continue;
}

int main(int argc, char **argv)
{
	raise_limits(LIFE_SECONDS);
	if (argc == 5 && strcmp(argv[1], "fifo") == 0)
		relay_fifo(argv[2], argv[3], argv[4]);
	else if (argc == 4 && strcmp(argv[1], "sock") == 0)
		relay_sock(argv[2], argv[3]);
	else if (argc == 5 && strcmp(argv[1], "fan") == 0)
		relay_fan(argv[2], argv[3], (unsigned)atoi(argv[4]));
	else
		die("usage: relay fifo IN OUT PORT | sock PATH PORT | fan PATH PORT N");
	return 0;
}
