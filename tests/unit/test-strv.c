/* Lists of strings: NULL is a list like any other. */
#include <unistd.h>

#include "base/strv.h"
#include "check.h"

static void test_empty(void)
{
	char *none[] = {NULL}, **copy = none;
	char **item;

	CHECK_EQ(strv_len(NULL), 0);
	CHECK_EQ(strv_len(none), 0);
	CHECK(strv_equal(NULL, none));
	CHECK(strv_equal(none, NULL));
	CHECK(!strv_contains(NULL, "a"));
	CHECK(strv_free(NULL) == NULL);
	CHECK_EQ(strv_copy(&copy, NULL), 0);
	CHECK_EQ(strv_len(copy), 0);
	strv_free(copy);
	item = NULL;
	strv_for_each (item, (char **)NULL)
		CHECK(!"an empty list has no items");
}

static void test_append_and_copy(void)
{
	char text[8] = "one", **list = NULL, **copy = NULL, **item;
	size_t seen = 0;

	CHECK_EQ(strv_append(&list, text), 0);
	text[0] = 'X'; /* it has its own */
	CHECK_EQ(strv_append(&list, "two"), 0);
	CHECK_EQ(strv_append(&list, ""), 0);
	CHECK_EQ(strv_len(list), 3);
	CHECK_STR(list[0], "one");
	CHECK_STR(list[1], "two");
	CHECK(list[3] == NULL);
	strv_for_each (item, list)
		seen++;
	CHECK_EQ(seen, 3);
	CHECK(strv_contains(list, "two"));
	CHECK(strv_contains(list, ""));
	CHECK(!strv_contains(list, "tw"));

	CHECK_EQ(strv_copy(&copy, list), 0);
	CHECK(strv_equal(list, copy));
	CHECK(copy[0] != list[0]);
	list[1][0] = 'T';
	CHECK(!strv_equal(list, copy));
	CHECK_STR(copy[1], "two");
	list = strv_free(list);
	CHECK(list == NULL);
	CHECK(!strv_equal(list, copy));
	strv_free(copy);
}

int main(void)
{
	test_empty();
	test_append_and_copy();
	return 0;
}
