/* One member of a JSON text is replaced or put in: every other byte stays, the result is JSON if
 * text and value were, and the member is found there.
 *
 * Input: a pointer (RFC 6901), NUL, the new value, NUL, the text. */
#include <errno.h>

#include "codec/member.h"
#include "fuzz.h"

/* The new value as it would stand in a text: without blanks around, and flat, since a text has a
 * depth. */
static bool is_flat(const char *fresh, size_t len)
{
	struct json_span span = {fresh, len};

	return json_valid(fresh, len) && !memchr(" \t\r\n", fresh[0], 4) &&
	       !memchr(" \t\r\n", fresh[len - 1], 4) &&
	       (json_is_string(&span) || !strpbrk(fresh, "[{"));
}

static void check_found(const struct member_path *path, const char *text, size_t len,
			const char *fresh)
{
	struct json_span at;

	HOLDS(json_valid(text, len));
	HOLDS(member_find(text, len, path, &at) == MEMBER_FOUND);
	HOLDS(same_bytes(at.at, at.len, fresh, strlen(fresh)));
}

static void check_replace(const struct member_path *path, const char *text, size_t len,
			  const struct json_span *at, const char *fresh)
{
	size_t fresh_len = strlen(fresh), ahead = (size_t)(at->at - text),
	       behind = len - ahead - at->len;
	size_t want = len - at->len + fresh_len;
	char *to = (char *)copy_bytes(text, 0);

	to = realloc(to, want > 0 ? want : 1);
	HOLDS(to && member_replace(text, len, at, fresh, fresh_len, to) == want);
	HOLDS(same_bytes(to, ahead, text, ahead));
	HOLDS(same_bytes(to + ahead, fresh_len, fresh, fresh_len));
	HOLDS(same_bytes(to + ahead + fresh_len, behind, at->at + at->len, behind));
	if (is_flat(fresh, fresh_len))
		check_found(path, to, want, fresh);
	free(to);
}

static void check_insert(const struct member_path *path, const char *text, size_t len,
			 const char *fresh)
{
	size_t fresh_len = strlen(fresh), room = len + member_growth(path, fresh_len), ahead, n;
	struct json_span at;
	bool alone;
	char *to;

	if (!member_place(text, len, path, &at, &alone))
		return;
	HOLDS(at.at > text && at.at < text + len && at.len == 0 && at.at[-1] == '{');
	to = malloc(room);
	HOLDS(to);
	n = member_insert(text, len, &at, alone, path, fresh, fresh_len, to);
	ahead = (size_t)(at.at - text);
	HOLDS(n == room - (alone ? 1 : 0));
	HOLDS(same_bytes(to, ahead, text, ahead));
	HOLDS(same_bytes(to + n - (len - ahead), len - ahead, text + ahead, len - ahead));
	if (is_flat(fresh, fresh_len))
		check_found(path, to, n, fresh);
	free(to);
}

/* --- values ---------------------------------------------------------------------------------- */

/* As a person would: all digits in a row, the point moved, zeros at the end dropped. */
static bool number_slowly(const char *text, size_t len, uint64_t *ret)
{
	char *digits = malloc(len + 1);
	size_t n = 0, i = 0;
	long scale = 0;
	bool point = false, fits = true;

	HOLDS(digits);

	for (; i < len && (text[i] == '.' || (text[i] >= '0' && text[i] <= '9')); i++) {
		if (text[i] == '.')
			point = true;
		else {
			digits[n++] = text[i];
			scale -= point;
		}
	}
	if (i < len)
		scale += strtol(text + i + 1, NULL, 10);
	while (n > 0 && digits[n - 1] == '0') {
		n--;
		scale++;
	}
	*ret = 0;
	if (n > 0 && scale < 0)
		fits = false;
	for (i = 0; fits && n > 0 && i < n + (size_t)scale; i++)
		fits = !__builtin_mul_overflow(*ret, (uint64_t)10, ret) &&
		       !__builtin_add_overflow(*ret, (uint64_t)(i < n ? digits[i] - '0' : 0), ret);
	free(digits);
	return fits;
}

static void check_value(const struct json_span *span)
{
	char *text = copy_text(span->at, span->len);
	uint64_t number = 0, slowly = 0;

	HOLDS(member_same(span, span) || strchr(text, '\\')); /* a lone surrogate equals nothing */
	if (member_number(span, &number) && *text != '"')
		HOLDS(number_slowly(text, span->len, &slowly) && number == slowly);
	if (json_uint(span, &slowly) == 0 && span->len <= 18)
		HOLDS(member_number(span, &number) && number == slowly);
	free(text);
}

static void check_find(const struct member_path *path, const char *pointer, const char *text,
		       size_t len, const char *fresh)
{
	struct json_span at = {NULL, 0}, first, other = {fresh, strlen(fresh)};
	int r = member_find(text, len, path, &at), found = json_find(text, len, pointer, &first);

	HOLDS((r == -EINVAL) == !json_valid(text, len));
	if (r == MEMBER_FOUND) {
		HOLDS(found == 1 && first.at == at.at && first.len == at.len);
		check_value(&at);
		check_replace(path, text, len, &at, fresh);
		if (json_valid(fresh, other.len) && is_flat(fresh, other.len))
			HOLDS(member_same(&at, &other) == member_same(&other, &at));
	} else if (r == MEMBER_NONE) {
		HOLDS(found == 0);
		check_insert(path, text, len, fresh);
	} else if (r == MEMBER_TWICE) {
		HOLDS(found >= 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, first = take_until(&food, '\0'),
		    second = take_until(&food, '\0');
	char *pointer = copy_text(first.at, first.len), *fresh = copy_text(second.at, second.len);
	char *text = (char *)copy_bytes(food.at, food.len);
	struct member_path path = {0};

	if (member_path_init(&path, pointer) == 0) {
		check_find(&path, pointer, text, food.len, fresh);
		member_path_done(&path);
	} else {
		HOLDS(!json_pointer_valid(pointer));
	}
	free(pointer);
	free(fresh);
	free(text);
	return 0;
}
