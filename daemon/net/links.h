/* links - hears from the kernel when a link comes up, or an address or a route is added
 * (rtnetlink(7)): then what could not be reached may be worth another try. */
#ifndef NET_LINKS_H
#define NET_LINKS_H

struct links;

/* Many changes within a moment are told as one, from a clean stack.  -errno: there is no netlink
 * here (a sandbox), and one has to do without. */
int links_new(struct links **ret, void (*changed)(void *owner), void *owner);
struct links *links_free(struct links *links);

#endif
