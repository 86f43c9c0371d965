/* buf - growable bytes that cannot be made without a maximum.
 *
 * Bytes are appended at the tail and consumed at the head.  Growing past the maximum fails with
 * -ENOBUFS and changes nothing; no memory fails with -ENOMEM likewise.  A buf that was emptied keeps
 * its memory until buf_trim(), so that a burst costs one allocation and an idle owner none.  Behind
 * the room that was asked for there is always one byte more, for who wants to put a NUL there.
 * Memory of a secret one is overwritten before it is given back. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t start, end; /* the bytes are data[start..end) */
	size_t size;       /* allocated */
	size_t max;        /* most bytes that may be in it at once */
	bool secret;
};

static inline void buf_init(struct buf *buf, size_t max_bytes)
{
	*buf = (struct buf){.max = max_bytes};
}

static inline void buf_init_secret(struct buf *buf, size_t max_bytes)
{
	*buf = (struct buf){.max = max_bytes, .secret = true};
}

static inline size_t buf_len(const struct buf *buf)
{
	return buf->end - buf->start;
}

static inline uint8_t *buf_head(const struct buf *buf)
{
	return buf->data ? buf->data + buf->start : NULL; /* NULL + 0 is undefined in C */
}

static inline size_t buf_room(const struct buf *buf)
{
	return buf->max - buf_len(buf);
}

void buf_done(struct buf *buf); /* frees the memory; it can be used again as it was made */
void buf_trim(struct buf *buf); /* frees the memory if it is empty */

/* Make room for BYTES more and point *ret_tail at it; then buf_commit() what was really written. */
int buf_reserve(struct buf *buf, size_t bytes, uint8_t **ret_tail);

static inline void buf_commit(struct buf *buf, size_t bytes)
{
	buf->end += bytes;
}

int buf_append(struct buf *buf, const void *data, size_t bytes);
int buf_append_str(struct buf *buf, const char *text);
int buf_append_char(struct buf *buf, char c);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

static inline void buf_consume(struct buf *buf, size_t bytes)
{
	buf->start += bytes;
	if (buf->start == buf->end)
		buf->start = buf->end = 0;
}

static inline void buf_clear(struct buf *buf)
{
	buf->start = buf->end = 0;
}

#endif
