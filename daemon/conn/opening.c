/* opening - see opening.h.
 *
 * While the command runs, what is received goes into a spool of its own, which stops the WebSocket
 * rather than drop anything; what the command has not read when it ends is handed on from there.
 * Of what it says one message at most is kept here, and overwritten: it may be a password. */
#include "conn/opening.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/strv.h"
#include "codec/frame.h"
#include "codec/utf8.h"
#include "conn/conn.h"
#include "conn/records.h"
#include "conn/rule.h"

enum { HEARD_KEEP_BYTES = 1024 * 1024 };

enum phase {
	OPENING_LOGIN,    /* the command runs */
	OPENING_GREETING, /* the next line of on-open is due */
	OPENING_AWAITING, /* the next line of expect is */
	OPENING_DONE,
};

/* "-": nothing. */
struct expectation {
	const char *text;   /* of the options */
	struct rules rules; /* of one that begins with "/"; otherwise the text is to be found */
};

struct opening {
	struct opening_terms terms;
	const struct opening_events *events;
	void *owner;
	enum phase phase;
	struct later go;
	bool failed;
	struct cause cause;

	struct login *login;
	struct spool *heard; /* NULL: no command */
	bool paused;         /* ws_pause() was called because heard is full */
	struct buf said;     /* a long message of the command that has not left yet */
	uint64_t said_end;
	struct list waiters; /* the command's, until there is room */

	struct expectation *expect;
	size_t n_expect, met, n_greetings, greeted;
};

/* --- what is awaited ------------------------------------------------------------------------ */

static bool is_nothing(const char *text)
{
	return strcmp(text, "-") == 0;
}

static int parse(const char *text, struct rules *ret, const char **ret_problem)
{
	char *const list[] = {(char *)text, NULL};

	*ret = (struct rules){0};
	return *text == '/' ? rules_init(ret, list, false, ret_problem) : 0;
}

int opening_check_expect(const char *value, const char **ret_problem)
{
	struct rules rules;
	int r = parse(value, &rules, ret_problem);

	rules_done(&rules);
	return r;
}

static int make_expectations(struct opening *opening, char *const *list)
{
	size_t n = strv_len(list);
	const char *problem;
	int r = 0;

	opening->expect = n > 0 ? calloc(n, sizeof(*opening->expect)) : NULL;
	if (n > 0 && !opening->expect)
		return -ENOMEM;
	for (; r == 0 && opening->n_expect < n; opening->n_expect++) {
		struct expectation *one = &opening->expect[opening->n_expect];

		one->text = list[opening->n_expect];
		r = parse(one->text, &one->rules, &problem);
	}
	return r;
}

static bool meets(const struct msg *msg, const struct expectation *expectation)
{
	const char *text = expectation->text;

	if (*text == '/')
		return rules_hold(&expectation->rules, (const char *)msg->data, msg->len);
	return memmem(msg->data, msg->len, text, strlen(text));
}

/* Where there are more of them than greetings, the first ones are awaited ahead of the first
 * greeting: so it is with servers that speak first. */
static bool is_due(const struct opening *opening)
{
	size_t lead = opening->n_expect > opening->n_greetings
			      ? opening->n_expect - opening->n_greetings
			      : 0;

	return opening->met < lead + opening->greeted;
}

/* --- sending -------------------------------------------------------------------------------- */

static void fail(struct opening *opening, const struct cause *cause)
{
	if (opening->failed || opening->phase == OPENING_DONE)
		return;
	opening->failed = true;
	opening->cause = *cause;
	loop_later(&opening->go);
}

static int send_one(struct opening *opening, const struct msg *msg, uint64_t *ret_end)
{
	struct cause cause;
	int r = ws_send(opening->terms.ws, msg, ret_end);

	if (r < 0) {
		cause_set(&cause, CAUSE_LOCAL, -r, "cannot send: %s", strerror(-r));
		fail(opening, &cause);
	}
	return r;
}

/* A long message is encoded as room comes, and its bytes must stay until then. */
static int send_said(struct opening *opening, const struct msg *msg)
{
	struct msg kept = *msg;
	uint64_t end;
	int r;

	kept.flags |= MSG_SECRET;
	if (msg->len <= WS_SEND_WHOLE)
		return send_one(opening, &kept, &end);
	r = buf_append(&opening->said, msg->data, msg->len);
	kept.data = buf_head(&opening->said);
	return r < 0 ? r : send_one(opening, &kept, &opening->said_end);
}

