/* config - files into sections: which files there are, what stands in which section, and where a
 * fault is.  What the keys mean is the table's business (options.c).
 *
 * Reading goes on behind a fault, so that one --check tells all of them; what was read is then
 * thrown away as a whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/strv.h"
#include "codec/ini.h"
#include "codec/utf8.h"
#include "service/config.h"
#include "service/conflicts.h"
#include "service/options.h"

enum { CONFIG_FILE_MAX = 16 << 20 }; /* bytes of one file */

/* One load: what all of its files share. */
struct loader {
	struct config *config;
	struct buf *faults;
	bool faulty;
	int error;         /* not a fault of the text: -ENOMEM */
	char *daemon_file; /* where [daemon] stands, or NULL */
	unsigned daemon_line;
};

/* One file, and the section in it that is being read. */
struct reader {
	struct loader *loader;
	const char *file;
	char *dir; /* that relative names are relative to */
	struct section *section;
	bool in_daemon;
	bool follows_include; /* false in a second [daemon]: so no file is included for ever */
	bool section_faulty;  /* some key in it, or its name */
	unsigned seen[OPTIONS_MAX]; /* line on which this row's key came first; 0: not yet */
};

/* --- telling faults ------------------------------------------------------------------------ */

/* FORMAT's text becomes one line whatever the configuration holds. */
__attribute__((format(printf, 2, 0))) static int tell(struct buf *faults, const char *format,
						      va_list args)
{
	cleanup_free char *text = NULL;
	bool is_utf8;
	int len = vasprintf(&text, format, args);

	if (len < 0) {
		text = NULL;
		return -ENOMEM;
	}
	is_utf8 = utf8_valid((const uint8_t *)text, (size_t)len);
	for (unsigned char *c = (unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f || (*c >= 0x80 && !is_utf8))
			*c = '?';
	text[len] = '\n'; /* in place of the NUL: the length is known */
	/* when FAULTS is full, the first ones will do */
	(void)buf_append(faults, text, (size_t)len + 1);
	return 0;
}

__attribute__((format(printf, 2, 3))) static int tell_one(struct buf *faults, const char *format,
							  ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = tell(faults, format, args);
	va_end(args);
	return r;
}

/* LINE 0: it is about the file as a whole. */
__attribute__((format(printf, 4, 5))) static void fault(struct loader *loader, const char *file,
							unsigned line, const char *format, ...)
{
	cleanup_free char *problem = NULL;
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&problem, format, args);
	va_end(args);
	if (r < 0) {
		problem = NULL;
		loader->error = -ENOMEM;
		return;
	}
	r = line ? tell_one(loader->faults, "%s:%u: %s", file, line, problem)
		 : tell_one(loader->faults, "%s: %s", file, problem);
	if (r < 0)
		loader->error = r;
	loader->faulty = true;
}

/* --- sections ------------------------------------------------------------------------------ */

