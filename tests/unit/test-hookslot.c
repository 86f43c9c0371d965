/* hookslot: no more than HOOKSLOTS at once, the others in order, and no slot is lost. */
#include <event2/event.h>

#include "base/log.h"
#include "base/loop.h"
#include "check.h"
#include "endpoint/hookslot.h"

enum { MANY = 1000 };

static struct one {
	struct hookslot slot;
	struct later come;
	int came; /* as which; 0: it has not */
} all[MANY];
static int came;
static struct hookslots slots;

static void on_come(void *owner)
{
	struct one *one = owner;

	CHECK(one->slot.held && !one->came);
	one->came = ++came;
}

static void turn(void)
{
	CHECK(event_base_loop(loop_base(), EVLOOP_NONBLOCK) >= 0);
}

static int held(void)
{
	int n = 0;

	for (int i = 0; i < MANY; i++)
		n += all[i].slot.held;
	return n;
}

static void leave_one(void)
{
	for (int i = 0; i < MANY; i++) {
		if (!all[i].slot.held)
			continue;
		hookslot_leave(&all[i].slot);
		return;
	}
}

int main(void)
{
	log_open(LOG_LEVEL_ERROR);
	CHECK_EQ(loop_init(), 0);
	hookslots_init(&slots);
	for (int i = 0; i < MANY; i++) {
		later_init(&all[i].come, on_come, &all[i]);
		hookslot_init(&all[i].slot, &slots, &all[i].come);
		CHECK_EQ(hookslot_take(&all[i].slot), i < HOOKSLOTS);
		CHECK_EQ(hookslot_take(&all[i].slot),
			 i < HOOKSLOTS); /* asking twice is asking once */
	}
	turn();
	CHECK_EQ(came, 0);

	/* One goes, the first comes; who comes back at once stands behind all others. */
	hookslot_leave(&all[5].slot);
	hookslot_leave(&all[5].slot);
	CHECK(!hookslot_take(&all[5].slot));
	turn();
	CHECK_EQ(came, 1);
	CHECK_EQ(all[HOOKSLOTS].came, 1);
	CHECK_EQ(held(), HOOKSLOTS);

	/* One that does not wait any more is passed over. */
	hookslot_leave(&all[HOOKSLOTS + 1].slot);
	for (int n = held(); n > 0; n = held()) {
		CHECK(n <= HOOKSLOTS);
		leave_one();
		turn();
	}
	CHECK_EQ(all[HOOKSLOTS + 1].came, 0);
	for (int i = HOOKSLOTS + 2; i < MANY; i++)
		CHECK_EQ(all[i].came, i - HOOKSLOTS);
	CHECK_EQ(all[5].came, MANY - HOOKSLOTS);

	/* All are free again. */
	for (int i = 0; i < HOOKSLOTS; i++)
		CHECK(hookslot_take(&all[i].slot));
	CHECK(!hookslot_take(&all[HOOKSLOTS].slot));
	for (int i = HOOKSLOTS; i >= 0; i--)
		hookslot_leave(&all[i].slot);
	turn();
	CHECK_EQ(held(), 0);
	loop_done();
	return 0;
}
