/* retry: the table, the bounds of each delay, and what starts anew. */
#include "conn/retry.h"

#include "check.h"

enum { SEEDS = 200, SLOW_MAX = 15 * 60 * 1000 };

static const struct retry_limits limits = {1000, 60000};

static struct cause cause_of(enum cause_class class, int code)
{
	return (struct cause){.class = class, .code = code};
}

static uint64_t bound(unsigned n)
{
	uint64_t ms = 1000;

	while (n-- > 0 && ms < 60000)
		ms *= 2;
	return ms < 60000 ? ms : 60000;
}

/* "Soon": full jitter below a bound that doubles, and a floor, itself spread. */
static void check_soon(enum cause_class class, int code, uint64_t floor_ms, uint64_t spread_ms)
{
	struct cause cause = cause_of(class, code);

	for (unsigned n = 0; n < 10; n++) {
		uint64_t low = UINT64_MAX, high = 0, sum = 0;

		for (unsigned seed = 0; seed < SEEDS; seed++) {
			struct retry retry = {.random = seed * 7919};
			uint64_t ms = 0;

			for (unsigned i = 0; i <= n; i++)
				ms = retry_delay_ms(&retry, &limits, &cause, 0);
			low = ms < low ? ms : low;
			high = ms > high ? ms : high;
			sum += ms;
			CHECK_EQ(retry.last_delay_ms, ms);
		}
		CHECK(low >= 100 && low >= floor_ms);
		CHECK(high <= bound(n) || high <= floor_ms + spread_ms);
		CHECK(high - low >= (floor_ms && spread_ms ? spread_ms / 2 : bound(n) / 2));
		if (!floor_ms) {
			CHECK(sum / SEEDS > bound(n) * 4 / 10);
			CHECK(sum / SEEDS < bound(n) * 6 / 10 + 100);
		}
	}
}

/* "Slowly": from reconnect-max, doubling up to a quarter of an hour, and up to a tenth more. */
static void check_slow(enum cause_class class, int code)
{
	struct cause cause = cause_of(class, code);
	uint64_t expected = 60000;

	for (unsigned seed = 0; seed < 20; seed++) {
		struct retry retry = {.random = seed};

		expected = 60000;
		for (unsigned n = 0; n < 10; n++) {
			uint64_t ms = retry_delay_ms(&retry, &limits, &cause, 0);

			CHECK(ms >= expected);
			CHECK(ms <= expected + expected / 10);
			expected = expected * 2 < SLOW_MAX ? expected * 2 : SLOW_MAX;
		}
	}
	CHECK_EQ(expected, SLOW_MAX);
}

static void check_table(void)
{
	static const int slow_http[] = {0, 200, 301, 400, 401, 403, 404, 410, 426};
	static const int soon_http[] = {408, 425, 500, 502, 504, 599};
	static const int slow_close[] = {1002, 1003, 1007, 1008, 1010, 3000, 3003};
	static const int soon_close[] = {1001, 1005, 1006, 1011, 1014, 3001, 4000, 4999};
	static const int slow_proxy[] = {2, 7, 8, 101, 302, 400, 403, 404, 407, 1000};
	static const int soon_proxy[] = {0, 1, 3, 4, 5, 6, 9, 255, 408, 500, 502, 504};
	static const enum cause_class usual[] = {CAUSE_DNS, CAUSE_CONNECT, CAUSE_TIMEOUT,
						 CAUSE_LOCAL, CAUSE_OPERATOR};

	for (size_t i = 0; i < sizeof(slow_http) / sizeof(*slow_http); i++)
		check_slow(CAUSE_HTTP, slow_http[i]);
	for (size_t i = 0; i < sizeof(soon_http) / sizeof(*soon_http); i++)
		check_soon(CAUSE_HTTP, soon_http[i], 0, 0);
	for (size_t i = 0; i < sizeof(slow_close) / sizeof(*slow_close); i++)
		check_slow(CAUSE_CLOSED, slow_close[i]);
	for (size_t i = 0; i < sizeof(soon_close) / sizeof(*soon_close); i++)
		check_soon(CAUSE_CLOSED, soon_close[i], 0, 0);
	for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
		check_soon(usual[i], 0, 0, 0);
	for (size_t i = 0; i < sizeof(slow_proxy) / sizeof(*slow_proxy); i++)
		check_slow(CAUSE_PROXY, slow_proxy[i]);
	for (size_t i = 0; i < sizeof(soon_proxy) / sizeof(*soon_proxy); i++)
		check_soon(CAUSE_PROXY, soon_proxy[i], 0, 0);
	check_soon(CAUSE_PROXY, 503, 5000, 2500);
	check_soon(CAUSE_PROXY, 429, 5000, 2500);
	check_slow(CAUSE_TLS, 0);
	check_slow(CAUSE_TLS, 10);
	check_slow(CAUSE_PROTOCOL, 1002);
	check_slow(CAUSE_PROTOCOL, 1007);
	check_soon(CAUSE_HTTP, 429, 5000, 2500);
	check_soon(CAUSE_HTTP, 503, 5000, 2500);
	check_soon(CAUSE_CLOSED, 1012, 5000, 25000);
	check_soon(CAUSE_CLOSED, 1013, 30000, 15000);
	check_soon(CAUSE_CLOSED, 1009, 30000, 3000);
	check_soon(CAUSE_TOO_BIG, 1009, 30000, 3000);
}

