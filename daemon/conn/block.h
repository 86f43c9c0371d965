/* block - how records lie in memory, and so in files: one behind the other in large blocks. */
#ifndef CONN_BLOCK_H
#define CONN_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "conn/store.h"

struct records_pool;

/* Numbers of messages in files go so far (a cursor's file has 48 bits for one); at a million in a
 * second that takes four years.  What is larger was not written by us, and numbers shall not wrap. */
#define SEQ_MAX (UINT64_C(1) << 47)

/* What stands ahead of each payload; payloads are padded to 8 bytes. */
struct record {
	uint32_t len;
	uint8_t kind, flags; /* as in struct msg */
	uint16_t code;
	uint64_t stamp; /* wall clock in microseconds */
	uint32_t check; /* of all above and the payload; only in files */
	uint32_t state; /* the outbox's: how far it has got; not checked, because it changes */
	uint8_t data[];
};

struct block {
	struct list link; /* in its log, oldest first; not linked: dropped, but pinned */
	struct records_pool *pool;
	size_t size, used;  /* bytes of data */
	uint64_t first_seq; /* number of the first message in it */
	uint64_t payload;   /* bytes of messages in it, without heads and padding */
	uint32_t messages;
	unsigned pins : 31;
	unsigned sealed : 1;     /* takes no more, whatever room there is */
	uint8_t *data;           /* behind this struct, or in the file */
	struct block_file *file; /* NULL: it is in memory */
};

struct block_file {
	struct mapped mapped;
	uint64_t serial; /* the number in its name */
};

static inline size_t record_size(uint32_t len)
{
	return (sizeof(struct record) + len + 7) & ~(size_t)7;
}

/* The record at this offset, or NULL behind the last one. */
static inline struct record *block_record(const struct block *block, size_t offset)
{
	return offset < block->used ? (struct record *)(block->data + offset) : NULL;
}

#endif
