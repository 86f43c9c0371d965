/* A week of bad weather in a second: one conn in virtual time under fixed seeds, with a server that
 * refuses, hangs, is overloaded, restarts, dies without a word, and cuts messages in two.
 *
 * Held against it: never two attempts within 100 ms, never a wait that the cause does not justify,
 * no message sent twice or out of order, none lost without being counted, in both directions. */
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "conn/conn.h"
#include "check.h"
#include "dial.h"
#include "loop.h"
#include "ws.h"

enum {
	SECOND = 1000,
	HOUR = 3600 * SECOND,
	WEEK = 7 * 24 * HOUR,
	SLOW_MAX = 15 * 60 * SECOND,
};

static uint64_t seed;

/* The conn's own dice fall the same way each time. */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, (int)(seed * 37 + 1), len);
	return (ssize_t)len;
}

static uint64_t dice(uint64_t below)
{
	static uint64_t state;

	if (below == 0) {
		state = seed * 0x9e3779b97f4a7c15u;
		return 0;
	}
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % below;
}

/* --- the weather ---------------------------------------------------------------------------- */

enum weather {
	REFUSED,    /* connect() fails at once */
	HANGS,      /* connect() never ends */
	MUTE,       /* no answer to the handshake */
	OVERLOADED, /* 503, Retry-After: 7 */
	DENIED,     /* 401 */
	FLAPPING,   /* open, and 1006 after 40 s */
	RESTARTING, /* open, and 1012 */
	QUICK,      /* open, and 1000 within a second */
	HALF_OPEN,  /* open, and then silence */
	FAIR,       /* open for up to an hour, then 1006 */
	WEATHERS
};

static const struct {
	uint64_t least_ms, most_ms; /* to wait after it */
} waits[WEATHERS] = {
	[REFUSED] = {100, 60 * SECOND},
	[HANGS] = {100, 60 * SECOND},
	[MUTE] = {100, 60 * SECOND},
	[OVERLOADED] = {7 * SECOND, 60 * SECOND},
	[DENIED] = {60 * SECOND, SLOW_MAX + SLOW_MAX / 10},
	[FLAPPING] = {100, 60 * SECOND},
	[RESTARTING] = {5 * SECOND, 60 * SECOND},
	[QUICK] = {100, 66 * SECOND},
	[HALF_OPEN] = {100, 60 * SECOND},
	[FAIR] = {100, 60 * SECOND},
};

static struct {
	struct conn *conn;
	struct conn_watch watch;
	struct cursor cursor;
	enum weather weather;
	unsigned left; /* attempts of this weather still to come */
	struct timer script, traffic, reading;
	uint64_t dialed_ms, ended_ms, opened_ms;
	unsigned attempts, attempts_of[WEATHERS], opens;
	uint64_t written, refused; /* by our program */
	uint64_t got, next;        /* by the server: how many, and the lowest number to come */
	uint64_t fed;              /* by the server */
	uint64_t seen, seen_next;  /* by our reader */
	unsigned full;
} sim;

static void choose_weather(void)
{
	if (sim.left-- > 0)
		return;
	sim.weather = (enum weather)dice(WEATHERS);
	sim.left = (unsigned)dice(20);
}

static void on_dial(struct dial *dial)
{
	uint64_t now = loop_now_ms();

	(void)dial;
	if (sim.attempts > 0) {
		uint64_t waited = now - sim.ended_ms;

		CHECK(sim.ended_ms >= sim.dialed_ms); /* the one before has ended */
		CHECK(waited >= waits[sim.weather].least_ms);
		CHECK(waited <= waits[sim.weather].most_ms);
	}
	choose_weather();
	sim.dialed_ms = now;
	sim.attempts++;
	sim.attempts_of[sim.weather]++;
	timer_set(&sim.script, sim.weather == HANGS ? 30 * SECOND : dice(200));
}

static void on_changed(void *owner)
{
	(void)owner;
	if (conn_state(sim.conn) != CONN_WAITING)
		return;
	sim.ended_ms = loop_now_ms();
	timer_cancel(&sim.script);
}

