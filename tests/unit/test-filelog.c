/* filelog: every message once and whole in the files, over rotation, full disks and moved files. */
#include "feed.h"

#include <sys/resource.h>
#include <sys/stat.h>

static char *kinds[] = {(char *)"status", NULL};
static char path[64];

static const char *content(int number)
{
	static char text[1 << 20];
	char name[80];
	struct buf out;

	snprintf(name, sizeof(name), number ? "%s.%d" : "%s", path, number);
	buf_init(&out, sizeof(text) - 1);
	if (file_read(AT_FDCWD, name, &out) < 0)
		return NULL;
	memcpy(text, buf_head(&out) ? buf_head(&out) : (uint8_t *)"", buf_len(&out));
	text[buf_len(&out)] = '\0';
	buf_done(&out);
	return text;
}

static bool is_content(int number, const char *expected)
{
	const char *text = content(number);

	return text && strcmp(text, expected) == 0;
}

static void remove_all(void)
{
	char name[80];

	unlink(path);
	for (int i = 1; i < 20; i++) {
		snprintf(name, sizeof(name), "%s.%d", path, i);
		unlink(name);
	}
}

static void begin(void)
{
	feed_defaults(kinds);
	options.file = path;
	options.file_max_bytes = 1 << 20;
	options.file_keep = 3;
}

static void end(void)
{
	unmake();
	remove_all();
}

static void check_append(void)
{
	struct stat st;

	begin();
	make();
	UNTIL(is_content(0, "")); /* there before the first message */
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode, S_IFREG | 0600);
	receive("one");
	receive("two");
	UNTIL(is_content(0, "one\ntwo\n"));
	/* made anew: nothing twice */
	unmake_endpoints(true);
	make_endpoints();
	receive("three");
	UNTIL(is_content(0, "one\ntwo\nthree\n"));
	/* logrotate's copytruncate, and then its other way */
	CHECK_EQ(truncate(path, 0), 0);
	receive("four");
	UNTIL(is_content(0, "four\n"));
	{
		char moved[80];

		snprintf(moved, sizeof(moved), "%s.1", path);
		CHECK_EQ(rename(path, moved), 0);
		receive("still there");
		UNTIL(is_content(1, "four\nstill there\n"));
		endpoints_reopen(endpoints);
		UNTIL(is_content(0, ""));
		receive("here");
		UNTIL(is_content(0, "here\n"));
	}
	/* what came last is written before the end */
	receive("last words");
	unmake_endpoints(true);
	CHECK(is_content(0, "here\nlast words\n"));
	make_endpoints();
	end();
}

static void check_rotation(void)
{
	static char large[3000];

	begin();
	options.file_max_bytes = 20;
	make();
	receive_numbers(100, 115); /* five fit into 20 bytes */
	UNTIL(is_content(0, "110\n111\n112\n113\n114\n"));
	CHECK(is_content(1, "105\n106\n107\n108\n109\n"));
	CHECK(is_content(2, "100\n101\n102\n103\n104\n"));
	CHECK(!content(3));
	receive_numbers(115, 126);
	UNTIL(is_content(0, "125\n"));
	CHECK(is_content(1, "120\n121\n122\n123\n124\n"));
	CHECK(is_content(3, "110\n111\n112\n113\n114\n"));
	CHECK(!content(4));
	/* one that is longer than a whole file has one of its own */
	memset(large, 'x', sizeof(large) - 1);
	receive(large);
	receive("z");
	UNTIL(is_content(0, "z\n"));
	CHECK_EQ(strlen(content(1)), 3000);
	CHECK(is_content(2, "125\n"));
	options.file_keep = 0;
	receive_numbers(1000, 1005);
	UNTIL(is_content(0, "1004\n") || is_content(0, "1003\n1004\n"));
	CHECK_EQ(strlen(content(1)), 3000);
	end();
}

static int lines_in_order(const char *text, int from)
{
	for (; *text; from++) {
		char *rest;

		CHECK_EQ(strtol(text, &rest, 10), from);
		CHECK(*rest == '\n');
		text = rest + 1;
	}
	return from;
}

/* A limit on the size of files stands for the disk. */
static void check_full_disk(void)
{
	struct rlimit limit, old;
	int n;

	begin();
	make();
	UNTIL(content(0));
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 1003; /* in the middle of a line */
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	receive_numbers(0, 1000);
	UNTIL(described("\"failures\":") > 0);
	n = lines_in_order(content(0), 0); /* no half of a line */
	CHECK_EQ(described("\"behind_messages\":"), 1000 - n);
	CHECK_EQ(described("\"missed\":"), 0);
	receive_numbers(1000, 1001);
	turns();
	CHECK(described("\"failures\":") <= 2); /* tried once a second */
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
	UNTIL(described("\"behind_messages\":") == 0);
	CHECK_EQ(lines_in_order(content(0), 0), 1001);
	end();
}

static void check_refused(void)
{
	begin();
	CHECK_EQ(mkfifo(path, 0600), 0);
	make(); /* it neither hangs nor fails */
	receive("one");
	UNTIL(described("\"failures\":") > 0);
	CHECK_EQ(unlink(path), 0);
	UNTIL(is_content(0, "one\n")); /* mended */
	end();
}

static void check_large_and_many(void)
{
	static char large[100001];
	size_t expected = 0;

	begin();
	options.framing = FRAMING_JSON;
	make();
	memset(large, 'x', sizeof(large) - 1);
	receive(large);
	receive_numbers(0, 5000);
	receive(large);
	UNTIL(described("\"behind_messages\":") == 0);
	turns();
	for (const char *at = content(0); (at = strchr(at, '\n')); at++)
		expected++;
	CHECK_EQ(expected, 5003); /* and the mark of the open */
	end();
}

int main(void)
{
	feed_init();
	snprintf(path, sizeof(path), "%s/log", root);
	check_append();
	check_rotation();
	check_full_disk();
	check_refused();
	check_large_and_many();
	feed_done();
	return 0;
}
