/* upgrade - the request head that we send, and the rules by which the answer is judged.
 *
 * Pure but for the random key: bytes in, verdict out; reading and waiting is ws's.  The rules are
 * RFC 6455 4.1 and 4.2.2 without mercy: an answer that is nearly right comes from something that is
 * nearly a WebSocket server. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "base/strv.h"
#include "codec/base64.h"
#include "net/upgrade.h"

enum {
	UPGRADE_KEY_BYTES = 16,
	UPGRADE_ACCEPT_LEN = 28,
	UPGRADE_SHOWN_MAX = 120, /* of a server's words in a cause */
};

static const char upgrade_guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */

/* --- what may be configured ----------------------------------------------------------------- */

static bool upgrade_owns(const char *name, size_t len)
{
	static const char *const owned[] = {
		"Host", "Connection", "Upgrade", "Content-Length",      "Transfer-Encoding",
		"TE",   "Trailer",    "Expect",  "Proxy-Authorization",
	};
	static const char prefix[] = "Sec-WebSocket-";

	for (size_t i = 0; i < sizeof(owned) / sizeof(*owned); i++)
		if (strlen(owned[i]) == len && strncasecmp(owned[i], name, len) == 0)
			return true;
	return len >= sizeof(prefix) - 1 && strncasecmp(name, prefix, sizeof(prefix) - 1) == 0;
}

static bool upgrade_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The value of a "Name: value" line without the blanks around it. */
static const char *upgrade_value(const char *colon, size_t *ret_len)
{
	const char *value = colon + 1;
	size_t len;

	while (upgrade_is_blank(*value))
		value++;
	len = strlen(value);
	while (len > 0 && upgrade_is_blank(value[len - 1]))
		len--;
	*ret_len = len;
	return value;
}

int upgrade_check_header(const char *line, const char **ret_problem)
{
	const char *colon = strchr(line, ':'), *value;
	size_t len;

	if (!colon) {
		*ret_problem = "is not of the form Name: value";
		return -EINVAL;
	}
	if (!http_is_token(line, (size_t)(colon - line))) {
		*ret_problem = "has a name that is not an HTTP token";
		return -EINVAL;
	}
	if (upgrade_owns(line, (size_t)(colon - line))) {
		*ret_problem = "belongs to the opening handshake itself";
		return -EINVAL;
	}
	value = upgrade_value(colon, &len);
	if (len > 0 && !http_is_value(value, len)) {
		*ret_problem = "has control characters (CR, LF, ...) in its value";
		return -EINVAL;
	}
	return 0;
}

int upgrade_check_subprotocol(const char *name, const char **ret_problem)
{
	if (http_is_token(name, strlen(name)))
		return 0;
	*ret_problem = "is not an HTTP token";
	return -EINVAL;
}

/* --- the request ---------------------------------------------------------------------------- */

