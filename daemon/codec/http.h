/* http - HTTP/1.1 response heads, strictly, with limits; and the pieces of a request head.
 *
 * The rules are those of RFC 9112 except that nothing is forgiven: every line ends with CRLF, no
 * folding, no blank before the colon, one space in the status line, no control characters.  Bodies
 * are not our business: what stands behind the head is the caller's. */
#ifndef CODEC_HTTP_H
#define CODEC_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	HTTP_HEAD_MAX = 16 * 1024, /* bytes of a whole head */
	HTTP_FIELDS_MAX = 100,
};

/* Views into the bytes that were parsed; not NUL-terminated. */
struct http_field {
	const char *name, *value;
	size_t name_len, value_len;
};

struct http_head {
	int status; /* 100..599 */
	const char *reason;
	size_t reason_len;
	size_t head_len; /* bytes up to and including the blank line */
	size_t fields;
	struct http_field field[HTTP_FIELDS_MAX];
};

enum { HTTP_DONE, HTTP_MORE }; /* positive outcomes of http_parse_head() */

/* HTTP_DONE: *ret is filled.  HTTP_MORE: no blank line yet, and nothing wrong so far as can be
 * told (the first bytes are judged at once, so that an SSH or TLS server is known from its
 * greeting).  -EPROTO: *ret_problem says what (constant text).  -EMSGSIZE: larger than the limits. */
int http_parse_head(struct http_head *ret, const uint8_t *data, size_t len,
		    const char **ret_problem);

/* The only field of that name: 1; 0 when there is none; -EPROTO when there are several.  Names
 * compare without regard to case. */
int http_find_one(const struct http_head *head, const char *name, const struct http_field **ret);

/* Is TOKEN a member of the comma-separated list(s) in all fields called NAME (RFC 9110 5.6.1)? */
bool http_list_contains(const struct http_head *head, const char *name, const char *token);

/* Walk the members of all fields called NAME, trimmed, quoted strings kept whole.  Start with a
 * zeroed position.  True and the next member, or false at the end. */
struct http_position {
	size_t field, offset;
};
bool http_list_next(const struct http_head *head, const char *name, struct http_position *position,
		    const char **ret_member, size_t *ret_len);

bool http_is_token(const char *text, size_t len); /* RFC 9110 5.6.2 */
bool http_is_value(const char *text, size_t len); /* [\t\x20-\x7e\x80-\xff]*, no blank at the ends */

/* Retry-After (RFC 9110 10.2.3), seconds or a date, against this wall clock; clamped to 1 s..1 h.
 * 0 when it makes no sense. */
uint32_t http_retry_after_ms(const char *value, size_t len, uint64_t wall_us);

#endif