bool config_name_valid(const char *name)
{
	static const char alnum[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t len = strlen(name);

	if (len == 0 || len > SECTION_NAME_MAX || !strchr(alnum, *name))
		return false;
	for (const char *c = name; *c; c++)
		if (!strchr(alnum, *c) && !strchr("._-", *c))
			return false;
	return strcmp(name, "daemon") != 0 && strcmp(name, "control") != 0;
}

static const char name_problem[] =
	"not a name for a connection (1 to 64 letters, digits, dots, hyphens and underscores, "
	"the first a letter or digit; daemon and control are taken)";

static int section_new(struct section **ret, const char *name)
{
	struct section *section = calloc(1, sizeof(*section));
	int r;

	if (!section)
		return -ENOMEM;
	snprintf(section->name, sizeof(section->name), "%s", name);
	list_init(&section->link);
	r = options_begin(section, false);
	if (r < 0) {
		config_section_free(section);
		return r;
	}
	*ret = section;
	return 0;
}

int config_section_new(struct section **ret, const char *name, struct buf *faults)
{
	if (!config_name_valid(name)) {
		int r = tell_one(faults, "'%.100s' is %s", name, name_problem);

		return r < 0 ? r : -EINVAL;
	}
	return section_new(ret, name);
}

int config_section_set(struct section *section, const char *key, const char *value,
		       struct buf *faults)
{
	const struct option *option = option_find(key, false);
	char problem[OPTION_PROBLEM_MAX];
	int r = -EINVAL;

	if (option)
		r = option_set(option, section, value, NULL, problem);
	else
		option_unknown(key, false, problem);
	if (r == -EINVAL && tell_one(faults, "%s", problem) < 0)
		r = -ENOMEM;
	return r;
}

struct check {
	struct buf *faults;
	int result;
};

static void check_fault(void *owner, const struct option *option, const char *problem)
{
	struct check *check = owner;

	(void)option;
	check->result = tell_one(check->faults, "%s", problem) < 0 ? -ENOMEM : -EINVAL;
}

int config_section_check(struct section *section, struct buf *faults)
{
	struct check check = {.faults = faults, .result = options_end(section, false)};

	if (check.result < 0)
		return check.result;
	if (!section->conn.url)
		check_fault(&check, NULL, "url is missing");
	conflicts_find(section, check_fault, &check);
	return check.result;
}

struct section *config_section_free(struct section *section)
{
	if (!section)
		return NULL;
	list_remove(&section->link);
	options_done(section, false);
	free(section->file);
	free(section);
	return NULL;
}

static struct section *find_section(struct config *config, const char *name)
{
	struct section *section;

	list_for_each(section, &config->sections, link)
		if (strcmp(section->name, name) == 0)
			return section;
	return NULL;
}

unsigned config_compare(const struct section *old_section, const struct section *new_section)
{
	unsigned changes = 0;

	for (size_t i = 0; i < option_rows; i++) {
		const struct option *option = &option_table[i];

		if (!option->in_daemon && !option_equal(option, old_section, new_section))
			changes |= option->reload;
	}
	return changes;
}

/* --- one file ------------------------------------------------------------------------------ */

static void load_globbed(struct reader *reader, const char *pattern, unsigned line);

static void reader_combination(void *owner, const struct option *option, const char *problem)
{
	struct reader *reader = owner;
	unsigned line = reader->seen[option - option_table];

	fault(reader->loader, reader->file, line ? line : reader->section->line, "%s", problem);
}

/* What can only be judged when the whole section is known. */
static void reader_finish_section(struct reader *reader)
{
	const struct option *url = option_find("url", false);
	struct section *section = reader->section;
	int r;

	if (!section)
		return;
	r = options_end(section, false);
	if (r < 0)
		reader->loader->error = r;
	if (!reader->seen[url - option_table])
		fault(reader->loader, reader->file, section->line, "section [%s] has no url",
		      section->name);
	/* otherwise a value that was refused would be told a second time as one that is missing */
	if (!reader->section_faulty)
		conflicts_find(section, reader_combination, reader);
	reader->section = NULL;
}

static void reader_begin_daemon(struct reader *reader, unsigned line)
{
	struct loader *loader = reader->loader;

	reader->in_daemon = true;
	reader->follows_include = !loader->daemon_file;
	if (loader->daemon_file) {
		fault(loader, reader->file, line, "section [daemon] is there twice, first in %s:%u",
		      loader->daemon_file, loader->daemon_line);
		return;
	}
	loader->daemon_file = strdup(reader->file);
	loader->daemon_line = line;
	if (!loader->daemon_file)
		loader->error = -ENOMEM;
}

/* A section that is refused is made all the same, so that its keys are judged too. */
static void reader_begin_section(struct reader *reader, const char *name, unsigned line)
{
	struct loader *loader = reader->loader;
	const struct section *first = find_section(loader->config, name);
	int r;

	reader->section_faulty = true;
	if (!config_name_valid(name))
		fault(loader, reader->file, line, "[%.100s] is %s", name, name_problem);
	else if (first)
		fault(loader, reader->file, line, "section [%s] is there twice, first in %s:%u",
		      name, first->file, first->line);
	else
		reader->section_faulty = false;

	r = section_new(&reader->section, name);
	if (r < 0) {
		loader->error = r;
		return;
	}
	list_append(&loader->config->sections, &reader->section->link);
	reader->section->line = line;
	reader->section->file = strdup(reader->file);
	if (!reader->section->file)
		loader->error = -ENOMEM;
}

static void reader_section(void *owner, const char *name, unsigned line)
{
	struct reader *reader = owner;

	reader_finish_section(reader);
	memset(reader->seen, 0, sizeof(reader->seen));
	reader->in_daemon = false;
	if (reader->loader->error)
		return;
	if (strcmp(name, "daemon") == 0)
		reader_begin_daemon(reader, line);
	else
		reader_begin_section(reader, name, line);
}

static void reader_fault(void *owner, const char *problem, unsigned line)
{
	struct reader *reader = owner;

	reader->section_faulty = true;
	fault(reader->loader, reader->file, line, "%s", problem);
}

static void reader_set(struct reader *reader, const struct option *option, const char *value,
		       unsigned line)
{
	void *target = reader->in_daemon ? (void *)&reader->loader->config->daemon
					 : (void *)reader->section;
	unsigned *seen = &reader->seen[option - option_table];
	char problem[OPTION_PROBLEM_MAX];
	int r;

	if (*seen && !option_is_list(option)) {
		snprintf(problem, sizeof(problem), "%s is given twice, first in line %u",
			 option->name, *seen);
		reader_fault(reader, problem, line);
		return;
	}
	if (!*seen)
		*seen = line;
	r = option_set(option, target, value, reader->dir, problem);
	if (r == -EINVAL)
		reader_fault(reader, problem, line);
	else if (r < 0)
		reader->loader->error = r;
	else if (reader->in_daemon && strcmp(option->name, "include") == 0)
		load_globbed(reader, value, line);
}

static void reader_value(void *owner, const char *key, const char *value, unsigned line)
{
	struct reader *reader = owner;
	const struct option *option = option_find(key, reader->in_daemon);
	char problem[OPTION_PROBLEM_MAX];

	if (reader->loader->error)
		return;
	if (!reader->in_daemon && !reader->section) {
		snprintf(problem, sizeof(problem), "key '%.64s' stands before any [section]", key);
		reader_fault(reader, problem, line);
	} else if (option) {
		reader_set(reader, option, value, line);
	} else {
		option_unknown(key, reader->in_daemon, problem);
		reader_fault(reader, problem, line);
	}
}

static char *directory_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	if (!slash)
		return strdup(".");
	return strndup(file, slash == file ? 1 : (size_t)(slash - file));
}

