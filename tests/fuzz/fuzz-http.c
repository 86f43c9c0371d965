/* A server's head: what is accepted is made of the bytes that came, in order, and would be read the
 * same when written afresh; what a first part shows never changes when the rest comes.
 *
 * Input: the head, and whatever stands behind it. */
#include <errno.h>
#include <strings.h>

#include "codec/http.h"
#include "fuzz.h"

enum { PREFIXES = 64 };

static int parse(struct http_head *head, const uint8_t *data, size_t len)
{
	uint8_t *copy = copy_bytes(data, len);
	const char *problem = NULL;
	int r;

	memset(head, 0xa5, sizeof(*head));
	r = http_parse_head(head, copy, len, &problem);
	HOLDS(r == HTTP_DONE || r == HTTP_MORE || r == -EPROTO || r == -EMSGSIZE);
	HOLDS(r >= 0 || (problem && is_one_line(problem)));
	if (r == HTTP_DONE) { /* views into the copy, which goes */
		const char *to = (const char *)data, *from = (const char *)copy;

		head->reason = to + (head->reason - from);
		for (size_t i = 0; i < head->fields; i++) {
			head->field[i].name = to + (head->field[i].name - from);
			head->field[i].value = to + (head->field[i].value - from);
		}
	}
	free(copy);
	return r;
}

/* --- a plain reading of RFC 9110 5.5 and 5.6.2 ---------------------------------------------------
 */

static bool is_token(const char *text, size_t len)
{
	static const char allowed[] =
		"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < len; i++)
		if (!memchr(allowed, text[i], sizeof(allowed) - 1))
			return false;
	return len > 0;
}

static bool is_value(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((uint8_t)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
			return false;
	return len == 0 || (!memchr(" \t", text[0], 2) && !memchr(" \t", text[len - 1], 2));
}

/* --- shape ----------------------------------------------------------------------------------- */

static void check_shape(const struct http_head *head, const uint8_t *data, size_t len)
{
	const char *at = head->reason + head->reason_len,
		   *end = (const char *)data + head->head_len;

	HOLDS(head->head_len <= len && head->head_len <= HTTP_HEAD_MAX);
	HOLDS(memmem(data, len, "\r\n\r\n", 4) == end - 4);
	HOLDS(head->status >= 100 && head->status <= 599);
	HOLDS(head->fields <= HTTP_FIELDS_MAX);
	HOLDS(!memchr(data, '\0', head->head_len));
	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *field = &head->field[i];

		HOLDS(field->name >= at + 2 && field->value > field->name + field->name_len);
		HOLDS(field->value + field->value_len <= end - 4);
		HOLDS(is_token(field->name, field->name_len));
		HOLDS(is_value(field->value, field->value_len));
		at = field->value + field->value_len;
	}
}

/* One line for each field, as they stand in the bytes. */
static void check_count(const struct http_head *head, const uint8_t *data)
{
	size_t lines = 0;

	for (size_t i = 0; i < head->head_len; i++) {
		lines += data[i] == '\n';
		HOLDS(data[i] != '\n' || data[i - 1] == '\r');
		HOLDS(data[i] != '\r' || data[i + 1] == '\n');
	}
	HOLDS(lines == head->fields + 2);
}

static void check_written_afresh(const struct http_head *head)
{
	struct http_head again;
	struct buf out;

	buf_init(&out, 4 * HTTP_HEAD_MAX);
	buf_printf(&out, "HTTP/1.1 %d ", head->status);
	buf_append(&out, head->reason, head->reason_len);
	buf_append_str(&out, "\r\n");
	for (size_t i = 0; i < head->fields; i++) {
		buf_append(&out, head->field[i].name, head->field[i].name_len);
		buf_append_str(&out, ":");
		buf_append(&out, head->field[i].value, head->field[i].value_len);
		buf_append_str(&out, "\r\n");
	}
	buf_append_str(&out, "\r\n");
	if (buf_len(&out) <= HTTP_HEAD_MAX) { /* a blank may have been added behind the status */
		HOLDS(parse(&again, buf_head(&out), buf_len(&out)) == HTTP_DONE);
		HOLDS(again.status == head->status && again.fields == head->fields);
		for (size_t i = 0; i < head->fields; i++)
			HOLDS(same_bytes(again.field[i].value, again.field[i].value_len,
					 head->field[i].value, head->field[i].value_len));
	}
	buf_done(&out);
}

/* --- looking at fields ----------------------------------------------------------------------- */

static void check_list(const struct http_head *head, const char *name)
{
	struct http_position position = {0};
	const char *member, *before = NULL;
	size_t len, n = 0;

	while (http_list_next(head, name, &position, &member, &len)) {
		char *copy = copy_text(member, len);

		HOLDS(len > 0 && is_value(member, len) && member > before);
		HOLDS(http_list_contains(head, name, copy));
		HOLDS(++n <= HTTP_HEAD_MAX);
		before = member + len - 1;
		free(copy);
	}
}

static void check_fields(const struct http_head *head)
{
	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *field = &head->field[i], *found = NULL;
		char *name = copy_text(field->name, field->name_len);
		unsigned same = 0;
		uint32_t ms = http_retry_after_ms(field->value, field->value_len,
						  1700000000u * UINT64_C(1000000));
		int r = http_find_one(head, name, &found);

		for (size_t j = 0; j < head->fields; j++)
			same += head->field[j].name_len == field->name_len &&
				strncasecmp(head->field[j].name, name, field->name_len) == 0;
		HOLDS(same == 1 ? r == 1 && found == field : r == -EPROTO);
		check_list(head, name);
		HOLDS(ms == 0 || (ms >= 1000 && ms <= 3600 * 1000));
		free(name);
	}
}

/* --- in parts -------------------------------------------------------------------------------- */

/* DONE for no prefix that is shorter than the head, and for each that is not; an error stays one.
 */
static void check_prefixes(const struct http_head *head, int whole, const uint8_t *data, size_t len)
{
	size_t step = len / PREFIXES + 1;
	bool refused = false;

	for (size_t n = 1; n < len; n += step) {
		struct http_head first;
		int r = parse(&first, data, n);

		HOLDS(!refused || r < 0);
		refused = r < 0;
		HOLDS(!refused || whole < 0);
		if (whole == HTTP_DONE)
			HOLDS(r == (n < head->head_len ? HTTP_MORE : HTTP_DONE));
		else
			HOLDS(r != HTTP_DONE);
		if (r == HTTP_DONE)
			HOLDS(first.head_len == head->head_len && first.fields == head->fields);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct http_head head;
	int r = parse(&head, data, len);

	if (r == HTTP_DONE) {
		check_shape(&head, data, len);
		check_count(&head, data);
		check_written_afresh(&head);
		check_fields(&head);
	}
	HOLDS(http_is_token((const char *)data, len) == is_token((const char *)data, len));
	HOLDS(http_is_value((const char *)data, len) == is_value((const char *)data, len));
	check_prefixes(&head, r, data, len);
	return 0;
}