static int upgrade_new_key(char ret_key[UPGRADE_KEY_LEN + 1])
{
	uint8_t random[UPGRADE_KEY_BYTES];
	ssize_t n;

	do /* so few bytes come whole or not at all */
		n = getrandom(random, sizeof(random), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	base64_encode(ret_key, random, sizeof(random));
	ret_key[UPGRADE_KEY_LEN] = '\0';
	return 0;
}

/* Does the configuration name this field itself?  Then it replaces ours. */
static bool upgrade_has_header(const struct upgrade_options *options, const char *name)
{
	size_t len = strlen(name);
	char **line;

	strv_for_each (line, options->headers)
		if (strncasecmp(*line, name, len) == 0 && (*line)[len] == ':')
			return true;
	return false;
}

static int upgrade_put(struct buf *out, const struct upgrade_options *options, const char *name,
		       const char *value)
{
	if (!value || upgrade_has_header(options, name))
		return 0;
	if (*value && !http_is_value(value, strlen(value)))
		return -EINVAL;
	return buf_printf(out, "%s: %s\r\n", name, value);
}

static int upgrade_put_subprotocols(struct buf *out, char **subprotocols)
{
	const char *between = "Sec-WebSocket-Protocol: ", *problem;
	char **name;
	int r = 0;

	if (strv_len(subprotocols) == 0)
		return 0;
	strv_for_each (name, subprotocols) {
		r = upgrade_check_subprotocol(*name, &problem);
		if (r >= 0)
			r = buf_printf(out, "%s%s", between, *name);
		if (r < 0)
			return r;
		between = ", ";
	}
	return buf_append_str(out, "\r\n");
}

/* Basic (RFC 7617), without being asked for it first. */
static int upgrade_put_user(struct buf *out, const struct upgrade_options *options,
			    const char *user)
{
	uint8_t *tail;
	size_t len;
	int r;

	if (!user || upgrade_has_header(options, "Authorization"))
		return 0;
	r = buf_append_str(out, "Authorization: Basic ");
	if (r < 0)
		return r;
	len = base64_encoded_len(strlen(user));
	r = buf_reserve(out, len, &tail);
	if (r < 0)
		return r;
	base64_encode((char *)tail, (const uint8_t *)user, strlen(user));
	buf_commit(out, len);
	return buf_append_str(out, "\r\n");
}

static int upgrade_put_headers(struct buf *out, char **headers)
{
	const char *problem;
	char **line;

	strv_for_each (line, headers) {
		const char *colon = strchr(*line, ':'), *value;
		size_t len;
		int r = upgrade_check_header(*line, &problem);

		if (r < 0)
			return r;
		value = upgrade_value(colon, &len);
		r = buf_printf(out, "%.*s: %.*s\r\n", (int)(colon - *line), *line, (int)len, value);
		if (r < 0)
			return r;
	}
	return 0;
}

int upgrade_request(struct buf *out, const struct url *url, const struct upgrade_options *options,
		    char ret_key[UPGRADE_KEY_LEN + 1])
{
	const char *agent = options->user_agent ? options->user_agent : "wspipe/" WSPIPE_VERSION;
	int r = upgrade_new_key(ret_key);

	if (r < 0)
		return r;
	r = buf_printf(out,
		       "GET %s HTTP/1.1\r\n"
		       "Host: %s\r\n"
		       "Connection: Upgrade\r\n"
		       "Upgrade: websocket\r\n"
		       "Sec-WebSocket-Version: 13\r\n"
		       "Sec-WebSocket-Key: %s\r\n",
		       url->target, url->host_field, ret_key);
	if (r >= 0 && options->compress != DEFLATE_NO)
		r = buf_append_str(out, "Sec-WebSocket-Extensions: " DEFLATE_OFFER "\r\n");
	if (r >= 0)
		r = upgrade_put_subprotocols(out, options->subprotocols);
	if (r >= 0)
		r = upgrade_put(out, options, "Origin", options->origin);
	if (r >= 0)
		r = upgrade_put(out, options, "User-Agent", agent);
	if (r >= 0)
		r = upgrade_put_user(out, options, options->user ? options->user : url->user);
	if (r >= 0)
		r = upgrade_put(out, options, "Cookie", options->cookie);
	if (r >= 0)
		r = upgrade_put_headers(out, options->headers);
	if (r >= 0)
		r = buf_append_str(out, "\r\n");
	return r;
}

/* --- the answer 101 ------------------------------------------------------------------------- */

static int upgrade_shown(size_t len)
{
	return (int)(len < UPGRADE_SHOWN_MAX ? len : UPGRADE_SHOWN_MAX);
}

static int upgrade_fault(struct cause *ret_cause, const char *what)
{
	cause_set(ret_cause, CAUSE_HTTP, 0, "the server's handshake is wrong: %s", what);
	return -EPROTO;
}

static int upgrade_fault_shown(struct cause *ret_cause, const char *what, const char *text,
			       size_t len)
{
	cause_set(ret_cause, CAUSE_HTTP, 0, "the server's handshake is wrong: %s '%.*s'", what,
		  upgrade_shown(len), text);
	return -EPROTO;
}

static bool upgrade_is(const struct http_field *field, const char *text)
{
	return field->value_len == strlen(text) &&
	       memcmp(field->value, text, field->value_len) == 0;
}

/* RFC 6455 4.1, answer, 2 and 3. */
static int upgrade_check_switch(const struct http_head *head, struct cause *ret_cause)
{
	static const char websocket[] = "websocket";
	const struct http_field *field = NULL;
	int r = http_find_one(head, "Upgrade", &field);

	if (r == 0)
		return upgrade_fault(ret_cause, "no Upgrade field");
	if (r < 0)
		return upgrade_fault(ret_cause, "several Upgrade fields");
	if (field->value_len != sizeof(websocket) - 1 ||
	    strncasecmp(field->value, websocket, field->value_len) != 0)
		return upgrade_fault_shown(ret_cause, "Upgrade is not websocket but", field->value,
					   field->value_len);
	if (!http_list_contains(head, "Connection", "upgrade"))
		return upgrade_fault(ret_cause, "the Connection field does not say Upgrade");
	return 0;
}

static int upgrade_expect(const char *key, char ret[UPGRADE_ACCEPT_LEN + 1])
{
	char text[UPGRADE_KEY_LEN + sizeof(upgrade_guid)];
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	memcpy(text, key, UPGRADE_KEY_LEN);
	memcpy(text + UPGRADE_KEY_LEN, upgrade_guid, sizeof(upgrade_guid));
	if (EVP_Digest(text, sizeof(text) - 1, digest, &len, EVP_sha1(), NULL) != 1)
		return -ENOMEM;
	base64_encode(ret, digest, len);
	ret[UPGRADE_ACCEPT_LEN] = '\0';
	return 0;
}

/* 4: proof that the server has read our very request. */
static int upgrade_check_key(const struct http_head *head, const char *key, struct cause *ret_cause)
{
	char expected[UPGRADE_ACCEPT_LEN + 1];
	const struct http_field *field = NULL;
	int r = http_find_one(head, "Sec-WebSocket-Accept", &field);

	if (r == 0)
		return upgrade_fault(ret_cause, "no Sec-WebSocket-Accept field");
	if (r < 0)
		return upgrade_fault(ret_cause, "several Sec-WebSocket-Accept fields");
	r = upgrade_expect(key, expected);
	if (r < 0) {
		cause_set(ret_cause, CAUSE_LOCAL, -r, "cannot compute a SHA-1 digest");
		return -EPROTO;
	}
	if (!upgrade_is(field, expected))
		return upgrade_fault_shown(ret_cause, "Sec-WebSocket-Accept does not fit our key:",
					   field->value, field->value_len);
	return 0;
}

/* 5: only what was offered, once; an empty field is no extension. */
static int upgrade_check_extensions(const struct http_head *head,
				    const struct upgrade_options *options,
				    struct deflate_terms *ret, struct cause *ret_cause)
{
	const char *problem = "it uses an extension that was not offered:", *member;
	struct http_position position = {0};
	size_t len;

	*ret = (struct deflate_terms){0};
	while (http_list_next(head, "Sec-WebSocket-Extensions", &position, &member, &len)) {
		if (len > 0 && (options->compress == DEFLATE_NO ||
				deflate_judge(ret, member, len, &problem) < 0))
			return upgrade_fault_shown(ret_cause, problem, member, len);
	}
	return 0;
}

/* 6, and wspipe.conf(5): the server may pick one of ours or none. */
static int upgrade_check_subprotocols(const struct http_head *head,
				      const struct upgrade_options *options, const char **ret,
				      struct cause *ret_cause)
{
	const struct http_field *field = NULL;
	char **name;
	int r = http_find_one(head, "Sec-WebSocket-Protocol", &field);

	*ret = NULL;
	if (r == 0)
		return 0;
	if (r < 0)
		return upgrade_fault(ret_cause, "several Sec-WebSocket-Protocol fields");
	strv_for_each (name, options->subprotocols) {
		if (upgrade_is(field, *name)) {
			*ret = *name;
			return 0;
		}
	}
	return upgrade_fault_shown(ret_cause,
				   "it chose a subprotocol that was not offered:", field->value,
				   field->value_len);
}

int upgrade_accept(const struct http_head *head, const struct upgrade_options *options,
		   const char *key, const char **ret_subprotocol,
		   struct deflate_terms *ret_terms, struct cause *ret_cause)
{
	const char *subprotocol;
	int r = upgrade_check_switch(head, ret_cause);

	if (r >= 0)
		r = upgrade_check_key(head, key, ret_cause);
	if (r >= 0)
		r = upgrade_check_extensions(head, options, ret_terms, ret_cause);
	if (r >= 0)
		r = upgrade_check_subprotocols(head, options, &subprotocol, ret_cause);
	if (r >= 0)
		*ret_subprotocol = subprotocol;
	return r;
}

/* --- any other answer ----------------------------------------------------------------------- */

/* The names of the schemes in all challenges: "Basic, Bearer".  Members of the list that are
 * parameters (a=b) belong to the challenge before them. */
static void upgrade_list_schemes(const struct http_head *head, const char *field, struct buf *out)
{
	struct http_position position = {0};
	const char *member;
	size_t len;

	while (http_list_next(head, field, &position, &member, &len)) {
		const char *blank = memchr(member, ' ', len);
		size_t name = blank ? (size_t)(blank - member) : len;

		if (name == 0 || !http_is_token(member, name)) /* "a=b" is none */
			continue;
		if (buf_printf(out, "%s%.*s", buf_len(out) > 0 ? ", " : "", upgrade_shown(name),
			       member) < 0)
			return;
	}
}

static void upgrade_describe_field(const struct http_head *head, const char *name, struct buf *out)
{
	for (size_t i = 0; i < head->fields; i++) {
		const struct http_field *field = &head->field[i];

		if (field->name_len != strlen(name) ||
		    strncasecmp(field->name, name, field->name_len) != 0)
			continue;
		buf_printf(out, ", %s: %.*s", name, upgrade_shown(field->value_len), field->value);
		return;
	}
}

/* What helps somebody who reads only this one line. */
static void upgrade_describe(const struct http_head *head, struct buf *out)
{
	struct buf schemes;

	switch (head->status) {
	case 200:
		buf_append_str(out, " (it answered without upgrading: a wrong URL, or a proxy)");
		break;
	case 401:
	case 407:
		buf_init(&schemes, UPGRADE_SHOWN_MAX);
		upgrade_list_schemes(
			head, head->status == 401 ? "WWW-Authenticate" : "Proxy-Authenticate",
			&schemes);
		if (buf_len(&schemes) > 0)
			buf_printf(out, " (the server asks for: %.*s)", (int)buf_len(&schemes),
				   (const char *)buf_head(&schemes));
		buf_done(&schemes);
		break;
	case 426:
		upgrade_describe_field(head, "Sec-WebSocket-Version", out);
		break;
	default:
		break;
	}
}

static uint32_t upgrade_retry_after_ms(const struct http_head *head, uint64_t wall_us)
{
	const struct http_field *field = NULL;

	if (http_find_one(head, "Retry-After", &field) != 1)
		return 0;
	return http_retry_after_ms(field->value, field->value_len, wall_us);
}

void upgrade_refused(const struct http_head *head, uint64_t wall_us, struct cause *ret_cause)
{
	struct buf text;

	/* Pieces that do not fit, or for which there is no memory, are left out. */
	buf_init(&text, sizeof(ret_cause->text));
	upgrade_describe(head, &text);
	cause_set(ret_cause, CAUSE_HTTP, head->status, "HTTP %d%s%.*s%.*s", head->status,
		  head->reason_len > 0 ? " " : "",
		  (int)(head->reason_len < 60 ? head->reason_len : 60),
		  head->reason_len > 0 ? head->reason : "", (int)buf_len(&text),
		  buf_len(&text) > 0 ? (const char *)buf_head(&text) : "");
	ret_cause->retry_after_ms = upgrade_retry_after_ms(head, wall_us);
	buf_done(&text);
}

char *upgrade_location(const struct http_head *head)
{
	const struct http_field *field = NULL;

	if (http_find_one(head, "Location", &field) != 1)
		return NULL;
	return strndup(field->value, field->value_len);
}
