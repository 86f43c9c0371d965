/* Compression: what a server sends is inflated as zlib alone would, in any pieces, and never beyond
 * the limit; what we pack is what the other side unpacks; an answer's terms can be said and
 * understood again.
 *
 * Input: a byte of flags (bits 0-1: what is tried; 2: the server forgets), a byte (the limit), a
 * byte (number of cuts), the cuts, then: an extension as in an answer; compressed messages, each
 * ended by AA 55; or messages to be packed, likewise. */
#include <errno.h>
#include <zlib.h>

#include "codec/deflate.h"
#include "fuzz.h"

enum { OUT_MAX = 1 << 20, CUTS_MAX = 32, MESSAGES_MAX = 8 };

/* --- terms ----------------------------------------------------------------------------------- */

static void check_terms(const uint8_t *data, size_t len)
{
	struct deflate_terms terms = {0}, again = {0};
	char *member = (char *)copy_bytes(data, len), text[DEFLATE_TERMS_MAX];
	const char *problem = NULL;

	if (deflate_judge(&terms, member, len, &problem) == 0) {
		HOLDS(terms.agreed);
		HOLDS(!terms.server_bits || (terms.server_bits >= 8 && terms.server_bits <= 15));
		HOLDS(!terms.client_bits || (terms.client_bits >= 8 && terms.client_bits <= 15));
		deflate_describe(&terms, text);
		HOLDS(deflate_judge(&again, text, strlen(text), &problem) == 0);
		HOLDS(again.server_resets == terms.server_resets &&
		      again.client_resets == terms.client_resets &&
		      again.server_bits == terms.server_bits &&
		      again.client_bits == terms.client_bits);
		HOLDS(deflate_judge(&terms, member, len, &problem) == -EPROTO); /* not twice */
	} else {
		HOLDS(problem && is_one_line(problem));
		HOLDS(!terms.agreed && !terms.server_resets && !terms.client_resets &&
		      !terms.server_bits && !terms.client_bits);
	}
	free(member);
}

/* --- messages in ------------------------------------------------------------------------------ */

/* One message, cut as CUTS says.  0, or the error. */
static int inflate_message(struct inflater *inflater, struct food message, struct food *cuts,
			   struct buf *out)
{
	const char *problem = NULL;
	int r = 0;

	do {
		size_t n = next_cut(cuts, message.len);
		struct food piece = take_bytes(&message, n);
		uint8_t *copy = copy_bytes(piece.at, piece.len);

		r = inflater_feed(inflater, copy, piece.len, message.len == 0, out, &problem);
		free(copy);
		HOLDS(r == 0 || r == -EPROTO || r == -ENOBUFS);
		HOLDS(r != -EPROTO || problem);
		HOLDS(buf_len(out) <= out->max);
	} while (r == 0 && message.len > 0);
	return r;
}

/* By zlib alone: one message as a whole, if it is an ordinary one (no final block).  Z_OK, or not.
 */
static int inflate_plainly(z_stream *z, struct food message, uint8_t *out, size_t *ret_len)
{
	uint8_t *in = malloc(message.len + 4);
	int r;

	HOLDS(in);
	if (message.len > 0)
		memcpy(in, message.at, message.len);
	memcpy(in + message.len, "\x00\x00\xff\xff", 4);
	z->next_in = in;
	z->avail_in = (uInt)message.len + 4;
	z->next_out = out;
	z->avail_out = OUT_MAX;
	r = inflate(z, Z_SYNC_FLUSH);
	*ret_len = OUT_MAX - z->avail_out;
	if (r == Z_OK && (z->avail_in > 0 || z->avail_out == 0 || !(z->data_type & 128)))
		r = Z_BUF_ERROR;
	free(in);
	return r;
}

struct side {
	struct inflater *inflater;
	struct buf out;
};

static void side_init(struct side *side, const struct deflate_terms *terms, size_t limit)
{
	HOLDS(inflater_new(&side->inflater, terms) == 0);
	buf_init(&side->out, limit);
}

static void side_done(struct side *side)
{
	side->inflater = inflater_free(side->inflater);
	buf_done(&side->out);
}

