/* cursors - see cursors.h. */
#include "conn/cursors.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strv.h"

enum { FILE_BYTES = 4096, MARKS_BITS = 16, MARKS_MAX = (1 << MARKS_BITS) - 1 };

#define MAGIC UINT64_C(0x3172756365706977) /* "wipecur", and 1 for the version */

/* What is in the file, all in the machine's byte order. */
struct page {
	uint64_t magic;
	uint64_t at; /* seq, and marks in the lowest bits: written at once */
	uint64_t missed;
};

struct cursors {
	struct spool *spool;
	struct store *store;
	struct list marks;
	unsigned n;
};

static const char *const prefixes[] = {[MARK_NAMED] = "cursor.", [MARK_READER] = "reader."};

bool cursors_name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len > 0 && len <= CURSOR_NAME_MAX && strspn(name, allowed) == len &&
	       !strchr("._-", *name);
}

/* --- the file ------------------------------------------------------------------------------- */

static void file_name(const struct mark *mark, char name[NAME_MAX + 1])
{
	snprintf(name, NAME_MAX + 1, "%s%s", prefixes[mark->kind], mark->name);
}

static void save(struct mark *mark)
{
	struct page *page = (struct page *)mark->file.at;

	if (!page)
		return;
	page->missed = mark->missed;
	__atomic_store_n(&page->at, mark->seq << MARKS_BITS | mark->marks, __ATOMIC_RELEASE);
	mapped_touch(&mark->file);
}

static void make_file(struct mark *mark)
{
	char name[NAME_MAX + 1];

	if (!mark->cursors->store)
		return;
	file_name(mark, name);
	if (store_make(mark->cursors->store, name, FILE_BYTES, &mark->file) < 0)
		return; /* it is in memory then, and the store has told it */
	((struct page *)mark->file.at)->magic = MAGIC;
	save(mark);
}

static void remove_file(struct mark *mark)
{
	char name[NAME_MAX + 1];

	if (!mark->file.at)
		return;
	file_name(mark, name);
	store_remove(mark->file.store, name);
	mapped_done(&mark->file);
}

/* --- while nobody reads --------------------------------------------------------------------- */

static void idle_jumped(void *owner, uint64_t messages)
{
	struct mark *mark = owner;

	mark->missed += messages;
	mark->seq = mark->cursor.at.seq;
	mark->marks = 0;
	save(mark);
}

static void stand(struct mark *mark)
{
	if (mark->kind != MARK_NAMED)
		return;
	cursor_open(&mark->cursor, mark->cursors->spool, CURSOR_OLDEST, mark->name, NULL, mark);
	mark->cursor.jumped = idle_jumped;
	cursor_seek(&mark->cursor, SEEK_SEQ, mark->seq, mark->marks);
}

static void stand_no_more(struct mark *mark)
{
	cursor_close(&mark->cursor);
	mark->cursor = (struct cursor){0};
}

/* --- the list ------------------------------------------------------------------------------- */

int cursors_new(struct cursors **ret, struct spool *spool)
{
	struct cursors *cursors = calloc(1, sizeof(*cursors));

	if (!cursors)
		return -ENOMEM;
	cursors->spool = spool;
	list_init(&cursors->marks);
	*ret = cursors;
	return 0;
}

static void mark_free(struct mark *mark)
{
	if (mark->holder)
		mark->holder->mark = NULL;
	stand_no_more(mark);
	list_remove(&mark->link);
	mark->cursors->n--;
	mapped_done(&mark->file);
	free(mark);
}

struct cursors *cursors_free(struct cursors *cursors)
{
	if (!cursors)
		return NULL;
	while (!list_empty(&cursors->marks))
		mark_free(list_first(&cursors->marks, struct mark, link));
	free(cursors);
	return NULL;
}

struct mark *cursors_next(struct cursors *cursors, const struct mark *mark)
{
	struct list *next = mark ? mark->link.next : cursors->marks.next;

	return next == &cursors->marks ? NULL : list_entry(next, struct mark, link);
}

struct mark *cursors_find(struct cursors *cursors, enum mark_kind kind, const char *name)
{
	struct mark *mark;

	list_for_each(mark, &cursors->marks, link)
		if (mark->kind == kind && strcmp(mark->name, name) == 0)
			return mark;
	return NULL;
}

/* In order of names. */
static void insert(struct cursors *cursors, struct mark *mark)
{
	struct mark *other;

	list_for_each(other, &cursors->marks, link)
		if (strcmp(other->name, mark->name) > 0)
			break;
	list_append(&other->link, &mark->link); /* ahead of it, or at the end of all */
	cursors->n++;
}

static int mark_new(struct mark **ret, struct cursors *cursors, enum mark_kind kind, const char *name)
{
	struct mark *mark;

	if (cursors->n >= CURSORS_MAX)
		return -EUSERS;
	mark = calloc(1, sizeof(*mark));
	if (!mark)
		return -ENOMEM;
	mark->cursors = cursors;
	mark->kind = kind;
	snprintf(mark->name, sizeof(mark->name), "%s", name);
	insert(cursors, mark);
	*ret = mark;
	return 0;
}

int cursors_add(struct cursors *cursors, enum mark_kind kind, const char *name, struct mark **ret)
{
	struct mark *mark;
	int r = mark_new(&mark, cursors, kind, name);

	if (r < 0)
		return r;
	mark_move(mark, kind == MARK_NAMED ? CURSOR_NEWEST : CURSOR_OLDEST);
	make_file(mark);
	*ret = mark;
	return 0;
}

