/* answers - see answers.h. */
#include "answers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "base/cleanup.h"
#include "control/protocol.h"
#include "print.h"

enum {
	IN_MAX = 2047 * 1024 * 1024,   /* one reply with its head */
	HELD_MAX = 2047 * 1024 * 1024, /* of one request that waits for its turn */
	REQUESTS_MAX = 64 * 1024 * 1024,
};

void answers_init(struct answers *answers)
{
	buf_init(&answers->in, IN_MAX);
}

void answers_done(struct answers *answers)
{
	for (uint64_t i = 0; i < answers->held_n; i++)
		buf_done(&answers->held[i].text);
	free(answers->held);
	buf_done(&answers->in);
}

static void note_exit(struct answers *answers, int exit)
{
	if (!answers->exit)
		answers->exit = exit;
}

/* --- in which order ------------------------------------------------------------------------- */

static int hold(struct answers *answers, uint64_t n, struct held **ret)
{
	uint64_t room = answers->held_n ? answers->held_n : 64;
	struct held *held;

	if (n >= REQUESTS_MAX)
		return -ENOBUFS;
	while (room <= n)
		room *= 2;
	if (n >= answers->held_n) {
		held = reallocarray(answers->held, room, sizeof(*held));
		if (!held)
			return -ENOMEM;
		answers->held = held;
		for (uint64_t i = answers->held_n; i < room; i++) {
			held[i] = (struct held){0};
			buf_init(&held[i].text, HELD_MAX);
		}
		answers->held_n = room;
	}
	*ret = &answers->held[n];
	return 0;
}

/* Where the answer to request N goes now. */
static int place_for(struct answers *answers, uint64_t n, struct buf *out, struct buf **ret)
{
	struct held *held;
	int r;

	*ret = out;
	if (!answers->ordered || n == answers->next)
		return 0;
	r = hold(answers, n, &held);
	if (r == 0)
		*ret = &held->text;
	return r;
}

/* N has had its last answer: those whose turn it is now are printed. */
static int finish(struct answers *answers, uint64_t n, struct buf *out)
{
	struct held *held;
	int r;

	if (!answers->ordered)
		return 0;
	r = hold(answers, n, &held);
	if (r < 0)
		return r;
	held->whole = true;
	while (r == 0 && answers->next < answers->held_n && answers->held[answers->next].whole) {
		if (++answers->next == answers->held_n)
			break;
		held = &answers->held[answers->next];
		r = buf_append(out, buf_head(&held->text), buf_len(&held->text));
		buf_done(&held->text);
	}
	return r;
}

/* --- one answer ----------------------------------------------------------------------------- */

static void tell(const struct answers *answers, uint64_t n, const char *text)
{
	if (answers->numbered)
		say(answers->who, "request %llu: %s", (unsigned long long)n + 1, text);
	else
		say(answers->who, "%s", text);
}

static void tell_without_field(struct answers *answers, uint64_t n, const struct json_span *record,
			       bool error)
{
	size_t len = record->len;

	while (len > 0 && (record->at[len - 1] == '\n' || record->at[len - 1] == '\0'))
		len--;
	say(answers->who, "request %llu: %s %s: %.*s", (unsigned long long)n + 1,
	    error ? "an error, without" : "the reply has no", answers->field, (int)len, record->at);
	note_exit(answers, EXIT_PEER);
}

static int put_field(struct answers *answers, uint64_t n, const struct json_span *record,
		     bool error, struct buf *out)
{
	struct json_span value;
	int r;

	if (json_find(record->at, record->len, answers->field, &value) <= 0) {
		tell_without_field(answers, n, record, error);
		return 0;
	}
	r = json_is_string(&value) ? json_unquote(&value, out)
				   : buf_append(out, value.at, value.len);
	return r < 0 ? r : buf_append_char(out, '\n');
}

static int take_reply(struct answers *answers, const struct json_span *head, uint64_t n, bool last,
		      const struct json_span *record, struct buf *out)
{
	bool error = answer_true(head, "/error");
	struct buf *to;
	int r = place_for(answers, n, out, &to);

	if (error)
		note_exit(answers, EXIT_ERROR_REPLY);
	if (r == 0)
		r = answers->field ? put_field(answers, n, record, error, to)
				   : buf_append(to, record->at, record->len);
	return r == 0 && last ? finish(answers, n, out) : r;
}

static int take_none(struct answers *answers, const struct json_span *head, uint64_t n,
		     struct buf *out)
{
	cleanup_free char *message = answer_text(head, "/message");

	tell(answers, n, message ? message : "there is no reply");
	note_exit(answers, (int)answer_number(head, "/exit", EXIT_PEER));
	return finish(answers, n, out);
}

/* The next whole answer of what has come. 1, 0: there is none yet, -errno. */
static int take_one(struct answers *answers, struct buf *out)
{
	const char *at = (const char *)buf_head(&answers->in);
	size_t len = buf_len(&answers->in), head_len, bytes;
	const char *end = len ? memchr(at, '\n', len) : NULL;
	struct json_span head, kind, record;
	uint64_t n;
	int r;

	if (!end)
		return 0;
	head = (struct json_span){at, (size_t)(end - at)};
	head_len = head.len + 1;
	n = answer_number(&head, "/n", UINT64_MAX);
	bytes = answer_number(&head, "/bytes", 0);
	if (json_find(head.at, head.len, "/answer", &kind) <= 0 || n == UINT64_MAX)
		return -EPROTO;
	if (len - head_len < bytes)
		return 0;
	record = (struct json_span){end + 1, bytes};
	r = json_equals(&kind, "none")
		    ? take_none(answers, &head, n, out)
		    : take_reply(answers, &head, n, json_equals(&kind, "reply"), &record, out);
	buf_consume(&answers->in, head_len + bytes);
	return r < 0 ? r : 1;
}

int answers_feed(struct answers *answers, const uint8_t *data, size_t len, struct buf *out)
{
	int r = buf_append(&answers->in, data, len);

	while (r >= 0 && (r = take_one(answers, out)) > 0)
		;
	return r;
}
