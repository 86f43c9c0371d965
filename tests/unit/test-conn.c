/* conn: what each order and each piece of news does in each state, and that no message is lost in
 * silence or sent twice, wherever the link breaks.  Dial, ws and time are the test's. */
#include "conn/conn.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "check.h"
#include "command.h"
#include "dial.h"
#include "loop.h"
#include "ws.h"

static struct records_pool pool;
static struct conn_options options;
static struct conn *conn;
static unsigned changes;

static void on_changed(void *owner)
{
	(void)owner;
	changes++;
}

static struct conn_watch watch;

static void reset_options(void)
{
	options = (struct conn_options){
		.url = (char *)"ws://example.org/feed",
		.ws.max_message_bytes = 1000,
		.spool.keep_bytes = 1 << 20,
		.outbox.queue_bytes = 4096,
		.type = MSG_TEXT,
		.connect_timeout_ms = 20000,
		.close_timeout_ms = 5000,
		.ping_interval_ms = 25000,
		.ping_timeout_ms = 20000,
		.reconnect = CONN_RECONNECT_ALWAYS,
		.reconnect_delay_ms = 1000,
		.reconnect_max_ms = 60000,
	};
}

static void make(void)
{
	fake_ws_budget = SIZE_MAX;
	fake_ws_room = 64 * 1024;
	fake_ws_forget();
	changes = 0;
	CHECK_EQ(conn_new(&conn, "test", &options, &pool), 0);
	watch = (struct conn_watch){.changed = on_changed};
	conn_watch_add(conn, &watch);
}

static void unmake(void)
{
	conn_watch_remove(&watch);
	conn = conn_free(conn);
	fake_loop_settle();
	CHECK_EQ(fake_loop_timers(), 0);
	CHECK(!fake_ws_now() && !fake_dial_now());
	CHECK_EQ(pool.used, 0);
	fake_ws_forget();
	reset_options();
}

/* A macro, so that a failure names its line. */
#define check_state(expected)                                                                      \
	do {                                                                                       \
		fake_loop_settle();                                                                \
		CHECK_STR(conn_state_names[conn_state(conn)], conn_state_names[expected]);         \
	} while (0)

static void go_connecting(void)
{
	make();
	conn_open(conn);
	check_state(CONN_CONNECTING);
}

static void go_handshake(void)
{
	fake_dial_connect(fake_dial_now());
	check_state(CONN_CONNECTING);
	CHECK(!conn_ws(conn));
}

static void go_on_to_open(void)
{
	go_handshake();
	fake_ws_open(fake_ws_now());
	check_state(CONN_OPEN);
}

static void go_open(void)
{
	go_connecting();
	go_on_to_open();
}

/* From waiting to the next attempt. */
static void wait_for_attempt(void)
{
	check_state(CONN_WAITING);
	CHECK(conn_retry_in_ms(conn) > 0);
	fake_loop_advance(conn_retry_in_ms(conn));
	check_state(CONN_CONNECTING);
}

static void lose_link(void)
{
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 1006, 0, "");
	fake_loop_settle();
	CHECK(!fake_ws_now());
}

static int send_text(const char *text)
{
	const struct msg msg = {
		.kind = MSG_TEXT,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};
	const char *problem = NULL;

	return conn_send(conn, &msg, NULL, &problem);
}

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

/* --- between the upgrade and open ------------------------------------------------------------- */

static struct opening *opening;
static unsigned logins, logins_freed;
static int login_error;

static int fake_login_start(struct login **ret, void *owner, struct conn *of, struct opening *its)
{
	CHECK(owner == &logins && of == conn);
	if (login_error)
		return login_error;
	logins++;
	opening = its;
	*ret = (struct login *)&logins;
	return 0;
}

static struct login *fake_login_free(struct login *login)
{
	logins_freed += login != NULL;
	return NULL;
}

static const struct opening_runner runner = {fake_login_start, fake_login_free, &logins};

