/* deflate - compressed messages (permessage-deflate, RFC 7692): what is offered, whether the answer
 * will do, and the two machines, one for each direction.  The only user of zlib.
 *
 * Both machines make their state when the first message needs it, and give it back at
 * ..._rest(): a connection that agreed but does not use it costs next to nothing. */
#ifndef CODEC_DEFLATE_H
#define CODEC_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum deflate_use { DEFLATE_NO, DEFLATE_RECEIVE, DEFLATE_BOTH };

/* What browsers say, so what servers know.  client_max_window_bits allows the server to name a
 * number; without it an answer that does would have to be refused. */
#define DEFLATE_OFFER "permessage-deflate; client_max_window_bits"

struct deflate_terms {
	bool agreed;
	bool server_resets, client_resets; /* ..._no_context_takeover */
	uint8_t server_bits, client_bits;  /* ..._max_window_bits; 0: not said, which means 15 */
};

/* One member of the answer's Sec-WebSocket-Extensions against the offer.  -EPROTO with
 * *ret_problem, which wants the member behind it; TERMS are as before then. */
int deflate_judge(struct deflate_terms *terms, const char *member, size_t len,
		  const char **ret_problem);

/* The terms as an answer would spell them; "" when nothing was agreed. */
enum { DEFLATE_TERMS_MAX = 160 };
void deflate_describe(const struct deflate_terms *terms, char ret_text[DEFLATE_TERMS_MAX]);

/* --- receiving ------------------------------------------------------------------------------ */

struct inflater;

int inflater_new(struct inflater **ret, const struct deflate_terms *terms); /* -ENOMEM */
struct inflater *inflater_free(struct inflater *inflater);

/* Inflate a piece of a message and append it to OUT; LAST: the message ends with it (it may be
 * empty).  -EPROTO and *ret_problem: it is broken; -ENOBUFS: more than OUT's maximum; -ENOMEM.
 * After an error it must not be fed any more. */
int inflater_feed(struct inflater *inflater, const uint8_t *data, size_t len, bool last,
		  struct buf *out, const char **ret_problem);

/* Between two messages: give back the memory, if the terms allow to forget what was before. */
void inflater_rest(struct inflater *inflater);

/* --- sending -------------------------------------------------------------------------------- */

enum {
	DEFLATER_MIN_BYTES = 128, /* shorter ones are not worth it */
	/* Longer ones would hold up everybody else: a megabyte takes some 6 ms. */
	DEFLATER_MAX_BYTES = 4 * 1024 * 1024,
};

struct deflater;

int deflater_new(struct deflater **ret, const struct deflate_terms *terms); /* -ENOMEM */
struct deflater *deflater_free(struct deflater *deflater);

/* DEFLATER_PACKED: the message is the *ret_len bytes at *ret, good until the next call.
 * DEFLATER_PLAIN: send it as it is; it is too short or too long, would not become shorter, there is
 * no memory, or the terms leave us no way (zlib cannot do 8 window bits).  Each message stands
 * alone: no message's length tells anything of those before, and one that was packed need not be
 * sent. */
enum { DEFLATER_PLAIN, DEFLATER_PACKED };
int deflater_pack(struct deflater *deflater, const uint8_t *data, size_t len, const uint8_t **ret,
		  size_t *ret_len);

void deflater_rest(struct deflater *deflater); /* give back the memory */

#endif
