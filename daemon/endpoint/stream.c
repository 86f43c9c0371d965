/* stream - see stream.h.
 *
 * A client that has shut down its writing side goes on receiving; one that has closed is told apart
 * from it by POLLHUP, and both give an edge on the reading event. */
#include "endpoint/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "endpoint/intake.h"
#include "endpoint/kept.h"
#include "endpoint/outlet.h"

enum {
	ACCEPTS_PER_TURN = 64,
	BACK_OFF_MS = 1000,
	GROUPS_MAX = 256,
	RETURNING_MAX = 65536, /* more than the manager keeps: an end, whatever happens */
	PREFIX_MAX = HELD_NAME_MAX + 1,
	SOCKET_BYTES = 512 * 1024, /* small messages cost the kernel far more than their length */
};

struct stream {
	int fd;
	struct shelf *shelf;
	struct conn *conn;
	const struct endpoint_options *options;
	const struct access *access;
	uint64_t next_number; /* of a client, as it is called on the shelf */
	struct event *listener;
	struct timer back_off;
	bool exhausted; /* told */
	struct list clients;
};

struct client {
	struct list link;
	struct stream *stream;
	int fd;
	struct kept kept;
	struct ucred peer;
	struct intake *intake; /* NULL: may only read; then this tells of its end: */
	struct event *hangup;
	struct outlet *outlet; /* NULL: may only write */
	struct caller caller;  /* of what it asks */
	struct later leave;
};

static struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;
	list_remove(&client->link);
	later_cancel(&client->leave);
	caller_leave(&client->caller);
	client->intake = intake_free(client->intake);
	if (client->hangup)
		event_free(client->hangup);
	if (client->outlet && shelf_leaving(client->kept.shelf))
		outlet_leave(client->outlet);
	client->outlet = outlet_free(client->outlet);
	/* The manager's copy may be there a moment longer, and the peer shall not wait for that. */
	if (client->kept.shelf && !shelf_leaving(client->kept.shelf))
		shutdown(client->fd, SHUT_RDWR);
	kept_done(&client->kept);
	if (client->fd >= 0)
		close(client->fd);
	free(client);
	return NULL;
}

