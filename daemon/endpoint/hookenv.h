/* hookenv - what the WSPIPE_... variables tell a command of its connection: the hooks, and login.
 */
#ifndef ENDPOINT_HOOKENV_H
#define ENDPOINT_HOOKENV_H

#include <stdint.h>

#include "base/buf.h"
#include "base/cause.h"
#include "conn/conn.h"

enum { HOOKENV_MAX = 64 * 1024 }; /* bytes */

/* What was so at one time. */
struct hookenv_moment {
	enum conn_state state;
	uint64_t time_us; /* when it was entered */
	uint16_t close_code;
	int http_status;
	char cause[sizeof(((struct cause *)NULL)->text)];
	char reason[WS_REASON_MAX + 1];
};

void hookenv_now(struct hookenv_moment *ret, struct conn *conn);

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

/* The variables that all have.  HOOK: the key that the command stands in. */
void hookenv_describe(struct hookenv *env, const char *hook, const struct conn *conn,
		      const struct hookenv_moment *moment);

/* For command_start(); good until hookenv_done(). -ENOMEM, -ENOBUFS */
int hookenv_list(struct hookenv *env, char *const **ret);

#endif
