/* dial - see the header.
 *
 * One way forward, one step at a time: look-up, race, perhaps a proxy, transport (and in it TLS),
 * handed over.  Each step frees what the one before needed, and a failure ends any of them.
 *
 * With a proxy it is the proxy that is looked up and raced for; the server (`target`) is looked up
 * only to tell its address to a proxy that does not take names.
 *
 * The race (RFC 8305): a new attempt every 250 ms, or at once when all before it have failed. Those
 * under way go on, and the first connection wins.  Only the winner does TLS: if that fails, the
 * server was reached and has given an answer. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/loop.h"
#include "net/address.h"
#include "net/dial.h"
#include "net/lookup.h"
#include "net/proxy.h"
#include "net/tlscache.h"
#include "net/transport.h"

enum {
	DIAL_ATTEMPT_DELAY_MS = 250,           /* RFC 8305 8 */
	DIAL_ADDRESSES_MAX = 64,               /* of a name; no server has more for our sake */
	DIAL_REASONS_MAX = 3,                  /* failed addresses that the cause names */
	DIAL_HOST_MAX = ADDRESS_HOST_MAX + 64, /* with a zone */
};

struct attempt {
	struct list link;
	struct dial *dial;
	int fd;
	struct event event;
	char address[ADDRESS_TEXT_MAX];
};

struct dial {
	const struct url *url;
	const struct dial_options *options;
	const struct dial_events *events;
	void *owner;

	char target[DIAL_HOST_MAX]; /* the server: the URL's, or connect_to's */
	uint16_t target_port;
	char host[DIAL_HOST_MAX]; /* what is dialled: the server, or the proxy */
	uint16_t port;
	struct lookup *lookup;

	bool proxied;
	struct proxy_address proxy_address;
	struct proxy *proxy;

	const struct addrinfo *order[DIAL_ADDRESSES_MAX]; /* the look-up's, in our order */
	size_t n_order, next;
	struct list attempts; /* under way */
	struct timer timer;   /* to the next one */

	int failed_errno; /* of the last attempt that failed */
	size_t n_failed;
	char reasons[224];

	struct transport *transport;
	struct later fail_later;
	struct cause cause;
	char step[DIAL_HOST_MAX + 64];
};

/* ---- failing ---- */

static void dial_stop_race(struct dial *dial);

/* Everything stops now; the owner hears of it from a clean stack. */
static void dial_stop_failed(struct dial *dial)
{
	dial_stop_race(dial);
	loop_later(&dial->fail_later);
}

static void dial_fail_local(struct dial *dial, int error, const char *doing)
{
	cause_set(&dial->cause, CAUSE_LOCAL, error, "%s: %s", doing, strerror(error));
	dial_stop_failed(dial);
}

static void dial_on_fail_later(void *arg)
{
	struct dial *dial = arg;

	dial->events->failed(dial->owner, &dial->cause);
}

