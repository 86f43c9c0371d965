/* answer - members of one line that the daemon has said; what is not there has a fallback. */
#ifndef CLIENT_ANSWER_H
#define CLIENT_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/json.h"

/* The string at POINTER, to be freed; NULL: it is not there, null, or no string. */
char *answer_text(const struct json_span *answer, const char *pointer);
uint64_t answer_number(const struct json_span *answer, const char *pointer, uint64_t fallback);
bool answer_true(const struct json_span *answer, const char *pointer);

#endif
