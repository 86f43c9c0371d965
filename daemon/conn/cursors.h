/* cursors - places in the spool that have a name and outlive whoever reads from them.
 *
 * Two kinds: those that users name (`wspipe recv --cursor`), and those of the connection's own FIFOs,
 * which are called as these are.  With a store each is a file in which the place is kept: one aligned
 * word in a mapping, so that committing after every message costs a store instruction, and kill -9
 * finds the old place or the new one.  (A rename for each would cost what fifty messages cost.)
 *
 * While nobody holds a named one, a spool cursor stands there: what is lost to it is counted when that
 * happens, and told to whoever comes next. */
#ifndef CONN_CURSORS_H
#define CONN_CURSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "conn/spool.h"
#include "conn/store.h"

enum { CURSORS_MAX = 1000, CURSOR_NAME_MAX = 64 };

enum mark_kind { MARK_NAMED, MARK_READER };

struct cursors; /* of one connection */

/* Somebody who reads from a mark; embedded in him. */
struct mark_holder {
	struct mark *mark; /* NULL: none, or it has gone with its connection */
	int pid;           /* for status; 0: none */
	/* Has he perhaps left, and nobody has noticed yet?  NULL: he never does. */
	bool (*still_there)(void *owner);
	void *owner;
};

struct mark {
	struct list link;
	struct cursors *cursors;
	enum mark_kind kind;
	char name[CURSOR_NAME_MAX + 1];
	uint64_t seq;    /* the next message */
	uint32_t marks;  /* passed since the one before (struct position) */
	uint64_t missed; /* messages lost since somebody was told */
	struct mark_holder *holder;
	struct cursor cursor; /* while nobody holds it, if it is a named one */
	struct mapped file;   /* zeroed: it is in memory */
};

int cursors_new(struct cursors **ret, struct spool *spool);
struct cursors *cursors_free(struct cursors *cursors); /* holders are let go of; the files stay */

/* Keep them in STORE from now on (NULL: no longer); TAKE_UP: and first take up those that lie there.
 * The spool must have been taken up before.  -errno: some of them could not be read. */
int cursors_set_store(struct cursors *cursors, struct store *store, bool take_up);

bool cursors_name_valid(const char *name);
struct mark *cursors_find(struct cursors *cursors, enum mark_kind kind, const char *name);
/* It must not be there.  It stands at the newest message if it is a named one, else at the oldest.
 * -EUSERS: there are too many; -ENOMEM. */
int cursors_add(struct cursors *cursors, enum mark_kind kind, const char *name, struct mark **ret);
void cursors_remove(struct mark *mark); /* nobody may hold it */
struct mark *cursors_next(struct cursors *cursors, const struct mark *mark); /* NULL: the first */

bool mark_is_held(struct mark *mark); /* who has left lets go of it now */
/* HOLDER reads from MARK from now on, which nobody else may hold. */
void mark_hold(struct mark *mark, struct mark_holder *holder);
void mark_release(struct mark_holder *holder);
/* CURSOR, whose label is the name of one of the connection's own readers, goes where the last one has
 * stopped; HOLDER holds that mark from now on.  -errno. */
int cursors_resume(struct cursors *cursors, struct cursor *cursor, struct mark_holder *holder);

/* What is before this has been read: it is so even after a crash. */
void mark_commit(struct mark *mark, uint64_t seq, uint32_t marks);
void mark_told(struct mark *mark); /* the reader knows what it has missed */
/* Nobody may hold it. */
void mark_move(struct mark *mark, enum cursor_from from);
void mark_move_since(struct mark *mark, uint64_t wall_us);
uint64_t mark_behind(const struct mark *mark); /* messages */

#endif
