/* calls - see calls.h.
 *
 * Open ones stand in slots, which never move (their timers are known to the loop): on the list
 * `open` in the order in which they were queued, on their caller's list, and in a table by the id
 * that is on the wire.  Ids that are done with are only numbers in a ring. */
#include "conn/calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/loop.h"
#include "conn/rule.h"

enum {
	SLOTS_PER_CHUNK = 32,
	TABLE_FIRST = 64,
	CHUNKS_KEPT = 16,
	SCRATCH_KEPT = 64 * 1024, /* a larger one is given back at the next use */
};

struct slot {
	struct list in_open; /* or among the free ones */
	struct list in_caller;
	struct list in_strange; /* sent with an id that is no number of ours */
	struct calls *calls;
	struct caller *caller; /* NULL: the answer is an event */
	struct timer timer;
	uint64_t tag, seq, timeout_ms;
	uint32_t wire; /* 0: strange */
	bool as_is;    /* nothing to put back: its own id was sent, or it had none */
	uint8_t id_len;
	char id[CALLS_ID_MAX];
};

struct chunk {
	struct chunk *next;
	struct slot slot[SLOTS_PER_CHUNK];
};

/* The newest ids of one kind, each with the time of its end. */
struct done {
	uint32_t wire[CALLS_DONE_MAX];
	uint64_t at_ms[CALLS_DONE_MAX];
	unsigned next;
};

struct pattern {
	struct rules id, reply_id, interim, partial, not_reply, error_reply;
	enum calls_id_type type;
	uint64_t timeout_ms;
};

/* What calls_prepare() has found out for calls_begin(). */
struct prepared {
	uint32_t wire;
	bool as_is;
	uint8_t id_len;
	char id[CALLS_ID_MAX];
};

struct calls {
	struct pattern pattern;
	struct chunk *chunks;
	unsigned chunks_n;
	struct list free, open, strange;
	struct slot **table; /* by wire, linear probing; at most half full */
	size_t table_size;
	uint32_t last; /* id given out */
	struct done *answered, *abandoned;
	struct list waiters;
	struct buf scratch;
	struct prepared prepared;
	struct calls_stats stats;
};

/* --- what is done with ---------------------------------------------------------------------- */

static void done_put(struct done **done, uint32_t wire)
{
	struct done *ring = *done;

	if (wire == 0)
		return;
	if (!ring && !(ring = *done = calloc(1, sizeof(*ring))))
		return; /* not remembered: its answer will look like an event */
	ring->wire[ring->next] = wire;
	ring->at_ms[ring->next] = loop_now_ms();
	ring->next = (ring->next + 1) % CALLS_DONE_MAX;
}

static bool done_has(const struct done *ring, uint32_t wire)
{
	for (unsigned i = 0; ring && i < CALLS_DONE_MAX; i++)
		if (ring->wire[i] == wire)
			return wire != 0 && loop_now_ms() - ring->at_ms[i] < CALLS_DONE_MS;
	return false;
}

/* --- the table ------------------------------------------------------------------------------ */

/* Numbers rise by one: side by side they would stand in one run of thousands, and each that goes would
 * have all behind it moved.  So they are spread (Fibonacci hashing; the high bits are the good ones). */
static size_t place_of(const struct calls *calls, uint32_t wire)
{
	size_t mask = calls->table_size - 1;
	size_t at = (size_t)((wire * UINT64_C(0x9E3779B97F4A7C15)) >> 40) & mask;

	while (calls->table[at] && calls->table[at]->wire != wire)
		at = (at + 1) & mask;
	return at;
}

static struct slot *table_get(const struct calls *calls, uint64_t wire)
{
	if (wire == 0 || wire > CALLS_WIRE_MAX || calls->table_size == 0)
		return NULL;
	return calls->table[place_of(calls, (uint32_t)wire)];
}

/* Those that stood behind it because of it move up. */
static void table_remove(struct calls *calls, uint32_t wire)
{
	size_t mask = calls->table_size - 1, hole = place_of(calls, wire);

	calls->table[hole] = NULL;
	for (size_t at = (hole + 1) & mask; calls->table[at]; at = (at + 1) & mask) {
		struct slot *slot = calls->table[at];

		calls->table[at] = NULL;
		calls->table[place_of(calls, slot->wire)] = slot;
	}
}

