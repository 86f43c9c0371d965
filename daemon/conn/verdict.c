/* verdict - see verdict.h. */
#include "conn/verdict.h"

#include <stdbool.h>

static bool is_clean(const struct cause *cause)
{
	return cause->class == CAUSE_OPERATOR ||
	       (cause->class == CAUSE_CLOSED && (cause->code == 1000 || cause->code == 1001));
}

static bool wants_retry(int reconnect, const struct cause *cause)
{
	switch (reconnect) {
	case CONN_RECONNECT_NEVER:
		return false;
	case CONN_RECONNECT_ON_FAILURE:
		return !is_clean(cause);
	default:
		return true;
	}
}

enum verdict verdict_of(enum wanted wanted, int reconnect, const struct cause *cause)
{
	if (wanted == WANT_RECONNECT)
		return VERDICT_AGAIN;
	if (wanted == WANT_CLOSED)
		return VERDICT_CLOSED;
	if (wants_retry(reconnect, cause))
		return VERDICT_WAIT;
	return is_clean(cause) ? VERDICT_CLOSED : VERDICT_FAILED;
}
