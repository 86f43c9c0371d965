/* options - see the header.  The table stands in the middle: above it the checks that its rows name,
 * below it what is done with rows.  To add an option, add a row. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strv.h"
#include "codec/deflate.h"
#include "codec/frame.h"
#include "codec/http.h"
#include "codec/json.h"
#include "codec/url.h"
#include "conn/redirect.h"
#include "endpoint/access.h"
#include "endpoint/endpoint.h"
#include "net/dial.h"
#include "net/pin.h"
#include "net/proxy.h"
#include "net/upgrade.h"
#include "service/config.h"
#include "service/options.h"
#include "service/presets.h"
#include "service/values.h"

/* --- checks of single keys ----------------------------------------------------------------- */

static int check_url(const char *value, const char **ret_problem)
{
	struct url url = {0};
	int r = url_parse(&url, value, ret_problem);

	if (r == 0)
		url_done(&url);
	return r;
}

static int check_field(const char *value, const char **ret_problem)
{
	*ret_problem = "holds a character that a header cannot hold";
	return http_is_value(value, strlen(value)) ? 0 : -EINVAL;
}

static int check_user(const char *value, const char **ret_problem)
{
	*ret_problem = "must be NAME:PASSWORD, without control characters";
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return -EINVAL;
	return strchr(value, ':') ? 0 : -EINVAL;
}

static int check_server_name(const char *value, const char **ret_problem)
{
	size_t len = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789.-_");

	*ret_problem = "is not a host name (letters, digits, dots and hyphens)";
	return value[len] == '\0' && len <= 253 && *value != '.' ? 0 : -EINVAL;
}

static int check_connect_to(const char *value, const char **ret_problem)
{
	*ret_problem = "must be HOST:PORT or [ADDRESS]:PORT";
	return dial_check_address(value) < 0 ? -EINVAL : 0;
}

static int check_access(const char *value, const char **ret_problem)
{
	struct access access;
	char *list[] = {(char *)value, NULL};
	int r = access_parse(&access, list, ret_problem);

	if (r == 0)
		access_done(&access);
	return r;
}

static int check_rule(const char *value, const char **ret_problem)
{
	return calls_check(value, true, ret_problem);
}

static int check_test(const char *value, const char **ret_problem)
{
	return calls_check(value, false, ret_problem);
}

/* --- how bad values are told without telling secrets ---------------------------------------- */

static void show_nothing(const char *value, char *ret, size_t size)
{
	(void)value;
	(void)size;
	*ret = '\0';
}

/* Without userinfo.  A bad URL cannot be trusted to have its "@" where one belongs, so that
 * everything up to the last one goes. */
static void show_url(const char *value, char *ret, size_t size)
{
	const char *scheme = strstr(value, "://"), *at = strrchr(value, '@');
	int scheme_len = scheme ? (int)(scheme - value) + 3 : 0;

	if (!at || at < value + scheme_len)
		snprintf(ret, size, "%s", value);
	else
		snprintf(ret, size, "%.*s***%s", scheme_len, value, at);
}

/* The name alone, if there is one. */
static void show_header(const char *value, char *ret, size_t size)
{
	const char *colon = strchr(value, ':');

	*ret = '\0';
	if (colon && http_is_token(value, (size_t)(colon - value)))
		snprintf(ret, size, "%.*s", (int)(colon - value), value);
}

static int check_pointer(const char *value, const char **ret_problem)
{
	*ret_problem = "is no JSON pointer (like /symbol or /data/symbol)";
	return json_pointer_valid(value) ? 0 : -EINVAL;
}

/* --- the table ----------------------------------------------------------------------------- */

static const char *const family_words[] = {"any", "ipv4", "ipv6", NULL};
static const char *const tls_words[] = {"1.2", "1.3", NULL};
static const char *const reconnect_words[] = {"always", "on-failure", "never", NULL};
static const char *const compress_words[] = {"no", "receive", "both", NULL};
static const char *const type_words[] = {"text", "binary", NULL};
static const char *const overflow_words[] = {"drop", "block", NULL};
static const char *const id_type_words[] = {"auto", "string", "integer", NULL};
static const char *const replies_words[] = {"asker", "all", NULL};
static const char *const level_words[] = {"error", "warning", "info", "debug", NULL};

