/* frame - five ways to write messages one behind the other, and to read them back.
 *
 * The hot path is decoder_next() on `line`: one memchr() and a view.  Everything that is rare
 * (an unfinished record, kept bytes, a data: URL, a record too long) is a function of its own.
 *
 * What this file decides where wspipe.conf(5) is silent:
 *
 *  - "data:" counts in lower case alone, both when it is written and when it is read, so that
 *    "Data:..." is text that is sent as it stands.
 *  - A record that begins so must be "data:[type/subtype][;parameter...];base64,PAYLOAD", or it is
 *    refused; so are the percent-encoded form and percent signs in the payload.  What was meant
 *    literally can be sent: in base64.  text/... in any case, or nothing (which RFC 2397 reads as
 *    text/plain), is a text message; every other type is binary.  Parameters are not looked at:
 *    the text must be UTF-8 whatever `charset` says.
 *  - A CR is a byte like any other, in both directions, except among the blanks around a JSON
 *    envelope, and outside of strings in JSON text that has to become one line.
 *  - JSON deeper than JSON_DEPTH_MAX is "any other text".
 *  - An envelope's first "type" and first "data" count.  "open" and "close" cannot be sent.
 *  - No memory for an unwrapped message refuses that message; the stream goes on. */
#include "codec/frame.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "codec/base64.h"
#include "codec/json.h"
#include "codec/utf8.h"

#define LENGTH_MAX UINT32_C(0x7fffffff)
#define BINARY_MARK UINT32_C(0x80000000)

const char *const framing_names[FRAMINGS + 1] = {"line", "nul", "length", "json", "raw", NULL};

static const char text_url[] = "data:text/plain;base64,";
static const char binary_url[] = "data:application/octet-stream;base64,";

static inline bool has_scheme(const uint8_t *data, size_t len)
{
	return len >= 5 && memcmp(data, "data:", 5) == 0;
}

enum { SHORT_MAX = 32 }; /* up to here eight bytes at a time beat a call to memchr() */

/* Is one of these eight bytes zero?  (The usual trick: borrow reaches the top bit only then.) */
static inline bool has_zero(uint64_t word)
{
	return (word - 0x0101010101010101u) & ~word & 0x8080808080808080u;
}

static inline uint64_t load_word(const uint8_t *data)
{
	uint64_t word;

	memcpy(&word, data, sizeof(word));
	return word;
}

static inline bool has_byte(const uint8_t *data, size_t len, uint8_t byte)
{
	const uint64_t pattern = 0x0101010101010101u * byte;
	size_t at;

	if (len > SHORT_MAX)
		return memchr(data, byte, len);
	if (len < sizeof(pattern)) {
		for (at = 0; at < len; at++)
			if (data[at] == byte)
				return true;
		return false;
	}
	for (at = 0; at + sizeof(pattern) <= len; at += sizeof(pattern))
		if (has_zero(load_word(data + at) ^ pattern))
			return true;
	return at < len && has_zero(load_word(data + len - sizeof(pattern)) ^ pattern);
}

/* --- encoding ------------------------------------------------------------------------------- */

void frame_scan(struct msg *msg)
{
	msg->flags = (uint8_t)((has_byte(msg->data, msg->len, '\n') ? MSG_HAS_LF : 0) |
			       (has_scheme(msg->data, msg->len) ? MSG_HAS_SCHEME : 0));
}

static inline int put_as_is(const struct msg *msg, char delimiter, struct frame_parts *ret)
{
	ret->head_len = 0;
	ret->tail_len = 1;
	ret->tail[0] = (uint8_t)delimiter;
	ret->body = msg->data;
	ret->body_len = msg->len;
	return FRAME_PARTS;
}

