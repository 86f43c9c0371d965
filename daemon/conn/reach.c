/* reach - see reach.h. */
#include "conn/reach.h"

#include <string.h>

#include "conn/conn.h"

static const struct dial_options *dial_options(const struct reach *reach)
{
	return reach->redirect ? &reach->redirect->dial : &reach->options->dial;
}

static void fail(struct reach *reach, int error, const char *what)
{
	struct cause cause;

	cause_set(&cause, CAUSE_LOCAL, -error, "%s: %s", what, strerror(-error));
	reach->events->failed(reach->owner, &cause);
}

static void reach_dial_connected(void *owner, struct transport *transport)
{
	struct reach *reach = owner;

	reach->dial = dial_free(reach->dial);
	reach->events->connected(reach->owner, transport);
}

static void reach_dial_failed(void *owner, const struct cause *cause)
{
	struct reach *reach = owner;
	struct cause kept = *cause; /* it belongs to the dial */

	reach->dial = dial_free(reach->dial);
	reach->events->failed(reach->owner, &kept);
}

static const struct dial_events dial_events = {
	.connected = reach_dial_connected,
	.failed = reach_dial_failed,
};

static void reach_turn_come(void *owner)
{
	struct reach *reach = owner;
	int r;

	reach->events->begins(reach->owner);
	r = dial_start(&reach->dial, reach_url(reach), dial_options(reach), &dial_events, reach);
	if (r < 0)
		fail(reach, r, "cannot start to connect");
}

void reach_go(struct reach *reach)
{
	int r = turn_take(&reach->turn, reach->turns, reach_url(reach),
			  dial_options(reach)->connect_to);

	if (r == TURN_NOW)
		reach_turn_come(reach);
	else if (r < 0)
		fail(reach, r, "cannot wait for a turn");
}

void reach_init(struct reach *reach, const struct reach_events *events, void *owner)
{
	*reach = (struct reach){.events = events, .owner = owner};
	turn_init(&reach->turn, reach_turn_come, reach);
}

void reach_start(struct reach *reach, const struct conn_options *options, const struct url *url,
		 const struct ws_options *ws)
{
	reach->options = options;
	reach->url = url;
	reach->ws = ws;
	reach_go(reach);
}

bool reach_redirect(struct reach *reach, const char *location, struct cause *cause)
{
	return redirect_follow(&reach->redirect, reach->options, reach_url(reach), reach_ws(reach),
			       location, cause) == 0;
}

void reach_arrived(struct reach *reach)
{
	turn_leave(&reach->turn);
}

void reach_drop(struct reach *reach)
{
	turn_leave(&reach->turn);
	reach->dial = dial_free(reach->dial);
	reach->redirect = redirect_free(reach->redirect);
}

bool reach_waits(const struct reach *reach)
{
	return turn_waits(&reach->turn);
}

const struct url *reach_url(const struct reach *reach)
{
	return reach->redirect ? &reach->redirect->url : reach->url;
}

const struct ws_options *reach_ws(const struct reach *reach)
{
	return reach->redirect ? &reach->redirect->ws : reach->ws;
}

const char *reach_redirected_to(const struct reach *reach)
{
	return reach->redirect ? reach->redirect->shown : NULL;
}

const char *reach_step(const struct reach *reach, const char **ret_host)
{
	*ret_host = "";
	if (reach_waits(reach)) {
		*ret_host = turn_host_name(&reach->turn);
		return "waiting for its turn at ";
	}
	return reach->dial ? dial_step(reach->dial) : NULL;
}
