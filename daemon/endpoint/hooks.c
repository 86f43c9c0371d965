/* hooks - see hooks.h.
 *
 * A message is passed to its command from where it lies in the spool, without a copy; its block is
 * pinned meanwhile.  The cursor goes behind it when the command has begun, the reader's mark when
 * it has ended: a message whose command was cut off by a crash is handed out again. */
#include "endpoint/hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/log.h"
#include "base/loop.h"
#include "endpoint/hookenv.h"
#include "endpoint/hookslot.h"

#define ON_MESSAGE "on-message" /* the key, the reader's name and that of its place */

enum { RETRY_MS = 1000 };

enum { STARTED, NOTHING, WAITS }; /* what became of an attempt to run something; or -errno */

/* How one of the two fares. */
struct hook {
	const char *name;
	uint64_t failures, streak; /* runs that did not end with 0; ... one after the other, now */
	uint64_t untold;           /* messages or changes lost since a command was told how many */
};

struct change {
	struct list link;
	struct hookenv_moment moment;
};

struct hooks {
	struct conn *conn;
	const struct hooks_options *options;
	char *runtime_dir;
	struct later next;
	struct timer retry, limit;
	void (*settled)(void *owner);
	void *owner;

	struct command *command;
	struct hook *running; /* whose it is */
	struct hookslot slot; /* held while it runs */
	bool settling, over;  /* over: the limit has passed */
	bool cannot_start;    /* that was logged */

	struct hook on_message, on_state;
	struct cursor cursor; /* .spool NULL: there is no on-message */
	struct mark_holder place;
	struct block *held; /* the message of the command is in it */

	struct conn_watch watch;
	struct list changes;
	unsigned n_changes;
	uint64_t dropped, losing; /* changes, in all; since one found the queue full */
	bool change_was_last;
	enum conn_state seen_state; /* of the newest change that we were told of */
	uint64_t seen_us;
};

/* --- what waits ----------------------------------------------------------------------------- */

static bool messages_are_kept(const struct hooks *hooks)
{
	return conn_options(hooks->conn)->persist && !conn_persist_problem(hooks->conn);
}

static bool message_waits(const struct hooks *hooks)
{
	if (!hooks->cursor.spool || cursor_at_end(&hooks->cursor))
		return false;
	return !hooks->settling || !messages_are_kept(hooks);
}

/* The connection has changed, and will tell us in this turn of the loop. */
static bool change_is_coming(const struct hooks *hooks)
{
	return hooks->options->on_state && (conn_state(hooks->conn) != hooks->seen_state ||
					    conn_since_us(hooks->conn) != hooks->seen_us);
}

static bool is_busy(const struct hooks *hooks)
{
	if (hooks->command || change_is_coming(hooks))
		return true;
	return !hooks->over && (hooks->n_changes > 0 || message_waits(hooks));
}

static void forget_oldest(struct hooks *hooks)
{
	struct change *change = list_first(&hooks->changes, struct change, link);

	list_remove(&change->link);
	free(change);
	hooks->n_changes--;
}

static void forget_changes(struct hooks *hooks)
{
	while (hooks->n_changes > 0)
		forget_oldest(hooks);
}

/* A line for the first of many that go, and one for all when the command has caught up. */
static void lose_change(struct hooks *hooks)
{
	if (hooks->losing++ == 0)
		log_warning(conn_name(hooks->conn),
			    "on-state: the command is too slow, changes of state are dropped");
	hooks->on_state.untold++;
	hooks->dropped++;
}

static void tell_caught_up(struct hooks *hooks)
{
	if (hooks->losing == 0 || hooks->n_changes > 0)
		return;
	log_warning(conn_name(hooks->conn), "on-state: %llu changes of state were dropped",
		    (unsigned long long)hooks->losing);
	hooks->losing = 0;
}

/* --- one run -------------------------------------------------------------------------------- */

static void hooks_command_line(void *owner, const char *text)
{
	struct hooks *hooks = owner;

	log_info(conn_name(hooks->conn), "%s: %s", hooks->running->name, text);
}

