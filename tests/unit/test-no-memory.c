/* No memory: each allocation of what makes, sets or fills an object fails in turn, first alone and
 * then with all behind it.  It says -ENOMEM, holds nothing more than before, and what there was is
 * as it was. Here are base, codec and net. */
#include <dirent.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/child.h"
#include "base/command.h"
#include "base/file.h"
#include "base/command.h"
#include "base/strv.h"
#include "certs.h"
#include "codec/deflate.h"
#include "codec/frame.h"
#include "codec/json.h"
#include "codec/member.h"
#include "codec/url.h"
#include "fail.h"
#include "net/assembly.h"
#include "net/dial.h"
#include "net/links.h"
#include "net/lookup.h"
#include "net/proxy.h"
#include "net/sessions.h"
#include "net/tls.h"
#include "net/transport.h"
#include "net/ws.h"
#include "net/wsout.h"

enum { BIG = 5000, SOME_TIMERS = 40 };

static char big[BIG + 1];
static const char *problem;

/* Of the directory, with the two that are always there. */
static int entries(void)
{
	DIR *dir = opendir(fail_root);
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- base ---- */

static int try_loop(void)
{
	int r = TRY(loop_init());

	if (r == 0)
		loop_done();
	CHECK(!loop_base());
	return r;
}

static int try_timers(void)
{
	struct timer timer[SOME_TIMERS] = {0};
	int r = 0;

	for (int i = 0; i < SOME_TIMERS && r == 0; i++)
		r = TRY(timer_init(&timer[i], nothing, NULL));
	for (int i = 0; i < SOME_TIMERS; i++)
		timer_done(&timer[i]);
	return r;
}

static int fill_buf(struct buf *buf)
{
	int r;

	CHECK_EQ(buf_append(buf, "abc", 3), 0);
	r = TRY(buf_append(buf, big, BIG));
	CHECK_EQ(buf_len(buf), r < 0 ? 3 : 3 + BIG);
	if (r == 0)
		r = TRY(buf_printf(buf, "%s%s", big, big));
	CHECK(buf_len(buf) >= 3 && memcmp(buf_head(buf), "abc", 3) == 0);
	buf_done(buf);
	return r;
}

static int try_buf(void)
{
	struct buf buf;

	buf_init(&buf, 4 * BIG);
	return fill_buf(&buf);
}

static int try_secret_buf(void)
{
	struct buf buf;

	buf_init_secret(&buf, 4 * BIG);
	return fill_buf(&buf);
}

static int try_strv(void)
{
	char **strv = NULL, **copy = NULL;
	int r;

	CHECK_EQ(strv_append(&strv, "a"), 0);
	r = TRY(strv_append(&strv, "b"));
	CHECK_EQ(strv_len(strv), r < 0 ? 1 : 2);
	CHECK_STR(strv[0], "a");
	if (r == 0)
		r = TRY(strv_copy(&copy, strv));
	CHECK(r < 0 || strv_equal(copy, strv));
	if (r == 0)
		strv_free(copy);
	strv_free(strv);
	return r;
}

/* There is always a room. */
static int try_cause_room(void)
{
	struct cause *place = NULL, *room;

	fail_begin();
	room = cause_room(&place);
	fail_end(0);
	CHECK(room);
	cause_set(room, CAUSE_LOCAL, ENOMEM, "none");
	CHECK_STR(room->text, "none");
	cause_free(place);
	return 0;
}

static void command_line(void *owner, const char *text)
{
	(void)owner, (void)text;
}

static int start_command(const struct command_options *options)
{
	static const struct command_events events = {command_line, nothing};
	struct command *command = NULL;
	int r = TRY(command_start(&command, options, &events, NULL));

	CHECK(r == 0 || !command);
	command_free(command);
	return r;
}

static int try_command_secret(void)
{
	return start_command(&(struct command_options){.line = "sleep 10", .secret_max = 100});
}

static int try_command_input(void)
{
	static char *environment[] = {(char *)"PATH=/bin:/usr/bin", NULL};

	return start_command(&(struct command_options){.line = "sleep 10",
						       .environment = environment,
						       .input = (const uint8_t *)"x",
						       .input_len = 1});
}

static int try_child(void)
{
	const struct child_options options = {"sleep 10", NULL, -1, STDERR_FILENO, STDERR_FILENO};
	struct child *child = NULL;
	int r = TRY(child_start(&child, &options, nothing, NULL));

	CHECK(r == 0 || !child);
	child_free(child);
	return r;
}

static int try_files(void)
{
	int fd = -1, before = entries(), r;
	char path[300];
	struct buf buf;

	buf_init(&buf, 100);
	CHECK_EQ(file_replace(fail_root_fd, "file", "old", 3, NULL, 0), 0);
	r = TRY(file_replace(fail_root_fd, "file", "new", 3, NULL, 0));
	CHECK_EQ(file_read(fail_root_fd, "file", &buf), 0);
	CHECK(memcmp(buf_head(&buf), r < 0 ? "old" : "new", 3) == 0);
	CHECK_EQ(unlinkat(fail_root_fd, "file", 0), 0);
	buf_done(&buf);
	if (r == 0)
		r = TRY(file_listen(fail_root_fd, "listen", NULL, 0, &fd));
	if (r == 0) {
		close(fd);
		CHECK_EQ(unlinkat(fail_root_fd, "listen", 0), 0);
		snprintf(path, sizeof(path), "%s/a/b", fail_root);
		r = TRY(file_make_dirs(path, 0700));
		rmdir(path);
		path[strlen(path) - 2] = '\0';
		rmdir(path);
	}
	CHECK_EQ(entries(), before);
	return r;
}

/* ---- codec ---- */

static const struct deflate_terms terms = {.agreed = true};

static int try_inflater(void)
{
	static const uint8_t hello[] = {0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00};
	struct inflater *inflater;
	struct buf out;
	int r = TRY(inflater_new(&inflater, &terms));

	if (r < 0)
		return r;
	buf_init(&out, 100);
	r = TRY(inflater_feed(inflater, hello, sizeof(hello), true, &out, &problem));
	CHECK(r < 0 || (buf_len(&out) == 5 && memcmp(buf_head(&out), "Hello", 5) == 0));
	inflater_free(inflater);
	buf_done(&out);
	return r;
}

/* What cannot be packed is sent as it is. */
static int try_deflater(void)
{
	struct deflater *deflater;
	const uint8_t *packed;
	size_t len;
	int r = TRY(deflater_new(&deflater, &terms));

	if (r < 0)
		return r;
	r = TRY(deflater_pack(deflater, (uint8_t *)big, BIG, &packed, &len));
	CHECK_EQ(r, fail.failed ? DEFLATER_PLAIN : DEFLATER_PACKED);
	CHECK_EQ(deflater_pack(deflater, (uint8_t *)big, BIG, &packed, &len), DEFLATER_PACKED);
	deflater_free(deflater);
	return 0;
}

static int try_encode(void)
{
	struct msg msg = message(big);
	struct frame_parts parts;
	struct buf out;
	int r;

	frame_scan(&msg);
	buf_init(&out, 10 * BIG);
	CHECK_EQ(buf_append(&out, "x", 1), 0);
	r = TRY(frame_encode(FRAMING_JSON, MSG_TEXT, &msg, &parts, &out));
	CHECK(r == -ENOMEM ? buf_len(&out) == 1 : r == FRAME_ENCODED);
	buf_done(&out);
	return r < 0 ? r : 0;
}

static bool is(const struct msg *msg, const char *text)
{
	return msg->len == strlen(text) && memcmp(msg->data, text, msg->len) == 0;
}

/* Asked again it goes on, with nothing lost. */
static int next(struct decoder *decoder, int expected, struct msg *ret)
{
	int r = TRY(decoder_next(decoder, ret, &problem));

	if (r == -ENOMEM)
		CHECK_EQ(decoder_next(decoder, ret, &problem), expected);
	else
		CHECK_EQ(r, expected);
	return r < 0 ? r : 0;
}

/* Only what had to be unwrapped is refused, and said to be. */
static int next_unwrapped(struct decoder *decoder, struct msg *ret)
{
	int r = TRY(decoder_next(decoder, ret, &problem));

	if (r == -ENOMEM)
		r = decoder_next(decoder, ret, &problem);
	if (r == DECODER_BAD) {
		CHECK_STR(problem, "needs more memory than there is");
		return -ENOMEM;
	}
	CHECK_EQ(r, DECODER_MSG);
	CHECK(is(ret, "Hello"));
	return fail.failed > 0 ? -ENOMEM : 0;
}

static int try_decode(void)
{
	static const char *const pieces[] = {"data:;base64,SGVs", "bG8=\none\ntwo\nthr", "ee\n"};
	struct decoder decoder;
	struct msg msg;
	int kept, r;

	decoder_init(&decoder, FRAMING_LINE, MSG_TEXT, 1000);
	decoder_feed(&decoder, (const uint8_t *)pieces[0], strlen(pieces[0]));
	r = next(&decoder, DECODER_MORE, &msg);
	decoder_feed(&decoder, (const uint8_t *)pieces[1], strlen(pieces[1]));
	r |= next_unwrapped(&decoder, &msg);
	r |= next(&decoder, DECODER_MSG, &msg);
	CHECK(is(&msg, "one"));
	kept = TRY(decoder_keep(&decoder));
	r |= next(&decoder, DECODER_MSG, &msg);
	CHECK(is(&msg, "two"));
	r |= next(&decoder, DECODER_MORE, &msg);
	decoder_feed(&decoder, (const uint8_t *)pieces[2], strlen(pieces[2]));
	r |= next(&decoder, DECODER_MSG, &msg);
	CHECK(is(&msg, "three"));
	decoder_done(&decoder);
	return r | kept ? -ENOMEM : 0;
}

static int try_json(void)
{
	const char *text = "\"a\\u0041\\n\"";
	const struct json_span span = {text, strlen(text)};
	char *string = NULL;
	struct buf out;
	int r = TRY(json_unquote_str(&span, &string));

	if (r < 0)
		return r;
	CHECK_STR(string, "aA\n");
	free(string);
	buf_init(&out, 10 * BIG);
	r = TRY(json_quote_str(&out, big));
	buf_done(&out);
	return r;
}

static int try_member(void)
{
	struct member_path path = {0};
	int r = TRY(member_path_init(&path, "/a/b~1c/0"));

	CHECK(r < 0 || path.steps == 3);
	if (r == 0)
		member_path_done(&path);
	return r;
}

static const char *const urls[] = {
	"ws://example.org?x",       "wss://us%20er:pw@Example.org:8443/x?y",
	"ws://[fe80::1%25lo]:81/x", "ws+unix:/tmp/a.sock:/x",
	"https://example.org",
};

static int try_urls(void)
{
	struct url url;
	int r = 0;

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls) && r == 0; i++) {
		r = TRY(url_parse(&url, urls[i], &problem));
		if (r == 0)
			url_done(&url);
	}
	return r;
}