#define CONN(field) offsetof(struct section, conn.field)
#define REQUEST(field) offsetof(struct section, conn.ws.upgrade.field)
#define TLS(field) offsetof(struct section, conn.dial.tls.field)
#define ENDPOINT(field) offsetof(struct section, endpoint.field)
#define DAEMON(field) offsetof(struct daemon_options, field)

#define LIVE (1u << CONFIG_LIVE)
#define ENDPOINTS (1u << CONFIG_ENDPOINTS)
#define REDIAL (1u << CONFIG_REDIAL)

#define DEFAULT_AGENT "wspipe/" WSPIPE_VERSION
#define DEFAULT_ENDPOINTS "in out sock last status"

/* clang-format off */
const struct option option_table[] = {
	/* key, type, field, default, what a reload does, help; then what else is to be checked */
	{"url", &value_string, CONN(url), NULL, REDIAL,
	 .help = "where to connect: ws://, wss:// or ws+unix:", .check = check_url, .show = show_url},
	{"header", &value_list, REQUEST(headers), NULL, REDIAL,
	 .help = "header line of the handshake", .check = upgrade_check_header, .show = show_header},
	{"header-file", &value_secret_path, CONN(credentials.header_file), NULL, REDIAL,
	 .help = "file of further header lines"},
	{"token-file", &value_secret_path, CONN(credentials.token_file), NULL, REDIAL,
	 .help = "file whose content takes the place of @token@"},
	{"token-command", &value_string, CONN(credentials.token_command), NULL, REDIAL,
	 .help = "command whose output takes the place of @token@", .show = show_nothing},
	{"user", &value_string, REQUEST(user), NULL, REDIAL,
	 .help = "name:password for Basic authentication", .check = check_user, .show = show_nothing},
	{"origin", &value_string, REQUEST(origin), NULL, REDIAL,
	 .help = "Origin header", .check = check_field},
	{"user-agent", &value_string, REQUEST(user_agent), DEFAULT_AGENT, REDIAL,
	 .help = "User-Agent header", .check = check_field},
	{"cookie", &value_string, REQUEST(cookie), NULL, REDIAL,
	 .help = "Cookie header", .check = check_field, .show = show_nothing},
	{"subprotocol", &value_words, REQUEST(subprotocols), NULL, REDIAL,
	 .help = "subprotocols to offer, in order of preference", .check = upgrade_check_subprotocol},
	{"cacert", &value_path, TLS(cacert), NULL, REDIAL, .help = "file of certificates to trust"},
	{"capath", &value_path, TLS(capath), NULL, REDIAL, .help = "directory of certificates to trust"},
	{"cert", &value_path, TLS(cert), NULL, REDIAL, .help = "file of our own certificate"},
	{"key", &value_path, TLS(key), NULL, REDIAL, .help = "file of the certificate's key"},
	{"server-name", &value_string, TLS(server_name), NULL, REDIAL,
	 .help = "name to ask for and to verify instead of the url's", .check = check_server_name},
	{"tls-min", &value_word, TLS(tls_min), "1.2", REDIAL, .help = "oldest TLS version", .words = tls_words},
	{"insecure", &value_boolean, TLS(insecure), "no", REDIAL, .help = "do not verify the server"},
	{"pin", &value_words, TLS(pins), NULL, REDIAL,
	 .help = "public key that the server must have: sha256//BASE64", .check = pin_check},
	{"connect-to", &value_string, CONN(dial.connect_to), NULL, REDIAL,
	 .help = "host:port to dial instead of the url's", .check = check_connect_to},
	{"proxy", &value_string, CONN(dial.proxy), "none", REDIAL,
	 .help = "proxy to go through: http://, socks5:// or socks5h://", .check = proxy_check,
	 .show = show_url},
	{"address-family", &value_word, CONN(dial.address_family), "any", REDIAL,
	 .help = "kind of addresses to use", .words = family_words},
	{"compress", &value_word, REQUEST(compress), "receive", REDIAL,
	 .help = "which way messages may be compressed", .words = compress_words, .first = DEFLATE_NO},
	/* the endpoints' decoders have it as their bound */
	{"max-message", &value_size, CONN(ws.max_message_bytes), "16M", REDIAL | ENDPOINTS,
	 .help = "longest message", .min = 1, .max = INT32_MAX},
	{"connect-timeout", &value_time_ms, CONN(connect_timeout_ms), "20s", LIVE,
	 .help = "longest time from the look-up of the name to the end of the handshake", .min = 1},
	{"max-redirects", &value_count, CONN(max_redirects), "0", LIVE,
	 .help = "how many redirects of the server are followed in one attempt", .max = REDIRECT_MAX},
	{"close-timeout", &value_time_ms, CONN(close_timeout_ms), "5s", LIVE,
	 .help = "longest time that closing may take", .min = 1},
	{"ping-interval", &value_time_ms, CONN(ping_interval_ms), "25s", LIVE,
	 .help = "time between pings; 0 turns them off"},
	{"ping-timeout", &value_time_ms, CONN(ping_timeout_ms), "20s", LIVE,
	 .help = "longest time without an answer to a ping; 0: for ever"},
	{"reconnect", &value_word, CONN(reconnect), "always", LIVE,
	 .help = "when to connect again", .words = reconnect_words},
	{"reconnect-delay", &value_time_ms, CONN(reconnect_delay_ms), "1s", LIVE,
	 .help = "upper bound of the first wait; it doubles with each attempt", .min = 1},
	{"reconnect-max", &value_time_ms, CONN(reconnect_max_ms), "60s", LIVE,
	 .help = "upper bound of all waits", .min = 1},
	{"on-open", &value_list, CONN(on_open), NULL, LIVE,
	 .help = "message to send first at each open", .show = show_nothing},
	{"on-open-file", &value_secret_path, CONN(credentials.on_open_file), NULL, LIVE,
	 .help = "file of further messages to send first, one a line"},
	{"login", &value_string, CONN(opening.login), NULL, LIVE,
	 .help = "command that talks to the server before the connection is open", .show = show_nothing},
	{"expect", &value_list, CONN(opening.expect), NULL, LIVE,
	 .help = "what must be received behind each on-open", .check = opening_check_expect},
	{"framing", &value_word, ENDPOINT(framing), "line", ENDPOINTS,
	 .help = "how messages stand in in, out, sock and last", .words = framing_names},
	{"type", &value_word, CONN(type), "text", ENDPOINTS,
	 .help = "kind of the messages that are sent", .words = type_words, .first = MSG_TEXT},
	{"endpoints", &value_words, ENDPOINT(endpoints), DEFAULT_ENDPOINTS, ENDPOINTS,
	 .help = "what is made in the connection's directory", .words = endpoint_names},
	{"file", &value_path, ENDPOINT(file), NULL, ENDPOINTS,
	 .help = "regular file that messages are appended to"},
	{"file-max", &value_size, ENDPOINT(file_max_bytes), "64M", LIVE,
	 .help = "bytes of file before it is rotated; 0: never"},
	{"file-keep", &value_count, ENDPOINT(file_keep), "5", LIVE,
	 .help = "rotated files that are kept", .max = 10000},
	{"latest", &value_string, ENDPOINT(latest), NULL, ENDPOINTS,
	 .help = "member of which each value has a file with its newest message", .check = check_pointer},
	{"latest-max", &value_count, ENDPOINT(latest_max), "1000", ENDPOINTS,
	 .help = "files in latest; for one more the oldest goes", .min = 1, .max = 1000000},
	{"batch", &value_boolean, ENDPOINT(batch), "no", ENDPOINTS,
	 .help = "let out and drain fill their pipes"},
	{"access", &value_list, ENDPOINT(access), NULL, ENDPOINTS,
	 .help = "user or group that may use the connection's files", .check = check_access},
	{"on-message", &value_string, offsetof(struct section, hooks.on_message), NULL, LIVE,
	 .help = "command to run for each message received", .show = show_nothing},
	{"on-state", &value_string, offsetof(struct section, hooks.on_state), NULL, LIVE,
	 .help = "command to run for each change of state", .show = show_nothing},
	{"keep", &value_size, CONN(spool.keep_bytes), "64M", LIVE,
	 .help = "bytes of received messages kept for readers that are behind", .min = 4096},
	{"keep-age", &value_time_ms, CONN(spool.keep_age_ms), NULL, LIVE,
	 .help = "longest time that a message is kept", .min = 1},
	{"persist", &value_boolean, CONN(persist), "no", LIVE,
	 .help = "keep messages and places of readers across restarts"},
	{"overflow", &value_word, CONN(spool.overflow), "drop", LIVE,
	 .help = "what to do when a reader falls behind by more than keep", .words = overflow_words},
	{"queue", &value_size, CONN(outbox.queue_bytes), "1M", LIVE,
	 .help = "bytes of messages waiting to be sent", .min = 1},
	{"queue-ttl", &value_time_ms, CONN(outbox.ttl_ms), NULL, LIVE,
	 .help = "longest time that a message may wait to be sent", .min = 1},
	{"resend", &value_boolean, CONN(resend), "no", LIVE,
	 .help = "after a lost connection send again what the server may not have read"},

	{"preset", &value_word, offsetof(struct section, preset), NULL, LIVE,
	 .help = "protocol whose requests and replies are known", .words = preset_names, .first = 1},
	{"id", &value_list, CONN(calls.id), NULL, LIVE,
	 .help = "where requests have their id: turns on matching of replies", .check = check_rule},
	{"reply-id", &value_list, CONN(calls.reply_id), NULL, LIVE,
	 .help = "where replies have it, if elsewhere", .check = check_rule},
	{"id-type", &value_word, CONN(calls.id_type), "auto", LIVE,
	 .help = "what ids are sent", .words = id_type_words},
	{"interim", &value_list, CONN(calls.interim), NULL, LIVE,
	 .help = "what a message holds that only acknowledges a request", .check = check_test},
	{"partial", &value_list, CONN(calls.partial), NULL, LIVE,
	 .help = "what a message holds that is a part of a reply", .check = check_test},
	{"not-reply", &value_list, CONN(calls.not_reply), NULL, LIVE,
	 .help = "what an event holds that has an id, too", .check = check_test},
	{"error-reply", &value_list, CONN(calls.error_reply), "/error", LIVE,
	 .help = "what a reply holds that is an error", .check = check_test},
	{"replies", &value_word, CONN(calls.replies), "asker", LIVE,
	 .help = "who gets replies: the asker alone, or out, last and cursors, too",
	 .words = replies_words},
	{"request-timeout", &value_time_ms, CONN(calls.timeout_ms), "30s", LIVE,
	 .help = "how long to wait for a reply"},

	{"log-level", &value_level, DAEMON(log_level), "info", LIVE,
	 .help = "how much is logged", .in_daemon = true, .words = level_words},
	{"memory", &value_size, DAEMON(memory_bytes), "1G", LIVE,
	 .help = "bound for the kept messages of all connections", .in_daemon = true, .min = 1 << 20},
	{"include", &value_list, DAEMON(include), NULL, LIVE,
	 .help = "pattern of further files", .in_daemon = true},
	{"access", &value_list, DAEMON(access), NULL, LIVE,
	 .help = "user or group that may use the control socket", .in_daemon = true,
	 .check = check_access},
};

