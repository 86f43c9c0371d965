/* The configuration: what each key takes and refuses, where faults are, which files are read, what
 * a reload would do.  Files are written below a fresh directory. */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strv.h"
#include "check.h"
#include "service/config.h"

static char dir[] = "/tmp/wspipe-test-config-XXXXXX";

/* endpoint.c would bring all endpoints along; its names are all that the table asks of it. */
const char *const endpoint_names[] = {"in",   "out",    "drain", "sock",
					"last", "status", "file",  NULL};

#define LIVE (1u << CONFIG_LIVE)
#define ENDPOINTS (1u << CONFIG_ENDPOINTS)
#define REDIAL (1u << CONFIG_REDIAL)

/* --- files and loads ------------------------------------------------------------------------ */

static const char *path_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put_bytes(const char *name, const char *text, size_t len)
{
	FILE *file = fopen(path_of(name), "w");

	CHECK(file);
	CHECK_EQ(fwrite(text, 1, len, file), len);
	CHECK_EQ(fclose(file), 0);
}

static void put(const char *name, const char *text)
{
	put_bytes(name, text, strlen(text));
}

static int load(struct config **ret, const char *file, char *faults, size_t size)
{
	struct buf out;
	int r;

	buf_init(&out, 64 * 1024);
	r = config_load(ret, file, &out);
	CHECK(buf_len(&out) < size);
	if (buf_len(&out))
		memcpy(faults, buf_head(&out), buf_len(&out));
	faults[buf_len(&out)] = '\0';
	buf_done(&out);
	return r;
}

static struct config *load_good(const char *text)
{
	struct config *config = NULL;
	char faults[8192];

	put("t.conf", text);
	if (load(&config, path_of("t.conf"), faults, sizeof(faults)) < 0)
		fprintf(stderr, "%s", faults);
	CHECK(config);
	CHECK_STR(faults, "");
	return config;
}

static char bad_faults[16384];

/* Every line must begin with the file; "FILE" is put in place of its path, so that one can compare.
 */
static const char *load_bad(const char *text, size_t len)
{
	static char faults[16384];
	char file[PATH_MAX], *line, *rest = faults;
	struct config *config = NULL;

	put_bytes("t.conf", text, len);
	snprintf(file, sizeof(file), "%s", path_of("t.conf"));
	CHECK_EQ(load(&config, file, faults, sizeof(faults)), -EINVAL);
	CHECK(!config);
	*bad_faults = '\0';
	while ((line = strsep(&rest, "\n")) && *line) {
		CHECK(strncmp(line, file, strlen(file)) == 0);
		for (char *at; (at = strstr(line, file)); line = at + strlen(file)) {
			strncat(bad_faults, line, (size_t)(at - line));
			strcat(bad_faults, "FILE");
		}
		strcat(bad_faults, line);
		strcat(bad_faults, "\n");
	}
	return bad_faults;
}

static void faults_are(const char *text, const char *faults)
{
	CHECK_STR(load_bad(text, strlen(text)), faults);
}

static struct section *only(struct config *config)
{
	CHECK(!list_empty(&config->sections));
	CHECK(config->sections.next == config->sections.prev);
	return list_first(&config->sections, struct section, link);
}

/* --- presets -------------------------------------------------------------------------------- */

/* Wherever it stands, what is said otherwise counts more; lists are not mixed. */
static void test_preset(void)
{
	struct config *config = load_good("[a]\nid = /nr\npreset = wamp\nid-type = auto\n"
					  "url = ws://a/\n[b]\nurl = ws://b/\n");
	struct section *section = list_first(&config->sections, struct section, link);
	const struct calls_options *calls = &section->conn.calls;

	CHECK_EQ(strv_len(calls->id), 1);
	CHECK_STR(calls->id[0], "/nr");
	CHECK_EQ(calls->id_type, CALLS_ID_AUTO);
	CHECK_EQ(strv_len(calls->reply_id), 2);
	CHECK_STR(calls->error_reply[0], "/0=8");
	CHECK_STR(section->conn.ws.upgrade.subprotocols[0], "wamp.2.json");
	section = list_last(&config->sections, struct section, link);
	CHECK(!section->conn.calls.id);
	CHECK_STR(section->conn.calls.error_reply[0], "/error");
	config_free(config);
	faults_are("[a]\nurl = ws://a/\nreply-id = /id\n",
		   "FILE:3: reply-id, interim, partial and not-reply need id, or preset\n");
}

/* --- values --------------------------------------------------------------------------------- */