int opening_say(struct opening *opening, const struct msg *msg, struct outbox_waiter *waiter,
		const char **ret_problem)
{
	int r;

	if (msg->len > opening->terms.options->ws.max_message_bytes) {
		*ret_problem = "is longer than max-message";
		return CONN_REFUSED;
	}
	if (msg->kind == MSG_TEXT && !utf8_valid(msg->data, msg->len)) {
		*ret_problem = "is not UTF-8, which text messages must be";
		return CONN_REFUSED;
	}
	if (buf_len(&opening->said) > 0 || !ws_writable(opening->terms.ws)) {
		if (!list_linked(&waiter->link))
			list_append(&opening->waiters, &waiter->link);
		return CONN_FULL;
	}
	r = send_said(opening, msg);
	loop_later(&opening->go);
	return r < 0 ? r : CONN_QUEUED;
}

static void call_waiters(struct opening *opening)
{
	struct list due;

	if (buf_len(&opening->said) > 0 || !ws_writable(opening->terms.ws))
		return;
	list_init(&due);
	list_move_all(&due, &opening->waiters);
	while (!list_empty(&due)) {
		struct outbox_waiter *waiter = list_first(&due, struct outbox_waiter, link);

		list_remove(&waiter->link);
		waiter->room(waiter->owner);
	}
}

static void greet(struct opening *opening)
{
	const char *text = opening->terms.greetings[opening->greeted];
	const struct msg msg = {
		.kind = (uint8_t)opening->terms.options->type,
		.flags = MSG_SECRET,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};
	uint64_t end;

	if (send_one(opening, &msg, &end) == 0)
		opening->greeted++;
}

/* --- step by step --------------------------------------------------------------------------- */

/* As far as it goes now. */
static void advance(struct opening *opening)
{
	while (opening->met < opening->n_expect && !opening->failed) {
		opening->phase = is_due(opening) ? OPENING_AWAITING : OPENING_GREETING;
		if (opening->phase == OPENING_AWAITING) {
			if (!is_nothing(opening->expect[opening->met].text))
				return;
			opening->met++;
		} else if (!ws_writable(opening->terms.ws)) {
			return; /* opening_drained() */
		} else {
			greet(opening);
		}
	}
	opening->phase = OPENING_DONE;
}

/* After something was written. */
static void settle(struct opening *opening)
{
	if (buf_len(&opening->said) > 0 && ws_written(opening->terms.ws) >= opening->said_end)
		buf_done(&opening->said);
	call_waiters(opening);
}

/* Is there anything to do before more is heard, or written? */
static bool can_go_on(const struct opening *opening)
{
	if (opening->phase == OPENING_GREETING)
		return ws_writable(opening->terms.ws);
	return opening->phase == OPENING_DONE && buf_len(&opening->said) == 0;
}

static void opening_on_go(void *owner)
{
	struct opening *opening = owner;

	if (!opening->failed && opening->phase != OPENING_LOGIN)
		advance(opening);
	if (opening->failed) {
		opening->events->done(opening->owner, &opening->cause);
		return;
	}
	if (!ws_is_open(opening->terms.ws))
		return; /* the server has said Close meanwhile: it never was open */
	ws_flush(opening->terms.ws);
	settle(opening);
	if (opening->phase == OPENING_DONE && buf_len(&opening->said) == 0)
		opening->events->done(opening->owner, NULL);
	else if (can_go_on(opening)) /* the flush made room */
		loop_later(&opening->go);
}

void opening_drained(struct opening *opening)
{
	settle(opening);
	if (can_go_on(opening))
		loop_later(&opening->go);
}

bool opening_hear(struct opening *opening, const struct msg *msg)
{
	if (opening->phase == OPENING_LOGIN) {
		if (opening->heard && spool_append(opening->heard, msg) == SPOOL_FULL) {
			opening->paused = true;
			ws_pause(opening->terms.ws);
		}
		return true;
	}
	if (opening->phase == OPENING_AWAITING && meets(msg, &opening->expect[opening->met])) {
		opening->met++;
		opening->phase = OPENING_GREETING; /* one message meets one of them */
		loop_later(&opening->go);
	}
	return false;
}

size_t opening_greeted(const struct opening *opening)
{
	return opening->greeted;
}

void opening_describe(const struct opening *opening, char *text, size_t size)
{
	if (opening->phase == OPENING_LOGIN)
		snprintf(text, size, "waiting for the command of login to end");
	else if (opening->phase == OPENING_AWAITING)
		snprintf(text, size, "waiting for expect number %zu (%.100s)", opening->met + 1,
			 opening->expect[opening->met].text);
	else
		snprintf(text, size, "sending on-open");
}

