/* conn: how it comes up, what follows when it ends, and what time, a reload and slow readers do to it. */
#include <errno.h>

#include "lone.h"

/* --- up ------------------------------------------------------------------------------------- */

static void check_opening(void)
{
	char *on_open[] = {(char *)"hello", (char *)"subscribe", NULL};
	const char *reason;

	options.on_open = on_open;
	make();
	CHECK_EQ(conn_state(conn), CONN_CLOSED);
	CHECK_STR(conn_name(conn), "test");
	CHECK_EQ(send_text("early"), CONN_QUEUED);
	CHECK(!conn_is_idle(conn));
	conn_open(conn);
	check_state(CONN_CONNECTING);
	CHECK_EQ(changes, 1);
	conn_open(conn); /* is on its way already */
	CHECK(!conn_tried(conn));
	CHECK_EQ(send_text("second"), CONN_QUEUED);
	go_on_to_open();
	CHECK(conn_tried(conn));
	CHECK_EQ(changes, 2);
	CHECK_EQ(fake_ws_got(), 4);
	CHECK_STR(fake_ws_got_text(0), "hello");
	CHECK_STR(fake_ws_got_text(1), "subscribe");
	CHECK_STR(fake_ws_got_text(2), "early");
	CHECK_STR(fake_ws_got_text(3), "second");
	CHECK_EQ(fake_ws_flushes(fake_ws_now()), 1); /* many messages, one write */
	CHECK(conn_is_idle(conn));
	CHECK_EQ(conn_get_stats(conn)->sent_messages, 2);
	CHECK_EQ(conn_get_stats(conn)->attempts, 1);
	CHECK_EQ(conn_http_status(conn), 101);
	CHECK_EQ(conn_close_code(conn, &reason), 0);
	CHECK(conn_ws(conn) == fake_ws_now());
	unmake();
}

/* The token is asked for at each attempt, before anything else, and everything can be stopped there. */
static void check_token_command(void)
{
	char *on_open[] = {(char *)"auth @token@", (char *)"subscribe", NULL};

	options.on_open = on_open;
	options.credentials.token_command = (char *)"a command";
	go_connecting();
	CHECK(fake_command_now() && !fake_dial_now());
	fake_command_end(fake_command_now(), "first\n", NULL);
	CHECK(!fake_command_now() && fake_dial_now());
	go_on_to_open();
	CHECK_EQ(fake_ws_got(), 2);
	CHECK_STR(fake_ws_got_text(0), "auth first");
	CHECK_STR(fake_ws_got_text(1), "subscribe");
	CHECK_EQ(send_text("news"), CONN_QUEUED); /* the greetings are forgotten by now */
	fake_loop_settle();
	CHECK_EQ(fake_ws_got(), 3);
	lose_link();
	wait_for_attempt();
	fake_command_end(fake_command_now(), "second", NULL);
	go_on_to_open();
	CHECK_STR(fake_ws_got_text(3), "auth second");
	lose_link();
	wait_for_attempt();
	fake_command_end(fake_command_now(), "", "ended with status 1");
	check_state(CONN_WAITING);
	CHECK(!fake_dial_now() && !fake_command_now());
	CHECK_EQ(conn_cause(conn)->class, CAUSE_LOCAL);
	CHECK_STR(conn_cause(conn)->text, "token-command ended with status 1");
	wait_for_attempt();
	fake_loop_advance(20000); /* connect-timeout */
	check_state(CONN_WAITING);
	CHECK(!fake_command_now());
	CHECK_EQ(conn_cause(conn)->class, CAUSE_TIMEOUT);
	CHECK(strstr(conn_cause(conn)->text, "while waiting for token-command"));
	wait_for_attempt();
	CHECK(fake_command_now());
	CHECK_EQ(conn_set_options(conn, &options), 0); /* begins anew */
	CHECK(fake_command_now());
	conn_pause(conn);
	check_state(CONN_CLOSED);
	CHECK(!fake_command_now());
	conn_open(conn);
	CHECK(fake_command_now());
	unmake(); /* in the middle */
	CHECK(!fake_command_now());
}