static int put_url(const struct msg *msg, char delimiter, struct buf *out)
{
	bool text = msg->kind == MSG_TEXT;
	size_t head_len = text ? sizeof(text_url) - 1 : sizeof(binary_url) - 1;
	size_t body_len = base64_encoded_len(msg->len);
	uint8_t *to;
	int r;

	r = buf_reserve(out, head_len + body_len + 1, &to);
	if (r < 0)
		return r;
	memcpy(to, text ? text_url : binary_url, head_len);
	base64_encode((char *)to + head_len, msg->data, msg->len);
	to[head_len + body_len] = (uint8_t)delimiter;
	buf_commit(out, head_len + body_len + 1);
	return FRAME_ENCODED;
}

/* What `line` cannot hold as it is.  (JSON text does not begin with "data:".) */
static int encode_line_odd(enum msg_kind type, const struct msg *msg, struct buf *out)
{
	int r;

	if (type != MSG_TEXT || msg->kind != MSG_TEXT ||
	    !json_valid((const char *)msg->data, msg->len))
		return put_url(msg, '\n', out);
	r = json_one_line(out, (const char *)msg->data, msg->len);
	if (r >= 0)
		r = buf_append_char(out, '\n');
	return r < 0 ? r : FRAME_ENCODED;
}

static int encode_length(const struct msg *msg, struct frame_parts *ret)
{
	uint32_t head;

	if (msg->len > LENGTH_MAX)
		return -EMSGSIZE;
	head = htobe32((uint32_t)msg->len | (msg->kind == MSG_BINARY ? BINARY_MARK : 0));
	memcpy(ret->head, &head, sizeof(head));
	ret->head_len = sizeof(head);
	ret->tail_len = 0;
	ret->body = msg->data;
	ret->body_len = msg->len;
	return FRAME_PARTS;
}

static int encode_raw(const struct msg *msg, struct frame_parts *ret)
{
	ret->head_len = ret->tail_len = 0;
	ret->body = msg->data;
	ret->body_len = msg->len;
	return FRAME_PARTS;
}

static char *put_digits(char *to, unsigned value, unsigned digits)
{
	for (unsigned i = digits; i-- > 0; value /= 10)
		to[i] = (char)('0' + value % 10);
	return to + digits;
}

/* ,"time":"2026-11-20T14:05:06.123456Z" and by hand: snprintf() costs more than all the rest. */
static int put_time(uint64_t time_us, struct buf *out)
{
	char text[48] = ",\"time\":\"", *to = text + strlen(text);
	time_t seconds = (time_t)(time_us / 1000000);
	struct tm tm;

	if (!time_us || !gmtime_r(&seconds, &tm))
		return 0;
	to = put_digits(to, (unsigned)tm.tm_year + 1900, 4);
	*to++ = '-';
	to = put_digits(to, (unsigned)tm.tm_mon + 1, 2);
	*to++ = '-';
	to = put_digits(to, (unsigned)tm.tm_mday, 2);
	*to++ = 'T';
	to = put_digits(to, (unsigned)tm.tm_hour, 2);
	*to++ = ':';
	to = put_digits(to, (unsigned)tm.tm_min, 2);
	*to++ = ':';
	to = put_digits(to, (unsigned)tm.tm_sec, 2);
	*to++ = '.';
	to = put_digits(to, (unsigned)(time_us % 1000000), 6);
	*to++ = 'Z';
	*to++ = '"';
	return buf_append(out, text, (size_t)(to - text));
}

static int put_base64(const struct msg *msg, struct buf *out)
{
	size_t len = base64_encoded_len(msg->len);
	uint8_t *to;
	int r;

	r = buf_reserve(out, len + 2, &to);
	if (r < 0)
		return r;
	to[0] = to[len + 1] = '"';
	base64_encode((char *)to + 1, msg->data, msg->len);
	buf_commit(out, len + 2);
	return 0;
}

static int put_value(const struct msg *msg, struct buf *out)
{
	switch (msg->kind) {
	case MSG_BINARY:
		return put_base64(msg, out);
	case MSG_OPENED:
		return 0;
	default:
		return json_quote(out, (const char *)msg->data, msg->len);
	}
}

