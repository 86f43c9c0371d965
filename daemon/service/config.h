/* config - text into sections of options, or faults that name file and line.
 *
 * The option table (options.c) is the single truth: key, type, where it goes, default, range, what
 * a reload must do, and a sentence.  tests/options.py holds conf/wspipe.conf and wspipe.conf(5)
 * against it.  Loading touches nothing that runs. */
#ifndef SERVICE_CONFIG_H
#define SERVICE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "conn/conn.h"
#include "endpoint/endpoint.h"
#include "endpoint/hooks.h"

enum { SECTION_NAME_MAX = 64 };

struct section {
	struct list link;
	char name[SECTION_NAME_MAX + 1];
	char *file; /* where it was found, or NULL when a program made it */
	unsigned line;
	struct conn_options conn;
	struct endpoint_options endpoint;
	struct hooks_options hooks;
	int preset;              /* 1 + its place in presets[]; 0: none */
	unsigned char given[16]; /* a bit for each row of the table that was set by somebody */
};

struct daemon_options {
	int log_level;
	uint64_t memory_bytes;
	char **include; /* globs; relative ones are relative to the file that says so */
	char **access;
};

struct config {
	struct daemon_options daemon;
	struct list sections;
};

/* FILE NULL: the default places of this instance (wspiped(8)), where a missing file is an empty
 * one.  Faults are appended to FAULTS, one printable line each: "FILE:LINE: message\n", or
 * "FILE: message\n" when the file as a whole is meant; what FAULTS has no room for is not told.
 * 0, -EINVAL when there were faults, -ENOMEM; *ret is NULL on failure. */
int config_load(struct config **ret, const char *file, struct buf *faults);
struct config *config_free(struct config *config);

/* A section made by a program (`wspipe open`): defaults first, then key by key, of which the last
 * one counts unless it is a list; config_section_check() at the end (url given, combinations).
 * Names of files must be absolute.  -EINVAL with a line in FAULTS that names the key (check: maybe
 * several). */
int config_section_new(struct section **ret, const char *name, struct buf *faults);
int config_section_set(struct section *section, const char *key, const char *value,
		       struct buf *faults);
int config_section_check(struct section *section, struct buf *faults);
struct section *config_section_free(struct section *section);

bool config_name_valid(const char *name);

/* What must happen so that NEW takes the place of OLD; the strongest of all rows that differ. */
enum config_change {
	CONFIG_SAME,
	CONFIG_LIVE,      /* take effect as they are */
	CONFIG_ENDPOINTS, /* the endpoints must be made anew */
	CONFIG_REDIAL,    /* the connection must be made anew */
};
/* A mask: bit (1 << CONFIG_LIVE) and so on. 0: nothing differs. */
unsigned config_compare(const struct section *old_section, const struct section *new_section);

/* The table, for --help of `wspipe open`, the sample configuration's test and error texts. */
struct config_key {
	const char *name;
	bool in_daemon; /* belongs into [daemon] */
	bool is_list;
	const char *fallback; /* default as text; NULL: none */
	const char *help;     /* one sentence */
};
size_t config_keys(void);
void config_key_at(size_t index, struct config_key *ret);

#endif
