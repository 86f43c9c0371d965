/* proxy - see the header.
 *
 * Both kinds are questions and answers in turn, so there is one buffer for what is to be said, one
 * for what is heard, and a step that says which answer is awaited.  Each step names how many bytes
 * it needs (SOCKS) or looks for the end of a head (HTTP).  One function arms the one event. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "codec/base64.h"
#include "codec/http.h"
#include "codec/url.h"
#include "net/proxy.h"

enum {
	PROXY_SAID_MAX = 64 * 1024, /* credentials of 16 KiB in base64, and the rest */
	PROXY_SAID_BYTES = 1024,    /* of what is said, but for credentials */
	PROXY_READ_BYTES = 2048,
	PROXY_SHOWN_MAX = 60, /* of a proxy's words in a cause */

	SOCKS_VERSION = 5,
	SOCKS_AUTH_VERSION = 1,
	SOCKS_CONNECT = 1,
	SOCKS_NO_AUTH = 0,
	SOCKS_PASSWORD = 2,
	SOCKS_NO_METHOD = 0xff,
	SOCKS_IPV4 = 1,
	SOCKS_NAME = 3,
	SOCKS_IPV6 = 4,
};

enum proxy_step {
	PROXY_HTTP_HEAD,
	PROXY_SOCKS_METHOD, /* VER METHOD */
	PROXY_SOCKS_AUTH,   /* VER STATUS */
	PROXY_SOCKS_REPLY,  /* VER REP RSV ATYP ADDRESS PORT */
};

struct proxy {
	const struct proxy_address *address;
	const struct proxy_events *events;
	void *owner;
	enum proxy_step step;
	int fd;
	struct event event;
	bool armed;
	struct buf said, heard;
	uint16_t port;
	char host[PROXY_HOST_MAX + 1];
};

/* --- where it is ---------------------------------------------------------------------------- */

static int proxy_refuse(const char **ret_problem, const char *problem)
{
	*ret_problem = problem;
	return -EINVAL;
}

static const char *const proxy_prefixes[] = {
	[PROXY_HTTP] = "http://",
	[PROXY_SOCKS5] = "socks5://",
	[PROXY_SOCKS5H] = "socks5h://",
};

/* The text behind the scheme. */
static int proxy_parse_kind(const char *text, enum proxy_kind *ret, const char **ret_rest,
			    const char **ret_problem)
{
	*ret = PROXY_HTTP;
	*ret_rest = text;
	for (size_t i = 0; i < sizeof(proxy_prefixes) / sizeof(*proxy_prefixes); i++) {
		size_t len = strlen(proxy_prefixes[i]);

		if (strncasecmp(text, proxy_prefixes[i], len) != 0)
			continue;
		*ret = (enum proxy_kind)i;
		*ret_rest = text + len;
		return 0;
	}
	if (strcmp(text, "env") == 0)
		return proxy_refuse(ret_problem, "is for the command line of wspipe(1) alone: a "
						 "daemon's environment is not its users'");
	if (strstr(text, "://"))
		return proxy_refuse(ret_problem,
				    "is not one of http://, socks5://, socks5h:// and none");
	return 0;
}

static bool proxy_has_port(const char *authority)
{
	const char *at = strrchr(authority, '@'), *host = at ? at + 1 : authority;
	const char *end = *host == '[' ? strchr(host, ']') : host;
	const char *colon = end ? strchr(end, ':') : NULL;

	return colon && colon[1] >= '0' && colon[1] <= '9';
}

/* RFC 1929 2: one byte tells the length of each. */
static int proxy_check_user(const struct proxy_address *address, const char **ret_problem)
{
	const char *colon = address->user ? strchr(address->user, ':') : NULL;
	size_t name_len, password_len;

	if (!colon || address->kind == PROXY_HTTP)
		return 0;
	name_len = (size_t)(colon - address->user);
	password_len = strlen(colon + 1);
	if (name_len == 0 || name_len > PROXY_CREDENTIAL_MAX || password_len == 0 ||
	    password_len > PROXY_CREDENTIAL_MAX)
		return proxy_refuse(ret_problem, "has a user or a password of a length that SOCKS "
						 "has no room for (1 to 255 bytes)");
	return 0;
}

