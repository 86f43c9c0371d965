/* request - the line that asks the daemon for something (control/protocol.h), put together member
 * by member.  The first failure is kept until the line is sent, so nobody need look before. */
#ifndef CLIENT_REQUEST_H
#define CLIENT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct options;

struct request {
	struct buf line;
	int error; /* 0; -EILSEQ: a text is not UTF-8; -ENOBUFS: too long; -ENOMEM */
};

void request_begin(struct request *request, const char *verb);
void request_text(struct request *request, const char *key, const char *text); /* NULL: left out */
void request_true(struct request *request, const char *key, bool value);       /* false: left out */
void request_false(struct request *request, const char *key);
void request_count(struct request *request, const char *key, uint64_t number); /* 0: left out */
/* "options": the configuration keys that stand on the command line, each with all its values. */
void request_settings(struct request *request, const struct options *options);
void request_end(struct request *request);
void request_done(struct request *request);

#endif
