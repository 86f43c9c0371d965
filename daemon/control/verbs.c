/* verbs - what a client can ask for.
 *
 * A verb's function returns 0 when the client has been answered or will be, or a negative errno
 * that verbs_start() makes an answer of.  Verbs that wait hold their channel (request.h) and go on
 * in their `changed`; nobody here has a deadline, that is the client's to know. */
#include "control/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "codec/utf8.h"
#include "control/cursor.h"
#include "control/exchange.h"
#include "endpoint/outlet.h"
#include "service/config.h"
#include "service/status.h"

enum {
	FAULTS_MAX = 256 * 1024,
	GRACE_MS = 20, /* close: between looks at readers that are behind */
	GRACES = 50,
};

struct verb {
	const char *word;
	bool reads, writes; /* the rights that it needs */
	int (*run)(struct request *request);
};

/* --- common --------------------------------------------------------------------------------- */

static bool state_is_final(enum conn_state state)
{
	return state == CONN_CLOSED || state == CONN_FAILED;
}

/* Why nothing can be read from it, and what to do about it. */
static void refuse_not_open(struct request *request, struct conn *conn, enum protocol_exit exit)
{
	const struct cause *cause = conn_cause(conn);
	const char *name = conn_name(conn);
	bool told = cause->class != CAUSE_NONE;

	peer_refuse(request->peer, exit, "'%s' %s%s%s (wspipe resume %s opens it)", name,
		    conn_state(conn) == CONN_FAILED ? "has failed" : "is closed", told ? ": " : "",
		    told ? cause->text : "", name);
}

static int put_str(struct buf *line, const char *key, const char *text)
{
	int r = buf_printf(line, ",\"%s\":", key);

	return r < 0 ? r : text ? peer_quote(line, text, strlen(text)) : json_quote_str(line, NULL);
}

/* As request_find(), for what connects: one that goes (its hooks may take a while) stays down. */
static int find_lasting(struct request *request, struct channel **ret)
{
	int r = request_find(request, ret);

	if (r <= 0 || !channel_removing(*ret))
		return r;
	peer_refuse(request->peer, EXIT_NO_CONN, "the connection is being removed");
	return 0;
}

/* The verbs that only give an order. */
static int run_order(struct request *request, void (*order)(struct conn *conn))
{
	struct channel *channel;
	int r = find_lasting(request, &channel);

	if (r <= 0)
		return r;
	order(channel_conn(channel));
	return request_answer_ok(request);
}

static int verb_reconnect(struct request *request)
{
	return run_order(request, conn_reconnect);
}

static int verb_pause(struct request *request)
{
	return run_order(request, conn_pause);
}

static int verb_resume(struct request *request)
{
	return run_order(request, conn_open);
}

/* --- the daemon ----------------------------------------------------------------------------- */

static int verb_status(struct request *request)
{
	struct channel *channel = NULL;
	struct json_span span;
	struct buf line;
	int r = json_find(request->text, request->len, "/name", &span);

	if (r > 0) {
		r = request_find(request, &channel);
		if (r <= 0)
			return r;
	}
	r = request_begin_ok(&line);
	if (r >= 0)
		r = buf_append_str(&line, ",\"version\":\"" WSPIPE_VERSION "\",");
	if (r >= 0)
		r = status_all(&line, request->service, channel);
	return request_answer(request, &line, r);
}

static int verb_reload(struct request *request)
{
	struct buf faults;
	int r;

	buf_init(&faults, FAULTS_MAX);
	r = service_reload(request->service, &faults);
	if (r < 0 && buf_len(&faults))
		peer_refuse(request->peer, EXIT_USAGE, "%.*s", (int)buf_len(&faults),
			    (const char *)buf_head(&faults));
	else if (r < 0)
		peer_refuse(request->peer, EXIT_PEER, "the configuration was not read: %s",
			    strerror(-r));
	buf_done(&faults);
	return r < 0 ? 0 : request_answer_ok(request);
}

static int verb_stop(struct request *request)
{
	int r = request_answer_ok(request);

	service_stop(request->service, "asked by a client");
	return r;
}

/* --- open and close ------------------------------------------------------------------------- */

static void open_removed(struct request *request)
{
	peer_finish(request->peer);
}

static const struct request_events open_events = {.removed = open_removed};

