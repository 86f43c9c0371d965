/* control - who may come in, how many, and what belongs to each.
 *
 * Each client is a peer (its bytes) and, from its request on, a request (what it wants); when the
 * peer has gone, everything that it had goes with it: first the request, which lets go of
 * connections, streams and watches, then the peer.
 *
 * A channel may be removed by one client while another uses it.  The rule: whoever uses a channel
 * has a channel_reader and a conn_watch on it (request.c does both).  A change of state to CLOSED
 * is told by the watch, and streams then end by themselves once what was received is written out;
 * but when `removed` is called, they must let go of conn, intake, outlet and cursor before they
 * return.
 *
 * The socket's mode and ACL say who may connect; SO_PEERCRED says then whether he may only read. */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/strv.h"
#include "control/peer.h"
#include "control/request.h"
#include "control/verbs.h"
#include "endpoint/access.h"
#include "endpoint/kept.h"

#define CONTROL_NAME "control"
#define CONTROL_NEXT_NAME ".control.next" /* while access changes */

enum {
	CLIENTS_MAX = 1024,  /* at once; the others wait in the kernel's queue */
	EXHAUSTED_MS = 1000, /* pause when there are no descriptors */
	GROUPS_MAX = 65536,  /* NGROUPS_MAX of Linux */
};

struct control {
	struct service *service;
	struct shelf *shelf; /* where the socket outlives us, or NULL */
	int runtime_fd; /* our own */
	int fd;
	struct event *acceptable;
	struct timer rest;
	bool exhausted; /* said once, until somebody comes in again */
	bool bound;     /* the socket in the runtime directory is ours to remove */
	char **list;    /* `access` as configured */
	struct access access;
	struct list clients;
	unsigned clients_n;
};

struct client {
	struct list link;
	struct control *control;
	struct peer *peer;
	struct request *request; /* NULL until it has asked */
	struct request_rights rights;
};

static void control_rearm(struct control *control);

/* --- clients -------------------------------------------------------------------------------- */

static void client_free(struct client *client)
{
	struct control *control = client->control;

	client->request = request_free(client->request);
	client->peer = peer_free(client->peer);
	list_remove(&client->link);
	free(client);
	control->clients_n--;
	service_hold(control->service, -1);
}

static void client_peer_gone(void *owner)
{
	struct client *client = owner;
	struct control *control = client->control;

	client_free(client);
	control_rearm(control);
}

static void client_peer_request(void *owner, const char *line, size_t len)
{
	struct client *client = owner;
	struct control *control = client->control;
	int r;

	r = request_new(&client->request, control->service, client->peer, &client->rights);
	if (r < 0) {
		peer_drop(client->peer);
		return;
	}
	verbs_start(client->request, line, len);
}

/* What a client says while its stream runs: what it has got of it. */
static void client_peer_word(void *owner, const char *line, size_t len)
{
	struct client *client = owner;

	if (client->request && client->request->flow)
		flow_said(client->request->flow, line, len);
}

static const struct peer_events client_peer_events = {
	.request = client_peer_request,
	.word = client_peer_word,
	.gone = client_peer_gone,
};

/* --- rights --------------------------------------------------------------------------------- */

/* Supplementary groups as the kernel recorded them at connect(), and room for one more. */
static int peer_groups(int fd, gid_t **ret, size_t *ret_n)
{
	cleanup_free gid_t *groups = NULL;
	socklen_t bytes = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &bytes) < 0 && errno != ERANGE)
		return -errno;
	if (bytes > GROUPS_MAX * sizeof(gid_t))
		return -EMSGSIZE;
	groups = malloc(bytes + sizeof(gid_t));
	if (!groups)
		return -ENOMEM;
	if (bytes && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) < 0)
		return -errno;
	*ret_n = bytes / sizeof(gid_t);
	*ret = take_ptr(groups);
	return 0;
}