/* A command that always fails has one line, and one more when it works again. */
static void judge(struct hooks *hooks, struct hook *hook, const char *problem)
{
	const char *name = conn_name(hooks->conn);

	if (problem && hook->streak == 0)
		log_warning(name, "%s: the command %s (told once, until it works again)",
			    hook->name, problem);
	else if (!problem && hook->streak > 0)
		log_info(name, "%s: works again, after %llu failures", hook->name,
			 (unsigned long long)hook->streak);
	hook->streak = problem ? hook->streak + 1 : 0;
	hook->failures += problem != NULL;
}

static void release_message(struct hooks *hooks)
{
	if (hooks->held)
		block_release(hooks->held);
	hooks->held = NULL;
}

static void end_run(struct hooks *hooks)
{
	hooks->command = command_free(hooks->command);
	hooks->running = NULL;
	hookslot_leave(&hooks->slot);
	release_message(hooks);
}

static void tell_settled(struct hooks *hooks)
{
	if (!hooks->settling || is_busy(hooks))
		return;
	timer_cancel(&hooks->limit);
	hooks->settled(hooks->owner);
}

static void hooks_command_ended(void *owner)
{
	struct hooks *hooks = owner;
	struct hook *hook = hooks->running;

	judge(hooks, hook, command_problem(hooks->command));
	if (hook == &hooks->on_message && hooks->place.mark)
		mark_commit(hooks->place.mark, hooks->cursor.at.seq, hooks->cursor.at.marks);
	end_run(hooks);
	loop_later(&hooks->next);
}

static const struct command_events command_events = {.line = hooks_command_line,
						     .ended = hooks_command_ended};

/* MSG NULL: it is about a change of state. */
static int start(struct hooks *hooks, struct hook *hook, const char *line,
		 const struct hookenv_moment *moment, const struct msg *msg)
{
	struct command_options options = {.line = line};
	struct hookenv env;
	int r;

	hookenv_init(&env);
	hookenv_describe(&env, hook->name, hooks->conn, moment);
	hookenv_set(&env, "WSPIPE_RUNTIME_DIR", hooks->runtime_dir);
	hookenv_set(&env, "WSPIPE_TYPE", !msg ? "" : msg->kind == MSG_TEXT ? "text" : "binary");
	hookenv_set_number(&env, "WSPIPE_MISSED", hook->untold);
	if (msg) {
		options.input = msg->data;
		options.input_len = msg->len;
	}
	hooks->running = hook;
	r = hookenv_list(&env, &options.environment);
	if (r == 0)
		r = command_start(&hooks->command, &options, &command_events, hooks);
	hookenv_done(&env);
	if (r < 0)
		return r;
	hook->untold = 0;
	return STARTED;
}

static int run_message(struct hooks *hooks)
{
	struct hookenv_moment moment;
	struct position at;
	struct msg msg;
	int r;

	if (!message_waits(hooks))
		return NOTHING;
	at = cursor_start(&hooks->cursor);
	do {
		if (!cursor_read(&hooks->cursor, &at, &msg)) {
			cursor_commit(&hooks->cursor, &at); /* there were only marks */
			return NOTHING;
		}
	} while (msg.kind != MSG_TEXT && msg.kind != MSG_BINARY);
	hooks->held = cursor_hold(&at);
	hookenv_now(&moment, hooks->conn);
	moment.time_us = msg.time_us;
	r = start(hooks, &hooks->on_message, hooks->options->on_message, &moment, &msg);
	if (r == STARTED)
		cursor_commit(&hooks->cursor, &at);
	return r;
}

static int run_change(struct hooks *hooks)
{
	struct change *change = list_first(&hooks->changes, struct change, link);
	int r;

	if (!change)
		return NOTHING;
	r = start(hooks, &hooks->on_state, hooks->options->on_state, &change->moment, NULL);
	if (r == STARTED) {
		forget_oldest(hooks);
		tell_caught_up(hooks);
	}
	return r;
}

/* --- one after the other -------------------------------------------------------------------- */

/* No memory, no processes: nothing is lost by that, it is only late. */
static void tell_start(struct hooks *hooks, int r)
{
	if (r < 0 && !hooks->cannot_start)
		log_warning(conn_name(hooks->conn), "cannot run a hook: %s; trying every second",
			    strerror(-r));
	else if (r == STARTED && hooks->cannot_start)
		log_info(conn_name(hooks->conn), "hooks are run again");
	hooks->cannot_start = r < 0;
}