static void go_login(void)
{
	options.opening.login = (char *)"a command";
	logins = logins_freed = 0;
	make();
	conn_set_runner(conn, &runner);
	conn_open(conn);
	fake_loop_settle();
	go_handshake();
	fake_ws_open(fake_ws_now());
	check_state(CONN_CONNECTING);
}

static void say(const char *text, int expected)
{
	static struct outbox_waiter waiter;
	const struct msg msg = {MSG_TEXT, .data = (const uint8_t *)text, .len = strlen(text)};
	const char *problem = "";

	CHECK_EQ(opening_say(opening, &msg, &waiter, &problem), expected);
	fake_loop_settle();
}

static uint64_t received(void)
{
	struct spool_stats stats;

	spool_get_stats(conn_spool(conn), &stats);
	return stats.kept_messages;
}

/* It hears what comes and says what it likes; then greetings, then the queue, and the rest is for all. */
static void check_login(void)
{
	char *on_open[] = {(char *)"hello", NULL};
	struct msg newest;

	options.on_open = on_open;
	go_login();
	CHECK_EQ(logins, 1);
	CHECK_EQ(send_text("queued"), CONN_QUEUED);
	fake_ws_text(fake_ws_now(), "challenge");
	fake_ws_text(fake_ws_now(), "unread");
	CHECK_EQ(received(), 0);
	say("answer", CONN_QUEUED);
	say("\xff", CONN_REFUSED);
	CHECK_EQ(fake_ws_got(), 1);
	CHECK_STR(fake_ws_got_text(0), "answer");
	CHECK_EQ(spool_next_seq(opening_heard(opening)) - 1, 1);
	opening_login_ended(opening, NULL, spool_next_seq(opening_heard(opening)) - 1);
	check_state(CONN_OPEN);
	CHECK_EQ(logins_freed, 1);
	CHECK_EQ(received(), 1);
	CHECK(spool_newest(conn_spool(conn), &newest) && memcmp(newest.data, "unread", 6) == 0);
	CHECK_EQ(fake_ws_got(), 3);
	CHECK_STR(fake_ws_got_text(1), "hello");
	CHECK_STR(fake_ws_got_text(2), "queued");
	unmake();
}

static void check_login_fails(void)
{
	struct cause cause;

	options.reconnect_max_ms = 60000;
	go_login();
	cause_set(&cause, CAUSE_LOGIN, 77, "login ended with status 77");
	opening_login_ended(opening, &cause, 0);
	check_state(CONN_WAITING);
	CHECK(conn_retry_in_ms(conn) >= 60000);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_LOGIN);
	CHECK_EQ(received(), 0);
	fake_loop_advance(conn_retry_in_ms(conn));
	go_handshake();
	fake_ws_open(fake_ws_now());
	check_state(CONN_CONNECTING);
	CHECK_EQ(logins, 2);
	fake_loop_advance(20000);
	check_state(CONN_WAITING);
	CHECK_EQ(logins_freed, 2);
	CHECK(strstr(conn_cause(conn)->text, "while waiting for the command of login to end"));
	wait_for_attempt();
	login_error = -EMFILE;
	go_handshake();
	fake_ws_open(fake_ws_now());
	check_state(CONN_WAITING);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_LOCAL);
	login_error = 0;
	wait_for_attempt();
	go_handshake();
	fake_ws_open(fake_ws_now());
	conn_close(conn, 1000, "enough");
	check_state(CONN_CLOSED);
	CHECK_EQ(logins_freed, 3);
	unmake();
}

