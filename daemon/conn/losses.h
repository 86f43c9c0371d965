/* losses - the log lines about readers that are too slow.
 *
 * One that stays behind would write a line for every block that goes: one a minute will do. */
#ifndef CONN_LOSSES_H
#define CONN_LOSSES_H

#include <stdint.h>

#include "base/loop.h"

struct losses {           /* zeroed */
	const char *name; /* of the connection; not owned */
	struct timer pause;
	uint64_t pending; /* messages, not logged yet */
};

int losses_init(struct losses *losses, const char *name);
void losses_done(struct losses *losses); /* the last line is written */
void losses_add(struct losses *losses, const char *reader, uint64_t messages);

#endif
