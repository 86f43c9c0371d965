/* values - see values.h. */
#include "service/values.h"

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
#include "service/options.h"

int value_bad(char *problem, const char *format, ...)
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
	return r == -EINVAL ? value_bad(problem, "%s", why) : r;
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
		return value_bad(problem, "must begin with /");
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
		r = value_bad(why, "has been named before");
	if (r == -EINVAL)
		return value_bad(problem, "has '%.60s', which %.400s", word, why);
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
		r = value_bad(problem, "is empty");
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
	return value_bad(problem, "must be yes or no");
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

/* syslog's numbers do not follow one another. */
static int set_level(const struct option *option, void *field, const char *value, const char *dir,
		     char *problem)
{
	int r = set_word(option, field, value, dir, problem);

	if (r == 0)
		*(int *)field = log_level_from_name(value);
	return r;
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
	return value_bad(problem, "must be at %s %llu%s", value < option->min ? "least" : "most",
			 (unsigned long long)(bound / units->factor), units->name);
}

static int set_size(const struct option *option, void *field, const char *value, const char *dir,
		    char *problem)
{
	uint64_t bytes;
	int r;

	(void)dir;
	if (parse_quantity(value, size_units, false, &bytes) < 0)
		return value_bad(problem,
				 "is not a size (bytes, or a number with K, M or G behind it)");
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
		return value_bad(
			problem,
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
		return value_bad(problem, "is not a number");
	r = check_range(option, number, none, UINT64_MAX, problem);
	if (r == 0)
		*(uint64_t *)field = number;
	return r;
}

static bool equal_number(const void *a, const void *b)
{
	return *(const uint64_t *)a == *(const uint64_t *)b;
}

/* --- the kinds ------------------------------------------------------------------------------ */

/* is it a list, text into it, do two differ, free it */
const struct option_type value_string = {false, set_string, equal_string, done_string};
const struct option_type value_path = {false, set_path, equal_string, done_string};
const struct option_type value_secret_path = {false, set_secret_path, equal_string, done_string};
const struct option_type value_list = {true, set_list, equal_list, done_list};
const struct option_type value_words = {true, set_words, equal_list, done_list};
const struct option_type value_boolean = {false, set_boolean, equal_boolean, NULL};
const struct option_type value_word = {false, set_word, equal_int, NULL};
const struct option_type value_level = {false, set_level, equal_int, NULL};
const struct option_type value_size = {false, set_size, equal_number, NULL};
const struct option_type value_count = {false, set_count, equal_number, NULL};
const struct option_type value_time_ms = {false, set_time, equal_number, NULL};
