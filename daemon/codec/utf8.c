/* utf8 - validation of UTF-8 (RFC 3629) that costs next to nothing.
 *
 * Nearly all text on WebSockets is ASCII, most of it short: that is seen first, in line and without
 * any set-up.  What is not goes to the lookup algorithm of Keiser and Lemire ("Validating UTF-8 in
 * less than one instruction per byte", 2020) where the CPU can shuffle bytes, else to an automaton.
 * The automaton also does the seams between pieces, where at most three bytes are looked at. */
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "codec/utf8.h"

/* --- the automaton: it knows after each byte whether anything can still come of it ------------ */

enum {
	WHOLE, /* zero, as utf8.h says */
	ONE_MORE,
	TWO_MORE,
	THREE_MORE,
	AFTER_E0, /* the next byte tells overlong forms ... */
	AFTER_ED, /* ... surrogates ... */
	AFTER_F0,
	AFTER_F4, /* ... and what is above U+10FFFF */
	BAD,
};

static uint32_t state_after_lead(uint8_t byte)
{
	if (byte < 0x80)
		return WHOLE;
	if (byte < 0xc2)
		return BAD; /* a continuation byte, or an overlong form of ASCII */
	if (byte < 0xe0)
		return ONE_MORE;
	if (byte < 0xf0)
		return byte == 0xe0 ? AFTER_E0 : byte == 0xed ? AFTER_ED : TWO_MORE;
	if (byte < 0xf5)
		return byte == 0xf0 ? AFTER_F0 : byte == 0xf4 ? AFTER_F4 : THREE_MORE;
	return BAD;
}

static uint32_t state_after(uint32_t state, uint8_t byte)
{
	static const struct {
		uint8_t low, high, next;
	} follow[] = {
		[ONE_MORE] = {0x80, 0xbf, WHOLE},      [TWO_MORE] = {0x80, 0xbf, ONE_MORE},
		[THREE_MORE] = {0x80, 0xbf, TWO_MORE}, [AFTER_E0] = {0xa0, 0xbf, ONE_MORE},
		[AFTER_ED] = {0x80, 0x9f, ONE_MORE},   [AFTER_F0] = {0x90, 0xbf, TWO_MORE},
		[AFTER_F4] = {0x80, 0x8f, TWO_MORE},
	};

	if (state == WHOLE)
		return state_after_lead(byte);
	if (state >= BAD || byte < follow[state].low || byte > follow[state].high)
		return BAD;
	return follow[state].next;
}

/* --- ASCII ------------------------------------------------------------------------------------ */

#define HIGH_BITS UINT64_C(0x8080808080808080)

static inline uint64_t load_8(const uint8_t *data)
{
	uint64_t word;

	memcpy(&word, data, sizeof(word));
	return word;
}

static inline uint64_t load_4(const uint8_t *data)
{
	uint32_t word;

	memcpy(&word, data, sizeof(word));
	return word;
}

#ifdef __x86_64__
static inline __m128i load_16(const uint8_t *data)
{
	return _mm_loadu_si128((const __m128i *)(const void *)data);
}

static inline bool ascii_32(const uint8_t *data)
{
	return _mm_movemask_epi8(_mm_or_si128(load_16(data), load_16(data + 16))) == 0;
}

static inline bool ascii_64(const uint8_t *data)
{
	__m128i low = _mm_or_si128(load_16(data), load_16(data + 16));
	__m128i high = _mm_or_si128(load_16(data + 32), load_16(data + 48));

	return _mm_movemask_epi8(_mm_or_si128(low, high)) == 0;
}
#else
static inline bool ascii_32(const uint8_t *data)
{
	return ((load_8(data) | load_8(data + 8) | load_8(data + 16) | load_8(data + 24)) &
		HIGH_BITS) == 0;
}

static inline bool ascii_64(const uint8_t *data)
{
	return ascii_32(data) && ascii_32(data + 32);
}
#endif

/* Fewer than 16 bytes: loads that overlap instead of loops. */
static inline bool ascii_short(const uint8_t *data, size_t len)
{
	if (len >= 8)
		return ((load_8(data) | load_8(data + len - 8)) & HIGH_BITS) == 0;
	if (len >= 4)
		return ((load_4(data) | load_4(data + len - 4)) & HIGH_BITS) == 0;
	return len == 0 || (data[0] | data[len / 2] | data[len - 1]) < 0x80;
}

