/* Judged against an encoder: a sequence is right if some code point is written so, and a beginning
 * may stand if some code point begins so.  Each of the implementations is tried, not only the one
 * that this CPU would get: the source is compiled in a second time under other names for that. */
#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "codec/utf8.h"

static bool second_valid(const uint8_t *data, size_t len);
static bool second_feed(struct utf8 *utf8, const uint8_t *data, size_t len);
static size_t second_tail(const uint8_t *data, size_t len);
#define utf8_valid second_valid
#define utf8_feed second_feed
#define utf8_tail second_tail
#include "codec/utf8.c"
#undef utf8_valid
#undef utf8_feed
#undef utf8_tail

/* --- the reference ---------------------------------------------------------------------------- */

static uint8_t begins_1[1 << 8], begins_2[1 << 16], begins_3[1 << 24]; /* 1: begins, 2: is whole */

static size_t encode(uint32_t c, uint8_t *out)
{
	if (c < 0x80)
		return out[0] = (uint8_t)c, 1;
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 + c / 64);
		out[1] = (uint8_t)(0x80 + c % 64);
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 + c / 4096);
		out[1] = (uint8_t)(0x80 + c / 64 % 64);
		out[2] = (uint8_t)(0x80 + c % 64);
		return 3;
	}
	out[0] = (uint8_t)(0xf0 + c / 262144);
	out[1] = (uint8_t)(0x80 + c / 4096 % 64);
	out[2] = (uint8_t)(0x80 + c / 64 % 64);
	out[3] = (uint8_t)(0x80 + c % 64);
	return 4;
}

static void make_reference(void)
{
	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		uint8_t b[4];
		size_t n;

		if (c >= 0xd800 && c <= 0xdfff)
			continue;
		n = encode(c, b);
		begins_1[b[0]] = n == 1 ? 2 : 1;
		if (n >= 2)
			begins_2[b[0] << 8 | b[1]] = n == 2 ? 2 : 1;
		if (n >= 3)
			begins_3[b[0] << 16 | b[1] << 8 | b[2]] = n == 3 ? 2 : 1;
	}
}

/* What N bytes, 1..4, are: 0 no beginning of a character, 1 a beginning, 2 one whole character. */
static int kind(const uint8_t *b, size_t n)
{
	if (n == 1)
		return begins_1[b[0]];
	if (n == 2)
		return begins_2[b[0] << 8 | b[1]];
	if (n == 3)
		return begins_3[b[0] << 16 | b[1] << 8 | b[2]];
	return begins_3[b[0] << 16 | b[1] << 8 | b[2]] == 1 && b[3] >= 0x80 && b[3] <= 0xbf ? 2 : 0;
}

struct verdict {
	bool valid;
	size_t fails_at; /* the first byte that cannot be, or LEN */
	size_t tail;     /* so much of a character has begun at the end */
};

static struct verdict judge(const uint8_t *data, size_t len)
{
	size_t start = 0;

	for (size_t i = 0; i < len; i++) {
		int k = kind(data + start, i + 1 - start);

		if (k == 0)
			return (struct verdict){.fails_at = i};
		if (k == 2)
			start = i + 1;
	}
	return (struct verdict){.valid = start == len, .fails_at = len, .tail = len - start};
}

/* --- trying ----------------------------------------------------------------------------------- */

static uint32_t seed = 12345;

static uint32_t pick(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 4) * below >> 28);
}

static valid_fn *variants[4];
static size_t n_variants;

static void find_variants(void)
{
	variants[n_variants++] = valid_portable;
#ifdef __x86_64__
	if (__builtin_cpu_supports("ssse3"))
		variants[n_variants++] = valid_ssse3;
	if (__builtin_cpu_supports("avx2"))
		variants[n_variants++] = valid_avx2;
#endif
}

static bool all_say(const uint8_t *data, size_t len, bool expected)
{
	bool right = utf8_valid(data, len) == expected;

	for (size_t i = 0; i < n_variants; i++) {
		valid_mixed = variants[i];
		right = right && variants[i](data, len) == expected &&
			second_valid(data, len) == expected;
	}
	return right;
}

/* Byte by byte: refused exactly where the reference says, and from then on. */
static void check_drip(const uint8_t *data, size_t len, struct verdict verdict)
{
	struct utf8 utf8 = {0};

	for (size_t i = 0; i < len; i++)
		CHECK_EQ(utf8_feed(&utf8, data + i, 1), i < verdict.fails_at);
	CHECK_EQ(utf8_complete(&utf8), verdict.valid);
}

