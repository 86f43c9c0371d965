/* print - see print.h.  Column widths are found in a first pass over the same text: tables are
 * short, and so nothing has to be kept. */
#include "print.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "base/cause.h"
#include "base/cleanup.h"

enum { CELL_BYTES = 4096, COLUMNS_MAX = 16 };

/* --- standard error ------------------------------------------------------------------------- */

static void say_line(const char *name, char *line)
{
	cause_clean(line, false);
	if (name)
		fprintf(stderr, "wspipe: %s: %s\n", name, line);
	else
		fprintf(stderr, "wspipe: %s\n", line);
}

void say(const char *name, const char *format, ...)
{
	cleanup_free char *text = NULL;
	char *rest = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0) {
		text = NULL;
		return;
	}
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		say_line(name, line);
}

/* --- values --------------------------------------------------------------------------------- */

/* A scalar as people read it. */
static void show(const struct json_span *value, char cell[CELL_BYTES])
{
	cleanup_free char *text = NULL;
	bool was_cut;

	if (json_unquote_str(value, &text) < 0)
		was_cut = snprintf(cell, CELL_BYTES, "%.*s", (int)value->len, value->at) >=
			  CELL_BYTES;
	else
		was_cut = snprintf(cell, CELL_BYTES, "%s", text) >= CELL_BYTES;
	cause_clean(cell, was_cut);
	if (strcmp(cell, "null") == 0 || !*cell)
		strcpy(cell, "-");
}

void print_json(const struct json_span *span)
{
	fwrite(span->at, 1, span->len, stdout);
	putchar('\n');
}

/* --- tables --------------------------------------------------------------------------------- */

static void show_cell(const struct json_span *item, const struct column *column,
		      char cell[CELL_BYTES])
{
	struct json_span value = {.at = "null", .len = 4};
	char *fraction;

	json_find(item->at, item->len, column->pointer, &value);
	show(&value, cell);
	if (column->kind == COLUMN_MOMENT && (fraction = strchr(cell, '.')))
		strcpy(fraction, "Z");
}

static void print_cell(const char *cell, const struct column *column, int width, bool is_last)
{
	if (is_last)
		printf("%s\n", cell);
	else if (column->kind == COLUMN_NUMBER)
		printf("%*s  ", width, cell);
	else
		printf("%-*s  ", width, cell);
}

void print_columns(const struct column *columns, size_t n, const struct json_span *items)
{
	int width[COLUMNS_MAX];
	char cell[CELL_BYTES];
	struct json_span item;
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		width[i] = (int)strlen(columns[i].head);
	while (json_next(items, &at, NULL, &item) > 0) {
		for (size_t i = 0; i < n; i++) {
			show_cell(&item, &columns[i], cell);
			if ((int)strlen(cell) > width[i])
				width[i] = (int)strlen(cell);
		}
	}
	for (size_t i = 0; i < n; i++)
		print_cell(columns[i].head, &columns[i], width[i], i == n - 1);
	at = 0;
	while (json_next(items, &at, NULL, &item) > 0) {
		for (size_t i = 0; i < n; i++) {
			show_cell(&item, &columns[i], cell);
			print_cell(cell, &columns[i], width[i], i == n - 1);
		}
	}
}

void print_table(const struct json_span *connections)
{
	static const struct column columns[] = {
		{"NAME", "/name", COLUMN_TEXT},
		{"STATE", "/state", COLUMN_TEXT},
		{"SINCE", "/since", COLUMN_MOMENT},
		{"RECEIVED", "/received/messages", COLUMN_NUMBER},
		{"SENT", "/sent/messages", COLUMN_NUMBER},
		{"QUEUE", "/queue/messages", COLUMN_NUMBER},
		{"URL", "/url", COLUMN_TEXT},
	};

	print_columns(columns, sizeof(columns) / sizeof(*columns), connections);
}

void print_cursors(const struct json_span *cursors)
{
	static const struct column columns[] = {
		{"NAME", "/name", COLUMN_TEXT},
		{"BEHIND", "/behind_messages", COLUMN_NUMBER},
		{"MISSED", "/missed", COLUMN_NUMBER},
		{"PID", "/pid", COLUMN_TEXT},
	};

	print_columns(columns, sizeof(columns) / sizeof(*columns), cursors);
}

/* --- status --------------------------------------------------------------------------------- */

static void print_members(const char *key, const struct json_span *object)
{
	struct json_span member, value;
	char name[CELL_BYTES], cell[CELL_BYTES];
	size_t at = 0;

	printf("%s:", key);
	while (json_next(object, &at, &member, &value) > 0) {
		show(&member, name);
		show(&value, cell);
		printf(" %s=%s", name, cell);
	}
	putchar('\n');
}

static void print_list(const char *key, const struct json_span *list)
{
	struct json_span item;
	size_t at = 0;

	while (json_next(list, &at, NULL, &item) > 0)
		print_members(key, &item);
}

void print_object(const struct json_span *object)
{
	struct json_span member, value;
	char key[CELL_BYTES], cell[CELL_BYTES];
	size_t at = 0;

	while (json_next(object, &at, &member, &value) > 0) {
		show(&member, key);
		if (*value.at == '{') {
			print_members(key, &value);
		} else if (*value.at == '[') {
			print_list(key, &value);
		} else {
			show(&value, cell);
			printf("%s: %s\n", key, cell);
		}
	}
}
