/* deadline - a moment that a command must not outlive; --timeout makes one, and so does -q. */
#ifndef CLIENT_DEADLINE_H
#define CLIENT_DEADLINE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct deadline {
	int64_t at_ms; /* CLOCK_MONOTONIC; -1: never */
};

static inline int64_t deadline_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A negative MS: never. */
static inline struct deadline deadline_in(int64_t ms)
{
	return (struct deadline){.at_ms = ms < 0 ? -1 : deadline_now_ms() + ms};
}

/* As poll(2) wants it: -1 for ever, 0 when it has passed. */
static inline int deadline_left_ms(const struct deadline *deadline)
{
	int64_t left;

	if (deadline->at_ms < 0)
		return -1;
	left = deadline->at_ms - deadline_now_ms();
	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static inline bool deadline_passed(const struct deadline *deadline)
{
	return deadline_left_ms(deadline) == 0;
}

/* The time until the earlier one. */
static inline int deadline_first_ms(const struct deadline *a, const struct deadline *b)
{
	int left = deadline_left_ms(a), other = deadline_left_ms(b);

	return left < 0 || (other >= 0 && other < left) ? other : left;
}

#endif
