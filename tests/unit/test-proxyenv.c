/* Which variable counts, and whom no_proxy excepts. */
#include <stdlib.h>

#include "check.h"
#include "codec/url.h"
#include "proxyenv.h"

static const char *const all[] = {
	"ws_proxy",    "WS_PROXY",  "wss_proxy", "WSS_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy",
	"HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy",  "NO_PROXY",
};

static void clear(void)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		unsetenv(all[i]);
}

static const char *find(const char *text)
{
	const char *problem, *found;
	struct url url;

	CHECK_EQ(url_parse(&url, text, &problem), 0);
	found = proxyenv_find(&url);
	url_done(&url);
	return found ? found : "none";
}

/* Each variable is set to its own name: the one that is found says who has won. */
static void test_order(void)
{
	static const char *const plain[] = {"ws_proxy", "WS_PROXY", "http_proxy", "all_proxy",
					    "ALL_PROXY"};
	static const char *const tls[] = {"wss_proxy",   "WSS_PROXY", "https_proxy",
					  "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	clear();
	CHECK_STR(find("ws://h/"), "none");
	for (size_t i = 0; i < 10; i++)
		setenv(all[i], all[i], 1);
	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
		CHECK_STR(find("ws://h/"), plain[i]);
		CHECK_STR(find("http://h/"), plain[i]);
		if (i % 2)
			unsetenv(plain[i]);
		else
			setenv(plain[i], "", 1); /* as if it were not set */
	}
	CHECK_STR(find("ws://h/"), "none"); /* with HTTP_PROXY set */
	clear();
	for (size_t i = 0; i < 10; i++)
		setenv(all[i], all[i], 1);
	for (size_t i = 0; i < sizeof(tls) / sizeof(*tls); i++) {
		CHECK_STR(find("wss://h/"), tls[i]);
		CHECK_STR(find("ws+unix:/x.sock:/"), "none");
		unsetenv(tls[i]);
	}
	CHECK_STR(find("wss://h/"), "none");
}

static void test_exceptions(void)
{
	static const struct {
		const char *list, *url;
		int excepted;
	} rows[] = {
		{"*", "ws://example.com/", 1},
		{"example.com", "ws://example.com/", 1},
		{"example.com", "ws://EXAMPLE.com/", 1},
		{"Example.COM", "ws://example.com:8080/", 1},
		{"example.com", "ws://www.example.com/", 1},
		{".example.com", "ws://www.example.com/", 1},
		{".example.com", "ws://example.com/", 1},
		{"example.com.", "ws://example.com/", 1},
		{"example.com", "ws://example.com./", 1},
		{"example.com", "ws://notexample.com/", 0},
		{"example.com", "ws://example.com.org/", 0},
		{"www.example.com", "ws://example.com/", 0},
		{"com", "ws://example.com/", 1},
		{".", "ws://example.com/", 0},
		{"", "ws://example.com/", 0},
		{" a.example ,b.example\tc.example,", "ws://c.example/", 1},
		{" a.example ,b.example\tc.example,", "ws://b.example/", 1},
		{" a.example ,b.example\tc.example,", "ws://d.example/", 0},
		{"127.0.0.1", "ws://127.0.0.1/", 1},
		{"0.0.1", "ws://127.0.0.1/", 0},
		{"10.0.0.0/8", "ws://10.255.1.2/", 1},
		{"10.0.0.0/8", "ws://11.0.0.1/", 0},
		{"192.168.16.0/20", "ws://192.168.31.255/", 1},
		{"192.168.16.0/20", "ws://192.168.32.0/", 0},
		{"0.0.0.0/0", "ws://192.168.32.0/", 1},
		{"0.0.0.0/0", "ws://[::1]/", 0},
		{"192.168.16.1/32", "ws://192.168.16.1/", 1},
		{"192.168.16.1/33", "ws://192.168.16.1/", 0},
		{"192.168.16.1/", "ws://192.168.16.1/", 0},
		{"192.168.16.1/x", "ws://192.168.16.1/", 0},
		{"192.168.16.0/-1", "ws://192.168.16.1/", 0},
		{"::1", "ws://[::1]:8080/", 1},
		{"[::1]", "ws://[::1]/", 1},
		{"0:0::1", "ws://[::1]/", 1},
		{"fd00::/8", "ws://[fdff::1]/", 1},
		{"fd00::/7", "ws://[fe00::1]/", 0},
		{"[fd00::]/8", "ws://[fd12::1]/", 1},
		{"10.0.0.0/8", "ws://example.com/", 0},
	};

	clear();
	setenv("all_proxy", "p:1", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		setenv("no_proxy", rows[i].list, 1);
		if (strcmp(find(rows[i].url), rows[i].excepted ? "none" : "p:1") != 0)
			fprintf(stderr, "no_proxy '%s', %s\n", rows[i].list, rows[i].url);
		CHECK_STR(find(rows[i].url), rows[i].excepted ? "none" : "p:1");
	}
	setenv("NO_PROXY", "h", 1);
	setenv("no_proxy", "other", 1);
	CHECK_STR(find("ws://h/"), "p:1"); /* lower case goes first */
	unsetenv("no_proxy");
	CHECK_STR(find("ws://h/"), "none");
}

int main(void)
{
	test_order();
	test_exceptions();
	return 0;
}
