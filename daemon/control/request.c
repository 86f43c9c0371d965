/* request - what is common to all verbs: members of the line, the channel, answers.
 *
 * Watch and reader are always set and removed together (the rule at the head of control.c). */
#include "control/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "control/exchange.h"
#include "service/config.h"

enum {
	FAULTS_MAX = 64 * 1024,
	NAMES_TRIED = 10000, /* own connections of one process */
};

/* --- members -------------------------------------------------------------------------------- */

int request_str(const struct request *request, const char *pointer, char **ret)
{
	struct json_span span;
	int r = json_find(request->text, request->len, pointer, &span);

	if (r <= 0)
		return r;
	r = json_unquote_str(&span, ret);
	return r < 0 ? r : 1;
}

int request_uint(const struct request *request, const char *pointer, uint64_t *ret)
{
	struct json_span span;
	int r = json_find(request->text, request->len, pointer, &span);

	if (r <= 0)
		return r;
	r = json_uint(&span, ret);
	return r == -ERANGE ? -EINVAL : r < 0 ? r : 1;
}

bool request_true(const struct request *request, const char *pointer, bool fallback)
{
	struct json_span span;

	if (json_find(request->text, request->len, pointer, &span) <= 0)
		return fallback;
	return json_is_true(&span);
}

int request_word(const struct request *request, const char *pointer, const char *const *words,
		 int *ret)
{
	struct json_span span;
	int r = json_find(request->text, request->len, pointer, &span);

	if (r <= 0)
		return r;
	for (int i = 0; words[i]; i++) {
		if (json_equals(&span, words[i])) {
			*ret = i;
			return 1;
		}
	}
	return -EINVAL;
}

/* --- the channel ---------------------------------------------------------------------------- */

static void request_conn_changed(void *owner)
{
	struct request *request = owner;

	if (request->events && request->events->changed)
		request->events->changed(request);
}

void request_cut(struct request *request)
{
	if (!request->channel)
		return;
	request->own = false; /* somebody else removes it already */
	if (request->events && request->events->removed)
		request->events->removed(request);
	request_let_go(request);
}

static void request_channel_removed(void *owner)
{
	request_cut(owner);
}

void request_hold(struct request *request, struct channel *channel, bool own,
		  const struct request_events *events)
{
	request->channel = channel;
	request->own = own;
	request->events = events;
	request->watch = (struct conn_watch){.changed = request_conn_changed, .owner = request};
	request->reader = (struct channel_reader){
		.kind = request->word,
		.pid = request->rights.pid,
		.removed = request_channel_removed,
		.owner = request,
	};
	conn_watch_add(channel_conn(channel), &request->watch);
	channel_reader_add(channel, &request->reader);
}

void request_let_go(struct request *request)
{
	struct channel *channel = request->channel;

	if (!channel)
		return;
	request->channel = NULL;
	later_cancel(&request->arrived);
	timer_cancel(&request->grace);
	cursor_close(&request->cursor);
	request->cursor = (struct cursor){0};
	conn_watch_remove(&request->watch);
	channel_reader_remove(&request->reader);
	if (request->own)
		service_remove(request->service, channel);
}

int request_find(struct request *request, struct channel **ret)
{
	cleanup_free char *name = NULL;
	struct channel *channel;
	int r = request_str(request, "/name", &name);

	if (r < 0)
		return r;
	if (!name) {
		peer_refuse(request->peer, EXIT_USAGE, "%s needs the name of a connection",
			    request->word);
		return 0;
	}
	channel = service_find(request->service, name);
	if (!channel) {
		peer_refuse(request->peer, EXIT_NO_CONN,
			    "there is no connection '%s' (wspipe ls shows what there is)", name);
		return 0;
	}
	*ret = channel;
	return 1;
}

