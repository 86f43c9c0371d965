/* How conns get to their servers: redirects, turns, and what a changed network or a resume does to
 * those that wait.  Dial, ws and time are the test's. */
#include <string.h>

#include "base/log.h"
#include "conn/conn.h"
#include "conn/turns.h"
#include "check.h"
#include "dial.h"
#include "loop.h"
#include "ws.h"

enum { CONNS = 3 };

static char *headers[] = {(char *)"X-Key: secret", NULL};
static struct records_pool pool;
static struct conn_options options, other_options;
static struct turns *turns;
static struct conn *conn[CONNS];

static void make(void)
{
	options = (struct conn_options){
		.url = (char *)"ws://u:p@example.org/feed",
		.ws = {.max_message_bytes = 1000, .upgrade.headers = headers},
		.spool.keep_bytes = 1 << 20,
		.outbox.queue_bytes = 4096,
		.type = MSG_TEXT,
		.connect_timeout_ms = 20000,
		.close_timeout_ms = 5000,
		.ping_interval_ms = 25000,
		.ping_timeout_ms = 20000,
		.reconnect = CONN_RECONNECT_ALWAYS,
		.reconnect_delay_ms = 1000,
		.reconnect_max_ms = 600000,
		.max_redirects = 2,
	};
	CHECK_EQ(turns_new(&turns), 0);
	for (int i = 0; i < CONNS; i++) {
		CHECK_EQ(conn_new(&conn[i], "test", &options, &pool), 0);
		conn_use_turns(conn[i], turns);
	}
}

static void unmake(void)
{
	for (int i = 0; i < CONNS; i++)
		conn[i] = conn_free(conn[i]);
	turns = turns_free(turns);
	fake_loop_settle();
	CHECK_EQ(fake_loop_timers(), 0);
	CHECK(!fake_ws_now() && !fake_dial_now());
}

#define check_state(i, expected)                                                                   \
	do {                                                                                       \
		fake_loop_settle();                                                                \
		CHECK_STR(conn_state_names[conn_state(conn[i])], conn_state_names[expected]);      \
	} while (0)

static const char *step(int i)
{
	static char text[300];

	conn_describe_step(conn[i], text, sizeof(text));
	return text;
}

/* --- redirects ------------------------------------------------------------------------------ */

static void redirect_to(int status, const char *location)
{
	fake_dial_connect(fake_dial_now());
	fake_ws_redirect(fake_ws_now(), status, location);
	fake_loop_settle();
}

static void check_redirects(void)
{
	const struct ws_options *said;
	unsigned attempts;

	make();
	conn_open(conn[0]);
	attempts = fake_dial_starts();
	redirect_to(301, "/other");
	check_state(0, CONN_CONNECTING);
	CHECK_STR(conn_redirected_to(conn[0]), "ws://example.org/other");
	CHECK_EQ(fake_dial_starts(), attempts + 1);
	redirect_to(307, "wss://elsewhere/x");
	CHECK_STR(fake_dial_url(fake_dial_now())->host, "elsewhere");
	fake_dial_connect(fake_dial_now());
	CHECK_STR(fake_ws_url(fake_ws_now(), &said)->target, "/x");
	CHECK(!said->upgrade.headers && !fake_ws_url(fake_ws_now(), &said)->user);
	CHECK_STR(step(0), "waiting for the answer to the handshake");
	fake_ws_open(fake_ws_now());
	check_state(0, CONN_OPEN);
	CHECK_STR(step(0), "");
	CHECK_STR(conn_redirected_to(conn[0]), "wss://elsewhere/x");
	CHECK_STR(conn_url(conn[0])->display, "ws://example.org/feed");
	CHECK_EQ(conn_get_stats(conn[0])->attempts, 1);
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 1006, 0, "");
	check_state(0, CONN_WAITING);
	CHECK(!conn_redirected_to(conn[0]));
	fake_loop_advance(conn_retry_in_ms(conn[0]));
	CHECK_STR(fake_dial_url(fake_dial_now())->target, "/feed"); /* 301 is not remembered */
	redirect_to(302, "a");
	redirect_to(302, "a");
	redirect_to(302, "a");
	check_state(0, CONN_WAITING);
	CHECK_STR(conn_cause(conn[0])->text,
		  "HTTP 302 redirects to ws://example.org/a (max-redirects is 2)");
	CHECK_EQ(conn_http_status(conn[0]), 302);
	CHECK(conn_retry_in_ms(conn[0]) >= 60000); /* time does not mend it */
	unmake();
}

/* One connect-timeout for all of it; and a close or a reload in the middle. */
static void check_redirects_in_time(void)
{
	make();
	conn_open(conn[0]);
	fake_loop_advance(15000);
	redirect_to(302, "a");
	fake_loop_advance(4999);
	check_state(0, CONN_CONNECTING);
	fake_loop_advance(1);
	check_state(0, CONN_WAITING);
	CHECK_EQ(conn_cause(conn[0])->class, CAUSE_TIMEOUT);
	conn_open(conn[0]);
	redirect_to(302, "a");
	other_options = options;
	CHECK_EQ(conn_set_options(conn[0], &other_options), 0);
	check_state(0, CONN_CONNECTING);
	CHECK_STR(fake_dial_url(fake_dial_now())->target, "/feed");
	redirect_to(302, "a");
	conn_close(conn[0], 1000, "");
	check_state(0, CONN_CLOSED);
	fake_dial_refuse(-24, 0);
	conn_open(conn[0]);
	fake_dial_connect(fake_dial_now());
	fake_dial_refuse(-24, 1); /* no descriptor for the second dial */
	fake_ws_redirect(fake_ws_now(), 302, "a");
	check_state(0, CONN_WAITING);
	CHECK_EQ(conn_cause(conn[0])->class, CAUSE_LOCAL);
	unmake();
}

