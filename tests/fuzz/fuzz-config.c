/* A configuration file: it is taken whole or refused with printable lines that name it; read a
 * second time it is the same, and nothing would have to change.
 *
 * Input: the file.  "more.conf" lies beside it; a line with "include" and a slash is not tried, for
 * that could name any file of this machine. */
#include "base/log.h"
#include "codec/utf8.h"
#include "scratch.h"
#include "service/config.h"

static const char more[] = "[more]\nurl = ws://127.0.0.1/\ntype = binary\n";
static char path[PATH_MAX + 16];

static bool is_harmless(struct food food)
{
	while (food.len > 0) {
		struct food line = take_until(&food, '\n');

		if (line.len > 0 && memmem(line.at, line.len, "include", 7) &&
		    memchr(line.at, '/', line.len))
			return false;
	}
	return true;
}

/* "FILE:LINE: text" or "FILE: text", one behind the other. */
static void check_faults(const struct buf *faults)
{
	struct food food = {buf_head(faults), buf_len(faults)};

	HOLDS(food.len > 0 && food.at[food.len - 1] == '\n');
	HOLDS(utf8_valid(food.at, food.len));
	while (food.len > 0) {
		struct food piece = take_until(&food, '\n');
		char *line = copy_text(piece.at, piece.len);

		HOLDS(is_one_line(line) && strlen(line) == piece.len);
		HOLDS(strncmp(line, scratch_path, strlen(scratch_path)) == 0 && strstr(line, ": "));
		free(line);
	}
}

static int load(struct config **ret)
{
	struct buf faults;
	int r;

	*ret = NULL;
	buf_init(&faults, 64 * 1024);
	r = config_load(ret, path, &faults);
	HOLDS((r < 0) == (*ret == NULL));
	if (r < 0)
		check_faults(&faults);
	else
		HOLDS(buf_len(&faults) == 0);
	buf_done(&faults);
	return r;
}

static void check_section(const struct section *section)
{
	const char *problem = NULL;
	struct url url = {0};

	HOLDS(config_name_valid(section->name) && !strpbrk(section->name, "/\n") &&
	      *section->name != '.');
	HOLDS(url_parse(&url, section->conn.url, &problem) == 0);
	HOLDS(section->line > 0 && section->file);
	HOLDS(section->conn.ws.max_message_bytes > 0);
	HOLDS(config_compare(section, section) == 0);
	url_done(&url);
}

static void check_same(struct config *one, struct config *other)
{
	struct section *a = list_first(&one->sections, struct section, link), *b;

	list_for_each (b, &other->sections, link) {
		HOLDS(a && strcmp(a->name, b->name) == 0);
		check_section(a);
		HOLDS(config_compare(a, b) == 0 && config_compare(b, a) == 0);
		a = a->link.next == &one->sections ? NULL
						   : list_entry(a->link.next, struct section, link);
	}
	HOLDS(!a);
}

/* A good section behind all makes no difference to what is ahead of it. */
static void check_appended(const uint8_t *data, size_t len, int r)
{
	static const char good[] =
		"\n[appended-to-it]\nurl = ws://127.0.0.1/\ntype = text\nkeep = 1M\n";
	uint8_t *longer;
	struct config *config;

	if (len > 0 && memmem(data, len, "appended", 8))
		return;
	longer = malloc(len + sizeof(good));
	HOLDS(longer);
	if (len > 0)
		memcpy(longer, data, len);
	memcpy(longer + len, good, sizeof(good));
	scratch_put("t.conf", longer, len + sizeof(good) - 1);
	free(longer);
	HOLDS(load(&config) == r);
	if (r == 0)
		HOLDS(strcmp(list_last(&config->sections, struct section, link)->name,
			     "appended-to-it") == 0);
	config_free(config);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR - 1);
	scratch_init();
	snprintf(path, sizeof(path), "%s/t.conf", scratch_path);
	scratch_put("more.conf", more, sizeof(more) - 1);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct config *one, *other;
	int r;

	if (!is_harmless((struct food){data, len}))
		return 0;
	scratch_put("t.conf", data, len);
	r = load(&one);
	HOLDS(load(&other) == r);
	if (r == 0)
		check_same(one, other);
	config_free(one);
	config_free(other);
	check_appended(data, len, r);
	return 0;
}