static int control_rights(const struct control *control, int fd, struct request_rights *ret)
{
	cleanup_free gid_t *groups = NULL;
	struct ucred who;
	socklen_t bytes = sizeof(who);
	size_t n = 0;
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) < 0)
		return -errno;
	*ret = (struct request_rights){.pid = who.pid};
	if (who.uid == 0 || who.uid == geteuid()) {
		ret->read = ret->write = ret->owner = true;
		return 0;
	}
	r = peer_groups(fd, &groups, &n);
	if (r < 0)
		return r;
	groups[n++] = who.gid;
	ret->read = access_allows(&control->access, who.uid, groups, n, false);
	ret->write = access_allows(&control->access, who.uid, groups, n, true);
	return 0;
}

/* --- the listener --------------------------------------------------------------------------- */

static void control_rearm(struct control *control)
{
	if (control->clients_n >= CLIENTS_MAX || timer_is_set(&control->rest))
		event_del(control->acceptable);
	else if (event_add(control->acceptable, NULL) < 0) /* the kernel has no room for it */
		timer_set(&control->rest, EXHAUSTED_MS);
}

static void control_on_rested(void *owner)
{
	control_rearm(owner);
}

/* Takes FD. */
static int control_admit(struct control *control, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		close(fd);
		return -ENOMEM;
	}
	client->control = control;
	r = control_rights(control, fd, &client->rights);
	if (r < 0) {
		close(fd);
		free(client);
		return r;
	}
	r = peer_new(&client->peer, fd, &client_peer_events, client);
	if (r < 0) {
		free(client);
		return r;
	}
	list_append(&control->clients, &client->link);
	control->clients_n++;
	service_hold(control->service, +1);
	return 0;
}

/* A listener without descriptors to accept with would be "readable" all the time. */
static void control_exhaust(struct control *control, int error)
{
	if (!control->exhausted)
		log_warning(NULL,
			    "control socket: cannot take another client (%s); trying every second",
			    strerror(error));
	control->exhausted = true;
	timer_set(&control->rest, EXHAUSTED_MS);
}

/* False: nobody (more) to be had now. */
static bool control_accept(struct control *control, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int r;

	if (fd < 0) {
		if (errno == EINTR || errno == ECONNABORTED)
			return true;
		if (errno != EAGAIN)
			control_exhaust(control, errno);
		return false;
	}
	control->exhausted = false;
	r = control_admit(control, fd);
	if (r < 0)
		log_warning(NULL, "control socket: a client was turned away: %s", strerror(-r));
	return true;
}

static void control_on_acceptable(evutil_socket_t fd, short what, void *owner)
{
	struct control *control = owner;

	(void)what;
	while (control->clients_n < CLIENTS_MAX && control_accept(control, fd))
		;
	control_rearm(control);
}

/* --- access --------------------------------------------------------------------------------- */

static int control_listen(const struct control *control, const char *name,
			  const struct access *access, int *ret_fd)
{
	cleanup_free struct file_grant *grants = NULL;
	size_t n = 0;
	int r = access_grants(access, ACCESS_SOCKET, &grants, &n);

	if (r < 0)
		return r;
	return file_listen(control->runtime_fd, name, grants, n, ret_fd);
}

/* Takes FD: from now on clients come in there.  Those who wait at the old one are taken first. */
static int control_use(struct control *control, int fd)
{
	struct event *acceptable =
		event_new(loop_base(), fd, EV_READ | EV_PERSIST, control_on_acceptable, control);

	if (!acceptable) {
		close(fd);
		return -ENOMEM;
	}
	if (control->fd >= 0) {
		while (control_accept(control, control->fd))
			;
		event_free(control->acceptable);
		close(control->fd);
	}
	control->fd = fd;
	control->acceptable = acceptable;
	control_rearm(control);
	return 0;
}

/* A second socket beside the first, then one rename: at every moment somebody answers, and when
 * anything fails the old one is as it was. */
