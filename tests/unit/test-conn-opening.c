/* conn between the upgrade and open: `login` and `expect`. */
#include <errno.h>

#include "lone.h"

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

int main(void)
{
	lone_init();
	check_login();
	check_login_fails();
	check_expect();
	return 0;
}
