/* splice - codec/member.h as a filter, for tests/splice.py; with --time, what it costs.
 *
 * In: records of three lengths (native 32 bits) and three texts: pointer, new value, JSON text.  Out
 * for each: outcome, offset, length of what was replaced, length of the result, and the result.
 * Outcomes: MEMBER_..., 3: inserted, -1: not JSON. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/member.h"

enum { INSERTED = 3, TEXT_MAX = 1 << 20 };

static char *text_of(FILE *in, uint32_t len)
{
	char *text = malloc(len + 1);

	if (!text || len > TEXT_MAX || fread(text, 1, len, in) != len)
		exit(2);
	text[len] = '\0';
	return text;
}

static void answer(int32_t outcome, const char *text, const struct json_span *at, const char *result,
		   size_t len)
{
	int32_t head[4] = {outcome, at ? (int32_t)(at->at - text) : 0, at ? (int32_t)at->len : 0,
			   (int32_t)len};

	fwrite(head, sizeof(head), 1, stdout);
	if (len > 0)
		fwrite(result, 1, len, stdout);
}

static void splice(const char *pointer, const char *fresh, const char *text, size_t len)
{
	size_t fresh_len = strlen(fresh);
	struct member_path path;
	struct json_span at;
	bool alone;
	char *to;
	int r;

	if (member_path_init(&path, pointer) < 0)
		exit(2);
	to = malloc(len + (path.steps ? member_growth(&path, fresh_len) : fresh_len) + 1);
	if (!to)
		exit(2);
	r = member_find(text, len, &path, &at);
	if (r == MEMBER_FOUND)
		answer(r, text, &at, to, member_replace(text, len, &at, fresh, fresh_len, to));
	else if (r == MEMBER_NONE && member_place(text, len, &path, &at, &alone))
		answer(INSERTED, text, &at, to,
		       member_insert(text, len, &at, alone, &path, fresh, fresh_len, to));
	else
		answer(r < 0 ? -1 : r, text, NULL, NULL, 0);
	free(to);
	member_path_done(&path);
}

/* A request of about so many bytes, and the time of finding and replacing its id. */
static void measure(size_t bytes)
{
	char *text = malloc(bytes + 256), *to = malloc(bytes + 256);
	size_t len = (size_t)sprintf(text, "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[");
	struct timespec begin, end;
	struct member_path path;
	struct json_span at;
	unsigned rounds = (unsigned)(40000000 / bytes);

	while (len + 60 < bytes)
		len += (size_t)sprintf(text + len, "{\"price\":%zu.25,\"side\":\"buy\"},", len);
	len += (size_t)sprintf(text + len, "1],\"id\":12345}");
	if (member_path_init(&path, "/id") < 0)
		exit(2);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned i = 0; i < rounds; i++) {
		if (member_find(text, len, &path, &at) != MEMBER_FOUND)
			exit(2);
		member_replace(text, len, &at, "7", 1, to);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%zu bytes: %.3f us\n", len,
	       ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) /
		       1000 / rounds);
	member_path_done(&path);
	free(text);
	free(to);
}

int main(int argc, char **argv)
{
	uint32_t head[3];

	if (argc > 1 && strcmp(argv[1], "--time") == 0) {
		measure(200);
		measure(10 * 1024);
		return 0;
	}
	while (fread(head, sizeof(head), 1, stdin) == 1) {
		char *pointer = text_of(stdin, head[0]), *fresh = text_of(stdin, head[1]);
		char *text = text_of(stdin, head[2]);

		splice(pointer, fresh, text, head[2]);
		free(pointer);
		free(fresh);
		free(text);
	}
	return 0;
}