static void read_text(struct loader *loader, const char *path, struct buf *text)
{
	static const struct ini_events events = {reader_section, reader_value, reader_fault};
	struct reader reader = {.loader = loader, .file = path, .dir = directory_of(path)};

	if (!reader.dir) {
		loader->error = -ENOMEM;
		return;
	}
	ini_parse((char *)buf_head(text), buf_len(text), &events, &reader);
	reader_finish_section(&reader);
	free(reader.dir);
}

/* OPTIONAL: that it does not exist is fine. */
static void load_file(struct loader *loader, const char *path, bool optional)
{
	struct buf text;
	int r;

	if (loader->error)
		return;
	buf_init_secret(&text, CONFIG_FILE_MAX); /* there are passwords in it */
	r = file_read(AT_FDCWD, path, &text);
	if (r == -ENOMEM)
		loader->error = r;
	else if (r < 0 && !(optional && r == -ENOENT))
		fault(loader, path, 0, "%s", r == -EINVAL ? "it is not a regular file" : strerror(-r));
	else if (r == 0 && buf_len(&text) > 0)
		read_text(loader, path, &text);
	buf_done(&text);
}

/* --- several files ------------------------------------------------------------------------- */

static void load_globbed(struct reader *reader, const char *pattern, unsigned line)
{
	struct loader *loader = reader->loader;
	cleanup_free char *joined = NULL;
	glob_t found = {0};
	int r;

	if (!reader->follows_include)
		return;
	if (asprintf(&joined, "%s%s%s", *pattern == '/' ? "" : reader->dir,
		     *pattern == '/' ? "" : "/", pattern) < 0) {
		joined = NULL;
		loader->error = -ENOMEM;
		return;
	}
	r = glob(joined, 0, NULL, &found);
	if (r == GLOB_NOSPACE)
		loader->error = -ENOMEM;
	else if (r == GLOB_ABORTED)
		fault(loader, reader->file, line, "include '%s' cannot be read", joined);
	else if (r == GLOB_NOMATCH && !strpbrk(pattern, "*?["))
		fault(loader, reader->file, line, "include '%s': %s", joined, strerror(ENOENT));
	for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
		load_file(loader, found.gl_pathv[i], false);
	globfree(&found);
}

