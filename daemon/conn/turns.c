/* turns - see turns.h.
 *
 * Only hosts are kept to which somebody is connecting: many daemons connect to many hosts at once
 * when they start, so they are found by a hash.  Whose turn it is is told from a later, because
 * whoever leaves is in the middle of something. */
#include "conn/turns.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/loop.h"

enum { BUCKETS = 1024 };

struct turn_host {
	struct list link;
	struct turns *turns;
	struct turn *holder;
	struct list waiting;
	char name[];
};

struct turns {
	struct list bucket[BUCKETS];
	struct list called; /* holders that do not know it yet */
	struct later call;
};

static void turns_on_call(void *owner)
{
	struct turns *turns = owner;
	struct turn *turn;

	while ((turn = list_first(&turns->called, struct turn, link))) {
		list_remove(&turn->link);
		turn->come(turn->owner); /* may leave at once, and so call the next */
	}
}

int turns_new(struct turns **ret)
{
	struct turns *turns = calloc(1, sizeof(*turns));

	if (!turns)
		return -ENOMEM;
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&turns->bucket[i]);
	list_init(&turns->called);
	later_init(&turns->call, turns_on_call, turns);
	*ret = turns;
	return 0;
}

struct turns *turns_free(struct turns *turns)
{
	if (!turns)
		return NULL;
	later_cancel(&turns->call);
	free(turns);
	return NULL;
}

static struct list *bucket_of(struct turns *turns, const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return &turns->bucket[hash % BUCKETS];
}

static struct turn_host *find_host(struct list *bucket, const char *name)
{
	struct turn_host *host;

	list_for_each (host, bucket, link)
		if (strcmp(host->name, name) == 0)
			return host;
	return NULL;
}

static struct turn_host *add_host(struct turns *turns, struct list *bucket, const char *name)
{
	struct turn_host *host = malloc(sizeof(*host) + strlen(name) + 1);

	if (!host)
		return NULL;
	host->link = (struct list){0};
	host->turns = turns;
	host->holder = NULL;
	list_init(&host->waiting);
	strcpy(host->name, name);
	list_append(bucket, &host->link);
	return host;
}

/* Names are compared without regard to case; that of the url has been lowered. */
static char *name_of(const struct url *url, const char *connect_to)
{
	char *name;
	int n;

	if (url->is_unix)
		return strdup(url->socket_path);
	if (connect_to)
		n = asprintf(&name, "%s", connect_to);
	else
		n = asprintf(&name, strchr(url->host, ':') ? "[%s%s%s]:%u" : "%s%s%s:%u", url->host,
			     url->zone ? "%" : "", url->zone ? url->zone : "", (unsigned)url->port);
	if (n < 0)
		return NULL;
	for (char *c = name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return name;
}

int turn_take(struct turn *turn, struct turns *turns, const struct url *url, const char *connect_to)
{
	cleanup_free char *name = NULL;
	struct list *bucket;
	struct turn_host *host;

	turn_leave(turn);
	if (!turns)
		return TURN_NOW;
	name = name_of(url, connect_to);
	if (!name)
		return -ENOMEM;
	bucket = bucket_of(turns, name);
	host = find_host(bucket, name);
	if (!host)
		host = add_host(turns, bucket, name);
	if (!host)
		return -ENOMEM;
	turn->host = host;
	if (!host->holder) {
		host->holder = turn;
		return TURN_NOW;
	}
	list_append(&host->waiting, &turn->link);
	return TURN_WAITS;
}

static void call_next(struct turn_host *host)
{
	struct turns *turns = host->turns;

	host->holder = list_first(&host->waiting, struct turn, link);
	if (!host->holder) {
		list_remove(&host->link);
		free(host);
		return;
	}
	list_remove(&host->holder->link);
	list_append(&turns->called, &host->holder->link);
	loop_later(&turns->call);
}

void turn_leave(struct turn *turn)
{
	struct turn_host *host = turn->host;

	if (!host)
		return;
	turn->host = NULL;
	list_remove(&turn->link);
	if (host->holder == turn)
		call_next(host);
}

bool turn_waits(const struct turn *turn)
{
	return turn->host && (turn->host->holder != turn || list_linked(&turn->link));
}

const char *turn_host_name(const struct turn *turn)
{
	return turn->host ? turn->host->name : "";
}
