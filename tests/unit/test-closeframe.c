/* closeframe: what a Close says, from words to bytes and back, and which ones break a rule. */
#include "net/closeframe.h"

#include "check.h"
#include "net/closecode.h"

static void check_encode(uint16_t code, const char *reason, const char *bytes, size_t len)
{
	uint8_t payload[CLOSEFRAME_PAYLOAD_MAX];
	struct closeframe close;

	closeframe_set(&close, code, reason);
	CHECK_EQ(closeframe_encode(&close, payload), len);
	CHECK(memcmp(payload, bytes, len) == 0);
}

/* 62 characters of two bytes are one byte too many, and none is cut in two. */
static void check_cut(void)
{
	char reason[2 * 62 + 1];
	struct closeframe close;

	for (size_t i = 0; i < sizeof(reason) - 1; i += 2)
		memcpy(reason + i, "\xc3\xa4", 2);
	reason[sizeof(reason) - 1] = '\0';
	closeframe_set(&close, 1000, reason);
	CHECK_EQ(strlen(close.reason), 122);
	memset(reason, 'x', sizeof(reason) - 1);
	closeframe_set(&close, 1000, reason);
	CHECK_EQ(strlen(close.reason), CLOSEFRAME_REASON_MAX);
	CHECK(!closeframe_refuse(&close, 1002, "%s", reason));
	CHECK_EQ(strlen(close.reason), CLOSEFRAME_REASON_MAX);
	CHECK_EQ(close.code, 1002);
}

static void check_good(const char *payload, size_t len, uint16_t code)
{
	struct closeframe refusal;
	uint16_t got = 1;

	CHECK(closeframe_judge((const uint8_t *)payload, len, &got, &refusal));
	CHECK_EQ(got, code);
}

static void check_bad(const char *payload, size_t len, uint16_t refused_with)
{
	struct closeframe refusal;
	uint16_t got = 1;

	CHECK(!closeframe_judge((const uint8_t *)payload, len, &got, &refusal));
	CHECK_EQ(refusal.code, refused_with);
	CHECK(refusal.reason[0]);
	CHECK_EQ(got, 1);
}

int main(void)
{
	check_encode(1000, NULL, "\x03\xe8", 2);
	check_encode(4711, "why", "\x12\x67why", 5);
	check_encode(0, "nobody hears it", "", 0);
	check_cut();
	check_good("", 0, CLOSECODE_NONE);
	check_good("\x03\xe8", 2, 1000);
	check_good("\x03\xf4gone \xc3\xa4", 9, 1012);
	check_bad("\x03", 1, CLOSECODE_PROTOCOL);
	check_bad("\x03\xed", 2, CLOSECODE_PROTOCOL); /* 1005 */
	check_bad("\x00\x00", 2, CLOSECODE_PROTOCOL);
	check_bad("\x03\xe8\xc3", 3, CLOSECODE_INVALID);
	return 0;
}
