/* rule - see rule.h. */
#include "conn/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* --- from text ------------------------------------------------------------------------------ */

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t");
	for (len = strlen(text); len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'); len--)
		;
	text[len] = '\0';
	return text;
}

static int set_path(struct member_path *path, char *text, const char **ret_problem)
{
	char *pointer = trim(text);

	*ret_problem = "is no JSON pointer (like /id or /d/requestId)";
	return *pointer ? member_path_init(path, pointer) : -EINVAL;
}

static int set_literal(struct rule *rule, char *text)
{
	char *literal = trim(text);
	struct buf quoted;
	int r;

	if (json_valid(literal, strlen(literal))) {
		rule->literal = strdup(literal);
		return rule->literal ? 0 : -ENOMEM;
	}
	buf_init(&quoted, SIZE_MAX / 2);
	r = json_quote_str(&quoted, literal);
	if (r == 0)
		r = buf_append(&quoted, "", 1);
	if (r == 0)
		rule->literal = strdup((char *)buf_head(&quoted));
	buf_done(&quoted);
	return r == 0 && !rule->literal ? -ENOMEM : r;
}

static int set_test(struct rule *rule, char *text, const char **ret_problem)
{
	char *equals = strchr(text, '=');
	int r;

	rule->tests = true;
	if (equals)
		*equals = '\0';
	r = set_path(&rule->test, text, ret_problem);
	return r == 0 && equals ? set_literal(rule, equals + 1) : r;
}

/* The last colon that a pointer follows: a literal may hold one, too. */
static char *find_colon(char *text)
{
	for (char *at = text + strlen(text); at-- > text;)
		if (*at == ':' && at[1 + strspn(at + 1, " \t")] == '/')
			return at;
	return NULL;
}

static int rule_init(struct rule *rule, const char *value, bool places, const char **ret_problem)
{
	cleanup_free char *text = strdup(value);
	char *colon, *place = text;
	int r = 0;

	*rule = (struct rule){0};
	if (!text)
		return -ENOMEM;
	if (!places)
		return set_test(rule, text, ret_problem);
	colon = find_colon(text);
	if (colon) {
		*colon = '\0';
		place = colon + 1;
		r = set_test(rule, text, ret_problem);
	}
	return r < 0 ? r : set_path(&rule->path, place, ret_problem);
}

static void rule_done(struct rule *rule)
{
	member_path_done(&rule->test);
	member_path_done(&rule->path);
	free(rule->literal);
}

int rules_init(struct rules *rules, char *const *list, bool places, const char **ret_problem)
{
	size_t n = 0;
	int r = 0;

	*rules = (struct rules){0};
	while (list && list[n])
		n++;
	if (n == 0)
		return 0;
	rules->rule = calloc(n, sizeof(*rules->rule));
	if (!rules->rule)
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = rule_init(&rules->rule[i], list[i], places, ret_problem);
		rules->n++;
	}
	if (r < 0)
		rules_done(rules);
	return r;
}

void rules_done(struct rules *rules)
{
	for (size_t i = 0; i < rules->n; i++)
		rule_done(&rules->rule[i]);
	free(rules->rule);
	*rules = (struct rules){0};
}

/* --- on messages ---------------------------------------------------------------------------- */

static bool is_null(const struct json_span *value)
{
	return value->len == 4 && memcmp(value->at, "null", 4) == 0;
}

static bool holds(const struct rule *rule, const char *text, size_t len)
{
	struct json_span value, literal;

	if (!rule->tests)
		return true;
	if (member_find(text, len, &rule->test, &value) != MEMBER_FOUND)
		return false;
	if (!rule->literal)
		return !is_null(&value);
	literal = (struct json_span){rule->literal, strlen(rule->literal)};
	return member_same(&value, &literal);
}

int rules_find(const struct rules *rules, const char *text, size_t len, struct json_span *ret,
	       const struct rule **ret_rule)
{
	*ret_rule = NULL;
	for (size_t i = 0; i < rules->n; i++) {
		if (!holds(&rules->rule[i], text, len))
			continue;
		*ret_rule = &rules->rule[i];
		return member_find(text, len, &rules->rule[i].path, ret);
	}
	return MEMBER_NONE;
}

bool rules_hold(const struct rules *rules, const char *text, size_t len)
{
	for (size_t i = 0; i < rules->n; i++)
		if (holds(&rules->rule[i], text, len))
			return true;
	return false;
}