static int proxy_take_url(struct proxy_address *address, struct url *url, bool has_port,
			  const char **ret_problem)
{
	bool is_ipv6 = strchr(url->host, ':') != NULL;

	if (strcmp(url->target, "/") != 0)
		return proxy_refuse(ret_problem, "has a path: a proxy has none");
	address->port = has_port ? url->port : PROXY_PORT;
	address->user = take_ptr(url->user);
	if (asprintf(&address->host, "%s%s%s", url->host, url->zone ? "%" : "",
		     url->zone ? url->zone : "") < 0) {
		address->host = NULL;
		return -ENOMEM;
	}
	snprintf(address->name, sizeof(address->name), is_ipv6 ? "[%s]:%u" : "%s:%u", address->host,
		 address->port);
	return proxy_check_user(address, ret_problem);
}

int proxy_parse(struct proxy_address *ret, const char *text, const char **ret_problem)
{
	struct proxy_address address = {0};
	cleanup_free char *as_url = NULL;
	struct url url = {0};
	const char *rest;
	int r = proxy_parse_kind(text, &address.kind, &rest, ret_problem);

	if (r < 0)
		return r;
	if (asprintf(&as_url, "http://%s", rest) < 0) {
		as_url = NULL;
		return -ENOMEM;
	}
	r = url_parse(&url, as_url, ret_problem);
	explicit_bzero(as_url, strlen(as_url));
	if (r == 0)
		r = proxy_take_url(&address, &url, proxy_has_port(rest), ret_problem);
	url_done(&url);
	if (r < 0)
		proxy_address_done(&address);
	else
		*ret = address;
	return r;
}

void proxy_address_done(struct proxy_address *address)
{
	if (address->user)
		explicit_bzero(address->user, strlen(address->user));
	free(address->user);
	free(address->host);
	*address = (struct proxy_address){0};
}

bool proxy_wanted(const char *text)
{
	return text && strcmp(text, "none") != 0;
}

int proxy_check(const char *text, const char **ret_problem)
{
	struct proxy_address address = {0};
	int r = proxy_wanted(text) ? proxy_parse(&address, text, ret_problem) : 0;

	proxy_address_done(&address);
	return r;
}

void proxy_show(const char *text, char ret[PROXY_TEXT_MAX])
{
	struct proxy_address address = {0};
	const char *problem;

	ret[0] = '\0';
	if (proxy_wanted(text) && proxy_parse(&address, text, &problem) == 0)
		snprintf(ret, PROXY_TEXT_MAX, "%s%s", proxy_prefixes[address.kind], address.name);
	proxy_address_done(&address);
}

/* --- the end -------------------------------------------------------------------------------- */

