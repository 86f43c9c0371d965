/* look - see look.h. */
#include "look.h"

#include <stdint.h>

#include "ask.h"
#include "options.h"
#include "print.h"
#include "session.h"
#include "stats.h"
#include "top.h"

enum { TOP_MS = 1000 };

/* What the daemon says of all connections; SHOW prints it. */
static int look_at_all(const struct options *options,
		       void (*show)(const struct options *options, const struct json_span *answer,
				    const struct json_span *connections))
{
	struct json_span answer, connections;
	struct session session;
	int r;

	session_init(&session, NULL);
	r = ask_status(&session, options, NULL, &answer);
	if (r == 0 && json_find(answer.at, answer.len, "/connections", &connections) <= 0)
		r = ask_misunderstood(NULL);
	else if (r == 0)
		show(options, &answer, &connections);
	session_done(&session);
	return r;
}

static void show_table(const struct options *options, const struct json_span *answer,
		       const struct json_span *connections)
{
	(void)answer;
	if (options->json)
		print_json(connections);
	else
		print_table(connections);
}

int look_ls(const struct options *options)
{
	return look_at_all(options, show_table);
}

static void show_stats(const struct options *options, const struct json_span *answer,
		       const struct json_span *connections)
{
	if (options->prometheus)
		stats_print_prometheus(answer);
	else
		stats_print(connections);
}

int look_stats(const struct options *options)
{
	return look_at_all(options, show_stats);
}

static void print_all(const struct json_span *answer, const struct json_span *connections)
{
	struct json_span connection, daemon;
	size_t at = 0;

	if (json_find(answer->at, answer->len, "/daemon", &daemon) > 0)
		print_object(&daemon);
	while (json_next(connections, &at, NULL, &connection) > 0) {
		print_json(&(struct json_span){.at = "", .len = 0});
		print_object(&connection);
	}
}

int look_status(const struct options *options)
{
	const char *name = options->words[0];
	struct json_span answer, found;
	struct session session;
	int r;

	session_init(&session, name);
	r = ask_status(&session, options, name, &answer);
	if (r == 0 &&
	    json_find(answer.at, answer.len, name ? "/connections/0" : "/connections", &found) <= 0)
		r = ask_misunderstood(name);
	else if (r == 0 && options->json)
		print_json(&found);
	else if (r == 0 && name)
		print_object(&found);
	else if (r == 0)
		print_all(&answer, &found);
	session_done(&session);
	return r;
}

/* One look; a terminal is taken only when there is something to show. */
static int look_once(const struct options *options, struct top *top, bool is_first)
{
	struct json_span answer;
	struct session session;
	int r;

	session_init(&session, NULL);
	r = ask_status(&session, options, NULL, &answer);
	if (r == 0 && is_first)
		top_begin(top);
	if (r == 0)
		top_show(top, &answer);
	if (r && !is_first) {
		top_end(top); /* and what was said on the other screen has gone with that */
		say(NULL, "the daemon does not answer any more");
	}
	session_done(&session);
	return r;
}

int look_top(const struct options *options)
{
	int64_t interval_ms = options->interval_ms > 0 ? options->interval_ms : TOP_MS;
	struct top top;
	int r = look_once(options, &top, true);

	for (uint64_t n = 1; r == 0; n++) {
		if (n == options->count || !top_wait(&top, interval_ms)) {
			top_end(&top);
			return 0;
		}
		r = look_once(options, &top, false);
	}
	return r;
}