static bool dial_errno_is_local(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* ---- the winner: TLS, then handing over ---- */

static void dial_transport_ready(void *owner)
{
	struct dial *dial = owner;
	struct transport *transport = take_ptr(dial->transport);

	transport_attach(transport, NULL, NULL);
	dial->events->connected(dial->owner, transport);
}

static void dial_transport_ended(void *owner, const struct cause *cause)
{
	struct dial *dial = owner;

	dial->cause = *cause;
	dial->transport = transport_free(dial->transport);
	dial->events->failed(dial->owner, &dial->cause);
}

/* Nothing is written and nothing read before the transport is handed over. */
static void dial_transport_quiet(void *owner)
{
	(void)owner;
}

static const struct transport_events dial_transport_events = {
	.ready = dial_transport_ready,
	.readable = dial_transport_quiet,
	.writable = dial_transport_quiet,
	.ended = dial_transport_ended,
};

/* The files are read anew for each connection, so a certificate that was renewed is used. */
static int dial_new_ssl(struct dial *dial, struct ssl_st **ret)
{
	struct ssl_ctx_st *context;
	int r;

	if (!dial->url->tls)
		return 0;
	r = tlscache_get(&context, &dial->options->tls, &dial->cause);
	if (r < 0)
		return r;
	r = tls_new(ret, context, &dial->options->tls, dial->url);
	tls_context_free(context);
	if (r < 0)
		cause_set(&dial->cause, r == -ENOMEM ? CAUSE_LOCAL : CAUSE_TLS, -r,
			  "TLS cannot be set up for this server name: %s", strerror(-r));
	return r;
}

/* Takes FD, on which the server will answer. */
static void dial_secure(struct dial *dial, int fd, const char *address)
{
	struct ssl_st *ssl = NULL;
	int r;

	if (dial_new_ssl(dial, &ssl) < 0) {
		close(fd);
		dial_stop_failed(dial);
		return;
	}
	if (ssl)
		snprintf(dial->step, sizeof(dial->step), "in the TLS handshake with %s", address);
	r = transport_new(&dial->transport, fd, ssl);
	if (r < 0) {
		dial_fail_local(dial, -r, "cannot set up the connection");
		return;
	}
	transport_attach(dial->transport, &dial_transport_events, dial);
}

/* ---- the proxy ---- */

static void dial_proxy_ready(void *owner, int fd)
{
	struct dial *dial = owner;
	char address[DIAL_HOST_MAX + 16];

	dial->proxy = proxy_free(dial->proxy);
	snprintf(address, sizeof(address), strchr(dial->target, ':') ? "[%s]:%u" : "%s:%u",
		 dial->target, dial->target_port);
	dial_secure(dial, fd, address);
}

static void dial_proxy_failed(void *owner, const struct cause *cause)
{
	struct dial *dial = owner;

	dial->cause = *cause;
	dial->proxy = proxy_free(dial->proxy);
	dial->events->failed(dial->owner, &dial->cause);
}

static const struct proxy_events dial_proxy_events = {
	.ready = dial_proxy_ready,
	.failed = dial_proxy_failed,
};

/* Takes FD. */
static void dial_won(struct dial *dial, int fd, const char *address)
{
	int r;

	dial_stop_race(dial);
	if (!dial->proxied) {
		dial_secure(dial, fd, address);
		return;
	}
	snprintf(dial->step, sizeof(dial->step), "asking the proxy %s", dial->proxy_address.name);
	r = proxy_start(&dial->proxy, fd, &dial->proxy_address, dial->target, dial->target_port,
			&dial_proxy_events, dial);
	if (r < 0)
		dial_fail_local(dial, -r, "cannot ask the proxy");
}

/* ---- the race ---- */

static void dial_try_next(struct dial *dial);

static struct attempt *attempt_free(struct attempt *attempt)
{
	list_remove(&attempt->link);
	event_del(&attempt->event);
	if (attempt->fd >= 0)
		close(attempt->fd);
	free(attempt);
	return NULL;
}

static void dial_stop_race(struct dial *dial)
{
	struct attempt *attempt;

	while ((attempt = list_first(&dial->attempts, struct attempt, link)))
		attempt_free(attempt);
	timer_cancel(&dial->timer);
	dial->n_order = dial->next = 0;
	dial->lookup = lookup_free(dial->lookup);
}

static void dial_note_failed(struct dial *dial, const char *address, int error)
{
	size_t used = strlen(dial->reasons), len = strlen(address);
	size_t cut = len > ADDRESS_TEXT_MAX ? len - ADDRESS_TEXT_MAX : 0;

	dial->failed_errno = error;
	if (dial->n_failed++ >= DIAL_REASONS_MAX)
		return;
	/* Of a long path only the end, so that there is room for the reason. */
	snprintf(dial->reasons + used, sizeof(dial->reasons) - used, "%s%s%s (%s)",
		 used ? ", " : "", cut ? "..." : "", address + cut, strerror(error));
}

static void dial_fail_connect(struct dial *dial)
{
	char more[32] = "";

	if (dial->n_failed > DIAL_REASONS_MAX)
		snprintf(more, sizeof(more), " and %zu more", dial->n_failed - DIAL_REASONS_MAX);
	if (dial->proxied && !dial_errno_is_local(dial->failed_errno))
		cause_set(&dial->cause, CAUSE_PROXY, PROXY_NO_ANSWER,
			  "cannot connect to the proxy %s%s", dial->reasons, more);
	else
		cause_set(&dial->cause,
			  dial_errno_is_local(dial->failed_errno) ? CAUSE_LOCAL : CAUSE_CONNECT,
			  dial->failed_errno, "cannot connect to %s%s", dial->reasons, more);
	dial_stop_failed(dial);
}

/* A connect() from a port to itself succeeds (a simultaneous open, RFC 9293 3.5).  A client that
 * goes on trying a dead port of this machine is given that very port some day. */
static bool dial_met_itself(int fd)
{
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t here_len = sizeof(here), there_len = sizeof(there);

	if (getsockname(fd, (struct sockaddr *)&here, &here_len) < 0 ||
	    getpeername(fd, (struct sockaddr *)&there, &there_len) < 0)
		return false;
	return here.ss_family != AF_UNIX && here_len == there_len &&
	       memcmp(&here, &there, here_len) == 0;
}

static int dial_socket_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return errno;
	return error == 0 && dial_met_itself(fd) ? ECONNREFUSED : error;
}

