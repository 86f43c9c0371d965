/* options - see the header.  The table stands in the middle: above it the types and the checks that
 * its rows name, below it what is done with rows.  To add an option, add a row. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/strv.h"
#include "codec/deflate.h"
#include "codec/frame.h"
#include "codec/http.h"
#include "codec/json.h"
#include "codec/url.h"
#include "codec/utf8.h"
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

struct option_type {
	bool is_list;
	/* VALUE is not empty; on -EINVAL, PROBLEM is a phrase to be put behind it. */
	int (*set)(const struct option *option, void *field, const char *value, const char *dir,
		   char *problem);
	bool (*equal)(const void *a, const void *b);
	void (*done)(void *field); /* NULL: nothing to free */
};

__attribute__((format(printf, 2, 3))) static int bad(char *problem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem, OPTION_PROBLEM_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

static int check_value(const struct option *option, const char *value, char *problem)
{
	const char *why = "bad value";
	int r;

	if (!option->check)
		return 0;
	r = option->check(value, &why);
	return r == -EINVAL ? bad(problem, "%s", why) : r;
}

/* The place of VALUE in the words of this row, or -EINVAL and a list of them. */
static int find_word(const struct option *option, const char *value, char *problem)
{
	size_t used;

	for (int i = 0; option->words[i]; i++)
		if (strcmp(option->words[i], value) == 0)
			return i;
	used = (size_t)snprintf(problem, OPTION_PROBLEM_MAX, "is not one of");
	for (int i = 0; option->words[i] && used < OPTION_PROBLEM_MAX; i++)
		used += (size_t)snprintf(problem + used, OPTION_PROBLEM_MAX - used, "%s %s",
					 i ? "," : "", option->words[i]);
	return -EINVAL;
}

/* --- strings, file names ------------------------------------------------------------------- */

static int replace_string(char **field, char *fresh)
{
	if (!fresh)
		return -ENOMEM;
	wipe_free(*field);
	*field = fresh;
	return 0;
}

static int set_string(const struct option *option, void *field, const char *value, const char *dir,
		      char *problem)
{
	int r = check_value(option, value, problem);

	(void)dir;
	return r < 0 ? r : replace_string(field, strdup(value));
}

static int set_path(const struct option *option, void *field, const char *value, const char *dir,
		    char *problem)
{
	char *joined;

	(void)option;
	if (*value == '/')
		return replace_string(field, strdup(value));
	if (!dir)
		return bad(problem, "must begin with /");
	if (asprintf(&joined, "%s/%s", dir, value) < 0)
		return -ENOMEM;
	return replace_string(field, joined);
}

/* A relative name is that of a credential first (systemd.exec(5)).  Those are all there before we
 * start, and stay, so that it can be decided now. */
static int set_secret_path(const struct option *option, void *field, const char *value,
			   const char *dir, char *problem)
{
	const char *credentials = *value == '/' ? NULL : getenv("CREDENTIALS_DIRECTORY");
	char *joined;

	if (!credentials || *credentials != '/')
		return set_path(option, field, value, dir, problem);
	if (asprintf(&joined, "%s/%s", credentials, value) < 0)
		return -ENOMEM;
	if (access(joined, F_OK) == 0)
		return replace_string(field, joined);
	free(joined);
	return set_path(option, field, value, dir, problem);
}

static bool equal_string(const void *a, const void *b)
{
	const char *one = *(char *const *)a, *other = *(char *const *)b;

	return one && other ? strcmp(one, other) == 0 : one == other;
}

static void done_string(void *field)
{
	*(char **)field = wipe_free(*(char **)field);
}

/* --- lists: one item a line, or words in one line ------------------------------------------- */

static int set_list(const struct option *option, void *field, const char *value, const char *dir,
		    char *problem)
{
	int r = check_value(option, value, problem);

	(void)dir;
	return r < 0 ? r : strv_append(field, value);
}

static int append_word(const struct option *option, char ***list, const char *word, char *problem)
{
	char why[OPTION_PROBLEM_MAX];
	int r = option->words ? find_word(option, word, why) : check_value(option, word, why);

	if (r >= 0 && strv_contains(*list, word))
		r = bad(why, "has been named before");
	if (r == -EINVAL)
		return bad(problem, "has '%.60s', which %.400s", word, why);
	return r < 0 ? r : strv_append(list, word);
}

/* Into a copy, so that a bad word behind good ones leaves the list as it was. */
static int set_words(const struct option *option, void *field, const char *value, const char *dir,
		     char *problem)
{
	cleanup_free char *words = strdup(value);
	char **list = NULL, *rest = NULL;
	int r;

	(void)dir;
	if (!words)
		return -ENOMEM;
	r = strv_copy(&list, *(char **const *)field);
	for (char *word = strtok_r(words, " \t,", &rest); r >= 0 && word;
	     word = strtok_r(NULL, " \t,", &rest))
		r = append_word(option, &list, word, problem);
	if (r >= 0 && strv_len(list) == strv_len(*(char **const *)field))
		r = bad(problem, "is empty");
	if (r < 0) {
		strv_free(list);
		return r;
	}
	strv_free(*(char ***)field);
	*(char ***)field = list;
	return 0;
}

static bool equal_list(const void *a, const void *b)
{
	return strv_equal(*(char **const *)a, *(char **const *)b);
}

static void done_list(void *field)
{
	*(char ***)field = strv_free(*(char ***)field);
}

/* --- yes and no, words --------------------------------------------------------------------- */

static int set_boolean(const struct option *option, void *field, const char *value, const char *dir,
		       char *problem)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	(void)option;
	(void)dir;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strcasecmp(words[i], value) == 0) {
			*(bool *)field = i & 1;
			return 0;
		}
	}
	return bad(problem, "must be yes or no");
}

