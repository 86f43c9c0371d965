/* spool: every reader gets every message once, in order, or is told exactly how many it has missed.
 */
#include "conn/spool.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "loop.h"

static struct {
	unsigned eased, missed_calls;
	uint64_t missed, missed_bytes;
} seen;

static void on_eased(void *owner)
{
	(void)owner;
	seen.eased++;
}

static void on_missed(void *owner, const char *reader, uint64_t messages, uint64_t bytes)
{
	(void)owner;
	CHECK(reader && messages > 0);
	seen.missed_calls++;
	seen.missed += messages;
	seen.missed_bytes += bytes;
}

static const struct spool_events events = {on_eased, on_missed};

static struct spool *new_spool(uint64_t keep, int overflow, uint64_t age_ms,
			       struct records_pool *pool)
{
	const struct spool_options options = {keep, age_ms, overflow};
	struct spool *spool;

	memset(&seen, 0, sizeof(seen));
	CHECK_EQ(spool_new(&spool, &options, pool, &events, NULL), 0);
	return spool;
}

static int put(struct spool *spool, uint64_t number, size_t len)
{
	static uint8_t data[1 << 20];
	struct msg msg = {.kind = MSG_BINARY, .time_us = loop_wall_us(), .data = data, .len = len};

	CHECK(len >= 8 && len <= sizeof(data));
	memcpy(data, &number, 8);
	data[len - 1] = len > 8 ? (uint8_t)number : data[len - 1];
	return spool_append(spool, &msg);
}

static void put_mark(struct spool *spool, uint8_t kind)
{
	struct msg mark = {.kind = kind, .time_us = loop_wall_us(), .code = 1001};

	CHECK(spool_append(spool, &mark) >= 0);
}

/* The next message's number, or -1; marks are passed over. */
static int64_t take(struct cursor *cursor)
{
	struct position at = cursor_start(cursor);
	struct msg msg;
	uint64_t number;

	while (cursor_read(cursor, &at, &msg)) {
		cursor_commit(cursor, &at);
		if (msg.kind != MSG_TEXT && msg.kind != MSG_BINARY)
			continue;
		memcpy(&number, msg.data, 8);
		CHECK_EQ(at.seq, number + 1);
		return (int64_t)number;
	}
	return -1;
}

static unsigned readies;
static uint64_t jumps;

static void on_ready(void *owner)
{
	(void)owner;
	readies++;
}

static void on_jumped(void *owner, uint64_t messages)
{
	(void)owner;
	jumps += messages;
}

static void open_cursor(struct cursor *cursor, struct spool *spool, enum cursor_from from)
{
	cursor_open(cursor, spool, from, "test", on_ready, NULL);
	cursor->jumped = on_jumped;
	jumps = 0;
}

static void check_reading(void)
{
	struct spool *spool = new_spool(1 << 20, SPOOL_DROP, 0, NULL);
	struct cursor early, oldest, newest, zeroed = {0};
	struct spool_stats stats;
	struct msg msg;
	struct position at;

	open_cursor(&early, spool, CURSOR_OLDEST);
	CHECK(cursor_at_end(&early));
	CHECK(!spool_newest(spool, &msg));
	CHECK_EQ(take(&early), -1);
	for (uint64_t i = 0; i < 1000; i++)
		CHECK_EQ(put(spool, i, 8 + i % 50), SPOOL_OK);
	open_cursor(&oldest, spool, CURSOR_OLDEST);
	open_cursor(&newest, spool, CURSOR_NEWEST);
	CHECK_EQ(cursor_behind(&early), 1000);
	CHECK_EQ(cursor_behind(&oldest), 1000);
	CHECK_EQ(cursor_behind(&newest), 0);
	CHECK(cursor_at_end(&newest) && !cursor_at_end(&oldest));
	for (int64_t i = 0; i < 1000; i++) {
		CHECK_EQ(take(&early), i);
		CHECK_EQ(take(&oldest), i);
		CHECK_EQ(cursor_behind(&oldest), 999 - i);
	}
	CHECK_EQ(take(&early), -1);
	put(spool, 1000, 8);
	CHECK_EQ(take(&early), 1000);
	CHECK_EQ(take(&oldest), 1000);
	CHECK_EQ(take(&newest), 1000);
	CHECK_EQ(spool_next_seq(spool), 1001);
	CHECK(spool_newest(spool, &msg));
	CHECK_EQ(msg.len, 8);

	/* what was read and not committed is read again */
	put(spool, 1001, 8);
	at = cursor_start(&newest);
	CHECK(cursor_read(&newest, &at, &msg));
	CHECK(!cursor_read(&newest, &at, &msg));
	CHECK_EQ(take(&newest), 1001);

	cursor_to_newest(&oldest);
	CHECK_EQ(take(&oldest), -1);
	CHECK_EQ(oldest.missed, 0);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.kept_messages, 1002);
	CHECK_EQ(stats.dropped_messages, 0);
	cursor_close(&early);
	cursor_close(&early);
	cursor_close(&oldest);
	cursor_close(&newest);
	cursor_close(&zeroed);
	spool_free(spool);
	spool_free(NULL);
	CHECK_EQ(seen.missed, 0);
}

