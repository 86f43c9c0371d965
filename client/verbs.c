/* verbs - see verbs.h.  The table is at the end. */
#include "verbs.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "answers.h"
#include "ask.h"
#include "base/cleanup.h"
#include "base/msg.h"
#include "codec/frame.h"
#include "codec/url.h"
#include "command.h"
#include "control/protocol.h"
#include "look.h"
#include "place.h"
#include "print.h"
#include "relay.h"
#include "request.h"
#include "session.h"
#include "start.h"
#include "when.h"

enum {
	NAME_MAX_LEN = 64,
	GIVEN_MAX = 64 * 1024 * 1024, /* messages on the command line: more than the kernel passes */
	STOP_MS = 60000,
	STOP_LOOK_MS = 50,
};

/* --- common --------------------------------------------------------------------------------- */

static int give_order(const struct options *options, const char *verb)
{
	struct request request;

	request_begin(&request, verb);
	request_text(&request, "name", options->words[0]);
	return ask_and_leave(options, &request);
}

static bool is_url(const char *word)
{
	return strstr(word, "://") || strncmp(word, "ws+unix:", 8) == 0;
}

/* Before a daemon is started for it. *ret_display: without userinfo, to be freed. */
static int check_url(const char *text, char **ret_display)
{
	const char *problem = "is not understood";
	struct url url;
	int r = url_parse(&url, text, &problem);

	if (r < 0) {
		say(NULL, "the URL %s", r == -EINVAL ? problem : strerror(-r));
		return r == -EINVAL ? EXIT_USAGE : EXIT_PEER;
	}
	*ret_display = strdup(url.display);
	url_done(&url);
	return *ret_display ? 0 : EXIT_PEER;
}

static int check_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX_LEN || strspn(name, allowed) != len || strchr("._-", *name))
		say(NULL, "'%s' is no name for a connection (1 to %d letters, digits, dots, hyphens and "
			  "underscores, a letter or digit first)", name, NAME_MAX_LEN);
	else if (strcmp(name, "daemon") == 0 || strcmp(name, "control") == 0)
		say(NULL, "the name '%s' is taken by wspiped itself", name);
	else
		return 0;
	return EXIT_USAGE;
}

/* The daemon takes names of files only if they are absolute: its directory is another one. */
static int fix_files(const struct options *options)
{
	static const char *const keys[] = {"cacert", "capath",	    "cert",	  "key",
					   "file",   "header-file", "token-file", "on-open-file"};

	for (size_t i = 0; i < options->settings_n; i++) {
		struct setting *setting = &options->settings[i];

		for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++) {
			if (strcmp(setting->key, keys[k]) != 0 || !*setting->value)
				continue;
			setting->made = place_absolute(setting->value);
			if (!setting->made)
				return EXIT_PEER;
			setting->value = setting->made;
			break;
		}
	}
	return 0;
}

/* --- open, close ---------------------------------------------------------------------------- */

static int open_new(const struct options *options)
{
	const char *name = options->words[0], *url = options->words[1];
	cleanup_free char *display = NULL, *path = NULL;
	struct json_span answer;
	struct request request;
	struct session session;
	int r = check_name(name);

	if (r == 0)
		r = check_url(url, &display);
	if (r == 0)
		r = fix_files(options);
	if (r)
		return r;
	request_begin(&request, VERB_OPEN);
	request_text(&request, "name", name);
	request_text(&request, "url", url);
	request_settings(&request, options);
	session_init(&session, name);
	r = ask(&session, options, &request, !options->no_daemon, &answer);
	path = r == 0 ? answer_text(&answer, "/path") : NULL;
	if (path && isatty(STDERR_FILENO))
		say(name, "%s", path);
	session_done(&session);
	return r;
}

/* One that is there and not closed needs a URL to mean anything: that is a new connection then, and
 * the name is taken. */
static int open_again(const struct options *options)
{
	const char *name = options->words[0];
	cleanup_free char *state = NULL;
	struct json_span answer;
	struct session session;
	int r;

	session_init(&session, name);
	r = ask_status(&session, options, name, &answer);
	state = r == 0 ? answer_text(&answer, "/connections/0/state") : NULL;
	session_done(&session);
	if (r)
		return r;
	if (state && (strcmp(state, "closed") == 0 || strcmp(state, "failed") == 0))
		return give_order(options, VERB_OPEN);
	say(name, "is %s already; a new connection needs another NAME and a URL",
	    state ? state : "there");
	return EXIT_USAGE;
}

static int verb_open(const struct options *options)
{
	if (options->words_n == 2)
		return open_new(options);
	if (!is_url(options->words[0]) && options->settings_n == 0)
		return open_again(options);
	say(NULL, "open needs a NAME and a URL");
	return EXIT_USAGE;
}

