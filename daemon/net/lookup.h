/* lookup - getaddrinfo() without waiting for it.
 *
 * "localhost" and names below it are loopback where the system does not know them (RFC 6761 6.3).
 * Names are asked for in a few threads that exist only while there is something to ask.  Freeing a
 * look-up that is still running leaves it to itself: getaddrinfo() cannot be interrupted. */
#ifndef NET_LOOKUP_H
#define NET_LOOKUP_H

#include <stdint.h>

struct addrinfo;
struct lookup;

enum { LOOKUP_THREADS_MAX = 32 }; /* further names wait for one of them */

/* Ask for stream addresses of HOST; FAMILY as in addrinfo.  DONE is called once, from the loop,
 * also if HOST was an address and nothing had to be asked; it may free the look-up. -errno. */
int lookup_start(struct lookup **ret, const char *host, uint16_t port, int family,
		 void (*done)(void *owner), void *owner);
struct lookup *lookup_free(struct lookup *lookup);

/* What came out: 0 and the addresses, which live as long as the look-up; or EAI_... with, for
 * EAI_SYSTEM, *ret_errno. */
int lookup_result(const struct lookup *lookup, const struct addrinfo **ret, int *ret_errno);

#endif