/* A name that tells an operator who made it. */
static int request_make_up_name(const struct request *request, char **ret)
{
	char name[SECTION_NAME_MAX + 1];

	for (unsigned i = 1; i < NAMES_TRIED; i++) {
		snprintf(name, sizeof(name), "%s-%d-%u", request->word, request->rights.pid, i);
		if (!service_find(request->service, name)) {
			*ret = strdup(name);
			return *ret ? 0 : -ENOMEM;
		}
	}
	return -EUSERS;
}

static int section_set_value(struct section *section, const char *key,
			     const struct json_span *value, struct buf *faults)
{
	cleanup_wipe char *text = NULL;
	int r = json_unquote_str(value, &text);

	if (r == -EINVAL)
		buf_printf(faults, "%s: not a string", key);
	return r < 0 ? r : config_section_set(section, key, text, faults);
}

/* {"key":["value",...],...}; a single string is taken for a list of one. */
static int section_set_options(struct section *section, const struct json_span *options,
			       struct buf *faults)
{
	struct json_span key_span, values, value;
	size_t position = 0;
	int r = 0;

	while (r >= 0 && (r = json_next(options, &position, &key_span, &values)) > 0) {
		cleanup_free char *key = NULL;
		size_t inner = 0;

		r = json_unquote_str(&key_span, &key);
		if (r >= 0 && json_is_string(&values))
			r = section_set_value(section, key, &values, faults);
		else
			while (r >= 0 && (r = json_next(&values, &inner, NULL, &value)) > 0)
				r = section_set_value(section, key, &value, faults);
	}
	return r;
}

static bool has_option(const struct json_span *options, const char *pointer)
{
	struct json_span value;

	return json_find(options->at, options->len, pointer, &value) > 0;
}

/* What a connection that is made for one command has otherwise than the table says. */
static int section_set_own(const struct request *request, struct section *section,
			   const struct json_span *options, struct buf *faults)
{
	int r = 0;

	if (!has_option(options, "/reconnect"))
		r = config_section_set(section, "reconnect", "never", faults);
	if (r >= 0 && strcmp(request->word, VERB_REQUEST) == 0 && !has_option(options, "/id") &&
	    !has_option(options, "/preset"))
		r = config_section_set(section, "id", "/id", faults);
	return r;
}

/* It is done with the rights of the daemon's user: whoever may give orders to the daemon does not have
 * those.  What is read from a file goes to a server of his choice, or is at least told in a cause. */
static int refuse_what_the_daemon_does(const struct section *section, struct buf *faults)
{
	const struct credentials_options *credentials = &section->conn.credentials;
	const struct tls_options *tls = &section->conn.dial.tls;
	bool is_local = strncasecmp(section->conn.url, "ws+unix:", strlen("ws+unix:")) == 0;
	const struct {
		const char *key, *value, *what;
	} rights[] = {
		{"url", is_local ? section->conn.url : NULL, "connect to sockets of this machine"},
		{"file", section->endpoint.file, "write files"},
		{"header-file", credentials->header_file, "read files"},
		{"token-file", credentials->token_file, "read files"},
		{"on-open-file", credentials->on_open_file, "read files"},
		{"cacert", tls->cacert, "read files"},
		{"capath", tls->capath, "read files"},
		{"cert", tls->cert, "read files"},
		{"key", tls->key, "read files"},
		{"token-command", credentials->token_command, "run commands"},
		{"login", section->conn.opening.login, "run commands"},
		{"on-message", section->hooks.on_message, "run commands"},
		{"on-state", section->hooks.on_state, "run commands"},
	};

	for (size_t i = 0; i < sizeof(rights) / sizeof(*rights); i++) {
		if (!rights[i].value)
			continue;
		buf_printf(faults, "%s: only root and the daemon's own user may have it %s",
			   rights[i].key, rights[i].what);
		return -EINVAL;
	}
	return 0;
}

