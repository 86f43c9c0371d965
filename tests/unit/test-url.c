#include <errno.h>

#include "check.h"
#include "codec/url.h"

static struct url parse(const char *text)
{
	const char *problem = "";
	struct url url = {0};
	int r = url_parse(&url, text, &problem);

	if (r != 0)
		fprintf(stderr, "url '%s' %s\n", text, problem);
	CHECK_EQ(r, 0);
	return url;
}

static void check_refused(const char *text)
{
	struct url url = {.port = 7};
	const char *problem = NULL;

	if (url_parse(&url, text, &problem) != -EINVAL)
		CHECK_STR("taken", text);
	CHECK(problem && strlen(problem) > 5);
	CHECK(url.port == 7 && !url.host); /* untouched */
}

static void test_forms(void)
{
	static const struct {
		const char *text, *host, *host_field, *target, *display;
		int port, tls, is_ip;
	} good[] = {
		{"ws://h", "h", "h", "/", "ws://h", 80, 0, 0},
		{"wss://h", "h", "h", "/", "wss://h", 443, 1, 0},
		{"http://h/", "h", "h", "/", "http://h/", 80, 0, 0},
		{"https://h/", "h", "h", "/", "https://h/", 443, 1, 0},
		{"WSS://Stream.Example.COM/V1/ws", "stream.example.com", "stream.example.com",
		 "/V1/ws", "WSS://Stream.Example.COM/V1/ws", 443, 1, 0},
		{"ws://h:80/a", "h", "h", "/a", "ws://h:80/a", 80, 0, 0},
		{"wss://h:443", "h", "h", "/", "wss://h:443", 443, 1, 0},
		{"ws://h:443", "h", "h:443", "/", "ws://h:443", 443, 0, 0},
		{"wss://h:80", "h", "h:80", "/", "wss://h:80", 80, 1, 0},
		{"ws://h:8080", "h", "h:8080", "/", "ws://h:8080", 8080, 0, 0},
		{"ws://h:65535", "h", "h:65535", "/", "ws://h:65535", 65535, 0, 0},
		{"ws://h:1", "h", "h:1", "/", "ws://h:1", 1, 0, 0},
		{"ws://h:00080", "h", "h", "/", "ws://h:00080", 80, 0, 0},
		{"wss://h:/x", "h", "h", "/x", "wss://h:/x", 443, 1, 0},
		{"ws://h?a=b", "h", "h", "/?a=b", "ws://h?a=b", 80, 0, 0},
		{"ws://h:81?a=b", "h", "h:81", "/?a=b", "ws://h:81?a=b", 81, 0, 0},
		{"ws://h/p?a=b&c=@d:e/f?g", "h", "h", "/p?a=b&c=@d:e/f?g",
		 "ws://h/p?a=b&c=@d:e/f?g", 80, 0, 0},
		{"ws://h//x/%zz", "h", "h", "//x/%zz", "ws://h//x/%zz", 80, 0, 0},
		{"ws://127.0.0.1:9000/x", "127.0.0.1", "127.0.0.1:9000", "/x",
		 "ws://127.0.0.1:9000/x", 9000, 0, 1},
		{"ws://[::1]:9000", "::1", "[::1]:9000", "/", "ws://[::1]:9000", 9000, 0, 1},
		{"wss://[2001:DB8::A]/", "2001:db8::a", "[2001:db8::a]", "/",
		 "wss://[2001:DB8::A]/", 443, 1, 1},
		{"ws://[::ffff:1.2.3.4]", "::ffff:1.2.3.4", "[::ffff:1.2.3.4]", "/",
		 "ws://[::ffff:1.2.3.4]", 80, 0, 1},
		{"ws://a_b.c-d.example.", "a_b.c-d.example.", "a_b.c-d.example.", "/",
		 "ws://a_b.c-d.example.", 80, 0, 0},
		{"ws://1.2.3.4.example", "1.2.3.4.example", "1.2.3.4.example", "/",
		 "ws://1.2.3.4.example", 80, 0, 0},
		{"ws://host1", "host1", "host1", "/", "ws://host1", 80, 0, 0},
		{"ws://xn--bcher-kva.example", "xn--bcher-kva.example", "xn--bcher-kva.example",
		 "/", "ws://xn--bcher-kva.example", 80, 0, 0},
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct url url = parse(good[i].text);

		CHECK_STR(url.host, good[i].host);
		CHECK_STR(url.host_field, good[i].host_field);
		CHECK_STR(url.target, good[i].target);
		CHECK_STR(url.display, good[i].display);
		CHECK_EQ(url.port, good[i].port);
		CHECK_EQ(url.tls, good[i].tls);
		CHECK_EQ(url.host_is_ip, good[i].is_ip);
		CHECK(!url.is_unix && !url.user && !url.zone && !url.socket_path);
		url_done(&url);
		CHECK(!url.host && !url.target);
	}
}