static void check_marks(void)
{
	struct spool *spool = new_spool(1 << 20, SPOOL_DROP, 0, NULL);
	struct cursor cursor;
	struct position at;
	struct spool_stats stats;
	struct msg msg;

	open_cursor(&cursor, spool, CURSOR_OLDEST);
	put_mark(spool, MSG_OPENED);
	CHECK(!cursor_at_end(&cursor));
	CHECK_EQ(cursor_behind(&cursor), 0);
	put(spool, 0, 10);
	put_mark(spool, MSG_CLOSED);
	put_mark(spool, MSG_OPENED);
	CHECK_EQ(cursor_behind(&cursor), 1);
	CHECK_EQ(spool_next_seq(spool), 1);
	CHECK(spool_newest(spool, &msg));
	CHECK_EQ(msg.kind, MSG_BINARY);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.kept_messages, 1);
	CHECK_EQ(stats.kept_bytes, 10);
	at = cursor_start(&cursor);
	CHECK(cursor_read(&cursor, &at, &msg));
	CHECK_EQ(msg.kind, MSG_OPENED);
	CHECK(cursor_read(&cursor, &at, &msg));
	CHECK_EQ(msg.kind, MSG_BINARY);
	CHECK(cursor_read(&cursor, &at, &msg));
	CHECK_EQ(msg.kind, MSG_CLOSED);
	CHECK_EQ(msg.code, 1001);
	CHECK(cursor_read(&cursor, &at, &msg));
	CHECK_EQ(msg.kind, MSG_OPENED);
	CHECK(!cursor_read(&cursor, &at, &msg));
	cursor_close(&cursor);
	spool_free(spool);
}

static void check_keep(void)
{
	enum { KEEP = 100000, N = 5000 };
	struct spool *spool = new_spool(KEEP, SPOOL_DROP, 0, NULL);
	struct cursor slow, never, latest;
	struct spool_stats stats;
	int64_t next = 0, got = 0;
	uint64_t bytes = 0;

	open_cursor(&never, spool, CURSOR_OLDEST); /* opened in the empty log, and never read */
	open_cursor(&slow, spool, CURSOR_OLDEST);
	open_cursor(&latest, spool, CURSOR_OLDEST);
	latest.newest_only = true;
	for (uint64_t i = 0; i < N; i++) {
		CHECK_EQ(put(spool, i, 100), SPOOL_OK);
		put_mark(spool, MSG_OPENED);
		bytes += 100;
		spool_get_stats(spool, &stats);
		CHECK(stats.kept_bytes <= KEEP);
		CHECK_EQ(never.missed + cursor_behind(&never), i + 1);
		if (i % 3 ==
		    0) { /* too slow: sees every number once, or is told that it does not */
			uint64_t missed = slow.missed;
			int64_t number = take(&slow);

			CHECK(number >= next);
			CHECK_EQ(slow.missed, missed);
			next = number + 1;
			got++;
		}
		CHECK_EQ((uint64_t)got + slow.missed + cursor_behind(&slow), i + 1);
	}
	CHECK(slow.missed > 0 && slow.missed < never.missed);
	CHECK_EQ(never.missed + cursor_behind(&never), N);
	CHECK_EQ(latest.missed, 0);
	CHECK_EQ(stats.dropped_messages,
		 never.missed); /* each counted once, however many miss it */
	CHECK_EQ(stats.dropped_bytes, never.missed * 100);
	CHECK_EQ(stats.kept_messages + stats.dropped_messages, N);
	CHECK_EQ(seen.missed, never.missed + slow.missed);
	CHECK_EQ(seen.missed_bytes, seen.missed * 100);
	CHECK_EQ(jumps, seen.missed);
	CHECK_EQ(take(&never), (int64_t)never.missed);
	CHECK_EQ(seen.eased, 0);
	CHECK_EQ(bytes, N * 100);
	cursor_close(&slow);
	cursor_close(&never);
	cursor_close(&latest);
	spool_free(spool);
}

