/* tlspeer - what belongs to one SSL besides what OpenSSL itself keeps: whom we mean to talk to,
 * what must be true of him, and what was found wrong.  It lives in the SSL and goes with it. */
#ifndef NET_TLSPEER_H
#define NET_TLSPEER_H

#include <stdbool.h>

#include "codec/url.h"
#include "net/pin.h"

struct ssl_st;
struct x509_st;

enum { TLSPEER_NAME_MAX = 64 };

struct tlspeer {
	char name[TLSPEER_NAME_MAX]; /* "host:port" of the URL for people; of a long one the end */
	char *key;              /* of `sessions`: all that distinguishes him within one SSL_CTX */
	char **pins;            /* pin_check()ed; or NULL */
	bool verified;          /* false: the chain and the name do not count (insecure) */
	bool wants_certificate; /* he has asked for ours */
	bool offered_session;
	struct x509_st *refused; /* the certificate that was refused, and its place in the chain */
	int refused_depth;
	char pin[PIN_TEXT_MAX]; /* that he has, when it is not one of pins; else "" */
};

/* EXPECTED is the name or address that is verified. -ENOMEM. */
int tlspeer_attach(struct ssl_st *ssl, const struct url *url, const char *expected,
		   char *const *pins, bool verified);
struct tlspeer *tlspeer_of(const struct ssl_st *ssl); /* NULL for an SSL that is not ours */
const char *tlspeer_name(const struct ssl_st *ssl);   /* always some text */

/* Is CERT's key one of those that are wanted?  If not, .pin says which it is. */
bool tlspeer_check_pin(struct tlspeer *peer, const struct x509_st *cert);

#endif
