/* hookenv - the environment of a hook: the daemon's own, and what WSPIPE_... says. */
#ifndef ENDPOINT_HOOKENV_H
#define ENDPOINT_HOOKENV_H

#include <stdint.h>

#include "base/buf.h"

enum { HOOKENV_MAX = 64 * 1024 }; /* bytes of ours */

struct hookenv {
	struct buf text; /* "KEY=value", each with a NUL behind */
	char **list;
	int error;
};

void hookenv_init(struct hookenv *env);
void hookenv_done(struct hookenv *env);

/* What fails is told by hookenv_list(). */
void hookenv_set(struct hookenv *env, const char *key, const char *value);
void hookenv_set_number(struct hookenv *env, const char *key, uint64_t value);
void hookenv_set_time(struct hookenv *env, const char *key, uint64_t wall_us); /* UTC; 0: empty */

/* For posix_spawn(); good until hookenv_done(). -ENOMEM, -ENOBUFS */
int hookenv_list(struct hookenv *env, char *const **ret);

#endif
