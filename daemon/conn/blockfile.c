/* blockfile - see blockfile.h.  What is read here may be anything: it is checked before it is believed. */
#include "conn/blockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/msg.h"

enum { PAGE_BYTES = 4096 };

#define MAGIC UINT64_C(0x6b6c62657069770a) /* "\nwipeblk" */

struct head {
	uint64_t magic;
	uint32_t version, head_bytes;
	uint64_t size; /* bytes for records */
	uint64_t first_seq, serial;
	uint64_t used; /* changes */
	uint32_t check;
	uint32_t reserved[3];
};
_Static_assert(sizeof(struct head) == 64, "the format says so");
_Static_assert(sizeof(struct record) == 24, "the format says so");

static struct head *head_of(const struct block *block)
{
	return (struct head *)block->file->mapped.at;
}

static uint32_t check_of_head(const struct head *head)
{
	uint64_t state = digest_step(head->magic, head->version);

	state = digest_step(state, head->head_bytes);
	state = digest_step(state, head->size);
	state = digest_step(state, head->first_seq);
	return digest_end(digest_step(state, head->serial));
}

/* Its place is in it, so that what stood there before is not taken for it. */
static uint32_t check_of_record(const struct block *block, const struct record *record, uint32_t tail)
{
	uint64_t offset = (uint64_t)((const uint8_t *)record - block->data);
	uint64_t state = digest_step(block->file->serial, offset);

	state = digest_bytes(state, record, offsetof(struct record, check));
	return digest_end(digest_bytes(state, record->data, record->len - tail));
}

static void name_of(const struct blockfiles *files, uint64_t serial, char name[NAME_MAX + 1])
{
	snprintf(name, NAME_MAX + 1, "%s%016llx", files->prefix, (unsigned long long)serial);
}

static struct block *block_new(const struct mapped *file, uint64_t serial)
{
	struct block *block = calloc(1, sizeof(*block));

	if (block)
		block->file = calloc(1, sizeof(*block->file));
	if (!block || !block->file) {
		free(block);
		return NULL;
	}
	block->file->mapped = *file;
	block->file->serial = serial;
	block->data = file->at + sizeof(struct head);
	block->size = file->bytes - sizeof(struct head);
	return block;
}

int blockfile_make(struct block **ret, const struct blockfiles *files, uint64_t first_seq, size_t bytes)
{
	size_t whole = (bytes + sizeof(struct head) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	char name[NAME_MAX + 1];
	struct mapped file;
	struct block *block;
	struct head *head;
	int r;

	name_of(files, files->next_serial, name);
	r = store_make(files->store, name, whole, &file);
	if (r < 0)
		return r;
	block = block_new(&file, files->next_serial);
	if (!block) {
		mapped_done(&file);
		store_remove(files->store, name);
		return -ENOMEM;
	}
	head = head_of(block);
	*head = (struct head){
		.magic = MAGIC,
		.version = BLOCKFILE_VERSION,
		.head_bytes = sizeof(*head),
		.size = block->size,
		.first_seq = first_seq,
		.serial = block->file->serial,
	};
	head->check = check_of_head(head);
	*ret = block;
	return 0;
}

/* The record first, then what makes it count: a crash in between leaves it out.  (Within one machine
 * that is running, the kernel sees stores in the order in which we made them.) */
void blockfile_publish(struct block *block, struct record *record, uint32_t tail)
{
	record->check = check_of_record(block, record, tail);
	__atomic_store_n(&head_of(block)->used, block->used, __ATOMIC_RELEASE);
	mapped_touch(&block->file->mapped);
}

/* --- reading back --------------------------------------------------------------------------- */

static int judge(const struct mapped *file, uint64_t serial)
{
	static const struct head nothing;
	const struct head *head = (const struct head *)file->at;

	if (file->bytes < sizeof(*head))
		return BLOCKFILE_BAD;
	if (memcmp(head, &nothing, sizeof(nothing)) == 0)
		return BLOCKFILE_EMPTY;
	if (head->magic != MAGIC || head->version != BLOCKFILE_VERSION ||
	    head->head_bytes != sizeof(*head) || head->check != check_of_head(head) ||
	    head->serial != serial || head->size != file->bytes - sizeof(*head) ||
	    head->used > head->size || head->first_seq > SEQ_MAX)
		return BLOCKFILE_BAD;
	return BLOCKFILE_WHOLE;
}

static bool is_whole(const struct block *block, const struct record *record, size_t room, uint32_t tail)
{
	return room >= sizeof(*record) && room - sizeof(*record) >= record->len &&
	       record->len >= tail && record_size(record->len) <= room &&
	       record->kind >= MSG_TEXT && record->kind <= MSG_CLOSED &&
	       record->check == check_of_record(block, record, tail);
}

/* Count what is whole; `used` stays behind the last of it. */
static void walk(struct block *block, uint64_t used, uint32_t tail)
{
	while (block->used < used) {
		const struct record *record = (struct record *)(block->data + block->used);

		if (!is_whole(block, record, used - block->used, tail))
			return;
		block->used += record_size(record->len);
		if (record->kind == MSG_TEXT || record->kind == MSG_BINARY) {
			block->messages++;
			block->payload += record->len - tail;
		}
	}
}

int blockfile_read(struct block **ret, const struct blockfiles *files, uint64_t serial, uint64_t *ret_cut)
{
	char name[NAME_MAX + 1];
	struct mapped file;
	struct block *block;
	int r;

	name_of(files, serial, name);
	r = store_map(files->store, name, &file);
	if (r < 0)
		return r == -EINVAL ? BLOCKFILE_EMPTY : r;
	r = judge(&file, serial);
	if (r != BLOCKFILE_WHOLE) {
		mapped_done(&file);
		return r;
	}
	block = block_new(&file, serial);
	if (!block) {
		mapped_done(&file);
		return -ENOMEM;
	}
	block->first_seq = head_of(block)->first_seq;
	walk(block, head_of(block)->used, files->tail);
	*ret_cut = head_of(block)->used - block->used;
	*ret = block;
	if (*ret_cut == 0)
		return BLOCKFILE_WHOLE;
	head_of(block)->used = block->used;
	mapped_touch(&block->file->mapped);
	return BLOCKFILE_CUT;
}

void blockfile_remove(const struct blockfiles *files, uint64_t serial)
{
	char name[NAME_MAX + 1];

	name_of(files, serial, name);
	store_remove(files->store, name);
}

void blockfile_set_aside(const struct blockfiles *files, uint64_t serial)
{
	char name[NAME_MAX + 1];

	name_of(files, serial, name);
	store_set_aside(files->store, name);
}
