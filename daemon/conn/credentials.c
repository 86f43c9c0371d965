/* credentials - see credentials.h.
 *
 * Causes name a file and a line, never what stands there.  Whatever held a secret is overwritten
 * before it is given back. */
#include "conn/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/command.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/strv.h"
#include "codec/http.h"
#include "codec/utf8.h"
#include "conn/conn.h"

enum {
	HEADERS_MAX = 64 * 1024, /* more than any request may have */
	GREETINGS_MAX = 1024 * 1024,
};

static const char mark[] = "@token@";

struct credentials {
	const char *name;
	const struct conn_options *options;
	const struct url *given;
	void (*done)(void *owner, const struct cause *cause);
	void *owner;
	struct command *command; /* that is asked for the token, while it runs */
	struct later later;      /* without one */
	struct cause cause;

	struct url url;       /* .target is our own, the rest is the conn's */
	struct ws_options ws; /* .upgrade.headers, .user and .cookie are our own */
	char **on_open;
};

/* All that is needed while they are made. */
struct making {
	struct credentials *credentials;
	const struct conn_options *options;
	const char *token; /* NULL: "@token@" is text like any other */
	struct cause *cause;
};

/* --- the token in its places ---------------------------------------------------------------- */

/* A fresh string; NULL: no memory. */
static char *replaced(const char *text, const char *token)
{
	size_t marks = 0, token_len = token ? strlen(token) : 0;
	char *fresh, *out;

	for (const char *at = text; token && (at = strstr(at, mark)); at += sizeof(mark) - 1)
		marks++;
	fresh = out = malloc(strlen(text) + marks * token_len + 1);
	if (!fresh)
		return NULL;
	for (const char *at; marks > 0 && (at = strstr(text, mark)); marks--) {
		out = mempcpy(out, text, (size_t)(at - text));
		out = mempcpy(out, token, token_len);
		text = at + sizeof(mark) - 1;
	}
	strcpy(out, text);
	return fresh;
}

static int append_replaced(char ***list, const char *text, const char *token)
{
	char *fresh = replaced(text, token);
	int r = fresh ? strv_append(list, fresh) : -ENOMEM;

	wipe_free(fresh);
	return r;
}

static int replace_if_set(char **field, const char *text, const char *token)
{
	*field = text ? replaced(text, token) : NULL;
	return text && !*field ? -ENOMEM : 0;
}

/* --- files ---------------------------------------------------------------------------------- */

static int fail(struct cause *cause, int error, const char *key, const char *path, const char *why)
{
	cause_set(cause, CAUSE_LOCAL, -error, "%s%s%.140s %s", key, *path ? " " : "", path, why);
	return error;
}

static int read_whole(const char *key, const char *path, struct buf *out, struct cause *cause)
{
	int r = file_read(AT_FDCWD, path, out);

	if (r < 0)
		return fail(cause, r, key, path,
			    r == -EFBIG    ? "is too large"
			    : r == -EINVAL ? "is not a regular file"
					   : strerror(-r));
	if (buf_len(out) > 0 && memchr(buf_head(out), '\0', buf_len(out)))
		return fail(cause, -EINVAL, key, path, "has a NUL byte in it");
	return 0;
}

/* Each line that is not empty; TAKE says on -EINVAL what is wrong with it. */
static int for_each_line(struct making *making, const char *key, const char *path, size_t max,
			 int (*take)(struct making *making, char *line, const char **ret_problem))
{
	const char *problem = NULL;
	unsigned number = 0;
	struct buf text;
	char *rest;
	int r;

	if (!path)
		return 0;
	buf_init_secret(&text, max);
	r = read_whole(key, path, &text, making->cause);
	rest = r == 0 && buf_len(&text) > 0 ? (char *)buf_head(&text) : NULL;
	while (r == 0 && rest) {
		char *line = strsep(&rest, "\n"), where[640];

		number++;
		r = *line ? take(making, line, &problem) : 0;
		if (r < 0) {
			snprintf(where, sizeof(where), "line %u %s", number,
				 r == -EINVAL ? problem : strerror(-r));
			fail(making->cause, r, key, path, where);
		}
	}
	buf_done(&text);
	return r;
}

/* --- the token ------------------------------------------------------------------------------ */