static int table_reserve(struct calls *calls)
{
	size_t size = calls->table_size ? calls->table_size : TABLE_FIRST / 2;
	struct slot **table, *slot;

	if (calls->table_size && (calls->stats.open + 1) * 2 <= calls->table_size)
		return 0;
	table = calloc(size * 2, sizeof(struct slot *));
	if (!table)
		return -ENOMEM;
	free(calls->table);
	calls->table = table;
	calls->table_size = size * 2;
	list_for_each (slot, &calls->open, in_open)
		if (slot->wire)
			table[place_of(calls, slot->wire)] = slot;
	return 0;
}

/* --- slots ---------------------------------------------------------------------------------- */

static void slot_on_due(void *owner);

static int slots_reserve(struct calls *calls)
{
	struct chunk *chunk;

	if (!list_empty(&calls->free))
		return 0;
	chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	for (unsigned i = 0; i < SLOTS_PER_CHUNK; i++) {
		if (timer_init(&chunk->slot[i].timer, slot_on_due, &chunk->slot[i]) < 0) {
			while (i-- > 0)
				timer_done(&chunk->slot[i].timer);
			free(chunk);
			return -ENOMEM;
		}
	}
	for (unsigned i = 0; i < SLOTS_PER_CHUNK; i++) {
		chunk->slot[i].calls = calls;
		list_append(&calls->free, &chunk->slot[i].in_open);
	}
	chunk->next = calls->chunks;
	calls->chunks = chunk;
	calls->chunks_n++;
	return 0;
}

static void free_chunks(struct calls *calls)
{
	while (calls->chunks) {
		struct chunk *chunk = calls->chunks;

		calls->chunks = chunk->next;
		for (unsigned i = 0; i < SLOTS_PER_CHUNK; i++) {
			list_remove(&chunk->slot[i].in_caller);
			timer_done(&chunk->slot[i].timer);
		}
		free(chunk);
	}
	calls->chunks_n = 0;
	list_init(&calls->free);
	list_init(&calls->open);
	list_init(&calls->strange);
}

static void wake_waiter(struct calls *calls)
{
	struct outbox_waiter *waiter = list_first(&calls->waiters, struct outbox_waiter, link);

	if (!waiter)
		return;
	list_remove(&waiter->link);
	waiter->room(waiter->owner);
}

/* It is over.  A quiet connection does not keep the memory of a busy hour. */
static void release(struct slot *slot)
{
	struct calls *calls = slot->calls;

	timer_cancel(&slot->timer);
	if (slot->wire)
		table_remove(calls, slot->wire);
	list_remove(&slot->in_strange);
	list_remove(&slot->in_caller);
	list_remove(&slot->in_open);
	list_prepend(&calls->free, &slot->in_open);
	calls->stats.open--;
	if (calls->stats.open == 0 && calls->chunks_n > CHUNKS_KEPT)
		free_chunks(calls);
	wake_waiter(calls);
}

static void fail(struct slot *slot, const struct cause *cause)
{
	struct caller *caller = slot->caller;
	uint64_t tag = slot->tag;

	release(slot);
	if (caller && caller->failed)
		caller->failed(caller->owner, tag, cause);
}

static void slot_on_due(void *owner)
{
	struct slot *slot = owner;
	struct cause cause;

	cause_set(&cause, CAUSE_TIMEOUT, CALLS_TIMED_OUT, "no answer within %llu.%03u s",
		  (unsigned long long)slot->timeout_ms / 1000, (unsigned)(slot->timeout_ms % 1000));
	slot->calls->stats.timed_out++;
	done_put(&slot->calls->abandoned, slot->wire);
	fail(slot, &cause);
}

void caller_leave(struct caller *caller)
{
	struct slot *slot;

	while ((slot = list_first(&caller->open, struct slot, in_caller))) {
		done_put(&slot->calls->abandoned, slot->wire);
		release(slot);
	}
}

/* --- life ----------------------------------------------------------------------------------- */

static void pattern_done(struct pattern *pattern)
{
	rules_done(&pattern->id);
	rules_done(&pattern->reply_id);
	rules_done(&pattern->interim);
	rules_done(&pattern->partial);
	rules_done(&pattern->not_reply);
	rules_done(&pattern->error_reply);
}