/* Where to begin looking for more than ASCII: LEN if there is nothing else.  All before is ASCII.
 */
static inline size_t ascii_run(const uint8_t *data, size_t len)
{
	size_t at = 0;

	if (len < 16)
		return ascii_short(data, len) ? len : 0;
	if (len < 32)
		return ((load_8(data) | load_8(data + 8) | load_8(data + len - 16) |
			 load_8(data + len - 8)) &
			HIGH_BITS)
			       ? 0
			       : len;
	if (len < 64)
		return ascii_32(data) && ascii_32(data + len - 32) ? len : 0;
	for (; len - at >= 64; at += 64)
		if (!ascii_64(data + at))
			return at;
	return ascii_64(data + len - 64) ? len : at;
}

/* --- whole texts that are not only ASCII ------------------------------------------------------ */

static bool valid_portable(const uint8_t *data, size_t len)
{
	uint32_t state = WHOLE;
	size_t at = 0;

	while (at < len) {
		while (len - at >= 8 && (load_8(data + at) & HIGH_BITS) == 0)
			at += 8;
		/* to the first border between characters from 8 bytes on: a look at 8 bytes for
		 * each byte would cost more than it saves */
		for (size_t stop = at + 8; at < len && (at < stop || state != WHOLE); at++) {
			state = state_after(state, data[at]);
			if (state == BAD)
				return false;
		}
	}
	return state == WHOLE;
}

#ifdef __x86_64__
#define WITH_SSSE3 __attribute__((target("ssse3")))
#define WITH_AVX2 __attribute__((target("avx2")))

/* Every error but one shows in two bytes next to each other, and there in the first 12 bits.  Three
 * tables tell for the high half of the first byte, its low half, and the high half of the second
 * byte, which errors each of them allows; what all three allow is one. */
enum {
	TOO_SHORT = 1 << 0,   /* 11______ 0_______, 11______ 11______ */
	TOO_LONG = 1 << 1,    /* 0_______ 10______ */
	OVERLONG_3 = 1 << 2,  /* 11100000 100_____ */
	TOO_LARGE = 1 << 3,   /* 11110100 1001____ and all above, except with 1000____ */
	SURROGATE = 1 << 4,   /* 11101101 101_____ */
	OVERLONG_2 = 1 << 5,  /* 1100000_ 10______ */
	OVERLONG_4 = 1 << 6,  /* 11110000 1000____ */
	TOO_LARGE_8 = 1 << 6, /* 11110101 1000____ and above; shares its bit, the low half tells */
	TWO_FOLLOW = 1 << 7,  /* 10______ 10______: right only where a longer character began */
	LOW_ANY = TOO_SHORT | TOO_LONG | TWO_FOLLOW, /* the low half has no say in these */
	LOW_0 = LOW_ANY | OVERLONG_2 | OVERLONG_3 | OVERLONG_4,
	LOW_1 = LOW_ANY | OVERLONG_2,
	LOW_4 = LOW_ANY | TOO_LARGE,
	LOW_5UP = LOW_ANY | TOO_LARGE | TOO_LARGE_8,
	LOW_D = LOW_5UP | SURROGATE,
	LEAD_C = TOO_SHORT | OVERLONG_2,
	LEAD_E = TOO_SHORT | OVERLONG_3 | SURROGATE,
	LEAD_F = TOO_SHORT | TOO_LARGE | TOO_LARGE_8 | OVERLONG_4,
	SECOND = TOO_LONG | OVERLONG_2 | TWO_FOLLOW,
	SECOND_8 = SECOND | OVERLONG_3 | OVERLONG_4 | TOO_LARGE_8,
	SECOND_9 = SECOND | OVERLONG_3 | TOO_LARGE,
	SECOND_AB = SECOND | SURROGATE | TOO_LARGE,
};

static const uint8_t first_high[16] = {
	TOO_LONG,   TOO_LONG,   TOO_LONG,   TOO_LONG,   TOO_LONG, TOO_LONG,  TOO_LONG, TOO_LONG,
	TWO_FOLLOW, TWO_FOLLOW, TWO_FOLLOW, TWO_FOLLOW, LEAD_C,   TOO_SHORT, LEAD_E,   LEAD_F};

