/* sender - see sender.h. */
#include "conn/sender.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "codec/utf8.h"

enum { FLUSHES_PER_TURN = 4 }; /* of at most 256 KiB: then others have their turn */

/* --- what became of it ---------------------------------------------------------------------- */

static void count_sent(struct sender *sender, struct outbox_loss sent)
{
	sender->stats->sent_messages += sent.messages;
	sender->stats->sent_bytes += sent.bytes;
}

static void count_unsent(struct sender *sender, struct outbox_loss lost, const char *why)
{
	if (lost.messages == 0)
		return;
	sender->stats->unsent_messages += lost.messages;
	sender->stats->unsent_bytes += lost.bytes;
	log_warning(sender->name,
		    "%" PRIu64 " outgoing messages (%" PRIu64 " bytes) were not sent: %s",
		    lost.messages, lost.bytes, why);
}

static void release_written(struct sender *sender)
{
	count_sent(sender, confirm_release(&sender->confirm));
	confirm_look(&sender->confirm);
}

/* What is not in the outbox any more has been sent, or lost. */
void sender_fail_calls(struct sender *sender, const struct cause *cause, bool even_queued)
{
	struct outbox_stats left;

	if (!sender->calls)
		return;
	outbox_get_stats(sender->outbox, &left);
	calls_lose(sender->calls, even_queued ? UINT64_MAX : left.released_number, cause);
}

void sender_arm_expiry(struct sender *sender)
{
	uint64_t oldest = outbox_oldest_us(sender->outbox), ttl_ms = sender->options->outbox.ttl_ms, age_ms;

	if (!oldest) {
		timer_cancel(&sender->expiry);
	} else if (!timer_is_set(&sender->expiry)) {
		age_ms = loop_age_us(oldest) / 1000;
		timer_set(&sender->expiry, ttl_ms > age_ms ? ttl_ms - age_ms + 1 : 0);
	}
}

static void expire(struct sender *sender)
{
	struct outbox_stats before, after;
	struct outbox_loss lost;
	struct cause cause;

	outbox_get_stats(sender->outbox, &before);
	lost = outbox_expire(sender->outbox, loop_age_us);
	if (lost.messages == 0)
		return;
	outbox_get_stats(sender->outbox, &after);
	confirm_lost(&sender->confirm, before.passed_number + 1, after.passed_number);
	count_unsent(sender, lost, "older than queue-ttl");
	cause_set(&cause, CAUSE_TIMEOUT, 0, "not sent within queue-ttl");
	if (sender->calls)
		calls_lose_between(sender->calls, before.passed_number, after.passed_number, &cause);
}

static void sender_on_expiry(void *owner)
{
	expire(owner);
	sender_arm_expiry(owner);
}

/* --- to the link ---------------------------------------------------------------------------- */

static char **greetings_of(const struct sender *sender)
{
	return sender->credentials ? credentials_on_open(sender->credentials)
				   : sender->options->on_open;
}

/* Long ones must stay until they are written. */
static void forget_greetings(struct sender *sender)
{
	char **greetings = greetings_of(sender);

	if (sender->credentials && greetings && !greetings[sender->greeted] &&
	    ws_written(sender->ws) == ws_queued(sender->ws))
		credentials_forget_greetings(sender->credentials);
}

static bool next_to_send(struct sender *sender, struct msg *ret, bool *ret_queued)
{
	char **greetings = greetings_of(sender);

	*ret_queued = false;
	if (greetings && greetings[sender->greeted]) {
		*ret = (struct msg){
			.kind = (uint8_t)sender->options->type,
			.flags = MSG_SECRET,
			.data = (const uint8_t *)greetings[sender->greeted],
			.len = strlen(greetings[sender->greeted]),
		};
		return true;
	}
	*ret_queued = true;
	return (!sender->closing || sender->drain > 0) && outbox_next(sender->outbox, ret);
}

static int send_one(struct sender *sender, const struct msg *msg, bool queued)
{
	uint64_t start = ws_queued(sender->ws), end;
	int r;

	if (queued)
		outbox_begin(sender->outbox);
	r = ws_send(sender->ws, msg, &end);
	if (r < 0)
		return r;
	if (queued) {
		outbox_take(sender->outbox, start, end);
		sender->drain -= sender->drain > 0;
	} else {
		sender->greeted++;
	}
	return 0;
}

/* Encode what fits, one write, let go of what has left.  False: the rest must wait for `drained`,
 * or there is none. */