/* How long it stays open, and how it ends then. */
static uint64_t open_time(void)
{
	switch (sim.weather) {
	case FLAPPING:
		return 40 * SECOND;
	case RESTARTING:
		return dice(60) * SECOND;
	case QUICK:
		return dice(SECOND);
	case FAIR:
		return dice(HOUR);
	default:
		return HOUR;
	}
}

static void storm(struct ws *ws)
{
	fake_ws_take(ws, dice(60)); /* somewhere in a message, maybe */
	fake_loop_settle();
	if (sim.weather == RESTARTING)
		fake_ws_end(ws, CAUSE_CLOSED, 1012, 1012, "restart");
	else if (sim.weather == QUICK)
		fake_ws_end(ws, CAUSE_CLOSED, 1000, 1000, "");
	else
		fake_ws_end(ws, CAUSE_CLOSED, 1006, 0, "");
}

static void handshake(struct ws *ws)
{
	if (sim.weather == OVERLOADED) {
		fake_ws_refused(ws, 503, 7 * SECOND);
	} else if (sim.weather == DENIED) {
		fake_ws_refused(ws, 401, 0);
	} else if (sim.weather != MUTE) {
		fake_ws_open(ws);
		sim.opens++;
		sim.opened_ms = loop_now_ms();
		timer_set(&sim.script, open_time());
	}
}

static void on_script(void *owner)
{
	struct dial *dial = fake_dial_now();
	struct ws *ws = fake_ws_now();

	(void)owner;
	if (dial && sim.weather == REFUSED) {
		fake_dial_fail(dial, CAUSE_CONNECT, 111);
	} else if (dial && sim.weather != HANGS) {
		fake_dial_connect(dial);
		timer_set(&sim.script, dice(300));
	} else if (ws && conn_state(sim.conn) == CONN_CONNECTING) {
		handshake(ws);
	} else if (ws && sim.weather != HALF_OPEN) {
		storm(ws);
	}
}

/* --- the traffic ---------------------------------------------------------------------------- */

/* The server's view of what we sent. */
static void check_got(void)
{
	for (size_t i = 0; i < fake_ws_got(); i++) {
		uint64_t number;

		if (strcmp(fake_ws_got_text(i), "hello") == 0)
			continue;
		number = strtoull(fake_ws_got_text(i), NULL, 10);
		CHECK(number >= sim.next);
		sim.next = number + 1;
		sim.got++;
	}
	fake_ws_forget();
}

static void write_one(void)
{
	char text[32];
	struct msg msg = {.kind = MSG_TEXT, .data = (const uint8_t *)text};
	const char *problem;

	msg.len = (size_t)snprintf(text, sizeof(text), "%" PRIu64, sim.written);
	if (conn_send(sim.conn, &msg, NULL, &problem) == CONN_QUEUED)
		sim.written++;
	else
		sim.full++;
}

static void answer_pings(struct ws *ws)
{
	if (!ws_ping_outstanding(ws))
		return;
	if (sim.weather == HALF_OPEN)
		fake_ws_set_silence(ws, 3 * HOUR);
	else
		fake_ws_pong(ws, 1000);
}

static void on_traffic(void *owner)
{
	struct ws *ws = fake_ws_now();
	char text[64];

	(void)owner;
	write_one();
	if (ws && conn_state(sim.conn) == CONN_OPEN) {
		if (sim.weather != HALF_OPEN) {
			snprintf(text, sizeof(text), "%" PRIu64, sim.fed++);
			fake_ws_text(ws, text);
		}
		answer_pings(ws);
		fake_ws_take(ws, sim.weather == HALF_OPEN ? 0 : 40 + dice(200));
	}
	fake_loop_settle();
	check_got();
	timer_set(&sim.traffic, 5 * SECOND + dice(4 * SECOND));
}

