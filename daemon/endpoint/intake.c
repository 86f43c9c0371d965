/* intake - see intake.h. */
#include "endpoint/intake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/log.h"
#include "base/loop.h"
#include "endpoint/held.h"

enum { READS_PER_TURN = 4 }; /* of LOOP_SCRATCH_BYTES each: then others have their turn */

struct intake {
	int fd;
	struct conn *conn;
	struct event *readable;
	struct later again;
	struct outbox_waiter waiter;
	struct calls_terms terms;
	struct intake_sink sink; /* .take NULL: the connection's queue */
	struct decoder decoder;
	struct held *page; /* where input stays until it is sent, or NULL */
	struct buf held; /* the message that found the queue full */
	uint8_t held_kind;
	bool holding; /* and therefore not reading */
	bool ended;   /* end of stream was seen, and is still to be told */
	bool broken;
	bool is_fifo;
	bool frozen;
	struct intake_stats stats;
	const struct intake_events *events;
	void *owner;
};

/* All that the decoder has not got any more has been queued, or refused. */
static void settle(const struct intake *intake)
{
	const struct decoder *decoder = &intake->decoder;

	if (intake->page)
		held_settle(intake->page, buf_len(&decoder->pending) + decoder->input_len,
			    decoder->skipping);
}

static void refuse(struct intake *intake, const char *problem, bool broken)
{
	intake->stats.refused++;
	if (intake->events->refused)
		intake->events->refused(intake->owner, problem, broken);
}

static void lose_one(struct intake *intake)
{
	refuse(intake, "was lost: out of memory", false);
	conn_count_rejected(intake->conn);
}

/* What was offered cannot be kept, and will not be there at the next call.  What follows up to the
 * next delimiter would be half a record, which is never sent. */
static void lose_input(struct intake *intake)
{
	lose_one(intake);
	decoder_done(&intake->decoder);
	intake->decoder.skipping = true;
}

/* The decoder goes on where it was, once there is room for this one. */
static void hold(struct intake *intake, const struct msg *msg)
{
	if (buf_append(&intake->held, msg->data, msg->len) < 0 || decoder_keep(&intake->decoder) < 0) {
		outbox_forget(&intake->waiter);
		buf_done(&intake->held);
		lose_one(intake);
		return;
	}
	intake->held_kind = msg->kind;
	intake->holding = true;
}

/* False: the queue is full, and will call. */
static bool send_message(struct intake *intake, const struct msg *msg)
{
	const char *problem = "";
	int r;

	intake->terms.tag = intake->stats.messages + intake->stats.refused;
	if (intake->sink.take)
		r = intake->sink.take(intake->sink.owner, msg, &intake->waiter, &problem);
	else
		r = conn_request(intake->conn, msg, &intake->terms, &intake->waiter, &problem);
	if (r == CONN_FULL)
		return false;
	if (r == CONN_QUEUED)
		intake->stats.messages++;
	else if (r == CONN_REFUSED)
		refuse(intake, problem, false);
	else
		lose_one(intake);
	return true;
}

static void take_outcome(struct intake *intake, int outcome, const struct msg *msg,
			 const char *problem)
{
	if (outcome == DECODER_MSG) {
		if (send_message(intake, msg))
			settle(intake);
		else
			hold(intake, msg);
		return;
	}
	if (outcome < 0) {
		lose_input(intake);
	} else {
		conn_count_rejected(intake->conn);
		intake->broken = outcome == DECODER_BROKEN;
		refuse(intake, problem, intake->broken);
	}
	settle(intake);
}

/* All records that the decoder has.  False: the queue is full. */
static bool deliver(struct intake *intake)
{
	const char *problem = "";
	struct msg msg;
	int outcome;

	while (!intake->holding && !intake->broken && !intake->frozen &&
	       (outcome = decoder_next(&intake->decoder, &msg, &problem)) != DECODER_MORE)
		take_outcome(intake, outcome, &msg, problem);
	if (!intake->holding && intake->decoder.skipping)
		settle(intake); /* passed over without an outcome */
	return !intake->holding && !intake->frozen;
}

/* The writer has gone.  His last record may have no end; then comes the news of his going.  The next
 * writer of a FIFO begins afresh, also after a stream that was broken. */
static void finish(struct intake *intake)
{
	const char *problem = "";
	struct msg msg;
	int outcome = decoder_end(&intake->decoder, &msg, &problem);

	intake->ended = true;
	intake->broken = false;
	if (outcome < 0) {
		lose_input(intake);
		intake->decoder.skipping = false; /* the rest of that record does not come any more */
	} else if (outcome != DECODER_MORE) {
		take_outcome(intake, outcome, &msg, problem);
	}
	if (intake->holding)
		return;
	settle(intake); /* also that nothing is passed over any more */
	intake->ended = false;
	intake->events->ended(intake->owner);
}

/* A short read has emptied it, and the next byte makes an edge; so does the end of the last writer, but
 * that may have come with this very edge, and it matters when a record is still without its end. */
static bool is_empty_fifo(const struct intake *intake, size_t n)
{
	size_t most = intake->page ? HELD_READ_MAX : LOOP_SCRATCH_BYTES;

	return intake->is_fifo && n < most && !decoder_unfinished(&intake->decoder);
}

/* What is in the page already has its way through the decoder, and comes to no harm. */
static void leave_page(struct intake *intake)
{
	log_warning(conn_name(intake->conn),
		    "no space: what is read and not queued yet would not outlive "
		    "the daemon");
	held_settle(intake->page, 0, false);
	intake->page = NULL;
}

