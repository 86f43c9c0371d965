/* The intrusive list, and the clean-up attributes. */
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "check.h"

struct item {
	char name;
	struct list link;
};

static void check_order(struct list *head, const char *order)
{
	struct item *item;
	size_t i = 0;

	list_for_each (item, head, link) {
		CHECK(order[i]);
		CHECK_EQ(item->name, order[i]);
		CHECK(item->link.next->prev == &item->link);
		i++;
	}
	CHECK_EQ(order[i], '\0');
}

static void test_list(void)
{
	struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
	struct list head, other;

	list_init(&head);
	list_init(&other);
	CHECK(list_empty(&head));
	CHECK(list_first(&head, struct item, link) == NULL);
	CHECK(list_last(&head, struct item, link) == NULL);
	CHECK(!list_linked(&a.link)); /* zeroed */
	list_remove(&a.link);
	CHECK(!list_linked(&a.link)); /* initialised */

	list_append(&head, &b.link);
	list_append(&head, &c.link);
	list_prepend(&head, &a.link);
	check_order(&head, "abc");
	CHECK(list_first(&head, struct item, link) == &a);
	CHECK(list_last(&head, struct item, link) == &c);
	CHECK(list_linked(&b.link));
	list_remove(&b.link);
	CHECK(!list_linked(&b.link));
	check_order(&head, "ac");

	list_append(&other, &b.link);
	list_move_all(&other, &head);
	check_order(&other, "bac");
	CHECK(list_empty(&head));
	list_move_all(&other, &head); /* nothing */
	check_order(&other, "bac");
	list_move_all(&head, &other);
	check_order(&head, "bac");
	CHECK(list_empty(&other));
}

static void test_remove_while_walking(void)
{
	struct list head;
	struct item *item, *following;

	list_init(&head);
	for (char name = 'a'; name < 'f'; name++) {
		item = calloc(1, sizeof(*item));
		CHECK(item);
		item->name = name;
		list_append(&head, &item->link);
	}
	list_for_each_safe (item, following, &head, link) {
		if (item->name == 'c')
			continue;
		list_remove(&item->link);
		free(item);
	}
	check_order(&head, "c");
	free(list_first(&head, struct item, link));
}

static char *keep_text(void)
{
	cleanup_free char *text = strdup("kept"), *dropped = strdup("dropped");

	CHECK(text && dropped);
	return take_ptr(text);
}

static int keep_fd(int *ret_dropped)
{
	cleanup_close int fd = open("/dev/null", O_RDONLY), dropped = open("/dev/null", O_RDONLY);
	cleanup_close int none = -1;
	cleanup_fclose FILE *file = fopen("/dev/null", "r");

	CHECK(fd >= 0 && dropped >= 0 && none < 0 && file);
	*ret_dropped = dropped;
	return take_fd(&fd);
}

static void test_cleanup(void)
{
	char *text = keep_text(); /* the other one would be a leak */
	int dropped, fd = keep_fd(&dropped);

	CHECK_STR(text, "kept");
	free(text);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	CHECK(fcntl(dropped, F_GETFD) < 0);
	close(fd);
}

int main(void)
{
	test_list();
	test_remove_while_walking();
	test_cleanup();
	return 0;
}
