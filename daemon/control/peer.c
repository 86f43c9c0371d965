/* peer - one client of the control socket.
 *
 * The client's end of file means "I have left" while it waits for something, and nothing at all
 * while an answer is on its way (`echo ... | nc -N -U control` half-closes at once and wants its
 * answer). The object is never freed by itself: `gone` is called from a later, and the owner frees
 * it there. */
#include "control/peer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "codec/json.h"
#include "codec/utf8.h"

enum {
	READ_BYTES = 64 * 1024,   /* at once */
	MESSAGE_MAX = 512 * 1024, /* of a refusal: the faults of a whole configuration */
};

struct peer {
	int fd;
	struct event *readable, *writable;
	struct buf in, out;
	int pass_fd;    /* goes out with the next byte; -1: none */
	bool asked;     /* the request line has come */
	bool deaf;      /* ... and what comes now is the rest of a line that is too long */
	bool finishing; /* nothing more will be said */
	bool dropped;   /* `gone` is due or was called */
	struct later gone;
	const struct peer_events *events;
	void *owner;
};

static const char *error_word(enum protocol_exit exit)
{
	switch (exit) {
	case EXIT_USAGE:
		return ERROR_USAGE;
	case EXIT_NO_CONN:
		return ERROR_NO_CONN;
	case EXIT_NOT_OPEN:
		return ERROR_NOT_OPEN;
	default:
		return ERROR_FAILED;
	}
}

static void peer_run_gone(void *owner)
{
	struct peer *peer = owner;

	peer->events->gone(peer->owner);
}

void peer_drop(struct peer *peer)
{
	if (peer->dropped)
		return;
	peer->dropped = true;
	event_del(peer->readable);
	event_del(peer->writable);
	loop_later(&peer->gone);
}

/* --- out ------------------------------------------------------------------------------------ */

static ssize_t peer_write(struct peer *peer)
{
	union {
		struct cmsghdr header; /* for its alignment */
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec piece = {.iov_base = buf_head(&peer->out), .iov_len = buf_len(&peer->out)};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

	if (peer->pass_fd >= 0) {
		struct cmsghdr *cmsg;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &peer->pass_fd, sizeof(int));
	}
	return sendmsg(peer->fd, &message, MSG_NOSIGNAL);
}

/* The kernel holds its own reference to a descriptor once any byte of its message is in. */
static void peer_passed(struct peer *peer)
{
	if (peer->pass_fd >= 0)
		close(take_fd(&peer->pass_fd));
}

static void peer_flush(struct peer *peer)
{
	while (!peer->dropped && buf_len(&peer->out)) {
		ssize_t n = peer_write(peer);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			event_add(peer->writable, NULL);
			return;
		}
		if (n < 0) {
			peer_drop(peer);
			return;
		}
		peer_passed(peer);
		buf_consume(&peer->out, (size_t)n);
	}
	buf_trim(&peer->out);
	if (peer->finishing)
		peer_drop(peer);
}

static void peer_on_writable(evutil_socket_t fd, short what, void *owner)
{
	(void)fd, (void)what;
	peer_flush(owner);
}

void peer_line_init(struct buf *line)
{
	buf_init(line, PEER_OUT_MAX);
}

/* A large answer is moved, not copied, when nothing stands ahead of it (the usual case). */
static int peer_take_line(struct peer *peer, struct buf *line)
{
	int r = buf_append_char(line, '\n');

	if (r < 0)
		return r;
	if (buf_len(&peer->out))
		return buf_append(&peer->out, buf_head(line), buf_len(line));
	buf_done(&peer->out);
	peer->out = *line;
	peer_line_init(line);
	return 0;
}

void peer_send(struct peer *peer, struct buf *line, int pass_fd)
{
	cleanup_close int fd = pass_fd;
	int r;

	r = peer->dropped || peer->finishing ? -EPIPE : peer_take_line(peer, line);
	buf_done(line);
	if (r < 0) {
		peer_drop(peer);
		return;
	}
	if (fd >= 0 && peer->pass_fd < 0)
		peer->pass_fd = take_fd(&fd);
	peer_flush(peer);
}

void peer_finish(struct peer *peer)
{
	peer->finishing = true;
	peer_flush(peer);
}

int peer_quote(struct buf *line, const char *text, size_t len)
{
	cleanup_free char *plain = NULL;

	if (utf8_valid((const uint8_t *)text, len))
		return json_quote(line, text, len);
	plain = malloc(len);
	if (!plain)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	return json_quote(line, plain, len);
}

void peer_refuse(struct peer *peer, enum protocol_exit exit, const char *format, ...)
{
	struct buf line, message;
	va_list args;
	int r;

	peer_line_init(&line);
	buf_init(&message, MESSAGE_MAX);
	va_start(args, format);
	r = buf_vprintf(&message, format, args);
	va_end(args);
	if (r >= 0)
		r = buf_printf(&line,
			       "{\"ok\":false,\"exit\":%d,\"error\":\"%s\",\"message\":", exit,
			       error_word(exit));
	if (r >= 0)
		r = peer_quote(&line, (const char *)buf_head(&message), buf_len(&message));
	if (r >= 0)
		r = buf_append_char(&line, '}');
	buf_done(&message);
	if (r < 0) {
		buf_done(&line);
		peer_drop(peer);
		return;
	}
	peer_send(peer, &line, -1);
	peer_finish(peer);
}

