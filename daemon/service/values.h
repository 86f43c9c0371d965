/* values - text into the field of an option, by what kind of value it is.
 *
 * A row of the option table (options.h) names one of these kinds and says what is particular to it:
 * bounds, words, a further check.  Knows nothing of single keys. */
#ifndef SERVICE_VALUES_H
#define SERVICE_VALUES_H

#include <stdbool.h>

struct option;

struct option_type {
	bool is_list;
	/* VALUE is not empty.  DIR is what relative file names are relative to; NULL: there are
	 * none. 0, -ENOMEM, or -EINVAL with a phrase to be put behind the value in PROBLEM, which
	 * has OPTION_PROBLEM_MAX bytes; the field is as before then. */
	int (*set)(const struct option *option, void *field, const char *value, const char *dir,
		   char *problem);
	bool (*equal)(const void *a, const void *b);
	void (*done)(void *field); /* NULL: nothing to free */
};

extern const struct option_type value_string; /* char * */
extern const struct option_type value_path;   /* char *: absolute */
extern const struct option_type
	value_secret_path;                   /* ... first looked for among systemd's credentials */
extern const struct option_type value_list;  /* char **: an item a line */
extern const struct option_type value_words; /* char **: many in a line, too */
extern const struct option_type value_boolean; /* bool */
extern const struct option_type value_word;    /* int: the place in the row's words */
extern const struct option_type value_level;   /* int: as syslog(3) has it */
extern const struct option_type value_size;    /* uint64_t, bytes */
extern const struct option_type value_count;   /* uint64_t */
extern const struct option_type value_time_ms; /* uint64_t, milliseconds */

/* A phrase into PROBLEM (OPTION_PROBLEM_MAX bytes); -EINVAL. */
int value_bad(char *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
