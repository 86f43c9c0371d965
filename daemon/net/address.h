/* address - "host:port" as text: out of a socket's address for people, and into its two parts. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	ADDRESS_TEXT_MAX =
		112, /* with its NUL: what address_format() may need (a Unix path: 108) */
	ADDRESS_HOST_MAX = 256, /* with its NUL: the host of an "host:port" */
};

/* "192.0.2.7:443", "[fe80::1%eth0]:8080", "/path/of/socket", "@abstract"; "" for one without a
 * name. */
void address_format(const struct sockaddr *address, socklen_t address_bytes,
		    char ret_text[ADDRESS_TEXT_MAX]);

/* "example.com:443" or "[::1%zone]:443", with a port from 1 to 65535; the brackets are taken off.
 * Whether the host exists is not asked. -EINVAL. */
int address_split(const char *text, char ret_host[ADDRESS_HOST_MAX], uint16_t *ret_port);

#endif
