/* latestdir: the newest message of each value, few replacements, never more files than allowed, and
 * nothing that does not belong there. */
#include "feed.h"

#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>

static char *kinds[] = {(char *)"status", NULL};

/* All names, in no order that anybody knows: so only how many, and each by name. */
static int files(void)
{
	int fd = openat(dir_fd, "latest", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = -2;
	DIR *listing = fdopendir(fd);

	CHECK(listing);
	while (readdir(listing))
		n++;
	closedir(listing);
	return n;
}

static bool is_content(const char *name, const char *expected)
{
	static char text[1 << 16];
	char path[300];
	struct buf out;
	int r;

	snprintf(path, sizeof(path), "latest/%s", name);
	buf_init(&out, sizeof(text) - 1);
	r = file_read(dir_fd, path, &out);
	if (r == 0) {
		memcpy(text, buf_head(&out), buf_len(&out));
		text[buf_len(&out)] = '\0';
	}
	buf_done(&out);
	return r == 0 && strcmp(text, expected) == 0;
}

static void begin(void)
{
	feed_defaults(kinds);
	options.latest = (char *)"/s";
	options.latest_max = 1000;
	make();
}

static void receive_value(const char *value, int number)
{
	char text[200];

	snprintf(text, sizeof(text), "{\"s\":%s,\"n\":%d}", value, number);
	receive(text);
}

static void check_values(void)
{
	begin();
	receive_value("\"A\"", 1);
	receive_value("\"B\"", 1);
	receive_value("17", 1);
	receive("{\"s\":[1]}");
	receive("{\"t\":1}");
	receive("nothing");
	receive_value("\"A\"", 2);
	receive_value("\"\\u0041\"", 3); /* the same */
	UNTIL(is_content("A", "{\"s\":\"\\u0041\",\"n\":3}\n"));
	CHECK(is_content("B", "{\"s\":\"B\",\"n\":1}\n"));
	CHECK(is_content("17", "{\"s\":17,\"n\":1}\n"));
	CHECK_EQ(files(), 3);
	CHECK_EQ(described("\"values\":"), 3);
	unmake();
}

/* Replacements that the kernel has seen. */
static int replaced(int inotify)
{
	char events[65536];
	ssize_t n = read(inotify, events, sizeof(events));
	int count = 0;

	for (ssize_t at = 0; at < n; count++)
		at += (ssize_t)(sizeof(struct inotify_event) +
				((struct inotify_event *)(void *)(events + at))->len);
	return count;
}

static void check_coalesced(void)
{
	int inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	char path[100];

	begin();
	snprintf(path, sizeof(path), "%s/feed/latest", root);
	CHECK(inotify_add_watch(inotify, path, IN_MOVED_TO) >= 0);
	for (int i = 0; i < 1500; i++)
		receive_value(i % 3 ? "\"A\"" : "\"B\"", i);
	UNTIL(described("\"behind_messages\":") == 0);
	CHECK_EQ(replaced(inotify), 2);
	CHECK(is_content("A", "{\"s\":\"A\",\"n\":1499}\n"));
	CHECK(is_content("B", "{\"s\":\"B\",\"n\":1497}\n"));
	/* more than one turn takes, and more values, too */
	for (int i = 0; i < 10000; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i % 500);
		receive_value(value, i);
	}
	UNTIL(described("\"behind_messages\":") == 0);
	CHECK(is_content("499", "{\"s\":499,\"n\":9999}\n"));
	CHECK_EQ(files(), 502);
	unmake();
	close(inotify);
}

static void check_bounded(void)
{
	begin();
	unmake_endpoints(true);
	options.latest_max = 2;
	make_endpoints();
	receive_value("1", 1);
	receive_value("2", 1);
	UNTIL(files() == 2);
	receive_value("1", 2);
	receive_value("3", 1); /* 2 was not changed for the longest time */
	UNTIL(is_content("3", "{\"s\":3,\"n\":1}\n"));
	CHECK(is_content("1", "{\"s\":1,\"n\":2}\n"));
	CHECK_EQ(files(), 2);
	CHECK_EQ(described("\"removed\":"), 1);
	for (int i = 10; i < 1000; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i);
		receive_value(value, i);
	}
	UNTIL(described("\"behind_messages\":") == 0);
	CHECK_EQ(files(), 2);
	CHECK(is_content("998", "{\"s\":998,\"n\":998}\n") &&
	      is_content("999", "{\"s\":999,\"n\":999}\n"));
	unmake();
}

static void put_stray(const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), "latest/%s", name);
	CHECK_EQ(file_replace(dir_fd, path, "?", 1, NULL, 0), 0);
}

static void check_swept(void)
{
	begin();
	receive_value("1", 1);
	receive_value("2", 1);
	UNTIL(files() == 2);
	put_stray("3");
	put_stray(".1.new");
	put_stray("2");
	unmake_endpoints(true);
	make_endpoints();
	UNTIL(files() == 2);
	CHECK(is_content("1", "{\"s\":1,\"n\":1}\n") && is_content("2", "{\"s\":2,\"n\":1}\n"));
	put_stray("3");
	unmake_endpoints(true);
	options.latest = NULL;
	make_endpoints();
	CHECK_EQ(faccessat(dir_fd, "latest", F_OK, 0), -1);
	unmake();
}

int main(void)
{
	feed_init();
	check_values();
	check_coalesced();
	check_bounded();
	check_swept();
	feed_done();
	return 0;
}