static int answer_opened(struct request *request, const struct channel *channel, bool stay)
{
	const char *name = conn_name(channel_conn(channel));
	cleanup_free char *path = NULL;
	struct buf line;
	int r = request_begin_ok(&line);

	if (channel_endpoints(channel) &&
	    asprintf(&path, "%s/%s", service_runtime_dir(request->service), name) < 0) {
		path = NULL;
		r = -ENOMEM;
	}
	if (r >= 0)
		r = put_str(&line, "name", name);
	if (r >= 0)
		r = put_str(&line, "path", path);
	if (!stay)
		return request_answer(request, &line, r);
	if (r >= 0)
		r = buf_append_char(&line, '}');
	if (r >= 0)
		peer_send(request->peer, &line, -1);
	buf_done(&line);
	return r;
}

/* Without a url: a connection that is there and closed is started again. */
static int open_again(struct request *request)
{
	struct channel *channel;
	int r = find_lasting(request, &channel);

	if (r <= 0)
		return r;
	conn_open(channel_conn(channel));
	return answer_opened(request, channel, false);
}

static int verb_open(struct request *request)
{
	cleanup_free char *name = NULL;
	cleanup_wipe char *url = NULL;
	bool own = request_true(request, "/own", false);
	struct channel *channel;
	int r = request_str(request, "/name", &name);

	if (r >= 0)
		r = request_str(request, "/url", &url);
	if (r < 0)
		return r;
	if (!url)
		return open_again(request);
	if (!name && !own) {
		peer_refuse(request->peer, EXIT_USAGE, "open needs a name for the connection");
		return 0;
	}
	r = request_add(request, name, url, own, &channel);
	if (r <= 0)
		return r;
	if (own)
		request_hold(request, channel, true, &open_events);
	return answer_opened(request, channel, own);
}

/* Streams of other clients write what was received before the end; a channel that is removed under
 * them would take it away.  They have a second. */
static bool close_readers_behind(const struct request *request)
{
	struct channel_reader *reader;

	list_for_each (reader, channel_readers(request->channel), link) {
		if (reader->outlet && outlet_behind(reader->outlet))
			return true;
	}
	return false;
}

static void close_answer(struct request *request)
{
	struct conn *conn = channel_conn(request->channel);
	const char *reason = NULL;
	unsigned code = conn_close_code(conn, &reason);
	struct buf line;
	int r = request_begin_ok(&line);

	if (r >= 0)
		r = put_str(&line, "name", conn_name(conn));
	if (r >= 0)
		r = code ? buf_printf(&line, ",\"close_code\":%u", code)
			 : buf_append_str(&line, ",\"close_code\":null");
	if (r >= 0)
		r = put_str(&line, "close_reason", code ? reason : NULL);
	if (r >= 0)
		r = put_str(&line, "message", conn_cause(conn)->text);
	if (request_answer(request, &line, r) < 0)
		peer_drop(request->peer);
}

static void close_changed(struct request *request)
{
	struct channel *channel = request->channel;

	if (!state_is_final(conn_state(channel_conn(channel))))
		return;
	if (!channel_configured(channel) && close_readers_behind(request) &&
	    request->graces++ < GRACES) {
		timer_set(&request->grace, GRACE_MS);
		return;
	}
	close_answer(request);
	request_let_go(request);
	if (!channel_configured(channel))
		service_remove(request->service, channel);
}

static void close_on_grace(void *owner)
{
	close_changed(owner);
}

static void close_removed(struct request *request)
{
	close_answer(request);
}

static const struct request_events close_events = {
	.changed = close_changed,
	.removed = close_removed,
};

static int verb_close(struct request *request)
{
	struct channel *channel;
	int r = request_find(request, &channel);

	if (r <= 0)
		return r;
	r = timer_init(&request->grace, close_on_grace, request);
	if (r < 0)
		return r;
	request_hold(request, channel, false, &close_events);
	conn_close(channel_conn(channel), 1000, "");
	close_changed(request);
	return 0;
}

/* --- wait ----------------------------------------------------------------------------------- */

static const char *const wait_words[] = {"open", "closed", "message", NULL};
enum { WAIT_OPEN, WAIT_CLOSED, WAIT_MESSAGE };

static void wait_answer(struct request *request, const char *state)
{
	struct buf line;
	int r = request_begin_ok(&line);

	if (r >= 0)
		r = put_str(&line, "state", state);
	if (request_answer(request, &line, r) < 0)
		peer_drop(request->peer);
}

static void wait_is_so(struct request *request)
{
	wait_answer(request, conn_state_names[conn_state(channel_conn(request->channel))]);
	request_let_go(request);
}