static void test_defaults(void)
{
	struct config *config = load_good("[a]\nurl = ws://h/\n");
	const struct section *a = only(config);

	CHECK_STR(a->name, "a");
	CHECK_STR(a->file, path_of("t.conf"));
	CHECK_EQ(a->line, 1);
	CHECK_STR(a->conn.url, "ws://h/");
	CHECK_STR(a->conn.ws.upgrade.user_agent, "wspipe/" WSPIPE_VERSION);
	CHECK(!a->conn.ws.upgrade.headers && !a->conn.ws.upgrade.subprotocols);
	CHECK(!a->conn.ws.upgrade.user && !a->conn.dial.connect_to && !a->conn.dial.tls.cacert);
	CHECK_EQ(a->conn.dial.tls.tls_min, TLS_MIN_1_2);
	CHECK(!a->conn.dial.tls.insecure);
	CHECK_EQ(a->conn.dial.address_family, DIAL_ANY);
	CHECK_EQ(a->conn.ws.max_message_bytes, 16 << 20);
	CHECK_EQ(a->conn.connect_timeout_ms, 20000);
	CHECK_EQ(a->conn.close_timeout_ms, 5000);
	CHECK_EQ(a->conn.ping_interval_ms, 25000);
	CHECK_EQ(a->conn.ping_timeout_ms, 20000);
	CHECK_EQ(a->conn.reconnect, CONN_RECONNECT_ALWAYS);
	CHECK_EQ(a->conn.reconnect_delay_ms, 1000);
	CHECK_EQ(a->conn.reconnect_max_ms, 60000);
	CHECK(!a->conn.on_open);
	CHECK_EQ(a->conn.type, MSG_TEXT);
	CHECK_EQ(a->conn.spool.keep_bytes, 64 << 20);
	CHECK_EQ(a->conn.spool.keep_age_ms, 0);
	CHECK_EQ(a->conn.spool.overflow, SPOOL_DROP);
	CHECK_EQ(a->conn.outbox.queue_bytes, 1 << 20);
	CHECK_EQ(a->conn.outbox.ttl_ms, 0);
	CHECK_EQ(a->endpoint.framing, FRAMING_LINE);
	CHECK_EQ(strv_len(a->endpoint.endpoints), 5);
	CHECK(!a->endpoint.batch && !a->endpoint.access);
	CHECK_EQ(config->daemon.log_level, LOG_LEVEL_INFO);
	CHECK_EQ(config->daemon.memory_bytes, 1 << 30);
	CHECK(!config->daemon.include && !config->daemon.access);
	CHECK(!config_free(config));
	CHECK(!config_free(NULL));
}

