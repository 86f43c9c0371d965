/* confirm: what a pong covers, what is in doubt without it, and that resend sends exactly that again. */
#include "conn/confirm.h"

#include "lone.h"

static struct confirm_waiter waiter;
static int told; /* 0: not; 1: confirmed; -1: not so */

static void on_told(void *owner, bool confirmed)
{
	(void)owner;
	CHECK_EQ(told, 0);
	told = confirmed ? 1 : -1;
}

static void open_link(void)
{
	if (conn_state(conn) == CONN_WAITING)
		fake_loop_advance(conn_retry_in_ms(conn));
	conn_open(conn);
	fake_dial_connect(fake_dial_now());
	fake_loop_settle();
	fake_ws_open(fake_ws_now());
	fake_loop_settle();
	CHECK_EQ(conn_state(conn), CONN_OPEN);
}

static int say(const char *text)
{
	int r = send_text(text);

	fake_loop_settle();
	return r;
}

static void begin(bool resend)
{
	options.outbox.queue_bytes = 400;
	options.ping_interval_ms = options.ping_timeout_ms = 0;
	options.resend = resend;
	told = 0;
	waiter = (struct confirm_waiter){.told = on_told};
	make();
}

static void end(void)
{
	confirm_forget(&waiter);
	unmake();
}

static void send_number(int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	CHECK_EQ(say(text), CONN_QUEUED);
}

static void pong(void)
{
	fake_ws_pong(fake_ws_now(), 1000);
	fake_loop_settle();
}

static uint64_t unconfirmed(void)
{
	return conn_get_stats(conn)->unconfirmed_messages;
}

static void check_counting(void)
{
	begin(false);
	options.ping_interval_ms = 25000;
	options.ping_timeout_ms = 20000;
	open_link();
	send_number(1);
	send_number(2);
	fake_loop_advance(20000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 0); /* none of its own */
	fake_loop_advance(5000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	send_number(3); /* behind the ping */
	pong();
	send_number(4);
	CHECK_EQ(unconfirmed(), 0);
	lose_link();
	CHECK_EQ(unconfirmed(), 2);
	CHECK(conn_is_idle(conn));

	open_link(); /* one half sent is not sent; those behind it wait */
	fake_ws_take(fake_ws_now(), 9);
	send_number(5);
	send_number(6);
	send_number(7);
	lose_link();
	CHECK_EQ(unconfirmed(), 3);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, 1);
	CHECK_EQ(conn_get_stats(conn)->sent_messages, 5);

	open_link(); /* an answer to our Close confirms; 7 went out here */
	CHECK_EQ(fake_ws_got(), 6);
	conn_close(conn, 1000, "");
	fake_loop_settle();
	fake_ws_end(fake_ws_now(), CAUSE_OPERATOR, 1000, 1000, "");
	fake_loop_settle();
	CHECK_EQ(unconfirmed(), 3);

	conn_open(conn); /* no answer does not */
	open_link();
	send_number(8);
	conn_close(conn, 1000, "");
	fake_loop_settle();
	fake_ws_end(fake_ws_now(), CAUSE_OPERATOR, 1006, 0, "");
	fake_loop_settle();
	CHECK_EQ(unconfirmed(), 4);
	end();
}

static void check_resend(void)
{
	static const char *const want[] = {"1", "2", "2", "3", "4", "3", "4", "5"};

	begin(true);
	open_link();
	CHECK_EQ(fake_loop_timers(), 0); /* quiet */
	send_number(1);
	fake_loop_advance(199);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 0);
	fake_loop_advance(1);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	send_number(2); /* behind the ping */
	CHECK(!conn_is_idle(conn));
	pong();
	CHECK_EQ(conn_get_stats(conn)->sent_messages, 1);
	lose_link();
	send_number(3);
	open_link(); /* 2 again, ahead of 3 */
	fake_ws_take(fake_ws_now(), SIZE_MAX);
	fake_loop_advance(1000);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	fake_ws_take(fake_ws_now(), 3); /* 4 gets out by half */
	send_number(4);
	fake_ws_take(fake_ws_now(), SIZE_MAX);
	fake_loop_settle();
	CHECK_EQ(fake_ws_got(), 5);
	fake_ws_pong(fake_ws_now(), 10);
	lose_link();
	CHECK_EQ(fake_ws_got(), 5);
	open_link();
	CHECK_EQ(conn_get_stats(conn)->sent_messages, 3);
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, 0);
	CHECK_EQ(unconfirmed(), 0);
	fake_loop_advance(1000);
	pong();
	CHECK(conn_is_idle(conn));
	CHECK_EQ(fake_loop_timers(), 0); /* nothing is in doubt: no timer */
	CHECK_EQ(conn_get_stats(conn)->sent_messages, 4);
	CHECK_EQ(fake_ws_got(), 6);
	for (size_t i = 0; i < 5; i++)
		CHECK_STR(fake_ws_got_text(i), want[i]);
	CHECK_STR(fake_ws_got_text(5), "4");
	end();
}

