/* steps - how old a time stamp is, though the time of day was set meanwhile.
 *
 * Stamps tell the time of day, because people read them and they outlive the daemon.  But when that clock is
 * set (by hand, by NTP after a boot without a battery), a difference of two stamps is no age.  So it is
 * compared with CLOCK_BOOTTIME: each time that the two have moved apart is remembered, and a stamp belongs to
 * the stretch between two such steps in which it can have been made; when several can, to the youngest, for
 * what is kept too long does less harm than what is thrown away.  Steps of less than a second are none. */
#ifndef BASE_STEPS_H
#define BASE_STEPS_H

#include <stdint.h>

enum { STEPS_MAX = 8 }; /* of more, the oldest are forgotten */

/* Embedded, zeroed. */
struct steps {
	struct {
		int64_t from_us;   /* boot time of its beginning */
		int64_t offset_us; /* what the time of day is ahead of boot time in it */
	} stretch[STEPS_MAX];
	unsigned n;
};

/* What both clocks say now. */
void steps_note(struct steps *steps, uint64_t wall_us, uint64_t boot_us);
/* Of a STAMP, now; one of the future has no age. */
uint64_t steps_age(const struct steps *steps, uint64_t stamp_us, uint64_t boot_us);

#endif
