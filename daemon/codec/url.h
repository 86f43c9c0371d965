/* url - ws:// and wss:// URLs (RFC 6455 3), and ws+unix:/path/to.sock:/request/path.
 *
 * http:// and https:// are taken as ws:// and wss://.  A fragment is an error (RFC 6455 3), so are
 * bytes outside '!'..'~', a port outside 1..65535, and names that are not ASCII (write them as
 * A-labels). */
#ifndef CODEC_URL_H
#define CODEC_URL_H

#include <stdbool.h>
#include <stdint.h>

struct url {
	bool tls;          /* wss */
	bool is_unix;      /* ws+unix: connect to .socket_path; .host is "localhost" */
	bool host_is_ip;   /* an IPv4 or IPv6 literal: no SNI, certificate is matched by address */
	char *host;        /* lower case, no brackets; an IPv6 zone is in .zone */
	char *zone;        /* or NULL; for connecting only, never sent */
	uint16_t port;     /* default 80 or 443 */
	bool has_token;    /* in the target, so not for people; url_parse() does not know */
	char *target;      /* path and query as they go into the request line; at least "/" */
	char *user;        /* "name:password", percent-decoded, or NULL */
	char *socket_path; /* or NULL */
	char *host_field;  /* what the Host header says: brackets for IPv6, port if not the default */
	char *display;     /* the URL for people and logs: without userinfo, query values kept */
};

/* 0, -ENOMEM, or -EINVAL with *ret_problem set to a constant phrase like "has a fragment
 * (#...), which WebSocket URLs may not have". */
int url_parse(struct url *ret, const char *text, const char **ret_problem);
void url_done(struct url *url); /* a zeroed one is fine */

/* What REFERENCE (a Location) means where BASE was asked for (RFC 3986 5.2); its fragment is left out.
 * Whatever names no host keeps BASE's userinfo.  Errors as above; a Unix socket may not be named. */
int url_resolve(struct url *ret, const struct url *base, const char *reference,
		const char **ret_problem);

bool url_same_server(const struct url *a, const struct url *b); /* host and port, or socket */
bool url_same_origin(const struct url *a, const struct url *b); /* ... and scheme (RFC 6454 4) */

#endif
