/* spool - see spool.h.
 *
 * The hot path is spool_append(): one test for room, one copy, one look at the list of waiting
 * cursors.  All that has to do with age, bounds and slow readers happens when a new block is needed,
 * which is once in thousands of messages. */
#include "conn/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"

enum {
	BLOCK_MAX = 1024 * 1024,
	BLOCKS_MAX = 1024, /* about; each may be a mapping, of which a process has some ten thousand */
};

#define PREFIX "spool."

struct spool {
	struct records records;
	struct spool_options options;
	struct spool_events events;
	void *owner;
	struct list cursors;
	struct list waiting;
	struct list pool_link;
	struct record *newest; /* the newest message, in newest_block */
	struct block *newest_block;
	uint32_t marks; /* behind it */
	bool full;
	uint64_t dropped_messages, dropped_bytes;
	uint64_t counted; /* messages with lower numbers have been counted as dropped, or never will be */
};

static void check_eased(struct spool *spool);

static size_t block_max_for(uint64_t keep_bytes)
{
	uint64_t size = keep_bytes / 8, least = keep_bytes / BLOCKS_MAX;

	return size < BLOCK_MAX ? size : least > BLOCK_MAX ? least : BLOCK_MAX;
}

int spool_new(struct spool **ret, const struct spool_options *options, struct records_pool *pool,
	      const struct spool_events *events, void *owner)
{
	struct spool *spool = calloc(1, sizeof(*spool));

	if (!spool)
		return -ENOMEM;
	spool->options = *options;
	spool->events = *events;
	spool->owner = owner;
	records_init(&spool->records, block_max_for(options->keep_bytes), pool);
	list_init(&spool->cursors);
	list_init(&spool->waiting);
	if (pool)
		list_append(&pool->spools, &spool->pool_link);
	*ret = spool;
	return 0;
}

struct spool *spool_free(struct spool *spool)
{
	if (!spool)
		return NULL;
	list_remove(&spool->pool_link);
	records_done(&spool->records);
	free(spool);
	return NULL;
}

void spool_set_options(struct spool *spool, const struct spool_options *options)
{
	spool->options = *options;
	spool->records.block_max = block_max_for(options->keep_bytes);
	check_eased(spool); /* there may be more room now, or nobody to wait for */
}

/* --- forgetting ----------------------------------------------------------------------------- */

static uint64_t end_seq(const struct spool *spool, const struct block *block)
{
	const struct block *next = records_after(&spool->records, block);

	return next ? next->first_seq : spool->records.next_seq;
}

static bool is_message(const struct record *record)
{
	return record->kind == MSG_TEXT || record->kind == MSG_BINARY;
}

/* Bytes of the messages of this block from number SEQ on. */
static uint64_t payload_from(const struct block *block, uint64_t seq)
{
	const struct record *record;
	uint64_t bytes = 0, at = block->first_seq;

	if (seq <= at)
		return block->payload;
	for (size_t offset = 0; (record = block_record(block, offset));
	     offset += record_size(record->len))
		if (is_message(record) && at++ >= seq)
			bytes += record->len;
	return bytes;
}

static void cursor_missed(struct cursor *cursor, uint64_t messages, uint64_t bytes)
{
	struct spool *spool = cursor->spool;

	if (messages == 0)
		return;
	cursor->missed += messages;
	if (cursor->jumped)
		cursor->jumped(cursor->owner, messages);
	if (spool->events.missed)
		spool->events.missed(spool->owner, cursor->label, messages, bytes);
}

/* The messages of BLOCK from number SEQ on are lost to somebody: each is counted once, however many
 * miss it, and though some have passed over it before because of its age. */
static void count_dropped(struct spool *spool, const struct block *block, uint64_t seq)
{
	uint64_t end = end_seq(spool, block);

	if (seq < spool->counted)
		seq = spool->counted;
	if (seq >= end)
		return;
	spool->dropped_messages += end - seq;
	spool->dropped_bytes += payload_from(block, seq);
	spool->counted = end;
}

