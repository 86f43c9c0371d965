/* access - rules like "group:ops:read" into ACL entries, and into yes or no for a peer.
 *
 * Rights add up: what any of the rules that fit a program grants, it has.  acl(5) would let an
 * entry for the user hide those for his groups; that cannot happen here, because an object only
 * gets entries that grant something on it, and on one object all of them grant the same. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strv.h"
#include "endpoint/access.h"

enum { PERM_READ = 4, PERM_WRITE = 2, PERM_SEARCH = 1 };

enum { NAME_MAX_BYTES = 256 };

/* One rule, taken apart; the name is cut off at the colon behind it. */
struct rule_text {
	char name[NAME_MAX_BYTES];
	struct access_rule rule;
};

static int parse_number(const char *text, unsigned *ret)
{
	uint64_t number = 0;

	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9')
			return -EINVAL;
		number = number * 10 + (uint64_t)(*c - '0');
		if (number >= UINT32_MAX) /* that one means "nobody" to chown(2) and to ACLs */
			return -EINVAL;
	}
	*ret = (unsigned)number;
	return 0;
}

/* Names first: a user may well be called "1000" (and POSIX says that the name then wins). */
static int look_up(const char *name, bool is_group, unsigned *ret, const char **ret_problem)
{
	errno = 0;
	if (is_group) {
		const struct group *group = getgrnam(name);

		if (group) {
			*ret = group->gr_gid;
			return 0;
		}
	} else {
		const struct passwd *user = getpwnam(name);

		if (user) {
			*ret = user->pw_uid;
			return 0;
		}
	}
	if (errno == ENOMEM)
		return -ENOMEM;
	if (parse_number(name, ret) == 0)
		return 0;
	*ret_problem =
		is_group ? "names a group that does not exist" : "names a user that does not exist";
	return -EINVAL;
}

static int split_rule(struct rule_text *ret, const char *text, const char **ret_problem)
{
	const char *name, *right;
	size_t len;

	*ret = (struct rule_text){.rule = {.read = true, .write = true}};
	*ret_problem = "must be user:NAME or group:NAME, with :read or :write behind if wanted";
	if (strncmp(text, "user:", 5) == 0)
		name = text + 5;
	else if (strncmp(text, "group:", 6) == 0)
		name = text + 6;
	else
		return -EINVAL;
	ret->rule.is_group = *text == 'g';

	right = strchr(name, ':');
	len = right ? (size_t)(right - name) : strlen(name);
	if (len == 0 || len >= sizeof(ret->name))
		return -EINVAL;
	memcpy(ret->name, name, len);
	if (!right)
		return 0;
	ret->rule.read = strcmp(right, ":read") == 0;
	ret->rule.write = strcmp(right, ":write") == 0;
	return ret->rule.read || ret->rule.write ? 0 : -EINVAL;
}

/* An ACL may name everybody only once, so that rules for the same one become one. */
static void add_rule(struct access *access, const struct access_rule *rule)
{
	for (size_t i = 0; i < access->rules; i++) {
		struct access_rule *old = &access->rule[i];

		if (old->is_group != rule->is_group || old->id != rule->id)
			continue;
		old->read |= rule->read;
		old->write |= rule->write;
		return;
	}
	access->rule[access->rules++] = *rule;
}

int access_parse(struct access *ret, char *const *list, const char **ret_problem)
{
	struct access access = {0};
	struct rule_text text;
	char *const *item;
	int r;

	if (strv_len(list) == 0) {
		*ret = access;
		return 0;
	}
	access.rule = calloc(strv_len(list), sizeof(*access.rule));
	if (!access.rule)
		return -ENOMEM;
	strv_for_each(item, list) {
		r = split_rule(&text, *item, ret_problem);
		if (r == 0)
			r = look_up(text.name, text.rule.is_group, &text.rule.id, ret_problem);
		if (r < 0) {
			access_done(&access);
			return r;
		}
		add_rule(&access, &text.rule);
	}
	*ret = access;
	return 0;
}

void access_done(struct access *access)
{
	free(access->rule);
	*access = (struct access){0};
}

static unsigned rule_perms(const struct access_rule *rule, enum access_object object)
{
	switch (object) {
	case ACCESS_DIRECTORY:
		return PERM_SEARCH;
	case ACCESS_LISTING:
		return rule->read ? PERM_READ | PERM_SEARCH : 0;
	case ACCESS_INPUT:
		return rule->write ? PERM_WRITE : 0;
	case ACCESS_OUTPUT:
		return rule->read ? PERM_READ : 0;
	case ACCESS_SOCKET: /* to connect takes w; the direction is access_allows()' matter */
		return PERM_READ | PERM_WRITE;
	}
	return 0;
}

int access_grants(const struct access *access, enum access_object object, struct file_grant **ret,
		  size_t *ret_n)
{
	struct file_grant *grants;
	size_t n = 0;

	if (access->rules == 0) {
		*ret = NULL;
		*ret_n = 0;
		return 0;
	}
	grants = calloc(access->rules, sizeof(*grants));
	if (!grants)
		return -ENOMEM;
	for (size_t i = 0; i < access->rules; i++) {
		const struct access_rule *rule = &access->rule[i];
		unsigned perms = rule_perms(rule, object);

		if (perms)
			grants[n++] = (struct file_grant){
				.is_group = rule->is_group, .id = rule->id, .perms = perms};
	}
	if (n == 0) {
		free(grants);
		grants = NULL;
	}
	*ret = grants;
	*ret_n = n;
	return 0;
}

static bool rule_fits(const struct access_rule *rule, unsigned uid, const unsigned *gids,
		      size_t n_gids)
{
	if (!rule->is_group)
		return rule->id == uid;
	for (size_t i = 0; i < n_gids; i++)
		if (gids[i] == rule->id)
			return true;
	return false;
}

bool access_allows(const struct access *access, unsigned uid, const unsigned *gids, size_t n_gids,
		   bool write)
{
	if (uid == 0 || uid == geteuid())
		return true;
	for (size_t i = 0; i < access->rules; i++) {
		const struct access_rule *rule = &access->rule[i];

		if ((write ? rule->write : rule->read) && rule_fits(rule, uid, gids, n_gids))
			return true;
	}
	return false;
}
