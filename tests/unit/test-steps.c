/* steps: the age of a stamp is the time that has passed since it was made, whatever the clock was set to. */
#include "base/steps.h"

#include "check.h"

#define S UINT64_C(1000000)
#define NOW (1700000000 * S)

static void check_no_step(void)
{
	struct steps steps = {0};

	steps_note(&steps, NOW, 100 * S);
	steps_note(&steps, NOW + 50 * S + S / 2, 150 * S); /* slewed */
	CHECK_EQ(steps.n, 1);
	CHECK_EQ(steps_age(&steps, NOW, 150 * S), 50 * S);
	CHECK_EQ(steps_age(&steps, NOW - 3600 * S, 100 * S), 3600 * S); /* of an earlier daemon */
	CHECK_EQ(steps_age(&steps, NOW + 3600 * S, 100 * S), 0);
}

static void check_forwards(void)
{
	struct steps steps = {0};
	uint64_t day = 86400 * S;

	steps_note(&steps, NOW, 100 * S);
	steps_note(&steps, NOW + day + 20 * S, 120 * S);
	CHECK_EQ(steps_age(&steps, NOW + 10 * S, 130 * S), 20 * S);       /* before it */
	CHECK_EQ(steps_age(&steps, NOW + day + 25 * S, 130 * S), 5 * S);  /* after it */
	CHECK_EQ(steps_age(&steps, NOW - 1000 * S, 130 * S), 1030 * S);
}

static void check_backwards(void)
{
	struct steps steps = {0};
	uint64_t day = 86400 * S;

	steps_note(&steps, NOW, 100 * S);
	steps_note(&steps, NOW - day + 20 * S, 120 * S);
	CHECK_EQ(steps_age(&steps, NOW + 10 * S, 130 * S), 20 * S);
	CHECK_EQ(steps_age(&steps, NOW - day + 25 * S, 130 * S), 5 * S);
	/* a day later the same times of day come again: the youngest counts */
	CHECK_EQ(steps_age(&steps, NOW + 10 * S, 120 * S + day), 10 * S);
}

static void check_many(void)
{
	struct steps steps = {0};

	for (uint64_t i = 0; i < 100; i++)
		steps_note(&steps, NOW + i * 100 * S, i * S);
	CHECK_EQ(steps.n, STEPS_MAX);
	CHECK_EQ(steps_age(&steps, NOW + 99 * 100 * S, 100 * S), S);
	CHECK_EQ(steps_age(&steps, NOW + 97 * 100 * S, 100 * S), 3 * S);
}

int main(void)
{
	check_no_step();
	check_forwards();
	check_backwards();
	check_many();
	return 0;
}
