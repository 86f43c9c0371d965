/* Lists of strings for options: short, made once and compared at a reload, so an append reallocates
 * by one and nobody keeps a length that could go wrong. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strv.h"

size_t strv_len(char *const *strv)
{
	size_t n = 0;

	while (strv && strv[n])
		n++;
	return n;
}

int strv_append(char ***strv, const char *text)
{
	size_t n = strv_len(*strv);
	char **longer;
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	longer = reallocarray(*strv, n + 2, sizeof(*longer));
	if (!longer) {
		free(copy);
		return -ENOMEM;
	}
	longer[n] = copy;
	longer[n + 1] = NULL;
	*strv = longer;
	return 0;
}

bool strv_equal(char *const *a, char *const *b)
{
	size_t n = strv_len(a);

	if (n != strv_len(b))
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

bool strv_contains(char *const *strv, const char *text)
{
	char *const *item;

	strv_for_each (item, strv)
		if (strcmp(*item, text) == 0)
			return true;
	return false;
}

int strv_copy(char ***ret, char *const *strv)
{
	char *const *item;
	char **copy = NULL;
	int r;

	strv_for_each (item, strv) {
		r = strv_append(&copy, *item);
		if (r < 0) {
			strv_free(copy);
			return r;
		}
	}
	*ret = copy;
	return 0;
}

char **strv_free(char **strv)
{
	char **item;

	strv_for_each (item, strv)
		wipe_free(*item);
	free(strv);
	return NULL;
}
