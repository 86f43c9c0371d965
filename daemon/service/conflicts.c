/* conflicts - see conflicts.h.  To add a rule, add a row at the end. */
#include "service/conflicts.h"

#include <string.h>
#include <strings.h>

#include "base/strv.h"
#include "codec/utf8.h"
#include "net/proxy.h"
#include "service/config.h"
#include "service/options.h"
#include "service/values.h"

static bool key_without_cert(const struct section *section, char *problem)
{
	const struct tls_options *tls = &section->conn.dial.tls;

	return tls->key && !tls->cert &&
	       value_bad(problem, "key given, but no cert that it belongs to");
}

static bool pin_without_tls(const struct section *section, char *problem)
{
	const struct conn_options *conn = &section->conn;

	return conn->dial.tls.pins && conn->url && strncasecmp(conn->url, "wss:", 4) != 0 &&
	       value_bad(problem, "pin needs a wss: url: without TLS nobody shows a key");
}

static bool connect_to_socket(const struct section *section, char *problem)
{
	const struct conn_options *conn = &section->conn;

	return conn->dial.connect_to && conn->url && strncasecmp(conn->url, "ws+unix:", 8) == 0 &&
	       value_bad(problem, "connect-to cannot be used with a ws+unix: url");
}

static bool proxy_to_socket(const struct section *section, char *problem)
{
	const struct conn_options *conn = &section->conn;

	return proxy_wanted(conn->dial.proxy) && conn->url &&
	       strncasecmp(conn->url, "ws+unix:", 8) == 0 &&
	       value_bad(problem, "proxy cannot be used with a ws+unix: url");
}

static bool two_tokens(const struct section *section, char *problem)
{
	const struct credentials_options *credentials = &section->conn.credentials;

	return credentials->token_file && credentials->token_command &&
	       value_bad(problem, "token-command and token-file cannot be used together");
}

static bool delay_above_max(const struct section *section, char *problem)
{
	return section->conn.reconnect_delay_ms > section->conn.reconnect_max_ms &&
	       value_bad(problem, "reconnect-delay is more than reconnect-max");
}

static bool greeting_not_text(const struct section *section, char *problem)
{
	char **greetings = section->conn.on_open;

	if (section->conn.type != MSG_TEXT)
		return false;
	for (size_t i = 0; greetings && greetings[i]; i++)
		if (!utf8_valid((const uint8_t *)greetings[i], strlen(greetings[i])))
			return value_bad(problem,
					 "on-open number %zu is not UTF-8, as type = text needs",
					 i + 1);
	return false;
}

static bool greeting_too_long(const struct section *section, char *problem)
{
	char **greetings = section->conn.on_open;

	for (size_t i = 0; greetings && greetings[i]; i++)
		if (strlen(greetings[i]) > section->conn.ws.max_message_bytes)
			return value_bad(problem, "on-open number %zu is longer than max-message",
					 i + 1);
	return false;
}

static bool replies_without_id(const struct section *section, char *problem)
{
	const struct calls_options *calls = &section->conn.calls;

	return !calls->id &&
	       (calls->reply_id || calls->interim || calls->partial || calls->not_reply) &&
	       value_bad(problem, "reply-id, interim, partial and not-reply need id, or preset");
}

static bool has_header(const struct section *section, const char *name)
{
	size_t len = strlen(name);
	char **line;

	strv_for_each (line, section->conn.ws.upgrade.headers)
		if (strncasecmp(*line, name, len) == 0 && (*line)[len] == ':')
			return true;
	return false;
}

static bool header_and_key(const struct section *section, char *problem)
{
	const struct upgrade_options *upgrade = &section->conn.ws.upgrade;
	const struct {
		const char *header, *key, *value;
	} pairs[] = {
		{"Authorization", "user", upgrade->user},
		{"Origin", "origin", upgrade->origin},
		{"Cookie", "cookie", upgrade->cookie},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (pairs[i].value && has_header(section, pairs[i].header))
			return value_bad(problem, "header '%s' is what key '%s' sets, too",
					 pairs[i].header, pairs[i].key);
	return false;
}

static bool file_without_name(const struct section *section, char *problem)
{
	return strv_contains(section->endpoint.endpoints, "file") && !section->endpoint.file &&
	       value_bad(problem, "endpoints has 'file', but key file does not say which one");
}

void conflicts_find(const struct section *section,
		    void (*fault)(void *owner, const struct option *option, const char *problem),
		    void *owner)
{
	static const struct {
		const char *key; /* at whose line it is told */
		bool (*broken)(const struct section *section, char *problem);
	} rules[] = {
		{"key", key_without_cert},         {"pin", pin_without_tls},
		{"connect-to", connect_to_socket}, {"proxy", proxy_to_socket},
		{"token-command", two_tokens},     {"reconnect-delay", delay_above_max},
		{"on-open", greeting_not_text},    {"on-open", greeting_too_long},
		{"header", header_and_key},        {"endpoints", file_without_name},
		{"reply-id", replies_without_id},
	};
	char problem[OPTION_PROBLEM_MAX];

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (rules[i].broken(section, problem))
			fault(owner, option_find(rules[i].key, false), problem);
}
