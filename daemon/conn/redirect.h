/* redirect - where the answer 301, 302, 303, 307 or 308 sends one attempt (RFC 9110 15.4), and what
 * may be said there.
 *
 * Never from wss to ws.  Another origin hears nothing that may be a credential: no header lines of
 * the configuration, no user, no cookie, no client certificate; and once an attempt has left its
 * origin, it stays so, also when it is sent back.  Nothing is remembered for the next attempt, also
 * not of 301 and 308: the url is what the configuration says. */
#ifndef CONN_REDIRECT_H
#define CONN_REDIRECT_H

#include <stdbool.h>

#include "base/cause.h"
#include "codec/url.h"
#include "net/dial.h"
#include "net/ws.h"

struct conn_options;

enum { REDIRECT_MAX = 20 };

struct redirect {
	struct url url;
	struct dial_options
		dial; /* borrowed from the options, as is .ws from those of the request */
	struct ws_options ws;
	unsigned followed; /* so far in this attempt */
	bool foreign;      /* it has left its origin */
	char *shown;       /* .url for people: without what may be secret in it */
};

bool redirect_is(const struct cause *cause); /* is that an answer that sends elsewhere? */

/* FROM was asked with SAID, and has answered *CAUSE and LOCATION (NULL: none, or several).  0: go
 * to
 * **place, which held the redirect before this one, or NULL.  Else a negative errno, and *cause
 * says why it is not followed; *place stays.  OPTIONS and SAID must outlive it. */
int redirect_follow(struct redirect **place, const struct conn_options *options,
		    const struct url *from, const struct ws_options *said, const char *location,
		    struct cause *cause);
struct redirect *redirect_free(struct redirect *redirect);

#endif