size_t peer_backlog(const struct peer *peer)
{
	return buf_len(&peer->out);
}

/* --- in ------------------------------------------------------------------------------------- */

/* LEN bytes of a line, WHOLE if its end was there. */
static void peer_take_request(struct peer *peer, const uint8_t *data, size_t len, bool whole)
{
	int r = buf_append(&peer->in, data, len);

	if (r == -ENOBUFS) {
		peer->asked = true;
		peer_refuse(peer, EXIT_USAGE, "the request is longer than %d bytes",
			    PROTOCOL_LINE_MAX);
	} else if (r < 0) {
		peer_drop(peer);
	} else if (whole) {
		peer->asked = true;
		peer->events->request(peer->owner,
				      buf_len(&peer->in) ? (char *)buf_head(&peer->in) : "",
				      buf_len(&peer->in));
	}
	if (peer->asked) {
		buf_done(&peer->in);
		buf_init_secret(&peer->in, PEER_WORD_MAX);
	}
}

static void peer_take_word(struct peer *peer, const uint8_t *data, size_t len, bool whole)
{
	if (!peer->events->word || buf_append(&peer->in, data, len) < 0)
		peer->deaf = true;
	if (!whole)
		return;
	if (!peer->deaf && buf_len(&peer->in))
		peer->events->word(peer->owner, (char *)buf_head(&peer->in), buf_len(&peer->in));
	peer->deaf = false;
	buf_done(&peer->in);
}

static void peer_take_bytes(struct peer *peer, const uint8_t *data, size_t len)
{
	while (len > 0 && !peer->dropped) {
		const uint8_t *end = memchr(data, '\n', len);
		size_t part = end ? (size_t)(end - data) : len;

		if (peer->asked)
			peer_take_word(peer, data, part, end != NULL);
		else
			peer_take_request(peer, data, part, end != NULL);
		data += part + (end != NULL);
		len -= part + (end != NULL);
	}
}

static void peer_on_end(struct peer *peer)
{
	if (peer->finishing && !peer->dropped)
		event_del(peer->readable); /* it only waits for its answer */
	else
		peer_drop(peer);
}

static void peer_on_readable(evutil_socket_t fd, short what, void *owner)
{
	struct peer *peer = owner;
	uint8_t *data = loop_read_scratch();
	ssize_t n = read(fd, data, READ_BYTES);

	(void)what;
	if (n > 0) {
		peer_take_bytes(peer, data, (size_t)n);
		explicit_bzero(data, (size_t)n);
	} else if (n == 0) {
		peer_on_end(peer);
	} else if (errno != EAGAIN && errno != EINTR) {
		peer_drop(peer);
	}
}

bool peer_look(struct peer *peer)
{
	uint8_t data[PEER_WORD_MAX];

	while (!peer->dropped) {
		ssize_t n = recv(peer->fd, data, sizeof(data), MSG_DONTWAIT);

		if (n > 0)
			peer_take_bytes(peer, data, (size_t)n);
		else if (n == 0)
			peer_on_end(peer);
		else if (errno == EAGAIN)
			return true;
		else if (errno != EINTR)
			peer_drop(peer);
		if (n == 0)
			return false;
	}
	return false;
}

/* --- life ----------------------------------------------------------------------------------- */

int peer_new(struct peer **ret, int fd, const struct peer_events *events, void *owner)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer) {
		close(fd);
		return -ENOMEM;
	}
	peer->fd = fd;
	peer->pass_fd = -1;
	peer->events = events;
	peer->owner = owner;
	buf_init_secret(&peer->in, PROTOCOL_LINE_MAX); /* passwords of `wspipe open -u` */
	peer_line_init(&peer->out);
	later_init(&peer->gone, peer_run_gone, peer);
	peer->readable = event_new(loop_base(), fd, EV_READ | EV_PERSIST, peer_on_readable, peer);
	peer->writable = event_new(loop_base(), fd, EV_WRITE, peer_on_writable, peer);
	if (!peer->readable || !peer->writable || event_add(peer->readable, NULL) < 0) {
		peer_free(peer);
		return -ENOMEM;
	}
	*ret = peer;
	return 0;
}

struct peer *peer_free(struct peer *peer)
{
	if (!peer)
		return NULL;
	later_cancel(&peer->gone);
	if (peer->readable)
		event_free(peer->readable);
	if (peer->writable)
		event_free(peer->writable);
	peer_passed(peer);
	close(peer->fd);
	buf_done(&peer->in);
	buf_done(&peer->out);
	free(peer);
	return NULL;
}
