/* records - see records.h.
 *
 * One allocation in a thousand messages, and none at all once the log goes round: the block that is
 * given up becomes the next one. */
#include "conn/records.h"

#include <errno.h>
#include <stdlib.h>

#include "conn/blockfile.h"

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
	if (block->file)
		mapped_done(&block->file->mapped);
	free(block->file);
	free(block);
}

void records_trim(struct records *records)
{
	if (records->spare)
		block_free(records->spare);
	records->spare = NULL;
}

static void end_file(struct block *block)
{
	if (block->file)
		mapped_end(&block->file->mapped);
}

/* Off the list.  A block that is pinned is freed by the last who lets go of it; nobody writes to it. */
static void take_off(struct records *records, struct block *block)
{
	list_remove(&block->link);
	records->bytes -= block->size;
	records->pooled -= block->pool ? block->size : 0;
	end_file(block);
}

void records_done(struct records *records)
{
	struct block *block;

	while ((block = records_oldest(records))) {
		take_off(records, block);
		if (block->pins == 0)
			block_free(block);
	}
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

	if (newest && !newest->sealed && newest->size - newest->used >= need &&
	    (newest->file || !records->in_files || !store_may_try(records->files.store)))
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
	*block = (struct block){.size = bytes, .pool = records->pool};
	block->data = (uint8_t *)(block + 1);
	if (block->pool)
		block->pool->used += bytes;
	*ret = block;
	return 0;
}

/* In memory: the spare one, or a new one. */
static int take_block(struct records *records, size_t bytes, size_t need, struct block **ret)
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
	block->messages = 0;
	block->payload = 0;
	block->pins = 0;
	block->sealed = 0;
	*ret = block;
	return 0;
}

/* It gets no more records.  What may still change in it must be synced then, for which its descriptor is
 * needed; else there is one descriptor for a log. */
static void end_records(const struct records *records, struct block *block)
{
	if (!records->files.tail)
		end_file(block);
}

bool records_may_make_file(const struct records *records)
{
	return store_may_try(records->files.store);
}

/* A file's space is reserved from the disk; what of it is in memory is the kernel's to decide. */
static int add_block(struct records *records, size_t bytes, size_t need)
{
	struct block *block = NULL, *before = records_newest(records);
	int r = -ENOENT;

	if (records->in_files)
		r = blockfile_make(&block, &records->files, records->next_seq, bytes);
	if (r < 0 && before && !before->sealed && before->size - before->used >= need)
		return 0; /* it was for a file alone */
	if (r < 0)
		r = take_block(records, bytes, need, &block);
	if (r < 0)
		return r;
	if (block->file)
		records->files.next_serial++;
	block->first_seq = records->next_seq;
	if (before)
		end_records(records, before);
	list_append(&records->blocks, &block->link);
	records->bytes += block->size;
	records->pooled += block->pool ? block->size : 0;
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
	*ret = records_append_to(records, records_newest(records), len, counts);
	return 0;
}

void block_touch(struct block *block)
{
	if (block->file && block->file->mapped.fd >= 0)
		mapped_touch(&block->file->mapped);
}

/* The spare is kept only if it is of the usual size: not the one huge message of last week. */
void records_drop(struct records *records, struct block *block)
{
	take_off(records, block);
	if (block->file)
		blockfile_remove(&records->files, block->file->serial);
	if (block->pins > 0)
		return;
	if (!records->spare && block->size == records->block_max && !block->file)
		records->spare = block;
	else
		block_free(block);
}

void records_drop_oldest(struct records *records)
{
	records_drop(records, records_oldest(records));
}

/* --- across restarts ------------------------------------------------------------------------ */

void records_set_store(struct records *records, struct store *store, const char *prefix, uint32_t tail)
{
	struct block *newest = records_newest(records);

	records->in_files = store != NULL;
	if (store) {
		records->files.store = store;
		records->files.prefix = prefix;
		records->files.tail = tail;
	}
	records_trim(records);
	if (newest)
		newest->sealed = 1;
}

/* The next one in order is put on the list, or the file out of the way. */
static void take_up(struct records *records, struct block *block, struct records_found *found)
{
	const struct block *before = records_newest(records);

	if (before && block->first_seq < records->next_seq) {
		uint64_t serial = block->file->serial;

		block_free(block);
		blockfile_set_aside(&records->files, serial);
		found->set_aside++;
		return;
	}
	if (before) {
		found->absent += block->first_seq - records->next_seq;
		end_records(records, records_newest(records));
	}
	list_append(&records->blocks, &block->link);
	records->bytes += block->size;
	records->next_seq = block->first_seq + block->messages;
	found->messages += block->messages;
}

static int load_one(struct records *records, uint64_t serial, struct records_found *found)
{
	struct block *block;
	uint64_t cut = 0;
	int r = blockfile_read(&block, &records->files, serial, &cut);

	records->files.next_serial = serial + 1;
	switch (r) {
	case BLOCKFILE_CUT:
		found->cut_bytes += cut;
		found->cut_files++;
		take_up(records, block, found);
		break;
	case BLOCKFILE_WHOLE:
		take_up(records, block, found);
		break;
	case BLOCKFILE_EMPTY:
		blockfile_remove(&records->files, serial);
		break;
	case BLOCKFILE_BAD:
		blockfile_set_aside(&records->files, serial);
		found->set_aside++;
		break;
	default:
		return r;
	}
	return 0;
}

int records_load(struct records *records, struct records_found *ret)
{
	struct block *newest;
	uint64_t *serials;
	size_t n;
	int r;

	*ret = (struct records_found){0};
	r = store_list(records->files.store, records->files.prefix, &serials, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r >= 0; i++)
		r = load_one(records, serials[i], ret);
	free(serials);
	if (r < 0) {
		records_done(records);
		records->next_seq = 0;
		records->in_files = false;
		return r;
	}
	newest = records_newest(records);
	if (newest)
		newest->sealed = mapped_reserve(&newest->file->mapped) < 0;
	return 0;
}

void records_skip_to(struct records *records, uint64_t seq)
{
	struct block *newest = records_newest(records);

	if (seq <= records->next_seq)
		return;
	records->next_seq = seq;
	if (newest)
		newest->sealed = 1;
}

/* --- pins ----------------------------------------------------------------------------------- */

void block_pin(struct block *block)
{
	block->pins++;
}

void block_release(struct block *block)
{
	if (--block->pins == 0 && !list_linked(&block->link))
		block_free(block);
}
