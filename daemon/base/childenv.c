/* childenv - see childenv.h. */
#include "base/childenv.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strv.h"

/* What the service manager has told us is for us: a command that says READY=1 would speak in our
 * name, and one that takes LISTEN_FDS for its own would use descriptors that it does not have.
 * WSPIPE_... describes one connection at one time; here it is from whoever has started us, which
 * may have been a hook of another daemon. */
static const char *const withheld[] = {"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_",
				       "JOURNAL_STREAM=", "WSPIPE_"};
/* Says nothing of a connection: by it wspipe(1) finds its daemon. */
static const char kept[] = "WSPIPE_RUNTIME_DIR=";

static bool begins_with(const char *variable, const char *prefix)
{
	return strncmp(variable, prefix, strlen(prefix)) == 0;
}

static bool is_withheld(const char *variable)
{
	if (begins_with(variable, kept))
		return false;
	for (size_t i = 0; i < sizeof(withheld) / sizeof(*withheld); i++)
		if (begins_with(variable, withheld[i]))
			return true;
	return false;
}

static bool is_replaced(const char *variable, char *const *more)
{
	size_t name = strcspn(variable, "=") + 1;
	char *const *other;

	strv_for_each (other, more)
		if (strncmp(variable, *other, name) == 0)
			return true;
	return false;
}

char **childenv_new(char *const *more)
{
	char **all = calloc(strv_len(environ) + strv_len(more) + 1, sizeof(*all)), **to = all;
	char *const *variable;

	if (!all)
		return NULL;
	strv_for_each (variable, (char *const *)environ)
		if (!is_withheld(*variable) && !is_replaced(*variable, more))
			*to++ = *variable;
	strv_for_each (variable, more)
		*to++ = *variable;
	return all;
}