/* Two ahead of the first greeting, one behind it; the second greeting goes when it is open. */
static void check_expect(void)
{
	char *on_open[] = {(char *)"one", (char *)"two", NULL};
	char *expect[] = {(char *)"first", (char *)"-", (char *)"/n=3", (char *)"-", NULL};

	options.on_open = on_open;
	options.opening.expect = expect;
	go_connecting();
	CHECK_EQ(send_text("queued"), CONN_QUEUED);
	go_handshake();
	fake_ws_open(fake_ws_now());
	check_state(CONN_CONNECTING);
	fake_ws_text(fake_ws_now(), "{\"n\":3}");
	check_state(CONN_CONNECTING);
	CHECK_EQ(fake_ws_got(), 0);
	fake_ws_text(fake_ws_now(), "the first one");
	fake_loop_settle();
	CHECK_EQ(fake_ws_got(), 1);
	fake_ws_text(fake_ws_now(), "{\"n\":3}");
	check_state(CONN_OPEN);
	CHECK_EQ(fake_ws_got(), 3);
	CHECK_STR(fake_ws_got_text(0), "one");
	CHECK_STR(fake_ws_got_text(1), "two");
	CHECK_STR(fake_ws_got_text(2), "queued");
	CHECK_EQ(received(), 3);
	unmake();
}

/* --- sending -------------------------------------------------------------------------------- */

static void check_rejections(void)
{
	struct msg msg = {.kind = MSG_TEXT, .data = (const uint8_t *)"\xff\xfe", .len = 2};
	static uint8_t large[2000];
	const char *problem = NULL;

	go_open();
	CHECK_EQ(conn_send(conn, &msg, NULL, &problem), CONN_REFUSED);
	CHECK(problem && strstr(problem, "UTF-8"));
	msg.kind = MSG_BINARY;
	CHECK_EQ(conn_send(conn, &msg, NULL, &problem), CONN_QUEUED);
	msg = (struct msg){.kind = MSG_BINARY, .data = large, .len = 1001};
	problem = NULL;
	CHECK_EQ(conn_send(conn, &msg, NULL, &problem), CONN_REFUSED);
	CHECK(problem && strstr(problem, "max-message"));
	msg.len = 1000;
	CHECK_EQ(conn_send(conn, &msg, NULL, &problem), CONN_QUEUED);
	CHECK_EQ(conn_get_stats(conn)->rejected_messages, 2);
	conn_count_rejected(conn);
	CHECK_EQ(conn_get_stats(conn)->rejected_messages, 3);
	fake_loop_settle();
	CHECK_EQ(fake_ws_got(), 2);
	unmake();
}

static unsigned rooms;

static void on_room(void *owner)
{
	(void)owner;
	rooms++;
}

static void check_full(void)
{
	static const uint8_t bytes[1000];
	const struct msg msg = {.kind = MSG_BINARY, .data = bytes, .len = sizeof(bytes)};
	struct outbox_waiter waiter = {.room = on_room};
	const char *problem;

	rooms = 0;
	fake_ws_budget = 0;
	go_connecting();
	fake_ws_budget = 0;
	go_on_to_open();
	for (int i = 0; i < 4; i++)
		CHECK_EQ(conn_send(conn, &msg, &waiter, &problem), CONN_QUEUED);
	CHECK_EQ(conn_send(conn, &msg, &waiter, &problem), CONN_FULL);
	fake_loop_settle();
	CHECK_EQ(rooms, 0);
	fake_ws_take(fake_ws_now(), 2500);
	fake_loop_settle();
	CHECK_EQ(rooms, 1);
	CHECK_EQ(conn_get_stats(conn)->sent_messages, 2);
	CHECK_EQ(conn_send(conn, &msg, &waiter, &problem), CONN_QUEUED);
	unmake();
}

static void check_send_error(void)
{
	go_open();
	fake_ws_send_error = -ENOMEM;
	CHECK_EQ(send_text("first"), CONN_QUEUED);
	check_state(CONN_WAITING);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_LOCAL);
	fake_ws_send_error = 0;
	wait_for_attempt();
	go_on_to_open();
	CHECK_EQ(fake_ws_got(), 1);
	unmake();
}

/* The link breaks at byte BREAK of the stream, FIRST messages having been queued before the open.
 */
