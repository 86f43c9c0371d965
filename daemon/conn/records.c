/* records - see records.h.
 *
 * One allocation in a thousand messages, and none at all once the log goes round: the block that is
 * given up becomes the next one. */
#include "conn/records.h"

#include <errno.h>
#include <stdlib.h>

enum { /* with malloc's own bytes: 256, and a page */
	BLOCK_FIRST = 256 - sizeof(struct block) - 8,
	BLOCK_MAX_MIN = 4096 - sizeof(struct block) - 8,
	BLOCK_GROWTH = 4,
};

void records_init(struct records *records, size_t block_max, struct records_pool *pool)
{
	*records = (struct records){
		.block_max = block_max < BLOCK_MAX_MIN ? BLOCK_MAX_MIN : block_max,
		.pool = pool,
	};
	list_init(&records->blocks);
}

static void pool_give_back(struct records_pool *pool, size_t bytes)
{
	if (pool)
		pool->used -= bytes;
}

/* The pool outlives every log, so a block pinned beyond its log's end still knows where to report. */
static void block_free(struct block *block)
{
	pool_give_back(block->pool, block->size);
	free(block);
}

void records_trim(struct records *records)
{
	if (records->spare)
		block_free(records->spare);
	records->spare = NULL;
}

void records_done(struct records *records)
{
	while (records_oldest(records))
		records_drop_oldest(records);
	records_trim(records);
}

struct block *records_oldest(const struct records *records)
{
	return list_first(&records->blocks, struct block, link);
}

static struct block *records_newest(const struct records *records)
{
	return list_last(&records->blocks, struct block, link);
}

struct block *records_after(const struct records *records, const struct block *block)
{
	return block->link.next == &records->blocks ? NULL
						    : list_entry(block->link.next, struct block, link);
}

bool records_needs_block(const struct records *records, uint32_t len, size_t *ret_bytes)
{
	const struct block *newest = records_newest(records);
	size_t need = record_size(len);
	size_t size = newest ? newest->size * BLOCK_GROWTH : BLOCK_FIRST;

	if (newest && newest->size - newest->used >= need)
		return false;
	if (size > records->block_max)
		size = records->block_max;
	*ret_bytes = size < need ? need : size;
	return true;
}

static bool pool_has(const struct records_pool *pool, size_t bytes)
{
	return !pool || pool->used + bytes <= pool->limit;
}

/* Of BYTES if that can be had, else of NEED, the least that will do. */
static int make_block(struct records *records, size_t bytes, size_t need, struct block **ret)
{
	struct block *block;

	if (!pool_has(records->pool, bytes))
		bytes = need;
	if (!pool_has(records->pool, bytes))
		return -ENOBUFS;
	block = malloc(sizeof(*block) + bytes);
	if (!block)
		return -ENOMEM;
	block->size = bytes;
	block->pool = records->pool;
	if (block->pool)
		block->pool->used += bytes;
	*ret = block;
	return 0;
}

static int add_block(struct records *records, size_t bytes, size_t need)
{
	struct block *block = records->spare;
	int r;

	if (block && block->size >= bytes && block->size / 2 <= bytes) {
		records->spare = NULL;
	} else {
		records_trim(records);
		r = make_block(records, bytes, need, &block);
		if (r < 0)
			return r;
	}
	block->used = 0;
	block->payload = 0;
	block->pins = 0;
	block->first_seq = records->next_seq;
	list_append(&records->blocks, &block->link);
	records->bytes += block->size;
	return 0;
}

int records_append(struct records *records, uint32_t len, bool counts, struct record **ret)
{
	size_t bytes;

	if (records_needs_block(records, len, &bytes)) {
		int r = add_block(records, bytes, record_size(len));

		if (r < 0)
			return r;
	}
	*ret = records_append_here(records, len, counts);
	return 0;
}

/* The spare is kept only if it is of the usual size: not the one huge message of last week. */
void records_drop_oldest(struct records *records)
{
	struct block *block = records_oldest(records);

	list_remove(&block->link);
	records->bytes -= block->size;
	if (block->pins > 0)
		return;
	if (!records->spare && block->size == records->block_max)
		records->spare = block;
	else
		block_free(block);
}

void block_pin(struct block *block)
{
	block->pins++;
}

void block_release(struct block *block)
{
	if (--block->pins == 0 && !list_linked(&block->link))
		block_free(block);
}
