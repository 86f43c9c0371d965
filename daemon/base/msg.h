/* msg - a view of one message.  The bytes belong to whoever made the view (a log of records, a
 * decoder, the frame layer), and are good until that owner's next step: copy what must last. */
#ifndef BASE_MSG_H
#define BASE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum msg_kind {
	MSG_TEXT = 1,   /* valid UTF-8 (RFC 6455 5.6) */
	MSG_BINARY = 2, /* the values are the opcodes of RFC 6455 5.2 */
	MSG_OPENED = 3, /* not a message but a mark: the connection was opened here */
	MSG_CLOSED = 4, /* ... or closed here; .code is the close code, the bytes are the reason */
};

enum { /* what a look at the bytes has shown, so that a hundred readers need not look again */
	MSG_HAS_LF = 1,     /* a line feed is inside */
	MSG_HAS_SCHEME = 2, /* begins with "data:" */
	MSG_SECRET = 8,     /* to be sent as it is: a compressor would keep it, and tell its length */
	MSG_IS_REPLY = 4,   /* its asker has it already: not for those who get their own replies */
};

struct msg {
	uint8_t kind;     /* enum msg_kind */
	uint8_t flags;    /* MSG_HAS_... ; set by frame_scan() */
	uint16_t code;    /* only MSG_CLOSED */
	uint64_t time_us; /* wall clock at receipt; 0: not known */
	const uint8_t *data;
	size_t len;
};

static inline bool msg_counts(const struct msg *msg) /* it is a message, and no mark */
{
	return msg->kind == MSG_TEXT || msg->kind == MSG_BINARY;
}

#endif