static bool break_at(size_t position, int first)
{
	static const char *const text[] = {"one", "two", "", "the fourth message", "five"};
	char *on_open[] = {(char *)"hi", NULL};
	const int n = 5;
	size_t total = 2 + FAKE_WS_HEAD, at = total, expected = 0;
	int half = -1;

	options.on_open = on_open;
	go_connecting();
	fake_ws_budget = position;
	for (int i = 0; i < n; i++)
		total += strlen(text[i]) + FAKE_WS_HEAD;
	for (int i = 0; i < first; i++)
		CHECK_EQ(send_text(text[i]), CONN_QUEUED);
	go_on_to_open();
	for (int i = first; i < n; i++) {
		CHECK_EQ(send_text(text[i]), CONN_QUEUED);
		fake_loop_settle();
	}
	lose_link();
	for (int i = 0; i < n; i++) {
		size_t end = at + strlen(text[i]) + FAKE_WS_HEAD;

		if (at < position && position < end)
			half = i;
		at = end;
	}
	fake_ws_budget = SIZE_MAX;
	wait_for_attempt();
	go_on_to_open();
	/* greetings are no queued messages: here they only stand between them */
	for (size_t i = 0; i < fake_ws_got(); i++) {
		if (strcmp(fake_ws_got_text(i), "hi") == 0)
			continue;
		if ((int)expected == half)
			expected++;
		CHECK((int)expected < n);
		CHECK_STR(fake_ws_got_text(i), text[expected++]);
	}
	if ((int)expected == half)
		expected++;
	CHECK_EQ(expected, n);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, half >= 0);
	CHECK_EQ(conn_get_stats(conn)->sent_messages, n - (half >= 0));
	CHECK(conn_is_idle(conn));
	unmake();
	return position < total;
}

static void check_losses(void)
{
	for (int first = 0; first <= 5; first++)
		for (size_t position = 0; break_at(position, first); position++)
			continue;
}

/* A slow link that breaks again and again, in the middle of anything. */
static void check_flapping(void)
{
	uint64_t put = 0, next = 0, lost = 0;
	char text[32];

	options.outbox.queue_bytes = 500;
	go_connecting();
	for (unsigned session = 0; session < 400; session++) {
		fake_ws_budget = 0;
		fake_ws_room = 30 + session % 100;
		go_on_to_open();
		for (unsigned i = 0; i < 5 + session % 7; i++) {
			snprintf(text, sizeof(text), "%d", (int)put);
			if (send_text(text) == CONN_QUEUED)
				put++;
			fake_ws_take(fake_ws_now(), (session * 7 + i * 13) % 40);
			fake_loop_settle();
		}
		lose_link();
		wait_for_attempt();
	}
	fake_ws_budget = SIZE_MAX;
	go_on_to_open();
	for (size_t i = 0; i < fake_ws_got(); i++) {
		uint64_t number = strtoull(fake_ws_got_text(i), NULL, 10);

		CHECK(number >= next);
		lost += number - next;
		next = number + 1;
	}
	lost += put - next;
	CHECK(put > 400 && lost > 10);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, lost);
	CHECK_EQ(conn_get_stats(conn)->sent_messages, put - lost);
	CHECK(conn_is_idle(conn));
	unmake();
}

static void check_ttl(void)
{
	options.outbox.ttl_ms = 3000;
	options.reconnect_delay_ms = options.reconnect_max_ms = 60000;
	make();
	CHECK_EQ(send_text("old"), CONN_QUEUED);
	fake_loop_advance(2000);
	CHECK_EQ(send_text("new"), CONN_QUEUED);
	fake_loop_advance(1500);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, 1);
	conn_open(conn);
	go_on_to_open();
	CHECK_EQ(fake_ws_got(), 1);
	CHECK_STR(fake_ws_got_text(0), "new");
	fake_ws_take(fake_ws_now(), 0);
	CHECK_EQ(send_text("caught"), CONN_QUEUED);
	fake_loop_settle();
	lose_link();
	fake_loop_advance(3100);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, 2);
	CHECK(conn_is_idle(conn));

	CHECK_EQ(send_text("shorter"), CONN_QUEUED); /* a reload makes it shorter */
	{
		struct conn_options shorter = options;

		shorter.outbox.ttl_ms = 100;
		conn_set_options(conn, &shorter);
		fake_loop_advance(200);
		CHECK_EQ(conn_get_stats(conn)->unsent_messages, 3);
		unmake();
	}
}