static int verb_close(const struct options *options)
{
	return give_order(options, VERB_CLOSE);
}

static int verb_reconnect(const struct options *options)
{
	return give_order(options, VERB_RECONNECT);
}

static int verb_pause(const struct options *options)
{
	return give_order(options, VERB_PAUSE);
}

static int verb_resume(const struct options *options)
{
	return give_order(options, VERB_RESUME);
}

static int verb_wait(const struct options *options)
{
	struct request request;

	request_begin(&request, VERB_WAIT);
	request_text(&request, "name", options->words[0]);
	request_text(&request, "for", options->until ? options->until : "open");
	return ask_and_leave(options, &request);
}

/* --- streams -------------------------------------------------------------------------------- */

/* The target of cat and exec, and what is said of both. */
struct target {
	const char *word;
	bool is_url;
	char *display; /* of a URL: without userinfo */
};

static int target_find(struct target *target, const struct options *options)
{
	*target = (struct target){.word = options->words[0]};
	target->is_url = is_url(target->word);
	if (target->is_url) {
		int r = check_url(target->word, &target->display);

		return r ? r : fix_files(options);
	}
	if (options->settings_n == 0)
		return 0;
	say(target->word, "%s %s only goes with a URL: '%s' has its options already",
	    "the configuration's", options->settings[0].key, target->word);
	return EXIT_USAGE;
}

static void request_stream(struct request *request, const struct options *options,
			   const char *verb, const char *framing)
{
	request_begin(request, verb);
	request_text(request, "framing", framing);
	request_text(request, "type", options->type);
	request_count(request, "count", options->count);
	request_true(request, "no_queue", options->no_queue);
}

static void request_target(struct request *request, const struct options *options,
			   const struct target *target)
{
	request_text(request, target->is_url ? "url" : "name", target->word);
	if (target->is_url)
		request_settings(request, options);
}

/* The answer to a stream verb must have brought one. */
static int ask_stream(struct session *session, const struct options *options,
		      struct request *request, bool may_start, struct json_span *ret)
{
	int r = ask(session, options, request, may_start, ret);

	return r == 0 && session->stream_fd < 0 ? ask_misunderstood(session->who) : r;
}

static enum framing framing_of(const struct options *options)
{
	for (int i = 0; options->framing && framing_names[i]; i++) {
		if (strcmp(framing_names[i], options->framing) == 0)
			return (enum framing)i;
	}
	return FRAMING_LINE;
}

/* Each argument as one record in `nul` framing, which holds all that an argument can be; only what
 * looks like a data: URL is wrapped in one, and that must name the kind that the others have. */
static int pack_messages(const struct options *options, const struct json_span *answer,
			 struct buf *out)
{
	cleanup_free char *said = answer_text(answer, "/type");
	const char *type = options->type ? options->type : said ? said : "text";
	enum msg_kind kind = strcmp(type, "binary") == 0 ? MSG_BINARY : MSG_TEXT;

	for (size_t i = 1; i < options->words_n; i++) {
		const char *word = options->words[i];
		struct msg msg = {.kind = kind, .data = (const uint8_t *)word, .len = strlen(word)};
		struct frame_parts parts;
		int r;

		frame_scan(&msg);
		r = frame_encode(FRAMING_NUL, kind, &msg, &parts, out);
		if (r == FRAME_PARTS) /* no head in this framing */
			r = buf_append(out, parts.body, parts.body_len);
		if (r >= 0 && r != FRAME_ENCODED)
			r = buf_append(out, parts.tail, parts.tail_len);
		if (r < 0) {
			say(options->words[0], "%s", strerror(-r));
			return EXIT_PEER;
		}
	}
	return 0;
}

static int verb_send(const struct options *options)
{
	bool has_messages = options->words_n > 1;
	const char *framing = options->framing ? options->framing : "line";
	struct relay_options relay = {.writes = true, .quiet_ms = -1};
	struct json_span answer;
	struct request request;
	struct session session;
	struct buf given;
	int r;

	if (has_messages && options->framing) {
		say(NULL, "--framing is for messages on standard input; arguments are sent as they are");
		return EXIT_USAGE;
	}
	relay.deadline = deadline_in(options->timeout_ms);
	buf_init(&given, GIVEN_MAX);
	session_init(&session, options->words[0]);
	request_stream(&request, options, VERB_SEND, has_messages ? "nul" : framing);
	request_text(&request, "name", options->words[0]);
	request_true(&request, "confirm", options->confirm);
	r = ask_stream(&session, options, &request, false, &answer);
	if (r == 0 && has_messages) {
		r = pack_messages(options, &answer, &given);
		relay.given = &given;
	}
	if (r == 0)
		r = relay_run(&session, &relay);
	buf_done(&given);
	session_done(&session);
	return r;
}

