/* feed - one connection "feed" with its endpoints in a temporary directory, on the real loop; the test is
 * the server (fake/ws). */
#ifndef UNIT_FEED_H
#define UNIT_FEED_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "check.h"
#include "dial.h"
#include "endpoint/arrivals.h"
#include "endpoint/endpoint.h"
#include "ws.h"

static char root[] = "/tmp/test-feed-XXXXXX";
static int root_fd, dir_fd;
static struct arrivals *arrivals;
static struct records_pool pool;
static struct conn_options conn_opts;
static struct endpoint_options options;
static struct conn *conn;
static struct endpoints *endpoints;

static inline void turn(void)
{
	CHECK(event_base_loop(loop_base(), EVLOOP_NONBLOCK) >= 0);
}

static inline void turns(void)
{
	for (int i = 0; i < 20; i++)
		turn();
}

static inline uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		uint64_t deadline_ = clock_ms() + 10000;                                           \
		while (!(condition)) {                                                             \
			CHECK(clock_ms() < deadline_ && #condition);                               \
			turn();                                                                    \
			usleep(200);                                                               \
		}                                                                                  \
	} while (0)

static inline void feed_defaults(char **kinds)
{
	conn_opts = (struct conn_options){
		.url = (char *)"ws://example.org/",
		.ws.max_message_bytes = 1 << 20,
		.spool.keep_bytes = 16 << 20,
		.outbox.queue_bytes = 1 << 20,
		.type = MSG_TEXT,
		.connect_timeout_ms = 20000,
		.close_timeout_ms = 5000,
		.reconnect_delay_ms = 60000,
		.reconnect_max_ms = 60000,
	};
	options = (struct endpoint_options){.endpoints = kinds, .framing = FRAMING_LINE};
	fake_ws_budget = SIZE_MAX;
	fake_ws_room = 1 << 20;
}

static inline void feed_init(void)
{
	CHECK_EQ(loop_init(), 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	log_set_level(LOG_LEVEL_ERROR);
	CHECK(mkdtemp(root));
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(root_fd >= 0);
	CHECK_EQ(arrivals_new(&arrivals), 0);
	records_pool_init(&pool, 1 << 28);
}

static inline void make_endpoints(void)
{
	const char *path;

	CHECK_EQ(endpoints_new(&endpoints, root_fd, arrivals, NULL, conn, &options, &path), 0);
	dir_fd = openat(root_fd, "feed", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir_fd >= 0);
	turns();
}

static inline void unmake_endpoints(bool keep)
{
	endpoints = endpoints_free(endpoints, keep);
	close(dir_fd);
	turns();
}

/* A connection that nobody has opened yet, with its endpoints. */
static inline void make_closed(void)
{
	fake_ws_forget();
	CHECK_EQ(conn_new(&conn, "feed", &conn_opts, &pool), 0);
	make_endpoints();
}

static inline void go_open(void)
{
	conn_open(conn);
	fake_dial_connect(fake_dial_now());
	fake_ws_open(fake_ws_now());
	turns();
	CHECK_EQ(conn_state(conn), CONN_OPEN);
}

static inline void make(void)
{
	make_closed();
	go_open();
}

static inline void unmake(void)
{
	unmake_endpoints(false);
	CHECK_EQ(faccessat(root_fd, "feed", F_OK, 0), -1);
	conn = conn_free(conn);
	CHECK_EQ(pool.used, 0);
	fake_ws_forget();
}

static inline void feed_done(void)
{
	arrivals_free(arrivals);
	loop_done();
	CHECK_EQ(rmdir(root), 0);
}

static inline void receive(const char *text)
{
	fake_ws_text(fake_ws_now(), text);
}

static inline void receive_numbers(int from, int to)
{
	char text[16];

	for (int i = from; i < to; i++) {
		snprintf(text, sizeof(text), "%d", i);
		receive(text);
	}
}

/* What status has about the readers. */
static inline long long described(const char *member)
{
	struct buf json;
	const char *at;
	long long number;

	buf_init(&json, 10000);
	CHECK_EQ(endpoints_describe(endpoints, &json), 0);
	CHECK_EQ(buf_append(&json, "", 1), 0);
	at = strstr((char *)buf_head(&json), member);
	CHECK(at);
	number = atoll(at + strlen(member));
	buf_done(&json);
	return number;
}

#endif
