/* hookenv - see hookenv.h. */
#include "endpoint/hookenv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char **environ;

/* Not for a hook: what is of ours is set anew, and what the service manager has told us is meant
 * for the daemon alone (a hook that says READY=1 would speak for us). */
static const char *const withheld[] = {"WSPIPE_", "NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_",
				       "JOURNAL_STREAM="};

void hookenv_init(struct hookenv *env)
{
	*env = (struct hookenv){0};
	buf_init(&env->text, HOOKENV_MAX);
}

void hookenv_done(struct hookenv *env)
{
	buf_done(&env->text);
	free(env->list);
	env->list = NULL;
}

void hookenv_set(struct hookenv *env, const char *key, const char *value)
{
	int r = buf_printf(&env->text, "%s=%s", key, value);

	if (r >= 0)
		r = buf_append(&env->text, "", 1);
	if (r < 0)
		env->error = r;
}

void hookenv_set_number(struct hookenv *env, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	hookenv_set(env, key, text);
}

void hookenv_set_time(struct hookenv *env, const char *key, uint64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / 1000000);
	char text[40] = "", fraction[16];
	struct tm tm;

	if (wall_us && gmtime_r(&seconds, &tm)) {
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(fraction, sizeof(fraction), ".%06uZ", (unsigned)(wall_us % 1000000));
		strcat(text, fraction);
	}
	hookenv_set(env, key, text);
}

static bool is_withheld(const char *variable)
{
	for (size_t i = 0; i < sizeof(withheld) / sizeof(*withheld); i++)
		if (strncmp(variable, withheld[i], strlen(withheld[i])) == 0)
			return true;
	return false;
}

static size_t count(const struct hookenv *env)
{
	const uint8_t *text = buf_head(&env->text);
	size_t n = 0;

	for (char **variable = environ; *variable; variable++)
		n++;
	for (size_t i = 0; i < buf_len(&env->text); i++)
		n += text[i] == '\0';
	return n;
}

int hookenv_list(struct hookenv *env, char *const **ret)
{
	char *text = (char *)buf_head(&env->text), *end = text + buf_len(&env->text), **to;

	if (env->error)
		return env->error;
	env->list = to = calloc(count(env) + 1, sizeof(*to));
	if (!to)
		return -ENOMEM;
	for (char **variable = environ; *variable; variable++)
		if (!is_withheld(*variable))
			*to++ = *variable;
	for (; text < end; text += strlen(text) + 1)
		*to++ = text;
	*ret = env->list;
	return 0;
}
