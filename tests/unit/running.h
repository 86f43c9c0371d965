/* running - the real loop, run until something is so: RUN_UNTIL(condition), run_for_ms().
 *
 * loop_run() comes back when an upcall of the test has said loop_stop().  What never comes to be so ends the
 * test, and is named. */
#ifndef UNIT_RUNNING_H
#define UNIT_RUNNING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "check.h"

enum { WATCHDOG_MS = 20000 };

static inline void running_watchdog(void *what)
{
	fprintf(stderr, "%s: nothing happens any more\n", (const char *)what);
	exit(1);
}

#define RUN_UNTIL_OF(what, condition)                                                              \
	do {                                                                                       \
		struct timer dog_;                                                                 \
		CHECK_EQ(timer_init(&dog_, running_watchdog, (void *)(what)), 0);                  \
		timer_set(&dog_, WATCHDOG_MS);                                                     \
		while (!(condition))                                                               \
			CHECK_EQ(loop_run(), 0);                                                   \
		timer_done(&dog_);                                                                 \
	} while (0)

#define RUN_UNTIL(condition) RUN_UNTIL_OF(#condition, condition)

static inline void running_time_over(void *over)
{
	*(bool *)over = true;
	loop_stop();
}

static inline void run_for_ms(uint64_t ms)
{
	struct timer timer;
	bool over = false;

	CHECK_EQ(timer_init(&timer, running_time_over, &over), 0);
	timer_set(&timer, ms);
	while (!over)
		CHECK_EQ(loop_run(), 0);
	timer_done(&timer);
}

#endif
