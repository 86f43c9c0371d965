/* http - a parser of response heads that forgives nothing (protocol notes, 3.3: what one parser
 * reads as one thing and the next as another is how requests are smuggled).
 *
 * Each call begins at the first byte again: a head is small, and state between calls would be one
 * more thing that could be wrong. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "codec/http.h"

enum {
	RETRY_MIN_MS = 1000,
	RETRY_MAX_MS = 3600 * 1000,
	DATE_LEN_MAX = 40, /* "Wednesday, 09-Nov-94 08:49:37 GMT" has 33 */
};

static int refuse(const char **ret_problem, int error, const char *problem)
{
	*ret_problem = problem;
	return error;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_text(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_token_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_token_char(text[i]))
			return false;
	return len > 0;
}

bool http_is_value(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_text((uint8_t)text[i]))
			return false;
	return len == 0 || (!is_blank(text[0]) && !is_blank(text[len - 1]));
}

/* --- parsing ---------------------------------------------------------------------------------- */

/* Can these be the first bytes of a status line?  Behind the number comes a blank or the end. */
static bool may_be_status_line(const char *text, size_t len)
{
	static const char shape[] = "HTTP/1.1 1dd ";

	for (size_t i = 0; i < len && i < sizeof(shape) - 1; i++) {
		bool fits = text[i] == shape[i];

		if (i == 9)
			fits = text[i] >= '1' && text[i] <= '5';
		else if (shape[i] == 'd')
			fits = is_digit(text[i]);
		else if (i == 12)
			fits = text[i] == ' ' || text[i] == '\r';
		if (!fits)
			return false;
	}
	return true;
}

/* What else may it be? */
static const char *suspicion(const char *text, size_t len)
{
	static const struct {
		const char *start, *problem;
	} others[] = {
		{"\x15", "the server speaks TLS, not plain HTTP (use wss://)"},
		{"\x16", "the server speaks TLS, not plain HTTP (use wss://)"},
		{"SSH-", "an SSH server answered"},
		{"HTTP/1.1", "the status line is malformed"},
		{"HTTP/1.0", "the server answered HTTP/1.0"},
		{"HTTP/2", "the server answered HTTP/2"},
		{"HTTP/3", "the server answered HTTP/3"},
		{"ICY ", "an ICY (audio stream) server answered"},
		{"220", "a mail or FTP server answered"},
		{"RFB ", "a VNC server answered"},
		{"<", "HTML or XML without an HTTP head"},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		size_t n = strlen(others[i].start);

		if (len >= n && memcmp(text, others[i].start, n) == 0)
			return others[i].problem;
	}
	/* a SETTINGS frame (RFC 9113 3.4, 4.1): length below 64 KiB, type 4, stream 0 */
	if (len >= 9 && text[0] == 0 && text[3] == 4 && memcmp(text + 5, "\0\0\0", 4) == 0)
		return "the server speaks HTTP/2 only";
	if (len > 0 && !is_text((uint8_t)text[0]) && text[0] != '\r' && text[0] != '\n')
		return "not an HTTP/1.1 answer but binary data";
	return "not an HTTP/1.1 answer";
}

/* One line without its CRLF, and *at behind it; HTTP_MORE if its end is not there.  No byte that
 * may not stand in a head gets past here. */
static int take_line(const char *text, size_t len, size_t *at, const char **ret_line,
		     size_t *ret_len, const char **ret_problem)
{
	for (size_t i = *at; i < len; i++) {
		if (text[i] == '\r' && i + 1 == len)
			break;
		if (text[i] == '\r' && text[i + 1] == '\n') {
			*ret_line = text + *at;
			*ret_len = i - *at;
			*at = i + 2;
			return HTTP_DONE;
		}
		if (text[i] == '\r')
			return refuse(ret_problem, -EPROTO, "the head has a CR without LF");
		if (text[i] == '\n')
			return refuse(ret_problem, -EPROTO, "the head has a LF without CR");
		if (!is_text((uint8_t)text[i]))
			return refuse(ret_problem, -EPROTO, "the head has a control character");
	}
	return HTTP_MORE;
}