/* --- the command ---------------------------------------------------------------------------- */

struct spool *opening_heard(struct opening *opening)
{
	return opening->heard;
}

static void resume(struct opening *opening)
{
	if (opening->paused)
		ws_resume(opening->terms.ws);
	opening->paused = false;
}

static void opening_heard_eased(void *owner)
{
	resume(owner);
}

/* The command's reader stops the spool before that, but not when others need the memory (`memory`).
 * Had it not read them, they would have been for all. */
static void opening_heard_missed(void *owner, const char *reader, uint64_t messages, uint64_t bytes)
{
	struct opening *opening = owner;

	(void)reader;
	opening->events->missed(opening->owner, messages, bytes);
}

/* It may be what is expected, too; but that is awaited only as far as greetings can go at once.
 * Whoever takes a message may need the memory in which it lies, so each is held until it is taken.
 */
static void hand_on(struct opening *opening, struct cursor *unread)
{
	struct position at = cursor_start(unread);
	struct msg msg;

	while (cursor_read(unread, &at, &msg)) {
		struct block *held = cursor_hold(&at);

		cursor_commit(unread, &at);
		advance(opening);
		opening_hear(opening, &msg);
		opening->events->message(opening->owner, &msg);
		block_release(held);
		at = cursor_start(unread);
	}
}

void opening_login_ended(struct opening *opening, const struct cause *cause, uint64_t unread)
{
	struct cursor cursor;

	cursor_open(&cursor, opening->heard, CURSOR_OLDEST, "login", NULL, NULL);
	cursor_seek(&cursor, SEEK_SEQ, unread, 0);
	cursor_set_live(&cursor, true); /* or the spool would let go of it together with the command */
	opening->login = opening->terms.runner->free(opening->login);
	if (cause) {
		fail(opening, cause);
	} else {
		advance(opening);
		hand_on(opening, &cursor);
		loop_later(&opening->go);
	}
	cursor_close(&cursor);
	opening->heard = spool_free(opening->heard);
	resume(opening);
}

static int start_login(struct opening *opening)
{
	static const struct spool_events events = {opening_heard_eased, opening_heard_missed};
	static const struct spool_options options = {
		.keep_bytes = HEARD_KEEP_BYTES,
		.overflow = SPOOL_BLOCK,
	};
	const struct opening_runner *runner = opening->terms.runner;
	int r;

	if (!runner)
		return -ENOSYS;
	r = spool_new(&opening->heard, &options, opening->terms.pool, &events, opening);
	return r < 0 ? r : runner->start(&opening->login, runner->owner, opening->terms.conn, opening);
}

/* --- from the beginning to the end ---------------------------------------------------------- */

bool opening_needed(const struct opening_options *options)
{
	return options->login || (options->expect && *options->expect);
}

int opening_start(struct opening **ret, const struct opening_terms *terms,
		  const struct opening_events *events, void *owner)
{
	struct opening *opening = calloc(1, sizeof(*opening));
	const struct opening_options *options = &terms->options->opening;
	int r;

	if (!opening)
		return -ENOMEM;
	opening->terms = *terms;
	opening->events = events;
	opening->owner = owner;
	opening->phase = options->login ? OPENING_LOGIN : OPENING_GREETING;
	opening->n_greetings = strv_len(terms->greetings);
	list_init(&opening->waiters);
	later_init(&opening->go, opening_on_go, opening);
	buf_init_secret(&opening->said, terms->options->ws.max_message_bytes);
	r = make_expectations(opening, options->expect);
	if (r == 0 && options->login)
		r = start_login(opening);
	if (r < 0) {
		opening_free(opening);
		return r;
	}
	if (!options->login)
		advance(opening); /* what is expected may stand behind the answer to the upgrade */
	loop_later(&opening->go);
	*ret = opening;
	return 0;
}

struct opening *opening_free(struct opening *opening)
{
	if (!opening)
		return NULL;
	later_cancel(&opening->go);
	if (opening->login)
		opening->terms.runner->free(opening->login);
	while (!list_empty(&opening->waiters))
		list_remove(opening->waiters.next);
	opening->heard = spool_free(opening->heard);
	buf_done(&opening->said);
	for (size_t i = 0; i < opening->n_expect; i++)
		rules_done(&opening->expect[i].rules);
	free(opening->expect);
	free(opening);
	return NULL;
}