/* Changes are told before messages that wait, but not two in a row: each kind gets its turn. */
static int run_next(struct hooks *hooks)
{
	int r;

	if (hooks->n_changes == 0 && !message_waits(hooks))
		return NOTHING;
	if (!hookslot_take(&hooks->slot))
		return WAITS;
	r = hooks->change_was_last ? run_message(hooks) : run_change(hooks);
	if (r == NOTHING)
		r = hooks->change_was_last ? run_change(hooks) : run_message(hooks);
	if (r == STARTED)
		hooks->change_was_last = hooks->running == &hooks->on_state;
	return r;
}

static void hooks_on_next(void *owner)
{
	struct hooks *hooks = owner;
	int r;

	if (hooks->command || hooks->over || timer_is_set(&hooks->retry))
		return;
	r = run_next(hooks);
	if (r == WAITS)
		return;
	if (r == NOTHING) {
		hookslot_leave(&hooks->slot); /* that had come too late */
		if (hooks->cursor.spool)
			cursor_wait(&hooks->cursor);
		tell_settled(hooks);
		return;
	}
	tell_start(hooks, r);
	if (r < 0) {
		end_run(hooks);
		timer_set(&hooks->retry, RETRY_MS);
	}
}

static void hooks_on_retry(void *owner)
{
	hooks_on_next(owner);
}

static void hooks_cursor_ready(void *owner)
{
	struct hooks *hooks = owner;

	loop_later(&hooks->next);
}

static void hooks_cursor_jumped(void *owner, uint64_t messages)
{
	struct hooks *hooks = owner;

	hooks->on_message.untold += messages;
}

/* --- changes of state ----------------------------------------------------------------------- */

static void queue_change(struct hooks *hooks)
{
	struct change *change = malloc(sizeof(*change));

	if (hooks->n_changes == HOOKS_CHANGES_MAX || !change)
		lose_change(hooks);
	if (hooks->n_changes == HOOKS_CHANGES_MAX)
		forget_oldest(hooks);
	if (!change)
		return;
	hookenv_now(&change->moment, hooks->conn);
	list_init(&change->link);
	list_append(&hooks->changes, &change->link);
	hooks->n_changes++;
}

static void settle_no_more(struct hooks *hooks)
{
	hooks->settling = hooks->over = false;
	timer_cancel(&hooks->limit);
	loop_later(&hooks->next);
}

static void hooks_conn_changed(void *owner)
{
	struct hooks *hooks = owner;

	hooks->seen_state = conn_state(hooks->conn);
	hooks->seen_us = conn_since_us(hooks->conn);
	if (hooks->options->on_state)
		queue_change(hooks);
	settle_no_more(hooks);
}

/* --- the end -------------------------------------------------------------------------------- */

static void hooks_on_limit(void *owner)
{
	struct hooks *hooks = owner;
	uint64_t messages = message_waits(hooks) ? cursor_behind(&hooks->cursor) : 0;

	log_warning(
		conn_name(hooks->conn),
		"hooks have not ended in time: %s killed; %llu messages and %u changes of state "
		"were not handed out",
		hooks->command ? hooks->running->name : "nothing", (unsigned long long)messages,
		hooks->n_changes);
	hooks->over = true;
	end_run(hooks);
	forget_changes(hooks);
	tell_settled(hooks);
}

bool hooks_settle(struct hooks *hooks)
{
	if (!hooks->settling) {
		hooks->settling = true;
		if (is_busy(hooks))
			timer_set(&hooks->limit, HOOKS_SETTLE_MS);
	}
	return !is_busy(hooks);
}

/* --- life ----------------------------------------------------------------------------------- */

/* Where the last one has stopped, be it in an earlier daemon.  One that is new does not begin with
 * what was received before anybody had asked for it: a command may do anything. */
static int begin_messages(struct hooks *hooks)
{
	struct cursors *cursors = conn_cursors(hooks->conn);
	struct mark *mark = cursors_find(cursors, MARK_READER, hooks->on_message.name);
	int r;

	if (!mark) {
		r = cursors_add(cursors, MARK_READER, hooks->on_message.name, &mark);
		if (r < 0)
			return r;
		mark_move(mark, CURSOR_NEWEST);
	}
	mark_hold(mark, &hooks->place);
	cursor_open(&hooks->cursor, conn_spool(hooks->conn), CURSOR_OLDEST, hooks->on_message.name,
		    hooks_cursor_ready, hooks);
	hooks->cursor.jumped = hooks_cursor_jumped;
	hooks->cursor.live = true;
	cursor_seek(&hooks->cursor, SEEK_SEQ, mark->seq, mark->marks);
	loop_later(&hooks->next);
	return 0;
}

