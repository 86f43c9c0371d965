/* list - an intrusive, circular, doubly linked list; the only container in this program.
 *
 * A head and an item are the same struct.  A head must have been list_init'ed.  An item that is on no
 * list is zeroed or list_init'ed; list_remove() may be called on it, and leaves it so. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *list)
{
	list->next = list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
	return !list->next || list->next == list;
}

/* As a question to an item: is it on a list? */
static inline bool list_linked(const struct list *item)
{
	return !list_empty(item);
}

static inline void list_insert_before_(struct list *place, struct list *item)
{
	item->next = place;
	item->prev = place->prev;
	place->prev->next = item;
	place->prev = item;
}

static inline void list_append(struct list *head, struct list *item)
{
	list_insert_before_(head, item);
}

static inline void list_prepend(struct list *head, struct list *item)
{
	list_insert_before_(head->next, item);
}

static inline void list_remove(struct list *item)
{
	if (item->next) {
		item->next->prev = item->prev;
		item->prev->next = item->next;
	}
	list_init(item);
}

/* Everything that is on FROM goes to the end of HEAD, in order; FROM is left empty. */
static inline void list_move_all(struct list *head, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	list_init(from);
}

#define list_entry(item, type, member) ((type *)((char *)(item) - offsetof(type, member)))

/* NULL when the list is empty. */
#define list_first(head, type, member)                                                             \
	(list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_last(head, type, member)                                                              \
	(list_empty(head) ? NULL : list_entry((head)->prev, type, member))

#define list_for_each(entry, head, member)                                                         \
	for ((entry) = list_entry((head)->next, __typeof__(*(entry)), member);                     \
	     &(entry)->member != (head);                                                           \
	     (entry) = list_entry((entry)->member.next, __typeof__(*(entry)), member))

/* ENTRY itself may be removed or freed in the body; its neighbour may not. */
#define list_for_each_safe(entry, following, head, member)                                         \
	for ((entry) = list_entry((head)->next, __typeof__(*(entry)), member),                     \
	    (following) = list_entry((entry)->member.next, __typeof__(*(entry)), member);          \
	     &(entry)->member != (head); (entry) = (following),                                    \
	    (following) = list_entry((entry)->member.next, __typeof__(*(entry)), member))

#endif