static struct food next_message(struct food *food)
{
	uint8_t *end = food->len > 0 ? memmem(food->at, food->len, "\xaa\x55", 2) : NULL;
	struct food message = take_bytes(food, end ? (size_t)(end - food->at) : food->len);

	take_bytes(food, 2);
	return message;
}

/* Whole, in pieces and by zlib, as long as all three go on. */
static void check_inflating(struct food food, struct food cuts, size_t limit, bool forgets)
{
	static uint8_t plain[OUT_MAX];
	const struct deflate_terms terms = {.agreed = true, .server_resets = forgets};
	struct food no_cuts = {NULL, 0};
	struct side whole, pieces;
	z_stream z = {0};
	bool z_goes_on = true;
	int r = 0;

	HOLDS(inflateInit2(&z, -15) == Z_OK);
	side_init(&whole, &terms, limit);
	side_init(&pieces, &terms, limit);
	for (int i = 0; i < MESSAGES_MAX && food.len > 0 && r == 0; i++) {
		struct food message = next_message(&food);
		size_t len = 0;

		r = inflate_message(whole.inflater, message, &no_cuts, &whole.out);
		HOLDS(inflate_message(pieces.inflater, message, &cuts, &pieces.out) == r);
		HOLDS(r != 0 || same_bytes(buf_head(&whole.out), buf_len(&whole.out),
					   buf_head(&pieces.out), buf_len(&pieces.out)));
		z_goes_on = z_goes_on && message.len > 0 &&
			    inflate_plainly(&z, message, plain, &len) == Z_OK;
		if (z_goes_on && len <= limit)
			HOLDS(r == 0 &&
			      same_bytes(buf_head(&whole.out), buf_len(&whole.out), plain, len));
		else if (z_goes_on)
			HOLDS(r == -ENOBUFS);
		if (forgets)
			inflateReset(&z);
		inflater_rest(whole.inflater);
		buf_clear(&whole.out);
		buf_clear(&pieces.out);
	}
	inflateEnd(&z);
	side_done(&whole);
	side_done(&pieces);
}

/* --- messages out ----------------------------------------------------------------------------- */

/* What we send, read by what we read with: the two sides of the extension are alike. */
static void check_packing(struct food food, struct food *cuts, uint8_t bits, bool resets)
{
	const struct deflate_terms terms = {.agreed = true,
					    .client_resets = resets,
					    .client_bits = bits % 16 >= 8 ? bits % 16 : 0};
	struct deflater *deflater;
	struct side other;

	HOLDS(deflater_new(&deflater, &terms) == 0);
	side_init(&other, &terms, OUT_MAX);
	for (int i = 0; i < MESSAGES_MAX && food.len > 0; i++) {
		struct food message = next_message(&food);
		const uint8_t *packed;
		size_t len;
		int r = deflater_pack(deflater, message.at, message.len, &packed, &len);

		HOLDS(r == DEFLATER_PLAIN || r == DEFLATER_PACKED);
		if (r == DEFLATER_PACKED) {
			HOLDS(len > 0 && len < message.len && message.len >= DEFLATER_MIN_BYTES);
			HOLDS(inflate_message(other.inflater, (struct food){packed, len}, cuts,
					      &other.out) == 0);
			HOLDS(same_bytes(buf_head(&other.out), buf_len(&other.out), message.at,
					 message.len));
			buf_clear(&other.out);
		}
		if (i % 3 == 2)
			deflater_rest(deflater);
	}
	deflater_free(deflater);
	side_done(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len}, cuts;
	uint8_t flags = take_byte(&food), limit = take_byte(&food);

	cuts = take_bytes(&food, take_byte(&food) % CUTS_MAX);
	if (flags % 4 == 0)
		check_terms(food.at, food.len);
	else if (flags % 4 == 1)
		check_packing(food, &cuts, limit, flags & 4);
	else
		check_inflating(food, cuts, limit < 0xf0 ? limit : (size_t)1 << (limit & 15),
				flags & 4);
	return 0;
}
