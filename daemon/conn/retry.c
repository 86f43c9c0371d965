/* retry - see retry.h.  The table is the policy; the rest is arithmetic. */
#include "conn/retry.h"

#include <stddef.h>

enum {
	DELAY_MIN_MS = 100,
	SLOW_MAX_MS = 15 * 60 * 1000,
	STABLE_MS = 30 * 1000,
	SHORT_LIVED_MS = 10 * 1000,
	SHORT_LIVED_MAX = 3,
	SHORT_LIVED_FLOOR_MS = 60 * 1000,
};

enum way { SOON, SLOW };

static const struct row {
	enum cause_class class;
	int from, to; /* codes, inclusive */
	enum way way;
	uint32_t floor_ms;  /* not before */
	uint32_t spread_ms; /* plus a random part of this, lest all come back at once */
} rows[] = {
	{CAUSE_HTTP, 0, 0, SLOW, 0, 0},          /* not a WebSocket server, or a bad subprotocol */
	{CAUSE_HTTP, 408, 408, SOON, 0, 0},
	{CAUSE_HTTP, 425, 425, SOON, 0, 0},
	{CAUSE_HTTP, 429, 429, SOON, 5000, 2500},
	{CAUSE_HTTP, 503, 503, SOON, 5000, 2500},
	{CAUSE_HTTP, 500, 599, SOON, 0, 0},
	{CAUSE_HTTP, 100, 499, SLOW, 0, 0},      /* 401, 403, 404, 410, redirects, 200, ... */
	{CAUSE_PROXY, 2, 2, SLOW, 0, 0},         /* SOCKS: its rules forbid it */
	{CAUSE_PROXY, 7, 8, SLOW, 0, 0},         /* SOCKS: it cannot do that */
	{CAUSE_PROXY, 408, 408, SOON, 0, 0},
	{CAUSE_PROXY, 425, 425, SOON, 0, 0},
	{CAUSE_PROXY, 429, 429, SOON, 5000, 2500},
	{CAUSE_PROXY, 503, 503, SOON, 5000, 2500},
	{CAUSE_PROXY, 500, 599, SOON, 0, 0},
	{CAUSE_PROXY, 300, 499, SLOW, 0, 0},     /* 407, 403, 404, redirects */
	{CAUSE_PROXY, 101, 101, SLOW, 0, 0},     /* it took CONNECT for something else */
	{CAUSE_PROXY, 1000, 1000, SLOW, 0, 0},   /* not a proxy of this kind */
	{CAUSE_TLS, 0, 1 << 30, SLOW, 0, 0},     /* certificates; not TLS at all */
	{CAUSE_LOGIN, 77, 77, SLOW, 0, 0},       /* EX_NOPERM: the server does not want us */
	{CAUSE_PROTOCOL, 0, 9999, SLOW, 0, 0},   /* we failed it: 1002, 1007, 1008 */
	{CAUSE_TOO_BIG, 0, 9999, SOON, 30000, 3000},
	{CAUSE_CLOSED, 1002, 1003, SLOW, 0, 0},
	{CAUSE_CLOSED, 1007, 1008, SLOW, 0, 0},
	{CAUSE_CLOSED, 1009, 1009, SOON, 30000, 3000},
	{CAUSE_CLOSED, 1010, 1010, SLOW, 0, 0},
	{CAUSE_CLOSED, 1012, 1012, SOON, 5000, 25000}, /* service restart: the registry says 5 to 30 s */
	{CAUSE_CLOSED, 1013, 1013, SOON, 30000, 15000},    /* try again later */
	{CAUSE_CLOSED, 3000, 3000, SLOW, 0, 0},        /* unauthorised */
	{CAUSE_CLOSED, 3003, 3003, SLOW, 0, 0},        /* forbidden */
};

static const struct row usual = {CAUSE_NONE, 0, 0, SOON, 0, 0};