static const uint8_t first_low[16] = {LOW_0,   LOW_1,   LOW_ANY, LOW_ANY, LOW_4,   LOW_5UP,
				      LOW_5UP, LOW_5UP, LOW_5UP, LOW_5UP, LOW_5UP, LOW_5UP,
				      LOW_5UP, LOW_D,   LOW_5UP, LOW_5UP};

static const uint8_t second_high[16] = {
	TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
	SECOND_8,  SECOND_9,  SECOND_AB, SECOND_AB, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT};

/* More than these in the last bytes of a block, and a character has begun that is not whole. */
static const uint8_t last_whole[32] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				       0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0xdf, 0xbf};

/* 0..15 bytes with zeros behind; never touches a byte that is not ours. */
static inline __m128i load_short(const uint8_t *data, size_t len)
{
	uint64_t low = 0, high = 0;

	if (len >= 8) {
		low = load_8(data);
		if (len > 8)
			high = load_8(data + len - 8) >> 8 * (16 - len);
	} else if (len >= 4) {
		low = load_4(data) | load_4(data + len - 4) << 8 * (len - 4);
	} else if (len > 0) {
		low = (uint64_t)data[0] | (uint64_t)data[len / 2] << 8 * (len / 2) |
		      (uint64_t)data[len - 1] << 8 * (len - 1);
	}
	return _mm_set_epi64x((long long)high, (long long)low);
}

/* Not zero where BLOCK, coming behind PREVIOUS, is wrong. */
WITH_SSSE3 static inline __m128i check_16(__m128i block, __m128i previous)
{
	const __m128i half = _mm_set1_epi8(0x0f);
	__m128i back_1 = _mm_alignr_epi8(block, previous, 15);
	__m128i back_2 = _mm_alignr_epi8(block, previous, 14);
	__m128i back_3 = _mm_alignr_epi8(block, previous, 13);
	__m128i a = _mm_shuffle_epi8(load_16(first_high),
				     _mm_and_si128(_mm_srli_epi16(back_1, 4), half));
	__m128i b = _mm_shuffle_epi8(load_16(first_low), _mm_and_si128(back_1, half));
	__m128i c = _mm_shuffle_epi8(load_16(second_high),
				     _mm_and_si128(_mm_srli_epi16(block, 4), half));
	/* bit 7: the third byte of a character of three, or the third or fourth of one of four */
	__m128i third = _mm_subs_epu8(back_2, _mm_set1_epi8(0xe0 - 0x80));
	__m128i fourth = _mm_subs_epu8(back_3, _mm_set1_epi8(0xf0 - 0x80));
	__m128i follows = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8((char)0x80));

	return _mm_xor_si128(follows, _mm_and_si128(_mm_and_si128(a, b), c));
}

WITH_SSSE3 static bool valid_ssse3(const uint8_t *data, size_t len)
{
	const __m128i most = load_16(last_whole + 16);
	__m128i previous = _mm_setzero_si128(), error = previous, block;

	for (; len >= 16; data += 16, len -= 16) {
		block = load_16(data);
		if (_mm_movemask_epi8(block))
			error = _mm_or_si128(error, check_16(block, previous));
		else
			error = _mm_or_si128(error, _mm_subs_epu8(previous, most));
		previous = block;
	}
	if (len > 0) {
		block = load_short(data, len);
		error = _mm_or_si128(error, check_16(block, previous));
		previous = block;
	}
	error = _mm_or_si128(error, _mm_subs_epu8(previous, most));
	return _mm_movemask_epi8(_mm_cmpeq_epi8(error, _mm_setzero_si128())) == 0xffff;
}

WITH_AVX2 static inline __m256i load_32(const uint8_t *data)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)data);
}

/* 0..31 bytes with zeros behind. */
WITH_AVX2 static inline __m256i load_rest(const uint8_t *data, size_t len)
{
	if (len < 16)
		return _mm256_set_m128i(_mm_setzero_si128(), load_short(data, len));
	return _mm256_set_m128i(load_short(data + 16, len - 16), load_16(data));
}

WITH_AVX2 static inline __m256i twice(const uint8_t *table)
{
	return _mm256_broadcastsi128_si256(load_16(table));
}

