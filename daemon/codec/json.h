/* json - RFC 8259 texts as they stand: validate, find a member, quote, unquote.  No tree: a span is
 * a view into the text, so every other byte stays as it was written.  Nothing here allocates except
 * into a buf that the caller gave; depth is limited, and there is no recursion. */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { JSON_DEPTH_MAX = 128 };

struct json_span {
	const char *at; /* the value without blanks around it; strings with their quotes */
	size_t len;
};

/* One JSON text with optional blanks around it, and nothing else.  Does not check UTF-8: the
 * WebSocket layer has. */
bool json_valid(const char *text, size_t len);

/* Is it an RFC 6901 pointer?  For whoever reads one from a configuration. */
bool json_pointer_valid(const char *pointer);

/* The value at POINTER (RFC 6901; "" is the whole text).  1 found, 0 not there, -EINVAL not JSON up
 * to that place, or not a pointer.  What stands behind the place is not looked at, except for "".
 * The first of duplicate keys is taken. */
int json_find(const char *text, size_t len, const char *pointer, struct json_span *ret);

/* The members of an array or object, in order.  Start with a zeroed position; KEY (quoted span) may
 * be NULL for arrays.  1 and the next one, 0 at the end, -EINVAL.  CONTAINER need not have been
 * validated: once 0 was returned, the whole of it has been. */
int json_next(const struct json_span *container, size_t *position, struct json_span *ret_key,
	      struct json_span *ret_value);

bool json_is_string(const struct json_span *span);
bool json_equals(const struct json_span *span, const char *text); /* a string with this value */

/* The value of a string span, unescaped, appended to OUT.  -EINVAL: no string, or a lone surrogate. */
int json_unquote(const struct json_span *span, struct buf *out);
/* As json_unquote into a fresh NUL-terminated string that the caller frees; -EINVAL also for a NUL. */
int json_unquote_str(const struct json_span *span, char **ret);
/* -EINVAL: no number, or written with a fraction or exponent; -ERANGE: negative, or too large. */
int json_uint(const struct json_span *span, uint64_t *ret);
bool json_is_true(const struct json_span *span);

/* Append "..." with what RFC 8259 7 wants escaped.  TEXT must be UTF-8. */
int json_quote(struct buf *out, const char *text, size_t len);
int json_quote_str(struct buf *out, const char *text); /* NULL becomes null */

/* For one-line records: copy TEXT, a valid JSON text, with every CR and LF that stands outside of a
 * string turned into a space (inside of one there can be none). */
int json_one_line(struct buf *out, const char *text, size_t len);

#endif
