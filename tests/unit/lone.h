/* lone - one connection with nothing around it, in virtual time: dial, ws and commands are the
 * test's.
 *
 * lone_init() once; then change `options`, make() or go_...(), unmake(), which gives the options
 * back. */
#ifndef UNIT_LONE_H
#define UNIT_LONE_H

#include <string.h>

#include "base/log.h"
#include "check.h"
#include "command.h"
#include "conn/conn.h"
#include "dial.h"
#include "loop.h"
#include "ws.h"

static struct records_pool pool;
static struct conn_options options;
static struct conn *conn;
static unsigned changes;

static inline void on_changed(void *owner)
{
	(void)owner;
	changes++;
}

static struct conn_watch watch;

static inline void reset_options(void)
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

static inline void make(void)
{
	fake_ws_budget = SIZE_MAX;
	fake_ws_room = 64 * 1024;
	fake_ws_forget();
	changes = 0;
	CHECK_EQ(conn_new(&conn, "test", &options, &pool), 0);
	watch = (struct conn_watch){.changed = on_changed};
	conn_watch_add(conn, &watch);
}

static inline void unmake(void)
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

static inline void go_connecting(void)
{
	make();
	conn_open(conn);
	check_state(CONN_CONNECTING);
}

static inline void go_handshake(void)
{
	fake_dial_connect(fake_dial_now());
	check_state(CONN_CONNECTING);
	CHECK(!conn_ws(conn));
}

static inline void go_on_to_open(void)
{
	go_handshake();
	fake_ws_open(fake_ws_now());
	check_state(CONN_OPEN);
}

static inline void go_open(void)
{
	go_connecting();
	go_on_to_open();
}

/* Brings the connection into STATE; HANDSHAKE: connecting, and as far as that. */
static inline void bring(enum conn_state state, bool handshake)
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

/* From waiting to the next attempt. */
static inline void wait_for_attempt(void)
{
	check_state(CONN_WAITING);
	CHECK(conn_retry_in_ms(conn) > 0);
	fake_loop_advance(conn_retry_in_ms(conn));
	check_state(CONN_CONNECTING);
}

static inline void lose_link(void)
{
	fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 1006, 0, "");
	fake_loop_settle();
	CHECK(!fake_ws_now());
}

static inline int send_text(const char *text)
{
	const struct msg msg = {
		.kind = MSG_TEXT,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};
	const char *problem = NULL;

	return conn_send(conn, &msg, NULL, &problem);
}

static inline void lone_init(void)
{
	CHECK_EQ(loop_init(), 0);
	log_set_level(LOG_LEVEL_ERROR);
	records_pool_init(&pool, 1 << 24);
	reset_options();
}

#endif
