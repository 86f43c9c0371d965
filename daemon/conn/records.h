/* records - messages laid one behind the other in large blocks: the log that both the spool and the
 * outbox are made of.
 *
 * Appending is one copy and, but for a new block now and then, no allocation; reading gives views.
 * Blocks grow from 256 bytes to `block_max`, so a quiet log is small; a record larger than that has a
 * block of its own.  A block that somebody pins outlives its removal from the log.
 *
 * With a store each new block is a file (blockfile.h): what was published in it outlives us.  When no
 * file can be made, the block is made in memory: the log goes on. */
#ifndef CONN_RECORDS_H
#define CONN_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "conn/block.h"
#include "conn/blockfile.h"

/* What several logs may hold together; whoever asks for a block too much is refused. */
struct records_pool {
	uint64_t limit, used; /* bytes of blocks, spare and pinned ones included */
	struct list spools;   /* those who may be asked to give something back: see spool.c */
};

static inline void records_pool_init(struct records_pool *pool, uint64_t limit_bytes)
{
	*pool = (struct records_pool){.limit = limit_bytes};
	list_init(&pool->spools);
}

struct records {
	struct list blocks;
	struct block *spare;  /* the last block given up, for the next one needed */
	size_t block_max;
	uint64_t bytes;       /* of the blocks on the list ... */
	uint64_t pooled;      /* ... and of those of them that count for the pool */
	uint64_t next_seq;    /* number of the next message; counted from 0 */
	struct records_pool *pool; /* or NULL; blocks in files do not count */
	struct blockfiles files; /* .store NULL: there are none */
	bool in_files;           /* new blocks are files */
};

/* What was found in the store. */
struct records_found {
	uint64_t messages;
	uint64_t cut_bytes; /* torn by a crash: cut off ... */
	unsigned cut_files; /* ... at the end of so many files */
	unsigned set_aside; /* files of another version, or damaged: kept under another name */
	uint64_t absent;    /* messages between files: those in between are missing */
};

void records_init(struct records *records, size_t block_max, struct records_pool *pool);
void records_done(struct records *records); /* pinned blocks go when they are released; files stay */

/* From now on new blocks are files of STORE, called PREFIX and a number.  NULL: no longer.  A store must
 * outlive the log.  TAIL: so many bytes at the end of each payload change, and are not checked. */
void records_set_store(struct records *records, struct store *store, const char *prefix, uint32_t tail);
/* Take up what lies there.  The log must be empty.  -errno: something cannot be read; nothing was
 * taken up, and new blocks are made in memory. */
int records_load(struct records *records, struct records_found *ret);
/* The next message has at least this number. */
void records_skip_to(struct records *records, uint64_t seq);

/* Space for a record of LEN bytes at the end; all but .len is the caller's to write, at once.  COUNTS: it is a message with a number of its own.
 * -ENOMEM; -ENOBUFS: the pool has no room. */
int records_append(struct records *records, uint32_t len, bool counts, struct record **ret);
/* Bytes of it that may change have done so: see that they get to the disk, too. */
void block_touch(struct block *block);

/* The same where there is room in the newest block, which is nearly always; else NULL. */
/* What was kept in memory for want of a file need not be for longer than the want. */
bool records_may_make_file(const struct records *records);

static inline struct record *records_append_to(struct records *records, struct block *block, uint32_t len,
					       bool counts)
{
	struct record *record;

	record = (struct record *)(block->data + block->used);
	block->used += record_size(len);
	record->len = len;
	record->check = record->state = 0;
	if (counts) {
		records->next_seq++;
		block->messages++;
		block->payload += len;
	}
	return record;
}

static inline struct record *records_append_here(struct records *records, uint32_t len, bool counts)
{
	struct block *block = list_last(&records->blocks, struct block, link);

	if (!block || block->sealed || block->size - block->used < record_size(len))
		return NULL;
	if (records->in_files && !block->file && records_may_make_file(records))
		return NULL;
	return records_append_to(records, block, len, counts);
}

/* The record appended last is whole now, and would be found after a crash. */
static inline void records_publish(struct records *records, struct record *record)
{
	struct block *block = list_last(&records->blocks, struct block, link);

	if (block->file)
		blockfile_publish(block, record, records->files.tail);
}

/* Must a new block be made for a record of this size?  (And of how many bytes.) */
bool records_needs_block(const struct records *records, uint32_t len, size_t *ret_bytes);

struct block *records_oldest(const struct records *records);
struct block *records_after(const struct records *records, const struct block *block); /* NULL */
void records_trim(struct records *records); /* give the spare block back */
/* Take the oldest block off the list and give it up (or leave it to those who pin it). */
void records_drop(struct records *records, struct block *block); /* any of them */
void records_drop_oldest(struct records *records);

void block_pin(struct block *block);
void block_release(struct block *block); /* the last release of a dropped block frees it */

#endif