/* In two pieces: the piece in which the bad byte lies is refused. */
static void check_split(const uint8_t *data, size_t len, size_t at, struct verdict verdict)
{
	struct utf8 utf8 = {0};
	bool first = utf8_feed(&utf8, data, at);

	CHECK_EQ(first, at <= verdict.fails_at);
	if (!first)
		return;
	CHECK_EQ(utf8_feed(&utf8, data + at, len - at), len == verdict.fails_at);
	CHECK_EQ(utf8_complete(&utf8), verdict.valid);
}

static void check_all(const uint8_t *data, size_t len)
{
	struct verdict verdict = judge(data, len);

	CHECK(all_say(data, len, verdict.valid));
	if (verdict.fails_at == len)
		CHECK_EQ(utf8_tail(data, len), verdict.tail);
	check_drip(data, len, verdict);
}

static void test_short_sequences(void)
{
	uint8_t b[3];

	for (uint32_t i = 0; i < 1 << 24; i++) {
		b[0] = (uint8_t)(i >> 16), b[1] = (uint8_t)(i >> 8), b[2] = (uint8_t)i;
		if (i < 1 << 8)
			check_all(b + 2, 1);
		if (i < 1 << 16)
			check_all(b + 1, 2);
		for (size_t v = 0; v < n_variants; v++)
			if (variants[v](b, 3) != judge(b, 3).valid)
				CHECK(!"three bytes");
	}
}

static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xaf, 0xbf,
				0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0,
				0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfb, 0xfc, 0xfe, 0xff};
enum { EDGES = sizeof(edges) };

/* All edges of three and four bytes, also in the midst of others, wandering through the blocks. */
static void test_edges(void)
{
	static uint8_t text[160];
	uint32_t turn = 0;

	for (uint32_t lead = 0x7f; lead <= 0xff; lead++) {
		for (uint32_t i = 0; i < EDGES * EDGES * EDGES; i++, turn++) {
			uint8_t b[4] = {(uint8_t)lead, edges[i / EDGES / EDGES],
					edges[i / EDGES % EDGES], edges[i % EDGES]};
			struct verdict verdict = judge(b, 4);
			size_t at = turn % 71, len = at + 4 + turn % 67;

			if (utf8_valid(b, 4) != verdict.valid)
				CHECK(!"four bytes");
			if (turn % 8 != 0)
				continue;
			memset(text, 'a', sizeof(text));
			memcpy(text + at, b, 4);
			CHECK(all_say(text, len, judge(text, len).valid));
			check_drip(b, 4, verdict);
		}
	}
}

/* LEN bytes of valid text; mixture 0 is all ASCII, 3 has hardly any. */
static void fill(uint8_t *data, size_t len, uint32_t mixture)
{
	for (size_t at = 0; at < len;) {
		uint32_t width = pick(4) < mixture ? 2 + pick(3) : 1;
		uint32_t c = pick(0x80);
		uint8_t b[4];
		size_t n;

		if (width == 2)
			c = 0x80 + pick(0x780);
		else if (width == 3)
			c = pick(2) ? 0x800 + pick(0xd000) : 0xe000 + pick(0x2000);
		else if (width == 4)
			c = 0x10000 + pick(0x100000);
		n = encode(c, b);
		if (n > len - at)
			continue;
		memcpy(data + at, b, n);
		at += n;
	}
}

/* Every length and alignment; the memory ends where the text does, so that a sanitizer sees a byte
 * too many. */
static void test_random(void)
{
	for (uint32_t turn = 0; turn < 40000; turn++) {
		size_t skip = turn % 71, len = pick(turn % 16 == 0 ? 700 : 140);
		uint8_t *block = malloc(skip + len + 1), *data = block + skip + 1;
		struct verdict verdict;

		CHECK(block);
		memset(block, 0xff, skip + 1);
		fill(data, len, pick(4));
		for (uint32_t harm = pick(3); harm > 0 && len > 0; harm--)
			data[pick((uint32_t)len)] =
				pick(2) ? edges[pick(EDGES)] : (uint8_t)pick(256);
		verdict = judge(data, len);
		CHECK(all_say(data, len, verdict.valid));
		if (turn % 16 == 0)
			check_drip(data, len, verdict);
		check_split(data, len, pick((uint32_t)len + 1), verdict);
		free(block);
	}
}

