/* loop - the one event loop of the process: what time it is, one-shot timers, "later".
 *
 * Process-wide, like the log.  net/ and endpoint/ take loop_base() for their own events; conn/ sees
 * only timers and laters, so that it can be linked against a loop in virtual time (tests/fake). */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct event_base;

int loop_init(void);
void loop_done(void);
int loop_run(void); /* until loop_stop(); 0 or -errno */
void loop_stop(void);
struct event_base *loop_base(void);

uint64_t loop_now_ms(void);  /* CLOCK_BOOTTIME: goes on while the machine is suspended */
uint64_t loop_wall_us(void); /* CLOCK_REALTIME, read once per wake-up: for time stamps only */
/* What has passed since STAMP was read from loop_wall_us(), also by an earlier daemon, and though the clock was
 * set meanwhile (see steps.h). */
uint64_t loop_age_us(uint64_t stamp_us);

/* RESUMED is called when the machine has slept (CLOCK_BOOTTIME has run ahead of CLOCK_MONOTONIC), ahead
 * of the timers that have become due meanwhile.  NULL: nobody asks. */
void loop_on_resume(void (*resumed)(void *owner, uint64_t slept_ms), void *owner);

/* A one-shot timer, embedded in its owner.  timer_init() reserves all that timer_set() will need,
 * so that only it can fail (-ENOMEM).  Setting a set timer moves it.  All timers hang on one
 * timerfd, which is armed only while some timer is set: a quiet daemon is not woken. */
struct timer {
	void (*on_due)(void *owner);
	void *owner;
	uint64_t due_ms;
	size_t slot; /* place in the heap plus one; 0: not set */
	bool reserved;
};

int timer_init(struct timer *timer, void (*on_due)(void *owner), void *owner);
void timer_set(struct timer *timer, uint64_t delay_ms);
void timer_cancel(struct timer *timer);
void timer_done(struct timer *timer); /* cancels; a zeroed timer is fine */

static inline bool timer_is_set(const struct timer *timer)
{
	return timer->slot != 0;
}

/* Run once from a clean stack, in this same turn of the loop, after the callbacks that are running
 * now.  Asking twice runs once.  Asking from inside a later runs in the next round. */
struct later {
	struct list link;
	void (*run)(void *owner);
	void *owner;
};

static inline void later_init(struct later *later, void (*run)(void *owner), void *owner)
{
	*later = (struct later){.run = run, .owner = owner};
}

void loop_later(struct later *later);
void later_cancel(struct later *later);

/* Two buffers that all share, because nobody needs bytes of his own while he is not being called:
 * one to read into, one to encode into.  Yours until you return to the loop.  Whoever holds the
 * first makes upcalls, so those who take the second run only from a later or an event of their own. */
enum { LOOP_SCRATCH_BYTES = 256 * 1024 };
uint8_t *loop_read_scratch(void);
uint8_t *loop_write_scratch(void);

#endif
