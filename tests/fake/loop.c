/* fake/loop - see fake/loop.h.  A few timers in a plain array: the earliest is looked for. */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/steps.h"

enum { TIMERS_MAX = 16384, ROUNDS_MAX = 100000 };

static struct {
	uint64_t now_ms, wall_us;
	struct timer *timer[TIMERS_MAX]; /* those that are set, in the order of setting */
	unsigned timers;
	struct list soon;
	bool ready;
	struct steps steps;
} loop = {.now_ms = 1000000, .wall_us = 1700000000u * UINT64_C(1000000)};

static uint8_t read_scratch[LOOP_SCRATCH_BYTES], write_scratch[LOOP_SCRATCH_BYTES];

int loop_init(void)
{
	list_init(&loop.soon);
	loop.timers = 0;
	loop.ready = true;
	return 0;
}

void loop_done(void)
{
	while (!list_empty(&loop.soon))
		list_remove(loop.soon.next);
	for (unsigned i = 0; i < loop.timers; i++)
		loop.timer[i]->slot = 0;
	loop.timers = 0;
}

int loop_run(void)
{
	return -ENOSYS;
}

void loop_stop(void)
{
}

struct event_base *loop_base(void)
{
	return NULL;
}

uint64_t loop_now_ms(void)
{
	return loop.now_ms;
}

uint64_t loop_wall_us(void)
{
	steps_note(&loop.steps, loop.wall_us, loop.now_ms * 1000);
	return loop.wall_us;
}

void loop_on_resume(void (*resumed)(void *owner, uint64_t slept_ms), void *owner)
{
	(void)resumed;
	(void)owner;
}

uint64_t loop_age_us(uint64_t stamp_us)
{
	steps_note(&loop.steps, loop.wall_us, loop.now_ms * 1000);
	return steps_age(&loop.steps, stamp_us, loop.now_ms * 1000);
}

void fake_loop_step_wall(int64_t us)
{
	loop.wall_us += (uint64_t)us;
}

uint8_t *loop_read_scratch(void)
{
	return read_scratch;
}

uint8_t *loop_write_scratch(void)
{
	return write_scratch;
}

int timer_init(struct timer *timer, void (*on_due)(void *owner), void *owner)
{
	*timer = (struct timer){.on_due = on_due, .owner = owner, .reserved = true};
	return 0;
}

void timer_set(struct timer *timer, uint64_t delay_ms)
{
	assert(loop.ready && timer->reserved && loop.timers < TIMERS_MAX);
	timer_cancel(timer);
	timer->due_ms = loop.now_ms + delay_ms;
	loop.timer[loop.timers++] = timer;
	timer->slot = 1;
}

void timer_cancel(struct timer *timer)
{
	unsigned n = 0;

	if (!timer_is_set(timer))
		return;
	timer->slot = 0;
	for (unsigned i = 0; i < loop.timers; i++)
		if (loop.timer[i] != timer)
			loop.timer[n++] = loop.timer[i];
	loop.timers = n;
}

void timer_done(struct timer *timer)
{
	timer_cancel(timer);
	timer->reserved = false;
}

void loop_later(struct later *later)
{
	assert(loop.ready);
	if (!list_linked(&later->link))
		list_append(&loop.soon, &later->link);
}

void later_cancel(struct later *later)
{
	list_remove(&later->link);
}

void fake_loop_settle(void)
{
	for (int round = 0; !list_empty(&loop.soon); round++) {
		struct list due;
		struct later *later;

		if (round == ROUNDS_MAX) {
			fprintf(stderr, "fake loop: laters ask for each other for ever\n");
			exit(1);
		}
		list_init(&due);
		list_move_all(&due, &loop.soon);
		while ((later = list_first(&due, struct later, link))) {
			list_remove(&later->link);
			later->run(later->owner);
		}
	}
}

static struct timer *earliest(void)
{
	struct timer *timer = NULL;

	for (unsigned i = 0; i < loop.timers; i++)
		if (!timer || loop.timer[i]->due_ms < timer->due_ms)
			timer = loop.timer[i];
	return timer;
}

static void pass(uint64_t to_ms)
{
	if (to_ms <= loop.now_ms)
		return;
	loop.wall_us += (to_ms - loop.now_ms) * 1000;
	loop.now_ms = to_ms;
}

void fake_loop_advance(uint64_t ms)
{
	uint64_t to_ms = loop.now_ms + ms;
	struct timer *timer;

	fake_loop_settle();
	for (int fired = 0; (timer = earliest()) && timer->due_ms <= to_ms; fired++) {
		if (timer->due_ms > loop.now_ms)
			fired = 0;
		if (fired == ROUNDS_MAX) {
			fprintf(stderr, "fake loop: a timer sets itself to now for ever\n");
			exit(1);
		}
		pass(timer->due_ms);
		timer_cancel(timer);
		timer->on_due(timer->owner);
		fake_loop_settle();
	}
	pass(to_ms);
}

uint64_t fake_loop_next_ms(void)
{
	struct timer *timer = earliest();

	if (!timer)
		return UINT64_MAX;
	return timer->due_ms > loop.now_ms ? timer->due_ms - loop.now_ms : 0;
}

unsigned fake_loop_timers(void)
{
	return loop.timers;
}