static int bad_when(const char *text)
{
	say(NULL, "'%s' is no moment (10min for ten minutes ago, 14:05, 2026-11-20, 2026-11-20T14:05:06Z, "
		  "@SECONDS)", text);
	return EXIT_USAGE;
}

/* Where it begins, and whether it ends with what is there. */
static int recv_place(const struct options *options, struct request *request)
{
	uint64_t since = 0;

	if (!!options->cursor + !!options->last + !!options->since > 1) {
		say(NULL, "only one of --cursor, --last and --since says where to begin");
		return EXIT_USAGE;
	}
	if (options->since && when_parse(options->since, &since) < 0)
		return bad_when(options->since);
	request_text(request, "cursor", options->cursor);
	request_count(request, "last", options->last);
	request_count(request, "since", options->since && !since ? 1 : since);
	if (options->no_follow || (options->cursor && !options->follow))
		request_false(request, "follow");
	return 0;
}

static int verb_recv(const struct options *options)
{
	struct relay_options relay = {
		.reads = true,
		.commits = options->cursor != NULL,
		.strict = options->strict,
		.stamp = options->stamp,
		.framing = framing_of(options),
		.deadline = deadline_in(options->timeout_ms),
	};
	struct json_span answer;
	struct request request;
	struct session session;
	int r;

	if (options->stamp && relay.framing != FRAMING_LINE && relay.framing != FRAMING_NUL) {
		say(NULL, "--time goes with line and nul framing (json has the time in it)");
		return EXIT_USAGE;
	}
	session_init(&session, options->words[0]);
	request_stream(&request, options, VERB_RECV,
		       options->stamp ? "json" : framing_names[relay.framing]);
	request_text(&request, "name", options->words[0]);
	r = recv_place(options, &request);
	if (r) {
		request_done(&request);
		session_done(&session);
		return r;
	}
	r = ask_stream(&session, options, &request, false, &answer);
	if (r == 0)
		r = relay_run(&session, &relay);
	session_done(&session);
	return r;
}

static int verb_cat(const struct options *options)
{
	struct relay_options relay = {
		.reads = true,
		.writes = true,
		.framing = framing_of(options),
		.quiet_ms = options->quiet_ms,
		.deadline = deadline_in(options->timeout_ms),
	};
	struct json_span answer;
	struct request request;
	struct session session;
	struct target target;
	int r = target_find(&target, options);

	if (r)
		return r;
	session_init(&session, target.is_url ? target.display : target.word);
	request_stream(&request, options, VERB_CAT, framing_names[relay.framing]);
	request_target(&request, options, &target);
	if (options->stay_open)
		request_false(&request, "finish");
	if (options->quiet_ms >= 0) /* his own idea of how long to wait */
		request_false(&request, "settle");
	r = ask_stream(&session, options, &request, target.is_url && !options->no_daemon, &answer);
	if (r == 0)
		r = relay_run(&session, &relay);
	session_done(&session);
	free(target.display);
	return r;
}

/* --- request -------------------------------------------------------------------------------- */

static int ask_all(struct session *session, const struct options *options,
		   const struct target *target, struct relay_options *relay)
{
	bool given = options->words_n > 1;
	const char *framing = options->framing ? options->framing : "line";
	struct json_span answer;
	struct request request;
	struct buf messages;
	int r;

	request_stream(&request, options, VERB_REQUEST, given ? "nul" : framing);
	request_text(&request, "reply_framing", framing);
	request_true(&request, "raw", options->raw_id);
	if (options->timeout_ms >= 0)
		request_count(&request, "timeout_ms",
			      options->timeout_ms ? (uint64_t)options->timeout_ms : 1);
	request_target(&request, options, target);
	buf_init(&messages, GIVEN_MAX);
	r = ask_stream(session, options, &request, target->is_url && !options->no_daemon, &answer);
	if (r == 0 && given) {
		r = pack_messages(options, &answer, &messages);
		relay->given = &messages;
	}
	if (r == 0)
		r = relay_run(session, relay);
	buf_done(&messages);
	return r;
}