/* For a message: nothing but the message itself (or that none can come) ends it. */
static void wait_changed(struct request *request)
{
	struct conn *conn = channel_conn(request->channel);
	enum conn_state state = conn_state(conn);

	if (state_is_final(state) && !request->waits_closed) {
		refuse_not_open(request, conn, EXIT_PEER);
		request_let_go(request);
	} else if (request->waits_closed ? state_is_final(state)
					 : state == CONN_OPEN && !request->cursor.spool) {
		wait_is_so(request);
	}
}

static void wait_removed(struct request *request)
{
	if (request->waits_closed)
		wait_answer(request, conn_state_names[CONN_CLOSED]);
	else
		peer_refuse(request->peer, EXIT_PEER, "the connection was removed");
}

static const struct request_events wait_events = {
	.changed = wait_changed,
	.removed = wait_removed,
};

/* Marks of opening and closing stand in the spool as well; they are no messages. */
static void wait_run_arrived(void *owner)
{
	struct request *request = owner;
	struct position at = request->cursor.at;
	struct msg msg;

	while (cursor_read(&request->cursor, &at, &msg)) {
		if (msg.kind == MSG_TEXT || msg.kind == MSG_BINARY) {
			wait_is_so(request);
			return;
		}
		cursor_commit(&request->cursor, &at);
	}
	cursor_wait(&request->cursor);
}

static void wait_cursor_ready(void *owner)
{
	struct request *request = owner;

	loop_later(&request->arrived);
}

static int verb_wait(struct request *request)
{
	struct channel *channel;
	int what = WAIT_OPEN;
	int r = request_word(request, "/for", wait_words, &what);

	if (r >= 0)
		r = request_find(request, &channel);
	if (r <= 0)
		return r;
	request_hold(request, channel, false, &wait_events);
	request->waits_closed = what == WAIT_CLOSED;
	if (what == WAIT_MESSAGE) {
		later_init(&request->arrived, wait_run_arrived, request);
		cursor_open(&request->cursor, conn_spool(channel_conn(channel)), CURSOR_NEWEST,
			    "wait", wait_cursor_ready, request);
		cursor_wait(&request->cursor);
	}
	wait_changed(request);
	return 0;
}

/* --- streams -------------------------------------------------------------------------------- */

static void stream_changed(struct request *request)
{
	if (request->flow)
		flow_changed(request->flow);
}

static void stream_removed(struct request *request)
{
	if (request->flow)
		flow_cut(request->flow);
}

static const struct request_events stream_events = {
	.changed = stream_changed,
	.removed = stream_removed,
};

static void stream_flow_ended(void *owner)
{
	request_let_go(owner);
}

static const char *const type_words[] = {"text", "binary", NULL};
static const char *const from_words[] = {"now", "oldest", NULL};

struct stream_words {
	int framing, type, from; /* -1: not said */
	uint64_t count;
};

static int stream_read_words(const struct request *request, struct stream_words *ret)
{
	int r;

	*ret = (struct stream_words){.framing = -1, .type = -1, .from = -1};
	r = request_word(request, "/framing", framing_names, &ret->framing);
	if (r >= 0)
		r = request_word(request, "/type", type_words, &ret->type);
	if (r >= 0)
		r = request_word(request, "/from", from_words, &ret->from);
	if (r >= 0)
		r = request_uint(request, "/count", &ret->count);
	return r < 0 ? r : 0;
}

/* What was not said is as the connection's own endpoints have it; a connection of one's own is read
 * from its first message. */
static void stream_fill_options(const struct request *request, const struct channel *channel,
				bool own, const struct stream_words *words,
				struct flow_options *options)
{
	const struct section *section = channel_section(channel);

	options->own = own;
	options->framing =
		(enum framing)(words->framing >= 0 ? words->framing : section->endpoint.framing);
	options->type = (enum msg_kind)section->conn.type;
	if (words->type >= 0)
		options->type = words->type == 0 ? MSG_TEXT : MSG_BINARY;
	options->from =
		words->from == 1 || (own && words->from < 0) ? CURSOR_OLDEST : CURSOR_NEWEST;
	options->count = words->count;
	options->label = request->word;
	if (!options->writes)
		options->finish = false;
	else if (!options->reads)
		options->finish = own; /* send URL: all has left before the connection goes */
	else
		options->finish = request_true(request, "/finish", true);
	options->confirm = !options->reads && request_true(request, "/confirm", false);
	options->settle = options->reads && request_true(request, "/settle", true);
}

