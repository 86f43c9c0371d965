/* json - a scanner over RFC 8259 texts, for people who must not change what they do not touch.
 *
 * scan_value() is the heart: from the first byte of a value to the one behind it, with a stack of
 * one bit a level instead of recursion.  Everything else walks members with it (struct walk) and
 * answers in views.  Texts are hostile and not NUL-terminated: every function here gets END, and
 * none reads at it.  NULL from a scan_... function: what stands there is not JSON.
 *
 * A lone surrogate (\ud800) is within the grammar, so it is valid, but it is no character, so it
 * cannot be unquoted and equals nothing. */
#include "codec/json.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* --- letters -------------------------------------------------------------------------------- */

static inline bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return p;
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits, which the caller knows to be within bounds, or -1. */
static int hex_quad(const char *p)
{
	int value = 0;

	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* Bit 7 of each byte that is a quote, a backslash or below 0x20.  Borrows may mark bytes above one
 * that is marked rightly, so only the lowest mark counts. */
static inline uint64_t special_marks(uint64_t word)
{
	uint64_t quote = word ^ EVERY_BYTE('"'), backslash = word ^ EVERY_BYTE('\\');

	return (((quote - EVERY_BYTE(1)) & ~quote) | ((backslash - EVERY_BYTE(1)) & ~backslash) |
		((word - EVERY_BYTE(0x20)) & ~word)) &
	       EVERY_BYTE(0x80);
}

/* The first byte that cannot stand in a string as it is; END if there is none. */
static inline const char *find_special(const char *p, const char *end)
{
	for (; end - p >= 8; p += 8) {
		uint64_t word, marks;

		memcpy(&word, p, sizeof(word));
		marks = special_marks(le64toh(word));
		if (marks)
			return p + (__builtin_ctzll(marks) >> 3);
	}
	while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
		p++;
	return p;
}

/* --- the scanner ---------------------------------------------------------------------------- */

/* P is at a backslash. */
static const char *scan_escape(const char *p, const char *end)
{
	if (end - p < 2)
		return NULL;
	switch (p[1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return p + 2;
	case 'u':
		return end - p >= 6 && hex_quad(p + 2) >= 0 ? p + 6 : NULL;
	default:
		return NULL;
	}
}

/* P is at the opening quote. */
static const char *scan_string(const char *p, const char *end)
{
	for (p = find_special(p + 1, end); p < end; p = find_special(p, end)) {
		if (*p == '"')
			return p + 1;
		if (*p != '\\')
			return NULL;
		p = scan_escape(p, end);
		if (!p)
			return NULL;
	}
	return NULL;
}

static const char *scan_digits(const char *p, const char *end)
{
	const char *first = p;

	while (p < end && is_digit(*p))
		p++;
	return p > first ? p : NULL;
}

static const char *scan_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else if (!(p = scan_digits(p, end)))
		return NULL;
	if (p < end && *p == '.' && !(p = scan_digits(p + 1, end)))
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = scan_digits(p, end);
	}
	return p;
}

static const char *scan_word(const char *p, const char *end, const char *word, size_t len)
{
	return (size_t)(end - p) >= len && memcmp(p, word, len) == 0 ? p + len : NULL;
}

static const char *scan_scalar(const char *p, const char *end)
{
	switch (*p) {
	case '"':
		return scan_string(p, end);
	case 't':
		return scan_word(p, end, "true", 4);
	case 'f':
		return scan_word(p, end, "false", 5);
	case 'n':
		return scan_word(p, end, "null", 4);
	default:
		return scan_number(p, end);
	}
}

/* P is where a key must begin; the result is behind its colon. */
static const char *scan_key(const char *p, const char *end)
{
	if (p == end || *p != '"')
		return NULL;
	p = scan_string(p, end);
	if (!p)
		return NULL;
	p = skip_blanks(p, end);
	return p < end && *p == ':' ? p + 1 : NULL;
}

/* The containers that are open, innermost last; a set bit is an object. */
struct stack {
	uint64_t objects[(JSON_DEPTH_MAX + 63) / 64];
	unsigned depth;
};

static bool stack_push(struct stack *stack, bool object)
{
	uint64_t bit = UINT64_C(1) << stack->depth % 64;

	if (stack->depth >= JSON_DEPTH_MAX)
		return false;
	if (object)
		stack->objects[stack->depth / 64] |= bit;
	else
		stack->objects[stack->depth / 64] &= ~bit;
	stack->depth++;
	return true;
}

static inline bool stack_in_object(const struct stack *stack)
{
	unsigned top = stack->depth - 1;

	return stack->objects[top / 64] >> top % 64 & 1;
}

/* P is behind a value.  Closes what closes here, and stops behind the outermost container (depth is
 * BASE again) or where the next value must begin. */