static int control_exchange(struct control *control, const struct access *access)
{
	cleanup_close int fd = -1;
	int r = control_listen(control, CONTROL_NEXT_NAME, access, &fd);

	if (r < 0)
		return r;
	kept_remove_listener(control->shelf, CONTROL_NAME, control->runtime_fd, CONTROL_NAME);
	if (renameat(control->runtime_fd, CONTROL_NEXT_NAME, control->runtime_fd, CONTROL_NAME) <
	    0) {
		r = -errno;
		unlinkat(control->runtime_fd, CONTROL_NEXT_NAME, 0);
		kept_put_listener(control->shelf, CONTROL_NAME, control->runtime_fd, CONTROL_NAME,
				  control->fd);
		return r;
	}
	kept_put_listener(control->shelf, CONTROL_NAME, control->runtime_fd, CONTROL_NAME, fd);
	return control_use(control, take_fd(&fd));
}

/* The one of the daemon before us, or -1.  Whoever has come meanwhile waits there. */
static int control_kept(const struct control *control, const struct access *access)
{
	cleanup_free struct file_grant *grants = NULL;
	size_t n = 0;

	if (!control->shelf || access_grants(access, ACCESS_SOCKET, &grants, &n) < 0)
		return -1;
	return kept_take_listener(control->shelf, CONTROL_NAME, control->runtime_fd, CONTROL_NAME,
				  grants, n);
}

static int control_first_listen(struct control *control, const struct access *access)
{
	int fd = control_kept(control, access), r = 0;

	if (fd < 0) {
		r = control_listen(control, CONTROL_NAME, access, &fd);
		if (r == 0)
			kept_put_listener(control->shelf, CONTROL_NAME, control->runtime_fd,
					  CONTROL_NAME, fd);
	}
	if (r < 0)
		return r;
	control->bound = true;
	return control_use(control, fd);
}

int control_set_access(struct control *control, char *const *list)
{
	struct access access = {0};
	const char *problem = NULL;
	char **copy = NULL;
	int r;

	if (control->bound && strv_equal(list, control->list))
		return 0;
	r = access_parse(&access, list, &problem);
	if (r < 0)
		return r;
	r = strv_copy(&copy, list);
	if (r >= 0)
		r = control->bound ? control_exchange(control, &access)
				   : control_first_listen(control, &access);
	if (r < 0) {
		access_done(&access);
		strv_free(copy);
		return r;
	}
	access_done(&control->access);
	strv_free(control->list);
	control->access = access;
	control->list = copy;
	return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

int control_new(struct control **ret, struct service *service, int runtime_fd, struct shelf *shelf,
		char *const *access)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	control->service = service;
	control->shelf = shelf;
	control->fd = -1;
	list_init(&control->clients);
	control->runtime_fd = fcntl(runtime_fd, F_DUPFD_CLOEXEC, 0);
	r = control->runtime_fd < 0 ? -errno
				    : timer_init(&control->rest, control_on_rested, control);
	if (r >= 0)
		r = control_set_access(control, access);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret = control;
	return 0;
}

struct control *control_free(struct control *control)
{
	struct client *client, *following;

	if (!control)
		return NULL;
	list_for_each_safe (client, following, &control->clients, link) {
		if (client->request)
			request_cut(client->request);
		client_free(client);
	}
	timer_done(&control->rest);
	if (control->acceptable)
		event_free(control->acceptable);
	if (control->bound && !shelf_leaving(control->shelf)) {
		kept_remove_listener(control->shelf, CONTROL_NAME, control->runtime_fd,
				     CONTROL_NAME);
		unlinkat(control->runtime_fd, CONTROL_NAME, 0);
	}
	if (control->fd >= 0)
		close(control->fd);
	if (control->runtime_fd >= 0)
		close(control->runtime_fd);
	access_done(&control->access);
	strv_free(control->list);
	free(control);
	return NULL;
}