static void check_ends(void)
{
	struct cursor cursor = {0};
	struct position at;
	const char *reason;
	struct msg msg;

	go_open();
	fake_ws_text(fake_ws_now(), "news");
	cursor_open(&cursor, conn_spool(conn), CURSOR_OLDEST, "test", NULL, NULL);
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 4001, 4001, "go away");
	check_state(CONN_WAITING);
	CHECK(!conn_ws(conn));
	CHECK_EQ(conn_close_code(conn, &reason), 4001);
	CHECK_STR(reason, "go away");
	CHECK_EQ(conn_cause(conn)->class, CAUSE_CLOSED);
	at = cursor_start(&cursor);
	CHECK(cursor_read(&cursor, &at, &msg) && msg.kind == MSG_OPENED);
	CHECK(cursor_read(&cursor, &at, &msg) && msg.kind == MSG_TEXT);
	CHECK(cursor_read(&cursor, &at, &msg) && msg.kind == MSG_CLOSED);
	CHECK_EQ(msg.code, 4001);
	CHECK_EQ(msg.len, 7);
	CHECK(!cursor_read(&cursor, &at, &msg));

	wait_for_attempt();
	fake_dial_fail(fake_dial_now(), CAUSE_CONNECT, ECONNREFUSED);
	check_state(CONN_WAITING);
	cursor_commit(&cursor, &at);
	CHECK(cursor_at_end(&cursor)); /* an attempt that fails leaves no mark */
	CHECK_EQ(conn_close_code(conn, &reason), 4001);
	CHECK_EQ(conn_http_status(conn), 0);
	wait_for_attempt();
	go_handshake();
	fake_ws_refused(fake_ws_now(), 503, 7000);
	check_state(CONN_WAITING);
	CHECK_EQ(conn_http_status(conn), 503);
	CHECK_EQ(conn_close_code(conn, &reason), 4001);
	CHECK(conn_retry_in_ms(conn) >= 7000 && conn_retry_in_ms(conn) <= 7700);
	wait_for_attempt();
	go_on_to_open();
	CHECK_EQ(conn_get_stats(conn)->reconnects, 1);
	CHECK_EQ(conn_close_code(conn, &reason), 0);
	lose_link();
	CHECK_EQ(conn_close_code(conn, &reason), 1006);
	cursor_close(&cursor);
	unmake();
}

static void check_failing_starts(void)
{
	make();
	fake_dial_refuse(-EMFILE, 1);
	conn_open(conn);
	check_state(CONN_WAITING);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_LOCAL);
	CHECK(conn_retry_in_ms(conn) >= 100);
	wait_for_attempt();
	fake_ws_refuse(-ENOMEM);
	fake_dial_connect(fake_dial_now());
	check_state(CONN_WAITING);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_LOCAL);
	fake_dial_refuse(-EMFILE, 2);
	conn_reconnect(conn); /* asked for, but it is no tight loop either */
	check_state(CONN_WAITING);
	for (int i = 0; i < 2 && conn_state(conn) == CONN_WAITING; i++)
		fake_loop_advance(conn_retry_in_ms(conn));
	go_on_to_open();
	unmake();
}

/* --- the end by itself ---------------------------------------------------------------------- */

static void check_policy(void)
{
	static const struct {
		int reconnect;
		enum cause_class class;
		int code;
		enum conn_state state;
	} row[] = {
		{CONN_RECONNECT_ALWAYS, CAUSE_CLOSED, 1000, CONN_WAITING},
		{CONN_RECONNECT_ALWAYS, CAUSE_CLOSED, 1006, CONN_WAITING},
		{CONN_RECONNECT_ALWAYS, CAUSE_PROTOCOL, 1002, CONN_WAITING},
		{CONN_RECONNECT_ON_FAILURE, CAUSE_CLOSED, 1000, CONN_CLOSED},
		{CONN_RECONNECT_ON_FAILURE, CAUSE_CLOSED, 1001, CONN_CLOSED},
		{CONN_RECONNECT_ON_FAILURE, CAUSE_CLOSED, 1005, CONN_WAITING},
		{CONN_RECONNECT_ON_FAILURE, CAUSE_CLOSED, 1006, CONN_WAITING},
		{CONN_RECONNECT_ON_FAILURE, CAUSE_TIMEOUT, 0, CONN_WAITING},
		{CONN_RECONNECT_NEVER, CAUSE_CLOSED, 1000, CONN_CLOSED},
		{CONN_RECONNECT_NEVER, CAUSE_CLOSED, 1006, CONN_FAILED},
		{CONN_RECONNECT_NEVER, CAUSE_PROTOCOL, 1002, CONN_FAILED},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		options.reconnect = row[i].reconnect;
		go_open();
		fake_ws_end(fake_ws_now(), row[i].class, row[i].code,
			    row[i].class == CAUSE_CLOSED ? (uint16_t)row[i].code : 0, "");
		check_state(row[i].state);
		CHECK_EQ(conn_cause(conn)->class, row[i].class);
		CHECK_EQ(fake_loop_timers(), row[i].state == CONN_WAITING);
		unmake();
	}
	/* the server closes while we are about to: it stays closed, as we were asked */
	go_connecting();
	fake_ws_room = 10;
	fake_ws_budget = 0;
	go_on_to_open();
	send_text("0123456789");
	send_text("0123456789");
	fake_loop_settle();
	conn_close(conn, 1000, "");
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 1001, 1001, "");
	check_state(CONN_CLOSED);
	unmake();
}

