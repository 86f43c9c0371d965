/* refusal - what stands behind the head of an answer that refuses the handshake: often the only place
 * where a server says what it does not like.  A bounded piece of it is read, and a short one shown.
 *
 * Descriptors and time are the ws's. */
#ifndef NET_REFUSAL_H
#define NET_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cause.h"
#include "codec/http.h"
#include "codec/url.h"

struct upgrade_options;

enum {
	REFUSAL_BODY_MAX = 4096,
	REFUSAL_WAIT_MS = 1000, /* for all of it */
	REFUSAL_SHOWN_MAX = 120,
};

struct refusal {
	size_t want; /* bytes of body; 0: there is none, or none that people could read */
	bool chunked;
};

/* What is to be read behind HEAD, of which the status is not 101. */
void refusal_init(struct refusal *refusal, const struct http_head *head);
bool refusal_is_whole(const struct refusal *refusal, const uint8_t *body, size_t len);

/* Add a piece to the text of CAUSE: words without tags and control characters, and without what
 * may be secret in what we have sent, should the server repeat it.  Changes BODY. */
void refusal_tell(const struct refusal *refusal, uint8_t *body, size_t len, const struct url *url,
		  const struct upgrade_options *options, struct cause *cause);

#endif
