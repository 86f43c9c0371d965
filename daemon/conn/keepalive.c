/* keepalive - see keepalive.h. */
#include "conn/keepalive.h"

#include <inttypes.h>

#include "base/cause.h"
#include "base/loop.h"
#include "conn/conn.h"
#include "conn/sender.h"
#include "net/ws.h"

void keepalive_start(const struct sender *sender, struct timer *timer)
{
	timer_cancel(timer);
	if (sender->options->ping_interval_ms)
		timer_set(timer, sender->options->ping_interval_ms);
}

static void ping(struct sender *sender, struct timer *timer)
{
	const struct conn_options *options = sender->options;

	sender_ping(sender); /* nothing, while one is outstanding */
	timer_set(timer,
		  options->ping_timeout_ms ? options->ping_timeout_ms : options->ping_interval_ms);
}

/* The clock runs only from a ping that has really left (websocat #257): ws_silence_ms() knows. */
void keepalive_due(struct sender *sender, struct timer *timer)
{
	uint64_t timeout_ms = sender->options->ping_timeout_ms;
	uint64_t silence_ms = ws_silence_ms(sender->ws);
	struct cause cause;

	if (!ws_ping_outstanding(sender->ws)) {
		ping(sender, timer);
	} else if (timeout_ms && silence_ms >= timeout_ms) {
		cause_set(&cause, CAUSE_TIMEOUT, 0,
			  "ping timeout: the server has been silent for %" PRIu64 " ms",
			  silence_ms);
		ws_abort(sender->ws, &cause);
	} else if (timeout_ms) {
		timer_set(timer, timeout_ms - silence_ms);
	} else {
		timer_set(timer, sender->options->ping_interval_ms);
	}
}

void keepalive_ask(struct sender *sender, struct timer *timer)
{
	if (!sender->options->ping_interval_ms)
		return;
	ws_forgive_silence(sender->ws);
	ping(sender, timer);
}