static void attempt_on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *attempt = arg;
	struct dial *dial = attempt->dial;
	char address[ADDRESS_TEXT_MAX];
	int error = dial_socket_error(fd);

	(void)what;
	memcpy(address, attempt->address, sizeof(address));
	if (error == 0) {
		/* libevent must have let go of the descriptor before it is another's. */
		event_del(&attempt->event);
		take_fd(&attempt->fd);
		attempt_free(attempt);
		dial_won(dial, fd, address);
		return;
	}
	attempt_free(attempt);
	dial_note_failed(dial, address, error);
	if (list_empty(&dial->attempts))
		dial_try_next(dial);
}

static int attempt_open(struct attempt *attempt, const struct addrinfo *to)
{
	attempt->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0)
		return -errno;
	if (connect(attempt->fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	/* Also if it is connected already: then the event comes at once. */
	event_assign(&attempt->event, loop_base(), attempt->fd, EV_WRITE, attempt_on_connected,
		     attempt);
	return event_add(&attempt->event, NULL) < 0 ? -ENOMEM : 0;
}

static int dial_attempt(struct dial *dial, const struct addrinfo *to)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));
	int r;

	if (!attempt) {
		dial_note_failed(dial, dial->host, ENOMEM);
		return -ENOMEM;
	}
	attempt->dial = dial;
	address_format(to->ai_addr, to->ai_addrlen, attempt->address);
	r = attempt_open(attempt, to);
	if (r < 0) {
		dial_note_failed(dial, attempt->address, -r);
		if (attempt->fd >= 0)
			close(attempt->fd);
		free(attempt);
		return r;
	}
	list_append(&dial->attempts, &attempt->link);
	snprintf(dial->step, sizeof(dial->step), "connecting to %s", attempt->address);
	return 0;
}

/* Begin the next attempt that can be begun; with none left and none under way, it is over. */
static void dial_try_next(struct dial *dial)
{
	timer_cancel(&dial->timer);
	while (dial->next < dial->n_order) {
		if (dial_attempt(dial, dial->order[dial->next++]) < 0)
			continue;
		if (dial->next < dial->n_order)
			timer_set(&dial->timer, DIAL_ATTEMPT_DELAY_MS);
		return;
	}
	if (list_empty(&dial->attempts))
		dial_fail_connect(dial);
}

static void dial_on_attempt_due(void *owner)
{
	dial_try_next(owner);
}

static const struct addrinfo *dial_next_of(const struct addrinfo *from, int family, bool same)
{
	while (from && (from->ai_family == family) != same)
		from = from->ai_next;
	return from;
}