static void test_every_key(void)
{
	struct config *config;

	config = load_good(
		"[daemon]\nlog-level = debug\nmemory = 2G\naccess = user:root\n"
		"# comment\n  ; another\n"
		"[k.1_x-Y]\n"
		"url = wss://h:8443/x?y=;z\n"
		"header = X-A: 1 # 2 ; 3\n"
		"header = X-B: two, three\n"
		"user = me:pa:ss # word\n"
		"origin = https://example.com\n"
		"user-agent = mine/1\n"
		"cookie = a=b; c=d\n"
		"subprotocol = v2.x, v1.x\n"
		"subprotocol = v0\n"
		"cacert = /ca\ncapath = /cas\ncert = sub/cert.pem\nkey = /key\n"
		"server-name = name.example\ntls-min = 1.3\ninsecure = YES\n"
		"connect-to = 127.0.0.1:8443\nproxy = socks5h://u:p@[::1]:1080\naddress-family = ipv6\n"
		"max-message = 2147483647\nconnect-timeout = 1.5\nclose-timeout = 250ms\n"
		"ping-interval = 0\nping-timeout = 2 min\n"
		"reconnect = on-failure\nreconnect-delay = 0.5s\nreconnect-max = 1h\n"
		"on-open = {\"op\":\"x; # y\", \"z\":1}\n"
		"on-open = second, one\n"
		"framing = json\ntype = binary\nendpoints = in,out\nendpoints = sock\n"
		"batch = on\naccess = group:root:read\naccess = user:root\n"
		"keep = 4K\nkeep-age = 2h\noverflow = block\nqueue = 1\nqueue-ttl = 90\n");
	{
		const struct section *k = only(config);
		const struct conn_options *conn = &k->conn;
		const struct tls_options *tls = &conn->dial.tls;
		char cert[PATH_MAX];

		snprintf(cert, sizeof(cert), "%s", path_of("sub/cert.pem"));
		CHECK_EQ(config->daemon.log_level, LOG_LEVEL_DEBUG);
		CHECK_EQ(config->daemon.memory_bytes, 1ll << 31);
		CHECK_EQ(strv_len(config->daemon.access), 1);
		CHECK_STR(k->name, "k.1_x-Y");
		CHECK_EQ(k->line, 7);
		CHECK_STR(conn->url, "wss://h:8443/x?y=;z");
		CHECK_EQ(strv_len(conn->ws.upgrade.headers), 2);
		CHECK_STR(conn->ws.upgrade.headers[0], "X-A: 1 # 2 ; 3");
		CHECK_STR(conn->ws.upgrade.headers[1], "X-B: two, three");
		CHECK_STR(conn->ws.upgrade.user, "me:pa:ss # word");
		CHECK_STR(conn->ws.upgrade.origin, "https://example.com");
		CHECK_STR(conn->ws.upgrade.user_agent, "mine/1");
		CHECK_STR(conn->ws.upgrade.cookie, "a=b; c=d");
		CHECK_EQ(strv_len(conn->ws.upgrade.subprotocols), 3);
		CHECK_STR(conn->ws.upgrade.subprotocols[0], "v2.x");
		CHECK_STR(conn->ws.upgrade.subprotocols[2], "v0");
		CHECK_STR(tls->cacert, "/ca");
		CHECK_STR(tls->capath, "/cas");
		CHECK_STR(tls->cert, cert);
		CHECK_STR(tls->key, "/key");
		CHECK_STR(tls->server_name, "name.example");
		CHECK_EQ(tls->tls_min, TLS_MIN_1_3);
		CHECK(tls->insecure);
		CHECK_STR(conn->dial.connect_to, "127.0.0.1:8443");
		CHECK_EQ(conn->dial.address_family, DIAL_IPV6);
		CHECK_EQ(conn->ws.max_message_bytes, INT32_MAX);
		CHECK_EQ(conn->connect_timeout_ms, 1500);
		CHECK_EQ(conn->close_timeout_ms, 250);
		CHECK_EQ(conn->ping_interval_ms, 0);
		CHECK_EQ(conn->ping_timeout_ms, 120000);
		CHECK_EQ(conn->reconnect, CONN_RECONNECT_ON_FAILURE);
		CHECK_EQ(conn->reconnect_delay_ms, 500);
		CHECK_EQ(conn->reconnect_max_ms, 3600000);
		CHECK_EQ(strv_len(conn->on_open), 2);
		CHECK_STR(conn->on_open[0], "{\"op\":\"x; # y\", \"z\":1}");
		CHECK_STR(conn->on_open[1], "second, one");
		CHECK_EQ(conn->type, MSG_BINARY);
		CHECK_EQ(k->endpoint.framing, FRAMING_JSON);
		CHECK_EQ(strv_len(k->endpoint.endpoints), 3);
		CHECK_STR(k->endpoint.endpoints[2], "sock");
		CHECK(k->endpoint.batch);
		CHECK_EQ(strv_len(k->endpoint.access), 2);
		CHECK_EQ(conn->spool.keep_bytes, 4096);
		CHECK_EQ(conn->spool.keep_age_ms, 7200000);
		CHECK_EQ(conn->spool.overflow, SPOOL_BLOCK);
		CHECK_EQ(conn->outbox.queue_bytes, 1);
		CHECK_EQ(conn->outbox.ttl_ms, 90000);
	}
	config_free(config);
}

/* --- one key at a time, as `wspipe open` would --------------------------------------------- */

static struct section *fresh(void)
{
	struct section *section = NULL;
	struct buf faults;

	buf_init(&faults, 1024);
	CHECK_EQ(config_section_new(&section, "x", &faults), 0);
	CHECK_EQ(buf_len(&faults), 0);
	return section;
}

static int set(struct section *section, const char *key, const char *value, char text[1024])
{
	struct buf faults;
	int r;

	buf_init(&faults, 1024);
	r = config_section_set(section, key, value, &faults);
	CHECK(r == 0 || r == -EINVAL);
	CHECK((r == 0) == (buf_len(&faults) == 0));
	snprintf(text, 1024, "%.*s", (int)buf_len(&faults),
		 buf_len(&faults) ? (const char *)buf_head(&faults) : "");
	if (r < 0)
		CHECK(strchr(text, '\n') == text + strlen(text) - 1);
	buf_done(&faults);
	return r;
}

static void takes_size(const char *value, uint64_t bytes)
{
	struct section *section = fresh();
	char text[1024];

	CHECK_EQ(set(section, "keep", value, text), 0);
	CHECK_EQ(section->conn.spool.keep_bytes, bytes);
	config_section_free(section);
}

static void takes_time(const char *value, uint64_t ms)
{
	struct section *section = fresh();
	char text[1024];

	CHECK_EQ(set(section, "ping-timeout", value, text), 0);
	CHECK_EQ(section->conn.ping_timeout_ms, ms);
	config_section_free(section);
}

static void test_units(void)
{
	takes_size("4096", 4096);
	takes_size("4096B", 4096);
	takes_size("5k", 5 << 10);
	takes_size("5KB", 5 << 10);
	takes_size("7 M", 7 << 20);
	takes_size("7MiB", 7 << 20);
	takes_size("3G", 3ull << 30);
	takes_time("0", 0);
	takes_time("7", 7000);
	takes_time("0.5", 500);
	takes_time("0.5s", 500);
	takes_time("1.25min", 75000);
	takes_time("12ms", 12);
	takes_time("3 h", 10800000);
	takes_time("0.1ms", 1); /* not "off" */
	takes_time("0.000000000", 0);
	takes_time("1.0000000001s", 1000);
	takes_time("1000h", 3600000000);
}

