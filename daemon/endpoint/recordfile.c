/* recordfile - see recordfile.h. */
#include "endpoint/recordfile.h"

#include "base/buf.h"

int recordfile_replace(int dirfd, const char *name, const struct conn *conn,
		       const struct endpoint_options *options, const struct msg *msg,
		       const struct file_grant *grants, size_t n_grants)
{
	size_t bytes = msg->len * 6 + 4096;
	struct frame_parts parts;
	struct buf buf;
	int r;

	buf_init(&buf, bytes);
	r = frame_encode((enum framing)options->framing, (enum msg_kind)conn_options(conn)->type,
			 msg, &parts, &buf);
	if (r == FRAME_PARTS) {
		r = buf_append(&buf, parts.head, parts.head_len);
		if (r == 0)
			r = buf_append(&buf, parts.body, parts.body_len);
		if (r == 0)
			r = buf_append(&buf, parts.tail, parts.tail_len);
	}
	if (r >= 0)
		r = file_replace(dirfd, name, buf_head(&buf), buf_len(&buf), grants, n_grants);
	buf_done(&buf);
	return r;
}
