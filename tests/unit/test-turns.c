/* turns: one at a time for each host, in order; whoever leaves in whatever state, the others go on.
 */
#include "conn/turns.h"

#include "check.h"
#include "loop.h"

enum { TURNS = 4 };

static struct turns *turns;
static struct turn turn[TURNS];
static unsigned came[TURNS], order[64], n_came;
static bool leaves_at_once;

static void on_come(void *owner)
{
	struct turn *mine = owner;
	unsigned i = (unsigned)(mine - turn);

	came[i]++;
	order[n_came++ % 64] = i;
	CHECK(!turn_waits(mine));
	if (leaves_at_once)
		turn_leave(mine);
}

static struct url parsed(const char *text)
{
	struct url url;
	const char *problem;

	CHECK_EQ(url_parse(&url, text, &problem), 0);
	return url;
}

static int take(unsigned i, const char *text, const char *connect_to)
{
	struct url url = parsed(text);
	int r = turn_take(&turn[i], turns, &url, connect_to);

	url_done(&url); /* it is not looked at later */
	return r;
}

static void reset(void)
{
	for (unsigned i = 0; i < TURNS; i++) {
		turn_leave(&turn[i]);
		turn_init(&turn[i], on_come, &turn[i]);
		came[i] = 0;
	}
	n_came = 0;
	leaves_at_once = false;
	fake_loop_settle();
	n_came = 0;
}

static void test_in_order(void)
{
	CHECK_EQ(take(0, "ws://a/x", NULL), TURN_NOW);
	CHECK(!turn_waits(&turn[0]));
	for (unsigned i = 1; i < TURNS; i++) {
		CHECK_EQ(take(i, "ws://A:80/y", NULL), TURN_WAITS);
		CHECK(turn_waits(&turn[i]));
		CHECK_STR(turn_host_name(&turn[i]), "a:80");
	}
	fake_loop_settle();
	CHECK_EQ(n_came, 0);
	for (unsigned i = 0; i + 1 < TURNS; i++) {
		turn_leave(&turn[i]);
		CHECK_EQ(n_came, i);             /* not from within */
		CHECK(turn_waits(&turn[i + 1])); /* it does not know yet */
		fake_loop_settle();
		CHECK_EQ(n_came, i + 1);
		CHECK_EQ(order[i], i + 1);
	}
	reset();
}

static void test_hosts(void)
{
	static const char *const pairs[][4] = {
		{"ws://a/", NULL, "ws://b/", NULL},
		{"ws://a/", NULL, "ws://a:81/", NULL},
		{"ws://a/", NULL, "wss://a/", NULL},
		{"ws://a/", "b:80", "ws://a/", NULL},
		{"ws+unix:/a:/x", NULL, "ws+unix:/b:/x", NULL},
		{"ws://[::1]/", NULL, "ws://[::2]/", NULL},
	};
	static const char *const same[][4] = {
		{"ws://a/", NULL, "ws://u:p@a/z?q", NULL},
		{"ws://a/", "b:80", "ws://b/", NULL},
		{"ws://a:443/", NULL, "wss://a/", NULL},
		{"ws+unix:/a:/x", NULL, "ws+unix:/a:/y", NULL},
		{"ws://[::1]/", NULL, "ws://c/", "[::1]:80"},
		{"ws://a/", "B:80", "ws://b/", NULL},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		CHECK_EQ(take(0, pairs[i][0], pairs[i][1]), TURN_NOW);
		CHECK_EQ(take(1, pairs[i][2], pairs[i][3]), TURN_NOW);
		reset();
	}
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		CHECK_EQ(take(0, same[i][0], same[i][1]), TURN_NOW);
		CHECK_EQ(take(1, same[i][2], same[i][3]), TURN_WAITS);
		reset();
	}
}

/* While it waits, when it was called and does not know, and when it has its turn. */
static void test_leaving(void)
{
	for (unsigned i = 0; i < TURNS; i++)
		take(i, "ws://a/", NULL);
	turn_leave(&turn[1]); /* waiting */
	turn_leave(&turn[0]);
	turn_leave(&turn[2]); /* called */
	fake_loop_settle();
	CHECK_EQ(n_came, 1);
	CHECK_EQ(order[0], 3);
	turn_leave(&turn[3]);
	turn_leave(&turn[3]);
	CHECK_STR(turn_host_name(&turn[3]), "");
	CHECK_EQ(take(0, "ws://a/", NULL), TURN_NOW);
	CHECK_EQ(take(0, "ws://b/", NULL), TURN_NOW); /* what it had is left */
	CHECK_EQ(take(1, "ws://a/", NULL), TURN_NOW);
	reset();
	for (unsigned i = 0; i < TURNS; i++)
		take(i, "ws://a/", NULL);
	leaves_at_once = true;
	turn_leave(&turn[0]);
	fake_loop_settle();
	CHECK_EQ(n_came, TURNS - 1);
	reset();
}

static void test_none(void)
{
	struct url url = parsed("ws://a/");

	CHECK_EQ(turn_take(&turn[0], NULL, &url, NULL), TURN_NOW);
	CHECK_EQ(turn_take(&turn[1], NULL, &url, NULL), TURN_NOW);
	CHECK(!turn_waits(&turn[1]));
	url_done(&url);
	reset();
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	CHECK_EQ(turns_new(&turns), 0);
	reset();
	test_in_order();
	test_hosts();
	test_leaving();
	test_none();
	turns = turns_free(turns);
	return 0;
}
