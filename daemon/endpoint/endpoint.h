/* endpoint - the Unix face of a connection: which files, FIFOs and sockets it has.
 *
 * One object for all endpoints of one connection: the directory NAME in the runtime directory and
 * what stands in it, by a table of one row for each kind. */
#ifndef ENDPOINT_ENDPOINT_H
#define ENDPOINT_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/frame.h"
#include "conn/conn.h"
#include "endpoint/access.h"

struct arrivals;
struct buf;
struct endpoints;
struct shelf;

enum endpoint_kind {
	ENDPOINT_IN,
	ENDPOINT_OUT,
	ENDPOINT_DRAIN,
	ENDPOINT_SOCK,
	ENDPOINT_LAST,
	ENDPOINT_STATUS,
	ENDPOINT_FILE, /* stands elsewhere */
	ENDPOINT_KINDS
};
extern const char *const endpoint_names[ENDPOINT_KINDS + 1];

struct endpoint_options {
	char **endpoints; /* names from the table */
	int framing;      /* enum framing */
	bool batch;
	char *file; /* NULL: none; otherwise it is made, named in `endpoints` or not */
	uint64_t file_max_bytes; /* 0: it is never rotated */
	uint64_t file_keep;      /* older ones that stay */
	char *latest;            /* JSON pointer: whose values have a file each in latest/; NULL: none */
	uint64_t latest_max;     /* files in it, at least 1 */
	char **access; /* "user:NAME[:read|:write]", "group:NAME..." */
};

/* Makes the directory and everything in it.  OPTIONS are borrowed.  SHELF: where descriptors
 * outlive the daemon, or NULL.  On failure *ret_path names what could not be made; FIFOs that stood
 * there already stay. */
int endpoints_new(struct endpoints **ret, int runtime_fd, struct arrivals *arrivals,
		  struct shelf *shelf, struct conn *conn, const struct endpoint_options *options,
		  const char **ret_path);
/* KEEP: leave FIFOs in place, because people may be waiting in open() on them (the daemon ends and
 * may come back); otherwise the directory is removed. */
struct endpoints *endpoints_free(struct endpoints *endpoints, bool keep);
/* The connection's options have moved (a reload that changed nothing here). */
void endpoints_set_options(struct endpoints *endpoints, const struct endpoint_options *options);

/* Regular files that messages are appended to were moved away: begin them anew. */
void endpoints_reopen(struct endpoints *endpoints);

/* Read what is in `in` now to its end (the daemon is stopping). */
void endpoints_drain_in(struct endpoints *endpoints);
/* From now on whatever local programs write is for the next daemon. */
void endpoints_freeze(struct endpoints *endpoints);

/* For status: append JSON objects {"kind":..,"name":..,"pid":..,"behind_messages":..,"missed":..},
 * separated by commas, one for each reader. */
int endpoints_describe(const struct endpoints *endpoints, struct buf *out);

#endif
