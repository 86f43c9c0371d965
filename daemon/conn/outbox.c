/* outbox - see outbox.h.
 *
 * A log of the same kind as the spool, with two places in it: everything before `head` has left and
 * was released, everything from `next` on has not been given to the link.  Between them lies what the
 * link has; each such record bears the stream positions that it covers.  Records that have grown too old
 * while the link had others ahead of them are released where they lie. */
#include "conn/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK_MAX = 64 * 1024,
	BLOCKS_MAX = 64, /* about: each holds a descriptor if it is a file */
};

#define PREFIX "outbox."

/* In struct record: how far a message has got, as a later daemon finds it. */
enum { WAITING, TAKEN, RELEASED };

/* Behind each payload: what the message covers in the stream, once it was taken. */
struct span {
	uint64_t start, end;
};

struct place {
	struct block *block; /* NULL: at the beginning of whatever comes */
	size_t offset;
	uint64_t seq; /* of the record there */
};

struct outbox {
	struct records records;
	struct outbox_options options;
	struct place head, next;
	struct list waiters;
	uint64_t messages, bytes; /* from head on */
	uint64_t taken;           /* messages between head and next */
	uint64_t given;           /* number of the last that was taken */
	struct block *given_in;   /* where that lies, while any is taken */
	uint64_t tickets;         /* given to waiters so far */
};

static void wake_waiters(struct outbox *outbox);

static size_t block_max_for(uint64_t queue_bytes)
{
	uint64_t least = queue_bytes / BLOCKS_MAX;

	return least > BLOCK_MAX ? least : BLOCK_MAX;
}

int outbox_new(struct outbox **ret, const struct outbox_options *options)
{
	struct outbox *outbox = calloc(1, sizeof(*outbox));

	if (!outbox)
		return -ENOMEM;
	outbox->options = *options;
	records_init(&outbox->records, block_max_for(options->queue_bytes), NULL);
	list_init(&outbox->waiters);
	*ret = outbox;
	return 0;
}

struct outbox *outbox_free(struct outbox *outbox)
{
	if (!outbox)
		return NULL;
	while (!list_empty(&outbox->waiters))
		list_remove(outbox->waiters.next);
	records_done(&outbox->records);
	free(outbox);
	return NULL;
}

void outbox_set_options(struct outbox *outbox, const struct outbox_options *options)
{
	outbox->options = *options;
	outbox->records.block_max = block_max_for(options->queue_bytes);
	wake_waiters(outbox);
}

/* --- records -------------------------------------------------------------------------------- */

static uint32_t payload_len(const struct record *record)
{
	return record->len - (uint32_t)sizeof(struct span);
}

static struct span get_span(const struct record *record)
{
	struct span span;

	memcpy(&span, record->data + payload_len(record), sizeof(span));
	return span;
}

static void set_span(struct record *record, struct span span)
{
	memcpy(record->data + payload_len(record), &span, sizeof(span));
}

static void step(struct place *place, const struct record *record)
{
	place->offset += record_size(record->len);
	place->seq++;
}

/* Step over the seam between blocks. */
static void settle(const struct outbox *outbox, struct place *place)
{
	struct block *oldest = records_oldest(&outbox->records);

	if (!place->block && oldest)
		*place = (struct place){.block = oldest, .seq = oldest->first_seq};
	while (place->block && place->offset == place->block->used) {
		struct block *after = records_after(&outbox->records, place->block);

		if (!after)
			return;
		*place = (struct place){.block = after, .seq = after->first_seq};
	}
}

/* The record at PLACE, which is moved to it; or NULL. */
static struct record *record_at(const struct outbox *outbox, struct place *place)
{
	struct record *record;

	for (;;) {
		settle(outbox, place);
		record = place->block ? block_record(place->block, place->offset) : NULL;
		if (!record || record->state != RELEASED)
			return record;
		step(place, record);
	}
}

/* The record at PLACE: a later daemon shall find this. */
static void set_state(const struct place *place, struct record *record, uint32_t state)
{
	record->state = state;
	block_touch(place->block);
}

/* --- putting -------------------------------------------------------------------------------- */

static bool has_room(const struct outbox *outbox, uint64_t bytes)
{
	return outbox->messages == 0 || outbox->bytes + bytes <= outbox->options.queue_bytes;
}

/* Those who have waited longer go first, or a busy writer would starve them. */
static bool has_turn(const struct outbox *outbox, const struct outbox_waiter *waiter)
{
	const struct outbox_waiter *first =
		list_first(&outbox->waiters, struct outbox_waiter, link);

	return !waiter || !first || (waiter->ticket && waiter->ticket <= first->ticket);
}

/* In the order of their tickets.  Those woken in vain come back at the front, the rest at the end. */
static void start_waiting(struct outbox *outbox, struct outbox_waiter *waiter)
{
	struct outbox_waiter *other;

	if (list_linked(&waiter->link))
		return;
	if (!waiter->ticket)
		waiter->ticket = ++outbox->tickets;
	list_for_each(other, &outbox->waiters, link)
		if (other->ticket > waiter->ticket)
			break;
	list_append(&other->link, &waiter->link); /* ahead of it, or at the end of all */
}

