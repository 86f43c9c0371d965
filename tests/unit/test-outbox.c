/* outbox: in order, bounded, fair to those who wait, and exact about what did not get out. */
#include "conn/outbox.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

enum { HEAD = 6 };

static uint64_t link_position;

static struct outbox *new_outbox(uint64_t queue, uint64_t ttl_ms)
{
	const struct outbox_options options = {queue, ttl_ms};
	struct outbox *outbox;

	CHECK_EQ(outbox_new(&outbox, &options), 0);
	link_position = 0;
	return outbox;
}

static int put_at(struct outbox *outbox, const char *text, uint64_t time_us,
		  struct outbox_waiter *waiter)
{
	const struct msg msg = {
		.kind = MSG_TEXT,
		.time_us = time_us,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};

	return outbox_put(outbox, &msg, waiter);
}

static int put(struct outbox *outbox, const char *text)
{
	return put_at(outbox, text, 0, NULL);
}

static int put_bytes(struct outbox *outbox, size_t len, struct outbox_waiter *waiter)
{
	static uint8_t data[1 << 20];
	const struct msg msg = {.kind = MSG_BINARY, .data = data, .len = len};

	return outbox_put(outbox, &msg, waiter);
}

/* Give the next one to the link. */
static void take(struct outbox *outbox, const char *expected)
{
	struct msg msg;
	uint64_t start = link_position;

	CHECK(outbox_next(outbox, &msg));
	CHECK_EQ(msg.kind, MSG_TEXT);
	CHECK_EQ(msg.len, strlen(expected));
	CHECK(memcmp(msg.data, expected, msg.len) == 0);
	link_position += msg.len + HEAD;
	outbox_take(outbox, start, link_position);
}

static void check_order(void)
{
	struct outbox *outbox = new_outbox(1 << 20, 0);
	struct outbox_stats stats;
	struct outbox_loss out;
	char text[200];
	struct msg msg;

	CHECK(outbox_empty(outbox));
	CHECK(!outbox_next(outbox, &msg));
	for (int round = 0; round < 5; round++) { /* over many blocks, and from empty again */
		uint64_t bytes = 0;

		link_position = 0;
		for (int i = 0; i < 1000; i++) {
			snprintf(text, sizeof(text), "%0*d", 1 + i % 150, i);
			CHECK_EQ(put(outbox, text), OUTBOX_OK);
			bytes += strlen(text);
		}
		CHECK_EQ(put(outbox, ""), OUTBOX_OK);
		outbox_get_stats(outbox, &stats);
		CHECK_EQ(stats.queued_messages, 1001);
		CHECK_EQ(stats.queued_bytes, bytes);
		for (int i = 0; i < 1000; i++) {
			snprintf(text, sizeof(text), "%0*d", 1 + i % 150, i);
			take(outbox, text);
			if (i % 7 == 0) { /* half of it is not out: nothing is let go */
				out = outbox_written(outbox, link_position - 1);
				CHECK(out.messages <= 6);
				out = outbox_written(outbox, link_position);
				CHECK_EQ(out.messages, 1);
				CHECK_EQ(out.bytes, strlen(text));
			}
		}
		take(outbox, "");
		CHECK(!outbox_next(outbox, &msg));
		CHECK(!outbox_empty(outbox));
		outbox_get_stats(outbox, &stats);
		CHECK_EQ(stats.taken_messages, stats.queued_messages);
		outbox_written(outbox, link_position);
		CHECK(outbox_empty(outbox));
	}
	outbox_free(outbox);
	outbox_free(NULL);
}

static void check_bound(void)
{
	struct outbox *outbox = new_outbox(1000, 0);
	struct outbox_stats stats;
	struct msg msg;

	CHECK_EQ(put_bytes(outbox, 5000, NULL), OUTBOX_OK); /* larger than the queue, but alone */
	CHECK_EQ(put_bytes(outbox, 0, NULL), OUTBOX_FULL);
	CHECK_EQ(put_bytes(outbox, 5000, NULL), OUTBOX_FULL);
	CHECK(outbox_next(outbox, &msg));
	CHECK_EQ(msg.len, 5000);
	outbox_take(outbox, 0, 5006);
	CHECK_EQ(put_bytes(outbox, 1, NULL), OUTBOX_FULL); /* the link has it, but it is not out */
	outbox_written(outbox, 5006);
	CHECK_EQ(put_bytes(outbox, 600, NULL), OUTBOX_OK);
	CHECK_EQ(put_bytes(outbox, 401, NULL), OUTBOX_FULL);
	CHECK_EQ(put_bytes(outbox, 400, NULL), OUTBOX_OK);
	outbox_get_stats(outbox, &stats);
	CHECK_EQ(stats.queued_bytes, 1000);
	outbox_free(outbox);
}

/* --- waiters -------------------------------------------------------------------------------- */