static int take_field(struct http_head *head, const char *line, size_t len,
		      const char **ret_problem)
{
	const char *colon = memchr(line, ':', len), *end = line + len, *value;
	struct http_field *field;

	if (is_blank(*line))
		return refuse(ret_problem, -EPROTO, "the head has a folded line");
	if (!colon)
		return refuse(ret_problem, -EPROTO, "the head has a line without a colon");
	if (colon > line && is_blank(colon[-1]))
		return refuse(ret_problem, -EPROTO, "the head has a blank before a colon");
	if (!http_is_token(line, (size_t)(colon - line)))
		return refuse(ret_problem, -EPROTO, "the head has a bad field name");
	if (head->fields == HTTP_FIELDS_MAX)
		return refuse(ret_problem, -EMSGSIZE, "the head has more than 100 fields");
	for (value = colon + 1; value < end && is_blank(*value);)
		value++;
	while (end > value && is_blank(end[-1]))
		end--;
	field = &head->field[head->fields++];
	field->name = line;
	field->name_len = (size_t)(colon - line);
	field->value = value;
	field->value_len = (size_t)(end - value);
	return 0;
}

/* LINE has been through may_be_status_line(), so its first 12 bytes and what follows are right. */
static void take_status(struct http_head *head, const char *line, size_t len)
{
	size_t skip = len > 12 ? 13 : 12;

	head->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
	head->reason = line + skip;
	head->reason_len = len - skip;
}

static int parse(struct http_head *head, const char *text, size_t len, const char **ret_problem)
{
	size_t at = 0, line_len;
	const char *line;
	int r;

	if (!may_be_status_line(text, len))
		return refuse(ret_problem, -EPROTO, suspicion(text, len));
	r = take_line(text, len, &at, &line, &line_len, ret_problem);
	if (r != HTTP_DONE)
		return r;
	take_status(head, line, line_len);
	head->fields = 0;
	for (;;) {
		r = take_line(text, len, &at, &line, &line_len, ret_problem);
		if (r != HTTP_DONE)
			return r;
		if (line_len == 0)
			break;
		r = take_field(head, line, line_len, ret_problem);
		if (r < 0)
			return r;
	}
	head->head_len = at;
	return HTTP_DONE;
}

int http_parse_head(struct http_head *ret, const uint8_t *data, size_t len,
		    const char **ret_problem)
{
	bool full = len >= HTTP_HEAD_MAX;
	struct http_head head;
	int r;

	r = parse(&head, (const char *)data, full ? HTTP_HEAD_MAX : len, ret_problem);
	if (r == HTTP_MORE && full)
		return refuse(ret_problem, -EMSGSIZE, "the head is larger than 16 KiB");
	if (r == HTTP_DONE)
		*ret = head;
	return r;
}

/* --- looking at fields ------------------------------------------------------------------------ */

static bool equal(const char *text, size_t len, const char *other)
{
	return strlen(other) == len && strncasecmp(text, other, len) == 0;
}

int http_find_one(const struct http_head *head, const char *name, const struct http_field **ret)
{
	const struct http_field *found = NULL;

	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *field = &head->field[i];

		if (!equal(field->name, field->name_len, name))
			continue;
		if (found)
			return -EPROTO;
		found = field;
	}
	if (!found)
		return 0;
	*ret = found;
	return 1;
}

/* Where the member that begins at AT ends: at a comma that is not quoted, or with the value. */
static size_t member_end(const struct http_field *field, size_t at)
{
	bool quoted = false;

	for (; at < field->value_len; at++) {
		char c = field->value[at];

		if (c == ',' && !quoted)
			break;
		if (c == '"')
			quoted = !quoted;
		else if (c == '\\' && quoted && at + 1 < field->value_len)
			at++;
	}
	return at;
}