/* The resolver's order (RFC 6724) within each family; families alternate, its first one first. */
static void dial_set_order(struct dial *dial, const struct addrinfo *list)
{
	int family = list->ai_family;
	const struct addrinfo *mine = list, *other = dial_next_of(list, family, false);

	while ((mine || other) && dial->n_order < DIAL_ADDRESSES_MAX) {
		if (mine) {
			dial->order[dial->n_order++] = mine;
			mine = dial_next_of(mine->ai_next, family, true);
		}
		if (other && dial->n_order < DIAL_ADDRESSES_MAX) {
			dial->order[dial->n_order++] = other;
			other = dial_next_of(other->ai_next, family, false);
		}
	}
}

/* ---- the look-up ---- */

static void dial_fail_lookup(struct dial *dial, const char *host, int error, int saved_errno)
{
	bool is_local =
		error == EAI_MEMORY || (error == EAI_SYSTEM && dial_errno_is_local(saved_errno));
	const char *reason = error == EAI_SYSTEM ? strerror(saved_errno) : gai_strerror(error);

	if (!is_local && dial->proxied && host == dial->host)
		cause_set(&dial->cause, CAUSE_PROXY, PROXY_NO_ANSWER,
			  "cannot resolve the proxy's name %s: %s", host, reason);
	else
		cause_set(&dial->cause, is_local ? CAUSE_LOCAL : CAUSE_DNS,
			  is_local ? (error == EAI_MEMORY ? ENOMEM : saved_errno) : error,
			  "cannot resolve host %s: %s", host, reason);
	dial_stop_failed(dial);
}

static void dial_lookup_done(void *owner)
{
	struct dial *dial = owner;
	const struct addrinfo *list;
	int saved_errno, r;

	r = lookup_result(dial->lookup, &list, &saved_errno);
	if (r != 0) {
		dial_fail_lookup(dial, dial->host, r, saved_errno);
		return;
	}
	dial_set_order(dial, list);
	dial_try_next(dial);
}

static int dial_look_up(struct dial *dial, const char *host, uint16_t port,
			void (*done)(void *owner))
{
	static const int families[] = {
		[DIAL_ANY] = AF_UNSPEC,
		[DIAL_IPV4] = AF_INET,
		[DIAL_IPV6] = AF_INET6,
	};

	snprintf(dial->step, sizeof(dial->step), "resolving %s", host);
	return lookup_start(&dial->lookup, host, port, families[dial->options->address_family],
			    done, dial);
}

/* SOCKS 5 without names: the first address takes the name's place.  Which of several can be reached
 * from the proxy, only the proxy could know (socks5h). */
static void dial_target_found(void *owner)
{
	struct dial *dial = owner;
	const struct addrinfo *list;
	int saved_errno, r;

	r = lookup_result(dial->lookup, &list, &saved_errno);
	if (r == 0)
		r = getnameinfo(list->ai_addr, list->ai_addrlen, dial->target,
				sizeof(dial->target), NULL, 0, NI_NUMERICHOST);
	if (r != 0) {
		dial_fail_lookup(dial, dial->target, r, saved_errno);
		return;
	}
	dial->lookup = lookup_free(dial->lookup);
	r = dial_look_up(dial, dial->host, dial->port, dial_lookup_done);
	if (r < 0)
		dial_fail_local(dial, -r, "cannot resolve the proxy's name");
}

/* connect_to was checked with the configuration: if it is wrong all the same, the dial fails. */
static int dial_set_target(struct dial *dial)
{
	char host[ADDRESS_HOST_MAX];
	int n;

	if (dial->options->connect_to) {
		if (address_split(dial->options->connect_to, host, &dial->target_port) < 0)
			return -EINVAL;
		n = snprintf(dial->target, sizeof(dial->target), "%s", host);
	} else {
		dial->target_port = dial->url->port;
		n = snprintf(dial->target, sizeof(dial->target), "%s%s%s", dial->url->host,
			     dial->url->zone ? "%" : "", dial->url->zone ? dial->url->zone : "");
	}
	return n < (int)sizeof(dial->target) ? 0 : -ENAMETOOLONG;
}

