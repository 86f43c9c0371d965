/* hide - see hide.h.  The kernel shows a process's argv from where it stands in its memory (proc(5),
 * cmdline), so that writing there is enough; curl(1) does the same. */
#include "hide.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static int hide_setting(struct setting *setting)
{
	static const char *const keys[] = {"user",  "header",	     "cookie",	   "proxy",   "on-open",
					   "login", "token-command", "on-message", "on-state"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (strcmp(setting->key, keys[i]) != 0)
			continue;
		setting->made = strdup(setting->value);
		if (!setting->made)
			return -ENOMEM;
		memset((char *)setting->value, ' ', strlen(setting->value)); /* argv's */
		setting->value = setting->made;
		return 0;
	}
	return 0;
}

static int hide_userinfo(char **word, char **ret_copy)
{
	char *info = strstr(*word, "://"), *end, *url = *word;

	if (!info)
		return 0;
	info += strlen("://");
	end = info + strcspn(info, "/?#");
	while (end > info && *end != '@')
		end--;
	if (end == info)
		return 0;
	*ret_copy = strdup(url);
	if (!*ret_copy)
		return -ENOMEM;
	memset(info, ' ', (size_t)(end - info));
	*word = *ret_copy;
	return 0;
}

int hide_secrets(struct options *options)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < options->settings_n; i++)
		r = hide_setting(&options->settings[i]);
	for (size_t i = 0; r == 0 && i < options->words_n && i < OPTIONS_URLS; i++)
		r = hide_userinfo(&options->words[i], &options->hidden[i]);
	return r;
}