static int pattern_init(struct pattern *pattern, const struct calls_options *options)
{
	char **reply_id = options->reply_id && *options->reply_id ? options->reply_id : options->id;
	const char *problem;
	int r;

	*pattern = (struct pattern){.type = (enum calls_id_type)options->id_type,
				    .timeout_ms = options->timeout_ms};
	r = rules_init(&pattern->id, options->id, true, &problem);
	if (r == 0)
		r = rules_init(&pattern->reply_id, reply_id, true, &problem);
	if (r == 0)
		r = rules_init(&pattern->interim, options->interim, false, &problem);
	if (r == 0)
		r = rules_init(&pattern->partial, options->partial, false, &problem);
	if (r == 0)
		r = rules_init(&pattern->not_reply, options->not_reply, false, &problem);
	if (r == 0)
		r = rules_init(&pattern->error_reply, options->error_reply, false, &problem);
	if (r < 0)
		pattern_done(pattern);
	return r;
}

int calls_check(const char *value, bool places, const char **ret_problem)
{
	char *list[] = {(char *)value, NULL};
	struct rules rules;
	int r = rules_init(&rules, list, places, ret_problem);

	rules_done(&rules);
	return r;
}

int calls_new(struct calls **ret, const struct calls_options *options)
{
	struct calls *calls;
	int r;

	*ret = NULL;
	if (!options->id || !*options->id)
		return 0;
	calls = calloc(1, sizeof(*calls));
	if (!calls)
		return -ENOMEM;
	list_init(&calls->free);
	list_init(&calls->open);
	list_init(&calls->strange);
	list_init(&calls->waiters);
	buf_init(&calls->scratch, SIZE_MAX / 2);
	r = pattern_init(&calls->pattern, options);
	if (r < 0) {
		free(calls);
		return r;
	}
	*ret = calls;
	return 0;
}

struct calls *calls_free(struct calls *calls)
{
	if (!calls)
		return NULL;
	free_chunks(calls);
	while (!list_empty(&calls->waiters))
		wake_waiter(calls); /* without calls there is nothing to wait for */
	free(calls->table);
	free(calls->answered);
	free(calls->abandoned);
	buf_done(&calls->scratch);
	pattern_done(&calls->pattern);
	free(calls);
	return NULL;
}

int calls_set_options(struct calls *calls, const struct calls_options *options)
{
	struct pattern pattern;
	int r = pattern_init(&pattern, options);

	if (r < 0)
		return r;
	pattern_done(&calls->pattern);
	calls->pattern = pattern;
	return 0;
}

/* --- sending -------------------------------------------------------------------------------- */

static const char *text_of(const struct msg *msg)
{
	return (const char *)msg->data;
}

/* Cheap, and true of every text in which there could be a member. */
static bool could_be_json(const struct msg *msg)
{
	for (size_t i = 0; i < msg->len; i++) {
		uint8_t c = msg->data[i];

		if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return c == '{' || c == '[';
	}
	return false;
}

static int scratch_reserve(struct calls *calls, size_t bytes, char **ret)
{
	uint8_t *tail;
	int r;

	buf_clear(&calls->scratch);
	if (calls->scratch.size > SCRATCH_KEPT && bytes <= SCRATCH_KEPT)
		buf_trim(&calls->scratch);
	r = buf_reserve(&calls->scratch, bytes, &tail);
	*ret = (char *)tail;
	return r;
}

/* With CALLS_MAX open at once, the search ends. */
static uint32_t next_wire(const struct calls *calls)
{
	uint32_t wire = calls->last;

	do {
		wire = wire >= CALLS_WIRE_MAX ? 1 : wire + 1;
	} while (table_get(calls, wire));
	return wire;
}

static bool is_id(const struct json_span *value)
{
	return json_is_string(value) || *value->at == '-' ||
	       (*value->at >= '0' && *value->at <= '9');
}

static int refuse(const char *problem, const char **ret_problem)
{
	*ret_problem = problem;
	return CALLS_REFUSED;
}