static void test_zone(void)
{
	static const char *const texts[][2] = {{"ws://[fe80::1%25eth0]:81/x", "eth0"},
					       {"ws://[fe80::1%eth0]:81/x", "eth0"},
					       {"ws://[fe80::1%2]:81/x", "2"},
					       {"ws://[fe80::1%25]:81/x", "25"}};

	for (size_t i = 0; i < 4; i++) {
		struct url url = parse(texts[i][0]);

		CHECK_STR(url.host, "fe80::1");
		CHECK_STR(url.zone, texts[i][1]);
		CHECK_STR(url.host_field, "[fe80::1]:81");
		CHECK(url.host_is_ip);
		url_done(&url);
	}
	check_refused("ws://[fe80::1%]/");
	check_refused("ws://[fe80::1%25e/h]/");
	check_refused("ws://[fe80::1%a%b]/");
	check_refused("ws://[fe80::1%0123456789abcdef]/");
}

static void test_userinfo(void)
{
	static const char *const texts[][3] = {
		{"wss://user:p%40ss@host/x", "user:p@ss", "wss://host/x"},
		{"ws://user@h:81/", "user:", "ws://h:81/"},
		{"ws://user:@h", "user:", "ws://h"},
		{"ws://:secret@h?q", ":secret", "ws://h?q"},
		{"ws://u:a:b@[::1]:5/", "u:a:b", "ws://[::1]:5/"},
		{"ws://u:%3A%2f%23@h/", "u::/#", "ws://h/"},
		{"ws://%C3%BC:p@h/", "\xc3\xbc:p", "ws://h/"},
	};
	struct url url;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		url = parse(texts[i][0]);
		CHECK_STR(url.user, texts[i][1]);
		CHECK_STR(url.display, texts[i][2]);
		CHECK(!strchr(url.host_field, '@') && !strchr(url.target, '@'));
		url_done(&url);
	}
	url = parse("ws://@h/");
	CHECK(!url.user);
	CHECK_STR(url.display, "ws://h/");
	url_done(&url);
	check_refused("ws://u:%00@h/");
	check_refused("ws://u%0a:p@h/");
	check_refused("ws://u:%7f@h/");
	check_refused("ws://u:%1@h/");
	check_refused("ws://u:%@h/");
	check_refused("ws://u:%g0@h/");
	check_refused("ws://u%3Ax:p@h/");
	check_refused("ws://u%3Ax@h/");
	check_refused("ws://u:p@x@h/");
	check_refused("ws://u:p@/x");
	check_refused("ws://u:p@:80/x");
}