int outbox_put(struct outbox *outbox, const struct msg *msg, struct outbox_waiter *waiter)
{
	uint32_t len = (uint32_t)(msg->len + sizeof(struct span));
	struct record *record;
	int r;

	if (!has_room(outbox, msg->len) || !has_turn(outbox, waiter)) {
		if (waiter)
			start_waiting(outbox, waiter);
		return OUTBOX_FULL;
	}
	record = records_append_here(&outbox->records, len, true);
	r = record ? 0 : records_append(&outbox->records, len, true, &record);
	if (r < 0)
		return r;
	record->kind = msg->kind;
	record->stamp = msg->time_us;
	if (msg->len > 0)
		memcpy(record->data, msg->data, msg->len);
	record->flags = 0;
	record->code = 0;
	records_publish(&outbox->records, record);
	outbox->messages++;
	outbox->bytes += msg->len;
	if (waiter) {
		list_remove(&waiter->link);
		waiter->ticket = 0;
	}
	return OUTBOX_OK;
}

void outbox_forget(struct outbox_waiter *waiter)
{
	list_remove(&waiter->link);
	waiter->ticket = 0;
}

/* Woken one by one and only while there is room: each may fill it again.  The list is walked at most
 * once, since those still refused come back to its end. */
static void wake_waiters(struct outbox *outbox)
{
	struct list due;

	if (list_empty(&outbox->waiters) || outbox->bytes > outbox->options.queue_bytes / 2)
		return;
	list_init(&due);
	list_move_all(&due, &outbox->waiters);
	while (!list_empty(&due)) {
		struct outbox_waiter *waiter = list_first(&due, struct outbox_waiter, link);

		list_remove(&waiter->link);
		waiter->room(waiter->owner);
	}
}

/* --- taking --------------------------------------------------------------------------------- */

bool outbox_next(struct outbox *outbox, struct msg *ret)
{
	struct record *record = record_at(outbox, &outbox->next);

	if (!record)
		return false;
	*ret = (struct msg){
		.kind = record->kind,
		.time_us = record->stamp,
		.data = record->data,
		.len = payload_len(record),
	};
	return true;
}

void outbox_begin(struct outbox *outbox)
{
	struct record *record = record_at(outbox, &outbox->next);

	set_state(&outbox->next, record, TAKEN);
}

void outbox_take(struct outbox *outbox, uint64_t start, uint64_t end)
{
	struct record *record = record_at(outbox, &outbox->next);

	set_span(record, (struct span){.start = start, .end = end});
	set_state(&outbox->next, record, TAKEN);
	outbox->given_in = outbox->next.block;
	step(&outbox->next, record);
	outbox->given = outbox->next.seq;
	outbox->taken++;
}

/* Blocks that lie wholly before `head` are not needed any more; nor is anything when all is out.  A file
 * is kept for what comes next, as long as there is room in it: making one takes as long as many messages. */
static void release_blocks(struct outbox *outbox)
{
	struct block *newest = list_last(&outbox->records.blocks, struct block, link);

	if (outbox->messages == 0 && newest && newest->file && !newest->sealed &&
	    newest->used <= newest->size / 2) {
		outbox->head = outbox->next = (struct place){
			.block = newest,
			.offset = newest->used,
			.seq = outbox->records.next_seq,
		};
	} else if (outbox->messages == 0) {
		while (records_oldest(&outbox->records))
			records_drop_oldest(&outbox->records);
		records_trim(&outbox->records);
		outbox->head = outbox->next = (struct place){0};
		return;
	}
	while (outbox->head.block && records_oldest(&outbox->records) != outbox->head.block)
		records_drop_oldest(&outbox->records);
}

static struct outbox_loss release_head(struct outbox *outbox, struct record *record)
{
	struct outbox_loss released = {.messages = 1, .bytes = payload_len(record)};

	set_state(&outbox->head, record, RELEASED);
	step(&outbox->head, record);
	outbox->messages--;
	outbox->bytes -= released.bytes;
	if (outbox->taken > 0)
		outbox->taken--;
	else
		outbox->next = outbox->head;
	return released;
}

static void add(struct outbox_loss *sum, struct outbox_loss more)
{
	sum->messages += more.messages;
	sum->bytes += more.bytes;
}

struct outbox_loss outbox_written(struct outbox *outbox, uint64_t position)
{
	struct outbox_loss released = {0};
	struct record *record;

	while (outbox->taken > 0 && (record = record_at(outbox, &outbox->head)) &&
	       get_span(record).end <= position)
		add(&released, release_head(outbox, record));
	if (released.messages > 0) {
		release_blocks(outbox);
		wake_waiters(outbox);
	}
	return released;
}

/* What the link had, but not begun to write, waits again. */
static void untake(struct outbox *outbox)
{
	struct place place = outbox->head;
	struct record *record;

	for (; outbox->taken > 0; outbox->taken--) {
		record = record_at(outbox, &place);
		set_state(&place, record, WAITING);
		step(&place, record);
	}
	/* One may have been begun and then not been taken after all. */
	record = record_at(outbox, &place);
	if (record)
		set_state(&place, record, WAITING);
}