/* The oldest block goes.  Readers that stand in it jump to the next one and are told. */
static void drop_oldest(struct spool *spool)
{
	struct block *block = records_oldest(&spool->records);
	struct block *next = records_after(&spool->records, block);
	uint64_t behind_it = end_seq(spool, block), lost_from = behind_it;
	struct cursor *cursor, *following;

	list_for_each_safe(cursor, following, &spool->cursors, link) {
		uint64_t messages, bytes;

		if (cursor->at.block != block)
			continue;
		messages = cursor->newest_only ? 0 : behind_it - cursor->at.seq;
		bytes = messages ? payload_from(block, cursor->at.seq) : 0;
		if (messages && cursor->at.seq < lost_from)
			lost_from = cursor->at.seq;
		cursor->at = (struct position){.block = next, .seq = behind_it};
		cursor_missed(cursor, messages, bytes);
	}
	count_dropped(spool, block, lost_from);
	if (spool->newest_block == block)
		spool->newest_block = NULL;
	records_drop_oldest(&spool->records);
}

/* Is the oldest block still wanted by somebody for whom we were asked to wait? */
static bool oldest_is_wanted(const struct spool *spool)
{
	const struct block *oldest = records_oldest(&spool->records);
	const struct cursor *cursor;

	if (spool->options.overflow != SPOOL_BLOCK)
		return false;
	list_for_each(cursor, &spool->cursors, link)
		if (cursor->live && cursor->at.block == oldest && !cursor_at_end(cursor))
			return true;
	return false;
}

static bool is_aged(const struct spool *spool, const struct record *record)
{
	uint64_t age_us = spool->options.keep_age_ms * 1000;

	return age_us && loop_age_us(record->stamp) > age_us;
}

/* A block is too old as a whole when the one behind it begins with something too old. */
static bool oldest_is_aged(const struct spool *spool)
{
	struct block *oldest = records_oldest(&spool->records);
	struct block *next = oldest ? records_after(&spool->records, oldest) : NULL;
	const struct record *first = next ? block_record(next, 0) : NULL;

	return first && is_aged(spool, first);
}

/* Before a block of BYTES is added: keep within `keep`. */
static void trim(struct spool *spool, size_t bytes)
{
	while (oldest_is_aged(spool))
		drop_oldest(spool);
	while (records_oldest(&spool->records) &&
	       spool->records.bytes + bytes > spool->options.keep_bytes) {
		if (oldest_is_wanted(spool)) {
			spool->full = true;
			return;
		}
		drop_oldest(spool);
	}
}

/* The pool is used up: whoever holds most gives up his oldest block.  False: nobody has anything. */
static bool take_from_the_largest(struct spool *spool)
{
	struct spool *candidate, *largest = NULL;

	list_for_each(candidate, &spool->records.pool->spools, pool_link)
		if (candidate->records.pooled > 0 &&
		    (!largest || candidate->records.pooled > largest->records.pooled))
			largest = candidate;
	if (!largest)
		return false;
	drop_oldest(largest);
	records_trim(&largest->records);
	return true;
}

void spool_lose(struct spool *spool, uint64_t messages, uint64_t bytes)
{
	struct cursor *cursor;

	spool->dropped_messages += messages;
	spool->dropped_bytes += bytes;
	list_for_each(cursor, &spool->cursors, link)
		if (!cursor->newest_only)
			cursor_missed(cursor, messages, bytes);
}

/* --- appending ------------------------------------------------------------------------------ */

/* Who stood in an empty log stands before its first record: he wants it, and may miss it. */
static void place_cursors(struct spool *spool)
{
	struct cursor *cursor;

	list_for_each(cursor, &spool->cursors, link)
		if (!cursor->at.block)
			cursor->at.block = records_oldest(&spool->records);
}

/* A new block is needed: the time for all that has to do with bounds. */
static int append_in_new_block(struct spool *spool, uint32_t len, bool counts, struct record **ret)
{
	const struct records_pool *pool = spool->records.pool;
	size_t bytes;
	int r;

	if (pool && record_size(len) > pool->limit)
		return -ENOMEM; /* nobody has to give up anything for what will never fit */
	if (records_needs_block(&spool->records, len, &bytes))
		trim(spool, bytes);
	do {
		r = records_append(&spool->records, len, counts, ret);
	} while (r == -ENOBUFS && take_from_the_largest(spool));
	if (r == 0 && block_record(records_oldest(&spool->records), 0) == *ret)
		place_cursors(spool);
	return r == -ENOBUFS ? -ENOMEM : r;
}

