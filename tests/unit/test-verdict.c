/* verdict: what was asked for comes before `reconnect`, and that knows a clean end from a failure. */
#include "conn/verdict.h"

#include "check.h"

static const struct cause clean[] = {
	{.class = CAUSE_OPERATOR},
	{.class = CAUSE_CLOSED, .code = 1000},
	{.class = CAUSE_CLOSED, .code = 1001},
};
static const struct cause failure[] = {
	{.class = CAUSE_CLOSED, .code = 1006}, {.class = CAUSE_CLOSED, .code = 4000},
	{.class = CAUSE_DNS},                  {.class = CAUSE_HTTP, .code = 401},
	{.class = CAUSE_TIMEOUT},              {.class = CAUSE_PROTOCOL, .code = 1000},
};

static void check_cause(const struct cause *cause, enum verdict on_failure, enum verdict never)
{
	for (int reconnect = CONN_RECONNECT_ALWAYS; reconnect <= CONN_RECONNECT_NEVER; reconnect++) {
		CHECK_EQ(verdict_of(WANT_RECONNECT, reconnect, cause), VERDICT_AGAIN);
		CHECK_EQ(verdict_of(WANT_CLOSED, reconnect, cause), VERDICT_CLOSED);
	}
	CHECK_EQ(verdict_of(WANT_BY_POLICY, CONN_RECONNECT_ALWAYS, cause), VERDICT_WAIT);
	CHECK_EQ(verdict_of(WANT_BY_POLICY, CONN_RECONNECT_ON_FAILURE, cause), on_failure);
	CHECK_EQ(verdict_of(WANT_BY_POLICY, CONN_RECONNECT_NEVER, cause), never);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(clean) / sizeof(*clean); i++)
		check_cause(&clean[i], VERDICT_CLOSED, VERDICT_CLOSED);
	for (size_t i = 0; i < sizeof(failure) / sizeof(*failure); i++)
		check_cause(&failure[i], VERDICT_WAIT, VERDICT_FAILED);
	return 0;
}
