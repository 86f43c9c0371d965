/* Records of every framing.  The same bytes in other pieces (kept in between or not) give the same
 * messages; a message that was decoded comes back when it is encoded and decoded again; and so does
 * any message whatever.
 *
 * Input: a byte (bits 0-2: framing, 3: type), a byte (max-message), a byte (number of cuts), the
 * cuts (bit 7: keep), the stream. */
#include <errno.h>

#include "codec/frame.h"
#include "codec/json.h"
#include "codec/utf8.h"
#include "fuzz.h"

enum { LOG_MAX = 64 << 20, CUTS_MAX = 64 };

struct plan {
	enum framing framing;
	enum msg_kind type;
	size_t max_message;
};

/* --- what was decoded ------------------------------------------------------------------------ */

struct log {
	struct buf messages; /* struct entry and the bytes, one behind the other */
	unsigned n, bad;
};

struct entry {
	uint32_t outcome, kind, len;
	char problem[52];
};

static void note(struct log *log, const struct plan *plan, int outcome, const struct msg *msg,
		 const char *problem)
{
	struct entry entry = {.outcome = (uint32_t)outcome};

	if (outcome == DECODER_MSG) {
		HOLDS(msg->len <= plan->max_message && msg->data);
		HOLDS(msg->kind == MSG_TEXT || msg->kind == MSG_BINARY);
		HOLDS(msg->flags == 0 && msg->time_us == 0);
		entry.kind = msg->kind;
		entry.len = (uint32_t)msg->len;
	} else {
		HOLDS(problem && is_one_line(problem));
		snprintf(entry.problem, sizeof(entry.problem), "%s", problem);
		log->bad++;
	}
	log->n++;
	HOLDS(buf_append(&log->messages, &entry, sizeof(entry)) == 0);
	HOLDS(buf_append(&log->messages, msg->data, entry.len) == 0);
}

/* False: the stream is broken, or at its end. */
static bool drain(struct decoder *decoder, const struct plan *plan, struct log *log, bool end)
{
	for (;;) {
		const char *problem = NULL;
		struct msg msg = {0};
		int r = end ? decoder_end(decoder, &msg, &problem)
			    : decoder_next(decoder, &msg, &problem);

		HOLDS(r >= 0);
		if (r == DECODER_MORE)
			return true;
		note(log, plan, r, &msg, problem);
		if (r == DECODER_BROKEN)
			return false;
	}
}

/* At the end it says at most one, and is then as new. */
static void finish(struct decoder *decoder, const struct plan *plan, struct log *log)
{
	unsigned before = log->n;

	HOLDS(drain(decoder, plan, log, true));
	HOLDS(log->n <= before + 1 || plan->framing == FRAMING_RAW);
	HOLDS(!decoder_unfinished(decoder));
}

static void decode(const struct plan *plan, struct log *log, struct food cuts, const uint8_t *data,
		   size_t len)
{
	struct decoder decoder;
	bool broken = false;

	*log = (struct log){0};
	buf_init(&log->messages, LOG_MAX);
	decoder_init(&decoder, plan->framing, plan->type, plan->max_message);
	while (len > 0 && !broken) {
		bool keep = cuts.len > 0 && *cuts.at & 0x80;
		uint8_t saved = cuts.len > 0 ? *cuts.at & 0x7f : 0;
		size_t n = cuts.len > 0 ? (size_t)saved + 1 : len;
		uint8_t *piece;

		take_byte(&cuts);
		n = n < len ? n : len;
		piece = copy_bytes(data, n);
		decoder_feed(&decoder, piece, n);
		if (keep) {
			HOLDS(decoder_keep(&decoder) == 0);
			free(piece);
			piece = NULL;
		}
		broken = !drain(&decoder, plan, log, false);
		free(piece);
		data += n;
		len -= n;
	}
	if (!broken)
		finish(&decoder, plan, log);
	decoder_done(&decoder);
}

/* --- properties ------------------------------------------------------------------------------ */

/* Raw has no borders: only what comes of all of it is said. */
static void check_same(const struct plan *plan, const struct log *one, const struct log *other)
{
	if (plan->framing != FRAMING_RAW)
		HOLDS(same_bytes(buf_head(&one->messages), buf_len(&one->messages),
				 buf_head(&other->messages), buf_len(&other->messages)));
}

static size_t next_entry(const struct log *log, size_t at, struct entry *ret,
			 const uint8_t **ret_data)
{
	memcpy(ret, buf_head(&log->messages) + at, sizeof(*ret));
	*ret_data = buf_head(&log->messages) + at + sizeof(*ret);
	return at + sizeof(*ret) + ret->len;
}

static void check_raw(const struct plan *plan, const struct log *log, const uint8_t *data,
		      size_t len)
{
	size_t seen = 0;

	if (plan->framing != FRAMING_RAW)
		return;
	for (size_t at = 0; at < buf_len(&log->messages);) {
		const uint8_t *bytes;
		struct entry entry;

		at = next_entry(log, at, &entry, &bytes);
		HOLDS(entry.outcome == DECODER_MSG && entry.len > 0);
		HOLDS(entry.len <= len - seen &&
		      same_bytes(bytes, entry.len, data + seen, entry.len));
		seen += entry.len;
	}
	HOLDS(seen == len);
}