/* Empty members count for nothing (RFC 9110 5.6.1.2). */
bool http_list_next(const struct http_head *head, const char *name, struct http_position *position,
		    const char **ret_member, size_t *ret_len)
{
	for (; position->field < head->fields; position->field++, position->offset = 0) {
		const struct http_field *field = &head->field[position->field];

		if (!equal(field->name, field->name_len, name))
			continue;
		while (position->offset < field->value_len) {
			size_t start = position->offset, end = member_end(field, start);

			position->offset = end + 1;
			while (start < end && is_blank(field->value[start]))
				start++;
			while (end > start && is_blank(field->value[end - 1]))
				end--;
			if (start == end)
				continue;
			*ret_member = field->value + start;
			*ret_len = end - start;
			return true;
		}
	}
	return false;
}

bool http_list_contains(const struct http_head *head, const char *name, const char *token)
{
	struct http_position position = {0};
	const char *member;
	size_t len;

	while (http_list_next(head, name, &position, &member, &len))
		if (equal(member, len, token))
			return true;
	return false;
}

/* --- Retry-After ------------------------------------------------------------------------------ */

static int month_number(const char name[4])
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (int month = 0; month < 12; month++)
		if (memcmp(name, names + month * 3, 3) == 0)
			return month;
	return -1;
}

/* The three forms of RFC 9110 5.6.7.  Not strptime(): it asks the locale for the names. */
static bool scan_date(const char *text, struct tm *ret, bool *ret_short_year)
{
	struct tm tm = {0};
	char month[4] = "";
	int end = 0;

	*ret_short_year = false;
	sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &tm.tm_mday, month,
	       &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end);
	if (end == 0)
		sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", month, &tm.tm_mday,
		       &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &tm.tm_year, &end);
	if (end == 0) {
		*ret_short_year = true;
		sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &tm.tm_mday,
		       month, &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end);
	}
	tm.tm_mon = month_number(month);
	if (end == 0 || text[end] != '\0' || tm.tm_mon < 0 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
	    tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 ||
	    tm.tm_sec > 60 || tm.tm_year < 0)
		return false;
	tm.tm_year += *ret_short_year ? 100 : -1900;
	*ret = tm;
	return true;
}

/* A year of two digits is never more than 50 years ahead (RFC 9110 5.6.7). */
static bool parse_date(const char *text, int64_t now_s, int64_t *ret_s)
{
	bool short_year;
	struct tm tm, copy;
	int64_t at;

	if (!scan_date(text, &tm, &short_year))
		return false;
	copy = tm; /* timegm() changes what it is given */
	at = timegm(&copy);
	if (short_year && at - now_s > INT64_C(50) * 365 * 86400) {
		tm.tm_year -= 100;
		at = timegm(&tm);
	}
	*ret_s = at;
	return true;
}

/* Digits only; what is far too much may as well be a little less. */
static bool parse_seconds(const char *text, int64_t *ret_s)
{
	int64_t seconds = 0;

	for (const char *c = text; *c; c++) {
		if (!is_digit(*c))
			return false;
		if (seconds <= RETRY_MAX_MS)
			seconds = seconds * 10 + (*c - '0');
	}
	*ret_s = seconds;
	return *text != '\0';
}

uint32_t http_retry_after_ms(const char *value, size_t len, uint64_t wall_us)
{
	char text[DATE_LEN_MAX + 1] = "";
	int64_t wait_ms, seconds;

	if (len == 0 || len > DATE_LEN_MAX || memchr(value, '\0', len))
		return 0;
	memcpy(text, value, len);
	if (parse_seconds(text, &seconds))
		wait_ms = seconds * 1000;
	else if (parse_date(text, (int64_t)(wall_us / 1000000), &seconds))
		wait_ms = seconds * 1000 - (int64_t)(wall_us / 1000);
	else
		return 0;
	if (wait_ms < RETRY_MIN_MS)
		return RETRY_MIN_MS;
	return wait_ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)wait_ms;
}