/* As read(2), but -errno. */
static ssize_t read_some(struct intake *intake, const uint8_t **ret)
{
	ssize_t n = intake->page ? held_read(intake->page, intake->fd, ret) : -ENOSPC;

	if (n != -ENOSPC)
		return n;
	if (intake->page)
		leave_page(intake);
	*ret = loop_read_scratch();
	do {
		n = read(intake->fd, loop_read_scratch(), LOOP_SCRATCH_BYTES);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* -errno of a dead socket means the same as its end.  Returns whether to go on reading. */
static bool read_once(struct intake *intake)
{
	const uint8_t *data;
	bool more;
	ssize_t n = read_some(intake, &data);

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		finish(intake);
		return false;
	}
	if (intake->broken) {
		settle(intake);
		return true; /* passed over, or the writer would be stuck for ever */
	}
	decoder_feed(&intake->decoder, data, (size_t)n);
	more = deliver(intake);
	if (intake->sink.take) /* it has no page */
		explicit_bzero(loop_read_scratch(), (size_t)n);
	return more && !is_empty_fifo(intake, (size_t)n);
}

static void intake_read(struct intake *intake)
{
	for (int i = 0; i < READS_PER_TURN; i++)
		if (!read_once(intake))
			return;
	loop_later(&intake->again); /* edge-triggered: nobody else will call */
}

static void intake_on_readable(evutil_socket_t fd, short what, void *owner)
{
	struct intake *intake = owner;

	(void)fd;
	(void)what;
	if (intake->holding || (intake->decoder.input_len > 0 && !deliver(intake)))
		return;
	if (!intake->frozen)
		intake_read(intake);
}

static bool send_held(struct intake *intake)
{
	const struct msg msg = {
		.kind = intake->held_kind,
		.data = buf_head(&intake->held),
		.len = buf_len(&intake->held),
	};

	if (!send_message(intake, &msg))
		return false;
	buf_done(&intake->held);
	intake->holding = false;
	settle(intake);
	return true;
}

/* There is room: first the message that was held, then what the decoder kept, then the rest.  Edges
 * that came while it was held were passed over, so there is always a look at the descriptor. */
static void intake_on_again(void *owner)
{
	struct intake *intake = owner;

	if (intake->frozen || (intake->holding && !send_held(intake)))
		return;
	if (intake->ended) {
		intake->ended = false;
		loop_later(&intake->again);
		intake->events->ended(intake->owner); /* may free the intake */
		return;
	}
	if (deliver(intake))
		intake_read(intake);
}

static void intake_waiter_room(void *owner)
{
	struct intake *intake = owner;

	loop_later(&intake->again);
}

int intake_new(struct intake **ret, int fd, struct conn *conn, enum framing framing,
	       enum msg_kind type, const struct intake_events *events, void *owner)
{
	size_t max_message = conn_options(conn)->ws.max_message_bytes;
	struct intake *intake = calloc(1, sizeof(*intake));
	struct stat st;

	if (!intake)
		return -ENOMEM;
	intake->fd = fd;
	intake->conn = conn;
	intake->events = events;
	intake->owner = owner;
	intake->is_fifo = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
	intake->waiter = (struct outbox_waiter){.room = intake_waiter_room, .owner = intake};
	later_init(&intake->again, intake_on_again, intake);
	buf_init(&intake->held, max_message);
	decoder_init(&intake->decoder, framing, type, max_message);
	intake->readable = event_new(loop_base(), fd, EV_READ | EV_ET | EV_PERSIST,
				     intake_on_readable, intake);
	if (!intake->readable || event_add(intake->readable, NULL) < 0) {
		intake_free(intake);
		return -ENOMEM;
	}
	*ret = intake;
	return 0;
}

struct intake *intake_free(struct intake *intake)
{
	if (!intake)
		return NULL;
	if (intake->readable)
		event_free(intake->readable);
	later_cancel(&intake->again);
	outbox_forget(&intake->waiter);
	decoder_done(&intake->decoder);
	buf_done(&intake->held);
	free(intake);
	return NULL;
}

void intake_set_terms(struct intake *intake, const struct calls_terms *terms)
{
	intake->terms = *terms;
}

void intake_set_sink(struct intake *intake, const struct intake_sink *sink)
{
	intake->sink = *sink;
	intake->held.secret = true;
}

bool intake_is_empty(const struct intake *intake)
{
	return !intake->holding;
}

void intake_set_held(struct intake *intake, struct held *held)
{
	const uint8_t *data;
	size_t len = held_input(held, &data, &intake->decoder.skipping);

	intake->page = held;
	if (len > 0)
		decoder_feed(&intake->decoder, data, len);
}

void intake_start(struct intake *intake)
{
	loop_later(&intake->again);
}

void intake_drain(struct intake *intake)
{
	if (!intake->holding)
		intake_read(intake);
}

size_t intake_unsent(const struct intake *intake)
{
	return buf_len(&intake->held) + buf_len(&intake->decoder.pending);
}

void intake_freeze(struct intake *intake)
{
	intake->frozen = true;
	event_del(intake->readable);
	outbox_forget(&intake->waiter);
	later_cancel(&intake->again);
}

const struct intake_stats *intake_get_stats(const struct intake *intake)
{
	return &intake->stats;
}