static bool equal_boolean(const void *a, const void *b)
{
	return *(const bool *)a == *(const bool *)b;
}

static int set_word(const struct option *option, void *field, const char *value, const char *dir,
		    char *problem)
{
	int r = find_word(option, value, problem);

	(void)dir;
	if (r < 0)
		return r;
	*(int *)field = option->first + r;
	return 0;
}

/* syslog's numbers do not follow one another */
static int set_level(const struct option *option, void *field, const char *value, const char *dir,
		     char *problem)
{
	int r = find_word(option, value, problem);

	(void)dir;
	if (r < 0)
		return r;
	*(int *)field = log_level_from_name(value);
	return 0;
}

static bool equal_int(const void *a, const void *b)
{
	return *(const int *)a == *(const int *)b;
}

/* --- sizes and times ----------------------------------------------------------------------- */

struct unit {
	const char *name;
	uint64_t factor;
};

/* The largest first, so that the first that divides a number is the one to write it with. */
static const struct unit size_units[] = {
	{"G", 1 << 30},   {"M", 1 << 20},   {"K", 1 << 10},   {"", 1},
	{"B", 1},         {"GB", 1 << 30},  {"MB", 1 << 20},  {"KB", 1 << 10},
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {NULL, 0},
};
static const struct unit time_units[] = {
	{"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}, {NULL, 0},
};

static const uint64_t size_max = (uint64_t)1 << 60;
static const uint64_t time_max_ms = (uint64_t)1000 * 24 * 3600000; /* nobody waits longer */

static const struct unit *find_unit(const struct unit *units, const char *text)
{
	for (; units->name; units++)
		if (strcasecmp(units->name, text) == 0)
			return units;
	return NULL;
}

/* At most MOST digits count; nine behind the point times the largest factor fit into 64 bits. */
static const char *read_digits(const char *text, unsigned most, uint64_t *ret, uint64_t *ret_scale)
{
	*ret = 0;
	*ret_scale = 1;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (most == 0)
			continue;
		most--;
		*ret = *ret * 10 + (uint64_t)(*text - '0');
		*ret_scale *= 10;
	}
	return text;
}

/* NUMBER[.FRACTION][ ]UNIT; a fraction of the smallest unit is rounded up, so that what is not 0
 * does not become 0, which often means "off". */
static int parse_quantity(const char *text, const struct unit *units, bool fractions, uint64_t *ret)
{
	uint64_t whole, fraction = 0, scale = 1, ignored;
	const struct unit *unit;
	const char *end = read_digits(text, 18, &whole, &ignored);
	uint64_t sum;

	if (end == text || end - text > 18)
		return -EINVAL;
	if (fractions && end[0] == '.' && end[1] >= '0' && end[1] <= '9')
		end = read_digits(end + 1, 9, &fraction, &scale);
	unit = find_unit(units, end + strspn(end, " \t"));
	if (!unit)
		return -EINVAL;
	if (__builtin_mul_overflow(whole, unit->factor, &sum) ||
	    __builtin_add_overflow(sum, (fraction * unit->factor + scale - 1) / scale, &sum))
		sum = UINT64_MAX;
	*ret = sum;
	return 0;
}

