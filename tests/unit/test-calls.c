/* calls: whose answer it is, and that the asker sees his own id and every other byte untouched. */
#include "conn/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "loop.h"

enum { ROOM = 100000 };

static struct calls_options options;
static struct calls *calls;
static uint64_t seq, timeout_ms = 30000;
static const char *problem;
static char sent[512], answer[512];

/* Somebody who asks, and what became of it. */
struct asker {
	struct caller caller;
	unsigned answers, failures;
	uint64_t tag;
	enum calls_answer kind;
	char text[512], cause[256];
};

static void asker_answered(void *owner, uint64_t tag, enum calls_answer kind, const struct msg *msg)
{
	struct asker *asker = owner;

	asker->answers++;
	asker->tag = tag;
	asker->kind = kind;
	snprintf(asker->text, sizeof(asker->text), "%.*s", (int)msg->len, (const char *)msg->data);
}

static void asker_failed(void *owner, uint64_t tag, const struct cause *cause)
{
	struct asker *asker = owner;

	asker->failures++;
	asker->tag = tag;
	snprintf(asker->cause, sizeof(asker->cause), "%s", cause->text);
}

static struct asker make_asker(void)
{
	return (struct asker){.caller = {.answered = asker_answered, .failed = asker_failed}};
}

static char *ids[8], *reply_ids[8], *interims[4], *partials[4], *not_replies[4];

static void make(const char *id)
{
	memset(ids, 0, sizeof(ids));
	ids[0] = (char *)id;
	options.id = ids;
	options.timeout_ms = timeout_ms;
	seq = 0;
	CHECK_EQ(calls_new(&calls, &options), 0);
	CHECK(calls);
}

static void unmake(void)
{
	calls = calls_free(calls);
	CHECK_EQ(fake_loop_timers(), 0);
	options = (struct calls_options){0};
	memset(reply_ids, 0, sizeof(reply_ids));
	memset(interims, 0, sizeof(interims));
	memset(partials, 0, sizeof(partials));
	memset(not_replies, 0, sizeof(not_replies));
}

static struct msg text_msg(const char *text)
{
	return (struct msg){.kind = MSG_TEXT, .data = (const uint8_t *)text, .len = strlen(text)};
}

static int ask_with(const struct calls_terms *terms, const char *text)
{
	struct msg msg = text_msg(text), ready;
	int r = calls_prepare(calls, &msg, terms, ROOM, NULL, &ready, &problem);

	*sent = '\0';
	if (r == CALLS_READY || r == CALLS_PART_OF)
		snprintf(sent, sizeof(sent), "%.*s", (int)ready.len, (const char *)ready.data);
	if (r == CALLS_READY)
		calls_begin(calls, terms, ++seq);
	return r;
}

static int ask(struct asker *asker, const char *text)
{
	asker->caller.owner = asker;
	return ask_with(&(struct calls_terms){.caller = &asker->caller, .tag = seq}, text);
}

static int must_ask(struct asker *asker, const char *text)
{
	asker->caller.owner = asker;
	return ask_with(&(struct calls_terms){.caller = &asker->caller, .tag = seq, .must = true}, text);
}

static int receive(const char *text)
{
	struct msg msg = text_msg(text), ret = {0};
	int r = calls_claim(calls, &msg, &ret);

	*answer = '\0';
	if (r == CALLS_DELIVERED || r == CALLS_PUBLIC)
		snprintf(answer, sizeof(answer), "%.*s", (int)ret.len, (const char *)ret.data);
	return r;
}

static struct calls_stats stats(void)
{
	struct calls_stats ret;

	calls_get_stats(calls, &ret);
	return ret;
}

/* --- ids ------------------------------------------------------------------------------------ */

