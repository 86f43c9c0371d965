/* The control socket of a whole daemon (only the network, commands and log files are stand-ins):
 * whatever a client says, he gets lines of JSON, leaves nothing behind, and the next one is served.
 *
 * Input: a byte (bit 0: the connection "feed" is open, 1: it has received something, 2: the client
 * reads what is streamed to him, 3: he hangs up at once, 4: the daemon does), a byte (number of
 * cuts), the cuts, what the client says. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <event2/event.h>

#include "base/log.h"
#include "base/loop.h"
#include "codec/json.h"
#include "codec/utf8.h"
#include "control/control.h"
#include "endpoint/filelog.h"
#include "net/dial.h"
#include "scratch.h"
#include "service/service.h"
#include "ws.h"

enum { CUTS_MAX = 16, LEN_MAX = 32 * 1024, ANSWER_MAX = 4 << 20, TURNS = 6 };

static const char config_text[] =
	"[feed]\nurl = ws://192.0.2.1/\nendpoints = last status\nid = /id\n";

/* --- stand-ins: only the first who dials gets through, and only when we say so
 * ------------------------- */

struct dial {
	const struct dial_events *events;
	void *owner;
};

static struct dial *first_dial;
static unsigned dials;

int dial_start(struct dial **ret, const struct url *url, const struct dial_options *options,
	       const struct dial_events *events, void *owner)
{
	struct dial *dial = calloc(1, sizeof(*dial));

	(void)url, (void)options;
	if (!dial)
		return -ENOMEM;
	dial->events = events;
	dial->owner = owner;
	if (dials++ == 0)
		first_dial = dial;
	*ret = dial;
	return 0;
}

struct dial *dial_free(struct dial *dial)
{
	if (dial && dial == first_dial)
		first_dial = NULL;
	free(dial);
	return NULL;
}

const char *dial_step(const struct dial *dial)
{
	(void)dial;
	return "connecting to nowhere";
}

int dial_check_address(const char *text)
{
	return strchr(text, ':') ? 0 : -EINVAL;
}

/* --- stand-ins: a log file could have any name
 * -------------------------------------------------------- */

int filelog_new(struct filelog **ret, struct conn *conn, const struct endpoint_options *options,
		const struct access *access)
{
	(void)ret, (void)conn, (void)options, (void)access;
	return -EROFS;
}

struct filelog *filelog_free(struct filelog *filelog)
{
	HOLDS(!filelog);
	return NULL;
}

void filelog_set_options(struct filelog *filelog, const struct endpoint_options *options)
{
	(void)filelog, (void)options;
}

void filelog_reopen(struct filelog *filelog)
{
	(void)filelog;
}

int filelog_describe(const struct filelog *filelog, struct buf *out)
{
	(void)filelog, (void)out;
	return 0;
}

/* --- the daemon ---------------------------------------------------------------------------------
 */

static struct service *service;
static struct control *control;

static void turns(int n)
{
	for (int i = 0; i < n; i++)
		HOLDS(event_base_loop(loop_base(), EVLOOP_NONBLOCK) >= 0);
}

static void open_feed(bool with_news)
{
	HOLDS(first_dial);
	first_dial->events->connected(first_dial->owner, fake_ws_transport());
	fake_ws_open(fake_ws_now());
	if (with_news) {
		fake_ws_text(fake_ws_now(), "{\"id\":1,\"news\":true}");
		fake_ws_text(fake_ws_now(), "more");
	}
	turns(1);
}

static void start(uint8_t flags)
{
	struct service_options options = {.runtime_fd = scratch_fd, .runtime_dir = scratch_path};
	struct config *config = NULL;
	static char path[PATH_MAX + 16];
	struct buf faults;

	snprintf(path, sizeof(path), "%s/wspipe.conf", scratch_path);
	options.config_file = path;
	scratch_put("wspipe.conf", config_text, sizeof(config_text) - 1);
	HOLDS(loop_init() == 0);
	buf_init(&faults, 4096);
	HOLDS(config_load(&config, path, &faults) == 0);
	buf_done(&faults);
	config->daemon.log_level = LOG_LEVEL_ERROR - 1;
	HOLDS(service_new(&service, &options, config) == 0);
	HOLDS(control_new(&control, service, scratch_fd, NULL, NULL) == 0);
	turns(2);
	if (flags & 1)
		open_feed(flags & 2);
}

static void stop(void)
{
	control = control_free(control);
	service = service_free(service);
	fake_ws_forget();
	dials = 0;
	loop_done();
	HOLDS(faccessat(scratch_fd, "control", F_OK, 0) < 0);
	scratch_clear();
}

/* --- a client ------------------------------------------------------------------------------------
 */

struct client {
	int fd, stream_fd;
	struct buf heard;
	bool ended;
};

