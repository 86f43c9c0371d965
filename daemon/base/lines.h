/* lines - what a command prints for the log: read from its pipe, handed on line by line, and
 * bounded, however long it goes on and whoever else holds the pipe open. */
#ifndef BASE_LINES_H
#define BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;

enum {
	LINES_BYTES_MAX = 1000, /* the rest of a longer line is left out */
	LINES_MAX = 100,        /* of one run; what follows is read and counted */
};

struct lines {
	int fd;
	struct event *readable;         /* NULL: lines_start() has not been called */
	char text[LINES_BYTES_MAX + 1]; /* the line that has begun */
	size_t len;
	bool begun; /* there is a line, which may be empty */
	unsigned handed_on;
	uint64_t left_out;
	/* As it was written, without its end. */
	void (*line)(void *owner, const char *text);
	void *owner;
};

/* FD, which must not block, is taken, also when it fails: -ENOMEM.  LINE must not call
 * lines_done(). */
int lines_start(struct lines *lines, int fd, void (*line)(void *owner, const char *text),
		void *owner);
/* The writer has ended.  What is there is read, a line that is not finished counts; the last one
 * says how many were left out, like "17 more lines".  A process in the background keeps its end of
 * the pipe, but we do not listen any more. */
void lines_end(struct lines *lines);
void lines_done(struct lines *lines); /* a zeroed one is fine */

#endif