static int try_references(void)
{
	static const char *const references[] = {"/y", "y?z", "?q", "//other/x", "wss://other:1/"};
	struct url base, url;
	int r = 0;

	CHECK_EQ(url_parse(&base, urls[1], &problem), 0);
	for (size_t i = 0; i < sizeof(references) / sizeof(*references) && r == 0; i++) {
		r = TRY(url_resolve(&url, &base, references[i], &problem));
		if (r == 0)
			url_done(&url);
	}
	url_done(&base);
	return r;
}

/* ---- net ---- */

static int try_proxy_address(void)
{
	static const char *const texts[] = {"http://u:p@[fe80::1%25lo]:3128", "socks5h://host",
					    "host"};
	struct proxy_address address;
	int r = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts) && r == 0; i++) {
		r = TRY(proxy_parse(&address, texts[i], &problem));
		if (r == 0)
			proxy_address_done(&address);
	}
	return r;
}

/* Both ends do not block. */
static void make_pair(int ends[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0;
}

static void proxy_ready(void *owner, int fd)
{
	(void)owner, (void)fd;
	CHECK(!"ready");
}

static void proxy_failed(void *owner, const struct cause *cause)
{
	(void)owner, (void)cause;
}

static int try_proxy(void)
{
	static const struct proxy_events events = {proxy_ready, proxy_failed};
	struct proxy_address address;
	struct proxy *proxy = NULL;
	int ends[2], r;

	CHECK_EQ(proxy_parse(&address, "http://u:p@host:1", &problem), 0);
	make_pair(ends);
	r = TRY(proxy_start(&proxy, ends[0], &address, "example.org", 443, &events, NULL));
	CHECK(r == 0 || !proxy);
	proxy_free(proxy);
	CHECK(is_closed(ends[0]));
	close(ends[1]);
	proxy_address_done(&address);
	return r;
}

/* There may be none in a sandbox. */
static int try_links(void)
{
	struct links *links = NULL;
	int r = TRY(links_new(&links, nothing, NULL));

	CHECK(r == 0 || !links);
	links_free(links);
	return r == -ENOMEM ? r : 0;
}

static int try_lookup(void)
{
	struct lookup *lookup = NULL;
	int r = TRY(lookup_start(&lookup, "127.0.0.1", 80, AF_UNSPEC, nothing, NULL));

	CHECK(r == 0 || !lookup);
	lookup_free(lookup);
	return r;
}

static int try_transport(void)
{
	struct transport *transport = NULL;
	uint8_t *tail;
	int ends[2], r;

	make_pair(ends);
	r = TRY(transport_new(&transport, ends[0], NULL));
	CHECK(r == 0 || !transport);
	if (r == 0) {
		r = TRY(transport_reserve(transport, BIG, &tail));
		CHECK_EQ(transport_committed(transport), 0);
		CHECK_EQ(transport_reserve(transport, BIG, &tail), 0);
	}
	transport_free(transport);
	CHECK(is_closed(ends[0]));
	close(ends[1]);
	return r;
}

static void ws_nothing(void *owner)
{
	(void)owner;
}

static void ws_message(void *owner, const struct msg *msg)
{
	(void)owner, (void)msg;
}

static void ws_pong(void *owner, uint64_t mark, uint32_t rtt_us)
{
	(void)owner, (void)mark, (void)rtt_us;
}

static void ws_ended(void *owner, const struct cause *cause)
{
	(void)owner, (void)cause;
}

static int try_ws(void)
{
	static const struct ws_events events = {ws_nothing, ws_message, ws_nothing, ws_pong,
						ws_ended};
	const struct ws_options options = {.upgrade.compress = DEFLATE_BOTH,
					   .max_message_bytes = 1000};
	struct transport *transport;
	struct ws *ws = NULL;
	struct url url;
	int ends[2], r;

	CHECK_EQ(url_parse(&url, urls[1], &problem), 0);
	make_pair(ends);
	CHECK_EQ(transport_new(&transport, ends[0], NULL), 0);
	r = TRY(ws_start(&ws, transport, &url, &options, &events, NULL));
	CHECK(r == 0 || !ws);
	ws_free(ws);
	CHECK(is_closed(ends[0]));
	close(ends[1]);
	url_done(&url);
	return r;
}

static int try_wsout(void)
{
	struct transport *transport;
	struct msg msg = message(big);
	struct wsout out;
	int ends[2], r;

	make_pair(ends);
	CHECK_EQ(transport_new(&transport, ends[0], NULL), 0);
	wsout_init(&out, transport);
	r = TRY(wsout_compress(&out, &terms));
	if (r == 0) {
		r = TRY(wsout_send(&out, &msg));
		CHECK(r == 0 || out.queued == 0);
		CHECK_EQ(wsout_send(&out, &msg), 0); /* nothing was taken */
	}
	wsout_done(&out);
	transport_free(transport);
	close(ends[1]);
	return r;
}

static int try_assembly(void)
{
	struct assembly assembly;
	struct msg msg;
	int r;

	assembly_init(&assembly, 2 * BIG);
	r = TRY(assembly_inflate(&assembly, &terms));
	if (r == 0) {
		CHECK(assembly_begin(&assembly, MSG_TEXT, false, BIG));
		r = TRY(assembly_take(&assembly, (uint8_t *)big, BIG, false, &msg));
		CHECK(r == ASSEMBLY_MORE || r == -ENOMEM);
	}
	assembly_done(&assembly);
	return r < 0 ? r : 0;
}

static int try_sessions(void)
{
	struct sessions *sessions = NULL;
	int r = TRY(sessions_new(&sessions));

	CHECK(r == 0 || !sessions);
	sessions_free(sessions);
	return r;
}

/* OpenSSL sets itself up once in a process, so each is one of its own.  True: nothing was left to
 * fail. */
static bool start_tls_without(unsigned long n)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		fail_set(n, n + 1);
		_exit(TRY(tls_start()) == (fail.failed ? -ENOMEM : 0) ? fail.failed > 0 : 2);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 0;
}

