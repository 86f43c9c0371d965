/* links - see links.h.
 *
 * What was changed is not looked at closer: an address that is added to any link may be the one
 * that was missing.  A timer runs only for a moment after a change, so that a link that comes up
 * with its addresses and routes is one change. */
#include "net/links.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/loop.h"

enum {
	LINKS_BYTES = 32 * 1024, /* of one datagram; the kernel's are shorter */
	LINKS_PER_TURN = 64,
	LINKS_SETTLE_MS = 100,
};

struct links {
	int fd;
	struct event *event;
	struct timer settle;
	void (*changed)(void *owner);
	void *owner;
};

static bool is_news(const struct nlmsghdr *head)
{
	const struct ifinfomsg *link = NLMSG_DATA(head);

	switch (head->nlmsg_type) {
	case RTM_NEWADDR:
	case RTM_NEWROUTE:
		return true;
	case RTM_NEWLINK:
		return head->nlmsg_len >= NLMSG_LENGTH(sizeof(*link)) &&
		       (link->ifi_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
	default:
		return false;
	}
}

static bool has_news(void *bytes, size_t len)
{
	for (struct nlmsghdr *head = bytes; NLMSG_OK(head, len); head = NLMSG_NEXT(head, len))
		if (is_news(head))
			return true;
	return false;
}

/* Only the kernel may send to these groups; others may send to our address, and are not believed.
 */
static void links_on_readable(evutil_socket_t fd, short what, void *owner)
{
	struct links *links = owner;
	struct sockaddr_nl from = {0};
	bool news = false;

	(void)what;
	for (int i = 0; i < LINKS_PER_TURN; i++) {
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(fd, loop_read_scratch(), LINKS_BYTES, MSG_DONTWAIT,
				     (struct sockaddr *)&from, &from_len);

		if (n < 0 && errno == ENOBUFS) /* more than the socket could hold: something was */
			news = true;
		else if (n <= 0)
			break;
		else if (from.nl_pid == 0 && has_news(loop_read_scratch(), (size_t)n))
			news = true;
	}
	if (news && !timer_is_set(&links->settle))
		timer_set(&links->settle, LINKS_SETTLE_MS);
}

static void links_on_settled(void *owner)
{
	struct links *links = owner;

	links->changed(links->owner);
}

static int open_socket(struct links *links)
{
	struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			     RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};

	links->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (links->fd < 0 || bind(links->fd, (struct sockaddr *)&groups, sizeof(groups)) < 0)
		return -errno;
	links->event =
		event_new(loop_base(), links->fd, EV_READ | EV_PERSIST, links_on_readable, links);
	return links->event && event_add(links->event, NULL) == 0 ? 0 : -ENOMEM;
}

int links_new(struct links **ret, void (*changed)(void *owner), void *owner)
{
	struct links *links = calloc(1, sizeof(*links));
	int r;

	if (!links)
		return -ENOMEM;
	links->fd = -1;
	links->changed = changed;
	links->owner = owner;
	r = timer_init(&links->settle, links_on_settled, links);
	if (r == 0)
		r = open_socket(links);
	if (r < 0) {
		links_free(links);
		return r;
	}
	*ret = links;
	return 0;
}

struct links *links_free(struct links *links)
{
	if (!links)
		return NULL;
	if (links->event)
		event_free(links->event);
	if (links->fd >= 0)
		close(links->fd);
	timer_done(&links->settle);
	free(links);
	return NULL;
}
