/* events - see events.h and control/protocol.h. */
#include "events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "base/cleanup.h"
#include "control/protocol.h"
#include "print.h"
#include "session.h"

enum { REST_MS = 1000 };

void events_settle(struct events *events)
{
	unsigned long long n = events->missed;

	if (!n || (!events->ended && !deadline_passed(&events->rest)))
		return;
	say(events->who, "missed %llu message%s", n, n == 1 ? "" : "s");
	events->missed = 0;
	events->rest = deadline_in(REST_MS);
}

struct deadline events_due(const struct events *events)
{
	return events->missed ? events->rest : deadline_in(-1);
}

static void tell_missed(struct events *events, const struct json_span *line)
{
	events->missed += answer_number(line, "/messages", 0);
	events->missed_any = true;
	events_settle(events);
}

static void tell_rejected(struct events *events, const struct json_span *line)
{
	cleanup_free char *message = answer_text(line, "/message");

	say(events->who, "not sent: the record %s", message ? message : "was refused");
}

/* For who sits there and wonders; a script's log would only fill with it. */
static void tell_state(struct events *events, const struct json_span *line)
{
	cleanup_free char *state = answer_text(line, "/state");
	cleanup_free char *message = answer_text(line, "/message");

	if (!state || !isatty(STDERR_FILENO))
		return;
	say(events->who, "%s%s%s", state, message ? ": " : "", message ? message : "");
}

/* The daemon's text names the close code where that is the point of it. */
static void explain_end(const struct events *events, const struct json_span *line)
{
	cleanup_free char *message = answer_text(line, "/message");
	cleanup_free char *reason = answer_text(line, "/close_reason");
	unsigned code = (unsigned)answer_number(line, "/close_code", 0);
	const char *text = message && *message ? message : "the connection has ended";
	char digits[16];

	snprintf(digits, sizeof(digits), "%u", code);
	if (!code || strstr(text, digits))
		say(events->who, "%s", text);
	else
		say(events->who, "%s (close code %u%s%s)", text, code, reason && *reason ? " " : "",
		    reason ? reason : "");
}

static void tell_queued(const struct events *events, const struct json_span *line)
{
	cleanup_free char *state = answer_text(line, "/state");

	say(events->who, "queued: the connection is %s, and sends at its next open",
	    state ? state : "not open");
}

static void tell_end(struct events *events, const struct json_span *line)
{
	unsigned long long rejected = answer_number(line, "/rejected", 0);

	events->ended = true;
	events->exit = (int)answer_number(line, "/exit", EXIT_PEER);
	events_settle(events);
	if (rejected && events->exit == EXIT_USAGE)
		say(events->who, "%llu record%s refused", rejected, rejected == 1 ? " was" : "s were");
	else if (events->exit != EXIT_DONE)
		explain_end(events, line);
	if (events->writes && answer_true(line, "/queued"))
		tell_queued(events, line);
}

static void tell_taken(struct events *events, const struct json_span *line)
{
	(void)line;
	events->taken = true;
}

static const struct {
	const char *word;
	void (*tell)(struct events *events, const struct json_span *line);
} rows[] = {
	{"missed", tell_missed},
	{"taken", tell_taken},
	{"rejected", tell_rejected},
	{"state", tell_state},
	{"end", tell_end},
};

static void events_take(struct events *events, const struct json_span *line)
{
	struct json_span word;

	if (events->ended || json_find(line->at, line->len, "/event", &word) <= 0)
		return;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (json_equals(&word, rows[i].word))
			rows[i].tell(events, line);
	}
}

void events_read(struct events *events, struct session *session)
{
	struct json_span line;
	int r = session_read(session);

	while (session_line(session, &line))
		events_take(events, &line);
	if (events->ended || r > 0 || r == -EAGAIN)
		return;
	events->ended = true;
	events->exit = EXIT_PEER;
	events_settle(events);
	say(events->who, "the daemon has gone%s%s", r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
}