static const struct row *find_row(const struct cause *cause)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].class == cause->class && cause->code >= rows[i].from &&
		    cause->code <= rows[i].to)
			return &rows[i];
	return &usual;
}

/* splitmix64: spread, not secrecy, is what is wanted here. */
static uint64_t draw(struct retry *retry, uint64_t below)
{
	uint64_t z = (retry->random += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return below ? (z ^ (z >> 31)) % below : 0;
}

static uint64_t doubled(uint64_t base_ms, unsigned times, uint64_t max_ms)
{
	while (times-- > 0 && base_ms < max_ms)
		base_ms *= 2;
	return base_ms < max_ms ? base_ms : max_ms;
}

static void note_end(struct retry *retry, const struct cause *cause, uint64_t open_ms)
{
	uint64_t stable_ms = retry->last_delay_ms > STABLE_MS ? retry->last_delay_ms : STABLE_MS;
	bool plain = cause->class == CAUSE_CLOSED && cause->code == 1000;

	if (open_ms >= stable_ms)
		retry->soon = retry->slow = 0;
	retry->short_lived = plain && open_ms < SHORT_LIVED_MS ? retry->short_lived + 1 : 0;
}

static uint64_t slow_delay(struct retry *retry, const struct retry_limits *limits)
{
	uint64_t max_ms = limits->max_ms > SLOW_MAX_MS ? limits->max_ms : SLOW_MAX_MS;
	uint64_t delay = doubled(limits->max_ms, retry->slow++, max_ms);

	return delay + draw(retry, delay / 10 + 1);
}

static uint64_t soon_delay(struct retry *retry, const struct retry_limits *limits)
{
	return draw(retry, doubled(limits->delay_ms, retry->soon++, limits->max_ms) + 1);
}

uint64_t retry_delay_ms(struct retry *retry, const struct retry_limits *limits,
			const struct cause *cause, uint64_t open_ms)
{
	const struct row *row = find_row(cause);
	uint64_t delay, floor_ms = DELAY_MIN_MS;

	note_end(retry, cause, open_ms);
	delay = row->way == SLOW ? slow_delay(retry, limits) : soon_delay(retry, limits);
	if (row->floor_ms && !cause->retry_after_ms)
		floor_ms = row->floor_ms + draw(retry, row->spread_ms);
	if (cause->retry_after_ms) /* what it asked for, and up to a tenth more, lest all come at once */
		floor_ms = cause->retry_after_ms + draw(retry, cause->retry_after_ms / 10 + 1);
	if (retry->short_lived >= SHORT_LIVED_MAX && floor_ms < SHORT_LIVED_FLOOR_MS)
		floor_ms = SHORT_LIVED_FLOOR_MS + draw(retry, SHORT_LIVED_FLOOR_MS / 10);
	retry->last_delay_ms = delay > floor_ms ? delay : floor_ms;
	return retry->last_delay_ms;
}

/* A server that has answered (401, a bad certificate, a Close) was reached. */
static bool network_explains(const struct cause *cause)
{
	switch (cause->class) {
	case CAUSE_DNS:
	case CAUSE_CONNECT:
	case CAUSE_TIMEOUT:
		return true;
	case CAUSE_PROXY:
		return cause->code == 0;
	case CAUSE_CLOSED:
		return cause->code == 1006;
	default:
		return false;
	}
}

uint64_t retry_hurry_ms(struct retry *retry, const struct cause *cause, uint64_t now_ms,
			uint64_t left_ms)
{
	uint64_t delay_ms = DELAY_MIN_MS + draw(retry, RETRY_HURRY_MAX_MS - DELAY_MIN_MS);

	if (!network_explains(cause))
		return left_ms;
	if (retry->hurried_ms && retry->hurried_ms + RETRY_HURRY_GAP_MS > now_ms)
		delay_ms += retry->hurried_ms + RETRY_HURRY_GAP_MS - now_ms;
	if (delay_ms >= left_ms)
		return left_ms;
	retry->hurried_ms = now_ms + delay_ms;
	return delay_ms;
}