static int append_record(struct spool *spool, const struct msg *msg, struct record **ret)
{
	bool counts = msg->kind == MSG_TEXT || msg->kind == MSG_BINARY;

	*ret = records_append_here(&spool->records, (uint32_t)msg->len, counts);
	return *ret ? 0 : append_in_new_block(spool, (uint32_t)msg->len, counts, ret);
}

static void wake_waiting(struct spool *spool)
{
	struct list ready;

	list_init(&ready);
	list_move_all(&ready, &spool->waiting);
	while (!list_empty(&ready)) {
		struct cursor *cursor = list_first(&ready, struct cursor, waiting);

		list_remove(&cursor->waiting);
		cursor->ready(cursor->owner);
	}
}

int spool_append(struct spool *spool, const struct msg *msg)
{
	struct record *record;
	int r = append_record(spool, msg, &record);

	if (r < 0) {
		if (msg->kind == MSG_TEXT || msg->kind == MSG_BINARY)
			spool_lose(spool, 1, msg->len);
		return r;
	}
	record->kind = msg->kind;
	record->flags = msg->flags;
	record->code = msg->code;
	record->stamp = msg->time_us;
	if (msg->len > 0)
		memcpy(record->data, msg->data, msg->len);
	if (is_message(record)) {
		spool->newest = record;
		spool->newest_block = list_last(&spool->records.blocks, struct block, link);
		spool->marks = 0;
	} else {
		spool->marks++;
	}
	records_publish(&spool->records, record);
	if (!list_empty(&spool->waiting))
		wake_waiting(spool);
	return spool->full ? SPOOL_FULL : SPOOL_OK;
}

bool spool_full(const struct spool *spool)
{
	return spool->full;
}

static void view(const struct record *record, struct msg *ret)
{
	*ret = (struct msg){
		.kind = record->kind,
		.flags = record->flags,
		.code = record->code,
		.time_us = record->stamp,
		.data = record->data,
		.len = record->len,
	};
}

bool spool_newest(const struct spool *spool, struct msg *ret)
{
	if (!spool->newest_block)
		return false;
	view(spool->newest, ret);
	return true;
}

uint64_t spool_next_seq(const struct spool *spool)
{
	return spool->records.next_seq;
}

void spool_get_stats(const struct spool *spool, struct spool_stats *ret)
{
	const struct block *oldest = records_oldest(&spool->records), *block;

	*ret = (struct spool_stats){
		.dropped_messages = spool->dropped_messages,
		.dropped_bytes = spool->dropped_bytes,
	};
	if (!oldest)
		return;
	ret->kept_messages = spool->records.next_seq - oldest->first_seq;
	list_for_each(block, &spool->records.blocks, link)
		ret->kept_bytes += block->payload;
}

/* --- readers -------------------------------------------------------------------------------- */

static struct position newest_position(const struct spool *spool)
{
	struct block *block = list_last(&spool->records.blocks, struct block, link);

	return (struct position){
		.block = block,
		.offset = block ? block->used : 0,
		.seq = spool->records.next_seq,
		.marks = spool->marks,
	};
}

static struct position oldest_position(const struct spool *spool)
{
	struct block *block = records_oldest(&spool->records);

	return (struct position){
		.block = block,
		.seq = block ? block->first_seq : spool->records.next_seq,
	};
}

void cursor_open(struct cursor *cursor, struct spool *spool, enum cursor_from from,
		 const char *label, void (*ready)(void *owner), void *owner)
{
	*cursor = (struct cursor){
		.spool = spool,
		.label = label,
		.ready = ready,
		.owner = owner,
	};
	cursor->at = from == CURSOR_NEWEST ? newest_position(spool) : oldest_position(spool);
	list_append(&spool->cursors, &cursor->link);
}

/* The reader that held the line may have moved, or gone.  Eased only when there is a good part of
 * `keep` to go, so that reading does not stop and start with every message. */
static void check_eased(struct spool *spool)
{
	uint64_t low = spool->options.keep_bytes / 4 * 3;
	bool blocks = spool->options.overflow == SPOOL_BLOCK;
	struct block *oldest;

	if (!spool->full)
		return;
	while (blocks && spool->records.bytes > low && !oldest_is_wanted(spool)) {
		oldest = records_oldest(&spool->records);
		if (!oldest || !records_after(&spool->records, oldest))
			break; /* the newest message stays */
		drop_oldest(spool);
	}
	if (blocks && spool->records.bytes > low && oldest_is_wanted(spool))
		return;
	spool->full = false;
	if (spool->events.eased)
		spool->events.eased(spool->owner);
}