/* As check_16(); the shifts need the middle of both blocks because they work on halves. */
WITH_AVX2 static inline __m256i check_32(__m256i block, __m256i previous)
{
	const __m256i half = _mm256_set1_epi8(0x0f);
	__m256i middle = _mm256_permute2x128_si256(previous, block, 0x21);
	__m256i back_1 = _mm256_alignr_epi8(block, middle, 15);
	__m256i back_2 = _mm256_alignr_epi8(block, middle, 14);
	__m256i back_3 = _mm256_alignr_epi8(block, middle, 13);
	__m256i a = _mm256_shuffle_epi8(twice(first_high),
					_mm256_and_si256(_mm256_srli_epi16(back_1, 4), half));
	__m256i b = _mm256_shuffle_epi8(twice(first_low), _mm256_and_si256(back_1, half));
	__m256i c = _mm256_shuffle_epi8(twice(second_high),
					_mm256_and_si256(_mm256_srli_epi16(block, 4), half));
	__m256i third = _mm256_subs_epu8(back_2, _mm256_set1_epi8(0xe0 - 0x80));
	__m256i fourth = _mm256_subs_epu8(back_3, _mm256_set1_epi8(0xf0 - 0x80));
	__m256i follows =
		_mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));

	return _mm256_xor_si256(follows, _mm256_and_si256(_mm256_and_si256(a, b), c));
}

WITH_AVX2 static bool valid_avx2(const uint8_t *data, size_t len)
{
	const __m256i most = load_32(last_whole);
	__m256i previous = _mm256_setzero_si256(), error = previous, low, high;

	for (; len >= 64; data += 64, len -= 64) {
		low = load_32(data);
		high = load_32(data + 32);
		if (_mm256_movemask_epi8(_mm256_or_si256(low, high))) {
			error = _mm256_or_si256(error, check_32(low, previous));
			error = _mm256_or_si256(error, check_32(high, low));
		} else {
			error = _mm256_or_si256(error, _mm256_subs_epu8(previous, most));
		}
		previous = high;
	}
	if (len >= 32) {
		low = load_32(data);
		error = _mm256_or_si256(error, check_32(low, previous));
		previous = low;
		data += 32;
		len -= 32;
	}
	if (len > 0) {
		low = load_rest(data, len);
		error = _mm256_or_si256(error, check_32(low, previous));
		previous = low;
	}
	error = _mm256_or_si256(error, _mm256_subs_epu8(previous, most));
	return _mm256_testz_si256(error, error);
}
#endif

/* --- which of them ---------------------------------------------------------------------------- */

typedef bool valid_fn(const uint8_t *data, size_t len);

static valid_fn valid_first_time;
static valid_fn *valid_mixed = valid_first_time;

/* Two threads that come here at once both store the same. */
static bool valid_first_time(const uint8_t *data, size_t len)
{
	valid_fn *best = valid_portable;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		best = valid_avx2;
	else if (__builtin_cpu_supports("ssse3"))
		best = valid_ssse3;
#endif
	__atomic_store_n(&valid_mixed, best, __ATOMIC_RELAXED);
	return best(data, len);
}

bool utf8_valid(const uint8_t *data, size_t len)
{
	size_t ascii = ascii_run(data, len);

	return ascii == len ||
	       __atomic_load_n(&valid_mixed, __ATOMIC_RELAXED)(data + ascii, len - ascii);
}

/* --- pieces ----------------------------------------------------------------------------------- */

bool utf8_feed(struct utf8 *utf8, const uint8_t *data, size_t len)
{
	size_t whole;

	for (; utf8->state != WHOLE && len > 0; data++, len--) {
		utf8->state = state_after(utf8->state, *data);
		if (utf8->state == BAD)
			return false;
	}
	whole = len;
	if (len > 0 && data[len - 1] >= 0x80) /* spares most the call */
		whole -= utf8_tail(data, len);
	if (!utf8_valid(data, whole)) {
		utf8->state = BAD;
		return false;
	}
	for (; whole < len; whole++)
		utf8->state = state_after(utf8->state, data[whole]);
	return true;
}

size_t utf8_tail(const uint8_t *data, size_t len)
{
	uint32_t state = WHOLE;
	size_t n = 1;

	while (n < 3 && n < len && (data[len - n] & 0xc0) == 0x80)
		n++;
	if (n > len || data[len - n] < 0xc2)
		return 0;
	for (size_t i = len - n; i < len; i++)
		state = state_after(state, data[i]);
	return state == WHOLE || state == BAD ? 0 : n;
}