/* Each gets his own, in any order, with his id as he wrote it. */
static void test_two_askers(void)
{
	static const char *const literals[] = {"1", "\"1\"", "1.0", "\"\\u0031\"", "-3",
					       "18446744073709551615", "\"a\""};
	struct asker one = make_asker(), two = make_asker();
	char text[128];

	make("/id");
	for (size_t i = 0; i < sizeof(literals) / sizeof(*literals); i++) {
		unsigned wire = (unsigned)(2 * i + 1);

		snprintf(text, sizeof(text), "{\"a\":1e3, \"id\" : %s ,\"n\":1.10}", literals[i]);
		CHECK_EQ(ask(&one, text), CALLS_READY);
		CHECK_EQ(ask(&two, text), CALLS_READY);
		snprintf(text, sizeof(text),
			 literals[i][0] == '"' ? "{\"a\":1e3, \"id\" : \"%u\" ,\"n\":1.10}"
					       : "{\"a\":1e3, \"id\" : %u ,\"n\":1.10}",
			 wire + 1);
		CHECK_STR(sent, text);
		snprintf(text, sizeof(text), "{\"id\":%u,\"r\":2}", wire + 1);
		CHECK_EQ(receive(text), CALLS_DELIVERED);
		snprintf(text, sizeof(text), "{\"id\":%s,\"r\":2}", literals[i]);
		CHECK_STR(two.text, text);
		CHECK_STR(answer, text);
		CHECK_EQ(one.answers, i);
		snprintf(text, sizeof(text), "{\"id\":\"%u\"}", wire);
		CHECK_EQ(receive(text), CALLS_DELIVERED);
		CHECK_EQ(one.answers, i + 1);
		CHECK_EQ(one.kind, CALLS_FINAL);
	}
	CHECK_EQ(stats().answered, 14);
	CHECK_EQ(stats().open, 0);
	unmake();
}

static void test_id_types(void)
{
	struct asker asker = make_asker();

	options.id_type = CALLS_ID_STRING;
	make("/id");
	CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":\"1\"}");
	unmake();
	options.id_type = CALLS_ID_INTEGER;
	make("/id");
	CHECK_EQ(ask(&asker, "{\"id\":\"x\"}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":1}");
	unmake();
}

