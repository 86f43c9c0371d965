#include <errno.h>
#include <stdbool.h>

#include "check.h"
#include "codec/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* A bit at a time. */
static void slow_encode(char *out, const uint8_t *data, size_t len)
{
	size_t chars = base64_encoded_len(len), bits = len * 8;

	for (size_t i = 0; i < chars; i++) {
		unsigned value = 0;

		for (size_t bit = i * 6; bit < i * 6 + 6; bit++)
			value = value << 1 | (bit < bits ? data[bit / 8] >> (7 - bit % 8) & 1u : 0);
		out[i] = i * 6 < bits ? letters[value] : '=';
	}
}

static void test_rfc(void)
{
	static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
	static const char *const coded[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
					    "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

	for (size_t i = 0; i < 7; i++) {
		char text[16] = "", back[16] = "";

		base64_encode(text, (const uint8_t *)plain[i], strlen(plain[i]));
		CHECK_STR(text, coded[i]);
		CHECK_EQ(base64_encoded_len(strlen(plain[i])), strlen(coded[i]));
		CHECK_EQ(base64_decode((uint8_t *)back, coded[i], strlen(coded[i])),
			 strlen(plain[i]));
		CHECK_STR(back, plain[i]);
	}
}

static void test_round_trip(void)
{
	unsigned seed = 7;

	for (size_t len = 0; len < 300; len++) {
		size_t chars = base64_encoded_len(len);
		uint8_t *data = malloc(len + 1), *back = malloc(chars / 4 * 3 + 1);
		char *text = malloc(chars + 1), *slow = malloc(chars + 1);

		CHECK(data && back && text && slow);
		for (size_t i = 0; i < len; i++)
			data[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
		text[chars] = '~';
		base64_encode(text, data, len);
		slow_encode(slow, data, len);
		CHECK(text[chars] == '~');
		CHECK(memcmp(text, slow, chars) == 0);
		CHECK_EQ(base64_decode(back, text, chars), len);
		CHECK(memcmp(back, data, len) == 0);
		CHECK_EQ(base64_decode((uint8_t *)text, text, chars), len); /* in place */
		CHECK(memcmp(text, data, len) == 0);
		free(data), free(back), free(text), free(slow);
	}
}

static bool bad(const char *text)
{
	uint8_t out[64];

	return base64_decode(out, text, strlen(text)) == -EINVAL;
}

static void test_strict(void)
{
	static const char *const wrong[] = {
		"Z",        "Zg",   "Zg=",    "Zm9vY",      "Zm8",          "=",        "==",
		"===",      "====", "Z===",   "A=A=",       "Zg==Zg==",     "Zm8=Zm8=", "Zg=A",
		"=AAA",     "AA=A", "Zm9v\n", "Zm9v\nZm9v", " Zm9",         "Zm-_",     "Zm9v====",
		"Zm9\xc3",  "Zh==", "Zv==",   "Zo==",       "Zm9=",         "Zm+=",     "Zm8==",
		"Zm8=AAAA", "Z@==", "@Z==",   "Zm@=",       "Zg==\n\n\n\n",
	};
	uint8_t out[8];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (!bad(wrong[i]))
			CHECK_STR("taken", wrong[i]);
	CHECK_EQ(base64_decode(out, "Zm\0v", 4), -EINVAL);
	for (int c = 0; c < 256; c++) { /* each byte at each place */
		for (size_t at = 0; at < 4; at++) {
			char text[9] = "AAAAAAAA";
			bool member = c != 0 && strchr(letters, c);

			text[at] = (char)c;
			CHECK_EQ(base64_decode(out, text, 8), member ? 6 : -EINVAL);
		}
	}
}

int main(void)
{
	test_rfc();
	test_round_trip();
	test_strict();
	return 0;
}