static void proxy_fail(struct proxy *proxy, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void proxy_fail(struct proxy *proxy, int code, const char *format, ...)
{
	struct cause cause;
	char text[sizeof(cause.text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cause_set(&cause, CAUSE_PROXY, code, "proxy %s %s", proxy->address->name, text);
	proxy->events->failed(proxy->owner, &cause);
}

static void proxy_fail_bad(struct proxy *proxy, const char *problem)
{
	proxy_fail(proxy, PROXY_BAD_ANSWER, "%s", problem);
}

static void proxy_fail_errno(struct proxy *proxy, int error)
{
	proxy_fail(proxy, PROXY_NO_ANSWER, "has not answered: %s", strerror(error));
}

static void proxy_hand_over(struct proxy *proxy)
{
	proxy->events->ready(proxy->owner, take_fd(&proxy->fd));
}

/* --- HTTP ----------------------------------------------------------------------------------- */

static int proxy_put_basic(struct proxy *proxy)
{
	const char *user = proxy->address->user;
	size_t len = user ? base64_encoded_len(strlen(user)) : 0;
	uint8_t *tail;
	int r;

	if (!user)
		return 0;
	r = buf_append_str(&proxy->said, "Proxy-Authorization: Basic ");
	if (r >= 0)
		r = buf_reserve(&proxy->said, len, &tail);
	if (r < 0)
		return r;
	base64_encode((char *)tail, (const uint8_t *)user, strlen(user));
	buf_commit(&proxy->said, len);
	return buf_append_str(&proxy->said, "\r\n");
}

static int proxy_ask_http(struct proxy *proxy)
{
	bool is_ipv6 = strchr(proxy->host, ':') != NULL;
	const char *open = is_ipv6 ? "[" : "", *close = is_ipv6 ? "]" : "";
	int r;

	proxy->step = PROXY_HTTP_HEAD;
	r = buf_printf(&proxy->said,
		       "CONNECT %s%s%s:%u HTTP/1.1\r\n"
		       "Host: %s%s%s:%u\r\n",
		       open, proxy->host, close, proxy->port, open, proxy->host, close,
		       proxy->port);
	if (r >= 0)
		r = proxy_put_basic(proxy);
	return r < 0 ? r : buf_append_str(&proxy->said, "\r\n");
}

/* The names of the schemes in a 407, as " (it asks for: Basic, Digest)". */
static void proxy_list_schemes(const struct http_head *head, char *out, size_t size)
{
	struct http_position position = {0};
	const char *member;
	size_t len, used = 0;

	*out = '\0';
	while (http_list_next(head, "Proxy-Authenticate", &position, &member, &len)) {
		const char *blank = memchr(member, ' ', len);
		size_t name = blank ? (size_t)(blank - member) : len;

		if (name > 24 || !http_is_token(member, name)) /* "a=b" is a parameter */
			continue;
		used += (size_t)snprintf(out + used, size - used, "%s%.*s",
					 used ? ", " : " (it asks for: ", (int)name, member);
		if (used + 32 > size)
			break;
	}
	if (used)
		snprintf(out + used, size - used, ")");
}

static void proxy_refused_http(struct proxy *proxy, const struct http_head *head)
{
	char more[96] = "";
	const struct http_field *after = NULL;
	size_t reason = head->reason_len < PROXY_SHOWN_MAX ? head->reason_len : PROXY_SHOWN_MAX;
	/* tinyproxy says 401 where a password is wrong. */
	bool is_denied = head->status == PROXY_UNAUTHORISED || head->status == 401;
	struct cause cause;

	if (is_denied && proxy->address->user)
		snprintf(more, sizeof(more), " (it refuses our user and password)");
	else if (is_denied)
		proxy_list_schemes(head, more, sizeof(more));
	cause_set(&cause, CAUSE_PROXY, head->status, "proxy %s answered HTTP %d%s%.*s%s",
		  proxy->address->name, head->status, reason ? " " : "", (int)reason,
		  reason ? head->reason : "", more);
	if (http_find_one(head, "Retry-After", &after) == 1)
		cause.retry_after_ms =
			http_retry_after_ms(after->value, after->value_len, loop_wall_us());
	proxy->events->failed(proxy->owner, &cause);
}

/* Whoever stands behind the proxy waits for our first word, in TLS as in HTTP: bytes that are here
 * already would be the proxy's, and be taken for the server's. */
static bool proxy_has_more(struct proxy *proxy, size_t head_len)
{
	char byte;

	return buf_len(&proxy->heard) > head_len ||
	       recv(proxy->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Many proxies (tinyproxy) call their CONNECT answers HTTP/1.0, which makes no difference here; the
 * parser is for servers, and there it does. */
static void proxy_forgive_version(struct proxy *proxy)
{
	static const char old[] = "HTTP/1.0";

	if (buf_len(&proxy->heard) >= sizeof(old) - 1 &&
	    memcmp(buf_head(&proxy->heard), old, sizeof(old) - 1) == 0)
		buf_head(&proxy->heard)[sizeof(old) - 2] = '1';
}

static void proxy_fail_head(struct proxy *proxy, const char *problem)
{
	uint8_t first = buf_head(&proxy->heard)[0];

	if (first == 0x15 || first == 0x16)
		proxy_fail_bad(proxy, "speaks TLS, which is not supported for proxies");
	else if (first == SOCKS_VERSION || first == 0)
		proxy_fail_bad(proxy, "is no HTTP proxy; perhaps one for SOCKS (socks5h://)");
	else
		proxy_fail(proxy, PROXY_BAD_ANSWER, "does not answer like an HTTP proxy: %s",
			   problem);
}

/* The first head that is no "go on waiting" (RFC 9110 15.2): outcomes of http_parse_head(). */
static int proxy_find_head(struct proxy *proxy, struct http_head *ret, const char **ret_problem)
{
	for (;;) {
		int r;

		proxy_forgive_version(proxy);
		r = http_parse_head(ret, buf_head(&proxy->heard), buf_len(&proxy->heard),
				    ret_problem);
		if (r != HTTP_DONE || ret->status >= 200 || ret->status == 101)
			return r;
		buf_consume(&proxy->heard, ret->head_len);
		if (buf_len(&proxy->heard) == 0)
			return HTTP_MORE;
	}
}

/* True: go on reading. */
static bool proxy_take_http(struct proxy *proxy)
{
	struct http_head head;
	const char *problem = NULL;
	int r = proxy_find_head(proxy, &head, &problem);

	if (r == HTTP_MORE)
		return true;
	if (r < 0)
		proxy_fail_head(proxy, problem);
	else if (head.status < 200 || head.status > 299)
		proxy_refused_http(proxy, &head);
	else if (proxy_has_more(proxy, head.head_len))
		proxy_fail_bad(proxy, "sent bytes behind its answer before we had said anything");
	else
		proxy_hand_over(proxy);
	return false;
}

/* --- SOCKS ---------------------------------------------------------------------------------- */

static int proxy_ask_method(struct proxy *proxy)
{
	static const uint8_t plain[] = {SOCKS_VERSION, 1, SOCKS_NO_AUTH};
	static const uint8_t either[] = {SOCKS_VERSION, 2, SOCKS_NO_AUTH, SOCKS_PASSWORD};

	proxy->step = PROXY_SOCKS_METHOD;
	return proxy->address->user ? buf_append(&proxy->said, either, sizeof(either))
				    : buf_append(&proxy->said, plain, sizeof(plain));
}

/* The lengths were checked by proxy_parse(). */
static int proxy_ask_auth(struct proxy *proxy)
{
	const char *user = proxy->address->user, *colon = strchr(user, ':');
	size_t name_len = (size_t)(colon - user), password_len = strlen(colon + 1);
	const uint8_t head[] = {SOCKS_AUTH_VERSION, (uint8_t)name_len};
	int r;

	proxy->step = PROXY_SOCKS_AUTH;
	r = buf_append(&proxy->said, head, sizeof(head));
	if (r >= 0)
		r = buf_append(&proxy->said, user, name_len);
	if (r >= 0)
		r = buf_append_char(&proxy->said, (char)password_len);
	return r < 0 ? r : buf_append(&proxy->said, colon + 1, password_len);
}

static int proxy_put_host(struct proxy *proxy)
{
	struct in6_addr six;
	struct in_addr four;
	int r;

	if (inet_pton(AF_INET, proxy->host, &four) == 1) {
		r = buf_append_char(&proxy->said, SOCKS_IPV4);
		return r < 0 ? r : buf_append(&proxy->said, &four, sizeof(four));
	}
	if (inet_pton(AF_INET6, proxy->host, &six) == 1) {
		r = buf_append_char(&proxy->said, SOCKS_IPV6);
		return r < 0 ? r : buf_append(&proxy->said, &six, sizeof(six));
	}
	r = buf_append_char(&proxy->said, SOCKS_NAME);
	if (r >= 0)
		r = buf_append_char(&proxy->said, (char)strlen(proxy->host));
	return r < 0 ? r : buf_append_str(&proxy->said, proxy->host);
}

static int proxy_ask_connect(struct proxy *proxy)
{
	static const uint8_t head[] = {SOCKS_VERSION, SOCKS_CONNECT, 0};
	uint16_t port = htons(proxy->port);
	int r;

	proxy->step = PROXY_SOCKS_REPLY;
	r = buf_append(&proxy->said, head, sizeof(head));
	if (r >= 0)
		r = proxy_put_host(proxy);
	return r < 0 ? r : buf_append(&proxy->said, &port, sizeof(port));
}

/* True: the next question stands in `said`. */
static bool proxy_asked(struct proxy *proxy, int r)
{
	if (r < 0)
		proxy_fail_errno(proxy, -r);
	return r >= 0;
}

static bool proxy_take_method(struct proxy *proxy, const uint8_t *heard)
{
	if (heard[0] != SOCKS_VERSION) {
		proxy_fail_bad(proxy, heard[0] == 'H' ? "is an HTTP proxy, not for SOCKS (http://)"
				      : heard[0] == 4 || heard[0] == 0
					      ? "speaks SOCKS 4 only"
					      : "does not answer like a SOCKS proxy");
	} else if (heard[1] == SOCKS_NO_AUTH) {
		return proxy_asked(proxy, proxy_ask_connect(proxy));
	} else if (heard[1] == SOCKS_PASSWORD && proxy->address->user) {
		return proxy_asked(proxy, proxy_ask_auth(proxy));
	} else if (heard[1] == SOCKS_NO_METHOD) {
		proxy_fail(proxy, PROXY_UNAUTHORISED, "%s",
			   proxy->address->user ? "takes neither a password nor none"
						: "lets nobody in without a password");
	} else {
		proxy_fail(proxy, PROXY_BAD_ANSWER, "chose method %u, which was not offered",
			   heard[1]);
	}
	return false;
}

static bool proxy_take_auth(struct proxy *proxy, const uint8_t *heard)
{
	if (heard[0] != SOCKS_AUTH_VERSION && heard[0] != SOCKS_VERSION) /* as some say */
		proxy_fail_bad(proxy, "does not answer to a password like a SOCKS proxy");
	else if (heard[1] != 0)
		proxy_fail(proxy, PROXY_UNAUTHORISED, "refuses our user and password (status %u)",
			   heard[1]);
	else
		return proxy_asked(proxy, proxy_ask_connect(proxy));
	return false;
}

/* RFC 1928 6. */
static const char *proxy_reply_text(unsigned reply)
{
	static const char *const texts[] = {
		[1] = "general failure",
		[2] = "not allowed by its rules",
		[3] = "network unreachable",
		[4] = "host unreachable",
		[5] = "connection refused by the server",
		[6] = "TTL expired",
		[7] = "command not supported",
		[8] = "address type not supported",
	};

	return reply < sizeof(texts) / sizeof(*texts) && texts[reply] ? texts[reply]
								      : "unknown reply";
}

static bool proxy_take_reply(struct proxy *proxy, const uint8_t *heard)
{
	if (heard[1] != 0)
		proxy_fail(proxy, heard[1], "cannot reach %s:%u: %s (reply %u)", proxy->host,
			   proxy->port, proxy_reply_text(heard[1]), heard[1]);
	else
		proxy_hand_over(proxy);
	return false;
}

/* How long the reply is by its own account: 0 if it makes no sense.  A refusal is known from its
 * first bytes, and some proxies send no more of it. */
static size_t proxy_reply_len(const uint8_t *heard, size_t len)
{
	if (len < 2 || (heard[0] == SOCKS_VERSION && heard[1] == 0 && len < 5))
		return len < 2 ? 2 : 5;
	if (heard[0] != SOCKS_VERSION)
		return 0;
	if (heard[1] != 0)
		return 2;
	switch (heard[3]) {
	case SOCKS_IPV4:
		return 4 + 4 + 2;
	case SOCKS_IPV6:
		return 4 + 16 + 2;
	case SOCKS_NAME:
		return 4 + 1 + heard[4] + 2;
	default:
		return 0;
	}
}

/* Bytes that the answer awaited has, as far as can be told by now. */
static size_t proxy_needs(const struct proxy *proxy)
{
	if (proxy->step == PROXY_HTTP_HEAD)
		return HTTP_HEAD_MAX;
	if (proxy->step != PROXY_SOCKS_REPLY)
		return buf_len(&proxy->heard) && buf_head(&proxy->heard)[0] == 'H' ? 1 : 2;
	return proxy_reply_len(buf_head(&proxy->heard), buf_len(&proxy->heard));
}

static bool proxy_take_socks(struct proxy *proxy)
{
	size_t needs = proxy_needs(proxy);
	const uint8_t *heard = buf_head(&proxy->heard);

	if (needs == 0) {
		proxy_fail_bad(proxy, "does not answer like a SOCKS proxy");
		return false;
	}
	if (buf_len(&proxy->heard) < needs)
		return true;
	buf_clear(&proxy->heard); /* the bytes stay where they are */
	switch (proxy->step) {
	case PROXY_SOCKS_METHOD:
		return proxy_take_method(proxy, heard);
	case PROXY_SOCKS_AUTH:
		return proxy_take_auth(proxy, heard);
	default:
		return proxy_take_reply(proxy, heard);
	}
}

/* --- the stream ----------------------------------------------------------------------------- */

static void proxy_on_event(evutil_socket_t fd, short what, void *arg);

static void proxy_arm(struct proxy *proxy)
{
	event_assign(&proxy->event, loop_base(), proxy->fd,
		     buf_len(&proxy->said) > 0 ? EV_WRITE : EV_READ, proxy_on_event, proxy);
	proxy->armed = event_add(&proxy->event, NULL) == 0;
	if (!proxy->armed)
		proxy_fail_errno(proxy, ENOMEM);
}

/* 1: all is said; 0: wait; -errno. */
static int proxy_flush(struct proxy *proxy)
{
	while (buf_len(&proxy->said) > 0) {
		ssize_t n = send(proxy->fd, buf_head(&proxy->said), buf_len(&proxy->said),
				 MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		buf_consume(&proxy->said, (size_t)n);
	}
	return 1;
}

/* > 0: bytes came; 0: wait; -errno, at the end of the stream -EPIPE. */
static ssize_t proxy_fill(struct proxy *proxy)
{
	size_t want = proxy_needs(proxy) - buf_len(&proxy->heard);
	uint8_t *tail;
	ssize_t n;
	int r;

	if (want > PROXY_READ_BYTES)
		want = PROXY_READ_BYTES;
	r = buf_reserve(&proxy->heard, want, &tail);
	if (r < 0)
		return r;
	n = recv(proxy->fd, tail, want, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	buf_commit(&proxy->heard, (size_t)n);
	return n ? n : -EPIPE;
}

static void proxy_read(struct proxy *proxy)
{
	ssize_t n = proxy_fill(proxy);

	if (n == -EPIPE)
		proxy_fail(proxy, PROXY_NO_ANSWER, "closed the connection %s",
			   buf_len(&proxy->heard) > 0 ? "in the middle of its answer"
						      : "without an answer");
	else if (n < 0)
		proxy_fail_errno(proxy, (int)-n);
	else if (n == 0 || (proxy->step == PROXY_HTTP_HEAD ? proxy_take_http(proxy)
							   : proxy_take_socks(proxy)))
		proxy_arm(proxy);
}

static void proxy_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct proxy *proxy = arg;
	int r;

	(void)fd;
	proxy->armed = false;
	if (what & EV_READ) {
		proxy_read(proxy);
		return;
	}
	r = proxy_flush(proxy);
	if (r < 0)
		proxy_fail_errno(proxy, -r);
	else
		proxy_arm(proxy);
}

/* --- from the beginning to the end ---------------------------------------------------------- */

/* A zone means something on this machine only.  All room is taken at once: a buffer that grows
 * leaves copies behind, which nobody would wipe. */
static int proxy_set_target(struct proxy *proxy, const char *host, uint16_t port)
{
	const char *user = proxy->address->user;
	size_t len = strcspn(host, "%");
	uint8_t *tail;
	int r = buf_reserve(&proxy->said, PROXY_SAID_BYTES + (user ? 2 * strlen(user) : 0), &tail);

	if (r < 0)
		return r;
	if (len == 0 || len >= sizeof(proxy->host))
		return -ENAMETOOLONG;
	memcpy(proxy->host, host, len);
	proxy->port = port;
	return proxy->address->kind == PROXY_HTTP ? proxy_ask_http(proxy) : proxy_ask_method(proxy);
}

int proxy_start(struct proxy **ret, int fd, const struct proxy_address *address, const char *host,
		uint16_t port, const struct proxy_events *events, void *owner)
{
	struct proxy *proxy = calloc(1, sizeof(*proxy));
	int r;

	if (!proxy) {
		close(fd);
		return -ENOMEM;
	}
	proxy->address = address;
	proxy->events = events;
	proxy->owner = owner;
	proxy->fd = fd;
	buf_init_secret(&proxy->said, PROXY_SAID_MAX);
	buf_init(&proxy->heard, HTTP_HEAD_MAX);
	event_assign(&proxy->event, loop_base(), fd, EV_WRITE, proxy_on_event, proxy);
	r = proxy_set_target(proxy, host, port);
	if (r >= 0 && event_add(&proxy->event, NULL) < 0)
		r = -ENOMEM;
	if (r < 0) {
		proxy_free(proxy);
		return r;
	}
	proxy->armed = true;
	*ret = proxy;
	return 0;
}

struct proxy *proxy_free(struct proxy *proxy)
{
	if (!proxy)
		return NULL;
	if (proxy->armed)
		event_del(&proxy->event);
	if (proxy->fd >= 0)
		close(proxy->fd);
	buf_done(&proxy->said);
	buf_done(&proxy->heard);
	free(proxy);
	return NULL;
}
