/* url - takes WebSocket URLs to pieces, and refuses what others would silently repair: a URL that
 * means one thing to us and another to the server is how credentials go astray. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "codec/url.h"

enum {
	URL_LEN_MAX = 16 * 1024,
	SOCKET_PATH_MAX = 4095, /* PATH_MAX without its NUL; longer than sun_path is fine */
	HOST_LEN_MAX = 253,     /* RFC 1035 2.3.4, as text */
	LABEL_LEN_MAX = 63,
	ZONE_LEN_MAX = 15, /* IFNAMSIZ without its NUL */
};

static int refuse(const char **ret_problem, const char *problem)
{
	*ret_problem = problem;
	return -EINVAL;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A fresh string; *ret is only set on success. */
static int copy_lower(char **ret, const char *text, size_t len)
{
	char *copy = strndup(text, len);

	if (!copy)
		return -ENOMEM;
	for (char *c = copy; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	*ret = copy;
	return 0;
}

static int copy_decoded(char **ret, const char *text, size_t len, const char **ret_problem)
{
	cleanup_free char *copy = malloc(len + 1);
	size_t n = 0;

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)text[i];

		if (c == '%') {
			int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
			int low = i + 2 < len ? hex_value(text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return refuse(ret_problem,
					      "has a % that is not followed by two hex digits");
			c = high << 4 | low;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return refuse(ret_problem, "has an encoded control character");
		copy[n++] = (char)c;
	}
	copy[n] = '\0';
	*ret = take_ptr(copy);
	return 0;
}

static int check_bytes(const char *text, const char **ret_problem)
{
	for (const char *c = text; *c; c++) {
		if (c - text >= URL_LEN_MAX)
			return refuse(ret_problem, "is longer than 16 KiB");
		if (*c == '#')
			return refuse(ret_problem, "has a fragment (#...), which WebSocket URLs "
						   "may not have");
		if (*c == ' ')
			return refuse(ret_problem, "has a blank (write it as %20)");
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return refuse(ret_problem, "has a control character");
		if ((unsigned char)*c >= 0x80)
			return refuse(ret_problem,
				      "has a character that is not ASCII (in a host name write "
				      "the A-label, xn--..., elsewhere %XX)");
	}
	return 0;
}

/* --- host and port ---------------------------------------------------------------------------- */

static bool is_name(const char *host, size_t len)
{
	size_t label = 0;

	if (len > 1 && host[len - 1] == '.')
		len--;
	for (size_t i = 0; i < len; i++) {
		if (host[i] == '.' && label == 0)
			return false;
		if (host[i] != '.' && host[i] != '-' && host[i] != '_' && !is_alnum(host[i]))
			return false;
		label = host[i] == '.' ? 0 : label + 1;
		if (label > LABEL_LEN_MAX)
			return false;
	}
	return label > 0 && len <= HOST_LEN_MAX;
}

/* No top-level domain is a number, but many functions read one as an odd IPv4 address. */
static bool ends_in_number(const char *host)
{
	size_t len = strlen(host), digits = 0;

	if (len > 0 && host[len - 1] == '.')
		len--;
	while (digits < len && is_digit(host[len - 1 - digits]))
		digits++;
	return digits > 0 && (digits == len || host[len - 1 - digits] == '.');
}

static int take_name(struct url *url, const char *host, size_t len, const char **ret_problem)
{
	struct in_addr address;
	int r;

	if (len == 0)
		return refuse(ret_problem, "has no host");
	if (!is_name(host, len))
		return refuse(ret_problem, "has a host that is neither a name nor an address");
	r = copy_lower(&url->host, host, len);
	if (r < 0)
		return r;
	url->host_is_ip = inet_pton(AF_INET, url->host, &address) == 1;
	if (!url->host_is_ip && ends_in_number(url->host))
		return refuse(ret_problem,
			      "has a host that looks like an IPv4 address but is none");
	return 0;
}

/* TEXT stands behind the '%'.  RFC 6874 writes the '%' as "%25", most people do not. */
static int take_zone(struct url *url, const char *text, size_t len, const char **ret_problem)
{
	if (len > 2 && text[0] == '2' && text[1] == '5') {
		text += 2;
		len -= 2;
	}
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(text[i]) && !strchr("-._~", text[i]))
			len = 0;
	if (len == 0 || len > ZONE_LEN_MAX)
		return refuse(ret_problem, "has a bad zone in its IPv6 address");
	url->zone = strndup(text, len);
	return url->zone ? 0 : -ENOMEM;
}

/* HOST stands behind the '['. */
static int take_ipv6(struct url *url, const char *host, size_t len, const char **ret_problem)
{
	const char *percent = memchr(host, '%', len);
	struct in6_addr address;
	int r;

	if (percent) {
		r = take_zone(url, percent + 1, len - (size_t)(percent + 1 - host), ret_problem);
		if (r < 0)
			return r;
		len = (size_t)(percent - host);
	}
	r = copy_lower(&url->host, host, len);
	if (r < 0)
		return r;
	if (inet_pton(AF_INET6, url->host, &address) != 1)
		return refuse(ret_problem, "has a bad IPv6 address between its brackets");
	url->host_is_ip = true;
	return 0;
}

/* An empty port is the default (RFC 3986 3.2.3). */
static int take_port(struct url *url, const char *text, size_t len, const char **ret_problem)
{
	unsigned port = 0;

	if (len == 0)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(text[i]))
			return refuse(ret_problem, "has a port that is not a number");
		port = port * 10 + (unsigned)(text[i] - '0');
		if (port > UINT16_MAX)
			break;
	}
	if (port == 0 || port > UINT16_MAX)
		return refuse(ret_problem, "has a port outside of 1..65535");
	url->port = (uint16_t)port;
	return 0;
}

