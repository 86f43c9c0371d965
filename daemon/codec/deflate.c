/* deflate - see the header; zlib's habits that matter are told where they bite.
 *
 * Inflating is always done with a window of 32 KiB, whatever the server has promised: any smaller
 * one decodes the same.  What is sent is compressed without regard to the messages before, which
 * needs no agreement (the other side cannot tell), costs little of the gain, and closes the hole
 * that CRIME and BREACH use: a guess in one message that gets shorter because of a secret in
 * another. */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>

#include "codec/deflate.h"

enum {
	DEFLATE_WINDOW_BITS = 15,
	DEFLATE_STEP = 16 * 1024,  /* of output, between two looks at the limit */
	DEFLATE_BOUNDARY = 128,    /* in z_stream.data_type: right behind a block */
	DEFLATER_LEVEL = 3,        /* the best of the fast ones */
	DEFLATER_WINDOW_BITS = 13, /* 64 KiB of state instead of 256, for 2 % */
	DEFLATER_MEM_LEVEL = 6,
	DEFLATER_PIECE = 64 * 1024, /* of input, between two looks at the gain */
	DEFLATER_KEEP_BYTES = 64 * 1024,
};

/* Ends each flushed block; left out on the wire (RFC 7692 7.2.1). */
static const uint8_t deflate_tail[] = {0x00, 0x00, 0xff, 0xff};

/* --- the terms ------------------------------------------------------------------------------ */

struct deflate_text {
	const char *at;
	size_t len;
};

static bool text_is(struct deflate_text text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

static struct deflate_text text_trim(struct deflate_text text)
{
	while (text.len > 0 && (*text.at == ' ' || *text.at == '\t')) {
		text.at++;
		text.len--;
	}
	while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
		text.len--;
	return text;
}

/* What stands before the first SEPARATOR, trimmed; *rest is what stands behind it, at NULL if there
 * is none.  No value that would do has a separator in it, so quotes need no regard. */
static struct deflate_text text_cut(struct deflate_text *rest, char separator)
{
	const char *end = memchr(rest->at, separator, rest->len);
	struct deflate_text first = *rest;

	if (end) {
		first.len = (size_t)(end - rest->at);
		rest->len -= first.len + 1;
		rest->at = end + 1;
	} else {
		*rest = (struct deflate_text){NULL, 0};
	}
	return text_trim(first);
}

/* 8..15 as RFC 7692 7.1.2 wants it, perhaps in quotes (RFC 6455 9.1); 0: it is not. */
static uint8_t text_bits(struct deflate_text text)
{
	char digits[3] = "";
	size_t n = 0;
	int bits;

	if (text.len >= 2 && text.at[0] == '"' && text.at[text.len - 1] == '"')
		text = (struct deflate_text){text.at + 1, text.len - 2};
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] == '\\' && i + 1 < text.len)
			i++;
		if (text.at[i] < '0' || text.at[i] > '9' || n == 2)
			return 0;
		digits[n++] = text.at[i];
	}
	if (n == 0 || digits[0] == '0')
		return 0;
	bits = atoi(digits);
	return bits >= 8 && bits <= DEFLATE_WINDOW_BITS ? (uint8_t)bits : 0;
}

static const char *judge_flag(bool *flag, bool has_value)
{
	if (*flag)
		return "it says a parameter twice:";
	if (has_value)
		return "it gives a value to a parameter that has none:";
	*flag = true;
	return NULL;
}

static const char *judge_bits(uint8_t *bits, struct deflate_text value)
{
	if (*bits)
		return "it says a parameter twice:";
	*bits = value.at ? text_bits(value) : 0;
	return *bits ? NULL : "a number of window bits must be from 8 to 15:";
}

static const char *judge_parameter(struct deflate_terms *terms, struct deflate_text parameter)
{
	struct deflate_text value = parameter, name = text_cut(&value, '=');
	bool has_value = value.at;

	if (has_value)
		value = text_trim(value);
	if (text_is(name, "server_no_context_takeover"))
		return judge_flag(&terms->server_resets, has_value);
	if (text_is(name, "client_no_context_takeover"))
		return judge_flag(&terms->client_resets, has_value);
	if (text_is(name, "server_max_window_bits"))
		return judge_bits(&terms->server_bits, value);
	if (text_is(name, "client_max_window_bits"))
		return judge_bits(&terms->client_bits, value);
	return "it uses a parameter that is none of permessage-deflate:";
}

int deflate_judge(struct deflate_terms *terms, const char *member, size_t len,
		  const char **ret_problem)
{
	struct deflate_text rest = {member, len}, name = text_cut(&rest, ';');
	struct deflate_terms judged = {.agreed = true};

	*ret_problem = NULL;
	if (!text_is(name, "permessage-deflate"))
		*ret_problem = "it uses an extension that was not offered:";
	else if (terms->agreed)
		*ret_problem = "it uses an extension twice:";
	while (!*ret_problem && rest.at)
		*ret_problem = judge_parameter(&judged, text_cut(&rest, ';'));
	if (*ret_problem)
		return -EPROTO;
	*terms = judged;
	return 0;
}