/* False: it has been refused. */
static bool stream_may_start(struct request *request, struct conn *conn,
			     const struct flow_options *options)
{
	enum conn_state state = conn_state(conn);

	if (options->own || state == CONN_OPEN || options->backlog)
		return true;
	if (options->reads && state_is_final(state)) {
		refuse_not_open(request, conn, EXIT_NOT_OPEN);
		return false;
	}
	if (options->writes && request_true(request, "/no_queue", false)) {
		peer_refuse(request->peer, EXIT_NOT_OPEN, "'%s' is not open: it is %s",
			    conn_name(conn), conn_state_names[state]);
		return false;
	}
	return true;
}

/* Takes FD, the client's end. */
static int stream_answer(struct request *request, struct conn *conn, int fd)
{
	cleanup_close int pass_fd = fd;
	struct buf line;
	int r = request_begin_ok(&line);

	if (r >= 0)
		r = put_str(&line, "name", conn_name(conn));
	if (r >= 0)
		r = put_str(&line, "state", conn_state_names[conn_state(conn)]);
	if (r >= 0)
		r = put_str(&line, "type", conn_options(conn)->type == MSG_TEXT ? "text" : "binary");
	if (r >= 0)
		r = buf_append_char(&line, '}');
	if (r >= 0)
		peer_send(request->peer, &line, take_fd(&pass_fd));
	else
		buf_done(&line);
	return r;
}

static int stream_begin(struct request *request, struct channel *channel,
			const struct flow_options *options)
{
	struct conn *conn = channel_conn(channel);
	int fd, r;

	request_hold(request, channel, options->own, &stream_events);
	if (!stream_may_start(request, conn, options)) {
		request_let_go(request);
		return 0;
	}
	r = flow_new(&request->flow, conn, request->peer, options, stream_flow_ended, request, &fd);
	if (r < 0) {
		request_let_go(request);
		return r;
	}
	request->reader.outlet = flow_outlet(request->flow);
	r = stream_answer(request, conn, fd);
	if (r < 0) {
		request->flow = flow_free(request->flow);
		request_let_go(request);
		return r;
	}
	flow_start(request->flow);
	return 0;
}

static int run_stream(struct request *request, bool reads, bool writes)
{
	struct flow_options options = {.reads = reads, .writes = writes};
	cleanup_wipe char *url = NULL;
	struct stream_words words;
	struct channel *channel;
	int r = stream_read_words(request, &words);

	if (r >= 0)
		r = request_str(request, "/url", &url);
	if (r < 0)
		return r;
	if (url && !request->rights.write) {
		peer_refuse(request->peer, EXIT_USAGE, "you may not open connections");
		return 0;
	}
	r = url ? request_add(request, NULL, url, true, &channel) : request_find(request, &channel);
	if (r <= 0)
		return r;
	stream_fill_options(request, channel, url != NULL, &words, &options);
	if (reads && !url) {
		r = cursor_place(request, channel_conn(channel), &options);
		if (r <= 0)
			return r;
	}
	return stream_begin(request, channel, &options);
}

static int verb_send(struct request *request)
{
	return run_stream(request, false, true);
}

static int verb_recv(struct request *request)
{
	return run_stream(request, true, false);
}

static int verb_cat(struct request *request)
{
	return run_stream(request, true, true);
}

/* --- request -------------------------------------------------------------------------------- */

static void ask_changed(struct request *request)
{
	if (request->exchange)
		exchange_changed(request->exchange);
}

static void ask_removed(struct request *request)
{
	if (request->exchange)
		exchange_cut(request->exchange);
}

static const struct request_events ask_events = {
	.changed = ask_changed,
	.removed = ask_removed,
};

static int ask_read_options(const struct request *request, const struct channel *channel,
			    struct exchange_options *ret)
{
	int framing = FRAMING_LINE, reply_framing = FRAMING_LINE, type = -1;
	int r = request_word(request, "/framing", framing_names, &framing);

	if (r >= 0)
		r = request_word(request, "/reply_framing", framing_names, &reply_framing);
	if (r >= 0)
		r = request_word(request, "/type", type_words, &type);
	*ret = (struct exchange_options){
		.framing = (enum framing)framing,
		.reply_framing = (enum framing)reply_framing,
		.type = (enum msg_kind)channel_section(channel)->conn.type,
		.raw = request_true(request, "/raw", false),
	};
	if (type >= 0)
		ret->type = type == 0 ? MSG_TEXT : MSG_BINARY;
	return r < 0 ? r : request_uint(request, "/timeout_ms", &ret->timeout_ms);
}