/* --- turns ---------------------------------------------------------------------------------- */

static void check_turns(void)
{
	make();
	for (int i = 0; i < CONNS; i++)
		conn_open(conn[i]);
	fake_loop_settle(); /* fake/dial allows one at a time */
	CHECK_STR(step(0), "connecting to nowhere");
	CHECK_STR(step(1), "waiting for its turn at example.org:80");
	CHECK(!conn_tried(conn[1]));
	fake_loop_advance(19999);
	check_state(0, CONN_CONNECTING);
	fake_loop_advance(1); /* it hangs: its connect-timeout gives the next one his turn */
	check_state(0, CONN_WAITING);
	check_state(1, CONN_CONNECTING);
	CHECK(conn_tried(conn[2])); /* the daemon is ready though it waits */
	CHECK_STR(step(1), "connecting to nowhere");
	fake_loop_advance(10000);
	conn_close(conn[0], 1000, "");
	fake_loop_advance(9999);
	check_state(1, CONN_CONNECTING); /* its own time began with its turn */
	fake_dial_connect(fake_dial_now());
	CHECK_STR(step(2), "waiting for its turn at example.org:80"); /* the handshake counts */
	fake_ws_open(fake_ws_now());
	check_state(1, CONN_OPEN);
	CHECK_STR(step(2), "connecting to nowhere"); /* at once */
	fake_dial_fail(fake_dial_now(), CAUSE_CONNECT, 111);
	check_state(2, CONN_WAITING);
	unmake();
}

static void check_leaving_the_queue(void)
{
	make();
	for (int i = 0; i < CONNS; i++)
		conn_open(conn[i]);
	conn_close(conn[1], 1000, "");
	check_state(1, CONN_CLOSED);
	other_options = options;
	other_options.url = (char *)"ws://example.com/";
	CHECK_EQ(conn_set_options(conn[0], &other_options),
		 0); /* it leaves the queue of the old host */
	conn_close(conn[0], 1000, "");
	check_state(0, CONN_CLOSED);
	check_state(2, CONN_CONNECTING);
	CHECK_STR(step(2), "connecting to nowhere");
	conn_open(conn[1]);
	conn_reconnect(conn[1]);
	CHECK_STR(step(1), "waiting for its turn at example.org:80");
	conn[2] = conn_free(conn[2]);
	fake_loop_settle();
	CHECK_STR(step(1), "connecting to nowhere");
	unmake();
}

/* --- the network and the machine ------------------------------------------------------------ */

/* Until the wait for the next attempt is long. */
static void wait_long(enum cause_class class, int code)
{
	conn_open(conn[0]);
	for (int i = 0; i < 100; i++) {
		fake_dial_fail(fake_dial_now(), class, code);
		check_state(0, CONN_WAITING);
		if (conn_retry_in_ms(conn[0]) > 60000)
			return;
		conn_open(conn[0]);
	}
	CHECK(!"a long wait");
}

static void check_network(void)
{
	unsigned starts;

	make();
	wait_long(CAUSE_CONNECT, 101);
	starts = fake_dial_starts();
	conn_network_changed(conn[0]);
	CHECK(conn_retry_in_ms(conn[0]) <= 500);
	fake_loop_advance(500);
	CHECK_EQ(fake_dial_starts(), starts + 1);
	conn_network_changed(conn[0]); /* nothing to it while it is connecting */
	fake_dial_fail(fake_dial_now(), CAUSE_CONNECT, 101);
	for (int i = 0; i < 100 && conn_retry_in_ms(conn[0]) < 60000; i++) {
		conn_open(conn[0]);
		fake_dial_fail(fake_dial_now(), CAUSE_CONNECT, 101);
	}
	conn_network_changed(conn[0]);
	CHECK(conn_retry_in_ms(conn[0]) > 4000 && conn_retry_in_ms(conn[0]) <= 5500);
	wait_long(CAUSE_TLS, 10);
	fake_loop_advance(10000);
	conn_network_changed(conn[0]);
	CHECK(conn_retry_in_ms(conn[0]) > 10000);
	unmake();
}

static void check_resume(void)
{
	unsigned starts;

	make();
	conn_open(conn[0]);
	starts = fake_dial_starts();
	conn_resumed(conn[0]); /* what it was connecting to is long gone */
	CHECK_EQ(fake_dial_starts(), starts + 1);
	check_state(0, CONN_CONNECTING);
	fake_dial_connect(fake_dial_now());
	fake_ws_open(fake_ws_now());
	check_state(0, CONN_OPEN);
	conn_resumed(conn[0]);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	CHECK_EQ(fake_loop_next_ms(), 20000);
	fake_ws_set_silence(fake_ws_now(), 3600000);
	conn_resumed(conn[0]); /* the pong may be here, and not read yet */
	CHECK_EQ(ws_silence_ms(fake_ws_now()), 0);
	CHECK_EQ(fake_loop_next_ms(), 20000);
	fake_ws_set_silence(fake_ws_now(), 20000);
	fake_loop_advance(20000);
	check_state(0, CONN_WAITING);
	wait_long(CAUSE_DNS, -2);
	conn_resumed(conn[0]);
	CHECK(conn_retry_in_ms(conn[0]) <= 500);
	conn_close(conn[0], 1000, "");
	conn_resumed(conn[0]);
	check_state(0, CONN_CLOSED);
	unmake();
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	log_set_level(LOG_LEVEL_ERROR);
	records_pool_init(&pool, 1 << 24);
	check_redirects();
	check_redirects_in_time();
	check_turns();
	check_leaving_the_queue();
	check_network();
	check_resume();
	return 0;
}