/* Ends TEXT where the token ends.  FIRST_LINE: it may be followed by more. */
static const char *check_token(char *text, size_t len, bool first_line)
{
	char *end = first_line ? memchr(text, '\n', len) : NULL;

	len = end ? (size_t)(end - text) : len;
	if (!end && len > 0 && text[len - 1] == '\n')
		len--;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	text[len] = '\0';
	if (len == 0)
		return "gave no token: it is empty";
	return http_is_value(text, len)
		       ? NULL
		       : "gave a token with a line break, control character, or blank at an end";
}

static int read_token(const struct credentials *credentials, struct buf *out, struct cause *cause)
{
	const struct credentials_options *options = &credentials->options->credentials;
	const char *key = options->token_file ? "token-file" : "token-command";
	const char *from = options->token_file ? options->token_file : "", *problem;
	const struct buf *output;
	uint8_t *tail;
	int r;

	if (options->token_file) {
		r = read_whole(key, from, out, cause);
	} else {
		problem = command_problem(credentials->command);
		if (problem)
			return fail(cause, -EINVAL, key, from, problem);
		output = command_output(credentials->command);
		r = buf_reserve(out, buf_len(output) + 1, &tail); /* room for a NUL, too */
		if (r == 0)
			r = buf_append(out, buf_head(output), buf_len(output));
	}
	if (r < 0)
		return r;
	problem = check_token((char *)buf_head(out), buf_len(out), !options->token_file);
	return problem ? fail(cause, -EINVAL, key, from, problem) : 0;
}

/* --- the parts ------------------------------------------------------------------------------ */

/* What a request line may hold (url_parse() has checked the rest). */
static bool is_url_text(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~' || *text == '#')
			return false;
	return true;
}

static int make_url(struct making *making)
{
	const struct url *url = making->credentials->given;
	struct url *mine = &making->credentials->url;

	*mine = *url;
	mine->target = replaced(url->target, making->token);
	mine->has_token = making->token && strstr(url->target, mark);
	if (!mine->target)
		return -ENOMEM;
	if (is_url_text(mine->target))
		return 0;
	cause_set(making->cause, CAUSE_LOCAL, EINVAL,
		  "the token has a character that a url cannot hold");
	return -EINVAL;
}

static int take_header(struct making *making, char *line, const char **ret_problem)
{
	char ***headers = &making->credentials->ws.upgrade.headers;
	size_t len = strlen(line); /* not 0 */
	char *fresh;
	int r;

	if (line[len - 1] == '\r')
		line[len - 1] = '\0';
	if (!*line)
		return 0;
	fresh = replaced(line, making->token);
	r = fresh ? upgrade_check_header(fresh, ret_problem) : -ENOMEM;
	if (r == 0)
		r = strv_append(headers, fresh);
	wipe_free(fresh);
	return r;
}

static int make_request(struct making *making)
{
	const struct upgrade_options *options = &making->options->ws.upgrade;
	struct upgrade_options *mine = &making->credentials->ws.upgrade;
	char **line;
	int r;

	making->credentials->ws = making->options->ws;
	mine->headers = NULL;
	mine->cookie = NULL;
	r = replace_if_set(&mine->user, options->user, making->token);
	if (r == 0)
		r = replace_if_set(&mine->cookie, options->cookie, making->token);
	for (line = options->headers; r == 0 && line && *line; line++)
		r = append_replaced(&mine->headers, *line, making->token);
	if (r < 0)
		return r;
	return for_each_line(making, "header-file", making->options->credentials.header_file,
			     HEADERS_MAX, take_header);
}

static int take_greeting(struct making *making, char *line, const char **ret_problem)
{
	char ***greetings = &making->credentials->on_open;
	char *fresh = replaced(line, making->token);
	size_t len = fresh ? strlen(fresh) : 0;
	int r = -EINVAL;

	if (!fresh)
		return -ENOMEM;
	if (making->options->type == MSG_TEXT && !utf8_valid((const uint8_t *)fresh, len))
		*ret_problem = "is not UTF-8, as type = text needs";
	else if (len > making->options->ws.max_message_bytes)
		*ret_problem = "is longer than max-message";
	else
		r = strv_append(greetings, fresh);
	wipe_free(fresh);
	return r;
}