void hooks_forget_place(struct conn *conn)
{
	struct mark *mark = cursors_find(conn_cursors(conn), MARK_READER, ON_MESSAGE);

	if (mark)
		cursors_remove(mark);
}

/* Nobody asks for it any more. */
static void end_messages(struct hooks *hooks)
{
	cursor_close(&hooks->cursor);
	mark_release(&hooks->place);
	hooks_forget_place(hooks->conn);
}

int hooks_set_options(struct hooks *hooks, const struct hooks_options *options)
{
	int r = 0;

	hooks->options = options;
	if (!options->on_state)
		forget_changes(hooks);
	if (!options->on_message)
		end_messages(hooks);
	else if (!hooks->cursor.spool)
		r = begin_messages(hooks);
	settle_no_more(hooks);
	return r;
}

int hooks_new(struct hooks **ret, struct conn *conn, const struct hooks_options *options,
	      const char *runtime_dir, struct hookslots *slots, void (*settled)(void *owner),
	      void *owner)
{
	struct hooks *hooks = calloc(1, sizeof(*hooks));
	int r;

	if (!hooks)
		return -ENOMEM;
	hooks->conn = conn;
	hooks->settled = settled;
	hooks->owner = owner;
	hooks->on_message.name = ON_MESSAGE;
	hooks->on_state.name = "on-state";
	list_init(&hooks->changes);
	later_init(&hooks->next, hooks_on_next, hooks);
	hookslot_init(&hooks->slot, slots, &hooks->next);
	hooks->watch = (struct conn_watch){.changed = hooks_conn_changed, .owner = hooks};
	conn_watch_add(conn, &hooks->watch);
	hooks->seen_state = conn_state(conn);
	hooks->seen_us = conn_since_us(conn);
	hooks->runtime_dir = realpath(runtime_dir, NULL); /* a command may go elsewhere */
	r = hooks->runtime_dir ? 0 : -errno;
	if (r == 0)
		r = timer_init(&hooks->retry, hooks_on_retry, hooks);
	if (r == 0)
		r = timer_init(&hooks->limit, hooks_on_limit, hooks);
	if (r == 0)
		r = hooks_set_options(hooks, options);
	if (r < 0) {
		hooks_free(hooks);
		return r;
	}
	*ret = hooks;
	return 0;
}

struct hooks *hooks_free(struct hooks *hooks)
{
	if (!hooks)
		return NULL;
	end_run(hooks);
	forget_changes(hooks);
	cursor_close(&hooks->cursor);
	mark_release(&hooks->place);
	conn_watch_remove(&hooks->watch);
	later_cancel(&hooks->next);
	timer_done(&hooks->retry);
	timer_done(&hooks->limit);
	free(hooks->runtime_dir);
	free(hooks);
	return NULL;
}

/* --- status --------------------------------------------------------------------------------- */

static int describe(const struct hooks *hooks, const struct hook *hook, bool comma, uint64_t behind,
		    uint64_t missed, struct buf *out)
{
	char pid[16] = "null";

	if (hooks->running == hook) {
		snprintf(pid, sizeof(pid), "%d", (int)command_pid(hooks->command));
		behind++;
	}
	return buf_printf(out,
			  "%s{\"kind\":\"hook\",\"name\":\"%s\",\"pid\":%s,"
			  "\"behind_messages\":%llu,\"missed\":%llu,\"failures\":%llu,"
			  "\"failing\":%s}",
			  comma ? "," : "", hook->name, pid, (unsigned long long)behind,
			  (unsigned long long)missed, (unsigned long long)hook->failures,
			  hook->streak > 0 ? "true" : "false");
}

int hooks_describe(const struct hooks *hooks, bool comma, struct buf *out)
{
	int r = 0;

	if (hooks->cursor.spool) {
		r = describe(hooks, &hooks->on_message, comma, cursor_behind(&hooks->cursor),
			     hooks->cursor.missed, out);
		comma = true;
	}
	if (r >= 0 && hooks->options->on_state)
		r = describe(hooks, &hooks->on_state, comma, hooks->n_changes, hooks->dropped, out);
	return r < 0 ? r : 0;
}
