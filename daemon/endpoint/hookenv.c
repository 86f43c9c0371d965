/* hookenv - see hookenv.h. */
#include "endpoint/hookenv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void hookenv_now(struct hookenv_moment *ret, struct conn *conn)
{
	const char *reason;

	*ret = (struct hookenv_moment){
		.state = conn_state(conn),
		.time_us = conn_since_us(conn),
		.http_status = conn_http_status(conn),
		.close_code = conn_close_code(conn, &reason),
	};
	memcpy(ret->cause, conn_cause(conn)->text, sizeof(ret->cause));
	snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
	cause_clean(ret->reason, false);
}

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

/* UTC; 0: empty. */
static void set_time(struct hookenv *env, const char *key, uint64_t wall_us)
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

void hookenv_describe(struct hookenv *env, const char *hook, const struct conn *conn,
		      const struct hookenv_moment *moment)
{
	hookenv_set(env, "WSPIPE_HOOK", hook);
	hookenv_set(env, "WSPIPE_NAME", conn_name(conn));
	hookenv_set(env, "WSPIPE_URL", conn_url(conn)->display);
	hookenv_set(env, "WSPIPE_STATE", conn_state_names[moment->state]);
	hookenv_set(env, "WSPIPE_CAUSE", moment->cause);
	if (moment->close_code)
		hookenv_set_number(env, "WSPIPE_CLOSE_CODE", moment->close_code);
	else
		hookenv_set(env, "WSPIPE_CLOSE_CODE", "");
	hookenv_set(env, "WSPIPE_CLOSE_REASON", moment->reason);
	hookenv_set_number(env, "WSPIPE_HTTP_STATUS", (uint64_t)moment->http_status);
	set_time(env, "WSPIPE_TIME", moment->time_us);
}

static size_t count(const struct hookenv *env)
{
	const uint8_t *text = buf_head(&env->text);
	size_t n = 0;

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
	for (; text < end; text += strlen(text) + 1)
		*to++ = text;
	*ret = env->list;
	return 0;
}
