/* tls - options into an SSL_CTX, and a cause out of what OpenSSL says went wrong. */
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
	int tls_min;       /* enum tls_version */
	bool insecure;     /* verify nothing */
};

/* Reads the files; 0, or -EINVAL/-errno with *ret_cause set (class TLS or LOCAL, naming the file).
 * Verification on, partial wildcards off, TLS 1.2 at least, ALPN exactly http/1.1. */
int tls_context_new(struct ssl_ctx_st **ret, const struct tls_options *options,
		    struct cause *ret_cause);
struct ssl_ctx_st *tls_context_free(struct ssl_ctx_st *context);

/* A client SSL for URL's host, not yet bound to a descriptor: SNI (not for addresses), the name or
 * address to verify (RFC 6125). -errno. */
int tls_new(struct ssl_st **ret, struct ssl_ctx_st *context, const struct tls_options *options,
	    const struct url *url);

/* After SSL_do_handshake/read/write failed with SSL_ERROR_SSL: what to tell; empties the error
 * queue. Certificate refusals say the reason, the depth and the next step; an answer in plain text
 * says "not TLS"; a peer's alert is named; an end without close_notify is CAUSE_CLOSED/1006. */
void tls_cause(struct cause *ret, struct ssl_st *ssl);

#endif
