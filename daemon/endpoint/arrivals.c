/* arrivals - see arrivals.h. */
#include "endpoint/arrivals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/loop.h"

struct arrivals {
	int fd;
	struct event *event;
	struct list watched;
};

static void call(struct arrivals *arrivals, const struct inotify_event *event)
{
	struct arrival *arrival, *following;

	list_for_each_safe(arrival, following, &arrivals->watched, link)
		if ((event->mask & IN_Q_OVERFLOW) || arrival->watch == event->wd)
			arrival->opened(arrival->owner);
}

static void arrivals_on_inotify(evutil_socket_t fd, short what, void *owner)
{
	union {
		struct inotify_event event;
		char bytes[4096];
	} buffer;
	ssize_t n;

	(void)what;
	while ((n = read(fd, &buffer, sizeof(buffer))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *event = (void *)(buffer.bytes + at);

			call(owner, event);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
}

int arrivals_new(struct arrivals **ret)
{
	struct arrivals *arrivals = calloc(1, sizeof(*arrivals));
	int r;

	if (!arrivals)
		return -ENOMEM;
	list_init(&arrivals->watched);
	arrivals->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (arrivals->fd < 0) {
		r = -errno;
		free(arrivals);
		return r;
	}
	arrivals->event = event_new(loop_base(), arrivals->fd, EV_READ | EV_PERSIST,
				    arrivals_on_inotify, arrivals);
	if (!arrivals->event || event_add(arrivals->event, NULL) < 0) {
		arrivals_free(arrivals);
		return -ENOMEM;
	}
	*ret = arrivals;
	return 0;
}

struct arrivals *arrivals_free(struct arrivals *arrivals)
{
	if (!arrivals)
		return NULL;
	while (!list_empty(&arrivals->watched))
		arrivals_forget(list_first(&arrivals->watched, struct arrival, link));
	if (arrivals->event)
		event_free(arrivals->event);
	close(arrivals->fd);
	free(arrivals);
	return NULL;
}

/* By the descriptor and not by name, so that it is this file and no other. */
int arrivals_watch(struct arrivals *arrivals, struct arrival *arrival, int fd,
		   void (*opened)(void *owner), void *owner)
{
	char path[32];
	int watch;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	watch = inotify_add_watch(arrivals->fd, path, IN_OPEN);
	if (watch < 0)
		return -errno;
	*arrival = (struct arrival){
		.arrivals = arrivals,
		.watch = watch,
		.opened = opened,
		.owner = owner,
	};
	list_append(&arrivals->watched, &arrival->link);
	return 0;
}

void arrivals_forget(struct arrival *arrival)
{
	if (!arrival->arrivals)
		return;
	inotify_rm_watch(arrival->arrivals->fd, arrival->watch);
	list_remove(&arrival->link);
	arrival->arrivals = NULL;
}
