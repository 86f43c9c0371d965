/* member - see member.h.  Walks with json_next(), level by level: the outermost level sees the
 * whole text, so that by the end of it everything has been checked, depth included. */
#include "codec/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- paths ---------------------------------------------------------------------------------- */

static size_t index_of(const char *name)
{
	size_t index = 0, len = strlen(name);

	if (len == 0 || len > 9 || (name[0] == '0' && len > 1) || name[strspn(name, "0123456789")])
		return SIZE_MAX;
	for (; *name; name++)
		index = index * 10 + (size_t)(*name - '0');
	return index;
}

/* Between AT and END, with ~0 and ~1 undone. */
static char *step_name(const char *at, const char *end)
{
	char *name = malloc((size_t)(end - at) + 1), *to = name;

	if (!name)
		return NULL;
	for (; at < end; at++) {
		if (*at != '~')
			*to++ = *at;
		else
			*to++ = *++at == '0' ? '~' : '/';
	}
	*to = '\0';
	return name;
}

static int quote_last(struct member_path *path)
{
	struct buf quoted;
	int r;

	if (path->steps == 0)
		return 0;
	buf_init(&quoted, SIZE_MAX / 2);
	r = json_quote_str(&quoted, path->step[path->steps - 1].name);
	if (r == 0)
		r = buf_append(&quoted, "", 1);
	if (r == 0)
		path->quoted = strdup((char *)buf_head(&quoted));
	buf_done(&quoted);
	return r == 0 && !path->quoted ? -ENOMEM : r;
}

int member_path_init(struct member_path *path, const char *pointer)
{
	int r;

	*path = (struct member_path){0};
	if (!json_pointer_valid(pointer))
		return -EINVAL;
	while (*pointer) {
		const char *end = strchrnul(++pointer, '/');
		struct member_step *more = reallocarray(path->step, path->steps + 1, sizeof(*more));

		if (more)
			path->step = more;
		if (!more || !(more[path->steps].name = step_name(pointer, end))) {
			member_path_done(path);
			return -ENOMEM;
		}
		more[path->steps].index = index_of(more[path->steps].name);
		path->steps++;
		pointer = end;
	}
	r = quote_last(path);
	if (r < 0)
		member_path_done(path);
	return r;
}

void member_path_done(struct member_path *path)
{
	for (size_t i = 0; i < path->steps; i++)
		free(path->step[i].name);
	free(path->step);
	free(path->quoted);
	*path = (struct member_path){0};
}

/* --- finding -------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct json_span trimmed(const char *text, size_t len)
{
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	while (len > 0 && is_blank(*text)) {
		text++;
		len--;
	}
	return (struct json_span){text, len};
}

static bool key_is(const struct json_span *key, const char *name, size_t len)
{
	if (!memchr(key->at, '\\', key->len))
		return key->len == len + 2 && memcmp(key->at + 1, name, len) == 0;
	return json_equals(key, name);
}

/* Walks all of CONTAINER. */
static int find_step(const struct json_span *container, const struct member_step *step,
		     struct json_span *ret)
{
	bool object = *container->at == '{';
	size_t position = 0, n = 0, len = strlen(step->name);
	struct json_span key, value;
	int r, found = MEMBER_NONE;

	while ((r = json_next(container, &position, &key, &value)) > 0) {
		if (object ? !key_is(&key, step->name, len) : n++ != step->index)
			continue;
		found = found == MEMBER_NONE ? MEMBER_FOUND : MEMBER_TWICE;
		*ret = value;
	}
	return r < 0 ? r : found;
}

static bool is_container(const struct json_span *value)
{
	return value->len >= 2 && (*value->at == '{' || *value->at == '[');
}

/* The first STEPS of the path. */
static int find(const char *text, size_t len, const struct member_path *path, size_t steps,
		struct json_span *ret)
{
	struct json_span at = trimmed(text, len);

	if (steps == 0 || !is_container(&at)) {
		*ret = at;
		return !json_valid(text, len) ? -EINVAL : steps == 0 ? MEMBER_FOUND : MEMBER_NONE;
	}
	for (size_t i = 0; i < steps; i++) {
		int r = is_container(&at) ? find_step(&at, &path->step[i], ret) : MEMBER_NONE;

		if (r != MEMBER_FOUND)
			return r;
		at = *ret;
	}
	return MEMBER_FOUND;
}

int member_find(const char *text, size_t len, const struct member_path *path, struct json_span *ret)
{
	return find(text, len, path, path->steps, ret);
}

bool member_place(const char *text, size_t len, const struct member_path *path,
		  struct json_span *ret, bool *ret_alone)
{
	struct json_span parent, inside;

	if (path->steps == 0 || find(text, len, path, path->steps - 1, &parent) != MEMBER_FOUND ||
	    *parent.at != '{')
		return false;
	*ret = (struct json_span){parent.at + 1, 0};
	inside = trimmed(parent.at + 1, parent.len - 2);
	*ret_alone = inside.len == 0;
	return true;
}

