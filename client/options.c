/* options - see options.h.  To add an option, add a row. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "codec/frame.h"
#include "codec/url.h"
#include "print.h"
#include "proxyenv.h"

enum { FOR_ALL = -1 };

enum kind {
	FLAG,    /* a bool that becomes true */
	TEXT,    /* a string */
	COUNT,   /* a number from 1 on */
	TIME,    /* milliseconds */
	SETTING, /* a key of the configuration, called .key there */
};

struct row {
	const char *name; /* without its hyphens; NULL: there is only the letter */
	char letter;      /* or 0 */
	enum kind kind;
	size_t offset;           /* in struct options; SETTING: none */
	int commands;            /* FOR_... */
	const char *value;       /* what is written behind it; NULL: nothing */
	const char *fixed;       /* ... and its value then (not for flags) */
	const char *key;         /* SETTING */
	const char *const *list; /* TEXT: all that may be written */
	const char *help;        /* NULL: not shown (a second name) */
};

static const char *const type_words[] = {"text", "binary", NULL};
static const char *const until_words[] = {"open", "closed", "message", NULL};

enum { FOR_STREAMS = FOR_SEND | FOR_RECV | FOR_CAT | FOR_EXEC | FOR_REQUEST };
enum {
	FOR_WAITING =
		FOR_SEND | FOR_RECV | FOR_CAT | FOR_WAIT | FOR_CLOSE | FOR_STOP | FOR_REQUEST
};

#define AT(field) offsetof(struct options, field)