static bool is_in_one_line(const struct plan *plan, const struct msg *msg)
{
	return plan->framing == FRAMING_LINE && plan->type == MSG_TEXT && msg->kind == MSG_TEXT &&
	       msg->flags & MSG_HAS_LF && json_valid((const char *)msg->data, msg->len);
}

/* The one message that comes of this record. */
static void check_back(const struct plan *plan, const struct msg *msg, const struct buf *record)
{
	struct log log;
	struct food whole = {NULL, 0};
	const uint8_t *bytes;
	struct entry entry;

	decode(plan, &log, whole, buf_head(record), buf_len(record));
	if (plan->framing == FRAMING_RAW) {
		check_raw(plan, &log, msg->data, msg->len);
		buf_done(&log.messages);
		return;
	}
	HOLDS(log.n == 1);
	next_entry(&log, 0, &entry, &bytes);
	HOLDS(entry.outcome == DECODER_MSG && entry.kind == msg->kind && entry.len == msg->len);
	for (size_t i = 0; i < msg->len; i++)
		if (bytes[i] != msg->data[i])
			HOLDS(is_in_one_line(plan, msg) && bytes[i] == ' ' &&
			      (msg->data[i] == '\n' || msg->data[i] == '\r'));
	buf_done(&log.messages);
}

static void check_message(const struct plan *plan, enum msg_kind kind, const uint8_t *data,
			  size_t len)
{
	struct plan wide = {plan->framing, plan->type, len > 0 ? len : 1};
	struct msg msg = {.kind = (uint8_t)kind, .data = data, .len = len};
	struct frame_parts parts = {0};
	struct buf out;
	int r;

	if (kind == MSG_TEXT && !utf8_valid(data, len))
		return;
	if (plan->framing == FRAMING_RAW && kind != plan->type)
		return;
	frame_scan(&msg);
	HOLDS(!(msg.flags & MSG_HAS_LF) == !(len > 0 && memchr(data, '\n', len)));
	buf_init(&out, LOG_MAX);
	r = frame_encode(plan->framing, plan->type, &msg, &parts, &out);
	HOLDS(r == FRAME_PARTS || r == FRAME_ENCODED);
	if (frame_usual_end(plan->framing, plan->type, &msg) >= 0)
		HOLDS(r == FRAME_PARTS && parts.head_len == 0 && parts.tail[0] == '\n');
	if (r == FRAME_PARTS) {
		HOLDS(buf_len(&out) == 0);
		HOLDS(buf_append(&out, parts.head, parts.head_len) == 0);
		HOLDS(buf_append(&out, parts.body, parts.body_len) == 0);
		HOLDS(buf_append(&out, parts.tail, parts.tail_len) == 0);
	}
	check_back(&wide, &msg, &out);
	buf_done(&out);
}

static void check_all(const struct plan *plan, const struct log *log)
{
	for (size_t at = 0; at < buf_len(&log->messages);) {
		const uint8_t *bytes;
		struct entry entry;

		at = next_entry(log, at, &entry, &bytes);
		if (entry.outcome == DECODER_MSG)
			check_message(plan, entry.kind, bytes, entry.len);
	}
}

/* Too little room: an error, and nothing of it stays. */
static void check_no_room(const struct plan *plan, const uint8_t *data, size_t len)
{
	struct msg msg = {.kind = (uint8_t)plan->type, .data = data, .len = len};
	struct frame_parts parts;
	struct buf out;
	int r;

	if (plan->type == MSG_TEXT && !utf8_valid(data, len))
		return;
	frame_scan(&msg);
	buf_init(&out, 3 + len);
	HOLDS(buf_append(&out, "abc", 3) == 0);
	r = frame_encode(plan->framing, plan->type, &msg, &parts, &out);
	HOLDS(r >= 0 || (r == -ENOBUFS && buf_len(&out) == 3));
	HOLDS(memcmp(buf_head(&out), "abc", 3) == 0);
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, whole = {NULL, 0}, cuts;
	uint8_t bits = take_byte(&food), max = take_byte(&food);
	struct plan plan = {bits % FRAMINGS, bits & 8 ? MSG_BINARY : MSG_TEXT,
			    max < 200 ? max + 1u : 1u << 16};
	struct log one, other;

	cuts = take_bytes(&food, take_byte(&food) % CUTS_MAX);
	decode(&plan, &one, whole, food.at, food.len);
	decode(&plan, &other, cuts, food.at, food.len);
	check_same(&plan, &one, &other);
	check_raw(&plan, &one, food.at, food.len);
	check_raw(&plan, &other, food.at, food.len);
	check_all(&plan, &one);
	check_message(&plan, MSG_TEXT, food.at, food.len);
	check_message(&plan, MSG_BINARY, food.at, food.len);
	check_no_room(&plan, food.at, food.len);
	buf_done(&one.messages);
	buf_done(&other.messages);
	return 0;
}
