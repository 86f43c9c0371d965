/* proxyenv - see proxyenv.h.
 *
 * For ws: ws_proxy, WS_PROXY, http_proxy, all_proxy, ALL_PROXY; for wss: wss_proxy, WSS_PROXY,
 * https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY.  HTTP_PROXY in capitals is not read: a web server
 * puts a request's "Proxy" header there for its CGI programs (CVE-2016-5385). */
#include "proxyenv.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "codec/url.h"

enum { TOKEN_MAX = 255 };

static const char *first_set(const char *const *names)
{
	for (; *names; names++) {
		const char *value = getenv(*names);

		if (value && *value)
			return value;
	}
	return NULL;
}

/* --- no_proxy ------------------------------------------------------------------------------- */

static bool same_bits(const unsigned char *a, const unsigned char *b, unsigned bits)
{
	unsigned char mask = (unsigned char)(0xff00 >> bits % 8);

	return memcmp(a, b, bits / 8) == 0 &&
	       (bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) & mask) == 0);
}

/* TOKEN is ADDRESS or ADDRESS/BITS, an IPv6 one also in brackets. */
static bool address_matches(const char *host, char *token)
{
	int family = strchr(host, ':') ? AF_INET6 : AF_INET;
	unsigned char mine[16], other[16];
	unsigned long bits = family == AF_INET6 ? 128 : 32;
	char *slash = strchr(token, '/'), *end;

	if (slash) {
		unsigned long said = strtoul(slash + 1, &end, 10);

		if (slash[1] < '0' || slash[1] > '9' || *end || said > bits)
			return false;
		bits = said;
		*slash = '\0';
	}
	if (*token == '[' && (end = strchr(token, ']'))) {
		*end = '\0';
		token++;
	}
	return inet_pton(family, host, mine) == 1 && inet_pton(family, token, other) == 1 &&
	       same_bits(mine, other, (unsigned)bits);
}

/* The name itself, or one below it: "example.com" is not "notexample.com". */
static bool name_matches(const char *host, const char *token)
{
	size_t host_len = strlen(host), len;

	token += *token == '.';
	len = strlen(token);
	if (host_len > 0 && host[host_len - 1] == '.')
		host_len--;
	if (len > 0 && token[len - 1] == '.')
		len--;
	if (len == 0 || len > host_len)
		return false;
	return strncasecmp(host + host_len - len, token, len) == 0 &&
	       (len == host_len || host[host_len - len - 1] == '.');
}

static bool is_excepted(const struct url *url)
{
	static const char *const names[] = {"no_proxy", "NO_PROXY", NULL};
	const char *list = first_set(names);
	char token[TOKEN_MAX + 1];

	if (!list)
		return false;
	if (strcmp(list, "*") == 0)
		return true;
	for (;;) {
		size_t len;

		list += strspn(list, ", \t");
		len = strcspn(list, ", \t");
		if (len == 0)
			return false;
		if (len <= TOKEN_MAX) {
			memcpy(token, list, len);
			token[len] = '\0';
			if (url->host_is_ip ? address_matches(url->host, token)
					    : name_matches(url->host, token))
				return true;
		}
		list += len;
	}
}

const char *proxyenv_find(const struct url *url)
{
	static const char *const plain[] = {"ws_proxy",  "WS_PROXY",  "http_proxy",
					    "all_proxy", "ALL_PROXY", NULL};
	static const char *const tls[] = {"wss_proxy",   "WSS_PROXY", "https_proxy",
					  "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};

	if (url->is_unix || is_excepted(url))
		return NULL;
	return first_set(url->tls ? tls : plain);
}