void cursor_close(struct cursor *cursor)
{
	struct spool *spool = cursor->spool;

	if (!spool)
		return;
	list_remove(&cursor->link);
	list_remove(&cursor->waiting);
	cursor->spool = NULL;
	check_eased(spool);
}

void cursor_set_live(struct cursor *cursor, bool live)
{
	cursor->live = live;
	if (!live)
		check_eased(cursor->spool);
}

void cursor_to_newest(struct cursor *cursor)
{
	cursor->at = newest_position(cursor->spool);
	check_eased(cursor->spool);
}

/* Step over the seam between two blocks, and out of the empty log that a cursor may have begun in; but
 * not over a gap in the numbers, which somebody has to be told of. */
static void settle(const struct spool *spool, struct position *at)
{
	if (!at->block) {
		at->block = records_oldest(&spool->records);
		at->offset = 0;
	}
	while (at->block && at->offset == at->block->used) {
		struct block *next = records_after(&spool->records, at->block);

		if (!next || next->first_seq > at->seq)
			return;
		at->block = next;
		at->offset = 0;
	}
}

/* At the end of a block behind which messages are absent (no file for them, a file that was cut)? */
static struct block *behind_gap(const struct spool *spool, const struct position *at)
{
	if (!at->block || at->offset < at->block->used)
		return NULL;
	return records_after(&spool->records, at->block); /* which settle() did not step into */
}

static void step(struct position *at, const struct record *record)
{
	at->offset += record_size(record->len);
	at->marks++;
	if (is_message(record)) {
		at->seq++;
		at->marks = 0;
	}
}

/* The messages from AT to number SEQ are absent. */
static void cross_gap(struct cursor *cursor, uint64_t seq, struct block *block)
{
	struct spool *spool = cursor->spool;
	uint64_t from = cursor->at.seq > spool->counted ? cursor->at.seq : spool->counted;
	uint64_t messages = seq - cursor->at.seq;

	if (from < seq) {
		spool->dropped_messages += seq - from;
		spool->counted = seq;
	}
	cursor->at = (struct position){.block = block, .seq = seq};
	cursor_missed(cursor, messages, 0);
}

/* What is older than keep-age is as good as gone, though its block still stands. */
static void skip_aged(struct cursor *cursor)
{
	struct spool *spool = cursor->spool;
	struct position *at = &cursor->at;
	uint64_t messages = 0, bytes = 0;
	const struct record *record;

	for (;;) {
		settle(spool, at);
		record = at->block ? block_record(at->block, at->offset) : NULL;
		if (!record || !is_aged(spool, record))
			break;
		if (is_message(record)) {
			messages++;
			bytes += record->len;
			if (at->seq >= spool->counted) {
				spool->dropped_messages++;
				spool->dropped_bytes += record->len;
				spool->counted = at->seq + 1;
			}
		}
		step(at, record);
	}
	cursor_missed(cursor, messages, bytes);
}

struct position cursor_start(struct cursor *cursor)
{
	struct block *next;

	do {
		if (cursor->spool->options.keep_age_ms)
			skip_aged(cursor);
		settle(cursor->spool, &cursor->at);
		next = behind_gap(cursor->spool, &cursor->at);
		if (next)
			cross_gap(cursor, next->first_seq, next);
	} while (next);
	return cursor->at;
}

bool cursor_read(struct cursor *cursor, struct position *at, struct msg *ret)
{
	const struct record *record;

	settle(cursor->spool, at);
	record = at->block ? block_record(at->block, at->offset) : NULL;
	if (!record)
		return false;
	view(record, ret);
	step(at, record);
	return true;
}

void cursor_commit(struct cursor *cursor, const struct position *at)
{
	cursor->at = *at;
	check_eased(cursor->spool);
}

bool cursor_at_end(const struct cursor *cursor)
{
	struct position at = cursor->at;

	settle(cursor->spool, &at);
	return !at.block || (at.offset == at.block->used && !behind_gap(cursor->spool, &at));
}

void cursor_wait(struct cursor *cursor)
{
	if (!list_linked(&cursor->waiting))
		list_append(&cursor->spool->waiting, &cursor->waiting);
}