static void describe_bits(char *text, const char *side, uint8_t bits)
{
	size_t len = strlen(text);

	if (bits)
		snprintf(text + len, DEFLATE_TERMS_MAX - len, "; %s_max_window_bits=%u", side,
			 (unsigned)bits);
}

void deflate_describe(const struct deflate_terms *terms, char ret_text[DEFLATE_TERMS_MAX])
{
	snprintf(ret_text, DEFLATE_TERMS_MAX, "%s%s%s", terms->agreed ? "permessage-deflate" : "",
		 terms->server_resets ? "; server_no_context_takeover" : "",
		 terms->client_resets ? "; client_no_context_takeover" : "");
	describe_bits(ret_text, "server", terms->server_bits);
	describe_bits(ret_text, "client", terms->client_bits);
}

/* --- receiving ------------------------------------------------------------------------------ */

struct inflater {
	z_stream z;
	bool awake; /* z is initialised */
	bool forgets;
	bool inside; /* it has bytes since the message, or the stream in it, has begun */
};

int inflater_new(struct inflater **ret, const struct deflate_terms *terms)
{
	struct inflater *inflater = calloc(1, sizeof(*inflater));

	if (!inflater)
		return -ENOMEM;
	inflater->forgets = terms->server_resets;
	*ret = inflater;
	return 0;
}

static void inflater_sleep(struct inflater *inflater)
{
	if (inflater->awake)
		inflateEnd(&inflater->z);
	inflater->awake = false;
}

struct inflater *inflater_free(struct inflater *inflater)
{
	if (inflater)
		inflater_sleep(inflater);
	free(inflater);
	return NULL;
}

void inflater_rest(struct inflater *inflater)
{
	if (inflater->forgets)
		inflater_sleep(inflater);
}