struct writer {
	struct outbox *outbox;
	struct outbox_waiter waiter;
	unsigned called, sent;
	uint64_t woken; /* the how-manieth of all, 0: not, or has written since */
	size_t len;
};

static uint64_t calls;

static void on_room(void *owner)
{
	struct writer *writer = owner;

	writer->called++;
	writer->woken = ++calls;
}

/* The one that was woken first, as laters run. */
static struct writer *first_woken(struct writer *writer, int n)
{
	struct writer *first = NULL;

	for (int i = 0; i < n; i++)
		if (writer[i].woken && (!first || writer[i].woken < first->woken))
			first = &writer[i];
	return first;
}

static void init_writer(struct writer *writer, struct outbox *outbox, size_t len)
{
	*writer = (struct writer){.outbox = outbox, .len = len};
	writer->waiter.room = on_room;
	writer->waiter.owner = writer;
}

/* Writes as much as it can, as an intake does from its later. */
static void write_all(struct writer *writer)
{
	writer->woken = 0;
	while (put_bytes(writer->outbox, writer->len, &writer->waiter) == OUTBOX_OK) {
		writer->sent++;
		CHECK(writer->sent < 100000);
	}
}

static void drain(struct outbox *outbox)
{
	struct msg msg;

	link_position = 0;
	outbox_rewind(outbox, 0);
	while (outbox_next(outbox, &msg)) {
		outbox_take(outbox, link_position, link_position + msg.len + HEAD);
		link_position += msg.len + HEAD;
	}
	outbox_written(outbox, link_position);
}

static void check_waiting(void)
{
	struct outbox *outbox = new_outbox(1000, 0);
	struct writer a, b;
	struct outbox_waiter never = {0};

	init_writer(&a, outbox, 300);
	init_writer(&b, outbox, 300);
	outbox_forget(&never);
	write_all(&a);
	CHECK_EQ(a.sent, 3);
	write_all(&b);
	CHECK_EQ(b.sent, 0);
	write_all(&b); /* asking twice is waiting once */
	outbox_next(outbox, &(struct msg){0});
	outbox_take(outbox, 0, 306);
	outbox_written(outbox, 306);
	CHECK_EQ(a.called, 0); /* 600 of 1000: not worth it yet */
	outbox_next(outbox, &(struct msg){0});
	outbox_take(outbox, 306, 612);
	outbox_written(outbox, 612);
	CHECK_EQ(a.called, 1);
	CHECK_EQ(b.called, 1);
	drain(outbox);
	CHECK_EQ(a.called, 1); /* once for each time of waiting */

	write_all(&a);
	write_all(&b);
	outbox_forget(&b.waiter);
	drain(outbox);
	CHECK_EQ(a.called, 2);
	CHECK_EQ(b.called, 1);

	write_all(&a);
	outbox_set_options(outbox, &(struct outbox_options){.queue_bytes = 100000});
	CHECK_EQ(a.called, 3); /* a larger queue is room as well */
	write_all(&a);
	outbox_free(outbox); /* unlinked and not called */
	CHECK(!list_linked(&a.waiter.link));
	CHECK_EQ(a.called, 3);
}

static void check_fairness(void)
{
	enum { WRITERS = 5, ROUNDS = 200 };
	struct outbox *outbox = new_outbox(1000, 0);
	struct writer writer[WRITERS], small, *next;
	unsigned least = UINT32_MAX, most = 0;

	/* each would fill the whole queue */
	for (int i = 0; i < WRITERS; i++)
		init_writer(&writer[i], outbox, 50);
	for (int i = 0; i < WRITERS; i++)
		write_all(&writer[i]);
	for (int round = 0; round < ROUNDS; round++) {
		drain(outbox);
		while ((next = first_woken(writer, WRITERS)))
			write_all(next);
	}
	for (int i = 0; i < WRITERS; i++) {
		least = writer[i].sent < least ? writer[i].sent : least;
		most = writer[i].sent > most ? writer[i].sent : most;
	}
	CHECK(least > 0);
	CHECK(most <= 2 * least);
	/* a newcomer waits behind those who wait, though there would be room for it */
	init_writer(&small, outbox, 1);
	writer[0].len = 990;
	drain(outbox);
	CHECK_EQ(put_bytes(outbox, 500, NULL), OUTBOX_OK);
	CHECK_EQ(put_bytes(outbox, 990, &writer[0].waiter), OUTBOX_FULL);
	CHECK_EQ(put_bytes(outbox, 1, &small.waiter), OUTBOX_FULL);
	drain(outbox);
	CHECK(small.woken && writer[0].woken);
	CHECK_EQ(put_bytes(outbox, 990, &writer[0].waiter), OUTBOX_OK);
	CHECK_EQ(put_bytes(outbox, 1, &small.waiter), OUTBOX_OK);
	for (int i = 0; i < WRITERS; i++)
		outbox_forget(&writer[i].waiter);
	outbox_free(outbox);
}