/* --- orders in every state ------------------------------------------------------------------ */

/* Brings the connection into STATE; HANDSHAKE: connecting, and as far as that. */
static void bring(enum conn_state state, bool handshake)
{
	switch (state) {
	case CONN_CLOSED:
		make();
		return;
	case CONN_CONNECTING:
		go_connecting();
		if (handshake)
			go_handshake();
		return;
	case CONN_OPEN:
		go_open();
		return;
	case CONN_CLOSING:
		go_open();
		conn_close(conn, 1000, "over");
		check_state(CONN_CLOSING);
		return;
	case CONN_WAITING:
		go_connecting();
		fake_dial_fail(fake_dial_now(), CAUSE_DNS, 0);
		check_state(CONN_WAITING);
		return;
	default:
		options.reconnect = CONN_RECONNECT_NEVER;
		go_connecting();
		fake_dial_fail(fake_dial_now(), CAUSE_DNS, 0);
		check_state(CONN_FAILED);
	}
}

/* The server answers our Close. */
static void finish_closing(uint16_t code)
{
	CHECK(fake_ws_is_closing(fake_ws_now(), NULL, NULL));
	fake_ws_end(fake_ws_now(), CAUSE_OPERATOR, code, code, "");
	fake_loop_settle();
}

static void order_close(void)
{
	conn_close(conn, 1000, "bye");
}

static void order_open(void)
{
	conn_open(conn);
}

static void order_pause(void)
{
	conn_pause(conn);
}

static void order_reconnect(void)
{
	conn_reconnect(conn);
}

static void order_finish(void)
{
	conn_finish(conn, false);
}

static const struct {
	void (*order)(void);
	enum conn_state at_once[CONN_STATES],
		then[CONN_STATES]; /* then: after the closing handshake */
} orders[] = {
#define EACH(connecting, open, closing, closed, waiting, failed)                                   \
	{                                                                                          \
		CONN_##connecting, CONN_##open, CONN_##closing, CONN_##closed, CONN_##waiting,     \
			CONN_##failed                                                              \
	}
	{order_close, EACH(CLOSED, CLOSING, CLOSING, CLOSED, CLOSED, CLOSED),
	 EACH(CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED)},
	{order_pause, EACH(CLOSED, CLOSING, CLOSING, CLOSED, CLOSED, CLOSED),
	 EACH(CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED)},
	{order_open, EACH(CONNECTING, OPEN, CLOSING, CONNECTING, CONNECTING, CONNECTING),
	 EACH(CONNECTING, OPEN, CONNECTING, CONNECTING, CONNECTING, CONNECTING)},
	{order_reconnect, EACH(CONNECTING, CLOSING, CLOSING, CONNECTING, CONNECTING, CONNECTING),
	 EACH(CONNECTING, CONNECTING, CONNECTING, CONNECTING, CONNECTING, CONNECTING)},
	{order_finish, EACH(CONNECTING, CLOSING, CLOSING, CLOSED, WAITING, FAILED),
	 EACH(CONNECTING, WAITING, CLOSED, CLOSED, WAITING, FAILED)},
};

static void check_orders(void)
{
	for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
		for (int state = 0; state < CONN_STATES; state++) {
			for (int handshake = 0; handshake < 2; handshake++) {
				bring((enum conn_state)state, handshake);
				orders[i].order();
				check_state(orders[i].at_once[state]);
				if (conn_state(conn) == CONN_CLOSING)
					finish_closing(1000);
				check_state(orders[i].then[state]);
				if (conn_state(conn) == CONN_CLOSED)
					CHECK_EQ(fake_loop_timers(), 0);
				unmake();
			}
		}
	}
	/* and the last word counts */
	for (size_t i = 0; i < sizeof(orders) / sizeof(*orders) - 1; i++) {
		for (size_t j = 0; j < sizeof(orders) / sizeof(*orders) - 1; j++) {
			bring(CONN_OPEN, false);
			orders[i].order();
			fake_loop_settle();
			orders[j].order();
			check_state(orders[j].at_once[i == 2 ? CONN_OPEN : CONN_CLOSING]);
			if (conn_state(conn) == CONN_CLOSING)
				finish_closing(1000);
			check_state(orders[j].then[i == 2 ? CONN_OPEN : CONN_CLOSING]);
			unmake();
		}
	}
}