static int inflater_wake(struct inflater *inflater)
{
	if (inflater->awake)
		return 0;
	memset(&inflater->z, 0, sizeof(inflater->z));
	if (inflateInit2(&inflater->z, -DEFLATE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	inflater->awake = true;
	return 0;
}

/* A final block (RFC 7692 7.2.3.4) ends the stream for zlib, not for us: another begins behind it,
 * and may refer back to what is before it.  A reset alone would lose that. */
static int inflater_renew(struct inflater *inflater)
{
	uint8_t window[1 << DEFLATE_WINDOW_BITS];
	unsigned len = sizeof(window);

	if (inflateGetDictionary(&inflater->z, window, &len) != Z_OK ||
	    inflateReset(&inflater->z) != Z_OK ||
	    inflateSetDictionary(&inflater->z, window, len) != Z_OK)
		return -ENOMEM;
	inflater->inside = inflater->z.avail_in > 0;
	return 0;
}

/* Bytes to make room for: what is allocated first, so that small messages do not make it grow. */
static size_t inflater_room(const struct buf *out)
{
	size_t room = buf_room(out), ready = out->size - out->end;

	if (ready > 0 && ready < room)
		room = ready;
	return room < DEFLATE_STEP ? room : DEFLATE_STEP;
}

static int inflater_step(struct inflater *inflater, struct buf *out, const char **ret_problem)
{
	size_t step = inflater_room(out);
	z_stream *z = &inflater->z;
	uint8_t beyond, *tail = &beyond; /* at the limit there must be no byte more */
	int r = step > 0 ? buf_reserve(out, step, &tail) : 0;

	if (r < 0)
		return r;
	z->next_out = tail;
	z->avail_out = step > 0 ? (uInt)step : 1;
	r = inflate(z, Z_SYNC_FLUSH);
	if (step > 0)
		buf_commit(out, step - z->avail_out);
	else if (z->avail_out == 0)
		return -ENOBUFS;
	switch (r) {
	case Z_OK:
	case Z_BUF_ERROR: /* neither input nor output was left: no error */
		return 0;
	case Z_STREAM_END:
		return inflater_renew(inflater);
	case Z_MEM_ERROR:
		return -ENOMEM;
	default:
		*ret_problem = z->msg ? z->msg : "invalid data";
		return -EPROTO;
	}
}

static int inflater_run(struct inflater *inflater, const uint8_t *data, size_t len, struct buf *out,
			const char **ret_problem)
{
	z_stream *z = &inflater->z;
	int r;

	if (len == 0)
		return 0;
	inflater->inside = true;
	z->next_in = data;
	z->avail_in = (uInt)len;
	do
		r = inflater_step(inflater, out, ret_problem);
	while (r == 0 && (z->avail_in > 0 || z->avail_out == 0));
	return r;
}

/* A message of no bytes, or whose last byte ended a final block, is met in the wild although both
 * should have one more byte.  The tail would leave zlib in the middle of a block there, and the
 * next message would be found broken. */
static int inflater_end(struct inflater *inflater, struct buf *out, const char **ret_problem)
{
	int r;

	if (!inflater->inside)
		return 0;
	r = inflater_run(inflater, deflate_tail, sizeof(deflate_tail), out, ret_problem);
	if (r < 0)
		return r;
	if (!(inflater->z.data_type & DEFLATE_BOUNDARY)) {
		*ret_problem = "it ends inside of a block";
		return -EPROTO;
	}
	inflater->inside = false;
	return 0;
}

int inflater_feed(struct inflater *inflater, const uint8_t *data, size_t len, bool last,
		  struct buf *out, const char **ret_problem)
{
	int r = inflater_wake(inflater);

	if (r >= 0)
		r = inflater_run(inflater, data, len, out, ret_problem);
	if (r < 0 || !last)
		return r;
	r = inflater_end(inflater, out, ret_problem);
	if (r >= 0 && inflater->forgets)
		inflateReset(&inflater->z);
	return r;
}

/* --- sending -------------------------------------------------------------------------------- */

struct deflater {
	z_stream z;
	bool awake;
	int window_bits;
	struct buf packed;
};

int deflater_new(struct deflater **ret, const struct deflate_terms *terms)
{
	struct deflater *deflater = calloc(1, sizeof(*deflater));

	if (!deflater)
		return -ENOMEM;
	deflater->window_bits = DEFLATER_WINDOW_BITS;
	if (terms->client_bits && terms->client_bits < DEFLATER_WINDOW_BITS)
		deflater->window_bits = terms->client_bits;
	buf_init(&deflater->packed, DEFLATER_MAX_BYTES);
	*ret = deflater;
	return 0;
}

void deflater_rest(struct deflater *deflater)
{
	if (deflater->awake)
		deflateEnd(&deflater->z);
	deflater->awake = false;
	buf_done(&deflater->packed);
}

struct deflater *deflater_free(struct deflater *deflater)
{
	if (deflater)
		deflater_rest(deflater);
	free(deflater);
	return NULL;
}

static bool deflater_wake(struct deflater *deflater)
{
	if (deflater->awake)
		return deflateReset(&deflater->z) == Z_OK;
	memset(&deflater->z, 0, sizeof(deflater->z));
	deflater->awake =
		deflateInit2(&deflater->z, DEFLATER_LEVEL, Z_DEFLATED, -deflater->window_bits,
			     DEFLATER_MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
	return deflater->awake;
}

/* All of it into the space that there is; false as soon as it looks as if that was in vain.  Bytes
 * of one block, at most, are inside of zlib and not counted yet. */
static bool deflater_run(struct deflater *deflater, const uint8_t *data, size_t len)
{
	z_stream *z = &deflater->z;

	z->next_in = data;
	for (size_t left = len; left > 0;) {
		size_t piece = left < DEFLATER_PIECE ? left : DEFLATER_PIECE;

		left -= piece;
		z->avail_in = (uInt)piece;
		if (deflate(z, left > 0 ? Z_NO_FLUSH : Z_SYNC_FLUSH) != Z_OK || z->avail_out == 0)
			return false;
		if (left > 0 && z->total_out > z->total_in - z->total_in / 8)
			return false;
	}
	return true;
}

int deflater_pack(struct deflater *deflater, const uint8_t *data, size_t len, const uint8_t **ret,
		  size_t *ret_len)
{
	struct buf *packed = &deflater->packed;
	uint8_t *tail;
	size_t n;

	if (len < DEFLATER_MIN_BYTES || len > DEFLATER_MAX_BYTES || deflater->window_bits == 8)
		return DEFLATER_PLAIN;
	buf_clear(packed);
	if (packed->size > DEFLATER_KEEP_BYTES && len <= DEFLATER_KEEP_BYTES)
		buf_done(packed);
	if (!deflater_wake(deflater) || buf_reserve(packed, len, &tail) < 0)
		return DEFLATER_PLAIN;
	deflater->z.next_out = tail;
	deflater->z.avail_out = (uInt)len;
	if (!deflater_run(deflater, data, len))
		return DEFLATER_PLAIN;
	n = len - deflater->z.avail_out;
	if (n <= sizeof(deflate_tail) ||
	    memcmp(tail + n - sizeof(deflate_tail), deflate_tail, sizeof(deflate_tail)) != 0)
		return DEFLATER_PLAIN;
	*ret = tail;
	*ret_len = n - sizeof(deflate_tail);
	return DEFLATER_PACKED;
}