static int make_room(struct calls *calls, struct outbox_waiter *waiter)
{
	int r;

	if (calls->stats.open >= CALLS_MAX) {
		if (waiter && !list_linked(&waiter->link))
			list_append(&calls->waiters, &waiter->link);
		return CALLS_FULL;
	}
	r = slots_reserve(calls);
	if (r == 0)
		r = table_reserve(calls);
	return r < 0 ? r : CALLS_READY;
}

/* The id as it is to stand in the message. */
static size_t wire_text(const struct calls *calls, uint32_t wire, bool as_string, char text[16])
{
	enum calls_id_type type = calls->pattern.type;

	if (type == CALLS_ID_STRING || (type == CALLS_ID_AUTO && as_string))
		return (size_t)snprintf(text, 16, "\"%u\"", wire);
	return (size_t)snprintf(text, 16, "%u", wire);
}

static int put_wire(struct calls *calls, const struct msg *msg, const struct json_span *id,
		    uint32_t wire, size_t max, struct msg *ret)
{
	char text[16], *to;
	size_t len = wire_text(calls, wire, json_is_string(id), text);
	int r;

	if (msg->len - id->len + len > max)
		return -ENOBUFS;
	r = scratch_reserve(calls, msg->len - id->len + len, &to);
	if (r < 0)
		return r;
	*ret = *msg;
	ret->len = member_replace(text_of(msg), msg->len, id, text, len, to);
	ret->data = (const uint8_t *)to;
	return CALLS_READY;
}

/* A message without an id gets one. */
static int prepare_insert(struct calls *calls, const struct msg *msg, const struct rule *rule,
			  size_t max, struct msg *ret, const char **ret_problem)
{
	struct prepared *prepared = &calls->prepared;
	char text[16], *to;
	size_t len, room;
	struct json_span at;
	bool alone;
	int r;

	if (!rule || !member_place(text_of(msg), msg->len, &rule->path, &at, &alone))
		return refuse("is no request: there is no place in it for an id", ret_problem);
	*prepared = (struct prepared){.wire = next_wire(calls), .as_is = true};
	len = wire_text(calls, prepared->wire, false, text);
	room = msg->len + member_growth(&rule->path, len);
	if (room > max)
		return -ENOBUFS;
	r = scratch_reserve(calls, room, &to);
	if (r < 0)
		return r;
	*ret = *msg;
	ret->len = member_insert(text_of(msg), msg->len, &at, alone, &rule->path, text, len, to);
	ret->data = (const uint8_t *)to;
	return CALLS_READY;
}

/* As the asker has it: then his id must be free. */
static int prepare_raw(struct calls *calls, const struct msg *msg, const struct json_span *id,
		       struct msg *ret, const char **ret_problem)
{
	struct prepared *prepared = &calls->prepared;
	uint64_t number;
	bool ours = member_number(id, &number) && number > 0 && number <= CALLS_WIRE_MAX;

	if (ours && table_get(calls, number))
		return refuse("has an id that another request has now", ret_problem);
	*prepared = (struct prepared){.wire = ours ? (uint32_t)number : 0, .as_is = true};
	prepared->id_len = (uint8_t)id->len;
	memcpy(prepared->id, id->at, id->len);
	*ret = *msg;
	return CALLS_READY;
}

static struct slot *find_stream(const struct calls *calls, const struct calls_terms *terms,
				const struct json_span *id)
{
	struct slot *slot;

	if (calls->pattern.partial.n == 0 || !terms->caller || !terms->caller->open.next)
		return NULL;
	list_for_each (slot, &terms->caller->open, in_caller)
		if (!slot->as_is && slot->id_len == id->len &&
		    memcmp(slot->id, id->at, id->len) == 0)
			return slot;
	return NULL;
}

static int prepare_found(struct calls *calls, const struct msg *msg, const struct json_span *id,
			 const struct calls_terms *terms, size_t max, struct msg *ret,
			 const char **ret_problem)
{
	struct slot *stream = terms->must ? NULL : find_stream(calls, terms, id);
	int r;

	if (id->len > CALLS_ID_MAX)
		return refuse("has an id that is too long", ret_problem);
	if (stream) {
		r = put_wire(calls, msg, id, stream->wire, max, ret);
		return r < 0 ? r : CALLS_PART_OF;
	}
	if (terms->raw)
		return prepare_raw(calls, msg, id, ret, ret_problem);
	calls->prepared = (struct prepared){.wire = next_wire(calls), .id_len = (uint8_t)id->len};
	memcpy(calls->prepared.id, id->at, id->len);
	return put_wire(calls, msg, id, calls->prepared.wire, max, ret);
}