static int put_kind(const struct msg *msg, struct buf *out)
{
	switch (msg->kind) {
	case MSG_BINARY:
		return buf_append_str(out, "{\"type\":\"binary\",\"data\":");
	case MSG_OPENED:
		return buf_append_str(out, "{\"type\":\"open\"");
	case MSG_CLOSED:
		return buf_printf(out, "{\"type\":\"close\",\"code\":%u,\"reason\":", msg->code);
	default:
		return buf_append_str(out, "{\"type\":\"text\",\"data\":");
	}
}

static int encode_json(const struct msg *msg, struct buf *out)
{
	int r;

	r = put_kind(msg, out);
	if (r >= 0)
		r = put_value(msg, out);
	if (r >= 0)
		r = put_time(msg->time_us, out);
	if (r >= 0)
		r = buf_append(out, "}\n", 2);
	return r < 0 ? r : FRAME_ENCODED;
}

static int encode(enum framing framing, enum msg_kind type, const struct msg *msg,
		  struct frame_parts *ret, struct buf *out)
{
	switch (framing) {
	case FRAMING_LINE:
		if (msg->kind == type && !(msg->flags & (MSG_HAS_LF | MSG_HAS_SCHEME)))
			return put_as_is(msg, '\n', ret);
		return encode_line_odd(type, msg, out);
	case FRAMING_NUL:
		if (msg->kind == type && !(msg->flags & MSG_HAS_SCHEME) &&
		    !has_byte(msg->data, msg->len, '\0'))
			return put_as_is(msg, '\0', ret);
		return put_url(msg, '\0', out);
	case FRAMING_LENGTH:
		return encode_length(msg, ret);
	case FRAMING_JSON:
		return encode_json(msg, out);
	default:
		return encode_raw(msg, ret);
	}
}

int frame_encode(enum framing framing, enum msg_kind type, const struct msg *msg,
		 struct frame_parts *ret, struct buf *out)
{
	size_t before;
	int r;

	if (msg->kind > MSG_BINARY && framing != FRAMING_JSON)
		return FRAME_NOTHING;
	before = buf_len(out);
	r = encode(framing, type, msg, ret, out);
	if (r < 0)
		out->end = out->start + before; /* no half of a record is left behind */
	return r;
}

/* --- one record into one message ------------------------------------------------------------ */

/* The bytes of a record, without its delimiter. */
struct record {
	const uint8_t *at;
	size_t len;
};

static const char too_long[] = "is longer than max-message";
static const char not_url[] = "begins with data: but is not a base64 data: URL";
static const char not_utf8[] = "holds text that is not UTF-8";
static const char no_memory[] = "needs more memory than there is";

static int bad(const char **ret_problem, const char *problem)
{
	*ret_problem = problem;
	return DECODER_BAD;
}

static inline int take_message(const struct decoder *decoder, enum msg_kind kind,
			       struct record record, struct msg *ret, const char **ret_problem)
{
	if (record.len > decoder->max_message)
		return bad(ret_problem, too_long);
	*ret = (struct msg){.kind = (uint8_t)kind, .data = record.at, .len = record.len};
	return DECODER_MSG;
}

/* What was unwrapped into DECODED. */
static int take_decoded(const struct decoder *decoder, enum msg_kind kind, struct msg *ret,
			const char **ret_problem)
{
	struct record record = {(const uint8_t *)"", buf_len(&decoder->decoded)};

	if (record.len)
		record.at = buf_head(&decoder->decoded);
	if (record.len <= decoder->max_message && kind == MSG_TEXT &&
	    !utf8_valid(record.at, record.len))
		return bad(ret_problem, not_utf8);
	return take_message(decoder, kind, record, ret, ret_problem);
}

static bool equals_nocase(const uint8_t *data, const char *lower, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((data[i] >= 'A' && data[i] <= 'Z' ? data[i] | 0x20 : data[i]) !=
		    (uint8_t)lower[i])
			return false;
	}
	return true;
}

/* HEAD is what stands between "data:" and the comma.  0 for what is no head of a base64 URL. */
static enum msg_kind url_kind(const uint8_t *head, size_t len)
{
	static const char base64[] = ";base64";
	const size_t base64_len = sizeof(base64) - 1;
	const uint8_t *parameters, *slash;

