/* records: blocks that grow, records that are whole, pins that outlive the log, a pool that
 * counts. */
#include "conn/records.h"

#include <errno.h>
#include <string.h>

#include "check.h"

static struct record *append(struct records *records, uint32_t len, bool counts)
{
	struct record *record = NULL;

	CHECK_EQ(records_append(records, len, counts, &record), 0);
	memset(record->data, (int)(len & 0xff), len);
	record->kind = 1;
	return record;
}

static unsigned blocks_of(const struct records *records)
{
	unsigned n = 0;

	for (struct block *b = records_oldest(records); b; b = records_after(records, b))
		n++;
	return n;
}

static void check_order_and_numbers(void)
{
	struct records records;
	uint64_t seq = 0;
	uint32_t len = 0;

	records_init(&records, 16384, NULL);
	CHECK(!records_oldest(&records));
	for (uint32_t i = 0; i < 1000; i++)
		append(&records, i % 97, i % 10 != 3);
	for (struct block *b = records_oldest(&records); b; b = records_after(&records, b)) {
		const struct record *record;
		uint64_t payload = 0;

		CHECK_EQ(b->first_seq, seq);
		CHECK(b->size <= 16384 && b->used <= b->size);
		for (size_t at = 0; (record = block_record(b, at));
		     at += record_size(record->len)) {
			CHECK_EQ((uintptr_t)record % 8, 0);
			CHECK_EQ(record->len, len % 97);
			for (uint32_t i = 0; i < record->len; i++)
				CHECK_EQ(record->data[i], record->len & 0xff);
			if (len % 10 != 3) {
				payload += record->len;
				seq++;
			}
			len++;
		}
		CHECK_EQ(b->payload, payload);
	}
	CHECK_EQ(len, 1000);
	CHECK_EQ(seq, 900);
	CHECK_EQ(records.next_seq, 900);
	records_done(&records);
	CHECK(!records_oldest(&records));
	CHECK_EQ(records.bytes, 0);
}

static void check_blocks_grow(void)
{
	struct records records;
	struct block *first, *second;
	size_t bytes;

	records_init(&records, 20000, NULL);
	CHECK(records_needs_block(&records, 10, &bytes));
	append(&records, 10, true);
	first = records_oldest(&records);
	CHECK_EQ(first->size, bytes);
	CHECK(first->size <= 256); /* an idle connection has a mark or two in it */
	while (!records_needs_block(&records, 100, &bytes))
		append(&records, 100, true);
	append(&records, 100, true);
	second = records_after(&records, first);
	CHECK_EQ(second->size, 4 * first->size);
	CHECK_EQ(second->size, bytes);
	for (int i = 0; i < 1000; i++)
		append(&records, 100, true);
	for (struct block *b = records_oldest(&records); b; b = records_after(&records, b))
		CHECK(b->size <= 20000);
	/* one that is larger than any block has its own */
	append(&records, 1000000, true);
	CHECK(records.bytes >= 1000000);
	append(&records, 8, true);
	records_done(&records);

	records_init(&records, 1, NULL); /* a maximum that is absurd is not a fault */
	for (int n = 0; n < 20; n++)
		append(&records, 100, true);
	CHECK(blocks_of(&records) <= 3);
	records_done(&records);
}

static void check_spare(void)
{
	struct records_pool pool;
	struct records records;
	uint64_t most;

	records_pool_init(&pool, 1 << 20);
	records_init(&records, 8192, &pool);
	while (blocks_of(&records) < 4)
		append(&records, 1000, true);
	CHECK_EQ(pool.used, records.bytes);
	most = 4 * 8192;
	for (int i = 0; i < 1000;
	     i++) { /* round and round, and never more than one block besides */
		size_t bytes;

		if (records_needs_block(&records, 1000, &bytes))
			records_drop_oldest(&records);
		append(&records, 1000, true);
		CHECK(pool.used <= most + 8192);
	}
	while (records_oldest(&records))
		records_drop_oldest(&records);
	CHECK_EQ(pool.used, 8192); /* the spare counts */
	records_trim(&records);
	CHECK_EQ(pool.used, 0);
	records_trim(&records);

	append(&records, 500000, true); /* a huge one is not kept as the spare */
	records_drop_oldest(&records);
	CHECK_EQ(pool.used, 0);
	records_done(&records);
}

static void check_pins(void)
{
	struct records_pool pool;
	struct records records;
	struct block *block;
	struct record *record;

	records_pool_init(&pool, 1 << 20);
	records_init(&records, 4096, &pool);
	record = append(&records, 1000, true);
	block = records_oldest(&records);
	block_pin(block);
	block_pin(block);
	records_drop_oldest(&records);
	CHECK(!records_oldest(&records));
	CHECK_EQ(records.bytes, 0);
	CHECK(pool.used >= 1000); /* it is still somebody's memory */
	CHECK_EQ(record->data[999], 1000 & 0xff);
	append(&records, 1000, true);
	block_release(block);
	CHECK_EQ(record->data[0], 1000 & 0xff);
	records_done(&records); /* the log ends before the last pin */
	CHECK(pool.used >= 1000);
	CHECK_EQ(record->data[500], 1000 & 0xff);
	block_release(block);
	CHECK_EQ(pool.used, 0);

	append(&records, 10, true); /* released while it is on the list: it stays */
	block = records_oldest(&records);
	block_pin(block);
	block_release(block);
	CHECK_EQ(records_oldest(&records)->used, record_size(10));
	records_done(&records);
	CHECK_EQ(pool.used, 0);
}

static void check_pool(void)
{
	struct records_pool pool;
	struct records a, b;
	struct record *record;
	unsigned n = 0;
	int r;

	records_pool_init(&pool, 20000);
	records_init(&a, 4096, &pool);
	records_init(&b, 4096, &pool);
	append(&b, 100, true);
	while ((r = records_append(&a, 1000, true, &record)) == 0)
		n++;
	CHECK_EQ(r, -ENOBUFS);
	CHECK(n > 8 && n < 20);
	CHECK(pool.used <= 20000);
	CHECK_EQ(a.next_seq, n); /* what was refused has no number */
	append(&b, 20, true);    /* a block that is there may be filled */
	records_drop_oldest(&a);
	records_trim(&a);
	append(&a, 1000, true);
	records_done(&a);
	records_done(&b);
	CHECK_EQ(pool.used, 0);
}

int main(void)
{
	check_order_and_numbers();
	check_blocks_grow();
	check_spare();
	check_pins();
	check_pool();
	return 0;
}
