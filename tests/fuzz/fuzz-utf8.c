/* UTF-8 against the table of RFC 3629 section 4, read character by character: whole, in two parts
 * at every place, byte by byte; what has become invalid is known at once.  And what is made fit for
 * people.
 *
 * Input: any bytes. */
#include "base/buf.h"
#include "base/cause.h"
#include "codec/json.h"
#include "codec/utf8.h"
#include "control/peer.h"
#include "fuzz.h"

enum { LEN_MAX = 1024 };

static bool is_in(uint8_t byte, uint8_t low, uint8_t high)
{
	return byte >= low && byte <= high;
}

/* Bytes of the character that stands there; 0: none does; *ret_open: it may yet become one. */
static size_t character(const uint8_t *at, size_t len, bool *ret_open)
{
	uint8_t first = at[0], low = 0x80, high = 0xbf;
	size_t want = first < 0x80               ? 1
		      : is_in(first, 0xc2, 0xdf) ? 2
		      : is_in(first, 0xe0, 0xef) ? 3
		      : is_in(first, 0xf0, 0xf4) ? 4
						 : 0;

	*ret_open = false;
	low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : low;
	high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : high;
	for (size_t i = 1; i < want; i++) {
		if (i == len) {
			*ret_open = true;
			return 0;
		}
		if (!is_in(at[i], i == 1 ? low : 0x80, i == 1 ? high : 0xbf))
			return 0;
	}
	return want;
}

/* *ret_tail: bytes of an unfinished character at the end. */
static bool may_be_valid(const uint8_t *data, size_t len, size_t *ret_tail)
{
	size_t at = 0;

	*ret_tail = 0;
	while (at < len) {
		bool open;
		size_t n = character(data + at, len - at, &open);

		if (open)
			*ret_tail = len - at;
		if (n == 0)
			return open;
		at += n;
	}
	return true;
}

static void check_whole(const uint8_t *data, size_t len)
{
	struct utf8 utf8 = {0};
	size_t tail;
	bool so_far = may_be_valid(data, len, &tail);

	HOLDS(utf8_valid(data, len) == (so_far && tail == 0));
	HOLDS(utf8_feed(&utf8, data, len) == so_far);
	HOLDS(!so_far || utf8_complete(&utf8) == (tail == 0));
	HOLDS(!so_far || utf8_tail(data, len) == tail);
	HOLDS(utf8_tail(data, len) <= 3 && utf8_tail(data, len) <= len);
}

static void check_in_two(const uint8_t *data, size_t len, size_t cut)
{
	uint8_t *first = copy_bytes(data, cut), *second = copy_bytes(data + cut, len - cut);
	struct utf8 utf8 = {0};
	size_t tail, all_tail;
	bool so_far = may_be_valid(data, cut, &tail), all = may_be_valid(data, len, &all_tail);

	HOLDS(utf8_feed(&utf8, first, cut) == so_far);
	if (so_far) {
		HOLDS(utf8_complete(&utf8) == (tail == 0));
		HOLDS(utf8_feed(&utf8, second, len - cut) == all);
		HOLDS(!all || utf8_complete(&utf8) == (all_tail == 0));
	}
	free(first);
	free(second);
}

static void check_bytewise(const uint8_t *data, size_t len)
{
	struct utf8 utf8 = {0};
	bool good = true;

	for (size_t i = 0; i < len && good; i++) {
		size_t tail;

		good = utf8_feed(&utf8, data + i, 1);
		HOLDS(good == may_be_valid(data, i + 1, &tail));
	}
}

/* What anybody may have written is shown in one line of good text. */
static void check_shown(const uint8_t *data, size_t len)
{
	char *text = copy_text(data, len);
	size_t before = strlen(text);
	struct cause cause;
	struct buf line;

	cause_set(&cause, CAUSE_HTTP, 7, "%s", text);
	HOLDS(is_one_line(cause.text) && utf8_valid((uint8_t *)cause.text, strlen(cause.text)));
	cause_clean(text, false);
	HOLDS(is_one_line(text) && strlen(text) <= before &&
	      utf8_valid((uint8_t *)text, strlen(text)));
	free(text);
	buf_init(&line, 16 * LEN_MAX);
	HOLDS(peer_quote(&line, (const char *)data, len) == 0);
	HOLDS(utf8_valid(buf_head(&line), buf_len(&line)));
	HOLDS(json_valid((char *)buf_head(&line), buf_len(&line)));
	buf_done(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	len = len < LEN_MAX ? len : LEN_MAX;
	check_whole(data, len);
	for (size_t cut = 0; cut <= len; cut += len > 128 ? 7 : 1)
		check_in_two(data, len, cut);
	check_bytewise(data, len);
	check_shown(data, len);
	return 0;
}
