/* proxy - asks a proxy for a way to the server: HTTP CONNECT (RFC 9110 9.3.6) or SOCKS 5 (RFC 1928,
 * RFC 1929), over a stream that is connected to it.
 *
 * Nothing but the server's name and the proxy's own credentials is told to it.  Not one byte behind
 * its answer is read, so that the stream is as good as one connected to the server itself.  No
 * deadline: the owner frees it. */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cause.h"

enum proxy_kind {
	PROXY_HTTP,
	PROXY_SOCKS5,  /* is told an address: names are resolved here */
	PROXY_SOCKS5H, /* is told the name */
};

enum {
	PROXY_PORT = 1080,         /* where none is given, as curl has it */
	PROXY_NAME_MAX = 264,      /* with its NUL */
	PROXY_HOST_MAX = 255,      /* of a server's name in SOCKS */
	PROXY_CREDENTIAL_MAX = 255,
};

/* Codes of CAUSE_PROXY besides HTTP's statuses and SOCKS's replies (1 to 255). */
enum {
	PROXY_NO_ANSWER = 0,      /* not reached, or it has ended the conversation */
	PROXY_UNAUTHORISED = 407, /* HTTP's, and what stands for it in SOCKS */
	PROXY_BAD_ANSWER = 1000,  /* breaks the rules: likely no proxy of this kind */
};

struct proxy_address {
	enum proxy_kind kind;
	char *host; /* no brackets, with its zone */
	uint16_t port;
	char *user;                /* "name:password", decoded, or NULL */
	char name[PROXY_NAME_MAX]; /* "HOST:PORT" for people */
};

/* "http://[NAME:PASSWORD@]HOST[:PORT]", "socks5://...", "socks5h://..."; without a scheme it is HTTP.
 * 0, -ENOMEM, or -EINVAL with a constant phrase in *ret_problem. */
int proxy_parse(struct proxy_address *ret, const char *text, const char **ret_problem);
void proxy_address_done(struct proxy_address *address); /* a zeroed one is fine; wipes */

/* For the configuration: like proxy_parse(), and "none". */
int proxy_check(const char *text, const char **ret_problem);
bool proxy_wanted(const char *text); /* neither NULL nor "none" */

enum { PROXY_TEXT_MAX = PROXY_NAME_MAX + 12 };

/* For status: "socks5h://HOST:PORT", with no user and no password in it; "" where none is wanted. */
void proxy_show(const char *text, char ret[PROXY_TEXT_MAX]);

struct proxy;

struct proxy_events {
	/* One of them, once, from the loop; the proxy is to be freed there or later. */
	void (*ready)(void *owner, int fd); /* leads to the server now, and is the owner's */
	void (*failed)(void *owner, const struct cause *cause);
};

/* Takes FD (connected, non-blocking), also on failure.  ADDRESS must outlive it.  HOST is an address
 * without brackets or a name. -errno. */
int proxy_start(struct proxy **ret, int fd, const struct proxy_address *address, const char *host,
		uint16_t port, const struct proxy_events *events, void *owner);
struct proxy *proxy_free(struct proxy *proxy);

#endif