/* False: it has been refused. */
static bool ask_may_start(struct request *request, struct conn *conn)
{
	const struct flow_options both_ways = {.reads = true, .writes = true, .own = request->own};

	if (!conn_has_calls(conn)) {
		peer_refuse(request->peer, EXIT_USAGE,
			    "'%s' has no id key, so that a reply could not be told from other "
			    "messages (id or preset in its configuration)",
			    conn_name(conn));
		return false;
	}
	return stream_may_start(request, conn, &both_ways);
}

static int ask_begin(struct request *request, struct channel *channel,
		     const struct exchange_options *options, bool own)
{
	struct conn *conn = channel_conn(channel);
	int fd, r;

	request_hold(request, channel, own, &ask_events);
	if (!ask_may_start(request, conn)) {
		request_let_go(request);
		return 0;
	}
	r = exchange_new(&request->exchange, conn, request->peer, options, stream_flow_ended,
			 request, &fd);
	if (r == 0)
		r = stream_answer(request, conn, fd);
	if (r < 0) {
		request->exchange = exchange_free(request->exchange);
		request_let_go(request);
		return r;
	}
	exchange_start(request->exchange);
	exchange_changed(request->exchange);
	return 0;
}

static int verb_request(struct request *request)
{
	cleanup_wipe char *url = NULL;
	struct exchange_options options;
	struct channel *channel;
	int r = request_str(request, "/url", &url);

	if (r >= 0)
		r = url ? request_add(request, NULL, url, true, &channel)
			: request_find(request, &channel);
	if (r <= 0)
		return r;
	r = ask_read_options(request, channel, &options);
	if (r >= 0)
		return ask_begin(request, channel, &options, url != NULL);
	if (url)
		service_remove(request->service, channel);
	return r;
}

/* --- the table ------------------------------------------------------------------------------ */

static const struct verb verbs[] = {
	{VERB_STATUS, true, false, verb_status},
	{VERB_OPEN, false, true, verb_open},
	{VERB_CLOSE, false, true, verb_close},
	{VERB_RECONNECT, false, true, verb_reconnect},
	{VERB_PAUSE, false, true, verb_pause},
	{VERB_RESUME, false, true, verb_resume},
	{VERB_SEND, false, true, verb_send},
	{VERB_RECV, true, false, verb_recv},
	{VERB_CAT, true, true, verb_cat},
	{VERB_REQUEST, true, true, verb_request},
	{VERB_WAIT, true, false, verb_wait},
	{VERB_RELOAD, false, true, verb_reload},
	{VERB_STOP, false, true, verb_stop},
	{VERB_CURSOR, true, false, verb_cursor},
};

static const struct verb *verb_find(const struct request *request)
{
	struct json_span span;

	if (json_find(request->text, request->len, "/verb", &span) <= 0)
		return NULL;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		if (json_equals(&span, verbs[i].word))
			return &verbs[i];
	}
	return NULL;
}

/* NULL: it is a request of this protocol. */
static const char *line_problem(const struct request *request)
{
	struct json_span span;
	uint64_t version;

	if (!utf8_valid((const uint8_t *)request->text, request->len) ||
	    !json_valid(request->text, request->len) ||
	    json_find(request->text, request->len, "", &span) <= 0 || *span.at != '{')
		return "the request is not a JSON object on one line";
	if (json_find(request->text, request->len, "/version", &span) > 0 &&
	    (json_uint(&span, &version) < 0 || version != PROTOCOL_VERSION))
		return "this daemon speaks another version of the protocol: client and daemon "
		       "must be of the same release";
	return NULL;
}

static int request_run(struct request *request)
{
	const char *problem = line_problem(request);
	const struct verb *verb = problem ? NULL : verb_find(request);

	if (!problem && !verb)
		problem = "the verb of the request is not known";
	else if (verb && ((verb->writes && !request->rights.write) ||
			  (verb->reads && !request->rights.read)))
		problem = "you may not do that here (the access key of [daemon] says who may)";
	if (problem) {
		peer_refuse(request->peer, EXIT_USAGE, "%s", problem);
		return 0;
	}
	if (service_stopping(request->service)) {
		peer_refuse(request->peer, EXIT_PEER, "the daemon is stopping");
		return 0;
	}
	request->word = verb->word;
	return verb->run(request);
}

void verbs_start(struct request *request, const char *line, size_t len)
{
	int r;

	request->text = line;
	request->len = len;
	r = request_run(request);
	request->text = NULL;
	request->len = 0;
	if (r == -EINVAL)
		peer_refuse(request->peer, EXIT_USAGE, "a member of the request is not understood");
	else if (r < 0)
		peer_refuse(request->peer, EXIT_PEER, "that failed: %s", strerror(-r));
}
