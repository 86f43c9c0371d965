/* rule - where in a message something stands, and what a message must hold for that: the values of
 *the keys id, reply-id, interim, partial, not-reply and error-reply.
 *
 *	/id                 the member id
 *	/0=8 : /2           the third element, in messages of which the first element is 8
 *	/method : /id       the member id, in messages that have a member method (which is not null)
 *
 * A test alone is what stands ahead of the colon.  A literal is JSON; anything else is taken for a
 * string without its quotes. */
#ifndef CONN_RULE_H
#define CONN_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include "codec/member.h"

struct rule {
	bool tests;              /* there is a test */
	struct member_path test; /* the member that is looked at */
	char *literal;           /* that it must equal; NULL: that it is there and not null */
	struct member_path path; /* where; nothing in a test alone */
};

struct rules {
	struct rule *rule;
	size_t n;
};

/* LIST: NULL-terminated, or NULL for none.  PLACES: each says where; otherwise each is a test
 * alone. -ENOMEM, -EINVAL with *ret_problem (constant). */
int rules_init(struct rules *rules, char *const *list, bool places, const char **ret_problem);
void rules_done(struct rules *rules); /* a zeroed one is fine */

/* The value at the place that the first rule names whose test holds: MEMBER_..., -EINVAL (not
 * JSON). *ret_rule: that rule, or NULL when none applies (then MEMBER_NONE). */
int rules_find(const struct rules *rules, const char *text, size_t len, struct json_span *ret,
	       const struct rule **ret_rule);
/* Does some test hold? */
bool rules_hold(const struct rules *rules, const char *text, size_t len);

#endif