	if (len < base64_len || !equals_nocase(head + len - base64_len, base64, base64_len))
		return 0;
	parameters = memchr(head, ';', len);
	len = (size_t)(parameters - head);
	if (len == 0)
		return MSG_TEXT;
	slash = memchr(head, '/', len);
	if (!slash || slash == head || slash == head + len - 1)
		return 0;
	return len > 5 && equals_nocase(head, "text/", 5) ? MSG_TEXT : MSG_BINARY;
}

static int take_url(struct decoder *decoder, struct record record, struct msg *ret,
		    const char **ret_problem)
{
	const uint8_t *head = record.at + 5, *comma = memchr(head, ',', record.len - 5);
	enum msg_kind kind = comma ? url_kind(head, (size_t)(comma - head)) : 0;
	size_t payload_len;
	uint8_t *to;
	ssize_t n;
	int r;

	if (!kind)
		return bad(ret_problem, not_url);
	payload_len = (size_t)(record.at + record.len - (comma + 1));
	r = buf_reserve(&decoder->decoded, payload_len + 1, &to); /* never 0, so never NULL */
	if (r < 0)
		return bad(ret_problem, r == -ENOBUFS ? too_long : no_memory);
	n = base64_decode(to, (const char *)comma + 1, payload_len);
	if (n < 0)
		return bad(ret_problem, not_url);
	buf_commit(&decoder->decoded, (size_t)n);
	return take_decoded(decoder, kind, ret, ret_problem);
}

static inline bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct json_span without_blanks(struct record record)
{
	while (record.len && is_blank(record.at[record.len - 1]))
		record.len--;
	while (record.len && is_blank(record.at[0])) {
		record.at++;
		record.len--;
	}
	return (struct json_span){(const char *)record.at, record.len};
}

struct envelope {
	struct json_span type, data; /* NULL: not there */
};

static bool envelope_read(struct envelope *envelope, const struct json_span *object)
{
	struct json_span key, value;
	size_t position = 0;
	int r;

	if (object->at[0] != '{')
		return false;
	while ((r = json_next(object, &position, &key, &value)) > 0) {
		if (!envelope->type.at && json_equals(&key, "type"))
			envelope->type = value;
		else if (!envelope->data.at && json_equals(&key, "data"))
			envelope->data = value;
	}
	return r == 0;
}

static int take_envelope(struct decoder *decoder, const struct json_span *object, struct msg *ret,
			 const char **ret_problem)
{
	struct envelope envelope = {0};
	struct buf *decoded = &decoder->decoded;
	bool binary;
	ssize_t n;
	int r;

	if (!envelope_read(&envelope, object))
		return bad(ret_problem, "is not a JSON object");
	binary = envelope.type.at && json_equals(&envelope.type, "binary");
	if (envelope.type.at && !binary && !json_equals(&envelope.type, "text"))
		return bad(ret_problem, "has a \"type\" that is neither \"text\" nor \"binary\"");
	if (!envelope.data.at || !json_is_string(&envelope.data))
		return bad(ret_problem, "has no \"data\" that is a string");
	r = json_unquote(&envelope.data, decoded);
	if (r == -EINVAL)
		return bad(ret_problem, "has half a surrogate pair in its \"data\"");
	if (r < 0)
		return bad(ret_problem, r == -ENOBUFS ? too_long : no_memory);
	if (binary && buf_len(decoded)) {
		n = base64_decode(buf_head(decoded), (char *)buf_head(decoded), buf_len(decoded));
		if (n < 0)
			return bad(ret_problem, "has binary \"data\" that is not base64");
		decoded->end = decoded->start + (size_t)n;
	}
	return take_decoded(decoder, binary ? MSG_BINARY : MSG_TEXT, ret, ret_problem);
}

