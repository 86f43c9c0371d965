/* session - see session.h. */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "base/cleanup.h"
#include "control/protocol.h"
#include "place.h"
#include "print.h"
#include "request.h"
#include "start.h"

enum {
	ANSWER_MAX = 256 * 1024 * 1024,
	READ_BYTES = 64 * 1024,
	TRIES = 5, /* an on-demand daemon may be about to end when we come */
};

enum { /* what became of a request */
	ASKED_ANSWERED,
	ASKED_LOST, /* the daemon went away before it said anything */
	ASKED_TIMED_OUT,
};

void session_init(struct session *session, const char *who)
{
	*session = (struct session){.fd = -1, .stream_fd = -1, .who = who};
	buf_init(&session->in, ANSWER_MAX);
}

static void session_hang_up(struct session *session)
{
	if (session->fd >= 0)
		close(take_fd(&session->fd));
	if (session->stream_fd >= 0)
		close(take_fd(&session->stream_fd));
}

void session_done(struct session *session)
{
	session_hang_up(session);
	buf_done(&session->in);
}

/* --- reading -------------------------------------------------------------------------------- */

/* One descriptor at most is ever passed; what is too many is closed. */
static void take_passed(struct session *session, struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		if (session->stream_fd < 0)
			session->stream_fd = fd;
		else
			close(fd);
	}
}

int session_read(struct session *session)
{
	union {
		struct cmsghdr header; /* for its alignment */
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec piece = {.iov_len = READ_BYTES};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	uint8_t *tail;
	ssize_t n;
	int r;

	buf_consume(&session->in, session->said);
	session->said = 0;
	r = buf_reserve(&session->in, READ_BYTES, &tail);
	if (r < 0)
		return r;
	piece.iov_base = tail;
	do {
		n = recvmsg(session->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	take_passed(session, &message);
	buf_commit(&session->in, (size_t)n);
	return (int)n;
}

bool session_line(struct session *session, struct json_span *ret)
{
	const char *start, *end;
	size_t len;

	buf_consume(&session->in, session->said);
	session->said = 0;
	len = buf_len(&session->in);
	start = (const char *)buf_head(&session->in);
	end = len > session->searched
		      ? memchr(start + session->searched, '\n', len - session->searched)
		      : NULL;
	if (!end) {
		session->searched = len;
		return false;
	}
	session->searched = 0;
	session->said = (size_t)(end - start) + 1;
	*ret = (struct json_span){.at = start, .len = (size_t)(end - start)};
	return true;
}

/* A line this short goes in whole or not at all. */
int session_say(struct session *session, const char *line)
{
	ssize_t n;

	do {
		n = send(session->fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

bool session_part(struct session *session, const struct deadline *deadline)
{
	struct json_span line;
	int r = 1;

	shutdown(session->fd, SHUT_WR);
	while (r > 0 || r == -EAGAIN) {
		struct pollfd polled = {.fd = session->fd, .events = POLLIN};

		if (r == -EAGAIN && poll(&polled, 1, deadline_left_ms(deadline)) == 0)
			return false;
		r = session_read(session);
		while (session_line(session, &line))
			;
	}
	return r == 0;
}

/* --- asking --------------------------------------------------------------------------------- */

/* 1: ready, 0: too late. */
static int wait_for(int fd, short events, const struct deadline *deadline)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	int r;

	do {
		r = poll(&pollfd, 1, deadline_left_ms(deadline));
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* A daemon that does not want to hear all of it may have answered nevertheless. */
static int send_request(struct session *session, const struct buf *line,
			const struct deadline *deadline)
{
	size_t sent = 0;

	while (sent < buf_len(line)) {
		ssize_t n = send(session->fd, buf_head(line) + sent, buf_len(line) - sent,
				 MSG_NOSIGNAL);
		int r;

		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			return ASKED_ANSWERED;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		r = wait_for(session->fd, POLLOUT, deadline);
		if (r <= 0)
			return r < 0 ? r : ASKED_TIMED_OUT;
	}
	return ASKED_ANSWERED;
}

static int read_answer(struct session *session, const struct deadline *deadline,
		       struct json_span *ret)
{
	while (!session_line(session, ret)) {
		int r = session_read(session);

		if (r == 0)
			return ASKED_LOST;
		if (r > 0)
			continue;
		if (r != -EAGAIN)
			return r;
		r = wait_for(session->fd, POLLIN, deadline);
		if (r <= 0)
			return r < 0 ? r : ASKED_TIMED_OUT;
	}
	return ASKED_ANSWERED;
}

/* ASKED_... or -errno. */
static int ask_once(struct session *session, const struct buf *line,
		    const struct deadline *deadline, struct json_span *ret)
{
	int r = send_request(session, line, deadline);

	return r == ASKED_ANSWERED ? read_answer(session, deadline, ret) : r;
}

static int explain_failure(const struct session *session, int r)
{
	if (r == ASKED_TIMED_OUT) {
		say(session->who, "timed out");
		return EXIT_TIMED_OUT;
	}
	if (r == ASKED_LOST) {
		say(session->who, "the daemon went away before it answered");
		return EXIT_NO_DAEMON;
	}
	say(session->who, "the daemon cannot be asked: %s", strerror(-r));
	return EXIT_PEER;
}

static int explain_refusal(const struct session *session, const struct json_span *answer)
{
	cleanup_free char *message = answer_text(answer, "/message");
	uint64_t status = answer_number(answer, "/exit", EXIT_PEER);

	size_t len = message ? strlen(message) : 0;

	if (session->plain && len)
		fprintf(stderr, "%s%s", message, message[len - 1] == '\n' ? "" : "\n");
	else
		say(session->who, "%s", message && *message ? message : "refused by the daemon");
	return status > 0 && status < 256 ? (int)status : EXIT_PEER;
}

static int explain_request(const struct session *session, int error)
{
	if (error == -EILSEQ)
		say(session->who, "the arguments are not UTF-8");
	else if (error == -ENOBUFS)
		say(session->who, "the arguments are longer than %d bytes", PROTOCOL_LINE_MAX);
	else
		say(session->who, "%s", strerror(-error));
	return error == -ENOMEM ? EXIT_PEER : EXIT_USAGE;
}

static int reach(struct session *session, const struct place *place, bool may_start)
{
	int r = place_connect(place, &session->fd);

	if (r == 0)
		return 0;
	return may_start ? start_daemon(place, &session->fd) : place_explain(place, r);
}

int session_ask(struct session *session, const struct place *place, struct request *request,
		bool may_start, const struct deadline *deadline, struct json_span *ret)
{
	int tries = may_start ? TRIES : 1;
	int r;

	request_end(request);
	if (request->error < 0)
		return explain_request(session, request->error);
	do {
		session_hang_up(session);
		r = reach(session, place, may_start);
		if (r)
			return r;
		r = ask_once(session, &request->line, deadline, ret);
	} while (r == ASKED_LOST && --tries > 0);
	if (r != ASKED_ANSWERED)
		return explain_failure(session, r);
	return answer_true(ret, "/ok") ? 0 : explain_refusal(session, ret);
}
