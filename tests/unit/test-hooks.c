/* hooks: which command runs when, what it is told, and what becomes of those that wait. */
#include "feed.h"

#include "endpoint/hooks.h"
#include "endpoint/hookslot.h"

static char *kinds[] = {(char *)"status", NULL};
static struct hooks_options hook_options;
static struct hookslots slots;
static struct hooks *hooks;
static bool settled;
static char path[64], gate[64], command[300];

static void on_settled(void *owner)
{
	CHECK(owner == &settled);
	settled = true;
}

static const char *content(void)
{
	static char text[1 << 16];
	struct buf out;

	buf_init(&out, sizeof(text) - 1);
	text[0] = '\0';
	if (file_read(AT_FDCWD, path, &out) == 0 && buf_len(&out) > 0) {
		memcpy(text, buf_head(&out), buf_len(&out));
		text[buf_len(&out)] = '\0';
	}
	buf_done(&out);
	return text;
}

static bool is_content(const char *expected)
{
	return strcmp(content(), expected) == 0;
}

static long long hook_says(const char *member)
{
	struct buf json;
	const char *at;
	long long number;

	buf_init(&json, 10000);
	CHECK_EQ(hooks_describe(hooks, false, &json), 0);
	CHECK_EQ(buf_append(&json, "", 1), 0);
	at = strstr((char *)buf_head(&json), member);
	number = at ? atoll(at + strlen(member)) : -1;
	buf_done(&json);
	return number;
}

/* One that says what FORMAT has, and waits until the gate is there. */
static char *waits(const char *format)
{
	snprintf(command, sizeof(command),
		 "echo \"%s\" >> %s; while ! test -e %s; do sleep 0.01; done", format, path, gate);
	return command;
}

static void begin(char *on_message, char *on_state)
{
	feed_defaults(kinds);
	hook_options = (struct hooks_options){on_message, on_state};
	settled = false;
	fake_ws_forget();
	CHECK_EQ(conn_new(&conn, "feed", &conn_opts, &pool), 0);
	make_endpoints();
	CHECK_EQ(hooks_new(&hooks, conn, &hook_options, root, &slots, on_settled, &settled), 0);
	conn_open(conn);
	fake_dial_connect(fake_dial_now());
	fake_ws_open(fake_ws_now());
	turns();
}

static void open_gate(void)
{
	int fd = open(gate, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	close(fd);
}

static void end(void)
{
	hooks = hooks_free(hooks);
	unmake();
	unlink(path);
	unlink(gate);
}

/* While the first runs, all others wait; then they take turns. */
static void check_turns(void)
{
	char *line = waits("$WSPIPE_HOOK $WSPIPE_STATE $(cat)");

	begin(line, line);
	receive("one");
	receive("two");
	receive("three");
	UNTIL(is_content("on-state open \n"));
	CHECK_EQ(hook_says("on-message\",\"pid\":null,\"behind_messages\":"), 3);
	turns();
	CHECK(strchr(content(), '\n')[1] == '\0'); /* still that one */
	open_gate();
	UNTIL(hook_says("on-message\",\"pid\":null,\"behind_messages\":") == 0 &&
	      strstr(content(), "three"));
	CHECK(strstr(content(), "one") < strstr(content(), "two"));
	CHECK(strstr(content(), "two") < strstr(content(), "three"));
	end();
}

/* The bytes of a message that runs stay, though the spool drops it; the next one is told what it
 * missed. */
static void check_missed(void)
{
	static char large[60000];

	begin(waits("$WSPIPE_MISSED $(head -c 3)"), NULL);
	receive("one");
	UNTIL(is_content("0 one\n"));
	CHECK_EQ(hook_says("\"behind_messages\":"), 1);
	memset(large, 'x', sizeof(large) - 1);
	for (int i = 0; i < 1000; i++)
		receive(large);
	CHECK(hook_says("\"missed\":") > 100);
	{
		long long missed = hook_says("\"missed\":");
		char expected[64];

		snprintf(expected, sizeof(expected), "0 one\n%lld xxx\n0 xxx\n", missed);
		open_gate();
		UNTIL(strncmp(content(), expected, strlen(expected)) == 0);
	}
	end();
}

static void check_changes_bounded(void)
{
	begin(NULL, waits("$WSPIPE_STATE $WSPIPE_MISSED"));
	UNTIL(*content());
	for (int i = 0; i < 100; i++) {
		fake_ws_end(fake_ws_now(), CAUSE_CLOSED, 4000, 4000, "again");
		turns();
		conn_open(conn);
		fake_dial_connect(fake_dial_now());
		fake_ws_open(fake_ws_now());
		turns();
	}
	CHECK_EQ(hook_says("\"behind_messages\":"), HOOKS_CHANGES_MAX + 1);
	CHECK(hook_says("\"missed\":") > 100);
	open_gate();
	UNTIL(hook_says("\"behind_messages\":") == 0);
	end();
}

/* What waits is worked off; and what does not end is killed. */
static void check_settle(void)
{
	begin(waits("$(cat)"), NULL);
	receive("one");
	receive("two");
	UNTIL(is_content("one\n"));
	CHECK(!hooks_settle(hooks));
	open_gate();
	UNTIL(settled);
	CHECK(is_content("one\ntwo\n"));
	CHECK(hooks_settle(hooks));
	end();

	begin(waits("$(cat)"), NULL);
	receive("one");
	receive("two");
	UNTIL(is_content("one\n"));
	CHECK(!hooks_settle(hooks));
	UNTIL(settled); /* HOOKS_SETTLE_MS */
	CHECK_EQ(hook_says("\"behind_messages\":"), 1);
	open_gate();
	turns();
	CHECK(is_content("one\n"));
	end();
}

static void check_options(void)
{
	struct hooks_options none = {0};

	begin(waits("$(cat)"), NULL);
	receive("one");
	UNTIL(is_content("one\n"));
	receive("two");
	CHECK_EQ(hooks_set_options(hooks, &none), 0); /* what runs goes on */
	receive("three");
	open_gate();
	turns();
	CHECK_EQ(hooks_set_options(hooks, &hook_options), 0);
	receive("four");
	UNTIL(is_content("one\nfour\n"));
	end();
}

int main(void)
{
	feed_init();
	hookslots_init(&slots);
	snprintf(path, sizeof(path), "%s/said", root);
	snprintf(gate, sizeof(gate), "%s/gate", root);
	check_turns();
	check_missed();
	check_changes_bounded();
	check_settle();
	check_options();
	feed_done();
	return 0;
}
