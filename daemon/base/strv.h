/* strv - a list of strings as a NULL-terminated array; NULL itself is the empty list. */
#ifndef BASE_STRV_H
#define BASE_STRV_H

#include <stdbool.h>
#include <stddef.h>

size_t strv_len(char *const *strv);
int strv_append(char ***strv, const char *text); /* copies; -ENOMEM leaves the list as it was */
bool strv_equal(char *const *a, char *const *b);
bool strv_contains(char *const *strv, const char *text);
int strv_copy(char ***ret, char *const *strv);
char **strv_free(char **strv); /* NULL in, NULL out; overwrites: options have passwords in them */

/* ITEM walks the list; a NULL list has no items. */
#define strv_for_each(item, strv) for ((item) = (strv); (item) && *(item); (item)++)

#endif