static bool has_hung_up(const struct client *client)
{
	struct pollfd poller = {.fd = client->fd};

	return poll(&poller, 1, 0) > 0 && (poller.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static void client_on_leave(void *owner)
{
	client_free(owner);
}

static void client_intake_ended(void *owner)
{
	struct client *client = owner;

	if (!client->outlet || has_hung_up(client))
		loop_later(&client->leave);
}

/* Whoever may only read is not read from; what he writes all the same stays with the kernel. */
static void client_on_hangup(evutil_socket_t fd, short what, void *owner)
{
	(void)fd;
	(void)what;
	if (has_hung_up(owner))
		client_free(owner);
}

static int watch_hangup(struct client *client)
{
	client->hangup = event_new(loop_base(), client->fd, EV_READ | EV_ET | EV_PERSIST,
				   client_on_hangup, client);
	return client->hangup && event_add(client->hangup, NULL) == 0 ? 0 : -ENOMEM;
}

static void client_intake_refused(void *owner, const char *problem, bool broken)
{
	struct client *client = owner;

	log_warning(conn_name(client->stream->conn),
		    "sock: a record of process %d %s; it was not sent%s", (int)client->peer.pid,
		    problem, broken ? ", and the client is disconnected" : "");
	if (broken)
		loop_later(&client->leave);
}

static void client_outlet_ended(void *owner, int error)
{
	(void)error; /* EPIPE or ECONNRESET: it has gone; 0: nothing more will come */
	client_free(owner);
}

static void client_caller_answered(void *owner, uint64_t tag, enum calls_answer kind,
				   const struct msg *msg)
{
	struct client *client = owner;
	int r = outlet_push(client->outlet, msg);

	(void)tag;
	(void)kind;
	if (r == 0 || list_linked(&client->leave.link))
		return;
	log_warning(conn_name(client->stream->conn),
		    "sock: process %d %s, and is disconnected", (int)client->peer.pid,
		    r == -ENOBUFS ? "does not read its replies" : "cannot be answered: out of memory");
	loop_later(&client->leave);
}

/* The connection was lost with his request on it.  With framing json a record of its own tells him so;
 * whoever has another one would wait for ever, and reads what was received before, and then the end
 * of the file.  After a mere time limit he stays: many programs ask without caring for an answer. */
static void client_caller_failed(void *owner, uint64_t tag, const struct cause *cause)
{
	struct client *client = owner;

	(void)tag;
	if ((cause->class == CAUSE_TIMEOUT && cause->code == CALLS_TIMED_OUT) || !client->intake ||
	    client->stream->options->framing == FRAMING_JSON || list_linked(&client->leave.link))
		return;
	log_info(conn_name(client->stream->conn),
		 "sock: what process %d has asked will not be answered, and it is disconnected (%s)",
		 (int)client->peer.pid, cause->text);
	client->intake = intake_free(client->intake);
	outlet_finish_here(client->outlet);
}

static const struct intake_events intake_events = {client_intake_ended, client_intake_refused};
static const struct outlet_events outlet_events = {.ended = client_outlet_ended};

/* --- arriving ------------------------------------------------------------------------------- */

static bool allows(const struct client *client, bool write)
{
	gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);
	size_t n;

	if (client->peer.uid == 0 || client->peer.uid == geteuid())
		return true;
	n = getsockopt(client->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0
		    ? len / sizeof(groups[0])
		    : 0;
	return access_allows(client->stream->access, client->peer.uid, groups, n, write);
}

/* One that has come back goes on where it was, if there are messages of that time; else it gets
 * what comes from now on. */
static void go_on(const struct client *client, struct outlet_options *options)
{
	const struct held_place place = sluice_place(options->sluice);

	if (outlet_options_return(options, client->stream->conn))
		return;
	if (place.flags & HELD_LASTS || place.after == 0)
		return;
	log_warning(conn_name(client->stream->conn),
		    "sock: process %d misses %" PRIu64 " messages that had "
		    "not been written to it when the daemon ended (persist = yes keeps such)",
		    (int)client->peer.pid, place.after);
}

static int make_outlet(struct client *client, struct outlet_options *options)
{
	const struct kept *kept = &client->kept;
	int r;

	if (kept->returned)
		go_on(client, options);
	r = outlet_new(&client->outlet, client->fd, client->stream->conn, options, &outlet_events,
		       client);
	if (r == 0 && kept->returned && !options->seeks)
		outlet_miss(client->outlet, sluice_place(kept->sluice).after);
	return r;
}

static int start_client(struct client *client)
{
	struct stream *stream = client->stream;
	struct outlet_options options = {
		.framing = (enum framing)stream->options->framing,
		.type = (enum msg_kind)conn_options(stream->conn)->type,
		.from = CURSOR_NEWEST,
		.label = "sock",
		.pushed = true,
		.sluice = client->kept.sluice,
		.lasts = conn_store(stream->conn) != NULL,
	};
	const struct calls_terms terms = {.caller = &client->caller};
	socklen_t len = sizeof(client->peer);
	int bytes = SOCKET_BYTES, r = 0;

	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &len) < 0)
		return -errno;
	setsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (allows(client, false))
		r = make_outlet(client, &options);
	if (r == 0 && !allows(client, true))
		r = watch_hangup(client);
	else if (r == 0)
		r = intake_new(&client->intake, client->fd, stream->conn, options.framing,
			       options.type, &intake_events, client);
	if (r < 0)
		return r;
	if (!client->outlet && client->hangup)
		return -EACCES;
	client->caller = (struct caller){
		.answered = client_caller_answered,
		.failed = client_caller_failed,
		.owner = client,
	};
	if (client->intake && client->kept.held)
		intake_set_held(client->intake, client->kept.held);
	if (client->outlet && client->intake)
		intake_set_terms(client->intake, &terms);
	if (client->outlet)
		outlet_start(client->outlet);
	if (client->intake)
		intake_start(client->intake);
	return 0;
}

static void take_kept(struct client *client, uint64_t number)
{
	struct stream *stream = client->stream;
	char name[32];

	snprintf(name, sizeof(name), "sock.%" PRIu64, number);
	kept_take(&client->kept, stream->shelf, stream->conn, name, -1, HELD_SOCK,
		  (enum framing)stream->options->framing, true);
}

/* FD -1: the one that has come back as NUMBER, if it has.  False: it is not there. */
static bool add_client(struct stream *stream, int fd, uint64_t number)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		if (fd >= 0)
			close(fd);
		log_warning(conn_name(stream->conn), "sock: a client is turned away: %s", strerror(ENOMEM));
		return false;
	}
	client->stream = stream;
	later_init(&client->leave, client_on_leave, client);
	list_append(&stream->clients, &client->link);
	take_kept(client, number);
	client->fd = fd >= 0 ? fd : client->kept.fd;
	if (client->fd < 0) {
		client_free(client);
		return false;
	}
	kept_put(&client->kept, client->fd);
	r = start_client(client);
	if (r == 0)
		return true;
	log_warning(conn_name(stream->conn), "sock: process %d of user %d is turned away: %s",
		    (int)client->peer.pid, (int)client->peer.uid, strerror(-r));
	client_free(client);
	return false;
}

/* No descriptors or memory left: those who wait in the backlog wait a second longer, and do not make the
 * listener "readable" all the time. */
static void back_off(struct stream *stream, int error)
{
	if (!stream->exhausted)
		log_warning(conn_name(stream->conn), "sock: cannot accept a client (%s); trying every second",
			    strerror(error));
	stream->exhausted = true;
	event_del(stream->listener);
	timer_set(&stream->back_off, BACK_OFF_MS);
}

