/* answer - see answer.h.  A member of another kind than expected counts as absent: an older or
 * newer daemon may say more or less than this client knows. */
#include "answer.h"

#include <stddef.h>

char *answer_text(const struct json_span *answer, const char *pointer)
{
	struct json_span span;
	char *text = NULL;

	if (json_find(answer->at, answer->len, pointer, &span) <= 0 ||
	    json_unquote_str(&span, &text) < 0)
		return NULL;
	return text;
}

uint64_t answer_number(const struct json_span *answer, const char *pointer, uint64_t fallback)
{
	struct json_span span;
	uint64_t number;

	if (json_find(answer->at, answer->len, pointer, &span) <= 0 || json_uint(&span, &number) < 0)
		return fallback;
	return number;
}

bool answer_true(const struct json_span *answer, const char *pointer)
{
	struct json_span span;

	return json_find(answer->at, answer->len, pointer, &span) > 0 && json_is_true(&span);
}
