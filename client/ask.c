/* ask - see ask.h. */
#include "ask.h"

#include "control/protocol.h"
#include "deadline.h"
#include "options.h"
#include "place.h"
#include "print.h"
#include "request.h"
#include "session.h"

int ask(struct session *session, const struct options *options, struct request *request,
	bool may_start, struct json_span *ret)
{
	struct deadline deadline = deadline_in(options->timeout_ms);
	struct place place;
	int r = place_find(&place, options);

	if (r == 0)
		r = session_ask(session, &place, request, may_start, &deadline, ret);
	place_done(&place);
	request_done(request);
	return r;
}

/* A command that only asks: the answer is "done". */
int ask_and_leave(const struct options *options, struct request *request)
{
	struct json_span answer;
	struct session session;
	int r;

	session_init(&session, options->words[0]);
	session.plain = !options->words[0];
	r = ask(&session, options, request, false, &answer);
	session_done(&session);
	return r;
}

int ask_status(struct session *session, const struct options *options, const char *name,
	       struct json_span *ret)
{
	struct request request;

	request_begin(&request, VERB_STATUS);
	request_text(&request, "name", name);
	return ask(session, options, &request, false, ret);
}

int ask_misunderstood(const char *who)
{
	say(who, "the daemon's answer is not understood");
	return EXIT_PEER;
}