static const char *scan_behind(const char *p, const char *end, struct stack *stack, unsigned base)
{
	while (stack->depth > base) {
		bool object = stack_in_object(stack);

		p = skip_blanks(p, end);
		if (p == end)
			return NULL;
		if (*p == ',') {
			p = skip_blanks(p + 1, end);
			return object ? scan_key(p, end) : p;
		}
		if (*p++ != (object ? '}' : ']'))
			return NULL;
		stack->depth--;
	}
	return p;
}

/* From the first byte of a value to the one behind it.  BASE: so many containers are around it. */
static const char *scan_value(const char *p, const char *end, unsigned base)
{
	struct stack stack;

	stack.depth = base;
	do {
		p = skip_blanks(p, end);
		if (p == end)
			return NULL;
		if (*p == '{' || *p == '[') {
			bool object = *p == '{';

			if (!stack_push(&stack, object))
				return NULL;
			p = skip_blanks(p + 1, end);
			if (p == end)
				return NULL;
			if (*p != (object ? '}' : ']')) {
				p = object ? scan_key(p, end) : p;
				continue;
			}
		} else {
			p = scan_scalar(p, end);
		}
		if (p)
			p = scan_behind(p, end, &stack, base);
	} while (p && stack.depth > base);
	return p;
}

/* --- strings -------------------------------------------------------------------------------- */

