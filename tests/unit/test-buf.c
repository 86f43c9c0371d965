/* A buf: never above its maximum, nothing changed by a failure, and no byte moved without need. */
#include <errno.h>

#include "base/buf.h"
#include "check.h"

static void test_empty(void)
{
	struct buf buf;
	uint8_t *tail;

	buf_init(&buf, 100);
	CHECK_EQ(buf_len(&buf), 0);
	CHECK_EQ(buf_room(&buf), 100);
	CHECK(buf_head(&buf) == NULL);
	CHECK_EQ(buf_append(&buf, NULL, 0), 0);
	CHECK(buf.data == NULL);
	buf_trim(&buf);
	buf_done(&buf);
	CHECK_EQ(buf_reserve(&buf, 0, &tail), 0);
	*tail = '\0'; /* there is room for a NUL even so */
	buf_done(&buf);
	CHECK_EQ(buf.max, 100);
}

static void test_maximum(void)
{
	struct buf buf;
	uint8_t *tail = NULL;

	buf_init(&buf, 5);
	CHECK_EQ(buf_append_str(&buf, "1234"), 0);
	CHECK(buf.size <= 5);
	CHECK_EQ(buf_append_str(&buf, "56"), -ENOBUFS);
	CHECK_EQ(buf_printf(&buf, "%d", 56), -ENOBUFS);
	CHECK_EQ(buf_reserve(&buf, 2, &tail), -ENOBUFS);
	CHECK_EQ(buf_reserve(&buf, SIZE_MAX, &tail), -ENOBUFS);
	CHECK(tail == NULL);
	CHECK_EQ(buf_len(&buf), 4);
	CHECK(memcmp(buf_head(&buf), "1234", 4) == 0);
	CHECK_EQ(buf_append_char(&buf, '5'), 0);
	CHECK_EQ(buf_append_char(&buf, '6'), -ENOBUFS);
	buf_consume(&buf, 1);
	CHECK_EQ(buf_append_char(&buf, '6'), 0); /* by sliding: there is nowhere to grow to */
	CHECK(memcmp(buf_head(&buf), "23456", 5) == 0);
	CHECK_EQ(buf.size, 5);
	buf_done(&buf);
	CHECK_EQ(buf_append_str(&buf, "again"), 0);
	buf_done(&buf);
}

static void test_keeps_memory_until_trim(void)
{
	struct buf buf;
	uint8_t *data;

	buf_init(&buf, 1000);
	CHECK_EQ(buf_append_str(&buf, "abc"), 0);
	data = buf.data;
	buf_trim(&buf);
	CHECK(buf.data == data); /* not empty */
	buf_consume(&buf, 3);
	CHECK_EQ(buf.start, 0);
	CHECK_EQ(buf_append_str(&buf, "def"), 0);
	CHECK(buf.data == data);
	buf_clear(&buf);
	buf_trim(&buf);
	CHECK(buf.data == NULL);
	CHECK_EQ(buf.size, 0);
}

/* A queue that is never empty but short must not grow, and must not move its bytes each time. */
static void test_queue(void)
{
	struct buf buf;
	size_t before, slides = 0;
	uint8_t in = 0, out = 0;

	buf_init(&buf, 1 << 20);
	for (int i = 0; i < 240; i++)
		CHECK_EQ(buf_append_char(&buf, (char)in++), 0);
	for (int i = 0; i < 100000; i++) {
		before = buf.start;
		CHECK_EQ(buf_append_char(&buf, (char)in++), 0);
		if (buf.start < before)
			slides++;
		CHECK_EQ(*buf_head(&buf), out++);
		buf_consume(&buf, 1);
	}
	CHECK_EQ(buf_len(&buf), 240);
	CHECK(buf.size <= 512);
	CHECK(slides <= 100000 / 240 + 1);
	buf_done(&buf);
}

static void test_growth_doubles(void)
{
	struct buf buf;
	size_t size = 0, growths = 0;

	buf_init(&buf, 100000);
	while (buf_append_str(&buf, "0123456789") == 0) {
		growths += buf.size != size;
		size = buf.size;
		CHECK(size <= 100000);
	}
	CHECK_EQ(buf_len(&buf), 100000);
	CHECK(growths <= 11);
	for (size_t i = 0; i < 100000; i++)
		CHECK(buf_head(&buf)[i] == '0' + i % 10);
	buf_done(&buf);
}

/* What was consumed is not carried along into new memory. */
static void test_growth_with_head(void)
{
	struct buf buf;
	char big[600];

	memset(big, 'b', sizeof(big));
	buf_init(&buf, 4096);
	for (int i = 0; i < 25; i++)
		CHECK_EQ(buf_append_str(&buf, "0123456789"), 0);
	buf_consume(&buf, 13);
	CHECK_EQ(buf_append(&buf, big, sizeof(big)), 0);
	CHECK_EQ(buf.start, 0);
	CHECK_EQ(buf_len(&buf), 250 - 13 + 600);
	CHECK_EQ(buf_head(&buf)[0], '3');
	CHECK_EQ(buf_head(&buf)[236], '9');
	CHECK_EQ(buf_head(&buf)[237], 'b');
	buf_done(&buf);
}

static void test_printf(void)
{
	struct buf buf;
	char big[1000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	buf_init(&buf, 1010);
	CHECK_EQ(buf_printf(&buf, "%s=%d", "key", 42), 0);
	CHECK_EQ(buf_len(&buf), 6); /* the NUL is not counted */
	CHECK_EQ(buf_printf(&buf, ";%s;", big), 0);
	CHECK_EQ(buf_len(&buf), 6 + 1001);
	CHECK(memcmp(buf_head(&buf), "key=42;xxx", 10) == 0);
	CHECK_EQ(buf_head(&buf)[1006], ';');
	CHECK_EQ(buf_printf(&buf, "%s", "1234"), -ENOBUFS);
	CHECK_EQ(buf_len(&buf), 1007);
	CHECK_EQ(buf_printf(&buf, "%s", "123"), 0); /* to the last byte */
	CHECK_EQ(buf_len(&buf), 1010);
	CHECK_EQ(buf_printf(&buf, "%s", ""), 0);
	CHECK(memcmp(buf_head(&buf) + 1006, ";123", 4) == 0);
	buf_done(&buf);
	CHECK_EQ(buf_printf(&buf, "%s", ""), 0);
	CHECK_EQ(buf_len(&buf), 0);
	buf_done(&buf);
}

int main(void)
{
	test_empty();
	test_maximum();
	test_keeps_memory_until_trim();
	test_queue();
	test_growth_doubles();
	test_growth_with_head();
	test_printf();
	return 0;
}
