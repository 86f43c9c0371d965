/* verdict - where a connection goes when its attempt or its link has ended: what was asked for
 * comes first, then `reconnect`.
 *
 * Pure.  When a next attempt is due is retry's. */
#ifndef CONN_VERDICT_H
#define CONN_VERDICT_H

#include "base/cause.h"
#include "conn/conn.h"

/* What the last order wants when it ends. */
enum wanted {
	WANT_BY_POLICY, /* as `reconnect` says */
	WANT_CLOSED,
	WANT_RECONNECT,
};

enum verdict {
	VERDICT_AGAIN,  /* at once, as asked */
	VERDICT_WAIT,   /* ... and try again */
	VERDICT_CLOSED, /* all is well, and stays so until somebody asks */
	VERDICT_FAILED, /* it is not, and stays so until somebody asks */
};

enum verdict verdict_of(enum wanted wanted, int reconnect, const struct cause *cause);

#endif
