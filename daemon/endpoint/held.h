/* held - what stands between a descriptor and the messages, in memory that outlives the daemon:
 * bytes that were read and have not become messages yet, and bytes of records that are on their way
 * out.
 *
 * One page for one descriptor: a mapped file, most of it a hole.  Either a memfd, which lies on the
 * shelf beside the descriptor (shelf.h), or a file of the connection's store.  It is kept so that a
 * daemon that is killed between any two instructions leaves it whole:
 *
 *  - Each change becomes true with the store of one aligned word.
 *  - read(2) puts its bytes into the page itself.  Before it, their number (FIONREAD) is noted and
 * their place filled with 0xff; if the word that takes them over was not stored any more, they are
 * found by that. What remains: a read of nothing but bytes 0xff (no text has one) that the daemon
 * did not survive.
 *  - A message leaves the page when it has been queued.  Killed in the few instructions between,
 * the daemon has it twice: it is sent again.
 *
 * The format is version HELD_VERSION, in the machine's byte order; a page of another one is not
 * taken. */
#ifndef ENDPOINT_HELD_H
#define ENDPOINT_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "codec/frame.h"

enum { HELD_VERSION = 1, HELD_NAME_MAX = 95, HELD_READ_MAX = 64 * 1024 };

enum held_kind { HELD_IN = 1, HELD_OUT, HELD_DRAIN, HELD_SOCK };

/* What a page is for: one of other terms is not the right one. */
struct held_terms {
	char name[HELD_NAME_MAX + 1]; /* "ticker/sock.3": connection, endpoint, number */
	enum held_kind kind;
	enum framing framing;
	enum msg_kind type;
	size_t max_message;
	/* Of a file on a disk: whatever is another after the machine's restart, because then nobody
	 * knows how much of a page that nobody has closed was on the disk: it is not taken
	 * (-ESTALE). */
	uint64_t life;
};

/* How far the outlet has got. */
struct held_place {
	uint64_t seq;   /* the next message that is to go into the page ... */
	uint64_t after; /* ... or, of the one that is in it now (`given`), the one behind */
	uint32_t marks, after_marks; /* struct position */
	uint32_t start, len;         /* of the page's output: what is still to go from there */
	uint32_t total; /* `given`: bytes of the record, from the output's beginning on */
	uint32_t flags; /* HELD_* */
};
enum {
	HELD_LASTS = 1,  /* `seq` is a number of the connection's store */
	HELD_GIVEN = 2,  /* one by one: a record is on its way, and done when it has been read */
	HELD_COUNTS = 4, /* ... and is a message */
};

struct held;

/* A fresh page in memory alone, to be put on the shelf. -errno; -EFBIG: messages may be too long
 * for one. */
int held_new(struct held **ret, const struct held_terms *terms);
/* The page in FD; takes FD, also on failure.  An empty file becomes a fresh page.  -EINVAL: it is
 * no page; -ESTALE: one for something else, or of another version. */
int held_open(struct held **ret, int fd, const struct held_terms *terms);
struct held *held_free(struct held *held); /* what is in the file stays */
int held_fd(const struct held *held);

/* --- input ---------------------------------------------------------------------------------- */

/* Bytes without a message yet; SKIPPING: and those that follow up to the next delimiter are to be
 * passed over.  Good until the next read. */
size_t held_input(const struct held *held, const uint8_t **ret, bool *ret_skipping);
/* Read what FD has behind them, up to HELD_READ_MAX bytes: *RET.  As read(2), but -errno; -ENOSPC:
 * there is no room in the page.  Nothing may look at what held_input() gave. */
ssize_t held_read(struct held *held, int fd, const uint8_t **ret);
/* All but the last LEFT bytes have become messages. */
void held_settle(struct held *held, size_t left, bool skipping);

/* --- output, for endpoint/sluice.c ---------------------------------------------------------- */

struct held_place held_place(const struct held *held);
void held_publish(struct held *held, const struct held_place *place);
/* Bytes are about to be moved on from `start`, and held_publish() will say how many.  Was that so
 * when the daemon before us ended? */
void held_moving(struct held *held);
bool held_was_moving(const struct held *held);
/* NULL: LEN bytes at OFFSET are more than it may hold. */
uint8_t *held_output(struct held *held, size_t offset, size_t len);
void held_trim_output(struct held *held); /* its bytes are not needed any more */

#endif