/* clang-format off */
static const struct row rows[] = {
	{"json", 0, FLAG, AT(json), FOR_LS | FOR_STATUS | FOR_CURSOR, .help = "print JSON"},
	{"count", 'n', COUNT, AT(count), FOR_RECV, "COUNT",
	 .help = "end after so many messages (also -C)"},
	{NULL, 'C', COUNT, AT(count), FOR_RECV, "COUNT", .help = NULL},
	{"prometheus", 0, FLAG, AT(prometheus), FOR_STATS, .help = "print text for Prometheus"},
	{"count", 'n', COUNT, AT(count), FOR_TOP, "COUNT", .help = "end after so many tables"},
	{"interval", 0, TIME, AT(interval_ms), FOR_TOP, "TIME", .help = "between them (default: 1s)"},
	{"count", 'C', COUNT, AT(count), FOR_CAT, "COUNT", .help = "end after so many messages"},
	{NULL, '1', COUNT, AT(count), FOR_CAT, .fixed = "1", .help = "the same as -C 1"},
	{"cursor", 0, TEXT, AT(cursor), FOR_RECV, "C",
	 .help = "from where cursor C stands, to what there is; it moves"},
	{"last", 0, COUNT, AT(last), FOR_RECV, "N", .help = "begin with the last N that are kept"},
	{"since", 0, TEXT, AT(since), FOR_RECV, "WHEN",
	 .help = "begin with those kept since then: 10min, 14:05, 2026-11-20T14:05Z"},
	{"follow", 0, FLAG, AT(follow), FOR_RECV,
	 .help = "go on for ever (the default but with --cursor)"},
	{"no-follow", 0, FLAG, AT(no_follow), FOR_RECV, .help = "end with what is there now"},
	{"strict", 0, FLAG, AT(strict), FOR_RECV, .help = "end with 1 when messages were missed"},
	{"framing", 0, TEXT, AT(framing), FOR_STREAMS, "F", .list = framing_names,
	 .help = "line (default), nul, length, json or raw"},
	{"json", 0, TEXT, AT(framing), FOR_RECV, .fixed = "json", .help = "the same as --framing json"},
	{"time", 0, FLAG, AT(stamp), FOR_RECV, .help = "put the time of receipt ahead of each message"},
	{"type", 0, TEXT, AT(type), FOR_STREAMS, "TYPE", .list = type_words,
	 .help = "text or binary; default: the connection's"},
	{NULL, 'q', TIME, AT(quiet_ms), FOR_CAT, "TIME", .help = "wait so long at the end of input"},
	{NULL, 'n', FLAG, AT(stay_open), FOR_CAT, .help = "never close at the end of input"},
	{"for", 0, TEXT, AT(until), FOR_WAIT, "WHAT", .list = until_words,
	 .help = "open (default), closed or message"},
	{"ordered", 0, FLAG, AT(ordered), FOR_REQUEST, .help = "print replies in the order of requests"},
	{"field", 0, TEXT, AT(field), FOR_REQUEST, "POINTER",
	 .help = "print this member of a reply, unquoted (/result/status)"},
	{"raw-id", 0, FLAG, AT(raw_id), FOR_REQUEST, .help = "send ids as they are"},
	{"no-queue", 0, FLAG, AT(no_queue), FOR_SEND | FOR_CAT | FOR_EXEC | FOR_REQUEST,
	 .help = "fail (5) when the connection is not open"},
	{"confirm", 0, FLAG, AT(confirm), FOR_SEND,
	 .help = "return when the server is known to have read all"},
	{"timeout", 'm', TIME, AT(timeout_ms), FOR_WAITING, "TIME",
	 .help = "give up then, with status 124"},
	{"no-daemon", 0, FLAG, AT(no_daemon), FOR_SETTINGS,
	 .help = "start no daemon (3 when none answers)"},
	{"config", 0, TEXT, AT(config), FOR_CHECK, "FILE", .help = "check this file instead"},

	{NULL, 'H', SETTING, 0, FOR_SETTINGS, "'NAME: VALUE'", .key = "header", .help = "--header"},
	{NULL, 'u', SETTING, 0, FOR_SETTINGS, "NAME:PASSWORD", .key = "user", .help = "--user"},
	{NULL, 'b', SETTING, 0, FOR_SETTINGS, "COOKIES", .key = "cookie", .help = "--cookie"},
	{NULL, 'k', SETTING, 0, FOR_SETTINGS, .fixed = "yes", .key = "insecure", .help = "--insecure"},
	{NULL, 'x', SETTING, 0, FOR_SETTINGS, "PROXY", .key = "proxy", .help = "--proxy"},
	{NULL, '4', SETTING, 0, FOR_SETTINGS, .fixed = "ipv4", .key = "address-family",
	 .help = "--address-family ipv4"},
	{NULL, '6', SETTING, 0, FOR_SETTINGS, .fixed = "ipv6", .key = "address-family",
	 .help = "--address-family ipv6"},
	{"insecure", 0, SETTING, 0, FOR_SETTINGS, .fixed = "yes", .key = "insecure"},
	{"batch", 0, SETTING, 0, FOR_SETTINGS, .fixed = "yes", .key = "batch"},
	{"persist", 0, SETTING, 0, FOR_SETTINGS, .fixed = "yes", .key = "persist"},
	{"resend", 0, SETTING, 0, FOR_SETTINGS, .fixed = "yes", .key = "resend"},

	{"runtime-dir", 0, TEXT, AT(runtime_dir), FOR_ALL, "DIR", .help = "of the daemon to talk to"},
	{"help", 'h', FLAG, AT(help), FOR_ALL, .help = "show this"},
	{"version", 'V', FLAG, AT(version), FOR_ALL, .help = NULL},
};
/* clang-format on */

/* --- values --------------------------------------------------------------------------------- */

/* A number with or without a fraction, and a unit. */
static int parse_time(const char *text, int64_t *ret_ms)
{
	static const struct {
		const char *name;
		double factor;
	} units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"min", 60000}, {"h", 3600000}};
	size_t digits = strspn(text, "0123456789"), len = digits;

	if (text[len] == '.') {
		size_t fraction = strspn(text + len + 1, "0123456789");

		digits += fraction;
		len += 1 + fraction;
	}
	if (digits == 0 || len > 15)
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(text + len, units[i].name) == 0) {
			double ms = strtod(text, NULL) * units[i].factor;

			*ret_ms = ms > 0 && ms < 1 ? 1 : ms > 1e14 ? (int64_t)1e14 : (int64_t)ms;
			return 0;
		}
	}
	return -1;
}

static int parse_count(const char *text, uint64_t *ret)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 18 || text[digits])
		return -1;
	*ret = strtoull(text, NULL, 10);
	return *ret ? 0 : -1;
}

static bool is_listed(const char *const *list, const char *text)
{
	for (; *list; list++) {
		if (strcmp(*list, text) == 0)
			return true;
	}
	return false;
}

