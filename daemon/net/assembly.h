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
	uint16_t refused;          /* the close code to refuse with, once the server broke a rule */
	const char *problem, *detail; /* "the server ...", "invalid ..." or "" */
};

void assembly_init(struct assembly *assembly, uint64_t max_message_bytes);
void assembly_done(struct assembly *assembly);

/* From now on messages may be compressed.  -ENOMEM */
int assembly_inflate(struct assembly *assembly, const struct deflate_terms *terms);

/* A data frame begins.  False: it is refused. */
bool assembly_begin(struct assembly *assembly, uint8_t opcode, bool compressed,
		    uint64_t payload_bytes);

/* A piece of its payload; LAST: the message ends with it.  ASSEMBLY_WHOLE: kind and bytes are in
 * *ret, good until assembly_clear(), which must follow.  -ENOMEM */
enum { ASSEMBLY_MORE, ASSEMBLY_WHOLE, ASSEMBLY_REFUSED };
int assembly_take(struct assembly *assembly, const uint8_t *data, size_t len, bool last,
		  struct msg *ret);
void assembly_clear(struct assembly *assembly);

void assembly_rest(struct assembly *assembly); /* nothing came lately: give memory back */

#endif