static void check_resend_half(void)
{
	begin(true);
	open_link();
	send_number(1);
	fake_ws_take(fake_ws_now(), 3);
	send_number(2);
	lose_link();
	open_link();
	CHECK_EQ(fake_ws_got(), 3);
	CHECK_STR(fake_ws_got_text(1), "1");
	CHECK_STR(fake_ws_got_text(2), "2");
	CHECK_EQ(conn_get_stats(conn)->unsent_messages, 0);
	conn_close(conn, 1000, ""); /* the answered Close lets go */
	fake_loop_settle();
	fake_ws_end(fake_ws_now(), CAUSE_OPERATOR, 1000, 1000, "");
	fake_loop_settle();
	CHECK(conn_is_idle(conn));
	end();
}

/* What is not confirmed counts as queued; a ping does not wait for quiet then. */
static void check_crowded(void)
{
	static char text[101];

	memset(text, 'x', 100);
	begin(true);
	open_link();
	for (int i = 0; i < 4; i++)
		CHECK_EQ(say(text), CONN_QUEUED);
	CHECK_EQ(say(text), CONN_FULL);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	pong(); /* of the first two, at least */
	CHECK_EQ(say(text), CONN_QUEUED);
	for (int i = 0; i < 100; i++) {
		if (ws_ping_outstanding(fake_ws_now()))
			pong();
		CHECK_EQ(say(text), CONN_QUEUED);
	}
	CHECK(fake_ws_got() > 100);
	end();
}

static void check_waiting(void)
{
	struct confirm *confirm;

	begin(false);
	open_link();
	confirm = conn_confirm(conn);
	confirm_wait(confirm, &waiter);
	confirm_wait_end(confirm, &waiter); /* nothing to wait for */
	CHECK_EQ(told, 1);

	told = 0;
	confirm_wait(confirm, &waiter);
	send_number(1);
	send_number(2);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 0);
	confirm_wait_end(confirm, &waiter);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1); /* at once */
	confirm_pong(confirm, ws_queued(fake_ws_now()) - 1); /* it stood between two fragments of 2 */
	CHECK_EQ(told, 0);
	send_number(3);
	CHECK_EQ(told, 0);
	pong();
	CHECK_EQ(told, 1);

	told = 0; /* an older ping does not do */
	confirm_ping(confirm);
	confirm_wait(confirm, &waiter);
	send_number(4);
	confirm_wait_end(confirm, &waiter);
	pong();
	CHECK_EQ(told, 0);
	pong();
	CHECK_EQ(told, 1);

	told = 0;
	send_number(5);
	confirm_wait(confirm, &waiter);
	lose_link(); /* 5 is not its own */
	CHECK_EQ(told, 0);
	send_number(6); /* not sent yet: that can wait */
	confirm_wait_end(confirm, &waiter);
	open_link();
	CHECK_EQ(told, 0);
	CHECK_EQ(fake_ws_pings(fake_ws_now()), 1);
	lose_link();
	CHECK_EQ(told, -1);
	end();

	begin(true); /* with resend it is confirmed in the end */
	open_link();
	confirm_wait(conn_confirm(conn), &waiter);
	send_number(1);
	confirm_wait_end(conn_confirm(conn), &waiter);
	lose_link();
	CHECK_EQ(told, 0);
	open_link();
	pong();
	CHECK_EQ(told, 1);
	end();

	begin(false); /* what grows too old is lost */
	options.outbox.ttl_ms = 1000;
	confirm_wait(conn_confirm(conn), &waiter);
	send_number(1);
	confirm_wait_end(conn_confirm(conn), &waiter);
	CHECK_EQ(conn_set_options(conn, &options), 0);
	fake_loop_advance(2000);
	CHECK_EQ(told, -1);
	end();
}

int main(void)
{
	lone_init();
	check_counting();
	check_resend();
	check_resend_half();
	check_crowded();
	check_waiting();
	loop_done();
	return 0;
}