/* At most one message is half out, and it is the first: the link writes in order. */
struct outbox_loss outbox_rewind(struct outbox *outbox, uint64_t position)
{
	struct outbox_loss lost = {0};
	struct record *record;

	while (outbox->taken > 0 && (record = record_at(outbox, &outbox->head)) &&
	       get_span(record).start < position)
		add(&lost, release_head(outbox, record));
	untake(outbox);
	outbox->next = outbox->head;
	outbox->given = 0;
	release_blocks(outbox);
	wake_waiters(outbox);
	return lost;
}

uint64_t outbox_oldest_us(const struct outbox *outbox)
{
	struct place place = outbox->next;
	const struct record *record;

	if (!outbox->options.ttl_ms || outbox->messages == outbox->taken)
		return 0;
	record = record_at(outbox, &place);
	return record->stamp;
}

static struct outbox_loss release_next(struct outbox *outbox)
{
	struct record *record = record_at(outbox, &outbox->next);
	struct outbox_loss released = {.messages = 1, .bytes = payload_len(record)};

	set_state(&outbox->next, record, RELEASED);
	step(&outbox->next, record);
	outbox->messages--;
	outbox->bytes -= released.bytes;
	if (outbox->taken == 0)
		outbox->head = outbox->next;
	return released;
}

/* Between the last that the link has and the first that waits: a link that is stuck for good must not have
 * them pile up. */
static void release_blocks_between(struct outbox *outbox)
{
	struct block *block;

	while (outbox->taken > 0 && outbox->next.block && outbox->given_in != outbox->next.block &&
	       (block = records_after(&outbox->records, outbox->given_in)) != outbox->next.block)
		records_drop(&outbox->records, block);
}

struct outbox_loss outbox_expire(struct outbox *outbox, uint64_t (*age_us)(uint64_t stamp_us))
{
	struct outbox_loss lost = {0};
	uint64_t oldest;

	while ((oldest = outbox_oldest_us(outbox)) != 0 && age_us(oldest) >= outbox->options.ttl_ms * 1000)
		add(&lost, release_next(outbox));
	if (lost.messages > 0) {
		release_blocks_between(outbox);
		release_blocks(outbox);
		wake_waiters(outbox);
	}
	return lost;
}

struct outbox_loss outbox_clear(struct outbox *outbox)
{
	struct outbox_loss lost = {0};
	struct record *record;

	if (outbox->taken > 0)
		return lost;
	while ((record = record_at(outbox, &outbox->head)))
		add(&lost, release_head(outbox, record));
	release_blocks(outbox);
	wake_waiters(outbox);
	return lost;
}

/* --- across restarts ------------------------------------------------------------------------ */

/* Marks, which are the spool's: a file may say anything, and there is no frame for them. */
static bool can_be_sent(const struct record *record)
{
	return record->kind == MSG_TEXT || record->kind == MSG_BINARY;
}

/* What is damaged is judged by what it says: without AGAIN never sent twice. */
static void find_waiting(struct outbox *outbox, bool again, struct outbox_loss *doubtful)
{
	struct place place = {0};
	struct record *record;

	while ((record = record_at(outbox, &place))) {
		struct outbox_loss one = {1, payload_len(record)};

		if (!can_be_sent(record)) {
			set_state(&place, record, RELEASED);
		} else if (record->state != WAITING) { /* taken, or what nobody has written */
			add(doubtful, one);
			set_state(&place, record, again ? WAITING : RELEASED);
		}
		if (record->state == WAITING) {
			outbox->messages++;
			outbox->bytes += one.bytes;
		}
		step(&place, record);
	}
	record_at(outbox, &outbox->head);
	outbox->next = outbox->head;
}

void outbox_set_store(struct outbox *outbox, struct store *store)
{
	records_set_store(&outbox->records, store, PREFIX, sizeof(struct span));
}

int outbox_take_up(struct outbox *outbox, struct store *store, bool again, struct records_found *ret,
		   struct outbox_loss *ret_doubtful)
{
	int r;

	*ret_doubtful = (struct outbox_loss){0};
	outbox_set_store(outbox, store);
	r = records_load(&outbox->records, ret);
	if (r < 0)
		return r;
	find_waiting(outbox, again, ret_doubtful);
	release_blocks(outbox);
	return 0;
}

bool outbox_empty(const struct outbox *outbox)
{
	return outbox->messages == 0;
}

void outbox_get_stats(const struct outbox *outbox, struct outbox_stats *ret)
{
	struct place head = outbox->head, next = outbox->next;
	uint64_t put = outbox->records.next_seq;

	*ret = (struct outbox_stats){
		.queued_messages = outbox->messages,
		.queued_bytes = outbox->bytes,
		.taken_messages = outbox->taken,
		.put_messages = put,
		.released_number = record_at(outbox, &head) ? head.seq : put,
		.given_number = outbox->given,
		.passed_number = record_at(outbox, &next) ? next.seq : put,
	};
}
