/* redirect: where it leads, and who is told what there. */
#include "conn/redirect.h"

#include <errno.h>

#include "conn/conn.h"
#include "check.h"

static char *headers[] = {(char *)"Authorization: Bearer secret", (char *)"X-Key: secret", NULL};
static char *greetings[] = {(char *)"hello", (char *)"{\"token\":\"@token@\"}", NULL};
static char *subprotocols[] = {(char *)"chat", NULL};
static struct conn_options options;
static struct redirect *redirect;
static struct url first;
static struct cause cause;

static void begin(const char *url)
{
	const char *problem;

	redirect = redirect_free(redirect);
	url_done(&first);
	options = (struct conn_options){
		.url = (char *)url,
		.ws.upgrade = {.headers = headers,
			       .user = (char *)"ann:secret",
			       .cookie = (char *)"c=secret",
			       .subprotocols = subprotocols},
		.dial = {.connect_to = (char *)"127.0.0.1:9",
			 .tls = {.cert = (char *)"c",
				 .key = (char *)"k",
				 .server_name = (char *)"n"}},
		.max_redirects = 5,
	};
	CHECK_EQ(url_parse(&first, url, &problem), 0);
}

static int follow(const char *location)
{
	cause_set(&cause, CAUSE_HTTP, 302, "HTTP 302");
	return redirect_follow(&redirect, &options, redirect ? &redirect->url : &first,
			       redirect ? &redirect->ws : &options.ws, location, &cause);
}

static void check_goes(const char *location, const char *display, bool foreign)
{
	CHECK_EQ(follow(location), 0);
	CHECK_STR(redirect->url.display, display);
	CHECK_EQ(redirect->foreign, foreign);
	CHECK_EQ(!redirect->ws.upgrade.headers, foreign);
	CHECK_EQ(!redirect->ws.upgrade.user, foreign);
	CHECK_EQ(!redirect->ws.upgrade.cookie, foreign);
	CHECK_EQ(!redirect->dial.tls.cert, foreign);
	CHECK_EQ(!redirect->dial.tls.key, foreign);
	CHECK(redirect->ws.upgrade.subprotocols == subprotocols);
	if (foreign)
		CHECK(!redirect->url.user);
}

static void check_stays(const char *location, const char *text)
{
	struct redirect *before = redirect;

	CHECK(follow(location) < 0);
	CHECK(redirect == before);
	CHECK_EQ(cause.class, CAUSE_HTTP);
	CHECK_EQ(cause.code, 302);
	CHECK_STR(cause.text, text);
	CHECK(!strstr(cause.text, "secret"));
}

static void test_origins(void)
{
	begin("ws://u:p@a/x");
	check_goes("y", "ws://a/y", false);
	CHECK_STR(redirect->url.user, "u:p");
	CHECK_STR(redirect->dial.connect_to, "127.0.0.1:9");
	check_goes("ws://evil:secret@A:80/z", "ws://A:80/z", false);
	CHECK_STR(redirect->url.user, "u:p"); /* not the server's */
	check_goes("https://a/z", "https://a/z", true);
	CHECK(!redirect->dial.connect_to && !redirect->dial.tls.server_name);
	CHECK_STR(redirect->shown, "wss://a/z");
	check_goes("wss://a/w", "wss://a/w", true); /* for the rest of the attempt */
	CHECK_EQ(redirect->followed, 4);
	begin("ws://a/x");
	check_goes("ws://a:81/x", "ws://a:81/x", true);
	check_goes("ws://a/x", "ws://a/x", true);            /* sent back */
	CHECK_STR(redirect->dial.connect_to, "127.0.0.1:9"); /* but that is how it is reached */
	begin("wss://a/x");
	check_goes("wss://u:secret@b/x?q=secret", "wss://b/x?q=secret", true);
	CHECK_STR(redirect->shown, "wss://b/x...");
}

static void test_refusals(void)
{
	begin("wss://a/x?key=secret");
	check_stays("ws://a/x?key=secret",
		    "HTTP 302 redirects to ws://a/x... (from wss to ws, which is not followed)");
	check_stays("http://u:secret@b/",
		    "HTTP 302 redirects to ws://b/ (from wss to ws, which is not followed)");
	check_stays(NULL, "HTTP 302 redirects without saying where (no Location, or several)");
	check_stays("", "HTTP 302 redirects to a Location that is empty");
	check_stays("ftp://u:secret@b/", "HTTP 302 redirects to a Location that does not begin "
					 "with ws://, wss:// or ws+unix:");
	check_stays("ws+unix:/secret", "HTTP 302 redirects to a Location that names a Unix socket");
	options.max_redirects = 0;
	check_stays("/y?secret#secret", "HTTP 302 redirects to wss://a/y... (max-redirects is 0)");
}

static void test_count(void)
{
	begin("ws://a/x");
	options.max_redirects = 2;
	check_goes("/x", "ws://a/x", false);
	check_goes("/x", "ws://a/x", false);
	check_stays("/x", "HTTP 302 redirects to ws://a/x (max-redirects is 2)");
}

/* The token stands in the url, which a server repeats; and it must not be greeted with elsewhere.
 */
static void test_token(void)
{
	begin("ws://a/@token@/x");
	check_goes("/secret/y", "ws://a/secret/y", false);
	CHECK_STR(redirect->shown, "ws://a...");
	options.on_open = greetings;
	check_goes("z", "ws://a/secret/z", false);
	check_stays(
		"//b/secret",
		"HTTP 302 redirects to ws://b... (another origin, which the token or on-open-file "
		"is not sent to)");
	options.on_open = NULL;
	options.credentials.on_open_file = (char *)"f";
	check_stays(
		"//b/secret",
		"HTTP 302 redirects to ws://b... (another origin, which the token or on-open-file "
		"is not sent to)");
	options.credentials.on_open_file = NULL;
	options.opening.login = (char *)"a command";
	check_goes("y", "ws://a/secret/y", false);
	check_stays("//b/secret",
		    "HTTP 302 redirects to ws://b... (another origin, which login is not run for)");
	first.has_token = true;
	redirect = redirect_free(redirect);
	check_goes("/secret", "ws://a/secret", false);
	CHECK(redirect->url.has_token);
}

static void test_statuses(void)
{
	static const int yes[] = {301, 302, 303, 307, 308},
			 no[] = {300, 304, 305, 306, 309, 200, 401};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		CHECK(redirect_is(&(struct cause){.class = CAUSE_HTTP, .code = yes[i]}));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		CHECK(!redirect_is(&(struct cause){.class = CAUSE_HTTP, .code = no[i]}));
	CHECK(!redirect_is(&(struct cause){.class = CAUSE_PROXY, .code = 302}));
}

int main(void)
{
	test_origins();
	test_refusals();
	test_count();
	test_token();
	test_statuses();
	redirect_free(redirect);
	url_done(&first);
	return 0;
}
