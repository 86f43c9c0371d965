/* The loop: timers in order of their time on one timerfd; laters in this turn, those of laters
 * after the next look at the descriptors; a wall clock that stands still within a turn. */
#include <fcntl.h>
#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/loop.h"
#include "check.h"

/* How long the machine has slept, and what stands for the timerfd that notices it: the kernel has
 * cancelled it when there is anything in the pipe. */
static uint64_t slept_s;
static int clock_pipe[2];

int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (id == CLOCK_BOOTTIME)
		ret->tv_sec += (time_t)slept_s;
	return r;
}

int timerfd_create(int id, int flags)
{
	if (id != CLOCK_REALTIME)
		return (int)syscall(SYS_timerfd_create, id, flags);
	if (pipe2(clock_pipe, O_NONBLOCK | O_CLOEXEC) < 0)
		return -1;
	return clock_pipe[0];
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	struct itimerspec mine = *at; /* the kernel has not slept */

	if (fd == clock_pipe[0])
		return 0;
	if (mine.it_value.tv_sec > (time_t)slept_s)
		mine.it_value.tv_sec -= (time_t)slept_s;
	return (int)syscall(SYS_timerfd_settime, fd, flags, &mine, old);
}

static char trace[256]; /* what ran, a letter each */

static void note(char c)
{
	size_t len = strlen(trace);

	if (len + 1 < sizeof(trace)) {
		trace[len] = c;
		trace[len + 1] = '\0';
	}
}

static void stop(void *owner)
{
	(void)owner;
	loop_stop();
}

static void run_for_ms(uint64_t ms)
{
	struct timer end;

	CHECK_EQ(timer_init(&end, stop, NULL), 0);
	timer_set(&end, ms);
	CHECK_EQ(loop_run(), 0);
	timer_done(&end);
}

/* ---- timers ---- */

struct thing {
	struct timer timer;
	struct later later;
	char name;
	uint64_t again_ms;
	int again;
	struct thing *cancels, *sets, *frees;
};

static void thing_on_due(void *owner)
{
	struct thing *thing = owner;

	note(thing->name);
	CHECK(!timer_is_set(&thing->timer));
	CHECK(loop_now_ms() >= thing->timer.due_ms);
	if (thing->again-- > 0)
		timer_set(&thing->timer, thing->again_ms);
	if (thing->cancels)
		timer_cancel(&thing->cancels->timer);
	if (thing->sets)
		timer_set(&thing->sets->timer, 3);
	if (thing->frees) {
		timer_done(&thing->frees->timer);
		free(thing->frees);
	}
}

static struct thing *thing_new(char name)
{
	struct thing *thing = calloc(1, sizeof(*thing));

	CHECK(thing);
	thing->name = name;
	CHECK_EQ(timer_init(&thing->timer, thing_on_due, thing), 0);
	return thing;
}

static void thing_free(struct thing *thing)
{
	later_cancel(&thing->later);
	timer_done(&thing->timer);
	free(thing);
}

static void test_timers_in_order(void)
{
	struct thing *a = thing_new('a'), *b = thing_new('b'), *c = thing_new('c');
	struct thing *d = thing_new('d');
	uint64_t began = loop_now_ms();

	trace[0] = '\0';
	timer_set(&c->timer, 15);
	timer_set(&a->timer, 5);
	timer_set(&b->timer, 10);
	timer_set(&d->timer, 1);
	CHECK(timer_is_set(&d->timer));
	timer_cancel(&d->timer);
	timer_cancel(&d->timer);
	CHECK(!timer_is_set(&d->timer));
	run_for_ms(25);
	CHECK_STR(trace, "abc");
	CHECK(loop_now_ms() - began >= 25);

	trace[0] = '\0';
	timer_set(&a->timer, 2);
	timer_set(&a->timer, 10); /* moved back */
	timer_set(&b->timer, 2000);
	timer_set(&b->timer, 4); /* moved forward */
	timer_set(&c->timer, UINT64_MAX);
	run_for_ms(20);
	CHECK_STR(trace, "ba");
	CHECK(timer_is_set(&c->timer));
	thing_free(a);
	thing_free(b);
	thing_free(c);
	thing_free(d);
}

static void test_timers_touch_timers(void)
{
	struct thing *a = thing_new('a'), *b = thing_new('b'), *c = thing_new('c');
	struct thing *d = thing_new('d');

	trace[0] = '\0';
	a->cancels = b; /* which is due in the same round */
	a->sets = c;
	c->frees = d;
	c->again = 1;
	c->again_ms = 4;
	c->cancels = c;
	timer_set(&a->timer, 2);
	timer_set(&b->timer, 3);
	timer_set(&d->timer, 1000);
	usleep(5000);
	for (int i = 0; i < 100 && strlen(trace) < 2; i++)
		run_for_ms(5); /* more than once only on a busy machine */
	run_for_ms(8);
	CHECK_STR(trace, "ac"); /* c has set and cancelled itself, and freed d */
	CHECK(!timer_is_set(&b->timer));
	CHECK(!timer_is_set(&c->timer));
	thing_free(a);
	thing_free(b);
	thing_free(c);
}