const size_t option_rows = sizeof(option_table) / sizeof(*option_table);
_Static_assert(OPTIONS_MAX <= 8 * sizeof(((struct section *)NULL)->given), "given is too small");
_Static_assert(sizeof(option_table) / sizeof(*option_table) <= OPTIONS_MAX, "too many rows");

/* clang-format on */

/* --- rows ---------------------------------------------------------------------------------- */

const struct option *option_find(const char *key, bool in_daemon)
{
	for (size_t i = 0; i < option_rows; i++)
		if (option_table[i].in_daemon == in_daemon &&
		    strcmp(option_table[i].name, key) == 0)
			return &option_table[i];
	return NULL;
}

bool option_is_list(const struct option *option)
{
	return option->type->is_list;
}

static void *option_field(const struct option *option, void *target)
{
	return (char *)target + option->offset;
}

static int set_value(const struct option *option, void *target, const char *value,
		     const char *dir, char problem[OPTION_PROBLEM_MAX])
{
	char why[OPTION_PROBLEM_MAX] = "", shown[128];
	int r;

	if (*value == '\0')
		return value_bad(problem, "%s has no value", option->name);
	r = option->type->set(option, option_field(option, target), value, dir, why);
	if (r != -EINVAL)
		return r;
	if (option->show)
		option->show(value, shown, sizeof(shown));
	else
		snprintf(shown, sizeof(shown), "%s", value);
	if (*shown)
		return value_bad(problem, "%s '%s' %.480s", option->name, shown, why);
	return value_bad(problem, "%s %.480s", option->name, why);
}