void cursor_lose(struct cursor *cursor, const struct msg *msg)
{
	cursor->spool->dropped_messages++;
	cursor->spool->dropped_bytes += msg->len;
	cursor_missed(cursor, 1, msg->len);
}

uint64_t cursor_behind(const struct cursor *cursor)
{
	return cursor->spool->records.next_seq - cursor->at.seq;
}

/* --- places --------------------------------------------------------------------------------- */

/* Behind message number SEQ - 1 if that is there; else ahead of the first one after it. */
static void seek_seq(struct cursor *cursor, uint64_t seq)
{
	struct spool *spool = cursor->spool;
	struct position *at = &cursor->at;
	const struct record *record;

	*at = oldest_position(spool);
	while (at->block && at->seq + at->block->messages < seq) {
		struct block *next = records_after(&spool->records, at->block);

		if (!next || next->first_seq > seq)
			break;
		*at = (struct position){.block = next, .seq = next->first_seq};
	}
	while (at->seq < seq && at->block && (record = block_record(at->block, at->offset)))
		step(at, record);
	if (at->seq < seq)
		at->seq = seq; /* in a gap: so much of it is known */
}

/* Those that stand before the next message, up to so many behind the one before it. */
static void skip_marks(struct cursor *cursor, uint32_t marks)
{
	struct position *at = &cursor->at;

	while (at->marks < marks) {
		const struct record *record;

		settle(cursor->spool, at);
		record = at->block ? block_record(at->block, at->offset) : NULL;
		if (!record || is_message(record))
			return;
		step(at, record);
	}
}

static void seek_last(struct cursor *cursor, uint64_t messages)
{
	struct spool *spool = cursor->spool;
	const struct block *oldest = records_oldest(&spool->records);
	uint64_t end = spool->records.next_seq, first = oldest ? oldest->first_seq : end;

	seek_seq(cursor, end - first > messages ? end - messages : first);
	skip_marks(cursor, UINT32_MAX);
}

static void seek_since(struct cursor *cursor, uint64_t wall_us)
{
	struct spool *spool = cursor->spool;
	struct position *at = &cursor->at;
	const struct record *record;
	struct block *next;

	*at = oldest_position(spool);
	while (at->block && (next = records_after(&spool->records, at->block)) &&
	       block_record(next, 0) && block_record(next, 0)->stamp < wall_us)
		*at = (struct position){.block = next, .seq = next->first_seq};
	while (at->block && (record = block_record(at->block, at->offset)) && record->stamp < wall_us)
		step(at, record);
}

/* What comes before the oldest that is there is missed, once: like a block dropped under the cursor. */
void cursor_seek(struct cursor *cursor, enum cursor_seek to, uint64_t number, uint32_t marks)
{
	struct spool *spool = cursor->spool;
	const struct block *oldest = records_oldest(&spool->records);
	uint64_t first = oldest ? oldest->first_seq : spool->records.next_seq;

	if (to == SEEK_LAST) {
		seek_last(cursor, number);
	} else if (to == SEEK_SINCE) {
		seek_since(cursor, number);
	} else if (number < first) {
		cursor->at = (struct position){.seq = number};
		cross_gap(cursor, first, records_oldest(&spool->records));
	} else {
		seek_seq(cursor, number);
		skip_marks(cursor, marks);
	}
	check_eased(spool);
}

/* --- across restarts ------------------------------------------------------------------------ */

static void find_newest(struct spool *spool)
{
	struct block *block;

	list_for_each(block, &spool->records.blocks, link) {
		struct record *record;

		for (size_t offset = 0; (record = block_record(block, offset));
		     offset += record_size(record->len)) {
			spool->marks++;
			if (!is_message(record))
				continue;
			spool->marks = 0;
			spool->newest = record;
			spool->newest_block = block;
		}
	}
}

int spool_set_store(struct spool *spool, struct store *store, bool take_up, struct records_found *ret)
{
	int r;

	records_set_store(&spool->records, store, PREFIX, 0);
	if (!take_up)
		return 0;
	r = records_load(&spool->records, ret);
	if (r < 0)
		return r;
	find_newest(spool);
	place_cursors(spool);
	return 0;
}

void spool_skip_to(struct spool *spool, uint64_t seq)
{
	records_skip_to(&spool->records, seq);
}

struct block *cursor_hold(const struct position *after)
{
	block_pin(after->block);
	return after->block;
}
