/* Bytes move in three ways only: nothing moves while the tail has room; they slide to the front
 * when at least as many have been consumed as must be moved (so each byte is moved at most once for
 * each that went in); else the memory doubles, and what was consumed is left behind. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { BUF_FIRST_BYTES = 256 };

static void buf_release(struct buf *buf)
{
	if (buf->secret && buf->data)
		explicit_bzero(buf->data, buf->size + 1);
	free(buf->data);
}

void buf_done(struct buf *buf)
{
	buf_release(buf);
	*buf = (struct buf){.max = buf->max, .secret = buf->secret};
}

void buf_trim(struct buf *buf)
{
	if (buf_len(buf) == 0)
		buf_done(buf);
}

static size_t buf_bigger(const struct buf *buf, size_t need)
{
	size_t size = buf->size > buf->max / 2 ? buf->max : buf->size * 2;

	if (size < BUF_FIRST_BYTES)
		size = BUF_FIRST_BYTES < buf->max ? BUF_FIRST_BYTES : buf->max;
	return size > need ? size : need;
}

static int buf_grow(struct buf *buf, size_t need)
{
	size_t size = buf_bigger(buf, need), len = buf_len(buf);
	uint8_t *data;

	/* One more than we account for: room for a NUL behind the last byte, always. */
	if (buf->start == 0 && !buf->secret) {
		data = realloc(buf->data, size + 1); /* may grow in place */
	} else {
		data = malloc(size + 1);
		if (data && len > 0)
			memcpy(data, buf_head(buf), len);
		if (data)
			buf_release(buf);
	}
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->start = 0;
	buf->end = len;
	buf->size = size;
	return 0;
}

static void buf_compact(struct buf *buf)
{
	size_t len = buf_len(buf);

	memmove(buf->data, buf->data + buf->start, len);
	buf->start = 0;
	buf->end = len;
}

static int buf_make_room(struct buf *buf, size_t bytes)
{
	size_t len = buf_len(buf);

	if (bytes > buf_room(buf))
		return -ENOBUFS;
	if (!buf->data)
		return buf_grow(buf, bytes);
	if (bytes <= buf->size - buf->end)
		return 0;
	/* At the maximum there is nowhere to grow to: slide, cheap or not. */
	if (len + bytes <= buf->size && (buf->start >= len || buf->size == buf->max)) {
		buf_compact(buf);
		return 0;
	}
	return buf_grow(buf, len + bytes);
}

int buf_reserve(struct buf *buf, size_t bytes, uint8_t **ret_tail)
{
	int r = buf_make_room(buf, bytes);

	if (r < 0)
		return r;
	*ret_tail = buf->data + buf->end;
	return 0;
}

int buf_append(struct buf *buf, const void *data, size_t bytes)
{
	uint8_t *tail;
	int r;

	if (bytes == 0)
		return 0;
	r = buf_reserve(buf, bytes, &tail);
	if (r < 0)
		return r;
	memcpy(tail, data, bytes);
	buf_commit(buf, bytes);
	return 0;
}

int buf_append_str(struct buf *buf, const char *text)
{
	return buf_append(buf, text, strlen(text));
}

int buf_append_char(struct buf *buf, char c)
{
	return buf_append(buf, &c, 1);
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = buf_vprintf(buf, format, args);
	va_end(args);
	return r;
}

int buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	size_t room = buf->data ? buf->size - buf->end : 0;
	uint8_t *tail;
	va_list again;
	int n, r;

	va_copy(again, args);
	n = vsnprintf(buf->data ? (char *)buf->data + buf->end : NULL, buf->data ? room + 1 : 0,
		      format, args);
	if (n < 0)
		r = -EINVAL;
	else if (buf->data && (size_t)n <= room)
		r = 0; /* it fitted at once */
	else
		r = buf_reserve(buf, (size_t)n, &tail);
	if (r == 0 && (size_t)n > room)
		vsnprintf((char *)tail, (size_t)n + 1, format, again);
	va_end(again);
	if (r < 0)
		return r;
	buf_commit(buf, (size_t)n);
	return 0;
}