int option_set(const struct option *option, void *target, const char *value, const char *dir,
	       char problem[OPTION_PROBLEM_MAX])
{
	int r = set_value(option, target, value, dir, problem);
	size_t row = (size_t)(option - option_table);

	if (r == 0 && !option->in_daemon)
		((struct section *)target)->given[row / 8] |= (unsigned char)(1 << row % 8);
	return r;
}

/* What the preset says of keys that nobody has set. */
static int apply_preset(struct section *section)
{
	const struct preset_value *value = presets[section->preset - 1].values;
	char problem[OPTION_PROBLEM_MAX];
	int r = 0;

	for (; value->key && r == 0; value++) {
		const struct option *option = option_find(value->key, false);
		size_t row = (size_t)(option - option_table);

		if (!(section->given[row / 8] >> row % 8 & 1))
			r = set_value(option, section, value->value, NULL, problem);
	}
	assert(r != -EINVAL); /* the presets are ours */
	return r;
}

static int set_default(const struct option *option, void *target)
{
	char problem[OPTION_PROBLEM_MAX];
	int r = set_value(option, target, option->fallback, NULL, problem);

	assert(r != -EINVAL); /* the table is ours */
	return r;
}

int options_begin(void *target, bool in_daemon)
{
	int r = 0;

	for (size_t i = 0; i < option_rows && r == 0; i++) {
		const struct option *option = &option_table[i];

		if (option->in_daemon == in_daemon && option->fallback && !option_is_list(option))
			r = set_default(option, target);
	}
	return r;
}

