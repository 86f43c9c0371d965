/* farewell - see farewell.h. */
#include "conn/farewell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cause.h"
#include "base/loop.h"
#include "conn/conn.h"
#include "conn/sender.h"
#include "net/ws.h"

enum {
	QUIET_MS = 250,
	QUIET_MAX_MS = 2000,
};

void farewell_done(struct farewell *farewell)
{
	free(farewell->why);
	farewell->why = NULL;
}

void farewell_forget(struct farewell *farewell)
{
	farewell->said = false;
	farewell->step = FAREWELL_CLOSE;
}

void farewell_plan(struct farewell *farewell, uint16_t code, const char *why)
{
	free(farewell->why);
	farewell->why = strdup(why); /* without memory there is just no reason given */
	farewell->code = code;
	farewell->step = FAREWELL_CLOSE;
}

void farewell_settle(struct farewell *farewell)
{
	farewell->step = FAREWELL_ASK;
}

static void wait_for_progress(struct farewell *farewell)
{
	farewell->progress = ws_written(farewell->sender->ws);
	timer_set(farewell->timer, farewell->sender->options->close_timeout_ms);
}

void farewell_begin(struct farewell *farewell)
{
	wait_for_progress(farewell);
}

static void send_close(struct farewell *farewell)
{
	struct sender *sender = farewell->sender;

	farewell->said = true;
	farewell->step = FAREWELL_CLOSE;
	sender_stop(sender);
	ws_close(sender->ws, farewell->code, farewell->why ? farewell->why : "");
	wait_for_progress(farewell); /* messages may still stand ahead of the Close */
}

void farewell_queue_sent(struct farewell *farewell)
{
	if (farewell->step == FAREWELL_CLOSE) {
		send_close(farewell);
	} else if (farewell->step == FAREWELL_ASK) {
		farewell->step = FAREWELL_AWAIT_PONG;
		sender_ping(farewell->sender);
	}
}

void farewell_pong(struct farewell *farewell, uint64_t ping_mark)
{
	if (farewell->step != FAREWELL_AWAIT_PONG)
		return;
	if (ping_mark < ws_queued(farewell->sender->ws)) {
		sender_ping(farewell->sender); /* that one was older than our last message */
		return;
	}
	farewell->step = FAREWELL_QUIET;
	farewell->received = farewell->stats->received_messages;
	farewell->quiet_until_ms = loop_now_ms() + QUIET_MAX_MS;
	timer_set(farewell->timer, QUIET_MS);
}

/* Is it quiet?  A server that has just read our last message may still be answering it. */
static void look_for_quiet(struct farewell *farewell)
{
	uint64_t received = farewell->stats->received_messages;

	if (received == farewell->received || loop_now_ms() >= farewell->quiet_until_ms) {
		send_close(farewell);
		return;
	}
	farewell->received = received;
	timer_set(farewell->timer, QUIET_MS);
}

/* As long as queued messages go on leaving, it may take longer. */
void farewell_due(struct farewell *farewell)
{
	struct ws *ws = farewell->sender->ws;
	struct cause cause;

	if (farewell->step == FAREWELL_QUIET) {
		look_for_quiet(farewell);
	} else if (ws_written(ws) != farewell->progress) {
		wait_for_progress(farewell);
	} else if (farewell->step != FAREWELL_CLOSE) {
		send_close(farewell);
	} else {
		cause_set(&cause, CAUSE_OPERATOR, 1006,
			  "closed; the server did not answer within %" PRIu64 " ms",
			  farewell->sender->options->close_timeout_ms);
		ws_abort(ws, &cause);
	}
}

bool farewell_answered(const struct farewell *farewell, uint16_t code)
{
	return farewell->said && code && code == farewell->code;
}
