/* relay - see relay.h.
 *
 * Four descriptors and one poll(2).  Two buffers, one for each direction, each of which is filled
 * only when it is empty: so whoever does not read is felt by whoever writes.  Inherited
 * descriptors are read and written only after poll(2) has said so and stay as they are; the stream
 * is ours and non-blocking. */
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answers.h"
#include "base/cleanup.h"
#include "control/protocol.h"
#include "events.h"
#include "output.h"
#include "print.h"
#include "session.h"
#include "stamp.h"

enum {
	COPY_BYTES = 256 * 1024,
	ANSWER_BYTES = 64 * 1024,
	PRINT_MAX = 2047 * 1024 * 1024, /* of stamped records at once */
	PART_MS = 10 * 1000,
};

enum { INPUT, STREAM, OUTPUT, CONTROL, POLLED };

struct relay {
	struct session *session;
	const struct relay_options *options;
	struct events events;
	struct output output;
	struct stamp stamp;
	struct buf to_send, to_print;
	bool input_ended;  /* nothing more is read from standard input */
	bool half_closed;  /* ... and the daemon knows */
	bool stream_ended; /* nothing more comes from the stream */
	struct deadline quiet;
	uint64_t received, committed; /* bytes of the stream */
	int exit; /* of a failure of our own, or 0 */
};

static int relay_fail(struct relay *relay, const char *what, int error)
{
	say(relay->session->who, "%s: %s", what, strerror(-error));
	return relay->exit = EXIT_PEER;
}

/* --- input to stream ------------------------------------------------------------------------ */

static void relay_end_input(struct relay *relay)
{
	relay->input_ended = true;
	relay->quiet = deadline_in(relay->options->quiet_ms < 0 ? 0 : relay->options->quiet_ms);
}

/* The daemon has stopped taking: "end" says why. */
static void relay_drop_input(struct relay *relay)
{
	buf_clear(&relay->to_send);
	relay->input_ended = relay->half_closed = true;
}

static void relay_read_input(struct relay *relay)
{
	uint8_t *tail;
	ssize_t n;
	int r = buf_reserve(&relay->to_send, COPY_BYTES, &tail);

	if (r < 0) {
		relay_fail(relay, "standard input", r);
		return;
	}
	n = read(STDIN_FILENO, tail, COPY_BYTES);
	if (n > 0)
		buf_commit(&relay->to_send, (size_t)n);
	else if (n == 0 || errno == EIO) /* EIO: the terminal has gone */
		relay_end_input(relay);
	else if (errno != EAGAIN && errno != EINTR)
		relay_fail(relay, "standard input", -errno);
}

static void relay_write_stream(struct relay *relay)
{
	ssize_t n = send(relay->session->stream_fd, buf_head(&relay->to_send),
			 buf_len(&relay->to_send), MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0)
		buf_consume(&relay->to_send, (size_t)n);
	else if (errno == EPIPE || errno == ECONNRESET)
		relay_drop_input(relay);
	else if (errno != EAGAIN && errno != EINTR)
		relay_fail(relay, "the stream to the daemon", -errno);
}

static void relay_settle_input(struct relay *relay)
{
	if (relay->events.ended)
		relay_drop_input(relay);
	if (!relay->input_ended || relay->half_closed || buf_len(&relay->to_send) ||
	    !deadline_passed(&relay->quiet))
		return;
	relay->half_closed = true;
	relay->quiet = deadline_in(-1);
	shutdown(relay->session->stream_fd, SHUT_WR);
}

/* --- stream to output ----------------------------------------------------------------------- */

static void relay_take_bytes(struct relay *relay, const uint8_t *data, size_t len)
{
	int r = stamp_feed(&relay->stamp, data, len, &relay->to_print);

	if (r < 0)
		relay_fail(relay, "a message cannot be shown with its time", r);
}

