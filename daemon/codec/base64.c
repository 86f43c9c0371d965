/* base64 - three bytes to four characters and back, a group at a time. */
#include <errno.h>
#include <stdbool.h>

#include "codec/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { MEMBER = 64 }; /* set in all that the alphabet has, so that one AND judges a whole group */

#define M(n) (MEMBER | (n))
static const uint8_t values[256] = {
	['A'] = M(0),  ['B'] = M(1),  ['C'] = M(2),  ['D'] = M(3),  ['E'] = M(4),  ['F'] = M(5),
	['G'] = M(6),  ['H'] = M(7),  ['I'] = M(8),  ['J'] = M(9),  ['K'] = M(10), ['L'] = M(11),
	['M'] = M(12), ['N'] = M(13), ['O'] = M(14), ['P'] = M(15), ['Q'] = M(16), ['R'] = M(17),
	['S'] = M(18), ['T'] = M(19), ['U'] = M(20), ['V'] = M(21), ['W'] = M(22), ['X'] = M(23),
	['Y'] = M(24), ['Z'] = M(25), ['a'] = M(26), ['b'] = M(27), ['c'] = M(28), ['d'] = M(29),
	['e'] = M(30), ['f'] = M(31), ['g'] = M(32), ['h'] = M(33), ['i'] = M(34), ['j'] = M(35),
	['k'] = M(36), ['l'] = M(37), ['m'] = M(38), ['n'] = M(39), ['o'] = M(40), ['p'] = M(41),
	['q'] = M(42), ['r'] = M(43), ['s'] = M(44), ['t'] = M(45), ['u'] = M(46), ['v'] = M(47),
	['w'] = M(48), ['x'] = M(49), ['y'] = M(50), ['z'] = M(51), ['0'] = M(52), ['1'] = M(53),
	['2'] = M(54), ['3'] = M(55), ['4'] = M(56), ['5'] = M(57), ['6'] = M(58), ['7'] = M(59),
	['8'] = M(60), ['9'] = M(61), ['+'] = M(62), ['/'] = M(63),
};
#undef M

static inline void encode_group(char *out, uint32_t bits)
{
	out[0] = alphabet[bits >> 18];
	out[1] = alphabet[bits >> 12 & 63];
	out[2] = alphabet[bits >> 6 & 63];
	out[3] = alphabet[bits & 63];
}

void base64_encode(char *out, const uint8_t *data, size_t len)
{
	for (; len >= 3; len -= 3, data += 3, out += 4)
		encode_group(out, (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2]);
	if (len == 0)
		return;
	encode_group(out, (uint32_t)data[0] << 16 | (len == 2 ? (uint32_t)data[1] << 8 : 0));
	out[3] = '=';
	if (len == 1)
		out[2] = '=';
}

/* All four characters are read before the first byte is written: OUT may be IN. */
static inline bool decode_group(uint8_t *out, const uint8_t *in)
{
	uint32_t a = values[in[0]], b = values[in[1]], c = values[in[2]], d = values[in[3]];

	if (!(a & b & c & d & MEMBER))
		return false;
	out[0] = (uint8_t)(a << 2 | (b & 63) >> 4);
	out[1] = (uint8_t)(b << 4 | (c & 63) >> 2);
	out[2] = (uint8_t)(c << 6 | (d & 63));
	return true;
}

/* "xx==" and "xxx=": 1 or 2 bytes, -EINVAL also for bits that encode nothing. */
static ssize_t decode_padded(uint8_t *out, const uint8_t *in)
{
	uint32_t a = values[in[0]], b = values[in[1]], c = values[in[2]];

	if (!(a & b & MEMBER))
		return -EINVAL;
	if (in[2] == '=') {
		if (b & 15)
			return -EINVAL;
		out[0] = (uint8_t)(a << 2 | (b & 63) >> 4);
		return 1;
	}
	if (!(c & MEMBER) || (c & 3))
		return -EINVAL;
	out[0] = (uint8_t)(a << 2 | (b & 63) >> 4);
	out[1] = (uint8_t)(b << 4 | (c & 63) >> 2);
	return 2;
}

ssize_t base64_decode(uint8_t *out, const char *in, size_t len)
{
	const uint8_t *from = (const uint8_t *)in, *end = from + len;
	uint8_t *start = out;
	ssize_t last = 0;

	if (len % 4 != 0)
		return -EINVAL;
	if (len > 0 && end[-1] == '=')
		end -= 4;
	for (; from < end; from += 4, out += 3)
		if (!decode_group(out, from))
			return -EINVAL;
	if (from < (const uint8_t *)in + len) {
		last = decode_padded(out, from);
		if (last < 0)
			return last;
	}
	return out - start + last;
}