static int check_range(const struct option *option, uint64_t value, const struct unit *units,
		       uint64_t type_max, char *problem)
{
	uint64_t max = option->max ? option->max : type_max;
	uint64_t bound = value < option->min ? option->min : max;

	if (value >= option->min && value <= max)
		return 0;
	while (bound % units->factor)
		units++;
	return bad(problem, "must be at %s %llu%s", value < option->min ? "least" : "most",
		   (unsigned long long)(bound / units->factor), units->name);
}

static int set_size(const struct option *option, void *field, const char *value, const char *dir,
		    char *problem)
{
	uint64_t bytes;
	int r;

	(void)dir;
	if (parse_quantity(value, size_units, false, &bytes) < 0)
		return bad(problem, "is not a size (bytes, or a number with K, M or G behind it)");
	r = check_range(option, bytes, size_units, size_max, problem);
	if (r == 0)
		*(uint64_t *)field = bytes;
	return r;
}

static int set_time(const struct option *option, void *field, const char *value, const char *dir,
		    char *problem)
{
	uint64_t ms;
	int r;

	(void)dir;
	if (parse_quantity(value, time_units, true, &ms) < 0)
		return bad(problem,
			   "is not a time (seconds, or a number with ms, s, min or h behind it)");
	r = check_range(option, ms, time_units, time_max_ms, problem);
	if (r == 0)
		*(uint64_t *)field = ms;
	return r;
}

static int set_count(const struct option *option, void *field, const char *value, const char *dir,
		     char *problem)
{
	static const struct unit none[] = {{"", 1}, {NULL, 0}};
	uint64_t number;
	int r;

	(void)dir;
	if (parse_quantity(value, none, false, &number) < 0)
		return bad(problem, "is not a number");
	r = check_range(option, number, none, UINT64_MAX, problem);
	if (r == 0)
		*(uint64_t *)field = number;
	return r;
}

static bool equal_number(const void *a, const void *b)
{
	return *(const uint64_t *)a == *(const uint64_t *)b;
}

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

