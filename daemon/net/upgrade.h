/* upgrade - the opening handshake (RFC 6455 4.1): what we ask, and whether the answer will do. */
#ifndef NET_UPGRADE_H
#define NET_UPGRADE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/cause.h"
#include "codec/deflate.h"
#include "codec/http.h"
#include "codec/url.h"

struct upgrade_options {
	char **headers;      /* "Name: value", checked by upgrade_check_header() */
	char **subprotocols; /* tokens, in order of preference */
	char *origin, *user_agent, *cookie;
	char *user; /* "name:password" for Basic; or NULL: the URL's */
	int compress; /* enum deflate_use: is permessage-deflate offered */
};

enum { UPGRADE_KEY_LEN = 24 };

/* 0, or -EINVAL with *ret_problem: no token, bad value, or a name that the handshake owns. */
int upgrade_check_header(const char *line, const char **ret_problem);
int upgrade_check_subprotocol(const char *name, const char **ret_problem);

/* A fresh key (RFC 6455 4.1: 16 random bytes, for every attempt) and the request head; -ENOBUFS if
 * OUT's maximum is too small for it. */
int upgrade_request(struct buf *out, const struct url *url, const struct upgrade_options *options,
		    char ret_key[UPGRADE_KEY_LEN + 1]);

/* Judge a whole head with status 101: 0 with the subprotocol chosen (points into options, or NULL)
 * and what was agreed about compression; -EPROTO with *ret_cause. */
int upgrade_accept(const struct http_head *head, const struct upgrade_options *options,
		   const char *key, const char **ret_subprotocol,
		   struct deflate_terms *ret_terms, struct cause *ret_cause);

/* Any other final status: the cause to tell, with challenges and Retry-After. */
void upgrade_refused(const struct http_head *head, uint64_t wall_us, struct cause *ret_cause);

/* A copy of the one Location; NULL: there is none, or several, or no memory. */
char *upgrade_location(const struct http_head *head);

#endif