static void check_reset(void)
{
	struct cause lost = cause_of(CAUSE_CLOSED, 1006);
	struct cause denied = cause_of(CAUSE_HTTP, 401);

	for (unsigned seed = 0; seed < SEEDS; seed++) {
		struct retry retry = {.random = seed};
		uint64_t ms = 0;

		for (int i = 0; i < 12; i++)
			retry_delay_ms(&retry, &limits, &lost, 0);
		/* open for a moment is no reset: the bound stays where it is, whatever is drawn */
		retry_delay_ms(&retry, &limits, &lost, 1);
		CHECK_EQ(retry.soon, 13);
		retry.last_delay_ms = 100;
		retry_delay_ms(&retry, &limits, &lost, 29999);
		CHECK_EQ(retry.soon, 14);
		retry.last_delay_ms = 50000; /* the last delay was longer than 30 s */
		retry_delay_ms(&retry, &limits, &lost, 49999);
		CHECK_EQ(retry.soon, 15);
		retry.last_delay_ms = 50000;
		ms = retry_delay_ms(&retry, &limits, &lost, 50000);
		CHECK(ms <= 1000);
		CHECK_EQ(retry.soon, 1);
		retry.last_delay_ms = 100;
		for (int i = 0; i < 12; i++)
			retry_delay_ms(&retry, &limits, &lost, 0);
		retry.last_delay_ms = 100;
		ms = retry_delay_ms(&retry, &limits, &lost, 30000);
		CHECK(ms <= 1000);

		/* the slow way starts anew as well */
		for (int i = 0; i < 5; i++)
			retry_delay_ms(&retry, &limits, &denied, 0);
		retry.last_delay_ms = 100;
		retry_delay_ms(&retry, &limits, &lost, 30000);
		ms = retry_delay_ms(&retry, &limits, &denied, 0);
		CHECK(ms <= 66000);
	}
}

static void check_short_lived(void)
{
	struct cause normal = cause_of(CAUSE_CLOSED, 1000), lost = cause_of(CAUSE_CLOSED, 1006);
	unsigned quick = 0;

	for (unsigned seed = 0; seed < SEEDS; seed++) {
		struct retry retry = {.random = seed};

		quick += retry_delay_ms(&retry, &limits, &normal, 500) < 1001;
		quick += retry_delay_ms(&retry, &limits, &normal, 9999) < 2001;
		CHECK(retry_delay_ms(&retry, &limits, &normal, 500) >= 60000);
		CHECK(retry_delay_ms(&retry, &limits, &normal, 500) >= 60000);
		retry_delay_ms(&retry, &limits, &lost, 500); /* not in a row any more */
		CHECK(retry_delay_ms(&retry, &limits, &normal, 500) <= 60000);
		retry = (struct retry){.random = seed};
		for (int i = 0; i < 10; i++) /* a server that closes after its work is no fault */
			CHECK(retry_delay_ms(&retry, &limits, &normal, 10000) <= 60000);
	}
	CHECK_EQ(quick, 2 * SEEDS);
}

