/* What a cause says is fit to be shown, whoever has said it. */
#include "base/cause.h"
#include "check.h"

static void check_text(const char *given, const char *shown)
{
	struct cause cause;

	cause_set(&cause, CAUSE_CLOSED, 1000, "%s", given);
	CHECK_STR(cause.text, shown);
}

static void test_fields(void)
{
	struct cause cause;

	memset(&cause, 0xee, sizeof(cause));
	cause_set(&cause, CAUSE_HTTP, 503, "status %d", 503);
	CHECK_EQ(cause.class, CAUSE_HTTP);
	CHECK_EQ(cause.code, 503);
	CHECK_EQ(cause.retry_after_ms, 0);
	CHECK_STR(cause.text, "status 503");
	cause_set(&cause, CAUSE_PROXY, 1, "proxy: %s", cause.text); /* its own old text */
	CHECK_STR(cause.text, "proxy: status 503");
}

static void test_names(void)
{
	for (int i = 0; i < CAUSE_CLASSES; i++)
		for (int j = 0; j < i; j++)
			CHECK(strcmp(cause_class_name((enum cause_class)i),
				     cause_class_name((enum cause_class)j)) != 0);
	CHECK_STR(cause_class_name(CAUSE_NONE), "none");
	CHECK_STR(cause_class_name(CAUSE_DNS), "dns");
	CHECK_STR(cause_class_name(CAUSE_TLS), "tls");
	CHECK_STR(cause_class_name(CAUSE_OPERATOR), "operator");
	CHECK_STR(cause_class_name(CAUSE_CLASSES), "unknown");
}

static void test_clean(void)
{
	check_text("", "");
	check_text("plain", "plain");
	check_text("two\nlines\r\t\x1b[31m\x7f", "two?lines???[31m?");
	check_text("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	check_text("\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80");
	check_text("csi \xc2\x9b!", "csi ?!"); /* C1 */
	check_text("\xc2\xa0", "\xc2\xa0");    /* just above */
	check_text("a\xff\xfex", "a??x");
	check_text("\xc0\xaf", "??"); /* overlong */
	check_text("\xe0\x80\xaf", "???");
	check_text("\xf0\x80\x80\xaf", "????");
	check_text("\xed\xa0\x80", "???");      /* a surrogate */
	check_text("\xf4\x90\x80\x80", "????"); /* above U+10FFFF */
	check_text("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf");
	check_text("end\xc3", "end?"); /* broken, not cut by us */
	check_text("\xe2\x82x", "??x");
	check_text("\x80", "?");
}

/* PAD bytes ahead of a run of characters, so that the border falls on each of their bytes. */
static void check_cut(size_t pad, const char *character)
{
	struct cause cause;
	char given[600] = "";
	size_t len = strlen(character);

	memset(given, 'a', pad);
	for (size_t i = pad; i + len < sizeof(given); i += len)
		memcpy(given + i, character, len + 1);
	cause_set(&cause, CAUSE_LOCAL, 0, "%s", given);
	CHECK(strlen(cause.text) > sizeof(cause.text) - 1 - len);
	CHECK_EQ((strlen(cause.text) - pad) % len, 0);
	CHECK(memcmp(cause.text, given, strlen(cause.text)) == 0);
}

static void test_cut(void)
{
	for (size_t pad = 0; pad < 4; pad++) {
		check_cut(pad, "\xc3\xbc");
		check_cut(pad, "\xe2\x82\xac");
		check_cut(pad, "\xf0\x9f\x98\x80");
	}
}

int main(void)
{
	test_fields();
	test_names();
	test_clean();
	test_cut();
	return 0;
}