static int make_greetings(struct making *making)
{
	const char *problem;
	char **line;
	int r = 0;

	for (line = making->options->on_open; r == 0 && line && *line; line++)
		r = take_greeting(making, *line, &problem);
	if (r == -EINVAL)
		cause_set(making->cause, CAUSE_LOCAL, EINVAL, "on-open, with its token, %s",
			  problem);
	if (r < 0)
		return r;
	return for_each_line(making, "on-open-file", making->options->credentials.on_open_file,
			     GREETINGS_MAX, take_greeting);
}

/* --- from the beginning to the end ---------------------------------------------------------- */

bool credentials_needed(const struct credentials_options *options)
{
	return options->header_file || options->token_file || options->token_command ||
	       options->on_open_file;
}

static int make_all(struct making *making)
{
	int r = make_url(making);

	if (r == 0)
		r = make_request(making);
	return r < 0 ? r : make_greetings(making);
}

/* The files are read, and the token is there or is read. */
static void credentials_finish(void *owner)
{
	struct credentials *credentials = owner;
	const struct conn_options *options = credentials->options;
	bool has_token = options->credentials.token_file || options->credentials.token_command;
	struct making making = {credentials, options, NULL, &credentials->cause};
	struct buf token;
	int r = 0;

	buf_init_secret(&token, CREDENTIALS_TOKEN_MAX + 1);
	if (has_token)
		r = read_token(credentials, &token, &credentials->cause);
	if (has_token)
		making.token = (const char *)buf_head(&token);
	if (r == 0)
		r = make_all(&making);
	buf_done(&token);
	credentials->command = command_free(credentials->command);
	if (r < 0 && credentials->cause.class == CAUSE_NONE)
		cause_set(&credentials->cause, CAUSE_LOCAL, -r, "cannot make the credentials: %s",
			  strerror(-r));
	credentials->done(credentials->owner, r < 0 ? &credentials->cause : NULL);
}

/* Its standard error; its output is the secret. */
static void credentials_command_line(void *owner, const char *text)
{
	struct credentials *credentials = owner;

	log_info(credentials->name, "token-command: %s", text);
}

static int ask_command(struct credentials *credentials, const char *line)
{
	static const struct command_events events = {.line = credentials_command_line,
						     .ended = credentials_finish};
	const struct command_options options = {.line = line, .secret_max = CREDENTIALS_TOKEN_MAX};

	return command_start(&credentials->command, &options, &events, credentials);
}

int credentials_start(struct credentials **ret, const char *name,
		      const struct conn_options *options, const struct url *url,
		      void (*done)(void *owner, const struct cause *cause), void *owner)
{
	struct credentials *credentials = calloc(1, sizeof(*credentials));
	int r = 0;

	if (!credentials)
		return -ENOMEM;
	credentials->name = name;
	credentials->options = options;
	credentials->given = url;
	credentials->done = done;
	credentials->owner = owner;
	later_init(&credentials->later, credentials_finish, credentials);
	if (options->credentials.token_command)
		r = ask_command(credentials, options->credentials.token_command);
	else
		loop_later(&credentials->later);
	if (r < 0) {
		credentials_free(credentials);
		return r;
	}
	*ret = credentials;
	return 0;
}

const struct url *credentials_url(const struct credentials *credentials)
{
	return &credentials->url;
}

const struct ws_options *credentials_ws(const struct credentials *credentials)
{
	return &credentials->ws;
}

char **credentials_on_open(const struct credentials *credentials)
{
	return credentials->on_open;
}

void credentials_forget_request(struct credentials *credentials)
{
	struct upgrade_options *upgrade;

	if (!credentials)
		return;
	upgrade = &credentials->ws.upgrade;
	credentials->url.target = wipe_free(credentials->url.target);
	upgrade->headers = strv_free(upgrade->headers);
	upgrade->user = wipe_free(upgrade->user);
	upgrade->cookie = wipe_free(upgrade->cookie);
}

void credentials_forget_greetings(struct credentials *credentials)
{
	credentials->on_open = strv_free(credentials->on_open);
}

struct credentials *credentials_free(struct credentials *credentials)
{
	if (!credentials)
		return NULL;
	later_cancel(&credentials->later);
	command_free(credentials->command);
	credentials_forget_request(credentials);
	credentials_forget_greetings(credentials);
	free(credentials);
	return NULL;
}