/* The line says the key, the value and what would do. */
static void refuses(const char *key, const char *value, const char *said)
{
	struct section *section = fresh(), *before = fresh();
	char text[1024];

	CHECK_EQ(set(section, key, value, text), -EINVAL);
	if (!strstr(text, said))
		fprintf(stderr, "%s = %s: %s", key, value, text);
	CHECK(strstr(text, said));
	CHECK_EQ(config_compare(section, before), 0); /* nothing was changed */
	config_section_free(section);
	config_section_free(before);
}

static void test_refused(void)
{
	for (size_t i = 0; i < config_keys(); i++) {
		struct config_key key;
		char said[64];

		config_key_at(i, &key);
		CHECK(key.name && key.help && *key.help);
		snprintf(said, sizeof(said), "%s has no value", key.name);
		if (!key.in_daemon)
			refuses(key.name, "", said);
	}
	refuses("url", "http:/x", "url 'http:/x' ");
	refuses("url", "ws://h/#frag", "fragment");
	refuses("header", "no colon", "header ");
	refuses("header", "Host: x", "header 'Host' ");
	refuses("header", "X: a\r\nY: b", "header 'X' ");
	refuses("user", "name", "user must be NAME:PASSWORD");
	refuses("user", "na\nme:x", "user must be");
	refuses("origin", "a\tb\r", "origin 'a?b?' holds a character");
	refuses("user-agent", "a\nb", "user-agent 'a?b' holds");
	refuses("cookie", "a\x7f", "cookie holds");
	refuses("subprotocol", "a b(", "has 'b(', which ");
	refuses("subprotocol", "a, a", "has 'a', which has been named before");
	refuses("subprotocol", ", ,", "is empty");
	refuses("cacert", "ca.pem", "cacert 'ca.pem' must begin with /");
	refuses("capath", "./x", "must begin with /");
	refuses("cert", "x", "must begin with /");
	refuses("key", "x", "must begin with /");
	refuses("server-name", "a b", "is not a host name");
	refuses("server-name", ".", "is not a host name");
	refuses("tls-min", "1.1", "tls-min '1.1' is not one of 1.2, 1.3");
	refuses("insecure", "maybe", "insecure 'maybe' must be yes or no");
	refuses("connect-to", "host", "connect-to 'host' must be HOST:PORT");
	refuses("token-command", "", "token-command has no value");
	refuses("proxy", "https://ann:secret@h:1",
		"proxy 'https://***@h:1' is not one of http://, socks5://, socks5h:// and none");
	refuses("proxy", "ann:sec ret@h:1", "proxy '***@h:1' has a blank");
	refuses("proxy", "env", "proxy 'env' is for the command line");
	refuses("proxy", "socks5://ann:@h:1", "proxy 'socks5://***@h:1' has a user or a password of a");
	refuses("proxy", "http://h:1/x", "proxy 'http://h:1/x' has a path");
	refuses("pin", "sha1//AAAA", "has 'sha1//AAAA', which is not sha256// and the 44 characters of a digest");
	refuses("pin", "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=;x", "which is not sha256//");
	refuses("address-family", "ipv5", "is not one of any, ipv4, ipv6");
	refuses("max-message", "0", "must be at least 1\n");
	refuses("max-message", "2G", "max-message '2G' must be at most 2147483647\n");
	refuses("max-message", "-1", "is not a size");
	refuses("max-message", "1T", "is not a size");
	refuses("max-message", "1.5M", "is not a size");
	refuses("max-message", "M", "is not a size");
	refuses("connect-timeout", "0", "must be at least 1ms");
	refuses("connect-timeout", "0.0s", "must be at least 1ms");
	refuses("close-timeout", "0", "must be at least 1ms");
	refuses("ping-interval", "1d", "ping-interval '1d' is not a time");
	refuses("ping-interval", "5m", "is not a time");
	refuses("ping-interval", "1.", "is not a time");
	refuses("ping-interval", "1e3", "is not a time");
	refuses("ping-interval", "-1", "is not a time");
	refuses("ping-interval", "0x10", "is not a time");
	refuses("ping-timeout", "24001h", "must be at most 24000h");
	refuses("ping-timeout", "999999999999999999h", "must be at most 24000h");
	refuses("ping-timeout", "9999999999999999999", "is not a time");
	refuses("reconnect", "yes", "is not one of always, on-failure, never");
	refuses("reconnect-delay", "0", "must be at least 1ms");
	refuses("reconnect-max", "fast", "is not a time");
	refuses("framing", "lines", "is not one of line, nul, length, json, raw");
	refuses("type", "Text", "is not one of text, binary");
	refuses("endpoints", "in fifo",
		"has 'fifo', which is not one of in, out, drain, sock, last, status, file");
	refuses("file-keep", "5K", "is not a number");
	refuses("file-keep", "10001", "must be at most 10000");
	refuses("resend", "perhaps", "must be yes or no");
	refuses("endpoints", "in, in", "has 'in', which has been named before");
	refuses("batch", "2", "must be yes or no");
	refuses("access", "root", "must be user:NAME");
	refuses("access", "user:no-such-user-here", "names a user that does not exist");
	refuses("keep", "4095", "must be at least 4K");
	refuses("keep", "99999999999999G", "must be at most");
	refuses("keep-age", "0", "must be at least 1ms");
	refuses("overflow", "wait", "is not one of drop, block");
	refuses("queue", "0", "must be at least 1\n");
	refuses("queue-ttl", "x", "is not a time");
}