/* Of some thousand; with the steps growing, for the first are as good as any. */
static void check_tls_start(void)
{
	unsigned long n = 1;

	for (int i = 0; i < 40 && !start_tls_without(n); i++)
		n += 5 + n / 5;
	CHECK(n > 1000);
	CHECK(start_tls_without(ULONG_MAX - 1));
}

/* An authority that lacks its key since memory was refused would verify nothing for as long as the
 * context is kept.  In a process of its own: what OpenSSL keeps for ever is no leak. */
static void try_contexts(const char *path)
{
	const struct tls_options options = {.cacert = (char *)path};
	struct ssl_ctx_st *context;
	struct cause cause;
	unsigned long n = 0;
	int r;

	fail_set(0, 0);
	do {
		context = NULL;
		r = TRY(tls_context_new(&context, &options, &cause));
		CHECK_EQ(r, fail.failed ? -ENOMEM : 0);
		CHECK(r == 0 || (cause.class == CAUSE_LOCAL && cause.code == ENOMEM));
		tls_context_free(context);
		n += 1 + n / 50;
		fail_set(n, n + 1);
	} while (n == 1 || r < 0);
	CHECK(n > 1000);
}

static void check_tls_contexts(void)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		struct cert ca;
		char path[100];

		CHECK_EQ(tls_start(), 0);
		ca = cert_new(&(struct cert_want){.cn = "ca", .ca = true}, NULL);
		snprintf(path, sizeof(path), "%s/ca.pem", fail_root);
		cert_write(&ca, path, NULL);
		try_contexts(path);
		CHECK_EQ(unlink(path), 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static unsigned dialed;

static void dial_connected(void *owner, struct transport *transport)
{
	(void)owner;
	dialed++;
	transport_free(transport);
}

static void dial_failed(void *owner, const struct cause *cause)
{
	(void)owner;
	CHECK_EQ(cause->class, CAUSE_LOCAL);
	dialed++;
}

/* Also what it does later, of which one outcome is told. */
static int try_dial(void)
{
	static const struct dial_events events = {dial_connected, dial_failed};
	const struct dial_options options = {0};
	struct dial *dial = NULL;
	char text[200];
	struct url url;
	int listener, r;

	dialed = 0;
	CHECK_EQ(file_listen(fail_root_fd, "listen", NULL, 0, &listener), 0);
	snprintf(text, sizeof(text), "ws+unix:%s/listen:/", fail_root);
	CHECK_EQ(url_parse(&url, text, &problem), 0);
	fail_begin();
	r = dial_start(&dial, &url, &options, &events, NULL);
	CHECK(r == 0 || !dial);
	if (r == 0) {
		turns_of_loop(10);
		CHECK_EQ(dialed, 1);
	}
	fail_end(0);
	dial_free(dial);
	turns_of_loop(1);
	close(listener);
	CHECK_EQ(unlinkat(fail_root_fd, "listen", 0), 0);
	url_done(&url);
	return r;
}

static const struct attempt without_loop[] = {
	{"timers", try_timers, false},
	{"loop", try_loop, true},
};

static const struct attempt attempts[] = {
	{"buf", try_buf, false},
	{"secret buf", try_secret_buf, false},
	{"strv", try_strv, false},
	{"cause_room", try_cause_room, true},
	{"command, secret", try_command_secret, false},
	{"child", try_child, false},
	{"command, input", try_command_input, false},
	{"file", try_files, false},
	{"inflater", try_inflater, false},
	{"deflater", try_deflater, true},
	{"frame_encode", try_encode, false},
	{"decoder", try_decode, false},
	{"json", try_json, false},
	{"member", try_member, false},
	{"url_parse", try_urls, false},
	{"url_resolve", try_references, false},
	{"proxy_parse", try_proxy_address, false},
	{"proxy", try_proxy, false},
	{"links", try_links, false},
	{"lookup", try_lookup, false},
	{"transport", try_transport, true},
	{"ws", try_ws, false},
	{"wsout", try_wsout, true},
	{"assembly", try_assembly, false},
	{"sessions", try_sessions, false},
	{"dial", try_dial, true},
};

int main(void)
{
	fail_init();
	memset(big, 'x', BIG);
	check_tls_start();
	fail_open_root();
	check_tls_contexts();
	walk_all(without_loop, sizeof(without_loop) / sizeof(*without_loop));
	CHECK_EQ(loop_init(), 0);
	warm_up();
	walk_all(attempts, sizeof(attempts) / sizeof(*attempts));
	loop_done();
	fail_close_root();
	return 0;
}