/* MORE: there is no message in it (a blank line among envelopes). */
static inline int open_record(struct decoder *decoder, struct record record, struct msg *ret,
			      const char **ret_problem)
{
	if (decoder->framing == FRAMING_JSON) {
		struct json_span object = without_blanks(record);

		buf_clear(&decoder->decoded);
		return object.len ? take_envelope(decoder, &object, ret, ret_problem)
				  : DECODER_MORE;
	}
	if (has_scheme(record.at, record.len)) {
		buf_clear(&decoder->decoded);
		return take_url(decoder, record, ret, ret_problem);
	}
	return take_message(decoder, decoder->type, record, ret, ret_problem);
}

/* --- the stream into records ---------------------------------------------------------------- */

/* The stream is PENDING, then INPUT.  In the usual case PENDING is empty and records are views into
 * INPUT.  A record in PENDING is consumed before it is handed out: buf_consume() leaves the bytes
 * where they are, and nothing is appended before the next call. */

static inline void input_consume(struct decoder *decoder, size_t bytes)
{
	decoder->input += bytes;
	decoder->input_len -= bytes;
}

static inline void pending_consume(struct decoder *decoder, size_t bytes)
{
	buf_consume(&decoder->pending, bytes);
	decoder->scanned = 0;
}

/* BYTES of INPUT go behind PENDING. */
static int pending_fill(struct decoder *decoder, size_t bytes)
{
	int r;

	if (bytes == 0)
		return 0;
	r = buf_append(&decoder->pending, decoder->input, bytes);
	if (r < 0)
		return r;
	input_consume(decoder, bytes);
	return 0;
}

/* All is consumed: an idle decoder owns no memory.  Once a wake-up, so it costs nothing. */
static int more(struct decoder *decoder)
{
	buf_trim(&decoder->pending);
	buf_clear(&decoder->decoded);
	buf_trim(&decoder->decoded);
	return DECODER_MORE;
}

static int skip_record(struct decoder *decoder, const char **ret_problem)
{
	decoder->skipping = true;
	pending_consume(decoder, buf_len(&decoder->pending));
	return bad(ret_problem, too_long);
}

/* Pass over the rest of a record too long; false if it does not end in what there is. */
static bool skip_rest(struct decoder *decoder, int delimiter)
{
	size_t len = buf_len(&decoder->pending);
	const uint8_t *stop = len ? memchr(buf_head(&decoder->pending), delimiter, len) : NULL;

	if (stop) {
		pending_consume(decoder, (size_t)(stop - buf_head(&decoder->pending)) + 1);
	} else {
		pending_consume(decoder, len);
		stop = decoder->input_len ? memchr(decoder->input, delimiter, decoder->input_len)
					  : NULL;
		input_consume(decoder,
			      stop ? (size_t)(stop - decoder->input) + 1 : decoder->input_len);
	}
	decoder->skipping = !stop;
	return stop != NULL;
}

/* INPUT holds no delimiter. */
static int hold_input(struct decoder *decoder, const char **ret_problem)
{
	int r;

	if (buf_len(&decoder->pending) + decoder->input_len > decoder->max_record) {
		input_consume(decoder, decoder->input_len);
		return skip_record(decoder, ret_problem);
	}
	r = pending_fill(decoder, decoder->input_len);
	if (r < 0)
		return r;
	decoder->scanned = buf_len(&decoder->pending);
	return more(decoder);
}

static int take_pending(struct decoder *decoder, int delimiter, struct record *ret,
			const char **ret_problem)
{
	size_t len = buf_len(&decoder->pending), n;
	const uint8_t *head = buf_head(&decoder->pending), *stop;
	int r;

	stop = memchr(head + decoder->scanned, delimiter, len - decoder->scanned);
	if (stop) {
		*ret = (struct record){head, (size_t)(stop - head)};
		pending_consume(decoder, ret->len + 1);
		return DECODER_MSG;
	}
	decoder->scanned = len;
	if (len > decoder->max_record)
		return skip_record(decoder, ret_problem);
	if (decoder->input_len == 0)
		return more(decoder);
	stop = memchr(decoder->input, delimiter, decoder->input_len);
	if (!stop)
		return hold_input(decoder, ret_problem);
	n = (size_t)(stop - decoder->input);
	if (len + n > decoder->max_record) {
		skip_record(decoder, ret_problem);
		skip_rest(decoder, delimiter);
		return DECODER_BAD;
	}
	r = pending_fill(decoder, n);
	if (r < 0)
		return r;
	input_consume(decoder, 1);
	*ret = (struct record){buf_head(&decoder->pending), len + n};
	pending_consume(decoder, len + n);
	return DECODER_MSG;
}

