/* Requests of two programs and a hostile server: what is sent differs from what was asked in one
 * place alone, ids on the wire are unique, an answer reaches only who asked, once, with his own id.
 *
 * Input: a byte (id-type), four lines (id; reply-id; partial; not-reply; empty: none), then a line
 * for each step: '1' or '2' and a request of that program ('!' behind it: it must be one; '=': as
 * it is), '0' one of nobody's;
 * '<' and what the server says, '#' in which stands for the last id on the wire; 'L' or 'M' that
 * program leaves, 'X' the link is lost, 'T' time passes, 'R' a message that is reserved. */
#include <errno.h>

#include "codec/json.h"
#include "conn/calls.h"
#include "fuzz.h"
#include "loop.h"

enum { STEPS_MAX = 64, ROOM = 1 << 16, TAGS = STEPS_MAX };

struct asked {
	bool open;
	unsigned by;
};

static struct {
	struct calls *calls;
	struct caller caller[3]; /* 0: not used */
	struct asked asked[TAGS];
	uint64_t seq, tags;
	unsigned answered, failed;
	const struct msg *said; /* while it is claimed */
	char last_wire[24];
	size_t put_max; /* bytes of an id with its key */
} f;

/* A and B are the same but for one place, of at most A_MAX bytes there and B_MAX here. */
static bool differ_in_one_place(const uint8_t *a, size_t a_len, size_t a_max, const uint8_t *b,
				size_t b_len, size_t b_max)
{
	size_t ahead = 0, behind = 0, least = a_len < b_len ? a_len : b_len;

	while (ahead < least && a[ahead] == b[ahead])
		ahead++;
	while (behind < least - ahead && a[a_len - 1 - behind] == b[b_len - 1 - behind])
		behind++;
	return a_len - ahead - behind <= a_max && b_len - ahead - behind <= b_max;
}

static void on_answered(void *owner, uint64_t tag, enum calls_answer kind, const struct msg *msg)
{
	struct caller *caller = owner;
	struct asked *asked = &f.asked[tag];

	HOLDS(tag < f.tags && asked->open && caller == &f.caller[asked->by]);
	HOLDS(f.said);
	/* The server may have written the number at any length: 1.000000 */
	HOLDS(differ_in_one_place(f.said->data, f.said->len, f.said->len, msg->data, msg->len,
				  CALLS_ID_MAX));
	HOLDS(json_valid((const char *)msg->data, msg->len));
	if (kind == CALLS_FINAL)
		asked->open = false;
	f.answered++;
}

static void on_failed(void *owner, uint64_t tag, const struct cause *cause)
{
	struct asked *asked = &f.asked[tag];

	HOLDS(tag < f.tags && asked->open && owner == &f.caller[asked->by]);
	HOLDS(*cause->text && is_one_line(cause->text));
	asked->open = false;
	f.failed++;
}

static unsigned open_now(void)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < f.tags; i++)
		n += f.asked[i].open;
	return n;
}

static void check_stats(void)
{
	struct calls_stats stats;

	calls_get_stats(f.calls, &stats);
	HOLDS(stats.open == open_now());
}

/* --- steps -------------------------------------------------------------------------------------
 */

/* What stands on the wire where the asker's id was: for the server to use. */
static void note_wire(const struct msg *msg, const struct msg *sent)
{
	size_t at = 0, n = 0;

	while (at < msg->len && at < sent->len && msg->data[at] == sent->data[at])
		at++;
	while (at > 0 && at <= sent->len && sent->data[at - 1] >= '0' && sent->data[at - 1] <= '9')
		at--;
	while (at < sent->len && (sent->data[at] < '0' || sent->data[at] > '9'))
		at++;
	for (; at < sent->len && sent->data[at] >= '0' && sent->data[at] <= '9' && n < 20; at++)
		f.last_wire[n++] = (char)sent->data[at];
	if (n > 0)
		f.last_wire[n] = '\0';
}

static void check_sent(const struct msg *msg, const struct msg *sent, bool raw)
{
	HOLDS(sent->kind == msg->kind && sent->len <= ROOM);
	HOLDS(differ_in_one_place(msg->data, msg->len, raw ? 0 : CALLS_ID_MAX, sent->data,
				  sent->len, f.put_max));
	HOLDS(json_valid((const char *)sent->data, sent->len));
}

static void ask(unsigned by, struct food text)
{
	bool must = text.len > 0 && *text.at == '!', raw = text.len > 0 && *text.at == '=';
	struct calls_terms terms = {
		.caller = by ? &f.caller[by] : NULL, .tag = f.tags, .must = must, .raw = raw};
	struct msg msg = {.kind = MSG_TEXT}, sent = {0};
	const char *problem = NULL;
	uint8_t *copy;
	int r;

	take_bytes(&text, must || raw);
	msg.data = copy = copy_bytes(text.at, text.len);
	msg.len = text.len;
	r = calls_prepare(f.calls, &msg, &terms, ROOM, NULL, &sent, &problem);
	switch (r) {
	case CALLS_NONE:
		HOLDS(!must);
		break;
	case CALLS_REFUSED:
		HOLDS(problem && is_one_line(problem));
		break;
	case CALLS_PART_OF:
		check_sent(&msg, &sent, false);
		HOLDS(by && f.caller[by].open.next);
		break;
	case CALLS_READY:
		check_sent(&msg, &sent, raw);
		if (!raw)
			note_wire(&msg, &sent);
		calls_begin(f.calls, &terms, ++f.seq);
		f.asked[f.tags] = (struct asked){.open = true, .by = by};
		f.tags++;
		break;
	default:
		HOLDS(r == -ENOBUFS);
	}
	free(copy);
}

