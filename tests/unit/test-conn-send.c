/* conn: no message is lost in silence or sent twice, wherever the link breaks; and requests. */
#include <errno.h>

#include "lone.h"

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
	lone_init();
	check_rejections();
	check_full();
	check_send_error();
	check_losses();
	check_flapping();
	check_ttl();
	check_request();
	check_request_and_loss();
	check_request_expires();
	return 0;
}