static void test_every_split(void)
{
	uint8_t data[140];

	for (uint32_t turn = 0; turn < 300; turn++) {
		size_t len = 1 + pick(sizeof(data));
		struct verdict verdict;

		fill(data, len, 3);
		if (turn % 2 == 0)
			data[pick((uint32_t)len)] = edges[pick(EDGES)];
		verdict = judge(data, len);
		for (size_t at = 0; at <= len; at++)
			check_split(data, len, at, verdict);
	}
}

/* One bad byte anywhere in ASCII, and characters cut off by the end, at every length. */
static void test_one_in_ascii(void)
{
	static const char *const ends[] = {"\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xe2", "\xf0\x9f"};
	uint8_t data[200];

	memset(data, 'x', sizeof(data));
	for (size_t len = 0; len <= sizeof(data); len++) {
		CHECK(all_say(data, len, true));
		for (size_t at = 0; at < len; at++) {
			data[at] = 0x80;
			CHECK(all_say(data, len, false));
			data[at] = 0xff;
			CHECK(all_say(data, len, false));
			data[at] = 'x';
		}
		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
			size_t n = strlen(ends[i]);

			if (n > len)
				continue;
			memcpy(data + len - n, ends[i], n);
			CHECK(all_say(data, len, false));
			CHECK_EQ(utf8_tail(data, len), n);
			CHECK_EQ(second_tail(data, len), n);
			memset(data + len - n, 'x', n);
		}
	}
}

/* The two halves of a character with ASCII between them, so that a skip over it would join them. */
static void test_torn_apart(void)
{
	uint8_t data[140];

	for (size_t first = 0; first < 71; first++) {
		for (size_t second = first + 1; second < sizeof(data); second++) {
			memset(data, 'x', sizeof(data));
			data[first] = 0xc3;
			data[second] = 0xa9;
			CHECK(all_say(data, sizeof(data), second == first + 1));
			if (first >= 9) {
				memcpy(data, "\xc3\xa9", 2); /* moves the fallback's windows */
				CHECK(all_say(data, sizeof(data), second == first + 1));
			}
		}
	}
}

static bool feed_all(const char *text)
{
	struct utf8 utf8 = {0};

	return utf8_feed(&utf8, (const uint8_t *)text, strlen(text));
}

static void test_early(void)
{
	static const char *const never[] = {"\xe0\x80", "\xed\xa0", "\xf4\x90",  "\xc0",
					    "\xc1",     "\xf5",     "\xff",      "\x80",
					    "\xf0\x80", "\xf8",     "a\xe0\x80", "\xe2\x82\n"};
	static const char *const perhaps[] = {"\xe0", "\xed\x9f", "\xf4\x8f\xbf", "\xc2",
					      "\xf0\x90"};
	struct utf8 utf8 = {0};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		CHECK(!feed_all(never[i]));
	for (size_t i = 0; i < sizeof(perhaps) / sizeof(perhaps[0]); i++)
		CHECK(feed_all(perhaps[i]));
	CHECK_EQ(utf8_tail((const uint8_t *)"\xe0\x80", 2), 0);
	CHECK_EQ(utf8_tail((const uint8_t *)"\xf5", 1), 0);
	CHECK_EQ(utf8_tail((const uint8_t *)"", 0), 0);
	CHECK(utf8_valid((const uint8_t *)"", 0) && utf8_feed(&utf8, (const uint8_t *)"", 0));
	CHECK(!utf8_feed(&utf8, (const uint8_t *)"\xff", 1));
	CHECK(!utf8_feed(&utf8, (const uint8_t *)"a", 1)); /* spent */
	CHECK(!utf8_complete(&utf8));
}

/* The second copy too: its pieces go through whichever implementation was tried last. */
static void test_second_feed(void)
{
	struct utf8 utf8 = {0};
	uint8_t data[300];

	fill(data, sizeof(data), 3);
	for (size_t i = 0; i < n_variants; i++) {
		valid_mixed = variants[i];
		CHECK(second_feed(&utf8, data, sizeof(data)) && utf8_complete(&utf8));
	}
	valid_mixed = valid_first_time;
	CHECK(second_valid(data, sizeof(data)));
	CHECK(valid_mixed == variants[n_variants - 1]);
}

int main(void)
{
	make_reference();
	find_variants();
	test_early();
	test_short_sequences();
	test_edges();
	test_random();
	test_every_split();
	test_one_in_ascii();
	test_torn_apart();
	test_second_feed();
	return 0;
}