/* A timer that sets itself to 0 is due once in a round, and the others have their turn. */
static void test_timer_at_once(void)
{
	struct thing *a = thing_new('a');
	uint64_t began = loop_now_ms();

	trace[0] = '\0';
	a->again = 1000000;
	timer_set(&a->timer, 0);
	for (int i = 0; i < 100 && strlen(trace) < 2; i++)
		run_for_ms(4);
	CHECK(strlen(trace) >= 2);
	CHECK(strlen(trace) <= loop_now_ms() - began + 1);
	thing_free(a);
}

static int timerfd_is_armed(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	char path[300], text[1024];
	int armed = -1;

	CHECK(dir);
	while ((entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, text, sizeof(text) - 1);
		FILE *file;

		text[n > 0 ? n : 0] = '\0';
		if (!strstr(text, "[timerfd]"))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", entry->d_name);
		file = fopen(path, "r");
		CHECK(file);
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
		CHECK_EQ(armed, -1); /* there is one */
		CHECK(strstr(text, "it_value: "));
		CHECK(strstr(text, "clockid: 7")); /* CLOCK_BOOTTIME */
		armed = !strstr(text, "it_value: (0, 0)");
	}
	closedir(dir);
	return armed;
}

static void test_quiet_when_unset(void)
{
	struct thing *a = thing_new('a'), *b = thing_new('b');

	CHECK_EQ(timerfd_is_armed(), 0);
	timer_set(&a->timer, 10000);
	timer_set(&b->timer, 20000);
	CHECK_EQ(timerfd_is_armed(), 1);
	timer_cancel(&a->timer);
	CHECK_EQ(timerfd_is_armed(), 1);
	timer_done(&b->timer);
	CHECK_EQ(timerfd_is_armed(), 0);
	run_for_ms(1);
	CHECK_EQ(timerfd_is_armed(), 0);
	thing_free(a);
	thing_free(b);
}

/* Many timers, set, moved and cancelled at random: the rest comes in order, each once. */
enum { CROWD = 700 };
static struct timer crowd[CROWD];
static uint64_t crowd_last_ms;
static size_t crowd_due;

static void crowd_on_due(void *owner)
{
	struct timer *timer = owner;

	CHECK(timer->due_ms >= crowd_last_ms);
	crowd_last_ms = timer->due_ms;
	crowd_due++;
}

static void test_crowd(void)
{
	size_t set = 0;

	srand(42);
	for (size_t i = 0; i < CROWD; i++)
		CHECK_EQ(timer_init(&crowd[i], crowd_on_due, &crowd[i]), 0);
	for (int i = 0; i < 20000; i++) {
		struct timer *timer = &crowd[rand() % CROWD];

		if (rand() % 3 == 0)
			timer_cancel(timer);
		else
			timer_set(timer, (uint64_t)(rand() % 30));
	}
	for (size_t i = 0; i < CROWD; i++)
		set += timer_is_set(&crowd[i]);
	CHECK(set > CROWD / 3 && set < CROWD);
	run_for_ms(40);
	CHECK_EQ(crowd_due, set);
	for (size_t i = 0; i < CROWD; i++)
		timer_done(&crowd[i]);
}

/* ---- laters ---- */

static int pipes[2][2]; /* two ends to be readable when a test wants it */
static struct event *pipe_events[2];
static struct later asked, asked_too, again;
static int rounds;

static void make_readable(int i)
{
	CHECK_EQ(write(pipes[i][1], "x", 1), 1);
}

static void open_pipes(event_callback_fn first, event_callback_fn second)
{
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(pipe2(pipes[i], O_NONBLOCK | O_CLOEXEC), 0);
		pipe_events[i] = event_new(loop_base(), pipes[i][0], EV_READ | EV_ET | EV_PERSIST,
					   i ? second : first, NULL);
		CHECK(pipe_events[i]);
		CHECK_EQ(event_add(pipe_events[i], NULL), 0);
	}
}

