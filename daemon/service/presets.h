/* presets - the key `preset`: what the keys about requests are for protocols that are known. */
#ifndef SERVICE_PRESETS_H
#define SERVICE_PRESETS_H

#include <stddef.h>

struct preset_value {
	const char *key, *value;
};

enum { PRESET_VALUES_MAX = 16 };

struct preset {
	const char *name;
	const char *help; /* a few words */
	struct preset_value values[PRESET_VALUES_MAX + 1]; /* up to one without a key; lists repeat theirs */
};

extern const struct preset presets[];
extern const size_t presets_n;
extern const char *const preset_names[]; /* NULL-terminated, in the order of presets[] */

/* Print them all on standard output, as sections that could stand in a configuration. */
void presets_print(void);

#endif