/* A waiter who writes from inside his call. */
static void on_room_now(void *owner)
{
	struct writer *writer = owner;

	writer->called++;
	if (writer->called < 10)
		write_all(writer);
}

static void check_reentry(void)
{
	struct outbox *outbox = new_outbox(100, 0);
	struct writer a, b;

	init_writer(&a, outbox, 60);
	init_writer(&b, outbox, 60);
	a.waiter.room = b.waiter.room = on_room_now;
	write_all(&a);
	write_all(&b);
	for (int i = 0; i < 20; i++)
		drain(outbox);
	CHECK(a.called > 3 && b.called > 3);
	CHECK(a.sent > 3 && b.sent > 3);
	outbox_free(outbox);
}

/* --- the link is lost ----------------------------------------------------------------------- */

static void check_rewind(void)
{
	const char *text[] = {"first", "second", "", "fourth", "fifth"};
	const size_t n = 5;
	uint64_t start[6] = {0};

	for (size_t i = 0; i < n; i++)
		start[i + 1] = start[i] + strlen(text[i]) + HEAD;
	/* at every byte, and with every number of messages given to the link before */
	for (size_t taken = 0; taken <= n; taken++) {
		for (uint64_t position = 0; position <= start[taken]; position++) {
			struct outbox *outbox = new_outbox(1 << 20, 0);
			struct outbox_loss out, lost;
			size_t whole = 0;
			bool half;

			for (size_t i = 0; i < n; i++)
				CHECK_EQ(put(outbox, text[i]), OUTBOX_OK);
			for (size_t i = 0; i < taken; i++)
				take(outbox, text[i]);
			while (whole < taken && start[whole + 1] <= position)
				whole++;
			half = whole < taken && start[whole] < position;
			out = outbox_written(outbox, position);
			lost = outbox_rewind(outbox, position);
			CHECK_EQ(out.messages, whole);
			CHECK_EQ(lost.messages, half);
			CHECK_EQ(lost.bytes, half ? strlen(text[whole]) : 0);
			link_position = 0; /* the next link counts from 0 */
			for (size_t i = whole + half; i < n; i++)
				take(outbox, text[i]);
			CHECK(!outbox_next(outbox, &(struct msg){0}));
			out = outbox_written(outbox, link_position);
			CHECK_EQ(out.messages, n - whole - half);
			CHECK(outbox_empty(outbox));
			outbox_free(outbox);
		}
	}
}

static void check_many_losses(void)
{
	struct outbox *outbox = new_outbox(1 << 20, 0);
	uint64_t put_in = 0, out = 0, lost = 0;
	char text[64];

	for (int session = 0; session < 300; session++) {
		struct msg msg;
		uint64_t position;

		for (int i = 0; i < 20; i++) {
			snprintf(text, sizeof(text), "message %d", (int)put_in++);
			CHECK_EQ(put(outbox, text), OUTBOX_OK);
		}
		link_position = 0;
		while (link_position < 250 && outbox_next(outbox, &msg)) {
			outbox_take(outbox, link_position, link_position + msg.len + HEAD);
			link_position += msg.len + HEAD;
		}
		position = link_position * (unsigned)(session % 11) / 10;
		out += outbox_written(outbox, position).messages;
		lost += outbox_rewind(outbox, position).messages;
		CHECK(lost <= (uint64_t)session + 1);
		CHECK(outbox_next(outbox, &msg));
		snprintf(text, sizeof(text), "message %d", (int)(out + lost));
		CHECK_EQ(msg.len, strlen(text));
		CHECK(memcmp(msg.data, text, msg.len) == 0);
	}
	CHECK(lost > 0);
	outbox_free(outbox);
}

static uint64_t wall_us;

static uint64_t age_us(uint64_t stamp_us)
{
	return wall_us > stamp_us ? wall_us - stamp_us : 0;
}

static struct outbox_loss expire_at(struct outbox *outbox, uint64_t now_us)
{
	wall_us = now_us;
	return outbox_expire(outbox, age_us);
}

