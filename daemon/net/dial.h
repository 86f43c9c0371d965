/* dial - from a URL to a transport that is ready: name look-up, a race of addresses, proxy, TLS.
 *
 * Names are resolved by getaddrinfo in a thread, so with everything the system knows (NSS, mDNS,
 * /etc/hosts); addresses are raced as RFC 8305 says (first family once, then alternating, 250 ms
 * between attempts).  No deadline of its own: the owner cancels (conn: connect-timeout). */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "base/cause.h"
#include "codec/url.h"
#include "net/tls.h"

struct dial;
struct transport;

enum dial_family { DIAL_ANY, DIAL_IPV4, DIAL_IPV6 };

struct dial_options {
	char *connect_to;   /* "host:port" to dial instead of the URL's; or NULL */
	char *proxy;        /* as proxy_check() takes it; NULL is "none" */
	int address_family; /* enum dial_family */
	struct tls_options tls;
};

struct dial_events {
	/* Exactly one of them, once, from a clean stack; the dial is to be freed there or later. */
	void (*connected)(void *owner, struct transport *transport); /* now the owner's */
	void (*failed)(void *owner, const struct cause *cause);
};

/* URL and OPTIONS must outlive the dial. -errno only for lack of memory or descriptors; all else is
 * told by `failed`. */
int dial_start(struct dial **ret, const struct url *url, const struct dial_options *options,
	       const struct dial_events *events, void *owner);
struct dial *dial_free(struct dial *dial); /* cancels; a look-up still running is left to itself */

/* What it is doing now, for "timed out while ...": "resolving HOST", "connecting to ADDRESS",
 * "asking the proxy HOST:PORT", "in the TLS handshake with ADDRESS". */
const char *dial_step(const struct dial *dial);

/* "host:port" is well-formed (for the configuration). */
int dial_check_address(const char *text);

#endif