static void check_keep_without_readers(void)
{
	enum { KEEP = 100000, N = 5000 };
	struct spool *spool = new_spool(KEEP, SPOOL_DROP, 0, NULL);
	struct spool_stats stats;
	struct cursor cursor;

	/* nobody reads, nobody misses */
	for (uint64_t i = 0; i < N; i++)
		put(spool, i, 100);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.dropped_messages, 0);
	CHECK(stats.kept_messages < N);

	/* the newest message is kept, however large */
	open_cursor(&cursor, spool, CURSOR_OLDEST);
	put(spool, N, KEEP * 3);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.kept_messages, 1);
	CHECK_EQ(take(&cursor), N);
	CHECK_EQ(take(&cursor), -1);
	cursor_close(&cursor);
	spool_free(spool);
}

static void check_hold(void)
{
	struct spool *spool = new_spool(10000, SPOOL_DROP, 0, NULL);
	struct cursor cursor;
	struct position at;
	struct block *block;
	struct msg msg;
	uint64_t number;

	open_cursor(&cursor, spool, CURSOR_OLDEST);
	put(spool, 0, 500);
	at = cursor_start(&cursor);
	CHECK(cursor_read(&cursor, &at, &msg));
	block = cursor_hold(&at);
	cursor_commit(&cursor, &at);
	for (uint64_t i = 1; i < 1000; i++)
		put(spool, i, 500);
	memcpy(&number, msg.data, 8); /* a use after free where a pin does not hold */
	CHECK_EQ(number, 0);
	CHECK_EQ(msg.len, 500);
	CHECK(cursor.missed > 900);
	CHECK_EQ(take(&cursor), (int64_t)cursor.missed + 1);
	block_release(block);
	cursor_close(&cursor);
	spool_free(spool);
}

static void check_waiting(void)
{
	struct spool *spool = new_spool(100000, SPOOL_DROP, 0, NULL);
	struct cursor a, b;

	open_cursor(&a, spool, CURSOR_OLDEST);
	open_cursor(&b, spool, CURSOR_OLDEST);
	readies = 0;
	put(spool, 0, 8);
	CHECK_EQ(readies, 0); /* nobody has asked */
	cursor_wait(&a);
	cursor_wait(&a);
	cursor_wait(&b);
	put(spool, 1, 8);
	CHECK_EQ(readies, 2);
	put(spool, 2, 8);
	CHECK_EQ(readies, 2); /* once for each time */
	cursor_wait(&a);
	cursor_wait(&b);
	cursor_close(&b);
	put_mark(spool, MSG_CLOSED); /* a mark is something to read */
	CHECK_EQ(readies, 3);
	cursor_close(&a);
	spool_free(spool);
}

static void check_block(void)
{
	enum { KEEP = 100000 };
	struct spool *spool = new_spool(KEEP, SPOOL_BLOCK, 0, NULL);
	struct spool_stats stats;
	struct cursor live, absent;
	uint64_t sent = 0;
	int64_t got = 0;

	open_cursor(&absent, spool, CURSOR_OLDEST);
	open_cursor(&live, spool, CURSOR_OLDEST);
	cursor_set_live(&live, true);
	for (int round = 0; round < 20; round++) {
		while (put(spool, sent++, 200) == SPOOL_OK)
			CHECK(sent < 100000);
		CHECK(spool_full(spool));
		spool_get_stats(spool, &stats);
		CHECK(stats.kept_bytes > KEEP / 2 && stats.kept_bytes < KEEP * 5 / 4);
		put(spool, sent++, 200); /* what was on its way is taken nevertheless */
		CHECK_EQ(seen.eased, round);
		while (spool_full(spool))
			CHECK_EQ(take(&live), got++);
		CHECK_EQ(seen.eased, round + 1);
		CHECK(cursor_behind(&live) > 10); /* eased before it is all read, and not at once */
		CHECK(cursor_behind(&live) < sent - (uint64_t)got + 1);
	}
	CHECK_EQ(live.missed, 0);
	CHECK(absent.missed > 0); /* one who is not there is not waited for */
	cursor_close(&live);
	cursor_close(&absent);
	spool_free(spool);
}

