/* Names of files for bytes of any kind: readable, harmless, different. */
#include "check.h"
#include "codec/safename.h"

static char name[SAFENAME_MAX + 1];

static const char *made_of(const void *bytes, size_t len)
{
	size_t n = safename_make(name, bytes, len);

	CHECK_EQ(strlen(name), n);
	CHECK(n > 0 && n <= SAFENAME_MAX);
	CHECK(!strchr(name, '/') && name[0] != '.' && name[0] != '-');
	return name;
}

static const char *made(const char *text)
{
	return made_of(text, strlen(text));
}

static void test_short(void)
{
	CHECK_STR(made("ES_F.26-x"), "ES_F.26-x");
	CHECK_STR(made("BTC/USD"), "BTC%2FUSD");
	CHECK_STR(made("."), "%2E");
	CHECK_STR(made(".."), "%2E.");
	CHECK_STR(made("-rf"), "%2Drf");
	CHECK_STR(made(""), "%");
	CHECK_STR(made_of(NULL, 0), "%");
	CHECK_STR(made("%"), "%25");
	CHECK_STR(made("%2F"), "%252F");
	CHECK_STR(made_of("\0\xff", 2), "%00%FF");
	CHECK_STR(made("a b\n"), "a%20b%0A");
}

/* Long ones differ by their digest, and never end in the middle of %XX. */
static void test_long(void)
{
	char bytes[5000], first[SAFENAME_MAX + 1];

	memset(bytes, 'x', sizeof(bytes));
	CHECK_EQ(strlen(made_of(bytes, SAFENAME_MAX)), SAFENAME_MAX);
	CHECK(!strchr(name, '%'));
	CHECK_EQ(strlen(made_of(bytes, SAFENAME_MAX + 1)), SAFENAME_MAX);
	CHECK_EQ(strncmp(name + SAFENAME_MAX - 18, "%-", 2), 0);
	strcpy(first, name);
	CHECK(strcmp(made_of(bytes, SAFENAME_MAX + 2), first) != 0);
	strcpy(first, made_of(bytes, sizeof(bytes)));
	bytes[sizeof(bytes) - 1] = 'y';
	CHECK(strcmp(made_of(bytes, sizeof(bytes)), first) != 0);
	for (size_t plain = 0; plain < 6; plain++) {
		memset(bytes, ' ', sizeof(bytes));
		memset(bytes, 'x', plain);
		made_of(bytes, sizeof(bytes));
		CHECK_EQ((strlen(name) - plain - 18) % 3, 0);
	}
}

int main(void)
{
	test_short();
	test_long();
	return 0;
}
