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

enum { CELL_BYTES = 4096, COLUMNS = 7 };

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
		was_cut = snprintf(cell, CELL_BYTES, "%.*s", (int)value->len, value->at) >= CELL_BYTES;
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

/* --- ls ------------------------------------------------------------------------------------- */

static const struct {
	const char *head, *pointer;
	bool is_number;
} columns[COLUMNS] = {
	{"NAME", "/name", false},
	{"STATE", "/state", false},
	{"SINCE", "/since", false},
	{"RECEIVED", "/received/messages", true},
	{"SENT", "/sent/messages", true},
	{"QUEUE", "/queue/messages", true},
	{"URL", "/url", false},
};

static void show_cell(const struct json_span *connection, size_t column, char cell[CELL_BYTES])
{
	struct json_span value = {.at = "null", .len = 4};
	char *fraction;

	json_find(connection->at, connection->len, columns[column].pointer, &value);
	show(&value, cell);
	if (strcmp(columns[column].head, "SINCE") == 0 && (fraction = strchr(cell, '.')))
		strcpy(fraction, "Z");
}

static void print_cell(const char *cell, size_t column, const int width[COLUMNS])
{
	if (column == COLUMNS - 1)
		printf("%s\n", cell);
	else if (columns[column].is_number)
		printf("%*s  ", width[column], cell);
	else
		printf("%-*s  ", width[column], cell);
}

void print_cursors(const struct json_span *cursors)
{
	static const char *const pointers[] = {"/name", "/behind_messages", "/missed", "/pid"};
	char cell[4][CELL_BYTES];
	struct json_span cursor;
	size_t at = 0;

	printf("%-20s %10s %10s %s\n", "NAME", "BEHIND", "MISSED", "PID");
	while (json_next(cursors, &at, NULL, &cursor) > 0) {
		for (size_t i = 0; i < 4; i++) {
			struct json_span value = {.at = "null", .len = 4};

			json_find(cursor.at, cursor.len, pointers[i], &value);
			show(&value, cell[i]);
		}
		printf("%-20s %10s %10s %s\n", cell[0], cell[1], cell[2], cell[3]);
	}
}

void print_table(const struct json_span *connections)
{
	struct json_span connection;
	char cell[CELL_BYTES];
	int width[COLUMNS];
	size_t at = 0;

	for (size_t i = 0; i < COLUMNS; i++)
		width[i] = (int)strlen(columns[i].head);
	while (json_next(connections, &at, NULL, &connection) > 0) {
		for (size_t i = 0; i < COLUMNS; i++) {
			show_cell(&connection, i, cell);
			if ((int)strlen(cell) > width[i])
				width[i] = (int)strlen(cell);
		}
	}
	for (size_t i = 0; i < COLUMNS; i++)
		print_cell(columns[i].head, i, width);
	at = 0;
	while (json_next(connections, &at, NULL, &connection) > 0) {
		for (size_t i = 0; i < COLUMNS; i++) {
			show_cell(&connection, i, cell);
			print_cell(cell, i, width);
		}
	}
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
