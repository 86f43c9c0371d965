/* A week of a crowd in virtual time under fixed seeds: conns to a few hosts that answer whatever
 * there is to answer, at random: every class of cause, every status, Retry-After, redirects to each
 * other; on a network that changes all the time and a machine that sleeps now and then.
 *
 * Held against it: at each host never more than one is connecting; no wait is shorter than the
 * answer justifies, so nothing the servers do makes a tight loop; a redirect is followed so often
 * and no more; and nobody is forgotten in a queue. */
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "conn/conn.h"
#include "conn/turns.h"
#include "check.h"
#include "dial.h"
#include "loop.h"
#include "ws.h"

enum {
	SECOND = 1000,
	HOUR = 3600 * SECOND,
	WEEK = 7 * 24 * HOUR,
	CONNS = 12,
	HOSTS = 3,
	REDIRECTS = 3,
	LONGEST_WAIT = HOUR + HOUR / 10, /* of the longest Retry-After */
};

static uint64_t seed;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	static uint64_t state; /* each conn has dice of its own */

	(void)flags;
	state = state * 6364136223846793005u + seed;
	memset(buf, (int)(state >> 40), len);
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

static const int statuses[] = {200, 204, 300, 400, 401, 403, 404, 407, 408, 410,
			       418, 425, 426, 429, 451, 500, 502, 503, 504};
static const int moved[] = {301, 302, 303, 307, 308};
static const int closes[] = {1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009,
			     1010, 1011, 1012, 1013, 1014, 3000, 3003, 4000};
#define ANY(array) (array)[dice(sizeof(array) / sizeof((array)[0]))]

/* One conn, and what is known of it. */
struct one {
	struct conn *conn;
	struct conn_options options;
	char url[64], host[64], location[64];
	struct conn_watch watch;
	struct timer script;
	struct dial *dial; /* NULL: it is not dialing */
	struct ws *ws;
	uint64_t ended_ms, least_ms; /* the last end, and how long it must wait at least */
	uint64_t changed_ms;         /* of state */
	enum conn_state state;
	unsigned dials; /* in this attempt */
	uint64_t attempts, opens, dialed;
};

static struct one ones[CONNS];
static struct {
	struct turns *turns;
	struct timer weather;
	uint64_t dials, redirects, opens, changes, sleeps, longest_queue_ms;
	uint64_t ended_by[CAUSE_CLASSES];
} sim;

static bool in_queue(const struct one *one)
{
	char step[300];

	conn_describe_step(one->conn, step, sizeof(step));
	return strstr(step, "its turn");
}

/* --- the servers ---------------------------------------------------------------------------- */

static void on_dial(struct dial *dial)
{
	const struct url *url = fake_dial_url(dial);
	struct one *one = &ones[strtoul(url->target + 1, NULL, 10)];
	uint64_t now = loop_now_ms();

	snprintf(one->host, sizeof(one->host), "%s", url->host);
	for (struct one *other = ones; other < ones + CONNS; other++)
		if (other != one && conn_state(other->conn) == CONN_CONNECTING &&
		    strcmp(other->host, one->host) == 0)
			CHECK(!other->dial && !other->ws);
	one->dial = dial;
	one->ws = NULL;
	sim.dials++;
	one->dials++;
	one->dialed++;
	CHECK(one->dials <= REDIRECTS + 1);
	if (one->dials == 1 && one->ended_ms > 0)
		CHECK(now - one->ended_ms >= one->least_ms);
	timer_set(&one->script, dice(50) == 0 ? HOUR : dice(2 * SECOND));
}

static uint64_t least_wait(const struct cause *cause)
{
	if (cause->retry_after_ms)
		return cause->retry_after_ms;
	if (cause->class == CAUSE_TLS || cause->class == CAUSE_PROTOCOL)
		return 60 * SECOND;
	if (cause->class != CAUSE_HTTP)
		return 100;
	if (cause->code == 429 || cause->code == 503)
		return 5 * SECOND;
	return cause->code == 408 || cause->code == 425 || cause->code >= 500 ? 100 : 60 * SECOND;
}

static void on_changed(void *owner)
{
	struct one *one = owner;
	enum conn_state state = conn_state(one->conn);
	uint64_t now = loop_now_ms();

	if (state != CONN_CONNECTING || in_queue(one)) {
		one->dial = NULL;
		if (state != CONN_OPEN)
			one->ws = NULL;
		if (state != CONN_OPEN)
			timer_cancel(&one->script);
	}
	if (state == CONN_WAITING) {
		one->ws = NULL;
		one->ended_ms = now;
		one->least_ms = least_wait(conn_cause(one->conn));
		one->dials = 0;
		sim.ended_by[conn_cause(one->conn)->class]++;
		CHECK(conn_retry_in_ms(one->conn) <= LONGEST_WAIT);
	}
	if (one->state == CONN_CONNECTING && now - one->changed_ms > sim.longest_queue_ms)
		sim.longest_queue_ms = now - one->changed_ms;
	one->state = state;
	one->changed_ms = now;
}

static void answer_no(struct one *one)
{
	static const uint32_t after[] = {0, 0, 1000, 7000, 90000, HOUR};

	struct ws *ws = one->ws;

	one->ws = NULL; /* whatever it answers, it ends */
	switch (dice(4)) {
	case 0:
		snprintf(one->location, sizeof(one->location), "ws://host%u/%u",
			 (unsigned)dice(HOSTS), (unsigned)(one - ones));
		sim.redirects++;
		fake_ws_redirect(ws, ANY(moved), one->location);
		break;
	case 1:
		fake_ws_end(ws, CAUSE_CLOSED, 1006, 0, "");
		break;
	case 2:
		fake_ws_end(ws, dice(2) ? CAUSE_TLS : CAUSE_PROTOCOL, 1002, 0, "");
		break;
	default:
		fake_ws_refused(ws, ANY(statuses), ANY(after));
		break;
	}
}