static void check_close_drains(void)
{
	const char *reason;
	uint16_t code;

	go_connecting();
	fake_ws_budget = 10;
	fake_ws_room = 20;
	go_on_to_open();
	for (int i = 0; i < 5; i++)
		CHECK_EQ(send_text("0123456789"), CONN_QUEUED);
	conn_close(conn, 1001, "going away");
	check_state(CONN_CLOSING);
	CHECK(!fake_ws_is_closing(fake_ws_now(), NULL, NULL));
	CHECK_EQ(send_text("too late"), CONN_QUEUED); /* for the next session */
	for (int i = 0; i < 5; i++) {                 /* slowly, but it goes on */
		fake_loop_advance(4000);
		check_state(CONN_CLOSING);
		fake_ws_take(fake_ws_now(), 16);
		fake_loop_settle();
	}
	CHECK(fake_ws_is_closing(fake_ws_now(), &code, &reason));
	CHECK_EQ(code, 1001);
	CHECK_STR(reason, "going away");
	CHECK_EQ(fake_ws_got(), 5);
	fake_loop_advance(5999); /* the last bytes left a second before the first deadline */
	check_state(CONN_CLOSING);
	fake_loop_advance(1); /* the server does not answer */
	check_state(CONN_CLOSED);
	CHECK_EQ(conn_close_code(conn, &reason), 1006);
	CHECK_EQ(conn_cause(conn)->class, CAUSE_OPERATOR);
	CHECK(!conn_is_idle(conn));
	fake_ws_budget = SIZE_MAX;
	conn_open(conn);
	go_on_to_open();
	CHECK_EQ(fake_ws_got(), 6);
	CHECK_STR(fake_ws_got_text(5), "too late");
	unmake();
}

static void check_close_of_stuck(void)
{
	/* the server reads nothing: it takes the close-timeout, and no longer */
	go_connecting();
	fake_ws_budget = 0;
	fake_ws_room = 20;
	go_on_to_open();
	for (int i = 0; i < 5; i++)
		CHECK_EQ(send_text("0123456789"), CONN_QUEUED);
	conn_close(conn, 1000, "");
	fake_loop_advance(4999);
	check_state(CONN_CLOSING);
	fake_loop_advance(5002);
	check_state(CONN_CLOSED);
	CHECK_EQ(fake_ws_got(), 0);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, 0); /* of none a byte had left */
	fake_ws_budget = SIZE_MAX;
	conn_open(conn);
	go_on_to_open();
	CHECK_EQ(fake_ws_got(), 5);
	unmake();

	/* pause does not wait, also when it comes behind a close that does */
	for (int both = 0; both < 2; both++) {
		go_connecting();
		fake_ws_budget = 0;
		fake_ws_room = 20;
		go_on_to_open();
		for (int i = 0; i < 5; i++)
			CHECK_EQ(send_text("0123456789"), CONN_QUEUED);
		if (both) {
			conn_close(conn, 1000, "");
			fake_loop_settle();
			CHECK(!fake_ws_is_closing(fake_ws_now(), NULL, NULL));
		}
		fake_ws_room = 1000;
		fake_ws_take(fake_ws_now(), 3);
		conn_pause(conn);
		fake_loop_settle();
		CHECK(fake_ws_is_closing(fake_ws_now(), NULL, NULL));
		unmake();
	}
}

