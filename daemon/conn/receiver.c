/* receiver - see receiver.h. */
#include "conn/receiver.h"

#include <string.h>

#include "base/loop.h"
#include "codec/frame.h"
#include "conn/opening.h"
#include "conn/sender.h"
#include "net/ws.h"

/* --- sessions ------------------------------------------------------------------------------- */

static void begin_session(struct receiver *receiver)
{
	struct msg mark = {.kind = MSG_OPENED, .time_us = loop_wall_us()};

	if (!receiver->in_session)
		spool_append(receiver->spool, &mark);
	receiver->in_session = true;
}

void receiver_opened(struct receiver *receiver)
{
	begin_session(receiver);
	if (spool_full(receiver->spool)) /* still, since the session before */
		ws_pause(receiver->ws);
}

void receiver_ended(struct receiver *receiver, uint16_t close_code, const char *reason)
{
	struct msg mark = {
		.kind = MSG_CLOSED,
		.code = close_code,
		.time_us = loop_wall_us(),
		.data = (const uint8_t *)reason,
		.len = strlen(reason),
	};

	if (receiver->in_session)
		spool_append(receiver->spool, &mark);
	receiver->in_session = false;
}

void receiver_link_up(struct receiver *receiver, struct ws *ws)
{
	receiver->ws = ws;
}

void receiver_link_down(struct receiver *receiver)
{
	receiver->ws = NULL;
}

/* --- messages ------------------------------------------------------------------------------- */

/* False: its asker has it, or nobody wants it. */
static bool is_public(struct receiver *receiver, struct msg *msg)
{
	struct msg reply;

	switch (calls_claim(receiver->sender->calls, msg, &reply)) {
	case CALLS_EVENT:
		return true;
	case CALLS_PUBLIC:
		*msg = reply;
		return true;
	case CALLS_DELIVERED:
		*msg = reply;
		msg->flags |= MSG_IS_REPLY;
		return receiver->options->calls.replies == CALLS_REPLIES_ALL;
	default:
		return false;
	}
}

void receiver_publish(struct receiver *receiver, struct msg *msg)
{
	begin_session(receiver);
	if (receiver->sender->calls && !is_public(receiver, msg))
		return;
	if (spool_append(receiver->spool, msg) == SPOOL_FULL)
		ws_pause(receiver->ws);
}

void receiver_take(struct receiver *receiver, const struct msg *received, struct opening *opening)
{
	struct msg msg = *received;

	frame_scan(&msg);
	receiver->stats->received_messages++;
	receiver->stats->received_bytes += msg.len;
	if (!opening || !opening_hear(opening, &msg))
		receiver_publish(receiver, &msg);
}

/* --- the spool ------------------------------------------------------------------------------ */

static void receiver_spool_eased(void *owner)
{
	struct receiver *receiver = owner;

	if (receiver->ws)
		ws_resume(receiver->ws);
}

static void receiver_spool_missed(void *owner, const char *reader, uint64_t messages,
				  uint64_t bytes)
{
	struct receiver *receiver = owner;

	(void)bytes;
	losses_add(&receiver->losses, reader, messages);
}

int receiver_init(struct receiver *receiver, const char *name, const struct conn_options *options,
		  struct conn_stats *stats, struct sender *sender, struct records_pool *pool)
{
	static const struct spool_events events = {receiver_spool_eased, receiver_spool_missed};
	int r;

	receiver->options = options;
	receiver->stats = stats;
	receiver->sender = sender;
	r = losses_init(&receiver->losses, name);
	return r < 0 ? r : spool_new(&receiver->spool, &options->spool, pool, &events, receiver);
}

void receiver_done(struct receiver *receiver)
{
	losses_done(&receiver->losses);
	receiver->spool = spool_free(receiver->spool);
}

void receiver_set_options(struct receiver *receiver, const struct conn_options *options)
{
	receiver->options = options;
	spool_set_options(receiver->spool, &options->spool);
}