/* --- changing ------------------------------------------------------------------------------- */

static char *put(char *to, const char *bytes, size_t len)
{
	memcpy(to, bytes, len);
	return to + len;
}

size_t member_replace(const char *text, size_t len, const struct json_span *at, const char *fresh,
		      size_t fresh_len, char *to)
{
	const char *behind = at->at + at->len;
	char *p = put(to, text, (size_t)(at->at - text));

	p = put(p, fresh, fresh_len);
	p = put(p, behind, (size_t)(text + len - behind));
	return (size_t)(p - to);
}

size_t member_growth(const struct member_path *path, size_t fresh_len)
{
	return strlen(path->quoted) + 1 + fresh_len + 1; /* "name":VALUE, */
}

size_t member_insert(const char *text, size_t len, const struct json_span *at, bool alone,
		     const struct member_path *path, const char *fresh, size_t fresh_len, char *to)
{
	char *p = put(to, text, (size_t)(at->at - text));

	p = put(p, path->quoted, strlen(path->quoted));
	*p++ = ':';
	p = put(p, fresh, fresh_len);
	if (!alone)
		*p++ = ',';
	p = put(p, at->at, (size_t)(text + len - at->at));
	return (size_t)(p - to);
}

/* --- values --------------------------------------------------------------------------------- */

enum { DIGITS_MAX = 19 }; /* of a number that surely fits into 64 bits */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The exponent behind 'e', at most four digits of it: more would be no whole number we could hold.
 */
static bool take_exponent(const char *p, const char *end, int *ret)
{
	bool negative = p < end && *p == '-';
	int value = 0;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (end - p > 4)
		return false;
	for (; p < end; p++)
		value = value * 10 + (*p - '0');
	*ret = negative ? -value : value;
	return true;
}

/* A number that json.h has seen: digits, then what point and exponent make of them. */
static bool whole_number(const char *p, const char *end, uint64_t *ret)
{
	int scale = 0, digits = 0, exponent = 0;
	uint64_t value = 0;
	bool fraction = false;

	for (; p < end && (is_digit(*p) || *p == '.'); p++) {
		if (*p == '.') {
			fraction = true;
			continue;
		}
		if (value > 0 && ++digits >= DIGITS_MAX)
			return false;
		value = value * 10 + (uint64_t)(*p - '0');
		scale -= fraction;
	}
	if (p < end && !((*p == 'e' || *p == 'E') && take_exponent(p + 1, end, &exponent)))
		return false;
	for (scale += exponent; scale < 0 && value > 0; scale++) {
		if (value % 10)
			return false;
		value /= 10;
	}
	for (; scale > 0 && value > 0; scale--) {
		if (__builtin_mul_overflow(value, (uint64_t)10, &value))
			return false;
	}
	*ret = value;
	return true;
}

/* One digit, as it is or as \u003X. */
static int take_digit(const char **p, const char *end)
{
	if (is_digit(**p))
		return *(*p)++ - '0';
	if (end - *p >= 6 && memcmp(*p, "\\u003", 5) == 0 && is_digit((*p)[5])) {
		*p += 6;
		return (*p)[-1] - '0';
	}
	return -1;
}

static bool number_in_string(const char *p, const char *end, uint64_t *ret)
{
	uint64_t value = 0;
	int digits = 0;

	if (p == end)
		return false;
	while (p < end) {
		int digit = take_digit(&p, end);

		if (digit < 0 || (digits > 0 && value == 0) || ++digits >= DIGITS_MAX)
			return false;
		value = value * 10 + (uint64_t)digit;
	}
	*ret = value;
	return true;
}

bool member_number(const struct json_span *value, uint64_t *ret)
{
	const char *end = value->at + value->len;

	if (json_is_string(value))
		return number_in_string(value->at + 1, end - 1, ret);
	return value->len > 0 && is_digit(*value->at) && whole_number(value->at, end, ret);
}

/* Escapes, on either side, are rare enough for an allocation. */
static bool same_string(const struct json_span *a, const struct json_span *b)
{
	struct buf one, other;
	bool same;

	if (!memchr(a->at, '\\', a->len) && !memchr(b->at, '\\', b->len))
		return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
	buf_init(&one, a->len);
	buf_init(&other, b->len);
	same = json_unquote(a, &one) == 0 && json_unquote(b, &other) == 0 &&
	       buf_len(&one) == buf_len(&other) &&
	       (buf_len(&one) == 0 || memcmp(buf_head(&one), buf_head(&other), buf_len(&one)) == 0);
	buf_done(&one);
	buf_done(&other);
	return same;
}

bool member_same(const struct json_span *a, const struct json_span *b)
{
	uint64_t one, other;

	if (json_is_string(a) || json_is_string(b))
		return json_is_string(a) && json_is_string(b) && same_string(a, b);
	if (member_number(a, &one) && member_number(b, &other))
		return one == other;
	return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}
