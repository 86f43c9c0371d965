/* confirm - see confirm.h. */
#include "conn/confirm.h"

#include "net/ws.h"

enum { QUIET_MS = 200 };

static void confirm_on_timer(void *owner)
{
	struct confirm *confirm = owner;

	confirm_ping(confirm);
}

int confirm_init(struct confirm *confirm, struct outbox *outbox)
{
	confirm->outbox = outbox;
	list_init(&confirm->waiters);
	return timer_init(&confirm->timer, confirm_on_timer, confirm);
}

void confirm_done(struct confirm *confirm)
{
	if (!confirm->outbox)
		return;
	while (!list_empty(&confirm->waiters))
		list_remove(confirm->waiters.next);
	timer_done(&confirm->timer);
}

void confirm_set_options(struct confirm *confirm, bool keep, uint64_t queue_bytes)
{
	confirm->keep = keep;
	confirm->queue_bytes = queue_bytes;
}

/* --- numbers -------------------------------------------------------------------------------- */

static struct outbox_stats stats_of(const struct confirm *confirm)
{
	struct outbox_stats stats;

	outbox_get_stats(confirm->outbox, &stats);
	return stats;
}

static uint64_t released_number(const struct confirm *confirm)
{
	return stats_of(confirm).released_number;
}

static uint64_t given_number(const struct confirm *confirm)
{
	return stats_of(confirm).given_number;
}

static uint64_t given_count(const struct confirm *confirm)
{
	return confirm->released_count + stats_of(confirm).taken_messages;
}

static uint64_t in_doubt(const struct confirm *confirm)
{
	uint64_t count = confirm->keep ? given_count(confirm) : confirm->released_count;

	return count > confirm->confirmed_count ? count - confirm->confirmed_count : 0;
}

/* --- waiters -------------------------------------------------------------------------------- */

static void tell(struct confirm_waiter *waiter, bool confirmed)
{
	list_remove(&waiter->link);
	waiter->told(waiter->owner, confirmed);
}

static void tell_confirmed(struct confirm *confirm)
{
	struct confirm_waiter *waiter, *following;

	list_for_each_safe(waiter, following, &confirm->waiters, link)
		if (waiter->last && waiter->last <= confirm->confirmed)
			tell(waiter, true);
}

/* Messages FROM to TO are lost, or nobody knows. */
static void tell_lost(struct confirm *confirm, uint64_t from, uint64_t to)
{
	struct confirm_waiter *waiter, *following;

	list_for_each_safe(waiter, following, &confirm->waiters, link)
		if (waiter->first <= to && (!waiter->last || waiter->last >= from))
			tell(waiter, false);
}

void confirm_wait(struct confirm *confirm, struct confirm_waiter *waiter)
{
	waiter->first = stats_of(confirm).put_messages + 1;
	waiter->last = 0;
	list_append(&confirm->waiters, &waiter->link);
}

void confirm_wait_end(struct confirm *confirm, struct confirm_waiter *waiter)
{
	waiter->last = stats_of(confirm).put_messages;
	if (waiter->last < waiter->first || waiter->last <= confirm->confirmed)
		tell(waiter, true);
	else
		confirm_look(confirm);
}

void confirm_forget(struct confirm_waiter *waiter)
{
	list_remove(&waiter->link);
}

/* --- pings ---------------------------------------------------------------------------------- */

void confirm_link_up(struct confirm *confirm, struct ws *ws)
{
	confirm->ws = ws;
	confirm->confirmed = released_number(confirm);
	confirm->ping_mark = confirm->ping_number = confirm->ping_end = 0;
	confirm->released_count = confirm->ping_count = confirm->confirmed_count = 0;
}

void confirm_ping(struct confirm *confirm)
{
	if (!confirm->ws || ws_ping_outstanding(confirm->ws))
		return;
	ws_ping(confirm->ws);
	if (!ws_ping_outstanding(confirm->ws))
		return; /* it could not be sent now */
	confirm->ping_number = given_number(confirm);
	confirm->ping_count = given_count(confirm);
	confirm->ping_end = ws_queued(confirm->ws);
}

/* Of all that the link had been given, at most the last was not wholly ahead of the ping. */
void confirm_pong(struct confirm *confirm, uint64_t ping_mark)
{
	uint64_t number = confirm->ping_number, count = confirm->ping_count;

	if (ping_mark < confirm->ping_end && count > 0) {
		number--;
		count--;
	}
	if (number > confirm->confirmed)
		confirm->confirmed = number;
	if (count > confirm->confirmed_count)
		confirm->confirmed_count = count;
	confirm->ping_mark = ping_mark;
	timer_cancel(&confirm->timer);
	tell_confirmed(confirm);
}

struct outbox_loss confirm_release(struct confirm *confirm)
{
	uint64_t upto = confirm->keep ? confirm->ping_mark : ws_written(confirm->ws);
	struct outbox_loss released = outbox_written(confirm->outbox, upto);

	confirm->released_count += released.messages;
	return released;
}

static bool is_awaited(const struct confirm *confirm)
{
	const struct confirm_waiter *waiter;
	uint64_t given = given_number(confirm);

	list_for_each(waiter, &confirm->waiters, link)
		if (waiter->last && waiter->last <= given)
			return true;
	return false;
}

/* Nothing more goes out before some of it is confirmed; or soon. */
static bool is_crowded(const struct confirm *confirm)
{
	struct outbox_stats stats = stats_of(confirm);

	return stats.taken_messages > 0 && stats.taken_messages == stats.queued_messages &&
	       stats.queued_bytes >= confirm->queue_bytes / 2;
}

void confirm_look(struct confirm *confirm)
{
	if (!confirm->ws || ws_ping_outstanding(confirm->ws))
		return; /* its pong leads here again */
	if (is_awaited(confirm) || (confirm->keep && is_crowded(confirm)))
		confirm_ping(confirm);
	else if (confirm->keep && in_doubt(confirm) && !timer_is_set(&confirm->timer))
		timer_set(&confirm->timer, QUIET_MS);
}

/* --- losses --------------------------------------------------------------------------------- */

void confirm_lost(struct confirm *confirm, uint64_t first, uint64_t last)
{
	if (first <= last)
		tell_lost(confirm, first, last);
}

uint64_t confirm_link_down(struct confirm *confirm, bool answered, struct outbox_loss *ret_half,
			   struct outbox_loss *ret_sent)
{
	uint64_t written = ws_written(confirm->ws), doubtful, first = confirm->confirmed + 1;

	*ret_sent = (struct outbox_loss){0};
	if (answered) {
		*ret_sent = outbox_written(confirm->outbox, written);
		confirm->released_count += ret_sent->messages;
		confirm->confirmed = released_number(confirm);
		confirm->confirmed_count = confirm->released_count;
		tell_confirmed(confirm);
	}
	doubtful = in_doubt(confirm);
	*ret_half = outbox_rewind(confirm->outbox, confirm->keep ? 0 : written);
	confirm->ws = NULL;
	timer_cancel(&confirm->timer);
	if (!confirm->keep && doubtful + ret_half->messages > 0)
		tell_lost(confirm, first, released_number(confirm));
	confirm->confirmed = released_number(confirm);
	return doubtful;
}