static int is_config_name(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return *entry->d_name != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name); /* no locale changes the order */
}

static void load_directory(struct loader *loader, const char *path)
{
	struct dirent **entries = NULL;
	int n = scandir(path, &entries, is_config_name, compare_names);

	if (n < 0 && errno == ENOMEM)
		loader->error = -ENOMEM;
	else if (n < 0 && errno != ENOENT)
		fault(loader, path, 0, "%s", strerror(errno));
	for (int i = 0; i < n; i++) {
		cleanup_free char *file = NULL;

		if (asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0) {
			file = NULL;
			loader->error = -ENOMEM;
		} else {
			load_file(loader, file, false);
		}
		free(entries[i]);
	}
	free(entries);
}

/* $CONFIGURATION_DIRECTORY, which systemd sets (of several the first); /etc for root; otherwise
 * where XDG says.  *ret is NULL when there is no such place. */
static int default_directory(char **ret)
{
	const char *given = getenv("CONFIGURATION_DIRECTORY"), *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	int r;

	*ret = NULL;
	if (given && *given) {
		r = asprintf(ret, "%.*s", (int)strcspn(given, ":"), given);
	} else if (geteuid() == 0) {
		r = asprintf(ret, "/etc/wspipe");
	} else if (xdg && *xdg == '/') { /* the specification wants relative ones ignored */
		r = asprintf(ret, "%s/wspipe", xdg);
	} else {
		const struct passwd *user = home && *home ? NULL : getpwuid(geteuid());

		if (user)
			home = user->pw_dir;
		if (!home || !*home)
			return 0;
		r = asprintf(ret, "%s/.config/wspipe", home);
	}
	if (r < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int load_defaults(struct loader *loader)
{
	cleanup_free char *dir = NULL, *file = NULL, *parts = NULL;
	int r = default_directory(&dir);

	if (r < 0 || !dir)
		return r;
	if (asprintf(&file, "%s/wspipe.conf", dir) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	if (asprintf(&parts, "%s/conf.d", dir) < 0) {
		parts = NULL;
		return -ENOMEM;
	}
	load_file(loader, file, true);
	load_directory(loader, parts);
	return 0;
}

int config_load(struct config **ret, const char *file, struct buf *faults)
{
	struct loader loader = {.faults = faults, .config = calloc(1, sizeof(struct config))};
	int r;

	*ret = NULL;
	if (!loader.config)
		return -ENOMEM;
	list_init(&loader.config->sections);
	r = options_begin(&loader.config->daemon, true);
	if (r == 0 && file)
		load_file(&loader, file, false);
	else if (r == 0)
		r = load_defaults(&loader);
	if (r == 0)
		r = loader.error;
	if (r == 0)
		r = options_end(&loader.config->daemon, true);
	if (r == 0 && loader.faulty)
		r = -EINVAL;
	free(loader.daemon_file);
	if (r < 0)
		loader.config = config_free(loader.config);
	*ret = loader.config;
	return r;
}

struct config *config_free(struct config *config)
{
	struct section *section, *following;

	if (!config)
		return NULL;
	list_for_each_safe(section, following, &config->sections, link)
		config_section_free(section);
	options_done(&config->daemon, true);
	free(config);
	return NULL;
}

/* --- the table, for others ----------------------------------------------------------------- */

size_t config_keys(void)
{
	return option_rows;
}

void config_key_at(size_t index, struct config_key *ret)
{
	const struct option *option = &option_table[index];

	*ret = (struct config_key){
		.name = option->name,
		.in_daemon = option->in_daemon,
		.is_list = option_is_list(option),
		.fallback = option->fallback,
		.help = option->help,
	};
}