static void test_unix(void)
{
	static const char *const texts[][3] = {
		{"ws+unix:/run/a.sock:/v1/ws?x=1", "/run/a.sock", "/v1/ws?x=1"},
		{"ws+unix:/run/a.sock", "/run/a.sock", "/"},
		{"WS+UNIX:/run/a.sock:/", "/run/a.sock", "/"},
		{"ws+unix:/run/a:b.sock:/x:/y", "/run/a:b.sock", "/x:/y"},
		{"ws+unix:///run/a.sock:/x", "/run/a.sock", "/x"},
		{"ws+unix:/run/a%20%25%3A/b:/%41@u:p", "/run/a %:/b", "/%41@u:p"},
	};
	char text[8192];
	struct url url;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		url = parse(texts[i][0]);
		CHECK_STR(url.socket_path, texts[i][1]);
		CHECK_STR(url.target, texts[i][2]);
		CHECK_STR(url.host, "localhost");
		CHECK_STR(url.host_field, "localhost");
		CHECK_STR(url.display, texts[i][0]);
		CHECK(url.is_unix && !url.tls && !url.host_is_ip && !url.user);
		url_done(&url);
	}
	memset(text, 'p', sizeof(text));
	memcpy(text, "ws+unix:/", 9);
	strcpy(text + 8 + 4095, ":/x");
	url = parse(text);
	CHECK_EQ(strlen(url.socket_path), 4095);
	CHECK_STR(url.target, "/x");
	url_done(&url);
	text[8 + 4095] = 'p';
	strcpy(text + 8 + 4096, ":/x");
	check_refused(text);
	check_refused("ws+unix:run/a.sock");
	check_refused("ws+unix:");
	check_refused("ws+unix://host/run/a.sock");
	check_refused("ws+unix:/a%00b");
	check_refused("ws+unix:/a%0ab");
	check_refused("ws+unix:/a%zz");
	check_refused("ws+unix:/a.sock:/x#f");
}

static void test_refused(void)
{
	static const char *const bad[] = {
		"",
		"ws",
		"ws:",
		"ws:/",
		"ws://",
		"ws:///x",
		"ws://:80",
		"ws://?x",
		"h",
		"h:80/x",
		"//h/x",
		"ftp://h/",
		"wsx://h/",
		"ws+unixs:/x",
		"ws:h/x",
		" ws://h/",
		"ws://h/ ",
		"ws://h/a b",
		"ws://h/\t",
		"ws://h/\r\nX: y",
		"ws://h\n",
		"ws://h/\x7f",
		"ws://h/\xc3\xbc",
		"ws://gr\xc3\xbcn/",
		"ws://h/#",
		"ws://h/x#f",
		"ws://h#f",
		"ws://h:0",
		"ws://h:65536",
		"ws://h:99999999999999999999",
		"ws://h:4294967376",
		"ws://h:-1",
		"ws://h:+1",
		"ws://h:8x",
		"ws://h:80:80",
		"ws://::1/",
		"ws://[::1",
		"ws://[::1]x/",
		"ws://[::1]80",
		"ws://[]/",
		"ws://[::g]/",
		"ws://[1.2.3.4]/",
		"ws://[v1.x]/",
		"ws://h]/",
		"ws://a..b/",
		"ws://.a/",
		"ws://./",
		"ws://a../",
		"ws://a,b/",
		"ws://a%41/",
		"ws://a\\b/",
		"ws://1.2.3/",
		"ws://256.1.1.1/",
		"ws://1.2.3.4.5/",
		"ws://2130706433/",
		"ws://1.2.3.4./",
		"ws://a.0/",
		"ws://[::1]:x/",
	};
	char text[20000];
	struct url url;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_refused(bad[i]);

	memset(text, 'h', sizeof(text));
	memcpy(text, "ws://", 5);
	strcpy(text + 5 + 64, "/"); /* a label of 64 */
	check_refused(text);
	memset(text, 'h', sizeof(text));
	for (size_t i = 5 + 63; i < 5 + 256; i += 64)
		text[i] = '.';
	memcpy(text, "ws://", 5);
	strcpy(text + 5 + 254, "/"); /* a name of 254 */
	check_refused(text);
	strcpy(text + 5 + 253, "/");
	url = parse(text);
	CHECK_EQ(strlen(url.host), 253);
	url_done(&url);

	memset(text, 'h', sizeof(text));
	memcpy(text, "ws://h/", 7);
	text[16 * 1024 + 1] = '\0';
	check_refused(text);
	text[16 * 1024] = '\0';
	url = parse(text);
	CHECK_EQ(strlen(url.target), 16 * 1024 - 6);
	url_done(&url);
}

