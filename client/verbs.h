/* verbs - the commands: one row and a few lines each. */
#ifndef CLIENT_VERBS_H
#define CLIENT_VERBS_H

#include <stddef.h>

#include "options.h"

struct verb {
	const char *word;
	unsigned bit;            /* FOR_... */
	size_t words_min, words_max;
	const char *synopsis;    /* what stands behind the word */
	const char *summary;
	int (*run)(const struct options *options); /* the exit status */
};

extern const struct verb verbs[];
extern const size_t verbs_n;

#endif
