/* print - what people read: lines on standard error, tables and lists on standard output. */
#ifndef CLIENT_PRINT_H
#define CLIENT_PRINT_H

#include "codec/json.h"

/* "wspipe: NAME: text" on standard error, so for each line of the text; NAME may be NULL.  Control
 * characters and broken UTF-8 (a server's close reason) become '?'. */
void say(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* JSON as it is, on standard output. */
void print_json(const struct json_span *span);

struct column {
	const char *head, *pointer; /* JSON pointer into an item */
	enum { COLUMN_TEXT, COLUMN_NUMBER, COLUMN_MOMENT } kind;
};

/* A line for each item of the array ITEMS, below the columns' heads. */
void print_columns(const struct column *columns, size_t n, const struct json_span *items);

/* CONNECTIONS: the array of the daemon's answer to "status". */
void print_table(const struct json_span *connections);
/* Likewise those of "cursor". */
void print_cursors(const struct json_span *cursors);

/* "key: value" lines of one object; what has members of its own is "key: member=value ...". */
void print_object(const struct json_span *object);

#endif
