/* command - see command.h.
 *
 * The command has the socket itself, no copy in between; we stay to hold the control connection,
 * with which the stream would end.  We keep the socket, too: when the command has gone, what it
 * wrote may not have been read yet, and the daemon, on writing to a socket that nobody holds any
 * more, would end the stream before it has. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/protocol.h"
#include "events.h"
#include "print.h"
#include "session.h"

enum {
	CANNOT_RUN = 126, /* as shells have them */
	NOT_FOUND = 127,
	BY_SIGNAL = 128,
};

static void become(int stream_fd, char *const *argv)
{
	int flags = fcntl(stream_fd, F_GETFL);

	if (fcntl(stream_fd, F_SETFL, flags & ~O_NONBLOCK) == 0 && dup2(stream_fd, STDIN_FILENO) >= 0 &&
	    dup2(stream_fd, STDOUT_FILENO) >= 0)
		execvp(argv[0], argv);
	say(argv[0], "%s", strerror(errno));
	_exit(errno == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

/* Nobody reads them any more. */
static void discard(int stream_fd)
{
	char bytes[4096];

	while (recv(stream_fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* Until the command has ended; when the connection ends first, the command finds end of file, and
 * its writes fail. */
static void watch(struct session *session, struct events *events, int pid_fd)
{
	struct pollfd polled[] = {
		{.fd = pid_fd, .events = POLLIN},
		{.fd = session->fd, .events = POLLIN},
	};

	while (!(polled[0].revents & POLLIN)) {
		struct deadline due = events_due(events);

		if (poll(polled, 2, deadline_left_ms(&due)) <= 0)
			polled[0].revents = polled[1].revents = 0;
		events_settle(events);
		if (!polled[1].revents)
			continue;
		events_read(events, session);
		if (events->ended && polled[1].fd >= 0) {
			close(take_fd(&session->stream_fd));
			close(take_fd(&session->fd));
			polled[1].fd = -1;
		}
	}
}

/* The command has gone: let the daemon read all that it wrote. */
static void wind_up(struct session *session, struct events *events, bool finishes)
{
	shutdown(session->stream_fd, SHUT_WR);
	while (!events->ended && (finishes || !events->taken)) {
		struct pollfd polled[] = {
			{.fd = session->fd, .events = POLLIN},
			{.fd = session->stream_fd, .events = POLLIN},
		};

		discard(session->stream_fd);
		if (poll(polled, 2, -1) > 0 && polled[0].revents)
			events_read(events, session);
		else if (polled[1].revents & (POLLHUP | POLLERR))
			poll(polled, 1, -1);
	}
}

static int exit_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return EXIT_PEER;
	}
	return WIFSIGNALED(status) ? BY_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* What the terminal's keys mean is the command's to know, as with system(3). */
static void ignore_keys(bool ignore)
{
	signal(SIGINT, ignore ? SIG_IGN : SIG_DFL);
	signal(SIGQUIT, ignore ? SIG_IGN : SIG_DFL);
}

int command_run(struct session *session, char *const *argv, bool finishes)
{
	struct events events = {.who = session->who};
	cleanup_close int pid_fd = -1;
	pid_t pid = fork();
	int r;

	if (pid == 0)
		become(session->stream_fd, argv);
	pid_fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (pid_fd < 0) {
		say(argv[0], "%s", strerror(errno));
		return pid < 0 ? CANNOT_RUN : exit_status(pid);
	}
	ignore_keys(true);
	watch(session, &events, pid_fd);
	r = exit_status(pid);
	ignore_keys(false);
	if (!events.ended)
		wind_up(session, &events, finishes);
	return r;
}