/* Whose request of nobody's it was cannot be told from here: only how many are open then. */
static void settle_public(void)
{
	struct calls_stats stats;

	calls_get_stats(f.calls, &stats);
	for (uint64_t i = 0; i < f.tags && open_now() > stats.open; i++)
		if (f.asked[i].open && f.asked[i].by == 0)
			f.asked[i].open = false;
}

static void say(struct food text)
{
	char *copy = malloc(text.len * sizeof(f.last_wire) + 1);
	struct msg msg = {.kind = MSG_TEXT}, ret = {0};
	unsigned answered = f.answered, open = open_now();
	size_t len = 0;
	uint8_t *exact;
	int r;

	HOLDS(copy);
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] != '#')
			copy[len++] = (char)text.at[i];
		else
			len += (size_t)sprintf(copy + len, "%s", f.last_wire);
	}
	msg.data = exact = copy_bytes(copy, len);
	msg.len = len;
	f.said = &msg;
	r = calls_claim(f.calls, &msg, &ret);
	f.said = NULL;
	HOLDS(r == CALLS_EVENT || r == CALLS_DELIVERED || r == CALLS_PUBLIC || r == CALLS_DROPPED);
	HOLDS(f.answered == answered + (r == CALLS_DELIVERED));
	HOLDS(open > 0 || r == CALLS_EVENT || r == CALLS_DROPPED);
	HOLDS(json_valid(copy, len) || r == CALLS_EVENT);
	if (r == CALLS_PUBLIC) {
		HOLDS(differ_in_one_place(msg.data, msg.len, msg.len, ret.data, ret.len,
					  CALLS_ID_MAX));
		settle_public();
	}
	calls_is_error(f.calls, &msg);
	free(exact);
	free(copy);
}

/* What it has open goes on, and is answered to nobody. */
static void leave(unsigned by)
{
	caller_leave(&f.caller[by]);
	for (uint64_t i = 0; i < f.tags; i++)
		if (f.asked[i].by == by)
			f.asked[i].open = false;
}

static void reserve(struct food text)
{
	uint8_t *copy = copy_bytes(text.at, text.len);
	struct msg msg = {.kind = MSG_TEXT, .data = copy, .len = text.len};

	calls_reserve(f.calls, &msg);
	free(copy);
}

static void step(struct food line)
{
	const struct cause lost = {.class = CAUSE_CLOSED, .code = 1006, .text = "lost"};
	uint8_t what = take_byte(&line);

	switch (what) {
	case '0':
	case '1':
	case '2':
		ask(what - '0', line);
		break;
	case '<':
		say(line);
		break;
	case 'L':
	case 'M':
		leave(what - 'L' + 1);
		break;
	case 'X':
		calls_lose(f.calls, f.seq, &lost);
		settle_public();
		HOLDS(open_now() == 0);
		break;
	case 'T':
		fake_loop_advance(20000);
		settle_public();
		break;
	case 'R':
		reserve(line);
		break;
	default:
		break;
	}
	check_stats();
}

/* --- the whole ---------------------------------------------------------------------------------
 */

struct list_of_one {
	char *value[2];
};

static void take_rule(struct food *food, struct list_of_one *ret)
{
	struct food line = take_until(food, '\n');

	ret->value[0] = line.len > 0 ? copy_text(line.at, line.len) : NULL;
	ret->value[1] = NULL;
}

static void run(struct food *food)
{
	for (int i = 0; i < STEPS_MAX && food->len > 0; i++)
		step(take_until(food, '\n'));
	HOLDS(f.tags <= TAGS);
	calls_free(f.calls);
	HOLDS(fake_loop_timers() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food food = {data, len};
	struct list_of_one id, reply_id, partial, not_reply;
	struct calls_options options = {.id_type = take_byte(&food) % 3, .timeout_ms = 15000};
	const char *problem = NULL;

	memset(&f, 0, sizeof(f));
	HOLDS(loop_init() == 0);
	for (int i = 1; i <= 2; i++)
		f.caller[i] = (struct caller){
			.answered = on_answered, .failed = on_failed, .owner = &f.caller[i]};
	take_rule(&food, &id);
	f.put_max = 32 + (id.value[0] ? 6 * strlen(id.value[0]) : 0); /* \u00XX each */
	take_rule(&food, &reply_id);
	take_rule(&food, &partial);
	take_rule(&food, &not_reply);
	if ((!id.value[0] || calls_check(id.value[0], true, &problem) == 0) &&
	    (!reply_id.value[0] || calls_check(reply_id.value[0], true, &problem) == 0) &&
	    (!partial.value[0] || calls_check(partial.value[0], false, &problem) == 0) &&
	    (!not_reply.value[0] || calls_check(not_reply.value[0], false, &problem) == 0)) {
		options.id = id.value;
		options.reply_id = reply_id.value;
		options.partial = partial.value;
		options.not_reply = not_reply.value;
		HOLDS(calls_new(&f.calls, &options) == 0);
		HOLDS(!f.calls == !id.value[0]);
		if (f.calls)
			run(&food);
	} else {
		HOLDS(problem && is_one_line(problem));
	}
	free(id.value[0]);
	free(reply_id.value[0]);
	free(partial.value[0]);
	free(not_reply.value[0]);
	loop_done();
	return 0;
}
