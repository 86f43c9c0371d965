/* address - see the header.  Numbers only: nothing here asks a name server. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "net/address.h"

static void address_format_unix(const struct sockaddr *address, socklen_t address_bytes, char *ret)
{
	const struct sockaddr_un *un = (const void *)address;
	size_t len = address_bytes - offsetof(struct sockaddr_un, sun_path);

	if (address_bytes <= offsetof(struct sockaddr_un, sun_path))
		return;
	if (len > sizeof(un->sun_path))
		len = sizeof(un->sun_path);
	if (un->sun_path[0] == '\0')
		snprintf(ret, ADDRESS_TEXT_MAX, "@%.*s", (int)len - 1, un->sun_path + 1);
	else
		snprintf(ret, ADDRESS_TEXT_MAX, "%.*s", (int)len, un->sun_path);
}

void address_format(const struct sockaddr *address, socklen_t address_bytes,
		    char ret_text[ADDRESS_TEXT_MAX])
{
	char host[64], port[8];

	ret_text[0] = '\0';
	if (address->sa_family == AF_UNIX) {
		address_format_unix(address, address_bytes, ret_text);
		return;
	}
	if (getnameinfo(address, address_bytes, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	snprintf(ret_text, ADDRESS_TEXT_MAX, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
		 host, port);
}

static int address_parse_port(const char *text, uint16_t *ret)
{
	unsigned long port = 0;
	size_t len = strspn(text, "0123456789");

	if (len == 0 || len > 5 || text[len])
		return -EINVAL;
	for (; *text; text++)
		port = port * 10 + (unsigned long)(*text - '0');
	if (port < 1 || port > 65535)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

/* Names may have what resolvers accept, underscores too, but nothing that confuses a log line. */
static bool address_host_plain(const char *host, size_t len, bool bracketed)
{
	for (size_t i = 0; i < len; i++) {
		if (host[i] <= ' ' || host[i] > '~' || strchr("[]/@?#\"\\", host[i]))
			return false;
		if (host[i] == ':' && !bracketed)
			return false;
	}
	return len > 0 && len < ADDRESS_HOST_MAX;
}

int address_split(const char *text, char ret_host[ADDRESS_HOST_MAX], uint16_t *ret_port)
{
	bool bracketed = text[0] == '[';
	const char *host = text + bracketed;
	const char *end = strchr(host, bracketed ? ']' : ':');
	uint16_t port;

	if (!end || !address_host_plain(host, (size_t)(end - host), bracketed))
		return -EINVAL;
	if (bracketed && (end[1] != ':' || !memchr(host, ':', (size_t)(end - host))))
		return -EINVAL;
	if (address_parse_port(end + 1 + bracketed, &port) < 0)
		return -EINVAL;
	memcpy(ret_host, host, (size_t)(end - host));
	ret_host[end - host] = '\0';
	*ret_port = port;
	return 0;
}
