/* blockfile - a block of records as a file: how it is laid out, made, read back and checked.
 *
 * All numbers are in the machine's byte order; another one is another version.  First a head of 64
 * bytes: magic, version, size of the head, bytes for records, number of the first message, number of
 * the file, bytes used, a check of the first six.  Then records (records.h) as they are in memory.  Each
 * bears a check of its own over head and payload, its place and the file's number; `used` is moved behind
 * a record when that is whole.  So what kill -9 leaves is whole; what a power cut leaves is cut at the
 * first record that is not. */
#ifndef CONN_BLOCKFILE_H
#define CONN_BLOCKFILE_H

#include <stdint.h>

#include "conn/records.h"
#include "conn/store.h"

enum { BLOCKFILE_VERSION = 1 };

enum {
	BLOCKFILE_WHOLE,
	BLOCKFILE_CUT,   /* its end was torn */
	BLOCKFILE_EMPTY, /* nothing was ever written to it */
	BLOCKFILE_BAD,   /* of another version, or not one of ours */
};

/* A block with room for BYTES or some more; the caller sets its numbers of messages. -errno. */
int blockfile_make(struct block **ret, const struct records *records, size_t bytes);
/* (And blockfile_publish(), which records.h needs to know.) */

/* One of the above and, if it is whole or cut, a block; *ret_cut: bytes that were torn. -errno. */
int blockfile_read(struct block **ret, const struct records *records, uint64_t serial, uint64_t *ret_cut);

void blockfile_remove(const struct records *records, uint64_t serial);
void blockfile_set_aside(const struct records *records, uint64_t serial);

#endif