void cursors_remove(struct mark *mark)
{
	remove_file(mark);
	mark_free(mark);
}

/* --- across restarts ------------------------------------------------------------------------ */

enum { READ, NEVER_WRITTEN, NOT_OURS };

/* One of these, or -errno. */
static int read_file(struct mark *mark, struct store *store)
{
	const struct page *page;
	char name[NAME_MAX + 1];
	int r;

	file_name(mark, name);
	r = store_map(store, name, &mark->file);
	if (r < 0)
		return r == -EINVAL ? NEVER_WRITTEN : r;
	page = (const struct page *)mark->file.at;
	if (mark->file.bytes == FILE_BYTES && page->magic == 0)
		return NEVER_WRITTEN;
	if (mark->file.bytes != FILE_BYTES || page->magic != MAGIC || page->at >> MARKS_BITS > SEQ_MAX)
		return NOT_OURS;
	r = mapped_reserve(&mark->file);
	if (r < 0)
		return r;
	mark->seq = page->at >> MARKS_BITS;
	mark->marks = page->at & MARKS_MAX;
	mark->missed = page->missed;
	return READ;
}

static int take_up_one(struct cursors *cursors, struct store *store, enum mark_kind kind, const char *name)
{
	char whole[NAME_MAX + 1];
	struct mark *mark;
	int r;

	if (!cursors_name_valid(name) || cursors_find(cursors, kind, name))
		return 0;
	r = mark_new(&mark, cursors, kind, name);
	if (r < 0)
		return r;
	r = read_file(mark, store);
	if (r == READ)
		return 0;
	file_name(mark, whole);
	mark_free(mark);
	if (r == NOT_OURS)
		store_set_aside(store, whole);
	else if (r == NEVER_WRITTEN)
		store_remove(store, whole);
	return r < 0 ? r : 0;
}

static int take_up(struct cursors *cursors, struct store *store, enum mark_kind kind)
{
	char **names = NULL, **name;
	int r = store_names(store, prefixes[kind], &names), first = 0;

	if (r < 0)
		return r;
	strv_for_each(name, names) {
		r = take_up_one(cursors, store, kind, *name);
		if (r < 0 && !first)
			first = r;
	}
	strv_free(names);
	return first;
}

/* All places are known before any is gone to: messages that some reader has seen have been there. */
static int take_up_all(struct cursors *cursors, struct store *store)
{
	int r = take_up(cursors, store, MARK_NAMED), second = take_up(cursors, store, MARK_READER);
	struct mark *mark;

	list_for_each(mark, &cursors->marks, link)
		spool_skip_to(cursors->spool, mark->seq);
	list_for_each(mark, &cursors->marks, link)
		if (!mark->cursor.spool)
			stand(mark);
	return r < 0 ? r : second;
}

int cursors_set_store(struct cursors *cursors, struct store *store, bool take_up_files)
{
	struct mark *mark;
	int r = 0;

	if (take_up_files)
		r = take_up_all(cursors, store);
	cursors->store = store;
	list_for_each(mark, &cursors->marks, link) {
		if (!store)
			mapped_done(&mark->file); /* it stays as it is */
		else if (!mark->file.at)
			make_file(mark);
	}
	return r;
}

/* --- one ------------------------------------------------------------------------------------ */

bool mark_is_held(struct mark *mark)
{
	struct mark_holder *holder = mark->holder;

	if (holder && holder->still_there && !holder->still_there(holder->owner))
		mark_release(holder);
	return mark->holder != NULL;
}

void mark_hold(struct mark *mark, struct mark_holder *holder)
{
	mark->holder = holder;
	holder->mark = mark;
	stand_no_more(mark);
}

void mark_release(struct mark_holder *holder)
{
	struct mark *mark = holder->mark;

	if (!mark)
		return;
	holder->mark = NULL;
	mark->holder = NULL;
	stand(mark);
}

int cursors_hold_reader(struct cursors *cursors, const char *name, struct mark_holder *holder)
{
	struct mark *mark = cursors_find(cursors, MARK_READER, name);
	int r = mark ? 0 : cursors_add(cursors, MARK_READER, name, &mark);

	if (r == 0)
		mark_hold(mark, holder);
	return r;
}

void mark_commit(struct mark *mark, uint64_t seq, uint32_t marks)
{
	mark->seq = seq;
	mark->marks = marks < MARKS_MAX ? marks : MARKS_MAX;
	save(mark);
}

void mark_told(struct mark *mark)
{
	if (mark->missed == 0)
		return;
	mark->missed = 0;
	save(mark);
}

/* A cursor goes there for a moment, to see where that is. */
static void move(struct mark *mark, enum cursor_from from, bool since, uint64_t wall_us)
{
	struct cursor probe;

	stand_no_more(mark);
	cursor_open(&probe, mark->cursors->spool, from, mark->name, NULL, NULL);
	if (since)
		cursor_seek(&probe, SEEK_SINCE, wall_us, 0);
	mark->missed = 0;
	mark_commit(mark, probe.at.seq, probe.at.marks);
	cursor_close(&probe);
	stand(mark);
}

void mark_move(struct mark *mark, enum cursor_from from)
{
	move(mark, from, false, 0);
}

void mark_move_since(struct mark *mark, uint64_t wall_us)
{
	move(mark, CURSOR_OLDEST, true, wall_us);
}

uint64_t mark_behind(const struct mark *mark)
{
	return spool_next_seq(mark->cursors->spool) - mark->seq;
}
