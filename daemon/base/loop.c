/* One libevent base with four events of our own:
 *
 *	clock   a timerfd that is never due, but is cancelled by the kernel when the wall clock is set, as it
 *		is after a suspend: so it costs nothing until then
 *	timer   a timerfd that stands for the earliest of all timers, which wait in a binary heap
 *	turn    made active by hand: runs behind the callbacks that are active now, without a poll
 *		between (libevent 2.1 appends to the queue that it is working on)
 *	poll    a timeout of 0: runs behind the next poll of the descriptors
 *
 * A later that is asked for in a callback runs from `turn`.  One that is asked for by a later runs
 * from `poll`: from `turn` it would run in the same pass again, and a later that always asks for
 * itself would keep the loop from ever looking at its descriptors.  When none asks, it costs
 * nothing. */
#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/steps.h"

static struct {
	struct event_base *base;
	struct event *on_timer, *on_turn, *on_poll, *on_clock;
	bool running, stopped;

	struct timer **heap; /* earliest first: [i] is due no later than [2i + 1] and [2i + 2] */
	size_t n_set, n_reserved, n_allocated;
	int timer_fd;
	int clock_fd;        /* negative: there is none, and a suspend is noticed by the next timer */
	uint64_t asleep_ms;  /* since the machine was started, as far as it has been told */
	void (*resumed)(void *owner, uint64_t slept_ms);
	void *resumed_owner;
	uint64_t armed_ms;   /* what the timerfd was set to last; 0: to nothing */
	uint64_t due_now_ms; /* while due timers run: what "due" means in this round */

	struct list soon;  /* laters of this turn */
	struct list after; /* laters of the round after the next poll */
	struct list round; /* laters that are being run */
	bool in_round;

	bool wall_known;
	uint64_t wall_us;
	struct steps steps; /* of the wall clock */

	uint64_t complained_ms; /* when libevent's last warning was passed on; 0: there was none */
	unsigned complaints;    /* and so many were not since then */
} loop = {.timer_fd = -1, .clock_fd = -1};

static alignas(64) uint8_t read_scratch[LOOP_SCRATCH_BYTES]; /* in .bss: no page until it is used */
static alignas(64) uint8_t write_scratch[LOOP_SCRATCH_BYTES];

static void loop_on_timer(evutil_socket_t fd, short what, void *arg);
static void loop_on_clock(evutil_socket_t fd, short what, void *arg);
static void loop_on_turn(evutil_socket_t fd, short what, void *arg);
static void loop_on_poll(evutil_socket_t fd, short what, void *arg);

static uint64_t loop_asleep_ms(void);

/* Whoever made the call that failed tells what becomes of it, but the errno is known only here.
 * While descriptors or epoll's entries are used up each attempt has a warning: one a minute says
 * it. */
enum { LOOP_COMPLAINT_GAP_MS = 60 * 1000 };

static void loop_on_warning(const char *text)
{
	uint64_t now_ms = loop_now_ms();

	if (loop.complained_ms > 0 && now_ms - loop.complained_ms < LOOP_COMPLAINT_GAP_MS) {
		loop.complaints++;
		log_debug(NULL, "libevent: %s", text);
		return;
	}
	if (loop.complaints > 0)
		log_warning(NULL, "libevent: %s (and %u more like it since the last such line)",
			    text, loop.complaints);
	else
		log_warning(NULL, "libevent: %s", text);
	loop.complained_ms = now_ms;
	loop.complaints = 0;
}

/* What libevent would write to standard error as it is.  After an error it ends the process. */
static void loop_on_complaint(int severity, const char *text)
{
	if (severity == EVENT_LOG_ERR)
		log_error(NULL, "libevent: %s", text);
	else if (severity == EVENT_LOG_WARN)
		loop_on_warning(text);
	else
		log_debug(NULL, "libevent: %s", text);
}