static int encode_utf8(unsigned c, char ret[4])
{
	if (c < 0x80) {
		ret[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		ret[0] = (char)(0xc0 | c >> 6);
		ret[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		ret[0] = (char)(0xe0 | c >> 12);
		ret[1] = (char)(0x80 | (c >> 6 & 0x3f));
		ret[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	ret[0] = (char)(0xf0 | c >> 18);
	ret[1] = (char)(0x80 | (c >> 12 & 0x3f));
	ret[2] = (char)(0x80 | (c >> 6 & 0x3f));
	ret[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* *p is at \uXXXX, which scan_escape() has seen; one more follows where this is half a pair. */
static int take_unicode(const char **p, const char *end, char ret[4])
{
	unsigned c = (unsigned)hex_quad(*p + 2);
	int low;

	*p += 6;
	if (c < 0xd800 || c > 0xdfff)
		return encode_utf8(c, ret);
	if (c > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return -EINVAL;
	low = hex_quad(*p + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return -EINVAL;
	*p += 6;
	return encode_utf8(0x10000 + ((c - 0xd800) << 10) + ((unsigned)low - 0xdc00), ret);
}

/* The character for which the escape at *p stands, as 1..4 bytes; *p moves behind. */
static int take_escape(const char **p, const char *end, char ret[4])
{
	const char *behind = scan_escape(*p, end);
	char letter;

	if (!behind)
		return -EINVAL;
	letter = (*p)[1];
	if (letter == 'u')
		return take_unicode(p, end, ret);
	switch (letter) {
	case 'b':
		ret[0] = '\b';
		break;
	case 'f':
		ret[0] = '\f';
		break;
	case 'n':
		ret[0] = '\n';
		break;
	case 'r':
		ret[0] = '\r';
		break;
	case 't':
		ret[0] = '\t';
		break;
	default:
		ret[0] = letter;
	}
	*p = behind;
	return 1;
}

/* What stands between two quotes, unescaped, to OUT unless that is NULL; the length or -EINVAL. */
static ssize_t unescape(const char *p, const char *end, char *out)
{
	size_t len = 0;

	for (;;) {
		const char *special = find_special(p, end);
		char piece[4];
		int n;

		if (out)
			memcpy(out + len, p, (size_t)(special - p));
		len += (size_t)(special - p);
		p = special;
		if (p == end)
			return (ssize_t)len;
		if (*p != '\\')
			return -EINVAL;
		n = take_escape(&p, end, piece);
		if (n < 0)
			return n;
		if (out)
			memcpy(out + len, piece, (size_t)n);
		len += (size_t)n;
	}
}

/* One reference token of a JSON pointer, or (not ESCAPED) any text. */
struct token {
	const char *at, *end;
	bool escaped;
};

static int token_take(struct token *token)
{
	char c;

	if (token->at == token->end)
		return -1;
	c = *token->at++;
	if (c == '~' && token->escaped)
		return *token->at++ == '0' ? '~' : '/'; /* json_pointer_valid() has seen it */
	return (unsigned char)c;
}

/* Is it a string with this value?  Unescapes both sides as far as they agree. */
static bool span_equals(const struct json_span *span, struct token token)
{
	const char *p, *end;

	if (!json_is_string(span))
		return false;
	p = span->at + 1;
	end = span->at + span->len - 1;
	while (p < end) {
		char piece[4];
		int n = 1;

		if (*p == '\\')
			n = take_escape(&p, end, piece);
		else
			piece[0] = *p++;
		if (n < 0)
			return false;
		for (int i = 0; i < n; i++) {
			if (token_take(&token) != (unsigned char)piece[i])
				return false;
		}
	}
	return token.at == token.end;
}

/* --- walking -------------------------------------------------------------------------------- */

/* A place among the members of one container. */
struct walk {
	const char *at, *end; /* END of all that may be read */
	bool object, begun;
};

/* To the next member.  1: AT is where its value begins; the caller moves it behind that value.  0:
 * AT is the closing bracket.  Or -EINVAL.  *ret_key only for objects. */
static int walk_step(struct walk *walk, struct json_span *ret_key)
{
	const char *p = skip_blanks(walk->at, walk->end), *key;

	if (p == walk->end)
		return -EINVAL;
	walk->at = p;
	if (*p == (walk->object ? '}' : ']'))
		return 0;
	if (walk->begun) {
		if (*p != ',')
			return -EINVAL;
		p = skip_blanks(p + 1, walk->end);
	}
	walk->begun = true;
	if (walk->object) {
		key = p;
		p = scan_key(p, walk->end);
		if (!p)
			return -EINVAL;
		/* Between the key and its colon there may be blanks, and nothing else. */
		for (walk->at = p - 1; is_blank(walk->at[-1]); walk->at--)
			;
		*ret_key = (struct json_span){key, (size_t)(walk->at - key)};
		p = skip_blanks(p, walk->end);
	}
	walk->at = p;
	return p < walk->end ? 1 : -EINVAL;
}

/* Array index, RFC 6901 4: no sign, no leading zeros; "-" is behind the last one, never there. */
static bool token_index(struct token token, size_t *ret)
{
	size_t index = 0;

	if (token.at == token.end || (*token.at == '0' && token.end - token.at > 1))
		return false;
	for (; token.at < token.end; token.at++) {
		if (!is_digit(*token.at) || __builtin_mul_overflow(index, (size_t)10, &index) ||
		    __builtin_add_overflow(index, (size_t)(*token.at - '0'), &index))
			return false;
	}
	*ret = index;
	return true;
}

/* From the value at *p, DEPTH containers deep, to its member TOKEN.  1, 0, -EINVAL. */
static int enter(const char **p, const char *end, unsigned depth, struct token token)
{
	size_t index = SIZE_MAX;
	struct json_span key;
	struct walk walk;
	int r;

	if (*p == end)
		return -EINVAL;
	if (**p != '{' && **p != '[')
		return scan_scalar(*p, end) ? 0 : -EINVAL;
	if (depth >= JSON_DEPTH_MAX)
		return -EINVAL;
	walk = (struct walk){*p + 1, end, **p == '{', false};
	if (!walk.object)
		token_index(token, &index);
	while ((r = walk_step(&walk, &key)) > 0) {
		if (walk.object ? span_equals(&key, token) : index-- == 0) {
			*p = walk.at;
			return 1;
		}
		walk.at = scan_value(walk.at, end, depth + 1);
		if (!walk.at)
			return -EINVAL;
	}
	return r;
}

/* --- questions ------------------------------------------------------------------------------ */

bool json_valid(const char *text, size_t len)
{
	const char *end, *p;

	if (len == 0)
		return false;
	end = text + len;
	p = scan_value(text, end, 0);
	return p && skip_blanks(p, end) == end;
}

bool json_pointer_valid(const char *pointer)
{
	if (*pointer != '\0' && *pointer != '/')
		return false;
	for (; *pointer; pointer++) {
		if (*pointer == '~' && pointer[1] != '0' && pointer[1] != '1')
			return false;
	}
	return true;
}

int json_find(const char *text, size_t len, const char *pointer, struct json_span *ret)
{
	const char *end, *p, *behind;
	unsigned depth = 0;

	if (len == 0 || !json_pointer_valid(pointer))
		return -EINVAL;
	end = text + len;
	p = skip_blanks(text, end);
	for (; *pointer; depth++) {
		struct token token = {pointer + 1, strchrnul(pointer + 1, '/'), true};
		int r = enter(&p, end, depth, token);

		if (r <= 0)
			return r;
		pointer = token.end;
	}
	behind = scan_value(p, end, depth);
	if (!behind || (depth == 0 && skip_blanks(behind, end) != end))
		return -EINVAL;
	*ret = (struct json_span){p, (size_t)(behind - p)};
	return 1;
}

int json_next(const struct json_span *container, size_t *position, struct json_span *ret_key,
	      struct json_span *ret_value)
{
	struct json_span key = {NULL, 0};
	const char *behind, *end;
	struct walk walk;
	int r;

	if (container->len < 2 || *position >= container->len ||
	    (*container->at != '{' && *container->at != '['))
		return -EINVAL;
	end = container->at + container->len;
	walk = (struct walk){container->at + (*position ? *position : 1), end,
			     *container->at == '{', *position > 0};
	r = walk_step(&walk, &key);
	if (r < 0)
		return r;
	if (r == 0) {
		*position = (size_t)(walk.at - container->at);
		return walk.at + 1 == end ? 0 : -EINVAL;
	}
	behind = scan_value(walk.at, end, 1);
	if (!behind)
		return -EINVAL;
	if (ret_key)
		*ret_key = key;
	*ret_value = (struct json_span){walk.at, (size_t)(behind - walk.at)};
	*position = (size_t)(behind - container->at);
	return 1;
}

bool json_is_string(const struct json_span *span)
{
	return span->len >= 2 && span->at[0] == '"' && span->at[span->len - 1] == '"';
}

bool json_equals(const struct json_span *span, const char *text)
{
	return span_equals(span, (struct token){text, text + strlen(text), false});
}

bool json_is_true(const struct json_span *span)
{
	return span->len == 4 && memcmp(span->at, "true", 4) == 0;
}

int json_uint(const struct json_span *span, uint64_t *ret)
{
	const char *p = span->at, *end = span->at + span->len;
	uint64_t value = 0;

	if (span->len == 0 || scan_number(p, end) != end)
		return -EINVAL;
	for (const char *at = *p == '-' ? p + 1 : p; at < end; at++) {
		if (!is_digit(*at))
			return -EINVAL;
	}
	if (*p == '-')
		return -ERANGE;
	for (; p < end; p++) {
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

/* --- values out and in ---------------------------------------------------------------------- */

/* Measured first and written then: OUT may have room for the value and not for the span. */
int json_unquote(const struct json_span *span, struct buf *out)
{
	uint8_t *tail;
	ssize_t len;
	int r;

	if (!json_is_string(span))
		return -EINVAL;
	len = unescape(span->at + 1, span->at + span->len - 1, NULL);
	if (len <= 0)
		return (int)len;
	r = buf_reserve(out, (size_t)len, &tail);
	if (r < 0)
		return r;
	unescape(span->at + 1, span->at + span->len - 1, (char *)tail);
	buf_commit(out, (size_t)len);
	return 0;
}

int json_unquote_str(const struct json_span *span, char **ret)
{
	ssize_t len;
	char *text;

	if (!json_is_string(span))
		return -EINVAL;
	text = malloc(span->len); /* the value is no longer than the span, less two quotes */
	if (!text)
		return -ENOMEM;
	len = unescape(span->at + 1, span->at + span->len - 1, text);
	if (len < 0 || memchr(text, '\0', (size_t)len)) {
		free(text);
		return -EINVAL;
	}
	text[len] = '\0';
	*ret = text;
	return 0;
}

/* The letter of a two-character escape, 0 where only \u00XX will do. */
static char short_escape(char c)
{
	switch (c) {
	case '"':
	case '\\':
		return c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

static size_t quoted_len(const char *p, const char *end)
{
	size_t len = (size_t)(end - p) + 2;

	for (p = find_special(p, end); p < end; p = find_special(p + 1, end))
		len += short_escape(*p) ? 1 : 5;
	return len;
}

static char *put_escape(char *to, char c)
{
	static const char hex[] = "0123456789abcdef";
	char letter = short_escape(c);

	*to++ = '\\';
	if (letter) {
		*to++ = letter;
		return to;
	}
	memcpy(to, "u00", 3);
	to[3] = hex[(unsigned char)c >> 4];
	to[4] = hex[(unsigned char)c & 15];
	return to + 5;
}

int json_quote(struct buf *out, const char *text, size_t len)
{
	const char *p = len ? text : "", *end = p + len;
	size_t total = quoted_len(p, end);
	uint8_t *tail;
	char *to;
	int r;

	r = buf_reserve(out, total, &tail);
	if (r < 0)
		return r;
	to = (char *)tail;
	*to++ = '"';
	while (p < end) {
		size_t run = (size_t)(find_special(p, end) - p);

		memcpy(to, p, run);
		to += run;
		p += run;
		if (p < end)
			to = put_escape(to, *p++);
	}
	*to = '"';
	buf_commit(out, total);
	return 0;
}

int json_quote_str(struct buf *out, const char *text)
{
	return text ? json_quote(out, text, strlen(text)) : buf_append_str(out, "null");
}

int json_one_line(struct buf *out, const char *text, size_t len)
{
	uint8_t *tail;
	int r;

	if (len == 0)
		return 0;
	r = buf_reserve(out, len, &tail);
	if (r < 0)
		return r;
	for (size_t i = 0; i < len; i++)
		tail[i] = text[i] == '\n' || text[i] == '\r' ? ' ' : (uint8_t)text[i];
	buf_commit(out, len);
	return 0;
}
