/* Configuration text: each line is told once or is empty, nothing is told that does not stand
 * there, and what was understood is understood the same when written plainly.
 *
 * Input: the text. */
#include "base/buf.h"
#include "codec/ini.h"
#include "fuzz.h"

struct told {
	const char *text;
	size_t len;
	unsigned line;
	struct buf plain; /* as it would be written by somebody orderly */
	bool faults;
};

static void begin(struct told *told, unsigned line)
{
	HOLDS(line > told->line);
	told->line = line;
}

static bool is_trimmed(const char *text)
{
	size_t len = strlen(text);

	return len == 0 || (!strchr(" \t", text[0]) && !strchr(" \t", text[len - 1]));
}

/* Does it stand in the text, and in one line of it? */
static void check_text(const struct told *told, const char *text)
{
	HOLDS(is_trimmed(text) && !strchr(text, '\n'));
	HOLDS(memmem(told->text, told->len, text, strlen(text)));
}

static void on_section(void *owner, const char *name, unsigned line)
{
	struct told *told = owner;

	begin(told, line);
	check_text(told, name);
	HOLDS(*name && !strchr(name, ']'));
	HOLDS(buf_printf(&told->plain, "[%s]\n", name) == 0);
}

static void on_value(void *owner, const char *key, const char *value, unsigned line)
{
	struct told *told = owner;

	begin(told, line);
	check_text(told, key);
	check_text(told, value);
	HOLDS(*key && !strchr(key, '=') && !strchr("[#;", *key));
	/* CR at the end of a line belongs to the line's end: one that was told stood ahead of that.
	 */
	HOLDS(buf_printf(&told->plain, "%s = %s\r\n", key, value) == 0);
}

static void on_fault(void *owner, const char *problem, unsigned line)
{
	struct told *told = owner;

	begin(told, line);
	HOLDS(*problem && is_one_line(problem));
	told->faults = true;
	HOLDS(buf_append_str(&told->plain, "=\n") == 0);
}

static void parse(struct told *told, const char *text, size_t len)
{
	static const struct ini_events events = {on_section, on_value, on_fault};
	char *copy = copy_text(text, len);
	unsigned lines = 1;

	*told = (struct told){.text = text, .len = len};
	buf_init(&told->plain, 4 * len + 16);
	HOLDS(buf_append_str(&told->plain, "#\n") ==
	      0);        /* a byte order mark is skipped in the first line */
	copy[len] = 'x'; /* writable, not to be relied upon */
	ini_parse(copy, len, &events, told);
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	HOLDS(told->line <= lines);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct told told, again;

	parse(&told, (const char *)data, len);
	parse(&again, (const char *)buf_head(&told.plain), buf_len(&told.plain));
	HOLDS(again.faults == told.faults);
	HOLDS(same_bytes(buf_head(&told.plain), buf_len(&told.plain), buf_head(&again.plain),
			 buf_len(&again.plain)));
	buf_done(&told.plain);
	buf_done(&again.plain);
	return 0;
}