static void client_start(struct client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*client = (struct client){.stream_fd = -1};
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	HOLDS(snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", scratch_path) <
	      (int)sizeof(address.sun_path));
	HOLDS(connect(client->fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	buf_init(&client->heard, ANSWER_MAX);
}

static void client_take_fd(struct client *client, struct msghdr *msg)
{
	if (msg->msg_controllen == 0)
		return;
	HOLDS(client->stream_fd < 0); /* one at most */
	memcpy(&client->stream_fd, CMSG_DATA(CMSG_FIRSTHDR(msg)), sizeof(int));
}

static void client_hear(struct client *client)
{
	static uint8_t bytes[64 * 1024];

	for (;;) {
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(sizeof(int))];
		} ancillary;
		struct iovec iov = {bytes, sizeof(bytes)};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = ancillary.bytes,
				     .msg_controllen = sizeof(ancillary.bytes)};
		ssize_t n = recvmsg(client->fd, &msg, MSG_CMSG_CLOEXEC);

		client->ended = client->ended || n == 0 || (n < 0 && errno != EAGAIN);
		if (n <= 0)
			return;
		client_take_fd(client, &msg);
		HOLDS(buf_append(&client->heard, bytes, (size_t)n) == 0);
	}
}

/* What a program does with a stream: it writes something, and reads. */
static void client_use_stream(struct client *client)
{
	static uint8_t bytes[64 * 1024];

	if (client->stream_fd < 0)
		return;
	if (write(client->stream_fd, "{\"id\":7}\nhello\n", 15) < 0)
		HOLDS(errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
	turns(TURNS);
	while (read(client->stream_fd, bytes, sizeof(bytes)) > 0)
		continue;
	shutdown(client->stream_fd, SHUT_WR);
	turns(TURNS);
}

static void client_say(struct client *client, struct food cuts, struct food words)
{
	while (words.len > 0) {
		struct food piece = take_bytes(&words, next_cut(&cuts, words.len));
		ssize_t n = send(client->fd, piece.at, piece.len, MSG_NOSIGNAL);

		if (n < 0)
			HOLDS(errno == EPIPE || errno == ECONNRESET || errno == EAGAIN);
		turns(1);
	}
}

/* Each line is JSON in UTF-8; the first says whether it is ok, the others are events. */
static void check_heard(const struct client *client)
{
	struct food food = {buf_head(&client->heard), buf_len(&client->heard)};
	bool first = true;

	HOLDS(food.len == 0 || food.at[food.len - 1] == '\n');
	for (; food.len > 0; first = false) {
		struct food line = take_until(&food, '\n');
		const char *text = (const char *)line.at;
		struct json_span span;

		HOLDS(utf8_valid(line.at, line.len) && json_valid(text, line.len));
		HOLDS(json_find(text, line.len, first ? "/ok" : "/event", &span) == 1);
		if (first && !json_is_true(&span)) {
			HOLDS(json_find(text, line.len, "/exit", &span) == 1);
			HOLDS(json_find(text, line.len, "/error", &span) == 1);
			HOLDS(json_find(text, line.len, "/message", &span) == 1);
			HOLDS(client->stream_fd < 0 && food.len == 0);
		}
	}
}

static void client_end(struct client *client)
{
	if (client->stream_fd >= 0)
		close(client->stream_fd);
	close(client->fd);
	buf_done(&client->heard);
	turns(TURNS);
}

static void run_client(uint8_t flags, struct food cuts, struct food words)
{
	struct client client;

	client_start(&client);
	client_say(&client, cuts, words);
	if (flags & 16) { /* the daemon ends first */
		stop();
		close(client.fd);
		buf_done(&client.heard);
		return;
	}
	if (!(flags & 8)) {
		turns(TURNS);
		client_hear(&client);
		if (flags & 4)
			client_use_stream(&client);
		shutdown(client.fd, SHUT_WR);
		turns(TURNS);
		client_hear(&client);
		check_heard(&client);
	}
	client_end(&client);
}

/* Whoever comes next is answered, and there is nobody else. */
static void check_next(void)
{
	static const char question[] = "{\"version\":1,\"verb\":\"status\"}\n";
	bool stopping = service_stopping(service);
	struct client client;
	struct json_span span;

	client_start(&client);
	client_say(&client, (struct food){NULL, 0},
		   (struct food){(const uint8_t *)question, sizeof(question) - 1});
	turns(TURNS);
	client_hear(&client);
	check_heard(&client);
	HOLDS(json_find((char *)buf_head(&client.heard), buf_len(&client.heard), "/ok", &span) ==
	      1);
	HOLDS(client.ended && json_is_true(&span) == !stopping);
	client_end(&client);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LEVEL_ERROR - 1);
	scratch_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, cuts;
	uint8_t flags = take_byte(&food);

	cuts = take_bytes(&food, take_byte(&food) % CUTS_MAX);
	food.len = food.len < LEN_MAX ? food.len : LEN_MAX;
	start(flags);
	run_client(flags, cuts, food);
	if (flags & 16)
		return 0;
	check_next();
	stop();
	return 0;
}