int calls_prepare(struct calls *calls, const struct msg *msg, const struct calls_terms *terms,
		  size_t max, struct outbox_waiter *waiter, struct msg *ret,
		  const char **ret_problem)
{
	const struct rule *rule = NULL;
	struct json_span id;
	int r, found = -EINVAL;

	if (could_be_json(msg))
		found = rules_find(&calls->pattern.id, text_of(msg), msg->len, &id, &rule);
	if (found == MEMBER_TWICE)
		return refuse("has its id twice", ret_problem);
	if (found == MEMBER_FOUND && !is_id(&id))
		found = -EBADMSG;
	if (found != MEMBER_FOUND && !terms->must)
		return CALLS_NONE;
	if (found == -EINVAL)
		return refuse("is no JSON object or array", ret_problem);
	if (found == -EBADMSG)
		return refuse("has an id that is neither a string nor a number", ret_problem);
	r = make_room(calls, waiter);
	if (r != CALLS_READY)
		return r;
	if (found == MEMBER_NONE)
		return prepare_insert(calls, msg, rule, max, ret, ret_problem);
	return prepare_found(calls, msg, &id, terms, max, ret, ret_problem);
}

void calls_begin(struct calls *calls, const struct calls_terms *terms, uint64_t seq)
{
	const struct prepared *prepared = &calls->prepared;
	struct slot *slot = list_first(&calls->free, struct slot, in_open);

	list_remove(&slot->in_open);
	list_append(&calls->open, &slot->in_open);
	calls->stats.open++;
	slot->caller = terms->caller;
	slot->tag = terms->tag;
	slot->seq = seq;
	slot->wire = prepared->wire;
	slot->as_is = prepared->as_is;
	slot->id_len = prepared->id_len;
	memcpy(slot->id, prepared->id, prepared->id_len);
	if (slot->caller) {
		if (!slot->caller->open.next)
			list_init(&slot->caller->open);
		list_append(&slot->caller->open, &slot->in_caller);
	}
	if (slot->wire)
		calls->table[place_of(calls, slot->wire)] = slot;
	else
		list_append(&calls->strange, &slot->in_strange);
	if (!terms->raw || slot->wire > calls->last)
		calls->last = slot->wire ? slot->wire : calls->last;
	slot->timeout_ms = terms->timeout_ms ? terms->timeout_ms : calls->pattern.timeout_ms;
	if (slot->timeout_ms)
		timer_set(&slot->timer, slot->timeout_ms);
}

void calls_reserve(struct calls *calls, const struct msg *msg)
{
	const struct rule *rule;
	struct json_span id;
	uint64_t number;

	if (could_be_json(msg) &&
	    rules_find(&calls->pattern.id, text_of(msg), msg->len, &id, &rule) == MEMBER_FOUND &&
	    member_number(&id, &number) && number <= CALLS_WIRE_MAX && number > calls->last)
		calls->last = (uint32_t)number;
}

/* --- receiving ------------------------------------------------------------------------------ */

static struct slot *find_strange(const struct calls *calls, const struct json_span *id)
{
	struct slot *slot;

	list_for_each (slot, &calls->strange, in_strange) {
		struct json_span own = {slot->id, slot->id_len};

		if (member_same(&own, id))
			return slot;
	}
	return NULL;
}

/* The id of nothing that is open. */
static int judge_stray(struct calls *calls, const struct msg *msg, uint64_t number)
{
	bool ours = number > 0 && number <= CALLS_WIRE_MAX;

	if (rules_hold(&calls->pattern.not_reply, text_of(msg), msg->len))
		return CALLS_EVENT;
	if (ours && done_has(calls->abandoned, (uint32_t)number)) {
		calls->stats.late++;
		return CALLS_DROPPED;
	}
	if (ours && done_has(calls->answered, (uint32_t)number)) {
		calls->stats.repeated++;
		return CALLS_DROPPED;
	}
	calls->stats.unknown++;
	return CALLS_EVENT;
}