static bool flush_once(struct sender *sender)
{
	struct cause cause;
	struct msg msg;
	bool queued;
	int r = 0;

	while (r == 0 && ws_writable(sender->ws) && next_to_send(sender, &msg, &queued))
		r = send_one(sender, &msg, queued);
	if (r < 0) {
		cause_set(&cause, CAUSE_LOCAL, -r, "cannot send: %s", strerror(-r));
		ws_abort(sender->ws, &cause);
		return false;
	}
	ws_flush(sender->ws);
	release_written(sender);
	forget_greetings(sender);
	return ws_writable(sender->ws) && next_to_send(sender, &msg, &queued);
}

/* Once per wake-up, whatever was queued meanwhile: many messages, one write. */
static void sender_on_flush(void *owner)
{
	struct sender *sender = owner;
	struct msg msg;
	bool queued;

	if (!sender->ws || sender->stopped)
		return;
	if (sender->options->outbox.ttl_ms)
		expire(sender);
	for (int i = 0; flush_once(sender); i++) {
		if (i == FLUSHES_PER_TURN) {
			loop_later(&sender->flush);
			return;
		}
	}
	sender_arm_expiry(sender); /* for what the link does not take now */
	if (sender->closing && ws_writable(sender->ws) && !next_to_send(sender, &msg, &queued))
		sender->drained(sender->owner);
}

void sender_written(struct sender *sender)
{
	release_written(sender);
	sender_on_flush(sender);
}

void sender_ping(struct sender *sender)
{
	confirm_ping(&sender->confirm);
}

void sender_pong(struct sender *sender, uint64_t ping_mark)
{
	confirm_pong(&sender->confirm, ping_mark);
	release_written(sender);
}

void sender_link_up(struct sender *sender, struct ws *ws, struct credentials *credentials,
		    size_t greeted)
{
	sender->ws = ws;
	sender->credentials = credentials;
	sender->greeted = greeted;
	sender->closing = sender->stopped = false;
	confirm_link_up(&sender->confirm, ws);
	loop_later(&sender->flush);
}

/* What comes from now on waits for the next session, or a busy writer would keep this one open. */
void sender_close(struct sender *sender, bool drain)
{
	struct outbox_stats queued;

	outbox_get_stats(sender->outbox, &queued);
	sender->drain = drain ? queued.queued_messages - queued.taken_messages : 0;
	sender->closing = true;
	loop_later(&sender->flush);
}

void sender_stop(struct sender *sender)
{
	sender->stopped = true;
}

void sender_link_down(struct sender *sender, bool answered)
{
	struct outbox_loss half, sent;
	uint64_t doubtful;

	if (!sender->ws)
		return; /* it never was open */
	count_sent(sender, confirm_release(&sender->confirm));
	doubtful = confirm_link_down(&sender->confirm, answered, &half, &sent);
	sender->ws = NULL;
	sender->credentials = NULL;
	count_sent(sender, sent);
	count_unsent(sender, half, "the connection ended in the middle of one");
	if (doubtful == 0)
		return;
	if (sender->options->resend) {
		log_info(sender->name,
			 "%" PRIu64 " messages are unconfirmed and will be sent again", doubtful);
		return;
	}
	sender->stats->unconfirmed_messages += doubtful;
	log_warning(sender->name,
		    "%" PRIu64
		    " messages are unconfirmed: they were sent, but the server may not have "
		    "read them (resend = yes sends such again)",
		    doubtful);
}

/* --- into the queue ------------------------------------------------------------------------- */

static bool acceptable(struct sender *sender, const struct msg *msg, const char **ret_problem)
{
	if (msg->len > sender->options->ws.max_message_bytes)
		*ret_problem = "is longer than max-message";
	else if (msg->kind == MSG_TEXT && !utf8_valid(msg->data, msg->len))
		*ret_problem =
			"is not UTF-8, which text messages must be (RFC 6455 5.6; type = binary "
			"takes any bytes)";
	else
		return true;
	sender->stats->rejected_messages++;
	return false;
}

static int put(struct sender *sender, const struct msg *msg, struct outbox_waiter *waiter)
{
	struct msg stamped = *msg;
	int r;

	stamped.time_us = loop_wall_us();
	r = outbox_put(sender->outbox, &stamped, waiter);
	if (r != OUTBOX_OK)
		return r < 0 ? r : CONN_FULL;
	if (sender->ws && !sender->closing)
		loop_later(&sender->flush);
	else
		sender_arm_expiry(sender);
	return CONN_QUEUED;
}

