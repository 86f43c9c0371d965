/* fail - memory that runs out on command.
 *
 * A program that includes this (one file of it) is linked with --wrap for the functions below, so
 * all that our own objects allocate comes by here; of libraries, libevent (fail_init()) and zlib's
 * machines.  Counts what is held, so that a leak is seen in any build and at the very allocation
 * whose failure causes it. */
#ifndef UNIT_FAIL_H
#define UNIT_FAIL_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <zlib.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/msg.h"
#include "check.h"

static struct {
	bool armed;                 /* between fail_begin() and fail_end() */
	unsigned long first, until; /* these fail, counted from 1; until is behind the last */
	unsigned long calls, failed;
	long held; /* blocks */
} fail;

/* The allocations FIRST to UNTIL - 1, of all between fail_begin() and fail_end() from now on, fail.
 */
static inline void fail_set(unsigned long first, unsigned long until)
{
	fail.first = first;
	fail.until = until;
	fail.calls = fail.failed = 0;
}

static inline void fail_begin(void)
{
	fail.armed = true;
}

static inline int fail_end(int r)
{
	fail.armed = false;
	return r;
}

/* What a call returns that may run out of memory. */
#define TRY(call) (fail_begin(), fail_end(call))

static inline bool fail_now(void)
{
	if (!fail.armed)
		return false;
	fail.calls++;
	if (fail.calls < fail.first || fail.calls >= fail.until)
		return false;
	fail.failed++;
	errno = ENOMEM;
	return true;
}

static inline void *fail_hold(void *at)
{
	fail.held += at != NULL;
	return at;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *at, size_t bytes);
void *__real_reallocarray(void *at, size_t n, size_t bytes);
void __real_free(void *at);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t max);
char *__real_realpath(const char *path, char *to);
int __real_deflateInit2_(z_streamp z, int level, int method, int bits, int memory, int strategy,
			 const char *version, int size);