static int restore(struct calls *calls, const struct slot *slot, const struct msg *msg,
		   const struct json_span *id, struct msg *ret)
{
	char *to;
	int r;

	*ret = *msg;
	if (slot->as_is)
		return 0;
	r = scratch_reserve(calls, msg->len - id->len + slot->id_len, &to);
	if (r < 0)
		return r;
	ret->len = member_replace(text_of(msg), msg->len, id, slot->id, slot->id_len, to);
	ret->data = (const uint8_t *)to;
	return 0;
}

static enum calls_answer kind_of(const struct calls *calls, const struct msg *msg)
{
	if (rules_hold(&calls->pattern.interim, text_of(msg), msg->len))
		return CALLS_INTERIM;
	if (rules_hold(&calls->pattern.partial, text_of(msg), msg->len))
		return CALLS_PARTIAL;
	return CALLS_FINAL;
}

/* A stream may be silent for long; and who was told to be patient gets his time anew. */
static void go_on(struct slot *slot, enum calls_answer kind)
{
	if (kind == CALLS_PARTIAL)
		timer_cancel(&slot->timer);
	else if (timer_is_set(&slot->timer))
		timer_set(&slot->timer, slot->timeout_ms);
}

static int deliver(struct calls *calls, struct slot *slot, const struct msg *msg,
		   const struct json_span *id, struct msg *ret)
{
	enum calls_answer kind = kind_of(calls, msg);
	struct caller *caller = slot->caller;
	uint64_t tag = slot->tag;
	struct cause cause;
	int r = restore(calls, slot, msg, id, ret);

	if (r < 0) {
		cause_set(&cause, CAUSE_LOCAL, -r, "the answer was lost: %s", strerror(-r));
		calls->stats.failed++;
		fail(slot, &cause);
		return CALLS_DROPPED;
	}
	if (kind == CALLS_FINAL) {
		done_put(&calls->answered, slot->wire);
		calls->stats.answered++;
		release(slot);
	} else {
		go_on(slot, kind);
	}
	if (!caller)
		return CALLS_PUBLIC;
	caller->answered(caller->owner, tag, kind, ret);
	return CALLS_DELIVERED;
}

int calls_claim(struct calls *calls, const struct msg *msg, struct msg *ret)
{
	const struct rule *rule;
	struct json_span id;
	struct slot *slot;
	uint64_t number;
	int found;

	if ((calls->stats.open == 0 && !calls->answered && !calls->abandoned) ||
	    !could_be_json(msg))
		return CALLS_EVENT;
	found = rules_find(&calls->pattern.reply_id, text_of(msg), msg->len, &id, &rule);
	calls->stats.unknown += found == MEMBER_TWICE;
	if (found != MEMBER_FOUND || !is_id(&id))
		return CALLS_EVENT;
	if (!member_number(&id, &number))
		number = 0;
	slot = table_get(calls, number);
	if (!slot && !list_empty(&calls->strange))
		slot = find_strange(calls, &id);
	if (!slot)
		return judge_stray(calls, msg, number);
	if (rules_hold(&calls->pattern.not_reply, text_of(msg), msg->len))
		return CALLS_EVENT;
	return deliver(calls, slot, msg, &id, ret);
}

/* Each that fails may bring others with it (a caller that leaves), so from the front, one by one.
 */
static struct slot *first_behind(const struct calls *calls, uint64_t number)
{
	struct slot *slot;

	list_for_each(slot, &calls->open, in_open)
		if (slot->seq > number)
			return slot;
	return NULL;
}

/* Looked for anew each time: who is told may give up others. */
void calls_lose_between(struct calls *calls, uint64_t after, uint64_t last, const struct cause *cause)
{
	struct slot *slot;

	while ((slot = first_behind(calls, after)) && slot->seq <= last) {
		calls->stats.failed++;
		fail(slot, cause);
	}
}

void calls_lose(struct calls *calls, uint64_t sent, const struct cause *cause)
{
	calls_lose_between(calls, 0, sent, cause);
}

bool calls_is_error(const struct calls *calls, const struct msg *reply)
{
	return rules_hold(&calls->pattern.error_reply, text_of(reply), reply->len);
}

void calls_get_stats(const struct calls *calls, struct calls_stats *ret)
{
	*ret = calls->stats;
}
