/* options - the command line as a struct: one table of rows says what each command takes.
 *
 * `open`, `cat` and `exec` take every key of wspipe.conf(5) as well, --KEY VALUE.  Which keys
 * there are is the daemon's to know: what no row claims is passed on as a setting. */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { /* a set of commands */
	FOR_LS = 1 << 0,
	FOR_STATUS = 1 << 1,
	FOR_OPEN = 1 << 2,
	FOR_CLOSE = 1 << 3,
	FOR_RECONNECT = 1 << 4,
	FOR_PAUSE = 1 << 5,
	FOR_RESUME = 1 << 6,
	FOR_SEND = 1 << 7,
	FOR_RECV = 1 << 8,
	FOR_CAT = 1 << 9,
	FOR_EXEC = 1 << 10,
	FOR_WAIT = 1 << 11,
	FOR_RELOAD = 1 << 12,
	FOR_STOP = 1 << 13,
	FOR_CHECK = 1 << 14,
	FOR_REQUEST = 1 << 15,
	FOR_PRESETS = 1 << 16,
	FOR_CURSOR = 1 << 17,
	FOR_STATS = 1 << 18,
	FOR_TOP = 1 << 19,
	FOR_SETTINGS = FOR_OPEN | FOR_CAT | FOR_EXEC | FOR_REQUEST, /* take the keys of the configuration */
};

struct setting {
	const char *key, *value;
	char *made; /* owned: what a relative VALUE became, or a secret one that is in argv no longer */
};

enum { OPTIONS_URLS = 2 }; /* among so many words, the first ones, is a url */

struct options { /* strings are argv's */
	const char *runtime_dir, *config;
	bool help, version, json, stamp, no_daemon, no_queue, confirm, stay_open, follow, no_follow;
	bool ordered, raw_id, strict, prometheus;
	const char *framing, *type, *until, *field, *cursor, *since;
	uint64_t count, last;          /* 0: no limit; not said */
	int64_t timeout_ms, quiet_ms, interval_ms; /* -1: not said */
	struct setting *settings;
	size_t settings_n;
	char **words; /* NULL-terminated: NAME, URL, messages */
	size_t words_n;
	char *hidden[OPTIONS_URLS]; /* owned: words that are in argv no longer; hide.h */
	char **command; /* behind "--" of exec, NULL-terminated; or NULL */
};

/* What stands ahead of the command's name.  The index of that name in ARGV (or argc), or a negative
 * number: it has been told what is wrong. */
int options_begin(struct options *options, int argc, char **argv);
/* What stands behind it; COMMAND is one FOR_... bit.  0, or negative as above. */
int options_parse(struct options *options, unsigned command, int argc, char **argv);
/* What is known only when the line has been read: with a URL, `proxy` is what the environment says,
 * unless one was given (--proxy env asks for it by name).  0, or negative as above. */
int options_find_proxy(struct options *options);
void options_done(struct options *options);

/* The rows of this command, one a line. */
void options_print(FILE *file, unsigned command);

#endif