static void check_retry_after(void)
{
	static const uint32_t after[] = {1000, 7000, 120000, 3600000};

	for (size_t i = 0; i < sizeof(after) / sizeof(*after); i++) {
		for (unsigned seed = 0; seed < SEEDS; seed++) {
			struct retry retry = {.random = seed};
			struct cause cause = cause_of(CAUSE_HTTP, 503);
			uint64_t ms;

			cause.retry_after_ms = after[i];
			ms = retry_delay_ms(&retry, &limits, &cause, 0);
			CHECK(ms >= after[i]);
			CHECK(ms <= after[i] + after[i] / 10 || ms <= 1000);
			cause.code = 404; /* what is slow by itself is not made faster */
			CHECK(retry_delay_ms(&retry, &limits, &cause, 0) >= 60000);
		}
	}
}

static void check_odd_limits(void)
{
	struct cause lost = cause_of(CAUSE_CLOSED, 1006), denied = cause_of(CAUSE_HTTP, 401);
	struct retry retry = {0};

	for (int i = 0; i < 1000; i++) {
		struct retry_limits odd = {0, 0};

		CHECK_EQ(retry_delay_ms(&retry, &odd, &lost, 0), 100);
		CHECK(retry_delay_ms(&retry, &odd, &denied, 0) >= 100);
		odd = (struct retry_limits){5000, 200};
		CHECK(retry_delay_ms(&retry, &odd, &lost, 0) <= 200);
		odd = (struct retry_limits){1000, 24 * 3600000u};
		CHECK(retry_delay_ms(&retry, &odd, &denied, 0) >= 24 * 3600000u);
	}
}

/* A network that flaps does not make it hammer. */
static void check_hurry(void)
{
	struct cause unreachable = cause_of(CAUSE_CONNECT, 101);
	struct retry retry = {.random = 7, .soon = 9};
	uint64_t now = 1000000, due = now, end = now + 1000000;
	unsigned attempts = 0;

	for (; now < end; now += 10) { /* a change every 10 ms, and each attempt fails at once */
		if (due <= now) {
			attempts++;
			due = now + 15 * 60000;
		}
		due = now + retry_hurry_ms(&retry, &unreachable, now, due - now);
		CHECK(due > now);
	}
	CHECK(attempts > 100 && attempts <= 1000000 / RETRY_HURRY_GAP_MS + 1);
	CHECK_EQ(retry.soon, 9);
	now += 60000;
	CHECK(retry_hurry_ms(&retry, &unreachable, now, 100000) <= RETRY_HURRY_MAX_MS);
	CHECK_EQ(retry_hurry_ms(&retry, &unreachable, now + 60000, 1), 1);
}

static void check_hurry_causes(void)
{
	static const struct {
		enum cause_class class;
		int code;
		bool hurries;
	} rows[] = {
		{CAUSE_DNS, -3, true},	     {CAUSE_CONNECT, 111, true},   {CAUSE_TIMEOUT, 0, true},
		{CAUSE_PROXY, 0, true},	     {CAUSE_CLOSED, 1006, true},   {CAUSE_PROXY, 407, false},
		{CAUSE_HTTP, 401, false},    {CAUSE_HTTP, 503, false},     {CAUSE_TLS, 10, false},
		{CAUSE_CLOSED, 1000, false}, {CAUSE_PROTOCOL, 1002, false}, {CAUSE_LOCAL, 24, false},
		{CAUSE_TOO_BIG, 1009, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct retry retry = {.random = i};
		struct cause cause = cause_of(rows[i].class, rows[i].code);

		CHECK_EQ(retry_hurry_ms(&retry, &cause, 5000, 60000) < 60000, rows[i].hurries);
	}
}

int main(void)
{
	check_table();
	check_reset();
	check_short_lived();
	check_retry_after();
	check_odd_limits();
	check_hurry();
	check_hurry_causes();
	return 0;
}
