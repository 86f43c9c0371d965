/* stamp - see stamp.h. */
#include "stamp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "base/cleanup.h"
#include "base/msg.h"
#include "codec/base64.h"
#include "codec/json.h"

enum {
	RECORD_MAX = 1024 * 1024 * 1024,
	SECONDS_LEN = 19, /* 2026-11-20T14:05:06 */
};

void stamp_init(struct stamp *stamp, enum framing framing)
{
	*stamp = (struct stamp){.framing = framing};
	buf_init(&stamp->in, RECORD_MAX);
	buf_init(&stamp->data, RECORD_MAX);
}

void stamp_done(struct stamp *stamp)
{
	buf_done(&stamp->in);
	buf_done(&stamp->data);
}

/* The daemon tells microseconds; people get milliseconds. */
static int put_time(const struct json_span *record, struct buf *out)
{
	cleanup_free char *time = answer_text(record, "/time");
	int r;

	if (!time || strlen(time) < SECONDS_LEN)
		return -EPROTO;
	r = buf_append(out, time, SECONDS_LEN);
	if (r < 0)
		return r;
	return buf_printf(out, "%.4sZ ", time[SECONDS_LEN] == '.' ? time + SECONDS_LEN : ".000");
}

static int take_data(struct stamp *stamp, const struct json_span *record, bool is_binary)
{
	struct json_span data;
	ssize_t len;
	int r;

	buf_clear(&stamp->data);
	if (json_find(record->at, record->len, "/data", &data) <= 0)
		return -EPROTO;
	r = json_unquote(&data, &stamp->data);
	if (r < 0 || !is_binary || !buf_len(&stamp->data))
		return r == -EINVAL ? -EPROTO : r;
	len = base64_decode(buf_head(&stamp->data), (char *)buf_head(&stamp->data),
			    buf_len(&stamp->data));
	if (len < 0)
		return -EPROTO;
	stamp->data.end = stamp->data.start + (size_t)len;
	return 0;
}

static int put_message(struct stamp *stamp, bool is_binary, struct buf *out)
{
	struct msg msg = {
		.kind = is_binary ? MSG_BINARY : MSG_TEXT,
		.data = buf_head(&stamp->data),
		.len = buf_len(&stamp->data),
	};
	struct frame_parts parts;
	int r;

	frame_scan(&msg);
	r = frame_encode(stamp->framing, MSG_TEXT, &msg, &parts, out);
	if (r != FRAME_PARTS)
		return r < 0 ? r : 0;
	r = buf_append(out, parts.head, parts.head_len);
	if (r >= 0)
		r = buf_append(out, parts.body, parts.body_len);
	return r < 0 ? r : buf_append(out, parts.tail, parts.tail_len);
}

static int take_record(struct stamp *stamp, const struct json_span *record, struct buf *out)
{
	struct json_span type;
	bool is_binary;
	int r;

	if (json_find(record->at, record->len, "/type", &type) <= 0)
		return -EPROTO;
	is_binary = json_equals(&type, "binary");
	if (!is_binary && !json_equals(&type, "text"))
		return 0;
	r = take_data(stamp, record, is_binary);
	if (r >= 0)
		r = put_time(record, out);
	return r < 0 ? r : put_message(stamp, is_binary, out);
}

int stamp_feed(struct stamp *stamp, const uint8_t *data, size_t len, struct buf *out)
{
	int r = buf_append(&stamp->in, data, len);

	while (r >= 0) {
		const char *start = (const char *)buf_head(&stamp->in);
		size_t have = buf_len(&stamp->in);
		const char *end = have > stamp->searched ? memchr(start + stamp->searched, '\n',
								  have - stamp->searched)
							 : NULL;

		if (!end) {
			stamp->searched = have;
			return 0;
		}
		r = take_record(stamp, &(struct json_span){.at = start, .len = (size_t)(end - start)},
				out);
		buf_consume(&stamp->in, (size_t)(end - start) + 1);
		stamp->searched = 0;
	}
	return r;
}
