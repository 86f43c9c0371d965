/* What `access` grants: on which object which bits, and whom a socket lets in. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "endpoint/access.h"

#define LIST(...)                                                                                  \
	(char *[])                                                                                 \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

/* Nobody has these numbers as names, or as his own. */
enum { ANNA = 2000000001, BERT = 2000000002, OPS = 2000000003, CRON = 2000000004 };

static void parse(struct access *access, char **list)
{
	const char *problem = NULL;

	CHECK_EQ(access_parse(access, list, &problem), 0);
}

static void refused(char *text)
{
	const char *problem = NULL;
	struct access access;

	CHECK_EQ(access_parse(&access, LIST("user:2000000001", text), &problem), -EINVAL);
	CHECK(problem && *problem);
}

static void test_parse(void)
{
	struct access access;
	const char *problem;

	CHECK_EQ(access_parse(&access, NULL, &problem), 0);
	CHECK_EQ(access.rules, 0);
	access_done(&access);

	parse(&access, LIST("user:root", "group:root:read", "user:2000000001:write"));
	CHECK_EQ(access.rules, 3);
	CHECK_EQ(access.rule[0].id, 0);
	CHECK(!access.rule[0].is_group && access.rule[0].read && access.rule[0].write);
	CHECK(access.rule[1].is_group && access.rule[1].read && !access.rule[1].write);
	CHECK_EQ(access.rule[2].id, ANNA);
	CHECK(!access.rule[2].read && access.rule[2].write);
	access_done(&access);
	CHECK_EQ(access.rules, 0);
	access_done(&access);

	refused("");
	refused("root");
	refused("user");
	refused("user:");
	refused("user::read");
	refused("user:root:");
	refused("user:root:rw");
	refused("user:root:read:write");
	refused("other:root");
	refused("User:root");
	refused("user:no-such-user-here");
	refused("group:no-such-group-here");
	refused("user:4294967295");
	refused("user:18446744073709551617");
	refused("user:-1");
	refused("user: root");
}

/* An ACL with two entries for one user is refused by the kernel. */
static void test_merge(void)
{
	struct access access;

	parse(&access,
	      LIST("user:2000000001:read", "group:2000000001:read", "user:2000000001:write"));
	CHECK_EQ(access.rules, 2);
	CHECK(access.rule[0].read && access.rule[0].write);
	CHECK(access.rule[1].is_group && !access.rule[1].write);
	access_done(&access);
}

static void grants_are(const struct access *access, enum access_object object, unsigned anna,
		       unsigned bert, unsigned ops)
{
	unsigned found[3] = {0};
	struct file_grant *grants;
	size_t n;

	CHECK_EQ(access_grants(access, object, &grants, &n), 0);
	CHECK_EQ(n, !!anna + !!bert + !!ops);
	CHECK(n > 0 || !grants);
	for (size_t i = 0; i < n; i++) {
		CHECK(grants[i].is_group == (grants[i].id == OPS));
		found[grants[i].id - ANNA] = grants[i].perms;
	}
	CHECK_EQ(found[0], anna);
	CHECK_EQ(found[1], bert);
	CHECK_EQ(found[2], ops);
	free(grants);
}

static void test_grants(void)
{
	struct access access;

	parse(&access, LIST("user:2000000001:read", "user:2000000002:write", "group:2000000003"));
	grants_are(&access, ACCESS_DIRECTORY, 1, 1, 1);
	grants_are(&access, ACCESS_INPUT, 0, 2, 2);
	grants_are(&access, ACCESS_OUTPUT, 4, 0, 4);
	grants_are(&access, ACCESS_SOCKET, 6, 6, 6);
	access_done(&access);

	parse(&access, LIST("user:2000000001:read"));
	grants_are(&access, ACCESS_INPUT, 0, 0, 0);
	access_done(&access);
	grants_are(&access, ACCESS_DIRECTORY, 0, 0, 0);
}

static void test_allows(void)
{
	const unsigned none[] = {CRON}, both[] = {CRON, OPS};
	struct access access;

	parse(&access, LIST("user:2000000001:read", "group:2000000003:write"));
	CHECK(access_allows(&access, ANNA, none, 1, false));
	CHECK(!access_allows(&access, ANNA, none, 1, true));
	CHECK(!access_allows(&access, BERT, none, 1, false));
	CHECK(!access_allows(&access, BERT, NULL, 0, true));
	CHECK(access_allows(&access, BERT, both, 2, true));
	CHECK(!access_allows(&access, BERT, both, 2, false));
	/* rights add up, as they do on the FIFOs */
	CHECK(access_allows(&access, ANNA, both, 2, true));
	CHECK(access_allows(&access, ANNA, both, 2, false));
	CHECK(!access_allows(&access, OPS, none, 1, true));
	CHECK(access_allows(&access, 0, NULL, 0, true));
	CHECK(access_allows(&access, geteuid(), NULL, 0, true));
	access_done(&access);
	CHECK(!access_allows(&access, ANNA, both, 2, false));
}

int main(void)
{
	test_parse();
	test_merge();
	test_grants();
	test_allows();
	return 0;
}