/* What else ends the wait than reading. */
static void check_easing(void)
{
	enum { KEEP = 100000 };
	struct spool *spool = new_spool(KEEP, SPOOL_BLOCK, 0, NULL);
	struct spool_options options = {KEEP, 0, SPOOL_BLOCK};
	struct cursor live;
	uint64_t sent = 0;

	open_cursor(&live, spool, CURSOR_OLDEST);
	cursor_set_live(&live, true);
	while (put(spool, sent++, 200) == SPOOL_OK)
		continue;
	cursor_set_live(&live, false); /* a reader who leaves holds nobody */
	CHECK_EQ(seen.eased, 1);
	CHECK(!spool_full(spool));
	cursor_set_live(&live, true);
	while (put(spool, sent++, 200) == SPOOL_OK)
		continue;
	cursor_to_newest(&live);
	CHECK_EQ(seen.eased, 2);
	cursor_close(&live);

	open_cursor(&live, spool, CURSOR_OLDEST);
	cursor_set_live(&live, true);
	while (put(spool, sent++, 200) == SPOOL_OK)
		continue;
	options.overflow = SPOOL_DROP; /* a reload does not leave it full for ever */
	spool_set_options(spool, &options);
	CHECK_EQ(seen.eased, 3);
	options.overflow = SPOOL_BLOCK;
	spool_set_options(spool, &options);
	while (put(spool, sent++, 200) == SPOOL_OK)
		continue;
	options.keep_bytes *= 4;
	spool_set_options(spool, &options);
	CHECK_EQ(seen.eased, 4);
	cursor_close(&live);
	spool_free(spool);
}

/* The first reader of all was there before the first message. */
static void check_block_from_empty(void)
{
	struct spool *spool = new_spool(50000, SPOOL_BLOCK, 0, NULL);
	struct cursor live;
	uint64_t sent = 0;

	open_cursor(&live, spool, CURSOR_NEWEST);
	cursor_set_live(&live, true);
	while (put(spool, sent++, 200) == SPOOL_OK)
		CHECK(sent < 1000);
	CHECK_EQ(live.missed, 0);
	for (uint64_t i = 0; i < sent; i++)
		CHECK_EQ(take(&live), (int64_t)i);
	CHECK(!spool_full(spool));
	CHECK_EQ(seen.eased, 1);

	/* one message larger than `keep` holds the line until it is read, and is then the newest */
	put(spool, sent, 60000);
	while (put(spool, sent + 1, 60000) == SPOOL_OK)
		sent++;
	CHECK_EQ(live.missed, 0);
	CHECK(take(&live) >= 0);
	while (take(&live) >= 0)
		continue;
	CHECK(!spool_full(spool));
	CHECK_EQ(live.missed, 0);
	cursor_close(&live);
	spool_free(spool);
}