static int bad_value(const char *shown, const char *value, const char *why)
{
	say(NULL, "%s: '%s' %s", shown, value, why);
	return -1;
}

static int bad_word(const struct row *row, const char *shown, const char *value)
{
	char why[128] = "is not one of";
	size_t used = strlen(why);

	for (size_t i = 0; row->list[i] && used < sizeof(why); i++)
		used += (size_t)snprintf(why + used, sizeof(why) - used, "%s %s", i ? "," : "",
					 row->list[i]);
	return bad_value(shown, value, why);
}

static int add_setting(struct options *options, const char *key, const char *value)
{
	struct setting *settings = reallocarray(options->settings, options->settings_n + 1,
						sizeof(*settings));

	if (!settings) {
		say(NULL, "no memory");
		return -1;
	}
	options->settings = settings;
	settings[options->settings_n++] = (struct setting){.key = key, .value = value};
	return 0;
}

/* SHOWN: the option as the user wrote it. */
static int set(struct options *options, const struct row *row, const char *shown, const char *value)
{
	void *field = (char *)options + row->offset;

	switch (row->kind) {
	case FLAG:
		*(bool *)field = true;
		return 0;
	case TEXT:
		if (row->list && !is_listed(row->list, value))
			return bad_word(row, shown, value);
		*(const char **)field = value;
		return 0;
	case COUNT:
		return parse_count(value, field) == 0
			       ? 0
			       : bad_value(shown, value, "is not a number from 1 on");
	case TIME:
		return parse_time(value, field) == 0
			       ? 0
			       : bad_value(shown, value,
					   "is not a time (seconds, or with ms, s, min or h behind it)");
	case SETTING:
		return add_setting(options, row->key, value);
	}
	return -1;
}

/* --- the line ------------------------------------------------------------------------------- */

struct line {
	struct options *options;
	unsigned command; /* 0: ahead of its name */
	char **argv;
	int argc, at;
};

static bool row_is_for(const struct row *row, unsigned command)
{
	return row->commands == FOR_ALL || ((unsigned)row->commands & command);
}

static const struct row *find_name(unsigned command, const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (rows[i].name && row_is_for(&rows[i], command) &&
		    strlen(rows[i].name) == len && strncmp(rows[i].name, name, len) == 0)
			return &rows[i];
	}
	return NULL;
}

static const struct row *find_letter(unsigned command, char letter)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (rows[i].letter == letter && row_is_for(&rows[i], command))
			return &rows[i];
	}
	return NULL;
}

/* The next argument as the value of SHOWN; NULL: there is none, and that was told. */
static const char *next_value(struct line *line, const char *shown)
{
	if (line->at + 1 < line->argc)
		return line->argv[++line->at];
	say(NULL, "%s needs a value", shown);
	return NULL;
}

static int unknown(const char *shown)
{
	say(NULL, "unknown option %s (--help shows what there is)", shown);
	return -1;
}

/* --KEY VALUE or --KEY=VALUE of the configuration.  KEY is cut off in argv itself. */
static int take_setting(struct line *line, char *argument, char *equals)
{
	const char *value;

	if (equals)
		*equals = '\0';
	value = equals ? equals + 1 : next_value(line, argument);
	if (!value)
		return -1;
	return add_setting(line->options, argument + 2, value);
}

static int take_long(struct line *line)
{
	char *argument = line->argv[line->at], *equals = strchr(argument, '=');
	size_t len = equals ? (size_t)(equals - argument) - 2 : strlen(argument + 2);
	const struct row *row = find_name(line->command, argument + 2, len);
	const char *value;

	if (!row || (row->kind == SETTING && equals)) /* --insecure=no */
		return len && (line->command & FOR_SETTINGS) ? take_setting(line, argument, equals)
							     : unknown(argument);
	if (!row->value && equals) {
		say(NULL, "--%s takes no value", row->name);
		return -1;
	}
	value = !row->value ? row->fixed : equals ? equals + 1 : next_value(line, argument);
	if (row->value && !value)
		return -1;
	return set(line->options, row, argument, value);
}

