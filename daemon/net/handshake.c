/* handshake - see handshake.h. */
#include "net/handshake.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "codec/deflate.h"
#include "codec/http.h"
#include "net/closecode.h"
#include "net/transport.h"
#include "net/wsout.h"

enum {
	INTERIM_MAX = 8, /* answers 1xx before the one that counts */
	HEAD_STEP = 4096,
};

void handshake_init(struct handshake *handshake, struct transport *transport, const struct url *url,
		    const struct upgrade_options *options)
{
	handshake->transport = transport;
	handshake->url = url;
	handshake->options = options;
	buf_init(&handshake->head, HTTP_HEAD_MAX);
}

void handshake_done(struct handshake *handshake)
{
	buf_done(&handshake->head);
	free(handshake->subprotocol);
	free(handshake->compression);
	wipe_free(handshake->location); /* may repeat what we have asked for */
}

int handshake_ask(struct handshake *handshake, struct wsout *out)
{
	struct buf head;
	int r;

	buf_init_secret(&head, HTTP_HEAD_MAX);
	r = upgrade_request(&head, handshake->url, handshake->options, handshake->key);
	if (r >= 0)
		r = wsout_put_head(out, &head);
	buf_done(&head);
	return r;
}

/* --- why there was none --------------------------------------------------------------------- */

static bool is_plain_tcp(const struct handshake *handshake)
{
	return !*transport_tls(handshake->transport) &&
	       *transport_address(handshake->transport) != '/';
}

/* Why a server may say nothing, or no more than 400: one that waits for TLS takes a request for
 * garbage, and in TLS 1.3 one that misses our certificate says so behind the handshake, if at all.
 */
static const char *mute_hint(const struct handshake *handshake)
{
	if (is_plain_tcp(handshake))
		return " (perhaps this port wants TLS: wss://)";
	if (transport_wants_certificate(handshake->transport))
		return " (the server wants a client certificate, see cert and key)";
	return "";
}

void handshake_explain_loss(const struct handshake *handshake, const struct cause *lost,
			    struct cause *ret)
{
	bool is_mute = lost->class == CAUSE_CLOSED && lost->code == CLOSECODE_LOST &&
		       buf_len(&handshake->head) == 0;

	cause_set(ret, lost->class, lost->code, "in the opening handshake: %s%s", lost->text,
		  is_mute ? mute_hint(handshake) : "");
}

/* A record with an alert in it, of any version (RFC 8446 5.1). */
static bool head_is_tls(const struct handshake *handshake)
{
	const uint8_t *head = buf_head(&handshake->head);

	return buf_len(&handshake->head) >= 2 && head[0] == 0x15 && head[1] == 0x03;
}

static int fail(struct cause **cause, const char *problem)
{
	cause_set(cause_room(cause), CAUSE_HTTP, 0, "in the opening handshake: %s", problem);
	return HANDSHAKE_FAILED;
}

static int fail_head(const struct handshake *handshake, const char *problem, struct cause **cause)
{
	if (head_is_tls(handshake))
		problem = "the server speaks TLS on this port (use wss://)";
	return fail(cause, problem);
}

/* --- the answer ----------------------------------------------------------------------------- */

/* nginx says no more than 400. */
static void hint_refused(const struct handshake *handshake, int status, struct cause *cause)
{
	struct cause refused = *cause;

	if (status != 400)
		return;
	cause_set(cause, refused.class, refused.code, "%.160s%s", refused.text,
		  mute_hint(handshake));
	cause->retry_after_ms = refused.retry_after_ms;
}

static int take_refusal(struct handshake *handshake, const struct http_head *head,
			struct cause *cause)
{
	upgrade_refused(head, loop_wall_us(), cause);
	hint_refused(handshake, head->status, cause);
	handshake->location = upgrade_location(head);
	refusal_init(&handshake->refusal, head);
	buf_consume(&handshake->head, head->head_len);
	return HANDSHAKE_REFUSED;
}