static void on_script(void *owner)
{
	static const enum cause_class failures[] = {CAUSE_DNS, CAUSE_CONNECT, CAUSE_PROXY,
						    CAUSE_TLS, CAUSE_LOCAL,   CAUSE_CLOSED};
	struct one *one = owner;
	struct dial *dial = one->dial;

	one->dial = NULL;
	if (dial && dice(3) == 0) {
		fake_dial_fail(dial, ANY(failures), dice(2) ? 0 : 407);
	} else if (dial) {
		fake_dial_connect(dial);
		one->ws = fake_ws_now();
		timer_set(&one->script, dice(40) == 0 ? HOUR : dice(2 * SECOND));
	} else if (one->ws && conn_state(one->conn) == CONN_CONNECTING && dice(3) > 0) {
		answer_no(one);
	} else if (one->ws && conn_state(one->conn) == CONN_CONNECTING) {
		fake_ws_open(one->ws);
		one->opens++;
		timer_set(&one->script, dice(dice(2) ? SECOND : 10 * 60 * SECOND));
	} else if (one->ws && conn_state(one->conn) == CONN_OPEN) {
		int code = ANY(closes);

		fake_ws_end(one->ws, CAUSE_CLOSED, code, (uint16_t)code, "");
	}
}

/* The network changes all the time, and once in a while the machine sleeps; somebody reconnects by
 * hand. */
static void on_weather(void *owner)
{
	bool slept = dice(500) == 0;

	(void)owner;
	sim.changes++;
	sim.sleeps += slept;
	for (struct one *one = ones; one < ones + CONNS; one++) {
		if (slept) {
			if (conn_state(one->conn) == CONN_CONNECTING)
				one->dials = 0; /* it begins anew */
			conn_resumed(one->conn);
		} else {
			conn_network_changed(one->conn);
		}
	}
	timer_set(&sim.weather, dice(60 * SECOND));
}

/* --- the week ------------------------------------------------------------------------------- */

static void begin(struct records_pool *pool)
{
	memset(&sim, 0, sizeof(sim));
	memset(ones, 0, sizeof(ones));
	CHECK_EQ(turns_new(&sim.turns), 0);
	CHECK_EQ(timer_init(&sim.weather, on_weather, NULL), 0);
	for (unsigned i = 0; i < CONNS; i++) {
		struct one *one = &ones[i];

		snprintf(one->url, sizeof(one->url), "ws://host%u/%u", i % HOSTS, i);
		one->options = (struct conn_options){
			.url = one->url,
			.ws.max_message_bytes = 1 << 20,
			.spool.keep_bytes = 4096,
			.outbox.queue_bytes = 2000,
			.type = MSG_TEXT,
			.max_redirects = REDIRECTS,
			.connect_timeout_ms = 20 * SECOND,
			.close_timeout_ms = 5 * SECOND,
			.reconnect_delay_ms = SECOND,
			.reconnect_max_ms = 60 * SECOND,
		};
		CHECK_EQ(conn_new(&one->conn, "sim", &one->options, pool), 0);
		conn_use_turns(one->conn, sim.turns);
		CHECK_EQ(timer_init(&one->script, on_script, one), 0);
		one->state = CONN_CLOSED;
		one->watch = (struct conn_watch){.changed = on_changed, .owner = one};
		conn_watch_add(one->conn, &one->watch);
	}
}

static void end(void)
{
	uint64_t attempts = 0;

	for (struct one *one = ones; one < ones + CONNS; one++) {
		one->attempts = conn_get_stats(one->conn)->attempts;
		attempts += one->attempts;
		sim.opens += one->opens;
		CHECK(one->attempts > 500);                 /* nobody was forgotten */
		CHECK(one->attempts < WEEK / (5 * SECOND)); /* one in 5 s, and a flapping network */
		CHECK(one->opens > 50);
		timer_done(&one->script);
		one->conn = conn_free(one->conn);
	}
	for (int class = CAUSE_DNS; class < CAUSE_OPERATOR; class ++)
		CHECK(class == CAUSE_TOO_BIG || class == CAUSE_LOGIN || sim.ended_by[class] > 0);
	CHECK(sim.redirects > 1000 && sim.sleeps > 5);
	timer_done(&sim.weather);
	sim.turns = turns_free(sim.turns);
	printf("seed %" PRIu64 ": %" PRIu64 " attempts, %" PRIu64 " dials, %" PRIu64
	       " redirects, %" PRIu64 " opens, %" PRIu64 " changes of the network, %" PRIu64
	       " sleeps; longest in connecting %" PRIu64 " s\n",
	       seed, attempts, sim.dials, sim.redirects, sim.opens, sim.changes, sim.sleeps,
	       sim.longest_queue_ms / SECOND);
}

static void run(void)
{
	struct records_pool pool;

	dice(0);
	records_pool_init(&pool, 1 << 20);
	begin(&pool);
	for (struct one *one = ones; one < ones + CONNS; one++)
		conn_open(one->conn);
	timer_set(&sim.weather, 0);
	fake_loop_advance(WEEK);
	end();
	fake_loop_settle();
	CHECK_EQ(fake_loop_timers(), 0);
	CHECK_EQ(pool.used, 0);
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	log_set_level(LOG_LEVEL_ERROR);
	fake_dial_many = fake_ws_many = true;
	fake_dial_started = on_dial;
	for (seed = 1; seed <= 3; seed++)
		run();
	return 0;
}
