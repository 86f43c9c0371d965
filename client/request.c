/* request - see request.h. */
#include "request.h"

#include <errno.h>
#include <string.h>

#include "codec/json.h"
#include "codec/utf8.h"
#include "control/protocol.h"
#include "options.h"

static void note(struct request *request, int r)
{
	if (r < 0 && request->error == 0)
		request->error = r;
}

static void put(struct request *request, const char *text)
{
	note(request, buf_append_str(&request->line, text));
}

static void put_quoted(struct request *request, const char *text)
{
	size_t len = strlen(text);

	if (utf8_valid((const uint8_t *)text, len))
		note(request, json_quote(&request->line, text, len));
	else
		note(request, -EILSEQ);
}

static void put_key(struct request *request, const char *key)
{
	put(request, ",");
	put_quoted(request, key);
	put(request, ":");
}

void request_begin(struct request *request, const char *verb)
{
	*request = (struct request){0};
	buf_init(&request->line, PROTOCOL_LINE_MAX);
	note(request, buf_printf(&request->line, "{\"version\":%d", PROTOCOL_VERSION));
	request_text(request, "verb", verb);
}

void request_text(struct request *request, const char *key, const char *text)
{
	if (!text)
		return;
	put_key(request, key);
	put_quoted(request, text);
}

void request_true(struct request *request, const char *key, bool value)
{
	if (!value)
		return;
	put_key(request, key);
	put(request, "true");
}

void request_false(struct request *request, const char *key)
{
	put_key(request, key);
	put(request, "false");
}

void request_count(struct request *request, const char *key, uint64_t number)
{
	if (!number)
		return;
	put_key(request, key);
	note(request, buf_printf(&request->line, "%llu", (unsigned long long)number));
}

/* Has the key of setting AT been written with an earlier one? */
static bool is_repeated(const struct options *options, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (strcmp(options->settings[i].key, options->settings[at].key) == 0)
			return true;
	}
	return false;
}

static void put_values(struct request *request, const struct options *options, const char *key)
{
	bool first = true;

	for (size_t i = 0; i < options->settings_n; i++) {
		if (strcmp(options->settings[i].key, key) != 0)
			continue;
		put(request, first ? "[" : ",");
		put_quoted(request, options->settings[i].value);
		first = false;
	}
	put(request, "]");
}

void request_settings(struct request *request, const struct options *options)
{
	bool first = true;

	if (!options->settings_n && !options->type)
		return;
	put_key(request, "options");
	put(request, "{");
	if (options->type) {
		put(request, "\"type\":");
		put_quoted(request, options->type);
		first = false;
	}
	for (size_t i = 0; i < options->settings_n; i++) {
		if (is_repeated(options, i))
			continue;
		if (!first)
			put(request, ",");
		first = false;
		put_quoted(request, options->settings[i].key);
		put(request, ":");
		put_values(request, options, options->settings[i].key);
	}
	put(request, "}");
}

void request_end(struct request *request)
{
	put(request, "}\n");
}

void request_done(struct request *request)
{
	buf_done(&request->line);
}