static void test_what_is_no_request(void)
{
	static const char *const texts[] = {
		"hello", "", "{}", "{\"id\":null}", "{\"id\":{}}", "{\"id\":true}", "{\"id\":1", "[1,2]"};
	struct asker asker = make_asker();
	char long_id[300];

	make("/id");
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		CHECK_EQ(ask(&asker, texts[i]), CALLS_NONE);
	CHECK_EQ(ask(&asker, "{\"id\":1,\"id\":1}"), CALLS_REFUSED);
	CHECK(strstr(problem, "twice"));
	snprintf(long_id, sizeof(long_id), "{\"id\":\"%0200d\"}", 1);
	CHECK_EQ(ask(&asker, long_id), CALLS_REFUSED);
	CHECK_EQ(must_ask(&asker, "hello"), CALLS_REFUSED);
	CHECK_EQ(must_ask(&asker, "{\"id\":null}"), CALLS_REFUSED);
	CHECK_EQ(must_ask(&asker, "[1]"), CALLS_REFUSED);
	CHECK_EQ(must_ask(&asker, "{\"a\":1}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":1,\"a\":1}");
	CHECK_EQ(receive("{\"id\":1}"), CALLS_DELIVERED);
	CHECK_STR(asker.text, "{\"id\":1}");
	unmake();
	memset(ids, 0, sizeof(ids));
	CHECK_EQ(calls_new(&calls, &options), 0);
	CHECK(!calls);
}

/* C14: from 1 again, past what is still open. */
static void test_wrap(void)
{
	struct asker asker = make_asker();
	struct msg greeting = text_msg("{\"id\":2147483645}");

	make("/id");
	CHECK_EQ(ask(&asker, "{\"id\":9}"), CALLS_READY);
	calls_reserve(calls, &greeting);
	CHECK_EQ(ask(&asker, "{\"id\":9}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":2147483646}");
	CHECK_EQ(ask(&asker, "{\"id\":9}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":2147483647}");
	CHECK_EQ(ask(&asker, "{\"id\":9}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":2}");
	unmake();
}

/* C12, and that they are found in any order. */
static void test_many(void)
{
	struct asker asker = make_asker();
	char text[64];

	make("/id");
	for (unsigned i = 1; i <= 10000; i++) {
		snprintf(text, sizeof(text), "{\"id\":\"q%u\"}", i);
		CHECK_EQ(ask(&asker, text), CALLS_READY);
	}
	for (unsigned i = 1; i <= 10000; i++) {
		unsigned wire = i * 7919 % 10000 + 1;

		snprintf(text, sizeof(text), "{\"id\":\"%u\"}", wire);
		CHECK_EQ(receive(text), CALLS_DELIVERED);
		snprintf(text, sizeof(text), "{\"id\":\"q%u\"}", wire);
		CHECK_STR(asker.text, text);
	}
	CHECK_EQ(stats().open, 0);
	unmake();
}

static void ask_numbers(struct asker *asker, unsigned count)
{
	char text[64];

	for (unsigned i = 1; i <= count; i++) {
		snprintf(text, sizeof(text), "{\"id\":%u}", i);
		CHECK_EQ(ask(asker, text), CALLS_READY);
	}
}

/* CPU time in which COUNT that are open have ended: the oldest quarter by their answers, the others
 * by losses, the newer half first. */
static double cost_of_ending(unsigned count)
{
	struct asker asker = make_asker();
	struct timespec from, to;
	struct cause cause;
	char text[64];

	timeout_ms = 0; /* the timers are not what is measured */
	make("/id");
	timeout_ms = 30000;
	cause_set(&cause, CAUSE_CLOSED, 1006, "gone");
	ask_numbers(&asker, count);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	for (unsigned i = 1; i <= count / 4; i++) {
		snprintf(text, sizeof(text), "{\"id\":%u}", i);
		CHECK_EQ(receive(text), CALLS_DELIVERED);
	}
	calls_lose_between(calls, count / 2, count, &cause);
	CHECK_EQ(stats().open, count / 4);
	calls_lose(calls, UINT64_MAX, &cause);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	CHECK_EQ(asker.answers, count / 4);
	CHECK_EQ(asker.failures, count - count / 4);
	unmake();
	return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

/* A server that goes away with all open that may be must not keep the daemon for long: 32 times as
 * many take 32 times as long, not 1,000 times. */
static void test_cost(void)
{
	double few = 0;

	for (int i = 0; i < 5; i++)
		few += cost_of_ending(CALLS_MAX / 32) / 5;
	CHECK(cost_of_ending(CALLS_MAX) < 250 * few);
}

static unsigned rooms;

static void waiter_room(void *owner)
{
	(void)owner;
	rooms++;
}

static void test_full(void)
{
	struct asker asker = make_asker();
	struct outbox_waiter waiter = {.room = waiter_room};
	struct calls_terms terms = {.caller = &asker.caller};
	struct msg msg = text_msg("{\"id\":1}"), ready;

	timeout_ms = 0; /* for ever: no timers */
	make("/id");
	timeout_ms = 30000;
	asker.caller.owner = &asker;
	for (unsigned i = 0; i < CALLS_MAX; i++)
		CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	CHECK_EQ(calls_prepare(calls, &msg, &terms, ROOM, &waiter, &ready, &problem), CALLS_FULL);
	CHECK_EQ(rooms, 0);
	CHECK_EQ(receive("{\"id\":77}"), CALLS_DELIVERED);
	CHECK_EQ(rooms, 1);
	CHECK_EQ(calls_prepare(calls, &msg, &terms, ROOM, &waiter, &ready, &problem), CALLS_READY);
	CHECK(!list_linked(&waiter.link));
	unmake();
}

/* --- answers -------------------------------------------------------------------------------- */

static void test_events(void)
{
	struct asker asker = make_asker();

	make("/id");
	CHECK_EQ(receive("{\"id\":1}"), CALLS_EVENT);
	CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	CHECK_EQ(receive("{\"event\":1}"), CALLS_EVENT);
	CHECK_EQ(receive("tick"), CALLS_EVENT);
	CHECK_EQ(receive("{\"id\":1"), CALLS_EVENT);
	CHECK_EQ(receive("{\"id\":null}"), CALLS_EVENT);
	CHECK_EQ(stats().unknown, 0);
	CHECK_EQ(receive("{\"id\":2}"), CALLS_EVENT);
	CHECK_EQ(receive("{\"id\":\"x\"}"), CALLS_EVENT);
	CHECK_EQ(receive("{\"id\":1,\"id\":1}"), CALLS_EVENT);
	CHECK_EQ(stats().unknown, 3);
	CHECK_EQ(asker.answers, 0);
	CHECK_EQ(receive("{\"id\":1.0}"), CALLS_DELIVERED);
	CHECK_EQ(receive("{\"id\":1}"), CALLS_DROPPED);
	CHECK_EQ(stats().repeated, 1);
	CHECK_EQ(asker.answers, 1);
	unmake();
}

static void test_timeout(void)
{
	struct asker asker = make_asker();

	make("/id");
	CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	fake_loop_advance(20000);
	CHECK_EQ(ask(&asker, "{\"id\":2}"), CALLS_READY);
	fake_loop_advance(9999);
	CHECK_EQ(asker.failures, 0);
	fake_loop_advance(1);
	CHECK_EQ(asker.failures, 1);
	CHECK_EQ(asker.tag, 0);
	CHECK_STR(asker.cause, "no answer within 30.000 s");
	CHECK_EQ(receive("{\"id\":1}"), CALLS_DROPPED);
	CHECK_EQ(stats().late, 1);
	CHECK_EQ(receive("{\"id\":2}"), CALLS_DELIVERED);
	CHECK_EQ(fake_loop_timers(), 0);
	fake_loop_advance(CALLS_DONE_S * 1000);
	CHECK_EQ(receive("{\"id\":1}"), CALLS_EVENT);
	CHECK_EQ(stats().timed_out, 1);
	unmake();
}

/* Only so many are remembered: who floods is not given more memory. */
static void test_forgetting(void)
{
	struct asker asker = make_asker();

	make("/id");
	for (unsigned i = 0; i <= CALLS_DONE_MAX; i++) {
		CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
		caller_leave(&asker.caller);
	}
	CHECK_EQ(stats().open, 0);
	CHECK_EQ(receive("{\"id\":2}"), CALLS_DROPPED);
	CHECK_EQ(receive("{\"id\":1}"), CALLS_EVENT);
	CHECK_EQ(asker.answers + asker.failures, 0);
	unmake();
}

static void giver_failed(void *owner, uint64_t tag, const struct cause *cause)
{
	struct asker *asker = owner;

	asker_failed(owner, tag, cause);
	caller_leave(&asker->caller);
}

/* Who hears of one loss gives up the others, before and behind. */
static void test_loss_is_given_up(void)
{
	struct asker giver = make_asker(), other = make_asker();
	struct cause cause;

	make("/id");
	giver.caller.failed = giver_failed;
	cause_set(&cause, CAUSE_CLOSED, 1006, "gone");
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(ask(&giver, "{\"id\":1}"), CALLS_READY);
		CHECK_EQ(ask(&other, "{\"id\":1}"), CALLS_READY);
	}
	calls_lose_between(calls, 2, 6, &cause);
	CHECK_EQ(giver.failures, 1);
	CHECK_EQ(other.failures, 2);
	CHECK_EQ(stats().open, 2);
	unmake();
}

static void test_loss(void)
{
	struct asker asker = make_asker();
	struct cause cause;

	make("/id");
	cause_set(&cause, CAUSE_CLOSED, 1006, "gone");
	for (int i = 0; i < 3; i++)
		CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	calls_lose(calls, 2, &cause);
	CHECK_EQ(asker.failures, 2);
	CHECK_STR(asker.cause, "gone");
	CHECK_EQ(stats().open, 1);
	CHECK_EQ(stats().failed, 2);
	calls_lose(calls, UINT64_MAX, &cause);
	CHECK_EQ(asker.failures, 3);
	unmake();
}

static void test_nobody_to_answer(void)
{
	make("/id");
	CHECK_EQ(ask_with(&(struct calls_terms){0}, "{\"id\":\"mine\"}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":\"1\"}");
	CHECK_EQ(receive("{\"id\":\"1\"}"), CALLS_PUBLIC);
	CHECK_STR(answer, "{\"id\":\"mine\"}");
	unmake();
}

static void test_raw(void)
{
	struct asker asker = make_asker();
	struct calls_terms terms = {.caller = &asker.caller, .must = true, .raw = true};

	make("/id");
	asker.caller.owner = &asker;
	CHECK_EQ(ask_with(&terms, "{\"id\":\"a\\/b\"}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":\"a\\/b\"}");
	CHECK_EQ(receive("{\"id\":\"a/b\"}"), CALLS_DELIVERED);
	CHECK_STR(asker.text, "{\"id\":\"a/b\"}");
	CHECK_EQ(ask_with(&terms, "{\"id\":5}"), CALLS_READY);
	CHECK_EQ(ask_with(&terms, "{\"id\":\"5\"}"), CALLS_REFUSED);
	CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	CHECK_STR(sent, "{\"id\":6}");
	unmake();
}

/* --- protocols ------------------------------------------------------------------------------ */

/* C08: events bear the id of the request. */
static void test_not_reply(void)
{
	struct asker asker = make_asker();

	not_replies[0] = (char *)"/type=event";
	options.not_reply = not_replies;
	make("/id");
	CHECK_EQ(ask(&asker, "{\"id\":1}"), CALLS_READY);
	CHECK_EQ(receive("{\"id\":1,\"type\":\"event\"}"), CALLS_EVENT);
	CHECK_EQ(receive("{\"id\":1,\"type\":\"result\"}"), CALLS_DELIVERED);
	CHECK_EQ(receive("{\"id\":1,\"type\":\"ev\\u0065nt\"}"), CALLS_EVENT);
	CHECK_EQ(asker.answers, 1);
	unmake();
}

/* C09: the acknowledgement first; its time begins anew with it. */
static void test_interim(void)
{
	struct asker asker = make_asker();

	interims[0] = (char *)"/janus=\"ack\"";
	options.interim = interims;
	options.id_type = CALLS_ID_STRING;
	make("/transaction");
	CHECK_EQ(ask(&asker, "{\"transaction\":\"x\"}"), CALLS_READY);
	fake_loop_advance(20000);
	CHECK_EQ(receive("{\"transaction\":\"1\",\"janus\":\"ack\"}"), CALLS_DELIVERED);
	CHECK_EQ(asker.kind, CALLS_INTERIM);
	fake_loop_advance(20000);
	CHECK_EQ(receive("{\"transaction\":\"1\",\"janus\":\"event\"}"), CALLS_DELIVERED);
	CHECK_EQ(asker.kind, CALLS_FINAL);
	CHECK_STR(asker.text, "{\"transaction\":\"x\",\"janus\":\"event\"}");
	unmake();
}

/* Many answers to one, until the last; who asks for the end of it means the same one. */
static void test_partial(void)
{
	struct asker asker = make_asker();

	partials[0] = (char *)"/type=next";
	options.partial = partials;
	make("/id");
	CHECK_EQ(ask(&asker, "{\"id\":\"s\",\"type\":\"subscribe\"}"), CALLS_READY);
	for (unsigned i = 1; i <= 5; i++) {
		CHECK_EQ(receive("{\"id\":\"1\",\"type\":\"next\"}"), CALLS_DELIVERED);
		CHECK_EQ(asker.kind, CALLS_PARTIAL);
		CHECK_EQ(asker.answers, i);
		fake_loop_advance(100000);
	}
	CHECK_EQ(ask(&asker, "{\"id\":\"s\",\"type\":\"complete\"}"), CALLS_PART_OF);
	CHECK_STR(sent, "{\"id\":\"1\",\"type\":\"complete\"}");
	CHECK_EQ(receive("{\"id\":\"1\",\"type\":\"complete\"}"), CALLS_DELIVERED);
	CHECK_EQ(asker.kind, CALLS_FINAL);
	CHECK_EQ(stats().open, 0);
	unmake();
}

/* C10: an error has the id elsewhere.  Other kinds of messages have something else there. */
static void test_rules(void)
{
	struct asker asker = make_asker();

	reply_ids[0] = (char *)"/0=8:/2";
	reply_ids[1] = (char *)"/0=50 : /1";
	options.reply_id = reply_ids;
	make("/0=48 : /1");
	CHECK_EQ(ask(&asker, "[1,\"realm\",{}]"), CALLS_NONE);
	CHECK_EQ(ask(&asker, "[48,7,{}]"), CALLS_READY);
	CHECK_EQ(ask(&asker, "[48,7,{}]"), CALLS_READY);
	CHECK_STR(sent, "[48,2,{}]");
	CHECK_EQ(receive("[36,1,2,{}]"), CALLS_EVENT);
	CHECK_EQ(receive("[8,48,2,{}]"), CALLS_DELIVERED);
	CHECK_STR(asker.text, "[8,48,7,{}]");
	CHECK_EQ(receive("[50,1,{}]"), CALLS_DELIVERED);
	unmake();
}

static void test_bad_rules(void)
{
	CHECK_EQ(calls_check("id", true, &problem), -EINVAL);
	CHECK_EQ(calls_check("", true, &problem), -EINVAL);
	CHECK_EQ(calls_check("0=8 : /2", true, &problem), -EINVAL);
	CHECK_EQ(calls_check("/0=8 : /2", true, &problem), 0);
	CHECK_EQ(calls_check("/a=\"x : /y\" : /2", true, &problem), 0);
	CHECK_EQ(calls_check("=8", false, &problem), -EINVAL);
	CHECK_EQ(calls_check("/a = 8", false, &problem), 0);
	CHECK_EQ(calls_check("/method", false, &problem), 0);
}

int main(void)
{
	CHECK_EQ(loop_init(), 0);
	test_two_askers();
	test_id_types();
	test_what_is_no_request();
	test_wrap();
	test_many();
	test_cost();
	test_full();
	test_events();
	test_timeout();
	test_forgetting();
	test_loss();
	test_loss_is_given_up();
	test_nobody_to_answer();
	test_raw();
	test_not_reply();
	test_interim();
	test_partial();
	test_rules();
	test_bad_rules();
	loop_done();
	return 0;
}