/* A writer who never stops cannot keep a closing connection open. */
static void check_close_with_writer(void)
{
	go_connecting();
	fake_ws_room = 20;
	fake_ws_budget = 0;
	go_on_to_open();
	for (int i = 0; i < 5; i++)
		CHECK_EQ(send_text("0123456789"), CONN_QUEUED);
	fake_loop_settle();
	conn_close(conn, 1000, "");
	for (int i = 0; i < 20 && !fake_ws_is_closing(fake_ws_now(), NULL, NULL); i++) {
		send_text("0123456789");
		fake_ws_take(fake_ws_now(), 16);
		fake_loop_advance(1000);
	}
	CHECK(fake_ws_is_closing(fake_ws_now(), NULL, NULL));
	fake_ws_take(fake_ws_now(), SIZE_MAX);
	CHECK_EQ(fake_ws_got(), 5); /* what was queued when it was asked to close, and no more */
	finish_closing(1000);
	check_state(CONN_CLOSED);
	unmake();
}

static bool is_closing(void)
{
	fake_loop_settle();
	return fake_ws_is_closing(fake_ws_now(), NULL, NULL);
}

/* conn_finish() that waits for the last answers. */
static void check_settling(void)
{
	go_open();
	fake_loop_advance(25000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1); /* a ping that is older than what we say now */
	send_text("question");
	conn_finish(conn, true);
	check_state(CONN_CLOSING);
	CHECK_EQ(fake_ws_got(), 1);
	fake_loop_advance(100);
	fake_ws_pong(fake_ws_now(), 1);
	fake_loop_advance(400);
	CHECK(!is_closing());
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 2);
	fake_ws_pong(fake_ws_now(), 1); /* now the server has read the question */
	fake_loop_advance(249);
	CHECK(!is_closing());
	fake_ws_text(fake_ws_now(), "answer");
	fake_loop_advance(250);
	CHECK(!is_closing());
	fake_loop_advance(250);
	CHECK(is_closing());
	finish_closing(1000);
	check_state(CONN_WAITING);
	unmake();
}