/* --- time ----------------------------------------------------------------------------------- */

static void check_connect_timeout(void)
{
	go_connecting();
	fake_loop_advance(19999);
	check_state(CONN_CONNECTING);
	fake_loop_advance(1);
	check_state(CONN_WAITING);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_TIMEOUT);
	CHECK(strstr(conn_cause(conn)->text, "connecting to nowhere"));
	CHECK(!fake_dial_now());
	wait_for_attempt();
	fake_loop_advance(15000); /* one time for all of it, from names to the 101 */
	go_handshake();
	fake_loop_advance(4999);
	check_state(CONN_CONNECTING);
	fake_loop_advance(1);
	check_state(CONN_WAITING);
	CHECK(strstr(conn_cause(conn)->text, "handshake"));
	unmake();
}

static void check_keep_alive(void)
{
	go_open();
	fake_loop_advance(24999);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 0);
	fake_loop_advance(1);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	fake_loop_advance(5000);
	fake_ws_pong(fake_ws_now(), 12345);
	CHECK_EQ(conn_get_stats(conn)->rtt_us, 12345);
	fake_loop_advance(24999);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	fake_loop_advance(1);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 2);
	fake_loop_advance(19000);
	fake_ws_set_silence(fake_ws_now(), 500); /* something else came: a sign of life */
	fake_loop_advance(1000);
	check_state(CONN_OPEN);
	CHECK_EQ(fake_loop_next_ms(), 19500);
	fake_ws_set_silence(fake_ws_now(), 19999);
	fake_loop_advance(19500);
	check_state(CONN_OPEN);
	fake_ws_set_silence(fake_ws_now(), 20000);
	fake_loop_advance(1);
	check_state(CONN_WAITING);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_TIMEOUT);
	unmake();
}