/* A program that looks now and then, and sometimes too late. */
static void on_reading(void *owner)
{
	struct position at = cursor_start(&sim.cursor);
	struct msg msg;

	(void)owner;
	while (cursor_read(&sim.cursor, &at, &msg)) {
		cursor_commit(&sim.cursor, &at);
		if (msg.kind == MSG_TEXT) {
			char text[32];
			uint64_t number;

			snprintf(text, sizeof(text), "%.*s", (int)msg.len, (const char *)msg.data);
			number = strtoull(text, NULL, 10);
			CHECK(number >= sim.seen_next);
			sim.seen_next = number + 1;
			sim.seen++;
		}
	}
	CHECK_EQ(sim.seen + sim.cursor.missed, sim.fed);
	timer_set(&sim.reading, dice(6 * HOUR));
}

/* --- the week ------------------------------------------------------------------------------- */

static void check_end(void)
{
	const struct conn_stats *stats = conn_get_stats(sim.conn);
	struct outbox_stats queue;
	struct spool_stats kept;

	outbox_get_stats(conn_outbox(sim.conn), &queue);
	spool_get_stats(conn_spool(sim.conn), &kept);
	CHECK_EQ(stats->attempts, sim.attempts);
	CHECK_EQ(stats->reconnects, sim.opens - 1);
	CHECK(sim.attempts > 1000 && sim.attempts < 40000);
	CHECK(sim.opens > 100);
	for (int i = 0; i < WEATHERS; i++)
		CHECK(sim.attempts_of[i] > 0);
	/* each message: with the server, counted as lost, or still waiting */
	CHECK_EQ(stats->sent_messages, sim.got);
	CHECK_EQ(sim.got + stats->unsent_messages + queue.queued_messages, sim.written);
	CHECK(stats->unsent_messages > 0);
	CHECK_EQ(stats->received_messages, sim.fed);
	CHECK_EQ(kept.dropped_messages, sim.cursor.missed);
	CHECK(sim.cursor.missed > 0 && sim.seen > sim.cursor.missed);
}

static void run(void)
{
	static struct records_pool pool;
	static char *on_open[] = {(char *)"hello", NULL};
	const struct conn_options options = {
		.url = (char *)"ws://example.org/",
		.ws.max_message_bytes = 1 << 20,
		.spool.keep_bytes = 48 * 1024,
		.outbox.queue_bytes = 2000,
		.on_open = on_open,
		.type = MSG_TEXT,
		.connect_timeout_ms = 20 * SECOND,
		.close_timeout_ms = 5 * SECOND,
		.ping_interval_ms = 25 * SECOND,
		.ping_timeout_ms = 20 * SECOND,
		.reconnect_delay_ms = SECOND,
		.reconnect_max_ms = 60 * SECOND,
	};

	dice(0);
	memset(&sim, 0, sizeof(sim));
	records_pool_init(&pool, 1 << 20);
	fake_ws_budget = 300;
	CHECK_EQ(conn_new(&sim.conn, "sim", &options, &pool), 0);
	CHECK_EQ(timer_init(&sim.script, on_script, NULL), 0);
	CHECK_EQ(timer_init(&sim.traffic, on_traffic, NULL), 0);
	CHECK_EQ(timer_init(&sim.reading, on_reading, NULL), 0);
	sim.watch = (struct conn_watch){.changed = on_changed};
	conn_watch_add(sim.conn, &sim.watch);
	cursor_open(&sim.cursor, conn_spool(sim.conn), CURSOR_OLDEST, "sim", NULL, NULL);
	fake_dial_started = on_dial;
	timer_set(&sim.traffic, 0);
	timer_set(&sim.reading, 0);
	conn_open(sim.conn);
	fake_loop_advance(WEEK);
	timer_cancel(&sim.traffic);
	on_reading(NULL);
	check_end();
	cursor_close(&sim.cursor);
	timer_done(&sim.script);
	timer_done(&sim.traffic);
	timer_done(&sim.reading);
	sim.conn = conn_free(sim.conn);
	CHECK_EQ(fake_loop_timers(), 0);
	CHECK_EQ(pool.used, 0);
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	log_set_level(LOG_LEVEL_ERROR);
	for (seed = 1; seed <= 6; seed++)
		run();
	return 0;
}