/* The same holds for the proxy. */
static int dial_set_host(struct dial *dial)
{
	const char *problem;
	int r;

	if (!proxy_wanted(dial->options->proxy)) {
		memcpy(dial->host, dial->target, sizeof(dial->host));
		dial->port = dial->target_port;
		return 0;
	}
	r = proxy_parse(&dial->proxy_address, dial->options->proxy, &problem);
	if (r < 0)
		return r;
	dial->proxied = true;
	dial->port = dial->proxy_address.port;
	snprintf(dial->host, sizeof(dial->host), "%s", dial->proxy_address.host);
	return 0;
}

static int dial_start_lookup(struct dial *dial)
{
	int r = dial_set_target(dial);

	if (r == 0)
		r = dial_set_host(dial);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		cause_set(&dial->cause, CAUSE_CONNECT, -r, "no address to connect to: %s",
			  dial->options->connect_to ? dial->options->connect_to : dial->url->host);
		loop_later(&dial->fail_later);
		return 0;
	}
	if (dial->proxied && dial->proxy_address.kind == PROXY_SOCKS5)
		return dial_look_up(dial, dial->target, dial->target_port, dial_target_found);
	return dial_look_up(dial, dial->host, dial->port, dial_lookup_done);
}

/* ---- a Unix socket ---- */

/* A path that is longer than an address is reached through its directory. */
static int dial_unix_address(const char *path, struct sockaddr_un *ret, int *ret_dirfd)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = NULL;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) < sizeof(ret->sun_path)) {
		memcpy(ret->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!slash)
		return -ENAMETOOLONG;
	dir = strndup(path, (size_t)(slash - path) + 1);
	if (!dir)
		return -ENOMEM;
	*ret_dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dirfd < 0)
		return -errno;
	if (snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", *ret_dirfd,
		     slash + 1) >= (int)sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	return 0;
}

/* Unix sockets connect at once or not at all; EAGAIN says that the listener's queue is full. */
static int dial_connect_unix(const char *path, int *ret_fd)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cleanup_close int dirfd = -1;
	struct sockaddr_un address;
	int r;

	if (fd < 0)
		return -errno;
	r = dial_unix_address(path, &address, &dirfd);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

static void dial_start_unix(struct dial *dial)
{
	const char *path = dial->url->socket_path;
	int fd = -1, r;

	snprintf(dial->step, sizeof(dial->step), "connecting to %s", path);
	r = dial_connect_unix(path, &fd);
	if (r < 0) {
		dial_note_failed(dial, path, -r);
		dial_fail_connect(dial);
		return;
	}
	dial_won(dial, fd, path);
}

/* ---- from the beginning to the end ---- */

int dial_start(struct dial **ret, const struct url *url, const struct dial_options *options,
	       const struct dial_events *events, void *owner)
{
	struct dial *dial = calloc(1, sizeof(*dial));
	int r;

	if (!dial)
		return -ENOMEM;
	dial->url = url;
	dial->options = options;
	dial->events = events;
	dial->owner = owner;
	list_init(&dial->attempts);
	later_init(&dial->fail_later, dial_on_fail_later, dial);
	r = timer_init(&dial->timer, dial_on_attempt_due, dial);
	if (r == 0 && url->is_unix && !options->connect_to)
		dial_start_unix(dial);
	else if (r == 0)
		r = dial_start_lookup(dial);
	if (r < 0) {
		dial_free(dial);
		return r;
	}
	*ret = dial;
	return 0;
}

struct dial *dial_free(struct dial *dial)
{
	if (!dial)
		return NULL;
	dial_stop_race(dial);
	later_cancel(&dial->fail_later);
	timer_done(&dial->timer);
	proxy_free(dial->proxy);
	proxy_address_done(&dial->proxy_address);
	transport_free(dial->transport);
	free(dial);
	return NULL;
}

const char *dial_step(const struct dial *dial)
{
	return dial->step;
}

int dial_check_address(const char *text)
{
	char host[ADDRESS_HOST_MAX];
	uint16_t port;

	return address_split(text, host, &port);
}
