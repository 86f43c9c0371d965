/* assembly - the message being received: pieces of data frames go in, one whole message comes out,
 * joined, inflated if it was compressed, and if it is text then UTF-8.
 *
 * Control frames, which may stand between the fragments, do not come here. */
#ifndef NET_ASSEMBLY_H
#define NET_ASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/msg.h"
#include "codec/utf8.h"

struct deflate_terms;
struct inflater;

struct assembly {
	uint8_t kind; /* enum msg_kind; 0: no message is unfinished */
	bool compressed;
	uint32_t fragments;
	struct utf8 utf8; /* complete between messages */
	struct buf bytes;
	struct inflater *inflater; /* NULL: compression was not agreed */
	uint64_t inflated;         /* bytes that came out of it; the ws sets it to 0 */
	uint16_t refused;          /* the close code to refuse with, once the server broke a rule */
	const char *problem, *detail; /* "the server ...", "invalid ..." or "" */
};

void assembly_init(struct assembly *assembly, uint64_t max_message_bytes);
void assembly_done(struct assembly *assembly);

/* From now on messages may be compressed.  -ENOMEM */
int assembly_inflate(struct assembly *assembly, const struct deflate_terms *terms);

enum { ASSEMBLY_CHUNK_BYTES = 4096 }; /* what the frame layer gives at once */

bool assembly_judge(struct assembly *assembly, uint8_t opcode, bool compressed,
		    uint64_t payload_bytes);

/* A data frame begins.  False: it is refused.  (The usual one, the first of a message and short, is
 * let in without a call; so below.) */
static inline bool assembly_begin(struct assembly *assembly, uint8_t opcode, bool compressed,
				  uint64_t payload_bytes)
{
	if (assembly->kind || !opcode || compressed || payload_bytes > ASSEMBLY_CHUNK_BYTES ||
	    payload_bytes > assembly->bytes.max)
		return assembly_judge(assembly, opcode, compressed, payload_bytes);
	assembly->kind = opcode; /* enum msg_kind has the same values */
	assembly->compressed = false;
	assembly->fragments = 1;
	return true;
}

enum { ASSEMBLY_MORE, ASSEMBLY_WHOLE, ASSEMBLY_REFUSED };
int assembly_add(struct assembly *assembly, const uint8_t *data, size_t len, bool last,
		 struct msg *ret);

/* A piece of its payload; LAST: the message ends with it.  ASSEMBLY_WHOLE: kind and bytes are in
 * *ret, good until assembly_clear(), which must follow.  -ENOMEM */
static inline int assembly_take(struct assembly *assembly, const uint8_t *data, size_t len,
				bool last, struct msg *ret)
{
	if (!last || assembly->compressed || buf_len(&assembly->bytes) > 0 ||
	    (assembly->kind == MSG_TEXT && !utf8_valid(data, len)))
		return assembly_add(assembly, data, len, last, ret);
	ret->kind = assembly->kind;
	ret->data = data;
	ret->len = len;
	assembly->kind = 0;
	return ASSEMBLY_WHOLE;
}

void assembly_forget(struct assembly *assembly);

static inline void assembly_clear(struct assembly *assembly)
{
	if (assembly->bytes.data)
		assembly_forget(assembly);
}

void assembly_rest(struct assembly *assembly); /* nothing came lately: give memory back */

#endif
