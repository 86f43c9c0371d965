/* options - the rows of the option table, and text into the fields that they stand for.
 *
 * A row says what a key is called, what may be written behind it, in which module's options the
 * value goes, and what a reload must do when it differs.  Knows nothing of files and lines: that is
 * config.c, the only one who includes this. */
#ifndef SERVICE_OPTIONS_H
#define SERVICE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct section;
struct option_type;

enum {
	OPTIONS_MAX = 96,         /* rows */
	OPTION_PROBLEM_MAX = 640, /* bytes of what is told of a bad value, with its NUL */
};

struct option {
	const char *name;
	const struct option_type *type;
	size_t offset;        /* in struct section, or in struct daemon_options if in_daemon */
	const char *fallback; /* the default as text; NULL: none */
	unsigned reload;      /* mask of (1 << enum config_change) */
	const char *help;     /* one sentence */
	bool in_daemon;
	uint64_t min, max;        /* of sizes and times; max 0: the type's own */
	const char *const *words; /* all that may be written, and NULL behind */
	int first;                /* value of the first word; the others follow */
	int (*check)(const char *value, const char **ret_problem);
	/* How a bad value is told: NULL as it is, otherwise without what is nobody's business. */
	void (*show)(const char *value, char *ret, size_t size);
};

extern const struct option option_table[];
extern const size_t option_rows;

/* NULL: unknown; then option_unknown() says why, and what might have been meant. */
const struct option *option_find(const char *key, bool in_daemon);
void option_unknown(const char *key, bool in_daemon, char problem[OPTION_PROBLEM_MAX]);

bool option_is_list(const struct option *option);

/* TARGET is the struct section or struct daemon_options.  A list grows by this item.  DIR is what
 * relative file names are relative to; NULL: there are none.  0, -ENOMEM, or -EINVAL with one line
 * in PROBLEM; TARGET is as before then. */
int option_set(const struct option *option, void *target, const char *value, const char *dir,
	       char problem[OPTION_PROBLEM_MAX]);

/* The defaults of all rows that are no lists, before anything is set ... -ENOMEM */
int options_begin(void *target, bool in_daemon);
/* ... and those of lists to which nothing was added, at the end.  -ENOMEM */
int options_end(void *target, bool in_daemon);
void options_done(void *target, bool in_daemon);

bool option_equal(const struct option *option, const void *a, const void *b);

#endif
