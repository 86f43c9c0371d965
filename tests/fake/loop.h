/* fake/loop - base/loop.h in virtual time: a week passes in a moment.  Linked instead of the real
 * one, for whoever knows no descriptors.  Time moves only in fake_loop_advance(). */
#ifndef FAKE_LOOP_H
#define FAKE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"

/* All laters, round after round, until there are none.  One that goes on for ever fails the test.
 */
void fake_loop_settle(void);

/* Let this time pass: timers run when they are due, laters after each. */
void fake_loop_advance(uint64_t ms);

/* The earliest timer, in milliseconds from now; UINT64_MAX: none is set. */
uint64_t fake_loop_next_ms(void);
unsigned fake_loop_timers(void);      /* how many are set */
void fake_loop_step_wall(int64_t us); /* somebody sets the clock */

#endif