int options_end(void *target, bool in_daemon)
{
	int r = !in_daemon && ((struct section *)target)->preset ? apply_preset(target) : 0;

	for (size_t i = 0; i < option_rows && r == 0; i++) {
		const struct option *option = &option_table[i];

		if (option->in_daemon == in_daemon && option->fallback && option_is_list(option) &&
		    !*(char ***)option_field(option, target))
			r = set_default(option, target);
	}
	return r;
}

void options_done(void *target, bool in_daemon)
{
	for (size_t i = 0; i < option_rows; i++) {
		const struct option *option = &option_table[i];

		if (option->in_daemon == in_daemon && option->type->done)
			option->type->done(option_field(option, target));
	}
}

bool option_equal(const struct option *option, const void *a, const void *b)
{
	return option->type->equal((const char *)a + option->offset,
				   (const char *)b + option->offset);
}

/* --- unknown keys -------------------------------------------------------------------------- */

enum { KEY_MAX = 24 };

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many characters must be put in, left out, changed, or changed places with their neighbour. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[KEY_MAX + 1][KEY_MAX + 1];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > KEY_MAX || b_len > KEY_MAX)
		return KEY_MAX;
	for (unsigned i = 0; i <= a_len; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= b_len; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		for (size_t j = 1; j <= b_len; j++) {
			d[i][j] = least(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
					least(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[a_len][b_len];
}

static const char *nearest_key(const char *key, bool in_daemon)
{
	unsigned best = (unsigned)least((unsigned)strlen(key) / 3, 3) + 1;
	const char *nearest = NULL;

	for (size_t i = 0; i < option_rows; i++) {
		unsigned far = distance(key, option_table[i].name);

		if (option_table[i].in_daemon == in_daemon && far < best) {
			best = far;
			nearest = option_table[i].name;
		}
	}
	return nearest;
}

void option_unknown(const char *key, bool in_daemon, char problem[OPTION_PROBLEM_MAX])
{
	const char *nearest = nearest_key(key, in_daemon);

	if (option_find(key, !in_daemon))
		value_bad(problem, "key '%s' belongs into %s", key,
		    in_daemon ? "a connection's section, not into [daemon]" : "section [daemon]");
	else if (nearest)
		value_bad(problem, "unknown key '%.64s' (did you mean '%s'?)", key, nearest);
	else
		value_bad(problem, "unknown key '%.64s'", key);
}