static void check_ttl(void)
{
	struct outbox *outbox = new_outbox(1000, 100); /* ms */
	struct outbox_waiter waiter = {0};
	struct outbox_loss lost;
	struct writer writer;

	init_writer(&writer, outbox, 900);
	CHECK_EQ(outbox_oldest_us(outbox), 0);
	CHECK_EQ(put_at(outbox, "a", 1000000, NULL), OUTBOX_OK);
	CHECK_EQ(put_at(outbox, "bb", 1050000, NULL), OUTBOX_OK);
	CHECK_EQ(put_at(outbox, "ccc", 1100000, NULL), OUTBOX_OK);
	write_all(&writer);
	writer.sent = 0;
	CHECK_EQ(outbox_oldest_us(outbox), 1000000);
	lost = expire_at(outbox, 1099999);
	CHECK_EQ(lost.messages, 0);
	lost = expire_at(outbox, 1160000);
	CHECK_EQ(lost.messages, 2);
	CHECK_EQ(lost.bytes, 3);
	CHECK_EQ(outbox_oldest_us(outbox), 1100000);
	take(outbox, "ccc");
	CHECK_EQ(outbox_oldest_us(outbox), 0); /* what is on its way does not expire */
	lost = expire_at(outbox, 9000000);
	CHECK_EQ(lost.messages, 0);
	lost = outbox_clear(outbox);
	CHECK_EQ(lost.messages, 0);
	outbox_rewind(outbox, 0);
	CHECK_EQ(outbox_oldest_us(outbox), 1100000);
	lost = outbox_clear(outbox);
	CHECK(lost.messages >= 1);
	CHECK(outbox_empty(outbox));
	CHECK_EQ(outbox_oldest_us(outbox), 0);

	/* what goes by age makes room */
	writer.len = 1000;
	put_at(outbox, "x", 1000000, NULL);
	writer.called = 0;
	write_all(&writer);
	expire_at(outbox, 5000000);
	CHECK_EQ(writer.called, 1);
	outbox_forget(&waiter);

	outbox_set_options(outbox, &(struct outbox_options){.queue_bytes = 1000});
	put_at(outbox, "y", 1000000, NULL);
	CHECK_EQ(outbox_oldest_us(outbox), 0);
	outbox_free(outbox);
}

static struct outbox_stats stats_of(const struct outbox *outbox)
{
	struct outbox_stats stats;

	outbox_get_stats(outbox, &stats);
	return stats;
}

/* Behind messages that the link has, others grow too old: they go, those stay, and numbers are as before. */
static void check_ttl_in_flight(void)
{
	struct outbox *outbox = new_outbox(1000, 100);
	struct outbox_loss lost;

	link_position = 0;
	put_at(outbox, "1", 1000000, NULL);
	put_at(outbox, "2", 1000000, NULL);
	put_at(outbox, "3 old", 1010000, NULL);
	put_at(outbox, "4 old", 1020000, NULL);
	take(outbox, "1");
	take(outbox, "2");
	CHECK_EQ(outbox_oldest_us(outbox), 1010000);
	put_at(outbox, "5", 1500000, NULL);
	lost = expire_at(outbox, 1400000);
	CHECK_EQ(lost.messages, 2);
	CHECK_EQ(lost.bytes, 10);
	CHECK_EQ(outbox_oldest_us(outbox), 1500000);
	CHECK_EQ(stats_of(outbox).queued_messages, 3);
	CHECK_EQ(stats_of(outbox).queued_bytes, 3);
	CHECK_EQ(stats_of(outbox).released_number, 0);
	CHECK_EQ(stats_of(outbox).given_number, 2);
	CHECK_EQ(stats_of(outbox).passed_number, 4);
	take(outbox, "5");
	CHECK_EQ(stats_of(outbox).given_number, 5);
	CHECK_EQ(outbox_written(outbox, 1 + HEAD).messages, 1);
	CHECK_EQ(stats_of(outbox).released_number, 1);

	outbox_rewind(outbox, 1 + HEAD);
	CHECK_EQ(stats_of(outbox).queued_messages, 2);
	take(outbox, "2");
	take(outbox, "5");
	CHECK_EQ(outbox_written(outbox, link_position).messages, 2);
	CHECK_EQ(stats_of(outbox).released_number, 5);
	CHECK(outbox_empty(outbox));
	outbox_free(outbox);
}

/* On a link that is stuck for good, what goes by age leaves no memory behind. */
static void check_ttl_leaves_nothing(void)
{
	struct outbox *outbox = new_outbox(100000, 100);
	char text[4001];
	uint64_t before, now = 1000000;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	link_position = 0;
	put_at(outbox, "stuck", now, NULL);
	take(outbox, "stuck");
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (int i = 0; i < 2000; i++) {
		CHECK_EQ(put_at(outbox, text, now, NULL), OUTBOX_OK);
		now += 10000;
		expire_at(outbox, now);
	}
	CHECK(mallinfo2().uordblks + mallinfo2().hblkhd < before + 1000000);
	CHECK_EQ(outbox_written(outbox, link_position).messages, 1);
	expire_at(outbox, now + 1000000);
	CHECK(outbox_empty(outbox));
	outbox_free(outbox);
}

int main(void)
{
	check_ttl_in_flight();
	check_ttl_leaves_nothing();
	check_order();
	check_bound();
	check_waiting();
	check_fairness();
	check_reentry();
	check_rewind();
	check_many_losses();
	check_ttl();
	return 0;
}
