/* The opening handshake: an answer is accepted only if each rule holds by itself; whatever is
 * refused is told in one clean line; and no header of the user's adds a line to our request.
 *
 * Input: a byte of options; then, if bit 7 is set, a header as it is configured, else an answer to
 * the key of RFC 6455 1.3. */
#include <strings.h>

#include "codec/utf8.h"
#include "fuzz.h"
#include "net/upgrade.h"

static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==", proof[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
static char *subprotocols[] = {(char *)"chat", (char *)"v1.bin", NULL};

static void check_cause(const struct cause *cause)
{
	HOLDS(cause->class == CAUSE_HTTP);
	HOLDS(*cause->text && is_one_line(cause->text));
	HOLDS(utf8_valid((const uint8_t *)cause->text, strlen(cause->text)));
	HOLDS(cause->retry_after_ms == 0 ||
	      (cause->retry_after_ms >= 1000 && cause->retry_after_ms <= 3600 * 1000));
}

/* --- the answer ------------------------------------------------------------------------------ */

/* The only field of that name. */
static const struct http_field *only(const struct http_head *head, const char *name)
{
	const struct http_field *found = NULL;

	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *field = &head->field[i];

		if (field->name_len != strlen(name) ||
		    strncasecmp(field->name, name, strlen(name)) != 0)
			continue;
		HOLDS(!found);
		found = field;
	}
	return found;
}

static bool is(const struct http_field *field, const char *value)
{
	return field && field->value_len == strlen(value) &&
	       strncasecmp(field->value, value, field->value_len) == 0;
}

static void check_terms(const struct deflate_terms *terms, bool offered)
{
	struct deflate_terms again = {0};
	char text[DEFLATE_TERMS_MAX];
	const char *problem = NULL;

	HOLDS(!terms->agreed || offered);
	HOLDS(terms->server_bits == 0 || (terms->server_bits >= 8 && terms->server_bits <= 15));
	HOLDS(terms->client_bits == 0 || (terms->client_bits >= 8 && terms->client_bits <= 15));
	deflate_describe(terms, text);
	HOLDS(!*text == !terms->agreed);
	if (terms->agreed) {
		HOLDS(deflate_judge(&again, text, strlen(text), &problem) == 0);
		HOLDS(again.server_resets == terms->server_resets &&
		      again.client_resets == terms->client_resets &&
		      again.server_bits == terms->server_bits &&
		      again.client_bits == terms->client_bits);
	}
}

static void check_accepted(const struct http_head *head, const char *subprotocol,
			   const struct deflate_terms *terms, const struct upgrade_options *options)
{
	const struct http_field *protocol = only(head, "Sec-WebSocket-Protocol");
	const struct http_field *accept = only(head, "Sec-WebSocket-Accept");

	HOLDS(is(only(head, "Upgrade"), "websocket"));
	HOLDS(accept && same_bytes(accept->value, accept->value_len, proof, sizeof(proof) - 1));
	HOLDS(http_list_contains(head, "Connection", "upgrade"));
	HOLDS(!protocol == !subprotocol);
	HOLDS(!protocol ||
	      (options->subprotocols &&
	       same_bytes(protocol->value, protocol->value_len, subprotocol, strlen(subprotocol))));
	check_terms(terms, options->compress != DEFLATE_NO);
}

static void check_answer(const struct upgrade_options *options, const uint8_t *data, size_t len)
{
	struct deflate_terms terms = {0};
	const char *problem = NULL, *subprotocol = NULL;
	struct http_head head;
	struct cause cause = {0};

	if (http_parse_head(&head, data, len, &problem) != HTTP_DONE)
		return;
	if (upgrade_accept(&head, options, key, &subprotocol, &terms, &cause) == 0)
		check_accepted(&head, subprotocol, &terms, options);
	else
		check_cause(&cause);
	cause = (struct cause){0};
	upgrade_refused(&head, 1700000000u * UINT64_C(1000000), &cause);
	HOLDS(cause.code == head.status);
	check_cause(&cause);
}

/* --- the request ----------------------------------------------------------------------------- */

/* All that a request has: its lines, of which one is the user's. */
static void check_request(const struct buf *out, unsigned own_lines)
{
	const char *text = (const char *)buf_head(out);
	size_t len = buf_len(out), lines = 0;

	HOLDS(len > 4 && memmem(text, len, "\r\n\r\n", 4) == text + len - 4);
	for (size_t i = 0; i < len; i++) {
		HOLDS(text[i] != '\0' && (text[i] != '\r' || text[i + 1] == '\n'));
		HOLDS(text[i] != '\n' || text[i - 1] == '\r');
		lines += text[i] == '\n';
	}
	/* GET, Host, Connection, Upgrade, Version, Key, User-Agent, and the blank one */
	HOLDS(lines >= 8 + own_lines - 1 && lines <= 8 + own_lines);
}

static void check_header(const uint8_t *data, size_t len)
{
	char *line = copy_text(data, len), *headers[] = {line, NULL}, made[UPGRADE_KEY_LEN + 1];
	struct upgrade_options options = {.headers = headers};
	const char *problem = NULL;
	struct url url = {0};
	struct buf out;

	if (upgrade_check_header(line, &problem) == 0) {
		HOLDS(url_parse(&url, "ws://example.org/", &problem) == 0);
		buf_init(&out, HTTP_HEAD_MAX);
		if (upgrade_request(&out, &url, &options, made) == 0)
			check_request(&out, 1);
		buf_done(&out);
		url_done(&url);
	} else {
		HOLDS(problem && is_one_line(problem));
	}
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len};
	uint8_t flags = take_byte(&food);
	struct upgrade_options options = {
		.subprotocols = flags & 1 ? subprotocols : NULL,
		.compress = flags & 2 ? DEFLATE_BOTH : DEFLATE_NO,
	};
	uint8_t *rest = copy_bytes(food.at, food.len);

	if (flags & 0x80)
		check_header(rest, food.len);
	else
		check_answer(&options, rest, food.len);
	free(rest);
	return 0;
}
