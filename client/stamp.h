/* stamp - records in json framing into lines that begin with the time: recv --time.
 *
 * What follows the time is exact: the same record that `line` or `nul` framing would have.  Marks
 * (the connection was opened, closed) have none there and are left out. */
#ifndef CLIENT_STAMP_H
#define CLIENT_STAMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "codec/frame.h"

struct stamp {
	enum framing framing;
	struct buf in, data;
	size_t searched; /* so much of in holds no line feed */
};

void stamp_init(struct stamp *stamp, enum framing framing); /* FRAMING_LINE or FRAMING_NUL */
void stamp_done(struct stamp *stamp);

/* Bytes of the stream in, what has become whole out. 0, or -errno: -ENOBUFS when a record is longer
 * than this can hold, -EPROTO when it is none. */
int stamp_feed(struct stamp *stamp, const uint8_t *data, size_t len, struct buf *out);

#endif