/* The daemon has the clock for each request, so that many can be under way. */
static int verb_request(const struct options *options)
{
	struct answers answers = {
		.field = options->field,
		.ordered = options->ordered,
		.numbered = options->words_n != 2,
	};
	struct relay_options relay = {
		.reads = true,
		.writes = true,
		.answers = &answers,
		.quiet_ms = -1,
		.deadline = deadline_in(-1),
	};
	struct session session;
	struct target target;
	int r;

	if (options->field && !json_pointer_valid(options->field)) {
		say(NULL, "--field: '%s' is no JSON pointer (like /result/status)", options->field);
		return EXIT_USAGE;
	}
	r = target_find(&target, options);
	if (r)
		return r;
	answers.who = target.is_url ? target.display : target.word;
	answers_init(&answers);
	session_init(&session, answers.who);
	r = ask_all(&session, options, &target, &relay);
	session_done(&session);
	answers_done(&answers);
	free(target.display);
	return answers.exit ? answers.exit : r;
}

/* A connection with a name goes on when the command has ended; others may be using it. */
static int verb_exec(const struct options *options)
{
	struct json_span answer;
	struct request request;
	struct session session;
	struct target target;
	int r;

	if (!options->command || !options->command[0]) {
		say(NULL, "exec needs -- and a command behind it");
		return EXIT_USAGE;
	}
	r = target_find(&target, options);
	if (r)
		return r;
	session_init(&session, target.is_url ? target.display : target.word);
	request_stream(&request, options, VERB_CAT, framing_names[framing_of(options)]);
	request_target(&request, options, &target);
	if (!target.is_url)
		request_false(&request, "finish");
	r = ask_stream(&session, options, &request, target.is_url && !options->no_daemon, &answer);
	if (r == 0)
		r = command_run(&session, options->command, target.is_url);
	session_done(&session);
	free(target.display);
	return r;
}

/* --- cursors -------------------------------------------------------------------------------- */

static int cursor_list(const struct options *options)
{
	struct json_span answer, cursors;
	struct request request;
	struct session session;
	int r;

	request_begin(&request, VERB_CURSOR);
	request_text(&request, "action", "ls");
	request_text(&request, "name", options->words[1]);
	session_init(&session, options->words[1]);
	r = ask(&session, options, &request, false, &answer);
	if (r == 0 && json_find(answer.at, answer.len, "/cursors", &cursors) <= 0)
		r = ask_misunderstood(options->words[1]);
	else if (r == 0 && options->json)
		print_json(&cursors);
	else if (r == 0)
		print_cursors(&cursors);
	session_done(&session);
	return r;
}

/* rm NAME C, set NAME C oldest|newest|WHEN */
static int cursor_change(const struct options *options, const char *action, const char *to)
{
	struct json_span answer;
	struct request request;
	struct session session;
	uint64_t since = 0;
	int r;

	if (to && strcmp(to, "oldest") != 0 && strcmp(to, "newest") != 0) {
		if (when_parse(to, &since) < 0)
			return bad_when(to);
		to = NULL;
		since += since == 0;
	}
	request_begin(&request, VERB_CURSOR);
	request_text(&request, "action", action);
	request_text(&request, "name", options->words[1]);
	request_text(&request, "cursor", options->words[2]);
	request_text(&request, "to", to);
	request_count(&request, "since", since);
	session_init(&session, options->words[1]);
	r = ask(&session, options, &request, false, &answer);
	session_done(&session);
	return r;
}

static int verb_cursor(const struct options *options)
{
	const char *action = options->words[0];

	if (strcmp(action, "ls") == 0 && options->words_n == 2)
		return cursor_list(options);
	if (strcmp(action, "rm") == 0 && options->words_n == 3)
		return cursor_change(options, action, NULL);
	if (strcmp(action, "set") == 0 && options->words_n == 4)
		return cursor_change(options, action, options->words[3]);
	say("cursor", "it is: ls NAME, rm NAME C, or set NAME C oldest|newest|WHEN");
	return EXIT_USAGE;
}

/* --- the daemon ----------------------------------------------------------------------------- */

static int verb_reload(const struct options *options)
{
	struct request request;

	request_begin(&request, VERB_RELOAD);
	return ask_and_leave(options, &request);
}

/* -1: the kernel does not tell (another pid namespace, or it has gone already). */
static int daemon_pidfd(const struct session *session)
{
	struct ucred who;
	socklen_t bytes = sizeof(who);

	if (getsockopt(session->fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) < 0 || who.pid <= 0)
		return -1;
	return pidfd_open(who.pid, 0);
}

static bool still_answers(const struct options *options)
{
	cleanup_close int fd = -1;
	struct place place;
	bool answers = place_find(&place, options) == 0 && place_connect(&place, &fd) == 0;

	place_done(&place);
	return answers;
}