static void close_pipes(void)
{
	for (int i = 0; i < 2; i++) {
		event_free(pipe_events[i]);
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

static void note_name(void *owner)
{
	note(*(const char *)owner);
}

static void on_first(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	note('1');
	loop_later(&asked);
	loop_later(&asked_too);
	loop_later(&asked); /* once */
	make_readable(1);   /* that is for the next poll: the laters come first */
	note('.');
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	note('2');
	loop_stop();
}

static void test_later_same_turn(void)
{
	char a = 'a', b = 'b';

	trace[0] = '\0';
	later_init(&asked, note_name, &a);
	later_init(&asked_too, note_name, &b);
	open_pipes(on_first, on_second);
	make_readable(0);
	CHECK_EQ(loop_run(), 0);
	CHECK_STR(trace, "1.ab2");
	close_pipes();
}

static void run_again(void *owner)
{
	(void)owner;
	note('r');
	if (rounds++ == 0)
		make_readable(1);
	loop_later(&again);
	loop_later(&again);
}

/* A later that always asks again: the descriptor that became readable in its first round is seen
 * ahead of the second. */
static void test_later_asks_again(void)
{
	trace[0] = '\0';
	rounds = 0;
	later_init(&again, run_again, NULL);
	open_pipes(on_second, on_second);
	loop_later(&again);
	CHECK_EQ(loop_run(), 0);
	CHECK_STR(trace, "r2");
	for (int i = 0; i < 100 && rounds <= 2; i++)
		run_for_ms(2); /* it goes on, and a timer still gets its turn */
	CHECK(rounds > 2);
	later_cancel(&again);
	rounds = 0;
	run_for_ms(2);
	CHECK_EQ(rounds, 0);
	close_pipes();
}

static void cancel_both(void *owner)
{
	(void)owner;
	note('x');
	later_cancel(&asked); /* of this round, not yet run */
	loop_later(&asked_too);
	later_cancel(&asked_too); /* of the next one */
	later_cancel(&asked_too);
}

static void test_later_cancel(void)
{
	struct later canceller, before;
	char a = 'a', b = 'b', c = 'c';

	trace[0] = '\0';
	later_init(&before, note_name, &c);
	later_init(&canceller, cancel_both, NULL);
	later_init(&asked, note_name, &a);
	later_init(&asked_too, note_name, &b);
	loop_later(&before);
	later_cancel(&before);
	loop_later(&asked_too); /* runs ahead of the canceller, and is asked for again by it */
	loop_later(&canceller);
	loop_later(&asked);
	run_for_ms(3);
	CHECK_STR(trace, "bx");
}

static void free_self(void *owner)
{
	note('f');
	free(owner);
}

static void test_later_may_free_itself(void)
{
	struct later *later = malloc(sizeof(*later));

	trace[0] = '\0';
	CHECK(later);
	later_init(later, free_self, later);
	loop_later(later);
	run_for_ms(2);
	CHECK_STR(trace, "f");
}

/* ---- the rest ---- */

static uint64_t wall_us[4];
static struct later wall_later;

static void read_wall_later(void *owner)
{
	(void)owner;
	wall_us[2] = loop_wall_us();
	make_readable(1);
}

static void read_wall_first(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	wall_us[0] = loop_wall_us();
	usleep(3000);
	wall_us[1] = loop_wall_us();
	later_init(&wall_later, read_wall_later, NULL);
	loop_later(&wall_later);
}

static void read_wall_only(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	wall_us[0] = loop_wall_us();
	usleep(3000);
	wall_us[1] = loop_wall_us();
	make_readable(1);
}

static void read_wall_second(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	wall_us[3] = loop_wall_us();
	loop_stop();
}

static void test_wall_clock(void)
{
	uint64_t before = loop_wall_us(), after;

	usleep(1000);
	CHECK(loop_wall_us() > before); /* outside of the loop nothing stands still */
	before = loop_wall_us();
	open_pipes(read_wall_first, read_wall_second);
	make_readable(0);
	CHECK_EQ(loop_run(), 0);
	after = loop_wall_us();
	CHECK(wall_us[0] >= before && wall_us[0] <= after);
	CHECK_EQ(wall_us[1], wall_us[0]);
	CHECK_EQ(wall_us[2], wall_us[0]);
	CHECK(wall_us[3] >= wall_us[0] + 3000 && wall_us[3] <= after);
	close_pipes();

	/* The same without a later. */
	open_pipes(read_wall_only, read_wall_second);
	make_readable(0);
	CHECK_EQ(loop_run(), 0);
	CHECK_EQ(wall_us[1], wall_us[0]);
	CHECK(wall_us[3] >= wall_us[0] + 3000);
	close_pipes();
}

static void test_stop_before_run(void)
{
	loop_stop();
	CHECK_EQ(loop_run(), 0);
	run_for_ms(1); /* and it is not remembered */
}

static void test_scratch(void)
{
	uint8_t *in = loop_read_scratch(), *out = loop_write_scratch();

	CHECK_EQ((uintptr_t)in % 64, 0);
	CHECK_EQ((uintptr_t)out % 64, 0);
	memset(in, 1, LOOP_SCRATCH_BYTES);
	memset(out, 2, LOOP_SCRATCH_BYTES);
	CHECK_EQ(in[0] + in[LOOP_SCRATCH_BYTES - 1], 2);
	CHECK(loop_read_scratch() == in);
}

/* Owners may be freed before or after the loop, and a second loop knows nothing of the first. */
static void test_init_again(void)
{
	struct thing *a = thing_new('a'), *b = thing_new('b');
	char c = 'c';

	trace[0] = '\0';
	timer_set(&a->timer, 1);
	timer_set(&b->timer, 1);
	later_init(&asked, note_name, &c);
	loop_later(&asked);
	loop_done();
	loop_done();
	CHECK(loop_base() == NULL);
	CHECK_EQ(timerfd_is_armed(), -1);
	CHECK(!timer_is_set(&a->timer));
	CHECK(!list_linked(&asked.link));
	thing_free(a);
	CHECK_EQ(loop_init(), 0);
	run_for_ms(4);
	CHECK_STR(trace, "");
	timer_set(&b->timer, 1);
	run_for_ms(4);
	CHECK_STR(trace, "b");
	loop_done();
	thing_free(b);
	CHECK_EQ(loop_init(), 0);
}

static uint64_t told_ms;
static unsigned told;

static void on_resumed(void *owner, uint64_t ms)
{
	CHECK_EQ(owner == &told_ms, 1);
	told_ms = ms;
	told++;
	note('r');
}

static void clock_was_set(void)
{
	CHECK_EQ(write(clock_pipe[1], "12345678", 8), 8);
	run_for_ms(2);
}

static void test_resume(void)
{
	struct thing *a = thing_new('a');

	trace[0] = '\0';
	loop_on_resume(on_resumed, &told_ms);
	clock_was_set(); /* somebody has set the wall clock: that is no sleep */
	CHECK_EQ(told, 0);
	slept_s = 3600;
	clock_was_set();
	CHECK_EQ(told, 1);
	CHECK(told_ms >= 3599000 && told_ms <= 3601000);
	clock_was_set();
	CHECK_EQ(told, 1);
	timer_set(&a->timer, 1); /* the kernel's clock has not slept: it is due long before */
	slept_s += 60;
	trace[0] = '\0';
	run_for_ms(5);
	CHECK_EQ(told, 2);
	CHECK(trace[0] == 'r'); /* ahead of what is due */
	loop_on_resume(NULL, NULL);
	slept_s += 60;
	clock_was_set();
	CHECK_EQ(told, 2);
	thing_free(a);
	close(clock_pipe[1]);
}

/* epoll takes no regular file (EPERM), of which libevent has a warning. */
static void complain(int fd, int times)
{
	struct event *event = event_new(loop_base(), fd, EV_READ, on_second, NULL);

	CHECK(event);
	for (int i = 0; i < times; i++)
		CHECK_EQ(event_add(event, NULL), -1);
	event_free(event);
}

/* Its warnings are lines of the log, one a minute. */
static void test_complaints(void)
{
	int ends[2], real_stderr = dup(STDERR_FILENO),
		     file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char text[4096] = "";
	ssize_t n;

	CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 && real_stderr >= 0 && file >= 0);
	dup2(ends[1], STDERR_FILENO);
	complain(file, 5);
	slept_s += 61;
	complain(file, 2);
	dup2(real_stderr, STDERR_FILENO);
	n = read(ends[0], text, sizeof(text) - 1);
	CHECK(n > 0);
	CHECK(strncmp(text, "wspiped: warning: libevent: Epoll ADD", 37) == 0);
	CHECK(strstr(text, "Operation not permitted\nwspiped: warning: libevent: Epoll ADD"));
	CHECK(strstr(text, "(and 4 more like it since the last such line)\n"));
	CHECK(strstr(text, "last such line)\n")[16] == '\0');
	close(file);
	close(real_stderr);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	struct timer none = {0};

	alarm(30);
	CHECK_EQ(loop_init(), 0);
	CHECK(event_base_get_features(loop_base()) & EV_FEATURE_ET);
	timer_done(&none);
	test_timers_in_order();
	test_timers_touch_timers();
	test_timer_at_once();
	test_quiet_when_unset();
	test_crowd();
	test_later_same_turn();
	test_later_asks_again();
	test_later_cancel();
	test_later_may_free_itself();
	test_wall_clock();
	test_stop_before_run();
	test_scratch();
	test_init_again();
	test_resume();
	test_complaints();
	loop_done();
	return 0;
}
