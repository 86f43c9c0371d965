/* JSON texts: the scanner accepts what a plain recursive reading of RFC 8259 accepts, walks see all
 * of it and in order, and strings survive being unquoted and quoted.
 *
 * Input: a pointer (RFC 6901), NUL, the text. */
#include <errno.h>

#include "codec/json.h"
#include "codec/utf8.h"
#include "fuzz.h"

/* --- a plain reading ------------------------------------------------------------------------- */

struct reader {
	const char *at, *end;
};

static bool read_value(struct reader *reader, unsigned depth);

static void read_blanks(struct reader *reader)
{
	while (reader->at < reader->end && *reader->at && strchr(" \t\r\n", *reader->at))
		reader->at++;
}

static bool read_char(struct reader *reader, char c)
{
	if (reader->at == reader->end || *reader->at != c)
		return false;
	reader->at++;
	return true;
}

static bool read_word(struct reader *reader, const char *word)
{
	while (*word)
		if (!read_char(reader, *word++))
			return false;
	return true;
}

static size_t read_digits(struct reader *reader)
{
	const char *from = reader->at;

	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
		reader->at++;
	return (size_t)(reader->at - from);
}

static bool read_number(struct reader *reader)
{
	read_char(reader, '-');
	if (!read_char(reader, '0') && read_digits(reader) == 0)
		return false;
	if (read_char(reader, '.') && read_digits(reader) == 0)
		return false;
	if (!read_char(reader, 'e') && !read_char(reader, 'E'))
		return true;
	if (!read_char(reader, '+'))
		read_char(reader, '-');
	return read_digits(reader) > 0;
}

static bool read_escape(struct reader *reader)
{
	if (reader->at == reader->end || !*reader->at || !strchr("\"\\/bfnrtu", *reader->at))
		return false;
	if (*reader->at++ != 'u')
		return true;
	for (int i = 0; i < 4; i++, reader->at++)
		if (reader->at == reader->end || !*reader->at ||
		    !strchr("0123456789abcdefABCDEF", *reader->at))
			return false;
	return true;
}

static bool read_string(struct reader *reader)
{
	if (!read_char(reader, '"'))
		return false;
	while (reader->at < reader->end) {
		uint8_t c = (uint8_t)*reader->at++;

		if (c == '"')
			return true;
		if (c < ' ' || (c == '\\' && !read_escape(reader)))
			return false;
	}
	return false;
}

static bool read_members(struct reader *reader, char close, unsigned depth)
{
	read_blanks(reader);
	if (read_char(reader, close))
		return true;
	do {
		read_blanks(reader);
		if (close == '}') {
			if (!read_string(reader))
				return false;
			read_blanks(reader);
			if (!read_char(reader, ':'))
				return false;
			read_blanks(reader);
		}
		if (!read_value(reader, depth))
			return false;
		read_blanks(reader);
	} while (read_char(reader, ','));
	return read_char(reader, close);
}

static bool read_value(struct reader *reader, unsigned depth)
{
	if (reader->at == reader->end)
		return false;
	switch (*reader->at) {
	case '{':
	case '[':
		return depth < JSON_DEPTH_MAX &&
		       read_members(reader, *reader->at++ == '{' ? '}' : ']', depth + 1);
	case '"':
		return read_string(reader);
	case 't':
		return read_word(reader, "true");
	case 'f':
		return read_word(reader, "false");
	case 'n':
		return read_word(reader, "null");
	default:
		return read_number(reader);
	}
}

static bool is_json(const char *text, size_t len)
{
	struct reader reader = {text, text + len};

	read_blanks(&reader);
	if (!read_value(&reader, 0))
		return false;
	read_blanks(&reader);
	return reader.at == reader.end;
}

/* --- strings --------------------------------------------------------------------------------- */

static void check_string(const struct json_span *span)
{
	struct buf value, quoted, again;
	char *text = NULL;

	buf_init(&value, span->len);
	if (json_unquote(span, &value) == 0 && utf8_valid(buf_head(&value), buf_len(&value))) {
		struct json_span whole;

		buf_init(&quoted, 6 * span->len + 2);
		buf_init(&again, span->len);
		HOLDS(json_quote(&quoted, (char *)buf_head(&value), buf_len(&value)) == 0);
		whole = (struct json_span){(char *)buf_head(&quoted), buf_len(&quoted)};
		HOLDS(is_json(whole.at, whole.len) && json_is_string(&whole));
		HOLDS(json_unquote(&whole, &again) == 0);
		HOLDS(same_bytes(buf_head(&again), buf_len(&again), buf_head(&value),
				 buf_len(&value)));
		buf_done(&quoted);
		buf_done(&again);
	}
	if (json_unquote_str(span, &text) == 0) {
		HOLDS(same_bytes(text, strlen(text), buf_head(&value), buf_len(&value)));
		HOLDS(json_equals(span, text));
		free(text);
	}
	buf_done(&value);
}