/* is it a list, text into it, do two differ, free it */
static const struct option_type string = {false, set_string, equal_string, done_string};
static const struct option_type path = {false, set_path, equal_string, done_string};
static const struct option_type secret_path = {false, set_secret_path, equal_string, done_string};
static const struct option_type list = {true, set_list, equal_list, done_list};
static const struct option_type words = {true, set_words, equal_list, done_list};
static const struct option_type boolean = {false, set_boolean, equal_boolean, NULL};
static const struct option_type word = {false, set_word, equal_int, NULL};
static const struct option_type level = {false, set_level, equal_int, NULL};
static const struct option_type size = {false, set_size, equal_number, NULL};
static const struct option_type count = {false, set_count, equal_number, NULL};
static const struct option_type time_ms = {false, set_time, equal_number, NULL};

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
	{"url", &string, CONN(url), NULL, REDIAL,
	 .help = "where to connect: ws://, wss:// or ws+unix:", .check = check_url, .show = show_url},
	{"header", &list, REQUEST(headers), NULL, REDIAL,
	 .help = "header line of the handshake", .check = upgrade_check_header, .show = show_header},
	{"header-file", &secret_path, CONN(credentials.header_file), NULL, REDIAL,
	 .help = "file of further header lines"},
	{"token-file", &secret_path, CONN(credentials.token_file), NULL, REDIAL,
	 .help = "file whose content takes the place of @token@"},
	{"token-command", &string, CONN(credentials.token_command), NULL, REDIAL,
	 .help = "command whose output takes the place of @token@", .show = show_nothing},
	{"user", &string, REQUEST(user), NULL, REDIAL,
	 .help = "name:password for Basic authentication", .check = check_user, .show = show_nothing},
	{"origin", &string, REQUEST(origin), NULL, REDIAL,
	 .help = "Origin header", .check = check_field},
	{"user-agent", &string, REQUEST(user_agent), DEFAULT_AGENT, REDIAL,
	 .help = "User-Agent header", .check = check_field},
	{"cookie", &string, REQUEST(cookie), NULL, REDIAL,
	 .help = "Cookie header", .check = check_field, .show = show_nothing},
	{"subprotocol", &words, REQUEST(subprotocols), NULL, REDIAL,
	 .help = "subprotocols to offer, in order of preference", .check = upgrade_check_subprotocol},
	{"cacert", &path, TLS(cacert), NULL, REDIAL, .help = "file of certificates to trust"},
	{"capath", &path, TLS(capath), NULL, REDIAL, .help = "directory of certificates to trust"},
	{"cert", &path, TLS(cert), NULL, REDIAL, .help = "file of our own certificate"},
	{"key", &path, TLS(key), NULL, REDIAL, .help = "file of the certificate's key"},
	{"server-name", &string, TLS(server_name), NULL, REDIAL,
	 .help = "name to ask for and to verify instead of the url's", .check = check_server_name},
	{"tls-min", &word, TLS(tls_min), "1.2", REDIAL, .help = "oldest TLS version", .words = tls_words},
	{"insecure", &boolean, TLS(insecure), "no", REDIAL, .help = "do not verify the server"},
	{"pin", &words, TLS(pins), NULL, REDIAL,
	 .help = "public key that the server must have: sha256//BASE64", .check = pin_check},
	{"connect-to", &string, CONN(dial.connect_to), NULL, REDIAL,
	 .help = "host:port to dial instead of the url's", .check = check_connect_to},
	{"proxy", &string, CONN(dial.proxy), "none", REDIAL,
	 .help = "proxy to go through: http://, socks5:// or socks5h://", .check = proxy_check,
	 .show = show_url},
	{"address-family", &word, CONN(dial.address_family), "any", REDIAL,
	 .help = "kind of addresses to use", .words = family_words},
	{"compress", &word, REQUEST(compress), "receive", REDIAL,
	 .help = "which way messages may be compressed", .words = compress_words, .first = DEFLATE_NO},
	/* the endpoints' decoders have it as their bound */
	{"max-message", &size, CONN(ws.max_message_bytes), "16M", REDIAL | ENDPOINTS,
	 .help = "longest message", .min = 1, .max = INT32_MAX},
	{"connect-timeout", &time_ms, CONN(connect_timeout_ms), "20s", LIVE,
	 .help = "longest time from the look-up of the name to the end of the handshake", .min = 1},
	{"max-redirects", &count, CONN(max_redirects), "0", LIVE,
	 .help = "how many redirects of the server are followed in one attempt", .max = REDIRECT_MAX},
	{"close-timeout", &time_ms, CONN(close_timeout_ms), "5s", LIVE,
	 .help = "longest time that closing may take", .min = 1},
	{"ping-interval", &time_ms, CONN(ping_interval_ms), "25s", LIVE,
	 .help = "time between pings; 0 turns them off"},
	{"ping-timeout", &time_ms, CONN(ping_timeout_ms), "20s", LIVE,
	 .help = "longest time without an answer to a ping; 0: for ever"},
	{"reconnect", &word, CONN(reconnect), "always", LIVE,
	 .help = "when to connect again", .words = reconnect_words},
	{"reconnect-delay", &time_ms, CONN(reconnect_delay_ms), "1s", LIVE,
	 .help = "upper bound of the first wait; it doubles with each attempt", .min = 1},
	{"reconnect-max", &time_ms, CONN(reconnect_max_ms), "60s", LIVE,
	 .help = "upper bound of all waits", .min = 1},
	{"on-open", &list, CONN(on_open), NULL, LIVE,
	 .help = "message to send first at each open", .show = show_nothing},
	{"on-open-file", &secret_path, CONN(credentials.on_open_file), NULL, LIVE,
	 .help = "file of further messages to send first, one a line"},
	{"login", &string, CONN(opening.login), NULL, LIVE,
	 .help = "command that talks to the server before the connection is open", .show = show_nothing},
	{"expect", &list, CONN(opening.expect), NULL, LIVE,
	 .help = "what must be received behind each on-open", .check = opening_check_expect},
	{"framing", &word, ENDPOINT(framing), "line", ENDPOINTS,
	 .help = "how messages stand in in, out, sock and last", .words = framing_names},
	{"type", &word, CONN(type), "text", ENDPOINTS,
	 .help = "kind of the messages that are sent", .words = type_words, .first = MSG_TEXT},
	{"endpoints", &words, ENDPOINT(endpoints), DEFAULT_ENDPOINTS, ENDPOINTS,
	 .help = "what is made in the connection's directory", .words = endpoint_names},
	{"file", &path, ENDPOINT(file), NULL, ENDPOINTS,
	 .help = "regular file that messages are appended to"},
	{"file-max", &size, ENDPOINT(file_max_bytes), "64M", LIVE,
	 .help = "bytes of file before it is rotated; 0: never"},
	{"file-keep", &count, ENDPOINT(file_keep), "5", LIVE,
	 .help = "rotated files that are kept", .max = 10000},
	{"latest", &string, ENDPOINT(latest), NULL, ENDPOINTS,
	 .help = "member of which each value has a file with its newest message", .check = check_pointer},
	{"latest-max", &count, ENDPOINT(latest_max), "1000", ENDPOINTS,
	 .help = "files in latest; for one more the oldest goes", .min = 1, .max = 1000000},
	{"batch", &boolean, ENDPOINT(batch), "no", ENDPOINTS,
	 .help = "let out and drain fill their pipes"},
	{"access", &list, ENDPOINT(access), NULL, ENDPOINTS,
	 .help = "user or group that may use the connection's files", .check = check_access},
	{"on-message", &string, offsetof(struct section, hooks.on_message), NULL, LIVE,
	 .help = "command to run for each message received", .show = show_nothing},
	{"on-state", &string, offsetof(struct section, hooks.on_state), NULL, LIVE,
	 .help = "command to run for each change of state", .show = show_nothing},
	{"keep", &size, CONN(spool.keep_bytes), "64M", LIVE,
	 .help = "bytes of received messages kept for readers that are behind", .min = 4096},
	{"keep-age", &time_ms, CONN(spool.keep_age_ms), NULL, LIVE,
	 .help = "longest time that a message is kept", .min = 1},
	{"persist", &boolean, CONN(persist), "no", LIVE,
	 .help = "keep messages and places of readers across restarts"},
	{"overflow", &word, CONN(spool.overflow), "drop", LIVE,
	 .help = "what to do when a reader falls behind by more than keep", .words = overflow_words},
	{"queue", &size, CONN(outbox.queue_bytes), "1M", LIVE,
	 .help = "bytes of messages waiting to be sent", .min = 1},
	{"queue-ttl", &time_ms, CONN(outbox.ttl_ms), NULL, LIVE,
	 .help = "longest time that a message may wait to be sent", .min = 1},
	{"resend", &boolean, CONN(resend), "no", LIVE,
	 .help = "after a lost connection send again what the server may not have read"},

	{"preset", &word, offsetof(struct section, preset), NULL, LIVE,
	 .help = "protocol whose requests and replies are known", .words = preset_names, .first = 1},
	{"id", &list, CONN(calls.id), NULL, LIVE,
	 .help = "where requests have their id: turns on matching of replies", .check = check_rule},
	{"reply-id", &list, CONN(calls.reply_id), NULL, LIVE,
	 .help = "where replies have it, if elsewhere", .check = check_rule},
	{"id-type", &word, CONN(calls.id_type), "auto", LIVE,
	 .help = "what ids are sent", .words = id_type_words},
	{"interim", &list, CONN(calls.interim), NULL, LIVE,
	 .help = "what a message holds that only acknowledges a request", .check = check_test},
	{"partial", &list, CONN(calls.partial), NULL, LIVE,
	 .help = "what a message holds that is a part of a reply", .check = check_test},
	{"not-reply", &list, CONN(calls.not_reply), NULL, LIVE,
	 .help = "what an event holds that has an id, too", .check = check_test},
	{"error-reply", &list, CONN(calls.error_reply), "/error", LIVE,
	 .help = "what a reply holds that is an error", .check = check_test},
	{"replies", &word, CONN(calls.replies), "asker", LIVE,
	 .help = "who gets replies: the asker alone, or out, last and cursors, too",
	 .words = replies_words},
	{"request-timeout", &time_ms, CONN(calls.timeout_ms), "30s", LIVE,
	 .help = "how long to wait for a reply"},

	{"log-level", &level, DAEMON(log_level), "info", LIVE,
	 .help = "how much is logged", .in_daemon = true, .words = level_words},
	{"memory", &size, DAEMON(memory_bytes), "1G", LIVE,
	 .help = "bound for the kept messages of all connections", .in_daemon = true, .min = 1 << 20},
	{"include", &list, DAEMON(include), NULL, LIVE,
	 .help = "pattern of further files", .in_daemon = true},
	{"access", &list, DAEMON(access), NULL, LIVE,
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
		return bad(problem, "%s has no value", option->name);
	r = option->type->set(option, option_field(option, target), value, dir, why);
	if (r != -EINVAL)
		return r;
	if (option->show)
		option->show(value, shown, sizeof(shown));
	else
		snprintf(shown, sizeof(shown), "%s", value);
	if (*shown)
		return bad(problem, "%s '%s' %.480s", option->name, shown, why);
	return bad(problem, "%s %.480s", option->name, why);
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
		bad(problem, "key '%s' belongs into %s", key,
		    in_daemon ? "a connection's section, not into [daemon]" : "section [daemon]");
	else if (nearest)
		bad(problem, "unknown key '%.64s' (did you mean '%s'?)", key, nearest);
	else
		bad(problem, "unknown key '%.64s'", key);
}

