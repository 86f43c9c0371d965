/* tls - options into an SSL_CTX, and that into an SSL that trusts nobody else than it should. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>

#include "base/cause.h"
#include "codec/url.h"

struct ssl_st;
struct ssl_ctx_st;

enum tls_version { TLS_MIN_1_2, TLS_MIN_1_3 };

struct tls_options {
	char *cacert;      /* PEM file instead of the system's store; or NULL */
	char *capath;      /* directory of hashed certificates; or NULL */
	char *cert, *key;  /* client certificate chain and key, PEM; key NULL: it is in cert */
	char *server_name; /* SNI and name to verify instead of the URL's host; or NULL */
	char **pins; /* public keys, as pin_check() takes them: the server has one of them; or NULL
		      */
	int tls_min; /* enum tls_version */
	bool insecure; /* verify nothing, but pins */
};

/* Once, ahead of all else: OpenSSL sets up much on first use, and when memory fails it there, it
 * stays broken or crashes later, and may not even say so (tested with 3.0).  From here on what it
 * allocates goes by us, to see that.  -ENOMEM: do not go on. */
int tls_start(void);

/* Reads the files; 0, or -EINVAL/-errno with *ret_cause set (class TLS or LOCAL, naming the file).
 * Verification on, partial wildcards off, TLS 1.2 at least, ALPN exactly http/1.1. */
int tls_context_new(struct ssl_ctx_st **ret, const struct tls_options *options,
		    struct cause *ret_cause);
struct ssl_ctx_st *tls_context_free(struct ssl_ctx_st *context);

/* A client SSL for URL's host, not yet bound to a descriptor: SNI (not for addresses), the name or
 * address to verify (RFC 6125), the pins, and a session to resume if there is one.  It keeps
 * nothing of OPTIONS and URL. -errno. */
int tls_new(struct ssl_st **ret, struct ssl_ctx_st *context, const struct tls_options *options,
	    const struct url *url);

/* The handshake is done: 0, or what OpenSSL has not looked at is wrong (a protocol that was not
 * offered, the pin of a resumed session): -errno with *ret_cause set, and nothing may be sent. */
int tls_established(struct ssl_st *ssl, struct cause *ret_cause);

/* After SSL_do_handshake/read/write failed with SSL_ERROR_SSL: what to tell (tlscause_set());
 * sessions that may be at fault are forgotten. */
void tls_failed(struct ssl_st *ssl, struct cause *ret_cause);

enum { TLS_DESCRIPTION_MAX = 96 };

/* For status: "TLSv1.3 TLS_AES_256_GCM_SHA384", and "resumed" behind it. */
void tls_describe(const struct ssl_st *ssl, char ret[TLS_DESCRIPTION_MAX]);

#endif