static void check_scalar(const struct json_span *span)
{
	char *text = copy_text(span->at, span->len), *end;
	uint64_t number = 0;
	int r = json_uint(span, &number);

	HOLDS(json_is_string(span) == (*text == '"'));
	HOLDS(json_is_true(span) == !strcmp(text, "true"));
	if (r == 0) {
		errno = 0;
		HOLDS(strspn(text, "0123456789") == span->len);
		HOLDS(strtoull(text, &end, 10) == number && errno == 0 && !*end);
	} else {
		HOLDS(r == -EINVAL || r == -ERANGE);
	}
	free(text);
	if (json_is_string(span))
		check_string(span);
}

/* --- walks ----------------------------------------------------------------------------------- */

/* Members of a valid text: each lies behind the one before, is valid by itself, and has no blanks.
 */
static void check_walk(const struct json_span *span, unsigned depth)
{
	struct json_span key = {span->at, 0}, value;
	const char *behind = span->at + 1;
	size_t position = 0;
	int r;

	HOLDS(is_json(span->at, span->len));
	HOLDS(!strchr(" \t\r\n", span->at[0]) && !strchr(" \t\r\n", span->at[span->len - 1]));
	if (*span->at != '{' && *span->at != '[') {
		check_scalar(span);
		return;
	}
	while ((r = json_next(span, &position, &key, &value)) > 0) {
		if (*span->at == '{') {
			HOLDS(key.at >= behind && json_is_string(&key));
			behind = key.at + key.len;
			check_string(&key);
		}
		HOLDS(value.at >= behind && value.at + value.len < span->at + span->len);
		behind = value.at + value.len;
		if (depth < 8)
			check_walk(&value, depth + 1);
	}
	HOLDS(r == 0);
}

/* One that was not validated: it must end, and 0 must mean that it is whole. */
static void check_loose_walk(const char *text, size_t len)
{
	struct json_span span = {text, len}, value;
	size_t position = 0, n = 0;
	int r;

	while ((r = json_next(&span, &position, NULL, &value)) > 0) {
		HOLDS(value.at >= text && value.at + value.len <= text + len);
		HOLDS(++n <= len);
	}
	HOLDS(r == 0 || r == -EINVAL);
	if (r == 0)
		HOLDS(is_json(text, len));
}

static void check_one_line(const char *text, size_t len)
{
	struct buf out;

	buf_init(&out, len);
	HOLDS(json_one_line(&out, text, len) == 0);
	HOLDS(buf_len(&out) == len);
	for (size_t i = 0; i < len; i++)
		HOLDS((char)buf_head(&out)[i] ==
		      (text[i] == '\n' || text[i] == '\r' ? ' ' : text[i]));
	HOLDS(is_json((char *)buf_head(&out), len));
	buf_done(&out);
}

static void check_find(const char *pointer, const char *text, size_t len, bool valid)
{
	struct json_span span = {NULL, 0};
	int r = json_find(text, len, pointer, &span);

	HOLDS(r == 1 || r == 0 || r == -EINVAL);
	HOLDS(json_pointer_valid(pointer) || r == -EINVAL);
	if (r == 1) {
		HOLDS(span.at >= text && span.at + span.len <= text + len);
		HOLDS(is_json(span.at, span.len));
		HOLDS(!valid || *pointer || json_valid(span.at, span.len));
	}
	if (valid && json_pointer_valid(pointer))
		HOLDS(r >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, piece = take_until(&food, '\0');
	char *pointer = copy_text(piece.at, piece.len),
	     *text = (char *)copy_bytes(food.at, food.len);
	bool valid = json_valid(text, food.len);
	struct json_span whole;

	HOLDS(valid == is_json(text, food.len));
	check_find(pointer, text, food.len, valid);
	check_find("", text, food.len, valid);
	if (valid) {
		HOLDS(json_find(text, food.len, "", &whole) == 1);
		check_walk(&whole, 0);
		check_one_line(text, food.len);
	}
	if (food.len > 0 && (*text == '{' || *text == '['))
		check_loose_walk(text, food.len);
	free(pointer);
	free(text);
	return 0;
}
