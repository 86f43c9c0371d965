/* hooks - the commands of a connection: one for each message (on-message), one for each change of
 * state (on-state).
 *
 * One at a time for each connection, never two at once; and HOOKSLOTS over all connections.
 * Messages wait in the spool: on-message is a reader like any other, may fall behind and miss some,
 * and is told how many.  Changes of state wait in a queue of HOOKS_CHANGES_MAX; the oldest goes
 * when it is full.  Both take turns.  What a command prints is in the log. */
#ifndef ENDPOINT_HOOKS_H
#define ENDPOINT_HOOKS_H

#include <stdbool.h>

#include "base/buf.h"
#include "conn/conn.h"

enum {
	HOOKS_CHANGES_MAX = 64,
	HOOKS_SETTLE_MS = 5000, /* what still runs so long after the end is killed */
};

struct hooks;
struct hookslots;

struct hooks_options {
	char *on_message, *on_state; /* for sh -c; NULL: none */
};

static inline bool hooks_wanted(const struct hooks_options *wanted)
{
	return wanted->on_message || wanted->on_state;
}

/* OPTIONS and SLOTS are borrowed; RUNTIME_DIR is for the commands.  SETTLED: see hooks_settle().
 * -errno. */
int hooks_new(struct hooks **ret, struct conn *conn, const struct hooks_options *options,
	      const char *runtime_dir, struct hookslots *slots, void (*settled)(void *owner),
	      void *owner);
struct hooks *hooks_free(struct hooks *hooks); /* what runs is killed */

/* The options have moved, or differ: a command that runs goes on, the next one is the new one.  A
 * hook that was not there before begins with what comes from now on. */
int hooks_set_options(struct hooks *hooks, const struct hooks_options *options);

/* There is no on-message: what an earlier daemon has kept of its place counts no more. */
void hooks_forget_place(struct conn *conn);

/* The connection has ended for good.  True: nothing runs or waits any more.  False: SETTLED will be
 * called, HOOKS_SETTLE_MS after the first time at the latest.  Messages that are kept for the next
 * daemon are left to that; all others are worked off in this time.  Any later change of state, or
 * of options, is the end of settling. */
bool hooks_settle(struct hooks *hooks);

/* For status: append JSON objects as endpoints_describe() does, each with a comma ahead but for the
 * first, which has one if COMMA. */
int hooks_describe(const struct hooks *hooks, bool comma, struct buf *out);

#endif
