/* output - standard output, written to without ever waiting: while nobody takes what we print,
 * what is typed must still be sent. */
#ifndef CLIENT_OUTPUT_H
#define CLIENT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct output {
	int fd; /* poll this one */
	bool is_ours, is_socket;
	size_t at_once; /* bytes that do not block after poll(2) has said POLLOUT */
};

void output_open(struct output *output);
void output_close(struct output *output);

/* After POLLOUT: write from the head of BUF. 0 or -errno; a reader that has gone kills us
 * (SIGPIPE). */
int output_write(const struct output *output, struct buf *buf);

#endif
