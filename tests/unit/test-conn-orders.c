/* conn: what each order does in each state, and how an open one is left. */
#include "lone.h"

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

int main(void)
{
	lone_init();
	check_orders();
	check_close_drains();
	check_close_of_stuck();
	check_close_with_writer();
	check_settling();
	check_settling_ends();
	return 0;
}