int __real_inflateInit2_(z_streamp z, int bits, const char *version, int size);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *at, size_t bytes);
void *__wrap_reallocarray(void *at, size_t n, size_t bytes);
void __wrap_free(void *at);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);
char *__wrap_realpath(const char *path, char *to);
int __wrap_vasprintf(char **ret, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));
int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___vasprintf_chk(char **ret, int flag, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int __wrap_deflateInit2_(z_streamp z, int level, int method, int bits, int memory, int strategy,
			 const char *version, int size);
int __wrap_inflateInit2_(z_streamp z, int bits, const char *version, int size);

void *__wrap_malloc(size_t bytes)
{
	return fail_now() ? NULL : fail_hold(__real_malloc(bytes));
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return fail_now() ? NULL : fail_hold(__real_calloc(n, bytes));
}

void *__wrap_realloc(void *at, size_t bytes)
{
	if (fail_now())
		return NULL;
	return at ? __real_realloc(at, bytes) : fail_hold(__real_malloc(bytes));
}

void *__wrap_reallocarray(void *at, size_t n, size_t bytes)
{
	if (fail_now())
		return NULL;
	return at ? __real_reallocarray(at, n, bytes) : fail_hold(__real_calloc(n, bytes));
}

void __wrap_free(void *at)
{
	fail.held -= at != NULL;
	__real_free(at);
}

char *__wrap_strdup(const char *text)
{
	return fail_now() ? NULL : fail_hold(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t max)
{
	return fail_now() ? NULL : fail_hold(__real_strndup(text, max));
}

char *__wrap_realpath(const char *path, char *to)
{
	char *real;

	if (!to && fail_now())
		return NULL;
	real = __real_realpath(path, to);
	return to ? real : fail_hold(real);
}

/* Not by the real one, which leaves *ret undefined: what looks at it then shall crash. */
int __wrap_vasprintf(char **ret, const char *format, va_list args)
{
	va_list again;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, again);
	va_end(again);
	*ret = n < 0 || fail_now() ? NULL : fail_hold(__real_malloc((size_t)n + 1));
	if (!*ret) {
		*(void **)ret = &fail;
		return -1;
	}
	return vsnprintf(*ret, (size_t)n + 1, format, args);
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = __wrap_vasprintf(ret, format, args);
	va_end(args);
	return n;
}

/* As _FORTIFY_SOURCE calls them. */
int __wrap___vasprintf_chk(char **ret, int flag, const char *format, va_list args)
{
	(void)flag;
	return __wrap_vasprintf(ret, format, args);
}

int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
{
	va_list args;
	int n;

	(void)flag;
	va_start(args, format);
	n = __wrap_vasprintf(ret, format, args);
	va_end(args);
	return n;
}

int __wrap_deflateInit2_(z_streamp z, int level, int method, int bits, int memory, int strategy,
			 const char *version, int size)
{
	if (fail_now())
		return Z_MEM_ERROR;
	return __real_deflateInit2_(z, level, method, bits, memory, strategy, version, size);
}

int __wrap_inflateInit2_(z_streamp z, int bits, const char *version, int size)
{
	return fail_now() ? Z_MEM_ERROR : __real_inflateInit2_(z, bits, version, size);
}

/* ---- walks --------------------------------------------------------------------------------- */

static char fail_root[] = "/tmp/test-no-memory-XXXXXX"; /* a directory for files */
static int fail_root_fd;

static inline struct msg message(const char *text)
{
	return (struct msg){.kind = MSG_TEXT, .data = (const uint8_t *)text, .len = strlen(text)};
}

static inline void nothing(void *owner)
{
	(void)owner;
}

static inline void turns_of_loop(int n)
{
	while (n-- > 0)
		CHECK(event_base_loop(loop_base(), EVLOOP_NONBLOCK) >= 0);
}

struct attempt {
	const char *name;
	int (*run)(void); /* 0, or -ENOMEM; all that it has made is gone again */
	bool copes;       /* may go well with less memory than it asks for */
};

enum { FAIL_CALLS_MAX = 1000, WARM_FDS = 64 };

static const char *now; /* what is being tried: for the one who reads of a failure */

static inline void tell_where(void)
{
	if (now)
		fprintf(stderr, "(%s, without allocation %lu%s)\n", now, fail.first,
			fail.until > fail.first + 1 ? " and all behind it" : "");
}

/* True: none was left to fail. */
static inline bool attempt_once(const struct attempt *attempt, unsigned long first,
				unsigned long until)
{
	long held = fail.held;
	int r;

	fail_set(first, until);
	r = attempt->run();
	CHECK(!fail.armed);
	CHECK_EQ(fail.held, held);
	if (r != 0 || (fail.failed > 0 && !attempt->copes))
		CHECK_EQ(r, -ENOMEM);
	CHECK(r == 0 || fail.failed > 0);
	return fail.failed == 0;
}

static inline void walk(const struct attempt *attempt, bool all_behind)
{
	bool over = false;

	fail_set(0, 0);
	CHECK_EQ(attempt->run(), 0); /* what is made once and stays, is made here */
	for (unsigned long n = 1; !over; n++) {
		CHECK(n < FAIL_CALLS_MAX);
		over = attempt_once(attempt, n, all_behind ? FAIL_CALLS_MAX : n + 1);
		CHECK(!over || n > 1); /* it has asked for memory at least once */
	}
}

static inline void walk_all(const struct attempt *attempt, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		now = attempt[i].name;
		walk(&attempt[i], false);
		walk(&attempt[i], true);
	}
	now = NULL;
}

static inline void on_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

/* libevent keeps something for each descriptor that it was ever given: let it know all there may
 * be. */
static inline void warm_up(void)
{
	struct event *event[WARM_FDS];
	int fd[WARM_FDS];

	CHECK_EQ(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	for (size_t i = 0; i < WARM_FDS; i++) {
		if (i >= 2)
			fd[i] = dup(fd[0]);
		CHECK(fd[i] >= 0);
		event[i] = event_new(loop_base(), fd[i], EV_READ, on_event, NULL);
		CHECK(event[i] && event_add(event[i], NULL) == 0);
	}
	for (size_t i = 0; i < WARM_FDS; i++) {
		event_free(event[i]);
		close(fd[i]);
	}
}

static inline void fail_open_root(void)
{
	CHECK(mkdtemp(fail_root));
	fail_root_fd = open(fail_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fail_root_fd >= 0);
}

/* Nothing may be left there. */
static inline void fail_close_root(void)
{
	close(fail_root_fd);
	CHECK_EQ(rmdir(fail_root), 0);
}

/* Before anything else. */
static inline void fail_init(void)
{
	event_set_mem_functions(__wrap_malloc, __wrap_realloc, __wrap_free);
	alarm(110);
	atexit(tell_where);
	signal(SIGPIPE, SIG_IGN);
	log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1)); /* each of these has its line */
}

#endif
