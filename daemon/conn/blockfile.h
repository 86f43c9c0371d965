/* blockfile - a block of records as a file: how it is laid out, made, read back and checked.
 *
 * All numbers are in the machine's byte order; another one is another version.  First a head of 64
 * bytes: magic, version, size of the head, bytes for records, number of the first message, number of
 * the file, bytes used, a check of the first six.  Then records (block.h) as they are in memory.  Each
 * bears a check of its own over head and payload, its place and the file's number; `used` is moved behind
 * a record when that is whole.  So what kill -9 leaves is whole; what a power cut leaves is cut at the
 * first record that is not. */
#ifndef CONN_BLOCKFILE_H
#define CONN_BLOCKFILE_H

#include <stdint.h>

#include "conn/block.h"
#include "conn/store.h"

enum { BLOCKFILE_VERSION = 1 };

enum {
	BLOCKFILE_WHOLE,
	BLOCKFILE_CUT,   /* its end was torn */
	BLOCKFILE_EMPTY, /* nothing was ever written to it */
	BLOCKFILE_BAD,   /* of another version, or not one of ours */
};

/* The files of one log. */
struct blockfiles {
	struct store *store;  /* where they are */
	const char *prefix;   /* of their names */
	uint32_t tail;        /* so many bytes at the end of each payload change, and are not checked */
	uint64_t next_serial; /* the number in the next name */
};

/* A block with room for BYTES or some more, for messages from number FIRST_SEQ on; the caller sets its
 * numbers of messages. -errno. */
int blockfile_make(struct block **ret, const struct blockfiles *files, uint64_t first_seq, size_t bytes);

/* RECORD, the last in BLOCK, is whole: it gets its check, and would be found after a crash. */
void blockfile_publish(struct block *block, struct record *record, uint32_t tail);

/* One of the above and, if it is whole or cut, a block; *ret_cut: bytes that were torn. -errno. */
int blockfile_read(struct block **ret, const struct blockfiles *files, uint64_t serial, uint64_t *ret_cut);

void blockfile_remove(const struct blockfiles *files, uint64_t serial);
void blockfile_set_aside(const struct blockfiles *files, uint64_t serial);

#endif