static void test_unknown(void)
{
	refuses("ulr", "x", "unknown key 'ulr' (did you mean 'url'?)");
	refuses("max_message", "1", "unknown key 'max_message' (did you mean 'max-message'?)");
	refuses("ping-intervall", "1", "(did you mean 'ping-interval'?)");
	refuses("headers", "X: y", "(did you mean 'header'?)");
	refuses("URL", "x", "unknown key 'URL'\n");
	refuses("colour", "x", "unknown key 'colour'\n");
	refuses("", "x", "unknown key ''\n");
	refuses("a-key-of-more-than-any-length-that-there-is-in-the-table", "x", "unknown key");
	refuses("compress", "send", "is not one of no, receive, both");
	refuses("memory", "1G", "key 'memory' belongs into section [daemon]");
}

static void test_section(void)
{
	struct section *section = fresh();
	struct buf faults;
	char text[1024];

	buf_init(&faults, 4096);
	CHECK_EQ(config_section_check(section, &faults), -EINVAL);
	CHECK(memmem(buf_head(&faults), buf_len(&faults), "url is missing\n", 15));
	buf_clear(&faults);
	CHECK_EQ(set(section, "url", "ws://a/", text), 0);
	CHECK_EQ(set(section, "url", "ws://b/", text), 0); /* a program's last word counts */
	CHECK_EQ(config_section_check(section, &faults), 0);
	CHECK_EQ(buf_len(&faults), 0);
	CHECK_STR(section->conn.url, "ws://b/");
	CHECK_EQ(strv_len(section->endpoint.endpoints), 5);
	CHECK(!section->file);
	CHECK_EQ(set(section, "key", "/k", text), 0);
	CHECK_EQ(config_section_check(section, &faults), -EINVAL);
	config_section_free(section);
	CHECK(!config_section_free(NULL));
	buf_done(&faults);

	buf_init(&faults, 4096);
	section = NULL;
	CHECK_EQ(config_section_new(&section, "a/b", &faults), -EINVAL);
	CHECK(!section && buf_len(&faults) > 0);
	buf_done(&faults);
}