/* --- values that do not go together --------------------------------------------------------- */

static bool key_without_cert(const struct section *section, char *problem)
{
	const struct tls_options *tls = &section->conn.dial.tls;

	return tls->key && !tls->cert && bad(problem, "key given, but no cert that it belongs to");
}

static bool pin_without_tls(const struct section *section, char *problem)
{
	const struct conn_options *conn = &section->conn;

	return conn->dial.tls.pins && conn->url && strncasecmp(conn->url, "wss:", 4) != 0 &&
	       bad(problem, "pin needs a wss: url: without TLS nobody shows a key");
}

static bool connect_to_socket(const struct section *section, char *problem)
{
	const struct conn_options *conn = &section->conn;

	return conn->dial.connect_to && conn->url && strncasecmp(conn->url, "ws+unix:", 8) == 0 &&
	       bad(problem, "connect-to cannot be used with a ws+unix: url");
}

static bool proxy_to_socket(const struct section *section, char *problem)
{
	const struct conn_options *conn = &section->conn;

	return proxy_wanted(conn->dial.proxy) && conn->url &&
	       strncasecmp(conn->url, "ws+unix:", 8) == 0 &&
	       bad(problem, "proxy cannot be used with a ws+unix: url");
}

static bool two_tokens(const struct section *section, char *problem)
{
	const struct credentials_options *credentials = &section->conn.credentials;

	return credentials->token_file && credentials->token_command &&
	       bad(problem, "token-command and token-file cannot be used together");
}