static struct event_base *loop_new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (!config)
		return NULL;
	/* Edge-triggered events are needed for FIFOs; the environment may not turn epoll off. */
	event_config_require_features(config, EV_FEATURE_ET);
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static int loop_new_events(void)
{
	static const struct timeval at_once;

	/* One-shot and set anew each time, so an expiry is an edge and need not be read away. */
	loop.on_timer = event_new(loop.base, loop.timer_fd, EV_READ | EV_ET | EV_PERSIST,
				  loop_on_timer, NULL);
	loop.on_turn = event_new(loop.base, -1, 0, loop_on_turn, NULL);
	loop.on_poll = event_new(loop.base, -1, 0, loop_on_poll, NULL);
	if (!loop.on_timer || !loop.on_turn || !loop.on_poll)
		return -ENOMEM;
	/* Adding a timeout allocates the first time only: let it be now. */
	if (event_add(loop.on_timer, NULL) < 0 || event_add(loop.on_poll, &at_once) < 0)
		return -ENOMEM;
	event_del(loop.on_poll);
	return 0;
}

static void loop_arm_clock(void)
{
	const struct itimerspec never = {
		.it_value = {.tv_sec = sizeof(time_t) > 4 ? (time_t)(INT64_C(1) << 33) : INT32_MAX},
	};

	timerfd_settime(loop.clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

/* Without it all goes on as well. */
static void loop_watch_clock(void)
{
	loop.clock_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop.clock_fd < 0)
		return;
	loop.on_clock = event_new(loop.base, loop.clock_fd, EV_READ | EV_PERSIST, loop_on_clock,
				  NULL);
	if (loop.on_clock && event_add(loop.on_clock, NULL) == 0)
		loop_arm_clock();
}

int loop_init(void)
{
	int r;

	assert(!loop.base);
	list_init(&loop.soon);
	list_init(&loop.after);
	list_init(&loop.round);
	event_set_log_callback(loop_on_complaint);
	loop.timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop.timer_fd < 0)
		return -errno;
	loop.base = loop_new_base();
	r = loop.base ? loop_new_events() : -ENOMEM;
	if (r < 0) {
		loop_done();
		return r;
	}
	loop.asleep_ms = loop_asleep_ms();
	loop_watch_clock();
	return 0;
}

static void loop_forget_laters(struct list *laters)
{
	while (!list_empty(laters))
		list_remove(laters->next);
}

static struct event *loop_free_event(struct event *event)
{
	if (event)
		event_free(event);
	return NULL;
}

static void loop_free_heap_if_unused(void)
{
	if (loop.base || loop.n_reserved > 0)
		return;
	free(loop.heap);
	loop.heap = NULL;
	loop.n_allocated = 0;
}

void loop_done(void)
{
	for (size_t i = 0; i < loop.n_set; i++)
		loop.heap[i]->slot = 0;
	loop.n_set = 0;
	loop_forget_laters(&loop.soon);
	loop_forget_laters(&loop.after);
	loop.on_timer = loop_free_event(loop.on_timer);
	loop.on_turn = loop_free_event(loop.on_turn);
	loop.on_poll = loop_free_event(loop.on_poll);
	loop.on_clock = loop_free_event(loop.on_clock);
	if (loop.base)
		event_base_free(loop.base);
	loop.base = NULL;
	if (loop.timer_fd >= 0)
		close(loop.timer_fd);
	loop.timer_fd = -1;
	if (loop.clock_fd >= 0)
		close(loop.clock_fd);
	loop.clock_fd = -1;
	loop.resumed = NULL;
	loop.armed_ms = loop.complained_ms = 0;
	loop.complaints = 0;
	loop.stopped = loop.wall_known = false;
	loop_free_heap_if_unused();
}

