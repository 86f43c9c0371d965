/* redirect - see redirect.h. */
#include "conn/redirect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "conn/conn.h"

enum { SHOWN_MAX = 160 };

bool redirect_is(const struct cause *cause)
{
	static const int statuses[] = {301, 302, 303, 307, 308};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (cause->class == CAUSE_HTTP && cause->code == statuses[i])
			return true;
	return false;
}

/* A server that sends from http to https repeats what we have asked for: so the query is not shown,
 * and of a url with a token in it not even the path. */
static char *shown(const struct conn_options *options, const struct url *url)
{
	size_t path = strstr(options->url, "@token@") ? 0 : strcspn(url->target, "?");
	char *text;

	if (asprintf(&text, "%s://%s%.*s%s", url->tls ? "wss" : "ws", url->host_field, (int)path,
		     url->target, url->target[path] ? "..." : "") < 0)
		return NULL;
	return text;
}

/* Would the messages that are sent first tell another origin the token? */
static bool greets_with_secret(const struct conn_options *options)
{
	char **line;

	if (options->credentials.on_open_file)
		return true;
	strv_for_each (line, options->on_open)
		if (strstr(*line, "@token@"))
			return true;
	return false;
}

static const char *objection(const struct redirect *redirect, const struct conn_options *options,
			     const struct url *from)
{
	if (from->tls && !redirect->url.tls)
		return "from wss to ws, which is not followed";
	if (redirect->foreign && greets_with_secret(options))
		return "another origin, which the token or on-open-file is not sent to";
	if (redirect->foreign && options->opening.login) /* it may tell a secret */
		return "another origin, which login is not run for";
	return NULL;
}

/* What another origin may hear, and how it is reached. */
static void leave_origin(struct redirect *redirect)
{
	redirect->url.user = wipe_free(redirect->url.user);
	redirect->ws.upgrade.headers = NULL;
	redirect->ws.upgrade.user = NULL;
	redirect->ws.upgrade.cookie = NULL;
	redirect->dial.tls.cert = NULL;
	redirect->dial.tls.key = NULL;
}

static int keep_user(struct redirect *redirect, const struct url *from)
{
	wipe_free(redirect->url.user); /* one that the server has thought of is none of ours */
	redirect->url.user = from->user ? strdup(from->user) : NULL;
	return from->user && !redirect->url.user ? -ENOMEM : 0;
}

static int make(struct redirect *redirect, const struct redirect *before,
		const struct conn_options *options, const struct url *from,
		const struct ws_options *said)
{
	struct url configured;
	const char *problem;
	int r = url_parse(&configured, options->url, &problem);

	if (r < 0)
		return r;
	redirect->url.has_token = from->has_token; /* servers repeat it */
	redirect->followed = before ? before->followed + 1 : 1;
	redirect->foreign = (before && before->foreign) || !url_same_origin(from, &redirect->url);
	redirect->ws = *said;
	redirect->dial = options->dial;
	if (!url_same_server(&configured, &redirect->url)) {
		redirect->dial.connect_to = NULL;
		redirect->dial.tls.server_name = NULL;
	}
	url_done(&configured);
	if (redirect->foreign)
		leave_origin(redirect);
	else
		r = keep_user(redirect, from);
	redirect->shown = shown(options, &redirect->url);
	return redirect->shown ? r : -ENOMEM;
}

static int refuse(struct cause *cause, const char *what, const char *text, const char *why)
{
	cause_set(cause, CAUSE_HTTP, cause->code, "HTTP %d %s%.*s%s%s%s", cause->code, what,
		  SHOWN_MAX, text, *why ? " (" : "", why, *why ? ")" : "");
	return -EPERM;
}

static int judge(const struct redirect *redirect, const struct conn_options *options,
		 const struct url *from, struct cause *cause)
{
	const char *why = objection(redirect, options, from);
	char count[64];

	snprintf(count, sizeof(count), "max-redirects is %" PRIu64, options->max_redirects);
	if (redirect->followed > options->max_redirects)
		why = count;
	return why ? refuse(cause, "redirects to ", redirect->shown, why) : 0;
}

int redirect_follow(struct redirect **place, const struct conn_options *options,
		    const struct url *from, const struct ws_options *said, const char *location,
		    struct cause *cause)
{
	struct redirect *redirect;
	const char *problem = "";
	int r;

	if (!location)
		return refuse(cause, "redirects without saying where (no Location, or several)", "",
			      "");
	redirect = calloc(1, sizeof(*redirect));
	r = redirect ? url_resolve(&redirect->url, from, location, &problem) : -ENOMEM;
	if (r == -EINVAL) {
		free(redirect);
		return refuse(cause, "redirects to a Location that ", problem, "");
	}
	if (r == 0)
		r = make(redirect, *place, options, from, said);
	if (r == 0)
		r = judge(redirect, options, from, cause);
	else
		cause_set(cause, CAUSE_LOCAL, -r, "cannot follow a redirect: %s", strerror(-r));
	if (r < 0) {
		redirect_free(redirect);
		return r;
	}
	redirect_free(*place);
	*place = redirect;
	return 0;
}

struct redirect *redirect_free(struct redirect *redirect)
{
	if (!redirect)
		return NULL;
	url_done(&redirect->url);
	free(redirect->shown);
	free(redirect);
	return NULL;
}