static void stream_on_back_off(void *owner)
{
	struct stream *stream = owner;

	if (event_add(stream->listener, NULL) < 0) /* the kernel has no room for it */
		timer_set(&stream->back_off, BACK_OFF_MS);
}

static void stream_on_connection(evutil_socket_t listener, short what, void *owner)
{
	struct stream *stream = owner;

	(void)what;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			stream->exhausted = false;
			add_client(stream, fd, stream->next_number++);
		} else if (errno != EINTR && errno != ECONNABORTED) {
			if (errno != EAGAIN)
				back_off(stream, errno);
			return;
		}
	}
}

/* --- life ----------------------------------------------------------------------------------- */

static void stream_prefix(const struct stream *stream, const char *what, char prefix[PREFIX_MAX])
{
	snprintf(prefix, PREFIX_MAX, "%s/%s", conn_name(stream->conn), what);
}

/* Each is taken by being made, or is closed. */
static void return_clients(struct stream *stream)
{
	char prefix[PREFIX_MAX];
	const char *found;
	unsigned n = 0, back = 0;

	stream_prefix(stream, "sock.", prefix);
	while (n < RETURNING_MAX && (found = shelf_find(stream->shelf, prefix))) {
		uint64_t number;

		if (!kept_number(found, prefix, &number))
			return; /* none of ours; fdstore_settle() closes it */
		if (number >= stream->next_number)
			stream->next_number = number + 1;
		back += add_client(stream, -1, number);
		n++;
	}
	if (back > 0)
		log_info(conn_name(stream->conn),
			 "sock: clients of the daemon before this one go on: %u", back);
}

static int listen_on(struct stream *stream, int dirfd)
{
	cleanup_free struct file_grant *grants = NULL;
	char prefix[PREFIX_MAX];
	size_t n;
	int r = access_grants(stream->access, ACCESS_SOCKET, &grants, &n);

	if (r < 0)
		return r;
	stream_prefix(stream, "sock", prefix);
	stream->fd = kept_take_listener(stream->shelf, prefix, dirfd, "sock", grants, n);
	if (stream->fd < 0) {
		r = file_listen(dirfd, "sock", grants, n, &stream->fd);
		if (r == 0)
			kept_put_listener(stream->shelf, prefix, dirfd, "sock", stream->fd);
	}
	if (r == 0)
		r = timer_init(&stream->back_off, stream_on_back_off, stream);
	if (r < 0)
		return r;
	stream->listener = event_new(loop_base(), stream->fd, EV_READ | EV_PERSIST,
				     stream_on_connection, stream);
	return stream->listener && event_add(stream->listener, NULL) == 0 ? 0 : -ENOMEM;
}

int stream_new(struct stream **ret, int dirfd, struct shelf *shelf, struct conn *conn,
	       const struct endpoint_options *options, const struct access *access)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return -ENOMEM;
	stream->fd = -1;
	stream->shelf = shelf;
	stream->conn = conn;
	stream->options = options;
	stream->access = access;
	list_init(&stream->clients);
	r = listen_on(stream, dirfd);
	if (r < 0) {
		stream_free(stream, dirfd);
		return r;
	}
	return_clients(stream);
	*ret = stream;
	return 0;
}

struct stream *stream_free(struct stream *stream, int dirfd)
{
	char prefix[PREFIX_MAX];

	if (!stream)
		return NULL;
	while (!list_empty(&stream->clients))
		client_free(list_first(&stream->clients, struct client, link));
	if (stream->listener)
		event_free(stream->listener);
	timer_done(&stream->back_off);
	if (stream->fd >= 0)
		close(stream->fd);
	if (stream->fd >= 0 && !shelf_leaving(stream->shelf)) {
		stream_prefix(stream, "sock", prefix);
		kept_remove_listener(stream->shelf, prefix, dirfd, "sock");
		unlinkat(dirfd, "sock", 0);
	}
	free(stream);
	return NULL;
}

void stream_freeze(struct stream *stream)
{
	struct client *client;

	event_del(stream->listener);
	timer_cancel(&stream->back_off);
	list_for_each (client, &stream->clients, link)
		if (client->intake)
			intake_freeze(client->intake);
}

int stream_describe(const struct stream *stream, struct buf *out)
{
	const struct client *client;

	list_for_each(client, &stream->clients, link) {
		int r = buf_printf(out,
				   ",{\"kind\":\"sock\",\"name\":\"sock\",\"pid\":%d,"
				   "\"behind_messages\":%llu,\"missed\":%llu}",
				   (int)client->peer.pid,
				   client->outlet ? (unsigned long long)outlet_behind(client->outlet) : 0,
				   client->outlet ? (unsigned long long)outlet_missed(client->outlet) : 0);
		if (r < 0)
			return r;
	}
	return 0;
}

void stream_set_options(struct stream *stream, const struct endpoint_options *options)
{
	stream->options = options;
}
