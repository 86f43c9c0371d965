/* receipts: a place is committed when the reader has all bytes ahead of it, never sooner; however many
 * are on their way, the newest is exact. */
#include "endpoint/receipts.h"

#include "check.h"
#include "conn/cursors.h"

static struct mark *mark;
static struct mark_holder holder;

static void note(struct receipts *receipts, uint64_t bytes, uint64_t seq)
{
	receipts_note(receipts, bytes, &(struct position){.seq = seq, .marks = (uint32_t)(seq % 7)});
}

static void check_whole_records_only(void)
{
	struct receipts receipts = {.holder = &holder};

	note(&receipts, 10, 101);
	note(&receipts, 25, 102);
	note(&receipts, 25, 103); /* one that has no bytes */
	note(&receipts, 40, 104);
	CHECK_EQ(mark->seq, 0);
	receipts_confirm(&receipts, 9);
	CHECK_EQ(mark->seq, 0);
	receipts_confirm(&receipts, 10);
	CHECK_EQ(mark->seq, 101);
	CHECK_EQ(mark->marks, 101 % 7);
	receipts_confirm(&receipts, 24);
	CHECK_EQ(mark->seq, 101);
	receipts_confirm(&receipts, 39);
	CHECK_EQ(mark->seq, 103);
	receipts_confirm(&receipts, 5); /* nonsense: it stays */
	CHECK_EQ(mark->seq, 103);
	receipts_confirm(&receipts, 1000);
	CHECK_EQ(mark->seq, 104);
	note(&receipts, 41, 105); /* he says that he has it already */
	CHECK_EQ(mark->seq, 105);
}

static void check_many(void)
{
	struct receipts receipts = {.holder = &holder};

	mark_commit(mark, 0, 0);
	for (uint64_t i = 1; i <= 100000; i++) {
		note(&receipts, i * 10, i);
		CHECK(receipts.n <= RECEIPTS_MAX);
	}
	for (uint64_t bytes = 0; bytes < 1000000; bytes += 777) {
		receipts_confirm(&receipts, bytes);
		CHECK(mark->seq <= bytes / 10);
	}
	CHECK(mark->seq > 90000);
	receipts_confirm(&receipts, 1000000);
	CHECK_EQ(mark->seq, 100000);
}

int main(void)
{
	static const struct spool_events events;
	const struct spool_options options = {1 << 20, 0, SPOOL_DROP};
	struct cursors *cursors;
	struct receipts receipts = {.holder = &holder};
	struct spool *spool;

	CHECK_EQ(spool_new(&spool, &options, NULL, &events, NULL), 0);
	CHECK_EQ(cursors_new(&cursors, spool), 0);
	CHECK_EQ(cursors_add(cursors, MARK_NAMED, "c", &mark), 0);
	mark_hold(mark, &holder);
	check_whole_records_only();
	check_many();
	note(&receipts, 10, 1);
	cursors_free(cursors);
	receipts_confirm(&receipts, 10); /* its connection has gone */
	spool_free(spool);
	return 0;
}