/* By its process; by its socket where that cannot be seen. */
static int wait_until_gone(const struct options *options, int pid_fd)
{
	struct deadline deadline =
		deadline_in(options->timeout_ms < 0 ? STOP_MS : options->timeout_ms);
	struct pollfd polled = {.fd = pid_fd, .events = POLLIN};

	while (!deadline_passed(&deadline)) {
		if (pid_fd < 0 && !still_answers(options))
			return 0;
		if (poll(&polled, 1, pid_fd < 0 ? STOP_LOOK_MS : deadline_left_ms(&deadline)) > 0)
			return 0;
	}
	say(NULL, "the daemon is stopping, but has not ended yet");
	return EXIT_TIMED_OUT;
}

static int verb_stop(const struct options *options)
{
	cleanup_close int pid_fd = -1;
	struct json_span answer;
	struct request request;
	struct session session;
	int r;

	request_begin(&request, VERB_STOP);
	session_init(&session, NULL);
	r = ask(&session, options, &request, false, &answer);
	if (r == 0)
		pid_fd = daemon_pidfd(&session);
	session_done(&session);
	return r ? r : wait_until_gone(options, pid_fd);
}

/* The configuration of the daemon that answers, if it was given its own; NULL: the default. */
static char *daemon_config(const struct options *options)
{
	struct json_span answer;
	struct session session;
	char *config = NULL;

	if (!still_answers(options))
		return NULL;
	session_init(&session, NULL);
	if (ask_status(&session, options, NULL, &answer) == 0)
		config = answer_text(&answer, "/daemon/config");
	session_done(&session);
	return config;
}

/* The daemon's own program judges: what it would say, it says. */
static int verb_check(const struct options *options)
{
	cleanup_free char *found = options->config ? NULL : daemon_config(options);
	const char *config = options->config ? options->config : found;
	char *argv[] = {"wspiped", "--check", config ? "--config" : NULL, (char *)config, NULL};

	return start_become(argv);
}

static int verb_presets(const struct options *options)
{
	char *argv[] = {"wspiped", "--presets", NULL};

	(void)options;
	return start_become(argv);
}

/* --- the table ------------------------------------------------------------------------------ */

const struct verb verbs[] = {
	{"ls", FOR_LS, 0, 0, "[--json]", "a table of the connections", look_ls},
	{"status", FOR_STATUS, 0, 1, "[NAME] [--json]", "everything about one or all", look_status},
	{"stats", FOR_STATS, 0, 0, "[--prometheus]", "what has been counted", look_stats},
	{"top", FOR_TOP, 0, 0, "[OPTION]...", "what goes through them, live", look_top},
	{"open", FOR_OPEN, 1, 2, "NAME URL [OPTION]...", "make a connection that lives until closed",
	 verb_open},
	{"close", FOR_CLOSE, 1, 1, "NAME", "close properly; remove one made with open", verb_close},
	{"reconnect", FOR_RECONNECT, 1, 1, "NAME", "close and connect again, at once", verb_reconnect},
	{"pause", FOR_PAUSE, 1, 1, "NAME", "disconnect for now; resume NAME connects again", verb_pause},
	{"resume", FOR_RESUME, 1, 1, "NAME", "connect a paused or closed one again", verb_resume},
	{"send", FOR_SEND, 1, SIZE_MAX, "NAME [MESSAGE]...", "send these, or standard input by lines",
	 verb_send},
	{"recv", FOR_RECV, 1, 1, "NAME [OPTION]...", "print what is received, or was",
	 verb_recv},
	{"cat", FOR_CAT, 1, 1, "NAME|URL [OPTION]...", "standard input and output, both ways", verb_cat},
	{"request", FOR_REQUEST, 1, SIZE_MAX, "NAME|URL [MESSAGE]...",
	 "send, and print the reply to that alone", verb_request},
	{"exec", FOR_EXEC, 1, 1, "NAME|URL -- COMMAND...", "run it with the connection",
	 verb_exec},
	{"wait", FOR_WAIT, 1, 1, "NAME [--for WHAT]", "until it is open, closed or has a message",
	 verb_wait},
	{"presets", FOR_PRESETS, 0, 0, "", "what the key preset sets for known protocols",
	 verb_presets},
	{"cursor", FOR_CURSOR, 2, 4, "ls|rm|set NAME [C] [TO]", "named places in what is kept",
	 verb_cursor},
	{"reload", FOR_RELOAD, 0, 0, "", "read the configuration again", verb_reload},
	{"stop", FOR_STOP, 0, 0, "", "close all connections and end the daemon", verb_stop},
	{"check", FOR_CHECK, 0, 0, "[--config FILE]", "tell what is wrong with the configuration",
	 verb_check},
};

const size_t verbs_n = sizeof(verbs) / sizeof(*verbs);