int sender_send(struct sender *sender, const struct msg *msg, struct outbox_waiter *waiter,
		const char **ret_problem)
{
	return acceptable(sender, msg, ret_problem) ? put(sender, msg, waiter) : CONN_REFUSED;
}

static int put_request(struct sender *sender, const struct msg *msg,
		       const struct calls_terms *terms, struct outbox_waiter *waiter)
{
	struct outbox_stats stats;
	int r = put(sender, msg, waiter);

	if (r != CONN_QUEUED)
		return r;
	outbox_get_stats(sender->outbox, &stats);
	calls_begin(sender->calls, terms, stats.put_messages);
	return r;
}

int sender_request(struct sender *sender, const struct msg *msg, const struct calls_terms *terms,
		   struct outbox_waiter *waiter, const char **ret_problem)
{
	struct msg request;
	int outcome;

	if (!sender->calls)
		return sender_send(sender, msg, waiter, ret_problem);
	if (!acceptable(sender, msg, ret_problem))
		return CONN_REFUSED;
	outcome = calls_prepare(sender->calls, msg, terms, sender->options->ws.max_message_bytes,
				waiter, &request, ret_problem);
	if (outcome == -ENOBUFS)
		*ret_problem = "is longer than max-message with the id that it gets";
	switch (outcome) {
	case CALLS_FULL:
		return CONN_FULL;
	case CALLS_REFUSED:
	case -ENOBUFS:
		sender->stats->rejected_messages++;
		return CONN_REFUSED;
	case CALLS_READY:
		return put_request(sender, &request, terms, waiter);
	case CALLS_NONE:
		return put(sender, msg, waiter);
	default:
		return outcome < 0 ? outcome : put(sender, &request, waiter);
	}
}

/* --- life ----------------------------------------------------------------------------------- */

/* Ids that stand in on-open are taken. */
static void reserve_greetings(struct sender *sender)
{
	for (char **text = sender->options->on_open; sender->calls && text && *text; text++)
		calls_reserve(sender->calls,
			      &(struct msg){.data = (const uint8_t *)*text, .len = strlen(*text)});
}

static int renew_calls(struct sender *sender)
{
	const struct calls_options *options = &sender->options->calls;
	struct cause cause;
	int r;

	if (sender->calls && (!options->id || !*options->id)) {
		cause_set(&cause, CAUSE_OPERATOR, 0,
			  "the key id was taken out of the configuration");
		sender_fail_calls(sender, &cause, true);
		sender->calls = calls_free(sender->calls);
	}
	r = sender->calls ? calls_set_options(sender->calls, options)
			  : calls_new(&sender->calls, options);
	reserve_greetings(sender);
	return r;
}

int sender_init(struct sender *sender, const char *name, const struct conn_options *options,
		struct conn_stats *stats, void (*drained)(void *owner), void *owner)
{
	int r;

	sender->name = name;
	sender->options = options;
	sender->stats = stats;
	sender->drained = drained;
	sender->owner = owner;
	later_init(&sender->flush, sender_on_flush, sender);
	r = timer_init(&sender->expiry, sender_on_expiry, sender);
	if (r == 0)
		r = outbox_new(&sender->outbox, &options->outbox);
	if (r == 0)
		r = confirm_init(&sender->confirm, sender->outbox);
	confirm_set_options(&sender->confirm, options->resend, options->outbox.queue_bytes);
	return r < 0 ? r : renew_calls(sender);
}

void sender_done(struct sender *sender)
{
	later_cancel(&sender->flush);
	timer_done(&sender->expiry);
	confirm_done(&sender->confirm);
	sender->calls = calls_free(sender->calls);
	sender->outbox = outbox_free(sender->outbox);
}

/* The list may be another one, and shorter; then the service reconnects. */
static void forget_greetings_that_went(struct sender *sender)
{
	char **greetings = greetings_of(sender);
	size_t n = 0;

	while (greetings && greetings[n] && n < sender->greeted)
		n++;
	sender->greeted = n;
}

int sender_set_options(struct sender *sender, const struct conn_options *options)
{
	int r;

	sender->options = options;
	forget_greetings_that_went(sender);
	outbox_set_options(sender->outbox, &options->outbox);
	confirm_set_options(&sender->confirm, options->resend, options->outbox.queue_bytes);
	r = renew_calls(sender);
	timer_cancel(&sender->expiry);
	sender_arm_expiry(sender);
	return r;
}