static int take_host_and_port(struct url *url, const char *text, size_t len,
			      const char **ret_problem)
{
	const char *end = text + len, *stop;
	int r;

	if (len > 0 && *text == '[') {
		stop = memchr(text, ']', len);
		if (!stop)
			return refuse(ret_problem, "has an IPv6 address without its closing ]");
		r = take_ipv6(url, text + 1, (size_t)(stop - text - 1), ret_problem);
		stop++;
	} else {
		stop = memchr(text, ':', len);
		stop = stop ? stop : end;
		if (stop < end && memchr(stop + 1, ':', (size_t)(end - stop - 1)))
			return refuse(ret_problem, "has more than one colon in its host (write an "
						   "IPv6 address in brackets)");
		r = take_name(url, text, (size_t)(stop - text), ret_problem);
	}
	if (r < 0 || stop == end)
		return r;
	if (*stop != ':')
		return refuse(ret_problem, "has text behind the ] of its IPv6 address");
	return take_port(url, stop + 1, (size_t)(end - stop - 1), ret_problem);
}

/* --- the rest --------------------------------------------------------------------------------- */

/* The name and the password are decoded apart: a colon in the name would move the border between
 * them (RFC 7617 2). */
static int take_userinfo(struct url *url, const char *text, size_t len, const char **ret_problem)
{
	const char *colon = memchr(text, ':', len);
	size_t name_len = colon ? (size_t)(colon - text) : len;
	cleanup_wipe char *name = NULL;
	cleanup_wipe char *password = NULL;
	int r;

	if (len == 0)
		return 0;
	r = copy_decoded(&name, text, name_len, ret_problem);
	if (r < 0)
		return r;
	if (strchr(name, ':'))
		return refuse(ret_problem, "has a colon in its user name");
	if (colon) {
		r = copy_decoded(&password, colon + 1, len - name_len - 1, ret_problem);
		if (r < 0)
			return r;
	}
	if (asprintf(&url->user, "%s:%s", name, password ? password : "") < 0) {
		url->user = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int make_host_field(struct url *url)
{
	bool brackets = strchr(url->host, ':') != NULL;
	char port[sizeof(":65535")] = "";

	if (url->port != (url->tls ? 443 : 80))
		snprintf(port, sizeof(port), ":%u", (unsigned)url->port);
	if (asprintf(&url->host_field, "%s%s%s%s", brackets ? "[" : "", url->host,
		     brackets ? "]" : "", port) < 0) {
		url->host_field = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Also what goes into the request line when there is only a query, or nothing. */
static int make_target(struct url *url, const char *rest)
{
	if (asprintf(&url->target, "%s%s", *rest == '/' ? "" : "/", rest) < 0) {
		url->target = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* TEXT is the whole URL, AUTHORITY stands behind its "//". */
static int take_network(struct url *url, const char *text, const char *authority,
			const char **ret_problem)
{
	size_t len = strcspn(authority, "/?");
	const char *rest = authority + len, *host = authority;
	const char *at = memchr(authority, '@', len);
	int r;

	if (at) {
		host = at + 1;
		if (memchr(host, '@', (size_t)(rest - host)))
			return refuse(ret_problem, "has more than one @ before its host (write "
						   "those in the password as %40)");
		r = take_userinfo(url, authority, (size_t)(at - authority), ret_problem);
		if (r < 0)
			return r;
	}
	r = take_host_and_port(url, host, (size_t)(rest - host), ret_problem);
	if (r < 0)
		return r;
	r = make_target(url, rest);
	if (r < 0)
		return r;
	if (asprintf(&url->display, "%.*s%s", (int)(authority - text), text, host) < 0) {
		url->display = NULL;
		return -ENOMEM;
	}
	return make_host_field(url);
}

/* PATH stands behind "ws+unix:". */
static int take_unix(struct url *url, const char *text, const char *path, const char **ret_problem)
{
	const char *stop;
	int r;

	if (strncmp(path, "///", 3) == 0)
		path += 2; /* an empty host, as in file:///path */
	if (path[0] != '/' || path[1] == '/')
		return refuse(ret_problem,
			      "is not of the form ws+unix:/path/to.sock:/request/path");
	stop = strstr(path, ":/");
	stop = stop ? stop : path + strlen(path);
	r = copy_decoded(&url->socket_path, path, (size_t)(stop - path), ret_problem);
	if (r < 0)
		return r;
	if (strlen(url->socket_path) > SOCKET_PATH_MAX)
		return refuse(ret_problem, "has a socket path of more than 4095 bytes");
	r = make_target(url, *stop ? stop + 1 : "");
	if (r < 0)
		return r;
	url->host = strdup("localhost");
	url->host_field = strdup("localhost");
	url->display = strdup(text);
	return url->host && url->host_field && url->display ? 0 : -ENOMEM;
}

static int take_url(struct url *url, const char *text, const char **ret_problem)
{
	static const struct {
		const char *prefix;
		bool tls, is_unix;
	} schemes[] = {
		{"ws:", false, false},   {"wss:", true, false},     {"http:", false, false},
		{"https:", true, false}, {"ws+unix:", false, true},
	};
	int r = check_bytes(text, ret_problem);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i].prefix);

		if (strncasecmp(text, schemes[i].prefix, len) != 0)
			continue;
		url->tls = schemes[i].tls;
		url->is_unix = schemes[i].is_unix;
		url->port = url->tls ? 443 : 80;
		if (url->is_unix)
			return take_unix(url, text, text + len, ret_problem);
		if (strncmp(text + len, "//", 2) != 0)
			return refuse(ret_problem, "has no // behind its scheme");
		return take_network(url, text, text + len + 2, ret_problem);
	}
	return refuse(ret_problem, "does not begin with ws://, wss:// or ws+unix:");
}

int url_parse(struct url *ret, const char *text, const char **ret_problem)
{
	struct url url = {0};
	int r = take_url(&url, text, ret_problem);

	if (r < 0) {
		url_done(&url);
		return r;
	}
	*ret = url;
	return 0;
}

void url_done(struct url *url)
{
	free(url->host);
	free(url->zone);
	wipe_free(url->target);
	wipe_free(url->user);
	free(url->socket_path);
	free(url->host_field);
	wipe_free(url->display);
	*url = (struct url){0};
}

/* --- references (RFC 3986 5.2) ---------------------------------------------------------------- */

/* 5.2.4, in place: PATH begins with '/' and ends where its query begins, or at its end. */
static void remove_dot_segments(char *path)
{
	size_t len = strcspn(path, "?");
	char *in = path, *out = path, *end = path + len;

	while (in < end) {
		size_t segment = 1 + strcspn(in + 1, "/?");
		bool one = segment == 2 && in[1] == '.';
		bool two = segment == 3 && in[1] == '.' && in[2] == '.';

		if (two)
			while (out > path && *--out != '/')
				continue;
		if (!one && !two) {
			memmove(out, in, segment);
			out += segment;
		} else if (in + segment == end) {
			*out++ = '/'; /* the last one: what remains is a directory */
		}
		in += segment;
	}
	memmove(out, end, strlen(end) + 1);
}

/* What REFERENCE, which has no authority, makes of BASE's request target; NULL: no memory. */
static char *merged_target(const char *base, const char *reference)
{
	size_t keep = strcspn(base, "?");
	char *target;

	if (*reference == '/')
		keep = 0;
	else if (*reference != '?')
		while (keep > 0 && base[keep - 1] != '/')
			keep--;
	if (asprintf(&target, "%.*s%s", (int)keep, base, reference) < 0)
		return NULL;
	remove_dot_segments(target);
	return target;
}

static char *copied(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* BASE with another request target. */
static int with_target(struct url *url, const struct url *base, const char *reference)
{
	int r;

	*url = *base;
	url->host = copied(base->host);
	url->zone = copied(base->zone);
	url->user = copied(base->user);
	url->socket_path = copied(base->socket_path);
	url->host_field = copied(base->host_field);
	url->target = merged_target(base->target, reference);
	url->display = NULL;
	if (!url->host || !url->host_field || !url->target || !url->zone != !base->zone ||
	    !url->user != !base->user || !url->socket_path != !base->socket_path)
		return -ENOMEM;
	if (url->is_unix)
		r = asprintf(&url->display, "ws+unix:%s:%s", url->socket_path, url->target);
	else
		r = asprintf(&url->display, "ws%s://%s%s", url->tls ? "s" : "", url->host_field,
			     url->target);
	if (r < 0)
		url->display = NULL;
	return r < 0 ? -ENOMEM : 0;
}

static bool has_scheme(const char *reference)
{
	size_t len = strcspn(reference, ":/?");

	return len > 0 && reference[len] == ':';
}

/* REFERENCE names a host: then nothing of BASE counts but its scheme. */
static int take_absolute(struct url *url, const struct url *base, const char *reference,
			 const char **ret_problem)
{
	cleanup_wipe char *whole = NULL;

	if (strncasecmp(reference, "ws+unix:", 8) == 0)
		return refuse(ret_problem, "names a Unix socket");
	if (asprintf(&whole, "%s%s", has_scheme(reference) ? "" : base->tls ? "wss:" : "ws:",
		     reference) < 0) {
		whole = NULL;
		return -ENOMEM;
	}
	return take_url(url, whole, ret_problem);
}

int url_resolve(struct url *ret, const struct url *base, const char *reference,
		const char **ret_problem)
{
	cleanup_wipe char *text = strndup(reference, strcspn(reference, "#"));
	struct url url = {0};
	int r;

	if (!text)
		return -ENOMEM;
	r = *text ? check_bytes(text, ret_problem) : refuse(ret_problem, "is empty");
	if (r < 0)
		return r;
	if (has_scheme(text) || strncmp(text, "//", 2) == 0)
		r = take_absolute(&url, base, text, ret_problem);
	else
		r = with_target(&url, base, text);
	if (r < 0) {
		url_done(&url);
		return r;
	}
	remove_dot_segments(url.target);
	*ret = url;
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool url_same_server(const struct url *a, const struct url *b)
{
	return a->is_unix == b->is_unix && a->port == b->port && strcmp(a->host, b->host) == 0 &&
	       same_text(a->zone, b->zone) && same_text(a->socket_path, b->socket_path);
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->tls == b->tls && url_same_server(a, b);
}
