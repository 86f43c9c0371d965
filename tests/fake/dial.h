/* fake/dial - net/dial.h without a network: each attempt does what the test says.  Linked instead
 * of the real one; works with the real loop and with fake/loop. */
#ifndef FAKE_DIAL_H
#define FAKE_DIAL_H

#include "net/dial.h"

/* The attempt that is under way, or NULL. */
struct dial *fake_dial_now(void);
const struct url *fake_dial_url(const struct dial *dial);
unsigned fake_dial_starts(void); /* so far, in all */

/* It ends so.  Called from a clean stack: a test, or a timer. */
void fake_dial_connect(struct dial *dial);
void fake_dial_fail(struct dial *dial, enum cause_class class, int code);

/* The next N calls of dial_start() return this error. */
void fake_dial_refuse(int error, unsigned n);

/* Called from within each dial_start(): a script for the weather. */
extern void (*fake_dial_started)(struct dial *dial);

/* Several attempts may go on at once; fake_dial_now() is the newest. */
extern bool fake_dial_many;

#endif
