/* frame - messages as records on a byte stream: the five framings of wspipe.conf(5).
 *
 *	line	the text, then LF
 *	nul	the bytes, then NUL
 *	length	4 bytes big-endian, then the bytes; top bit of the length set = binary
 *	json	{"type":"text","data":"...","time":"..."} or binary in base64, then LF
 *	raw	the bytes alone
 *
 * Exact in both directions.  What line and nul cannot hold as it is becomes an RFC 2397 data: URL
 * with base64; only JSON text in `line` may instead have its raw line ends turned into blanks. */
#ifndef CODEC_FRAME_H
#define CODEC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/msg.h"

enum framing { FRAMING_LINE, FRAMING_NUL, FRAMING_LENGTH, FRAMING_JSON, FRAMING_RAW, FRAMINGS };

extern const char *const framing_names[FRAMINGS + 1]; /* "line", ..., NULL */

/* --- encoding ------------------------------------------------------------------------------- */

/* Look at the bytes once and set msg->flags. */
void frame_scan(struct msg *msg);

/* A record in up to three pieces, so that large bodies are written from where they lie. */
struct frame_parts {
	uint8_t head[4];
	uint8_t tail[1];
	uint8_t head_len, tail_len;
	const uint8_t *body;
	size_t body_len;
};

static inline size_t frame_parts_len(const struct frame_parts *parts)
{
	return parts->head_len + parts->body_len + parts->tail_len;
}

/* The record in one piece, to where there is room for it. */
static inline void frame_parts_put(uint8_t *to, const struct frame_parts *parts)
{
	memcpy(to, parts->head, parts->head_len);
	if (parts->body_len > 0)
		memcpy(to + parts->head_len, parts->body, parts->body_len);
	if (parts->tail_len)
		to[parts->head_len + parts->body_len] = parts->tail[0];
}

enum {
	FRAME_PARTS,   /* *ret is the record; views into msg */
	FRAME_ENCODED, /* the whole record was appended to OUT instead */
	FRAME_NOTHING, /* this framing has no record for it (open and close marks outside of json) */
};

/* TYPE is the connection's `type`: the kind that needs no mark.  msg->flags must have been set by
 * frame_scan().  -ENOMEM or -ENOBUFS from OUT otherwise, which is then unchanged; -EMSGSIZE for
 * more than 2^31-1 bytes in `length`. */
int frame_encode(enum framing framing, enum msg_kind type, const struct msg *msg,
		 struct frame_parts *ret, struct buf *out);

/* The usual record, known without a call: the bytes as they are, and this one behind them.  -1: it is
 * another, ask frame_encode(). */
static inline int frame_usual_end(enum framing framing, enum msg_kind type, const struct msg *msg)
{
	return framing == FRAMING_LINE && msg->kind == type && !msg->flags ? '\n' : -1;
}

/* --- decoding ------------------------------------------------------------------------------- */

/* Bytes of a stream into messages.  The bytes offered are used in place; only an unfinished record
 * (or, after decoder_keep(), all that is left) is copied.  Each byte is looked at once, however
 * small the pieces it comes in. */
struct decoder {
	enum framing framing;
	enum msg_kind type;
	size_t max_message;
	size_t max_record;    /* what a message of max_message may need as a record */
	const uint8_t *input; /* offered, not yet consumed; not ours */
	size_t input_len;
	struct buf pending;   /* what comes before INPUT: an unfinished record, or what was kept */
	size_t scanned;       /* so much of pending holds no delimiter */
	struct buf decoded;   /* a message that is not in the stream as it is (data:, json) */
	bool skipping;        /* a record too long is being passed over */
};

enum {
	DECODER_MORE,   /* all that was offered is consumed */
	DECODER_MSG,    /* *ret is a message; its bytes are good until the next call */
	DECODER_BAD,    /* one record is refused, *ret_problem says why; go on with the next.
			   A constant that completes "the record ...": "is longer than max-message" */
	DECODER_BROKEN, /* the stream cannot be followed any further (length framing) */
};

/* MAX_MESSAGE is at least 1. */
void decoder_init(struct decoder *decoder, enum framing framing, enum msg_kind type,
		  size_t max_message);
void decoder_done(struct decoder *decoder);

/* Offer bytes; they must stay where they are until decoder_next() has said MORE or decoder_keep()
 * was called.  Nothing offered before may be left unconsumed, unless it was kept: kept bytes come
 * first, then these. */
void decoder_feed(struct decoder *decoder, const uint8_t *data, size_t len);

/* One of the above, or -ENOMEM (nothing is lost then; call again).  ret->flags and ret->time_us are
 * 0.  DECODER_BROKEN is said at each further call, which drops what was fed, until decoder_end() (a
 * FIFO's next writer begins afresh).  Text is not UTF-8 checked here except where it was
 * unwrapped from base64 or JSON: conn_send() checks every outgoing message.  `raw` yields what was
 * offered as one message (or several, where it is longer than max_message), holding back up to 3
 * bytes of an unfinished character when the type is text. */
int decoder_next(struct decoder *decoder, struct msg *ret, const char **ret_problem);

/* Copy what was offered and not consumed, so that its owner may have its memory back; -ENOMEM.
 * decoder_next() goes on from the copy, with or without another decoder_feed().  The message that
 * decoder_next() gave last is no longer good after this.  Memory: at most what was offered and not
 * consumed, so who keeps must not feed again and again without taking. */
int decoder_keep(struct decoder *decoder);

/* The writer has gone: an unterminated last record counts (line, nul, json, raw).  Call after MORE
 * (before, it does as decoder_next(), so that nothing is lost).  DECODER_MSG, DECODER_BAD or
 * DECODER_MORE (there was none).  The decoder is then as new. */
int decoder_end(struct decoder *decoder, struct msg *ret, const char **ret_problem);

/* Is the middle of a record where the stream stands? */
static inline bool decoder_unfinished(const struct decoder *decoder)
{
	return buf_len(&decoder->pending) > 0 || decoder->skipping;
}

#endif
