/* refusal - see refusal.h. */
#include "net/refusal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "codec/base64.h"
#include "net/upgrade.h"

enum { WORD_MIN = 7 }; /* shorter ones of what was sent are no secrets: "Bearer" */

/* --- how much ------------------------------------------------------------------------------- */

/* RFC 9110 8.6; a list or anything else odd is as if it were not there. */
static bool content_length(const struct http_head *head, size_t *ret)
{
	const struct http_field *field;
	size_t n = 0;

	if (http_find_one(head, "Content-Length", &field) != 1 || field->value_len == 0)
		return false;
	for (size_t i = 0; i < field->value_len; i++) {
		if (field->value[i] < '0' || field->value[i] > '9')
			return false;
		n = n * 10 + (size_t)(field->value[i] - '0');
		if (n > REFUSAL_BODY_MAX)
			n = REFUSAL_BODY_MAX;
	}
	*ret = n;
	return true;
}

static bool holds(const struct http_field *field, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= field->value_len; i++)
		if (strncasecmp(field->value + i, word, len) == 0)
			return true;
	return false;
}

static bool is_readable(const struct http_head *head)
{
	const struct http_field *field;

	if (http_find_one(head, "Content-Encoding", &field) != 0)
		return false;
	return http_find_one(head, "Content-Type", &field) != 1 || holds(field, "text/") ||
	       holds(field, "json") || holds(field, "xml");
}

void refusal_init(struct refusal *refusal, const struct http_head *head)
{
	*refusal = (struct refusal){0};
	if ((head->status != 200 && head->status < 400) || !is_readable(head))
		return;
	refusal->chunked = http_list_contains(head, "Transfer-Encoding", "chunked");
	if (refusal->chunked || !content_length(head, &refusal->want))
		refusal->want = REFUSAL_BODY_MAX;
}

/* --- chunks (RFC 9112 7.1) ------------------------------------------------------------------ */

static int hex_digit(uint8_t c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Their content to OUT, which may be BODY, or NULL; how much that is. *ret_end: the last one is there, or
 * nothing that makes sense. */
static size_t unchunk(const uint8_t *body, size_t len, uint8_t *out, bool *ret_end)
{
	size_t at = 0, n = 0, size;

	*ret_end = false;
	while (at < len) {
		const uint8_t *line_end = memchr(body + at, '\n', len - at);

		if (!line_end)
			return n;
		for (size = 0; hex_digit(body[at]) >= 0 && size <= REFUSAL_BODY_MAX; at++)
			size = size * 16 + (size_t)hex_digit(body[at]);
		*ret_end = size == 0;
		if (*ret_end)
			return n;
		at = (size_t)(line_end - body) + 1;
		size = size < len - at ? size : len - at;
		if (out)
			memmove(out + n, body + at, size);
		n += size;
		at += size + 2; /* CR LF */
	}
	return n;
}

bool refusal_is_whole(const struct refusal *refusal, const uint8_t *body, size_t len)
{
	bool end = false;

	if (refusal->chunked && len > 0)
		unchunk(body, len, NULL, &end);
	return end || len >= refusal->want;
}

/* --- what of it can be shown ---------------------------------------------------------------- */

/* Words on one line, and no tags. */
static size_t make_plain(uint8_t *body, size_t len)
{
	bool in_tag = false;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = body[i];
		bool blank = c <= ' ' || c == '<' || c == '>';

		in_tag = c == '<' || (in_tag && c != '>');
		if (!blank && !in_tag)
			body[n++] = c < 0x7f ? c : '?';
		else if (n > 0 && body[n - 1] != ' ')
			body[n++] = ' ';
	}
	return n > 0 && body[n - 1] == ' ' ? n - 1 : n;
}

static void cover(uint8_t *body, size_t len, const char *word, size_t word_len)
{
	uint8_t *at = body, *end = body + len;

	while ((at = memmem(at, (size_t)(end - at), word, word_len)))
		at = (uint8_t *)memset(at, '*', word_len) + word_len;
}

/* All words of what was sent. */
static void cover_words(uint8_t *body, size_t len, const char *sent, const char *between)
{
	while (sent && *sent) {
		size_t word = strcspn(sent, between);

		if (word >= WORD_MIN)
			cover(body, len, sent, word);
		sent += word;
		sent += strspn(sent, between);
	}
}

/* As Basic authentication has it (RFC 7617).  False: no memory. */
static bool cover_encoded(uint8_t *body, size_t len, const char *user)
{
	size_t size = base64_encoded_len(strlen(user));
	cleanup_wipe char *text = calloc(size + 1, 1);

	if (!text)
		return false;
	base64_encode(text, (const uint8_t *)user, strlen(user));
	if (size > 0)
		cover(body, len, text, size);
	return true;
}

static bool cover_secrets(uint8_t *body, size_t len, const struct url *url,
			  const struct upgrade_options *options)
{
	const char *user = options->user ? options->user : url->user;
	const char *password = user ? strchr(user, ':') : NULL;
	static const char words[] = " \t:;,=&?\"", steps[] = "/?&=;";
	char *const *line;

	if (password && password[1])
		cover(body, len, password + 1, strlen(password + 1));
	cover_words(body, len, user, words);
	cover_words(body, len, options->cookie, words);
	cover_words(body, len, url->has_token ? url->target : strchr(url->target, '?'), steps);
	strv_for_each (line, (char *const *)options->headers)
		cover_words(body, len, strchr(*line, ':'), words);
	return !user || cover_encoded(body, len, user);
}

void refusal_tell(const struct refusal *refusal, uint8_t *body, size_t len, const struct url *url,
		  const struct upgrade_options *options, struct cause *cause)
{
	size_t used = strlen(cause->text);
	bool end;

	if (len > refusal->want)
		len = refusal->want;
	if (refusal->chunked)
		len = unchunk(body, len, body, &end);
	/* The reason phrase, too.  And the body as it came as well as with its blanks made one: a
	 * password may have '<' in it, or be UTF-8. */
	if (!cover_secrets((uint8_t *)cause->text, used, url, options) ||
	    !cover_secrets(body, len, url, options))
		return;
	len = make_plain(body, len);
	if (cover_secrets(body, len, url, options) && len > 0)
		snprintf(cause->text + used, sizeof(cause->text) - used, ": %.*s%s",
			 (int)(len < REFUSAL_SHOWN_MAX ? len : REFUSAL_SHOWN_MAX), (char *)body,
			 len > REFUSAL_SHOWN_MAX ? "..." : "");
}