/* RFC 3986 5.4, as far as it is about WebSocket URLs, and what servers write besides. */
static void test_resolve(void)
{
	static const char *const rows[][3] = {
		{"ws://a/b/c/d;p?q", "g", "ws://a/b/c/g"},
		{"ws://a/b/c/d;p?q", "./g", "ws://a/b/c/g"},
		{"ws://a/b/c/d;p?q", "g/", "ws://a/b/c/g/"},
		{"ws://a/b/c/d;p?q", "/g", "ws://a/g"},
		{"ws://a/b/c/d;p?q", "//g", "ws://g"},
		{"ws://a/b/c/d;p?q", "?y", "ws://a/b/c/d;p?y"},
		{"ws://a/b/c/d;p?q", "g?y#s", "ws://a/b/c/g?y"},
		{"ws://a/b/c/d;p?q", ";x", "ws://a/b/c/;x"},
		{"ws://a/b/c/d;p?q", ".", "ws://a/b/c/"},
		{"ws://a/b/c/d;p?q", "..", "ws://a/b/"},
		{"ws://a/b/c/d;p?q", "../g", "ws://a/b/g"},
		{"ws://a/b/c/d;p?q", "../..", "ws://a/"},
		{"ws://a/b/c/d;p?q", "../../../../g", "ws://a/g"},
		{"ws://a/b/c/d;p?q", "/./g/../h", "ws://a/h"},
		{"ws://a/b/c/d;p?q", "g..", "ws://a/b/c/g.."},
		{"ws://a/b/c/d;p?q", "g?y/../x", "ws://a/b/c/g?y/../x"},
		{"ws://a", "g", "ws://a/g"},
		{"ws://a?q", "?y", "ws://a/?y"},
		{"wss://a/", "//b:444/x", "wss://b:444/x"},
		{"wss://a:8443/x", "y", "wss://a:8443/y"},
		{"ws://a/", "https://B/x", "https://B/x"},
		{"ws://u:p@a/b", "c", "ws://a/c"},
		{"ws://[::1]:81/b", "c", "ws://[::1]:81/c"},
		{"ws+unix:/s.sock:/b", "c?d", "ws+unix:/s.sock:/c?d"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct url base, url;
		const char *problem = "";

		CHECK_EQ(url_parse(&base, rows[i][0], &problem), 0);
		CHECK_EQ(url_resolve(&url, &base, rows[i][1], &problem), 0);
		CHECK_STR(url.display, rows[i][2]);
		url_done(&url);
		url_done(&base);
	}
}

static void test_resolve_parts(void)
{
	static const char *const bad[] = {
		"", "#x", "ftp://a/", "javascript:x", "ws:/a", "ws+unix:/x:/", "/a b", "/\xc3\xa4", "http://",
		"http://a:0/", "mailto:a@b",
	};
	struct url base, url;
	const char *problem = NULL;

	CHECK_EQ(url_parse(&base, "ws://u:p@a:81/b/c", &problem), 0);
	CHECK_EQ(url_resolve(&url, &base, "d/../e?f", &problem), 0);
	CHECK_STR(url.target, "/b/e?f");
	CHECK_STR(url.user, "u:p");
	CHECK(url_same_origin(&base, &url));
	url_done(&url);
	CHECK_EQ(url_resolve(&url, &base, "https://A:81/x/./y", &problem), 0);
	CHECK(url.tls && !url.user);
	CHECK_STR(url.target, "/x/y");
	CHECK(url_same_server(&base, &url) && !url_same_origin(&base, &url));
	url_done(&url);
	CHECK_EQ(url_resolve(&url, &base, "ws://a/", &problem), 0);
	CHECK(!url_same_server(&base, &url));
	url_done(&url);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		problem = NULL;
		CHECK_EQ(url_resolve(&url, &base, bad[i], &problem), -EINVAL);
		CHECK(problem);
	}
	url_done(&base);
}

int main(void)
{
	test_forms();
	test_zone();
	test_userinfo();
	test_unix();
	test_refused();
	test_resolve();
	test_resolve_parts();
	return 0;
}