static void check_settling_ends(void)
{
	/* one who never stops talking */
	go_open();
	conn_finish(conn, true);
	fake_loop_settle();
	fake_ws_pong(fake_ws_now(), 1);
	for (int i = 0; i < 19; i++) {
		fake_loop_advance(100);
		CHECK(!is_closing());
		fake_ws_text(fake_ws_now(), "and another thing");
	}
	fake_loop_advance(350);
	CHECK(is_closing());
	unmake();

	/* one who does not answer */
	go_open();
	conn_finish(conn, true);
	fake_loop_advance(4999);
	CHECK(!is_closing());
	fake_loop_advance(1);
	CHECK(is_closing());
	fake_loop_advance(5000);
	check_state(CONN_WAITING);
	unmake();

	/* a later order does not wait for answers */
	for (int pong = 0; pong < 2; pong++) {
		go_open();
		conn_finish(conn, true);
		fake_loop_settle();
		if (pong)
			fake_ws_pong(fake_ws_now(), 1);
		CHECK(!is_closing());
		conn_close(conn, 1001, "");
		CHECK(is_closing());
		finish_closing(1001);
		check_state(CONN_CLOSED);
		unmake();
	}
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

/* --- requests ------------------------------------------------------------------------------- */

static unsigned answers, failures;
static char last_answer[128], last_failure[256];

static void on_answered(void *owner, uint64_t tag, enum calls_answer kind, const struct msg *msg)
{
	(void)owner, (void)tag, (void)kind;
	answers++;
	snprintf(last_answer, sizeof(last_answer), "%.*s", (int)msg->len, (const char *)msg->data);
}

static void on_failed(void *owner, uint64_t tag, const struct cause *cause)
{
	(void)owner, (void)tag;
	failures++;
	snprintf(last_failure, sizeof(last_failure), "%s", cause->text);
}

static struct caller caller = {.answered = on_answered, .failed = on_failed};

static int request_text(const char *text)
{
	const struct calls_terms terms = {.caller = &caller};
	const char *problem = NULL;
	struct msg msg = {
		.kind = MSG_TEXT,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};

	return conn_request(conn, &msg, &terms, NULL, &problem);
}

static void go_open_with_calls(void)
{
	static char *ids[] = {(char *)"/id", NULL};

	answers = failures = 0;
	options.calls = (struct calls_options){.id = ids, .timeout_ms = 600000};
	go_open();
	CHECK(conn_has_calls(conn));
}

/* A reply goes to its asker and not into the spool; an event goes there. */
static void check_request(void)
{
	uint64_t before;

	go_open_with_calls();
	CHECK_EQ(request_text("{\"id\":\"x\"}"), CONN_QUEUED);
	fake_loop_settle();
	CHECK_STR(fake_ws_got_text(0), "{\"id\":\"1\"}");
	before = spool_next_seq(conn_spool(conn));
	fake_ws_text(fake_ws_now(), "{\"id\":\"1\",\"r\":1}");
	CHECK_EQ(answers, 1);
	CHECK_STR(last_answer, "{\"id\":\"x\",\"r\":1}");
	CHECK_EQ(spool_next_seq(conn_spool(conn)), before);
	fake_ws_text(fake_ws_now(), "{\"event\":1}");
	CHECK_EQ(spool_next_seq(conn_spool(conn)), before + 1);
	CHECK_EQ(conn_get_stats(conn)->received_messages, 2);
	CHECK_EQ(request_text("{\"id\":1,\"id\":2}"), CONN_REFUSED);
	CHECK_EQ(conn_get_stats(conn)->rejected_messages, 1);
	unmake();
}

/* What was sent fails with the link; what was not is sent on the next one, and answered. */
static void check_request_and_loss(void)
{
	struct calls_stats stats;

	go_open_with_calls();
	fake_ws_take(fake_ws_now(), 16);
	fake_ws_room = 16;
	for (int i = 0; i < 4; i++)
		CHECK_EQ(request_text("{\"id\":1}"), CONN_QUEUED);
	fake_loop_settle();
	lose_link();
	CHECK(failures >= 1 && failures < 4);
	conn_get_calls(conn, &stats);
	CHECK_EQ(stats.open + failures, 4);
	fake_ws_room = 64 * 1024;
	wait_for_attempt();
	go_on_to_open();
	fake_loop_settle();
	fake_ws_text(fake_ws_now(), "{\"id\":4}");
	CHECK_EQ(answers, 1);
	conn_pause(conn);
	fake_loop_settle();
	fake_ws_end(fake_ws_now(), CAUSE_OPERATOR, 1000, 1000, "");
	check_state(CONN_CLOSED);
	CHECK_EQ(failures, 3);
	unmake();
}

/* A queue that expires takes its requests with it. */
static void check_request_expires(void)
{
	options.outbox.ttl_ms = 5000;
	go_open_with_calls();
	lose_link();
	CHECK_EQ(request_text("{\"id\":1}"), CONN_QUEUED);
	fake_dial_refuse(-EMFILE, 1000);
	fake_loop_advance(6000);
	CHECK_EQ(failures, 1);
	CHECK_STR(last_failure, "not sent within queue-ttl");
	fake_dial_refuse(0, 0);
	unmake();
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	log_set_level(LOG_LEVEL_ERROR);
	records_pool_init(&pool, 1 << 24);
	reset_options();
	check_opening();
	check_login();
	check_login_fails();
	check_expect();
	check_token_command();
	check_ends();
	check_failing_starts();
	check_rejections();
	check_full();
	check_send_error();
	check_losses();
	check_flapping();
	check_ttl();
	check_orders();
	check_close_drains();
	check_close_of_stuck();
	check_close_with_writer();
	check_settling();
	check_settling_ends();
	check_policy();
	check_connect_timeout();
	check_keep_alive();
	check_other_pings();
	check_block();
	check_options();
	check_new_greetings();
	check_bad_url();
	check_watches();
	check_request();
	check_request_and_loss();
	check_request_expires();
	return 0;
}