static int take_acceptance(struct handshake *handshake, const struct http_head *head,
			   struct deflate_terms *ret_terms, struct cause **place)
{
	const char *subprotocol;
	struct cause cause;

	if (upgrade_accept(head, handshake->options, handshake->key, &subprotocol, ret_terms,
			   &cause) < 0) {
		*cause_room(place) = cause;
		return HANDSHAKE_FAILED;
	}
	if (ret_terms->agreed) {
		char text[DEFLATE_TERMS_MAX];

		deflate_describe(ret_terms, text);
		handshake->compression = strdup(text);
	}
	handshake->subprotocol = subprotocol ? strdup(subprotocol) : NULL;
	buf_consume(&handshake->head, head->head_len);
	return HANDSHAKE_ACCEPTED;
}

static int take_head(struct handshake *handshake, const struct http_head *head,
		     struct deflate_terms *ret_terms, struct cause **cause)
{
	if (head->status == 101)
		return take_acceptance(handshake, head, ret_terms, cause);
	if (head->status >= 200)
		return take_refusal(handshake, head, cause_room(cause));
	buf_consume(&handshake->head, head->head_len);
	return ++handshake->interim > INTERIM_MAX ? fail(cause, "too many answers 1xx")
						  : HANDSHAKE_MORE;
}

/* Whole heads in what has come so far. */
static int judge_head(struct handshake *handshake, struct deflate_terms *ret_terms,
		      struct cause **cause)
{
	int outcome = HANDSHAKE_MORE;

	while (outcome == HANDSHAKE_MORE && buf_len(&handshake->head) > 0) {
		const char *problem = "";
		struct http_head head;
		int r = http_parse_head(&head, buf_head(&handshake->head),
					buf_len(&handshake->head), &problem);

		if (r == HTTP_MORE)
			return HANDSHAKE_MORE;
		if (r != HTTP_DONE)
			return fail_head(handshake, problem, cause);
		outcome = take_head(handshake, &head, ret_terms, cause);
	}
	return outcome;
}

int handshake_read(struct handshake *handshake, struct deflate_terms *ret_terms,
		   struct cause **cause)
{
	int outcome = HANDSHAKE_MORE;

	while (outcome == HANDSHAKE_MORE) {
		size_t had = buf_len(&handshake->head), n = buf_room(&handshake->head);
		uint8_t *tail;
		int r;

		if (n == 0)
			return fail(cause, "the head is too large");
		n = n < HEAD_STEP ? n : HEAD_STEP;
		r = buf_reserve(&handshake->head, n, &tail);
		if (r < 0)
			return r;
		n = transport_read(handshake->transport, tail, n);
		if (n == 0)
			return HANDSHAKE_MORE;
		buf_commit(&handshake->head, n);
		/* A greeting is judged at once, the rest only line by line: drips cost no more. */
		if (had < 64 || memchr(tail, '\n', n))
			outcome = judge_head(handshake, ret_terms, cause);
	}
	return outcome;
}

void handshake_hand_over(struct handshake *handshake, struct buf *ret)
{
	buf_trim(&handshake->head);
	*ret = handshake->head;
	buf_init(&handshake->head, HTTP_HEAD_MAX);
}

/* --- the body of a refusal ------------------------------------------------------------------ */

bool handshake_read_body(struct handshake *handshake)
{
	struct buf *body = &handshake->head;
	uint8_t bytes[1024];
	size_t n;

	while (!refusal_is_whole(&handshake->refusal, buf_head(body), buf_len(body))) {
		n = transport_read(handshake->transport, bytes, sizeof(bytes));
		if (n == 0)
			return false;
		if (buf_append(body, bytes, n) < 0)
			return true;
	}
	return true;
}

void handshake_show_body(struct handshake *handshake, struct cause *cause)
{
	refusal_tell(&handshake->refusal, buf_head(&handshake->head), buf_len(&handshake->head),
		     handshake->url, handshake->options, cause);
}