static void check_age(void)
{
	struct spool *spool = new_spool(1 << 20, SPOOL_DROP, 1000, NULL);
	struct spool_stats stats;
	struct cursor a, b, fast;
	struct position at;
	struct msg msg;

	open_cursor(&a, spool, CURSOR_OLDEST);
	open_cursor(&b, spool, CURSOR_OLDEST);
	open_cursor(&fast, spool, CURSOR_OLDEST);
	for (uint64_t i = 0; i < 10; i++) {
		put(spool, i, 10);
		CHECK_EQ(take(&fast), (int64_t)i);
		fake_loop_advance(200);
	}
	/* now is 2000: those of 0 to 800 are too old, 1000 is on the border */
	at = cursor_start(&a);
	CHECK_EQ(a.missed, 5);
	CHECK(cursor_read(&a, &at, &msg));
	at = cursor_start(&a); /* nothing was committed, and nothing is counted twice */
	CHECK_EQ(a.missed, 5);
	CHECK_EQ(take(&a), 5);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.dropped_messages, 5);
	CHECK_EQ(take(&b), 5);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.dropped_messages, 5); /* the same five */
	CHECK_EQ(stats.dropped_bytes, 50);
	CHECK_EQ(seen.missed, 10);
	fake_loop_advance(100000);
	CHECK_EQ(take(&a), -1);
	CHECK_EQ(take(&a), -1);
	CHECK_EQ(a.missed, 9);
	CHECK_EQ(cursor_behind(&a), 0);
	CHECK_EQ(fast.missed, 0);
	spool_get_stats(spool, &stats);
	CHECK_EQ(stats.dropped_messages, 9);

	/* whole blocks go by age as well; b, who stands there, is told of what was not counted yet
	 */
	for (uint64_t i = 10; i < 10010; i++) {
		put(spool, i, 100);
		fake_loop_advance(10);
	}
	spool_get_stats(spool, &stats);
	CHECK(stats.kept_messages < 4000);
	CHECK_EQ(b.missed + 1 + cursor_behind(&b), 10010);
	CHECK(b.missed > 1000);
	cursor_close(&a);
	cursor_close(&b);
	cursor_close(&fast);
	spool_free(spool);
}

static void check_pool(void)
{
	struct records_pool pool;
	struct spool *big, *small;
	struct cursor reader, other;
	struct spool_stats stats;
	uint64_t i = 0;

	records_pool_init(&pool, 400000);
	big = new_spool(1 << 19, SPOOL_DROP, 0, &pool);
	small = new_spool(1 << 19, SPOOL_DROP, 0, &pool);
	open_cursor(&reader, big, CURSOR_OLDEST);
	open_cursor(&other, small, CURSOR_OLDEST);
	put(small, 0, 100);
	for (i = 0; i < 10000; i++) {
		CHECK(put(big, i, 100) >= 0);
		CHECK(pool.used <= 400000);
	}
	CHECK_EQ(reader.missed + cursor_behind(&reader), 10000);
	CHECK_EQ(other.missed, 0); /* who has little gives nothing */
	for (i = 1; i < 10000; i++) {
		CHECK(put(small, i, 100) >= 0);
		CHECK(pool.used <= 400000);
	}
	CHECK_EQ(reader.missed + cursor_behind(&reader), 10000);
	CHECK_EQ(other.missed + cursor_behind(&other), 10000);
	CHECK(cursor_behind(&other) > 300);
	CHECK(cursor_behind(&reader) > 100);

	/* what can never fit takes nothing from anybody, and is counted for everybody */
	i = cursor_behind(&reader);
	CHECK_EQ(put(small, 10000, 500000), -ENOMEM);
	CHECK_EQ(cursor_behind(&reader), i);
	spool_get_stats(small, &stats);
	CHECK_EQ(other.missed + cursor_behind(&other), 10001);
	CHECK_EQ(spool_next_seq(small), 10000);
	CHECK_EQ(stats.dropped_messages, other.missed);
	cursor_close(&reader);
	cursor_close(&other);
	spool_free(big);
	spool_free(small);
	CHECK_EQ(pool.used, 0);
}

static void check_lose(void)
{
	struct spool *spool = new_spool(100000, SPOOL_DROP, 0, NULL);
	struct msg msg = {.kind = MSG_TEXT, .len = 77};
	struct spool_stats stats;
	struct cursor cursor;

	open_cursor(&cursor, spool, CURSOR_OLDEST);
	cursor_lose(&cursor, &msg);
	spool_get_stats(spool, &stats);
	CHECK_EQ(cursor.missed, 1);
	CHECK_EQ(jumps, 1);
	CHECK_EQ(seen.missed, 1);
	CHECK_EQ(stats.dropped_messages, 1);
	CHECK_EQ(stats.dropped_bytes, 77);
	cursor_close(&cursor);
	spool_free(spool);
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	check_reading();
	check_marks();
	check_keep();
	check_keep_without_readers();
	check_hold();
	check_waiting();
	check_block();
	check_easing();
	check_block_from_empty();
	check_age();
	check_pool();
	check_lose();
	return 0;
}
