/* A URL of the configuration or of the command line, and a proxy's: what is accepted holds nothing
 * that could change a request line, and what is shown of it means the same and has no password.
 *
 * Input: the text. */
#include <arpa/inet.h>
#include <ctype.h>

#include "codec/url.h"
#include "fuzz.h"
#include "net/proxy.h"

static bool is_visible(const char *text)
{
	for (; *text; text++)
		if (*text < '!' || *text > '~')
			return false;
	return true;
}

static void check_host(const struct url *url)
{
	unsigned char address[16];
	bool is_ip = inet_pton(AF_INET, url->host, address) == 1 ||
		     inet_pton(AF_INET6, url->host, address) == 1;

	HOLDS(*url->host && is_visible(url->host));
	HOLDS(!strpbrk(url->host, "[]/@?#%"));
	for (const char *c = url->host; *c; c++)
		HOLDS(!isupper((unsigned char)*c));
	HOLDS(is_ip == url->host_is_ip);
	HOLDS(is_visible(url->host_field) && !strpbrk(url->host_field, "/@?#%"));
	HOLDS(strstr(url->host_field, url->host));
	HOLDS(!url->zone ||
	      (*url->zone && is_ip && strchr(url->host, ':') && !strpbrk(url->zone, "]/%:")));
}

static void check_parts(const struct url *url)
{
	check_host(url);
	HOLDS(url->port > 0);
	HOLDS(url->target[0] == '/' && is_visible(url->target) && !strchr(url->target, '#'));
	HOLDS(is_visible(url->display));
	HOLDS(!url->user || (strchr(url->user, ':') && is_one_line(url->user)));
	HOLDS(url->is_unix == !!url->socket_path);
	HOLDS(!url->socket_path || (url->socket_path[0] == '/' && is_one_line(url->socket_path)));
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What people see of it is the same URL without its userinfo. */
static void check_display(const struct url *url)
{
	const char *problem = NULL;
	struct url shown = {0};

	HOLDS(url_parse(&shown, url->display, &problem) == 0);
	HOLDS(!shown.user);
	HOLDS(shown.tls == url->tls && shown.is_unix == url->is_unix && shown.port == url->port);
	HOLDS(same_text(shown.host, url->host) && same_text(shown.zone, url->zone));
	HOLDS(same_text(shown.target, url->target) && same_text(shown.host_field, url->host_field));
	HOLDS(same_text(shown.socket_path, url->socket_path));
	HOLDS(same_text(shown.display, url->display));
	url_done(&shown);
}

static void check_url(const char *text)
{
	const char *problem = NULL;
	struct url url = {0};
	int r = url_parse(&url, text, &problem);

	HOLDS(r == 0 || (problem && is_one_line(problem) && !url.host));
	if (r == 0) {
		check_parts(&url);
		check_display(&url);
	}
	url_done(&url);
}

static void check_proxy(const char *text)
{
	struct proxy_address address = {0};
	const char *problem = NULL;
	int r = proxy_parse(&address, text, &problem);

	if (r == 0) {
		HOLDS(address.port > 0 && *address.host && is_visible(address.host));
		HOLDS(strlen(address.host) <= PROXY_HOST_MAX && is_one_line(address.name));
		HOLDS(*address.name && strlen(address.name) < PROXY_NAME_MAX);
		HOLDS(!address.user || (strchr(address.user, ':') && is_one_line(address.user)));
		HOLDS(proxy_check(text, &problem) == 0);
	} else {
		HOLDS(problem && is_one_line(problem));
		HOLDS((proxy_check(text, &problem) == 0) == !strcmp(text, "none"));
	}
	proxy_address_done(&address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = copy_text(data, len);

	check_url(text);
	check_proxy(text);
	free(text);
	return 0;
}