/* -k4, -n5, -n 5 */
static int take_letters(struct line *line)
{
	const char *letters = line->argv[line->at] + 1;

	for (; *letters; letters++) {
		const struct row *row = find_letter(line->command, *letters);
		char shown[3] = {'-', *letters, '\0'};
		const char *value;

		if (!row)
			return unknown(shown);
		if (!row->value) {
			if (set(line->options, row, shown, row->fixed) < 0)
				return -1;
			continue;
		}
		value = letters[1] ? letters + 1 : next_value(line, shown);
		return value ? set(line->options, row, shown, value) : -1;
	}
	return 0;
}

static int take_rest(struct line *line)
{
	struct options *options = line->options;

	if (line->command == FOR_EXEC) {
		options->command = line->argv + line->at + 1;
		return 0;
	}
	while (++line->at < line->argc)
		options->words[options->words_n++] = line->argv[line->at];
	return 0;
}

static bool is_option(const char *argument)
{
	return argument[0] == '-' && argument[1];
}

/* 1: "--", the rest is taken. */
static int take_option(struct line *line)
{
	const char *argument = line->argv[line->at];

	if (argument[1] != '-')
		return take_letters(line);
	if (argument[2])
		return take_long(line);
	return take_rest(line) < 0 ? -1 : 1;
}

int options_begin(struct options *options, int argc, char **argv)
{
	struct line line = {.options = options, .argv = argv, .argc = argc, .at = 1};

	*options = (struct options){.timeout_ms = -1, .quiet_ms = -1};
	options->words = calloc((size_t)argc + 1, sizeof(*options->words));
	if (!options->words) {
		say(NULL, "no memory");
		return -1;
	}
	for (; line.at < argc && is_option(argv[line.at]); line.at++) {
		if (strcmp(argv[line.at], "--") == 0)
			return line.at + 1;
		if (take_option(&line) < 0)
			return -1;
	}
	return line.at;
}

int options_parse(struct options *options, unsigned command, int argc, char **argv)
{
	struct line line = {.options = options, .command = command, .argv = argv, .argc = argc};
	int r;

	for (; line.at < argc; line.at++) {
		if (!is_option(argv[line.at])) {
			options->words[options->words_n++] = argv[line.at];
			continue;
		}
		r = take_option(&line);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return 0;
}

static struct setting *find_setting(struct options *options, const char *key)
{
	for (size_t i = 0; i < options->settings_n; i++) {
		if (strcmp(options->settings[i].key, key) == 0)
			return &options->settings[i];
	}
	return NULL;
}

int options_find_proxy(struct options *options)
{
	const char *word = options->words_n ? options->words[options->words_n - 1] : "";
	struct setting *given = find_setting(options, "proxy");
	const char *found, *problem;
	struct url url;

	if (given && strcmp(given->value, "env") != 0)
		return 0;
	if (url_parse(&url, word, &problem) < 0) /* a name; or what is wrong is told later */
		return 0;
	found = proxyenv_find(&url);
	url_done(&url);
	if (given)
		given->value = found ? found : "none";
	return found && !given ? add_setting(options, "proxy", found) : 0;
}

void options_done(struct options *options)
{
	for (size_t i = 0; i < options->settings_n; i++)
		wipe_free(options->settings[i].made);
	for (size_t i = 0; i < OPTIONS_URLS; i++)
		wipe_free(options->hidden[i]);
	free(options->words);
	free(options->settings);
}

/* --- help ----------------------------------------------------------------------------------- */

static void print_row(FILE *file, const struct row *row)
{
	char left[40];
	int used = 0;

	if (row->letter)
		used = snprintf(left, sizeof(left), "-%c%s", row->letter, row->name ? ", " : "");
	if (row->name)
		used += snprintf(left + used, sizeof(left) - (size_t)used, "--%s", row->name);
	if (row->value)
		snprintf(left + used, sizeof(left) - (size_t)used, " %s", row->value);
	fprintf(file, "  %-22s %s\n", left, row->help);
}

void options_print(FILE *file, unsigned command)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (rows[i].help && row_is_for(&rows[i], command))
			print_row(file, &rows[i]);
	}
	if (command & FOR_SETTINGS)
		fprintf(file, "  %-22s %s\n", "--KEY VALUE", "any key of wspipe.conf(5)");
}