/* DECODER_MSG: *ret is a record, and consumed. */
static inline int take_record(struct decoder *decoder, int delimiter, struct record *ret,
			      const char **ret_problem)
{
	const uint8_t *stop;

	if (decoder->skipping && !skip_rest(decoder, delimiter))
		return more(decoder);
	if (buf_len(&decoder->pending))
		return take_pending(decoder, delimiter, ret, ret_problem);
	if (decoder->input_len == 0)
		return more(decoder);
	stop = memchr(decoder->input, delimiter, decoder->input_len);
	if (!stop)
		return hold_input(decoder, ret_problem);
	*ret = (struct record){decoder->input, (size_t)(stop - decoder->input)};
	input_consume(decoder, ret->len + 1);
	return DECODER_MSG;
}

static inline int next_delimited(struct decoder *decoder, int delimiter, struct msg *ret,
				 const char **ret_problem)
{
	struct record record;
	int r;

	do {
		r = take_record(decoder, delimiter, &record, ret_problem);
		if (r != DECODER_MSG)
			return r;
		if (record.len > decoder->max_record)
			return bad(ret_problem, too_long);
		r = open_record(decoder, record, ret, ret_problem);
	} while (r == DECODER_MORE);
	return r;
}

/* Where the next record begins will never be known: all that comes is dropped. */
static int break_off(struct decoder *decoder, const char **ret_problem)
{
	decoder->skipping = true;
	pending_consume(decoder, buf_len(&decoder->pending));
	input_consume(decoder, decoder->input_len);
	more(decoder);
	*ret_problem = too_long;
	return DECODER_BROKEN;
}

static int next_length(struct decoder *decoder, struct msg *ret, const char **ret_problem)
{
	while (!decoder->skipping) {
		bool in_place = buf_len(&decoder->pending) == 0;
		const uint8_t *at = in_place ? decoder->input : buf_head(&decoder->pending);
		size_t have = in_place ? decoder->input_len : buf_len(&decoder->pending);
		size_t want = 4;
		uint32_t head = 0;
		int r;

		if (have >= 4) {
			memcpy(&head, at, 4);
			head = be32toh(head);
			want += head & LENGTH_MAX;
			if (want - 4 > decoder->max_message)
				break;
		}
		if (have >= want && have >= 4) {
			if (in_place)
				input_consume(decoder, want);
			else
				pending_consume(decoder, want);
			return take_message(decoder, head & BINARY_MARK ? MSG_BINARY : MSG_TEXT,
					    (struct record){at + 4, want - 4}, ret, ret_problem);
		}
		if (decoder->input_len == 0)
			return more(decoder);
		want -= in_place ? 0 : have;
		r = pending_fill(decoder, want < decoder->input_len ? want : decoder->input_len);
		if (r < 0)
			return r;
	}
	return break_off(decoder, ret_problem);
}

/* How many of the LEN bytes to hold back.  Never all of them when FULL: nothing more can come to
 * them, because max_message is shorter than the character. */
static size_t raw_tail(const struct decoder *decoder, const uint8_t *data, size_t len, bool full)
{
	size_t tail = decoder->type == MSG_TEXT && len ? utf8_tail(data, len) : 0;

	return tail == len && full ? 0 : tail;
}