int loop_run(void)
{
	int r = 0;

	loop.running = true;
	loop.wall_known = false;
	errno = 0;
	/* libevent forgets a stop that was asked for before it runs; we do not. */
	if (!loop.stopped && event_base_loop(loop.base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
		r = errno ? -errno : -EIO;
	loop.running = loop.stopped = loop.wall_known = false;
	return r;
}

void loop_stop(void)
{
	loop.stopped = true;
	event_base_loopbreak(loop.base);
}

struct event_base *loop_base(void)
{
	return loop.base;
}

uint8_t *loop_read_scratch(void)
{
	return read_scratch;
}

uint8_t *loop_write_scratch(void)
{
	return write_scratch;
}

/* ---- what time it is ---- */

static uint64_t clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t loop_now_ms(void)
{
	return clock_us(CLOCK_BOOTTIME) / 1000;
}

/* All the time that the machine has slept, give or take a millisecond. */
static uint64_t loop_asleep_ms(void)
{
	struct timespec awake;
	uint64_t awake_ms, now_ms;

	clock_gettime(CLOCK_MONOTONIC, &awake);
	now_ms = loop_now_ms();
	awake_ms = (uint64_t)awake.tv_sec * 1000 + (uint64_t)awake.tv_nsec / 1000000;
	return now_ms > awake_ms ? now_ms - awake_ms : 0;
}

void loop_on_resume(void (*resumed)(void *owner, uint64_t slept_ms), void *owner)
{
	loop.resumed = resumed;
	loop.resumed_owner = owner;
}

/* Between the two clocks we may have been interrupted: less than this says nothing. */
enum { LOOP_SLEPT_MIN_MS = 1000 };

static void loop_look_for_resume(void)
{
	uint64_t asleep_ms = loop_asleep_ms(), slept_ms;

	if (asleep_ms < loop.asleep_ms + LOOP_SLEPT_MIN_MS)
		return;
	slept_ms = asleep_ms - loop.asleep_ms;
	loop.asleep_ms = asleep_ms;
	if (loop.resumed)
		loop.resumed(loop.resumed_owner, slept_ms);
}

static void loop_on_clock(evutil_socket_t fd, short what, void *arg)
{
	uint64_t expirations;

	(void)what, (void)arg;
	if (read(fd, &expirations, sizeof(expirations)) < 0 && errno == EAGAIN)
		return;
	loop_arm_clock();
	loop_look_for_resume();
}

/* Not event_base_gettimeofday_cached(): that adds a difference, which it takes at most every five
 * seconds, to a clock of tick resolution that stands still in suspend.  For up to five seconds
 * after a resume or a step of the clock all stamps would be wrong by as much. */
uint64_t loop_wall_us(void)
{
	if (loop.wall_known)
		return loop.wall_us;
	loop.wall_us = clock_us(CLOCK_REALTIME);
	steps_note(&loop.steps, loop.wall_us, clock_us(CLOCK_BOOTTIME));
	if (loop.running) {
		loop.wall_known = true;
		if (!loop.in_round) /* the end of a round forgets it anyway */
			event_active(loop.on_turn, 0, 0);
	}
	return loop.wall_us;
}

uint64_t loop_age_us(uint64_t stamp_us)
{
	loop_wall_us(); /* the clock may have been set since the last time */
	return steps_age(&loop.steps, stamp_us, clock_us(CLOCK_BOOTTIME));
}

/* ---- later ---- */

static void loop_run_round(struct list *laters)
{
	struct later *later;

	list_move_all(&loop.round, laters);
	loop.in_round = true;
	/* Taken one by one from the front, because any of them may cancel or free any other. */
	while ((later = list_first(&loop.round, struct later, link))) {
		list_remove(&later->link);
		later->run(later->owner);
	}
	loop.in_round = false;
	loop.wall_known = false;
}

static void loop_on_turn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	loop_run_round(&loop.soon);
}

static void loop_on_poll(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	loop_run_round(&loop.after);
}

void loop_later(struct later *later)
{
	static const struct timeval at_once;
	int r;

	if (list_linked(&later->link))
		return;
	if (!loop.in_round) {
		list_append(&loop.soon, &later->link);
		event_active(loop.on_turn, 0, 0);
		return;
	}
	if (list_empty(&loop.after)) {
		r = event_add(loop.on_poll, &at_once);
		assert(r == 0); /* loop_new_events() has made sure of the memory */
	}
	list_append(&loop.after, &later->link);
}

void later_cancel(struct later *later)
{
	list_remove(&later->link);
}

/* ---- timers ---- */

static void heap_put(size_t i, struct timer *timer)
{
	loop.heap[i] = timer;
	timer->slot = i + 1;
}

/* Find the place of TIMER, beginning at the hole I. */
static void heap_settle(size_t i, struct timer *timer)
{
	while (i > 0 && loop.heap[(i - 1) / 2]->due_ms > timer->due_ms) {
		heap_put(i, loop.heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (size_t child = 2 * i + 1; child < loop.n_set; child = 2 * i + 1) {
		if (child + 1 < loop.n_set &&
		    loop.heap[child + 1]->due_ms < loop.heap[child]->due_ms)
			child++;
		if (loop.heap[child]->due_ms >= timer->due_ms)
			break;
		heap_put(i, loop.heap[child]);
		i = child;
	}
	heap_put(i, timer);
}

static void heap_remove(struct timer *timer)
{
	size_t hole = timer->slot - 1;
	struct timer *last = loop.heap[--loop.n_set];

	timer->slot = 0;
	if (last != timer)
		heap_settle(hole, last);
}

/* The one place that sets the timerfd. */
static void loop_rearm(void)
{
	uint64_t due_ms = loop.n_set > 0 ? loop.heap[0]->due_ms : 0;
	struct itimerspec at = {
		.it_value = {.tv_sec = (time_t)(due_ms / 1000),
			     .tv_nsec = (long)(due_ms % 1000) * 1000000},
	};
	int r;

	if (loop.due_now_ms > 0 || due_ms == loop.armed_ms)
		return; /* while due timers run: once, at the end */
	r = timerfd_settime(loop.timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	assert(r == 0);
	loop.armed_ms = due_ms;
}

static void loop_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *timer;

	(void)fd, (void)what, (void)arg;
	loop_look_for_resume();
	loop.due_now_ms = loop_now_ms();
	while (loop.n_set > 0 && loop.heap[0]->due_ms <= loop.due_now_ms) {
		timer = loop.heap[0];
		heap_remove(timer);
		timer->on_due(timer->owner); /* may free it */
	}
	loop.due_now_ms = 0;
	loop_rearm();
}

int timer_init(struct timer *timer, void (*on_due)(void *owner), void *owner)
{
	*timer = (struct timer){.on_due = on_due, .owner = owner};
	if (loop.n_reserved == loop.n_allocated) {
		size_t n = loop.n_allocated ? loop.n_allocated * 2 : 16;
		struct timer **heap = reallocarray(loop.heap, n, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		loop.heap = heap;
		loop.n_allocated = n;
	}
	loop.n_reserved++;
	timer->reserved = true;
	return 0;
}

void timer_set(struct timer *timer, uint64_t delay_ms)
{
	uint64_t now_ms = loop_now_ms();

	assert(loop.base && timer->reserved);
	/* Not before the next round: a timer that sets itself to 0 must not be due for ever. */
	if (delay_ms == 0 && now_ms <= loop.due_now_ms)
		delay_ms = loop.due_now_ms - now_ms + 1;
	timer->due_ms = delay_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + delay_ms;
	heap_settle(timer->slot ? timer->slot - 1 : loop.n_set++, timer);
	loop_rearm();
}

void timer_cancel(struct timer *timer)
{
	if (!timer_is_set(timer))
		return;
	heap_remove(timer);
	loop_rearm();
}

void timer_done(struct timer *timer)
{
	timer_cancel(timer);
	if (timer->reserved)
		loop.n_reserved--;
	timer->reserved = false;
	loop_free_heap_if_unused();
}