static int request_fill_section(const struct request *request, struct section *section,
				const char *url, bool own, struct buf *faults)
{
	struct json_span options = {.at = "{}", .len = 2};
	int r = json_find(request->text, request->len, "/options", &options);

	if (r >= 0 && *options.at != '{') {
		buf_append_str(faults, "options: not an object");
		return -EINVAL;
	}
	if (r >= 0)
		r = config_section_set(section, "url", url, faults);
	if (r >= 0 && own)
		r = section_set_own(request, section, &options, faults);
	if (r >= 0)
		r = section_set_options(section, &options, faults);
	if (r >= 0 && !request->rights.owner)
		r = refuse_what_the_daemon_does(section, faults);
	return r < 0 ? r : config_section_check(section, faults);
}

static void request_refuse_faults(const struct request *request, const struct buf *faults)
{
	const char *text = (const char *)buf_head(faults);
	size_t len = buf_len(faults);

	while (len && text[len - 1] == '\n')
		len--;
	if (len)
		peer_refuse(request->peer, EXIT_USAGE, "%.*s", (int)len, text);
	else
		peer_refuse(request->peer, EXIT_USAGE, "the options are not understood");
}

/* 1, 0 refused, -errno. */
static int request_make_section(const struct request *request, const char *name, const char *url,
				bool own, struct section **ret)
{
	struct section *section = NULL;
	struct buf faults;
	int r;

	buf_init(&faults, FAULTS_MAX);
	r = config_section_new(&section, name, &faults);
	if (r >= 0)
		r = request_fill_section(request, section, url, own, &faults);
	if (r < 0)
		config_section_free(section);
	if (r == -EINVAL)
		request_refuse_faults(request, &faults);
	buf_done(&faults);
	if (r < 0)
		return r == -EINVAL ? 0 : r;
	if (own)
		section->conn.persist = false; /* nobody could ever find it again */
	*ret = section;
	return 1;
}

int request_add(struct request *request, const char *name, const char *url, bool own,
		struct channel **ret)
{
	cleanup_free char *made_up = NULL;
	struct section *section = NULL;
	int r = 0;

	if (!name) {
		r = request_make_up_name(request, &made_up);
		name = made_up;
	} else if (service_find(request->service, name)) {
		peer_refuse(request->peer, EXIT_USAGE,
			    "there is a connection '%s' already (wspipe close %s ends it)", name,
			    name);
		return 0;
	}
	if (r >= 0)
		r = request_make_section(request, name, url, own, &section);
	if (r <= 0)
		return r;
	r = service_add(request->service, section, !own, ret);
	if (r < 0)
		peer_refuse(request->peer, EXIT_PEER, "cannot make '%s' in %s: %s", name,
			    service_runtime_dir(request->service), strerror(-r));
	return r < 0 ? 0 : 1;
}

/* --- answers -------------------------------------------------------------------------------- */

int request_begin_ok(struct buf *line)
{
	peer_line_init(line);
	return buf_append_str(line, "{\"ok\":true");
}

int request_answer(struct request *request, struct buf *line, int r)
{
	if (r >= 0)
		r = buf_append_char(line, '}');
	if (r < 0) {
		buf_done(line);
		return r;
	}
	peer_send(request->peer, line, -1);
	peer_finish(request->peer);
	return 0;
}

int request_answer_ok(struct request *request)
{
	struct buf line;

	return request_answer(request, &line, request_begin_ok(&line));
}

/* --- life ----------------------------------------------------------------------------------- */

int request_new(struct request **ret, struct service *service, struct peer *peer,
		const struct request_rights *rights)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return -ENOMEM;
	request->service = service;
	request->peer = peer;
	request->rights = *rights;
	*ret = request;
	return 0;
}

struct request *request_free(struct request *request)
{
	if (!request)
		return NULL;
	request->flow = flow_free(request->flow);
	request->exchange = exchange_free(request->exchange);
	request_let_go(request);
	timer_done(&request->grace);
	free(request);
	return NULL;
}