static void test_names(void)
{
	static const char *const good[] = {"a", "A9", "7", "a.b_c-d", "Daemon", "daemon1"};
	static const char *const wrong[] = {"",    ".",   "..",     "-a",      "_a",        "a/b",
					    "a b", "a\n", "daemon", "control", "a\xc3\xa4", "a:b"};
	char name[66];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		CHECK(config_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CHECK(!config_name_valid(wrong[i]));
	memset(name, 'a', 65);
	name[65] = '\0';
	CHECK(!config_name_valid(name));
	name[64] = '\0';
	CHECK(config_name_valid(name));
}

/* --- faults in files ------------------------------------------------------------------------ */

static void test_faults(void)
{
	faults_are("url = ws://h/\n[a]\nurl = ws://h/\nulr = 1\nkeep = 1\n\n[b]\nbatch = x\n",
		   "FILE:1: key 'url' stands before any [section]\n"
		   "FILE:4: unknown key 'ulr' (did you mean 'url'?)\n"
		   "FILE:5: keep '1' must be at least 4K\n"
		   "FILE:8: batch 'x' must be yes or no\n"
		   "FILE:7: section [b] has no url\n");
	faults_are("[a]\nurl = ws://h/\n[b]\nurl = ws://h/\n[a]\nurl = x\n",
		   "FILE:5: section [a] is there twice, first in FILE:1\n"
		   "FILE:6: url 'x' does not begin with ws://, wss:// or ws+unix:\n");
	faults_are("[a]\nurl = ws://h/\nkeep = 1M\nurl = ws://g/\nkeep = 2M\n",
		   "FILE:4: url is given twice, first in line 2\n"
		   "FILE:5: keep is given twice, first in line 3\n");
	faults_are("[daemon]\n[daemon]\nmemory = 1\nurl = ws://h/\ntoken-file = x\n",
		   "FILE:2: section [daemon] is there twice, first in FILE:1\n"
		   "FILE:3: memory '1' must be at least 1M\n"
		   "FILE:4: key 'url' belongs into a connection's section, not into [daemon]\n"
		   "FILE:5: key 'token-file' belongs into a connection's section, not into [daemon]\n");
	faults_are("[daemon]\nlog-level = loud\nacces = user:root\naccess = nobody\n",
		   "FILE:2: log-level 'loud' is not one of error, warning, info, debug\n"
		   "FILE:3: unknown key 'acces' (did you mean 'access'?)\n"
		   "FILE:4: access 'nobody' must be user:NAME or group:NAME, with :read or :write "
		   "behind if wanted\n");
	CHECK(strstr(load_bad("[control]\nurl = ws://h/\n", 24),
		     "FILE:1: [control] is not a name"));
	CHECK(strstr(load_bad("[a/b]\nurl = ws://h/\nx = 1\n", 26), "FILE:3: unknown key 'x'"));
	CHECK(strstr(load_bad("[a\n", 3), "FILE:1: "));
	CHECK(strstr(load_bad("[a]\nurl = ws://h/\nnonsense\n", 27), "FILE:3: "));
	CHECK(strstr(load_bad("[a]\nurl = ws://h/\0x\n", 20), "FILE:2: "));
}

static void test_combinations(void)
{
	faults_are("[a]\nurl = ws://h/\nkey = /k\n",
		   "FILE:3: key given, but no cert that it belongs to\n");
	faults_are("[a]\nurl = ws+unix:/s:/\nconnect-to = h:1\n",
		   "FILE:3: connect-to cannot be used with a ws+unix: url\n");
	faults_are("[a]\nurl = ws://h/\ntoken-command = x\ntoken-file = y\n",
		   "FILE:3: token-command and token-file cannot be used together\n");
	faults_are("[a]\nurl = ws://h/\npin = sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
		   "FILE:3: pin needs a wss: url: without TLS nobody shows a key\n");
	faults_are("[a]\nurl = ws+unix:/s:/\nproxy = h:1\n",
		   "FILE:3: proxy cannot be used with a ws+unix: url\n");
	faults_are("[a]\nurl = ws://h/\nreconnect-delay = 2min\n",
		   "FILE:3: reconnect-delay is more than reconnect-max\n");
	faults_are("[a]\nurl = ws://h/\nmax-message = 5\non-open = 12345\non-open = 123456\n",
		   "FILE:4: on-open number 2 is longer than max-message\n");
	faults_are("[a]\nurl = ws://h/\non-open = \xff\n",
		   "FILE:3: on-open number 1 is not UTF-8, as type = text needs\n");
	config_free(load_good("[a]\nurl = ws://h/\non-open = \xff\ntype = binary\n"));
	faults_are("[a]\nurl = ws://h/\nheader = authorization: Bearer x\nuser = a:b\n",
		   "FILE:3: header 'Authorization' is what key 'user' sets, too\n");
	config_free(load_good("[a]\nurl = ws://h/\nheader = User-Agent: x\ncert = /c\n"
			      "insecure = yes\ncacert = /ca\nping-interval = 0\n"));
	/* what was refused is not told again as missing */
	faults_are("[a]\nurl = ws://h/#f\nkey = /k\n",
		   "FILE:2: url 'ws://h/#f' has a fragment (#...), "
		   "which WebSocket URLs may not have\n");
}

static void test_secrets(void)
{
	static const char *const texts[] = {
		"[a]\nurl = ws://me:SECRET@h/#f\n",
		"[a]\nurl = ws://me:SEC/RET-SECRET@h/ x\n",
		"[a]\nurl = SECRET@h\n",
		"[a]\nurl = ws://h/\nuser = SECRET\n",
		"[a]\nurl = ws://h/\nuser = me:SECRET\x01\n",
		"[a]\nurl = ws://h/\nheader = SECRET\n",
		"[a]\nurl = ws://h/\nheader = X Y: SECRET\n",
		"[a]\nurl = ws://h/\nheader = X: SECRET\x01\n",
		"[a]\nurl = ws://h/\ncookie = SECRET\x01\n",
		"[a]\nurl = ws://h/\nmax-message = 3\non-open = SECRET\n",
		"[a]\nurl = ws://h/\nuser = a:b\nuser = me:SECRET\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		CHECK(!strstr(load_bad(texts[i], strlen(texts[i])), "SECRET"));
}

/* Whatever the file holds: one fault, one printable line. */
static void test_control_characters(void)
{
	const char *faults = load_bad("[a]\nurl = ws://h/\nkeep = \x1b[31m\x07\xff\n", 33);

	for (const char *c = faults; *c; c++)
		CHECK(*c == '\n' || (*c >= 0x20 && *c < 0x7f));
}

/* --- which files ---------------------------------------------------------------------------- */

static void test_missing(void)
{
	struct config *config;
	char faults[8192], expected[PATH_MAX + 64];

	CHECK_EQ(load(&config, path_of("none.conf"), faults, sizeof(faults)), -EINVAL);
	snprintf(expected, sizeof(expected), "%s: No such file or directory\n",
		 path_of("none.conf"));
	CHECK_STR(faults, expected);

	put("t.conf", "");
	CHECK_EQ(load(&config, path_of("t.conf"), faults, sizeof(faults)), 0);
	CHECK(list_empty(&config->sections));
	config_free(config);

	CHECK_EQ(load(&config, dir, faults, sizeof(faults)), -EINVAL);
	CHECK(*faults);
}

static void test_default_places(void)
{
	struct config *config;
	struct section *section;
	char faults[8192], expected[64] = "";

	CHECK_EQ(mkdir(path_of("etc"), 0700), 0);
	CHECK_EQ(setenv("CONFIGURATION_DIRECTORY", path_of("etc"), 1), 0);
	CHECK_EQ(load(&config, NULL, faults, sizeof(faults)), 0); /* none is there */
	CHECK(list_empty(&config->sections));
	config_free(config);

	CHECK_EQ(mkdir(path_of("etc/conf.d"), 0700), 0);
	put("etc/wspipe.conf", "[daemon]\nmemory = 2M\n[m]\nurl = ws://h/\n");
	put("etc/conf.d/20-b.conf", "[b]\nurl = ws://h/\n");
	put("etc/conf.d/10-c.conf", "[c]\nurl = ws://h/\n");
	put("etc/conf.d/Z.conf", "[z]\nurl = ws://h/\n");
	put("etc/conf.d/.hidden.conf", "nonsense\n");
	put("etc/conf.d/d.conf~", "nonsense\n");
	put("etc/conf.d/.conf", "nonsense\n");
	CHECK_EQ(load(&config, NULL, faults, sizeof(faults)), 0);
	list_for_each(section, &config->sections, link)
		strcat(expected, section->name);
	CHECK_STR(expected, "mcbz");
	CHECK_EQ(config->daemon.memory_bytes, 2 << 20);
	config_free(config);

	put("etc/conf.d/30.conf", "\n[c]\nurl = ws://h/\n[daemon]\n");
	CHECK_EQ(load(&config, NULL, faults, sizeof(faults)), -EINVAL);
	CHECK(strstr(faults, "30.conf:2: section [c] is there twice, first in "));
	CHECK(strstr(faults, "10-c.conf:1\n"));
	CHECK(strstr(faults, "30.conf:4: section [daemon] is there twice, first in "));
	CHECK_EQ(unsetenv("CONFIGURATION_DIRECTORY"), 0);
}

/* What only a user who is not root can see: root has /etc and may read everything. */
static void test_user_places(void)
{
	struct config *config;
	char faults[8192];

	if (geteuid() == 0)
		return;
	CHECK_EQ(mkdir(path_of("home"), 0700), 0);
	CHECK_EQ(mkdir(path_of("home/.config"), 0700), 0);
	CHECK_EQ(mkdir(path_of("home/.config/wspipe"), 0700), 0);
	CHECK_EQ(mkdir(path_of("home/wspipe"), 0700), 0);
	put("home/.config/wspipe/wspipe.conf", "[by-home]\nurl = ws://h/\n");
	put("home/wspipe/wspipe.conf", "[by-xdg]\nurl = ws://h/\n");
	CHECK_EQ(setenv("HOME", path_of("home"), 1), 0);
	CHECK_EQ(setenv("XDG_CONFIG_HOME", path_of("home"), 1), 0);
	CHECK_EQ(load(&config, NULL, faults, sizeof(faults)), 0);
	CHECK_STR(only(config)->name, "by-xdg");
	config_free(config);
	CHECK_EQ(setenv("XDG_CONFIG_HOME", "home", 1), 0); /* relative: as if it were not there */
	CHECK_EQ(load(&config, NULL, faults, sizeof(faults)), 0);
	CHECK_STR(only(config)->name, "by-home");
	config_free(config);

	put("t.conf", "");
	CHECK_EQ(chmod(path_of("t.conf"), 0), 0);
	CHECK_EQ(load(&config, path_of("t.conf"), faults, sizeof(faults)), -EINVAL);
	CHECK(strstr(faults, "t.conf: Permission denied\n"));
	CHECK_EQ(unlink(path_of("t.conf")), 0);
}

static void test_include(void)
{
	struct config *config;
	char faults[8192];

	CHECK_EQ(mkdir(path_of("inc"), 0700), 0);
	put("inc/1.conf", "[i1]\nurl = ws://h/\ncacert = ca.pem\n");
	put("inc/2.conf", "[i2]\nurl = ws://h/\n");
	put("other", "[o]\nurl = ws://h/\n");
	config = load_good("[daemon]\ninclude = inc/*.conf\ninclude = other\ninclude = none/*\n"
			   "memory = 3M\n[t]\nurl = ws://h/\n");
	{
		char names[64] = "", ca[PATH_MAX];
		struct section *section;

		list_for_each(section, &config->sections, link)
			strcat(names, section->name);
		CHECK_STR(names, "i1i2ot");
		section = list_first(&config->sections, struct section, link);
		snprintf(ca, sizeof(ca), "%s", path_of("inc/ca.pem"));
		CHECK_STR(section->conn.dial.tls.cacert, ca);
		CHECK_EQ(config->daemon.memory_bytes, 3 << 20);
		CHECK_EQ(strv_len(config->daemon.include), 3);
	}
	config_free(config);

	put("t.conf", "[daemon]\ninclude = nowhere.conf\n");
	CHECK_EQ(load(&config, path_of("t.conf"), faults, sizeof(faults)), -EINVAL);
	CHECK(strstr(faults, "t.conf:2: include '"));
	CHECK(strstr(faults, "nowhere.conf': No such file or directory\n"));

	/* an included file cannot include, be it itself */
	put("t.conf", "[daemon]\ninclude = t.conf\n");
	CHECK_EQ(load(&config, path_of("t.conf"), faults, sizeof(faults)), -EINVAL);
	CHECK(strstr(faults, "t.conf:1: section [daemon] is there twice, first in "));
}

/* A full FAULTS does not make a bad configuration a good one. */
static void test_little_room(void)
{
	struct config *config;
	struct buf faults;

	put("t.conf", "[a]\nurl = x\n");
	buf_init(&faults, 8);
	CHECK_EQ(config_load(&config, path_of("t.conf"), &faults), -EINVAL);
	CHECK(!config);
	buf_done(&faults);
}

/* --- reload --------------------------------------------------------------------------------- */

static void change_is(const char *key, const char *value, unsigned changes)
{
	struct section *before = fresh(), *after = fresh();
	char text[1024];

	CHECK_EQ(config_compare(before, after), 0);
	CHECK_EQ(set(after, key, value, text), 0);
	CHECK_EQ(config_compare(before, after), changes);
	CHECK_EQ(config_compare(after, before), changes);
	CHECK_EQ(set(before, key, value, text), 0);
	CHECK_EQ(config_compare(before, after), 0);
	config_section_free(before);
	config_section_free(after);
}

static void test_compare(void)
{
	struct section *before = fresh(), *after = fresh();
	char text[1024];

	change_is("url", "ws://h/", REDIAL);
	change_is("header", "X: y", REDIAL);
	change_is("user", "a:b", REDIAL);
	change_is("subprotocol", "a b", REDIAL);
	change_is("cacert", "/x", REDIAL);
	change_is("insecure", "yes", REDIAL);
	change_is("tls-min", "1.3", REDIAL);
	change_is("connect-to", "h:1", REDIAL);
	change_is("proxy", "h:1", REDIAL);
	change_is("header-file", "/f", REDIAL);
	change_is("token-file", "/f", REDIAL);
	change_is("token-command", "x", REDIAL);
	change_is("on-open-file", "/f", LIVE);
	change_is("max-message", "1M", REDIAL | ENDPOINTS);
	change_is("framing", "nul", ENDPOINTS);
	change_is("type", "binary", ENDPOINTS);
	change_is("endpoints", "in", ENDPOINTS);
	change_is("batch", "yes", ENDPOINTS);
	change_is("access", "user:root", ENDPOINTS);
	change_is("keep", "1M", LIVE);
	change_is("keep-age", "1h", LIVE);
	change_is("overflow", "block", LIVE);
	change_is("queue", "2M", LIVE);
	change_is("queue-ttl", "1h", LIVE);
	change_is("ping-interval", "1s", LIVE);
	change_is("reconnect", "never", LIVE);
	change_is("close-timeout", "1s", LIVE);
	change_is("on-open", "hello", LIVE);

	CHECK_EQ(set(after, "keep", "1M", text), 0);
	CHECK_EQ(set(after, "framing", "raw", text), 0);
	CHECK_EQ(set(after, "origin", "http://x", text), 0);
	CHECK_EQ(config_compare(before, after), LIVE | ENDPOINTS | REDIAL);
	config_section_free(before);
	config_section_free(after);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
	(void)info;
	(void)type;
	(void)ftw;
	return remove(path);
}

int main(void)
{
	CHECK(mkdtemp(dir));
	test_defaults();
	test_every_key();
	test_units();
	test_refused();
	test_unknown();
	test_section();
	test_preset();
	test_names();
	test_faults();
	test_combinations();
	test_secrets();
	test_control_characters();
	test_missing();
	test_default_places();
	test_user_places();
	test_include();
	test_little_room();
	test_compare();
	CHECK_EQ(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	return 0;
}
