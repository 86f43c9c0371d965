/* spool - the messages received on one connection, kept for readers that are behind.
 *
 * Every reader is only a cursor on it: a FIFO, a socket client, the newest-message file.  Appending
 * never waits for a reader.  What exceeds `keep` goes, oldest first; a cursor that stood there jumps
 * ahead and is told how many messages it missed (overflow = drop), or the spool reports "full" before
 * that happens and the owner stops reading the WebSocket (overflow = block).
 *
 * Bounds: `keep` bytes of blocks (never less than the newest message), and what all spools of one
 * pool may hold together.  Does no I/O, never logs. */
#ifndef CONN_SPOOL_H
#define CONN_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/msg.h"
#include "conn/records.h"

struct spool;

enum spool_overflow { SPOOL_DROP, SPOOL_BLOCK };

struct spool_options {
	uint64_t keep_bytes;
	uint64_t keep_age_ms; /* 0: no matter how old */
	int overflow;         /* enum spool_overflow */
};

struct spool_events {
	void (*eased)(void *owner); /* was full, and the slowest live reader has come nearer */
	/* A cursor has missed some: called once for each jump. */
	void (*missed)(void *owner, const char *reader, uint64_t messages, uint64_t bytes);
};

struct spool_stats {
	uint64_t kept_messages, kept_bytes;
	uint64_t dropped_messages, dropped_bytes; /* missed by some reader, each counted once */
};

enum { SPOOL_OK, SPOOL_FULL }; /* FULL: it was appended, but now stop until `eased` */

int spool_new(struct spool **ret, const struct spool_options *options, struct records_pool *pool,
	      const struct spool_events *events, void *owner);
struct spool *spool_free(struct spool *spool); /* all cursors must be closed */
void spool_set_options(struct spool *spool, const struct spool_options *options);

/* Keep what comes from now on in files of STORE (NULL: no longer).  TAKE_UP: and first take up what lies
 * there; only while the spool is empty.  -errno of that: then nothing is kept in files. */
int spool_set_store(struct spool *spool, struct store *store, bool take_up, struct records_found *ret);
/* Numbers go on from here at least: some reader has seen the messages before. */
void spool_skip_to(struct spool *spool, uint64_t seq);

/* SPOOL_OK, SPOOL_FULL, or -ENOMEM (it is lost: counted as dropped for every reader). */
int spool_append(struct spool *spool, const struct msg *msg);
/* So many were lost ahead of it: dropped for every reader. */
void spool_lose(struct spool *spool, uint64_t messages, uint64_t bytes);
bool spool_full(const struct spool *spool);
bool spool_newest(const struct spool *spool, struct msg *ret); /* marks are no messages */
void spool_get_stats(const struct spool *spool, struct spool_stats *ret);
uint64_t spool_next_seq(const struct spool *spool);

/* --- readers -------------------------------------------------------------------------------- */

/* A place between two records. */
struct position {
	struct block *block; /* NULL: the spool was empty */
	size_t offset;
	uint64_t seq; /* number of the next message */
	uint32_t marks; /* passed since the message before that */
};

struct cursor {
	struct list link;
	struct spool *spool;
	struct position at;
	struct list waiting; /* linked while it wants to be told */
	bool newest_only;    /* wants just the newest: passing over messages is no loss to it */
	bool live;           /* somebody is really reading: overflow = block waits for it */
	uint64_t missed;     /* messages, in all */
	const char *label;   /* "out", "sock": for the log; not owned */
	/* There is something to read.  Called once for each cursor_wait(), from inside spool_append():
	 * arrange to be called from the loop, and return. */
	void (*ready)(void *owner);
	void *owner;
	/* It has jumped over so many messages; may be NULL.  From inside spool_append() too. */
	void (*jumped)(void *owner, uint64_t messages);
};

enum cursor_from { CURSOR_OLDEST, CURSOR_NEWEST };

void cursor_open(struct cursor *cursor, struct spool *spool, enum cursor_from from,
		 const char *label, void (*ready)(void *owner), void *owner);
/* Go where NUMBER says; then cursor_start() counts what is missing there. */
enum cursor_seek {
	SEEK_SEQ,   /* ahead of message NUMBER, and behind MARKS marks */
	SEEK_LAST,  /* so that NUMBER messages follow, or all there are */
	SEEK_SINCE, /* to the first that came at NUMBER, microseconds of wall clock, or later */
};
void cursor_seek(struct cursor *cursor, enum cursor_seek to, uint64_t number, uint32_t marks);
void cursor_close(struct cursor *cursor); /* a zeroed cursor is fine */
void cursor_set_live(struct cursor *cursor, bool live);
void cursor_to_newest(struct cursor *cursor); /* skip what is there; nothing is counted as missed */

/* Where to begin reading: passes over what is older than keep-age, or absent; which is then missed. */
struct position cursor_start(struct cursor *cursor);
/* Read the record at *at and move *at behind it; false at the end.  Start from cursor_start(), and
 * when the bytes are out, commit the copy.  Views are good until the next append. */
bool cursor_read(struct cursor *cursor, struct position *at, struct msg *ret);
void cursor_commit(struct cursor *cursor, const struct position *at);
bool cursor_at_end(const struct cursor *cursor);
void cursor_wait(struct cursor *cursor);
/* The reader itself could not take this message (no memory to encode it): it is lost to him. */
void cursor_lose(struct cursor *cursor, const struct msg *msg);
uint64_t cursor_behind(const struct cursor *cursor); /* messages */

/* Keep the bytes of the record that was just read, though the spool may drop it: AFTER is the place
 * behind it.  The block is pinned until block_release().  A reader holds at most one. */
struct block *cursor_hold(const struct position *after);

#endif