static void relay_read_answers(struct relay *relay)
{
	uint8_t bytes[ANSWER_BYTES];
	ssize_t n = recv(relay->session->stream_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	int r = 0;

	if (n > 0)
		r = answers_feed(relay->options->answers, bytes, (size_t)n, &relay->to_print);
	else if (n == 0 || errno == ECONNRESET)
		relay->stream_ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		r = -errno;
	if (r < 0)
		relay_fail(relay, "the stream from the daemon", r);
}

/* Plain bytes are read to where they are printed from; stamped ones go through the other buffer,
 * which is free: whoever stamps does not write. */
static void relay_read_stream(struct relay *relay)
{
	struct buf *buf = relay->options->stamp ? &relay->to_send : &relay->to_print;
	uint8_t *tail;
	ssize_t n;
	int r = buf_reserve(buf, COPY_BYTES, &tail);

	if (r < 0) {
		relay_fail(relay, "standard output", r);
		return;
	}
	n = recv(relay->session->stream_fd, tail, COPY_BYTES, MSG_DONTWAIT);
	if (n > 0)
		relay->received += (uint64_t)n;
	if (n > 0 && relay->options->stamp)
		relay_take_bytes(relay, tail, (size_t)n);
	else if (n > 0)
		buf_commit(buf, (size_t)n);
	else if (n == 0 || errno == ECONNRESET)
		relay->stream_ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		relay_fail(relay, "the stream from the daemon", -errno);
}

static void relay_write_output(struct relay *relay)
{
	int r = output_write(&relay->output, &relay->to_print);

	if (r < 0)
		relay_fail(relay, "standard output", r);
}

/* What has been printed is told to the daemon, which moves the cursor: killed before that, we would
 * print it again, but never pass over anything.  Of stamped bytes only when all of them are out. */
static void relay_commit(struct relay *relay)
{
	uint64_t waiting = relay->options->stamp ? buf_len(&relay->stamp.in) : buf_len(&relay->to_print);
	char line[64];

	if (!relay->options->commits || (relay->options->stamp && buf_len(&relay->to_print)) ||
	    relay->received - waiting <= relay->committed)
		return;
	snprintf(line, sizeof(line), "{\"commit\":%llu}\n",
		 (unsigned long long)(relay->received - waiting));
	if (session_say(relay->session, line) == 0)
		relay->committed = relay->received - waiting;
}

/* The last of it: the next one who reads by this cursor must find it moved. */
static int relay_part(struct relay *relay)
{
	struct deadline deadline = deadline_in(PART_MS);
	char line[64];

	relay_commit(relay);
	snprintf(line, sizeof(line), "{\"commit\":%llu}\n", (unsigned long long)relay->committed);
	if (session_say(relay->session, line) == 0 && session_part(relay->session, &deadline))
		return 0;
	say(relay->session->who, "the daemon has not confirmed what was printed last: it may come again");
	return EXIT_PEER;
}

/* --- the loop ------------------------------------------------------------------------------- */

static bool relay_has_ended(const struct relay *relay)
{
	if (relay->exit)
		return true;
	return relay->events.ended &&
	       (!relay->options->reads || (relay->stream_ended && !buf_len(&relay->to_print)));
}

static void relay_choose(const struct relay *relay, struct pollfd polled[POLLED])
{
	const struct relay_options *options = relay->options;
	bool can_read = options->reads && !relay->stream_ended &&
			(options->answers || !buf_len(&relay->to_print));
	bool sends = options->writes && buf_len(&relay->to_send);

	polled[INPUT] = (struct pollfd){
		.fd = options->writes && !relay->input_ended && !sends ? STDIN_FILENO : -1,
		.events = POLLIN,
	};
	polled[STREAM] = (struct pollfd){
		.fd = can_read || sends ? relay->session->stream_fd : -1,
		.events = (short)((can_read ? POLLIN : 0) | (sends ? POLLOUT : 0)),
	};
	polled[OUTPUT] = (struct pollfd){ /* without events: to see its reader go */
		.fd = options->reads ? relay->output.fd : -1,
		.events = buf_len(&relay->to_print) ? POLLOUT : 0,
	};
	polled[CONTROL] = (struct pollfd){
		.fd = relay->events.ended ? -1 : relay->session->fd,
		.events = POLLIN,
	};
}

static void relay_act(struct relay *relay, const struct pollfd polled[POLLED])
{
	bool sends = buf_len(&relay->to_send) > 0, prints = buf_len(&relay->to_print) > 0;

	if (polled[OUTPUT].revents & POLLERR && !prints) {
		raise(SIGPIPE); /* as a write would, only sooner */
		relay_fail(relay, "standard output", -EPIPE);
	}
	if (prints && polled[OUTPUT].revents)
		relay_write_output(relay);
	relay_commit(relay);
	if (polled[STREAM].events & POLLIN && polled[STREAM].revents & ~POLLOUT)
		relay->options->answers ? relay_read_answers(relay) : relay_read_stream(relay);
	if (sends && polled[STREAM].events & POLLOUT && polled[STREAM].revents & ~POLLIN)
		relay_write_stream(relay);
	if (polled[INPUT].revents)
		relay_read_input(relay);
	if (polled[CONTROL].revents)
		events_read(&relay->events, relay->session);
}

static int relay_patience_ms(const struct relay *relay)
{
	struct deadline due = events_due(&relay->events);
	int ms = deadline_first_ms(&relay->options->deadline, &relay->quiet);
	int due_ms = deadline_left_ms(&due);

	return ms < 0 || (due_ms >= 0 && due_ms < ms) ? due_ms : ms;
}

static int relay_loop(struct relay *relay)
{
	struct pollfd polled[POLLED];

	events_read(&relay->events, relay->session); /* some may have come with the answer */
	for (relay_settle_input(relay); !relay_has_ended(relay); relay_settle_input(relay)) {
		relay_choose(relay, polled);
		if (poll(polled, POLLED, relay_patience_ms(relay)) >= 0)
			relay_act(relay, polled);
		else if (errno != EINTR)
			return relay_fail(relay, "poll", -errno);
		events_settle(&relay->events);
		if (deadline_passed(&relay->options->deadline)) {
			say(relay->session->who, "timed out");
			return EXIT_TIMED_OUT;
		}
	}
	return relay->exit ? relay->exit : relay->events.exit;
}

int relay_run(struct session *session, const struct relay_options *options)
{
	struct relay relay = {
		.session = session,
		.options = options,
		.events = {.who = session->who, .writes = options->writes},
		.input_ended = !options->writes,
		.half_closed = !options->writes,
		.quiet = deadline_in(-1),
	};
	int r;

	buf_init(&relay.to_send, COPY_BYTES);
	buf_init(&relay.to_print, options->stamp || options->answers ? PRINT_MAX : COPY_BYTES);
	stamp_init(&relay.stamp, options->framing);
	output_open(&relay.output);
	if (options->given) {
		buf_done(&relay.to_send);
		relay.to_send = *options->given;
		*options->given = (struct buf){.max = options->given->max};
		relay_end_input(&relay);
	}
	r = relay_loop(&relay);
	if (options->commits && relay_part(&relay) != 0 && r == 0)
		r = EXIT_PEER;
	if (options->strict && relay.events.missed_any && r == 0)
		r = EXIT_PEER;
	output_close(&relay.output);
	stamp_done(&relay.stamp);
	buf_done(&relay.to_send);
	buf_done(&relay.to_print);
	return r;
}
