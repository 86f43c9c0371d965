/* control, peer, request, verbs, flow and status on a real service, with connections that find
 * nobody at the other end.  The client is a process of its own and does the checking; what needs an
 * open WebSocket is in tests/system. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "check.h"
#include "codec/json.h"
#include "control/control.h"
#include "control/protocol.h"
#include "service/service.h"

/* --- the client ----------------------------------------------------------------------------- */

static char directory[] = "/tmp/test-control-XXXXXX";
static struct timer stop_timer;
static char line[1024 * 1024];
static size_t line_len;

static int session(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", directory);
	CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* One line into `line`; false: end of file.  A descriptor that comes with it goes to *ret_fd. */
static bool next_line(int fd, int *ret_fd)
{
	for (line_len = 0; line_len < sizeof(line); line_len++) {
		char control[CMSG_SPACE(sizeof(int))];
		struct iovec iov = {line + line_len, 1};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

		if (n <= 0)
			return false;
		if (msg.msg_controllen && ret_fd)
			memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
		if (line[line_len] == '\n')
			break;
	}
	CHECK(json_valid(line, line_len));
	return true;
}

static bool is(const char *pointer, const char *value)
{
	struct json_span span;

	if (json_find(line, line_len, pointer, &span) != 1)
		return false;
	return span.len == strlen(value) && memcmp(span.at, value, span.len) == 0;
}

static bool says(const char *words)
{
	return memmem(line, line_len, words, strlen(words)) != NULL;
}

static int ask(const char *request)
{
	int fd = session();

	CHECK_EQ(write(fd, request, strlen(request)), strlen(request));
	CHECK_EQ(write(fd, "\n", 1), 1);
	return fd;
}

/* A verb with one answer, then end of file. */
static void ask_once(const char *request)
{
	int fd = ask(request);
	char byte;

	CHECK(next_line(fd, NULL));
	CHECK_EQ(read(fd, &byte, 1), 0);
	close(fd);
}

static void await_event(int fd, const char *event)
{
	do {
		CHECK(next_line(fd, NULL));
	} while (!is("/event", event));
}

static void client_refusals(void)
{
	ask_once("rubbish");
	CHECK(is("/ok", "false") && is("/exit", "2") && is("/error", "\"usage\""));
	ask_once("{\"verb\":\"sta\xfftus\"}");
	CHECK(is("/exit", "2"));
	ask_once("[]");
	CHECK(is("/exit", "2"));
	ask_once("{\"verb\":\"dance\"}");
	CHECK(is("/exit", "2") && says("verb"));
	ask_once("{\"version\":2,\"verb\":\"status\"}");
	CHECK(is("/exit", "2") && says("version"));
	ask_once("{\"verb\":\"recv\",\"name\":\"x\\\"y\"}");
	CHECK(is("/exit", "4") && is("/error", "\"no-such-connection\"") && says("'x\\\"y'"));
	ask_once("{\"verb\":\"recv\",\"name\":7}");
	CHECK(is("/exit", "2"));
	ask_once("{\"verb\":\"recv\",\"framing\":\"no\"}");
	CHECK(is("/exit", "2"));
	ask_once("{\"verb\":\"close\"}");
	CHECK(is("/exit", "2") && says("close needs the name"));
	ask_once("{\"verb\":\"reload\"}");
	CHECK(is("/exit", "2") && says("wspipe.conf:2: ") && !says("\xff"));
	ask_once("{\"verb\":\"open\",\"url\":\"ws://[::1]:1/\"}");
	CHECK(is("/exit", "2") && says("name"));
	ask_once("{\"verb\":\"open\",\"name\":\"a\",\"url\":\"ws://[::1]:1/\","
		 "\"options\":{\"no-such\":[\"1\"]}}");
	CHECK(is("/exit", "2") && says("no-such"));
	ask_once("{\"verb\":\"open\",\"name\":\"a\",\"url\":\"ws://[::1]:1/"
		 "\",\"options\":{\"keep\":[1]}}");
	CHECK(is("/exit", "2") && says("keep: not a string"));
	ask_once("{\"verb\":\"open\",\"name\":\"a\",\"url\":\"ws://[::1]:1/\",\"options\":[]}");
	CHECK(is("/exit", "2"));
}

static void client_long_line(void)
{
	int fd = session();

	memset(line, ' ', 65536);
	for (int i = 0; i < 17; i++)
		if (send(fd, line, 65536, MSG_NOSIGNAL) < 0)
			break;
	CHECK(next_line(fd, NULL));
	CHECK(is("/exit", "2") && says("longer"));
	close(fd);
}

/* Slow bytes, and an end of file right behind the request: the answer still comes. */
static void client_half_close(void)
{
	static const char request[] = "{\"verb\":\"status\"}\n";
	int fd = session();

	for (const char *c = request; *c; c++)
		CHECK_EQ(write(fd, c, 1), 1);
	shutdown(fd, SHUT_WR);
	CHECK(next_line(fd, NULL));
	CHECK(is("/ok", "true") && says("\"started\":\"20") && says("Z\""));
	CHECK(is("/daemon/connections", "0") && is("/connections", "[]"));
	CHECK(says("\"runtime_dir\":\"/tmp/test-control-"));
	close(fd);
}

static void client_open_and_status(void)
{
	ask_once("{\"verb\":\"open\",\"name\":\"a\",\"url\":\"ws://u:secret@127.0.0.1:1/"
		 "x\",\"options\":"
		 "{\"reconnect\":[\"never\"],\"connect-timeout\":\"5s\"}}");
	CHECK(is("/ok", "true") && is("/name", "\"a\"") && says(directory) && says("/a\""));
	ask_once("{\"verb\":\"open\",\"name\":\"a\",\"url\":\"ws://127.0.0.1:1/\"}");
	CHECK(is("/exit", "2") && says("already"));
	ask_once("{\"verb\":\"wait\",\"name\":\"a\",\"for\":\"open\"}");
	CHECK(is("/ok", "false") && is("/exit", "1") && says("resume a"));
	ask_once("{\"verb\":\"wait\",\"name\":\"a\",\"for\":\"closed\"}");
	CHECK(is("/ok", "true") && is("/state", "\"failed\""));
	ask_once("{\"verb\":\"recv\",\"name\":\"a\"}");
	CHECK(is("/exit", "5") && is("/error", "\"not-open\""));
	ask_once("{\"verb\":\"send\",\"name\":\"a\",\"no_queue\":true}");
	CHECK(is("/exit", "5"));
	ask_once("{\"verb\":\"status\",\"name\":\"a\"}");
	CHECK(is("/connections/0/name", "\"a\"") && is("/connections/0/state", "\"failed\""));
	CHECK(is("/connections/0/cause_class", "\"connect\"") && !says("secret"));
	CHECK(is("/connections/0/close_code", "null") && is("/connections/0/http_status", "null"));
	CHECK(is("/connections/0/rtt_ms", "null") && is("/connections/0/queue/messages", "0"));
	CHECK(is("/connections/0/requests/open", "0") && is("/connections/0/kept/messages", "0"));
	CHECK(is("/connections/0/configured", "false") && is("/connections/0/tls", "null"));
}

/* What is sent to a connection that is down is queued, in the framing that was asked for. */
static void client_send(void)
{
	int stream = -1, fd = ask("{\"verb\":\"send\",\"name\":\"a\",\"framing\":\"nul\"}");

	CHECK(next_line(fd, &stream));
	CHECK(is("/ok", "true") && stream >= 0);
	CHECK_EQ(write(stream, "one\0two\0\xff\0three", 15), 15);
	shutdown(stream, SHUT_WR);
	await_event(fd, "\"rejected\"");
	CHECK(says("UTF-8"));
	await_event(fd, "\"end\"");
	CHECK(is("/exit", "2") && is("/messages", "3") && is("/rejected", "1"));
	CHECK(is("/queued", "true") && says("UTF-8"));
	close(stream);
	close(fd);
	ask_once("{\"verb\":\"status\",\"name\":\"a\"}");
	CHECK(is("/connections/0/queue/messages", "3"));
	CHECK(is("/connections/0/rejected/messages", "1"));
}

/* A connection of its own that fails: told, and gone with it. */
static void client_cat_url(void)
{
	char byte;
	int stream = -1;
	int fd = ask("{\"verb\":\"cat\",\"url\":\"ws://127.0.0.1:1/\"}");

	CHECK(next_line(fd, &stream));
	CHECK(is("/ok", "true") && says("\"name\":\"cat-") && stream >= 0);
	await_event(fd, "\"end\"");
	CHECK(is("/exit", "1") && is("/close_code", "null") && says("refused"));
	CHECK_EQ(fcntl(stream, F_SETFL, 0), 0);
	CHECK_EQ(read(stream, &byte, 1), 0);
	ask_once("{\"verb\":\"status\"}");
	CHECK(is("/daemon/connections", "1"));
	close(stream);
	close(fd);
}

/* A connection opened with "own" is there until its control connection closes. */
static void client_own(void)
{
	int fd = ask("{\"verb\":\"open\",\"own\":true,\"url\":\"ws://127.0.0.1:1/\","
		     "\"options\":{\"reconnect\":[\"always\"],\"reconnect-delay\":[\"1h\"],"
		     "\"reconnect-max\":[\"1h\"]}}");
	int stream = -1, reader;
	char request[256];

	CHECK(next_line(fd, NULL));
	CHECK(says("\"name\":\"open-"));
	snprintf(request, sizeof(request), "{\"verb\":\"recv\",\"name\":\"open-%d-1\"}", getpid());
	reader = ask(request);
	CHECK(next_line(reader, &stream));
	CHECK(is("/ok", "true") && stream >= 0);
	snprintf(request, sizeof(request), "{\"verb\":\"status\",\"name\":\"open-%d-1\"}",
		 getpid());
	ask_once(request);
	CHECK(is("/connections/0/readers/0/kind", "\"recv\""));
	CHECK(is("/connections/0/readers/0/behind_messages", "0"));
	close(fd);
	await_event(reader, "\"end\""); /* removed under it */
	close(stream);
	close(reader);
	ask_once("{\"verb\":\"status\"}");
	CHECK(is("/daemon/connections", "1"));
}

/* Waiting clients that leave, and one whose connection is removed. */
static void client_waits_and_closes(void)
{
	int left, waits;

	ask_once("{\"verb\":\"open\",\"name\":\"b\",\"url\":\"ws://127.0.0.1:1/\","
		 "\"options\":{\"reconnect-delay\":[\"1h\"],\"reconnect-max\":[\"1h\"]}}");
	CHECK(is("/ok", "true"));
	left = ask("{\"verb\":\"wait\",\"name\":\"b\",\"for\":\"message\"}");
	waits = ask("{\"verb\":\"wait\",\"name\":\"b\",\"for\":\"closed\"}");
	close(left);
	ask_once("{\"verb\":\"close\",\"name\":\"b\"}");
	CHECK(is("/ok", "true") && is("/close_code", "null"));
	CHECK(next_line(waits, NULL));
	CHECK(is("/ok", "true") && is("/state", "\"closed\""));
	close(waits);
	ask_once("{\"verb\":\"status\",\"name\":\"b\"}");
	CHECK(is("/exit", "4"));
	ask_once("{\"verb\":\"resume\",\"name\":\"a\"}");
	CHECK(is("/ok", "true"));
	ask_once("{\"verb\":\"close\",\"name\":\"a\"}");
	CHECK(is("/ok", "true"));
	ask_once("{\"verb\":\"stop\"}");
	CHECK(is("/ok", "true"));
}

static int client(void)
{
	alarm(10);
	client_refusals();
	client_long_line();
	client_half_close();
	client_open_and_status();
	client_send();
	client_cat_url();
	client_own();
	client_waits_and_closes();
	return 0;
}

static void on_stop(void *owner)
{
	(void)owner;
	loop_stop();
}

/* The second file is what a reload finds: faults, with bytes that are no UTF-8. */
static void write_config(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	CHECK(file);
	CHECK(fputs(text, file) >= 0);
	CHECK_EQ(fclose(file), 0);
}

int main(void)
{
	struct control *control = NULL;
	struct service *service = NULL;
	struct config *config = NULL;
	struct service_options options = {.runtime_dir = directory};
	struct buf faults;
	char path[128];
	int status;
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	CHECK(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/wspipe.conf", directory);
	write_config(path, "");
	options.config_file = path;
	options.runtime_fd = open(directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	CHECK(options.runtime_fd >= 0);
	log_open(LOG_LEVEL_ERROR);
	CHECK_EQ(loop_init(), 0);
	buf_init(&faults, 4096);
	CHECK_EQ(config_load(&config, path, &faults), 0);
	config->daemon.log_level = LOG_LEVEL_ERROR - 1;
	CHECK_EQ(service_new(&service, &options, config), 0);
	CHECK_EQ(control_new(&control, service, options.runtime_fd, NULL, NULL), 0);
	write_config(path, "[daemon]\nno-\xff-key = 1\n");
	CHECK_EQ(timer_init(&stop_timer, on_stop, NULL), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(client());
	timer_set(&stop_timer, 15000);
	CHECK_EQ(loop_run(), 0);
	control = control_free(control);
	service = service_free(service);
	timer_done(&stop_timer);
	loop_done();
	buf_done(&faults);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK(faccessat(options.runtime_fd, "control", F_OK, 0) < 0);
	close(options.runtime_fd);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(rmdir(directory), 0); /* nothing was left behind */
	return 0;
}