static bool delay_above_max(const struct section *section, char *problem)
{
	return section->conn.reconnect_delay_ms > section->conn.reconnect_max_ms &&
	       bad(problem, "reconnect-delay is more than reconnect-max");
}

static bool greeting_not_text(const struct section *section, char *problem)
{
	char **greetings = section->conn.on_open;

	if (section->conn.type != MSG_TEXT)
		return false;
	for (size_t i = 0; greetings && greetings[i]; i++)
		if (!utf8_valid((const uint8_t *)greetings[i], strlen(greetings[i])))
			return bad(problem, "on-open number %zu is not UTF-8, as type = text needs",
				   i + 1);
	return false;
}

static bool greeting_too_long(const struct section *section, char *problem)
{
	char **greetings = section->conn.on_open;

	for (size_t i = 0; greetings && greetings[i]; i++)
		if (strlen(greetings[i]) > section->conn.ws.max_message_bytes)
			return bad(problem, "on-open number %zu is longer than max-message", i + 1);
	return false;
}

static bool replies_without_id(const struct section *section, char *problem)
{
	const struct calls_options *calls = &section->conn.calls;

	return !calls->id && (calls->reply_id || calls->interim || calls->partial || calls->not_reply) &&
	       bad(problem, "reply-id, interim, partial and not-reply need id, or preset");
}

static bool has_header(const struct section *section, const char *name)
{
	size_t len = strlen(name);
	char **line;

	strv_for_each(line, section->conn.ws.upgrade.headers)
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
			return bad(problem, "header '%s' is what key '%s' sets, too",
				   pairs[i].header, pairs[i].key);
	return false;
}

static bool file_without_name(const struct section *section, char *problem)
{
	return strv_contains(section->endpoint.endpoints, "file") && !section->endpoint.file &&
	       bad(problem, "endpoints has 'file', but key file does not say which one");
}

void options_check(const struct section *section,
		   void (*fault)(void *owner, const struct option *option, const char *problem),
		   void *owner)
{
	static const struct {
		const char *key; /* at whose line it is told */
		bool (*broken)(const struct section *section, char *problem);
	} rules[] = {
		{"key", key_without_cert},
		{"pin", pin_without_tls},
		{"connect-to", connect_to_socket},
		{"proxy", proxy_to_socket},
		{"token-command", two_tokens},
		{"reconnect-delay", delay_above_max},
		{"on-open", greeting_not_text},
		{"on-open", greeting_too_long},
		{"header", header_and_key},
		{"endpoints", file_without_name},
		{"reply-id", replies_without_id},
	};
	char problem[OPTION_PROBLEM_MAX];

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (rules[i].broken(section, problem))
			fault(owner, option_find(rules[i].key, false), problem);
}