static int next_raw(struct decoder *decoder, struct msg *ret, const char **ret_problem)
{
	const size_t max = decoder->max_message;
	size_t have = buf_len(&decoder->pending), len;
	struct record record;
	int r;

	if (have == 0) {
		len = decoder->input_len < max ? decoder->input_len : max;
		record = (struct record){decoder->input, len};
		record.len -= raw_tail(decoder, record.at, len, decoder->input_len > len);
		if (record.len) {
			input_consume(decoder, record.len);
			return take_message(decoder, decoder->type, record, ret, ret_problem);
		}
	}
	if (have < max) {
		len = decoder->input_len < max - have ? decoder->input_len : max - have;
		r = pending_fill(decoder, len);
		if (r < 0)
			return r;
		have += len;
	}
	if (have == 0)
		return more(decoder);
	len = have < max ? have : max;
	record = (struct record){buf_head(&decoder->pending), len};
	record.len -= raw_tail(decoder, record.at, len, have > len || len == max);
	if (record.len == 0)
		return more(decoder);
	pending_consume(decoder, record.len);
	return take_message(decoder, decoder->type, record, ret, ret_problem);
}

/* --- the decoder ---------------------------------------------------------------------------- */

/* The largest record that can hold MAX_MESSAGE bytes, with room for a data: URL's media type, or an
 * envelope's other members and each byte as \u00XX. */
static size_t record_limit(enum framing framing, size_t max_message)
{
	uint64_t limit = max_message;

	if (framing == FRAMING_JSON)
		limit = limit * 6 + 256;
	else
		limit = (limit + 2) / 3 * 4 + 64;
	return limit < SIZE_MAX / 2 ? (size_t)limit : SIZE_MAX / 2;
}

void decoder_init(struct decoder *decoder, enum framing framing, enum msg_kind type,
		  size_t max_message)
{
	assert(max_message > 0);
	*decoder = (struct decoder){.framing = framing,
				    .type = type,
				    .max_message = max_message,
				    .max_record = record_limit(framing, max_message)};
	buf_init(&decoder->pending, decoder->max_record);
	/* Base64 before it is decoded is the largest that has business here. */
	buf_init(&decoder->decoded, record_limit(FRAMING_LINE, max_message));
}

void decoder_done(struct decoder *decoder)
{
	buf_done(&decoder->pending);
	buf_done(&decoder->decoded);
	decoder->input = NULL;
	decoder->input_len = decoder->scanned = 0;
	decoder->skipping = false;
}

void decoder_feed(struct decoder *decoder, const uint8_t *data, size_t len)
{
	assert(decoder->input_len == 0);
	decoder->input = data;
	decoder->input_len = len;
}

int decoder_next(struct decoder *decoder, struct msg *ret, const char **ret_problem)
{
	switch (decoder->framing) {
	case FRAMING_LINE:
	case FRAMING_JSON:
		return next_delimited(decoder, '\n', ret, ret_problem);
	case FRAMING_NUL:
		return next_delimited(decoder, '\0', ret, ret_problem);
	case FRAMING_LENGTH:
		return next_length(decoder, ret, ret_problem);
	default:
		return next_raw(decoder, ret, ret_problem);
	}
}

/* Many records may be kept, so PENDING's maximum is what there is when that is more than a record.
 * What is searched stays searched: `scanned` counts from the head, and this adds at the tail. */
int decoder_keep(struct decoder *decoder)
{
	size_t all = buf_len(&decoder->pending) + decoder->input_len;

	if (decoder->pending.max < all)
		decoder->pending.max = all;
	return pending_fill(decoder, decoder->input_len);
}

int decoder_end(struct decoder *decoder, struct msg *ret, const char **ret_problem)
{
	struct record record = {NULL, 0};
	int r = decoder->skipping && decoder->framing == FRAMING_LENGTH
			? DECODER_MORE /* broken, which has been said */
			: decoder_next(decoder, ret, ret_problem);

	if (r != DECODER_MORE)
		return r;
	decoder->skipping = false;
	record.len = buf_len(&decoder->pending);
	if (record.len == 0)
		return DECODER_MORE;
	record.at = buf_head(&decoder->pending);
	pending_consume(decoder, record.len);
	if (decoder->framing == FRAMING_LENGTH)
		return bad(ret_problem, "ends in the middle of a record");
	if (decoder->framing == FRAMING_RAW)
		return take_message(decoder, decoder->type, record, ret, ret_problem);
	return open_record(decoder, record, ret, ret_problem);
}