static void check_other_pings(void)
{
	/* a ping that has not left is no silence of the server's, and no tight loop of ours */
	go_open();
	fake_loop_advance(25000);
	fake_ws_set_silence(fake_ws_now(), 0);
	fake_loop_advance(3600 * 1000);
	check_state(CONN_OPEN);
	unmake();

	options.ping_interval_ms = 0;
	go_open();
	CHECK_EQ(fake_loop_timers(), 0); /* idle costs nothing */
	fake_loop_advance(24 * 3600 * 1000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 0);
	check_state(CONN_OPEN);
	unmake();

	options.ping_timeout_ms = 0; /* pings to keep a middlebox awake, and no verdict */
	go_open();
	fake_loop_advance(25000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	fake_ws_set_silence(fake_ws_now(), 1000000);
	fake_loop_advance(1000000);
	check_state(CONN_OPEN);
	fake_ws_pong(fake_ws_now(), 1);
	fake_loop_advance(25000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 2);
	unmake();
}

/* --- overflow = block ----------------------------------------------------------------------- */

static void check_block(void)
{
	static const uint8_t bytes[500];
	struct cursor cursor;
	struct position at;
	struct msg msg;

	options.spool = (struct spool_options){.keep_bytes = 20000, .overflow = SPOOL_BLOCK};
	go_open();
	cursor_open(&cursor, conn_spool(conn), CURSOR_NEWEST, "test", NULL, NULL);
	cursor_set_live(&cursor, true);
	for (int i = 0; i < 1000 && !fake_ws_is_paused(fake_ws_now()); i++)
		fake_ws_message(fake_ws_now(), MSG_BINARY, bytes, sizeof(bytes));
	CHECK(fake_ws_is_paused(fake_ws_now()));
	lose_link();
	wait_for_attempt();
	go_on_to_open();
	CHECK(fake_ws_is_paused(fake_ws_now())); /* nothing has changed */
	at = cursor_start(&cursor);
	while (cursor_read(&cursor, &at, &msg))
		cursor_commit(&cursor, &at);
	CHECK(!fake_ws_is_paused(fake_ws_now()));
	CHECK_EQ(cursor.missed, 0);
	for (int i = 0; i < 1000 && !fake_ws_is_paused(fake_ws_now()); i++)
		fake_ws_message(fake_ws_now(), MSG_BINARY, bytes, sizeof(bytes));
	{
		struct conn_options drop = options;

		drop.spool.overflow = SPOOL_DROP;
		conn_set_options(conn, &drop);
		CHECK(!fake_ws_is_paused(fake_ws_now()));
		for (int i = 0; i < 1000; i++)
			fake_ws_message(fake_ws_now(), MSG_BINARY, bytes, sizeof(bytes));
		CHECK(!fake_ws_is_paused(fake_ws_now()));
		CHECK(cursor.missed > 0);
		cursor_close(&cursor);
		fake_loop_advance(200000); /* the log of the losses, a minute later */
		unmake();
	}
}

/* --- a reload ------------------------------------------------------------------------------- */

static void check_options(void)
{
	struct conn_options changed;
	unsigned starts;

	for (int handshake = 0; handshake < 2; handshake++) {
		bring(CONN_CONNECTING, handshake);
		starts = fake_dial_starts();
		changed = options;
		changed.url = (char *)"ws://other.example/";
		changed.connect_timeout_ms = 1000;
		CHECK_EQ(conn_set_options(conn, &changed), 0);
		memset(&options, 0, sizeof(options)); /* the old ones may go */
		check_state(CONN_CONNECTING);
		CHECK_EQ(fake_dial_starts(), starts + 1);
		CHECK_STR(conn_url(conn)->host, "other.example");
		CHECK(conn_options(conn) == &changed);
		fake_loop_advance(1000);
		check_state(CONN_WAITING);
		reset_options();
		unmake();
	}

	go_open();
	changed = options;
	changed.ping_interval_ms = 10000;
	conn_set_options(conn, &changed);
	fake_loop_advance(10000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	changed.ping_interval_ms = 0;
	conn_set_options(conn, &changed);
	CHECK_EQ(fake_loop_timers(), 0);
	check_state(CONN_OPEN);
	unmake();
}

static void check_new_greetings(void)
{
	char *three[] = {(char *)"0123456789", (char *)"0123456789", (char *)"c", NULL};
	char *copy[] = {(char *)"0123456789", (char *)"0123456789", (char *)"c", NULL};
	char *one[] = {(char *)"0123456789", NULL};
	struct conn_options changed;

	/* what of on-open has not gone yet goes on, if it is still wanted */
	for (int shorter = 0; shorter < 2; shorter++) {
		options.on_open = three;
		go_connecting();
		fake_ws_room = 20;
		fake_ws_budget = 0;
		go_on_to_open();
		changed = options;
		changed.on_open = shorter ? one : copy;
		conn_set_options(conn, &changed);
		memset(&options, 0, sizeof(options));
		fake_ws_take(fake_ws_now(), SIZE_MAX);
		fake_loop_settle();
		CHECK_EQ(fake_ws_got(), shorter ? 2 : 3);
		reset_options();
		unmake();
	}
}

static void check_bad_url(void)
{
	struct conn_options changed;

	/* a URL that is no URL leaves the old one, and the options are the new ones nevertheless */
	go_open();
	changed = options;
	changed.url = (char *)"http:";
	CHECK(conn_set_options(conn, &changed) < 0);
	CHECK_STR(conn_url(conn)->host, "example.org");
	CHECK(conn_options(conn) == &changed);
	check_state(CONN_OPEN);
	unmake();
	options.url = (char *)"nonsense";
	CHECK_EQ(conn_new(&conn, "test", &options, &pool), -EINVAL);
	reset_options();
}

/* --- watches -------------------------------------------------------------------------------- */

static struct conn_watch other;

static void on_changed_remove(void *owner)
{
	(void)owner;
	conn_watch_remove(&watch);
	conn_watch_remove(&other);
}

static void check_watches(void)
{
	make();
	other = (struct conn_watch){.changed = on_changed_remove};
	conn_watch_add(conn, &other);
	conn_open(conn);
	check_state(CONN_CONNECTING);
	CHECK_EQ(changes, 1);
	go_on_to_open();
	CHECK_EQ(changes, 1);
	conn_watch_add(conn, &other);
	conn_watch_add(conn, &watch); /* removed by the one before it, and so not called */
	lose_link();
	CHECK_EQ(changes, 1);
	unmake();
	for (int state = 0; state < CONN_STATES; state++) { /* free, at any time */
		bring((enum conn_state)state, true);
		send_text("left over");
		unmake();
	}
}

int main(void)
{
	lone_init();
	check_opening();
	check_token_command();
	check_ends();
	check_failing_starts();
	check_policy();
	check_connect_timeout();
	check_keep_alive();
	check_other_pings();
	check_block();
	check_options();
	check_new_greetings();
	check_bad_url();
	check_watches();
	return 0;
}
