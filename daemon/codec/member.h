/* member - one member of a JSON text, for those who change it and nothing else.
 *
 * json.h finds the first of duplicate keys, which is good enough for reading.  Who replaces a value
 * must know of both: two programs may disagree on which of them counts.  So here the whole text is
 * looked at, and "twice" is an answer.  Replacing and inserting copy every other byte as it was
 * written.  Nothing here allocates but member_path_init(), and member_same() for strings with
 * escapes. */
#ifndef CODEC_MEMBER_H
#define CODEC_MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/json.h"

/* A JSON pointer (RFC 6901) that was made ready. */
struct member_path {
	struct member_step {
		char *name;   /* unescaped */
		size_t index; /* as an array has it; SIZE_MAX: no index */
	} * step;
	size_t steps;
	char *quoted; /* the last name as a key: "name" */
};

/* -EINVAL: no pointer; -ENOMEM.  A path that was not initialised must be zeroed. */
int member_path_init(struct member_path *path, const char *pointer);
void member_path_done(struct member_path *path);

enum { MEMBER_NONE, MEMBER_FOUND, MEMBER_TWICE };

/* One of the three, or -EINVAL: not a JSON text.  TWICE: some key on the way is there twice.  An
 * empty path is the whole text. */
int member_find(const char *text, size_t len, const struct member_path *path,
		struct json_span *ret);

/* Where a member that is NONE could be put in: *ret is empty and stands behind the '{' of what
 * would be its object; *ret_alone: that has no other members.  False: its parent is not there, or
 * an array. */
bool member_place(const char *text, size_t len, const struct member_path *path,
		  struct json_span *ret, bool *ret_alone);

/* TEXT with FRESH in the place of AT, to TO, which has room for it.  The new length. */
size_t member_replace(const char *text, size_t len, const struct json_span *at, const char *fresh,
		      size_t fresh_len, char *to);
/* TEXT with the member of PATH put in at the place AT.  TO has room for what member_growth() says
 * more. */
size_t member_insert(const char *text, size_t len, const struct json_span *at, bool alone,
		     const struct member_path *path, const char *fresh, size_t fresh_len, char *to);
size_t member_growth(const struct member_path *path, size_t fresh_len);

/* The number that a value stands for: 5, 5.0, 50e-1; a string whose characters (after unescaping)
 * are a number as we would write it: "5", "\u0035".  False: neither, negative, or no whole number.
 */
bool member_number(const struct json_span *value, uint64_t *ret);

/* The same value: strings after unescaping, whole numbers by value, all else byte for byte. */
bool member_same(const struct json_span *a, const struct json_span *b);

#endif
